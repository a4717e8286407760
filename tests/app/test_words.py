"""Names in sentences: shown letter by letter, on one line, never read as markup."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from app.words import LONGEST, counted, plain, shortened


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("true labels", "frozen, cut stage1.2, from-epoch 5", "Ünïcode 🦉", "50 %"):
        assert plain(name) == shortened(name) == name


def test_markup_is_escaped() -> None:
    assert plain("**b** [a](x) `c` <i> $x$ :red[y]") == (
        r"\*\*b\*\* \[a\](x) \`c\` \<i\> \$x\$ \:red\[y\]"
    )


def test_an_address_is_no_link() -> None:
    assert "://" not in plain("http://example.org").replace("\\", "")
    assert "www." not in plain("www.example.org")


def test_lines_and_letters_that_hide_are_gone() -> None:
    assert plain("a\n\n# b\x00\u202ec") == r"a \# b c"


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_one_bounded_line_without_bare_markup(text: str) -> None:
    shown = shortened(text)
    assert len(shown) <= LONGEST
    assert shown == " ".join(shown.split())
    assert not re.search(r"(?<!\\)(\\\\)*[`*_\[\]<>~$#|!&:]", plain(text))


def test_one_is_not_several() -> None:
    found = [counted(number, "run") for number in (0, 1, 2, 1200)]
    assert found == ["0 runs", "1 run", "2 runs", "1,200 runs"]
