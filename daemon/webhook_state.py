"""
How far telling somebody of a task's end has come, and when it is tried again. No I/O.

The pauses are those that Standard Webhooks suggests.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

# After the first try, the second, and so on; after one try more it is given up.
PAUSES_SECONDS = (5, 30, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)


class WebhookStatus(StrEnum):
    """Whether a task's end has been told; the values are what records and answers say."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, kw_only=True)
class WebhookState:
    """
    The telling of one end.

    Attributes:
        event_id: which end, and which task's; the same at each try.
        attempts: how often it was tried.
        last_error: why the last try failed; None before one, and once it was delivered.
        next_attempt_at: when it is tried next; None for at once, and when there is none.
    """

    event_id: str
    status: WebhookStatus = WebhookStatus.PENDING
    attempts: int = 0
    last_error: str | None = None
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None

    @property
    def is_settled(self) -> bool:
        """Is there nothing left to be tried?"""
        return self.status is not WebhookStatus.PENDING


def delivered(state: WebhookState, now: datetime) -> WebhookState:
    """Return it as it is when the receiver has taken it."""
    return dataclasses.replace(
        _tried(state), status=WebhookStatus.DELIVERED, last_error=None, delivered_at=now
    )


def failed(state: WebhookState, reason: str, now: datetime, spread: float) -> WebhookState:
    """
    Return it as it is after a try that failed; given up, if that was the last.

    Args:
        spread: 0 to 1; lengthens the pause by up to a tenth, so that what failed together
            is not tried again together.
    """
    if state.attempts >= len(PAUSES_SECONDS):
        return given_up(state, reason)
    seconds = PAUSES_SECONDS[state.attempts] * (1 + spread / 10)
    return dataclasses.replace(
        _tried(state), last_error=reason, next_attempt_at=now + timedelta(seconds=seconds)
    )


def given_up(state: WebhookState, reason: str) -> WebhookState:
    """Return it as it is after a try that no other will follow."""
    return dataclasses.replace(_tried(state), status=WebhookStatus.GIVEN_UP, last_error=reason)


def _tried(state: WebhookState) -> WebhookState:
    return dataclasses.replace(state, attempts=state.attempts + 1, next_attempt_at=None)
