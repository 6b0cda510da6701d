"""
Tells those who asked for it that their tasks have ended, until they have taken it.

What is to be told lies on disk (`docs/STATE.md`, "Webhooks") and nothing else counts: a thread
looks at it, at the start, now and then, and where it is told that a task has changed. Few others
send. Each try is written down before the next, so none is lost or forgotten over a restart.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from standardwebhooks import Webhook

from daemon.errors import ConfigError
from daemon.logs import Once, queue_log, server_log
from daemon.spool import Spool
from daemon.spool_errors import RecordDamaged, SpoolError, UnknownTask
from daemon.task import Task, webhook_of
from daemon.task_view import Language, view, written
from daemon.webhook_request import NotSent, Sender
from daemon.webhook_secret import signer
from daemon.webhook_state import WebhookState, WebhookStatus, delivered, failed, given_up
from daemon.webhook_turns import AT_ONCE, Turn, Turns
from daemon.webhook_url import UrlRefused, target_of

SECRET_NAME = "webhook_secret"
_LOOKING, _SENDING = "webhooks cannot be looked at", "webhooks cannot be sent"
_GONE = 410
# After a trouble of our own: the secret cannot be read, the disk refuses.
_TROUBLE_PAUSE = timedelta(seconds=30)
# The longest time without a look at what is due, since the clock may be set.
_LONGEST_WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class WebhookRules:
    """What the configuration says of webhooks; `secret` None is one of our own."""

    allow_private: bool
    secret: str | None
    language: Language


@dataclass(frozen=True)
class _Try:
    """What came of one: what is to be written down, and whether there was any answer."""

    state: WebhookState
    has_answered: bool = True
    details: str = ""


class Webhooks:
    """The threads; `start` and `stop` them once."""

    def __init__(
        self,
        spool: Spool,
        rules: WebhookRules,
        secret: Path,
        changed: Callable[[str], None],
        spread: Callable[[], float] = random.random,
    ) -> None:
        """
        Args:
            secret: the file of our own secret, made where it is needed.
            changed: is told of each task whose `webhook` has changed.
            spread: gives 0 to 1; see `webhook_state.failed`.
        """
        self.rules = rules
        self._spool, self._secret, self._changed = spool, secret, changed
        self._sender = Sender()
        self._spread = spread
        self._turns = Turns()
        self._arrived: deque[str] = deque()
        self._under_way: dict[Future[_Try | None], Turn] = {}
        # What came of tries that could not be written down: they must not be made again.
        self._unwritten: dict[str, _Try] = {}
        self._news = threading.Event()
        self._must_rescan = True
        self._is_stopping = False
        self._troubles: dict[str, str] = {}
        self._once = Once(server_log())
        self._side = ThreadPoolExecutor(AT_ONCE, "webhook")
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Begin; what a former service left is taken up."""
        self._thread.start()

    def stop(self) -> None:
        """Break off what is being sent, and end; it is sent again after the next start."""
        self._is_stopping = True
        self._news.set()
        self._sender.abort()
        self._thread.join()
        self._side.shutdown(wait=True)

    def wake(self, task_id: str) -> None:
        """Say that a task has changed; from any thread."""
        self._arrived.append(task_id)
        self._news.set()

    def rescan(self) -> None:
        """Look through all that is to be told; from any thread."""
        self._must_rescan = True
        self._news.set()

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps ends from being told that is not their receivers' fault, in sentences."""
        return tuple(f"{event}: {reason}" for event, reason in self._troubles.copy().items())

    # --- What is to be told ---

    def _run(self) -> None:
        self._make_secret()
        while not self._is_stopping:
            try:
                self._turn()
                pause_seconds = self._pause_seconds()
            except Exception as error:  # this thread is the only one that looks
                self._tell_trouble(_LOOKING, error)
                self._must_rescan = True
                pause_seconds = _TROUBLE_PAUSE.total_seconds()
            else:
                self._tell_over(_LOOKING)
            self._news.wait(pause_seconds)

    def _turn(self) -> None:
        self._news.clear()
        self._collect()
        if self._must_rescan:
            self._must_rescan = False
            found = self._spool.webhook_ids()
            self._arrived.extend(task_id for task_id in found if task_id not in self._turns)
        while self._arrived:
            self._look(self._arrived.popleft())
        while turn := self._turns.take(self._spool.now()):
            self._begin(turn)

    def _begin(self, turn: Turn) -> None:
        is_void = threading.Event()
        try:
            future = self._side.submit(self._tell, turn.task_id, is_void)
        except RuntimeError:  # the machine has no thread just now; its receiver is not busy then
            is_void.set()  # the pool has kept it all the same, and will come to it
            self._put_off(turn, self._spool.now())
            raise
        self._under_way[future] = turn
        future.add_done_callback(lambda done: self._news.set())

    def _pause_seconds(self) -> float:
        due = self._turns.next_due()
        if due is None:
            return _LONGEST_WAIT_SECONDS
        seconds = (due - self._spool.now()).total_seconds()
        return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)

    def _look(self, task_id: str) -> None:
        """See whether an end is to be told, and when."""
        if not self._spool.has_webhook(task_id):
            return
        try:
            task = self._spool.get(task_id)
            state = webhook_of(task)
            if not task.is_ended:
                return
            if state is None or state.is_settled:
                self._spool.settle_webhook(task_id)
                return
        except UnknownTask:
            with contextlib.suppress(SpoolError):  # held by whoever submits it in this moment
                self._spool.settle_webhook(task_id)
        except SpoolError:
            return  # damaged, which others tell, or held; there is another look
        else:
            self._turns.add(_turn_of(task, state, self._spool.now()))

    # --- Telling it, in threads beside ---

    def _tell(self, task_id: str, is_void: threading.Event) -> _Try | None:
        """Try it once, and write down what came of it; None where it is no longer to be told."""
        if is_void.is_set():
            return None
        came = self._unwritten.get(task_id)
        if came is None:
            try:
                task = self._spool.get(task_id)
            except (UnknownTask, RecordDamaged):
                return None
            state = webhook_of(task)
            if state is None or state.is_settled or not task.is_ended:
                return None
            came = self._tried(task, state)
            if self._is_stopping and not came.has_answered:
                return None  # most likely broken off by ourselves
            self._unwritten[task_id] = came
        self._write_down(task_id, came)
        del self._unwritten[task_id]
        return came

    def _tried(self, task: Task, state: WebhookState) -> _Try:
        now = self._spool.now()
        try:
            target = target_of(str(task.parameters.webhook_url))
        except UrlRefused as error:
            return _Try(given_up(state, error.message))
        body = _body(task, self.rules.language, now)
        headers = _headers(signer(self.rules.secret, self._secret), state.event_id, now, body)
        try:
            status = self._sender.post(target, headers, body, self.rules.allow_private)
        except NotSent as error:
            after = failed(state, error.reason, self._spool.now(), self._spread())
            return _Try(after, has_answered=False, details=error.details)
        return _Try(self._answered(state, status))

    def _answered(self, state: WebhookState, status: int) -> WebhookState:
        now = self._spool.now()
        if 200 <= status < 300:
            return delivered(state, now)
        if status == _GONE:
            return given_up(state, f"answered {status}")
        return failed(state, f"answered {status}", now, self._spread())

    def _write_down(self, task_id: str, came: _Try) -> None:
        try:
            is_noted = self._spool.note_webhook(task_id, came.state)
        except (UnknownTask, RecordDamaged):
            return  # removed, or for the operator to mend: then it is tried again
        if is_noted:
            _log(task_id, came)
            self._changed(task_id)

    def _collect(self) -> None:
        for future in [f for f in self._under_way if f.done()]:
            turn = self._under_way.pop(future)
            now = self._spool.now()
            error = future.exception()
            if error is None:
                came = future.result()
                self._turns.done(turn, came is None or came.has_answered, now)
                self._tell_over(_SENDING)
                self._arrived.append(turn.task_id)
            else:
                self._tell_trouble(_SENDING, error)
                self._put_off(turn, now)

    def _put_off(self, turn: Turn, now: datetime) -> None:
        self._turns.done(turn, True, now)
        later = Turn(now + _TROUBLE_PAUSE, turn.task_id, turn.receiver, turn.user_id)
        self._turns.add(later)

    # --- Trouble of our own ---

    def _make_secret(self) -> None:
        """Have our own secret there before it is needed, for the operator to hand out."""
        try:
            signer(self.rules.secret, self._secret)
        except (ConfigError, OSError) as error:
            self._tell_trouble(_SENDING, error)

    def _tell_trouble(self, event: str, error: BaseException) -> None:
        self._troubles[event] = str(error) or type(error).__name__
        if isinstance(error, (ConfigError, SpoolError, OSError)):
            self._once.tell(event, True, reason=str(error))
        else:
            server_log().error(event, exc_info=error)

    def _tell_over(self, event: str) -> None:
        self._troubles.pop(event, None)
        self._once.tell(event, False)


def _turn_of(task: Task, state: WebhookState, now: datetime) -> Turn:
    try:
        target = target_of(str(task.parameters.webhook_url))
        receiver = f"{target.host}:{target.port}"
    except UrlRefused:
        receiver = ""  # is given up when its turn comes
    return Turn(state.next_attempt_at or now, task.task_id, receiver, task.user_id)


def _body(task: Task, language: Language, now: datetime) -> bytes:
    values = {
        "task_id": task.task_id,
        "status": task.status.value,
        "timestamp": written(task.completed_at or now),
        "task": view(task, language, now),
    }
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    # Undecodable bytes of a file name are written as JSON writes lone surrogates.
    return text.encode("utf-8", "backslashreplace")


def _headers(key: Webhook, event_id: str, now: datetime, body: bytes) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "User-Agent": "MediaCleaner",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": key.sign(event_id, now, body.decode("utf-8")),
    }


def _log(task_id: str, came: _Try) -> None:
    state = came.state
    facts: dict[str, object] = {"task_id": task_id, "attempts": state.attempts}
    if state.status is WebhookStatus.DELIVERED:
        queue_log().info("webhook delivered", **facts)
        return
    facts["reason"] = state.last_error
    if came.details:
        facts["details"] = came.details
    if state.next_attempt_at is None:
        queue_log().warning("webhook given up", **facts)
    else:
        again = state.next_attempt_at.isoformat()
        queue_log().info("webhook failed", **facts, next_attempt_at=again)
