"""
Three threads with bounded queues between them: produce, transform, consume.

PyAV leaves Python's lock while FFmpeg works, so decoding, protecting and encoding overlap.
Memory is bounded by the queues. The calling thread only watches, so that a cancellation is
answered at once even when a stage is deep inside a slow encoder. Such a stage is left
behind; so nobody but its own thread may close what it works on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from queue import Empty, Full, Queue
from typing import Generic, Protocol, TypeVar

from pipeline.errors import Cancelled

In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

_POLL_SECONDS = 0.05
# How long the stages may take to notice that the work is off. One still inside FFmpeg after
# that is left behind: it ends by itself as soon as its call returns.
_FAREWELL_SECONDS = 1.0


class Sink(Protocol[T_contra]):
    """Takes results; either closed after the last or abandoned."""

    def write(self, result: T_contra) -> None:
        """Take the next result."""

    def close(self) -> None:
        """Complete what was written."""

    def abandon(self) -> None:
        """Let go of everything; called instead of, or after a failing, `close`."""


def run_stages(
    produce: Generator[In, None, None],
    transform: Callable[[In], Iterable[Out]],
    finish: Callable[[], Iterable[Out]],
    sink: Sink[Out],
    *,
    depth: int,
    cancelled: Callable[[], bool],
) -> None:
    """
    Send everything from `produce` through `transform` to `sink`, in order.

    Args:
        produce: closed in the thread in which it runs.
        finish: what `transform` still holds, asked for once after the last item.
        depth: items that may wait before each stage.
        cancelled: polled about twenty times a second.

    Raises:
        Cancelled: `cancelled` said so.
        Exception: whatever a stage raised first.
    """
    stop = threading.Event()
    decoded: _Link[In] = _Link(depth, stop)
    protected: _Link[Out] = _Link(depth, stop)

    def feed() -> None:
        with closing(produce):
            for item in produce:
                decoded.put(item)
        decoded.end()

    def work() -> None:
        for item in decoded:
            for result in transform(item):
                protected.put(result)
        for result in finish():
            protected.put(result)
        protected.end()

    def drain() -> None:
        try:
            for result in protected:
                sink.write(result)
            sink.close()
        except BaseException:
            sink.abandon()
            raise

    stages: list[_Stage] = []
    try:
        for task in (feed, work, drain):
            stages.append(_Stage(task, stop))
        while any(stage.is_alive() for stage in stages) and not stop.is_set():
            if cancelled():
                raise Cancelled
            stages[-1].join(_POLL_SECONDS)
    finally:
        stop.set()
        deadline = time.monotonic() + _FAREWELL_SECONDS
        for stage in stages:
            stage.join(max(0.0, deadline - time.monotonic()))
    for stage in stages:
        if stage.error is not None:
            raise stage.error


class _Stopped(Exception):
    """Another stage failed or the work was called off."""


class _Stage(threading.Thread):
    def __init__(self, task: Callable[[], None], stop: threading.Event) -> None:
        # Daemonic: a stage left behind inside FFmpeg must not keep the process alive.
        super().__init__(daemon=True, name=task.__name__)
        self.error: BaseException | None = None
        self._task = task
        self._stop_all = stop
        self.start()

    def run(self) -> None:
        try:
            self._task()
        except _Stopped:
            pass  # whoever stopped the work has the reason
        except BaseException as error:  # handed to the caller, who raises it
            self.error = error
            self._stop_all.set()


class _Link(Generic[T]):
    """A bounded queue that lets go of both its ends when the work stops."""

    def __init__(self, depth: int, stop: threading.Event) -> None:
        self._queue: Queue[tuple[T] | None] = Queue(depth)
        self._stop = stop

    def put(self, item: T) -> None:
        self._put((item,))

    def end(self) -> None:
        self._put(None)

    def __iter__(self) -> Iterator[T]:
        while (entry := self._get()) is not None:
            yield entry[0]

    def _put(self, entry: tuple[T] | None) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(entry, timeout=_POLL_SECONDS)
            except Full:
                continue
        raise _Stopped

    def _get(self) -> tuple[T] | None:
        while not self._stop.is_set():
            try:
                return self._queue.get(timeout=_POLL_SECONDS)
            except Empty:
                continue
        raise _Stopped
