"""Boxes put into a finished file are there for others to read, and nothing else has moved."""

from __future__ import annotations

import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from pipeline import mp4
from pipeline.boxes import completeness, walk_boxes
from pipeline.parts import payload_of
from pipeline.sidedata import (
    Projection,
    StereoLayout,
    parse_content_light,
    parse_mastering_display,
    parse_spherical,
    parse_stereo,
)


def _rationals(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("=ii", *pair) for pair in pairs)


_PRIMARIES = (34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450)
_MASTERING = (
    _rationals(*((value, 50_000) for value in _PRIMARIES))
    + _rationals((1, 10_000), (10_000_000, 10_000))
    + struct.pack("=ii", 1, 1)
)
_LIGHT = struct.pack("=II", 1000, 400)
_TILE = struct.pack("=4i5I", 2, 10 << 16, -20 << 16, 5 << 16, 1 << 28, 1 << 29, 1 << 27, 0, 0)


# 314 lux, in the light of D65; as FFmpeg reduces what `amve` says.
_AMBIENT = struct.pack("=6i", 3_140_000, 10_000, 15_635, 50_000, 16_450, 50_000)


def _stereo(layout: StereoLayout, flags: int = 0) -> bytes:
    return struct.pack("=4iI4i", layout, flags, 0, 0, 0, 0, 1, 0, 1)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return _make(tmp_path / "video.mp4")


def _make(path: Path, movflags: str = "", with_sound_first: bool = False) -> Path:
    options = {"fflags": "+bitexact", **({"movflags": movflags} if movflags else {})}
    with av.open(str(path), "w", options=options) as out:
        sound: Any = out.add_stream("aac", rate=8000) if with_sound_first else None
        stream: Any = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(5):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([index * 30]) * plane.buffer_size)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is not None:
            silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            silence.planes[0].update(bytes(silence.planes[0].buffer_size))
            silence.sample_rate, silence.pts = 8000, 0
            out.mux(sound.encode(silence))
            out.mux(sound.encode(None))
    return path


def _packets(path: Path) -> list[tuple[int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(p.pts, bytes(p)) for p in container.demux()]


def _side_data(path: Path) -> dict[str, bytes]:
    with av.open(str(path)) as container:
        frame: Any = next(container.decode(video=0))
        return {d.type.name: bytes(d) for d in frame.side_data}


def _clap(path: Path) -> list[int]:
    with path.open("rb") as file:
        box = next(b for b in walk_boxes(file) if b.kind == "clap")
        return list(struct.unpack(">IIIIiIiI", payload_of(file, box)))


def test_ffmpeg_reads_back_what_was_put_in(video: Path) -> None:
    boxes = [
        mp4.mastering_display(_MASTERING),
        mp4.content_light(_LIGHT),
        mp4.ambient_light(_AMBIENT),
        mp4.spherical(_TILE),
        mp4.stereo_3d(_stereo(StereoLayout.TOP_BOTTOM)),
    ]
    mp4.insert_in_video_entry(video, boxes)
    found = _side_data(video)
    assert found["AMBIENT_VIEWING_ENVIRONMENT"] == _AMBIENT
    assert found["SPHERICAL"] == _TILE
    assert parse_stereo(found["STEREO3D"]).layout == StereoLayout.TOP_BOTTOM
    assert parse_content_light(found["CONTENT_LIGHT_LEVEL"]) == parse_content_light(_LIGHT)
    assert parse_mastering_display(found["MASTERING_DISPLAY_METADATA"]) == (
        parse_mastering_display(_MASTERING)
    )


@pytest.mark.parametrize("name", ["video.mp4", "video.mov"])
def test_no_packet_changes(tmp_path: Path, name: str) -> None:
    video = _make(tmp_path / name)
    before = _packets(video)
    mp4.insert_in_video_entry(video, [mp4.clean_aperture(63, 47, 1, 1)])
    assert _packets(video) == before
    assert not completeness(video).is_truncated
    with video.open("rb") as file:
        kinds = [b.kind for b in walk_boxes(file) if len(b.path) == 1]
    assert kinds.count("moov") == 1
    assert kinds[-1] == "moov"


def test_the_video_entry_is_found_behind_a_sound_track(tmp_path: Path) -> None:
    video = _make(tmp_path / "video.mp4", with_sound_first=True)
    mp4.insert_in_video_entry(video, [mp4.content_light(_LIGHT)])
    with video.open("rb") as file:
        entries = [b.path[-2] for b in walk_boxes(file) if b.kind == "clli"]
    assert entries == ["avc1"]
    assert "CONTENT_LIGHT_LEVEL" in _side_data(video)


def test_nothing_to_insert_leaves_the_file_alone(video: Path) -> None:
    before = video.read_bytes()
    mp4.insert_in_video_entry(video, [b"", b""])
    assert video.read_bytes() == before


def test_index_in_front_is_refused_and_the_file_left_alone(tmp_path: Path) -> None:
    video = _make(tmp_path / "video.mp4", movflags="+faststart")
    before = video.read_bytes()
    with pytest.raises(ValueError, match="not at its end"):
        mp4.insert_in_video_entry(video, [mp4.content_light(_LIGHT)])
    assert video.read_bytes() == before


def test_file_without_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.write_bytes(b"\0\0\0\x08mdat\0\0\0\x08moov")
    with pytest.raises(ValueError, match="no video track"):
        mp4.insert_in_video_entry(path, [mp4.content_light(_LIGHT)])


@pytest.mark.parametrize(("pad_right", "pad_bottom"), [(1, 0), (0, 1), (1, 1), (0, 2), (1, 3)])
def test_clean_aperture_hides_the_padding_alone(
    video: Path, pad_right: int, pad_bottom: int
) -> None:
    """ISO 14496-12, 12.1.4: the shown area's edges follow from its size and its centre."""
    width, height = 64 - pad_right, 48 - pad_bottom
    mp4.insert_in_video_entry(video, [mp4.clean_aperture(width, height, pad_right, pad_bottom)])
    w, w_d, h, h_d, x, x_d, y, y_d = _clap(video)
    left = Fraction(x, x_d) + Fraction(64 - 1, 2) - (Fraction(w, w_d) - 1) / 2
    top = Fraction(y, y_d) + Fraction(48 - 1, 2) - (Fraction(h, h_d) - 1) / 2
    assert (left, top) == (0, 0)
    assert (Fraction(w, w_d), Fraction(h, h_d)) == (width, height)


@pytest.mark.parametrize(
    ("layout", "flags", "mode"),
    [
        (StereoLayout.MONO, 0, 0),
        (StereoLayout.TOP_BOTTOM, 0, 1),
        (StereoLayout.SIDE_BY_SIDE, 0, 2),
        (StereoLayout.SIDE_BY_SIDE, 1, 4),
    ],
)
def test_stereo_layouts_have_their_mode(layout: StereoLayout, flags: int, mode: int) -> None:
    assert mp4.stereo_3d(_stereo(layout, flags)) == b"\0\0\0\x0dst3d\0\0\0\0" + bytes([mode])


@pytest.mark.parametrize(
    "data",
    [
        _stereo(StereoLayout.FRAME_SEQUENCE),
        _stereo(StereoLayout.TOP_BOTTOM, 1),
        struct.pack("=4iI4i", 7, 0, 0, 0, 0, 0, 1, 0, 1),
    ],
)
def test_stereo_layout_that_the_box_cannot_say_gives_no_box(data: bytes) -> None:
    assert mp4.stereo_3d(data) == b""


def test_projection_that_the_box_cannot_say_gives_no_box() -> None:
    fisheye = struct.pack("=4i5I", Projection.FISHEYE, *([0] * 8))
    assert mp4.spherical(fisheye) == b""


def test_cube_map_keeps_its_padding(video: Path) -> None:
    cube = struct.pack("=4i5I", Projection.CUBEMAP, 0, 0, 0, 0, 0, 0, 0, 7)
    mp4.insert_in_video_entry(video, [mp4.spherical(cube)])
    assert parse_spherical(_side_data(video)["SPHERICAL"]) == parse_spherical(cube)


def test_mastering_display_in_the_words_of_x265() -> None:
    display = parse_mastering_display(_MASTERING)
    assert display is not None
    assert display.x265() == "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    assert parse_content_light(_LIGHT).x265() == "1000,400"


def test_fractions_of_other_denominators_come_to_the_same_steps() -> None:
    other = (
        _rationals(*((value * 2, 100_000) for value in _PRIMARIES))
        + _rationals((1, 10_000), (1000, 1))
        + struct.pack("=ii", 1, 1)
    )
    assert parse_mastering_display(other) == parse_mastering_display(_MASTERING)


def test_incomplete_or_damaged_mastering_display_is_none_or_zero() -> None:
    assert parse_mastering_display(_MASTERING[:80] + struct.pack("=ii", 1, 0)) is None
    assert mp4.mastering_display(_MASTERING[:80] + struct.pack("=ii", 0, 1)) == b""
    broken = parse_mastering_display(bytes(80) + struct.pack("=ii", 1, 1))
    assert broken is not None
    assert broken.red == (0, 0)


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _said_by(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_mediainfo_sees_clean_aperture_and_hdr(video: Path) -> None:
    boxes = [mp4.clean_aperture(63, 47, 1, 1), mp4.mastering_display(_MASTERING)]
    mp4.insert_in_video_entry(video, [*boxes, mp4.content_light(_LIGHT)])
    said = _said_by(_tool("mediainfo"), str(video))
    for words in ("63 pixels", "47 pixels", "max: 1000 cd/m2", "400 cd/m2"):
        assert words in said


def test_exiftool_sees_stereo_and_projection(video: Path) -> None:
    stereo = mp4.stereo_3d(_stereo(StereoLayout.SIDE_BY_SIDE))
    mp4.insert_in_video_entry(video, [stereo, mp4.spherical(_TILE)])
    said = _said_by(_tool("exiftool"), str(video))
    assert "Stereoscopic Left-Right" in said
    assert "Projection Bounds Top" in said
