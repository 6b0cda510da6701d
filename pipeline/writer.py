"""
Mux the output: one new file, written once.

Only the planned tracks go in, encoded (`encoders`) or copied (`copied_track`), with their language
and disposition and no other tag; every timestamp is the original's. What FFmpeg's muxer cannot
write goes in afterwards (`mp4`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline import mp4
from pipeline.aspect import state_aspects
from pipeline.audio_plan import AudioPlan
from pipeline.chapters import chapters_for, numbered_chapter
from pipeline.copied_track import CopiedSpan, CopiedTrack
from pipeline.edits import skip_priming, state_length
from pipeline.encoders import PictureEncoder, SoundEncoder
from pipeline.language import three_letters
from pipeline.media import AudioTrack, Chapter, MediaInfo, SubtitleTrack
from pipeline.output import abandon_output, failure_told, open_output, refusal_told
from pipeline.plan import OutputPlan
from pipeline.probe import open_media
from pipeline.quicktime_language import state_languages
from pipeline.timeline import Placed


class Writer:
    """
    The output file while it grows.

    After `close` the file is complete; after `abandon` it is gone. Whatever is done with a
    writer is done in one thread, FFmpeg's containers know no other's.
    """

    def __init__(
        self, path: Path, plan: OutputPlan, info: MediaInfo, origin: Fraction, threads: int
    ) -> None:
        """
        Args:
            path: of the file to make; its folder exists.
            origin: seconds on the original's clock that become zero.
            threads: of the video encoder, 0 for all cores.

        Raises:
            OutputFailed: the file cannot be made.
            UnsupportedMedia: the container does not take one of its tracks.
            InvalidParameters: nor one that is to be copied.
        """
        self.path = path
        self._plan = plan
        self._info = info
        self._origin = origin
        self._boxes = _extra_boxes(plan, info)
        self._span: _Span | None = None
        self._held: av.Packet[Any] | None = None
        with failure_told(path):
            # Where boxes are added to it afterwards the index stays at the end.
            self._container = open_output(path, plan.container, may_move_index=not self._boxes)
        with self._muxing():
            self._picture = PictureEncoder(self._container, plan.video, info.video, threads)
            self._sounds = {
                a.track.index: self._add_sound(a) for a in plan.audio if a.encoder is not None
            }
            self._copies = self._add_copies()
            # Of others nothing is left, and Matroska takes no time below zero.
            left = [c for c in info.chapters if c.start >= origin or c.end > origin]
            chapters = [_chapter(c, n, origin) for n, c in enumerate(left)]
            self._container.set_chapters(chapters_for(plan.container, chapters))

    @property
    def copied_streams(self) -> frozenset[int]:
        """Indices, in the output, of the streams whose packets are copied."""
        return frozenset(copy.stream.index for copy in self._copies.values())

    @property
    def copied_spans(self) -> dict[int, CopiedSpan]:
        """Of each track copied so far, by stream index, on the output's clock."""
        return {i: copy.span for i, copy in self._copies.items() if copy.span is not None}

    def write_picture(self, frame: av.VideoFrame, placed: Placed, captions: bytes = b"") -> None:
        """Encode and write the next frame; see `PictureEncoder.encode`."""
        packets = self._picture.encode(frame, placed, captions)
        with self._muxing():
            self._mux_video(packets)

    def write_sound(self, track: AudioTrack, samples: NDArray[np.float32], at: int) -> None:
        """Encode and write the next samples of a track; see `SoundEncoder.encode`."""
        packets = self._sounds[track.index].encode(samples, at)
        with self._muxing():
            self._container.mux(packets)

    def copy_packet(self, track: AudioTrack | SubtitleTrack, packet: av.Packet[Any]) -> None:
        """Write one packet of a copied track as it is."""
        for placed in self._copies[track.index].placed(packet):
            with self._muxing():
                self._container.mux(placed)

    def close(self) -> None:
        """Flush the encoders, write the index, and add what FFmpeg's muxer left out."""
        with self._muxing():
            self._mux_video(self._picture.flush())
            self._release_last_packet()
            for sound in self._sounds.values():
                self._container.mux(sound.flush())
            self._container.close()
            if (aspect := self._info.video.sample_aspect) is not None:
                state_aspects(self.path, self._plan.container, [aspect])
            if self._plan.container != "matroska":
                skip_priming(self.path, self._priming_by_track())
                self._state_video_length()
            if self._plan.container == "mov":
                state_languages(self.path, self._languages_by_track())
            if self._boxes:
                mp4.insert_in_video_entry(self.path, self._boxes)

    @contextlib.contextmanager
    def _muxing(self) -> Iterator[None]:
        with failure_told(self.path), refusal_told(self._info.path.name, self._plan.container):
            yield

    def _add_sound(self, plan: AudioPlan) -> SoundEncoder:
        sound = SoundEncoder(self._container, plan)
        _describe(sound.stream, plan.track)
        return sound

    def _add_copies(self) -> dict[int, CopiedTrack]:
        copies = {}
        with open_media(self._info.path) as original:
            for index in sorted(self._plan.copied):
                track = self._info.tracks[index]
                copy = CopiedTrack(track, original.streams[index], self._container, self._origin)
                _describe(copy.stream, track)
                copies[index] = copy
        return copies

    def _priming_by_track(self) -> dict[int, Fraction]:
        """Return the priming by the track's place in the file; empty tracks get none there."""
        primings = (s.priming for s in self._sounds.values() if s.priming is not None)
        first = 0 if self._span is None else 1  # after the picture's
        return dict(enumerate(primings, first))

    def _languages_by_track(self) -> dict[int, str]:
        """Return the languages by the track's place in the file; empty tracks get none there."""
        filled = [s.stream for s in self._sounds.values() if s.priming is not None]
        filled += [c.stream for c in self._copies.values() if c.span is not None]
        filled.sort(key=lambda stream: stream.index)
        spoken = (stream.metadata.get("language") for stream in filled)
        first = 0 if self._span is None else 1  # after the picture's
        return {place: code for place, code in enumerate(spoken, first) if code}

    def _mux_video(self, packets: Iterable[av.Packet[Any]]) -> None:
        for packet in packets:
            self._span = _Span.including(self._span, packet)
            # One packet is held back, since the last one's duration needs a correction.
            if self._held is not None:
                self._container.mux(self._held)
            self._held = packet

    def _release_last_packet(self) -> None:
        if self._held is None:
            return
        assert self._span is not None
        if self._plan.container != "matroska":
            self._held.duration = self._span.last_duration()
        self._container.mux(self._held)
        self._held = None

    def _state_video_length(self) -> None:
        if self._span is not None:
            tick = self._info.video.time_base
            # The picture is the first stream, so it is the first track.
            state_length(self.path, 0, self._span.shown * tick, self._span.decoded * tick)

    def abandon(self) -> None:
        """Remove the file and let go of the encoders."""
        abandon_output(self._container, self.path)


class _Span:
    """First and last instants of the video packets that were written, in ticks."""

    def __init__(self, packet: av.Packet[Any]) -> None:
        self.first_pts = packet.pts or 0
        self.first_dts = packet.dts or 0
        self.last_dts = self.first_dts
        self.end = self.first_pts

    @classmethod
    def including(cls, span: _Span | None, packet: av.Packet[Any]) -> _Span:
        span = span or cls(packet)
        pts = packet.pts or 0
        span.first_pts = min(span.first_pts, pts)
        span.last_dts = packet.dts or 0
        span.end = max(span.end, pts + (packet.duration or 0))
        return span

    @property
    def shown(self) -> int:
        """From the first frame to the end of the last."""
        return self.end - self.first_pts

    @property
    def decoded(self) -> int:
        """What the durations add up to in decoding order."""
        return self.last_dts - self.first_dts + self.last_duration()

    def last_duration(self) -> int:
        """
        Return the duration of the packet that is last in decoding order.

        MP4 adds up durations in decoding order; with B-frames the last of them has to make
        up for the delay, or the video's length is short of its last frame.
        """
        return max(1, self.shown - (self.last_dts - self.first_dts))


def _extra_boxes(plan: OutputPlan, info: MediaInfo) -> list[bytes]:
    if plan.container == "matroska":
        return []
    video, track = plan.video, info.video
    boxes: list[bytes] = []
    if video.is_padded:
        boxes.append(
            mp4.clean_aperture(video.width, video.height, video.pad_right, video.pad_bottom)
        )
    said = (
        (mp4.stereo_3d, track.stereo),
        (mp4.spherical, track.spherical),
        (mp4.mastering_display, track.mastering_display),
        (mp4.content_light, track.content_light),
        (mp4.ambient_light, track.ambient_light),
    )
    boxes += [boxed(side_data) for boxed, side_data in said if side_data is not None]
    return [box for box in boxes if box]  # empty where MP4 has no way to say it


def _describe(stream: Any, track: AudioTrack | SubtitleTrack) -> None:
    if track.language is not None:
        is_matroska = stream.container.format.name == "matroska"
        language = track.language if is_matroska else three_letters(track.language)
        stream.metadata["language"] = language
    stream.disposition = track.disposition


def _chapter(chapter: Chapter, number: int, origin: Fraction) -> dict[str, Any]:
    tick = Fraction(1, 1000)
    start, end = (round((at - origin) / tick) for at in (chapter.start, chapter.end))
    return numbered_chapter(number, max(0, start), end, tick)
