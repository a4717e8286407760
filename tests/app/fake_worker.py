"""A worker for tests of the desk: does as its job says, without torch.

``{"do": "echo"}`` answers; ``wait`` takes ``seconds``, listening or ``deaf``; ``die`` ends it, and
``die_once`` does unless the file ``mark`` is there; ``refuse``; ``garbage`` is no JSON.
"""

import json
import os
import queue
import sys
import threading
import time
from pathlib import Path

jobs: "queue.SimpleQueue[dict]" = queue.SimpleQueue()
cancelled: set[int] = set()


def read() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "cancel" in message:
            cancelled.add(message["cancel"])
        else:
            jobs.put(message)
    os._exit(0)


def say(message: dict) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def do(number: int, job: dict) -> dict:
    if job["do"] == "die" or (job["do"] == "die_once" and not Path(job["mark"]).exists()):
        if "mark" in job:
            Path(job["mark"]).touch()
        os._exit(1)
    if job["do"] == "refuse":
        return {"refused": "expected something else"}
    if job["do"] == "garbage":
        sys.stdout.write("no JSON\n")
        sys.stdout.flush()
        time.sleep(60)
    until = time.monotonic() + job.get("seconds", 0)
    while time.monotonic() < until:
        if number in cancelled and not job.get("deaf"):
            return {"cancelled": True}
        say({"id": number, "share": 0.5})
        time.sleep(0.01)
    return {"result": {"said": job.get("say"), "pid": os.getpid()}}


threading.Thread(target=read, daemon=True).start()
time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
say({"ready": {"device": "fake"}})
while True:
    message = jobs.get()
    say({"id": message["id"], **do(message["id"], message["job"])})
