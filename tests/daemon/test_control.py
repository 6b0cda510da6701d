"""Pause and drain are files, and what was wished for holds while nobody can read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.control import Control


def test_a_drain_is_a_pause_and_more(tmp_path: Path) -> None:
    control = Control(tmp_path)
    assert (control.is_paused, control.is_draining) == (False, False)
    control.drain()
    assert (control.is_paused, control.is_draining) == (True, True)
    control.resume()
    control.pause()
    assert (control.is_paused, control.is_draining) == (True, False)
    control.drain()
    control.resume()
    assert (control.is_paused, control.is_draining) == (False, False)


@pytest.mark.parametrize("is_paused", [False, True])
def test_the_last_wish_holds_while_the_state_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_paused: bool
) -> None:
    """A service must not end, nor begin or hold up anything, because its disk is away."""
    control = Control(tmp_path)
    if is_paused:
        control.pause()
    assert control.is_paused is is_paused

    def refused(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as closed:
        closed.setattr(Path, "exists", refused)
        assert (control.is_paused, control.is_draining) == (is_paused, False)
        assert not Control(tmp_path).is_paused  # which has never seen any
    control.resume()
    assert not control.is_paused
