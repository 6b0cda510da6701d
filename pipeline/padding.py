"""Whether room that was left free in a file holds nothing, of whatever container."""

from __future__ import annotations

from typing import BinaryIO

_PIECE_BYTES = 1 << 20


def is_empty(file: BinaryIO, start: int, size: int) -> bool:
    """Whether there is nothing but zeros in `size` bytes from `start`, or up to the file's end."""
    file.seek(start)
    while piece := file.read(max(0, min(size, _PIECE_BYTES))):
        # There may be GB of it: stripping the zeros takes nineteen times as long.
        if piece != bytes(len(piece)):
            return False
        size -= len(piece)
    return True
