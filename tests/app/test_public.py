"""Safe in public: whatever a visitor, or a store from elsewhere, says, a page is a page.

Nothing is written, nothing a store says is run, and what fails is named while the rest goes on.
"""

import ast
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from app.controls import resolved
from app.pages import PAGES
from app.words import LONGEST
from store.connection import writing
from store.home import database_path
from tests.app import planted
from tests.app.test_views import opened
from tests.store.rows import listing

ROOT = Path(__file__).parents[2]
PATHS = [page.path for page in PAGES]
# Every parameter that some page has, and one that none has.
PARAMETERS = [
    *("study", "split", "test_set", "train_set", "metric", "norm", "cut", "run", "set", "place"),
    *("control", "kind", "step", "setting", "pairs", "weighting", "method", "probe", "nosuch"),
    *("view", "image"),
]
OWN_LINK = re.compile(r"\[[A-Za-z ,]+\]\(/[a-z]+\?[A-Za-z0-9_=&%.+-]*\)")
HARM = (
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "/proc/self/environ",
    "'; DROP TABLE base.runs; --",
    "' OR '1'='1",
    "\" UNION SELECT * FROM read_text('/etc/passwd') --",
    "<script>alert(1)</script>",
    "[click](http://127.0.0.1:9/x) ![x](http://127.0.0.1:9/x.png)",
    ":red[x] $x$ `x` **x**",
    "-1",
    "1e308",
    "9" * 5000,
    "-" + "9" * 400,
    "nan",
    "",
    "\x00",
    "\u202eabc",
    "🦉" * 1000,
    "{{7*7}}",
    "__import__('os').system('true')",
)


def assert_ordinary(test: AppTest) -> None:
    """A heading, no exception, and no sentence longer than a sentence."""
    assert not test.exception, test.exception[0].value
    assert test.header
    for warning in test.warning:
        assert len(warning.value) < 4 * LONGEST


@pytest.fixture(scope="module")
def odd_home(cube_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study made by hand under names that mean harm. Tests must not write."""
    return planted.plant(cube_home, tmp_path_factory.mktemp("odd") / "home")


@pytest.mark.parametrize("path", PATHS)
def test_read_only_pages_write_nothing(
    path: str, own_cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATDYN_READONLY", "1")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(tmp_path)
    for folder, _, names in os.walk(own_cube_home):
        for name in (*names, "."):
            (Path(folder) / name).chmod(0o555)
    before = listing(tmp_path)
    assert_ordinary(opened(path, own_cube_home, monkeypatch))
    assert listing(tmp_path) == before


@pytest.fixture
def own_cube_home(cube_home: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(cube_home, tmp_path / "cube"))


@pytest.mark.parametrize("path", PATHS)
def test_names_that_mean_harm_are_only_names(
    path: str, odd_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened(path, odd_home, monkeypatch)
    assert_ordinary(test)
    sentences = [*test.markdown, *test.caption, *test.info, *test.error, *test.warning]
    for sentence in sentences:
        # A link of the app's own to one of its pages is the whole sentence, its words fixed.
        said = "" if OWN_LINK.fullmatch(sentence.value) else sentence.value
        assert not getattr(sentence.proto, "allow_html", False)
        assert "](" not in said.replace("\\]", ""), said
        for markup in ("**bold**", "$x^2$", ":red[", "<script", "<img"):
            assert markup not in said.replace(f"\\{markup[0]}", ""), said


def test_a_planted_failure_is_told_as_text(odd_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = opened("runs", odd_home, monkeypatch)
    (told,) = [error.value for error in test.error]
    assert "failed after 3 updates" in told
    assert "\\<script\\>" in told
    assert len(told) < 1500


@pytest.mark.parametrize("harm", HARM, ids=range(len(HARM)))
def test_a_link_that_means_harm_opens_the_page(
    harm: str, cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = PATHS[HARM.index(harm) % len(PATHS)]
    test = opened(path, cube_home, monkeypatch, **dict.fromkeys(PARAMETERS, harm))
    assert_ordinary(test)
    assert test.warning
    for warning in test.warning:
        assert "is not in this store; showing" in warning.value
        assert "](" not in warning.value.replace("\\]", "")


OPTIONS = st.lists(st.text(max_size=20), min_size=1, max_size=6, unique=True)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_fuzzed_links_choose_an_option_or_complain_in_a_line(count: int) -> None:
    @given(asked=st.text() | st.integers().map(str) | st.floats().map(str), options=OPTIONS)
    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    def chooses(asked: str, options: list[str]) -> None:
        assert_chosen(asked, options)

    chooses()


def assert_chosen(asked: str, options: list[str]) -> None:
    """One of the options, and a line of complaint where it is not what was asked for."""
    chosen, complaint = resolved("run", asked, options, options[0])
    assert chosen in options
    assert (complaint is None) == (asked in options)
    assert complaint is None or ("\n" not in complaint and len(complaint) < 6 * LONGEST)


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_two_hundred_fuzzed_links_open_their_pages(
    path: str, cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = st.text(max_size=40) | st.sampled_from(HARM) | st.integers().map(str)
    links = st.dictionaries(st.sampled_from(PARAMETERS), values, max_size=5)

    @given(link=links)
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    def opens(link: dict[str, str]) -> None:
        assert_ordinary(opened(path, cube_home, monkeypatch, **link))

    opens()


def test_a_store_put_in_the_place_of_another_is_shown(
    own_cube_home: Path, cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writing(own_cube_home) as connection:
        connection.execute("UPDATE base.study_runs SET study = 'another'")
    os.replace(database_path(own_cube_home), database_path(tmp_path))
    test = opened("runs", tmp_path, monkeypatch)
    assert test.selectbox(key="url_study").value == "another"
    shutil.copy(database_path(cube_home), tmp_path / "fresh")
    os.replace(tmp_path / "fresh", database_path(tmp_path))
    test.run()
    assert_ordinary(test)
    assert test.selectbox(key="url_study").value == "by-hand"


@pytest.mark.parametrize("content", [b"", b"no database", b"\x00" * 100_000])
def test_a_damaged_store_is_said_and_a_sound_one_goes_on(
    content: bytes, cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database_path(tmp_path)
    path.write_bytes(content)
    test = opened("runs", tmp_path, monkeypatch)
    assert not test.exception
    assert len(test.error) + len(test.info) == 1
    shutil.copy(database_path(cube_home), path)
    assert_ordinary(test.run())
    assert not test.error


def test_a_store_cut_off_in_the_middle_is_said_and_other_pages_go_on(
    own_cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = database_path(own_cube_home)
    content = bytearray(path.read_bytes())
    # A block past the catalogue: some questions still have an answer.
    content[len(content) // 2 :] = os.urandom(len(content) - len(content) // 2)
    path.write_bytes(bytes(content))
    for page in PATHS:
        test = opened(page, own_cube_home, monkeypatch)
        assert not test.exception
        assert test.header


def test_missing_checkpoints_change_no_page(
    cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored is in the database; the folder runs/ may be gone altogether."""
    shutil.copy(database_path(cube_home), database_path(tmp_path))
    test = opened("runs", tmp_path, monkeypatch)
    assert_ordinary(test)
    assert not test.error
    assert len(test.get("vega_lite_chart")) == 2


def test_a_temporary_folder_without_room_stops_no_page(
    cube_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    test = opened("consistency", cube_home, monkeypatch)
    assert_ordinary(test)
    assert not test.error


def test_a_newer_store_is_said(own_cube_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(own_cube_home) as connection:
        connection.execute("INSERT INTO base.schema_migrations VALUES (999, 'future')")
    test = opened("runs", own_cube_home, monkeypatch)
    assert not test.exception
    assert "newer featdyn" in test.error[0].value


def test_a_forged_choice_of_a_widget_is_none(
    cube_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = opened("runs", cube_home, monkeypatch)
    test.session_state["url_run"] = "../../etc/passwd"
    assert_ordinary(test.run())


FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__", "pickle", "marshal", "shelve", "dill"}
# By a fixed command: own SQL apart from the app, the lab's engine, Streamlit in a container.
STARTS_A_PROCESS = ("store/sandbox.py", "app/worker.py", "app/serve.py")
# ``featdyn import`` has files of other trainers rewritten there, before anything else sees them.
READS_FOREIGN_WEIGHTS = "featdyn_engine/foreign_weights.py"
# They say what is installed, and import nothing.
LOOKS_ALONE = ("importlib.metadata", "importlib.util")
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "importlib", "runpy", "subprocess"}


def used(tree: ast.AST) -> set[str]:
    """Bare names that a module calls, and modules that it imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.add(node.func.id)
        elif isinstance(node, ast.Import):
            found |= {f"import {alias.name.split('.')[0]}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module in LOOKS_ALONE
            found.add(f"import {node.module if whole else node.module.split('.')[0]}")
        elif isinstance(node, ast.Attribute):
            found.add(f"{getattr(node.value, 'id', '')}.{node.attr}")
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "unsafe_allow_html"):
            found.add(str(node.arg))
    return found


def sources(*folders: str) -> dict[str, Any]:
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8"))
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    }


def test_nothing_that_a_store_says_is_unpickled_evaluated_or_imported() -> None:
    forbidden = FORBIDDEN_NAMES | {f"import {name}" for name in FORBIDDEN_MODULES}
    forbidden |= {"torch.load", "unsafe_allow_html", "allow_pickle"}
    for name, tree in sources("app", "store").items():
        allowed = {"import subprocess"} if name in STARTS_A_PROCESS else set()
        assert not used(tree) & (forbidden - allowed), name


def test_the_engine_unpickles_and_evaluates_nothing() -> None:
    # Its networks can be a user's own code (models/factory.py), and workers are processes.
    forbidden = (FORBIDDEN_NAMES - {"compile"}) | {"import pickle", "torch.load", "import dill"}
    for name, tree in sources("featdyn_engine").items():
        allowed = {"torch.load"} if name == READS_FOREIGN_WEIGHTS else set()
        assert not used(tree) & (forbidden - allowed), name


def test_foreign_weights_are_read_as_weights_alone() -> None:
    loads = [
        node
        for node in ast.walk(sources("featdyn_engine")[READS_FOREIGN_WEIGHTS])
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert loads
    for each in loads:
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in each.keywords}
        assert said["weights_only"] == "True"


def test_the_scan_sees_what_it_looks_for() -> None:
    text = "import pickle\nfrom importlib import x\neval('1')\ntorch.load(f)\nf(allow_pickle=True)"
    assert used(ast.parse(text)) >= {
        "import pickle",
        "import importlib",
        "eval",
        "torch.load",
        "allow_pickle",
    }
