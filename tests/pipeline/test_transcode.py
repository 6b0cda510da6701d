"""What one video's way through decoder, protection and encoder keeps, and what the report says."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from media import Audio, Video, make_video, scene
from scipy import signal

from pipeline.boxes import walk_boxes
from pipeline.errors import LimitExceeded, SurrogateUnavailable
from pipeline.parameters import Parameters
from pipeline.parts import payload_of
from pipeline.plan import plan_output
from pipeline.probe import probe
from pipeline.progress import Progress
from pipeline.protect import protect, protect_into
from pipeline.settings import Limits, Settings
from pipeline.verify import compare
from tests.pipeline.voices import voice

FAST = Settings(preset="ultrafast", threads=1)
NO_SOUND = Parameters.parse({"audio_level": "none"})
STRIP = Parameters.parse({"mode": "strip"})
LATE = {"output_ts_offset": "5"}
SMALL = Video(width=96, height=64, frames=25)


def starts(path: Path) -> tuple[float, float]:
    """Return the seconds at which picture and sound begin on a file's own clock."""
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0)).time
    with av.open(str(path)) as container:
        sound = next(container.decode(audio=0)).time
    assert picture is not None
    assert sound is not None
    return picture, sound


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time or 0.0 for frame in container.decode(video=0)]


def test_a_few_frames_with_a_long_pause_begin_after_their_sound_as_they_did(tmp_path: Path) -> None:
    """The last is reordered: nothing is to be decoded as long before it as the pause lasts."""
    paused = (*range(21, 900, 100), 5021)
    video = replace(SMALL, frames=10, times=paused, time_base=Fraction(1, 1000), audio=[Audio()])
    original, output = make_video(tmp_path / "a.mkv", video), tmp_path / "out.mp4"
    protect(original, output, Parameters(), Settings(preset="veryfast", threads=1))
    picture, sound = starts(original)
    shown, heard = starts(output)
    assert shown - heard == pytest.approx(picture - sound, abs=0.002)
    with av.open(str(output)) as container:
        first = next(container.demux(video=0))
        assert first.dts is not None
        assert -0.5 < first.dts * first.time_base < 0
    assert [t - shown for t in times(output)] == pytest.approx(
        [t - picture for t in times(original)], abs=0.001
    )


@pytest.mark.parametrize("parameters", [Parameters(), NO_SOUND])
@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
def test_a_clock_that_does_not_begin_at_zero_shifts_no_sound(
    tmp_path: Path, out: str, parameters: Parameters
) -> None:
    """As of a broadcast's recording."""
    sound = Audio(codec="aac", layout="mono", start=0.2, seconds=0.8)
    original = make_video(tmp_path / "a.ts", replace(SMALL, audio=[sound], muxer=LATE))
    output = protect(original, tmp_path / out, parameters, FAST).output
    (picture, sound_at), (picture_before, sound_before) = starts(output), starts(original)
    assert picture_before >= 5
    assert picture < 0.3
    assert sound_at - picture == pytest.approx(sound_before - picture_before, abs=0.025)


@pytest.mark.parametrize("rates", [(24_000, 48_000), (48_000, 24_000)])
def test_an_mpeg_stream_whose_sound_changes_its_rate_loses_none(
    tmp_path: Path, rates: tuple[int, int]
) -> None:
    """As where an advertisement was cut in: FFmpeg goes on to count by the first rate."""
    original = tmp_path / "a.ts"
    for part, rate in enumerate(rates):
        # With a delay allowed, several blocks of sound share a stated time, as in most streams.
        muxer = {"output_ts_offset": f"{3.2 * part}", "max_delay": "700000"}
        made = replace(SMALL, frames=75, muxer=muxer)
        sound = Audio(rate=rate, layout="mono")
        make_video(tmp_path / f"{part}.ts", replace(made, audio=[sound]))
        with original.open("ab") as whole:
            whole.write((tmp_path / f"{part}.ts").read_bytes())
    report = protect(original, tmp_path / "out.mp4", Parameters(), FAST).report
    assert not [note for note in report.notes if "left out" in note]


def test_reordered_h264_in_avi_lies_evenly(tmp_path: Path) -> None:
    """AVI says in which order frames are decoded, and nothing of when they are shown."""
    video = replace(SMALL, options={"bf": "3", "b_strategy": "0"})
    original = make_video(tmp_path / "a.avi", video)
    report = protect(original, tmp_path / "out.mp4", Parameters(), FAST).report
    assert times(tmp_path / "out.mp4") == pytest.approx([n / 25 for n in range(25)], abs=1e-3)
    assert report.notes == ()


def test_subtitles_from_before_the_picture_move_none_that_follow(tmp_path: Path) -> None:
    """FFmpeg counts a file from its picture where text begins more than a second earlier."""
    original, output = tmp_path / "a.mp4", tmp_path / "out.mp4"
    ticks = Fraction(1, 1000)
    with av.open(str(original), "w") as out:
        picture = out.add_stream("libx264", rate=25, options={"bf": "0"})
        picture.width, picture.height = 128, 96
        picture.time_base = picture.codec_context.time_base = ticks
        text: Any = out.add_stream("mov_text")
        text.codec_context.subtitle_header = (
            b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\n"
            b"Style: Default,Arial\n\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
        )
        text.time_base = text.codec_context.time_base = ticks
        out.start_encoding()
        for at, words in ((200, b"gone"), (2800, b"half"), (4000, b"late")):
            packet: av.Packet[Any] = av.Packet(len(words).to_bytes(2, "big") + words)
            packet.stream, packet.time_base = text, ticks
            packet.pts = packet.dts = at
            packet.duration = 500
            out.mux(packet)
        for number in range(50):
            frame = av.VideoFrame(128, 96, "yuv420p")
            frame.pts, frame.time_base = 3000 + 40 * number, ticks
            out.mux(picture.encode(frame))
        out.mux(picture.encode())
    protect(original, output, Parameters(), FAST)
    with av.open(str(output)) as container:
        shown = {
            bytes(p)[2:]: (float(p.pts * p.time_base), float(p.duration * p.time_base))
            for p in container.demux(subtitles=0)
            if p.size > 2 and p.pts is not None and p.time_base is not None and p.duration
        }
    assert shown == {b"half": pytest.approx((0.0, 0.3)), b"late": pytest.approx((1.0, 0.5))}


def test_time_goes_on_where_the_clock_starts_anew_and_that_is_told(tmp_path: Path) -> None:
    part = make_video(tmp_path / "part.ts", replace(SMALL, frames=50)).read_bytes()
    original = tmp_path / "joined.ts"
    original.write_bytes(part + part)
    outcome = protect(original, tmp_path / "out.mp4", Parameters(), FAST)
    found = times(outcome.output)
    assert len(found) == 100
    assert found[-1] - found[0] == pytest.approx(99 / 25, abs=0.05)
    assert any("starts anew" in note for note in outcome.report.notes)


def loudness(path: Path, begin: float, end: float) -> float:
    """Return the RMS of the samples between two moments, 0 where there are none."""
    squares = [0.0]
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            at = (frame.time or 0.0) + np.arange(frame.samples) / frame.sample_rate
            samples = frame.to_ndarray()[0]
            squares.append(float(np.square(samples[(begin <= at) & (at < end)]).sum()))
    return float(np.sqrt(sum(squares) / ((end - begin) * 48_000)))


@pytest.mark.parametrize("parameters", [Parameters(), NO_SOUND, STRIP])
def test_sound_of_joined_recordings_stays_with_their_pictures(
    tmp_path: Path, parameters: Parameters
) -> None:
    """As of broadcasts and DVDs: the first one's sound ends before its picture."""
    parts = []
    for seconds in (1.5, 2.0):
        sound = Audio(codec="aac", layout="mono", seconds=seconds)
        video = replace(SMALL, frames=50, audio=[sound])
        parts.append(make_video(tmp_path / f"{seconds}.ts", video).read_bytes())
    original = tmp_path / "joined.ts"
    output = tmp_path / ("out.ts" if parameters is STRIP else "out.mkv")
    original.write_bytes(b"".join(parts))
    protect(original, output, parameters, FAST)
    start = times(output)[0]
    assert loudness(output, start + 1.0, start + 1.45) > 0.01
    assert loudness(output, start + 1.55, start + 1.95) < 0.001
    assert loudness(output, start + 2.05, start + 3.9) > 0.01
    comparison = compare(original, output)
    assert comparison.original.seconds == pytest.approx(4.0, abs=0.1)
    assert comparison.largest_shift_ms is not None
    assert comparison.largest_shift_ms < 2
    assert comparison.audio[0].snr_db is not None
    assert comparison.audio[0].snr_db > 20


def with_jitter(path: Path, out: Path) -> Path:
    """Copy a video; its sound's times come up to 18 ms early and late, as a recorder noted them."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        copies = {s.index: target.add_stream_from_template(s) for s in source.streams}
        blocks = 0
        for packet in source.demux():
            if not packet.size or packet.pts is None:
                continue
            if packet.stream.type == "audio":
                late = 0.018 * np.sin(blocks * np.pi / 4)
                packet.pts = packet.dts = packet.pts + round(late / packet.time_base)
                blocks += 1
            packet.stream = copies[packet.stream.index]
            target.mux(packet)
    return out


def test_sound_whose_times_jitter_stays_whole(tmp_path: Path) -> None:
    """As of apps that record a phone's screen: each pause and overlap made a hole in it."""
    made = make_video(tmp_path / "made.mkv", replace(SMALL, audio=[Audio(codec="aac")]))
    original = with_jitter(made, tmp_path / "a.mkv")
    outcome = protect(original, tmp_path / "out.mp4", Parameters(), FAST)
    assert not [note for note in outcome.report.notes if "other sound" in note]
    (sound,) = compare(original, outcome.output).audio
    assert sound.snr_db is not None
    assert sound.snr_db > 15


@pytest.mark.parametrize("parameters", [Parameters(), NO_SOUND])
@pytest.mark.parametrize("since", [4, 6])
def test_sound_that_waits_in_vain_for_the_picture_to_start_anew_is_all_there(
    tmp_path: Path, parameters: Parameters, since: int
) -> None:
    """Its last 4 s are more packets than may wait, its last 2 s fewer."""
    sound = Audio(codec="aac", layout="mono", seconds=8.0)
    path = make_video(tmp_path / "a.ts", replace(SMALL, frames=200, audio=[sound]))
    original, output = tmp_path / "b.ts", tmp_path / "out.mkv"
    parts = [tmp_path / "1.ts", tmp_path / "2.ts"]
    for is_second, part in enumerate(parts):
        with av.open(str(path)) as source, av.open(str(part), "w") as out:
            copies = {s.index: out.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if (
                    packet.pts is None
                    or packet.dts is None
                    or is_second != (packet.dts > since * 90_000)
                ):
                    continue
                if is_second and packet.stream.type == "audio":
                    packet.pts, packet.dts = packet.pts - 270_000, packet.dts - 270_000
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    original.write_bytes(b"".join(part.read_bytes() for part in parts))
    protect(original, output, parameters, FAST)
    begin = times(output)[0]
    assert all(loudness(output, begin + n, begin + n + 0.9) > 0.01 for n in range(8))


@pytest.mark.parametrize(("out", "wanted"), [("out.mp4", "por"), ("out.mkv", "pt-BR")])
def test_a_language_is_kept_in_what_the_container_has_room_for(
    tmp_path: Path, out: str, wanted: str
) -> None:
    sound = Audio(language="pt-BR")
    original = make_video(tmp_path / "a.mkv", replace(SMALL, frames=5, audio=[sound]))
    protect(original, tmp_path / out, Parameters(), FAST)
    with av.open(str(tmp_path / out)) as container:
        assert container.streams.audio[0].language == wanted


@pytest.mark.parametrize("parameters", [Parameters(), NO_SOUND])
def test_each_language_is_kept_in_quicktime(tmp_path: Path, parameters: Parameters) -> None:
    """Its numbers of old know some by another code of the same language, and some not at all."""
    codes = ["deu", "eng", "zho", "fil"]
    sounds = [Audio(language=code, seconds=0.2) for code in codes]
    original = make_video(tmp_path / "a.mkv", replace(SMALL, frames=5, audio=sounds))
    protect(original, tmp_path / "out.mov", parameters, FAST)
    protect(tmp_path / "out.mov", tmp_path / "stripped.mov", STRIP, FAST)
    for name in ("out.mov", "stripped.mov"):
        with av.open(str(tmp_path / name)) as container:
            assert [s.language for s in container.streams.audio] == codes


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("a.mkv", Parameters()), ("a.mkv", NO_SOUND), ("a.mkv", STRIP), ("a.nut", STRIP)],
)
def test_words_in_place_of_a_language_go(tmp_path: Path, name: str, parameters: Parameters) -> None:
    """Matroska and NUT take any, and so do FFmpeg's muxers."""
    sounds = [Audio(language="filmed at home"), Audio(language="deu")]
    original = make_video(tmp_path / name, replace(SMALL, frames=5, audio=sounds))
    assert b"filmed at home" in original.read_bytes()
    output = tmp_path / f"out_{name}"
    report = protect(original, output, parameters, FAST).report
    assert b"filmed at home" not in output.read_bytes()
    assert "words in place of a language" in report.metadata_removed
    with av.open(str(output)) as container:
        first, second = (stream.language for stream in container.streams.audio)
    assert first in (None, "und")
    assert second == "deu"


def test_the_report_has_the_numbers_of_this_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watch:
        seconds, cpu_seconds = 1.0, 2.0

    monkeypatch.setattr("pipeline.protect.Watch", Watch)
    original = with_a_cut(tmp_path / "a.mkv")
    outcome = protect(original, tmp_path / "out.mkv", Parameters(every_n_frames=4), FAST)
    report, output = outcome.report, outcome.output
    assert (report.container, report.video_codec) == ("matroska", "h264")
    assert (report.frames, report.cuts, report.anchors) == (20, 1, 6)
    assert (report.seconds, report.cpu_seconds) == (1.0, 2.0)
    assert report.original_bytes == original.stat().st_size
    assert report.protected_bytes == output.stat().st_size
    assert report.mean_change is not None
    assert report.p999_change is not None
    assert report.largest_change is not None
    assert 0 < report.mean_change < report.p999_change < report.largest_change
    # Of all frames, not of every second one.
    measured = compare(original, output).picture
    assert report.psnr_db == pytest.approx(measured.psnr_db, abs=0.5)
    assert report.ssim == pytest.approx(measured.ssim, abs=0.005)
    assert report.mean_change == pytest.approx(measured.mean, rel=0.1)


def with_a_cut(path: Path) -> Path:
    """Write a video whose second half shows something else; returns `path`."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for n in range(20):
            image = scene(160, 120, n) if n < 10 else 255 - scene(160, 120, n)[::-1]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    return path


def test_tracks_are_reported_by_their_number_and_the_codec_they_have_now(tmp_path: Path) -> None:
    tracks = [Audio("pcm_s16le", layout="mono"), Audio("flac", rate=16000, layout="mono")]
    original = make_video(tmp_path / "a.mkv", replace(SMALL, audio=tracks))
    report = protect(original, tmp_path / "out.mp4", Parameters(), FAST).report
    found = [(t.track, t.codec, t.sample_rate, t.channels) for t in report.audio]
    assert found == [(1, "aac", 48000, 1), (2, "aac", 16000, 1)]
    assert [(t.treatment, t.speech_share) for t in report.audio] == [("unchanged", 0.0)] * 2


def test_speech_is_changed_alike_each_time_and_as_strongly_as_its_level_says(
    tmp_path: Path,
) -> None:
    """No chance is in it: copies of one video cannot be averaged to have the original back."""
    original = with_speech(tmp_path / "a.mkv", seconds=3)
    parameters = Parameters.parse({"audio_level": "strong"})
    outcomes = [protect(original, tmp_path / f"{n}.mp4", parameters, FAST) for n in range(2)]
    for track in (outcome.report.audio[0] for outcome in outcomes):
        assert track.speech_share == pytest.approx(1.0, abs=0.05)
        assert track.nmr_db is not None
        assert track.snr_db is not None
        assert 0 < track.nmr_db < 6 < 10 < track.snr_db < 20
    first, second = (sound_of(outcome.output) for outcome in outcomes)
    assert (first == second).all()


def test_sounds_that_both_channels_share_stay_in_the_middle(tmp_path: Path) -> None:
    """FFmpeg's AAC encoder would give each channel a noise of its own for the upper bands."""
    rate = 48_000
    random = np.random.default_rng(3)
    middle, left, right = 0.1 * random.standard_normal((3, 2 * rate))
    hiss = np.stack([middle + 0.3 * left, middle + 0.3 * right]).astype(np.float32)
    output = protect(with_sound(tmp_path / "a.mkv", hiss, rate), None, Parameters(), FAST).output
    upper = signal.butter(6, 12_000, "high", fs=rate, output="sos")
    before, after = (
        np.corrcoef(signal.sosfilt(upper, sound)[:, rate // 2 : rate])[0, 1]
        for sound in (hiss, sound_of(output))
    )
    assert after == pytest.approx(before, abs=0.15)


def with_sound(path: Path, samples: np.ndarray[Any, Any], rate: int) -> Path:
    """Write a grey picture beside (channels, n) samples; returns `path`."""
    with av.open(str(path), "w") as out:
        picture: Any = out.add_stream("ffv1", rate=5)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound: Any = out.add_stream("flac", rate=rate)
        sound.layout = "stereo" if len(samples) == 2 else "mono"
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=sound.layout.name)
        frame.sample_rate, frame.pts = rate, 0
        out.mux([*sound.encode(frame), *sound.encode(None)])
        for n in range(5 * samples.shape[1] // rate):
            still = av.VideoFrame(64, 48, "yuv420p")
            still.pts, still.time_base = n, Fraction(1, 5)
            out.mux(picture.encode(still))
        out.mux(picture.encode(None))
    return path


def with_speech(path: Path, seconds: float) -> Path:
    """Write a video with a voice that the detector of speech takes for one; returns `path`."""
    return with_sound(path, voice(seconds, 16_000), 16_000)


def sound_of(path: Path) -> np.ndarray[Any, Any]:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)


class Moments(torch.nn.Module):
    """Finds something every 20 ms."""

    def __init__(self) -> None:
        super().__init__()
        self.moments = torch.nn.Conv1d(1, 12, 400, stride=320)

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.moments(sound[:, None])).transpose(1, 2)


def test_recognisers_that_are_named_change_the_sound_and_are_told(tmp_path: Path) -> None:
    original = with_speech(tmp_path / "a.mkv", 3)
    network = tmp_path / "moments.ts"
    torch.jit.script(Moments()).save(str(network))
    asked = replace(FAST, recognisers=(network,))
    by_network, by_default = (
        protect(original, tmp_path / f"{number}.mkv", Parameters(), settings)
        for number, settings in enumerate((asked, FAST))
    )
    assert [track.recognisers for track in by_network.report.audio] == [("moments.ts",)]
    assert [track.recognisers for track in by_default.report.audio] == [()]
    assert "by moments.ts" in "\n".join(by_network.report.lines())
    ours, theirs = (sound_of(outcome.output) for outcome in (by_network, by_default))
    assert np.abs(ours - theirs).max() > 0.01


def test_something_moves_while_recognisers_are_asked(tmp_path: Path) -> None:
    original = with_speech(tmp_path / "a.mkv", 3)
    network = tmp_path / "moments.ts"
    torch.jit.script(Moments()).save(str(network))
    steps: list[Progress] = []
    asked = replace(FAST, recognisers=(network,))
    protect_into(original, tmp_path / "b.mkv", Parameters(), asked, progress=steps.append)
    told = [step.frames for step in steps if step.phase == "protect"]
    assert len(told) - len(set(told)) > 20  # the service ends what is silent for long


def test_recognisers_are_not_told_of_a_track_in_which_nobody_speaks(tmp_path: Path) -> None:
    original = with_sound(tmp_path / "a.mkv", np.zeros((1, 32_000), np.float32), 16_000)
    network = tmp_path / "moments.ts"
    torch.jit.script(Moments()).save(str(network))
    asked = replace(FAST, recognisers=(network,))
    report = protect(original, tmp_path / "out.mkv", Parameters(), asked).report
    assert [(t.treatment, t.recognisers) for t in report.audio] == [("unchanged", ())]


def test_recognisers_are_not_needed_where_no_sound_is_changed(tmp_path: Path) -> None:
    original = with_speech(tmp_path / "a.mkv", 1)
    asked = replace(FAST, recognisers=(tmp_path / "gone.ts",))
    assert protect(original, tmp_path / "out.mkv", NO_SOUND, asked).report.frames
    with pytest.raises(SurrogateUnavailable, match="speech.recognisers: there is no file"):
        protect(original, tmp_path / "other.mkv", Parameters(), asked)


@pytest.mark.parametrize("parameters", [NO_SOUND, STRIP])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_track_of_sound_without_any_is_no_failure(
    tmp_path: Path, name: str, parameters: Parameters
) -> None:
    """As recorders of screens leave it that were muted."""
    made, original = make_video(tmp_path / "made.mp4", SMALL), tmp_path / name
    with av.open(str(made)) as source, av.open(str(original), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        sound: Any = out.add_stream("aac", rate=48000)
        sound.layout = "mono"
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    output = protect(original, tmp_path / f"out_{name}", parameters, FAST).output
    assert len(times(output)) == 25


@pytest.mark.parametrize(("out", "tracks_left"), [("out.mp4", 1), ("out.mkv", 2)])
def test_a_track_of_which_nothing_can_be_decoded_is_told_and_not_reported(
    tmp_path: Path, out: str, tracks_left: int
) -> None:
    """Matroska names it all the same."""
    tracks = [Audio("flac", layout="mono"), Audio("flac", rate=16000, layout="mono")]
    made = make_video(tmp_path / "made.mkv", replace(SMALL, audio=tracks))
    original = tmp_path / "a.mkv"
    with av.open(str(made)) as source, av.open(str(original), "w") as written:
        copies = [written.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.size:
                if packet.stream_index == 1:
                    packet.update(bytes(packet.size))
                packet.stream = copies[packet.stream_index]
                written.mux(packet)
    outcome = protect(original, tmp_path / out, Parameters(), FAST)
    assert [(track.track, track.sample_rate) for track in outcome.report.audio] == [(2, 16000)]
    assert (
        "Stream 1 holds no sound that can be decoded; the copy has none of it."
        in outcome.report.notes
    )
    with av.open(str(outcome.output)) as container:
        assert len(container.streams.audio) == tracks_left


@pytest.mark.parametrize("parameters", [Parameters(), NO_SOUND])
@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
def test_tracks_keep_their_order(tmp_path: Path, out: str, parameters: Parameters) -> None:
    languages = ["deu", "eng", "fra"]
    sounds = [Audio(layout="mono", language=language) for language in languages]
    original = make_video(tmp_path / "a.mp4", replace(SMALL, audio=sounds))
    output = protect(original, tmp_path / out, parameters, FAST).output
    with av.open(str(output)) as container:
        assert [stream.language for stream in container.streams.audio] == languages


def test_a_late_track_behind_an_empty_one_begins_when_it_did(tmp_path: Path) -> None:
    """The muxer leaves the empty one out, so the other's place in the file is another."""
    late = Audio(layout="mono", start=0.3, seconds=0.5)
    made = make_video(tmp_path / "made.mkv", replace(SMALL, audio=[late]))
    original = tmp_path / "a.mkv"
    with av.open(str(made)) as source, av.open(str(original), "w") as out:
        picture = out.add_stream_from_template(source.streams.video[0])
        empty: Any = out.add_stream("aac", rate=48000)
        empty.layout = "mono"
        copies = {0: picture, 1: out.add_stream_from_template(source.streams.audio[0])}
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    with av.open(str(original)) as container:
        wanted = next(container.decode(audio=1)).time
    output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
    picture_at, sound_at = starts(output)
    assert wanted == pytest.approx(0.3, abs=0.03)
    assert sound_at - picture_at == pytest.approx(wanted, abs=0.005)


def test_encoded_sound_has_the_bits_that_are_planned(tmp_path: Path) -> None:
    """Of six channels, which need more than an encoder takes by itself."""
    sound = Audio("pcm_s16le", layout="5.1")
    original = make_video(tmp_path / "a.mkv", replace(SMALL, audio=[sound]))
    (plan,) = plan_output(probe(original, Limits()), Parameters(), FAST).audio
    output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
    with av.open(str(output)) as container:
        size = sum(packet.size for packet in container.demux(audio=0))
    assert plan.bit_rate is not None
    assert size * 8 == pytest.approx(plan.bit_rate, rel=0.4)


class TestLimits:
    @pytest.mark.parametrize("parameters", [Parameters(), STRIP])
    def test_a_video_within_them_by_a_hair_is_taken(
        self, tmp_path: Path, parameters: Parameters
    ) -> None:
        second = 1.0001 / 3600
        limits = Limits(max_pixels=96 * 64, max_streams=1, max_fps=25, max_duration_h=second)
        original = make_video(tmp_path / "a.mp4", SMALL)
        report = protect(original, None, parameters, replace(FAST, limits=limits)).report
        assert report.frames == 25

    def test_more_frames_than_their_rate_allows_are_refused(self, tmp_path: Path) -> None:
        """A container may state fewer frames a second than it holds."""
        video = replace(SMALL, rate=Fraction(5), time_base=Fraction(1, 1000), options={"bf": "0"})
        original = make_video(tmp_path / "a.mkv", replace(video, times=range(0, 1000, 10)))
        settings = replace(FAST, limits=Limits(max_fps=10, max_duration_h=5 / 3600))
        with pytest.raises(LimitExceeded, match="longer than it states"):
            protect(original, None, Parameters(), settings)
        assert list(tmp_path.iterdir()) == [original]


def test_the_index_lies_in_front(tmp_path: Path) -> None:
    """So that a browser shows a video before it has the whole of it."""
    output = protect(make_video(tmp_path / "a.mkv", SMALL), None, Parameters(), FAST).output
    with output.open("rb") as file:
        top = [box.kind for box in walk_boxes(file) if len(box.path) == 1]
    assert output.suffix == ".mp4"
    assert top.index("moov") < top.index("mdat")


def test_no_track_states_an_average_of_no_bits_a_second(tmp_path: Path) -> None:
    """WebKit on Linux (GStreamer) then plays the first tenths of a second of picture and sound."""
    original = make_video(tmp_path / "a.mkv", replace(SMALL, audio=[Audio()]))
    output = protect(original, tmp_path / "out.mp4", Parameters(), FAST).output
    with output.open("rb") as file:
        rates = [payload_of(file, b, 12) for b in walk_boxes(file) if b.kind == "btrt"]
    assert all(int.from_bytes(rate[8:]) for rate in rates)


@pytest.mark.parametrize("out", ["out.mp4", "out.mkv"])
def test_a_chapter_that_begins_before_the_first_picture_begins_with_it(
    tmp_path: Path, out: str
) -> None:
    """Matroska takes no time below zero. Of a chapter that has ended by then nothing is left."""
    times = [(0.0, 0.06), (0.06, 0.5), (0.5, 1.0)]
    video = replace(SMALL, chapters=times, muxer={"output_ts_offset": "0.08"})
    original = make_video(tmp_path / "a.mkv", video)
    output = protect(original, tmp_path / out, Parameters(), FAST).output
    with av.open(str(output)) as container:
        chapters = container.chapters()
    found = [tuple(float(c[at] * c["time_base"]) for at in ("start", "end")) for c in chapters]
    assert found == [(0, 0.42), (0.42, 0.92)]
    assert [c["metadata"]["title"] for c in chapters] == ["Chapter 1", "Chapter 2"]
