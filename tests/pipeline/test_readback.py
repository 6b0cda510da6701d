"""A finished file is compared with what was meant to be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline import readback
from pipeline.errors import Cancelled, VerificationFailed
from pipeline.measure import EQUAL_DB
from pipeline.planes import Planes, planes_of
from pipeline.readback import CopiedSound, EncodedSound, Expected, read_back

WIDTH, HEIGHT, RATE = 96, 64, 48000
BASE = Fraction(1, 12800)
TICKS = [0, 512, 1024, 2048, 2560, 5120, 5632, 6144]  # variable frame rate


def _picture(index: int, form: str = "yuv420p", height: int = HEIGHT) -> av.VideoFrame:
    frame = av.VideoFrame(WIDTH, height, form)
    rows, columns = np.mgrid[:height, :WIDTH]
    planes = planes_of(frame)
    planes.luma[:] = (40 + (rows + 2 * columns + 5 * index) % 150) * planes.level
    planes.cb[:] = 120 * planes.level
    planes.cr[:] = 130 * planes.level
    return frame


def _write(
    path: Path,
    ticks: Sequence[int] = TICKS,
    codec: str = "libx264",
    form: str = "yuv420p",
    sound: Sequence[tuple[str, int, int]] = (),
    start: int = 0,
) -> Path:
    """Write pictures at `ticks` and tracks of (codec, samples, first sample)."""
    with av.open(str(path), "w") as output:
        video: Any = output.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, form
        video.codec_context.time_base = BASE
        video.options = {"crf": "10", "bf": "2"} if codec == "libx264" else {}
        tracks: list[Any] = [
            (output.add_stream(name, rate=RATE, layout="mono"), *r) for name, *r in sound
        ]
        for index, tick in enumerate(ticks):
            frame = _picture(index, form)
            frame.pts, frame.time_base = tick + start, BASE
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        for stream, samples, first in tracks:
            for at in range(0, samples, 1024):
                length = min(1024, samples - at)
                tone = 0.3 * np.sin(np.arange(at, at + length) * 0.05)
                block = av.AudioFrame.from_ndarray(
                    tone.astype(np.float32)[np.newaxis], "fltp", "mono"
                )
                block.sample_rate, block.pts, block.time_base = RATE, first + at, Fraction(1, RATE)
                for converted in av.AudioResampler(stream.format.name).resample(block):
                    output.mux(stream.encode(converted))
            output.mux(stream.encode(None))
    return path


def _expected(ticks: Sequence[int] = TICKS, **more: Any) -> Expected:
    return replace(Expected(ticks, BASE), **more)


def _mono(samples: int, first: int = 0) -> EncodedSound:
    return EncodedSound(RATE, 1, samples, Fraction(first, RATE))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_file_as_it_was_meant_reads_back(tmp_path: Path, name: str) -> None:
    """Matroska rounds timestamps to the millisecond."""
    found = read_back(_write(tmp_path / name), _expected())

    assert found.frames == len(TICKS)
    assert found.picture is None


def test_checks_are_made_while_the_file_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards a stream's memory is another's: its time base was None, at times."""
    events: list[str] = []
    check = readback._Picture.check
    monkeypatch.setattr(readback, "open_media", lambda path: _Watched(av.open(str(path)), events))
    monkeypatch.setattr(
        readback._Picture, "check", lambda self: (events.append("checked"), check(self))
    )
    read_back(_write(tmp_path / "a.mp4"), _expected())
    assert events == ["checked", "closed"]


class _Watched:
    """An opened file that tells when it is closed."""

    def __init__(self, container: Any, events: list[str]) -> None:
        self._container, self._events = container, events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self._events.append("closed")
        self._container.close()


def test_only_distances_from_the_first_frame_count(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", start=640)

    assert read_back(path, _expected([t + 99 for t in TICKS])).frames == len(TICKS)


def test_sampled_frames_are_measured_against_their_originals(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mkv", codec="ffv1")  # lossless
    originals = {index: planes_of(_picture(index)).copy() for index in (0, 3, 7)}
    shifted = originals[3]
    originals[3] = Planes(shifted.luma + 4, shifted.cb, shifted.cr, 8)

    found = read_back(path, _expected(samples=originals)).picture

    assert found is not None
    assert found.frames == 3
    assert found.largest == 4
    assert found.rms[0] == pytest.approx((16 / 3) ** 0.5)
    assert found.worst_psnr_db < found.psnr_db < EQUAL_DB


def test_ten_bit_frames_are_measured_at_eight_bit_levels(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mkv", codec="ffv1", form="yuv420p10le")
    original = planes_of(_picture(2, "yuv420p10le")).copy()
    original.luma[:] += 2

    found = read_back(path, _expected(samples={2: original})).picture

    assert found is not None
    assert found.largest == 0.5


def test_a_missing_frame_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", TICKS[:-1])

    with pytest.raises(VerificationFailed, match=r"a\.mp4 has 7 frames instead of 8"):
        read_back(path, _expected())


def test_a_frame_too_many_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", [*TICKS, 7000])

    with pytest.raises(VerificationFailed, match="9 frames instead of 8"):
        read_back(path, _expected())


def test_a_second_picture_is_told(tmp_path: Path) -> None:
    with av.open(_write(tmp_path / "a.mp4")) as source, av.open(tmp_path / "b.mkv", "w") as output:
        track = source.streams.video[0]
        for copy in [output.add_stream_from_template(track) for _ in range(2)]:
            source.seek(0)
            for packet in source.demux(track):
                if packet.size:
                    packet.stream = copy
                    output.mux(packet)
    with pytest.raises(VerificationFailed, match="2 video streams instead of one"):
        read_back(tmp_path / "b.mkv", _expected())


def test_a_shifted_timestamp_is_told_with_its_frame(tmp_path: Path) -> None:
    ticks = list(TICKS)
    ticks[4] += 20  # 1.6 ms

    with pytest.raises(
        VerificationFailed, match=r"frame 4 is shown at 0\.2016 s instead of 0\.2000"
    ):
        read_back(_write(tmp_path / "a.mp4", ticks), _expected())


def test_a_frame_that_is_shown_too_early_is_told(tmp_path: Path) -> None:
    ticks = list(TICKS)
    ticks[4] -= 20  # 1.6 ms

    with pytest.raises(
        VerificationFailed, match=r"frame 4 is shown at 0\.1984 s instead of 0\.2000"
    ):
        read_back(_write(tmp_path / "a.mp4", ticks), _expected())


def test_a_clock_of_longer_ticks_allows_one_of_them(tmp_path: Path) -> None:
    """As AVI's, which counts frames: nothing finer was ever stated."""
    path = _write(tmp_path / "a.mp4", [0, 512, 1024])
    for off, is_right in ((0, True), (1, True), (-1, True), (2, False), (-2, False)):
        expected = Expected([0, 4, 8 + off], Fraction(1, 100))
        if is_right:
            assert read_back(path, expected).frames == 3
        else:
            with pytest.raises(VerificationFailed, match="frame 2 is shown at"):
                read_back(path, expected)


def test_a_timestamp_off_by_less_than_a_millisecond_is_right(tmp_path: Path) -> None:
    ticks = list(TICKS)
    ticks[4] += 12  # 0.94 ms

    assert read_back(_write(tmp_path / "a.mp4", ticks), _expected()).frames == 8


def test_frames_of_another_size_than_their_originals_are_told(tmp_path: Path) -> None:
    sample = planes_of(_picture(0, height=HEIGHT - 2)).copy()

    with pytest.raises(VerificationFailed, match="frame 0 is not comparable: .*sizes"):
        read_back(_write(tmp_path / "a.mp4"), _expected(samples={0: sample}))


def test_sound_of_the_right_length_and_start_reads_back(tmp_path: Path) -> None:
    sound = [("aac", 20_000, 0), ("aac", 9_000, 4_800)]

    for name in ("a.mp4", "a.mkv"):
        path = _write(tmp_path / name, sound=sound)
        expected = _expected(sound=[_mono(20_000), _mono(9_000, 4_800)])

        assert read_back(path, expected).frames == 8


def test_sound_is_placed_by_where_the_picture_begins(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", sound=[("aac", 20_000, 9_600)], start=2560)  # 0.2 s both

    assert read_back(path, _expected(sound=[_mono(20_000)])).frames == 8
    with pytest.raises(VerificationFailed, match="sound track 1 lasts from"):
        read_back(path, _expected(sound=[_mono(20_000, 9_600)]))


def test_pcm_reads_back(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mov", sound=[("pcm_s16le", 20_000, 0)])

    assert read_back(path, _expected(sound=[_mono(20_000)])).frames == 8


def test_a_dropped_track_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", sound=[("aac", 20_000, 0)])

    with pytest.raises(VerificationFailed, match="1 tracks of sound instead of 2"):
        read_back(path, _expected(sound=[_mono(20_000), _mono(20_000)]))


def test_a_track_too_many_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mkv", sound=[("aac", RATE, 0)])
    with pytest.raises(VerificationFailed, match="1 tracks of sound instead of 0"):
        read_back(path, _expected())


def test_sound_cut_short_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", sound=[("aac", 20_000, 0)])

    with pytest.raises(
        VerificationFailed,
        match=r"sound track 1 lasts from 0\.000 to 0\.4\d+ s instead of 0\.000 to 0\.625",
    ):
        read_back(path, _expected(sound=[_mono(30_000)]))


def test_sound_too_long_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", sound=[("aac", 20_000, 0)])

    with pytest.raises(VerificationFailed, match=r"instead of 0\.000 to 0\.312 s"):
        read_back(path, _expected(sound=[_mono(15_000)]))


def test_sound_shifted_by_one_codec_frame_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", sound=[("aac", 20_000, 1024)])

    with pytest.raises(VerificationFailed, match="sound track 1 lasts from"):
        read_back(path, _expected(sound=[_mono(20_000)]))
    with pytest.raises(VerificationFailed, match="sound track 1 lasts from"):
        read_back(path, _expected(sound=[_mono(20_000, 2 * 1024)]))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_track_into_which_nothing_was_written_may_be_missing(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / name, sound=[("aac", 20_000, 0), ("aac", 0, 0)])

    assert read_back(path, _expected(sound=[_mono(20_000), _mono(0)])).frames == 8
    with pytest.raises(VerificationFailed, match="sound"):
        read_back(path, _expected(sound=[_mono(20_000), _mono(20_000)]))


def test_another_sample_rate_or_number_of_channels_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4", sound=[("aac", 20_000, 0)])

    with pytest.raises(VerificationFailed, match="48000 Hz and 1 channels instead of 44100 Hz"):
        read_back(path, _expected(sound=[EncodedSound(44100, 1, 20_000, Fraction(0))]))
    with pytest.raises(VerificationFailed, match="1 channels instead of 48000 Hz and 2 channels"):
        read_back(path, _expected(sound=[EncodedSound(RATE, 2, 20_000, Fraction(0))]))


def test_a_copied_track_is_compared_by_its_length_and_start(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mov", sound=[("pcm_s16le", 24_000, 4_800)])
    copied = CopiedSound(Fraction(1, 2), Fraction(1, 10))

    assert read_back(path, _expected(sound=[copied])).frames == 8
    with pytest.raises(VerificationFailed, match="sound track 1 lasts 0.500 s instead of 1.000 s"):
        read_back(path, _expected(sound=[replace(copied, seconds=Fraction(1))]))
    with pytest.raises(VerificationFailed, match=r"begins \+0\.100 s from the picture"):
        read_back(path, _expected(sound=[replace(copied, start=Fraction(0))]))


def _damaged(path: Path, share: float) -> Path:
    """Overwrite the picture's data from `share` of its way on; the index stays."""
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    at = start + int((end - start) * share)
    data[at : at + 200] = bytes(np.random.default_rng(0).integers(0, 256, 200, np.uint8))
    path.write_bytes(data)
    return path


def test_damaged_data_is_told_whether_the_decoder_hides_it_or_gives_up(tmp_path: Path) -> None:
    ticks = list(range(0, 25 * 512, 512))
    messages = []
    for share in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        path = _damaged(_write(tmp_path / "a.mp4", ticks), share)
        with pytest.raises(VerificationFailed, match=r"a\.mp4: .*frame \d+") as failure:
            read_back(path, _expected(ticks))
        messages.append(str(failure.value))

    assert any("is damaged" in message for message in messages)
    assert any("cannot be decoded" in message for message in messages)


def test_a_file_without_its_index_is_told(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:-400])

    with pytest.raises(VerificationFailed, match=r"a\.mp4 cannot be opened"):
        read_back(path, _expected())


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(VerificationFailed, match=r"gone\.mp4 cannot be opened"):
        read_back(tmp_path / "gone.mp4", _expected())


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(readback, "open_media", refuse)
    with pytest.raises(VerificationFailed, match=r"a\.mp4 cannot be opened .*Input/output"):
        read_back(tmp_path / "a.mp4", _expected())


def test_a_message_calls_the_file_by_the_name_given(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.mp4", TICKS[:-1])

    with pytest.raises(VerificationFailed, match=r"^holiday\.mp4 has 7 frames"):
        read_back(path, _expected(), name="holiday.mp4")


def test_reading_back_stops_when_cancelled(tmp_path: Path) -> None:
    seen: list[int] = []

    with pytest.raises(Cancelled):
        read_back(
            _write(tmp_path / "a.mp4", range(0, 100 * 512, 512)),
            _expected(),
            progress=seen.append,
            cancelled=lambda: len(seen) >= 5,
        )

    assert 5 <= len(seen) < 100


def test_progress_counts_the_frames(tmp_path: Path) -> None:
    seen: list[int] = []

    read_back(_write(tmp_path / "a.mp4"), _expected(), progress=seen.append)

    assert seen == list(range(1, 9))
