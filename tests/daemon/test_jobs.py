"""What the service and its workers say to each other survives the way between them."""

from __future__ import annotations

import pickle
from pathlib import Path

from daemon.jobs import (
    Bounds,
    Failed,
    Finished,
    Job,
    Moved,
    NearlyDone,
    Ready,
    Spent,
    Stop,
    Stopped,
)
from daemon.task import Failure, Progress
from pipeline.parameters import AudioLevel, Parameters
from pipeline.settings import FaceSettings, Limits, Settings

JOB = Job(
    task_id="0190",
    token="t",
    original=Path("/inbox/ol\udce9.mp4"),
    folder=Path("/temp/0190.t"),
    outbox=Path("/outbox"),
    subfolder="alice",
    parameters=Parameters(epsilon=0.2, audio_level=AudioLevel.STRONG),
    settings=Settings(
        weights={"a": Path("/a.pt")},
        faces=FaceSettings(Path("/yunet.onnx"), (Path("/sface.onnx"),)),
        recognisers=(Path("/tiny.ts"),),
        limits=Limits(max_fps=60),
    ),
)


def test_a_job_arrives_as_it_was_sent() -> None:
    """The read-only mapping in its settings cannot be pickled by itself."""
    assert pickle.loads(pickle.dumps(JOB)) == JOB


def test_every_answer_arrives_as_it_was_sent() -> None:
    failure = Failure("internal_error", "ol\udce9.mp4: why")
    for message in (
        Ready(),
        Spent(),
        Stop("t"),
        Moved(Progress("t", 1.5, 2, None)),
        NearlyDone("t"),
        Finished("t", Path("/temp/result.mp4"), ".mp4", {"frames": 2}),
        Failed("t", failure, True, "Traceback"),
        Stopped("t"),
        Bounds(2.5, "cpu"),
    ):
        assert pickle.loads(pickle.dumps(message)) == message


def test_news_tell_which_attempt_they_are_of() -> None:
    assert Moved(Progress("t", 0.0, 0, None)).token == "t"
