"""The app as a process of its own on a free port."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 180


def serve(home: Path, **environment: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start the app on a home; return its process, which is the caller's to end, and its address.

    ``environment``: variables for it beside the own ones.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py"]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "FEATDYN_HOME": str(home), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).close()
            return process, address
        except OSError:
            if time.monotonic() > deadline:
                process.kill()
                raise TimeoutError(f"the app did not start within {PATIENCE} s") from None
            time.sleep(0.2)


def end(process: subprocess.Popen[bytes]) -> None:
    """End it, and wait until it has gone."""
    process.terminate()
    process.wait(timeout=20)
