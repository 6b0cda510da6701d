"""Signals to end, and what a service makes of them."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from daemon.signals import Interruption, ServiceSignals


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGQUIT)
    yield
    signal.signal(signal.SIGQUIT, before)


@pytest.mark.parametrize(
    ("inherited", "within"),
    [
        (signal.SIG_IGN, signal.SIG_IGN),  # in the background of a script, whose terminal sends it
        (lambda *_: None, signal.SIG_DFL),
    ],
)
def test_sigquit_ends_a_service_where_it_is_not_ignored(
    inherited: signal._HANDLER, within: signal.Handlers
) -> None:
    signal.signal(signal.SIGQUIT, inherited)
    with ServiceSignals():
        assert signal.getsignal(signal.SIGQUIT) is within
    assert signal.getsignal(signal.SIGQUIT) is inherited


def test_a_second_one_ends_also_what_hangs_in_a_share() -> None:
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGQUIT)
        assert interruption.is_requested()
        assert signal.getsignal(signal.SIGQUIT) is signal.SIG_DFL
