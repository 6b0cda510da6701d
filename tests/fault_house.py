"""
A real service whose folders lie on small disks of their own, which tests fill, lock and free.

The disks are those of a mount namespace: they are seen through a process that lives in it, and are
gone with it, whatever becomes of the tests.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services import PATIENCE_SECONDS, ROOT, ServiceHouse, wait_until
from unit_sandbox import NOBODY, kill_all, shown_folders

PLACES = ("inbox", "outbox", "state", "temp")
DISK_BYTES = 24 << 20
_INSIDE = Path("/mnt")
_FILLER = ".filler"
_REFILL_SECONDS = 0.02
_CHUNK = bytes(1 << 16)


@functools.cache
def why_no_disks() -> str | None:
    """Return why there can be no disks of our own here; None where there can."""
    if os.geteuid() != 0:
        return "only root may mount disks"
    for program in ("bwrap", "nsenter", "setpriv", "mount"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not _INSIDE.is_dir():
        return f"there is no {_INSIDE}"
    words = ["bwrap", "--dev-bind", "/", "/", "--size", "4096", "--tmpfs", str(_INSIDE), "true"]
    if subprocess.run(words, capture_output=True).returncode:
        return "bwrap may not mount disks here, or is too old"
    return None


class FaultHouse(ServiceHouse):
    """
    A house whose inbox, outbox, state and temp are disks of 24 MB.

    As its own commands know it, it lies in `/mnt`; `folder` is where tests see it.
    """

    def __init__(self, holder: int, is_root: bool, **settings: Any) -> None:
        self._enter = [f"--target={holder}", "--mount", "--root", f"--wd=/proc/{holder}/root"]
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        self._user = [] if is_root else [*user, "--inh-caps=-all", "--bounding-set=-all"]
        super().__init__(Path(f"/proc/{holder}/root{_INSIDE}"), **settings)

    def command(self, *words: str) -> list[str]:
        """Return the command line that carries out a command of the program."""
        program = [sys.executable, "-m", "daemon", "--config", str(_INSIDE / "config.yaml")]
        return [*self._entered(*self._user), "env", f"PYTHONPATH={ROOT}", *program, *words]

    def _entered(self, *words: str) -> list[str]:
        return ["nsenter", *self._enter, "--", *words]

    def _mount(self, *words: str) -> None:
        subprocess.run(self._entered(*words), check=True, capture_output=True)

    # --- Faults ---

    @contextlib.contextmanager
    def full(self, place: str) -> Iterator[None]:
        """Have no byte left on a disk, whatever is freed on it meanwhile."""
        filler, is_over = self.folder / place / _FILLER, threading.Event()

        def go_on() -> None:
            while not is_over.wait(_REFILL_SECONDS):
                fill(filler)

        fill(filler)
        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            filler.unlink()

    @contextlib.contextmanager
    def read_only(self, place: str) -> Iterator[None]:
        """Let nothing be written any more by a disk's path; what is open may be."""
        path = str(_INSIDE / place)
        self._mount("mount", "--bind", path, path)
        self._mount("mount", "-o", "remount,bind,ro", path)
        try:
            yield
        finally:
            # Lazily: somebody may just look into it.
            self._mount("umount", "--lazy", path)

    @contextlib.contextmanager
    def forbidden(self, place: str, mode: int) -> Iterator[None]:
        """Take rights from a folder."""
        folder = self.folder / place
        before = folder.stat().st_mode & 0o7777
        folder.chmod(mode)
        try:
            yield
        finally:
            folder.chmod(before)

    # --- What is seen ---

    def asked(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the content of an answer."""
        request = urllib.request.Request(self.url + path, headers={"Accept-Language": "en"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def problems(self) -> list[str]:
        """Return what /health says is wrong."""
        status, told = self.asked("health")
        assert (status == 200) == (told["problems"] == []), told
        problems = told["problems"]
        assert isinstance(problems, list)
        return problems

    def wait_for_problem(self, *words: str) -> str:
        """Wait until /health says what is wrong in a sentence with these words; return it."""

        def told() -> str | None:
            found = self.problems()
            return next((p for p in found if all(word in p for word in words)), None)

        sentence = wait_until(told, f"a problem with {words}; {self.problems()}")
        assert isinstance(sentence, str)
        return sentence

    def is_well(self) -> bool:
        return self.asked("health")[0] == 200

    def log_count(self) -> int:
        """Return how many lines both logs have."""
        return len(self.log_lines("server.log")) + len(self.log_lines("queue.log"))


@contextlib.contextmanager
def fault_house(*, is_root: bool = True, **settings: Any) -> Iterator[FaultHouse]:
    """Have a house on disks of its own while the context lasts, and nothing of it afterwards."""
    shown = ["bwrap", "--die-with-parent", "--cap-add", "ALL", "--dev-bind", "/", "/"]
    # So that a user who is not root may run this Python, wherever it lies.
    shown += ["--perms", "0755", "--tmpfs", "/root", *shown_folders()]
    disks = ["--perms", "0777", "--tmpfs", str(_INSIDE)]
    for place in PLACES:
        size = ["--perms", "0777", "--size", str(DISK_BYTES)]
        disks += [*size, "--tmpfs", str(_INSIDE / place)]
    holder = subprocess.Popen([*shown, *disks, "sleep", "infinity"])
    try:
        pid = wait_until(lambda: _sleeper(holder), "the disks are mounted")
        yield FaultHouse(pid, is_root, **settings)
    finally:
        kill_all(holder)


def fill(filler: Path) -> None:
    """Write a file until its disk takes no more, not a byte."""
    with filler.open("ab", buffering=0) as file:
        chunk = _CHUNK
        while chunk:
            try:
                file.write(chunk)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                chunk = chunk[: len(chunk) // 2]


def _sleeper(holder: subprocess.Popen[bytes]) -> int | None:
    assert holder.poll() is None, "bwrap has ended"
    for path in Path(f"/proc/{holder.pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            for pid in path.read_text().split():
                if Path(f"/proc/{pid}/comm").read_text().strip() == "sleep":
                    return int(pid)
    return None
