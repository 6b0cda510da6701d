"""An aspect put into a finished file leaves the rest of it as it was."""

from __future__ import annotations

import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from media import Video, make_video

from pipeline.aspect import set_aspect, state_aspects
from pipeline.elements import walk_elements
from pipeline.metadata import audit
from pipeline.parts import payload_of


def copy_of(original: Path, path: Path, muxer: str, aspect: Fraction) -> Path:
    with (
        av.open(str(original)) as source,
        av.open(str(path), "w", format=muxer, options={"fflags": "+bitexact"}) as target,
    ):
        stream: Any = source.streams.video[0]
        copy = target.add_stream_from_template(stream, opaque=True)
        set_aspect(copy, muxer, aspect)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    return make_video(tmp_path / "picture.mkv", Video(codec="ffv1", frames=3))


@pytest.mark.parametrize("muxer", ["matroska", "avi"])
@pytest.mark.parametrize("aspect", [Fraction(16, 11), Fraction(1), Fraction(3, 8), Fraction(10)])
def test_stated_aspect_is_read_again(
    tmp_path: Path, picture: Path, muxer: str, aspect: Fraction
) -> None:
    path = copy_of(picture, tmp_path / "copy", muxer, aspect)
    size = path.stat().st_size
    state_aspects(path, muxer, [aspect])
    assert path.stat().st_size == size
    with av.open(str(path)) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect
        assert len(list(container.decode(video=0))) == 3
    assert audit(path, {0}).is_clean


def test_aspect_beyond_all_measure_does_no_harm(tmp_path: Path, picture: Path) -> None:
    for muxer in ("matroska", "avi"):
        for aspect in (Fraction(2**31 - 1), Fraction(1, 2**31 - 1)):
            path = copy_of(picture, tmp_path / "copy", muxer, aspect)
            state_aspects(path, muxer, [aspect])
            with av.open(str(path)) as container:
                assert len(list(container.decode(video=0))) == 3


def test_checksum_of_the_tracks_fits_them(tmp_path: Path, picture: Path) -> None:
    path = copy_of(picture, tmp_path / "copy.mkv", "matroska", Fraction(2))
    state_aspects(path, "matroska", [Fraction(2)])
    with path.open("rb") as file:
        elements = list(walk_elements(file))
        tracks = next(e for e in elements if e.kind == "Tracks")
        stated = next(e for e in elements if e.path[-2:] == ("Tracks", "CRC-32"))
        content = payload_of(file, tracks)[stated.end - tracks.payload_offset :]
        assert payload_of(file, stated) == zlib.crc32(content).to_bytes(4, "little")


def test_aspect_of_an_avi_does_not_move_the_picture(tmp_path: Path, picture: Path) -> None:
    path = copy_of(picture, tmp_path / "copy.avi", "avi", Fraction(2))
    before = path.read_bytes()
    state_aspects(path, "avi", [Fraction(2)])
    after = path.read_bytes()
    assert after[after.index(b"movi") :] == before[before.index(b"movi") :]
    assert b"strn" not in after
