"""Any pair of videos can be measured, and what is different is told."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import Audio, Video, make_video

from pipeline.errors import LimitExceeded, UnreadableMedia
from pipeline.measure import EQUAL_DB, measure_planes
from pipeline.parameters import AudioLevel, Parameters
from pipeline.planes import planes_of
from pipeline.protect import protect
from pipeline.settings import Limits, Settings
from pipeline.verify import compare, most_changed_pair

REAL = Path(__file__).parents[3] / "shared" / "media"


@dataclass(frozen=True)
class Clip:
    """What a made clip is like; frame i is one moving texture at i / 25 s."""

    frames: int = 12
    noise: float = 0.0  # sigma, 8-bit levels
    width: int = 96
    height: int = 64
    form: str = "yuv420p"
    codec: str = "ffv1"
    skipped: tuple[int, ...] = ()
    late_ms: int = 0  # every frame but the first
    tracks: int = 0
    rate: int = 48000
    turned: int = 0

    def write(self, path: Path) -> Path:
        rng = np.random.default_rng(0)
        with av.open(str(path), "w") as output:
            stream: Any = output.add_stream(self.codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, self.form
            stream.codec_context.time_base = Fraction(1, 1000)
            if self.codec == "libx264":
                stream.options = {"crf": "8"}
            if self.turned:
                stream.set_display_rotation(self.turned)
            sounds: list[Any] = [
                output.add_stream("pcm_s16le", rate=self.rate) for _ in range(self.tracks)
            ]
            for index in range(self.frames):
                noise = rng.normal(0, 1, (self.height, self.width)) * self.noise
                if index in self.skipped:
                    continue
                frame = self._picture(index, noise)
                frame.pts = index * 40 + (self.late_ms if index else 0)
                frame.time_base = Fraction(1, 1000)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
            for sound in sounds:
                output.mux(sound.encode(self._tone()))
                output.mux(sound.encode(None))
        return path

    def _picture(self, index: int, noise: np.ndarray) -> av.VideoFrame:
        frame = av.VideoFrame(self.width, self.height, self.form)
        planes = planes_of(frame)
        rows, columns = np.mgrid[: self.height, : self.width]
        # Of the relative place, so that clips of different sizes show the same.
        x, y = columns / self.width, rows / self.height
        luma = 128 + 50 * np.sin(12 * x + index / 3) * np.cos(9 * y) + 20 * x
        planes.luma[:] = ((luma + noise) * planes.level).round().astype(planes.luma.dtype)
        planes.cb[:] = planes.cr[:] = 128 * planes.level
        return frame

    def _tone(self) -> av.AudioFrame:
        wave = 9000 * np.sin(np.arange(self.rate // 2) * 2 * np.pi * 440 / self.rate)
        frame = av.AudioFrame.from_ndarray(
            np.repeat(wave.astype(np.int16), 2)[None], "s16", "stereo"
        )
        frame.sample_rate, frame.pts, frame.time_base = self.rate, 0, Fraction(1, self.rate)
        return frame


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return Clip().write(tmp_path / "original.mkv")


def test_a_video_equals_itself(tmp_path: Path) -> None:
    path = Clip(tracks=2).write(tmp_path / "a.mkv")

    found = compare(path, path)

    assert found.alignment == "index"
    assert (found.original.frames, found.picture.frames) == (12, 12)
    assert (found.picture.psnr_db, found.picture.ssim) == (100, pytest.approx(1))
    assert (found.picture.largest, found.largest_shift_ms) == (0, 0)
    assert [track.snr_db for track in found.audio] == [100, 100]
    assert found.audio_nmr_db is None
    assert found.size_ratio == 1
    assert found.notes == ()


@pytest.mark.parametrize(("frames", "seconds"), [(12, 0.48), (1, 0.04)])
def test_a_video_lasts_until_its_last_frame_ends(
    tmp_path: Path, frames: int, seconds: float
) -> None:
    clip = Clip(frames=frames).write(tmp_path / "clip.mkv")
    assert compare(clip, clip).original.seconds == pytest.approx(seconds)


def test_noise_of_known_sigma_has_its_psnr(tmp_path: Path, original: Path) -> None:
    noisy = Clip(noise=4).write(tmp_path / "noisy.mkv")

    found = compare(original, noisy)

    rounding = 1 / 6  # variance of rounding both to whole levels
    assert found.picture.psnr_db == pytest.approx(
        10 * math.log10(255**2 / (16 + rounding)), abs=0.1
    )
    assert found.picture.ssim < 0.99
    assert found.protected.frames == 12
    assert found.notes == ()


def test_a_missing_frame_is_told_and_the_rest_matched_by_time(
    tmp_path: Path, original: Path
) -> None:
    found = compare(original, Clip(skipped=(4,)).write(tmp_path / "b.mkv"))

    assert found.alignment == "time"
    assert (found.original.frames, found.protected.frames) == (12, 11)
    assert found.picture.largest == 0  # every frame met its own
    assert found.largest_shift_ms is None
    assert any("Frames: 12 became 11" in note for note in found.notes)


def test_shifted_timestamps_are_told(tmp_path: Path, original: Path) -> None:
    found = compare(original, Clip(late_ms=7).write(tmp_path / "b.mkv"))

    assert found.alignment == "index"
    assert found.largest_shift_ms == pytest.approx(7)


def test_a_clock_that_begins_elsewhere_shifts_nothing(tmp_path: Path) -> None:
    sounds = [Audio(codec, layout="mono") for codec in ("pcm_s16le", "flac")]
    late = Video(96, 64, audio=sounds[:1], muxer={"output_ts_offset": "5"})
    original = make_video(tmp_path / "a.mkv", late)
    protected = make_video(tmp_path / "b.mkv", Video(96, 64, audio=sounds[1:]))

    for pair in ((original, protected), (protected, original)):
        (found,) = compare(*pair).audio
        assert abs(found.shift_ms) < 1
        assert found.seconds == pytest.approx(1, abs=0.05)
        assert found.snr_db is not None
        assert found.snr_db > 60
        codecs = (found.codec, found.protected_codec)
        assert codecs == (("pcm_s16le", "flac") if pair[0] == original else ("flac", "pcm_s16le"))


@pytest.mark.parametrize("rate", [25, 50])  # at 50, every second chunk of the picture is empty
def test_avi_whose_frames_are_reordered_equals_its_copy(tmp_path: Path, rate: int) -> None:
    """AVI says in which order frames are decoded, and nothing of when they are shown."""
    original, copy = tmp_path / "a.avi", tmp_path / "a.mp4"
    video = Video(
        width=128,
        height=96,
        frames=50,
        rate=Fraction(rate),
        times=[rate // 25 * n for n in range(50)],
        options={"bf": "3", "b_strategy": "0"},
        audio=[Audio(codec="mp3", seconds=2.0)],
    )
    make_video(original, video)
    parameters = Parameters(audio_level=AudioLevel.NONE)
    protect(original, copy, parameters, Settings(preset="ultrafast", threads=1))
    found = compare(original, copy)
    assert (found.original.seconds, found.protected.seconds) == pytest.approx((2.0, 2.0), abs=1e-3)
    assert found.largest_shift_ms == pytest.approx(0, abs=0.1)
    assert [track.snr_db for track in found.audio] == [EQUAL_DB]


def test_what_was_lost_beside_picture_and_sound_is_told(tmp_path: Path) -> None:
    full = Video(
        96, 64, audio=[Audio(), Audio()], subtitles="subrip", chapters=[(0, 0.5), (0.5, 1)]
    )
    original = make_video(tmp_path / "a.mkv", full)
    protected = make_video(tmp_path / "b.mkv", Video(96, 64, audio=[Audio(layout="mono")]))

    notes = compare(original, protected).notes

    for words in (
        "Tracks of sound: 2 became 1.",
        "Tracks of subtitles: 1 became 0.",
        "Chapters: 2 became 0.",
        "2 channels became 1",
    ):
        assert any(words in note for note in notes), words


def test_limits_hold_for_both_files(tmp_path: Path, original: Path) -> None:
    larger = Clip(width=112).write(tmp_path / "larger.mkv")
    limits = Limits(max_pixels=96 * 64)
    assert compare(original, original, limits).notes == ()
    for pair in ((original, larger), (larger, original)):
        with pytest.raises(LimitExceeded, match="larger.mkv"):
            compare(*pair, limits)


def test_a_dropped_track_is_told(tmp_path: Path) -> None:
    found = compare(
        Clip(tracks=2).write(tmp_path / "a.mkv"), Clip(tracks=1).write(tmp_path / "b.mkv")
    )

    assert "Tracks of sound: 2 became 1." in found.notes
    assert len(found.audio) == 1


def test_another_sample_rate_is_told(tmp_path: Path) -> None:
    found = compare(
        Clip(tracks=1).write(tmp_path / "a.mkv"),
        Clip(tracks=1, rate=44100).write(tmp_path / "b.mkv"),
    )

    assert any("48000 Hz became 44100 Hz" in note for note in found.notes)
    assert found.audio_snr_db is not None
    assert found.audio_snr_db > 30


def test_no_sound_on_either_side_leaves_its_measures_null(original: Path) -> None:
    values = compare(original, original).as_dict()

    assert values["audio"] == []
    assert values["audio_snr_db"] is None
    assert values["audio_nmr_db"] is None


def test_another_size_is_scaled_and_told(tmp_path: Path, original: Path) -> None:
    found = compare(original, Clip(width=48, height=32).write(tmp_path / "b.mkv"))

    assert any("96x64 became 48x32" in note for note in found.notes)
    assert 25 < found.picture.psnr_db < 60


def test_padding_of_an_odd_size_is_not_measured(tmp_path: Path) -> None:
    odd = Clip(width=95, height=63).write(tmp_path / "a.mkv")
    padded = tmp_path / "b.mkv"
    with av.open(str(odd)) as source, av.open(str(padded), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for frame in source.decode(video=0):
            larger = av.VideoFrame(96, 64, "yuv420p")
            for plane, small in zip(planes_of(larger), planes_of(frame), strict=True):
                plane[:] = 255
                plane[: small.shape[0], : small.shape[1]] = small
            larger.pts, larger.time_base = frame.pts, frame.time_base
            output.mux(stream.encode(larger))
        output.mux(stream.encode(None))

    found = compare(odd, padded)

    assert found.picture.largest == 0
    assert any("the padding was not measured" in note for note in found.notes)


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_the_same_rotation_on_both_sides_is_no_difference(tmp_path: Path, degrees: int) -> None:
    path = Clip(turned=degrees, codec="libx264").write(tmp_path / "a.mp4")

    assert compare(path, path).notes == ()


def test_a_picture_that_lost_its_rotation_is_compared_as_shown(tmp_path: Path) -> None:
    upright = Clip(codec="libx264").write(tmp_path / "a.mp4")
    turned = Clip(turned=180, codec="libx264").write(tmp_path / "b.mp4")

    found = compare(upright, turned)

    assert any("turned differently" in note for note in found.notes)
    assert found.picture.psnr_db < 25


def test_a_rotation_baked_into_the_pixels_is_no_change(tmp_path: Path) -> None:
    tagged = Clip(turned=-90, codec="libx264").write(tmp_path / "a.mp4")
    baked = tmp_path / "b.mkv"
    with av.open(str(tagged)) as source, av.open(str(baked), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 96, "yuv420p"
        for frame in source.decode(video=0):
            turned = av.VideoFrame(64, 96, "yuv420p")
            for plane, lying in zip(planes_of(turned), planes_of(frame), strict=True):
                plane[:] = np.rot90(lying, -1)
            turned.pts, turned.time_base = frame.pts, frame.time_base
            output.mux(stream.encode(turned))
        output.mux(stream.encode(None))

    found = compare(tagged, baked)

    assert found.picture.largest == 0
    assert any("turned differently" in note for note in found.notes)
    assert not any("became" in note for note in found.notes)


def test_ten_bits_against_eight_are_compared_at_eight_bit_levels(
    tmp_path: Path, original: Path
) -> None:
    found = compare(Clip(form="yuv420p10le").write(tmp_path / "deep.mkv"), original)

    assert 0 < found.picture.largest <= 0.5
    assert any("10 bits became 8" in note for note in found.notes)


def test_ten_bits_equal_themselves(tmp_path: Path) -> None:
    path = Clip(form="yuv420p10le").write(tmp_path / "deep.mkv")

    assert compare(path, path).picture.psnr_db == 100


def test_a_file_cut_short_is_measured_as_far_as_it_goes(tmp_path: Path, original: Path) -> None:
    cut = tmp_path / "cut.mkv"
    data = original.read_bytes()
    cut.write_bytes(data[: len(data) * 2 // 3])

    found = compare(original, cut)

    assert 0 < found.protected.frames < 12
    assert found.picture.frames > 0
    assert any(note.startswith("cut.mkv is cut short") for note in found.notes)


@pytest.mark.parametrize("which", ["original", "protected"])
@pytest.mark.parametrize("content", [b"", b"not a video at all" * 50, None])
def test_the_unreadable_file_of_the_two_is_named(
    tmp_path: Path, original: Path, which: str, content: bytes | None
) -> None:
    bad = tmp_path / "bad.mp4"
    if content is not None:
        bad.write_bytes(content)
    pair = (bad, original) if which == "original" else (original, bad)

    with pytest.raises(UnreadableMedia, match=r"bad\.mp4"):
        compare(*pair)


def test_a_folder_is_not_a_video(tmp_path: Path, original: Path) -> None:
    with pytest.raises(UnreadableMedia, match="not a file"):
        compare(tmp_path, original)


def test_metadata_that_is_left_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tagged.mp4"
    plain = Clip(codec="libx264").write(tmp_path / "plain.mp4")
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        output.metadata["comment"] = "recorded at 55.7558, 37.6173"
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                output.mux(packet)

    left, before = (compare(plain, file).metadata_left for file in (path, plain))
    assert set(left) - set(before)


@pytest.mark.parametrize("lacking", [None, 4])
def test_the_moment_of_the_greatest_change_is_told(
    tmp_path: Path, original: Path, lacking: int | None
) -> None:
    """In the original, whichever frame of the other it became."""
    spoiled = tmp_path / "b.mkv"
    with av.open(str(original)) as source, av.open(str(spoiled), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index, frame in enumerate(source.decode(video=0)):
            copy = av.VideoFrame(96, 64, "yuv420p")
            for plane, old in zip(planes_of(copy), planes_of(frame), strict=True):
                plane[:] = old + (9 if index == 7 else 1)
            copy.pts, copy.time_base = frame.pts, frame.time_base
            if index != lacking:
                output.mux(stream.encode(copy))
        output.mux(stream.encode(None))

    found = compare(original, spoiled)

    assert found.alignment == ("index" if lacking is None else "time")
    assert found.most_changed_seconds == pytest.approx(0.28)
    assert found.picture.largest == 9


def test_of_frames_that_are_all_alike_the_middle_one_is_shown() -> None:
    measure = measure_planes(*[planes_of(av.VideoFrame(64, 48, "yuv420p"))] * 2)
    assert most_changed_pair([measure] * 5) == 2


def test_a_comparison_is_json_and_lines(tmp_path: Path) -> None:
    found = compare(
        Clip(tracks=1).write(tmp_path / "a.mkv"),
        Clip(tracks=1, noise=2).write(tmp_path / "b.mkv"),
    )

    values, lines = found.as_dict(), found.lines()

    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert {"psnr_db", "ssim", "largest_change", "mean_change", "size_ratio"} <= set(values)
    assert {"audio_nmr_db", "audio_snr_db", "metadata_left", "notes"} <= set(values)
    assert "PSNR       41.9" in "\n".join(lines)
    assert "sound 1    SNR equal" in "\n".join(lines)
    assert "None" not in "\n".join(lines)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here")
@pytest.mark.parametrize(
    "name",
    ["airplane_badaudio.mp4", "corrupted_h264.mp4", "dashcam_mjpeg422_pcm.avi", "asl_book.mkv"],
)
def test_real_clips_equal_themselves(name: str) -> None:
    found = compare(REAL / name, REAL / name)

    assert found.picture.psnr_db == 100
    assert all(track.snr_db == 100 for track in found.audio)
