"""
What single packets of subtitles hold: MP4's text, for a container that does not know it as it
stands; names in ASS.

Source: 3GPP TS 26.245 (timed text), section 5.17; Matroska codec specifications, subtitles.
"""

from __future__ import annotations


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
