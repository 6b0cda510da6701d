"""A comparison as people read it, and the one number of several tracks."""

from __future__ import annotations

from dataclasses import replace

from pipeline.comparison import Comparison, TrackComparison, VideoFacts
from pipeline.jod import JodMeasure
from pipeline.measure import PictureMeasure

ORIGINAL = VideoFacts("a.mov", "mov", "h264", "yuv420p", 64, 48, 250, 10.0, 2_000_000)
TRACK = TrackComparison(1, "aac", "aac", 48000, 2, 10.0, 0.0, 21.5, -3.25)
FOUND = Comparison(
    original=ORIGINAL,
    protected=replace(ORIGINAL, name="b.mp4", container="mp4", size_bytes=3_000_000),
    alignment="index",
    picture=PictureMeasure(30, 38.5, 36.25, 0.975, 0.95, 17.0, 1.5, (2.0, 1.0, 1.0), 9.0),
    jod=None,
    why_no_jod="cvvdp is missing",
    most_changed_seconds=4.2,
    largest_shift_ms=0.0,
    audio=(TRACK, replace(TRACK, track=2, snr_db=None, nmr_db=1.5), replace(TRACK, snr_db=30.0)),
    metadata_left=(),
    notes=("The first.", "The second."),
)


def rows(found: Comparison) -> list[tuple[str, str]]:
    return [(line[:10].strip(), line[10:].strip()) for line in found.lines()]


def test_people_are_told_all_that_was_measured() -> None:
    told = rows(FOUND)
    assert [name for name, _ in told] == [
        *("original", "protected", "size", "measured", "PSNR", "SSIM", "JOD", "change"),
        *("most at", "sound 1", "sound 2", "sound 1", "metadata", "note", "note"),
    ]
    words = dict(told)
    assert words["protected"] == "b.mp4: 250 frames, 10.00 s, 64x48 yuv420p, h264 in mp4"
    assert words["size"].endswith("(1.50 times)")
    assert words["measured"] == "30 frames, matched by number"
    assert words["PSNR"] == "38.50 dB, worst frame 36.25 dB"
    assert words["SSIM"] == "0.9750, worst frame 0.9500"
    assert words["JOD"] == "not measured: cvvdp is missing"
    assert words["change"] == "mean 1.50, 99.9 % within 9.0, largest 17.0 of 255 levels"
    assert words["most at"] == "4.20 s"
    assert words["sound 2"] == "SNR -, NMR 1.5 dB (aac -> aac, 48000 Hz, stereo)"
    assert words["metadata"] == "none left"
    assert [text for name, text in told if name == "note"] == list(FOUND.notes)


def test_what_is_left_and_how_it_was_matched_is_told() -> None:
    jod = JodMeasure(9.5, 9.25, 4)
    words = dict(rows(replace(FOUND, alignment="time", metadata_left=("x", "y"), jod=jod)))
    assert words["measured"].endswith("matched by time")
    assert words["metadata"] == "x; y"
    assert words["JOD"] == "9.50, worst frame 9.25 (4 frames as still pictures)"


def test_of_several_tracks_the_worst_is_told() -> None:
    values = FOUND.as_dict()
    assert (values["audio_nmr_db"], values["audio_snr_db"]) == (1.5, 21.5)
    silent = replace(FOUND, audio=()).as_dict()
    assert (silent["audio_nmr_db"], silent["audio_snr_db"]) == (None, None)
    assert values["size_ratio"] == 1.5
