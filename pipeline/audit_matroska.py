"""
What a Matroska or WebM file says beside picture and sound: an allow-list of its elements.

Whatever is not known to be harmless is a finding, in words for a report; values are not
repeated, but for the names of programs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pipeline.audit_mp4 import neutral_title
from pipeline.elements import Element, walk_elements
from pipeline.language import is_language
from pipeline.padding import is_empty
from pipeline.parts import UNPARSED, payload_of

_TRACKS = (
    "TrackEntry TrackNumber TrackUID TrackType FlagEnabled FlagDefault FlagForced"
    " FlagHearingImpaired FlagVisualImpaired FlagTextDescriptions FlagOriginal FlagCommentary"
    " FlagLacing MinCache MaxCache DefaultDuration DefaultDecodedFieldDuration"
    " TrackTimestampScale MaxBlockAdditionID BlockAdditionMapping BlockAddIDValue"
    " BlockAddIDName BlockAddIDType BlockAddIDExtraData Language LanguageBCP47 CodecID CodecPrivate"
    " CodecDecodeAll CodecDelay SeekPreRoll Video FlagInterlaced FieldOrder StereoMode AlphaMode"
    " PixelWidth PixelHeight PixelCropBottom PixelCropTop PixelCropLeft PixelCropRight"
    " DisplayWidth DisplayHeight DisplayUnit UncompressedFourCC Colour MatrixCoefficients"
    " BitsPerChannel ChromaSubsamplingHorz ChromaSubsamplingVert CbSubsamplingHorz"
    " CbSubsamplingVert ChromaSitingHorz ChromaSitingVert Range TransferCharacteristics Primaries"
    " MaxCLL MaxFALL MasteringMetadata PrimaryRChromaticityX PrimaryRChromaticityY"
    " PrimaryGChromaticityX PrimaryGChromaticityY PrimaryBChromaticityX PrimaryBChromaticityY"
    " WhitePointChromaticityX WhitePointChromaticityY LuminanceMax LuminanceMin Projection"
    " ProjectionType ProjectionPrivate ProjectionPoseYaw ProjectionPosePitch ProjectionPoseRoll"
    " Audio SamplingFrequency OutputSamplingFrequency Channels BitDepth Emphasis ContentEncodings"
    " ContentEncoding ContentEncodingOrder ContentEncodingScope ContentEncodingType"
    " ContentCompression ContentCompAlgo ContentCompSettings"
)
_ALLOWED = frozenset(
    (
        "EBML EBMLVersion EBMLReadVersion EBMLMaxIDLength EBMLMaxSizeLength DocType"
        " DocTypeVersion DocTypeReadVersion Void CRC-32 Segment SeekHead Seek SeekID"
        " SeekPosition Info TimestampScale Duration MuxingApp WritingApp SegmentUID Tracks"
        f" {_TRACKS} Cluster Cues Chapters EditionEntry EditionUID EditionFlagHidden"
        " EditionFlagDefault EditionFlagOrdered ChapterAtom ChapterUID ChapterTimeStart"
        " ChapterTimeEnd ChapterFlagHidden ChapterFlagEnabled ChapterTrack ChapterTrackUID"
        " ChapterDisplay ChapString ChapLanguage ChapLanguageBCP47 Tags Tag Targets"
        " TargetTypeValue TagTrackUID SimpleTag TagName TagString TagLanguage TagDefault"
    ).split(" ")
)
_WORDS = {
    "Title": "title",
    "DateUTC": "date (DateUTC)",
    "SegmentFilename": "file name (SegmentFilename)",
    "PrevFilename": "file name (PrevFilename)",
    "NextFilename": "file name (NextFilename)",
    "Name": "track name",
    "AttachedFile": "attached file",
}
# What an attached file consists of tells nothing more than that there is one.
_SILENT = frozenset(
    {"Attachments", "FileDescription", "FileName", "FileMimeType", "FileData", "FileUID"}
)
_KINDS_OF_TRACK = frozenset({1, 2, 17})  # video, audio, subtitles
# FFmpeg states in a tag how long each track is, and that it has alpha beside the picture.
_TAGS_OF_FFMPEG = {
    b"DURATION": (re.compile(rb"\d\d:\d\d:\d\d\.\d+\0*"), "tag DURATION that is no duration"),
    b"ALPHA_MODE": (re.compile(rb"[01]\0*"), "tag ALPHA_MODE that is no mode"),
}
_LANGUAGES = ("Language", "LanguageBCP47", "ChapLanguage", "ChapLanguageBCP47", "TagLanguage")
_APPS = frozenset({b"", b"Lavf"})
_DOLBY_VISION = b"Dolby Vision configuration"


def matroska_findings(file: BinaryIO) -> Iterator[str]:
    """Yield what a file holds that is not on the list, in file order."""
    tag = b""
    for element in walk_elements(file):
        name = element.kind
        if name == UNPARSED:
            yield f"{element.payload_size} bytes that are no element"
        elif name not in _ALLOWED:
            if name not in _SILENT:
                yield _WORDS.get(name, f"element {name}")
        elif name in _CHECKS:
            yield from _CHECKS[name](file, element)
        elif name == "TagName":
            tag = payload_of(file, element, 200).rstrip(b"\0")
            if tag not in _TAGS_OF_FFMPEG:
                yield f"tag {tag.decode('utf-8', 'replace')}"
        elif name == "TagString" and tag in _TAGS_OF_FFMPEG:
            pattern, words = _TAGS_OF_FFMPEG[tag]
            if not pattern.fullmatch(payload_of(file, element, 200)):
                yield words


def _app(file: BinaryIO, element: Element) -> Iterator[str]:
    text = payload_of(file, element, 200).rstrip(b"\0")
    if text not in _APPS:
        yield f"{element.kind} {text.decode('utf-8', 'replace')!r}"


def _addition_name(file: BinaryIO, element: Element) -> Iterator[str]:
    # FFmpeg's muxer names what it knows; other names are somebody's own.
    if payload_of(file, element, 200).rstrip(b"\0") != _DOLBY_VISION:
        yield "name of what lies beside the blocks"


def _kind_of_track(file: BinaryIO, element: Element) -> Iterator[str]:
    kind = int.from_bytes(payload_of(file, element, 8))
    if kind not in _KINDS_OF_TRACK:
        yield f"data track (TrackType {kind})"


def _segment_uid(file: BinaryIO, element: Element) -> Iterator[str]:
    if any(payload_of(file, element, 16)):
        yield "SegmentUID"


def _chapter_title(file: BinaryIO, element: Element) -> Iterator[str]:
    title = payload_of(file, element, 1000).rstrip(b"\0").decode("utf-8", "replace")
    if not neutral_title(title):
        yield "chapter titles"


def _language(file: BinaryIO, element: Element) -> Iterator[str]:
    text = payload_of(file, element, 200).rstrip(b"\0").decode("utf-8", "replace")
    if not is_language(text):
        yield "words in place of a language"


def _padding(file: BinaryIO, element: Element) -> Iterator[str]:
    if not is_empty(file, element.payload_offset, element.payload_size):
        yield "content in a Void element"


_CHECKS: dict[str, Callable[[BinaryIO, Element], Iterator[str]]] = {
    "MuxingApp": _app,
    "WritingApp": _app,
    "TrackType": _kind_of_track,
    "BlockAddIDName": _addition_name,
    "SegmentUID": _segment_uid,
    "ChapString": _chapter_title,
    **dict.fromkeys(_LANGUAGES, _language),
    "Void": _padding,
}
