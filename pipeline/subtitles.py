"""
MP4's text subtitles as plain text, for a container that does not know them.

Source: 3GPP TS 26.245 (timed text), section 5.17.
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
