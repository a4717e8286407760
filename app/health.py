"""Health check of a container: ``python app/health.py`` ends with 0 where the server answers."""

import os
import sys
import urllib.request

PORT = 8501


def address() -> str:
    """Where Streamlit tells its health: on this machine, under its base path if it has one."""
    port = os.environ.get("STREAMLIT_SERVER_PORT", str(PORT))
    base = os.environ.get("STREAMLIT_SERVER_BASE_URL_PATH", "").strip("/")
    return f"http://127.0.0.1:{port}/{base and f'{base}/'}_stcore/health"


def main() -> int:
    """Return 0 where the server answers within three seconds, else 1."""
    try:
        with urllib.request.urlopen(address(), timeout=3) as answer:
            return 0 if answer.status == 200 else 1
    except OSError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
