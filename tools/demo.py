"""
What `make demo` shows: start the service, drop a clip with a sidecar, wait, show what came of it.

A service that runs already is used and left running; one that is started here is stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from daemon import health
from daemon.config import Config, current_config

_SIDECAR = """\
# What this clip asks for in the place of the defaults.
epsilon: 0.12
audio_level: средний
notes: the demo
"""
_START_SECONDS = 60.0
_WORK_SECONDS = 900.0
_COMMAND = [sys.executable, "-m", "daemon"]


class DemoFailed(Exception):
    """It did not come to its end; the message says why."""


def main() -> int:
    """Run the demo with the clip that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("clip", type=Path, help="the video to drop")
    parser.add_argument("picture", type=Path, help="where to draw original and protected")
    arguments = parser.parse_args()
    config = current_config(None)
    try:
        with _service(config):
            task = _protected(config, arguments.clip)
            _show(config, task, arguments.clip, arguments.picture)
    except DemoFailed as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def _service(config: Config) -> Iterator[None]:
    state = config.place(config.state)
    if health.is_fresh(health.read(state), _now()) and health.is_process_alive(state):
        print("a service runs already; it is used and left running")
        yield
        return
    print("starting the service")
    service = subprocess.Popen([*_COMMAND, "serve"], stdin=subprocess.DEVNULL)
    try:
        _wait_for_start(state, service)
        yield
    finally:
        print("stopping the service")
        service.terminate()
        code = service.wait()
    if code != 0:
        raise DemoFailed(f"the service ended with {code}; look into {config.place(config.logs)}.")


def _wait_for_start(state: Path, service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        found = health.read(state)
        if found is not None and found.pid == service.pid:
            return
        time.sleep(0.1)
    raise DemoFailed("the service did not start; what it said stands above.")


def _protected(config: Config, clip: Path) -> dict[str, Any]:
    """Drop the clip and return its task when it has ended well."""
    inbox = config.inboxes[0]
    name = f"demo-{_now():%Y%m%d-%H%M%S}{clip.suffix}"
    folder = config.place(inbox.inbox)
    # The sidecar first, then the clip by a rename: so it is whole at once and taken at once.
    (folder / f"{name}.yaml").write_text(_SIDECAR, encoding="utf-8")
    shutil.copyfile(clip, folder / f".{name}")
    os.rename(folder / f".{name}", folder / name)
    print(f"dropped {folder / name} with its sidecar")
    task = _ended(config.outbox_of(inbox), Path(name))
    if task["status"] != "completed":
        raise DemoFailed(f"the task is {task['status']}: {task['error_message']}")
    return task


def _ended(outbox: Path, name: Path) -> dict[str, Any]:
    """Return the task of a dropped file when it has ended; show how far it is until then."""
    deadline = time.monotonic() + _WORK_SECONDS
    shown = ""
    while time.monotonic() < deadline:
        for path in outbox.glob(f"*_{name.stem}.status.json"):
            task: dict[str, Any] = json.loads(path.read_bytes())
            told = f"  {task['status_text']}  {task['progress']:.0f} %"
            if told != shown:
                print(told, flush=True)
                shown = told
            if task["completed_at"] is not None:
                return task | {"status_file": str(path)}
        time.sleep(0.2)
    raise DemoFailed("it takes too long; `media-cleaner stats` tells what is wrong.")


def _show(config: Config, task: dict[str, Any], clip: Path, picture: Path) -> None:
    outbox = config.outbox_of(config.inboxes[0])
    protected = outbox / task["output_video"]
    print()
    _run("status", task["task_id"])
    print("\nmeasured again, by `media-cleaner verify`:")
    _run("verify", str(clip), str(protected), "--picture", str(picture))
    print(f"\noriginal     {clip.absolute()}")
    print(f"protected    {protected}")
    print(f"status file  {task['status_file']}")
    print(f"picture      {picture.absolute()}  (original, protected, difference times 8)")


def _run(*words: str) -> None:
    sys.stdout.flush()
    if subprocess.run([*_COMMAND, *words]).returncode != 0:
        raise DemoFailed(f"`media-cleaner {' '.join(words)}` did not work.")


def _now() -> datetime:
    return datetime.now().astimezone()


if __name__ == "__main__":
    sys.exit(main())
