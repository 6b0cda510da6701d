"""How far the work is, for a person at a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.progress import Progress


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """Give what to call with each `Progress`; without a terminal on standard error it is mute."""
    if sys.stderr is None or not sys.stderr.isatty():  # None where it is closed
        yield lambda progress: None
        return
    from tqdm import tqdm

    # A serial console and a container's terminal may state no size; on none tqdm draws nothing.
    has_size = all(os.get_terminal_size(sys.stderr.fileno()))
    size: dict[str, Any] = {"dynamic_ncols": True} if has_size else {"ncols": 80, "nrows": 24}
    with tqdm(unit=" frames", leave=False, file=sys.stderr, **size) as bar:

        def show(progress: Progress) -> None:
            if not bar.desc.startswith(progress.phase):
                bar.reset(total=progress.total)
                bar.set_description(progress.phase, refresh=False)
            bar.update(progress.frames - bar.n)

        yield show
