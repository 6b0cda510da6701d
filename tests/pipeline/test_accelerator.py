"""
All ways compute on another device what they compute on the CPU.

A pretended one shows it to the bit; a real one, where there is one, but for its own rounding.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline import anchor, face_networks, surrogate
from pipeline.device import choose_device
from pipeline.face_networks import load_faces
from pipeline.parameters import Parameters
from pipeline.planes import Planes
from pipeline.settings import FaceSettings, Settings
from pipeline.surrogate import load_surrogates
from pipeline.video import VideoProtector, VideoSummary
from tests.face_files import mark, onnx_embedder, yunet
from tests.pipeline.onnx_files import Residual, export, seeded, without_onnx
from tests.pretended_accelerator import DEVICE, accelerator

HEIGHT, WIDTH = 120, 160


pytestmark = pytest.mark.usefixtures("one_thread")

with_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch reaches no GPU")


def frames() -> list[Planes]:
    """A textured picture that pans, with the mark of a face in its middle."""
    noise = np.random.default_rng(1).normal(size=(HEIGHT, WIDTH + 16)).astype(np.float32)
    whole = (110 + 120 * cv2.GaussianBlur(noise, (0, 0), 2)).clip(16, 235).astype(np.uint8)
    pictures = []
    for left in range(0, 8, 2):
        luma = np.ascontiguousarray(whole[:, left : left + WIDTH])
        colours = (np.ascontiguousarray(luma[::2, ::2]) for _ in range(2))
        pictures.append(Planes(luma, *colours, depth=8))
        mark(pictures[-1], WIDTH // 2, HEIGHT // 2, 12)
    return pictures


def protect(settings: Settings) -> tuple[NDArray[np.uint8], VideoSummary]:
    """Return all frames' samples, an anchor every second frame, and what was done."""
    networks, faces = load_surrogates(settings), load_faces(settings)
    parameters = Parameters(every_n_frames=2)
    subject = VideoProtector(WIDTH, HEIGHT, parameters, settings, networks, 1, faces)
    samples = []
    for frame in frames():
        written = Planes(*(np.empty_like(plane) for plane in frame), depth=8)
        subject.protect(frame, written)
        samples += [plane.ravel() for plane in written]
    return np.concatenate(samples), subject.summary


def same_on_both(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[VideoSummary, int]:
    """Return what was done on the accelerator, and how many operators ran for it."""
    expected, _ = protect(replace(settings, device="cpu"))
    for module in (anchor, surrogate, face_networks):
        monkeypatch.setattr(module, "choose_device", lambda settings: DEVICE)
    with accelerator() as operators:
        samples, summary = protect(settings)
        ran = operators()
    assert summary.device == str(DEVICE)
    assert np.array_equal(samples, expected)
    return summary, ran


def test_the_embedded_way(monkeypatch):
    summary, ran = same_on_both(Settings(), monkeypatch)
    assert summary.anchors == 2
    assert ran > 100


@without_onnx
def test_the_network_way(tmp_path, monkeypatch):
    network = export(tmp_path / "mine.onnx", seeded(Residual))
    settings = Settings(surrogates=("mine",), weights={"mine": network})
    summary, ran = same_on_both(settings, monkeypatch)
    assert summary.surrogates == ("mine",)
    assert ran > 1000


@without_onnx
def test_faces(tmp_path, monkeypatch):
    files = FaceSettings(yunet(tmp_path / "yunet.onnx"), (onnx_embedder(tmp_path / "mine.onnx"),))
    summary, ran = same_on_both(Settings(faces=files), monkeypatch)
    assert summary.faces is not None
    assert summary.faces.found == 2
    assert ran > 1000


def alike_on_a_gpu(settings: Settings) -> float:
    """Return how a GPU's change correlates with the CPU's."""
    original = np.concatenate([plane.ravel() for frame in frames() for plane in frame])
    changes = []
    for device in ("cpu", "cuda"):
        samples, summary = protect(replace(settings, device=device))
        assert summary.device == device
        changes.append(samples.astype(float) - original)
    return float(np.corrcoef(changes)[0, 1])


@with_gpu
def test_the_embedded_way_on_a_gpu():
    assert alike_on_a_gpu(Settings()) > 0.99


@with_gpu
@without_onnx
def test_the_network_way_on_a_gpu(tmp_path):
    network = export(tmp_path / "mine.onnx", seeded(Residual))
    settings = Settings(surrogates=("mine",), weights={"mine": network})
    assert alike_on_a_gpu(settings) > 0.95
    surrogates = load_surrogates(replace(settings, device="cuda"))
    assert surrogates is not None
    assert surrogates.networks[0].layout is torch.contiguous_format


@with_gpu
@without_onnx
def test_faces_on_a_gpu(tmp_path):
    files = FaceSettings(yunet(tmp_path / "yunet.onnx"), (onnx_embedder(tmp_path / "mine.onnx"),))
    assert alike_on_a_gpu(Settings(faces=files)) > 0.95


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), "cuda"),
        (Settings(device="cuda"), "cuda"),
        (Settings(device="cpu"), "cpu"),
    ],
)
def test_a_gpu_is_taken_where_there_is_one(settings, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device(settings).type == expected


def test_what_the_pretended_one_refuses():
    here = torch.ones(3)
    with accelerator():
        there = here.to(DEVICE)
        assert (2 * there + torch.tensor(1.0)).cpu().tolist() == [3.0] * 3
        for mixing in (lambda: there + here, lambda: torch.cat((here, there))):
            with pytest.raises(RuntimeError, match="two devices"):
                mixing()
        with pytest.raises(RuntimeError, match="generator"):
            torch.rand(3, generator=torch.Generator(), device=DEVICE)
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
