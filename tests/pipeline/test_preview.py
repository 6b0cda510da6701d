"""A picture of one moment shows what the protected copy will show there."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from media import Audio, Video, make_video

import pipeline.moments
import pipeline.preview
from pipeline.display import Orientation, orientation
from pipeline.errors import Cancelled, InvalidParameters, OutputFailed
from pipeline.parameters import Parameters
from pipeline.planes import Planes
from pipeline.preview import Preview, preview, preview_name
from pipeline.probe import probe
from pipeline.settings import Limits, Settings
from pipeline.shown import displayed
from pipeline.sidebyside import AMPLIFICATION
from tests.pipeline.networks import torchscript

FAST = Settings(preset="ultrafast", threads=1)
GAP = 4


@dataclass(frozen=True)
class Shown:
    """A preview and the panels of its picture, without their labels."""

    found: Preview
    original: np.ndarray
    protected: np.ndarray
    difference: np.ndarray


def show(
    video: Path,
    moment: float | str,
    parameters: Parameters | None = None,
    settings: Settings = FAST,
) -> Shown:
    png = video.with_name("out.png")
    found = preview(video, png, Fraction(moment), parameters or Parameters(), settings)
    assert {p.name for p in video.parent.iterdir()} <= {video.name, "out.png", "small.pt"}
    image = cv2.imread(str(png))
    assert image is not None
    width = (image.shape[1] - 2 * GAP) // 3
    height = displayed(*frames_of(video)[0]).shape[0]
    rows = image[-height:]
    panels = (rows[:, at : at + width] for at in (0, width + GAP, 2 * (width + GAP)))
    return Shown(found, *panels)


def frames_of(video: Path) -> list[tuple[av.VideoFrame, Any]]:
    track = probe(video, Limits()).video
    with av.open(str(video)) as container:
        return [(frame, track) for frame in container.decode(video=0)]


def nearest_frame(panel: np.ndarray, video: Path) -> int:
    """Return which frame of the video the panel is most like."""
    shown = [displayed(*frame).astype(int) for frame in frames_of(video)]
    return int(np.argmin([np.abs(panel - frame).mean() for frame in shown]))


class Plain:
    """Stands where the protection is and changes nothing."""

    summary: Any = type("Summary", (), {"surrogates": (), "faces": None})

    def __init__(self, *_: object) -> None: ...

    def protect(self, original: Planes, protected: Planes) -> None:
        for source, target in zip(original, protected, strict=True):
            target[:] = source


TEN_BITS = {
    "codec": "libx265",
    "pixel_format": "yuv420p10le",
    "options": {"x265-params": "log-level=none"},
}
KINDS: dict[str, tuple[str, Video, str, int]] = {
    # name, video, moment, number of the frame shown then
    "plain": ("a.mp4", Video(frames=60, options={"g": "12"}), "1.72", 43),
    "one key frame": ("a.mkv", Video(frames=60, options={"g": "999"}), "2.0", 50),
    "first frame": ("a.mp4", Video(), "0", 0),
    "last frame": ("a.mp4", Video(), "0.99", 24),
    "turned": ("a.mp4", Video(frames=60, rotation=90), "1.2", 30),
    "wide pixels": ("a.mp4", Video(sample_aspect=Fraction(4, 3)), "0.5", 12),
    "variable rate": (
        "a.mkv",
        Video(frames=6, time_base=Fraction(1, 1000), times=[0, 40, 55, 900, 7000, 7040]),
        "5.5",
        3,
    ),
    "ten bits": ("a.mp4", Video(**TEN_BITS), "0.6", 15),
    "odd size": ("a.mp4", Video(width=321, height=241, pixel_format="yuv444p"), "0.6", 15),
    "odd and turned": (
        "a.mp4",
        Video(width=321, height=241, pixel_format="yuv444p", rotation=-90),
        "0.6",
        15,
    ),
    "late index": ("a.ts", Video(frames=110, options={"g": "40"}), "2.72", 68),
    "late start": ("a.flv", Video(frames=60, options={"g": "12"}), "2.0", 50),
    "upper field first": ("a.mp4", Video(fields="tff"), "0.6", 15),
    "padded fields": ("a.mkv", Video(height=242, codec="ffv1", fields="tff"), "0.6", 15),
    "motion JPEG": ("a.avi", Video(codec="mjpeg", pixel_format="yuvj420p"), "0.6", 15),
    "between frames": ("a.mp4", Video(), "0.63", 15),
    "rounded down": ("a.mp4", Video(rate=Fraction(30)), "0.03", 1),
}  # fmt: skip


@pytest.fixture(params=KINDS, ids=lambda name: name.replace(" ", "_"))
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str, int]:
    name, video, moment, number = KINDS[request.param]
    return make_video(tmp_path / name, video), moment, number


def test_both_halves_are_the_frame_of_the_moment_and_one_is_changed_within_the_budget(
    kind: tuple[Path, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    video, moment, number = kind

    shown = show(video, moment)

    frames = frames_of(video)
    assert np.array_equal(shown.original, displayed(*frames[number]))
    assert nearest_frame(shown.protected, video) == number
    times = [f.pts * f.time_base for f, _ in frames if f.pts is not None and f.time_base]
    assert shown.found.seconds == pytest.approx(float(times[number] - times[0]))
    change = shown.protected.astype(int) - shown.original
    assert np.array_equal(shown.difference, np.clip(128 + AMPLIFICATION * change, 0, 255))

    monkeypatch.setattr(pipeline.preview, "VideoProtector", Plain)
    plain = show(video, moment).found.measure
    assert shown.found.measure.mean > plain.mean + 0.3
    bound = 2.5 * Parameters().budget
    assert shown.found.measure.p999 <= bound + plain.p999


def test_epsilon_and_strength_show(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", Video())

    weak, strong = (
        show(video, "0.6", Parameters(epsilon=epsilon, video_strength=strength)).found.measure.mean
        for epsilon, strength in ((0.04, 1.0), (0.16, 1.5))
    )

    assert strong > 1.5 * weak


def test_the_codec_is_in_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.preview, "VideoProtector", Plain)
    video = make_video(tmp_path / "a.mp4", Video())

    fine, coarse = (
        show(video, "0.6", settings=Settings(preset="ultrafast", crf=crf)).found.measure.mean
        for crf in (8, 45)
    )

    assert coarse > 2 * fine


def test_the_decoder_takes_no_more_threads_than_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    class Noted(pipeline.moments.Reader):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            taken.append(self._threads)

    monkeypatch.setattr(pipeline.moments, "Reader", Noted)
    video = make_video(tmp_path / "a.mp4", Video())

    show(video, "0.6", settings=Settings(preset="ultrafast", threads=3))

    assert set(taken) == {3}


def test_padding_of_an_odd_size_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.preview, "VideoProtector", Plain)
    video = make_video(tmp_path / "a.mp4", Video(width=321, height=241, pixel_format="yuv444p"))

    shown = show(video, "0.6", settings=Settings(preset="ultrafast", crf=4))

    # Squeezed by a column, half of it would lie a pixel off.
    assert np.abs(shown.protected.astype(int) - shown.original).mean() < 2


def test_the_network_way_is_previewed_and_named(tmp_path: Path) -> None:
    weights = {"small": torchscript(tmp_path / "small.pt")}
    settings = Settings(surrogates=("small",), weights=weights, preset="ultrafast", device="cpu")
    video = make_video(tmp_path / "a.mp4", Video(frames=8))

    assert show(video, "0.2", settings=settings).found.surrogate == "small"


def test_the_protection_knows_how_the_picture_is_turned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faces are looked for upright."""
    ways: list[Orientation] = []

    class Told(Plain):
        def __init__(self, *words: Any) -> None:
            ways.append(words[-1])

    monkeypatch.setattr(pipeline.preview, "VideoProtector", Told)
    video = make_video(tmp_path / "a.mp4", Video(width=64, height=48, frames=8, rotation=90))

    show(video, "0.2")

    assert ways == [orientation(probe(video, Limits()).video.display_matrix)]
    assert ways != [orientation(None)]


def test_only_a_stretch_is_protected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    class Counting(Plain):
        def protect(self, original: Planes, protected: Planes) -> None:
            counted.append(1)
            super().protect(original, protected)

    monkeypatch.setattr(pipeline.preview, "VideoProtector", Counting)
    video = make_video(tmp_path / "a.mp4", Video(width=64, height=48, frames=200))

    show(video, "6")

    assert 25 <= len(counted) <= 40  # a second before, ten frames after


def test_sound_and_subtitles_are_left_alone(tmp_path: Path) -> None:
    video = make_video(
        tmp_path / "a.mp4", Video(audio=[Audio()], subtitles="mov_text", chapters=[(0, 1)])
    )

    assert show(video, "0.6").found.seconds == pytest.approx(0.6)


@pytest.mark.parametrize("name", ["a.mp4", "a.ts", "a.mkv", "a.flv"])
@pytest.mark.parametrize("moment", ["2.5", "9", "999999999"])
def test_a_moment_beyond_the_end_is_told_with_the_length(
    tmp_path: Path, name: str, moment: str
) -> None:
    video = make_video(tmp_path / name, Video(width=64, height=48, frames=60, options={"g": "12"}))

    with pytest.raises(InvalidParameters, match=r"a\.\w+ lasts 2\.4\d s: it has no moment"):
        show(video, moment)

    assert list(tmp_path.iterdir()) == [video]


def test_strip_has_nothing_to_preview(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", Video(width=64, height=48))

    with pytest.raises(InvalidParameters, match="strip leaves every picture as it is") as caught:
        show(video, "0.5", Parameters.parse({"mode": "strip"}))

    assert caught.value.field == "mode"
    assert list(tmp_path.iterdir()) == [video]


def test_a_picture_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", Video(width=64, height=48))
    png = tmp_path / "out.png"
    png.write_text("mine")

    with pytest.raises(OutputFailed, match=r"out\.png has come to be meanwhile"):
        preview(video, png, Fraction(0), Parameters(), FAST, may_replace=False)

    assert png.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [video, png]


def test_a_preview_that_is_called_off_leaves_nothing(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", Video())
    before = video.read_bytes()

    with pytest.raises(Cancelled):
        preview(
            video, tmp_path / "out.png", Fraction(0), Parameters(), FAST, cancelled=lambda: True
        )

    assert list(tmp_path.iterdir()) == [video]
    assert video.read_bytes() == before


def test_a_place_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", Video(width=64, height=48))

    with pytest.raises(OutputFailed, match="absent"):
        preview(video, tmp_path / "absent" / "out.png", Fraction(0), Parameters(), FAST)


def test_a_file_cut_short_is_previewed_as_far_as_it_goes(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", Video(frames=60, options={"g": "12"}))
    data = video.read_bytes()
    video.write_bytes(data[: len(data) * 2 // 3])

    assert show(video, "1").found.seconds == pytest.approx(1)
    with pytest.raises(InvalidParameters, match=r"a\.mkv lasts [01]\."):
        show(video, "2.2")


def test_a_long_name_is_cut() -> None:
    assert preview_name(Path("clip.mp4")) == "clip_preview.png"
    assert len(preview_name(Path("я" * 120 + ".mp4")).encode()) <= 255
