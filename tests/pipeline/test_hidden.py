"""What an edit list hides stays hidden in copies."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media import Audio, Video, make_video

from pipeline.boxes import walk_boxes
from pipeline.errors import UnreadableMedia, UnsupportedMedia
from pipeline.parameters import Parameters
from pipeline.protect import protect
from pipeline.settings import Settings

FAST = Settings(preset="ultrafast", threads=2)
STRIP = Parameters.parse({"mode": "strip"})
NO_SOUND = Parameters.parse({"audio_level": "none"})
RATE = 48_000
FRAME, PRIMING = 512, 1024  # ticks
EMPTY = -1

# Milliseconds that an edit lasts, and where it begins in the media; without the encoder's delay.
Edits = Sequence[tuple[int, int]]


def edited(
    tmp_path: Path,
    picture: Edits,
    sound: Edits,
    name: str = "edited.mp4",
    *,
    is_open: bool = False,
    rate: int = 25,
) -> Path:
    """
    Make four seconds of video with key frames at each whole one, and edit it as editors do.

    Args:
        is_open: pictures shown before a key frame need it, as in broadcasts.
        rate: pictures a second.
    """
    options = {"g": f"{rate}", "bf": "2", "keyint_min": f"{rate}", "sc_threshold": "0"}
    if is_open:
        options["x264-params"] = "open-gop=1:b-adapt=0"
    codec = "aac" if name.endswith(".mp4") else "pcm_s16le"
    track = Audio(codec=codec, layout="mono")
    video = Video(128, 96, 4 * rate, Fraction(rate), options=options, audio=[track])
    path = make_video(tmp_path / name, video)
    with path.open("rb") as file:
        boxes = list(walk_boxes(file))
    data = bytearray(path.read_bytes())
    delays = (2 * FRAME, PRIMING if codec == "aac" else 0)
    lists = [box for box in boxes if box.kind == "elst"]
    wanted = [(lists[0], picture, FRAME * rate, delays[0]), (lists[1], sound, RATE, delays[1])]
    for box, edits, ticks, delay in reversed(wanted):  # from the end, so that places stay
        entries = [(long, _in_media(at, ticks, delay)) for long, at in edits]
        payload = struct.pack(">II", 0, len(entries))
        payload += b"".join(struct.pack(">IiI", *entry, 1 << 16) for entry in entries)
        grown = len(payload) - box.payload_size
        data[box.payload_offset : box.end] = payload
        for outer in boxes:
            if outer.path == box.path[: len(outer.path)] and outer.offset <= box.offset < outer.end:
                size = int.from_bytes(data[outer.offset : outer.offset + 4]) + grown
                data[outer.offset : outer.offset + 4] = size.to_bytes(4)
    path.write_bytes(data)
    return path


def _in_media(at: int, rate: int, delay: int) -> int:
    return at if at == EMPTY else delay + at * rate // 1000


def pictures(path: Path) -> list[tuple[float, int]]:
    """Return when each picture is shown, and a sum that tells pictures apart."""
    with av.open(str(path)) as container:
        return [(float(f.time or 0), int(f.to_ndarray().sum())) for f in container.decode(video=0)]


def heard(path: Path) -> tuple[float, float]:
    """Return when the sound begins and how long it is, both in seconds after the first picture."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    start = float(frames[0].time or 0) - pictures(path)[0][0]
    return start, sum(frame.samples for frame in frames) / RATE


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("last", range(10, 17))
def test_a_stripped_copy_ends_with_the_last_picture_shown(
    tmp_path: Path, last: int, is_open: bool
) -> None:
    """Wherever the end is among pictures that need later ones, a key frame too."""
    edits = [(40 * (30 + last), 400)]
    original, output = edited(tmp_path, edits, edits, is_open=is_open), tmp_path / "out.mp4"
    report = protect(original, output, STRIP, FAST).report
    assert pictures(output) == pictures(original)
    assert report.frames == len(pictures(original)) == 30 + last
    assert heard(output) == pytest.approx(heard(original), abs=0.03)


@pytest.mark.parametrize("frames", [31, 34])
def test_an_end_between_two_milliseconds_shows_no_further_picture(
    tmp_path: Path, frames: int
) -> None:
    """An edit's length counts milliseconds."""
    edits = [(frames * 1000 // 28, 1000)]
    original = edited(tmp_path, edits, edits, is_open=True, rate=28)
    output = tmp_path / "out.mp4"
    protect(original, output, STRIP, FAST)
    assert len(pictures(output)) == len(pictures(original)) == frames


def test_a_name_in_pictures_that_no_decoder_needs_stays_in_its_packets(tmp_path: Path) -> None:
    """As where a cut falls between a key frame and the picture before: FFmpeg skips those."""
    edits = [(1000, 990)]
    original = edited(tmp_path, edits, edits)
    assert b"x264 - core" in original.read_bytes()
    report = protect(original, tmp_path / "out.mp4", STRIP, FAST).report
    assert any("Inside the copied packets" in n and "x264 - core" in n for n in report.notes)


@pytest.mark.parametrize("is_open", [False, True])
def test_parts_that_are_joined_are_not_stripped(tmp_path: Path, is_open: bool) -> None:
    edits = [(1000, 0), (1000, 2500)]
    original = edited(tmp_path, edits, edits, is_open=is_open)
    with pytest.raises(UnsupportedMedia, match=r"edit list.*use mode: protect"):
        protect(original, tmp_path / "out.mp4", STRIP, FAST)
    assert [path.name for path in tmp_path.iterdir()] == [original.name]


@pytest.mark.parametrize("parameters", [NO_SOUND, STRIP])
def test_copied_sound_stays_in_step_behind_a_cut(tmp_path: Path, parameters: Parameters) -> None:
    """What decoders need before the second part lies a second back, and is no clock begun anew."""
    sound = [(1100, 0), (1100, 1500)]
    original = edited(tmp_path, [(2200, 0)] if parameters is STRIP else sound, sound)
    protect(original, tmp_path / "out.mp4", parameters, FAST)
    ends = []
    for path in (original, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            shown = [p for p in container.demux(audio=0) if p.size and not p.is_discard]
            ends.append(max((p.pts or 0) + (p.duration or 0) for p in shown) / RATE)
    assert ends == pytest.approx([2.2, 2.2], abs=0.05)


def test_what_shows_nothing_is_not_stripped(tmp_path: Path) -> None:
    edits = [(1000, 5000)]
    original = edited(tmp_path, edits, edits)
    with pytest.raises(UnreadableMedia, match="no frame"):
        protect(original, tmp_path / "out.mp4", STRIP, FAST)


def test_pictures_hidden_behind_a_pause_are_not_stripped(tmp_path: Path) -> None:
    """They lie before the first that is shown, and after zero."""
    original = edited(tmp_path, [(700, EMPTY), (1000, 1400)], [(1700, 1000)])
    with pytest.raises(UnsupportedMedia, match=r"edit list.*use mode: protect"):
        protect(original, tmp_path / "out.mp4", STRIP, FAST)


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_copied_sound_of_joined_parts_holds_nothing_between_them(
    tmp_path: Path, ending: str
) -> None:
    edits = [(1000, 0), (1000, 2500)]
    original, output = edited(tmp_path, edits, edits), tmp_path / f"out{ending}"
    report = protect(original, output, NO_SOUND, FAST).report
    assert report.audio[0].treatment == "copied"
    assert len(pictures(output)) == len(pictures(original)) == 50
    assert heard(output)[1] == pytest.approx(2, abs=0.06)


@pytest.mark.parametrize("name", ["edited.mp4", "edited.mov"])
def test_copied_sound_in_matroska_begins_with_the_picture(tmp_path: Path, name: str) -> None:
    """FFmpeg gives a second of what lies before, for the decoder, and Matroska cannot hide it."""
    edits = [(2000, 1400)]
    original, output = edited(tmp_path, edits, edits, name), tmp_path / "out.mkv"
    protect(original, output, NO_SOUND, FAST)
    start, seconds = heard(output)
    assert start == pytest.approx(0, abs=0.05)
    assert seconds == pytest.approx(2, abs=0.06)


@pytest.mark.parametrize("parameters", [STRIP, NO_SOUND])
def test_copied_sound_after_a_pause_does_not_begin_with_what_was_cut_off(
    tmp_path: Path, parameters: Parameters
) -> None:
    original = edited(tmp_path, [(1700, 0)], [(700, EMPTY), (1000, 1400)])
    output = tmp_path / "out.mp4"
    protect(original, output, parameters, FAST)
    start, seconds = heard(output)
    assert start == pytest.approx(0.7, abs=0.05)
    assert seconds == pytest.approx(1, abs=0.06)
