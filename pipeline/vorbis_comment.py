"""
Tags inside the headers of Vorbis and FLAC, which decoders need and muxers copy.

Source: Vorbis I specification, section 5; RFC 9639, section 8.6.
"""

from __future__ import annotations

from collections.abc import Iterator

_VORBIS_HEADER = b"\x03vorbis"
# No vendor, no comments, framing bit.
_EMPTY_COMMENT = _VORBIS_HEADER + bytes(8) + b"\x01"
_FLAC_MAGIC = b"fLaC"
_FLAC_COMMENT = 4
_NEUTRAL_VENDORS = frozenset({b"", b"Lavf"})
# How the channels lie, not a tag in spirit.
_PLAYBACK = frozenset({"WAVEFORMATEXTENSIBLE_CHANNEL_MASK"})


def comment_findings(extradata: bytes) -> Iterator[str]:
    """Yield what the comment in a codec's headers says, in words; nothing for other codecs."""
    at = extradata.find(_VORBIS_HEADER)
    if at >= 0:
        yield from _in_comment(extradata[at + len(_VORBIS_HEADER) :])
    elif extradata[:4] == _FLAC_MAGIC:
        yield from (f for block in _flac_comments(extradata) for f in _in_comment(block))


def without_vorbis_comment(extradata: bytes) -> bytes:
    """
    Return Vorbis' three headers with an empty comment; anything else as it is.

    The headers stand in Xiph lacing: their number less one, the sizes of all but the last.
    """
    if extradata[:1] != b"\x02":
        return extradata
    sizes, at = [], 1
    for _ in range(2):
        size = 0
        while at < len(extradata) and extradata[at] == 255:
            size, at = size + 255, at + 1
        size += extradata[at] if at < len(extradata) else 0
        sizes.append(size)
        at += 1
    first, comment = extradata[at : at + sizes[0]], extradata[at + sizes[0] : at + sum(sizes)]
    if not comment.startswith(_VORBIS_HEADER):
        return extradata
    last = extradata[at + sum(sizes) :]
    lacing = bytes([2]) + _laced(len(first)) + _laced(len(_EMPTY_COMMENT))
    return lacing + first + _EMPTY_COMMENT + last


def _laced(size: int) -> bytes:
    return b"\xff" * (size // 255) + bytes([size % 255])


def _flac_comments(extradata: bytes) -> Iterator[bytes]:
    at, is_last = 4, False
    while not is_last and at + 4 <= len(extradata):
        is_last, kind = bool(extradata[at] & 0x80), extradata[at] & 0x7F
        size = int.from_bytes(extradata[at + 1 : at + 4])
        if kind == _FLAC_COMMENT:
            yield extradata[at + 4 : at + 4 + size]
        at += 4 + size


def _in_comment(block: bytes) -> Iterator[str]:
    vendor, at = _text(block, 0)
    if vendor not in _NEUTRAL_VENDORS:
        yield f"encoder {vendor[:60].decode('utf-8', 'replace')!r} in the codec's header"
    count, at = int.from_bytes(block[at : at + 4], "little"), at + 4
    for _ in range(count):
        if at >= len(block):
            return
        comment, at = _text(block, at)
        name = comment.split(b"=")[0][:60].decode("ascii", "replace")
        if name.upper() not in _PLAYBACK:
            yield f"tag {name} in the codec's header"


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    size = int.from_bytes(block[at : at + 4], "little")
    return block[at + 4 : at + 4 + size], at + 4 + size
