"""
Make the sample clip of `make demo`: eight seconds of a made-up scene with made-up speech.

Nothing in it is anybody's: every pixel and every sample is computed here, the same on every
run. It says beside picture and sound what a telephone says (place, device, date), so that
the demo can show it gone.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import signal

Image = NDArray[np.float32]  # (height, width, 3) BGR, 0 to 1
Samples = NDArray[np.float64]

WIDTH, HEIGHT, FRAME_RATE, SECONDS = 640, 360, 25, 8
SAMPLE_RATE = 48_000
_CUT = 5 * FRAME_RATE  # the frame with which the second scene begins

_TAGS = {
    "title": "Holiday at the lake",
    "artist": "Jane Example",
    "comment": "Filmed from the balcony of 12 Example Street",
    "creation_time": "2024-07-14T09:26:53.000000Z",
}
_QUICKTIME_TAGS = {
    b"\xa9xyz": "+46.9480+007.4474+540.000/",
    b"\xa9mak": "Example Phones",
    b"\xa9mod": "Example 12 Pro",
}

# Formants of vowels in Hz, of an adult's voice, and the noise band of two fricatives.
_VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
_FRICATIVES = {"s": (4500, 8000), "f": (1500, 7000)}
_PHRASES = ("sa mi lo", "fe nu sa ti", "o ri fa me so", "si la nu", "fo se ma i")


def main() -> None:
    """Write the clip to the path that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("path", type=Path, help="where to, such as demo/sample.mp4")
    make_sample(parser.parse_args().path)


def make_sample(path: Path) -> None:
    """Write the clip, tags and all."""
    with av.open(str(path), "w") as out:
        out.metadata.update(_TAGS)
        picture = out.add_stream("libx264", rate=FRAME_RATE, options={"preset": "fast"})
        picture.width, picture.height, picture.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        sound = out.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        for frame in _video_frames():
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        for block in _audio_frames():
            out.mux(sound.encode(block))
        out.mux(sound.encode(None))
    _add_quicktime_tags(path)


def _video_frames() -> Iterator[av.VideoFrame]:
    random = np.random.default_rng(7)
    lake, room = _Lake(random), _Table(random)
    for number in range(FRAME_RATE * SECONDS):
        scene = lake.draw(number) if number < _CUT else room.draw(number - _CUT)
        grain = random.normal(0, 0.008, (HEIGHT, WIDTH, 1)).astype(np.float32)
        pixels = np.clip((scene + grain) * 255, 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="bgr24")
        frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
        yield frame


class _Lake:
    """A shore: sky, clouds, hills, water and a boat; what is farther away passes more slowly."""

    def __init__(self, random: np.random.Generator) -> None:
        self._clouds = _texture(random, 200, 1400, (14, 45))
        self._hills = 150 + 26 * _profile(random, 1400, 90)
        self._forest = _texture(random, HEIGHT, 1400, (2, 9))
        self._water = _texture(random, 160, 1600, (1.5, 12))
        self._meadow = _texture(random, 90, 2200, (1.2, 4))

    def draw(self, number: int) -> Image:
        """Return the frame of this number."""
        row = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None, None]
        image = np.array([0.86, 0.66, 0.42], np.float32) * (1 - row) + row * 0.95
        image = np.repeat(image, WIDTH, axis=1)
        clouds = np.clip(_window(self._clouds, number * 0.4) * 0.5 + 0.05, 0, 0.6)[..., None]
        image[:200] += clouds * (1 - image[:200])
        self._draw_hills(image, number)
        self._draw_water(image, number)
        _draw_boat(image, 60 + number * 2.1, 232 + 2.5 * np.sin(number / 9))
        meadow = _window(self._meadow, number * 3.2)[..., None] * 0.16
        image[-90:] = np.array([0.16, 0.42, 0.33], np.float32) + meadow
        _draw_walker(image, 560 - number * 2.6, 318, number)
        return image

    def _draw_hills(self, image: Image, number: int) -> None:
        line = _window(self._hills[None], number * 0.9)[0]
        is_hill = np.arange(HEIGHT)[:, None] > line[None]
        shade = 0.09 * _window(self._forest, number * 0.9)[..., None]
        image[is_hill] = (np.array([0.32, 0.40, 0.28], np.float32) + shade)[is_hill]

    def _draw_water(self, image: Image, number: int) -> None:
        ripple = _window(self._water, number * 1.7 + 6 * np.sin(number / 11))[:80, :, None]
        image[195:275] = np.array([0.62, 0.48, 0.30], np.float32) + 0.10 * ripple


class _Table:
    """A table: planks, a patterned cloth, a cup and a rolling ball; the camera goes up to it."""

    def __init__(self, random: np.random.Generator) -> None:
        grain = cv2.resize(_texture(random, 480, 40, (1, 3)), (860, 480))
        planks = 0.75 + 0.25 * (np.arange(480) % 96 > 3)[:, None]
        wood = np.array([0.25, 0.42, 0.62], np.float32) * planks[..., None]
        self._scene = (wood + 0.06 * grain[..., None]).astype(np.float32)
        y, x = np.mgrid[0:170, 0:300].astype(np.float32)
        weave = 0.5 + 0.5 * np.sign(np.sin(x / 7) * np.sin(y / 7))
        cloth = np.stack([0.3 + 0.5 * weave, 0.25 + 0.5 * weave, 0.75 - 0.1 * weave], axis=-1)
        self._scene[230:400, 120:420] = cloth
        _draw_cup(self._scene, 600, 190)

    def draw(self, number: int) -> Image:
        """Return the frame of this number of the scene."""
        scene = self._scene.copy()
        _draw_ball(scene, 150 + 6.5 * number, 330 - 90 * abs(np.sin(number / 9)), number)
        zoom = 1 + number / 400
        move = np.array([[zoom, 0, -90 * zoom], [0, zoom, -70 * zoom]])
        shown = cv2.warpAffine(scene, move, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        return shown.astype(np.float32, copy=False)


def _texture(
    random: np.random.Generator, height: int, width: int, sizes: tuple[float, ...]
) -> NDArray[np.float32]:
    """Return noise of unit variance with structure of these sizes in pixels."""
    total = np.zeros((height, width), np.float32)
    for size in sizes:
        layer = cv2.GaussianBlur(random.normal(size=(height, width)), (0, 0), size)
        total += (layer / layer.std()).astype(np.float32)
    return total / total.std()


def _profile(random: np.random.Generator, length: int, size: float) -> NDArray[np.float32]:
    return _texture(random, 1, length, (size, size / 5))[0]


def _window(strip: NDArray[np.float32], offset: float) -> NDArray[np.float32]:
    """Return the part of `strip` that begins `offset` pixels from its left, between pixels too."""
    move = np.array([[1, 0, -offset], [0, 1, 0]])
    size = WIDTH, strip.shape[0]
    moved = cv2.warpAffine(strip, move, size, borderMode=cv2.BORDER_REFLECT)
    return moved.astype(np.float32, copy=False)


def _polygon(image: Image, points: list[tuple[float, float]], colour: tuple[float, ...]) -> None:
    # Sixteenths of a pixel, so that what moves slowly moves smoothly.
    corners = np.round(np.array(points) * 16).astype(np.int32)
    cv2.fillPoly(image, [corners], colour, cv2.LINE_AA, 4)


def _disc(image: Image, x: float, y: float, radius: float, colour: tuple[float, ...]) -> None:
    centre = round(x * 16), round(y * 16)
    cv2.circle(image, centre, round(radius * 16), colour, -1, cv2.LINE_AA, 4)


def _draw_boat(image: Image, x: float, y: float) -> None:
    _polygon(image, [(x - 40, y), (x + 40, y), (x + 28, y + 16), (x - 30, y + 16)], (0.2, 0.2, 0.6))
    _polygon(image, [(x, y - 62), (x, y - 4), (x + 34, y - 4)], (0.95, 0.95, 0.92))
    _polygon(image, [(x - 3, y - 56), (x - 3, y - 4), (x - 24, y - 4)], (0.55, 0.75, 0.95))


def _draw_walker(image: Image, x: float, y: float, number: int) -> None:
    stride = 9 * np.sin(number / 3)
    for side in (-1, 1):
        foot = x + side * stride
        _polygon(
            image, [(x - 4, y), (x + 4, y), (foot + 3, y + 30), (foot - 3, y + 30)], (0.3,) * 3
        )
    _polygon(
        image, [(x - 9, y - 36), (x + 9, y - 36), (x + 7, y + 2), (x - 7, y + 2)], (0.2, 0.3, 0.8)
    )
    _disc(image, x, y - 46, 9, (0.55, 0.68, 0.86))
    _disc(image, x, y - 51, 8, (0.15, 0.2, 0.3))


def _draw_cup(image: Image, x: float, y: float) -> None:
    _disc(image, x + 46, y + 34, 22, (0.85, 0.85, 0.9))
    _disc(image, x + 46, y + 34, 13, (0.25, 0.42, 0.62))
    body = [(x - 45, y), (x + 45, y), (x + 36, y + 86), (x - 36, y + 86)]
    _polygon(image, body, (0.92, 0.92, 0.95))
    cv2.ellipse(image, (round(x), round(y)), (45, 12), 0, 0, 360, (0.15, 0.2, 0.3), -1, cv2.LINE_AA)


def _draw_ball(image: Image, x: float, y: float, number: int) -> None:
    _disc(image, x, y, 34, (0.15, 0.35, 0.9))
    for step in range(6):
        angle = number / 7 + step * np.pi / 3
        _disc(image, x + 20 * np.cos(angle), y + 20 * np.sin(angle), 7, (0.9, 0.9, 0.95))
    _disc(image, x - 11, y - 13, 6, (0.75, 0.85, 1.0))


def _audio_frames() -> Iterator[av.AudioFrame]:
    samples = _sound().astype(np.float32)
    for start in range(0, samples.shape[1], 1024):
        block = np.ascontiguousarray(samples[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = SAMPLE_RATE, start
        frame.time_base = Fraction(1, SAMPLE_RATE)
        yield frame


def _sound() -> Samples:
    """Return (2, length): a voice a little left of the middle, over quiet wind."""
    random = np.random.default_rng(11)
    length = SAMPLE_RATE * SECONDS
    voice = np.zeros(length)
    start = SAMPLE_RATE // 2
    for phrase in _PHRASES:
        spoken = _phrase(phrase, random)[: max(0, length - start)]
        voice[start : start + len(spoken)] = spoken
        start += len(spoken) + SAMPLE_RATE // 3
    wind = signal.lfilter(*signal.butter(2, 300, fs=SAMPLE_RATE), random.normal(size=(2, length)))
    voice *= 0.3 / np.abs(voice).max()
    return np.stack([voice, 0.8 * voice]) + 0.01 * wind


def _phrase(words: str, random: np.random.Generator) -> Samples:
    sounds = [_spoken(letter, n, random) for n, letter in enumerate(words.replace(" ", "_"))]
    return np.concatenate(sounds)


def _spoken(letter: str, place: int, random: np.random.Generator) -> Samples:
    if letter == "_":
        return np.zeros(SAMPLE_RATE // 25)
    if letter in _FRICATIVES:
        noise = random.normal(size=SAMPLE_RATE // 10)
        band = signal.butter(2, _FRICATIVES[letter], "bandpass", fs=SAMPLE_RATE)
        return 0.05 * _faded(signal.lfilter(*band, noise))
    if letter in _VOWELS:
        return _faded(_voiced(_VOWELS[letter], 0.17, 128 - 4 * place, random))
    return 0.4 * _faded(_voiced((250, 1100, 2200), 0.07, 124 - 4 * place, random))  # m n l r t


def _voiced(
    formants: tuple[int, ...], seconds: float, pitch: float, random: np.random.Generator
) -> Samples:
    """Return pulses of the vocal folds, sent through the resonances of the mouth."""
    count = round(seconds * SAMPLE_RATE)
    glide = pitch * (1 + 0.03 * np.sin(np.linspace(0, np.pi, count)))
    phase = np.cumsum(glide / SAMPLE_RATE)
    pulses = np.where(phase % 1 < 0.4, np.sin(np.pi * (phase % 1) / 0.4) ** 2, 0)
    source = np.diff(pulses, prepend=0) + 0.0008 * random.normal(size=count)
    total = np.zeros(count)
    for frequency, gain in zip(formants, (1.0, 0.5, 0.25), strict=True):
        resonance = signal.iirpeak(frequency, frequency / 90, fs=SAMPLE_RATE)
        total += gain * signal.lfilter(*resonance, source)
    return total / np.abs(total).max()


def _faded(sound: Samples) -> Samples:
    return sound * signal.windows.tukey(len(sound), 0.25)


def _add_quicktime_tags(path: Path) -> None:
    """Add what telephones write and FFmpeg does not; the movie box is the last of the file."""
    content = bytearray(path.read_bytes())
    movie = content.rindex(b"moov") - 4
    texts = b"".join(_text_box(name, text) for name, text in _QUICKTIME_TAGS.items())
    content += _box(b"udta", texts)
    struct.pack_into(">I", content, movie, len(content) - movie)
    path.write_bytes(content)


def _text_box(name: bytes, text: str) -> bytes:
    english = 0x15C7  # as a packed language code
    return _box(name, struct.pack(">HH", len(text), english) + text.encode())


def _box(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), name) + payload


if __name__ == "__main__":
    main()
