"""docs/pages.md: a picture of every page, each of them there, none too many, small in all."""

import re
from pathlib import Path

from app.pages import PAGES

DOCS = Path(__file__).parents[2] / "docs"
PICTURE = re.compile(r"!\[[^\]]+\]\((pages/[^)]+\.png)\)")


def test_every_page_has_its_picture_and_every_picture_its_place() -> None:
    listed = PICTURE.findall((DOCS / "pages.md").read_text())
    assert {f"pages/{page.path}.png" for page in PAGES} <= set(listed)
    there = {f"pages/{each.name}" for each in (DOCS / "pages").iterdir()}
    assert there == set(listed)


def test_the_pictures_are_small() -> None:
    assert sum(each.stat().st_size for each in (DOCS / "pages").iterdir()) < 3_000_000
