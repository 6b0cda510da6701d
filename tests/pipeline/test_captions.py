"""Closed captions inside a video stream come out at the pictures they were at."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline.captions import CaptionReader, registered_messages
from pipeline.parameters import Parameters
from pipeline.picture_track import side_data_of
from pipeline.probe import probe
from pipeline.protect import protect
from pipeline.report import Report
from pipeline.sei import user_data_in, with_registered_user_data
from pipeline.settings import Limits, Settings

_FRAMES = 12
_BEGIN = 3  # the first frame with captions
_ENCODERS = {
    "h264": ("libx264", "yuv420p"),
    "hevc": ("libx265", "yuv420p10le"),
    "mpeg2": ("mpeg2video", "yuv420p"),
}
_FIRST_FIELD, _SECOND_FIELD, _NOTHING = 0xFC, 0xFD, b"\xfa\0\0"


def _triplet(kind: int, text: Sequence[int]) -> bytes:
    """A pair of CEA-608's bytes, with odd parity."""
    return bytes((kind, *(b | (0 if b.bit_count() % 2 else 0x80) for b in text)))


def _numbered(number: int) -> bytes:
    """Text of the first field and CEA-708's bytes, other ones for each frame."""
    return _triplet(_FIRST_FIELD, (0x41 + number, 0x61)) + bytes((0xFF, number, 0)) + _NOTHING


def _unit(codec: str, triplets: bytes) -> bytes:
    size = len(triplets) // 3
    data = b"GA94\x03" + bytes((0x40 | size, 0)) + triplets + b"\xff"
    if codec == "mpeg2":
        return b"\0\0\1\xb2" + data
    message = b"\xb5\0\x31" + data
    header = b"\x06" if codec == "h264" else b"\x4e\x01"
    body = bytes((4, len(message))) + message + b"\x80"
    escaped = body.replace(b"\0\0\0", b"\0\0\3\0").replace(b"\0\0\1", b"\0\0\3\1")
    return b"\0\0\1" + header + escaped


def _begins_picture(codec: str, first: int) -> bool:
    if codec == "mpeg2":
        return first == 1
    return first & 0x1F in (1, 5) if codec == "h264" else first >> 1 & 0x3F < 32


def _captioned(codec: str, packet: bytes, triplets: bytes) -> bytes:
    at = 0
    while not _begins_picture(codec, packet[(at := packet.index(b"\0\0\1", at)) + 3]):
        at += 3
    return packet[:at] + _unit(codec, triplets) + packet[at:]


def _make(path: Path, codec: str, captions: dict[int, bytes]) -> Path:
    encoder, pixels = _ENCODERS[codec]
    random = np.random.default_rng(0)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as out:
        stream: Any = out.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, pixels
        stream.time_base = stream.codec_context.time_base = Fraction(1, 25)
        stream.codec_context.max_b_frames = 2

        def write(packets: list[Any]) -> None:
            for packet in packets:
                data = bytes(packet)
                if packet.pts in captions:
                    data = _captioned(codec, data, captions[packet.pts])
                changed: Any = av.Packet(data)
                changed.stream, changed.time_base = stream, packet.time_base
                changed.pts, changed.dts = packet.pts, packet.dts
                changed.is_keyframe = packet.is_keyframe
                out.mux(changed)

        for index in range(_FRAMES):
            picture = random.integers(60, 200, (64, 64, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            write(stream.encode(frame))
        write(stream.encode(None))
    return path


def _captions_in(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [_of(frame) for frame in container.decode(video=0)]


def _of(frame: Any) -> bytes:
    return b"".join(bytes(d) for d in frame.side_data if d.type.name == "A53_CC")


def _protected(original: Path, output: Path) -> Report:
    return protect(original, output, Parameters(), Settings()).report


@pytest.mark.parametrize("codec", _ENCODERS)
def test_each_picture_keeps_its_captions(tmp_path: Path, codec: str) -> None:
    captions = {n: _numbered(n) for n in range(_BEGIN, _FRAMES)}
    original = _make(tmp_path / "a.mkv", codec, captions)
    expected = [captions.get(n, b"") for n in range(_FRAMES)]
    assert _captions_in(original) == expected
    report = _protected(original, tmp_path / "b.mp4")
    assert _captions_in(tmp_path / "b.mp4") == expected
    assert not report.notes
    assert report.video_codec == ("hevc" if codec == "hevc" else "h264")


def test_names_of_programme_and_station_go(tmp_path: Path) -> None:
    """XDS of the second field: it may be interrupted by captions, and goes on after them."""
    programme, name, end = (0x01, 0x03), (0x4E, 0x41), (0x0F, 0x1D)
    command, text, again, fill = (0x15, 0x2C), (0x48, 0x49), (0x02, 0x03), (0, 0)
    sent = [text, programme, name, fill, command, text, again, name, end, text, fill, command]
    captions = {n: _triplet(_SECOND_FIELD, pair) + _numbered(n) for n, pair in enumerate(sent)}
    original = _make(tmp_path / "a.mkv", "h264", captions)
    _protected(original, tmp_path / "b.mp4")
    kept = [text, fill, fill, fill, command, text, fill, fill, fill, text, fill, command]
    expected = [_triplet(_SECOND_FIELD, pair) + _numbered(n) for n, pair in enumerate(kept)]
    assert _captions_in(tmp_path / "b.mp4") == expected


def test_same_bytes_of_other_kinds_stay_and_what_does_not_count_is_empty(tmp_path: Path) -> None:
    """XDS is the second field's alone."""
    triplets = b"".join(_triplet(kind, (1, 3)) for kind in (_FIRST_FIELD, 0xFE, 0xFF))
    sent = dict.fromkeys(range(_FRAMES), triplets + _triplet(0xF9, (1, 3)))
    original = _make(tmp_path / "a.mkv", "h264", sent)
    _protected(original, tmp_path / "b.mp4")
    assert _captions_in(tmp_path / "b.mp4") == [triplets + b"\xf9\0\0"] * _FRAMES


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_more_than_one_message_holds(codec: str) -> None:
    triplets = bytes(range(3)) * 70  # zeros enough to need escapes
    slice_ = b"\0\0\0\1\x65\xaa" if codec == "h264" else b"\0\0\0\1\x02\x01\xaa"
    packet = with_registered_user_data(slice_, codec, registered_messages(triplets))
    assert packet.endswith(slice_[1:])
    assert not list(user_data_in(packet, codec, None))
    body = packet[: -len(slice_[1:])].replace(b"\0\0\3", b"\0\0")
    pieces = body.split(b"GA94\x03")[1:]
    assert [piece[0] & 0x1F for piece in pieces] == [31, 31, 8]
    assert b"".join(p[2 : 2 + 3 * (p[0] & 0x1F)] for p in pieces) == triplets


def test_a_picture_is_let_go_as_soon_as_its_captions_are_read(tmp_path: Path) -> None:
    original = _make(tmp_path / "a.mp4", "h264", {0: _numbered(0)})
    track = probe(original, Limits()).video
    with av.open(str(original)) as container:
        frames = [next(container.decode(video=0))]  # of a variable Python may lend the reference
    before = sys.getrefcount(frames[0])
    captions, side = CaptionReader(track).read(frames[0]), side_data_of(frames[0])
    after = sys.getrefcount(frames[0])  # not within an assertion, which holds on to its parts
    assert captions
    assert side
    assert after == before


def test_an_access_unit_without_a_slice_is_told() -> None:
    with pytest.raises(ValueError, match="without a slice"):
        with_registered_user_data(b"\0\0\0\1\x67\xaa", "h264", [b"x"])
