"""How the app starts the live worker: ``python -m featdyn_engine.live_start``.

Nothing that is imported becomes garbage: looking for it, again and again, among what torch brings
along would take a fifth of the time until the first answer.
"""

import gc
from importlib import import_module


def main() -> None:
    """Import the worker and serve standard input and output."""
    gc.disable()
    worker = import_module("featdyn_engine.live_worker")
    gc.freeze()
    gc.enable()
    worker.main()


if __name__ == "__main__":
    main()
