"""
Decode a video, once from its beginning to its end.

What becomes of the frames is left to others; a decoded frame is never written to.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
from av.container import InputContainer

from pipeline.avi_sound import FrameCount
from pipeline.channels import ChannelSorter
from pipeline.crop import Cropper
from pipeline.filters import PictureFilter
from pipeline.media import AudioTrack, FieldOrder, MediaInfo, SubtitleTrack
from pipeline.packets import repeats_picture, show_when_decoded
from pipeline.probe import check_size, open_media
from pipeline.settings import Limits
from pipeline.storage import refuse_what_storage_lost


@dataclass(frozen=True)
class VideoItem:
    """The next frame of the picture."""

    frame: av.VideoFrame


@dataclass(frozen=True)
class AudioItem:
    """The next decoded samples of one audio track."""

    track: AudioTrack
    frame: av.AudioFrame


@dataclass(frozen=True)
class PacketItem:
    """The next packet of a track that is copied as it is."""

    track: AudioTrack | SubtitleTrack
    packet: av.Packet[Any]


Item = VideoItem | AudioItem | PacketItem


class Reader:
    """
    Decodes one file once, from beginning to end; `items` opens and closes it.

    Attributes:
        damaged_packets: packets that could not be decoded and were passed over.
        resized_frames: frames of another size than the first.
        ended_early: the container broke off before its end.
    """

    def __init__(
        self, info: MediaInfo, copied: frozenset[int], limits: Limits, threads: int = 0
    ) -> None:
        """
        Args:
            copied: indices of the streams that yield packets.
            threads: of the picture's decoder; each holds some frames more. 0 takes every core.
        """
        self._threads = threads
        self.damaged_packets = 0
        self.resized_frames = 0
        self.ended_early = False
        self._info = info
        self._copied = copied
        self._limits = limits

    def items(self, since: Fraction | None = None) -> Generator[Item, None, None]:
        """
        Yield frames, samples and packets in the order in which the file holds them.

        Args:
            since: seconds on the file's clock; begin about the key frame before. A coarse or
                wrong index leads elsewhere, which the first frame's time shows.
        """
        with open_media(self._info.path) as container:
            picture: Any = container.streams[self._info.video.index]
            # Decoding frames in parallel loses the last ones before the place of a cut.
            picture.thread_type = "SLICE" if self._info.is_truncated else "AUTO"
            picture.thread_count = self._threads
            if since is not None:
                # A file that cannot be searched is read from where it stands.
                with contextlib.suppress(av.error.FFmpegError):
                    container.seek(math.floor(since / picture.time_base), stream=picture)
            yield from self._items(container)

    def _items(self, container: InputContainer) -> Iterator[Item]:
        tracks = self._info.tracks
        wanted = [self._info.video.index, *tracks]
        streams = [container.streams[index] for index in wanted]
        cropper, marker = Cropper(self._info.video.crop), _marker(self._info.video.field_order)
        sorters = {
            track.index: ChannelSorter(track.layout, track.channel_order)
            for track in self._info.audio
        }
        counts = {
            track.index: FrameCount(container.streams[track.index])
            for track in self._info.audio
            if track.is_counted
        }
        for packet in self._packets(container, streams):
            # Not packet.stream_index: PyAV leaves it 0 on the packets that flush decoders.
            index = packet.stream.index
            track = tracks.get(index)
            if index in counts:
                counts[index].place(packet)
            if track is None:
                yield from self._pictures(packet, cropper, marker)
            elif index in self._copied:
                if packet.size:
                    yield PacketItem(track, packet)
            elif isinstance(track, AudioTrack):
                blocks = map(sorters[index].sorted, self._decode(packet))
                yield from (AudioItem(track, block) for block in blocks)

    def _pictures(
        self, packet: av.Packet[Any], cropper: Cropper, marker: PictureFilter | None
    ) -> Iterator[VideoItem]:
        if repeats_picture(packet):
            return  # FFmpeg's decoder has an error for it
        if self._info.video.has_times_as_decoding:
            show_when_decoded(packet)
        for frame in self._decode(packet):
            # A stream may change its size halfway.
            check_size(frame.width, frame.height, self._info.path, self._limits)
            shown = cropper.cropped(frame)
            video = self._info.video
            self.resized_frames += (shown.width, shown.height) != (video.width, video.height)
            # Colour that is to be thinned out by lines: the scaler does it field by field where the
            # frame itself is marked, and some decoders mark none.
            has_all_lines = shown.format.chroma_height(2) > 1
            if marker is not None and has_all_lines and not shown.interlaced_frame:
                shown = marker.filtered(shown)
            yield VideoItem(shown)

    def _packets(self, container: InputContainer, streams: list[Any]) -> Iterator[av.Packet[Any]]:
        packets = container.demux(streams)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                refuse_what_storage_lost(self._info.path, error)
                # The rest of a damaged container is out of reach; flush the decoders, so
                # that the frames they still hold are not lost.
                self.ended_early = True
                yield from (_flush_packet(stream) for stream in streams)
                return
            yield packet

    def _decode(self, packet: av.Packet[Any]) -> list[Any]:
        try:
            return packet.decode()
        except av.error.EOFError:
            return []
        except av.error.FFmpegError:
            self.damaged_packets += 1
            return []


def _marker(order: FieldOrder) -> PictureFilter | None:
    if order is FieldOrder.PROGRESSIVE:
        return None
    return PictureFilter("setfield", f"mode={order.value}")


def _flush_packet(stream: Any) -> av.Packet[Any]:
    packet: av.Packet[Any] = av.Packet()
    packet.stream = stream
    return packet
