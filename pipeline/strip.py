"""
`mode: strip`: the same packets in a new file of the same container, without the metadata.

Nothing is decoded: picture, sound and subtitles stay bit for bit, so what lies inside the
packets stays too. Data tracks, attachments and cover pictures go.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer, OutputContainer

from pipeline.aspect import set_aspect, state_aspects
from pipeline.avi_sound import FrameCount, set_bit_rates, state_clocks, uneven_tracks
from pipeline.chapters import chapters_for, numbered_chapter
from pipeline.codec_header import clean_header
from pipeline.edits import state_length
from pipeline.errors import Cancelled, UnreadableMedia, UnsupportedMedia
from pipeline.frame_rate import stated_rates
from pipeline.hidden import HiddenPackets, HiddenPictures
from pipeline.language import language_code
from pipeline.mp4 import LOWEST_MP3_RATE, insert_in_video_entry, left_out_boxes
from pipeline.output import (
    MP4_MUXERS,
    abandon_output,
    failure_told,
    is_taken_by_the_book,
    open_output,
    open_output_for_any_codec,
    refusal_told,
)
from pipeline.packets import keep_joined, packet_like, repeats_picture, show_when_decoded
from pipeline.picture_track import (
    frame_rate_of,
    has_alpha_beside,
    has_times_as_decoding,
    sample_aspect,
)
from pipeline.probe import (
    NOT_A_PICTURE,
    check_size,
    check_streams,
    check_time,
    main_video,
    open_media,
    picture_end,
    refuse_encrypted,
    refuse_still_picture,
    telemetry_words,
)
from pipeline.quicktime_language import state_languages
from pipeline.settings import Limits
from pipeline.storage import refuse_what_storage_lost
from pipeline.subtitles import unnamed_webvtt
from pipeline.telemetry import telemetry_in, text_tracks
from pipeline.timeline import JoinedClock, PacketClock
from pipeline.tta import end_tick, end_with_file

_WITH_TAGS = MP4_MUXERS | {"avi"}
# Codecs whose kinds of pixels are told apart by the tag alone, in Matroska too. Of others it takes
# no tag but Windows' ones, and those of QuickTime may come from it.
_OF_TAGS = frozenset({"hap", "rawvideo", "utvideo"})
_MATROSKA = frozenset({"matroska", "webm"})
# Old phones put AMR and H.263 into MP4 and its kind, some cameras G.711; browsers H.264 into WebM.
_BESIDE = {"mp4": ("3gp", "mov"), "mov": ("3gp", "mp4"), "webm": ("matroska",)}
# Where the speakers are not known, FFmpeg's muxer of FLV describes them, for codecs that came later
# alone; of others, as Speex, it ends the process.
_LAYOUT_IN_FLV = {"1 channels": "mono", "2 channels": "stereo"}
_NAMING_AS_WINDOWS = frozenset({"matroska", "avi"})
# Their muxers reckon from times how long all frames are shown but the last.
_REACHING_END = MP4_MUXERS | _MATROSKA
# Sound of which FFmpeg's muxer of MP4 writes how many samples there are, and no packet's time.
_PCM = re.compile(r"pcm_(?:[sfu](\d+)[bl]?e?|alaw|mulaw)")
_MOST_SHIFT = Fraction(1, 100)  # seconds; times that were rounded to milliseconds jitter
# Not MXF and GXF: FFmpeg's muxers sign those with its name, packages' numbers and time codes.
_MUXER_OF = {
    "avi": "avi",
    "mpegts": "mpegts",
    "mpeg": "vob",
    "flv": "flv",
    "asf": "asf",
    "ogg": "ogg",
    "nut": "nut",
}


@dataclass(frozen=True)
class Stripped:
    """
    What was copied.

    Attributes:
        frames: pictures that are shown.
        streams: indices in the output.
        dropped: streams that were left out, in words.
        ended_early: the original breaks off.
    """

    frames: int
    streams: range
    container: str
    video_codec: str
    dropped: tuple[str, ...]
    ended_early: bool


def strip(
    original: Path,
    output: Path,
    limits: Limits,
    *,
    progress: Callable[[int, int | None], None],
    cancelled: Callable[[], bool],
) -> Stripped:
    """
    Copy `original`'s picture, sound and subtitles into `output`, without metadata.

    Args:
        progress: called with the packets of the picture copied so far and their number, if known.

    Raises:
        UnreadableMedia: not a video.
        LimitExceeded: beyond one of `limits`.
        UnsupportedMedia: encrypted, of a container that cannot be written, or with tracks or
            times that it does not take.
        Cancelled: `cancelled` said so.
        OutputFailed: `output` cannot be written.
    """
    with open_media(original) as source:
        kept = _kept_streams(source, original, limits)
        muxer = _taking_all(kept, muxer_for(source, original))
        with failure_told(output):
            return _copy(source, kept, original, output, muxer, progress, cancelled)


def muxer_for(source: InputContainer, path: Path) -> str:
    """
    Return FFmpeg's name of the muxer for an opened file's own container.

    Raises:
        UnsupportedMedia: there is none.
    """
    names = source.format.name.split(",")
    if "matroska" in names:
        return "webm" if path.suffix.lower() == ".webm" else "matroska"
    if "mov" in names:
        # QuickTime of cameras before 2005 or so has no brand.
        brand = source.metadata.get("major_brand", "qt" if path.suffix.lower() == ".mov" else "")
        return "mov" if brand.startswith("qt") else "mp4"
    muxer = _MUXER_OF.get(names[0])
    if muxer is None:
        raise UnsupportedMedia(
            f"{path.name} is {source.format.long_name}, which cannot be written;"
            " use mode: protect, which makes an MP4."
        )
    return muxer


def _taking_all(kept: list[Any], muxer: str) -> str:
    """Return `muxer`, or one of the same kind where only that takes all that is kept."""
    muxers = (muxer, *_BESIDE.get(muxer, ()))
    return next((m for m in muxers if _first_strange(kept, m) is None), muxer)


def _first_strange(kept: list[Any], muxer: str) -> Any:
    """Return the first stream that a container does not take by the book, if any."""
    known = (s for s in kept if s.codec_context is not None)
    return next((s for s in known if not is_taken_by_the_book(muxer, s)), None)


def _kept_streams(source: InputContainer, path: Path, limits: Limits) -> list[Any]:
    refuse_still_picture(source, path)
    refuse_encrypted(source, path)
    check_streams(source, path, limits)
    telemetry = _telemetry_of(path) if text_tracks(source) else ()
    unnamed = unnamed_webvtt(source, path)
    kept = [
        s
        for s in source.streams
        if s.type in ("video", "audio", "subtitle")
        and (s.codec_context is not None or s.index in unnamed)
        and not s.disposition & NOT_A_PICTURE
        and s.index not in telemetry
        and _is_described(s)
    ]
    video = main_video(source, path)
    check_size(video.codec_context.width, video.codec_context.height, path, limits)
    check_time(source, video, path, limits)
    return kept


def _is_described(stream: Any) -> bool:
    """
    Whether as much is known of a track as FFmpeg's muxers ask for.

    It is not of one that a broadcast announces and does not send, or sends scrambled.
    """
    return stream.type != "audio" or stream.codec_context.sample_rate > 0


def _telemetry_of(path: Path) -> frozenset[int]:
    with open_media(path, packets_only=True) as ahead:  # the packets of `source` are to be copied
        return telemetry_in(ahead)


def _corrections(
    kept: list[Any], path: Path, muxer: str
) -> dict[int, Callable[[av.Packet[Any]], None]]:
    """Return what mends the times of packets, by the index of streams that need it."""
    if muxer == "avi":
        with open_media(path, packets_only=True) as ahead:
            uneven = uneven_tracks(ahead, path)
        return {s.index: FrameCount(s).place for s in kept if s.index in uneven}
    pictures = [s.index for s in kept if s.type == "video"] if muxer in _MATROSKA else []
    return {index: show_when_decoded for index in pictures if _has_times_as_decoding(path, index)}


def _has_times_as_decoding(path: Path, index: int) -> bool:
    with open_media(path) as ahead:
        return has_times_as_decoding(ahead, ahead.streams[index])


def _copy(
    source: InputContainer,
    kept: list[Any],
    original: Path,
    output: Path,
    muxer: str,
    progress: Callable[[int, int | None], None],
    cancelled: Callable[[], bool],
) -> Stripped:
    video = main_video(source, original)
    boxes = left_out_boxes(original) if muxer in MP4_MUXERS else {}
    strange = _first_strange(kept, muxer)
    if strange is None:
        target = open_output(
            output,
            muxer,
            may_move_index=not boxes,  # where boxes are added to it afterwards it stays at the end
            is_unofficial=muxer == "mp4" and any(map(_is_mp3_of_low_rate, kept)),
        )
    elif muxer in _NAMING_AS_WINDOWS and not source.chapters():
        target = open_output_for_any_codec(output, muxer)
    else:
        raise UnsupportedMedia(
            f"{original.name} holds {strange.codec_context.name}, which cannot be written as it is"
            f" into {muxer}; use mode: protect."
        )
    with refusal_told(original.name, muxer), _completed(target, output):
        # The container may say otherwise than the codec, or be the only one to say.
        aspects = {s.index: a for s in kept if s.type == "video" and (a := sample_aspect(s))}
        streams = {s.index: _copy_of(s, target, muxer, aspects.get(s.index)) for s in kept}
        if muxer in _MATROSKA:
            _set_rates(streams, kept, stated_rates(source, original))
        if muxer == "avi":
            set_bit_rates(kept, streams, original)
        target.set_chapters(chapters_for(muxer, _chapters(source)))
        corrections = _corrections(kept, original, muxer)
        tracks = {
            s.index: _Track(s, streams[s.index], target, muxer, original, corrections.get(s.index))
            for s in kept
        }
        picture = tracks[video.index]
        for track in tracks.values():
            track.keep_with(picture)
        ended_early = _copy_packets(
            source,
            tracks,
            original,
            lambda: progress(picture.packets, video.frames or None),
            cancelled,
        )
    if not picture.frames:
        raise UnreadableMedia(f"{original.name} has no frame that can be read; copy it again.")
    state_aspects(output, muxer, list(aspects.values()))
    if boxes:
        insert_in_video_entry(output, list(boxes.values()), replacing=boxes)
    if muxer == "avi":
        counts = {index: track.packets for index, track in tracks.items()}
        state_clocks(kept, counts, original, output)
    if muxer in MP4_MUXERS:
        # The muxer leaves out the others.
        filled = {index: track for index, track in tracks.items() if track.packets}
        _state_ends(output, list(filled.values()))
        if muxer == "mov":
            spoken = (streams[index].metadata.get("language") for index in filled)
            state_languages(output, {n: code for n, code in enumerate(spoken) if code})
    dropped = tuple(_in_words(s) for s in source.streams if s.index not in streams)
    codec = video.codec_context.codec.canonical_name
    return Stripped(picture.frames, range(len(streams)), muxer, codec, dropped, ended_early)


def _set_rates(streams: Mapping[int, Any], kept: list[Any], rates: Mapping[int, Fraction]) -> None:
    for stream in kept:
        if stream.type == "video":
            # Without one FFmpeg states what the codec says, such as a frame each tick.
            streams[stream.index].codec_context.framerate = rates.get(stream.index, Fraction(0))


def _copy_packets(
    source: InputContainer,
    tracks: Mapping[int, _Track],
    original: Path,
    progress: Callable[[], None],
    cancelled: Callable[[], bool],
) -> bool:
    """Copy what is kept to its tracks; return whether the original broke off before its end."""
    packets = source.demux([source.streams[index] for index in tracks])
    while not cancelled():
        try:
            packet = next(packets)
        except StopIteration:
            return False
        except av.error.FFmpegError as error:
            refuse_what_storage_lost(original, error)
            return True
        track = tracks[packet.stream.index]  # stream_index is 0 on flushing packets
        track.copy(packet)
        if packet.size and track.pictures is not None:
            progress()
    raise Cancelled


def _is_mp3_of_low_rate(stream: Any) -> bool:
    context = stream.codec_context
    return context.codec.canonical_name == "mp3" and context.sample_rate < LOWEST_MP3_RATE


@contextlib.contextmanager
def _completed(target: OutputContainer, output: Path) -> Iterator[None]:
    """Complete the file afterwards; on failure it is gone."""
    try:
        yield
    except BaseException:
        abandon_output(target, output)
        raise
    target.close()


def _copy_of(stream: Any, target: Any, muxer: str, aspect: Fraction | None) -> Any:
    if stream.codec_context is None:
        copy = target.add_mux_stream("webvtt", time_base=stream.time_base)
    else:
        copy = _copy_of_named(stream, target, muxer, aspect)
    if language := language_code(stream.metadata.get("language")):
        copy.metadata["language"] = language
    copy.disposition = stream.disposition
    return copy


def _copy_of_named(stream: Any, target: Any, muxer: str, aspect: Fraction | None) -> Any:
    copy = target.add_stream_from_template(stream, opaque=True)
    keeps_tag = muxer in _WITH_TAGS or stream.codec_context.name in _OF_TAGS
    if keeps_tag and stream.type == "video":
        # hvc1 and hev1, or the kinds of ProRes, are told apart by this alone.
        copy.codec_context.codec_tag = stream.codec_context.codec_tag
    if muxer == "avi" and stream.codec_context.name == "dvvideo":
        # Of type 1 the clock has 60,000 ticks a second, which the muxer would fill with chunks.
        copy.time_base = 1 / frame_rate_of(stream)
    if muxer == "flv" and stream.type == "audio":
        layout = stream.codec_context.layout.name
        copy.codec_context.layout = _LAYOUT_IN_FLV.get(layout, layout)
    if aspect is not None:
        set_aspect(copy, muxer, aspect)
    may_have_alpha = stream.type == "video" and muxer in _MATROSKA
    if may_have_alpha and has_alpha_beside(stream):
        copy.metadata["alpha_mode"] = "1"
    clean_header(copy)
    return copy


class _Track:
    """One track on its way into the copy."""

    def __init__(
        self,
        stream: Any,
        copy: Any,
        target: Any,
        muxer: str,
        path: Path,
        correct: Callable[[av.Packet[Any]], None] | None,
    ) -> None:
        """
        Args:
            stream: of the original, which lies at `path`.
            copy: the stream of `target` that takes its packets.
            muxer: by which these are written in the end.
            correct: mends the times of a packet.
        """
        sample_rate = stream.codec_context.sample_rate if stream.type == "audio" else None
        self._is_sound = stream.type == "audio"
        self.packets = 0
        self.pictures = HiddenPictures(path.name) if stream.type == "video" else None
        self.time_base: Fraction = stream.time_base
        self._copy, self._target, self._correct = copy, target, correct
        # It can state no gap but by pictures that repeat the one before.
        self._counts_pictures = muxer == "ogg"
        self._is_unnamed = stream.codec_context is None
        self._end = end_tick(stream)
        self._hidden = self.pictures or HiddenPackets(stream.type, muxer)
        self._clock = PacketClock(stream.time_base, stream.type, muxer, sample_rate)
        self._name, self._index = path.name, stream.index
        self._bytes_a_tick = _bytes_a_tick(stream) if muxer in MP4_MUXERS else None
        self._counted_to: Fraction | None = None
        self._joins: JoinedClock | None = None
        self._usual = 0
        self._picture_end = None
        if stream.type == "video" and muxer in _REACHING_END:
            self._picture_end = picture_end(stream.container, stream, path)
        if stream.type == "video" and muxer in MP4_MUXERS:
            # Of a packet without a duration, or the last picture would be shown for no time at all.
            rate = stream.guessed_rate or frame_rate_of(stream)
            self._usual = round(1 / (rate * stream.time_base))

    @property
    def frames(self) -> int:
        """Packets of pictures that are shown."""
        return self.pictures.shown if self.pictures else 0

    def keep_with(self, picture: _Track) -> None:
        """Have sound go on with the picture where the file's clock starts anew."""
        if self._is_sound:
            self._joins = JoinedClock(picture._clock.shifts, self.time_base)

    def copy(self, packet: av.Packet[Any]) -> None:
        """Write a packet of the original, or leave it out where the edit list does."""
        if not packet.size and not (self._counts_pictures and repeats_picture(packet)):
            return
        if self._correct is not None:
            self._correct(packet)
        if self._joins is not None:
            keep_joined(packet, self._joins)
        packet.duration = packet.duration or self._usual
        if self._end is not None:
            end_with_file(packet, self._end)
        for kept in self._hidden.kept(packet):
            pts, length = kept.pts, kept.duration
            kept.pts, kept.dts = self._clock.place(pts, kept.dts, length)
            if self._picture_end is not None and kept.pts == pts:
                # As if each were the last: of no other one a length is written.
                kept.duration = self._picture_end.length_of_last(pts, length, self.time_base) or 0
            if self._bytes_a_tick:
                self._refuse_gap(kept.pts, kept.size / self._bytes_a_tick)
            if self._is_unnamed:
                kept = packet_like(kept, bytes(kept))  # without what lies beside: comments, too
            kept.stream = self._copy
            self._target.mux(kept)
            self.packets += 1

    def _refuse_gap(self, at: int, length: Fraction) -> None:
        """
        Args:
            at, length: of the next packet, in ticks. A fragment's last is said to fill the gap.

        Raises:
            UnsupportedMedia: it would be heard at another time.
        """
        counted_to = Fraction(at) if self._counted_to is None else self._counted_to
        if abs(at - counted_to) * self.time_base > _MOST_SHIFT:
            raise UnsupportedMedia(
                f"{self._name} has a gap in its sound (stream {self._index}), and a copy of its"
                " packets would be out of step after it; use mode: protect."
            )
        self._counted_to = counted_to + length


def _bytes_a_tick(stream: Any) -> Fraction | None:
    """Return how much PCM fills a tick of its stream; None of anything else."""
    context = stream.codec_context
    kind = _PCM.fullmatch(context.name)
    if kind is None:
        return None
    bits = int(kind[1] or 8)
    return Fraction(bits, 8) * context.channels * context.sample_rate * stream.time_base


def _state_ends(output: Path, tracks: list[_Track]) -> None:
    """Have tracks of pictures end with the last one that is shown."""
    for place, track in enumerate(tracks):
        if track.pictures is not None and track.pictures.has_hidden_end:
            length = track.pictures.length * track.time_base
            state_length(output, place, length, rounded=math.floor)


def _in_words(stream: Any) -> str:
    if stream.type == "subtitle" and stream.codec_context is not None:
        return telemetry_words(stream)  # no other one is left out
    kind = "attached picture" if stream.disposition & NOT_A_PICTURE else f"{stream.type} track"
    return f"{kind} (stream {stream.index})"


def _chapters(source: InputContainer) -> list[Any]:
    return [
        numbered_chapter(n, c["start"], c["end"], c["time_base"] or Fraction(1, 1000))
        for n, c in enumerate(source.chapters())
    ]
