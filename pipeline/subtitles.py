"""
Subtitles that need more than to be copied: MP4's text, for a container that does not know it as it
stands; WebVTT that FFmpeg does not know; names in ASS.

Source: 3GPP TS 26.245 (timed text), section 5.17; Matroska codec specifications, subtitles.
"""

from __future__ import annotations

from pathlib import Path

from av.container import InputContainer

from pipeline.elements import subtitle_codecs

_WEBVTT = b"S_TEXT/WEBVTT"


def unnamed_webvtt(container: InputContainer, path: Path) -> frozenset[int]:
    """
    Return the indices of an opened file's tracks of WebVTT that FFmpeg has no codec for.

    As mkvmerge writes it. FFmpeg knows that of WebM alone, and its muxer writes no other.

    Raises:
        OSError: the file cannot be read.
    """
    tracks = container.streams.subtitles
    unnamed = frozenset(s.index for s in tracks if s.codec_context is None)
    if not unnamed or "matroska" not in container.format.name.split(","):
        return frozenset()
    with path.open("rb") as file:
        codecs = subtitle_codecs(file)
    if len(codecs) != len(tracks):
        return frozenset()
    named = zip(tracks, codecs, strict=True)
    return unnamed & {stream.index for stream, codec in named if codec == _WEBVTT}


def plain_text(sample: bytes) -> bytes:
    """
    Return the text of one sample as UTF-8, without the style boxes that may follow it.

    Empty where the sample is, or where it ends before the text that it states.
    """
    size = int.from_bytes(sample[:2])
    text = sample[2 : 2 + size]
    if len(text) < size:
        return b""
    if text[:2] in (b"\xfe\xff", b"\xff\xfe"):
        return text.decode("utf-16", "replace").encode()
    return text


def names_a_speaker(event: bytes) -> bool:
    """Whether a packet of ASS fills in the field `Name`, the fourth of its line."""
    fields = event.split(b",", 4)
    return len(fields) > 4 and bool(fields[3].strip())
