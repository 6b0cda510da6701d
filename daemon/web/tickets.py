"""
Tickets: for some hours one result may be had by a link alone, as browsers download and play.

A browser sends no header of ours with a download, so the page asks for a link by its key. The
ticket in it is signed with the key's own hash, which only we have: it opens one task's result, and
ends with its key.
"""

from __future__ import annotations

from itsdangerous import BadData, URLSafeTimedSerializer

from daemon.keys import Key, Keys

# Long enough to watch what it opens, or to go on with a download that broke off.
SECONDS = 6 * 3600
_SALT = "media-cleaner download"


def ticket_of(key: Key, task_id: str) -> str:
    """Return a ticket for the result of one task."""
    return _signer(key).dumps([key.name, task_id])


def key_behind(ticket: str, task_id: str, keys: Keys) -> Key | None:
    """
    Return the key by which a ticket was had; None where it is not for this task, or void by now.

    Raises:
        OSError: the keys cannot be looked at, and never could.
    """
    key = keys.named(_name_in(ticket))
    if key is None:
        return None
    try:
        signed = _signer(key).loads(ticket, max_age=SECONDS)
    except BadData:
        return None
    return key if signed == [key.name, task_id] else None


def _name_in(ticket: str) -> str:
    """Return which key a ticket says that it comes from, whether that is true or not."""
    _, content = URLSafeTimedSerializer("", salt=_SALT).loads_unsafe(ticket)
    is_ours = isinstance(content, list) and content and isinstance(content[0], str)
    return content[0] if is_ours else ""


def _signer(key: Key) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key.sha256, salt=_SALT)
