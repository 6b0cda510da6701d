"""
Tickets: for some hours one result may be had by a link alone, as browsers download and play.

A browser sends no header of ours with a download, so the page asks for a link by its key. The
ticket in it, the key's name, a time and a signature, is signed with the key's own hash, which only
we have: it opens one task's result, and ends with its key.
"""

from __future__ import annotations

from itsdangerous import BadSignature, TimestampSigner

from daemon.keys import Key, Keys

# Long enough to watch what it opens, or to go on with a download that broke off.
SECONDS = 6 * 3600


def ticket_of(key: Key, task_id: str) -> str:
    """Return a ticket for the result of one task."""
    return _signer(key, task_id).sign(key.name).decode("ascii")


def key_behind(ticket: str, task_id: str, keys: Keys) -> Key | None:
    """
    Return the key by which a ticket was had; None where it is not for this task, or void by now.

    Raises:
        OSError: the keys cannot be looked at, and never could.
    """
    # Nothing is unpacked of what anybody may send: a name is all there is before the signature.
    key = keys.named(ticket.rsplit(".", 2)[0])
    if key is None:
        return None
    try:
        _signer(key, task_id).unsign(ticket, max_age=SECONDS)
    except BadSignature:
        return None
    return key


def _signer(key: Key, task_id: str) -> TimestampSigner:
    # The salt goes into the signing key: a signature for one task is none for another.
    return TimestampSigner(key.sha256, salt=f"media-cleaner download {task_id}")
