"""
The language of a track as QuickTime states it, where FFmpeg's muxer leaves it out.

The muxer writes Apple's numbers of old, and has them for a hundred codes; of `deu` and `zho`, for
two, it states none. QuickTime takes the packed three letters of ISO's MP4 as well.

Source: QuickTime File Format Specification, language code values; ISO/IEC 14496-12, 8.4.2.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path

from pipeline.boxes import walk_boxes
from pipeline.language import three_letters
from pipeline.parts import payload_of

_UNSTATED = 0x7FFF
_PACKED = re.compile("[a-z]{3}")


def state_languages(path: Path, languages: Mapping[int, str]) -> None:
    """
    Have tracks of a finished file state the language that they do not, in place.

    Args:
        languages: codes, by the track's place in the file from 0.
    """
    with path.open("r+b") as file:
        headers = [box for box in walk_boxes(file) if box.kind == "mdhd"]
        for place, language in languages.items():
            header, code = headers[place], three_letters(language)
            payload = payload_of(file, header)
            at = 32 if payload[0] == 1 else 20  # times of 64 bits, or of 32
            (stated,) = struct.unpack_from(">H", payload, at)
            if stated == _UNSTATED and _PACKED.fullmatch(code):
                file.seek(header.payload_offset + at)
                file.write(_packed(code))


def _packed(code: str) -> bytes:
    first, second, third = (ord(letter) - 0x60 for letter in code)
    return struct.pack(">H", first << 10 | second << 5 | third)
