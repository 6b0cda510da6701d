"""Work that is killed before its n-th step, a step being whatever changes the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from daemon import atomic

_KILLED = 77
_CHANGES = ("open", "fsync", "rename", "link", "unlink", "rmdir", "mkdir")


def killed_before(step: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process that ends before its `step`-th change; return whether it did."""
    pid = os.fork()
    if pid == 0:
        try:
            _arm(step)
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, _KILLED)
    return code == _KILLED


def _arm(step: int) -> None:
    """Have the `step`-th change of the disk end this process."""
    left = [step]

    def armed(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os._exit(_KILLED)
            return real(*args, **options)

        return call

    for name in _CHANGES:
        setattr(os, name, armed(getattr(os, name)))
    atomic._renameat2 = armed(atomic._renameat2)  # type: ignore[assignment]
