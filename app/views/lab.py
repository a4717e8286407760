"""Splice lab: any two checkpoints, any cut, any examples, now."""

from uuid import uuid4

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import controls, live, outcome
from app.cached import ask
from app.desk import Answered, Failed, Full, State, Waiting
from app.exports import Provenance
from app.live import Words
from app.outcome import Outcome
from app.views import lab_result
from app.views.lab_choice import SIDES, WHOLE, Choice, choose, choose_runs
from app.views.scene import NORMS
from app.words import plain

STORED = ("stored_cell", "stored_classes", "stored_changes")
POLL_SECONDS = 0.4
UPLOADS = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"]
MOST_MEGABYTES = 5


def render() -> None:
    """Draw the page."""
    st.header("Splice lab", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        runs = choose_runs()
    if runs is None:
        return
    reason = live.why_not(
        [(runs.run, runs.usual["deep"]), (runs.shallow_run, runs.usual["shallow"])]
    )
    outline = None
    if reason is None:
        answered = _answer("outline", {"run": runs.run})
        if isinstance(answered, Answered):
            outline = answered.result
        elif isinstance(answered, Failed):
            reason = answered.sentence
        else:
            return
    row = st.container(horizontal=True, vertical_alignment="bottom")
    curve, result = st.columns([3, 2], gap="medium")
    choice = choose(runs, outline, (row, curve))
    if choice is None:
        return
    if reason is None:
        reason = live.why_not([(runs.run, choice.deep), (runs.shallow_run, choice.shallow)])
    if reason is None:
        _now(choice, result)
    else:
        result.info(reason)
        _from_store(choice, result)


def _visitor() -> str:
    name: str = st.session_state.setdefault("visitor", uuid4().hex)
    return name


def _answer(kind: str, words: Words, upload: bytes | None = None) -> State:
    """Ask for a job; while there is no answer, show the place in line and ask again and again."""
    state = live.ask(_visitor(), kind, words, upload, live.WAIT_SECONDS)
    if isinstance(state, Waiting | Full):

        @st.fragment(run_every=POLL_SECONDS)
        def poll() -> None:
            now = live.ask(_visitor(), kind, words, upload)
            if not isinstance(now, Waiting | Full):
                st.rerun()
            st.progress(*_place(now))

        poll()
    return state


def _place(state: Waiting | Full) -> tuple[float, str]:
    """Share done, and the place in line in words."""
    if isinstance(state, Full):
        return 0.0, f"The line is full ({state.waiting} wait); this page keeps asking for a place."
    note = f" {state.note}" if state.note else ""
    if not state.started:
        return 0.0, f"The worker is starting: loading PyTorch takes a few seconds.{note}"
    if state.place:
        return 0.0, f"In line: {state.place} before this one."
    return state.share, f"Computing ...{note}"


def _failed(kind: str, words: Words, upload: bytes | None, failed: Failed) -> None:
    st.error(failed.sentence)
    st.button("Try again", key=f"again_{kind}", on_click=live.again, args=(kind, words, upload))


def _now(choice: Choice, place: DeltaGenerator) -> None:
    """Draw what is computed now; ``place``: for the big number."""
    with place:
        state = _answer("splice", choice.words)
        if isinstance(state, Failed):
            _failed("splice", choice.words, None, state)
        if not isinstance(state, Answered):
            return
        if state.note:
            st.warning(state.note)
        found = outcome.computed(state.result)
        lab_result.numbers(found)
        st.caption(_about(choice))
        st.caption(
            f"Computed on {state.result['device']} in {state.result['seconds']:.2g} s. "
            f"{_beside(choice, found)}"
        )
    lab_result.classes(found, _provenance(choice, found, state.result["device"]))
    lab_result.flips(found)
    _one_image(choice, found.n)


def _about(choice: Choice) -> str:
    """Say what was spliced, on what, under which normalisation."""
    shallow, deep = (choice.epoch(side) for side in SIDES.values())
    runs = choice.runs
    whose = f" of {plain(runs.names[runs.shallow_run])}" if runs.two else ""
    return (
        f"Shallow part of epoch {shallow}{whose} up to {plain(choice.cut)}, deep part of epoch "
        f"{deep} of {plain(runs.names[runs.run])}. BatchNorm `{choice.norm}`: {NORMS[choice.norm]}."
    )


def _sides(choice: Choice) -> tuple[str, ...]:
    return tuple(dict.fromkeys((choice.runs.run, choice.runs.shallow_run)))


def _live(device: str) -> str:
    return f"Computed live on {device}: this result itself is not in the store."


def _provenance(choice: Choice, found: Outcome, device: str | None = None) -> Provenance:
    """Say what a splice's pictures rest on; ``device``: where it was computed, None if stored."""
    shown = choice.shown
    examples = WHOLE[choice.evaluation] if shown is None else f"{shown.split} set, {shown.title}"
    corrupted = choice.corruption != "none" and (shown is None or shown.corruption == "none")
    kind = f", {choice.corruption.replace('_', ' ')} {choice.severity}" if corrupted else ""
    basis = (
        f"{_about(choice)} Examples: {plain(examples, 160)}{kind}, n = {found.n:,}. "
        f"{'' if device is None else f'{_live(device)} '}"
        "Null: the deep network itself. Intervals: 95 % over examples (Wilson), one training each."
    )
    queries = STORED if device is None else ()
    return Provenance(choice.runs.study, _sides(choice), queries, basis)


def _beside(choice: Choice, found: Outcome) -> str:
    """Say what the store holds of the same cell."""
    cell = _stored(choice)
    if cell is None:
        return "The store has no such cell."
    if cell.correct == found.correct:
        return f"The store has the same: {cell.correct:,} right."
    return f"The store has {cell.correct:,} right, computed elsewhere or on another kind of device."


def _stored(choice: Choice) -> Outcome | None:
    if choice.stored_set is None:
        return None
    runs = choice.runs
    about = (runs.run, runs.shallow_run, choice.stored_set, choice.cut, choice.norm)
    key = (*about, (choice.shallow, choice.deep))
    return outcome.stored(*(ask(question, *key) for question in STORED))


def _from_store(choice: Choice, place: DeltaGenerator) -> None:
    """Draw the stored cell."""
    found = _stored(choice)
    with place:
        if found is None:
            st.markdown("**The store has no such cell.** Choose another cut, set or pair.")
            return
        lab_result.numbers(found)
        st.caption(_about(choice))
    lab_result.classes(found, _provenance(choice, found))
    if not found.per_class.is_empty():
        lab_result.flips(found)
        st.caption("Pictures of them, and single images, need the networks.")


def _one_image(choice: Choice, count: int) -> None:
    """Draw the choice of an image and what the splice makes of it."""
    st.subheader("One image", anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        example = controls.number("Number in the set", "image", count - 1)
        sent = st.file_uploader(
            f"or one of yours, up to {MOST_MEGABYTES} MB",
            type=UPLOADS,
            max_upload_size=MOST_MEGABYTES,
            width=420,
        )
    upload = None if sent is None else sent.getvalue()
    if upload is None and example is None:
        live.leave(_visitor(), "image")
        st.caption(
            "Pick an image by its number (under the flipped ones, for example), or send one. Of "
            "yours the square in the middle is taken, in the size and colours of the data set; it "
            "is not kept, and a link to this page doesn't hold it."
        )
        return
    words = {**choice.words, "example": None if upload is not None else example}
    state = _answer("image", words, upload)
    if isinstance(state, Answered):
        basis = f"One image, n = 1. {_about(choice)} {_live(state.result['device'])} No interval."
        lab_result.one_image(state.result, Provenance(choice.runs.study, _sides(choice), (), basis))
    elif isinstance(state, Failed):
        _failed("image", words, upload, state)
