"""The arithmetic of benchmarks/strength; real clips and recognisers are not needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch

from pipeline.parameters import AudioLevel, Parameters
from pipeline.planes import Planes
from pipeline.settings import FaceSettings, Settings
from pipeline.video import VideoProtector
from tests.face_files import landmarks_of, mark, recogniser, torchscript, yunet
from tests.media import Video, make_video
from tests.pipeline.voices import voice

FOLDER = Path(__file__).parents[1] / "benchmarks" / "strength"


@pytest.fixture(autouse=True)
def _benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)


def _judges() -> Any:
    return import_module("judges")


def test_only_frames_that_the_network_was_sure_of_count() -> None:
    before = np.array([[0.8, 0.1, 0.1], [0.1, 0.6, 0.3], [0.29, 0.28, 0.27]])
    after = np.array([[0.2, 0.7, 0.1], [0.1, 0.5, 0.4], [0.1, 0.8, 0.1]])
    found = _judges().class_changes(before, after)
    assert found["sure"] == 2
    assert found["changed"] == 0.5
    assert found["drop"] == pytest.approx(0.5)  # 0.8 + 0.6 became 0.2 + 0.5
    assert found["drop_points"] == pytest.approx(0.35)
    assert found["changed_any"] == pytest.approx(2 / 3)


def test_where_no_frame_was_sure_nothing_is_said_of_sure_ones() -> None:
    unsure = np.full((2, 10), 0.1)
    assert _judges().class_changes(unsure, unsure) == {"changed_any": 0.0}


def test_a_face_is_unmatched_only_if_it_had_a_match_in_another_frame() -> None:
    person, other, stranger = np.eye(3)
    near = np.array([0.9, 0.1, 0.42]) / np.linalg.norm([0.9, 0.1, 0.42])
    before = [np.array([person]), np.array([near]), np.array([other])]
    after = [np.array([stranger]), np.array([near]), np.array([stranger])]
    found = _judges().face_changes(before, after, threshold=0.5)
    assert found["matched"] == 2  # `other` is like nobody in the other frames
    assert found["unmatched"] == 0.5
    assert found["distance"] == pytest.approx(2 / 3)


def test_the_interval_holds_the_mean_and_is_the_same_each_time() -> None:
    records = import_module("records")
    clips = [records.ClipValue(value) for value in (1.0, 2.0, 3.0, 6.0)]
    mean = records.bootstrap(clips)
    assert mean.low < mean.value == 3.0 < mean.high
    assert (mean.least, mean.greatest, mean.count) == (1.0, 6.0, 4)
    assert records.bootstrap(clips) == mean


def test_sure_frames_weigh_the_same_whichever_clip_they_are_of() -> None:
    records, tables = import_module("records"), import_module("tables")

    def measured(clip: str, measure: str, value: float) -> Any:
        return records.Record(
            "still", clip, "reported", "protect", "0.12", "mobilenet-v2", measure, value, 0.0
        )

    rows = [measured("a", "changed", 1.0), measured("a", "sure", 1)]
    rows += [measured("b", "changed", 0.0), measured("b", "sure", 3)]
    assert "| still 0.12 | ch MN2 | ≥ 43 | 25 [" in tables.tables(rows)


def test_measures_are_read_as_they_were_written(tmp_path: Path) -> None:
    records = import_module("records")
    rows = [
        records.Record("still", "a", "tuning", "protect", "0.12", "file", "size", 1.25, 1.0),
        records.Record("clip", "a", "tuning", "protect", "0.12", "cvvdp", "flicker", -0.5),
    ]
    records.write_csv(rows, tmp_path / "measures.csv")
    assert str(records.read_csv(tmp_path / "measures.csv")) == str(rows)


def test_flat_blocks_alone_count_as_flat() -> None:
    frames, visibility = import_module("frames"), import_module("visibility")
    old = np.full((1, 16, 16), 100, np.uint8)
    old[0, 8:, :] = np.random.default_rng(0).integers(0, 255, (8, 16))
    new = old.copy()
    new[0, :8, :] += 2
    new[0, 8:, :] = 0
    pair = [frames.Frames(np.zeros((1, 16, 16, 3), np.uint8), y, 25.0, 0) for y in (old, new)]
    assert visibility.flat_rms(*pair) == pytest.approx(2.0)


@pytest.mark.parametrize("name", ["sign noise", "coarse noise", "one Gabor", "bare stripes"])
def test_a_baseline_reaches_the_nominal_budget_and_no_more(name: str) -> None:
    baselines, variants = import_module("baselines"), import_module("variants")
    rng = np.random.default_rng(0)
    luma = rng.integers(60, 180, (72, 700), dtype=np.uint8)  # wider than a carrier, when scaled
    chroma = np.full((36, 350), 128, np.uint8)
    original = Planes(luma, chroma, chroma, 8)
    protected = original.copy()
    held = baselines.HeldPattern(variants._PATTERNS[name], Parameters(), 1)
    held.protect(original, protected)
    change = protected.luma.astype(int) - luma
    assert abs(change).max() == 7
    assert np.array_equal(protected.cb, chroma)


def test_a_baseline_is_held_until_the_next_anchor() -> None:
    baselines = import_module("baselines")
    plane = np.full((16, 16), 128, np.uint8)
    original = Planes(plane, plane[:8, :8], plane[:8, :8], 8)
    held = baselines.HeldPattern(baselines.sign_noise, Parameters(every_n_frames=2), 1)
    frames = [original.copy() for _ in range(3)]
    for frame in frames:
        held.protect(original, frame)
    assert np.array_equal(frames[0].luma, frames[1].luma)
    assert not np.array_equal(frames[0].luma, frames[2].luma)


def test_the_control_changes_nothing() -> None:
    plane = torch.randint(0, 255, (16, 16), dtype=torch.uint8).numpy()
    original = Planes(plane, plane[:8, :8], plane[:8, :8], 8)
    written = Planes(
        np.zeros_like(plane), np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8), 8
    )
    import_module("baselines").Plain().protect(original, written)
    assert all(np.array_equal(a, b) for a, b in zip(original, written, strict=True))


def test_the_table_is_net_of_the_control_and_says_what_is_not_reached() -> None:
    records, tables = import_module("records"), import_module("tables")
    rows = [
        records.Record("still", clip, "reported", "protect", "0.12", judge, measure, *values)
        for clip in ("a", "b")
        for judge, measure, values in (
            ("efficientnet-lite0", "changed", (0.6, 0.1)),
            ("efficientnet-lite1", "changed", (0.5, 0.2)),
            ("cvvdp", "net_jod", (9.1,)),
        )
    ]
    text = tables.tables(rows)
    assert "| still 0.12 | ch EL | ≥ 43 | 40 [40, 40] n2: **not reached** |" in text
    assert "| still 0.12 | net JOD | ≥ 9.4 | 9.10 [9.10, 9.10] n2: **not reached** |" in text


def _sound(levels: list[float], rate: int = 8000) -> Any:
    """Noise of 100 ms at each level."""
    noise = np.random.default_rng(0).normal(0, 1, (2, len(levels) * rate // 10))
    return (noise * np.repeat(levels, rate // 10)).astype(np.float32)


def test_onsets_are_where_sound_sets_in_and_not_where_it_ends_or_is_faint() -> None:
    onsets = import_module("onsets")
    original = _sound([0.001, 0.2, 0.1, 0.0, 0.3, 0.00001, 0.001, 0.3])
    assert onsets.onsets(original, 8000) == [800, 3200, 5600]
    assert onsets.before_onsets(_sound([0.1, 0.1]), _sound([0.1, 0.1]), 8000) is None


def test_a_change_before_an_onset_is_told_against_what_was_there() -> None:
    onsets = import_module("onsets")
    original = _sound([0.01, 0.3, 0.01, 0.3])
    changed = original.copy()
    assert onsets.before_onsets(original, changed, 8000) == onsets.BeforeOnsets(-60, -60, 2)

    changed[:, 800:1000] *= 1.5  # the onset itself does not count
    changed[:, 2400 - 160 : 2400] *= 1.1
    found = onsets.before_onsets(original, changed, 8000)
    assert found.worst_db == pytest.approx(-20)
    assert found.mean_db == pytest.approx(-23, abs=1)  # the other half has no change


def test_a_change_where_there_was_nothing_before_an_onset_is_the_greatest() -> None:
    onsets = import_module("onsets")
    original = _sound([0.0, 0.3])
    changed = original.copy()
    changed[0, 799] = 1e-6
    assert onsets.before_onsets(original, changed, 8000).worst_db == 60


def test_silence_is_runs_of_zeros_on_all_channels() -> None:
    onsets = import_module("onsets")
    original = onsets.with_pause(_sound([0.1, 0.1]), 8000)
    original[:, 100] = 0  # a zero alone is no silence
    changed = original.copy()
    changed[:, :200] += 0.1
    assert onsets.silence_changed(original, changed, 8000) == 0
    changed[1, 900:903] = 1e-7
    assert onsets.silence_changed(original, changed, 8000) == 3 / 2400
    assert onsets.silence_changed(_sound([0.1]), _sound([0.1]), 8000) is None


@pytest.mark.parametrize("level", [AudioLevel.WEAK, AudioLevel.MEDIUM, AudioLevel.STRONG])
def test_speech_is_masked_without_a_change_before_onsets_or_in_silence(level: AudioLevel) -> None:
    onsets, variants = import_module("onsets"), import_module("variants")
    speech = onsets.with_pause(voice(4.0, 16_000), 16_000)
    changed = variants.masked(speech, 16_000, level)
    assert changed.shape == speech.shape
    assert not np.array_equal(changed, speech)
    assert onsets.before_onsets(speech, changed, 16_000).worst_db < 0
    assert onsets.silence_changed(speech, changed, 16_000) == 0


def test_a_frame_is_held_for_the_metric_without_being_mixed_with_another() -> None:
    frames, visibility = import_module("frames"), import_module("visibility")
    luma = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    three = frames.Frames(np.repeat(luma[..., None], 3, axis=3), luma, 25.0, 0)
    held = visibility._held(three, 1)
    assert len(held) == 12
    assert held.rate == 25.0
    assert (held.rgb == 1).all()


def test_true_flicker_is_motion_less_the_same_frames_held() -> None:
    picture = import_module("picture")
    plain = {
        ("cvvdp", "stills"): [9.9, 9.9],
        ("cvvdp", "video"): 9.8,
        ("cvvdp", "held"): [9.8, 9.7],
    }
    found = {
        ("cvvdp", "stills"): [9.5, 9.3],
        ("cvvdp", "video"): 8.9,
        ("cvvdp", "held"): [9.1, 9.0],
    }
    net = picture._net_visibility(found, plain)
    assert net["cvvdp", "flicker"] == pytest.approx(9.1 - 9.5)
    assert net["cvvdp", "net_jod_held"] == pytest.approx(9.3)
    assert net["cvvdp", "true_flicker"] == pytest.approx(9.1 - 9.3)
    del plain["cvvdp", "held"]
    assert ("cvvdp", "true_flicker") not in picture._net_visibility(found, plain)


def test_the_bars_of_quiet_hold_every_stretch() -> None:
    records, tables = import_module("records"), import_module("tables")
    rows = [
        records.Record("sound", clip, "reported", "protect", "weak", "sound", measure, value)
        for clip, worst, changed in (("a", -3.2, 0.0), ("b", 1.5, 1e-6))
        for measure, value in (("before_onsets_worst_db", worst), ("silence_changed", changed))
    ]
    text = tables.tables(rows)
    assert "| sound weak | worst onset dB, worst clip | ≤ 0 | 1.5: **not reached** |" in text
    assert "| sound weak | silence changed %, worst clip | ≤ 0 | 0.000: **not reached** |" in text


def test_the_square_about_a_face_ends_where_the_frame_does() -> None:
    faces = import_module("faces")
    boxes = np.array([[40.0, 30, 60, 70, 0.9], [0, 0, 20, 10, 0.9], [90, 90, 100, 100, 0.9]])
    assert faces.surroundings(boxes, 95, 100) == [
        (slice(24, 76), slice(24, 76)),  # 1.3 times 40
        (slice(0, 18), slice(0, 23)),
        (slice(88, 95), slice(88, 100)),
    ]


def test_a_face_is_seen_at_the_size_that_it_has_in_its_frame() -> None:
    frames, visibility = import_module("frames"), import_module("visibility")
    degrees = []

    class Metric:
        def __init__(self, display_geometry: float, **_: object) -> None:
            degrees.append(display_geometry)

        def predict(self, new: Any, old: Any, dim_order: str) -> tuple[float, None]:
            assert dim_order == "HWC"
            return 10 - abs(new.astype(float) - old).mean(), None

    jod = object.__new__(visibility.Jod)
    jod._metrics = {}
    jod._package = SimpleNamespace(cvvdp=Metric, vvdp_display_geometry=lambda size, ppd: ppd)
    old = np.zeros((2, 540, 100, 3), np.uint8)
    new = old.copy()
    new[1, 30:50, 40:60] = 3
    pair = [frames.Frames(rgb, rgb[..., 0], 25.0, 0) for rgb in (old, new)]
    part = (slice(30, 50), slice(40, 60))
    assert jod.of_places(*pair, [[part], [part, (slice(0, 20), slice(0, 20))]]) == [10, 7, 10]
    assert jod.of_pictures(*pair)[0] == 10
    assert degrees == pytest.approx([37.8 / 2] * 2)  # of the part, and of the whole


def test_frames_are_spread_from_the_first_to_the_last() -> None:
    frames = import_module("frames")
    assert frames.spread(range(10, 21), 3) == [10, 15, 20]
    assert frames.spread(range(2), 12) == [0, 1]
    assert frames.middle(10, 4) == range(3, 7)
    assert frames.middle(3, 4) == range(3)


SIDE = 20


def _marked_clip(path: Path, frames: int) -> Path:
    """Write a face that moves by a pixel a frame, as `face_files` marks it, before noise."""
    noise = np.random.default_rng(0).integers(118, 132, (240, 320), np.uint8)
    chroma = np.full((120, 160), 128, np.uint8)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(frames):
            planes = Planes(noise.copy(), chroma.copy(), chroma.copy(), 8)
            mark(planes, 150 + number, 120, SIDE)
            packed = np.concatenate([plane.ravel() for plane in planes]).reshape(360, 320)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(packed, format="yuv420p")))
        out.mux(stream.encode())
    return path


def _face_way(folder: Path) -> Settings:
    files = FaceSettings(yunet(folder / "yunet.onnx"), (torchscript(folder / "mine.pt"),))
    return Settings(faces=files, threads=1)


class _Given:
    """Stands for the user's recognisers: sure of marked faces, and asks the tests' embedder."""

    FACE_THRESHOLD = MappingProxyType({"foamliu": 0.35})

    def faces_scrfd(self, rgb: Any) -> list[Any]:
        return [self._face(frame) for frame in rgb]

    def align(self, frame: Any, landmarks: Any) -> Any:
        x, y = landmarks.reshape(5, 2)[2].astype(int)
        return cv2.resize(frame[y - 40 : y + 40, x - 40 : x + 40], (112, 112))

    def face_embed(self, crops: Sequence[Any]) -> Any:
        if not len(crops):
            return np.zeros((0, 32), np.float32)
        batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        return torch.nn.functional.normalize(recogniser()((batch - 127.5) / 127.5)).numpy()

    def _face(self, frame: Any) -> Any:
        rows, columns = np.nonzero(np.ptp(frame, axis=2) > 100)  # the mark alone has a colour
        if not len(rows):
            return np.zeros((0, 15))
        x, y = columns.mean(), rows.mean()
        box = (x - 20, y - 24, x + 20, y + 24, 0.9)
        return np.array([[*box, *landmarks_of(x, y, SIDE).ravel()]])


class _Metric:
    """Stands for ColorVideoVDP: 10 less the mean change."""

    def of_pictures(self, original: Any, changed: Any) -> list[float]:
        pairs = zip(original.rgb, changed.rgb, strict=True)
        return [self._jod(old, new) for old, new in pairs]

    def of_places(self, original: Any, changed: Any, places: Any) -> list[float]:
        triples = zip(original.rgb, changed.rgb, places, strict=True)
        return [self._jod(old[part], new[part]) for old, new, parts in triples for part in parts]

    def of_video(self, original: Any, changed: Any) -> float:
        return self._jod(original.rgb, changed.rgb)

    def _jod(self, old: Any, new: Any) -> float:
        assert old.size
        return float(10 - abs(old.astype(float) - new).mean())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    faces, judges, variants = (import_module(name) for name in ("faces", "judges", "variants"))
    monkeypatch.setattr(judges, "required", lambda *_: None)  # of the real recognisers
    methods = tuple(variants.Method(name, 0.2) for name in (variants.PROTECT, variants.FACES))
    plan = faces.FacePlan(2, 0.5, 6, 4, 2, methods, _face_way(tmp_path))
    return faces.FaceBench(tmp_path, tmp_path, plan, judges.FaceJudge(_Given()), _Metric())


def test_the_face_way_is_measured_beside_the_embedded_one(tmp_path: Path, bench: Any) -> None:
    clip = import_module("pieces").Clip("marked.mp4", 0.1, "tuning")
    _marked_clip(tmp_path / clip.name, 16)
    for kind, whole, frames in (("still", "net_jod", 2), ("clip", "net_jod_video", 6)):
        measured = list(bench.stills(clip) if kind == "still" else bench.motion(clip))
        assert {(r.kind, r.clip, r.half, r.epsilon) for r in measured} == {
            (kind, "marked", "tuning", "0.20")
        }
        found = {(r.method, r.measure): r for r in measured}
        protect, faces = (
            {measure: r for (method, measure), r in found.items() if method == name}
            for name in ("protect", "faces")
        )
        assert protect.keys() == faces.keys() > {whole, "net_jod_face_worst", "unmatched"}
        assert faces["frames"].value == 1
        assert faces["matched"].value == frames  # one face in each
        for own, other in ((faces, protect), (protect, faces)):
            assert own["distance"].value > own["distance"].control == other["distance"].control
        assert faces["net_jod_face"].value != protect["net_jod_face"].value
        assert faces["net_jod_face_worst"].value <= faces["net_jod_face"].value < 10
        assert faces[whole].value < 10
        assert faces["size"].value > 1
        assert min(found[name, "cpu_seconds"].value for name in ("protect", "faces")) > 0


def test_a_clip_without_a_face_is_not_measured(tmp_path: Path, bench: Any) -> None:
    clip = import_module("pieces").Clip("scene.mp4", 0.0, "tuning")
    make_video(tmp_path / clip.name, Video(160, 120))
    assert not list(bench.stills(clip))
    assert not list(bench.motion(clip))


def test_faces_get_the_same_change_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants, made = import_module("variants"), import_module("made")
    source = _marked_clip(tmp_path / "marked.mp4", 12)

    def changed(name: str, way: Settings | None) -> tuple[Any, list[Any]]:
        # Before they are encoded: of pictures as small as these, what x264 makes depends on memory
        # that it has not written (macroblock tree).
        frames: list[Any] = []

        class Recorded(VideoProtector):
            def protect(self, original: Planes, protected: Planes) -> None:
                super().protect(original, protected)
                frames.append(protected.luma.copy())

        monkeypatch.setattr(variants, "VideoProtector", Recorded)
        made_files = made.make([source], variants.Method(name, 0.12), tmp_path, way)
        return made_files.reports[0], frames

    (report, first), (_, second) = (changed(variants.FACES, _face_way(tmp_path)) for _ in range(2))
    assert report.faces.found > 0
    assert len(first) == 12
    assert np.array_equal(first, second)

    plain_report, plain = changed(variants.PROTECT, None)
    assert plain_report.faces is None
    assert not np.array_equal(first, plain)
    with pytest.raises(ValueError, match="needs a network"):
        made.make([source], variants.Method(variants.FACES, 0.12), tmp_path, None)


def _face_record(clip: str, measure: str, *values: float, method: str = "faces") -> Any:
    judge = {"frames": "scrfd faces", "unmatched": "mobilefacenet", "distance": "mobilefacenet"}
    record = import_module("records").Record
    return record(
        "clip", clip, "tuning", method, "0.12", judge.get(measure, "cvvdp"), measure, *values
    )


def test_the_table_of_faces_is_net_and_takes_means_where_faces_are_often() -> None:
    rows = [
        _face_record(clip, measure, *values, method=method)
        for clip, frames, lost in (("a", 1.0, 0.5), ("b", 0.6, 0.7), ("c", 0.5, 1.0))
        for method, share in (("protect", 0.1), ("faces", lost))
        for measure, values in (
            ("frames", (frames,)),
            ("unmatched", (share, 0.1)),
            ("distance", (0.4, 0.03)),
            ("net_jod_video", (9.5,)),
        )
    ]
    text = import_module("face_tables").face_tables(rows)
    assert "| faces | 0.12 | 50 [40, 60] n2 | 0.40 [0.40, 0.40] n2 (c 0.03) |" in text
    assert "| protect | 0.12 | 0 [0, 0] n2 |" in text
    assert "| c | tuning | faces | 0.12 | 50 | – | 90 | 0.40 |" in text


def test_no_face_is_changed_against_a_judge(tmp_path: Path) -> None:
    face_settings = import_module("faces").face_settings
    (tmp_path / "judges" / "weights").mkdir(parents=True)
    detector = yunet(tmp_path / "yunet.onnx")
    judge = torchscript(tmp_path / "judges" / "weights" / "judge.pt")
    copy = tmp_path / "copy.pt"
    copy.write_bytes(judge.read_bytes())
    link = tmp_path / "link.pt"
    link.symlink_to(judge)
    for embedder in (judge, copy, link):
        with pytest.raises(SystemExit, match="recognisers .*another --embedder"):
            face_settings(detector, embedder, tmp_path / "judges")

    other = torchscript(tmp_path / "other.pt", recogniser(1))
    settings = face_settings(detector, other, tmp_path / "judges")
    assert settings.faces == FaceSettings(detector, (other,))
    with pytest.raises(SystemExit, match=r"there is no file .*gone\.pt"):
        face_settings(detector, tmp_path / "gone.pt", tmp_path / "judges")


def test_the_halves_share_no_clip() -> None:
    pieces = import_module("pieces")
    for chosen in (pieces.CLIPS, pieces.SPEECHES):
        halves = {
            half: {p.name for p in chosen if p.half == half} for half in ("tuning", "reported")
        }
        assert all(halves.values())
        assert not halves["tuning"] & halves["reported"]


def test_photographs_have_names_of_their_own() -> None:
    pieces = import_module("pieces")
    assert len({pieces.picture_name(path) for path in pieces.PICTURES}) == len(pieces.PICTURES)


def test_a_photograph_s_middle_is_a_video_of_one_frame_with_its_colours(tmp_path: Path) -> None:
    pieces, frames = import_module("pieces"), import_module("frames")
    picture = np.zeros((1000, 900, 3), np.uint8)
    picture[:, :] = 40, 90, 200  # blue, green, red
    picture[:200] = picture[-200:] = 0  # what is cut off
    cv2.imwrite(str(tmp_path / "tall.png"), picture)
    shown = frames.read_frames(pieces.cut_picture(tmp_path / "tall.png", tmp_path / "cut.mp4"))
    assert shown.rgb.shape == (1, 360, 640, 3)
    assert np.abs(shown.rgb[0].astype(int) - (200, 90, 40)).max() <= 4


def test_films_have_names_of_their_own() -> None:
    pieces = import_module("pieces")
    assert len({film.title for film in pieces.FILMS}) == len(pieces.FILMS)


@pytest.mark.parametrize(
    ("size", "cut"), [((1600, 800), (1280, 640)), ((480, 960), (360, 720)), ((320, 180),) * 2]
)
def test_a_film_is_made_smaller_only_where_it_is_too_large(
    tmp_path: Path, size: tuple[int, int], cut: tuple[int, int]
) -> None:
    pieces, frames = import_module("pieces"), import_module("frames")
    film = make_video(tmp_path / "film.mp4", Video(*size, frames=10))
    piece = frames.read_frames(pieces.cut_film(film, 0.2, 0.16, tmp_path / "piece.mp4"))
    assert piece.luma.shape == (4, cut[1], cut[0])
    if cut == size:
        assert np.array_equal(piece.luma, frames.read_frames(film).luma[5:9])


def test_films_are_told_in_motion_and_one_by_one() -> None:
    records, tables = import_module("records"), import_module("tables")
    rows = [
        records.Record("clip", clip, "unseen", "protect", epsilon, "cvvdp", "net_jod_video", jod)
        for clip, jod in (("fish", 9.5), ("cat", 9.1))
        for epsilon in ("0.08", "0.12")
    ]
    text = tables.film_tables(rows)
    assert "| protect | 0.08 | 9.30 [9.10, 9.50] n2 |" in text
    assert "### Film by film, 0.12" in text
    assert "| fish | unseen | 9.50 |" in text
    assert "| cat | unseen | 9.10 |" in text


def test_without_clips_it_says_what_to_give(tmp_path: Path) -> None:
    pieces = import_module("pieces")
    with pytest.raises(SystemExit, match=r"lacks a\.mp4: .*--media"):
        pieces.check_media(tmp_path, {"a.mp4"})


def test_without_recognisers_it_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="--recognisers"):
        _judges().import_recognisers(tmp_path)


def test_without_a_package_it_names_it() -> None:
    with pytest.raises(SystemExit, match="pip install the-package"):
        import_module("packages").required("no_such_module", "the-package")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("smell", "unknown: smell"),
        ("faces", "faces needs --detector and --embedder"),
        ("films", "films needs --films"),
    ],
)
def test_a_part_that_cannot_be_measured_is_refused(part: str, message: str) -> None:
    command = [sys.executable, str(FOLDER / "run.py"), part]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parents[1])
    assert done.returncode == 2
    assert message in done.stderr


def test_the_table_of_words_is_net_and_by_language() -> None:
    words, records = import_module("words"), import_module("records")
    text = words.word_tables(
        [
            records.Record("words", clip, "es", "protect", "weak", "base", "word_error", value, 0.1)
            for clip, value in (("one", 0.2), ("two", 0.4))
        ]
    )
    assert "### Es" in text
    assert "| protect | weak | – | – | 0.20 [0.10, 0.30] n2 |" in text


def test_prompts_are_spread_over_those_of_three_to_eight_seconds(tmp_path: Path) -> None:
    pieces = import_module("pieces")
    for speaker in pieces._VOICES:
        folder = tmp_path / "usr/share/asterisk/sounds" / speaker
        folder.mkdir(parents=True)
        for number in range(16):
            (folder / f"{number:02}.g722").write_bytes(bytes(24_000 + number))
        (folder / "00-short.g722").write_bytes(bytes(23_999))
        (folder / "15-long.g722").write_bytes(bytes(64_000))
    found = list(pieces.prompts(tmp_path))
    assert [language for _, language in found] == [
        x for x in ("en", "es", "fr", "it", "ru") for _ in range(8)
    ]
    assert [Path(piece.name).stem for piece, _ in found[:8]] == [f"{n:02}" for n in range(1, 16, 2)]
    with pytest.raises(SystemExit, match="--prompts"):
        next(pieces.prompts(tmp_path / "none"))
