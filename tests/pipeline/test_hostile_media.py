"""Damage that once led astray what reads a video; `tests/test_media_fuzz.py` looks for more."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from media import Audio, Video, make_video

from pipeline.boxes import walk_boxes
from pipeline.elements import walk_elements
from pipeline.errors import LimitExceeded, UnreadableMedia, UnsupportedMedia
from pipeline.parameters import Parameters
from pipeline.probe import _start, probe
from pipeline.protect import protect
from pipeline.settings import Limits, Settings
from pipeline.sidebyside import picture
from pipeline.verify import compare

FAST = Settings(preset="ultrafast", threads=1)
NO_SOUND = Parameters.parse({"audio_level": "none"})
STRIP = Parameters.parse({"mode": "strip"})
SMALL = Video(width=96, height=64, frames=12, audio=[Audio("libopus")])


def test_the_start_of_a_file_is_not_after_its_first_frame(tmp_path: Path) -> None:
    """FFmpeg leaves streams out whose start it does not know, as where tracks are listed twice."""
    clip = make_video(tmp_path / "clip.mkv", SMALL)
    with av.open(str(clip)) as container:
        first = next(container.decode(video=0))
    video = probe(clip, Limits()).video
    misled: Any = SimpleNamespace(start_time=32_000)
    assert _start(misled, video, first) == 0
    unknown: Any = SimpleNamespace(start_time=None)
    assert _start(unknown, video, first) == 0


def test_a_file_without_a_single_packet_is_told_as_that(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "clip.mkv", SMALL)
    data = bytearray(clip.read_bytes())
    for element in walk_elements(io.BytesIO(data)):
        if element.kind == "TrackNumber":  # one that no packet is of
            data[element.payload_offset] += 8
    clip.write_bytes(data)
    with pytest.raises(UnreadableMedia, match="clip.mkv has no frame that can be read"):
        protect(clip, None, STRIP, FAST)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mkv"]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_deep_video_of_few_frames_is_written(tmp_path: Path, frames: int) -> None:
    """x265 says of one or two frames that they are decoded at a time that is left over."""
    options = {"x265-params": "log-level=none:bframes=0"}
    video = replace(SMALL, frames=frames, codec="libx265", options=options, audio=[])
    clip = make_video(tmp_path / "clip.mp4", replace(video, pixel_format="yuv420p10le"))
    # Whether it fails without the mend depends on what is left over; more threads leave more.
    outcome = protect(clip, None, Parameters(), Settings(preset="ultrafast"))
    assert outcome.report.frames == frames
    with av.open(str(outcome.output)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        waits = [(p.pts - p.dts) * p.time_base for p in packets if p.pts is not None]
    assert 0 <= min(waits) <= max(waits) < 1


@pytest.mark.parametrize("mode", [STRIP, NO_SOUND])
def test_copied_sound_goes_on_where_recordings_were_joined(
    tmp_path: Path, mode: Parameters
) -> None:
    """The second one's clock begins at zero again."""
    clip = make_video(tmp_path / "clip.mkv", replace(SMALL, frames=75))
    data = clip.read_bytes()
    clusters = [e for e in walk_elements(io.BytesIO(data)) if e.kind == "Cluster"]
    again = b"".join(data[c.offset : c.end] for c in clusters)
    clip.write_bytes(_of_unknown_length(data[: clusters[-1].end] + again))
    outcome = protect(clip, None, mode, FAST)
    with av.open(str(outcome.output)) as container:
        sound = [p.pts * p.time_base for p in container.demux(audio=0) if p.pts is not None]
    assert sound == sorted(sound)
    assert 5.9 < sound[-1] < 6.1


def _of_unknown_length(data: bytes) -> bytes:
    segment = next(e for e in walk_elements(io.BytesIO(data)) if e.kind == "Segment")
    size = segment.header_size - 4
    unknown = ((1 << 7 * size) - 1 | 1 << 7 * size).to_bytes(size)
    return data[: segment.offset + 4] + unknown + data[segment.payload_offset :]


@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        (Parameters(), LimitExceeded, "clip.mp4 is longer than it states"),
        # Not told as the disk's fault, whose owner would look in vain, and tried again.
        (STRIP, UnsupportedMedia, "clip.mp4 states times or tracks that mp4 cannot hold"),
    ],
)
def test_a_last_frame_of_days_is_told_as_the_videos_fault(
    tmp_path: Path, parameters: Parameters, error: type[Exception], words: str
) -> None:
    video = replace(SMALL, time_base=Fraction(1, 1000), times=[0, 40, 90], options={"bf": "0"})
    clip = make_video(tmp_path / "clip.mp4", replace(video, frames=3, audio=[]))
    data = bytearray(clip.read_bytes())
    durations = next(box for box in walk_boxes(io.BytesIO(data)) if box.kind == "stts")
    data[durations.end - 4 : durations.end] = (1 << 31).to_bytes(4)
    clip.write_bytes(data)
    with pytest.raises(error, match=words):
        protect(clip, None, parameters, FAST)
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_sound_of_a_single_sample_is_no_failure(tmp_path: Path) -> None:
    """MP4 states lengths in milliseconds, so to a reader the copy's track is empty."""
    picture = make_video(tmp_path / "picture.mov", replace(SMALL, audio=[]))
    clip = tmp_path / "clip.mov"
    with av.open(str(picture)) as source, av.open(str(clip), "w") as out:
        video: Any = out.add_stream_from_template(source.streams.video[0])
        sound: Any = out.add_stream("pcm_s16le", rate=48000)
        sound.layout = "mono"
        sample = av.AudioFrame.from_ndarray(np.ones((1, 1), np.int16), format="s16", layout="mono")
        sample.sample_rate, sample.pts = 48000, 0
        out.mux([*sound.encode(sample), *sound.encode(None)])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
    assert protect(clip, None, Parameters(), FAST).report.frames == 12


@pytest.mark.parametrize("matrix", [3, 8, 14, 200])
def test_a_matrix_that_nobody_converts_plays_no_part(tmp_path: Path, matrix: int) -> None:
    """Reserved, YCgCo, ICtCp, damaged: luma and chroma stay luma and chroma."""
    clip = make_video(
        tmp_path / "clip.mov",
        replace(SMALL, codec="prores_ks", pixel_format="yuv422p10le", frames=4, audio=[]),
    )
    data = bytearray(clip.read_bytes())
    for place in [found.start() for found in re.finditer(b"icpf", data)]:
        data[place + 20] = matrix  # in the header of a frame of ProRes
    clip.write_bytes(data)
    outcome = protect(clip, None, Parameters(), FAST)
    assert outcome.report.frames == 4
    is_dropped = "colour description" in " ".join(outcome.report.notes)
    assert is_dropped == (matrix in (3, 200))
    assert compare(clip, outcome.output).picture.psnr_db > 25
    picture(clip, outcome.output, tmp_path / "seen.png")
