"""
User data in the SEI of H.264 and HEVC, where encoders write their settings: found, removed, added.

x264 names its version and every setting in a message of type user_data_unregistered, which
FFmpeg's bit-exact flags leave in; phones and editors put texts of their own there. All other
messages (timing, HDR, captions) belong to the picture.

Source: ITU-T H.264 and H.265, 7.3.2.3 and annexes B and D.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_USER_DATA_REGISTERED, _USER_DATA_UNREGISTERED = 4, 5
_START_CODE = re.compile(rb"\x00\x00\x01")
_START_CODE_SIZE = 3
# An escape byte keeps a start code from appearing inside a unit.
_ESCAPED = re.compile(rb"\x00\x00\x03")
_TO_ESCAPE = re.compile(rb"\x00\x00(?=[\x00-\x03])")
_STOP = b"\x80"


@dataclass(frozen=True)
class _Syntax:
    """What differs between the two codecs."""

    header: bytes  # of a unit of SEI that comes before its picture
    is_sei: Callable[[int], bool]  # of a unit's first byte
    is_picture: Callable[[int], bool]  # of the same: a slice

    @property
    def header_size(self) -> int:
        return len(self.header)


_SYNTAX = {
    "h264": _Syntax(b"\x06", lambda first: first & 0x1F == 6, lambda first: 1 <= first & 0x1F <= 5),
    "hevc": _Syntax(
        b"\x4e\x01",
        lambda first: first >> 1 & 0x3F in (39, 40),
        lambda first: first >> 1 & 0x3F < 32,
    ),
}
CODECS_WITH_SEI = frozenset(_SYNTAX)


def without_settings_sei(packet: bytes, codec: str) -> bytes:
    """
    Return an access unit less its user_data_unregistered messages, else byte for byte.

    Other messages in the same unit stay; a unit left empty goes.

    Args:
        packet: in Annex B form, with start codes, as encoders emit it.
        codec: `h264` or `hevc`.
    """
    syntax = _syntax(codec)
    units = list(_annex_b_units(packet))
    originals = [packet[u.start : u.end] for u in units]
    bodies = [_without_user_data(body, syntax) for body in originals]
    if bodies == originals:
        return packet
    ends = [0, *(u.end for u in units)]
    start_codes = [packet[end : u.start] for end, u in zip(ends, units, strict=False)]
    kept = [(code, body) for code, body in zip(start_codes, bodies, strict=True) if body]
    # The first start code of an access unit is longer: it stays when its unit goes.
    first = start_codes[0] + kept[0][1] if kept else b""
    return b"".join((first, *(code + body for code, body in kept[1:]), packet[ends[-1] :]))


def with_registered_user_data(packet: bytes, codec: str, payloads: Iterable[bytes]) -> bytes:
    """
    Return an access unit with a message of type user_data_registered_itu_t_t35 for each payload.

    Args:
        packet: in Annex B form.
        codec: `h264` or `hevc`.
        payloads: from the country's code on.

    Raises:
        ValueError: there is no slice in it.
    """
    syntax = _syntax(codec)
    messages = [bytes((_USER_DATA_REGISTERED,)) + _coded_size(p) + p for p in payloads]
    unit = syntax.header + _escaped(b"".join(messages) + _STOP)
    pictures = (u for u in _annex_b_units(packet) if syntax.is_picture(packet[u.start]))
    picture = next(pictures, None)
    if picture is None:
        raise ValueError("an access unit without a slice")
    at = picture.start - _START_CODE_SIZE
    return packet[:at] + b"\0\0\1" + unit + packet[at:]


def user_data_in(packet: bytes, codec: str, length_size: int | None) -> Iterator[bytes]:
    """
    Yield the payload of each user_data_unregistered message: 16 bytes of UUID, then data.

    Args:
        length_size: bytes of the length before each unit (1 to 4, as in MP4 and Matroska),
            None for start codes.
    """
    syntax = _syntax(codec)
    units = _annex_b_units(packet) if length_size is None else _sized_units(packet, length_size)
    for unit in units:
        if unit.end > unit.start and syntax.is_sei(packet[unit.start]):
            rbsp = _unescaped(packet[unit.start + syntax.header_size : unit.end])
            for message in _messages(rbsp):
                if message.kind == _USER_DATA_UNREGISTERED:
                    yield rbsp[message.payload : message.end]


def length_size_of(extradata: bytes | None, codec: str) -> int | None:
    """Return how many bytes state a unit's length, from `avcC` or `hvcC`; None for start codes."""
    at = {"h264": 4, "hevc": 21}[codec]
    if not extradata or extradata[0] != 1 or len(extradata) <= at + 1:
        return None
    return (extradata[at] & 3) + 1


def user_data_in_extradata(extradata: bytes, codec: str) -> Iterator[bytes]:
    """Yield the payload of each user_data_unregistered message in `avcC`, `hvcC` or Annex B."""
    if length_size_of(extradata, codec) is None:
        yield from user_data_in(extradata, codec, None)
    elif codec == "hevc":
        for unit in _hvcc_units(extradata):
            yield from user_data_in(len(unit).to_bytes(2) + unit, codec, 2)


def _syntax(codec: str) -> _Syntax:
    if codec not in _SYNTAX:
        raise ValueError(f"no SEI in {codec}")
    return _SYNTAX[codec]


@dataclass(frozen=True, slots=True)
class _Unit:
    """One NAL unit: its bytes lie from `start` to `end`."""

    start: int
    end: int


def _annex_b_units(packet: bytes) -> Iterator[_Unit]:
    starts = [match.end() for match in _START_CODE.finditer(packet)]
    limits = [*(start - 3 for start in starts[1:]), len(packet)]
    for start, limit in zip(starts, limits, strict=False):
        # Zeros before a start code are no part of a unit, whose last byte is never zero.
        end = limit
        while end > start and not packet[end - 1]:
            end -= 1
        yield _Unit(start, end)


def _sized_units(packet: bytes, length_size: int) -> Iterator[_Unit]:
    offset = 0
    while offset + length_size < len(packet):
        start = offset + length_size
        offset = start + int.from_bytes(packet[offset:start])
        yield _Unit(start, min(offset, len(packet)))


def _without_user_data(body: bytes, syntax: _Syntax) -> bytes:
    if not body or not syntax.is_sei(body[0]):
        return body
    header, rbsp = body[: syntax.header_size], _unescaped(body[syntax.header_size :])
    messages = list(_messages(rbsp))
    kept = [m for m in messages if m.kind != _USER_DATA_UNREGISTERED]
    if len(kept) == len(messages):
        return body
    if not kept:
        return b""
    cleaned = b"".join(rbsp[m.start : m.end] for m in kept) + _STOP
    return header + _escaped(cleaned)


@dataclass(frozen=True, slots=True)
class _Message:
    """One SEI message of a unit without its escapes; `payload` is where its header ends."""

    kind: int
    start: int
    payload: int
    end: int


def _messages(rbsp: bytes) -> Iterator[_Message]:
    """Yield the messages up to the stop bit; one that runs past the unit ends there."""
    stop = len(rbsp.rstrip(b"\x00")) - 1
    offset = 0
    while offset < stop or (offset == stop and rbsp[stop:] != _STOP):
        kind, at = _coded_number(rbsp, offset)
        size, payload = _coded_number(rbsp, at)
        end = max(payload, min(payload + size, len(rbsp)))
        yield _Message(kind, offset, payload, end)
        offset = end


def _coded_number(rbsp: bytes, at: int) -> tuple[int, int]:
    number = 0
    while at < len(rbsp) and rbsp[at] == 0xFF:
        number, at = number + 255, at + 1
    return (number + rbsp[at] if at < len(rbsp) else number), at + 1


def _coded_size(payload: bytes) -> bytes:
    whole, rest = divmod(len(payload), 0xFF)
    return b"\xff" * whole + bytes((rest,))


def _unescaped(body: bytes) -> bytes:
    return _ESCAPED.sub(b"\x00\x00", body)


def _escaped(rbsp: bytes) -> bytes:
    # The look-ahead leaves the third byte to the next match: four zeros need two escapes.
    return _TO_ESCAPE.sub(b"\x00\x00\x03", rbsp)


def _hvcc_units(extradata: bytes) -> Iterator[bytes]:
    arrays, at = extradata[22], 23
    for _ in range(arrays):
        count, at = int.from_bytes(extradata[at + 1 : at + 3]), at + 3
        for _ in range(count):
            size = int.from_bytes(extradata[at : at + 2])
            if at + 2 > len(extradata):
                return
            yield extradata[at + 2 : at + 2 + size]
            at += 2 + size
