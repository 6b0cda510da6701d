"""Whatever a file says beside picture and sound is found, and a clean file is called clean."""

from __future__ import annotations

import base64
import io
import shutil
import struct
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest
from media import Video, make_video

from pipeline import metadata
from pipeline.audit_matroska import matroska_findings
from pipeline.boxes import walk_boxes
from pipeline.encoder_strings import signatures_in, signatures_of
from pipeline.errors import Cancelled, UnreadableMedia
from pipeline.metadata import audit, inventory
from pipeline.sei import without_settings_sei
from pipeline.vorbis_comment import comment_findings

_BITEXACT = 1 << 23
_SETTINGS = bytes(16) + b"x264 - core 165 - options: cabac=1"


def _make(
    path: Path,
    muxer: str,
    *,
    tags: dict[str, str] | None = None,
    video_tags: dict[str, str] | None = None,
    chapters: tuple[str, ...] = (),
    options: dict[str, str] | None = None,
    keep_settings: bool = False,
    sign_sound: bool = False,
    attachment: bytes | None = None,
    sound: str = "aac",
) -> Path:
    options = {"fflags": "+bitexact"} if options is None else options
    with av.open(str(path), "w", format=muxer, options=options) as out:
        out.metadata.update(tags or {})
        video: Any = out.add_stream("libvpx-vp9" if muxer == "webm" else "libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.flags |= _BITEXACT
        video.metadata.update(video_tags or {})
        audio: Any = out.add_stream(sound, rate=48000)
        if not sign_sound:
            audio.flags |= _BITEXACT
        if attachment is not None:
            out.add_attachment("cover.png", "image/png", attachment)
        out.set_chapters([_chapter(n, title) for n, title in enumerate(chapters)])
        pictures = [*(_picture(index) for index in range(8)), None]
        for packet in (p for picture in pictures for p in video.encode(picture)):
            out.mux(packet if keep_settings or muxer == "webm" else _clean(packet))
        for index in range(8):
            out.mux(audio.encode(_noise(index, _SAMPLES.get(sound, "fltp"))))
        out.mux(audio.encode(None))
    return path


def _chapter(number: int, title: str) -> Any:
    start = number * 100
    metadata = {"title": title} if title else {}
    milliseconds = Fraction(1, 1000)
    return {
        "id": number,
        "start": start,
        "end": start + 100,
        "time_base": milliseconds,
        "metadata": metadata,
    }


def _picture(index: int) -> av.VideoFrame:
    frame = av.VideoFrame(64, 48, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([index * 20]) * plane.buffer_size)
    frame.pts, frame.time_base = index, Fraction(1, 25)
    return frame


def _noise(index: int, sample_format: str) -> av.AudioFrame:
    samples = np.random.default_rng(index).normal(0, 0.1, (1, 1920)).astype(np.float32)
    if sample_format.startswith("s16"):
        samples = (samples * 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples, format=sample_format, layout="mono")
    frame.sample_rate, frame.pts = 48000, index * 1920
    return frame


def _clean(packet: av.Packet[Any]) -> av.Packet[Any]:
    clean: av.Packet[Any] = av.Packet(without_settings_sei(bytes(packet), "h264"))
    clean.stream, clean.time_base = packet.stream, packet.time_base
    clean.pts, clean.dts, clean.is_keyframe = packet.pts, packet.dts, packet.is_keyframe
    return clean


_MUXERS = {"mp4": "a.mp4", "mov": "a.mov", "matroska": "a.mkv", "webm": "a.webm", "avi": "a.avi"}
_SAMPLES = {"mp2": "s16", "alac": "s16p"}
_SOUND = {"webm": "libopus", "avi": "mp2"}


def _clean_file(folder: Path, muxer: str) -> Path:
    chapters = () if muxer == "avi" else ("Chapter 1", "Chapter 2")
    sound = _SOUND.get(muxer, "aac")
    return _make(folder / _MUXERS[muxer], muxer, chapters=chapters, sound=sound)


@pytest.fixture
def mp4(tmp_path: Path) -> Path:
    return _clean_file(tmp_path, "mp4")


@pytest.fixture
def mkv(tmp_path: Path) -> Path:
    return _clean_file(tmp_path, "matroska")


@pytest.fixture
def avi(tmp_path: Path) -> Path:
    return _clean_file(tmp_path, "avi")


def _box(kind: bytes, payload: bytes = b"") -> bytes:
    return (8 + len(payload)).to_bytes(4) + kind + payload


def _grow(path: Path, inside: tuple[str, ...], addition: bytes) -> None:
    """Append `addition` to the first box of that path; the index lies at the file's end."""
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        boxes = list(walk_boxes(file))
    inner = next(b for b in boxes if b.path == inside)
    around = [b for b in boxes if b.offset <= inner.offset and inner.end <= b.end]
    data[inner.end : inner.end] = addition
    for box in (b for b in around if b.path == inside[: len(b.path)]):
        data[box.offset : box.offset + 4] = (box.size + len(addition)).to_bytes(4)
    path.write_bytes(data)


def _patch(path: Path, kind: str, at: int, value: bytes, number: int = 0) -> None:
    """Overwrite bytes of the payload of a file's box of that kind."""
    data = bytearray(path.read_bytes())
    with path.open("rb") as file:
        box = [b for b in walk_boxes(file) if b.kind == kind][number]
    start = box.payload_offset + at
    data[start : start + len(value)] = value
    path.write_bytes(data)


def _replace(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize("muxer", list(_MUXERS))
def test_clean_file_is_clean(tmp_path: Path, muxer: str) -> None:
    path = _clean_file(tmp_path, muxer)
    assert audit(path).findings == ()
    assert audit(path).is_clean
    assert inventory(path) == ()


@pytest.mark.parametrize("sound", ["ac3", "eac3", "alac"])
@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska"])
def test_boxes_of_other_sound_codecs_are_no_finding(tmp_path: Path, muxer: str, sound: str) -> None:
    assert audit(_make(tmp_path / _MUXERS[muxer], muxer, sound=sound)).is_clean


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska", "avi"])
def test_file_made_without_care_is_not_clean(tmp_path: Path, muxer: str) -> None:
    sound = _SOUND.get(muxer, "aac")
    careless = _make(tmp_path / _MUXERS[muxer], muxer, options={}, keep_settings=True, sound=sound)
    said = "; ".join(audit(careless).findings)
    assert "x264 settings in SEI" in said
    assert "Lavf" in said


_UDTA = ("moov", "udta")
_TAGS_OF_MP4 = {
    b"\xa9xyz": "GPS position (©xyz)",
    b"loci": "GPS position (loci)",
    b"\xa9mak": "device make (©mak)",
    b"\xa9mod": "device model (©mod)",
    b"\xa9swr": "software (©swr)",
    b"\xa9nam": "title (©nam)",
    b"\xa9day": "date (©day)",
    b"XMP_": "XMP (XMP_)",
    b"GPMF": "tag GPMF",
}


@pytest.mark.parametrize(("kind", "words"), _TAGS_OF_MP4.items())
def test_tag_in_an_mp4_is_found(mp4: Path, kind: bytes, words: str) -> None:
    # Length, language, text; a `loci` has a place without a name, role and position.
    text = b"\0\x11\x15\xc7+48.8577+002.295/"
    place = bytes(4) + b"\x15\xc7" + b"\0" + bytes(1) + b"\1" * 12 + b"\0\0"
    _grow(mp4, _UDTA, _box(kind, place if kind == b"loci" else text))
    assert audit(mp4).findings == (words,)
    assert inventory(mp4) == (words,)


def test_item_list_and_its_picture_are_found(mp4: Path) -> None:
    data = _box(b"data", bytes(8) + b"\x89PNG")
    items = _box(b"covr", data) + _box(b"\xa9too", data) + _box(b"----", _box(b"name", b"x"))
    _grow(mp4, (*_UDTA, "meta", "ilst"), items)
    assert audit(mp4).findings == ("attached picture (covr)", "encoder (©too)", "tag ----")


def test_quicktime_keys_are_found_by_name(mp4: Path) -> None:
    keys = [b"com.apple.quicktime.make", b"com.apple.quicktime.location.ISO6709"]
    payload = bytes(4) + len(keys).to_bytes(4) + b"".join(_box(b"mdta", key) for key in keys)
    _grow(mp4, ("moov",), _box(b"meta", _box(b"hdlr", bytes(25)) + _box(b"keys", payload)))
    found = inventory(mp4)
    assert "device make (com.apple.quicktime.make)" in found
    assert "GPS position (com.apple.quicktime.location.ISO6709)" in found


def test_tags_that_ffmpeg_writes_are_found(tmp_path: Path) -> None:
    tags = {"title": "t", "comment": "c", "location": "+48.8577+002.2950/", "make": "Camera"}
    path = _make(tmp_path / "a.mov", "mov", tags=tags)
    found = audit(path).findings
    assert {"title (©nam)", "GPS position (©xyz)", "device make (©mak)"} <= set(found)
    assert "comment (©cmt)" in found


def test_creation_time_is_found_in_every_header(tmp_path: Path) -> None:
    tags = {"creation_time": "2024-01-02T03:04:05Z"}
    found = audit(_make(tmp_path / "a.mp4", "mp4", tags=tags, video_tags=tags)).findings
    assert [f for f in found if "creation" in f] == [
        "creation time (mvhd)",
        "creation time (tkhd)",
        "creation time (mdhd)",
    ]


@pytest.mark.parametrize("at", [4, 12])
def test_either_time_of_a_version_1_header_is_found(mp4: Path, at: int) -> None:
    _patch(mp4, "mdhd", 0, b"\1" + bytes(19))
    assert "creation time (mdhd)" not in audit(mp4).findings
    _patch(mp4, "mdhd", at, (3_900_000_000).to_bytes(8))
    assert "creation time (mdhd)" in audit(mp4).findings


@pytest.mark.parametrize("muxer", ["mp4", "mov"])
def test_handler_name_is_found(tmp_path: Path, muxer: str) -> None:
    path = _make(tmp_path / _MUXERS[muxer], muxer, video_tags={"handler_name": "My Phone 15"})
    assert "handler name 'My Phone 15'" in audit(path).findings


@pytest.mark.parametrize(
    ("user_type", "words"),
    [
        (bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), "uuid box XMP"),
        (bytes(16), "uuid box"),
    ],
)
def test_uuid_box_is_found(mp4: Path, user_type: bytes, words: str) -> None:
    with mp4.open("ab") as file:
        file.write(_box(b"uuid", user_type + b"<xmp/>"))
    assert audit(mp4).findings == (words,)


def test_data_track_is_found(mp4: Path) -> None:
    _replace(mp4, b"soun", b"meta")
    assert "data track (meta)" in audit(mp4).findings


_SPHERE_OF_A_CAMERA = _box(
    b"sv3d",
    _box(b"svhd", bytes(4) + b"Camera\0")
    + _box(b"proj", _box(b"prhd", bytes(16)) + _box(b"equi", bytes(20))),
)
_ENTRY = ("moov", "trak", "mdia", "minf", "stbl", "stsd", "avc1")
_PLANTED: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown box": (lambda p: _grow(p, ("moov",), _box(b"beam", b"x")), "box beam in moov"),
    "unknown box beside the picture's description": (
        lambda p: _grow(p, _ENTRY, _box(b"mine", b"x")),
        "box mine in avc1",
    ),
    "bytes that are no box": (
        lambda p: _grow(p, ("moov",), b"\0\0\0\2secret!"),
        "11 bytes in moov that are no box",
    ),
    "bytes after the end": (
        lambda p: p.write_bytes(p.read_bytes() + bytes(12)),
        "12 bytes in the file that are no box",
    ),
    "fragment": (
        lambda p: p.write_bytes(p.read_bytes() + _box(b"moof")),
        "box moof in the file",
    ),
    "padding with content": (
        lambda p: p.write_bytes(p.read_bytes() + _box(b"free", bytes(3_000_000) + b"x")),
        "content in a free box",
    ),
    "skip with content": (
        lambda p: p.write_bytes(p.read_bytes() + _box(b"skip", b"x")),
        "content in a skip box",
    ),
    "alias of another file": (
        lambda p: _grow(p, (*_ENTRY[:4], "dinf", "dref"), _box(b"alis", bytes(4) + b"/home/me")),
        "data reference to another file",
    ),
    "wide with content": (
        lambda p: p.write_bytes(p.read_bytes() + _box(b"wide", b"x")),
        "content in a wide box",
    ),
    "compressor name": (
        lambda p: _patch(p, "avc1", 42, b"\x0eCamera 3000 v2"),
        "compressor name 'Camera 3000 v2'",
    ),
    "text beside Avid's numbers": (
        lambda p: _grow(p, _ENTRY, _box(b"ACLR", b"ACLR0001" + b"\0\0\0\1home")),
        "more than numbers in a ACLR box",
    ),
    "text after Avid's numbers": (
        lambda p: _grow(p, _ENTRY, _box(b"ARES", b"ARES0001" + bytes(24) + bytes(76) + b"home")),
        "more than numbers in a ARES box",
    ),
    "vendor": (lambda p: _patch(p, "avc1", 12, b"appl"), "vendor in a sample entry"),
    "sound's vendor": (lambda p: _patch(p, "mp4a", 12, b"appl"), "vendor in a sample entry"),
    "brands": (lambda p: _patch(p, "ftyp", 12, b"a\0b\xff"), "ftyp holds more than brands"),
    "text in the shape of brands": (
        lambda p: p.write_bytes(p.read_bytes() + _box(b"ftyp", b"isom" + bytes(4) + b"home" * 40)),
        "ftyp holds more than brands",
    ),
    "list of chapters of version 0": (
        lambda p: _grow(p, ("moov", "udta"), _box(b"chpl", bytes(4) + b"\1" + bytes(8) + b"\1A")),
        "chapter titles (chpl)",
    ),
    "reference to another file": (
        lambda p: _grow(p, (*_ENTRY[:4], "dinf", "dref", "url "), b"file:///home/me/a.mp4"),
        "data reference to another file",
    ),
    "source of the spherical description": (
        lambda p: _grow(p, _ENTRY, _SPHERE_OF_A_CAMERA),
        "spherical metadata's source (svhd)",
    ),
    "reference to a track": (
        lambda p: _grow(p, ("moov", "trak", "tref"), _box(b"cdsc", bytes(4))),
        "reference to a track of kind cdsc",
    ),
}


@pytest.mark.parametrize("name", _PLANTED)
def test_planted_box_is_found(mp4: Path, name: str) -> None:
    plant, words = _PLANTED[name]
    plant(mp4)
    assert audit(mp4).findings == (words,)


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska", "webm"])
def test_chapter_titles_are_found(tmp_path: Path, muxer: str) -> None:
    sound = _SOUND.get(muxer, "aac")
    path = _make(tmp_path / _MUXERS[muxer], muxer, chapters=("At home", "Chapter 2"), sound=sound)
    assert "chapter titles" in audit(path).findings  # also without the list of MP4


def test_titles_in_the_chapter_list_alone_are_found(mp4: Path) -> None:
    _patch(mp4, "chpl", 18, b"At my home")
    assert "chapter titles (chpl)" in audit(mp4).findings


def test_matroska_tags_are_found(tmp_path: Path) -> None:
    tags = {
        "title": "t",
        "comment": "c",
        "LOCATION": "+48.8577",
        "creation_time": "2024-01-02T03:04:05Z",
    }
    video_tags = {"title": "my track", "ARTIST": "me"}
    path = _make(tmp_path / "a.mkv", "matroska", tags=tags, video_tags=video_tags)
    assert set(audit(path).findings) == {
        "title",
        "date (DateUTC)",
        "track name",
        "tag COMMENT",
        "tag LOCATION",
        "tag ARTIST",
    }


def test_matroska_attachment_is_found(tmp_path: Path) -> None:
    path = _make(tmp_path / "a.mkv", "matroska", attachment=b"\x89PNG")
    assert "attached file" in audit(path).findings


def test_matroska_programs_and_identity_are_found(tmp_path: Path) -> None:
    found = audit(_make(tmp_path / "a.mkv", "matroska", options={})).findings
    assert [f.split()[0] for f in found[:3]] == ["MuxingApp", "WritingApp", "SegmentUID"]


def test_matroska_void_with_content_is_found(mkv: Path) -> None:
    # The space that the muxer kept for a larger SeekHead.
    data = mkv.read_bytes()
    at = data.index(b"\xec\x01\0\0\0\0\0\0") + 12
    mkv.write_bytes(data[:at] + b"secret" + data[at + 6 :])
    assert audit(mkv).findings == ("content in a Void element",)


def test_matroska_data_track_is_found(mkv: Path) -> None:
    _replace(mkv, b"\x83\x81\x02", b"\x83\x81\x21")
    assert "data track (TrackType 33)" in audit(mkv).findings


def test_words_in_place_of_a_language_are_found(mkv: Path, mp4: Path) -> None:
    _replace(mkv, b"\x22\xb5\x9c\x83und", b"\x22\xb5\x9c\x83@52")
    assert audit(mkv).findings == ("words in place of a language",)
    _grow(mp4, ("moov", "trak", "mdia"), _box(b"elng", bytes(4) + b"at home\0"))
    assert audit(mp4).findings == ("words in place of a language (elng)",)


def test_a_name_of_what_lies_beside_matroskas_blocks_is_found() -> None:
    def element(number: bytes, payload: bytes) -> bytes:
        return number + (0x4000 | len(payload)).to_bytes(2) + payload

    def named(name: bytes) -> io.BytesIO:
        mapping = element(b"\x41\xe4", element(b"\x41\xa4", name))
        tracks = element(b"\x16\x54\xae\x6b", element(b"\xae", mapping))
        return io.BytesIO(element(b"\x18\x53\x80\x67", tracks))

    assert not list(matroska_findings(named(b"Dolby Vision configuration")))
    assert list(matroska_findings(named(b"my drone"))) == ["name of what lies beside the blocks"]


def test_a_cover_in_a_container_without_a_walk_is_found(tmp_path: Path) -> None:
    kind, words, picture = b"image/png", b"", b"\x89PNG\r\n\x1a\n"
    sizes = [len(part).to_bytes(4) for part in (kind, words, picture)]
    cover = (3).to_bytes(4) + sizes[0] + kind + sizes[1] + words + bytes(16) + sizes[2] + picture
    path = tmp_path / "a.ogg"
    with av.open(str(path), "w") as out:
        sound: Any = out.add_stream("flac", rate=48000, layout="mono")
        sound.metadata["METADATA_BLOCK_PICTURE"] = base64.b64encode(cover).decode()
        out.mux(sound.encode(_noise(0, "s16")))
        out.mux(sound.encode(None))
    assert "attached picture" in audit(path).findings


def test_matroska_duration_tag_that_is_none_is_found(mkv: Path) -> None:
    data = mkv.read_bytes()
    at = data.index(b"00:00:00.")
    mkv.write_bytes(data[:at] + b"at home" + data[at + 7 :])
    assert "tag DURATION that is no duration" in audit(mkv).findings


def test_matroska_alpha_tag_that_is_no_mode_is_found(tmp_path: Path) -> None:
    path = _make(tmp_path / "a.mkv", "matroska", video_tags={"alpha_mode": "1"})
    assert audit(path).is_clean
    path = _make(tmp_path / "b.mkv", "matroska", video_tags={"alpha_mode": "1 at home"})
    assert audit(path).findings == ("tag ALPHA_MODE that is no mode",)


def test_unknown_element_and_junk_are_found(mkv: Path) -> None:
    data = mkv.read_bytes()
    mkv.write_bytes(data + b"\x4f\xff\x84abcd" + bytes(10))
    assert audit(mkv).findings == ("element 0x4FFF", "10 bytes that are no element")


def test_avi_tags_are_found(tmp_path: Path) -> None:
    tags = {"title": "t", "artist": "a", "comment": "c", "date": "2024"}
    path = _make(tmp_path / "a.avi", "avi", tags=tags, video_tags={"title": "s"}, sound="mp2")
    assert set(audit(path).findings) == {
        "title (INAM)",
        "artist (IART)",
        "comment (ICMT)",
        "date (ICRD)",
        "stream name (strn)",
    }


def _riff(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4, "little") + payload + bytes(len(payload) % 2)


def _with_chunk(path: Path, chunk: bytes) -> None:
    data = path.read_bytes() + chunk
    path.write_bytes(data[:4] + (len(data) - 8).to_bytes(4, "little") + data[8:])


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        (_riff(b"IDIT", b"Mon Mar 10 15:04:43 2008\n\0"), "date (IDIT)"),
        (_riff(b"JUNK", b"Made by my camera"), "content in a JUNK chunk"),
        (_riff(b"JUNK", bytes(3_000_000) + b"x"), "content in a JUNK chunk"),
        (_riff(b"_PMX", b"<xmp/>"), "XMP"),
        (_riff(b"mine", b"x"), "chunk mine"),
        (_riff(b"LIST", b"hdrl" + _riff(b"strd", b"camera")), "stream data (strd)"),
        (_riff(b"LIST", b"hdrl" + _riff(b"strh", b"mids")), "data track (strh)"),
        (bytes(10), "10 bytes that are no chunk"),
    ],
)
def test_planted_chunk_is_found(avi: Path, chunk: bytes, words: str) -> None:
    _with_chunk(avi, chunk)
    assert audit(avi).findings == (words,)


@pytest.mark.parametrize("muxer", ["mp4", "matroska", "avi"])
def test_settings_in_the_packets_are_found(tmp_path: Path, muxer: str) -> None:
    sound = _SOUND.get(muxer, "aac")
    path = _make(tmp_path / _MUXERS[muxer], muxer, keep_settings=True, sound=sound)
    assert audit(path).findings == ("x264 settings in SEI", "the words 'x264 - core 165'")


def test_user_data_of_any_other_maker_is_found_in_the_last_packet(tmp_path: Path) -> None:
    unit = b"\x06\x05" + bytes([16 + 9]) + bytes(range(16)) + b"camera 12" + b"\x80"
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as out:
        stream: Any = out.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(8):
            for packet in stream.encode(_picture(index)):
                data = without_settings_sei(bytes(packet), "h264")
                changed: av.Packet[Any] = av.Packet(data + b"\0\0\1" + unit * (index == 7))
                changed.stream, changed.time_base = packet.stream, packet.time_base
                changed.pts, changed.dts = packet.pts, packet.dts
                changed.is_keyframe = packet.is_keyframe
                out.mux(changed)
    assert audit(path).findings == ("user data in SEI",)


def _with_headers(source: Path, target: Path, change: Callable[[bytes], bytes]) -> Path:
    """Copy a file's last stream, with another header of its codec."""
    with av.open(source) as plain, av.open(target, "w", options={"fflags": "+bitexact"}) as out:
        track = plain.streams[-1]
        copy: Any = out.add_stream_from_template(track)
        copy.codec_context.extradata = change(bytes(copy.codec_context.extradata))
        for packet in plain.demux(track):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    return target


def test_user_data_in_the_header_of_hevc_is_found(tmp_path: Path) -> None:
    video = Video(codec="libx265", frames=5, options={"x265-params": "info=0:log-level=none"})
    plain = make_video(tmp_path / "plain.mkv", replace(video, muxer={"fflags": "+bitexact"}))
    assert audit(plain).is_clean
    unit = b"\x4e\x01\x05" + bytes([16 + 9]) + bytes(range(16)) + b"camera 12" + b"\x80"
    array = b"\x27\0\1" + len(unit).to_bytes(2) + unit

    def planted(header: bytes) -> bytes:
        return header[:22] + bytes([header[22] + 1]) + header[23:] + array

    path = _with_headers(plain, tmp_path / "planted.mkv", planted)
    assert audit(path).findings == ("user data in SEI",)


def test_tag_in_the_header_of_vorbis_is_found(tmp_path: Path) -> None:
    plain = tmp_path / "plain.mkv"
    with av.open(plain, "w", options={"fflags": "+bitexact"}) as out:
        sound: Any = out.add_stream("vorbis", rate=48000, options={"strict": "experimental"})
        sound.layout = "stereo"
        sound.flags |= _BITEXACT
        for index in range(8):
            out.mux(sound.encode(_noise(index, "fltp")))
        out.mux(sound.encode(None))
    assert audit(plain).is_clean
    tag = b"ARTIST=Somebody"
    comment = b"\x03vorbis" + bytes(4) + b"\1\0\0\0" + len(tag).to_bytes(4, "little") + tag + b"\1"

    def planted(header: bytes) -> bytes:
        comment_at, last_at = 3 + header[1], 3 + header[1] + header[2]
        lacing = header[:2] + bytes([len(comment)])
        return lacing + header[3:comment_at] + comment + header[last_at:]

    path = _with_headers(plain, tmp_path / "planted.mkv", planted)
    assert audit(path).findings == ("tag ARTIST in the codec's header",)


def test_encoder_that_signs_its_sound_is_found(tmp_path: Path) -> None:
    path = _make(tmp_path / "a.mp4", "mp4", sign_sound=True)
    (finding,) = audit(path).findings
    assert finding.startswith("the words 'Lavc")


def test_signature_inside_a_copied_track_is_told_apart(tmp_path: Path) -> None:
    path = _make(tmp_path / "a.mp4", "mp4", sign_sound=True, keep_settings=True)
    result = audit(path, copied={1})
    assert result.findings == ("x264 settings in SEI", "the words 'x264 - core 165'")
    assert [f.startswith("the words 'Lavc") for f in result.in_copied_packets] == [True]
    assert audit(path, copied={0, 1}).is_clean


def test_signature_in_the_container_is_no_part_of_a_copied_track(tmp_path: Path) -> None:
    path = _make(tmp_path / "a.mp4", "mp4", sign_sound=True)
    signature = next(iter(signatures_in(path.read_bytes())))
    _grow(path, (*_UDTA, "meta", "ilst"), _box(b"\xa9too", _box(b"data", signature.encode())))
    assert f"the words {signature!r}" in audit(path, copied={1}).findings


def test_header_of_subtitles_is_a_finding_even_where_their_packets_are_copied(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as out:
        text: Any = out.add_stream("ass")
        text.codec_context.subtitle_header = b"[Script Info]\nTitle: mine\n[Events]\n"
        text.time_base = text.codec_context.time_base = Fraction(1, 1000)
        packet: av.Packet[Any] = av.Packet(b"0,0,Default,,0,0,0,,Hello")
        packet.stream, packet.time_base = text, Fraction(1, 1000)
        packet.pts = packet.dts = 0
        out.start_encoding()
        out.mux(packet)
    assert audit(path, copied={0}).findings == ("Title in the header of subtitles",)
    assert audit(path, copied={0}).in_copied_packets == ()
    assert inventory(path) == ("Title in the header of subtitles",)


def test_tags_of_a_container_we_do_not_walk_are_found(tmp_path: Path) -> None:
    path = _make(tmp_path / "a.nut", "nut", tags={"title": "t"}, sound="mp2")
    assert "tag title" in audit(path).findings


def test_data_track_of_a_container_we_do_not_walk_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    with av.open(path, "w", format="mpegts") as out:
        video: Any = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        data = out.add_data_stream("bin_data")
        for packet in [*video.encode(_picture(0)), *video.encode(None)]:
            out.mux(_clean(packet))
        secret: av.Packet[Any] = av.Packet(b"where it was")
        secret.pts = secret.dts = 0
        secret.time_base, secret.stream = Fraction(1, 90_000), data
        out.mux(secret)
    assert audit(path).findings == ("data track",)


def test_packets_that_cannot_be_looked_into_are_a_finding(
    mp4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise av.error.InvalidDataError(1094995529, "Invalid data found")

    monkeypatch.setattr(metadata, "_first_packets", broken)
    assert audit(mp4).findings == ("packets that cannot be read (Invalid data found)",)


def test_file_that_is_no_video_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"not a video at all")
    for look in (audit, inventory):
        with pytest.raises(UnreadableMedia):
            look(path)


def test_findings_do_not_grow_without_end(mp4: Path) -> None:
    many = b"".join(_box(b"b%03d" % n) for n in range(999))
    _grow(mp4, ("moov",), many)
    assert len(audit(mp4).findings) <= 101


_SIGNATURES = [
    b"Lavf60.3.100",
    b"Lavc61.19.100",
    b"LAME3.100",
    b"x264 - core 164",
    b"x265 (build 216",
    b"HandBrake 1.6",
    b"<x:xmpmeta",
    b"com.apple.quicktime.make",
]


@pytest.mark.parametrize("signature", _SIGNATURES)
def test_signature_is_found_wherever_it_lies(tmp_path: Path, signature: bytes) -> None:
    path = tmp_path / "bytes"
    piece = 256 << 10  # that is searched at once
    for at in (0, 1000, piece - len(signature) // 2, piece - 64, 2 * piece - 1, 2 * piece):
        data = bytes(at) + signature + bytes(50)
        path.write_bytes(data)
        with path.open("rb") as file:
            assert signatures_of(file).total() == 1, at
        assert signatures_in(data).total() == 1, at


@pytest.mark.parametrize("beginning", [b"Lav", b"com.apple.quicktime."])
def test_nothing_but_beginnings_takes_little_time_and_memory(beginning: bytes) -> None:
    data = beginning * ((3 << 20) // len(beginning))
    tracemalloc.start()
    start = time.process_time()
    try:
        assert len(signatures_in(data)) < 100
        assert time.process_time() - start < 10
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30e6


@pytest.mark.parametrize("end", [b"", b"1", b"100"])
def test_lame_s_name_counts_alike_whatever_follows_its_packet(end: bytes) -> None:
    packet = b"LAME3." + end
    assert signatures_in(packet) == signatures_in(packet + b"01wb") == {"LAME3": 1}


def test_bare_names_and_noise_are_no_signature() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 8_000_000, dtype=np.uint8).tobytes()
    assert not signatures_in(b"Lavf Lavc LAME LAME3 x264 libx265 HandBrake " + noise)


def test_bytes_are_searched_fast(tmp_path: Path) -> None:
    """At least 300 MB/s even on a busy machine; 5000 and more on an idle one."""
    path = tmp_path / "bytes"
    path.write_bytes(np.random.default_rng(2).bytes(32 << 20))
    start = time.process_time()
    with path.open("rb") as file:
        signatures_of(file)
    assert time.process_time() - start < 0.1


def _comment(vendor: bytes, *comments: bytes) -> bytes:
    texts = b"".join(struct.pack("<I", len(c)) + c for c in comments)
    return struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(comments)) + texts


def test_comment_in_the_header_of_vorbis_is_found() -> None:
    header = b"\x02\x1e\x20" + b"\x01vorbis" + bytes(23) + b"\x03vorbis"
    assert list(comment_findings(header + _comment(b"libVorbis 1.3", b"ARTIST=me"))) == [
        "encoder 'libVorbis 1.3' in the codec's header",
        "tag ARTIST in the codec's header",
    ]
    assert not list(comment_findings(header + _comment(b"Lavf")))


def test_comment_in_the_header_of_flac_is_found() -> None:
    block = _comment(b"", b"TITLE=mine")
    header = b"fLaC\0\0\0\x22" + bytes(34) + b"\x84" + len(block).to_bytes(3) + block
    assert list(comment_findings(header)) == ["tag TITLE in the codec's header"]


def test_comment_that_lies_about_its_length_ends_the_search() -> None:
    lying = b"\x03vorbis" + struct.pack("<I", 0) + struct.pack("<I", 0xFFFFFFFF) + b"\xff" * 9
    assert len(list(comment_findings(lying))) <= 2


_TELLING = ("GPS", "Make", "Model", "Software", "Title", "Comment", "Artist", "Encod", "Compressor")


def _exiftool_on(path: Path) -> dict[str, str]:
    exiftool = shutil.which("exiftool")
    if exiftool is None:
        pytest.skip("exiftool is not installed")
    command = [exiftool, "-a", "-s", "-ee", "-G1", str(path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pairs = (
        line.split("]", 1)[1].split(":", 1) for line in said.splitlines() if "[System]" not in line
    )
    return {name.strip(): value.strip() for name, value in pairs}


@pytest.mark.parametrize("muxer", ["mp4", "mov", "matroska"])
def test_exiftool_finds_nothing_in_what_the_audit_calls_clean(tmp_path: Path, muxer: str) -> None:
    path = _clean_file(tmp_path, muxer)
    assert audit(path).is_clean
    said = _exiftool_on(path)
    telling = {n for n in said if n.startswith(_TELLING) and n != "CompressorID"}
    assert telling == set()
    assert {v for n, v in said.items() if n.endswith("Date")} <= {"0000:00:00 00:00:00"}


def test_exiftool_sees_what_was_planted(tmp_path: Path) -> None:
    path = _make(tmp_path / "a.mov", "mov", tags={"title": "t", "location": "+48.8577+002.2950/"})
    assert {"Title", "GPSCoordinates"} <= set(_exiftool_on(path))


def test_an_audit_can_be_called_off(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    path.write_bytes(b"\0" * 100)
    with pytest.raises(Cancelled):
        audit(path, cancelled=lambda: True)
