"""
Walk the EBML elements of a Matroska or WebM file.

Clusters are passed over; where one's size is unknown, from block to block. Hostile sizes
end a walk, they never raise or loop.

Source: RFC 8794 (EBML), RFC 9559 (Matroska).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipeline.parts import UNPARSED, Part, payload_of

EBML_MAGIC = b"\x1a\x45\xdf\xa3"
_MOST_ELEMENTS = 2_000_000
# How many are looked at to tell whether a file is whole: one header, one segment, some entries.
_MOST_JUDGED = 1000
_DEEPEST = 16

_TRACKS = ("Segment", "Tracks")
_TRACK_ENTRY = (*_TRACKS, "TrackEntry")
_VIDEO_TRACK, _SUBTITLE_TRACK = 1, 17
_SHORT = 32  # bytes: numbers, and names of codecs
_DURATION = ("Segment", "Info", "Duration")

_TOP = {0x1A45DFA3: "EBML", 0x18538067: "Segment"}
_LEVEL_1 = {
    0x114D9B74: "SeekHead",
    0x1549A966: "Info",
    0x1654AE6B: "Tracks",
    0x1043A770: "Chapters",
    0x1F43B675: "Cluster",
    0x1C53BB6B: "Cues",
    0x1941A469: "Attachments",
    0x1254C367: "Tags",
}
_NAMES = {
    **_TOP,
    **_LEVEL_1,
    0xEC: "Void",
    0xBF: "CRC-32",
    # EBML header
    0x4286: "EBMLVersion",
    0x42F7: "EBMLReadVersion",
    0x42F2: "EBMLMaxIDLength",
    0x42F3: "EBMLMaxSizeLength",
    0x4282: "DocType",
    0x4287: "DocTypeVersion",
    0x4285: "DocTypeReadVersion",
    # SeekHead
    0x4DBB: "Seek",
    0x53AB: "SeekID",
    0x53AC: "SeekPosition",
    # Info
    0x73A4: "SegmentUID",
    0x7384: "SegmentFilename",
    0x3CB923: "PrevUID",
    0x3C83AB: "PrevFilename",
    0x3EB923: "NextUID",
    0x3E83BB: "NextFilename",
    0x4444: "SegmentFamily",
    0x2AD7B1: "TimestampScale",
    0x4489: "Duration",
    0x4461: "DateUTC",
    0x7BA9: "Title",
    0x4D80: "MuxingApp",
    0x5741: "WritingApp",
    # Tracks
    0xAE: "TrackEntry",
    0xD7: "TrackNumber",
    0x73C5: "TrackUID",
    0x83: "TrackType",
    0xB9: "FlagEnabled",
    0x88: "FlagDefault",
    0x55AA: "FlagForced",
    0x55AB: "FlagHearingImpaired",
    0x55AC: "FlagVisualImpaired",
    0x55AD: "FlagTextDescriptions",
    0x55AE: "FlagOriginal",
    0x55AF: "FlagCommentary",
    0x9C: "FlagLacing",
    0x6DE7: "MinCache",
    0x6DF8: "MaxCache",
    0x23E383: "DefaultDuration",
    0x234E7A: "DefaultDecodedFieldDuration",
    0x23314F: "TrackTimestampScale",
    0x55EE: "MaxBlockAdditionID",
    0x41E4: "BlockAdditionMapping",
    0x41F0: "BlockAddIDValue",
    0x41A4: "BlockAddIDName",
    0x41E7: "BlockAddIDType",
    0x41ED: "BlockAddIDExtraData",
    0x536E: "Name",
    0x22B59C: "Language",
    0x22B59D: "LanguageBCP47",
    0x86: "CodecID",
    0x63A2: "CodecPrivate",
    0x258688: "CodecName",
    0x7446: "AttachmentLink",
    0x3A9697: "CodecSettings",
    0x3B4040: "CodecInfoURL",
    0x26B240: "CodecDownloadURL",
    0xAA: "CodecDecodeAll",
    0x56AA: "CodecDelay",
    0x56BB: "SeekPreRoll",
    0xE0: "Video",
    0x9A: "FlagInterlaced",
    0x9D: "FieldOrder",
    0x53B8: "StereoMode",
    0x53C0: "AlphaMode",
    0xB0: "PixelWidth",
    0xBA: "PixelHeight",
    0x54AA: "PixelCropBottom",
    0x54BB: "PixelCropTop",
    0x54CC: "PixelCropLeft",
    0x54DD: "PixelCropRight",
    0x54B0: "DisplayWidth",
    0x54BA: "DisplayHeight",
    0x54B2: "DisplayUnit",
    0x2EB524: "UncompressedFourCC",
    0x55B0: "Colour",
    0x55B1: "MatrixCoefficients",
    0x55B2: "BitsPerChannel",
    0x55B3: "ChromaSubsamplingHorz",
    0x55B4: "ChromaSubsamplingVert",
    0x55B5: "CbSubsamplingHorz",
    0x55B6: "CbSubsamplingVert",
    0x55B7: "ChromaSitingHorz",
    0x55B8: "ChromaSitingVert",
    0x55B9: "Range",
    0x55BA: "TransferCharacteristics",
    0x55BB: "Primaries",
    0x55BC: "MaxCLL",
    0x55BD: "MaxFALL",
    0x55D0: "MasteringMetadata",
    0x55D1: "PrimaryRChromaticityX",
    0x55D2: "PrimaryRChromaticityY",
    0x55D3: "PrimaryGChromaticityX",
    0x55D4: "PrimaryGChromaticityY",
    0x55D5: "PrimaryBChromaticityX",
    0x55D6: "PrimaryBChromaticityY",
    0x55D7: "WhitePointChromaticityX",
    0x55D8: "WhitePointChromaticityY",
    0x55D9: "LuminanceMax",
    0x55DA: "LuminanceMin",
    0x7670: "Projection",
    0x7671: "ProjectionType",
    0x7672: "ProjectionPrivate",
    0x7673: "ProjectionPoseYaw",
    0x7674: "ProjectionPosePitch",
    0x7675: "ProjectionPoseRoll",
    0xE1: "Audio",
    0xB5: "SamplingFrequency",
    0x78B5: "OutputSamplingFrequency",
    0x9F: "Channels",
    0x6264: "BitDepth",
    0x52F1: "Emphasis",
    0x6D80: "ContentEncodings",
    0x6240: "ContentEncoding",
    0x5031: "ContentEncodingOrder",
    0x5032: "ContentEncodingScope",
    0x5033: "ContentEncodingType",
    0x5034: "ContentCompression",
    0x4254: "ContentCompAlgo",
    0x4255: "ContentCompSettings",
    0x5035: "ContentEncryption",
    # Chapters
    0x45B9: "EditionEntry",
    0x45BC: "EditionUID",
    0x45BD: "EditionFlagHidden",
    0x45DB: "EditionFlagDefault",
    0x45DD: "EditionFlagOrdered",
    0x4520: "EditionDisplay",
    0xB6: "ChapterAtom",
    0x73C4: "ChapterUID",
    0x5654: "ChapterStringUID",
    0x91: "ChapterTimeStart",
    0x92: "ChapterTimeEnd",
    0x98: "ChapterFlagHidden",
    0x4598: "ChapterFlagEnabled",
    0x6E67: "ChapterSegmentUUID",
    0x8F: "ChapterTrack",
    0x89: "ChapterTrackUID",
    0x80: "ChapterDisplay",
    0x85: "ChapString",
    0x437C: "ChapLanguage",
    0x437D: "ChapLanguageBCP47",
    0x437E: "ChapCountry",
    0x6944: "ChapProcess",
    # Attachments
    0x61A7: "AttachedFile",
    0x467E: "FileDescription",
    0x466E: "FileName",
    0x4660: "FileMimeType",
    0x465C: "FileData",
    0x46AE: "FileUID",
    # Tags
    0x7373: "Tag",
    0x63C0: "Targets",
    0x68CA: "TargetTypeValue",
    0x63CA: "TargetType",
    0x63C5: "TagTrackUID",
    0x63C9: "TagEditionUID",
    0x63C4: "TagChapterUID",
    0x63C6: "TagAttachmentUID",
    0x67C8: "SimpleTag",
    0x45A3: "TagName",
    0x447A: "TagLanguage",
    0x447B: "TagLanguageBCP47",
    0x4484: "TagDefault",
    0x4487: "TagString",
    0x4485: "TagBinary",
}
_MASTER_NAMES = (
    "EBML Segment SeekHead Seek Info Tracks TrackEntry BlockAdditionMapping Video Colour"
    " MasteringMetadata Projection Audio ContentEncodings ContentEncoding ContentCompression"
    " Chapters EditionEntry EditionDisplay ChapterAtom ChapterTrack ChapterDisplay Attachments"
    " AttachedFile Tags Tag Targets SimpleTag"
)
_MASTERS = frozenset(_MASTER_NAMES.split())


@dataclass(frozen=True, slots=True)
class Element(Part):
    """
    One element; of an id that has no name here the kind is `0x` and its hex digits.

    Attributes:
        is_size_unknown: the element did not state its size, which is up to where it ends.
    """

    is_size_unknown: bool = False


def walk_elements(file: BinaryIO) -> Iterator[Element]:
    """
    Yield every element in file order, each before its children.

    Known masters are descended into, but for `Cluster` and `Cues`. Bytes where no element
    can be read come as one element named `UNPARSED` up to their parent's end.
    """
    return _Walk(file).level((), 0, file.seek(0, os.SEEK_END))


def video_track_numbers(file: BinaryIO) -> Iterator[dict[str, int]]:
    """Yield, for each video track in the order of the file, its whole numbers by their names."""
    for track in _tracks(file, _VIDEO_TRACK):
        yield {name: int.from_bytes(text) for name, text in track.items() if len(text) <= 8}


def subtitle_codecs(file: BinaryIO) -> list[bytes]:
    """Return what each track of subtitles calls its codec, in the order of the file."""
    return [track.get("CodecID", b"").rstrip(b"\0") for track in _tracks(file, _SUBTITLE_TRACK)]


def _tracks(file: BinaryIO, kind: int) -> Iterator[dict[str, bytes]]:
    """Yield, for each track of a kind, what is short of it by its name."""
    elements = walk_elements(file)
    if not any(element.path == _TRACKS for element in elements):
        return
    track: dict[str, bytes] = {}
    for element in itertools.takewhile(lambda element: len(element.path) > 2, elements):
        if element.path == _TRACK_ENTRY:
            if int.from_bytes(track.get("TrackType", b"")) == kind:
                yield track
            track = {}
        elif element.payload_size <= _SHORT:
            track[element.kind] = payload_of(file, element)
    if int.from_bytes(track.get("TrackType", b"")) == kind:
        yield track


def has_encrypted_track(path: Path) -> bool:
    """
    Tell whether a Matroska file says that a track of it is encrypted.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        heads = itertools.takewhile(lambda head: head.kind != "Cluster", walk_elements(file))
        tracks = next((head for head in heads if head.path == _TRACKS), None)
        if tracks is None:
            return False
        # No farther: what lies between them and the first cluster may be much.
        described = _Walk(file).level(tracks.path, tracks.payload_offset, tracks.end)
        return any(element.kind == "ContentEncryption" for element in described)


def states_duration(path: Path) -> bool:
    """
    Tell whether a Matroska file says, before its first cluster, how long it lasts.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        heads = itertools.takewhile(lambda head: head.kind != "Cluster", walk_elements(file))
        stated = next((head for head in heads if head.path == _DURATION), None)
        # Zero, until a muxer has come to the end.
        return stated is not None and any(payload_of(file, stated, 8))


def stated_matroska_length(file: BinaryIO, actual: int) -> tuple[int | None, bool]:
    """
    Return the length that a file of `actual` bytes states, and whether it is cut short.

    Told by its head; the length is None where it does not say. Clusters are not looked at; the
    elements that `SeekHead` promises must be there.
    """
    segment: Element | None = None
    offset = 0
    for _ in range(_MOST_JUDGED):
        if segment is not None and offset >= actual:
            break
        element = _element_at(file, (), offset, actual)
        if element is None or (segment is not None and element.kind not in _TOP.values()):
            break  # junk after the end, or no segment yet
        if element.kind == "Segment":
            segment = segment or element
            if element.is_size_unknown:
                return None, not _keeps_promises(file, segment, actual)
        offset = element.end
        if offset > actual:
            return offset, True
    else:
        return None, False
    if segment is None:
        return None, True
    return offset, not _keeps_promises(file, segment, actual)


class _Walk:
    """One pass over a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._elements = 0

    def level(self, parents: tuple[str, ...], start: int, end: int) -> Iterator[Element]:
        """Yield the elements from `start` to `end`, and their children."""
        offset = start
        while offset < end:
            element = _element_at(self._file, parents, offset, end)
            self._elements += 1
            if element is None or self._elements > _MOST_ELEMENTS:
                yield Element((*parents, UNPARSED), offset, 0, end - offset)
                return
            if element.is_size_unknown and element.kind == "Cluster":
                element = self._up_to_next_cluster(element, end)
            yield element
            if element.kind in _MASTERS and len(element.path) < _DEEPEST:
                yield from self.level(element.path, element.payload_offset, min(element.end, end))
            offset = element.end

    def _up_to_next_cluster(self, cluster: Element, end: int) -> Element:
        offset = cluster.payload_offset
        while offset < end:
            child = _element_at(self._file, (), offset, end)
            self._elements += 1
            if child is None or child.is_size_unknown or self._elements > _MOST_ELEMENTS:
                break
            if child.kind in _LEVEL_1.values() or child.kind in _TOP.values():
                break
            offset = min(child.end, end)
        size = offset - cluster.payload_offset
        return Element(cluster.path, cluster.offset, cluster.header_size, size, True)


def _element_at(file: BinaryIO, parents: tuple[str, ...], offset: int, end: int) -> Element | None:
    file.seek(offset)
    head = file.read(max(0, min(12, end - offset)))  # an id of 4 bytes, a size of 8
    id_length = _vint_length(head, 0)
    if not 1 <= id_length <= 4 or len(head) <= id_length:
        return None
    size_length = _vint_length(head, id_length)
    header = id_length + size_length
    if not size_length or len(head) < header:
        return None
    number = int.from_bytes(head[:id_length])
    size = int.from_bytes(head[id_length:header]) & ((1 << 7 * size_length) - 1)
    is_unknown = size == (1 << 7 * size_length) - 1
    name = _NAMES.get(number, f"0x{number:X}")
    if is_unknown:
        if name not in ("Segment", "Cluster"):
            return None
        size = end - offset - header
    return Element((*parents, name), offset, header, size, is_unknown)


def _vint_length(head: bytes, at: int) -> int:
    """Return how many bytes the variable-length integer at `at` has; 0 if it is none."""
    return 9 - head[at].bit_length() if at < len(head) and head[at] else 0


def _keeps_promises(file: BinaryIO, segment: Element, actual: int) -> bool:
    """Whether the elements that the first `SeekHead` names are where it says they are."""
    end = min(segment.end, actual)
    seek_head = _element_at(file, (), segment.payload_offset, end)
    if seek_head is not None and seek_head.kind == "CRC-32":
        seek_head = _element_at(file, (), seek_head.end, end)
    if seek_head is None:
        return False
    if seek_head.kind != "SeekHead" or seek_head.end > end:
        return True
    children = _Walk(file).level(("SeekHead",), seek_head.payload_offset, seek_head.end)
    wanted = b""
    for child in itertools.islice(children, _MOST_JUDGED):
        if child.kind == "SeekID":
            wanted = payload_of(file, child, 4)
        elif child.kind == "SeekPosition" and child.payload_size <= 8:
            position = int.from_bytes(payload_of(file, child, 8))
            file.seek(segment.payload_offset + min(position, actual))
            # Something else there is a stale index; nothing there is a copy under way.
            if not any(file.read(len(wanted))):
                return False
    return True
