"""
What a file says beside picture and sound: the inventory of an original, the audit of a
finished file.

Both ask the same questions of the bytes; an audit asks them of everything, an inventory of
what can be had quickly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition

from pipeline.audit_avi import avi_findings
from pipeline.audit_matroska import matroska_findings
from pipeline.audit_mp4 import mp4_findings, neutral_title
from pipeline.boxes import completeness
from pipeline.encoder_strings import count_signatures, signatures_in, signatures_of
from pipeline.errors import Cancelled
from pipeline.language import is_language
from pipeline.probe import open_media
from pipeline.sei import (
    CODECS_WITH_SEI,
    length_size_of,
    user_data_in,
    user_data_in_extradata,
)
from pipeline.subtitle_header import header_findings
from pipeline.subtitles import names_a_speaker
from pipeline.vorbis_comment import comment_findings

_WALKS = {"mp4": mp4_findings, "matroska": matroska_findings, "riff": avi_findings}
# Of the tags that FFmpeg shows, those that say how to play the file.
_PLAYBACK_TAGS = frozenset({"language", "major_brand", "minor_version", "compatible_brands"})
_KEPT_KINDS = frozenset({"video", "audio", "subtitle"})
_PACKETS_OF_AN_INVENTORY = 100
# Some streams have few packets or none: the search for theirs must end.
_LOOK_AROUND = 20
_MOST_FINDINGS = 100


@dataclass(frozen=True)
class Audit:
    """
    What a finished file still says.

    Attributes:
        findings: in words; empty when clean.
        in_copied_packets: what lies inside the packets of copied tracks, which stay bit for
            bit. Not findings: the file was asked to keep these packets as they are.
    """

    findings: tuple[str, ...]
    in_copied_packets: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def audit(
    path: Path, copied: Collection[int] = (), cancelled: Callable[[], bool] = lambda: False
) -> Audit:
    """
    Look at every box and every byte of a finished file.

    Args:
        copied: indices of the streams, in this file, whose packets are the original's.
        cancelled: asked now and then, since a large file takes its time.

    Raises:
        Cancelled: `cancelled` said so.
        UnreadableMedia: FFmpeg cannot open the file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        signatures = signatures_of(file, cancelled)
    with open_media(path, packets_only=True, with_hidden=True) as container:
        packets = _look_into_packets(container, bool(signatures), None, cancelled)
        streams = list(_stream_findings(container))
    own = [f for index, f in packets.user_data if index not in copied]
    kept = [f for index, f in packets.user_data if index in copied]
    elsewhere = signatures - packets.signatures_of(copied)
    kept += _signature_findings(signatures & packets.signatures_of(copied))
    if packets.names_speakers:
        kept.append("names of speakers in the subtitles")
    findings = (*_walk(path), *streams, *own, *_signature_findings(elsewhere), *packets.damage)
    return Audit(_distinct(findings), _distinct(kept))


def inventory(path: Path, cancelled: Callable[[], bool] = lambda: False) -> tuple[str, ...]:
    """
    Return what a file carries beside picture and sound, in words for a report.

    Of the packets only the first hundred of each stream are looked into.

    Raises:
        Cancelled: `cancelled` said so.
        UnreadableMedia: FFmpeg cannot open the file.
        OSError: it cannot be read.
    """
    with open_media(path, packets_only=True) as container:
        packets = _look_into_packets(container, True, _PACKETS_OF_AN_INVENTORY, cancelled)
        streams = list(_stream_findings(container))
    signed = sum(packets.signatures.values(), Counter[str]())
    user_data = [f for _, f in packets.user_data]
    return _distinct((*_walk(path), *streams, *user_data, *_signature_findings(signed)))


def _walk(path: Path) -> Iterator[str]:
    container = completeness(path).container
    if container is not None:
        with path.open("rb") as file:
            yield from _WALKS[container](file)


def _stream_findings(container: InputContainer) -> Iterator[str]:
    is_walked = {"mp4", "matroska", "avi"} & set(container.format.name.split(","))
    if not is_walked:
        yield from _tag_findings(container.metadata)
    for stream in container.streams:
        if stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails):
            yield "attached picture"
        if stream.type == "subtitle" and stream.codec_context is not None:
            context = stream.codec_context
            yield from header_findings(
                context.codec.canonical_name, bytes(context.extradata or b"")
            )
        if not is_walked:  # the walks tell better: to FFmpeg, MP4's chapters are a data stream
            yield from _tag_findings(stream.metadata)
            if stream.type not in _KEPT_KINDS:
                yield f"{stream.type} track"
    for chapter in container.chapters():
        if not neutral_title(chapter.get("metadata", {}).get("title", "")):
            yield "chapter titles"


def _tag_findings(tags: dict[str, str]) -> Iterator[str]:
    yield from (f"tag {name}" for name in tags if name not in _PLAYBACK_TAGS)
    if not is_language(tags.get("language", "")):
        yield "words in place of a language"


@dataclass
class _InPackets:
    """
    What lies inside the packets and the codecs' own headers, by stream index.

    `names_speakers` of subtitles are part of the content and no finding: they always stay.
    """

    user_data: list[tuple[int, str]] = field(default_factory=list)
    signatures: dict[int, Counter[str]] = field(default_factory=dict)
    names_speakers: bool = False
    damage: list[str] = field(default_factory=list)

    def signatures_of(self, streams: Collection[int]) -> Counter[str]:
        """Return the signatures in these streams alone."""
        chosen = (found for index, found in self.signatures.items() if index in streams)
        return sum(chosen, Counter[str]())


def _look_into_packets(
    container: InputContainer,
    is_signed: bool,
    most: int | None,
    cancelled: Callable[[], bool],
) -> _InPackets:
    """
    Look for user data and tags, and for signatures where the file `is_signed`.

    Args:
        most: packets of each stream to look into; None for all.
    """
    result = _InPackets()
    streams = [s for s in container.streams if s.codec_context is not None]
    looks = {s.index: _Look(s) for s in streams}
    for look in looks.values():
        result.user_data += ((look.index, finding) for finding in look.at_extradata())
        result.signatures[look.index] = signatures_in(look.extradata)
    chosen = [s for s in streams if looks[s.index].is_worth_it or is_signed]
    if not chosen:
        return result
    try:
        for packet in _first_packets(container, chosen, most):
            if cancelled():
                raise Cancelled
            look, data = looks[packet.stream_index], bytes(packet)
            if look.has_new_header(packet):
                result.user_data += ((look.index, finding) for finding in look.at_extradata())
                count_signatures(look.extradata, result.signatures[look.index])
            if look.is_worth_it:  # most packets are sound's, which have no such places
                result.user_data += ((look.index, finding) for finding in look.at(data))
                result.names_speakers |= look.names_a_speaker_at(data)
            if is_signed:
                count_signatures(data, result.signatures[look.index])
    except av.error.FFmpegError as error:
        result.damage.append(f"packets that cannot be read ({error.strerror})")
    return result


def _first_packets(
    container: InputContainer, streams: list[Any], most: int | None
) -> Iterator[av.Packet[Any]]:
    """Yield packets until each stream has had `most`; all of them for None."""
    # One without content is the demuxer's sign that a stream has ended.
    packets = (packet for packet in container.demux(streams) if packet.size)
    if most is None:
        yield from packets
        return
    seen: Counter[int] = Counter()
    for packet in packets:
        seen[packet.stream_index] += 1
        if seen[packet.stream_index] <= most:
            yield packet
        elif min(seen[s.index] for s in streams) >= most or seen.total() >= most * _LOOK_AROUND:
            return


class _Look:
    """
    How one stream's packets are read.

    Attributes:
        is_worth_it: the codec's packets have places for what is looked for, signatures aside.
        extradata: the codec's header for the packets that come.
    """

    def __init__(self, stream: Any) -> None:
        self.index = stream.index
        self.extradata = bytes(stream.codec_context.extradata or b"")
        self._codec = stream.codec_context.name
        self._has_sei = self._codec in CODECS_WITH_SEI
        self._is_ass = stream.codec_context.codec.canonical_name == "ass"
        self._length_size = length_size_of(self.extradata, self._codec) if self._has_sei else None
        self.is_worth_it = self._has_sei or self._is_ass
        self._headers = {self.extradata}

    def has_new_header(self, packet: av.Packet[Any]) -> bool:
        """Take the header of a packet that brings one; tell whether none was like it before."""
        # As in MP4 that a program has joined from parts without encoding them anew.
        if not packet.has_sidedata("new_extradata"):
            return False
        self.extradata = bytes(packet.get_sidedata("new_extradata"))
        if self._has_sei:
            self._length_size = length_size_of(self.extradata, self._codec)
        is_new = self.extradata not in self._headers
        self._headers.add(self.extradata)
        return is_new

    def at_extradata(self) -> Iterator[str]:
        """Yield findings in the codec's header."""
        yield from comment_findings(self.extradata)
        if self._has_sei and self.extradata:
            yield from _user_data_words(user_data_in_extradata(self.extradata, self._codec))

    def at(self, packet: bytes) -> Iterator[str]:
        """Yield findings in one packet."""
        if self._has_sei:
            yield from _user_data_words(user_data_in(packet, self._codec, self._length_size))

    def names_a_speaker_at(self, packet: bytes) -> bool:
        """Whether one packet of subtitles says whose words it holds."""
        return self._is_ass and names_a_speaker(packet)


def _user_data_words(messages: Iterable[bytes]) -> Iterator[str]:
    for message in messages:
        text = message[16:]
        encoder = next((name for name in ("x264", "x265") if text.startswith(name.encode())), "")
        yield f"{encoder} settings in SEI" if encoder else "user data in SEI"


def _signature_findings(signatures: Counter[str]) -> list[str]:
    return [f"the words {text!r}" for text in signatures]


def _distinct(findings: Iterable[str]) -> tuple[str, ...]:
    """Return each finding once, in the order of the first, and not without end."""
    distinct: dict[str, None] = {}
    for finding in findings:
        distinct[finding] = None
        if len(distinct) > _MOST_FINDINGS:
            distinct.popitem()
            distinct["more"] = None
            break
    return tuple(distinct)
