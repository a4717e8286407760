"""Build the images without a Docker engine and drive them as visitors do.

    python tests/docker/build_and_drive.py WORK [--target explorer] [--mount PATH ...]

Needs root on Debian, and `apt-get install buildah debootstrap`. In WORK: a base image made by
debootstrap, buildah's storage, screenshots, and `report.json` with what was measured. The
container runs in namespaces of its own: a read-only root, 512 MiB of /tmp, no network but the
loopback, the user of the image, its process as number 1. A browser in the same network opens every
page. It fails where an image is larger than it may be, writes where it mustn't, runs as another
user, doesn't get healthy, shows an error, evaluates no splice though it has torch, or is still
there 5 s after SIGTERM with a visitor looking.

`--mount` brings in what pip needs on this machine (its configuration, local packages), read-only,
for the build alone. What was built before is used again: remove WORK/storage to time a whole build.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import memory

ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
BASE = "localhost/featdyn-base"
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
VISIT = Path(__file__).with_name("visit.py")
SMALL_STUDY = "tests/docker/small.toml"
# The other one that needs nothing, vfs, copies the whole image at each step.
STORAGE_DRIVER = os.environ.get("STORAGE_DRIVER", "overlay")
MB = 1e6
MOST_MEGABYTES = {"explorer": 1100}
MOST_SECONDS_FROM_SIGTERM = 5.0


def buildah(work: Path, *words: str) -> str:
    """Run buildah on storage inside ``work``; return what it prints."""
    storage = ["--root", str(work / "storage"), "--runroot", str(work / "run")]
    command = ["buildah", "--storage-driver", STORAGE_DRIVER, *storage, *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return done.stdout.strip()


def make_base(work: Path, mirror: str) -> None:
    """Make an image of a bare Debian with Python, where there is none yet."""
    rootfs = work / "rootfs"
    if not (rootfs / "usr/bin/python3").exists():
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE]
        subprocess.run([*command, str(rootfs), mirror], check=True, stdout=subprocess.DEVNULL)
        # As official images do: packages once installed, and lists of others, only take room.
        for folder in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(rootfs / folder)
    if BASE not in buildah(work, "images", "--format", "{{.Name}}").split():
        container = buildah(work, "from", "scratch")
        buildah(work, "add", "--quiet", container, str(rootfs), "/")
        buildah(work, "config", "--env", SEARCH_PATH, container)
        buildah(work, "commit", "--quiet", "--rm", container, BASE)


def with_ready_snapshot(text: str, target: str) -> str:
    """Return the Dockerfile with a ready snapshot in place of the stage that computes one.

    What that stage alone needs goes too: this buildah makes every stage above its target.
    """
    head, *stages = text.split("\nFROM ")
    packages = "explorer-packages" if target == "explorer" else "engine-packages"
    wanted = ("base", packages, "app", target)
    kept = [stage for stage in stages if stage.splitlines()[0].split()[-1] in wanted]
    ready = "scratch AS snapshot\nCOPY --from=ready . /snapshot/explorer/"
    ready += "\nCOPY --from=ready . /snapshot/full/\n"
    return "\nFROM ".join([head, kept[0], ready, *kept[1:]])


def build(work: Path, target: str, asked: argparse.Namespace) -> float:
    """Build a target of the Dockerfile; return the seconds it took."""
    words = ["bud", "--isolation", "chroot", "--network", "host", "--format", "docker", "--layers"]
    words += ["--target", target, "--tag", f"localhost/featdyn:{target}"]
    arguments = {"BASE": BASE, "STUDY": asked.study, "TORCH_INDEX": asked.torch_index}
    for name, value in arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    for mount in asked.mount:
        words += ["--volume", f"{mount}:{mount}:ro"]
    if asked.snapshot:
        text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
        (work / "Dockerfile").write_text(with_ready_snapshot(text, target), encoding="utf-8")
        words += ["--file", str(work / "Dockerfile")]
        words += ["--build-context", f"ready={asked.snapshot.resolve()}"]
    started = time.monotonic()
    buildah(work, *words, ".")
    return time.monotonic() - started


def size(folder: Path) -> int:
    """Bytes of the files under a folder, as on a disk."""
    done = subprocess.run(["du", "-s", "-B1", str(folder)], stdout=subprocess.PIPE, check=True)
    return int(done.stdout.split()[0])


def start(root: Path, config: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start the image's own command in namespaces of its own, its root read-only."""
    words = [*config["Entrypoint"], *config["Cmd"]]
    script = (
        'set -e; ip link set lo up; mount --make-rprivate /; mount --bind "$0" "$0"; '
        'mount -t tmpfs -o size=512m,mode=1777 tmpfs "$0/tmp"; mount -t proc proc "$0/proc"; '
        'mount --bind /dev "$0/dev"; mount -o remount,bind,ro "$0"; user="$1"; shift; '
        'exec chroot --userspec="$user" "$0" /usr/bin/env -i "$@"'
    )
    place = ["-C", config.get("WorkingDir") or "/"]
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "sh", "-c", script, str(root)]
    command += [config["User"], *place, *config["Env"], *words]
    return subprocess.Popen(command, stdout=sys.stderr, stderr=sys.stderr)


def first_process(parent: int) -> int:
    """Process, seen from outside, that is number 1 inside."""
    for _ in range(200):
        text = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        if text:
            return int(text[0])
        time.sleep(0.05)
    raise RuntimeError("the container did not start")


def inside(pid: int, user: str, *words: str) -> int:
    """Run a command inside the container as ``user`` (uid:gid); return its exit code."""
    uid, gid = user.split(":")
    spaces = ["--net", "--mount", "--pid", "--root", "--wd", "--setuid", uid, "--setgid", gid]
    return subprocess.call(["nsenter", "--target", str(pid), *spaces, "--", *words])


def wait_healthy(pid: int, user: str, check: list[str], seconds: float) -> float:
    """Ask the image's own health check until it is content; return the seconds it took."""
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        if inside(pid, user, *check) == 0:
            return time.monotonic() - started
        time.sleep(0.5)
    raise RuntimeError(f"the container was not healthy within {seconds:.0f} s")


def expect(holds: bool, sentence: str) -> None:
    """Raise RuntimeError with the sentence unless it holds."""
    if not holds:
        raise RuntimeError(f"expected: {sentence}")


def check_confined(pid: int, user: str) -> None:
    """Check whose process it is, and that no one writes anywhere but to /tmp."""
    status = Path(f"/proc/{pid}/status").read_text()
    uids = status.split("\nUid:")[1].splitlines()[0].split()
    expect(set(uids) == {user.split(":")[0]} and "0" not in uids, f"user {user}, got {uids}")
    for path in ("/app/app/written", "/snapshot/written", "/venv/written", "/written"):
        for who in (user, "0:0"):
            expect(inside(pid, who, "touch", path) != 0, f"{path} can't be written by {who}")
    expect(inside(pid, user, "touch", "/tmp/written") == 0, f"{user} may write to /tmp")


def stop_while_watched(pid: int, process: subprocess.Popen[bytes]) -> float:
    """Send SIGTERM to the first process; return the seconds until the container is gone."""
    started = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    process.wait(timeout=60)
    seconds = time.monotonic() - started
    expect(seconds <= MOST_SECONDS_FROM_SIGTERM, f"an end soon after SIGTERM, got {seconds:.1f} s")
    return seconds


def run_and_visit(root: Path, config: dict[str, Any], shots: Path) -> dict[str, Any]:
    """Run the image's command, check what it may, open every page, stop it; say what was seen."""
    user = config["User"]
    found: dict[str, Any] = {}
    process = start(root, config)
    try:
        pid = first_process(process.pid)
        check = config["Healthcheck"]["Test"][1:]
        found["healthy_after_seconds"] = round(wait_healthy(pid, user, check, 300), 1)
        check_confined(pid, user)
        command = ["nsenter", "--target", str(pid), "--net", "--", sys.executable, str(VISIT)]
        pipe = subprocess.PIPE
        with subprocess.Popen([*command, str(shots)], stdin=pipe, stdout=pipe, cwd=ROOT) as visitor:
            assert visitor.stdout is not None
            line = visitor.stdout.readline()
            expect(bool(line), "every page without an error; what was seen is said above")
            found |= json.loads(line)
            found["resident_megabytes"] = memory.megabytes(pid)
            found["seconds_from_sigterm"] = round(stop_while_watched(pid, process), 2)
            visitor.communicate()
        found["exit_code"] = process.returncode
    finally:
        process.kill()
    return found


def drive(work: Path, target: str, asked: argparse.Namespace) -> None:
    """Build, run and open the image of a target; write what was found beside the others."""
    found: dict[str, Any] = {"shown": str(asked.snapshot or asked.study or "demo")}
    found["build_seconds"] = round(build(work, target, asked), 1)
    image = json.loads(buildah(work, "inspect", "--type", "image", f"localhost/featdyn:{target}"))
    config = image["Docker"]["config"]
    container = buildah(work, "from", f"localhost/featdyn:{target}")
    try:
        root = Path(buildah(work, "mount", container))
        found["megabytes"] = round(size(root) / MB)
        found["megabytes_of_the_base"] = round(size(work / "rootfs") / MB)
        most = MOST_MEGABYTES.get(target, float("inf"))
        expect(found["megabytes"] <= most, f"{target} of {most} MB at most, got {found}")
        has_torch = bool(list(root.glob("venv/lib/python3*/site-packages/torch")))
        expect(has_torch == (target == "full"), f"torch in full alone, got {has_torch} in {target}")
        found |= run_and_visit(root, config, work / target)
        live = found["lab"].startswith("Computed on ")
        expect(live == has_torch, f"a live splice where torch is, got {found['lab']!r}")
    finally:
        buildah(work, "rm", container)
    report = work / "report.json"
    whole = json.loads(report.read_text()) if report.exists() else {}
    report.write_text(json.dumps({**whole, target: found}, indent=1) + "\n")
    print(json.dumps({target: found}, indent=1))


def main() -> int:
    """Build and drive the targets asked for. Returns 2 where the tools are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--target", action="append", choices=["explorer", "full"])
    parser.add_argument("--snapshot", type=Path, help="shown in place of a study run in the build")
    parser.add_argument("--study", default=SMALL_STUDY, help="empty: the demo")
    parser.add_argument("--torch-index", default="https://download.pytorch.org/whl/cpu")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--mount", action="append", default=[])
    asked = parser.parse_args()
    missing = [tool for tool in ("buildah", "debootstrap", "unshare") if not shutil.which(tool)]
    if missing or os.geteuid() != 0:
        print(f"expected root and {', '.join(missing) or 'its rights'}; apt-get install them")
        return 2
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    make_base(work, asked.mirror)
    for target in asked.target or ["explorer", "full"]:
        drive(work, target, asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
