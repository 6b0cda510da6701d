"""What a drone writes into subtitles is data, and goes; what people say there stays."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from media import Video, make_video

from pipeline.parameters import Parameters
from pipeline.protect import protect
from pipeline.settings import Settings

FAST = Settings(preset="ultrafast", threads=1)
_SECOND = Video(width=128, height=96)
OF_DRONES = [
    '<font size="28">FrameCnt: 1, DiffTime: 33ms\n2024-05-01 12:00:00.123\n[iso: 100]'
    " [shutter: 1/1000.0] [latitude: 52.520012] [longitude: 13.405] [rel_alt: 10.100] </font>",
    "[color_md: default] [latitude : -33.85] [longtitude : 151.21]",
    "F/2.8, SS 206.14, ISO 150, EV 0, GPS (13.4050, 52.5200, 19), D 24.31m, H 6.70m",
    "HOME(13.4050,52.5200) 2017.08.05 14:11:51\nGPS(13.4050,52.5200,19) BAROMETER:12.3",
    "HOME(E: 13.405000, N: 52.520000) 2021-02-03\nGPS(E: 13.405000, N: 52.520000, 60.5m)",
    "[longitude: -13.405]",
    "SrtCnt : 1, DiffTime : 33ms\n2024-05-01 12:00:00,123,456\n[iso : 100] [fnum : 280]",
]


@pytest.mark.parametrize("words", OF_DRONES)
@pytest.mark.parametrize("mode", ["protect", "strip"])
def test_what_a_drone_writes_goes_and_is_told(tmp_path: Path, words: str, mode: str) -> None:
    original, output = _with_text(tmp_path / "a.mp4", [words] * 4), tmp_path / "b.mp4"
    report = protect(original, output, Parameters.parse({"mode": mode}), FAST).report
    with av.open(str(output)) as copy:
        assert [stream.type for stream in copy.streams] == ["video"]
    assert words.encode()[:20] not in output.read_bytes()
    assert "Not kept: subtitle track of the camera's own data (stream 1)." in report.notes


@pytest.mark.parametrize("mode", ["protect", "strip"])
def test_it_goes_where_it_is_said_once_before_the_picture(tmp_path: Path, mode: str) -> None:
    late = Video(width=128, height=96, times=range(1000, 2000, 40), time_base=Fraction(1, 1000))
    original = _with_text(tmp_path / "a.mkv", OF_DRONES[:1], "subrip", late)
    protect(original, tmp_path / "b.mkv", Parameters.parse({"mode": mode}), FAST)
    assert b"latitude" not in (tmp_path / "b.mkv").read_bytes()


@pytest.mark.parametrize("mode", ["protect", "strip"])
def test_a_film_that_speaks_of_a_place_keeps_its_subtitles(tmp_path: Path, mode: str) -> None:
    spoken = ["Where are they?", "Latitude: 52 north.", "Send help!", "GPS says we are lost."]
    original, output = _with_text(tmp_path / "a.mp4", spoken), tmp_path / "b.mp4"
    protect(original, output, Parameters.parse({"mode": mode}), FAST)
    with av.open(str(output)) as copy:
        texts = [bytes(p) for p in copy.demux(subtitles=0) if p.size > 2]
    assert [text[2:].decode() for text in texts] == spoken


@pytest.mark.parametrize("mode", ["protect", "strip"])
def test_a_film_that_shows_where_it_begins_keeps_its_subtitles(tmp_path: Path, mode: str) -> None:
    """Whatever they say later: no more than its first half minute is looked at."""
    long = Video(width=128, height=96, times=range(0, 12_000, 1000), time_base=Fraction(1, 1000))
    original = _with_text(tmp_path / "a.mp4", ["Arctic Ocean\nLatitude: 83 north"], video=long)
    output = tmp_path / "b.mp4"
    protect(original, output, Parameters.parse({"mode": mode}), FAST)
    with av.open(str(output)) as copy:
        (text,) = [bytes(p) for p in copy.demux(subtitles=0) if p.size > 2]
    assert text.endswith(b"Latitude: 83 north")


def _with_text(
    path: Path,
    texts: Sequence[str],
    codec: str = "mov_text",
    video: Video = _SECOND,
) -> Path:
    """Write a video with these subtitles, one after the other."""
    made = make_video(path.with_name("made.mp4"), video)
    with av.open(str(made)) as source, av.open(str(path), "w") as out:
        picture = out.add_stream_from_template(source.streams.video[0])
        picture.codec_context.framerate = video.rate
        words: Any = out.add_stream(codec)
        words.codec_context.subtitle_header = (
            b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\n"
            b"Style: Default,Arial\n\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
        )
        words.time_base = words.codec_context.time_base = Fraction(1, 1000)
        out.start_encoding()
        for number, text in enumerate(texts):
            raw = text.encode()
            size = len(raw).to_bytes(2, "big") if codec == "mov_text" else b""
            line: av.Packet[Any] = av.Packet(size + raw)
            line.stream, line.time_base = words, Fraction(1, 1000)
            line.pts = line.dts = 250 * number
            line.duration = 250
            out.mux(line)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = picture
                out.mux(packet)
    return path
