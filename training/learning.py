"""
One step of learning: draw some speech, change it, and be told how unlike an encoder finds it.

After Poursaeed et al., "Generative adversarial perturbations", CVPR 2018. Unlike them, encoders are
asked what they make of each moment, and no words or classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.change import Analysed, analyse, evened
from training.data import Recording, Sound, draw, noise_below
from training.network import Network

_BATCH = 4
_PEAK_RATE, _END_SHARE, _WARM_STEPS = 1.5e-3, 0.02, 100
_BETAS, _LONGEST_GRADIENT = (0.9, 0.98), 1.0
# Of unlikeness: a gain counts as much where little was reached as where much was, but for this.
_FLOOR = 0.005
# What tanh is taken of costs something beyond this, where tanh hardly passes a gradient.
_FURTHEST, _FURTHEST_COST = 2.5, 0.02
_LOUDER_DB, _LOUDER_SHARE = 6.0, 0.4


class Encoder(Protocol):
    """
    What a recogniser makes of sound before it looks for words.

    Attributes:
        places: at how many a sound may begin, in frames from the first.
    """

    @property
    def places(self) -> int: ...

    def __call__(self, sounds: Tensor, place: int) -> Tensor:
        """Return (batch, frames, length) of (batch, n) samples at `RATE`, a frame per `FRAME`."""


@dataclass(frozen=True)
class Example:
    """
    Speech that is to be changed.

    Attributes:
        strength: energy ratio by which the masking threshold is raised.
        noise: (n,) that comes to the changed sound alone.
    """

    sound: Analysed
    strength: float
    noise: Sound


def draw_examples(
    recordings: Sequence[Recording],
    lowest_db: float,
    highest_db: float,
    random: np.random.Generator,
) -> list[Example]:
    """Return as many as one step takes, each of a strength between two."""
    examples = []
    for _ in range(_BATCH):
        sound = draw(recordings, random)
        strength = 10 ** (random.uniform(lowest_db, highest_db) / 10)
        noisy = random.random() < 0.2
        noise = noise_below(sound, 20, 40, random) if noisy else np.zeros_like(sound)
        examples.append(Example(analyse(sound), strength, noise))
    return examples


def draw_place(encoder: Encoder, random: np.random.Generator) -> int:
    """Return where a sound begins: often at the start, as sound does that is cut up to be heard."""
    return int(random.integers(encoder.places)) if random.random() < 0.7 else 0


def learning_rate(step: int, share: float) -> float:
    """Return it for a step, `share` of the time being gone: a short rise, half a cosine down."""
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return _PEAK_RATE * min(1, step / _WARM_STEPS) * (_END_SHARE + (1 - _END_SHARE) * cosine)


def louder_db(share: float) -> float:
    """
    Return by how much changes are stronger when `share` of the time is gone.

    Of changes as weak as the product's a network that knows nothing yet learns nothing.
    """
    return _LOUDER_DB * max(0.0, 1 - share / _LOUDER_SHARE)


class Learner:
    """Teaches one network."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._optimizer = torch.optim.AdamW(network.parameters(), betas=_BETAS)

    def learn(
        self, examples: Sequence[Example], encoder: Encoder, place: int, rate: float
    ) -> float:
        """
        Change the weights so that the encoder finds such sounds less alike.

        Args:
            place: as of `Encoder`.

        Returns:
            How unlike it found them before: 0 the same, 1 nothing in common.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        raw = self._network(torch.stack([example.sound.features for example in examples]))
        found = _unlikeness(examples, torch.tanh(raw), encoder, place)
        excess = (raw.abs() - _FURTHEST).relu().mean()
        self._optimizer.zero_grad()
        (_FURTHEST_COST * excess - (found + _FLOOR).log().mean()).backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), _LONGEST_GRADIENT)
        self._optimizer.step()
        return float(found.detach().mean())


def _unlikeness(
    examples: Sequence[Example], directions: Tensor, encoder: Encoder, place: int
) -> Tensor:
    """Return (batch,) means over what is spoken of 1 - cosine similarity."""
    sounds = [example.sound for example in examples]
    changed = [
        example.sound.changed(evened(one, example.sound.spoken), example.strength)
        + torch.from_numpy(example.noise)
        for example, one in zip(examples, directions, strict=True)
    ]
    with torch.no_grad():
        before = encoder(torch.stack([sound.samples for sound in sounds]), place)
    after = encoder(torch.stack(changed), place)
    spoken = torch.stack([sound.spoken for sound in sounds])
    unlike = 1 - F.cosine_similarity(before, after, dim=2)
    # Some stretches hold no sound at all.
    return (unlike * spoken).sum(1) / spoken.sum(1).clamp(min=1)
