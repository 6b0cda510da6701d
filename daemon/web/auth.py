"""
Who calls, and what they may.

With a key configured, each route but the open ones wants one. Without any, only the machine
itself is served, directly and by a name of its own: a proxy's word that a request is local is
void, and so is the browser of someone whose name server says that a stranger's host is here.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from flask import Flask, g, request

from daemon.keys import Key
from daemon.logs import server_log
from daemon.task import Task
from daemon.web.addresses import (
    Address,
    address_of,
    authority_of,
    client_address,
    is_loopback,
    is_loopback_host,
    is_same_origin,
    networks_of,
)
from daemon.web.context import Context, context
from daemon.web.errors import ApiError
from daemon.web.tickets import key_behind
from daemon.web.tries import Tries

HEADER = "X-API-Key"
# The page, its documentation and what both are made of ask for nobody's name.
OPEN_ROUTES = frozenset({"/", "/health", "/docs", "/favicon.ico"})
OPEN_FOLDERS = ("/static/", "/docs/")
# Where a ticket opens what it was made for.
_TICKET_ROUTE = "/download/<task_id>"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
# In the spelling that `str.title` gives.
_FORWARDED = ("Forwarded", "Via", "X-Real-Ip")
_FORWARDED_PREFIX = "X-Forwarded-"
_TRIES, _TRIES_SECONDS = 10, 60.0


@dataclass(frozen=True)
class Caller:
    """
    Who calls.

    Attributes:
        user_id: whose uploads theirs are; None for no one in particular.
        is_admin: sees and may do everything.
        name: of their key; None where they need none.
    """

    user_id: str | None
    is_admin: bool
    name: str | None = None

    def may_see(self, task: Task) -> bool:
        """Is the task theirs? What is not is for them as if it were not there."""
        return self.is_admin or (task.user_id is not None and task.user_id == self.user_id)


_OPERATOR = Caller(user_id=None, is_admin=True)
_ANYBODY = Caller(user_id=None, is_admin=False)


def install(app: Flask) -> None:
    """Let nobody in who may not; `keep` has been called before."""
    with app.app_context():
        door = _Door(context())
    app.before_request(door.admit)


def caller() -> Caller:
    """Return who calls in the current request."""
    known: Caller = g.caller
    return known


def require_admin() -> None:
    """
    Raises:
        ApiError: the caller is no admin.
    """
    if not caller().is_admin:
        raise ApiError(403, "admin_only", "auth.admin_only")


def is_forwarded() -> bool:
    """Does the request say that it came through a proxy?"""
    return any(
        name.title() in _FORWARDED or name.title().startswith(_FORWARDED_PREFIX)
        for name, _ in request.headers
    )


def check_key_again() -> None:
    """
    Look whether the caller's key, sent as a header, still counts; a large upload takes hours.

    Raises:
        ApiError: it was revoked meanwhile, or there was none and one is needed by now.
    """
    keys = context().keys
    given = request.headers.get(HEADER)
    is_known = given is not None and keys.find(given) is not None
    if not is_known and (caller().name is not None or keys.were_there):
        raise _invalid_key()


class _Door:
    def __init__(self, known: Context) -> None:
        self._keys = known.keys
        # Read before the first request, so that a state that is out of reach by then closes nothing
        # that was open, such as /health.
        with contextlib.suppress(OSError):
            known.keys.look()
        self._is_required = known.config.auth.required
        self._trusted = networks_of(known.config.trusted_proxies)
        # Each process counts for itself, and requests fall to them at random. How many there are
        # in a unit of their own (0) nothing here tells.
        share = -(-_TRIES // max(1, known.config.web_workers))
        self._tries = Tries(share, _TRIES_SECONDS, time.monotonic)

    def admit(self) -> None:
        """
        Take note of who calls.

        Raises:
            ApiError: they may not.
        """
        _refuse_foreign_origin()
        g.caller = self._caller()

    def _caller(self) -> Caller:
        given = request.headers.get(HEADER)
        key = self._keys.find(given) if given else self._key_behind_ticket()
        if key is not None:
            return Caller(key.user_id, key.is_admin, key.name)
        refusal = self._refusal_of_wrong_key() if given else None
        if self._keys.were_there:
            if not _is_open_route():
                raise refusal or _invalid_key()
            return _ANYBODY
        if self._is_required:
            _refuse_strangers()
        # Where the last key was revoked, whoever still uses it learns so.
        if refusal is not None and not _is_open_route():
            raise refusal
        return _OPERATOR

    def _key_behind_ticket(self) -> Key | None:
        ticket = request.args.get("ticket")
        if ticket is None or _rule() != _TICKET_ROUTE:
            return None
        return key_behind(ticket, (request.view_args or {})["task_id"], self._keys)

    def _refusal_of_wrong_key(self) -> ApiError:
        address = self._client()
        pause = self._tries.note(address)
        if pause is None:
            server_log().warning("wrong API key", address=str(address), route=request.path)
            return _invalid_key()
        again = {"Retry-After": str(pause)}
        return ApiError(429, "too_many_tries", "auth.too_many_tries", headers=again, seconds=pause)

    def _client(self) -> Address | None:
        return client_address(_peer(), request.headers.get("X-Forwarded-For"), self._trusted)


def _is_open_route() -> bool:
    rule = _rule()
    return rule in OPEN_ROUTES or rule.startswith(OPEN_FOLDERS)


def _rule() -> str:
    """Return the route and not the path, which may be spelled in ways that lead elsewhere."""
    return "" if request.url_rule is None else request.url_rule.rule


def _invalid_key() -> ApiError:
    return ApiError(403, "invalid_api_key", "auth.invalid_api_key")


def _refuse_foreign_origin() -> None:
    """Refuse what somebody's page has a visitor's browser do here."""
    origin = request.headers.get("Origin")
    if request.method in _SAFE_METHODS or origin is None:
        return
    if not is_same_origin(origin, request.headers.get("Host", "")):
        raise ApiError(403, "foreign_origin", "auth.foreign_origin")


def _refuse_strangers() -> None:
    host = authority_of(request.headers.get("Host", ""))
    is_local = is_loopback(_peer()) and host is not None and is_loopback_host(host.host)
    if not is_local or is_forwarded():
        raise ApiError(403, "key_required", "auth.key_required")


def _peer() -> Address | None:
    return address_of(request.remote_addr or "")
