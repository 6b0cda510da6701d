"""What a protected copy keeps and loses, tried on videos of every odd kind."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from media import Audio, Video, make_video

from pipeline.avi_sound import uneven_tracks
from pipeline.chunks import walk_chunks
from pipeline.errors import (
    Cancelled,
    InvalidParameters,
    LimitExceeded,
    OutputFailed,
    SurrogateUnavailable,
    UnreadableMedia,
    UnsupportedMedia,
)
from pipeline.media import FieldOrder
from pipeline.parameters import Mode, Parameters
from pipeline.picture_track import has_alpha_beside
from pipeline.plan import plan_output
from pipeline.probe import probe as probe_media
from pipeline.progress import Progress
from pipeline.protect import protect, protect_into
from pipeline.report import Report
from pipeline.settings import Limits, Settings
from pipeline.transcode import decoding_threads
from pipeline.verify import compare
from pipeline.writer import Writer
from tests.pipeline.networks import torchscript
from tests.pipeline.voices import voice

FAST = Settings(preset="ultrafast", threads=1)
NO_SOUND = Parameters.parse({"audio_level": "none"})
HDR10 = (
    "log-level=none:hdr10=1:max-cll=1000,400:"
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
)


def run(
    tmp_path: Path,
    video: Video,
    name: str = "clip.mp4",
    out: str | None = None,
    parameters: Parameters | None = None,
    settings: Settings = FAST,
) -> tuple[Path, Path, Report]:
    original = make_video(tmp_path / name, video)
    target = tmp_path / out if out else None
    outcome = protect(original, target, parameters or Parameters(), settings)
    return original, outcome.output, outcome.report


def frame_times(path: Path) -> list[Fraction]:
    """Return the seconds of each frame since the first, decoded."""
    with av.open(str(path)) as container:
        ticks = [f.pts * f.time_base for f in container.decode(video=0) if f.pts is not None]
    return [t - ticks[0] for t in ticks]


def sound_times(path: Path) -> list[Fraction]:
    """Return the seconds of each packet of sound."""
    with av.open(str(path)) as container:
        return [p.pts * p.time_base for p in container.demux(audio=0) if p.pts is not None]


def first_frame(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [bytes(p) for p in container.demux(stream) if p.size]


def _with_exif(original: Path, path: Path) -> Path:
    """Write a motion-JPEG video again, each frame with what cameras put there. Returns `path`."""
    tiff = b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x010F, 2, 5, 26) + bytes(4) + b"Acme\0"
    exif = b"\xff\xe1" + struct.pack(">H", 8 + len(tiff)) + b"Exif\0\0" + tiff
    with av.open(str(original)) as source, av.open(str(path), "w") as target:
        stream: Any = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.size:
                data = bytes(packet)
                copy: av.Packet[Any] = av.Packet(data[:2] + exif + data[2:])
                copy.time_base, copy.duration = packet.time_base, packet.duration
                copy.pts, copy.dts, copy.stream = packet.pts, packet.dts, stream
                target.mux(copy)
    return path


def close_to(found: list[Fraction], wanted: list[Fraction], within: Fraction) -> bool:
    return len(found) == len(wanted) and all(
        abs(a - b) <= within for a, b in zip(found, wanted, strict=True)
    )


class TestTime:
    @pytest.mark.parametrize("bframes", ["0", "3"])
    def test_variable_frame_rate_keeps_every_timestamp_exactly(
        self, tmp_path: Path, bframes: str
    ) -> None:
        times = [0, 40, 70, 200, 210, 211, 1000, 1033, 7000, 7040]
        video = Video(time_base=Fraction(1, 1000), times=times, frames=10, options={"bf": bframes})
        original, output, report = run(tmp_path, video, "vfr.mkv")
        assert output.suffix == ".mp4"
        assert report.frames == 10
        assert frame_times(output) == [Fraction(t, 1000) for t in times]

    def test_a_long_last_frame_keeps_its_duration(self, tmp_path: Path) -> None:
        times = [n * 40 for n in range(24)]
        # Without B-frames: which frame is coded last would depend on the encoder's threads.
        options = {"bf": "0"}
        video = Video(
            time_base=Fraction(1, 1000), times=times, frames=24, last_duration=3000, options=options
        )
        original, output, _ = run(tmp_path, video, "long.mp4", settings=Settings(threads=1))
        with av.open(str(original)) as a, av.open(str(output)) as b:
            assert b.duration == pytest.approx(a.duration, abs=2000)
            stream = b.streams.video[0]
            assert float(stream.duration * stream.time_base) == pytest.approx(3.92, abs=0.002)

    def test_a_gap_before_the_last_frame_keeps_the_duration(self, tmp_path: Path) -> None:
        times = [*(n * 40 for n in range(24)), 7000]
        video = Video(time_base=Fraction(1, 1000), times=times, frames=25, last_duration=40)
        _, output, _ = run(tmp_path, video, "gap.mp4", settings=Settings(threads=1))
        assert frame_times(output) == [Fraction(t, 1000) for t in times]
        with av.open(str(output)) as container:
            assert container.duration == pytest.approx(7_040_000, abs=2000)

    @pytest.mark.parametrize("out", ["out.mp4", "out.mov", "out.mkv"])
    @pytest.mark.parametrize("last_duration", [40, 2000])
    @pytest.mark.parametrize(
        "times",
        [
            [*(n * 40 for n in range(24)), 4000, 4040],
            # Where decoding lasts longer than showing.
            [0, 400, 800, *(1200 + n * 40 for n in range(12))],
        ],
    )
    def test_the_stated_length_ends_with_the_last_frame(
        self, tmp_path: Path, times: list[int], last_duration: int, out: str
    ) -> None:
        video = Video(
            time_base=Fraction(1, 1000),
            times=times,
            frames=len(times),
            last_duration=last_duration,
            options={"bf": "0"},
        )
        # By default x264 reorders frames.
        _, output, _ = run(tmp_path, video, "held.mkv", out, settings=Settings(threads=1))
        assert frame_times(output) == [Fraction(t, 1000) for t in times]
        length = Fraction(times[-1] + last_duration, 1000)
        assert stated_lengths(output) == [length] * (1 if out.endswith("mkv") else 3)

    def test_a_picture_that_begins_late_states_when_it_ends(self, tmp_path: Path) -> None:
        times = [*(n * 40 for n in range(20, 44)), 4000, 4040]
        sound = Audio(codec="flac", seconds=1.0)
        video = Video(time_base=Fraction(1, 1000), times=times, frames=len(times), audio=[sound])
        _, output, _ = run(tmp_path, video, "late.mkv", "late.mp4", settings=Settings(threads=1))
        assert stated_lengths(output) == [Fraction(4080, 1000)] * 3

    def test_an_edit_list_that_hides_the_first_frames_is_obeyed(self, tmp_path: Path) -> None:
        whole = make_video(tmp_path / "whole.mp4", Video(frames=60, options={"g": "60"}))
        cut = tmp_path / "cut.mp4"
        ffmpeg("-ss", "0.83", "-i", whole, "-c", "copy", cut)
        shown = len(frame_times(cut))
        output = protect(cut, None, Parameters(), FAST).output
        assert close_to(frame_times(output), frame_times(cut), Fraction(1, 1000))
        assert 0 < shown < 60

    def test_reordered_frames_in_avi_lie_evenly(self, tmp_path: Path) -> None:
        original = tmp_path / "asp.avi"
        plain = make_video(tmp_path / "plain.mp4", Video(frames=25))
        ffmpeg("-i", plain, "-c:v", "mpeg4", "-bf", "2", "-vtag", "xvid", original)
        output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
        assert close_to(
            frame_times(output), [Fraction(n, 25) for n in range(25)], Fraction(1, 1000)
        )

    def test_reordered_frames_between_empty_chunks_of_avi_keep_their_speed(
        self, tmp_path: Path
    ) -> None:
        """FFmpeg 5 copies H.264 into AVI with twice as many chunks as frames."""
        times = [2 * n for n in range(50)]
        options = {"bf": "2"}
        video = Video(160, 120, codec="mpeg4", rate=Fraction(50), times=times, options=options)
        original = make_video(tmp_path / "a.avi", video)
        assert stated_chunks(original) >= 98
        output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
        assert close_to(
            frame_times(output), [Fraction(n, 25) for n in range(50)], Fraction(1, 1000)
        )
        with av.open(str(output)) as container:
            stream = container.streams.video[0]
            assert stream.duration * stream.time_base == 2

    @pytest.mark.parametrize("in_order", [0, 150])
    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_reordered_frames_of_mkvmerge_keep_their_times(
        self, tmp_path: Path, mode: str, in_order: int
    ) -> None:
        """
        It calls MPEG-4 as AVI does, and FFmpeg takes its times for those of decoding; the first
        frames, of a title at rest, may be `in_order`.
        """
        original = tmp_path / "a.mkv"
        source = ["-f", "lavfi", "-i", f"testsrc2=s=160x120:d={2 + in_order // 25}"]
        headers = ["-force_key_frames", f"expr:lt(n,{in_order})", "-bsf:v", "dump_extra"]
        ffmpeg(*source, "-c:v", "mpeg4", "-bf", "2", "-qscale", "5", *headers, original)
        wanted = frame_times(original)
        call_as_in_avi(original)
        assert frame_times(original) != wanted

        copy = tmp_path / "b.mkv"
        report = protect(original, copy, Parameters.parse({"mode": mode}), FAST).report
        assert close_to(frame_times(copy), wanted, Fraction(1, 1000))
        assert not any("time" in note for note in report.notes)
        assert compare(original, copy).largest_shift_ms == pytest.approx(0, abs=1)

    def test_reordered_frames_in_matroska_that_are_called_as_in_avi_lie_evenly(
        self, tmp_path: Path
    ) -> None:
        """
        As an Xvid that mkvmerge took from AVI: its times are those of decoding. From these FFmpeg
        makes up others, which are wrong where a packet holds two frames and the next one none.
        """
        original = tmp_path / "a.mkv"
        video = Video(160, 120, 50, codec="mpeg4", options={"bf": "1", "flags": "-global_header"})
        shown_as_decoded(original, video, {})
        call_as_in_avi(original)
        assert not probe_media(original, Limits()).video.has_times
        output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
        assert close_to(
            frame_times(output), [Fraction(n, 25) for n in range(50)], Fraction(2, 1000)
        )

    @pytest.mark.parametrize("after", [2, 25])
    def test_a_hole_between_reordered_frames_of_avi_lasts_once(
        self, tmp_path: Path, after: int
    ) -> None:
        times = [*range(25), *range(75, 75 + after)]
        video = Video(160, 120, len(times), codec="mpeg4", times=times, options={"bf": "2"})
        original = make_video(tmp_path / "a.avi", video)
        output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
        assert close_to(frame_times(output), [Fraction(n, 25) for n in times], Fraction(1, 1000))
        with av.open(str(output)) as container:
            stream = container.streams.video[0]
            assert stream.duration * stream.time_base == Fraction(75 + after, 25)

    @pytest.mark.parametrize("times", [range(50), [0, 1, 2, 12, *range(22, 50)]])
    def test_frames_in_order_in_avi_are_shown_when_they_are_decoded(
        self, tmp_path: Path, times: list[int]
    ) -> None:
        """As of dashcams. FFmpeg has H.264 there begin when the next frame does."""
        video = Video(
            frames=len(times), times=times, options={"bf": "0"}, audio=[Audio("pcm_s16le")]
        )
        original = make_video(tmp_path / "a.avi", video)
        output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
        assert close_to(frame_times(output), [Fraction(n, 25) for n in times], Fraction(1, 1000))
        with av.open(str(output)) as container:
            picture, sound = container.streams
            assert picture.start_time * picture.time_base == sound.start_time * sound.time_base
            assert picture.duration * picture.time_base == 2
        assert compare(original, output).largest_shift_ms == pytest.approx(0, abs=1)

    @pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
    @pytest.mark.parametrize("muxer", [{}, {"movflags": "frag_keyframe+empty_moov"}])
    def test_reordered_frames_with_times_of_decoding_alone_lie_evenly(
        self, tmp_path: Path, codec: str, muxer: dict[str, str]
    ) -> None:
        """As where raw H.264 was copied into MP4."""
        video = Video(frames=50, codec=codec, options={"bf": "2", "b_strategy": "0"})
        original = shown_as_decoded(tmp_path / "a.mp4", video, muxer)
        found = frame_times(original)
        assert found != sorted(found)
        output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
        assert close_to(
            frame_times(output), [Fraction(n, 25) for n in range(50)], Fraction(1, 1000)
        )
        compared = compare(original, output)
        assert compared.largest_shift_ms == pytest.approx(0, abs=1)

    @pytest.mark.parametrize("name", ["a.avi", "a.mp4"])
    def test_reordered_frames_without_times_that_begin_late_stay_in_step(
        self, tmp_path: Path, name: str
    ) -> None:
        """As of MEncoder's AVI, whose first chunks are empty."""
        original = tmp_path / name
        video = Video(frames=50, codec="mpeg4", options={"bf": "2"}, audio=[Audio("pcm_s16le")])
        if name == "a.avi":
            make_video(original, video)
            with original.open("r+b") as file:
                (header, *_) = (c for c in walk_chunks(file) if c.kind == "strh")
                file.seek(header.payload_offset + 28)  # dwStart
                file.write(struct.pack("<I", 5))
        else:
            sound = make_video(tmp_path / "whole.mov", video)
            picture = shown_as_decoded(tmp_path / "b.mp4", video, {})
            late = ("-itsoffset", "0.2", "-i", picture, "-map", "0:a", "-map", "1:v")
            ffmpeg("-i", sound, *late, "-c:v", "copy", "-c:a", "aac", original)
        output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
        assert close_to(
            frame_times(output), [Fraction(n, 25) for n in range(50)], Fraction(1, 1000)
        )
        with av.open(str(output)) as container:
            picture, sound = (s.start_time * s.time_base for s in container.streams)
        assert picture - sound == pytest.approx(0.2, abs=0.002)
        (measured,) = compare(original, output).audio
        assert measured.snr_db is not None

    def test_frames_in_order_keep_the_times_of_their_decoding(self, tmp_path: Path) -> None:
        """Where the codec might reorder them, but does not."""
        times = [0, 100, 200, 700, 750, 800, *range(1000, 1760, 40)]
        video = Video(
            time_base=Fraction(1, 1000),
            times=times,
            options={"x264-params": "bframes=2:b-adapt=1:b-bias=-100"},
        )
        original = shown_as_decoded(tmp_path / "a.mp4", video, {})
        with av.open(str(original)) as container:
            assert container.streams.video[0].codec_context.has_b_frames
        output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
        assert close_to(frame_times(output), [Fraction(t, 1000) for t in times], Fraction(1, 1000))

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    @pytest.mark.parametrize("times", [[0], [0, 500, 600]])
    @pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.mp4"])
    def test_a_last_frame_is_shown_as_long_as_the_file_lasts(
        self, tmp_path: Path, name: str, times: list[int], mode: str
    ) -> None:
        """Of a variable rate Matroska tells no frame's length, and FFmpeg none of VP9's in MP4."""
        codec = "libx264" if name == "a.mkv" else "libvpx-vp9"
        video = Video(
            codec=codec,
            time_base=Fraction(1, 1000),
            times=times,
            frames=len(times),
            last_duration=3000,
        )
        original = tmp_path / name
        if name == "a.mp4":
            make_video(original, video)
        else:
            without_rate(make_video(tmp_path / "whole.mp4", video), original, last=3000)
        output = tmp_path / ("b.mp4" if mode == "protect" else f"b{original.suffix}")
        protect(original, output, Parameters.parse({"mode": mode}), FAST)
        for path in (original, output):
            with av.open(str(path)) as container:
                assert container.duration == (times[-1] + 3000) * 1000
        assert compare(original, output).original.seconds == times[-1] / 1000 + 3

    @pytest.mark.parametrize("name", ["a.webm", "a.mp4"])
    def test_a_last_frame_that_begins_late_lasts_no_longer_than_the_file(
        self, tmp_path: Path, name: str
    ) -> None:
        """libwebm states when a file ends, not how long it lasts; FFmpeg tells so of fragments."""
        video = Video(
            codec="libvpx-vp9",
            time_base=Fraction(1, 1000),
            times=[0, 500, 600],
            last_duration=2000,
            muxer={"movflags": "frag_every_frame+empty_moov"} if name == "a.mp4" else {},
        )
        whole, original = make_video(tmp_path / "whole.mp4", video), tmp_path / name
        if name == "a.webm":
            without_rate(whole, original, last=2000, begin=8000)
            original.write_bytes(re.sub(rb"Lavf.{9}", b"libwebm-0.3.0", original.read_bytes()))
        else:
            fragments_from(whole, original, begin=8000)
        with av.open(str(original)) as container:
            assert container.start_time == 8_000_000
        protected = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
        stripped = tmp_path / f"b{original.suffix}"
        protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
        for path in (original, protected, stripped):
            assert compare(path, protected).original.seconds == pytest.approx(2.6)

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_a_last_frame_in_fragments_that_edits_move_is_shown_as_long_as_before(
        self, tmp_path: Path, mode: str
    ) -> None:
        """FFmpeg tells of such fragments when they would end if they began with the file."""
        original, output = tmp_path / "a.mp4", tmp_path / "b.mp4"
        video = Video(
            codec="libvpx-vp9",
            time_base=Fraction(1, 1000),
            times=range(20, 1020, 40),
            last_duration=40,
            audio=[Audio(seconds=1.5)],
            muxer={"movflags": "frag_keyframe+delay_moov"},
        )
        data = make_video(original, video).read_bytes()
        assert b"elst" in data
        protect(original, output, Parameters.parse({"mode": mode}), FAST)
        with av.open(str(output)) as container:
            stream = container.streams.video[0]
            assert stream.duration is not None
            assert stream.duration * stream.time_base == 1

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    @pytest.mark.parametrize("is_zero", [False, True], ids=["no Duration", "Duration 0"])
    def test_a_length_that_ffmpeg_estimates_does_not_make_a_last_frame_longer(
        self, tmp_path: Path, is_zero: bool, mode: str
    ) -> None:
        """By the bit rate of MP3, where a live recording with a single frame states no length."""
        original = tmp_path / "a.mkv"
        sound = Audio("libmp3lame", seconds=2)
        video = Video(
            width=640,
            height=480,
            time_base=Fraction(1, 1000),
            times=[0],
            frames=1,
            options={"qp": "1"},
            audio=[sound],
        )
        data = make_video(original, video).read_bytes()
        duration = b"\x44\x89\x88" + bytes(8) if is_zero else b"\xec\x89" + bytes(9)
        rate = b"\xec\x86" + bytes(6)  # void
        data = re.sub(rb"\x44\x89\x88.{8}", duration, data, count=1, flags=re.S)
        data = re.sub(rb"\x23\xe3\x83\x84.{4}", rate, data, count=1, flags=re.S)
        original.write_bytes(data)
        with av.open(str(original)) as container:
            assert (container.duration or 0) > 3_000_000
        output = tmp_path / ("b.mp4" if mode == "protect" else "b.mkv")
        protect(original, output, Parameters.parse({"mode": mode}), FAST)
        with av.open(str(output)) as container:
            assert container.duration == pytest.approx(2_000_000, abs=150_000)

    def test_no_frame_but_the_last_is_said_to_last_to_the_end(self, tmp_path: Path) -> None:
        """Where Matroska states one length for all, FFmpeg's muxer writes each other one."""
        original, stripped = tmp_path / "a.webm", tmp_path / "b.webm"
        video = Video(
            codec="libvpx",
            rate=Fraction(1000),
            time_base=Fraction(1, 1000),
            times=[38, 6038],
            audio=[Audio("libopus", seconds=7)],
        )
        # As FFmpeg once rounded it; it takes frames of less than a tick to say nothing.
        millisecond, less = (b"\x23\xe3\x83\x83" + n.to_bytes(3) for n in (1_000_000, 999_999))
        data = make_video(original, video).read_bytes()
        assert millisecond in data
        original.write_bytes(data.replace(millisecond, less))
        protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
        with av.open(str(original)) as a, av.open(str(stripped)) as b:
            before, after = ([(p.pts, p.duration) for p in c.demux(video=0)] for c in (a, b))
        assert after == before

    def test_sparse_pictures_stay_where_they_are_among_the_sound(self, tmp_path: Path) -> None:
        """A player of a stream has no more than a few seconds of it at hand."""
        original, stripped = tmp_path / "a.flv", tmp_path / "b.flv"
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:r=1/4:d=16", tmp_path / "p.mp4")
        picture = ["-i", tmp_path / "p.mp4", "-f", "lavfi", "-i", "sine=d=16"]
        ffmpeg(*picture, "-c:v", "copy", "-c:a", "aac", original)
        protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
        with av.open(str(original)) as a, av.open(str(stripped)) as b:
            before, after = ([(p.stream_index, p.dts) for p in c.demux() if p.size] for c in (a, b))
        assert after == before

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_theora_that_repeats_pictures_keeps_its_times(self, tmp_path: Path, mode: str) -> None:
        """As recorders of screens write it: a picture that is like the last is an empty packet."""
        numbers = [0, 5, 7, 19]
        original = tmp_path / "a.ogv"
        inputs = ["-f", "lavfi", "-i", "testsrc2=s=96x64:r=25:d=1"]
        inputs += ["-f", "lavfi", "-i", "sine=d=0.5"]
        ffmpeg(*inputs, "-c:v", "libtheora", "-c:a", "libvorbis", "-page_duration", 1, original)
        repeat_pictures(original, numbers)
        output = tmp_path / ("b.ogv" if mode == "strip" else "b.mkv")
        parameters = Parameters.parse({"mode": mode, "audio_level": "none"})
        report = protect(original, output, parameters, FAST).report
        assert report.frames == len(numbers)
        assert not any("damaged" in note for note in report.notes)
        with av.open(str(output)) as copy:
            shown = sorted(p.pts * p.time_base for p in copy.demux(video=0) if p.size)
            assert copy.duration == pytest.approx(1_000_000, abs=40_000)
        assert close_to(
            [time - shown[0] for time in shown],
            [Fraction(number, 25) for number in numbers],
            Fraction(1, 1000),
        )

    def test_a_picture_that_starts_later_than_the_sound_stays_in_step(self, tmp_path: Path) -> None:
        times = [n * 40 + 480 for n in range(25)]
        video = Video(time_base=Fraction(1, 1000), times=times, audio=[Audio()])
        original, output, _ = run(tmp_path, video, "late.mkv")
        assert abs(offset(output) - offset(original)) < Fraction(1, 100)

    def test_a_hole_in_the_sound_is_filled_with_silence(self, tmp_path: Path) -> None:
        original = make_video(
            tmp_path / "hole.mkv", Video(frames=75, audio=[Audio(codec="pcm_s16le")])
        )
        holed = tmp_path / "holed.mkv"
        remux_without(original, holed, lambda t: 1.0 <= t < 1.5)
        output = protect(holed, None, Parameters(), FAST).output
        with av.open(str(output)) as container:
            samples = sum(f.samples for f in container.decode(audio=0))
        assert samples == pytest.approx(3 * 48000, abs=2100)


class TestPicture:
    @pytest.mark.parametrize("degrees", [90, 180, 270])
    def test_rotation_is_kept_as_displayed(self, tmp_path: Path, degrees: int) -> None:
        original, output, _ = run(tmp_path, Video(rotation=degrees))
        assert first_frame(original).rotation % 360 == degrees
        assert first_frame(output).rotation == first_frame(original).rotation

    def test_rotation_is_kept_where_each_frame_has_exif(self, tmp_path: Path) -> None:
        """PyAV has no name for that kind of side data, and raises where it meets one."""
        plain = Video(codec="mjpeg", pixel_format="yuvj420p", rotation=90, frames=3)
        original = _with_exif(make_video(tmp_path / "plain.mov", plain), tmp_path / "camera.mov")
        with pytest.raises(ValueError, match="Type"):
            _ = first_frame(original).side_data
        outcome = protect(original, None, Parameters(), FAST)
        assert first_frame(outcome.output).rotation == first_frame(original).rotation == 90

    @pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
    def test_a_colour_description_of_the_container_alone_is_kept(
        self, tmp_path: Path, name: str
    ) -> None:
        """As MKVToolNix adds it. FFmpeg's decoder of HEVC says that there is none."""
        video = Video(160, 120, 5, codec="libx265", pixel_format="yuv420p10le")
        plain, original = make_video(tmp_path / "plain.mp4", video), tmp_path / name
        with av.open(str(plain)) as source, av.open(str(original), "w") as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream, opaque=True)
            context: Any = copy.codec_context
            context.color_primaries, context.color_trc, context.colorspace = 9, 16, 9
            for packet in source.demux(stream):
                if packet.size:
                    packet.stream = copy
                    target.mux(packet)
        output = protect(original, None, Parameters(), FAST).output
        frame: Any = first_frame(output)
        assert (frame.color_primaries, frame.color_trc, int(frame.colorspace)) == (9, 16, 9)

    def test_aspect_and_colour_description_are_kept(self, tmp_path: Path) -> None:
        video = Video(sample_aspect=Fraction(4, 3), colour=(5, 1, 5, 2), width=180, height=144)
        _, output, _ = run(tmp_path, video)
        with av.open(str(output)) as container:
            stream = container.streams.video[0]
            context: Any = stream.codec_context
            assert stream.sample_aspect_ratio == Fraction(4, 3)
            assert (context.color_primaries, context.color_trc) == (5, 1)
            assert (context.colorspace, context.color_range) == (5, 2)

    def test_the_aspect_of_an_odd_size_in_matroska_is_kept(self, tmp_path: Path) -> None:
        video = Video(sample_aspect=Fraction(4, 3), width=181, height=143, codec="libvpx-vp9")
        _, output, _ = run(tmp_path, video, out="out.mkv")
        with av.open(str(output)) as container:
            assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)

    @pytest.mark.parametrize("order", ["tff", "bff"])
    def test_interlacing_is_kept(self, tmp_path: Path, order: str) -> None:
        original, output, _ = run(tmp_path, Video(fields=order))
        for path in (original, output):
            assert first_frame(path).interlaced_frame
        assert probe(output)["streams"][0]["field_order"] == {"tff": "tt", "bff": "bb"}[order]
        # The decoder's own word on each frame, by which players deinterlace.
        assert set(top_field_first(output)) == {order == "tff"}

    @pytest.mark.parametrize("height", [242, 241, 243])
    def test_interlacing_is_kept_whatever_the_height(self, tmp_path: Path, height: int) -> None:
        """H.264 has it at multiples of four alone; the lines added to that are not displayed."""
        video = Video(height=height, fields="tff", codec="ffv1", frames=6)
        original, output, _ = run(tmp_path, video, "in.mkv")
        assert first_frame(output).height == 244
        assert set(top_field_first(output)) == {True}
        shown = probe_media(output, Limits()).video
        assert (shown.height, shown.field_order) == (height, FieldOrder.TOP_FIRST)
        assert compare(original, output).picture.psnr_db > 30

    def test_interlaced_pictures_of_any_height_go_out_in_matroska(self, tmp_path: Path) -> None:
        video = Video(height=242, fields="tff", codec="ffv1", frames=6)
        original, output, report = run(tmp_path, video, "in.mkv", "out.mkv")
        assert first_frame(output).height == 242
        assert any("interlaced" in note for note in report.notes)
        assert compare(original, output).picture.psnr_db > 30

    def test_ten_bits_and_hdr_become_hevc_with_their_metadata(self, tmp_path: Path) -> None:
        video = Video(
            codec="libx265",
            pixel_format="yuv420p10le",
            colour=(9, 16, 9, 1),
            options={"x265-params": HDR10},
            codec_tag="hvc1",
        )
        original, output, report = run(tmp_path, video)
        assert report.video_codec == "hevc"
        frame, before = first_frame(output), first_frame(original)
        assert frame.format.name == "yuv420p10le"
        for kind in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
            assert bytes(frame.side_data[kind]) == bytes(before.side_data[kind])
        stream = probe(output)["streams"][0]
        assert stream["codec_tag_string"] == "hvc1"
        assert stream["color_transfer"] == "smpte2084"

    @pytest.mark.parametrize(("width", "height"), [(8192, 16), (18, 4400)])
    def test_ten_bits_of_a_long_strip_stay(self, tmp_path: Path, width: int, height: int) -> None:
        """As of a wall of lamps; x265 says that it is of no level."""
        video = Video(width, height, codec="ffv1", pixel_format="yuv420p10le", frames=2)
        _, output, report = run(tmp_path, video, "strip.mkv")
        assert report.frames == 2
        assert first_frame(output).format.name == "yuv420p10le"

    def test_ten_bits_of_an_odd_size_go_into_matroska(self, tmp_path: Path) -> None:
        video = Video(321, 241, codec="ffv1", pixel_format="yuv420p10le", frames=6)
        _, output, report = run(tmp_path, video, "odd.mkv", "out.mkv")
        assert probe(output)["streams"][0]["pix_fmt"] == "yuv420p"
        assert report.frames == 6
        assert any("10 bits" in note for note in report.notes)

    @pytest.mark.parametrize(("width", "height"), [(321, 240), (320, 241), (321, 241)])
    def test_an_odd_size_is_padded_and_cropped_on_display(
        self, tmp_path: Path, width: int, height: int
    ) -> None:
        video = Video(width=width, height=height, codec="ffv1", frames=6)
        _, output, _ = run(tmp_path, video, "odd.mkv", "odd.mp4")
        frame = first_frame(output)
        assert (frame.width, frame.height) == (width + width % 2, height + height % 2)
        aperture = output.read_bytes()
        at = aperture.index(b"clap") + 4
        assert int.from_bytes(aperture[at : at + 4], "big") == width
        assert int.from_bytes(aperture[at + 8 : at + 12], "big") == height
        # What was added lies right and below: the centre of the rest is that much to the left.
        across, parts, down, of = struct.unpack(">iIiI", aperture[at + 16 : at + 32])
        assert Fraction(across, parts) == Fraction(width - frame.width, 2)
        assert Fraction(down, of) == Fraction(height - frame.height, 2)

    def test_an_odd_size_can_be_kept(self, tmp_path: Path) -> None:
        video = Video(width=321, height=241, codec="ffv1", frames=6)
        _, output, report = run(tmp_path, video, "odd.mkv", settings=replace(FAST, odd_size="keep"))
        assert report.video_codec == "vp9"
        assert (first_frame(output).width, first_frame(output).height) == (321, 241)

    @pytest.mark.parametrize(
        ("codec", "pixel_format", "name"),
        [
            ("ffv1", "yuv422p", "a.mkv"),
            ("ffv1", "yuv444p", "a.mkv"),
            ("ffv1", "bgr0", "a.mkv"),
            ("ffv1", "gray", "a.mkv"),
            ("ffv1", "yuv422p10le", "a.mkv"),
            ("png", "rgb24", "a.mov"),
            ("mjpeg", "yuvj422p", "a.avi"),
            ("libvpx-vp9", "yuv420p", "a.webm"),
        ],
    )
    def test_every_pixel_format_looks_the_same_after_protection(
        self, tmp_path: Path, codec: str, pixel_format: str, name: str
    ) -> None:
        video = Video(codec=codec, pixel_format=pixel_format, frames=5)
        original, output, _ = run(tmp_path, video, name, "out.mp4")
        a, b = (
            cv2.blur(first_frame(path).to_ndarray(format="rgb24"), (41, 41)).astype(int)
            for path in (original, output)
        )
        # Stripes average out; a wrong matrix, range or plane order does not.
        assert np.abs(a - b).mean() <= 3

    def test_alpha_is_dropped_and_the_report_says_so(self, tmp_path: Path) -> None:
        video = Video(codec="png", pixel_format="rgba", frames=4)
        _, _, report = run(tmp_path, video, "a.mov", "out.mp4")
        assert any("alpha" in note for note in report.notes)

    def test_alpha_beside_the_picture_is_told_too(self, tmp_path: Path) -> None:
        original = with_alpha_beside(tmp_path / "a.webm", "libvpx-vp9")
        report = protect(original, tmp_path / "out.mp4", Parameters(), FAST).report
        assert any("alpha" in note for note in report.notes)

    def test_a_change_of_size_halfway_goes_on_in_the_first_size_and_is_told(
        self, tmp_path: Path
    ) -> None:
        small = make_video(tmp_path / "a.ts", Video(width=160, height=120, frames=10))
        large = make_video(tmp_path / "b.ts", Video(width=320, height=240, frames=10))
        both = tmp_path / "both.ts"
        both.write_bytes(small.read_bytes() + large.read_bytes())
        outcome = protect(both, tmp_path / "out.mp4", Parameters(), FAST)
        assert len(frame_times(outcome.output)) == 20
        assert first_frame(outcome.output).width == 160
        told = "Frames of another size than the first: 10; "
        assert any(note.startswith(told) for note in outcome.report.notes)

    def test_every_frame_is_changed_and_the_change_after_encoding_is_bounded(
        self, tmp_path: Path
    ) -> None:
        settings = Settings(preset="veryfast", threads=1)
        original, output, report = run(tmp_path, Video(frames=30), settings=settings)
        plain = reencoded(original, tmp_path / "plain.mp4")
        budget = Parameters().budget
        for before, after, control in zip(
            lumas(original), lumas(output), lumas(plain), strict=True
        ):
            change = np.abs(after - before)
            bound = 2.5 * budget + np.percentile(np.abs(control - before), 99.9)
            assert np.percentile(change, 99.9) <= bound
            assert change.mean() > np.abs(control - before).mean()
        assert report.psnr_db is not None


class TestNetworkWay:
    def test_the_report_names_the_surrogates_and_how_often_their_answer_changed(
        self, tmp_path: Path
    ) -> None:
        files = {name: torchscript(tmp_path / f"{name}.pt", n) for n, name in enumerate("ab")}
        settings = replace(FAST, surrogates=("a", "b"), weights=files, device="cpu")
        video = Video(frames=12, width=160, height=120)
        _, output, report = run(tmp_path, video, settings=settings)
        assert report.surrogate == "a, b"
        assert report.top1_changed is not None
        assert 0 <= report.top1_changed <= 1
        assert report.anchors == 2
        assert len(frame_times(output)) == 12

    def test_a_surrogate_that_cannot_be_loaded_fails_before_anything_is_written(
        self, tmp_path: Path
    ) -> None:
        settings = replace(FAST, surrogates=("nowhere",))
        with pytest.raises(SurrogateUnavailable, match="nowhere"):
            run(tmp_path, Video(frames=5), settings=settings)
        assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


class TestSound:
    def test_every_track_keeps_rate_channels_language_and_offset(self, tmp_path: Path) -> None:
        tracks = [
            Audio(rate=48000, layout="stereo", language="eng"),
            Audio(rate=16000, layout="mono", language="deu", start=0.3),
            Audio(rate=44100, layout="5.1"),
        ]
        original, output, report = run(tmp_path, Video(frames=50, audio=tracks), "t.mkv")
        with av.open(str(output)) as a:
            streams = a.streams.audio
            kinds = [(s.codec_context.sample_rate, s.codec_context.layout.name) for s in streams]
            assert kinds == [(48000, "stereo"), (16000, "mono"), (44100, "5.1")]
            languages = [s.language for s in streams]
        assert languages[:2] == ["eng", "deu"]
        assert languages[2] in (None, "und")
        assert len(report.audio) == 3
        for track in range(3):
            difference = offset(output, track) - offset(original, track)
            assert abs(difference) < Fraction(1, 100)

    @pytest.mark.parametrize("rate", [8000, 22050, 96000, 192000])
    def test_start_and_length_are_kept_at_every_rate(self, tmp_path: Path, rate: int) -> None:
        audio = Audio(codec="pcm_s16le", rate=rate, layout="mono", seconds=1.5)
        original, output, _ = run(tmp_path, Video(frames=38, audio=[audio]), "a.mkv")
        before, after = samples(original), samples(output)
        assert 0 <= after.shape[1] - before.shape[1] < 2048
        assert best_lag(before[0], after[0], rate // 50) == 0

    @pytest.mark.parametrize(
        ("layout", "kept", "out"),
        [
            ("7.1", "7.1", "out.mp4"),
            ("5.1(side)", "5.1", "out.mp4"),
            ("quad", "quad", "out.mp4"),
            ("3.0", "3.0", "out.mp4"),
            ("2.1", "2.1", "out.mkv"),
            ("7.1(wide)", "7.1(wide)", "out.mkv"),
            ("2.1", "2.1", "out.mov"),
            ("hexagonal", "hexagonal", "out.mov"),
        ],
    )
    def test_every_channel_stays_at_its_speaker(
        self, tmp_path: Path, layout: str, kept: str, out: str
    ) -> None:
        audio = Audio(codec="pcm_s16le", layout=layout)
        original, output, _ = run(tmp_path, Video(audio=[audio]), "many.mov", out)
        with av.open(str(output)) as container:
            assert container.streams.audio[0].codec_context.layout.name == kept
        before, after = samples(original), samples(output)
        levels, found = np.abs(before).mean(axis=1), np.abs(after).mean(axis=1)
        assert len(set(np.round(levels, 4))) == len(levels)  # each channel is told by its level
        if kept in ("7.1", "5.1"):
            assert 0.3 * levels[3] < found[3] < levels[3]  # AAC keeps only the bass of an LFE
            levels, found = np.delete(levels, 3), np.delete(found, 3)
        np.testing.assert_allclose(found, levels, rtol=0.05, atol=2e-3)

    @pytest.mark.parametrize("wanted", [{"mode": "strip"}, {"audio_level": "none"}])
    @pytest.mark.parametrize("rate", [48000, 44100])
    def test_copied_tta_is_heard_to_its_end(
        self, tmp_path: Path, wanted: dict[str, str], rate: int
    ) -> None:
        """Its last packet is a second, and is lost where the file states to last longer."""
        audio = Audio(codec="tta", rate=rate, layout="mono", seconds=3)
        made = make_video(tmp_path / "a.mkv", Video(frames=75, audio=[audio]))
        original, output = tmp_path / "original.mkv", tmp_path / "out.mkv"
        # PyAV's muxer states that the last packet is whole.
        ffmpeg("-i", made, "-c:v", "copy", "-c:a", "tta", original)
        protect(original, output, Parameters.parse(wanted), FAST)
        before, after = samples(original), samples(output)
        assert before.shape[1] > 2.9 * rate
        np.testing.assert_array_equal(after, before)

    @pytest.mark.parametrize("wanted", [{"mode": "strip"}, {"audio_level": "none"}])
    def test_copied_tta_that_begins_late_is_not_cut_short(
        self, tmp_path: Path, wanted: dict[str, str]
    ) -> None:
        """Where FFmpeg's muxer states an end, others state how long the file lasts."""
        audio = Audio(codec="tta", layout="mono", seconds=3)
        made = make_video(tmp_path / "a.mkv", Video(frames=75, audio=[audio]))
        original, output = tmp_path / "original.mkv", tmp_path / "out.mkv"
        late = ("-c:v", "copy", "-c:a", "tta", "-output_ts_offset", "0.5")
        ffmpeg("-i", made, *late, original)
        data = original.read_bytes().replace(b"Lavf", b"mkvm")
        stated = data.index(b"\x44\x89\x88") + 3  # Duration, in ms
        (end,) = struct.unpack_from(">d", data, stated)
        assert end == pytest.approx(3500, abs=1)
        length = struct.pack(">d", end - 500)
        original.write_bytes(data[:stated] + length + data[stated + len(length) :])
        protect(original, output, Parameters.parse(wanted), FAST)
        with av.open(str(output)) as container:
            start = Fraction(container.start_time, 1_000_000)
            *_, last = (p for p in container.demux(audio=0) if p.size)
            assert last.pts is not None
            assert last.duration is not None
            ends = (last.pts + last.duration) * last.time_base - start
        assert ends == pytest.approx(3, abs=0.01)

    def test_sound_that_cannot_be_copied_is_named(self, tmp_path: Path) -> None:
        audio = Audio(codec="pcm_mulaw", rate=8000, layout="mono")
        original = make_video(tmp_path / "a.mov", Video(frames=5, audio=[audio]))
        parameters = Parameters.parse({"audio_level": "none"})
        with pytest.raises(InvalidParameters, match="pcm_mulaw sound of stream 1.*audio_level"):
            protect(original, None, parameters, FAST)
        assert [p.name for p in tmp_path.iterdir()] == ["a.mov"]

    def test_copied_aac_that_changes_its_channels_is_refused(self, tmp_path: Path) -> None:
        """It would be silent from there on."""
        parts = []
        for layout in ("stereo", "mono"):
            clip = Video(width=64, height=48, frames=25, audio=[Audio(layout=layout)])
            parts.append(make_video(tmp_path / f"{layout}.ts", clip))
        original = tmp_path / "a.ts"
        original.write_bytes(b"".join(part.read_bytes() for part in parts))
        parameters = Parameters.parse({"audio_level": "none"})
        with pytest.raises(InvalidParameters, match="stream 1 changes its channels"):
            protect(original, tmp_path / "out.mp4", parameters, FAST)
        whole = protect(parts[0], tmp_path / "whole.mp4", parameters, FAST).report
        assert whole.audio[0].treatment == "copied"

    def test_copied_alac_is_heard_to_its_end(self, tmp_path: Path) -> None:
        """Matroska does not say how long its packets last, and MP4 has to."""
        audio = Audio(codec="alac", layout="mono", seconds=3)
        original = make_video(tmp_path / "a.mkv", Video(frames=75, audio=[audio]))
        parameters = Parameters.parse({"audio_level": "none"})
        output = tmp_path / "out.mp4"
        protect(original, output, parameters, FAST)
        before, after = samples(original), samples(output)
        assert before.shape[1] == 3 * 48000
        np.testing.assert_array_equal(after, before)

    def test_sound_whose_speakers_mp4_cannot_say_makes_a_matroska_file(
        self, tmp_path: Path
    ) -> None:
        audio = Audio(codec="pcm_s16le", layout="3.1")
        _, output, _ = run(tmp_path, Video(audio=[audio]), "many.mov")
        assert output.suffix == ".mkv"
        with av.open(str(output)) as container:
            assert container.streams.audio[0].codec_context.layout.name == "3.1"

    def test_a_codecs_filling_up_beyond_the_stated_end_is_left_out(self, tmp_path: Path) -> None:
        original, output, _ = run(tmp_path, Video(audio=[Audio()]))
        with av.open(str(original)) as a, av.open(str(output)) as b:
            assert a.duration is not None
            assert b.duration == pytest.approx(a.duration, abs=2000)

    def test_what_a_track_is_for_is_kept(self, tmp_path: Path) -> None:
        original = make_video(tmp_path / "a.mp4", Video(audio=[Audio(), Audio()]))
        marked = tmp_path / "marked.mkv"
        ffmpeg("-i", original, "-map", "0", "-c", "copy", "-disposition:a:1", "comment", marked)
        output = protect(marked, tmp_path / "out.mp4", Parameters(), FAST).output
        with av.open(str(output)) as container:
            assert container.streams.audio[1].disposition.value & Disposition.comment.value

    @pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_s24le"])
    def test_sound_that_cannot_be_masked_goes_out_as_it_is_and_the_report_says_so(
        self, tmp_path: Path, codec: str
    ) -> None:
        audio = Audio(codec=codec, rate=6000, layout="mono", level=0.01)
        original, output, report = run(tmp_path, Video(audio=[audio]), "low.mkv")
        assert report.audio[0].treatment == "unchanged"
        assert any("not masked" in note for note in report.notes)
        np.testing.assert_array_equal(samples(output), samples(original))

    def test_floats_of_a_lossless_codec_go_out_with_24_bits(self, tmp_path: Path) -> None:
        """As recorders of 32-bit floats leave them in WavPack."""
        original = tmp_path / "low.mkv"
        with av.open(str(original), "w") as out:
            picture: Any = out.add_stream("libx264", rate=25)
            picture.width, picture.height = 64, 64
            sound: Any = out.add_stream("wavpack", rate=6000)
            sound.format, sound.layout = "fltp", "mono"
            frame = av.AudioFrame.from_ndarray(voice(1, 6000) / 30, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 6000, 0
            out.mux([*sound.encode(frame), *sound.encode(None)])
            for n in range(25):
                still = av.VideoFrame(64, 64, "yuv420p")
                still.pts = n
                out.mux(picture.encode(still))
            out.mux(picture.encode(None))
        output = protect(original, None, Parameters(), Settings()).output
        np.testing.assert_allclose(samples(output), samples(original), rtol=0, atol=2**-23)

    @pytest.mark.parametrize("wild", [np.nan, np.inf, 1e30])
    def test_a_sample_that_is_no_number_costs_itself_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wild: float
    ) -> None:
        def broken(seconds: float, rate: int, channels: int, level: float) -> np.ndarray:
            samples = np.repeat(voice(seconds, rate), channels, axis=0)
            samples[0, rate] = wild
            return samples

        monkeypatch.setattr("media.voice", broken)
        video = Video(frames=50, audio=[Audio("pcm_f32le")])
        _, protected, report = run(tmp_path, video, "clip.mkv")
        assert [track.treatment for track in report.audio] == ["masked"]
        assert any("no numbers or too large for any sound: 1." in n for n in report.notes)
        with av.open(str(protected)) as container:
            blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
        after = np.concatenate(blocks, axis=1)[:, 60_000:]
        assert np.isfinite(after).all()
        assert after.std() > 0.01

    def test_audio_level_none_copies_the_packets(self, tmp_path: Path) -> None:
        video = Video(audio=[Audio(language="fra")])
        original, output, report = run(tmp_path, video, parameters=NO_SOUND)
        assert packets(output, "audio") == packets(original, "audio")
        assert report.audio[0].treatment == "copied"
        assert any("Lavc" in note for note in report.notes)  # what FFmpeg's encoder wrote inside
        assert abs(offset(output) - offset(original)) < Fraction(1, 100)

    def test_recordings_that_overlap_a_little_where_they_were_joined_are_copied(
        self, tmp_path: Path
    ) -> None:
        original, output = tmp_path / "joined.ts", tmp_path / "out.mp4"
        inputs = ["-f", "lavfi", "-i", "testsrc2=s=128x96:d=1"]
        inputs += ["-f", "lavfi", "-i", "sine=r=48000:d=1"]
        for number in range(2):
            part = tmp_path / f"{number}.ts"
            start = ["-output_ts_offset", 0.93 * number]
            ffmpeg(*inputs, "-c:v", "libx264", "-c:a", "aac", *start, part)
        original.write_bytes(b"".join((tmp_path / f"{n}.ts").read_bytes() for n in range(2)))
        report = protect(original, output, NO_SOUND, FAST).report
        assert report.audio[0].treatment == "copied"
        assert len(packets(output, "audio")) == len(packets(original, "audio"))

    @pytest.mark.parametrize("name", ["s.mkv", "s.webm", "s.ogg"])
    def test_copied_opus_ends_with_its_last_sample(self, tmp_path: Path, name: str) -> None:
        """MP4 can only say by the last packet's duration what of it is filling."""
        original, output = tmp_path / name, tmp_path / "out.mp4"
        picture = ["-f", "lavfi", "-i", "testsrc2=s=128x96:d=2"]
        codec = {"s.mkv": "libx264", "s.webm": "libvpx", "s.ogg": "libtheora"}[name]
        sound = ["-f", "lavfi", "-i", "sine=r=48000:d=2"]
        ffmpeg(*picture, *sound, "-c:v", codec, "-c:a", "libopus", original)
        protect(original, output, NO_SOUND, FAST)
        assert packets(output, "audio") == packets(original, "audio")
        with av.open(str(output)) as container:
            last = [p for p in container.demux(audio=0) if p.size][-1]
            # From the first sample that is heard: the priming lies before zero.
            assert abs((last.pts + last.duration) * last.time_base - 2) <= Fraction(1, 1000)

    @pytest.mark.parametrize(("codec", "words"), [("libmp3lame", "LAME3"), ("aac", "Lavc")])
    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_the_encoders_name_in_copied_sound_is_told(
        self, tmp_path: Path, codec: str, words: str, mode: str
    ) -> None:
        parameters = Parameters.parse({"audio_level": "none", "mode": mode})
        _, output, report = run(tmp_path, Video(audio=[Audio(codec)]), parameters=parameters)
        assert words.encode() in output.read_bytes()
        assert report.audit == ()
        assert any("Inside the copied packets" in n and words in n for n in report.notes)

    def test_copied_sound_that_mp4_cannot_hold_makes_a_matroska_file(self, tmp_path: Path) -> None:
        video = Video(audio=[Audio(codec="pcm_s16le")])
        original, output, _ = run(tmp_path, video, "pcm.mkv", parameters=NO_SOUND)
        assert output.suffix == ".mkv"
        assert packets(output, "audio") == packets(original, "audio")

    def test_speech_is_masked_and_measured(self, tmp_path: Path) -> None:
        original = tmp_path / "speech.mkv"
        write_speech(original, seconds=4)
        strong = Parameters.parse({"audio_level": "strong"})
        report = protect(original, None, strong, FAST).report
        assert report.audio[0].treatment == "masked"
        assert report.audio_nmr_db is not None
        assert report.audio_nmr_db <= 5
        assert report.audio_snr_db is not None
        assert report.audio_snr_db >= 10.9


class TestOtherStreams:
    def test_text_subtitles_stay_in_mp4(self, tmp_path: Path) -> None:
        _, output, _ = run(tmp_path, Video(subtitles="mov_text", audio=[Audio()]))
        assert output.suffix == ".mp4"
        text = b"".join(packets(output, "subtitle"))
        assert b"Hello" in text
        assert b"World" in text

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_webvtt_of_mkvmerge_is_kept(self, tmp_path: Path, mode: str) -> None:
        original = tmp_path / "a.mkv"
        webvtt_by_mkvmerge(original)
        outcome = protect(original, None, Parameters.parse({"mode": mode}), FAST)
        with av.open(str(outcome.output)) as container:
            (track,) = container.streams.subtitles
            assert (track.codec_context.name, track.language) == ("webvtt", "fra")
            (cue,) = (p for p in container.demux(track) if p.size)
            assert (bytes(cue), cue.pts, cue.duration) == (b"Hello <b>you</b>", 500, 300)
        assert not any("Not kept" in note for note in outcome.report.notes)

    def test_subtitles_that_mp4_cannot_hold_make_a_matroska_file(self, tmp_path: Path) -> None:
        original, output, _ = run(tmp_path, Video(subtitles="subrip"), "sub.mkv")
        assert output.suffix == ".mkv"
        assert packets(output, "subtitle") == packets(original, "subtitle") == [b"Hello", b"World"]
        with av.open(str(output)) as container:
            assert container.streams.subtitles[0].language == "eng"

    def test_mp4_text_becomes_subrip_in_matroska(self, tmp_path: Path) -> None:
        _, output, _ = run(tmp_path, Video(subtitles="mov_text"), "sub.mp4", "out.mkv")
        with av.open(str(output)) as container:
            stream = container.streams.subtitles[0]
            assert stream.codec_context.name in ("subrip", "srt")
            assert stream.language == "eng"
            times = [
                (float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size
            ]
        assert times == [(0.1, b"Hello"), (0.5, b"World")]

    def test_an_output_named_mp4_that_cannot_hold_them_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidParameters, match="subrip subtitles"):
            run(tmp_path, Video(subtitles="subrip"), "sub.mkv", "out.mp4")

    @pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
    def test_chapter_times_stay_and_their_titles_go(self, tmp_path: Path, out: str) -> None:
        video = Video(frames=50, chapters=[(0, 0.5), (0.5, 2)])
        _, output, _ = run(tmp_path, video, "c.mkv", out)
        assert _chapter_times(output) == [(0, 0.5), (0.5, 2)]
        assert b"secret title" not in output.read_bytes()

    def test_chapters_that_begin_late_begin_late_in_mp4(self, tmp_path: Path) -> None:
        video = Video(frames=50, chapters=[(0.6, 0.9), (0.9, 2)])
        _, output, _ = run(tmp_path, video, "c.mkv", "out.mp4")
        assert _chapter_times(output) == [(0, 0.6), (0.6, 0.9), (0.9, 2)]  # first an empty one
        _, output, _ = run(tmp_path, video, "d.mkv", "out.mkv")
        assert _chapter_times(output) == [(0.6, 0.9), (0.9, 2)]

    def test_chapters_of_a_list_alone_begin_late_when_stripped(self, tmp_path: Path) -> None:
        path = make_video(tmp_path / "c.mp4", Video(frames=50, chapters=[(0.6, 0.9), (0.9, 2)]))
        # No track's text are chapters then, and the list (`chpl`) is what counts.
        path.write_bytes(path.read_bytes().replace(b"chap", b"nope"))
        assert [start for start, _ in _chapter_times(path)] == [0.6, 0.9]
        output = tmp_path / "out.mp4"
        protect(path, output, Parameters.parse({"mode": "strip"}), Settings())
        assert [start for start, _ in _chapter_times(output)] == [0, 0.6, 0.9]


def _chapter_times(path: Path) -> list[tuple[float, float]]:
    with av.open(str(path)) as container:
        return [
            (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]))
            for c in container.chapters()
            if c["time_base"]
        ]


class TestMetadata:
    @pytest.mark.parametrize("mode", ["protect", "strip"])
    @pytest.mark.parametrize("name", ["m.mp4", "m.mov", "m.mkv", "m.avi"])
    def test_no_planted_tag_is_left_in_the_bytes(
        self, tmp_path: Path, name: str, mode: str
    ) -> None:
        tags = {
            "title": "PLANTED-title",
            "comment": "PLANTED-comment",
            "artist": "PLANTED-artist",
            "location": "+55.7558+037.6173/",
            "creation_time": "2024-05-06T07:08:09Z",
            "com.apple.quicktime.make": "PLANTED-make",
        }
        muxer = {"movflags": "use_metadata_tags"} if name == "m.mov" else {}
        video = Video(tags=tags, muxer=muxer, audio=[Audio(codec="aac")])
        parameters = Parameters.parse({"mode": mode})
        out = f"out{Path(name).suffix}" if mode == "strip" else None
        original, output, report = run(tmp_path, video, name, out, parameters)
        assert b"PLANTED" in original.read_bytes()
        data = output.read_bytes()
        for trace in (b"PLANTED", b"+55.7", b"Lavf6"):
            assert trace not in data
        if mode == "protect":  # what lies inside the packets stays when they are only copied
            assert b"x264 - core" not in data
            assert b"Lavc6" not in data
            assert report.audit == ()
        assert report.metadata_removed

    def test_what_stays_inside_copied_packets_is_not_told_as_removed(self, tmp_path: Path) -> None:
        video = Video(tags={"title": "PLANTED-title"})
        strip = Parameters(mode=Mode.STRIP)
        _, output, report = run(tmp_path, video, "s.mp4", "out.mp4", strip)
        assert b"x264 - core" in output.read_bytes()
        assert "x264 settings in SEI" in "".join(report.notes)
        assert "title (©nam)" in report.metadata_removed
        assert not [words for words in report.metadata_removed if "x264" in words]

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_the_header_of_subtitles_says_nothing_of_author_and_tool(
        self, tmp_path: Path, mode: str
    ) -> None:
        script = tmp_path / "a.ass"
        script.write_text(
            "[Script Info]\n; Script generated by PLANTED-tool 3.2.2\nTitle: PLANTED-title\n"
            "ScriptType: v4.00+\nPlayResX: 640\nPlayResY: 480\n"
            "[Aegisub Project Garbage]\nVideo File: C:\\PLANTED-path\\a.mp4\n"
            "[V4+ Styles]\nFormat: Name, Fontname\nStyle: Large,Arial\n"
            "[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect,"
            " Text\nComment: 0,0:00:00.00,0:00:00.10,Large,,0,0,0,,PLANTED-comment\n"
            "Dialogue: 0,0:00:00.20,0:00:00.80,Large,Anna,0,0,0,,Hello\n"
        )
        video = make_video(tmp_path / "a.mp4", Video())
        original = tmp_path / "original.mkv"
        ffmpeg("-i", video, "-i", script, "-c", "copy", original)
        assert b"PLANTED" in original.read_bytes()
        parameters = Parameters.parse({"mode": mode})
        output = tmp_path / "out.mkv"
        report = protect(original, output, parameters, FAST).report
        assert b"PLANTED" not in output.read_bytes()
        assert packets(output, "subtitle") == packets(original, "subtitle")
        with av.open(str(output)) as container:
            header = container.streams.subtitles[0].codec_context.extradata
        for kept in (b"PlayResX: 640", b"Style: Large,Arial", b"Layer, Start, End"):
            assert kept in header
        assert "Title in the header of subtitles" in report.metadata_removed
        assert "PLANTED" not in str(report)
        assert any("names of speakers" in note for note in report.notes)

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_a_cover_goes_and_is_named_as_that(self, tmp_path: Path, mode: str) -> None:
        made = make_video(tmp_path / "a.mp4", Video(frames=5))
        cover = tmp_path / "cover.png"
        ffmpeg("-i", made, "-frames:v", "1", cover)
        original = tmp_path / "original.mp4"
        kept = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic")
        ffmpeg("-i", made, "-i", cover, *kept, original)
        output = tmp_path / "out.mp4"
        report = protect(original, output, Parameters.parse({"mode": mode}), FAST).report
        assert "Not kept: attached picture (stream 1)." in report.notes
        assert b"PNG" not in output.read_bytes()

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_tags_in_the_header_of_vorbis_go(self, tmp_path: Path, mode: str) -> None:
        made = make_video(tmp_path / "a.mkv", Video(codec="libvpx-vp9", audio=[Audio()]))
        vorbis = tmp_path / "vorbis.mkv"
        ffmpeg("-i", made, "-c:v", "copy", "-c:a", "libvorbis", vorbis)
        tagged = vorbis.read_bytes().replace(b"encoder=Lavc", b"ARTIST=Anna\0")
        original = tmp_path / "original.mkv"
        original.write_bytes(tagged)
        parameters = Parameters.parse({"audio_level": "none", "mode": mode})
        output = tmp_path / "out.mkv"
        report = protect(original, output, parameters, FAST).report
        assert b"Anna" in tagged
        assert b"Anna" not in output.read_bytes()
        assert packets(output, "audio") == packets(original, "audio")
        assert "tag ARTIST in the codec's header" in report.metadata_removed


class TestStrip:
    @pytest.mark.parametrize("name", ["s.mp4", "s.mov", "s.mkv", "s.avi", "s.webm"])
    def test_packets_are_copied_bit_for_bit_into_the_same_container(
        self, tmp_path: Path, name: str
    ) -> None:
        is_webm = name.endswith("webm")
        audio = Audio(codec="libopus" if is_webm else "aac", language="eng")
        video = Video(
            codec="libvpx-vp9" if is_webm else "libx264", audio=[audio], rotation=90, frames=30
        )
        strip = Parameters.parse({"mode": "strip"})
        original, output, report = run(tmp_path, video, name, parameters=strip)
        assert output.suffix == original.suffix
        for kind in ("video", "audio"):
            assert packets(output, kind) == packets(original, kind)
        assert close_to(frame_times(output), frame_times(original), Fraction(1, 1000))
        assert report.frames == 30
        with av.open(str(original)) as a, av.open(str(output)) as b:
            assert a.format.name == b.format.name
            if name != "s.avi":
                assert first_frame(output).rotation == first_frame(original).rotation

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_a_still_picture_is_no_video(self, tmp_path: Path, mode: str) -> None:
        video = Video(frames=1, muxer={"brand": "mif1"})
        with pytest.raises(UnreadableMedia, match="still picture"):
            run(tmp_path, video, parameters=Parameters.parse({"mode": mode}))

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_an_encrypted_video_is_refused(self, tmp_path: Path, mode: str) -> None:
        """A stripped one would have lost what is needed to decrypt it."""
        whole = make_video(tmp_path / "whole.mp4", Video(frames=5))
        original, key = tmp_path / "encrypted.mp4", "76a6c65c5ea762046bd749a2e632ccbb"
        scheme = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_kid", key]
        ffmpeg("-i", whole, "-c", "copy", *scheme, "-encryption_key", key, original)
        with pytest.raises(UnsupportedMedia, match="encrypted; decrypt it first"):
            protect(original, tmp_path / "out.mp4", Parameters.parse({"mode": mode}), FAST)

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_an_encrypted_matroska_file_is_refused(self, tmp_path: Path, mode: str) -> None:
        """A copy of its packets lacked what is needed to decrypt them."""
        whole = make_video(tmp_path / "whole.mkv", Video(codec="libvpx", frames=5))
        original, title = tmp_path / "encrypted.mkv", "as long as this is"
        ffmpeg("-i", whole, "-c", "copy", "-metadata:s:v", f"title={title}", original)
        encryption = b"\x47\xe1\x81\x05" + b"\x47\xe2\x81\x07"  # AES, and a key's id
        encoding = b"\x50\x33\x81\x01" + b"\x50\x35\x88" + encryption
        encodings = b"\x62\x40\x8f" + encoding
        content = original.read_bytes()
        at = content.index(title.encode()) - 3
        assert content[at : at + 3] == b"\x53\x6e\x92"  # its name
        content = content[:at] + b"\x6d\x80\x92" + encodings + content[at + 3 + len(title) :]
        original.write_bytes(content)
        with pytest.raises(UnsupportedMedia, match="encrypted; decrypt it first"):
            protect(original, tmp_path / "out.mkv", Parameters.parse({"mode": mode}), FAST)

    def test_a_file_cut_between_key_frames_is_stripped_too(self, tmp_path: Path) -> None:
        video = Video(frames=50, options={"g": "10", "bf": "2", "x264-params": "open-gop=1"})
        whole = make_video(tmp_path / "whole.mp4", video)
        cut = tmp_path / "cut.mkv"
        ffmpeg("-ss", "0.35", "-i", whole, "-c", "copy", cut)
        strip = Parameters.parse({"mode": "strip"})
        output = protect(cut, tmp_path / "out.mkv", strip, FAST).output
        assert packets(output, "video") == packets(cut, "video")

    @pytest.mark.parametrize("codec", ["adpcm_ima_wav", "adpcm_ms"])
    @pytest.mark.parametrize("rate", [8000, 44100])
    def test_adpcm_in_avi_keeps_its_time(self, tmp_path: Path, codec: str, rate: int) -> None:
        original, stripped = tmp_path / "a.avi", tmp_path / "out.avi"
        picture = ["-f", "lavfi", "-i", "testsrc2=s=160x120:d=2", "-c:v", "mpeg4"]
        ffmpeg("-f", "lavfi", "-i", f"sine=r={rate}:d=2", *picture, "-c:a", codec, original)
        protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
        assert packets(stripped, "audio") == packets(original, "audio")
        assert close_to(sound_times(stripped), sound_times(original), Fraction(1, 1000))

    @pytest.mark.parametrize(
        "codec", ["ac3", "aac", "mp2", "libmp3lame", "eac3", "flac", "libvorbis"]
    )
    def test_sound_in_frames_keeps_its_time_in_avi(self, tmp_path: Path, codec: str) -> None:
        original, stripped = avi_with_sound(tmp_path / "a.avi", codec), tmp_path / "out.avi"
        protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
        assert packets(stripped, "audio") == packets(original, "audio")
        assert close_to(sound_times(stripped), sound_times(original), Fraction(1, 1000))
        seconds, tick_bytes = stated_sound(stripped)
        assert seconds == pytest.approx(stated_sound(original)[0], abs=0.1)
        assert tick_bytes == 0

    @pytest.mark.parametrize("codec", ["ac3", "mp2", "libmp3lame"])
    def test_sound_that_counts_bytes_keeps_its_time_in_avi(
        self, tmp_path: Path, codec: str
    ) -> None:
        """VirtualDub's way to state a constant bit rate: each tick is a byte."""
        original, stripped = avi_with_sound(tmp_path / "a.avi", codec), tmp_path / "out.avi"
        count_bytes(original)
        protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
        assert packets(stripped, "audio") == packets(original, "audio")
        assert close_to(sound_times(stripped), sound_times(original), Fraction(1, 1000))
        assert stated_sound(stripped)[0] == pytest.approx(stated_sound(original)[0], abs=0.05)

    def test_bytes_of_sound_that_avi_miscounts_keep_their_time(self, tmp_path: Path) -> None:
        """VLC states as many bytes a second as it has measured."""
        framed, original = avi_with_sound(tmp_path / "framed.avi", "ac3"), tmp_path / "a.avi"
        shutil.copy(framed, original)
        count_bytes(original, share=0.99)
        assert not close_to(sound_times(original), sound_times(framed), Fraction(1, 100))
        stripped, copied = tmp_path / "out.avi", tmp_path / "copied.mp4"
        protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
        protect(original, copied, NO_SOUND, FAST)
        assert close_to(sound_times(stripped), sound_times(framed), Fraction(1, 1000))
        assert close_to(sound_times(copied), sound_times(framed), Fraction(1, 1000))

    def test_frames_of_unequal_sizes_in_avi_that_counts_bytes_keep_their_time(
        self, tmp_path: Path
    ) -> None:
        """GStreamer's way to state a variable bit rate: bytes of quiet and loud are as long."""
        framed, original = tmp_path / "framed.avi", tmp_path / "a.avi"
        picture = ["-f", "lavfi", "-i", "testsrc2=s=160x120:d=3", "-c:v", "mpeg4"]
        sound = "aevalsrc='gt(t,1)*lt(t,2)*(random(0)-0.5)':s=48000:d=3"
        ffmpeg(*picture, "-f", "lavfi", "-i", sound, "-c:a", "libmp3lame", "-q:a", "4", framed)
        shutil.copy(framed, original)
        count_bytes(original)
        assert not close_to(sound_times(original), sound_times(framed), Fraction(1, 10))

        stripped, copied = tmp_path / "out.avi", tmp_path / "copied.mp4"
        protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
        protect(original, copied, NO_SOUND, FAST)
        for copy in (stripped, copied):
            assert packets(copy, "audio") == packets(original, "audio")
            assert close_to(sound_times(copy), sound_times(framed), Fraction(1, 1000))

        protected = protect(original, tmp_path / "out.mp4", Parameters(), FAST)
        assert not any("left out" in note for note in protected.report.notes)
        # Less than a codec's frame, over which it may smear where the sound ends.
        assert loud_span(protected.output) == pytest.approx(loud_span(framed), abs=0.02)
        measured = compare(original, protected.output).audio[0]
        assert measured.seconds == pytest.approx(3, abs=0.1)
        assert measured.snr_db == pytest.approx(20, abs=15)

    def test_avi_with_hardly_any_sound_is_not_read_to_its_end_for_that(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original, picture = tmp_path / "a.avi", ["-f", "lavfi", "-i", "color=s=320x240:d=8"]
        sound = ["-f", "lavfi", "-i", "sine=r=48000:d=0.2", "-c:a", "libmp3lame"]
        ffmpeg(*picture, *sound, "-c:v", "rawvideo", "-pix_fmt", "yuv420p", original)
        count_bytes(original)
        monkeypatch.setattr("pipeline.avi_sound._MOST_BYTES", 1 << 20)
        with original.open("rb") as file, av.open(file) as container:
            begun = file.tell()
            uneven_tracks(container, original)
            assert file.tell() < begun + (4 << 20) < original.stat().st_size

    def test_another_container_is_refused_by_its_name(self, tmp_path: Path) -> None:
        whole = make_video(tmp_path / "whole.mp4", Video(frames=5))
        strip = Parameters.parse({"mode": "strip"})
        with pytest.raises(InvalidParameters, match="strip keeps the container"):
            protect(whole, tmp_path / "out.mkv", strip, FAST)
        assert [path.name for path in tmp_path.iterdir()] == ["whole.mp4"]

    def test_a_file_that_is_cut_short_is_told(self, tmp_path: Path) -> None:
        whole = make_video(
            tmp_path / "whole.mp4", Video(frames=50, muxer={"movflags": "faststart"})
        )
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
        strip = Parameters.parse({"mode": "strip"})
        report = protect(cut, tmp_path / "out.mp4", strip, FAST).report
        assert report.is_truncated
        assert any("breaks off" in note for note in report.notes)

    @pytest.mark.parametrize(
        "kind",
        [
            ["-s", "320x240", "-profile:v", "dnxhr_lb"],
            ["-s", "1920x1080", "-r", "25", "-b:v", "36M"],
            ["-s", "1920x1080", "-r", "25", "-b:v", "120M", "-flags", "+ildct"],
        ],
    )
    def test_the_boxes_of_dnxhd_and_dnxhr_stay(self, tmp_path: Path, kind: list[str]) -> None:
        original = tmp_path / "a.mov"
        source = ["-f", "lavfi", "-i", "testsrc2=d=0.1:r=25", "-pix_fmt", "yuv422p"]
        ffmpeg(*source, "-c:v", "dnxhd", *kind, original)
        stripped = tmp_path / "out.mov"
        protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
        assert packets(stripped, "video") == packets(original, "video")
        assert b"ACLR" in stripped.read_bytes()

    @pytest.mark.parametrize(
        "kind",
        [
            ["-s", "1920x1080", "-r", "25", "-pix_fmt", "yuv422p", "-flags", "+ildct+ilme"],
            ["-s", "1440x1080", "-r", "30000/1001"],
            ["-s", "1280x720", "-r", "50"],
        ],
    )
    def test_mpeg_2_of_high_definition_is_named_by_size_and_rate(
        self, tmp_path: Path, kind: list[str]
    ) -> None:
        """FFmpeg's muxer calls it XDCAM, whatever made it."""
        original, stripped = tmp_path / "a.mov", tmp_path / "out.mov"
        source = ["-f", "lavfi", "-i", "testsrc2=d=0.1:r=25"]
        ffmpeg(*source, "-c:v", "mpeg2video", "-b:v", "30M", *kind, original)
        protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
        assert packets(stripped, "video") == packets(original, "video")
        assert b"XDCAM" in stripped.read_bytes()

    @pytest.mark.parametrize("name", ["a.mxf", "a.gxf"])
    def test_a_container_that_always_names_its_maker_is_refused(
        self, tmp_path: Path, name: str
    ) -> None:
        original = tmp_path / name
        picture = ["-f", "lavfi", "-i", "testsrc2=s=720x576:d=0.2:r=25", "-c:v", "mpeg2video"]
        sound = ["-f", "lavfi", "-i", "sine=r=48000:d=0.2", "-c:a", "pcm_s16le"]
        ffmpeg(*picture[:4], *sound[:4], *picture[4:], *sound[4:], original)
        strip = Parameters.parse({"mode": "strip"})
        with pytest.raises(UnsupportedMedia, match="use mode: protect"):
            protect(original, tmp_path / f"out{original.suffix}", strip, FAST)

    @pytest.mark.parametrize("tag", ["hvc1", "hev1"])
    def test_the_codecs_tag_stays(self, tmp_path: Path, tag: str) -> None:
        options = {"x265-params": "log-level=none"}
        video = Video(codec="libx265", options=options, codec_tag=tag, frames=10)
        strip = Parameters.parse({"mode": "strip"})
        _, output, _ = run(tmp_path, video, parameters=strip)
        assert probe(output)["streams"][0]["codec_tag_string"] == tag

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("a.webm", ["-vf", "setsar=2/1", "-c:v", "libvpx-vp9", "-speed", "8"]),
            ("a.mkv", ["-vf", "setsar=16/11", "-c:v", "ffv1"]),
            ("a.mp4", ["-vf", "setsar=16/11", "-c:v", "libvpx-vp9", "-speed", "8"]),
            ("a.mov", ["-vf", "setsar=16/11", "-c:v", "prores_ks"]),
            ("a.avi", ["-vf", "setsar=16/11", "-c:v", "huffyuv"]),
            (
                "b.mkv",
                ["-vf", "setsar=2/1", "-c:v", "ffv1", "-metadata:s:v", "stereo_mode=left_right"],
            ),
        ],
    )
    def test_the_containers_aspect_is_kept(
        self, tmp_path: Path, name: str, options: list[str]
    ) -> None:
        original = tmp_path / name
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=160x120:d=0.2", *options, original)
        assert_aspect_is_kept(original, tmp_path / f"out{original.suffix}")

    @pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
    def test_the_containers_aspect_stands_above_the_codecs(
        self, tmp_path: Path, suffix: str
    ) -> None:
        made = make_video(tmp_path / f"made{suffix}", Video(frames=5, sample_aspect=Fraction(1)))
        original = tmp_path / f"original{suffix}"
        ffmpeg("-i", made, "-c", "copy", "-aspect", "2.35", original)
        assert_aspect_is_kept(original, tmp_path / f"out{suffix}")

    def test_each_picture_keeps_its_own_aspect(self, tmp_path: Path) -> None:
        original = tmp_path / "two.mkv"
        source = ["-f", "lavfi", "-i", "testsrc2=s=160x120:d=0.2"]
        split = "split[a][b];[a]setsar=2/1[c];[b]setsar=3/4[d]"
        chosen = ["-map", "[c]", "-map", "[d]", "-c:v", "ffv1"]
        ffmpeg(*source, "-filter_complex", split, *chosen, original)
        assert_aspect_is_kept(original, tmp_path / "out.mkv")

    @pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
    @pytest.mark.parametrize("suffix", [".webm", ".mkv"])
    def test_alpha_beside_the_picture_is_kept(
        self, tmp_path: Path, suffix: str, codec: str
    ) -> None:
        original = with_alpha_beside(tmp_path / f"a{suffix}", codec)
        stripped = tmp_path / f"out{suffix}"
        report = protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST).report
        assert report.audit == ()
        for path in (original, stripped):
            with av.open(str(path)) as container:
                assert has_alpha_beside(container.streams.video[0])
                packet = next(p for p in container.demux(video=0) if p.size)
                assert packet.has_sidedata("matroska_block_additional")
        assert ALPHA_MODE in stripped.read_bytes()

    def test_a_mark_of_alpha_on_sound_is_a_tag_like_others(self, tmp_path: Path) -> None:
        made = make_video(tmp_path / "a.mkv", Video(audio=[Audio()]))
        original, stripped = tmp_path / "original.mkv", tmp_path / "out.mkv"
        ffmpeg("-i", made, "-c", "copy", "-metadata:s:a:0", "ALPHA_MODE=1", original)
        report = protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST).report
        assert report.audit == ()
        assert b"ALPHA_MODE" in original.read_bytes()
        assert b"ALPHA_MODE" not in stripped.read_bytes()


ALPHA_MODE = b"\x53\xc0\x81\x01"  # the element, as FFmpeg writes it


def with_alpha_beside(path: Path, codec: str) -> Path:
    picture = "color=red@0.5:s=160x120:d=0.2,format=yuva420p"
    ffmpeg("-f", "lavfi", "-i", picture, "-c:v", codec, "-auto-alt-ref", "0", path)
    return path


def assert_aspect_is_kept(original: Path, stripped: Path) -> None:
    protect(original, stripped, Parameters.parse({"mode": "strip"}), FAST)
    with av.open(str(original)) as a, av.open(str(stripped)) as b:
        wanted = [s.sample_aspect_ratio for s in a.streams.video]
        assert Fraction(1) not in wanted
        assert [s.sample_aspect_ratio for s in b.streams.video] == wanted
    assert packets(stripped, "video") == packets(original, "video")


class TestFailure:
    def test_the_original_is_never_altered(self, tmp_path: Path) -> None:
        original = make_video(tmp_path / "a.mp4", Video(audio=[Audio()]))
        before = (hashlib.sha256(original.read_bytes()).digest(), original.stat().st_mtime_ns)
        protect(original, None, Parameters(), FAST)
        assert before == (
            hashlib.sha256(original.read_bytes()).digest(),
            original.stat().st_mtime_ns,
        )

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "is empty"),
            (b"not a video at all" * 100, "not a video we can read"),
            (b"ffconcat version 1.0\nfile other.mp4\n", "not a video we can read"),
            (b"#EXTM3U\n#EXTINF:1,\nother.mp4\n", "not a video we can read"),
        ],
    )
    def test_what_is_no_video_is_refused_with_a_reason(
        self, tmp_path: Path, content: bytes, reason: str
    ) -> None:
        make_video(tmp_path / "other.mp4", Video(frames=3))
        fake = tmp_path / "fake.mp4"
        fake.write_bytes(content)
        with pytest.raises(UnreadableMedia, match=reason) as caught:
            protect(fake, None, Parameters(), FAST)
        assert "fake.mp4" in caught.value.message
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.code, again.message) == (caught.value.code, caught.value.message)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["fake.mp4", "other.mp4"]

    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_sound_alone_is_no_video(self, tmp_path: Path, mode: str) -> None:
        path = tmp_path / "song.mp4"
        with av.open(str(path), "w") as out:
            stream = out.add_stream("aac", rate=48000)
            frame = av.AudioFrame.from_ndarray(
                np.zeros((2, 48000), np.float32), format="fltp", layout="stereo"
            )
            frame.sample_rate = 48000
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        with pytest.raises(UnreadableMedia, match="no moving picture"):
            protect(path, None, Parameters.parse({"mode": mode}), FAST)

    def test_a_video_cut_short_is_protected_as_far_as_it_can_be_read(self, tmp_path: Path) -> None:
        video = Video(frames=100, options={"g": "10"}, muxer={"movflags": "faststart"})
        whole = make_video(tmp_path / "whole.mp4", video)
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        outcome = protect(cut, None, Parameters(), FAST)
        assert 10 < len(frame_times(outcome.output)) < 100
        assert outcome.report.is_truncated
        assert any("cut short" in note for note in outcome.report.notes)

    def test_every_frame_before_a_cut_is_protected(self, tmp_path: Path) -> None:
        muxer = {"movflags": "frag_keyframe+empty_moov"}
        whole = make_video(
            tmp_path / "whole.mp4", Video(frames=90, options={"g": "30"}, muxer=muxer)
        )
        cut = tmp_path / "cut.mp4"
        cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
        readable = 0
        with av.open(str(cut)) as container:
            for packet in container.demux(video=0):
                with contextlib.suppress(av.error.FFmpegError):
                    readable += len(packet.decode())
        assert 0 < readable < 90
        assert len(frame_times(protect(cut, None, Parameters(), FAST).output)) == readable

    @pytest.mark.parametrize(
        ("limits", "name"),
        [
            (Limits(max_pixels=100), "max_pixels"),
            (Limits(max_streams=1), "max_streams"),
            (Limits(max_fps=10), "max_fps"),
            (Limits(max_duration_h=0.0001), "max_duration_h"),
        ],
    )
    @pytest.mark.parametrize("mode", ["protect", "strip"])
    def test_beyond_a_limit_is_refused_by_its_name(
        self, tmp_path: Path, limits: Limits, name: str, mode: str
    ) -> None:
        settings, parameters = replace(FAST, limits=limits), Parameters.parse({"mode": mode})
        with pytest.raises(LimitExceeded, match=name):
            run(tmp_path, Video(audio=[Audio()]), parameters=parameters, settings=settings)

    @pytest.mark.parametrize("limits", [Limits(max_fps=25.1), Limits(max_duration_h=0.0001)])
    def test_what_is_beyond_a_limit_is_told_as_more_than_is_allowed(
        self, tmp_path: Path, limits: Limits
    ) -> None:
        original = make_video(tmp_path / "clip.mp4", Video(frames=30, rate=Fraction(126, 5)))
        with pytest.raises(LimitExceeded) as refused:
            protect(original, None, Parameters(), replace(FAST, limits=limits))
        found = re.search(r"(?:has|lasts) ([\d.]+) .* at most ([\d.]+) ", str(refused.value))
        assert found is not None
        assert float(found[1]) > float(found[2])

    def test_cancelled_in_a_slow_encode_returns_soon_and_leaves_nothing(
        self, tmp_path: Path
    ) -> None:
        original = make_video(tmp_path / "big.mp4", Video(width=1920, height=1080, frames=60))
        stop = threading.Event()
        cancelled_at: list[float] = []

        def watch(progress: Progress) -> None:
            if not stop.is_set():
                stop.set()
                cancelled_at.append(time.monotonic())

        settings = Settings(preset="veryslow", threads=1)
        with pytest.raises(Cancelled):
            protect(original, None, Parameters(), settings, progress=watch, cancelled=stop.is_set)
        assert time.monotonic() - cancelled_at[0] < 20  # 2 s alone; test_stages holds the promise
        assert [p.name for p in tmp_path.iterdir()] == ["big.mp4"]

    def test_cancelled_while_the_encoder_gives_out_its_last_frames_returns_as_soon(
        self, tmp_path: Path
    ) -> None:
        video = Video(width=1280, height=720, frames=30)
        original = make_video(tmp_path / "big.mp4", video)
        stop = threading.Event()
        cancelled_at: list[float] = []

        def watch(progress: Progress) -> None:
            if progress.frames == 30 and not stop.is_set():
                cancelled_at.append(time.monotonic())
                stop.set()

        settings = Settings(preset="veryslow", threads=1)
        with pytest.raises(Cancelled):
            protect(original, None, Parameters(), settings, progress=watch, cancelled=stop.is_set)
        assert time.monotonic() - cancelled_at[0] < 20  # 2 s alone; test_stages holds the promise
        assert [p.name for p in tmp_path.iterdir()] == ["big.mp4"]

    def test_an_output_that_is_the_original_is_refused(self, tmp_path: Path) -> None:
        original = make_video(tmp_path / "a.mp4", Video(frames=5))
        before = original.read_bytes()
        (tmp_path / "link.mp4").symlink_to(original)
        for output in (original, tmp_path / "link.mp4"):
            with pytest.raises(InvalidParameters, match="is the original"):
                protect(original, output, Parameters(), FAST)
        assert original.read_bytes() == before

    @pytest.mark.parametrize("parameters", [Parameters(), NO_SOUND])
    def test_sound_that_states_a_gap_of_hours_is_refused(
        self, tmp_path: Path, parameters: Parameters
    ) -> None:
        path = tmp_path / "gap.mkv"
        with av.open(str(path), "w") as out:
            picture: Any = out.add_stream("libx264", rate=25)
            picture.width, picture.height = 64, 64
            sound: Any = out.add_stream("pcm_s16le", rate=8000)
            sound.layout = "mono"
            for n in range(10):
                frame = av.VideoFrame(64, 64, "yuv420p")
                frame.pts = n
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
            for at in (0, 8000 * 3600):
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
                samples.sample_rate, samples.pts = 8000, at
                samples.time_base = Fraction(1, 8000)
                out.mux(sound.encode(samples))
        data = path.read_bytes()
        at = data.index(bytes.fromhex("4489")) + 3  # Duration, made short
        path.write_bytes(data[:at] + struct.pack(">d", 400.0) + data[at + 8 :])
        settings = replace(FAST, limits=Limits(max_duration_h=0.5))
        with pytest.raises(LimitExceeded, match="max_duration_h"):
            protect(path, None, parameters, settings)
        assert [p.name for p in tmp_path.iterdir()] == ["gap.mkv"]

    def test_a_failing_stage_leaves_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("broken")

        original = make_video(tmp_path / "a.mp4", Video())
        monkeypatch.setattr("pipeline.video.VideoProtector.protect", broken)
        with pytest.raises(RuntimeError, match="broken"):
            protect(original, None, Parameters(), FAST)
        assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]

    def test_the_output_appears_only_when_it_is_whole(self, tmp_path: Path) -> None:
        original = make_video(tmp_path / "a.mp4", Video(frames=40))
        seen: list[bool] = []
        target = tmp_path / "out.mp4"
        protect(
            original, target, Parameters(), FAST, progress=lambda p: seen.append(target.exists())
        )
        assert seen
        assert not any(seen)
        assert target.exists()


def test_progress_counts_frames_up_to_their_number(tmp_path: Path) -> None:
    original = make_video(tmp_path / "a.mp4", Video(frames=20))
    steps: list[Progress] = []
    protect_into(original, tmp_path / "b.mp4", Parameters(), FAST, progress=steps.append)
    for phase in ("protect", "read back"):
        counts = [s.frames for s in steps if s.phase == phase]
        assert counts == list(range(1, 21))
    assert [s.frames for s in steps if s.phase == "audit"] == [20]
    assert {s.total for s in steps} == {20}


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """Peak memory of a process that protects 10 s and of one that protects 100 s."""
    short = make_video(tmp_path / "short.mp4", Video(frames=250, audio=[Audio()]))
    long = tmp_path / "long.mp4"
    ffmpeg("-stream_loop", "9", "-i", short, "-c", "copy", long)
    assert abs(peak_megabytes(long) - peak_megabytes(short)) < 50


def peak_megabytes(path: Path) -> float:
    code = (
        "import resource, sys; from pathlib import Path;"
        "from pipeline.protect import protect; from pipeline.parameters import Parameters;"
        "from pipeline.settings import Settings; import torch; torch.set_num_threads(1);"
        "protect(Path(sys.argv[1]), None, Parameters(), Settings(preset='ultrafast', threads=1));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def offset(path: Path, track: int = 0) -> Fraction:
    """Return seconds from the first frame of the picture to the first sample."""
    with av.open(str(path)) as container:
        sound = next(container.decode(container.streams.audio[track]))
        at = sound.pts * sound.time_base
    frame = first_frame(path)
    assert frame.pts is not None
    return Fraction(at - frame.pts * frame.time_base)


def stated_lengths(path: Path) -> list[Fraction]:
    """Return a file's length, and in MP4 its first track's by its header and its edits."""
    with av.open(str(path)) as container:
        lengths = [Fraction(container.duration or 0, 1_000_000)]
    if path.suffix == ".mkv":
        return lengths
    index = path.read_bytes()
    header, edits = index.index(b"tkhd"), index.index(b"elst")
    (count,) = struct.unpack_from(">I", index, edits + 8)
    edited = sum(e[0] for e in struct.iter_unpack(">IiI", index[edits + 12 :][: 12 * count]))
    (stated,) = struct.unpack_from(">I", index, header + 24)
    return [*lengths, Fraction(stated, 1000), Fraction(edited, 1000)]


def samples(path: Path) -> Any:
    with av.open(str(path)) as container:
        channels = container.streams.audio[0].codec_context.layout.nb_channels
        resampler = av.AudioResampler(format="flt")  # PyAV misreads eight planes
        blocks = [b.to_ndarray() for f in container.decode(audio=0) for b in resampler.resample(f)]
    return np.concatenate([b.reshape(-1, channels).T for b in blocks], axis=1)


def loud_span(path: Path) -> tuple[float, float]:
    """Return the seconds of the first and the last sample of sound that is loud."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    loud = np.flatnonzero(np.abs(np.concatenate([f.to_ndarray()[0] for f in frames])) > 0.1)
    return tuple(float(frames[0].time + at / frames[0].sample_rate) for at in loud[[0, -1]])


def best_lag(a: Any, b: Any, reach: int) -> int:
    n = min(len(a), len(b)) - 2 * reach
    centre = a[reach : reach + n]
    scores = {
        lag: float(centre @ b[reach + lag : reach + lag + n]) for lag in range(-reach, reach + 1)
    }
    return max(scores, key=lambda lag: scores[lag])


def write_speech(path: Path, seconds: float) -> None:
    """Write a video with a voice that the detector of speech takes for one."""
    rate = 16000
    samples = voice(seconds, rate)
    with av.open(str(path), "w") as out:
        picture: Any = out.add_stream("libx264", rate=25)
        picture.width, picture.height = 64, 64
        sound: Any = out.add_stream("flac", rate=rate)
        sound.layout = "mono"
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
        for n in range(round(25 * seconds)):
            still = av.VideoFrame(64, 64, "yuv420p")
            still.pts = n
            out.mux(picture.encode(still))
        out.mux(picture.encode(None))


def lumas(path: Path) -> Iterator[Any]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="gray").astype(float)


def reencoded(original: Path, plain: Path) -> Path:
    """Return the same encode without protection."""
    with av.open(str(original)) as source, av.open(str(plain), "w") as out:
        stream: Any = out.add_stream(
            "libx264", rate=25, options={"crf": "20", "preset": "veryfast"}
        )
        first = source.streams.video[0].codec_context
        stream.width, stream.height = first.width, first.height
        for frame in source.decode(video=0):
            frame.pict_type = 0
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return plain


def remux_without(original: Path, target: Path, is_hole: Any) -> None:
    with av.open(str(original)) as source, av.open(str(target), "w") as out:
        streams = {s.index: out.add_stream_from_template(s, opaque=True) for s in source.streams}
        for packet in source.demux():
            if not packet.size or packet.pts is None:
                continue
            if packet.stream.type == "audio" and is_hole(float(packet.pts * packet.time_base)):
                continue
            packet.stream = streams[packet.stream_index]
            out.mux(packet)


def top_field_first(path: Path) -> list[bool]:
    if shutil.which("ffprobe") is None:
        pytest.skip("the ffprobe command is not installed")
    command = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_frames", "-of", "json"]
    done = subprocess.run([*command, str(path)], check=True, capture_output=True)
    return [bool(f["top_field_first"]) for f in json.loads(done.stdout)["frames"]]


def ffmpeg(*arguments: object) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("the ffmpeg command is not installed")
    command = ["ffmpeg", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def avi_with_sound(path: Path, codec: str) -> Path:
    """Write two seconds of an AVI; returns `path`."""
    picture = ["-f", "lavfi", "-i", "testsrc2=s=160x120:d=2", "-c:v", "mpeg4"]
    sound = ["-f", "lavfi", "-i", "sine=r=48000:d=2", "-c:a", codec, "-b:a", "96k"]
    ffmpeg(*picture, *sound, "-strict", "-2", path)
    return path


def sound_header(path: Path) -> tuple[int, int]:
    """Return where the header of an AVI's sound and its format lie in the file."""
    with path.open("rb") as file:
        chunks = list(walk_chunks(file))
    data = path.read_bytes()
    header = next(
        n
        for n, chunk in enumerate(chunks)
        if chunk.kind == "strh" and data[chunk.payload_offset :][:4] == b"auds"
    )
    return chunks[header].payload_offset, chunks[header + 1].payload_offset


def stated_sound(path: Path) -> tuple[float, int]:
    """Return the seconds of sound that an AVI states, and the bytes of a tick."""
    header, _ = sound_header(path)
    data = path.read_bytes()
    scale, rate, _, length = struct.unpack_from("<4I", data, header + 20)
    (size,) = struct.unpack_from("<I", data, header + 44)
    return length * scale / rate, size


def count_bytes(path: Path, share: float = 1) -> None:
    """Make an AVI's sound count its time in bytes; of a second's it states a `share`."""
    header, form = sound_header(path)
    data = bytearray(path.read_bytes())
    length = sum(map(len, packets(path, "audio")))
    bytes_a_second = round(share * length / stated_sound(path)[0])
    struct.pack_into("<I", data, form + 8, bytes_a_second)
    struct.pack_into("<H", data, form + 12, 1)
    struct.pack_into("<4I", data, header + 20, 1, bytes_a_second, 0, length)
    struct.pack_into("<I", data, header + 44, 1)
    path.write_bytes(data)


def probe(path: Path) -> Any:
    if shutil.which("ffprobe") is None:
        pytest.skip("the ffprobe command is not installed")
    command = ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def test_two_protections_of_one_video_differ(tmp_path: Path) -> None:
    """A pattern that is the same every time could be subtracted."""
    original = make_video(tmp_path / "a.mp4", Video(frames=5))
    a, b = (protect(original, tmp_path / f"{n}.mp4", Parameters(), FAST).output for n in range(2))
    pairs = itertools.islice(zip(lumas(a), lumas(b), strict=True), 1)
    assert all((x != y).any() for x, y in pairs)


@pytest.mark.parametrize(
    ("threads", "cores", "decoding"),
    [(1, 8, 1), (2, 8, 1), (3, 8, 1), (4, 8, 2), (64, 8, 4), (0, 1, 1), (0, 6, 3), (0, 64, 4)],
)
def test_half_of_a_videos_threads_decode_but_never_many(
    monkeypatch: pytest.MonkeyPatch, threads: int, cores: int, decoding: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))
    assert decoding_threads(threads) == decoding


@pytest.mark.parametrize(
    "video",
    [
        pytest.param(Video(width=320, height=240, frames=3), id="libx264"),
        pytest.param(
            Video(
                codec="libx265",
                pixel_format="yuv420p10le",
                options={"x265-params": "log-level=none"},
                frames=3,
            ),
            id="libx265",
        ),
        pytest.param(Video(width=321, height=241, pixel_format="yuv444p", frames=3), id="vp9"),
    ],
)
def test_more_threads_than_an_encoder_takes_may_be_set(tmp_path: Path, video: Video) -> None:
    """x265 does not begin with more than 16; those of a server with 128 cores may be set."""
    settings = replace(FAST, threads=17, odd_size="keep")
    _, output, report = run(tmp_path, video, settings=settings)
    assert len(frame_times(output)) == 3
    assert report.video_codec in {"h264", "hevc", "vp9"}


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_x264_works_in_as_many_threads_as_there_are_cores_or_are_set(
    tmp_path: Path, threads: int
) -> None:
    info = probe_media(make_video(tmp_path / "clip.mp4", Video(frames=2)), Limits())
    plan = plan_output(info, NO_SOUND, FAST)
    writer = Writer(tmp_path / "new.mp4", plan, info, Fraction(0), threads)
    cores = len(os.sched_getaffinity(0))
    assert writer._picture.stream.codec_context.thread_count == (threads or cores)
    writer.abandon()


@pytest.mark.parametrize("mode", [Mode.PROTECT, Mode.STRIP])
def test_why_the_copy_cannot_be_written_is_told_where_nothing_can_be_removed_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    """A read-only disk says so of a file too that is not there."""

    def read_only(path: Path, *words: object, **named: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    original = make_video(tmp_path / "clip.mp4", Video(width=64, height=64, frames=3))
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(OutputFailed, match="copy cannot be written in .*absent: No such file"):
        protect(original, tmp_path / "absent/out.mp4", Parameters(mode=mode), Settings())


def webvtt_by_mkvmerge(path: Path) -> None:
    """Write a video with subtitles of WebVTT as FFmpeg does not name it."""
    plain = make_video(path.with_name("plain.mp4"), Video())
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        picture = source.streams.video[0]
        copy = target.add_stream_from_template(picture)
        # Its name in Matroska has as many letters.
        text: Any = target.add_mux_stream("hdmv_text_subtitle", time_base=Fraction(1, 1000))
        text.metadata["language"] = "fra"
        cue: av.Packet[Any] = av.Packet(b"Hello <b>you</b>")
        cue.pts, cue.dts, cue.duration, cue.time_base = 500, 500, 300, Fraction(1, 1000)
        cue.stream = text
        for packet in source.demux(picture):
            if packet.size:
                packet.stream = copy
                target.mux(packet)
        target.mux(cue)
    path.write_bytes(path.read_bytes().replace(b"S_HDMV/TEXTST", b"S_TEXT/WEBVTT"))


def stated_chunks(path: Path) -> int:
    """Return how many chunks an AVI states of its picture."""
    with av.open(str(path)) as container:
        return container.streams.video[0].frames


def shown_as_decoded(path: Path, video: Video, muxer: dict[str, str]) -> Path:
    """Write a video each packet of which is shown when it is decoded."""
    plain = make_video(path.with_name("plain.mkv"), video)
    with av.open(str(plain)) as source, av.open(str(path), "w", options=muxer) as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        copied = [packet for packet in source.demux(stream) if packet.size]
        for packet, time in zip(copied, sorted(p.pts or 0 for p in copied), strict=True):
            packet.pts = packet.dts = time
            packet.stream = copy
            target.mux(packet)
    return path


def call_as_in_avi(path: Path) -> None:
    """Have Matroska of MPEG-4, of 160x120, go by AVI's name."""
    data = bytearray(path.read_bytes())
    named, private = data.index(b"V_MPEG4/ISO/ASP"), data.index(b"\x63\xa2") + 3
    assert data[private - 1] >= 0x80 + 40  # its length
    data[named : named + 15] = b"V_MS/VFW/FOURCC"
    data[private : private + 40] = struct.pack(
        "<3I2H4s5I", 40, 160, 120, 1, 24, b"DIVX", 57600, 0, 0, 0, 0
    )
    path.write_bytes(data)


def without_rate(source: Path, path: Path, last: int, begin: int = 0) -> None:
    """
    Copy a picture's packets into Matroska that states no rate.

    Args:
        last: of how long the last one is shown, ms.
        begin: when the first one is shown, ms.
    """
    with av.open(str(source)) as whole, av.open(str(path), "w") as target:
        stream = whole.streams.video[0]
        copy: Any = target.add_stream_from_template(stream, opaque=True)
        copy.codec_context.framerate = Fraction(0)
        copied = [packet for packet in whole.demux(stream) if packet.size]
        shown_last = max(copied, key=lambda packet: packet.pts or 0)
        shown_last.duration = round(Fraction(last, 1000) / stream.time_base)
        shift = round(Fraction(begin, 1000) / stream.time_base)
        for packet in copied:
            packet.pts, packet.dts = (packet.pts or 0) + shift, (packet.dts or 0) + shift
            packet.stream = copy
            target.mux(packet)


def fragments_from(source: Path, path: Path, begin: int) -> None:
    """Copy an MP4 of fragments, as of a live stream that is looked at from `begin` ms on."""
    data = bytearray(source.read_bytes())
    rate = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0]
    for found in re.finditer(rb"tfdt\x01\x00\x00\x00", bytes(data)):
        (time,) = struct.unpack_from(">Q", data, found.end())
        struct.pack_into(">Q", data, found.end(), time + begin * rate // 1000)
    path.write_bytes(data)


def repeat_pictures(path: Path, numbers: list[int]) -> None:
    """Empty a Theora file's pictures but for some, each of which is a page of its own."""
    content, track, picture, at = bytearray(path.read_bytes()), None, 0, 0
    written = bytearray()
    while at < len(content):
        serial, lengths = content[at + 14 : at + 18], content[at + 27 : at + 27 + content[at + 26]]
        data = content[at + 27 + len(lengths) :][: sum(lengths)]
        page = content[at : at + 27 + len(lengths) + len(data)]
        at += len(page)
        if data[1:7] == b"theora" and data[0] & 0x80:
            track = serial
        elif serial == track:
            if picture not in numbers:
                page[26:] = b"\1\0"  # a packet without a byte
            picture += 1
        page[22:26] = bytes(4)
        page[22:26] = ogg_checksum(page).to_bytes(4, "little")
        written += page
    path.write_bytes(written)


def ogg_checksum(page: bytes) -> int:
    remainder = 0
    for byte in page:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x04C11DB7 if remainder >> 31 else 0)) & 0xFFFFFFFF
    return remainder
