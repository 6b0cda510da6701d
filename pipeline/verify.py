"""
Measure one video against another: picture, sound, size, and the metadata that is left.

Works on any pair, whoever made it. Every frame of both is decoded and counted; a number of
them, spread over the video, is measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from pipeline.comparison import Comparison, TrackComparison, VideoFacts
from pipeline.display import orientation
from pipeline.errors import UnreadableMedia
from pipeline.jod import JodMeasure, NoJod, Stills
from pipeline.measure import FrameMeasure, measure_planes, summarise
from pipeline.media import MediaInfo
from pipeline.metadata import audit
from pipeline.pairing import (
    Pairing,
    Times,
    common_planes,
    frame_pairs,
    frame_times,
    is_padded,
    pair_frames,
)
from pipeline.planes import Planes
from pipeline.probe import probe
from pipeline.settings import Limits
from pipeline.soundpair import SoundSource, measure_sound

SAMPLED_FRAMES = 30


def compare(original: Path, protected: Path, limits: Limits | None = None) -> Comparison:
    """
    Return how far `protected` is from `original`.

    Raises:
        UnreadableMedia: naming the file of the two that cannot be read.
        UnsupportedMedia, LimitExceeded: as `probe`.
    """
    limits = limits or Limits()
    first, second = open_pair(original, protected, limits)
    times = frame_times(first, limits), frame_times(second, limits)
    pairing = pair_frames(times[0].seconds, times[1].seconds, SAMPLED_FRAMES)
    measures, stills = [], Stills((first.video, second.video), len(pairing.pairs))
    for number, (pair, planes) in enumerate(_looked_at(first, second, pairing, limits)):
        measures.append(measure_planes(*planes))
        stills.offer(number, pair, planes)
    jod, why_no_jod = _jod(stills)
    most_changed = pairing.pairs[most_changed_pair(measures)][0]
    audio = tuple(_tracks(first, second, times, limits))
    return Comparison(
        original=_facts(first, times[0]),
        protected=_facts(second, times[1]),
        alignment=pairing.alignment,
        picture=summarise(measures),
        jod=jod,
        why_no_jod=why_no_jod,
        most_changed_seconds=float(times[0].seconds[most_changed]),
        largest_shift_ms=_largest_shift_ms(pairing, times),
        audio=audio,
        metadata_left=audit(protected).findings,
        notes=tuple(_notes(first, second, times, audio)),
    )


def open_pair(original: Path, protected: Path, limits: Limits) -> tuple[MediaInfo, MediaInfo]:
    """
    Return what the two files hold.

    Raises:
        UnreadableMedia: naming the one that is not there or cannot be read.
    """
    for path in (original, protected):
        try:
            is_file = path.is_file()
        except OSError as error:  # in a folder that may not be entered, on a share that is stale
            raise UnreadableMedia(f"{path} cannot be read: {error.strerror}.") from error
        if not is_file:
            raise UnreadableMedia(f"{path} is not a file; check the name.")
    return probe(original, limits), probe(protected, limits)


def measured_pairs(
    original: MediaInfo, protected: MediaInfo, pairing: Pairing, limits: Limits
) -> Iterator[FrameMeasure]:
    """Yield the measure of each pair of frames."""
    for _, planes in _looked_at(original, protected, pairing, limits):
        yield measure_planes(*planes)


def _looked_at(
    original: MediaInfo, protected: MediaInfo, pairing: Pairing, limits: Limits
) -> Iterator[tuple[tuple[av.VideoFrame, av.VideoFrame], tuple[Planes, Planes]]]:
    """Yield each pair of frames, and both on common ground."""
    ways = (original.video, protected.video)
    for pair in frame_pairs(original, protected, pairing, limits):
        yield pair, common_planes(*pair, ways)


def _jod(stills: Stills) -> tuple[JodMeasure | None, str | None]:
    """Return the measure, or why there is none."""
    try:
        return stills.jod(), None
    except NoJod as reason:
        return None, str(reason)


def most_changed_pair(measures: list[FrameMeasure]) -> int:
    """Return which measure has the greatest change of luma; the middle one if all are equal."""
    changes = np.array([measure.rms[0] for measure in measures])
    if np.ptp(changes) == 0:
        return len(measures) // 2
    return int(np.argmax(changes))


def _facts(info: MediaInfo, times: Times) -> VideoFacts:
    return VideoFacts(
        name=info.path.name,
        container=info.container,
        codec=info.video.codec,
        pixel_format=info.video.pixel_format,
        width=info.video.width,
        height=info.video.height,
        frames=len(times.seconds),
        seconds=times.length,
        size_bytes=info.path.stat().st_size,
    )


def _largest_shift_ms(pairing: Pairing, times: tuple[Times, Times]) -> float | None:
    if pairing.alignment == "time":
        return None
    return 1000 * float(np.max(np.abs(times[0].seconds - times[1].seconds)))


def _tracks(
    original: MediaInfo, protected: MediaInfo, times: tuple[Times, Times], limits: Limits
) -> Iterator[TrackComparison]:
    pairs = zip(original.audio, protected.audio, strict=False)
    for number, (before, after) in enumerate(pairs, start=1):
        measure = measure_sound(
            SoundSource(original, before, times[0].start, times[0].shifts),
            SoundSource(protected, after, times[1].start, times[1].shifts),
            limits,
        )
        yield TrackComparison(
            track=number,
            codec=before.codec,
            protected_codec=after.codec,
            sample_rate=before.sample_rate,
            channels=before.channels,
            seconds=measure.seconds,
            shift_ms=measure.shift_ms,
            snr_db=measure.snr_db,
            nmr_db=measure.nmr_db,
        )


def _notes(
    original: MediaInfo,
    protected: MediaInfo,
    times: tuple[Times, Times],
    audio: tuple[TrackComparison, ...],
) -> Iterator[str]:
    yield from _frame_notes(original, protected, times)
    yield from _size_notes(original, protected)
    yield from _stream_notes(original, protected)
    yield from _sound_notes(original, protected, audio)


def _frame_notes(
    original: MediaInfo, protected: MediaInfo, times: tuple[Times, Times]
) -> Iterator[str]:
    counts = [len(t.seconds) for t in times]
    if counts[0] != counts[1]:
        yield (
            f"Frames: {counts[0]} became {counts[1]}; they were matched by time,"
            " so the measures of the picture are rough."
        )
    for info, found in zip((original, protected), times, strict=True):
        if found.damaged_packets:
            yield f"{info.path.name}: packets that cannot be decoded: {found.damaged_packets}."
        if found.ended_early or info.is_truncated:
            yield f"{info.path.name} is cut short."


def _size_notes(original: MediaInfo, protected: MediaInfo) -> Iterator[str]:
    first, second = original.video, protected.video
    ways = orientation(first.display_matrix), orientation(second.display_matrix)
    before, after = (first.width, first.height), (second.width, second.height)
    if ways[0].is_transposed != ways[1].is_transposed:
        after = after[::-1]
    if is_padded(before, after):
        yield "The picture was padded to a size that its codec takes; the padding was not measured."
    elif before != after:
        yield (
            f"{first.width}x{first.height} became {second.width}x{second.height};"
            " the protected picture was scaled to be measured."
        )
    if ways[0] != ways[1]:
        yield "The two are turned differently; they were compared as they are shown."
    if first.depth != second.depth:
        yield f"{first.depth} bits became {second.depth}; changes are told in 8-bit levels."


def _stream_notes(original: MediaInfo, protected: MediaInfo) -> Iterator[str]:
    for word, before, after in (
        ("sound", len(original.audio), len(protected.audio)),
        ("subtitles", len(original.subtitles), len(protected.subtitles)),
    ):
        if before != after:
            yield f"Tracks of {word}: {before} became {after}."
    if len(original.chapters) != len(protected.chapters):
        yield f"Chapters: {len(original.chapters)} became {len(protected.chapters)}."


def _sound_notes(
    original: MediaInfo, protected: MediaInfo, audio: tuple[TrackComparison, ...]
) -> Iterator[str]:
    pairs = zip(audio, original.audio, protected.audio, strict=False)
    for found, before, after in pairs:
        if before.sample_rate != after.sample_rate:
            yield (
                f"Sound {found.track}: {before.sample_rate} Hz became {after.sample_rate} Hz;"
                " it was resampled to be measured."
            )
        if before.channels != after.channels:
            yield (
                f"Sound {found.track}: {before.channels} channels became {after.channels};"
                " the means of the channels were measured."
            )
        if not found.seconds:
            yield f"Sound {found.track} could not be measured: the two have no common part."
        if found.shift_ms:
            yield f"Sound {found.track} is {found.shift_ms:+.2f} ms against its timestamps."
