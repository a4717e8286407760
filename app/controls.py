"""Widgets whose state is the URL: a shared link reopens the view, and Back goes back."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from app.words import plain, shortened

PREFIX = "url_"


def _view() -> dict[str, str]:
    """Return every control of the page, by its parameter."""
    return {
        str(key).removeprefix(PREFIX): "|".join(value) if isinstance(value, list) else str(value)
        for key, value in st.session_state.items()
        if str(key).startswith(PREFIX) and value is not None
    }


def _remember() -> None:
    # In a callback this adds to the browser's history; `bind="query-params"` would replace it.
    # All controls of the page go in, so that the link holds the whole view.
    # An emptied control leaves the URL.
    for key, value in st.session_state.items():
        if str(key).startswith(PREFIX) and value is None:
            st.query_params.pop(str(key).removeprefix(PREFIX), None)
    st.query_params.update(_view())


def remember(**parameters: str) -> None:
    """Put parameters into the URL from a callback, with every control of the page."""
    st.query_params.update({**_view(), **parameters})


def link() -> str:
    """Return the address that reopens this view, defaults spelled out."""
    parameters = {**st.query_params.to_dict(), **_view()}
    return f"{st.context.url}?{urlencode(parameters)}" if parameters else str(st.context.url)


def resolved(
    parameter: str, asked: str, options: Sequence[str], default: str
) -> tuple[str, str | None]:
    """Return one of the options, and a sentence where what a link asked for is none of them."""
    if asked in options:
        return asked, None
    return default, (
        f"{parameter}={plain(asked)} is not in this store; showing {plain(default)} instead."
    )


def _bound(
    widget: Callable[..., Any],
    label: str,
    parameter: str,
    options: Sequence[str],
    default: str,
    **options_of_widget: Any,
) -> str:
    asked, complaint = resolved(
        parameter, st.query_params.get(parameter, default), options, default
    )
    if complaint:
        st.warning(complaint)
    key = PREFIX + parameter
    st.session_state[key] = asked
    chosen: str = widget(
        label,
        options,
        key=key,
        on_change=_remember,
        **options_of_widget,
    )
    # The browser says what was chosen: whoever writes to the server by hand may say anything.
    return chosen if chosen in options else asked


def select(
    label: str,
    parameter: str,
    options: Sequence[str],
    default: str,
    names: Callable[[str], str] = str,
) -> str:
    """Choose one of many from a list."""
    return _bound(
        st.selectbox,
        label,
        parameter,
        options,
        default,
        format_func=lambda option: shortened(names(option)),
        width=210,
    )


def segments(
    label: str,
    parameter: str,
    options: Sequence[str],
    default: str,
    names: Callable[[str], str] = str,
) -> str:
    """Choose one of a few, all in sight."""
    return _bound(
        st.segmented_control,
        label,
        parameter,
        options,
        default,
        format_func=lambda option: plain(names(option)),
        required=True,
    )


def text(label: str, parameter: str, default: str = "", lines: int = 1, **more: Any) -> str:
    """Let the reader write a line, or several; empty text leaves the URL."""
    key = PREFIX + parameter
    st.session_state[key] = st.query_params.get(parameter, default)
    if lines == 1:
        return str(st.text_input(label, key=key, on_change=_remember, **more))
    height = 26 * lines
    return str(st.text_area(label, key=key, on_change=_remember, height=height, **more))


def several(label: str, parameter: str, options: Sequence[str]) -> list[str]:
    """Choose any number; none means all. Values the store doesn't have are left out."""
    key = PREFIX + parameter
    asked = st.query_params.get(parameter, "")
    st.session_state[key] = [each for each in asked.split("|") if each in options]
    return list(
        st.multiselect(label, options, key=key, on_change=_remember, placeholder="all", width=260)
    )


def slider(
    label: str,
    parameter: str,
    options: Sequence[str],
    default: str,
    names: Callable[[str], str] = str,
) -> str:
    """Choose one of an ordered few."""
    if len(options) == 1:
        return select(label, parameter, options, default, names)
    return _bound(
        st.select_slider, label, parameter, options, default, format_func=names, width=260
    )


def number(label: str, parameter: str, most: int) -> int | None:
    """Enter a whole number from 0 to ``most``; None as long as there is none."""
    asked = st.query_params.get(parameter)
    key = PREFIX + parameter
    # No longer than the largest one: Python refuses to read thousands of digits.
    readable = asked is not None and asked.isdecimal() and len(asked) <= len(str(most))
    value = int(asked) if asked and readable else None
    if asked is not None and (value is None or value > most):
        st.warning(f"{parameter}={plain(asked)} is not a number from 0 to {most:,}; showing none.")
        value = None
    st.session_state[key] = value
    return st.number_input(
        label, 0, most, None, step=1, key=key, on_change=_remember, placeholder="none", width=210
    )


def put(**values: object) -> None:
    """Set controls from a callback, as if the visitor had moved them."""
    for parameter, value in values.items():
        st.session_state[PREFIX + parameter] = str(value)
    _remember()
