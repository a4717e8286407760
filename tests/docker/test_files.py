"""Dockerfile, compose.yaml and .dockerignore: what they copy is there, what bounds they set stays.

The images themselves are built and driven by build_and_drive.py, which needs root and minutes.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from app import health
from app.views import lab
from featdyn_engine.data import uploads
from tests.docker.build_and_drive import with_ready_snapshot

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
HOSTING = (ROOT / "docs" / "hosting.md").read_text(encoding="utf-8")
IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def stages(text: str) -> list[str]:
    return re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)


def test_full_is_what_a_plain_build_makes() -> None:
    assert stages(DOCKERFILE)[-2:] == ["explorer", "full"]


def test_every_stage_that_is_named_exists() -> None:
    known = stages(DOCKERFILE)
    used = re.findall(r"--from=(\S+)", DOCKERFILE)
    used += [
        name for name in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if "$" not in name
    ]
    assert set(used) <= set(known)


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        source = line.split()[0]
        if source != ".":
            assert (ROOT / source).exists()
            assert f"!{source}" in IGNORE
    assert IGNORE[1] == "*"


def test_the_base_is_pinned_and_torch_comes_from_a_named_index() -> None:
    assert re.search(r"^ARG BASE=python:3\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert "ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu\n" in DOCKERFILE


def test_the_image_runs_as_nobody_in_particular_read_only_by_exec() -> None:
    for line in (
        "USER 10001:10001",
        'ENTRYPOINT ["/venv/bin/python", "/app/app/serve.py"]',
        "STOPSIGNAL SIGTERM",
    ):
        assert f"\n{line}\n" in DOCKERFILE
    assert "FEATDYN_READONLY=1" in DOCKERFILE
    assert "HEALTHCHECK" in DOCKERFILE


@pytest.mark.parametrize(
    "bound",
    ["read_only: true", "mem_limit:", "cpus:", "pids_limit:", "- ALL", "no-new-privileges:true"],
)
def test_compose_sets_bounds(bound: str) -> None:
    assert bound in COMPOSE


@pytest.mark.parametrize("target", ["explorer", "full"])
def test_a_ready_snapshot_takes_the_place_of_its_stage(target: str) -> None:
    text = with_ready_snapshot(DOCKERFILE, target)
    packages = "explorer-packages" if target == "explorer" else "engine-packages"
    assert stages(text) == ["base", "snapshot", packages, "app", target]
    assert "featdyn_engine demo" not in text


def test_the_health_check_fails_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = re.findall(r'CMD \["/venv/bin/python", "(.*)"\]', DOCKERFILE)
    path = ROOT / Path(check).relative_to("/app")
    environment = {**os.environ, "STREAMLIT_SERVER_PORT": "9"}
    command = [sys.executable, *shlex.split(str(path))]
    assert subprocess.run(command, env=environment, check=False).returncode == 1
    monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", "/featdyn/")
    assert health.address() == "http://127.0.0.1:8501/featdyn/_stcore/health"


def test_production_settings_are_on() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    assert settings["browser"]["gatherUsageStats"] is False
    assert settings["client"]["showErrorDetails"] == "none"
    assert settings["server"]["enableXsrfProtection"] is True
    assert settings["server"]["enableCORS"] is True
    # Room for an image and what a browser wraps it in, at the server and at what stands before it.
    largest = settings["server"]["maxUploadSize"]
    assert largest == lab.MOST_MEGABYTES + 1
    assert lab.MOST_MEGABYTES * 2**20 == uploads.MOST_BYTES
    assert f"client_max_body_size {largest}m;" in HOSTING
    assert f"max_size {largest}MB" in HOSTING


STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('here', flush=True); time.sleep(60)"
)


def test_sigterm_ends_a_server_that_does_not_listen() -> None:
    code = f"import sys; from app.serve import serve; serve([sys.executable, '-c', {STUBBORN!r}])"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        process.terminate()
        process.wait(timeout=30)
