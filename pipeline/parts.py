"""A named part of a container: what MP4 calls a box, RIFF a chunk and Matroska an element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

# The kind of bytes that are no part: padding, junk, or what a damaged size left over.
UNPARSED = ""


@dataclass(frozen=True, slots=True)
class Part:
    """
    One part; offsets and sizes in bytes.

    Attributes:
        path: kinds from the top level down; the last is `UNPARSED` for bytes that are no part.
        offset: of the header, in the file.
        header_size: 0 for bytes that are no part.
        payload_size: as stated, which may run past the parent or the file.
    """

    path: tuple[str, ...]
    offset: int
    header_size: int
    payload_size: int

    @property
    def kind(self) -> str:
        """The part's own name."""
        return self.path[-1]

    @property
    def payload_offset(self) -> int:
        """Where the header ends."""
        return self.offset + self.header_size

    @property
    def size(self) -> int:
        """Of header and payload."""
        return self.header_size + self.payload_size

    @property
    def end(self) -> int:
        """Offset after the last stated byte."""
        return self.offset + self.header_size + self.payload_size


def payload_of(file: BinaryIO, part: Part, most: int = 1 << 20) -> bytes:
    """Return the first `most` bytes of a part's payload, fewer where the file ends."""
    file.seek(part.payload_offset)
    return file.read(max(0, min(most, part.payload_size)))
