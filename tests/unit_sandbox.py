"""
Runs a command under what a unit of systemd's allows, where no systemd is there to do it.

Emulated with bubblewrap (file systems), setpriv (user, capabilities, no new privileges) and
libseccomp (system calls): ProtectSystem, ProtectHome, PrivateTmp, PrivateDevices, StateDirectory
and the like as one writable folder, User, AmbientCapabilities, CapabilityBoundingSet,
SystemCallFilter, MemoryDenyWriteExecute, RestrictNamespaces, RestrictSUIDSGID,
RestrictAddressFamilies, LockPersonality. Not emulated: device ACLs, ProtectProc, limits.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

# Of every Debian; files of another user are `daemon`'s.
NOBODY, DAEMON = 65534, 1
_SYSTEM_PYTHON = "/usr/bin/python3"  # Debian's libseccomp is for it alone
_NAMESPACES = 0x7E020000
_SPECIAL_BITS = 0o6000


def why_not() -> str | None:
    """Return why a unit's restrictions cannot be emulated here; None where they can."""
    if os.geteuid() != 0:
        return "not root"
    for program in ("bwrap", "setpriv", "systemd-analyze", _SYSTEM_PYTHON):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    words = [_SYSTEM_PYTHON, "-c", "import seccomp"]
    if subprocess.run(words, capture_output=True).returncode:
        return "python3-seccomp is not installed"
    if subprocess.run(["bwrap", "--ro-bind", "/", "/", "true"], capture_output=True).returncode:
        return "bwrap may not make namespaces here"
    return None


def sandboxed(unit: Path, writable: Path, *words: str) -> list[str]:
    """Return the command line that runs `words` as `unit` would, which may write to one folder."""
    capabilities = _setting(unit, "AmbientCapabilities").removeprefix("CAP_").lower()
    ambient = [f"--inh-caps=+{capabilities}", f"--ambient-caps=+{capabilities}"]
    return [
        *("bwrap", "--die-with-parent", "--cap-add", "ALL"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *(word for folder in ("/tmp", "/var/tmp", "/dev/shm") for word in _empty(folder, "1777")),
        *(word for folder in ("/home", "/root") for word in _empty(folder, "0755")),
        *shown_folders(),
        *_bound("--ro-bind", unit.parent),
        *_bound("--bind", writable),
        *("--chdir", str(Path(__file__).parents[1])),
        *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
        *("--no-new-privs", *(ambient if capabilities else [])),
        f"--bounding-set=-all{f',+{capabilities}' if capabilities else ''}",
        *(_SYSTEM_PYTHON, __file__, str(unit), *words),
    ]


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """
    Kill what runs in a sandbox, and wait for bwrap itself.

    bwrap's own end does not do it: who changes the user is no longer told of a parent's death.
    """
    for pid in reversed([process.pid, *_below(process.pid)]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended
            for child in path.read_text().split():
                found += [int(child), *_below(int(child))]
    return found


def shown_folders() -> list[str]:
    """Return bwrap's words for Python and the program, wherever they lie."""
    shown = [Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[1]]
    return [word for folder in shown for word in _bound("--ro-bind", folder)]


def _empty(folder: str, mode: str) -> list[str]:
    return ["--perms", mode, "--tmpfs", folder]


def _bound(kind: str, folder: Path) -> list[str]:
    words = []
    for parent in reversed(folder.parents):
        if len(parent.parts) > 2 and parent.parts[1] in ("tmp", "home", "root"):
            words += ["--perms", "0755", "--dir", str(parent)]
    return [*words, kind, str(folder), str(folder)]


def _setting(unit: Path, name: str) -> str:
    found = re.findall(rf"^{name}=(.*)$", unit.read_text(), re.MULTILINE)
    return found[-1] if found else ""


# --- In the sandbox ---


def _allowed_calls(unit: Path) -> set[str]:
    allowed: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", unit.read_text(), re.MULTILINE):
        calls = {call for name in line.lstrip("~").split() for call in _calls(name)}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed | _calls("@default")


@functools.cache
def _calls(name: str) -> frozenset[str]:
    if not name.startswith("@"):
        return frozenset([name])
    words = ["systemd-analyze", "--no-pager", "syscall-filter", name]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    names = (line.strip() for line in lines[1:])
    found = (_calls(name) for name in names if name and not name.startswith("#"))
    return frozenset().union(*found)


def _confine(unit: Path) -> None:
    import seccomp  # type: ignore[import-not-found]

    refused = seccomp.ERRNO(errno.EPERM)
    rules = seccomp.SyscallFilter(refused)

    def allow(call: str, *conditions: Any) -> None:
        try:
            rules.add_rule(seccomp.ALLOW, call, *conditions)
        except RuntimeError:
            return  # a name of another architecture

    def masked(argument: int, mask: int, value: int = 0) -> Any:
        return seccomp.Arg(argument, seccomp.MASKED_EQ, mask, value)

    conditions: dict[str, list[list[Any]]] = {
        "clone": [[masked(0, _NAMESPACES)]],
        "personality": [[seccomp.Arg(0, seccomp.EQ, 0)]],
        "socket": [[seccomp.Arg(0, seccomp.EQ, int(f))] for f in _families(unit)],
        "unshare": [],
        "setns": [],
    }
    for call, mode in {"chmod": 1, "fchmod": 1, "fchmodat": 2, "mkdir": 1, "mkdirat": 2}.items():
        conditions[call] = [[masked(mode, _SPECIAL_BITS)]]
    for call, flags in {"open": 1, "openat": 2}.items():
        conditions[call] = [[masked(flags, os.O_CREAT)], [masked(flags + 1, _SPECIAL_BITS)]]
    if _setting(unit, "MemoryDenyWriteExecute") == "yes":
        # Neither bit, or one of the two.
        conditions["mmap"] = [[masked(2, 6, value)] for value in (0, 2, 4)]
        conditions["mprotect"] = conditions["pkey_mprotect"] = [[masked(2, 4)]]
    for call in _allowed_calls(unit) - {"clone3", "openat2"}:
        for one in conditions.get(call, [[]]):
            allow(call, *one)
    for call in ("clone3", "openat2"):  # whose arguments no filter can see
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), call)
    rules.load()


def _families(unit: Path) -> list[int]:
    import socket

    return [getattr(socket, name) for name in _setting(unit, "RestrictAddressFamilies").split()]


if __name__ == "__main__":
    _confine(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
