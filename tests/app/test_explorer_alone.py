"""The explorer where torch is not installed: every page, and what it is installed by."""

import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENT = re.compile(r"^([A-Za-z0-9_-]+)==(\S+)$", re.MULTILINE)
# What requirements.txt has and requirements-explorer.txt lacks, by the names they are imported by.
LACKING = ("torch", "torchvision", "sklearn", "safetensors", "pydantic", "typer", "filelock")
LACKING += ("statsmodels", "umap", "numba", "ot", "threadpoolctl")

PAGES = """
import sys
from streamlit.testing.v1 import AppTest

# As if not installed, both for import and for importlib.util.find_spec.
sys.modules.update(dict.fromkeys({lacking!r}))

def draw(path):
    from app.pages import PAGES, shown
    next(shown(page) for page in PAGES if page.path == path)()

from app.pages import PAGES
import app.health
charts = 0
for page in PAGES:
    test = AppTest.from_function(draw, default_timeout=120, args=(page.path,)).run()
    assert not test.exception, (page.path, test.exception[0].value)
    assert not test.error, (page.path, test.error[0].value)
    charts += len(test.get("vega_lite_chart"))
assert not [name for name in {lacking!r} if sys.modules[name] is not None]
print("charts", charts)
"""


def draw_all(python: str, home: Path, folder: Path, lacking: tuple[str, ...]) -> None:
    """Draw every page of a home in a fresh interpreter without these packages."""
    script = folder / "pages.py"
    script.write_text(PAGES.format(lacking=lacking))
    done = subprocess.run(
        [python, str(script)],
        env={"FEATDYN_HOME": str(home), "FEATDYN_READONLY": "1", "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) >= 15


def test_every_page_draws_without_torch(cube_home: Path, tmp_path: Path) -> None:
    draw_all(sys.executable, cube_home, tmp_path, LACKING)


def versions(name: str) -> dict[str, str]:
    return dict(REQUIREMENT.findall((ROOT / name).read_text()))


def test_its_versions_are_those_of_all_requirements() -> None:
    explorer, everything = versions("requirements-explorer.txt"), versions("requirements.txt")
    assert explorer
    assert explorer.items() <= everything.items()
    assert not {"torch", "torchvision"} & set(explorer)


@pytest.mark.slow
def test_every_page_draws_where_only_its_requirements_are_installed(
    cube_home: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    requirements = str(ROOT / "requirements-explorer.txt")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
    draw_all(python, cube_home, tmp_path, ())
