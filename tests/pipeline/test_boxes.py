"""The walkers over MP4 boxes, Matroska elements and RIFF chunks, and whether a file is whole."""

from __future__ import annotations

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.boxes import completeness, walk_boxes
from pipeline.chunks import walk_chunks
from pipeline.elements import walk_elements
from pipeline.parts import UNPARSED

_MUXERS = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv", "webm": ".webm", "avi": ".avi"}
_CODEC = {"webm": "libvpx-vp9"}


def _make_video(path: Path, muxer: str, **options: str) -> bytes:
    with av.open(str(path), "w", format=muxer, options={"fflags": "+bitexact", **options}) as out:
        stream: Any = out.add_stream(_CODEC.get(muxer, "libx264"), rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.flags |= 1 << 23
        for index in range(6):
            frame = av.VideoFrame(32, 32, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([40 * index]) * plane.buffer_size)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    files = {m: _make_video(folder / f"a{suffix}", m) for m, suffix in _MUXERS.items()}
    files["faststart"] = _make_video(folder / "f.mp4", "mp4", movflags="+faststart")
    files["fragmented"] = _make_video(
        folder / "frag.mp4", "mp4", movflags="+frag_every_frame+empty_moov"
    )
    return files


def _box(kind: bytes, payload: bytes = b"") -> bytes:
    return (8 + len(payload)).to_bytes(4) + kind + payload


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(data)
    return path


def _is_truncated(folder: Path, data: bytes) -> bool:
    return completeness(_written(folder, data)).is_truncated


_EVERY = [*_MUXERS, "faststart", "fragmented"]


@pytest.mark.parametrize("name", _EVERY)
def test_whole_file_is_not_truncated(whole: dict[str, bytes], name: str, tmp_path: Path) -> None:
    state = completeness(_written(tmp_path, whole[name]))
    assert not state.is_truncated
    assert state.stated_bytes == len(whole[name])


@pytest.mark.parametrize("name", ["mp4", "mov", "faststart", "matroska", "webm", "avi"])
def test_every_shorter_prefix_is_truncated(
    whole: dict[str, bytes], name: str, tmp_path: Path
) -> None:
    """From the first bytes that name the container on, at every single length."""
    data = whole[name]
    # An AVI says nothing before its size; an empty file and seven bytes name no container.
    for length in [
        *range(8, 400),
        *range(400, len(data) - 200, 97),
        *range(len(data) - 200, len(data)),
    ]:
        assert _is_truncated(tmp_path, data[:length]), length


def test_fragmented_file_cut_inside_a_fragment_is_truncated(
    whole: dict[str, bytes], tmp_path: Path
) -> None:
    data = whole["fragmented"]
    top = [b for b in walk_boxes(io.BytesIO(data)) if len(b.path) == 1]
    borders = {b.end for b in top if b.kind == "mdat"}
    assert len(borders) > 2
    for length in range(40, len(data), 7):
        assert _is_truncated(tmp_path, data[:length]) or length in borders


# Not the fragmented one, which has no end of its own: junk may be a fragment under way.
@pytest.mark.parametrize("name", [*_MUXERS, "faststart"])
def test_junk_after_the_end_does_not_make_a_file_truncated(
    whole: dict[str, bytes], name: str, tmp_path: Path
) -> None:
    for junk in (b"\0" * 5000, b"hello, this is a trailer", b"ID3", b"\xff" * 300):
        assert not _is_truncated(tmp_path, whole[name] + junk), junk


@pytest.mark.parametrize("name", ["mp4", "mov", "faststart", "matroska", "webm", "fragmented"])
def test_copy_into_preallocated_space_is_truncated(
    whole: dict[str, bytes], name: str, tmp_path: Path
) -> None:
    """The right size, but zeros from some place on: nothing there is a box."""
    data = whole[name]
    top = [b for b in walk_boxes(io.BytesIO(data)) if len(b.path) == 1]
    arrived = 500 if name in ("matroska", "webm") else top[-1].offset
    if name == "faststart":
        arrived = 100
    assert _is_truncated(tmp_path, data[:arrived] + bytes(len(data) - arrived))


def test_avi_with_zeros_where_a_list_must_begin_is_truncated(
    whole: dict[str, bytes], tmp_path: Path
) -> None:
    data = whole["avi"]
    movi = next(c for c in walk_chunks(io.BytesIO(data)) if c.kind == "movi")
    assert _is_truncated(tmp_path, data[: movi.offset] + bytes(len(data) - movi.offset))


def test_preallocated_space_alone_is_truncated(tmp_path: Path) -> None:
    state = completeness(_written(tmp_path, bytes(10_000)))
    assert state.is_truncated
    assert state.container is None


@pytest.mark.parametrize("data", [b"", b"abc", b"GIF89a" + b"x" * 100, b"0123456789" * 9])
def test_file_of_no_known_container_states_nothing(tmp_path: Path, data: bytes) -> None:
    state = completeness(_written(tmp_path, data))
    assert (state.container, state.stated_bytes, state.is_truncated) == (None, None, False)


def test_media_data_without_an_index_yet_is_truncated(tmp_path: Path) -> None:
    """A camera that is still recording: sizes are right, `moov` comes at the very end."""
    assert _is_truncated(tmp_path, _box(b"ftyp", b"isom\0\0\0\0") + _box(b"mdat", b"x" * 50))


def test_index_without_media_data_yet_is_truncated(tmp_path: Path) -> None:
    assert _is_truncated(tmp_path, _box(b"ftyp", b"isom\0\0\0\0") + _box(b"moov", _box(b"mvhd")))


def test_box_of_64_bit_size_is_measured(tmp_path: Path) -> None:
    head = _box(b"ftyp", b"isom\0\0\0\0") + _box(b"moov")
    big = (1).to_bytes(4) + b"mdat" + (6_000_000_000).to_bytes(8)
    state = completeness(_written(tmp_path, head + big + b"x" * 100))
    assert state.is_truncated
    assert state.stated_bytes == len(head) + 6_000_000_000
    small = (1).to_bytes(4) + b"mdat" + (116).to_bytes(8)
    assert not _is_truncated(tmp_path, head + small + b"x" * 100)


def test_box_of_size_zero_reaches_to_the_end(tmp_path: Path) -> None:
    data = _box(b"ftyp", b"isom\0\0\0\0") + _box(b"moov") + (0).to_bytes(4) + b"mdat" + b"x" * 99
    assert not _is_truncated(tmp_path, data)


def test_segment_of_unknown_size_states_nothing(tmp_path: Path) -> None:
    """A browser's recording: WebM as a stream, complete or not, says no length."""
    data = b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\x01" + b"\xff" * 7
    data += b"\x1f\x43\xb6\x75\x01" + b"\xff" * 7 + b"\xe7\x81\x00" + b"\xa3\x84\x81\0\0\x80"
    state = completeness(_written(tmp_path, data))
    assert (state.stated_bytes, state.is_truncated) == (None, False)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_riff_written_into_a_pipe_states_nothing(
    whole: dict[str, bytes], size: int, tmp_path: Path
) -> None:
    data = b"RIFF" + size.to_bytes(4, "little") + whole["avi"][8:]
    state = completeness(_written(tmp_path, data))
    assert (state.stated_bytes, state.is_truncated) == (None, False)


def test_second_riff_chunk_of_a_large_avi_counts(whole: dict[str, bytes], tmp_path: Path) -> None:
    extension = b"AVIX" + b"LIST" + (4 + 100).to_bytes(4, "little") + b"movi" + b"x" * 100
    second = b"RIFF" + len(extension).to_bytes(4, "little") + extension
    assert not _is_truncated(tmp_path, whole["avi"] + second)
    assert _is_truncated(tmp_path, whole["avi"] + second[:-1])
    kinds = [c.path for c in walk_chunks(io.BytesIO(whole["avi"] + second))]
    assert ("AVIX", "movi") in kinds


def test_a_large_file_is_judged_by_a_few_small_reads(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.write(_box(b"ftyp", b"isom\0\0\0\0") + (2_000_000_000).to_bytes(4) + b"mdat")
        file.seek(16 + 2_000_000_000)  # a hole: nothing of it is read
        file.write(_box(b"moov", _box(b"mvhd", bytes(100))))
    assert not completeness(path).is_truncated


def test_the_watcher_can_ask_without_loading_media_libraries() -> None:
    code = (
        "import sys, pipeline.boxes;"
        "assert not {'av', 'torch', 'numpy', 'cv2'} & set(sys.modules), 'too much'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_boxes_are_walked_into_sample_entries_and_item_lists(whole: dict[str, bytes]) -> None:
    paths = [b.path for b in walk_boxes(io.BytesIO(whole["mp4"]))]
    stbl = ("moov", "trak", "mdia", "minf", "stbl")
    assert (*stbl, "stsd", "avc1", "avcC") in paths
    item = _box(b"data", bytes(8) + b"name")
    udta = _box(
        b"udta", _box(b"meta", bytes(4) + _box(b"hdlr") + _box(b"ilst", _box(b"\xa9nam", item)))
    )
    quicktime = _box(
        b"meta", _box(b"hdlr", bytes(25)) + _box(b"keys", bytes(8) + _box(b"mdta", b"k"))
    )
    found = [b.path for b in walk_boxes(io.BytesIO(_box(b"moov", udta + quicktime)))]
    assert ("moov", "udta", "meta", "ilst", "\xa9nam", "data") in found
    assert ("moov", "meta", "keys", "mdta") in found


@pytest.mark.parametrize("name", ["mp4", "mov", "faststart", "fragmented"])
def test_boxes_cover_every_byte_of_a_file(whole: dict[str, bytes], name: str) -> None:
    boxes = [b for b in walk_boxes(io.BytesIO(whole[name])) if len(b.path) == 1]
    assert [b.offset for b in boxes[1:]] == [b.end for b in boxes[:-1]]
    assert boxes[-1].end == len(whole[name])
    assert UNPARSED not in {b.kind for b in walk_boxes(io.BytesIO(whole[name]))}


def test_bytes_that_are_no_box_are_not_passed_over_in_silence() -> None:
    data = _box(b"moov", _box(b"mvhd") + b"\0\0\0\3junk")
    last = list(walk_boxes(io.BytesIO(data)))[-1]
    assert (last.path, last.size) == (("moov", UNPARSED), 8)


def test_cluster_of_unknown_size_ends_at_the_next_one() -> None:
    block = b"\xa3\x84\x81\0\0\x80"
    cluster = b"\x1f\x43\xb6\x75\x01" + b"\xff" * 7 + b"\xe7\x81\x00" + block * 3
    data = b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\xff" + cluster * 2 + b"\x12\x54\xc3\x67\x80"
    elements = list(walk_elements(io.BytesIO(data)))
    assert [e.kind for e in elements] == ["EBML", "Segment", "Cluster", "Cluster", "Tags"]
    assert elements[2].end == elements[3].offset


@pytest.mark.parametrize("name", ["matroska", "webm"])
def test_elements_are_known_by_name_and_cover_every_byte(
    whole: dict[str, bytes], name: str
) -> None:
    elements = list(walk_elements(io.BytesIO(whole[name])))
    assert not [e for e in elements if e.kind.startswith("0x") or e.kind == UNPARSED]
    level_1 = [e for e in elements if e.path[0] == "Segment" and len(e.path) == 2]
    assert [e.offset for e in level_1[1:]] == [e.end for e in level_1[:-1]]
    assert level_1[-1].end == len(whole[name])


_WALKS = (walk_boxes, walk_elements, walk_chunks)
_HEADS = (b"\0\0\0\x18ftypisom", b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff", b"RIFF\0\0\0\0AVI ")


@settings(max_examples=150, deadline=None)
@given(head=st.sampled_from(_HEADS), tail=st.binary(max_size=300))
def test_walks_of_any_bytes_end_without_an_error(
    head: bytes, tail: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for walk in _WALKS:
        for data in (tail, head + tail):
            assert sum(1 for _ in walk(io.BytesIO(data))) <= 2 * len(data) + 2
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(head + tail)
    completeness(path)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_walks_of_a_damaged_file_end_without_an_error(
    whole: dict[str, bytes], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(whole[data.draw(st.sampled_from(_EVERY))])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + 4] = data.draw(
            st.sampled_from([bytes(4), b"\xff" * 4, b"\0\0\0\1", b"moov"])
        )
    for walk in _WALKS:
        assert sum(1 for _ in walk(io.BytesIO(bytes(damaged)))) <= len(damaged)
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    completeness(path)


def test_boxes_nested_without_end_are_walked_to_a_bound() -> None:
    data = b""
    for _ in range(2000):
        data = _box(b"moov", data)
    assert max(len(b.path) for b in walk_boxes(io.BytesIO(data))) < 50


def test_masters_nested_without_end_are_walked_to_a_bound() -> None:
    data = b""
    for _ in range(2000):
        data = _master(data)
    assert max(len(e.path) for e in walk_elements(io.BytesIO(data))) < 50


def _master(payload: bytes) -> bytes:
    return b"\x67\xc8\x01" + len(payload).to_bytes(7) + payload


_IN_PIECES = {
    "mp4": _box(b"ftyp", b"isom\0\0\0\0") + _box(b"free") * 200_000,
    "RIFF after RIFF": b"RIFF\x04\0\0\0AVI " * 5000 + b"RIFF\xff\0\0\0AVI ",
    "RIFF": b"RIFF" + (4 + 8 * 5000).to_bytes(4, "little") + b"AVI " + b"JUNK\0\0\0\0" * 5000,
    "elements": b"\x1a\x45\xdf\xa3\x80" + b"\xec\x80" * 5000,
    "segments": b"\x1a\x45\xdf\xa3\x80" + b"\x18\x53\x80\x67\x80" * 5000,
}


@pytest.mark.parametrize("name", _IN_PIECES)
def test_a_file_in_absurdly_many_pieces_is_given_up_and_not_called_truncated(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who makes one cannot have the watcher of a folder busy with it."""
    reads = 0
    real = Path.open

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            nonlocal reads
            reads += 1
            return super().read(size)

    path = _written(tmp_path, _IN_PIECES[name])
    monkeypatch.setattr(Path, "open", lambda path, mode: Counted(real(path, mode).read()))
    assert not completeness(path).is_truncated
    assert reads < (150_000 if name == "mp4" else 2000)


def test_a_file_of_twelve_hours_in_fragments_of_a_second_is_judged(tmp_path: Path) -> None:
    data = _box(b"ftyp", b"isom\0\0\0\0") + _box(b"moov")
    data += (_box(b"moof") + _box(b"mdat", b"x")) * (12 * 3600)
    assert not _is_truncated(tmp_path, data)
    assert _is_truncated(tmp_path, data[:-1])
