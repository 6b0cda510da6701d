"""
What an AVI file says beside picture and sound: an allow-list of its chunks.

Whatever is not known to be harmless is a finding, in words for a report; values are not
repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.chunks import Chunk, walk_chunks
from pipeline.padding import is_empty
from pipeline.parts import UNPARSED, payload_of

_ALLOWED_KINDS = "AVI |AVIX|hdrl|avih|strl|strh|strf|indx|vprp|odml|dmlh|movi|idx1|JUNK"
_ALLOWED = frozenset(_ALLOWED_KINDS.split("|"))
_KINDS_OF_STREAM = frozenset({b"vids", b"auds", b"txts", b"iavs"})
# Room that FFmpeg's muxer kept for an index it did not need.
_UNUSED_INDEX = re.compile(rb"\x04\0\0\0[\0\x01]\0\0\0\d\d(dc|wb|sb|tx|pc|db)\0*")
_UNUSED_LENGTH = re.compile(rb"odmldmlh....\0*", re.DOTALL)
_WORDS = {
    "IDIT": "date (IDIT)",
    "ISMP": "time code (ISMP)",
    "strn": "stream name (strn)",
    "strd": "stream data (strd)",
    "ISFT": "encoder (ISFT)",
    "INAM": "title (INAM)",
    "IART": "artist (IART)",
    "ICRD": "date (ICRD)",
    "ICMT": "comment (ICMT)",
    "ICOP": "copyright (ICOP)",
    "_PMX": "XMP",
}


def avi_findings(file: BinaryIO) -> Iterator[str]:
    """Yield what a file holds that is not on the list, in file order."""
    for chunk in walk_chunks(file):
        if chunk.kind == UNPARSED:
            yield f"{chunk.payload_size} bytes that are no chunk"
        elif chunk.kind == "JUNK":
            yield from _padding(file, chunk)
        elif chunk.kind == "strh" and payload_of(file, chunk, 4) not in _KINDS_OF_STREAM:
            yield "data track (strh)"
        elif chunk.kind in _ALLOWED or chunk.kind == "INFO":  # its members are findings
            continue
        elif "INFO" in chunk.path:
            yield _WORDS.get(chunk.kind, f"tag {chunk.kind}")
        else:
            yield _WORDS.get(chunk.kind, f"chunk {chunk.kind}")


def _padding(file: BinaryIO, chunk: Chunk) -> Iterator[str]:
    payload = payload_of(file, chunk)
    is_known = _UNUSED_INDEX.fullmatch(payload) or _UNUSED_LENGTH.fullmatch(payload)
    passed = len(payload) if is_known else 0
    if not is_empty(file, chunk.payload_offset + passed, chunk.payload_size - passed):
        yield "content in a JUNK chunk"
