"""How the app starts the live worker: ``python -m featdyn_engine.live_start``.

Little of what is imported becomes garbage: looking for it, again and again, among what torch brings
along would take a part of the time until the first answer.
"""

import gc
import os
import sys


def main() -> None:
    """Import the worker and serve standard input and output."""
    # Pages come before splices where both want a core. Threads that start later inherit it.
    if sys.platform != "win32":
        os.nice(10)
    gc.disable()
    from featdyn_engine import live_worker

    gc.freeze()
    gc.enable()
    live_worker.main()


if __name__ == "__main__":
    main()
