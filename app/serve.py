"""What a container runs: Streamlit, and its end within seconds of SIGTERM.

Streamlit ends by itself only when its last visitor has gone: seen to take more than a minute.
"""

import signal
import subprocess
import sys
from pathlib import Path

PATIENCE = 3.0


def serve(command: list[str]) -> int:
    """Run a command, hand SIGTERM and SIGINT on to it, and end it 3 s later; return its code."""
    with subprocess.Popen(command) as server:

        def leave(number: int, frame: object) -> None:  # noqa: ARG001
            server.send_signal(number)
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)

        signal.signal(signal.SIGALRM, lambda number, frame: server.kill())
        signal.signal(signal.SIGTERM, leave)
        signal.signal(signal.SIGINT, leave)
        return server.wait()


if __name__ == "__main__":
    main = str(Path(__file__).with_name("main.py"))
    sys.exit(serve([sys.executable, "-m", "streamlit", "run", main, *sys.argv[1:]]))
