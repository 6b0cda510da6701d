"""
Where the time of one video goes: CPU seconds of each stage's calls, as the product makes them.

One encoder thread, so that the encoder works in the thread that calls it. What FFmpeg's
decoder does in threads of its own is the rest of the process's time.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pipeline.protect
import pipeline.readback
import pipeline.video
from pipeline.anchor import Artist
from pipeline.audio import TrackMasker
from pipeline.motion import Follower
from pipeline.parameters import Parameters
from pipeline.protect import protect
from pipeline.reader import Reader
from pipeline.settings import Settings
from pipeline.sound import SoundProtector
from pipeline.stages import _Stage as Stage
from pipeline.video import VideoProtector
from pipeline.writer import Writer

_DECODE, _REST = "decode", "rest"
_CALLS: tuple[tuple[str, Any, str], ...] = (
    ("shrink, flow, cuts", pipeline.video, "flow_picture"),
    ("shrink, flow, cuts", pipeline.video, "is_cut"),
    ("shrink, flow, cuts", Follower, "flow"),
    ("bound, carry", pipeline.video, "largest_change"),
    ("bound, carry", pipeline.video, "limited"),
    ("bound, carry", pipeline.video, "carry"),
    ("anchor", Artist, "begin_shot"),
    ("anchor", Artist, "continue_shot"),
    ("add", pipeline.video, "_add"),
    ("other picture work", VideoProtector, "protect"),
    ("sound: mask", SoundProtector, "_as_float"),
    ("sound: mask", TrackMasker, "push"),
    ("sound: mask", TrackMasker, "finish"),
    ("sound: encode", Writer, "write_sound"),
    ("encode", Writer, "write_picture"),
    ("encode", Writer, "close"),
    ("read back: decode", pipeline.protect, "read_back"),
    ("read back: metrics", pipeline.readback, "_measure"),
    ("audit", pipeline.protect, "audit"),
    ("audit", pipeline.protect, "inventory"),
)


def profiled(source: Path, target: Path, settings: Settings) -> dict[str, Any]:
    """
    Protect `source` into `target`; wraps parts of the product for good.

    Returns:
        frames, and in `stages` CPU milliseconds per frame by the name of the stage.
    """
    clock = _Clock()
    for stage, owner, name in _CALLS:
        setattr(owner, name, clock.timed(stage, getattr(owner, name)))
    Reader.items = clock.timed_items(_DECODE, Reader.items)
    Stage.run = clock.timed(_REST, Stage.run)
    work = clock.timed(_REST, protect)
    work(source, target, Parameters(), settings)  # the first video of a process takes longer
    clock.seconds.clear()
    start = time.process_time()
    frames = work(source, target, Parameters(), settings).report.frames
    total = time.process_time() - start
    clock.seconds[_DECODE] += total - sum(clock.seconds.values())
    order = sorted(clock.seconds, key=lambda stage: -clock.seconds[stage])
    return {
        "frames": frames,
        "total": 1000 * total / frames,
        "stages": {stage: 1000 * clock.seconds[stage] / frames for stage in order},
    }


class _Clock:
    """CPU seconds of this process's Python threads by stage, each call less what it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = threading.local()  # seconds of the calls within the one that runs
        self._lock = threading.Lock()

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, its time added to the stage's."""

        @functools.wraps(function)
        def wrapper(*arguments: Any, **named: Any) -> Any:
            with self._measured(stage):
                return function(*arguments, **named)

        return wrapper

    def timed_items(self, stage: str, generator: Callable[..., Any]) -> Callable[..., Any]:
        """Return the generator function, the time it takes to its next item added."""

        @functools.wraps(generator)
        def wrapper(*arguments: Any, **named: Any) -> Generator[Any, None, None]:
            items = generator(*arguments, **named)
            while True:
                with self._measured(stage):
                    item = next(items, None)
                if item is None:
                    return
                yield item

        return wrapper

    @contextmanager
    def _measured(self, stage: str) -> Iterator[None]:
        outer = getattr(self._inner, "seconds", 0.0)
        self._inner.seconds = 0.0
        start = time.thread_time()
        try:
            yield
        finally:
            spent = time.thread_time() - start
            with self._lock:
                self.seconds[stage] += spent - self._inner.seconds
            self._inner.seconds = outer + spent
