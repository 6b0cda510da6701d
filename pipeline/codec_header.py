"""What headers of subtitles, Vorbis and Theora say of author and tools, taken out of copies."""

from __future__ import annotations

from typing import Any

from pipeline.subtitle_header import cleaned_header
from pipeline.vorbis_comment import without_comment


def clean_header(stream: Any) -> None:
    """
    Leave in a new stream's header what players need; other codecs' as they are.

    It stands in the container, so it is changed where packets are not.
    """
    context = stream.codec_context
    codec, header = context.codec.canonical_name, bytes(context.extradata or b"")
    if codec in ("vorbis", "theora"):
        context.extradata = without_comment(header)
    elif stream.type == "subtitle":
        context.extradata = cleaned_header(codec, header)
