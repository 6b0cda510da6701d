"""What `verify` tells of how much is seen, with the package for it and without."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import Video, make_video

import pipeline.jod
from pipeline.jod import MOST_FRAMES, NoJod, Stills, load_metric
from pipeline.media import VideoTrack
from pipeline.pairing import common_planes
from pipeline.parameters import Parameters
from pipeline.probe import probe
from pipeline.protect import protect
from pipeline.settings import Limits, Settings
from pipeline.verify import compare

SMALL = Video(width=96, height=64, frames=12)


@pytest.fixture
def metric() -> None:
    # Not `importorskip`: beside a CPU build of torch the import needs mending first.
    try:
        load_metric()
    except NoJod as reason:
        pytest.skip(f"the extra `quality` is not installed: {reason}")


@pytest.fixture
def no_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.jod, "_MODULE", "no_such_module")


def track_of(path: Path) -> VideoTrack:
    return probe(path, Limits()).video


def kept(path: Path, track: VideoTrack | None = None, pairs: int = 1) -> list[Any]:
    """Return the pictures that are kept of the video's first frame against itself."""
    track = track or track_of(path)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    stills = Stills((track, track), pairs)
    for number in range(pairs):
        stills.offer(number, (frame, frame), common_planes(frame, frame, (track, track)))
    return stills._kept


@pytest.mark.usefixtures("no_metric")
def test_without_the_package_it_is_null_and_the_text_says_how_to_get_it(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", SMALL)

    found = compare(path, path)

    assert found.as_dict()["jod"] is None
    told = "JOD        not measured: pip install 'media-cleaner[quality]' adds it"
    assert told in found.lines()


def test_a_package_that_cannot_be_imported_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_metric.py").write_text("raise ImportError('no part of it')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pipeline.jod, "_MODULE", "broken_metric")

    with pytest.raises(NoJod, match=r"cvvdp cannot be imported \(.*\)"):
        load_metric()


def test_a_few_pictures_are_kept_spread_over_the_video(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", replace(SMALL, frames=1))

    assert len(kept(path, pairs=30)) == MOST_FRAMES
    assert len(kept(path, pairs=3)) == 3


@pytest.mark.parametrize(
    ("video", "shape"),
    [
        (SMALL, (64, 96, 3)),
        (Video(width=1280, height=720, frames=1), (540, 960, 3)),
        (Video(width=720, height=1280, frames=1), (540, 304, 3)),
        (Video(width=1280, height=720, frames=1, rotation=90), (540, 304, 3)),
        (replace(SMALL, sample_aspect=Fraction(4, 3)), (64, 128, 3)),
        (replace(SMALL, sample_aspect=Fraction(4, 3), rotation=90), (128, 64, 3)),
    ],
)
def test_pictures_are_as_shown_and_at_most_540_lines(
    tmp_path: Path, video: Video, shape: tuple[int, int, int]
) -> None:
    original, protected = kept(make_video(tmp_path / "a.mp4", video))[0]

    assert original.shape == protected.shape == shape


def test_colours_are_those_of_the_picture(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", replace(SMALL, options={"qp": "0"}))

    with av.open(str(path)) as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)

    assert np.abs(kept(path)[0][0] - shown).mean() < 1


def test_hdr_is_not_measured_on_a_screen_that_has_none(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", SMALL)
    track = track_of(path)
    hdr = replace(track, colour=replace(track.colour, transfer=16))

    with pytest.raises(NoJod, match="HDR"):
        Stills((hdr, hdr), 1).jod()
    assert kept(path, hdr) == []


@pytest.mark.usefixtures("metric")
def test_equal_videos_are_at_ten(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", SMALL)

    found = compare(path, path)

    assert found.as_dict()["jod"] == {"mean": 10.0, "worst": 10.0, "frames": MOST_FRAMES}
    assert "JOD        10.00, worst frame 10.00 (6 frames as still pictures)" in found.lines()


@pytest.mark.usefixtures("metric")
@pytest.mark.parametrize(
    "video",
    [
        Video(width=160, height=120, frames=6, rotation=90),
        Video(width=161, height=121, frames=6, pixel_format="yuv444p"),
    ],
)
def test_what_changes_more_is_further_from_ten(tmp_path: Path, video: Video) -> None:
    original = make_video(tmp_path / "a.mp4", video)
    jods = []
    for epsilon in (0.04, 0.20):
        settings, parameters = Settings(preset="ultrafast", crf=12), Parameters(epsilon=epsilon)
        out = protect(original, tmp_path / f"{epsilon}.mp4", parameters, settings).output
        jods.append(compare(original, out).jod)

    weak, strong = jods
    assert weak is not None
    assert strong is not None
    assert 10 > weak.mean > strong.mean + 0.2
    assert weak.worst <= weak.mean
    assert strong.frames == MOST_FRAMES


@pytest.mark.usefixtures("metric")
def test_pictures_too_narrow_for_the_metric_are_measured(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", Video(width=2, height=1200, frames=2))

    jod = compare(path, path).jod

    assert jod is not None
    assert jod.mean == 10
