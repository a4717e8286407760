"""``python -m featdyn_engine`` is ``featdyn``."""

from featdyn_engine.cli import main

if __name__ == "__main__":
    main()
