"""What a person at a terminal sees of the work that goes on."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import sys
import termios

import pytest

from daemon.progress_bar import progress_bar
from pipeline.progress import Progress


@pytest.mark.parametrize("size", [(24, 80), (0, 0)])
def test_a_bar_is_drawn_also_on_a_terminal_that_states_no_size(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    """As a serial console and the terminal of a container do."""
    outer, inner = pty.openpty()
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    os.set_blocking(outer, False)
    with open(inner, "w", encoding="utf-8") as stream, open(outer, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar() as show:
            show(Progress("protect", 0, 300))
            show(Progress("protect", 300, 300))
        drawn = screen.read()
    assert drawn is not None
    assert b"/300 [" in drawn


def test_nothing_is_drawn_where_standard_error_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar() as show:
        show(Progress("protect", 300, 300))
    assert stream.getvalue() == ""
