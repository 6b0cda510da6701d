"""
What an MP4 or QuickTime file says beside picture and sound: an allow-list of its boxes.

Whatever is not known to be harmless is a finding, in words for a report; values are not
repeated, since a report must not carry what the file had to lose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pipeline.boxes import Box, walk_boxes
from pipeline.language import is_language
from pipeline.padding import is_empty
from pipeline.parts import UNPARSED, payload_of


def _by_parent(children: dict[str, str]) -> dict[str, frozenset[str]]:
    return {parent: _split(kinds) for parent, kinds in children.items()}


def _split(kinds: str) -> frozenset[str]:
    # By position, as a code may end in a space.
    return frozenset(kinds[i : i + 4] for i in range(0, len(kinds), 5))


# For each box the children that may be in it. Leaves that have to be looked into are in
# `_CHECKS`; sample entries may hold what `_IN_ENTRY` says.
CHILDREN = _by_parent(
    {
        "": "ftyp moov mdat free wide skip",
        "moov": "mvhd trak mvex udta iods",
        "trak": "tkhd edts mdia tref udta tapt load",
        "tapt": "clef prof enof",
        "edts": "elst",
        "tref": "chap fall forc folw subt",
        "mdia": "mdhd hdlr minf elng",
        "minf": "vmhd smhd nmhd sthd gmhd hdlr dinf stbl",
        "gmhd": "gmin text",
        "dinf": "dref",
        "dref": "url  alis",
        "stbl": "stsd stts ctts cslg stss stps sdtp stsc stsz stz2 stco co64 sgpd sbgp subs",
        "mvex": "mehd trex",
        "wave": "frma mp4a alac samr sawb enda esds dac3 dec3 chan \0\0\0\0",
        "sv3d": "svhd proj",
        "proj": "prhd equi cbmp prji",
        "vexu": "eyes proj",
        "eyes": "stri hero cams cmfy",
        "cams": "blin",
        "cmfy": "dadj",
        # FFmpeg's muxer writes an empty item list beside chapters, and as `kind` what a track
        # is for (commentary, for the deaf), which is how to play it.
        "udta": "chpl meta kind",
        "meta": "hdlr ilst",
        "ilst": "",
        "keys": "",
    }
)
_IN_ENTRY = _split(
    "avcC hvcC lhvC vpcC av1C dvcC dvvC esds dOps dfLa dac3 dec3 dmlp ddts alac pcmC pasp colr"
    " clap fiel gama btrt mdcv clli amve SmDm CoLL st3d sv3d vexu hfov ftab wave chan chnl SA3D"
    " srat vttC d263 damr jp2h glbl dvwC DpxE ACLR ADHR APRG ARES \0\0\0\0"
)
# Avid's boxes of DNxHD and DNxHR hold numbers only: range of values, number of the profile,
# whether there are fields, size as shown; and zeros, where an author could leave a text.
_AVID = {
    "ACLR": re.compile(rb"ACLR0001\0{3}[\0-\2]\0{4}"),
    "ADHR": re.compile(rb"0001\0\0..\0{4}\0{3}[\0-\2]\0{8}", re.DOTALL),
    "APRG": re.compile(rb"APRG0001\0{3}[\0-\2]\0{4}"),
    "ARES": re.compile(rb"ARES0001(\0\0..){3}\0{3}[\0-\2]\0{4}\0{3}[\0-\7]\0{80}", re.DOTALL),
}
# Boxes of how a picture is shown that have one form: what else they held would be somebody's text.
FORMS = {
    "st3d": re.compile(rb"\0{4}[\0-\4]"),
    "prhd": re.compile(rb"\0{4}.{12}", re.DOTALL),
    "equi": re.compile(rb"\0{4}.{16}", re.DOTALL),
    "cbmp": re.compile(rb"\0{4}.{8}", re.DOTALL),
    **dict.fromkeys(("prji", "blin", "dadj"), re.compile(rb"\0{4}.{4}", re.DOTALL)),
    **dict.fromkeys(("stri", "hero"), re.compile(rb"\0{4}.", re.DOTALL)),
    "hfov": re.compile(rb".{4}", re.DOTALL),
    # AMR in QuickTime, as FFmpeg's muxer describes it: vendor, version, modes.
    **dict.fromkeys(("samr", "sawb"), re.compile(rb"FFMP.{5}", re.DOTALL)),
    "amve": re.compile(rb".{8}", re.DOTALL),
    **dict.fromkeys(("dvcC", "dvvC", "dvwC"), re.compile(rb".{5}\0{19}", re.DOTALL)),
    **_AVID,
}
_KINDS_OF_TRACK = frozenset({"vide", "soun", "text", "sbtl", "subt", "clcp", "subp"})
_NEUTRAL_NAMES = frozenset(
    {
        "",
        "VideoHandler",
        "SoundHandler",
        "SubtitleHandler",
        "ClosedCaptionHandler",
        "DataHandler",
    }
)
# FFmpeg's muxer signs QuickTime sample entries with its own four letters.
_NEUTRAL_VENDORS = frozenset({b"\0\0\0\0", b"FFMP"})
# FFmpeg's muxer names MPEG-2 of high definition by size and rate, which the file tells anyway.
_NEUTRAL_COMPRESSOR = re.compile(rb"\0*|.XDCAM (HD422|HD|EX) \d{3,4}[ip]\d{1,3}\0*", re.DOTALL)
# Names that chapters may have, since some players list only named ones.
NEUTRAL_TITLE = re.compile(r"(Chapter \d+)?")

_WORDS = {
    "\xa9xyz": "GPS position",
    "loci": "GPS position",
    "\xa9mak": "device make",
    "\xa9mod": "device model",
    "\xa9swr": "software",
    "\xa9too": "encoder",
    "\xa9enc": "encoder",
    "\xa9nam": "title",
    "\xa9ART": "artist",
    "\xa9day": "date",
    "\xa9cmt": "comment",
    "desc": "description",
    "covr": "attached picture",
    "XMP_": "XMP",
    "meta": "metadata box",
}
_KEY_WORDS = (
    ("location", "GPS position"),
    ("make", "device make"),
    ("model", "device model"),
    ("software", "software"),
    ("creationdate", "date"),
)
_HANDLER_OF_TRACK = ("moov", "trak", "mdia", "hdlr")
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")


def mp4_findings(file: BinaryIO) -> Iterator[str]:
    """Yield what a file holds that is not on the list, in file order."""
    handler = b""
    for box in walk_boxes(file):
        if box.path == _HANDLER_OF_TRACK:
            handler = payload_of(file, box, 12)[8:]
        if not _is_allowed(box):
            yield from _unknown(file, box)
            continue
        if box.path[-2:-1] == ("stsd",):
            yield from _signatures(file, box, handler)
        elif box.kind in _CHECKS:
            yield from _CHECKS[box.kind](file, box)


def neutral_title(title: str) -> bool:
    """Whether a chapter's title says nothing: empty, or `Chapter` and a number."""
    return NEUTRAL_TITLE.fullmatch(title) is not None


def _is_allowed(box: Box) -> bool:
    parent = box.path[-2] if len(box.path) > 1 else ""
    if parent == "stsd":
        return box.kind != UNPARSED
    if box.path[-3:-2] == ("stsd",):
        return box.kind in _IN_ENTRY
    return box.kind in CHILDREN.get(parent, ())


def _unknown(file: BinaryIO, box: Box) -> Iterator[str]:
    where = box.path[-2] if len(box.path) > 1 else "the file"
    if box.kind == UNPARSED:
        # QuickTime ends some lists with a few zeros.
        if box.size > 8 or any(payload_of(file, box)) or len(box.path) == 1:
            yield f"{box.size} bytes in {where} that are no box"
    elif "ilst" in box.path[:-2]:
        return  # the item was a finding already
    elif box.kind == "uuid":
        is_xmp = payload_of(file, box, 16) == _XMP_UUID
        yield "uuid box XMP" if is_xmp else "uuid box"
    elif box.path[-2:-1] == ("keys",):
        yield _key_words(payload_of(file, box, 200).decode("utf-8", "replace"))
    elif box.path[-2:-1] == ("tref",):
        yield f"reference to a track of kind {box.kind}"
    elif box.kind in _WORDS:
        yield f"{_WORDS[box.kind]} ({_shown(box.kind)})"
    elif {"udta", "ilst"} & set(box.path):
        yield f"tag {_shown(box.kind)}"
    elif box.kind != "keys":  # its children tell
        yield f"box {_shown(box.kind)} in {where}"


def _key_words(key: str) -> str:
    words = next((words for part, words in _KEY_WORDS if part in key.lower()), "tag")
    return f"{words} ({key})" if words != "tag" else f"tag {key}"


def _shown(kind: str) -> str:
    return kind if kind.isprintable() else "0x" + kind.encode("latin-1").hex()


def _file_type(file: BinaryIO, box: Box) -> Iterator[str]:
    brands = payload_of(file, box, 256)
    if box.payload_size > 128 or not all(0x20 <= b < 0x7F for b in brands[:4] + brands[8:]):
        yield "ftyp holds more than brands"


def _padding(file: BinaryIO, box: Box) -> Iterator[str]:
    if not is_empty(file, box.payload_offset, box.payload_size):
        yield f"content in a {box.kind} box"


def _times(file: BinaryIO, box: Box) -> Iterator[str]:
    payload = payload_of(file, box, 20)
    width = 8 if payload[:1] == b"\x01" else 4
    if any(payload[4 : 4 + 2 * width]):
        yield f"creation time ({box.kind})"


def _handler(file: BinaryIO, box: Box) -> Iterator[str]:
    payload = payload_of(file, box, 24 + 256)
    kind = payload[8:12].decode("latin-1")
    name = _handler_name(payload[24:])
    if name not in _NEUTRAL_NAMES:
        yield f"handler name {name[:60]!r}"
    if box.path[-2:-1] == ("mdia",) and kind not in _KINDS_OF_TRACK:
        yield f"data track ({kind})"


def _handler_name(coded: bytes) -> str:
    # QuickTime states the length in front, ISO ends the name with a zero.
    if coded and coded[0] == len(coded.rstrip(b"\0")) - 1:
        coded = coded[1:]
    return coded.split(b"\0")[0].decode("utf-8", "replace")


def _reference(file: BinaryIO, box: Box) -> Iterator[str]:
    if box.payload_size > 4:
        yield "data reference to another file"


def _language(file: BinaryIO, box: Box) -> Iterator[str]:
    text = payload_of(file, box, 200)[4:].rstrip(b"\0").decode("utf-8", "replace")
    if not is_language(text):
        yield "words in place of a language (elng)"


def _chapter_list(file: BinaryIO, box: Box) -> Iterator[str]:
    payload = payload_of(file, box, 1 << 16)
    at = 9 if payload[:1] == b"\x01" else 5  # version 1 has a reserved word of four bytes
    while at + 9 <= len(payload):
        size = payload[at + 8]
        title = payload[at + 9 : at + 9 + size].decode("utf-8", "replace")
        if not neutral_title(title):
            yield "chapter titles (chpl)"
            return
        at += 9 + size


def _spherical_source(file: BinaryIO, box: Box) -> Iterator[str]:
    if payload_of(file, box, 256)[4:].rstrip(b"\0") not in (b"", b"Lavf"):
        yield "spherical metadata's source (svhd)"


def _form(file: BinaryIO, box: Box) -> Iterator[str]:
    if not FORMS[box.kind].fullmatch(payload_of(file, box, 256)):
        yield f"more than numbers in a {box.kind} box"


def _signatures(file: BinaryIO, box: Box, handler: bytes) -> Iterator[str]:
    payload = payload_of(file, box, 74)
    # Sound and picture have their vendor in the same place; text has none.
    if handler in (b"vide", b"soun") and payload[12:16] not in _NEUTRAL_VENDORS:
        yield "vendor in a sample entry"
    name = payload[42:74]
    if handler == b"vide" and not _NEUTRAL_COMPRESSOR.fullmatch(name):
        yield f"compressor name {name[1:].strip(bytes(1)).decode('utf-8', 'replace')!r}"


_CHECKS: dict[str, Callable[[BinaryIO, Box], Iterator[str]]] = {
    "ftyp": _file_type,
    "free": _padding,
    "skip": _padding,
    "wide": _padding,
    "mvhd": _times,
    "tkhd": _times,
    "mdhd": _times,
    "hdlr": _handler,
    "url ": _reference,
    "alis": _reference,
    "elng": _language,
    "chpl": _chapter_list,
    "svhd": _spherical_source,
    **dict.fromkeys(FORMS, _form),
}
