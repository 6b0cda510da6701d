"""Whether the queue takes new work, and how much there is: what `pause` and its like answer."""

from __future__ import annotations

from daemon import health
from daemon.console import say, say_json
from daemon.operator_queue import OperatorQueue
from daemon.task import Status

_WORDS = {
    "open": "New work is begun",
    "paused": "Paused: nothing new is begun until `media-cleaner resume`",
    "draining": "Draining: what runs is finished or put back, nothing new is begun"
    " until `media-cleaner resume`",
}


def counted(queue: OperatorQueue) -> dict[str, int]:
    """Return how many tasks there are, altogether and by status."""
    counts = {status.value: count for status, count in queue.spool.counts().items()}
    return {"total": sum(counts.values()), **counts}


def intake_of(queue: OperatorQueue) -> str:
    """Return whether new work is begun: `open`, `paused` or `draining`."""
    control = queue.spool.control
    if control.is_draining:
        return "draining"
    return "paused" if control.is_paused else "open"


def say_intake(queue: OperatorQueue, as_json: bool) -> None:
    """Say what is so now."""
    counts, intake = counted(queue), intake_of(queue)
    if as_json:
        say_json({"intake": intake, "queue": counts})
        return
    running, waiting = counts[Status.PROCESSING], counts[Status.PENDING]
    say([f"{_WORDS[intake]}; running {running}, waiting {waiting}.", *_without_service(queue)])


def _without_service(queue: OperatorQueue) -> list[str]:
    is_there = health.is_process_alive(queue.state) or health.is_fresh(
        health.read(queue.state), queue.spool.now()
    )
    return [] if is_there else ["No service runs on this state just now; the next one heeds it."]
