"""
Copies without metadata are what their originals were: in the same container, shown as a sphere, in
depth, in Dolby Vision.
"""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.packet import PacketSideData
from av.stream import Disposition
from media import Audio, Video, make_video

from pipeline import mp4
from pipeline.boxes import walk_boxes
from pipeline.elements import Element, walk_elements
from pipeline.errors import Cancelled, UnsupportedMedia
from pipeline.metadata import audit
from pipeline.parameters import Mode, Parameters
from pipeline.parts import payload_of
from pipeline.progress import Progress
from pipeline.protect import protect
from pipeline.report import Report
from pipeline.settings import Settings
from pipeline.sidedata import parse_spherical
from pipeline.spherical_v1 import UUID, parse_xml

_TOOL = b"Some Tool 7\0"
_NEW_EXTRADATA: Any = 1  # FFmpeg's number of it


def _box(kind: str, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind.encode()) + payload


# Profile 8.4, level 5: one layer, with its mapping, that is HLG without it.
_DOLBY_VISION = bytes((1, 0, 8 << 1, 5 << 3 | 5, 4 << 4)) + bytes(19)
_SURROUNDINGS = struct.pack(">I2H", 3_140_000, 15_635, 16_450)
_BOXES = {
    "dvvC": _box("dvvC", _DOLBY_VISION),
    "amve": _box("amve", _SURROUNDINGS),
    "st3d": _box("st3d", struct.pack(">IB", 0, 2)),
    "sv3d": _box(
        "sv3d",
        _box("svhd", bytes(4) + _TOOL)
        + _box("proj", _box("prhd", bytes(16)) + _box("equi", bytes(20))),
    ),
    "vexu": _box("vexu", _box("eyes", _box("stri", bytes(4) + b"\3"))),
    "hfov": _box("hfov", struct.pack(">I", 63_500)),
}


def _make(path: Path, encoder: str = "libx264", pixels: str = "yuv420p") -> Path:
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as out:
        stream: Any = out.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for index in range(6):
            frame = _picture(index, pixels)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _picture(seed: int, pixels: str) -> av.VideoFrame:
    random = np.random.default_rng(seed)
    if pixels == "pal8":
        indices = random.integers(0, 255, (48, 64), np.uint8)
        palette = random.integers(0, 255, (256, 4), np.uint8)
        return av.VideoFrame.from_ndarray((indices, palette), "pal8")
    colours = random.integers(0, 255, (48, 64, 3), np.uint8)
    return av.VideoFrame.from_ndarray(colours, "rgb24").reformat(format=pixels)


def _strip(original: Path, output: Path) -> Report:
    return protect(original, output, Parameters(mode=Mode.STRIP), Settings()).report


def _packets(path: Path) -> list[tuple[int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(p.pts, bytes(p)) for p in container.demux(video=0)]


def _side_data(path: Path) -> dict[str, bytes]:
    with av.open(str(path)) as container:
        frame: Any = next(container.decode(video=0))
        return {d.type.name: bytes(d) for d in frame.side_data}


def _in_entry(path: Path) -> dict[str, bytes]:
    """Return the boxes of the picture's description, whole."""
    content = path.read_bytes()
    with path.open("rb") as file:
        boxes = [b for b in walk_boxes(file) if b.path[-3:-2] == ("stsd",)]
    return {b.kind: content[b.offset : b.end] for b in boxes}


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize("kinds", [("dvvC", "amve"), ("st3d", "sv3d"), ("vexu", "hfov")])
def test_how_the_picture_is_shown_stays(tmp_path: Path, name: str, kinds: tuple[str, ...]) -> None:
    original, output = _make(tmp_path / name), tmp_path / f"stripped_{name}"
    mp4.insert_in_video_entry(original, [_BOXES[kind] for kind in kinds])
    report = _strip(original, output)
    described, before = _in_entry(output), _in_entry(original)
    for kind in kinds:
        if kind == "sv3d":
            assert _TOOL not in described[kind]
            assert described[kind].endswith(before[kind][-44:])
        else:
            assert described[kind] == before[kind]
    assert set(described) & set(_BOXES) == set(kinds)
    assert _packets(output) == _packets(original)
    assert _side_data(output) == _side_data(original)
    assert not report.audit


@pytest.mark.parametrize("kind", ["dvvC", "st3d", "amve"])
def test_text_behind_the_numbers_is_not_given_out(tmp_path: Path, kind: str) -> None:
    original, text = _make(tmp_path / "a.mp4"), b"Alice at home"
    content = _BOXES[kind][8:]
    longer = content[: -len(text)] + text if kind == "dvvC" else content + text
    mp4.insert_in_video_entry(original, [_box(kind, longer)])
    assert audit(original, {0}).findings == (f"more than numbers in a {kind} box",)
    _strip(original, tmp_path / "b.mp4")
    assert text not in (tmp_path / "b.mp4").read_bytes()
    assert (kind in _in_entry(tmp_path / "b.mp4")) == (kind in ("dvvC", "amve"))


def test_a_mesh_is_no_known_form(tmp_path: Path) -> None:
    original = _make(tmp_path / "a.mp4")
    shape = _box("prhd", bytes(16)) + _box("mshp", b"Alice at home")
    sphere = _box("sv3d", _box("svhd", bytes(4) + _TOOL) + _box("proj", shape))
    mp4.insert_in_video_entry(original, [sphere])
    _strip(original, tmp_path / "b.mp4")
    assert "sv3d" not in _in_entry(tmp_path / "b.mp4")


def test_protected_ones_keep_the_surroundings_that_hdr_is_meant_for(tmp_path: Path) -> None:
    original, output = _make(tmp_path / "a.mov"), tmp_path / "b.mp4"
    mp4.insert_in_video_entry(original, [_BOXES["amve"]])
    report = protect(original, output, Parameters(), Settings()).report
    kind = "AMBIENT_VIEWING_ENVIRONMENT"
    assert _side_data(output)[kind] == _side_data(original)[kind]
    assert not report.notes
    (note,) = protect(original, tmp_path / "b.mkv", Parameters(), Settings()).report.notes
    assert "surroundings" in note


def test_protected_ones_are_shown_as_a_sphere_and_in_depth(tmp_path: Path) -> None:
    original, output = _make(tmp_path / "a.mov"), tmp_path / "b.mp4"
    mp4.insert_in_video_entry(original, [_BOXES["st3d"], _BOXES["sv3d"]])
    report = protect(original, output, Parameters(), Settings()).report
    wanted, found = _side_data(original), _side_data(output)
    for kind in ("SPHERICAL", "STEREO3D"):
        assert found[kind] == wanted[kind]
    assert not report.notes
    assert _TOOL not in output.read_bytes()
    notes = protect(original, tmp_path / "b.mkv", Parameters(), Settings()).report.notes
    assert [word in " ".join(notes) for word in ("spherical", "stereoscopic")] == [True, True]


def test_without_such_marks_the_index_lies_in_front(tmp_path: Path) -> None:
    original = _make(tmp_path / "a.mp4")
    _strip(original, tmp_path / "b.mp4")
    with (tmp_path / "b.mp4").open("rb") as file:
        top = [b.kind for b in walk_boxes(file) if len(b.path) == 1]
    assert top.index("moov") < top.index("mdat")


def test_dolby_vision_in_matroska_stays(tmp_path: Path) -> None:
    original = _make(tmp_path / "a.mp4")
    mp4.insert_in_video_entry(original, [_BOXES["dvvC"]])
    matroska, output = tmp_path / "a.mkv", tmp_path / "b.mkv"
    with av.open(str(original)) as source, av.open(str(matroska), "w") as out:
        copy = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                out.mux(packet)
    assert _DOLBY_VISION in matroska.read_bytes()
    _strip(matroska, output)
    assert _DOLBY_VISION in output.read_bytes()
    named = matroska.read_bytes().replace(
        b"Dolby Vision configuration", b"I was filmed by Alice John"
    )
    matroska.write_bytes(named)
    assert "name of what lies beside the blocks" in audit(matroska, {0}).findings


def test_a_table_of_colours_is_no_box(tmp_path: Path) -> None:
    original = _make(tmp_path / "a.mov", "smc", "pal8")
    _strip(original, tmp_path / "b.mov")
    assert _packets(tmp_path / "b.mov") == _packets(original)


def test_what_r10k_says_of_its_order_of_bytes_stays(tmp_path: Path) -> None:
    original = _make(tmp_path / "a.mov", "r10k", "gbrp10le")
    _strip(original, tmp_path / "b.mov")
    assert _in_entry(tmp_path / "b.mov").keys() >= {"DpxE"}


@pytest.mark.parametrize("is_stated", [True, False])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libvpx-vp9"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libx264")]
)
def test_the_frame_rate_that_matroska_states_stays(
    tmp_path: Path, name: str, codec: str, is_stated: bool
) -> None:
    """Also of codecs that do not know it themselves; televisions choose their own by it."""
    original, output = _make(tmp_path / name, codec), tmp_path / f"stripped_{name}"
    stated = _default_durations(original)
    assert stated == [40_000_000]
    if not is_stated:
        content = original.read_bytes()
        (at,) = (e.offset for e in _elements(original) if e.kind == "DefaultDuration")
        original.write_bytes(content[:at] + b"\xec\x86" + bytes(6) + content[at + 8 :])
    _strip(original, output)
    assert _default_durations(output) == (stated if is_stated else [])


def _elements(path: Path) -> list[Element]:
    with path.open("rb") as file:
        return list(walk_elements(file))


def _default_durations(path: Path) -> list[int]:
    with path.open("rb") as file:
        return [
            int.from_bytes(payload_of(file, element))
            for element in walk_elements(file)
            if element.kind == "DefaultDuration"
        ]


_V1 = (
    '<?xml version="1.0"?><rdf:SphericalVideo xmlns:GSpherical="http://ns.google.com/videos/1.0/">'
    "<GSpherical:Spherical>true</GSpherical:Spherical>"
    "<GSpherical:Stitched>true</GSpherical:Stitched>"
    "<GSpherical:StitchingSoftware>Alice's Camera 7</GSpherical:StitchingSoftware>"
    "<GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>"
    "<GSpherical:StereoMode>top-bottom</GSpherical:StereoMode>"
    "<GSpherical:InitialViewHeadingDegrees>-30</GSpherical:InitialViewHeadingDegrees>{}"
    "</rdf:SphericalVideo>"
)
_HALF = (
    "<GSpherical:CroppedAreaImageWidthPixels>64</GSpherical:CroppedAreaImageWidthPixels>"
    "<GSpherical:FullPanoWidthPixels>128</GSpherical:FullPanoWidthPixels>"
    "<GSpherical:CroppedAreaLeftPixels>32</GSpherical:CroppedAreaLeftPixels>"
)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
@pytest.mark.parametrize("part", ["", _HALF])
def test_a_sphere_of_the_older_form_stays_one(tmp_path: Path, name: str, part: str) -> None:
    original, output = _make(tmp_path / name), tmp_path / f"stripped_{name}"
    _describe_sphere(original, _V1.format(part))
    _strip(original, output)
    before, after = _side_data(original), _side_data(output)
    assert after["STEREO3D"] == before["STEREO3D"]
    sphere = parse_spherical(after["SPHERICAL"])
    assert (sphere.yaw, sphere.pitch, sphere.roll) == (-30 << 16, 0, 0)
    # FFmpeg does not read the older form's view and part.
    assert replace(sphere, yaw=0, left=0, right=0, projection=0) == (
        parse_spherical(before["SPHERICAL"])
    )
    quarter = 1 << 30 if part else 0
    assert (sphere.left, sphere.right, sphere.top, sphere.bottom) == (quarter, quarter, 0, 0)
    assert _packets(output) == _packets(original)
    assert b"Alice" not in output.read_bytes()

    protected = tmp_path / f"protected_{name}"
    protect(original, protected, Parameters(), Settings(threads=1))
    kept = _side_data(protected)
    assert parse_spherical(kept["SPHERICAL"]) == sphere
    assert kept["STEREO3D"] == before["STEREO3D"]


@pytest.mark.parametrize(
    "text",
    [
        _V1.format("").replace("equirectangular", "cubemap"),
        _V1.format("").replace("true", "false"),
        _V1[:200],
    ],
)
def test_a_sphere_of_no_known_form_is_none(tmp_path: Path, text: str) -> None:
    original = _make(tmp_path / "a.mp4")
    _describe_sphere(original, text)
    _strip(original, tmp_path / "b.mp4")
    assert "SPHERICAL" not in _side_data(tmp_path / "b.mp4")


def test_blanks_without_end_are_soon_read() -> None:
    assert parse_xml(b"<GSpherical:Spherical>" + b" " * 60_000) is None


def test_blanks_around_what_is_said_count_for_nothing() -> None:
    text = re.sub(r">([^<>]+)<", r">\n  \1\r\n<", _V1.format(_HALF))
    assert parse_xml(text.encode()) == parse_xml(_V1.format(_HALF).encode()) is not None


@pytest.mark.parametrize(
    ("stated", "degrees"), [("90", 90), ("270", -90), ("-90", -90), ("359", -1), ("360", 0)]
)
def test_a_heading_is_the_same_whichever_way_around_it_is_counted(
    stated: str, degrees: int
) -> None:
    said = parse_xml(_V1.format("").replace("-30", stated).encode())
    assert said is not None
    assert said[0].yaw == degrees << 16


def test_a_view_upwards_is_a_sphere_that_is_turned_down() -> None:
    """The newer form's pitch turns the sphere up before one who looks ahead, its roll clockwise."""
    view = "".join(
        f"<GSpherical:InitialView{name}Degrees>{degrees}</GSpherical:InitialView{name}Degrees>"
        for name, degrees in (("Pitch", 20), ("Roll", -15))
    )
    said = parse_xml(_V1.format(view).encode())
    assert said is not None
    assert (said[0].pitch, said[0].roll) == (-20 << 16, 15 << 16)


def _describe_sphere(path: Path, text: str) -> None:
    """Append the older form's box to the track of a file whose index lies at its end."""
    addition = _box("uuid", UUID + text.encode())
    with path.open("rb") as file:
        boxes = [b for b in walk_boxes(file) if b.path in (("moov",), ("moov", "trak"))]
    content = bytearray(path.read_bytes())
    content[boxes[-1].end : boxes[-1].end] = addition
    for box in boxes:
        size = int.from_bytes(content[box.offset : box.offset + 4]) + len(addition)
        content[box.offset : box.offset + 4] = size.to_bytes(4)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "form", "codec", "sound", "stated"),
    [
        ("a.ts", "mpegts", "libx264", "aac", "h264"),
        ("a.mpg", "mpeg", "mpeg2video", "mp2", "mpeg2video"),
        ("a.flv", "flv", "flv", "libmp3lame", "flv1"),
        ("a.wmv", "asf", "wmv2", "libmp3lame", "wmv2"),
        ("a.ogv", "ogg", "libvpx", "libopus", "vp8"),
        ("a.nut", "nut", "mpeg4", "mp2", "mpeg4"),
    ],
)
def test_less_usual_containers_stay_what_they_are(
    tmp_path: Path, name: str, form: str, codec: str, sound: str, stated: str
) -> None:
    tags = {"title": "PLANTED"}
    video = Video(width=96, height=64, codec=codec, audio=[Audio(sound)], tags=tags)
    original, output = make_video(tmp_path / name, video), tmp_path / f"out_{name}"
    report = _strip(original, output)
    with av.open(str(original)) as source, av.open(str(output)) as copy:
        assert copy.format.name == source.format.name == form
        assert len(copy.streams) == len(source.streams) == 2
    assert [data for _, data in _packets(output)] == [data for _, data in _packets(original)]
    assert (report.frames, report.video_codec) == (25, stated)
    assert b"PLANTED" not in output.read_bytes()


def test_speex_in_flv_does_not_end_the_process(tmp_path: Path) -> None:
    """As of webcams in Flash: the file says that it has one channel, and not which."""
    sound = Audio("libmp3lame", 22_050, "mono")
    video = Video(
        width=96, height=64, codec="flv", audio=[sound], muxer={"flvflags": "no_metadata"}
    )
    content = bytearray(make_video(tmp_path / "made.flv", video).read_bytes())
    at = 13
    while at < len(content):  # tags: kind, size, time, stream; content; size of the whole
        if content[at] == 8:
            content[at + 11] = 0xB2  # Speex of 16 bits
        at += 15 + int.from_bytes(content[at + 1 : at + 4])
    original, output = tmp_path / "a.flv", tmp_path / "b.flv"
    original.write_bytes(content)
    assert _strip(original, output).frames == 25
    assert _of_all_tracks(output) == _of_all_tracks(original)


def test_what_its_container_is_not_written_with_is_refused_by_name(tmp_path: Path) -> None:
    original = _with_sound(tmp_path / "nvr.webm", "matroska", "libx264", "pcm_alaw")
    with pytest.raises(UnsupportedMedia, match=r"nvr\.webm holds h264.* webm; use mode: protect"):
        _strip(original, tmp_path / "b.webm")


def test_chapters_beside_a_codec_that_matroska_names_as_windows_does_are_not_lost(
    tmp_path: Path,
) -> None:
    original = _with_sound(tmp_path / "nvr.mkv", "matroska:live=1", "libx264", "pcm_alaw")
    times = _element(0x73C4, b"\1") + _element(0x91, b"\0") + _element(0x92, b"\7")
    chapters = _element(0x1043A770, _element(0x45B9, _element(0xB6, times)))
    head, cluster, rest = original.read_bytes().partition(b"\x1f\x43\xb6\x75")
    original.write_bytes(head + chapters + cluster + rest)
    with pytest.raises(UnsupportedMedia, match=r"nvr\.mkv holds pcm_alaw.* use mode: protect"):
        _strip(original, tmp_path / "b.mkv")


def _element(number: int, payload: bytes) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8) + bytes([0x80 | len(payload)]) + payload


@pytest.mark.parametrize(
    ("name", "form", "codec", "sound"),
    [
        ("nvr.mkv", "matroska", "libx264", "pcm_alaw"),
        ("nvr.mkv", "matroska", "libx265", "pcm_mulaw"),
        ("a 'b' | \\ [c]\n.mkv", "matroska", "wmv2", "adpcm_ima_wav"),
        ("camera.avi", "avi", "libx265", "pcm_alaw"),
    ],
)
def test_codecs_that_matroska_and_avi_name_as_windows_does_stay(
    tmp_path: Path, name: str, form: str, codec: str, sound: str
) -> None:
    original = _with_sound(tmp_path / name, form, codec, sound)
    report = _strip(original, tmp_path / f"out {name}")
    assert (report.frames, report.container) == (6, form)
    assert not report.audit
    assert _of_all_tracks(tmp_path / f"out {name}") == _of_all_tracks(original)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, f"out {name}"])


@pytest.mark.parametrize("codec", ["utvideo", "rawvideo"])
def test_pixels_that_only_the_tag_tells_of_stay_readable_in_matroska(
    tmp_path: Path, codec: str
) -> None:
    original = _with_sound(tmp_path / "screen.mkv", "matroska", codec, "pcm_alaw")
    _strip(original, tmp_path / "out.mkv")
    assert _of_all_tracks(tmp_path / "out.mkv") == _of_all_tracks(original)
    assert _shown(tmp_path / "out.mkv") == _shown(original)


def _shown(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray().tobytes() for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("name", "form", "codec", "sound", "container"),
    [
        ("phone.3gp", "3gp", "h263", "aac", "3gp"),
        ("phone.mp4", "3gp", "mpeg4", "amr", "3gp"),
        ("phone.mov", "mov", "h263", "amr", "mov"),
        ("camera.mp4", "mov", "libx264", "pcm_alaw", "mov"),
    ],
)
def test_what_old_phones_and_cameras_put_into_mp4_stays(
    tmp_path: Path, name: str, form: str, codec: str, sound: str, container: str
) -> None:
    original, output = _with_sound(tmp_path / name, form, codec, sound), tmp_path / f"out_{name}"
    if name == "camera.mp4":
        original.write_bytes(original.read_bytes().replace(b"qt  ", b"isom"))
    report = _strip(original, output)
    assert (report.frames, report.container) == (6, container)
    assert not report.audit
    assert _of_all_tracks(output) == _of_all_tracks(original)


def test_uncompressed_sound_of_cameras_that_names_no_speakers_stays_in_mp4(tmp_path: Path) -> None:
    video = Video(width=96, height=64, audio=[Audio("pcm_s16be")])
    original, output = make_video(tmp_path / "made.mov", video), tmp_path / "out.mp4"
    data = original.read_bytes().replace(b"qt  ", b"isom").replace(b"chan", b"free")
    original = tmp_path / "a.mp4"
    original.write_bytes(data)
    assert _strip(original, output).frames == 25
    assert _of_all_tracks(output) == _of_all_tracks(original)
    with av.open(str(original)) as one, av.open(str(output)) as two:
        tags = [container.streams.audio[0].codec_context.codec_tag for container in (one, two)]
    assert tags == ["twos", "twos"]


@pytest.mark.parametrize(
    ("name", "codec", "tag", "container"),
    [
        ("drone.mp4", "mjpeg", b"jpeg", "mov"),
        ("film.mp4", "libx265", b"dvhe", "mov"),
        ("film.mov", "libx265", b"dvh1", "mp4"),
    ],
)
def test_tags_that_only_the_other_of_mp4_and_quicktime_takes_stay(
    tmp_path: Path, name: str, codec: str, tag: bytes, container: str
) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    video = Video(width=96, height=64, frames=6, codec=codec, pixel_format=pixels, options=options)
    original, output = make_video(tmp_path / "made.mov", video), tmp_path / f"out_{name}"
    data = original.read_bytes().replace(b"hev1", tag).replace(b"hvc1", tag)
    original = tmp_path / name
    original.write_bytes(data if name == "film.mov" else data.replace(b"qt  ", b"isom"))
    report = _strip(original, output)
    assert (report.frames, report.container) == (6, container)
    assert tag in output.read_bytes()
    assert [data for _, data in _packets(output)] == [data for _, data in _packets(original)]


def test_what_browsers_record_as_webm_and_webm_does_not_take_stays(tmp_path: Path) -> None:
    """Of H.264 Chrome's file is of the kind `matroska` itself, whatever a page calls it."""
    original = _with_sound(tmp_path / "call.webm", "matroska", "libx264", "libopus")
    report = _strip(original, tmp_path / "out.webm")
    assert (report.frames, report.container) == (6, "matroska")
    assert _of_all_tracks(tmp_path / "out.webm") == _of_all_tracks(original)


def test_parts_that_were_joined_each_with_its_own_header_stay(tmp_path: Path) -> None:
    """Of x265 the header names the encoder; like its packets it stays as it is."""
    parts = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for part, references in zip(parts, "14", strict=True):
        with av.open(str(part), "w") as out:
            options = {"x265-params": f"log-level=none:bframes=0:ref={references}"}
            stream: Any = out.add_stream("libx265", rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for index in range(6):
                out.mux(stream.encode(_picture(index, "yuv420p")))
            out.mux(stream.encode(None))
    original, output = tmp_path / "joined.mp4", tmp_path / "out.mp4"
    with (
        av.open(str(parts[0])) as first,
        av.open(str(parts[1])) as second,
        av.open(str(original), "w") as out,
    ):
        copy = out.add_stream_from_template(first.streams.video[0], opaque=True)
        out.mux(_on_from(0, first, copy))
        out.mux(_on_from(6, second, copy))
    assert _entries(original) == 2
    report = _strip(original, output)
    assert _entries(output) == 2
    assert any("x265" in note for note in report.notes)
    assert _packets(output) == _packets(original)


def _on_from(index: int, part: Any, copy: Any) -> list[av.Packet[Any]]:
    packets = [packet for packet in part.demux() if packet.size]
    header = bytes(part.streams.video[0].codec_context.extradata)
    if index:
        beside = PacketSideData(_NEW_EXTRADATA, len(header))
        beside.update(header)
        packets[0].set_sidedata(beside)
    for number, packet in enumerate(packets, index):
        packet.pts = packet.dts = round(number / 25 / packet.time_base)
        packet.stream = copy
    return packets


def _entries(path: Path) -> int:
    with path.open("rb") as file:
        return sum(box.path[-2:-1] == ("stsd",) for box in walk_boxes(file))


def _with_sound(path: Path, form: str, codec: str, sound: str) -> Path:
    """Write six pictures and a fifth of a second of sound, by the book of `form` or not."""
    name = re.sub(r"([\\'|\s])", r"\\\1", str(path))
    with av.open(f"[f={form}:fflags=+bitexact]{name}", "w", format="tee") as out:
        options = {"x265-params": "log-level=none:bframes=0"} if codec == "libx265" else {}
        picture: Any = out.add_stream(codec, rate=25, options=options)
        picture.width, picture.height, picture.pix_fmt = 176, 144, "yuv420p"
        if form == "avi":
            picture.codec_context.codec_tag = "HEVC"
        else:
            picture.codec_context.flags |= Flags.global_header
        packets = _amr(path, out) if sound == "amr" else _encoded(out, sound)
        for index in range(6):
            frame = _picture(index, "yuv420p").reformat(width=176, height=144)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        out.mux(packets)
    return path


def _encoded(out: Any, codec: str) -> list[av.Packet[Any]]:
    sound = out.add_stream(codec, rate=8000, layout="mono")
    sound.open()
    frame = av.AudioFrame.from_ndarray(
        np.random.default_rng(0).integers(-9999, 9999, (1, 1600), np.int16), layout="mono"
    )
    frame.rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
    resampler = av.AudioResampler(sound.format, "mono", 8000, sound.frame_size or None)
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return [packet for f in [*frames, None] for packet in sound.encode(f)]


def _amr(path: Path, out: Any) -> list[av.Packet[Any]]:
    """Return frames of 20 ms, of which no encoder is there."""
    raw = path.with_suffix(".amr")
    raw.write_bytes(b"#!AMR\n" + 10 * (b"\x3c" + bytes(range(31))))
    with av.open(str(raw)) as spoken:
        copy = out.add_stream_from_template(spoken.streams.audio[0], opaque=True)
        packets = [packet for packet in spoken.demux() if packet.size]
    for packet in packets:
        packet.stream = copy
    raw.unlink()
    return packets


def _of_all_tracks(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        tracks = [(s.codec_context.name, s.codec_context.codec_tag) for s in container.streams]
        packets = [(p.stream_index, p.pts, p.dts, bytes(p)) for p in container.demux()]
    return [tracks, sorted(packets, key=lambda packet: packet[0])]


def test_the_last_picture_is_shown_as_long_as_the_others(tmp_path: Path) -> None:
    """Of VP9 in a short fragmented MP4 FFmpeg tells no durations of packets."""
    video = Video(
        codec="libvpx-vp9", audio=[Audio()], muxer={"movflags": "frag_keyframe+empty_moov"}
    )
    original, output = make_video(tmp_path / "a.mp4", video), tmp_path / "b.mp4"
    with av.open(str(original)) as source:
        assert not any(packet.duration for packet in source.demux(video=0))
    _strip(original, output)
    with av.open(str(output)) as copy:
        stream = copy.streams.video[0]
        assert stream.duration is not None
        last = max(packet.pts for packet in copy.demux(stream) if packet.pts is not None)
        assert (stream.duration - last) * stream.time_base == Fraction(1, 25)


@pytest.mark.parametrize("mode", ["protect", "strip"])
@pytest.mark.parametrize(
    ("height", "pixel_format", "rate"),
    [(480, "yuv411p", Fraction(30_000, 1001)), (576, "yuv420p", Fraction(25))],
)
def test_dv_whose_sound_lies_in_its_pictures_keeps_both(
    tmp_path: Path, mode: str, height: int, pixel_format: str, rate: Fraction
) -> None:
    """AVI's type 1, as tapes were captured; FFmpeg 8.1 says that it has 60,000 frames a second."""
    video = Video(720, height, 10, rate, "dvvideo", pixel_format, audio=[Audio("pcm_s16le")])
    original = _dv_of_type_1(make_video(tmp_path / "tape.dv", video), rate, height)
    output = tmp_path / ("b.avi" if mode == "strip" else "b.mp4")
    report = protect(
        original, output, Parameters.parse({"mode": mode}), Settings(preset="ultrafast", threads=1)
    ).report
    assert (report.frames, report.metadata_removed, report.notes) == (10, (), ())
    with av.open(str(output)) as copy:
        picture, sound = copy.streams.video[0], copy.streams.audio[0]
        assert (picture.frames, picture.average_rate) == (10, rate)
        times = [frame.time for frame in copy.decode(picture)]
        assert times == pytest.approx([float(n / rate) for n in range(10)], abs=0.001)
        assert sound.sample_rate == 48_000
    with av.open(str(output)) as copy:
        samples = sum(frame.samples for frame in copy.decode(audio=0))
        assert samples / 48_000 == pytest.approx(10 / float(rate), abs=0.025)


def _dv_of_type_1(raw: Path, rate: Fraction, height: int) -> Path:
    """Write frames of raw DV into an AVI with the one stream that they are."""
    data, size = raw.read_bytes(), {480: 120_000, 576: 144_000}[height]
    frames = [data[at : at + size] for at in range(0, len(data), size)]
    scale, ticks, number = rate.denominator, rate.numerator, len(frames)
    main = struct.pack("<14I", 40_000, size, 0, 16, number, 0, 1, size, 720, height, 0, 0, 0, 0)
    header = b"iavsdvsd" + struct.pack("<IHH4I", 0, 0, 0, 0, scale, ticks, 0)
    header += struct.pack("<4I4h", number, size, 0xFFFF_FFFF, 0, 0, 0, 0, 0)
    stream = _chunk(b"strh", header) + _chunk(b"strf", bytes(32))
    lists = _chunk(b"LIST", b"hdrl" + _chunk(b"avih", main) + _chunk(b"LIST", b"strl" + stream))
    lists += _chunk(b"LIST", b"movi" + b"".join(_chunk(b"00__", frame) for frame in frames))
    path = raw.with_name("tape.avi")
    path.write_bytes(_chunk(b"RIFF", b"AVI " + lists))
    return path


def _chunk(kind: bytes, payload: bytes) -> bytes:
    return kind + struct.pack("<I", len(payload)) + payload


def test_pcm_with_a_gap_is_not_stripped(tmp_path: Path) -> None:
    """Its copy's times follow from the number of samples alone."""
    original = _pcm_of_two_parts(tmp_path, milliseconds=150)
    with pytest.raises(UnsupportedMedia, match=r"gap in its sound \(stream 1\).*mode: protect"):
        _strip(original, tmp_path / "b.mov")


def test_pcm_with_times_that_jitter_is_stripped(tmp_path: Path) -> None:
    original, output = _pcm_of_two_parts(tmp_path, milliseconds=3), tmp_path / "b.mov"
    _strip(original, output)
    assert [data for _, data in _packets(output)] == [data for _, data in _packets(original)]


def _pcm_of_two_parts(tmp_path: Path, milliseconds: int) -> Path:
    """Write two seconds of a fragmented MOV, the second one's sound so much late."""
    video = Video(frames=50, audio=[Audio("pcm_s16le")], options={"g": "25", "bf": "0"})
    made, path = make_video(tmp_path / "made.mov", video), tmp_path / "a.mov"
    fragments = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(made)) as source, av.open(str(path), "w", options=fragments) as out:
        copies = [out.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if not packet.size:
                continue
            if packet.stream.type == "audio" and (packet.pts or 0) >= 48_000:
                packet.pts = packet.dts = (packet.pts or 0) + 48 * milliseconds
            packet.stream = copies[packet.stream.index]
            out.mux(packet)
    return path


def test_mp3_of_a_low_rate_stays_in_mp4(tmp_path: Path) -> None:
    video = Video(
        width=96, height=64, audio=[Audio("libmp3lame", 8000)], muxer={"strict": "unofficial"}
    )
    original, output = make_video(tmp_path / "a.mp4", video), tmp_path / "b.mp4"
    _strip(original, output)
    assert sorted(data for _, data in _packets(output)) == sorted(
        data for _, data in _packets(original)
    )


def test_quicktime_from_before_there_were_brands_stays_quicktime(tmp_path: Path) -> None:
    """As cameras wrote it; MP4 has neither its sound nor pictures like its own."""
    video = Video(
        width=96, height=64, codec="mjpeg", pixel_format="yuvj422p", audio=[Audio("pcm_u8")]
    )
    original, output = make_video(tmp_path / "a.mov", video), tmp_path / "b.mov"
    original.write_bytes(original.read_bytes().replace(b"ftyp", b"skip", 1))
    report = _strip(original, output)
    assert (report.frames, report.container) == (25, "mov")
    assert [data for _, data in _packets(output)] == [data for _, data in _packets(original)]


@pytest.mark.parametrize("name", ["a.webm", "A.WEBM"])
def test_webm_stays_webm(tmp_path: Path, name: str) -> None:
    """Browsers go by the name of the kind of document, not by that of the file."""
    made = make_video(
        tmp_path / "made.webm", Video(width=96, height=64, frames=5, codec="libvpx-vp9")
    )
    original, output = made.rename(tmp_path / name), tmp_path / f"out_{name}"
    report = _strip(original, output)
    assert report.container == "webm"
    assert b"\x42\x82\x84webm" in output.read_bytes()


@pytest.mark.parametrize(("name", "total"), [("a.mp4", 6), ("a.mkv", None)])
def test_progress_counts_packets_of_the_picture_up_to_their_number(
    tmp_path: Path, name: str, total: int | None
) -> None:
    original = make_video(
        tmp_path / name, Video(width=96, height=64, frames=6, audio=[Audio("flac")])
    )
    steps: list[Progress] = []
    protect(
        original,
        tmp_path / f"out_{name}",
        Parameters(mode=Mode.STRIP),
        Settings(),
        progress=steps.append,
    )
    assert steps == [Progress("strip", n, total) for n in range(1, 7)] + [Progress("audit", 6, 6)]


@pytest.mark.parametrize("is_sent", [False, True])
def test_sound_that_a_broadcast_does_not_send_or_scrambles_is_left_out(
    tmp_path: Path, is_sent: bool
) -> None:
    sounds = [Audio("mp2", language="deu"), Audio("ac3", language="eng")]
    made = make_video(tmp_path / "made.ts", Video(width=96, height=64, audio=sounds))
    original, output = tmp_path / "a.ts", tmp_path / "b.ts"
    with original.open("wb") as file:
        data = made.read_bytes()
        for at in range(0, len(data), 188):
            packet = bytearray(data[at : at + 188])
            if int.from_bytes(packet[1:3]) & 0x1FFF == 0x102:  # the second sound's
                packet[3] |= 0x80
                packet[20:] = bytes(byte ^ 0x5A for byte in packet[20:])
                if not is_sent:
                    continue
            file.write(packet)
    report = _strip(original, output)
    assert report.frames == 25
    assert "Not kept: audio track (stream 2)." in report.notes
    with av.open(str(output)) as container:
        assert [s.language for s in container.streams.audio] == ["deu"]


def test_the_picture_that_is_shown_is_the_one_that_is_reported(tmp_path: Path) -> None:
    """A track that is turned off, as of a camera's small preview, comes first."""
    original, output = tmp_path / "a.mp4", tmp_path / "b.mp4"
    small = make_video(tmp_path / "small.mp4", Video(width=64, height=48, frames=5, codec="mpeg4"))
    large = make_video(tmp_path / "large.mp4", Video(width=96, height=64, frames=25))
    with av.open(str(small)) as one, av.open(str(large)) as two, av.open(str(original), "w") as out:
        copies = [out.add_stream_from_template(f.streams.video[0]) for f in (one, two)]
        copies[0].disposition, copies[1].disposition = Disposition(0), Disposition.default
        for source, copy in zip((one, two), copies, strict=True):
            for packet in source.demux():
                if packet.size:
                    packet.stream = copy
                    out.mux(packet)
    report = _strip(original, output)
    assert (report.frames, report.video_codec) == (25, "h264")


def test_a_track_that_nobody_knows_is_left_out_and_told(tmp_path: Path) -> None:
    video = Video(width=96, height=64, frames=6, audio=[Audio(), Audio(language="deu")])
    original = make_video(tmp_path / "a.mkv", video)
    data = original.read_bytes()
    assert data.count(b"A_AAC") == 2
    original.write_bytes(data.replace(b"A_AAC", b"A_ZZZ", 1))
    report = _strip(original, tmp_path / "b.mkv")
    assert "Not kept: audio track (stream 1)." in report.notes
    with av.open(str(tmp_path / "b.mkv")) as copy:
        (sound,) = copy.streams.audio
        assert (len(copy.streams), sound.language) == (2, "deu")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])  # QuickTime has no mark of a comment
def test_subtitles_chapters_and_what_tracks_are_for_stay(tmp_path: Path, name: str) -> None:
    subtitles = "subrip" if name.endswith("mkv") else "mov_text"
    sounds = [Audio(language="eng"), Audio(language="deu")]
    times = [(0.0, 0.5), (0.5, 2.0)]
    video = Video(96, 64, frames=50, audio=sounds, subtitles=subtitles, chapters=times)
    made = make_video(tmp_path / f"made_{name}", video)
    original, output = _with_comment(made, tmp_path / name), tmp_path / f"out_{name}"
    report = _strip(original, output)
    with av.open(str(original)) as source, av.open(str(output)) as copy:
        for before, after in zip(_tracks(source), _tracks(copy), strict=True):
            assert (after.type, after.language) == (before.type, before.language)
            assert after.disposition == before.disposition
        assert Disposition.comment in [s.disposition for s in _tracks(copy)]
        chapters = copy.chapters()
    assert [
        (float(c["start"] * (c["time_base"] or 0)), float(c["end"] * (c["time_base"] or 0)))
        for c in chapters
    ] == times
    assert [c["metadata"]["title"] for c in chapters] == ["Chapter 1", "Chapter 2"]
    assert not any("Not kept" in note for note in report.notes if "data" not in note)


def _tracks(container: Any) -> list[Any]:
    return [s for s in container.streams if s.type in ("video", "audio", "subtitle")]


def _with_comment(made: Path, path: Path) -> Path:
    """Write a video again, its second track of sound marked as a comment; returns `path`."""
    with av.open(str(made)) as source, av.open(str(path), "w") as out:
        copies: dict[int, Any] = {}
        for stream in _tracks(source):
            copies[stream.index] = out.add_stream_from_template(stream)
            copies[stream.index].metadata.update(stream.metadata)
            copies[stream.index].disposition = stream.disposition
        copies[source.streams.audio[1].index].disposition = Disposition.comment
        out.set_chapters(source.chapters())
        for packet in source.demux(_tracks(source)):
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_copy_that_is_called_off_leaves_nothing(tmp_path: Path, name: str) -> None:
    original = _make(tmp_path / name)
    steps: list[Progress] = []
    with pytest.raises(Cancelled):
        protect(
            original,
            None,
            Parameters(mode=Mode.STRIP),
            Settings(),
            progress=steps.append,
            cancelled=lambda: len(steps) == 3,
        )
    assert [step.frames for step in steps] == [1, 2, 3]
    assert list(tmp_path.iterdir()) == [original]
