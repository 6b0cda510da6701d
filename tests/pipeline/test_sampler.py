from __future__ import annotations

import numpy as np

from pipeline.planes import Planes
from pipeline.sampler import Sampler


def picture(value: int, side: int = 8) -> Planes:
    luma = np.full((side, side), value, np.uint8)
    chroma = np.zeros((side // 2, side // 2), np.uint8)
    return Planes(luma, chroma, chroma, 8)


def test_a_few_pictures_are_kept_spread_over_the_whole() -> None:
    sampler = Sampler()
    for n in range(1000):
        sampler.offer(n, picture(n % 256))
    kept = sorted(sampler.pictures)
    assert 6 <= len(kept) <= 12
    assert kept[0] == 0
    assert kept[-1] > 800
    assert all(sampler.pictures[n].luma[0, 0] == n % 256 for n in kept)


def test_kept_pictures_have_memory_of_their_own() -> None:
    sampler = Sampler()
    original = picture(5)
    sampler.offer(0, original)
    original.luma[:] = 9
    assert sampler.pictures[0].luma.max() == 5


def test_of_large_pictures_fewer_are_kept() -> None:
    sampler = Sampler()
    large = picture(1, side=4096)
    for n in range(40):
        sampler.offer(n, large)
    assert 1 <= len(sampler.pictures) <= 3
