"""
Tags inside the headers of Vorbis, Theora and FLAC, which decoders need and muxers copy.

Source: Vorbis I specification, section 5; Theora specification, section 6.3; RFC 9639, section 8.6.
"""

from __future__ import annotations

from collections.abc import Iterator

# How the second of a codec's three headers begins, and how it ends: Vorbis' by a framing bit.
_COMMENT_HEADERS = ((b"\x03vorbis", b"\x01"), (b"\x81theora", b""))
_NOTHING = bytes(8)  # no vendor, no comments
_FLAC_MAGIC = b"fLaC"
_FLAC_COMMENT = 4
_NEUTRAL_VENDORS = frozenset({b"", b"Lavf", b"ffmpeg"})  # the last is its Ogg muxer's word
# How the channels lie, not a tag in spirit.
_PLAYBACK = frozenset({"WAVEFORMATEXTENSIBLE_CHANNEL_MASK"})


def comment_findings(extradata: bytes) -> Iterator[str]:
    """Yield what the comment in a codec's headers says, in words; nothing for other codecs."""
    for begin, _ in _COMMENT_HEADERS:
        at = extradata.find(begin)
        if at >= 0:
            yield from _in_comment(extradata[at + len(begin) :])
    if extradata[:4] == _FLAC_MAGIC:
        yield from (f for block in _flac_comments(extradata) for f in _in_comment(block))


def without_comment(extradata: bytes) -> bytes:
    """Return the headers of Vorbis or Theora with an empty comment; anything else as it is."""
    for split, joined in ((_from_lacing, _in_lacing), (_from_sizes, _in_sizes)):
        first, comment, last = split(extradata)
        for begin, end in _COMMENT_HEADERS:
            if comment.startswith(begin):
                return joined(first, begin + _NOTHING + end, last)
    return extradata


def _from_lacing(extradata: bytes) -> tuple[bytes, bytes, bytes]:
    """Return headers in Xiph lacing: their number less one, the sizes of all but the last."""
    if extradata[:1] != b"\x02":
        return b"", b"", b""
    sizes, at = [], 1
    for _ in range(2):
        size = 0
        while at < len(extradata) and extradata[at] == 255:
            size, at = size + 255, at + 1
        size += extradata[at] if at < len(extradata) else 0
        sizes.append(size)
        at += 1
    second, third = at + sizes[0], at + sum(sizes)
    return extradata[at:second], extradata[second:third], extradata[third:]


def _in_lacing(first: bytes, comment: bytes, last: bytes) -> bytes:
    return bytes([2]) + _laced(len(first)) + _laced(len(comment)) + first + comment + last


def _from_sizes(extradata: bytes) -> tuple[bytes, bytes, bytes]:
    """Return headers each after its size in two bytes, as FFmpeg has Theora's out of Ogg."""
    headers, at = [], 0
    for _ in range(3):
        size = int.from_bytes(extradata[at : at + 2])
        headers.append(extradata[at + 2 : at + 2 + size])
        at += 2 + size
    return headers[0], headers[1], headers[2]


def _in_sizes(*headers: bytes) -> bytes:
    return b"".join(len(header).to_bytes(2) + header for header in headers)


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
