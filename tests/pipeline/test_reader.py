"""
What the reader tells of a file, and what its decoders are told. `test_protect.py` and others
have what comes of it.
"""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph
from media import Audio, Video, make_video

from pipeline import reader
from pipeline.elements import walk_elements
from pipeline.errors import LimitExceeded, UnsupportedMedia
from pipeline.media import FieldOrder
from pipeline.probe import probe
from pipeline.reader import Reader, VideoItem
from pipeline.settings import Limits


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        picture = np.zeros((64, 64, 3), np.uint8)
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("threads", [1, 3])
def test_the_decoder_takes_no_more_threads_than_it_may(
    clip: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Each of them holds frames of its own, and on a large machine there would be many."""
    opened: list[Any] = []

    def noted(path: Path) -> Any:
        opened.append(open_media(path))
        return opened[-1]

    open_media = reader.open_media
    info = probe(clip, Limits())
    monkeypatch.setattr(reader, "open_media", noted)
    with closing(Reader(info, frozenset(), Limits(), threads).items()) as items:
        assert isinstance(next(items), VideoItem)
        assert opened[0].streams.video[0].codec_context.thread_count == threads


def test_a_recording_that_keeps_another_clock_is_as_long_as_its_pictures(
    tmp_path: Path,
) -> None:
    """Matroska states when it ends; MPEG-TS, which is recorded so, counts up to 26 hours."""
    clip = make_video(tmp_path / "clip.mp4", Video(frames=50))
    late = tmp_path / "late.mkv"
    with av.open(str(clip)) as source, av.open(str(late), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is None or packet.dts is None:
                continue
            begin = round(20 * 3600 / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + begin, packet.dts + begin, stream
            target.mux(packet)
    info = probe(late, Limits(max_duration_h=12))
    assert info.duration is not None
    assert float(info.duration) == pytest.approx(2, abs=0.1)
    assert info.expected_frames == pytest.approx(50, abs=2)
    late.write_bytes(late.read_bytes().replace(b"Lavf", b"mkvm"))  # mkvmerge states how long it is
    with pytest.raises(LimitExceeded, match="20.*hours"):
        probe(late, Limits(max_duration_h=12))


@pytest.mark.parametrize(
    ("height", "pixel_format", "rate"),
    [(480, "yuv411p", Fraction(30_000, 1001)), (576, "yuv420p", Fraction(25))],
)
def test_raw_dv_has_the_frame_rate_of_its_system(
    tmp_path: Path, height: int, pixel_format: str, rate: Fraction
) -> None:
    """FFmpeg 8.1 says 60,000 a second, which no limit allows."""
    video = Video(720, height, 31, rate, "dvvideo", pixel_format, audio=[Audio("pcm_s16le")])
    path = make_video(tmp_path / "tape.dv", video)
    assert probe(path, Limits()).video.frame_rate == rate


@pytest.mark.parametrize("is_stated", [False, True])
def test_a_frame_rate_that_nobody_knows_is_not_that_of_the_clock(
    tmp_path: Path, is_stated: bool
) -> None:
    """
    As of WebM that a browser recorded: FFmpeg says 1000 a second, which no limit allows.

    In 2010 it stated that in its own WebM.
    """
    times = [*range(0, 20, 2), *range(50, 2000, 33)]
    video = Video(codec="libvpx", times=times, time_base=Fraction(1, 1000), frames=len(times))
    path = make_video(tmp_path / "tab.webm", video)
    with path.open("rb") as file:
        stated = next(e for e in walk_elements(file) if e.kind == "DefaultDuration")
    data = bytearray(path.read_bytes())
    end = stated.payload_offset + stated.payload_size
    if is_stated:
        data[stated.payload_offset : end] = (999_999).to_bytes(stated.payload_size)
    else:
        void = bytes([0xEC, 0x80 | (end - stated.offset - 2)])
        data[stated.offset : end] = void.ljust(end - stated.offset, b"\0")
    path.write_bytes(data)
    info = probe(path, Limits())
    assert info.duration is not None
    assert info.duration > 1
    assert info.video.frame_rate < 100


@pytest.mark.parametrize("order", [FieldOrder.TOP_FIRST, FieldOrder.BOTTOM_FIRST])
@pytest.mark.parametrize(
    ("codec", "pixel_format", "container"),
    [
        # Whose frames say it themselves, some in containers that do not.
        ("dvvideo", "yuv420p", "avi"),
        ("dvvideo", "yuv420p", "mov"),
        ("mpeg4", "yuv420p", "avi"),
        ("mpeg4", "yuv420p", "mp4"),
        ("ffv1", "yuv420p", "mkv"),
        ("rawvideo", "uyvy422", "mov"),
        ("mpeg2video", "yuv420p", "mpg"),
        # And where FFmpeg's parser tells the upper field first of either.
        ("libx264", "yuv420p", "mp4"),
        ("libx264", "yuv420p", "mkv"),
        # Where only the container does.
        ("qtrle", "rgb24", "mov"),
        # Whose frames are marked interlaced, but never the upper field as first.
        ("png", "rgb24", "mov"),
    ],
)
def test_the_order_of_fields_is_that_of_the_picture(
    tmp_path: Path, codec: str, pixel_format: str, container: str, order: FieldOrder
) -> None:
    path = tmp_path / f"interlaced.{container}"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25, options={"flags": "+ildct+ilme"})
        stream.width, stream.height, stream.pix_fmt = 720, 576, pixel_format
        stream.codec_context.field_order = {"tff": 4, "bff": 5}[order.value]
        for n in range(2):
            out.mux(stream.encode(_interlaced_frame(order, pixel_format, n)))
        out.mux(stream.encode())
    assert probe(path, Limits()).video.field_order is order


def _interlaced_frame(order: FieldOrder, pixel_format: str, number: int) -> av.VideoFrame:
    graph = Graph()
    source = graph.add_buffer(
        width=720, height=576, format=av.VideoFormat(pixel_format), time_base=Fraction(1, 25)
    )
    graph.link_nodes(source, graph.add("setfield", order.value), graph.add("buffersink"))
    graph.configure()
    picture = np.full((576, 720, 3), 100, np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixel_format)
    frame.pts, frame.time_base = number, Fraction(1, 25)
    graph.push(frame)
    return graph.vpull()


def test_what_a_sensor_measured_is_refused(tmp_path: Path) -> None:
    """As of ProRes RAW: its colours are made by whoever develops it."""
    path = tmp_path / "raw.nut"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bayer_rggb8"
        container.mux(stream.encode(av.VideoFrame(64, 48, "bayer_rggb8")))
    with pytest.raises(UnsupportedMedia, match=r"raw\.nut holds a camera's sensor data"):
        probe(path, Limits())
