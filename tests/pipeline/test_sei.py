"""The encoder's settings leave the stream; everything else in it stays byte for byte."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sei import (
    length_size_of,
    user_data_in,
    user_data_in_extradata,
    without_settings_sei,
)

_UUID = bytes(range(16))
_HDR = (
    "info=1:log-level=none:repeat-headers=1:hdr10=1:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
)


def _encode(encoder: str, pixel_format: str, options: dict[str, str]) -> list[bytes]:
    context: Any = av.CodecContext.create(encoder, "w")
    context.width, context.height, context.pix_fmt = 64, 64, pixel_format
    context.time_base = Fraction(1, 25)
    context.options = options
    packets = []
    for index in range(4):
        frame = av.VideoFrame(64, 64, pixel_format)
        for plane in frame.planes:
            plane.update(bytes([index]) * plane.buffer_size)
        frame.pts = index
        packets += context.encode(frame)
    return [bytes(p) for p in (*packets, *context.encode(None))]


@pytest.fixture(scope="module")
def interlaced() -> list[bytes]:
    return _encode("libx264", "yuv420p", {"x264-params": "tff=1"})


@pytest.fixture(scope="module")
def hdr() -> list[bytes]:
    return _encode("libx265", "yuv420p10le", {"x265-params": _HDR})


def _decode(codec: str, packets: list[bytes]) -> list[Any]:
    context: Any = av.CodecContext.create(codec, "r")
    return [f for p in [*map(av.Packet, packets), None] for f in context.decode(p)]


def _units(packet: bytes) -> list[bytes]:
    return [unit.rstrip(b"\0") for unit in packet.split(b"\0\0\1")[1:]]


def _without(packets: list[bytes], codec: str) -> list[bytes]:
    return [without_settings_sei(p, codec) for p in packets]


def test_x264_names_itself_until_its_settings_are_removed(interlaced: list[bytes]) -> None:
    assert b"x264 - core" in b"".join(interlaced)
    cleaned = _without(interlaced, "h264")
    assert b"x264" not in b"".join(cleaned)
    assert not [m for p in cleaned for m in user_data_in(p, "h264", None)]


def test_x265_names_itself_until_its_settings_are_removed(hdr: list[bytes]) -> None:
    assert b"x265 (build" in b"".join(hdr)
    assert b"x265" not in b"".join(_without(hdr, "hevc"))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_all_other_units_stay_byte_for_byte(
    codec: str, interlaced: list[bytes], hdr: list[bytes]
) -> None:
    packets = interlaced if codec == "h264" else hdr
    before = [u for p in packets for u in _units(p)]
    after = [u for p in _without(packets, codec) for u in _units(p)]
    assert after == [u for u in before if b"x26" not in u]
    assert len(after) == len(before) - 1


def test_packet_without_settings_comes_back_as_it_is(interlaced: list[bytes]) -> None:
    for packet in interlaced[1:]:
        assert without_settings_sei(packet, "h264") is packet


def test_interlacing_is_kept(interlaced: list[bytes]) -> None:
    frames = _decode("h264", _without(interlaced, "h264"))
    assert len(frames) == 4
    assert all(frame.interlaced_frame for frame in frames)


def test_hdr_descriptions_are_kept(hdr: list[bytes]) -> None:
    def described(packets: list[bytes]) -> list[tuple[str, bytes]]:
        first = _decode("hevc", packets)[0]
        return [
            (d.type.name, bytes(d)) for d in first.side_data if d.type.name != "SEI_UNREGISTERED"
        ]

    kept = described(_without(hdr, "hevc"))
    assert {name for name, _ in kept} >= {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"}
    assert kept == described(hdr)


def test_pictures_decode_to_the_same_samples(interlaced: list[bytes]) -> None:
    before, after = _decode("h264", interlaced), _decode("h264", _without(interlaced, "h264"))
    for first, second in zip(before, after, strict=True):
        assert bytes(first.planes[0]) == bytes(second.planes[0])


def _message(kind: int, payload: bytes) -> bytes:
    size = b"\xff" * (len(payload) // 255) + bytes([len(payload) % 255])
    return bytes([kind]) + size + payload


def _escaped(rbsp: bytes) -> bytes:
    out, zeros = bytearray(), 0
    for byte in rbsp:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


_PICTURE = b"\x65\x88\x84\x21"


def _access_unit(*messages: bytes) -> bytes:
    sei = b"\x06" + _escaped(b"".join(messages) + b"\x80")
    return b"\0\0\0\1" + sei + b"\0\0\1" + _PICTURE


def test_other_messages_in_the_same_unit_stay() -> None:
    timing, captions = _message(1, b"\x32"), _message(4, b"\xb5\0\x31GA94\0\0\0\1")
    mixed = _access_unit(timing, _message(5, _UUID + b"secret"), captions)
    assert without_settings_sei(mixed, "h264") == _access_unit(timing, captions)


def test_emptied_unit_goes_and_the_access_unit_keeps_its_long_start_code() -> None:
    packet = _access_unit(_message(5, _UUID + b"secret"))
    assert without_settings_sei(packet, "h264") == b"\0\0\0\1" + _PICTURE


def test_emptied_unit_at_the_end_goes_with_its_start_code() -> None:
    picture = b"\0\0\0\1" + _PICTURE
    sei = b"\0\0\1\x06" + _message(5, _UUID + b"secret") + b"\x80"
    assert without_settings_sei(picture + sei, "h264") == picture


def test_user_data_of_more_than_255_bytes_is_found_whole() -> None:
    packet = _access_unit(_message(5, _UUID + b"s" * 1000), _message(1, b"\x32"))
    assert list(user_data_in(packet, "h264", None)) == [_UUID + b"s" * 1000]
    assert without_settings_sei(packet, "h264") == _access_unit(_message(1, b"\x32"))


@given(payloads=st.lists(st.binary(max_size=40) | st.just(bytes(30)), min_size=1, max_size=5))
def test_messages_survive_whatever_zeros_they_hold(payloads: list[bytes]) -> None:
    kept = [_message(4, p) for p in payloads]
    dropped = [_message(5, _UUID + p) for p in payloads]
    mixed = _access_unit(*(m for pair in zip(kept, dropped, strict=True) for m in pair))
    assert list(user_data_in(mixed, "h264", None)) == [_UUID + p for p in payloads]
    assert without_settings_sei(mixed, "h264") == _access_unit(*kept)


@given(data=st.binary(max_size=200), codec=st.sampled_from(["h264", "hevc"]))
def test_any_bytes_are_taken_without_an_error(data: bytes, codec: str) -> None:
    packet = b"\0\0\1\x06" + data + b"\0\0\1\x4e\x01" + data
    cleaned = without_settings_sei(packet, codec)
    assert not list(user_data_in(cleaned, codec, None))
    for size in (1, 2, 4):
        list(user_data_in(packet, codec, size))
    list(user_data_in_extradata(b"\1" + data, codec))
    length_size_of(b"\1" + data, codec)


def test_a_unit_of_very_many_messages_takes_linear_time() -> None:
    packet = _access_unit(*[b"\x04\x00"] * 200_000, _message(5, _UUID))
    assert len(without_settings_sei(packet, "h264")) == len(packet) - 18


def test_user_data_is_found_in_units_with_lengths() -> None:
    sei = b"\x06" + _message(5, _UUID + b"text") + b"\x80"
    packet = len(_PICTURE).to_bytes(4) + _PICTURE + len(sei).to_bytes(4) + sei
    assert list(user_data_in(packet, "h264", 4)) == [_UUID + b"text"]


def test_user_data_is_found_in_the_header_of_hevc() -> None:
    sei = b"\x4e\x01" + _message(5, _UUID + b"text") + b"\x80"
    hvcc = b"\1" + bytes(20) + b"\xff\1" + b"\x27\0\1" + len(sei).to_bytes(2) + sei
    assert length_size_of(hvcc, "hevc") == 4
    assert list(user_data_in_extradata(hvcc, "hevc")) == [_UUID + b"text"]


def test_codec_without_sei_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="vp9"):
        without_settings_sei(b"", "vp9")
