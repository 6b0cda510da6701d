"""
Make the odd videos that the tests need, with PyAV, in a moment each.

The picture is a textured scene that pans, the sound a voice-like buzz with pauses: close
enough to the real thing for encoders, motion and masking to have something to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray


@dataclass(frozen=True)
class Audio:
    """One track of sound to make."""

    codec: str = "aac"
    rate: int = 48000
    layout: str = "stereo"
    language: str | None = None
    seconds: float | None = None  # None: as long as the picture
    start: float = 0.0
    level: float = 0.3


@dataclass(frozen=True)
class Video:
    """
    The video to make.

    `times` are timestamps in ticks of `time_base`, None for a constant rate; `options` go
    to the encoder, `muxer` to the muxer, `tags` into the container. `fields` is "tff" or "bff"
    where the picture is to be interlaced.
    """

    width: int = 320
    height: int = 240
    frames: int = 25
    rate: Fraction = Fraction(25)
    codec: str = "libx264"
    pixel_format: str = "yuv420p"
    fields: str | None = None
    time_base: Fraction | None = None
    times: Sequence[int] | None = None
    last_duration: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    sample_aspect: Fraction | None = None
    colour: tuple[int, int, int, int] | None = None  # primaries, transfer, matrix, range
    rotation: int | None = None
    audio: Sequence[Audio] = ()
    subtitles: str | None = None  # a codec's name; two lines of text
    chapters: Sequence[tuple[float, float]] = ()
    tags: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)
    codec_tag: str | None = None


def make_video(path: Path, video: Video) -> Path:
    """Write the video; the container follows from the name's ending. Returns `path`."""
    with av.open(str(path), "w", options=video.muxer) as out:
        out.metadata.update(video.tags)
        picture = _add_picture(out, video)
        sounds = [(a, _add_sound(out, a)) for a in video.audio]
        text = _add_text(out, video)
        out.set_chapters(
            [
                {
                    "id": n,
                    "start": round(start * 1000),
                    "end": round(end * 1000),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": f"secret title {n}"},
                }
                for n, (start, end) in enumerate(video.chapters)
            ]
        )
        if text is not None:
            out.start_encoding()
            _write_text(out, text, video)
        for audio, stream in sounds:
            _write_sound(out, audio, stream, video)
        _write_picture(out, picture, video)
    return path


def scene(width: int, height: int, frame: int, *, shift: float = 2.0) -> NDArray[np.uint8]:
    """Return (height, width, 3) RGB: leaves, a wall, a gradient sky, panning by `shift`."""
    rng = np.random.default_rng(7)
    texture = rng.integers(0, 256, (height // 4 + 2, width // 2 + 2), np.uint8)
    big = cv2.resize(texture, (width * 2, height), interpolation=cv2.INTER_CUBIC)
    x = round(frame * shift) % width
    gray = big[:, x : x + width].astype(np.float32)
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    mixed = np.where(rows < 0.35, 180 + 40 * rows, 0.6 * gray + 40)
    image = np.stack([mixed * 0.9, mixed, np.clip(mixed * 1.1, 0, 255)], axis=2)
    left, top = width // 3, height // 2
    cv2.circle(image, (left, top), max(2, height // 6), (220, 170, 150), -1)
    return np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))


def voice(seconds: float, rate: int, channels: int, level: float = 0.3) -> NDArray[np.float32]:
    """Return (channels, n): a buzz of 120 Hz through moving formants, with pauses between words."""
    n = round(seconds * rate)
    t = np.arange(n) / rate
    pitch = 120 + 15 * np.sin(2 * np.pi * 0.7 * t)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    signal = np.zeros(n)
    for harmonic in range(1, min(30, int(rate / 2 / 140))):
        formant = 600 + 300 * np.sin(2 * np.pi * 2.3 * t)
        gain = np.exp(-(((harmonic * pitch - formant) / 400) ** 2)) + 0.3 / harmonic
        signal += gain * np.sin(harmonic * phase)
    words = (np.sin(2 * np.pi * 1.5 * t) > -0.4).astype(float)
    smooth = np.convolve(words, np.ones(max(1, rate // 50)) / max(1, rate // 50), "same")
    signal = level * signal * smooth / (np.abs(signal).max() + 1e-9)
    return np.stack([signal * (1 - 0.1 * c) for c in range(channels)]).astype(np.float32)


def _add_picture(out: Any, video: Video) -> Any:
    interlaced = {} if video.fields is None else {"flags": "+ildct+ilme"}
    stream = out.add_stream(video.codec, rate=video.rate, options=interlaced | video.options)
    stream.width, stream.height = video.width, video.height
    stream.pix_fmt = video.pixel_format
    if video.time_base is not None:
        stream.time_base = stream.codec_context.time_base = video.time_base
    if video.sample_aspect is not None:
        stream.sample_aspect_ratio = video.sample_aspect
    if video.colour is not None:
        context = stream.codec_context
        context.color_primaries, context.color_trc = video.colour[:2]
        context.colorspace, context.color_range = video.colour[2:]
    if video.rotation is not None:
        stream.set_display_rotation(video.rotation)
    if video.codec_tag is not None:
        stream.codec_context.codec_tag = video.codec_tag
    return stream


def _add_sound(out: Any, audio: Audio) -> Any:
    stream = out.add_stream(audio.codec, rate=audio.rate)
    stream.layout = audio.layout
    stream.time_base = stream.codec_context.time_base = Fraction(1, audio.rate)
    if audio.language is not None:
        stream.metadata["language"] = audio.language
    return stream


def _add_text(out: Any, video: Video) -> Any:
    if video.subtitles is None:
        return None
    stream = out.add_stream(video.subtitles)
    stream.codec_context.subtitle_header = (
        b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\n"
        b"Style: Default,Arial\n\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
    )
    stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
    stream.metadata["language"] = "eng"
    return stream


def _write_text(out: Any, stream: Any, video: Video) -> None:
    for start, words in ((100, "Hello"), (500, "World")):
        raw = words.encode()
        data = len(raw).to_bytes(2, "big") + raw if video.subtitles == "mov_text" else raw
        packet: av.Packet[Any] = av.Packet(data)
        packet.stream = stream
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = start
        packet.duration = 300
        out.mux(packet)


def _write_sound(out: Any, audio: Audio, stream: Any, video: Video) -> None:
    seconds = audio.seconds if audio.seconds is not None else float(video.frames / video.rate)
    channels = stream.codec_context.layout.nb_channels
    samples = voice(seconds, audio.rate, channels, audio.level)
    start = round(audio.start * audio.rate)
    for at in range(0, samples.shape[1], audio.rate):
        # Interleaved: PyAV does not fill all planes of a frame of eight.
        block = np.ascontiguousarray(samples[:, at : at + audio.rate].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format="flt", layout=audio.layout)
        frame.sample_rate = audio.rate
        frame.time_base = Fraction(1, audio.rate)
        frame.pts = start + at
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _write_picture(out: Any, stream: Any, video: Video) -> None:
    base = video.time_base or 1 / video.rate
    times = video.times or [round(n / video.rate / base) for n in range(video.frames)]
    packets = []
    for n, pts in enumerate(times):
        image = scene(video.width, video.height, n)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format=video.pixel_format)
        if video.fields is not None:
            frame = with_fields(frame, video.fields)
        frame.pts, frame.time_base = pts, base
        packets += stream.encode(frame)
    packets += stream.encode(None)
    if video.last_duration is not None:
        max(packets, key=lambda p: p.pts).duration = video.last_duration
    for packet in packets:
        out.mux(packet)


def with_fields(frame: Any, order: str) -> Any:
    """Return a frame that is marked as interlaced, "tff" or "bff"."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    graph.link_nodes(source, graph.add("setfield", order), graph.add("buffersink"))
    graph.configure()
    graph.push(frame)
    return graph.pull()
