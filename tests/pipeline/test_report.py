"""What was done to one video, as JSON and in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.parameters import Mode
from pipeline.report import FaceReport, Report, TrackReport, aligned, face_rows, plain, size_words


def _report(**changes: Any) -> Report:
    values: dict[str, Any] = {
        "mode": Mode.PROTECT,
        "container": "mp4",
        "video_codec": "h264",
        "original_bytes": 1000,
        "protected_bytes": 1250,
        "seconds": 4.0,
        "cpu_seconds": 7.5,
        "surrogate": "embedded",
        "device": "cpu",
        "frames": 100,
        "anchors": 10,
        "cuts": 1,
        "psnr_db": 38.123456,
        "ssim": 0.95,
        "largest_change": 21.0,
        "mean_change": 1.5,
        "p999_change": 14.0,
        "audio": (
            TrackReport(1, "aac", 48000, 2, "masked", nmr_db=-3.0, snr_db=19.0),
            TrackReport(2, "aac", 48000, 1, "masked", nmr_db=-1.0, snr_db=22.0),
            TrackReport(3, "opus", 48000, 2, "copied"),
        ),
        "metadata_removed": ("GPS position", "device"),
    }
    return Report(**{**values, **changes})


def _strip() -> Report:
    return Report(
        mode=Mode.STRIP,
        container="mp4",
        video_codec="h264",
        original_bytes=1000,
        protected_bytes=990,
        seconds=0.1,
        cpu_seconds=0.1,
    )


def test_a_report_is_json() -> None:
    values = _report().as_dict()

    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_ratio_speed_and_the_worst_track_follow_from_the_rest() -> None:
    values = _report().as_dict()

    assert values["size_ratio"] == 1.25
    assert values["frames_per_second"] == 25
    assert values["audio_nmr_db"] == -1.0
    assert values["audio_snr_db"] == 19.0


_ONLY_WHEN_PROTECTED = (
    "surrogate",
    "device",
    "anchors",
    "cuts",
    "psnr_db",
    "ssim",
    "largest_change",
    "mean_change",
    "p999_change",
    "top1_changed",
    "audio_nmr_db",
    "audio_snr_db",
)


def test_what_does_not_apply_is_null() -> None:
    values = _strip().as_dict()

    for name in _ONLY_WHEN_PROTECTED:
        assert values[name] is None
    assert values["mode"] == "strip"
    assert values["audio"] == []


def test_every_report_has_the_same_keys_in_the_same_order() -> None:
    assert list(_report().as_dict()) == list(_strip().as_dict())


def test_no_field_is_forgotten_in_the_answer() -> None:
    fields = {name for name in Report.__dataclass_fields__}

    assert fields < set(_report().as_dict())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_becomes_null(value: float) -> None:
    assert _report(psnr_db=value).as_dict()["psnr_db"] is None


def test_numbers_are_rounded() -> None:
    assert _report().as_dict()["psnr_db"] == 38.1235


def test_an_empty_original_has_no_size_ratio() -> None:
    assert _report(original_bytes=0).as_dict()["size_ratio"] is None


@pytest.mark.parametrize(
    ("faces", "rows"),
    [
        (None, []),
        (FaceReport(("a.pt",), 0, None), [("faces", "0 changed, by a.pt")]),
        (
            FaceReport(("a.pt", "b.onnx"), 7, 0.456),
            [("faces", "7 changed, cosine similarity 0.46, by a.pt, b.onnx")],
        ),
    ],
)
def test_faces_have_a_row_where_their_networks_are_named(
    faces: FaceReport | None, rows: list[tuple[str, str]]
) -> None:
    assert list(face_rows(faces)) == rows
    told = [line for line in _report(faces=faces).lines() if line.startswith("faces ")]
    assert [line.removeprefix("faces").strip() for line in told] == [words for _, words in rows]


def test_a_likeness_that_is_no_number_becomes_null() -> None:
    values = _report(faces=FaceReport(("a.pt",), 1, float("nan"))).as_dict()
    assert values["faces"] == {"embedders": ["a.pt"], "found": 1, "similarity": None}


def test_tracks_keep_their_own_numbers() -> None:
    first, _, third = _report().as_dict()["audio"]

    assert first == {
        "track": 1,
        "codec": "aac",
        "sample_rate": 48000,
        "channels": 2,
        "treatment": "masked",
        "nmr_db": -3.0,
        "snr_db": 19.0,
        "speech_share": None,
        "recognisers": [],
    }
    assert third["treatment"] == "copied"


def test_lines_stand_in_columns_and_tell_the_measures() -> None:
    lines = _report(notes=("The alpha channel was not kept.",), top1_changed=0.4).lines()

    assert "PSNR 38.12 dB, SSIM 0.9500" in "\n".join(lines)
    assert "sound 2     masked (aac, 48000 Hz, mono), NMR -1.0 dB, SNR 22.0 dB" in lines
    assert "removed     GPS position, device" in lines
    assert "note        The alpha channel was not kept." in lines
    assert "audit       clean" in lines
    assert all(line[10:12] == "  " and line[12] != " " for line in lines)


def test_lines_of_a_stripped_video_leave_out_what_was_not_measured() -> None:
    text = "\n".join(_strip().lines())

    assert "PSNR" not in text
    assert "None" not in text
    assert "nan" not in text


def test_findings_of_the_audit_are_told() -> None:
    assert (
        "audit       encoder string in moov/udta"
        in _report(audit=("encoder string in moov/udta",), top1_changed=0.0).lines()
    )


def test_columns_are_as_wide_as_the_longest_label() -> None:
    assert aligned([("a", "1"), ("long", "2")]) == ["a     1", "long  2"]
    assert aligned([]) == []


def test_sizes_are_told_in_fitting_units() -> None:
    assert size_words(900, 1800) == "900 B -> 1.8 kB (2.00 times)"
    assert size_words(2_500_000, 3_000_000_000) == "2.5 MB -> 3.0 GB (1200.00 times)"
    assert size_words(0, 10) == "0 B -> 10 B"


def test_nested_values_become_plain() -> None:
    assert plain({"a": (1, Mode.STRIP, (0.123456,))}) == {"a": [1, "strip", [0.1235]]}
