"""In which order a track's channels lie, and bringing them into the usual one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.channels import _USUAL_ORDER, Channels, settle
from pipeline.pairing import frame_times
from pipeline.parameters import Parameters
from pipeline.plan import plan_output
from pipeline.probe import probe
from pipeline.protect import protect
from pipeline.reader import AudioItem, Reader
from pipeline.settings import Limits, Settings
from pipeline.soundpair import SoundSource, measure_sound

RATE = 48000
FAST = Settings(preset="ultrafast", threads=1)
COPY = Parameters.parse({"audio_level": "none"})
# QuickTime's numbers for orders that are not FFmpeg's: where in the file each of its channels lies.
LISTED = {
    "7.1": ((128 << 16) | 8, (0, 1, 2, 3, 6, 7, 4, 5)),
    "6.1": ((125 << 16) | 7, (0, 1, 2, 3, 6, 4, 5)),
    "7.1(wide-side)": ((126 << 16) | 8, (0, 1, 2, 3, 6, 7, 4, 5)),
}


@pytest.mark.parametrize("layout", LISTED)
def test_an_order_of_its_own_leaves_the_heap_whole(tmp_path: Path, layout: str) -> None:
    """PyAV frees a list of speakers with each of its copies; glibc tells where it is asked to."""
    clip = listed_clip(tmp_path / "clip.mov", layout)
    code = (
        "import gc, sys; from pathlib import Path;"
        "from pipeline.probe import probe; from pipeline.reader import Reader;"
        "from pipeline.settings import Limits;"
        "\nfor _ in range(20):"
        "\n    info = probe(Path(sys.argv[1]), Limits())"
        "\n    list(Reader(info, frozenset(), Limits()).items())"
        "\n    gc.collect()"
    )
    told = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    done = subprocess.run([sys.executable, "-c", code, str(clip)], env=told, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("layout", LISTED)
def test_channels_in_an_order_of_their_own_come_in_the_usual_one(
    tmp_path: Path, layout: str
) -> None:
    info = probe(listed_clip(tmp_path / "clip.mov", layout), Limits())
    (track,) = info.audio
    assert (track.layout, track.channel_order) == (layout, LISTED[layout][1])
    items = list(Reader(info, frozenset(), Limits()).items())
    blocks = [item.frame for item in items if isinstance(item, AudioItem)]
    assert {block.layout.name for block in blocks} == {layout}
    assert {(block.time_base, block.sample_rate) for block in blocks} == {(Fraction(1, RATE), RATE)}
    times = [block.pts for block in blocks]
    lengths = np.cumsum([0, *(block.samples for block in blocks)])
    assert times == list(lengths[:-1])
    assert loudnesses(blocks) == list(LISTED[layout][1])


def test_a_protected_copy_has_each_channel_in_its_place(tmp_path: Path) -> None:
    original = listed_clip(tmp_path / "clip.mov", "6.1")
    outcome = protect(original, None, Parameters(), FAST)
    assert not [note for note in outcome.report.notes if "speaker" in note]
    with av.open(str(outcome.output)) as container:
        sound = container.streams.audio[0]
        assert (sound.codec_context.name, sound.codec_context.layout.name) == ("flac", "6.1")
        assert loudnesses(list(container.decode(audio=0))) == list(LISTED["6.1"][1])


def test_sound_is_measured_channel_against_channel(tmp_path: Path) -> None:
    original = listed_clip(tmp_path / "clip.mov", "7.1")
    other = clip(tmp_path / "other.mov", "7.1", LISTED["7.1"][1])
    found = measure_sound(source(original), source(other), Limits())
    assert found is not None
    assert found.snr_db is not None
    assert found.snr_db > 80


def test_copied_packets_whose_order_the_container_cannot_say_are_told(tmp_path: Path) -> None:
    original = listed_clip(tmp_path / "clip.mov", "7.1")
    copy = protect(original, tmp_path / "copy.mkv", COPY, FAST)
    assert "Sound of stream 1: Matroska cannot say in which order its channels lie." in (
        copy.report.notes
    )


def test_speakers_without_a_usual_order_are_counted_and_told(tmp_path: Path) -> None:
    info = probe(listed_clip(tmp_path / "clip.mov", "7.1"), Limits())
    twice = context(3, "3 channels (FL+FR+FL)", ["FL", "FR", "FL"])
    assert settle(twice) == Channels(3, "3 channels", unkept="FL+FR+FL")
    assert twice.layout == "3 channels"
    track = replace(info.audio[0], channels=3, layout="3 channels", unkept_speakers="FL+FR+FL")
    notes = plan_output(replace(info, audio=(track,)), Parameters(), FAST).notes
    assert any("the speakers that the file names (FL+FR+FL) are not kept" in n for n in notes)


def test_a_layout_whose_name_is_cut_off_is_counted_and_told() -> None:
    speakers = _USUAL_ORDER.split()
    layout = av.AudioLayout("+".join(speakers))
    assert not layout.name.endswith(")")
    track = SimpleNamespace(layout=layout)
    assert settle(track) == Channels(34, "34 channels", unkept="+".join(speakers))
    assert track.layout == "34 channels"


@pytest.mark.parametrize(
    ("name", "speakers"),
    [
        ("stereo", ["FL", "FR"]),
        ("5.1(side)", ["FL", "FR", "FC", "LFE", "SL", "SR"]),
        ("4 channels (FL+FR+LFE+BC)", ["FL", "FR", "LFE", "BC"]),
        ("8 channels", ["NONE"] * 8),
    ],
)
def test_channels_in_the_usual_order_stay_as_they_are(name: str, speakers: list[str]) -> None:
    usual = context(len(speakers), name, speakers)
    assert settle(usual) == Channels(len(speakers), name)
    assert usual.layout == name
    assert av.AudioLayout(name).name == name


def context(count: int, name: str, speakers: list[str]) -> Any:
    """Return what stands for a codec context with such a layout."""
    channels = [SimpleNamespace(name=speaker) for speaker in speakers]
    return SimpleNamespace(layout=SimpleNamespace(nb_channels=count, name=name, channels=channels))


def listed_clip(path: Path, layout: str) -> Path:
    """Write a clip whose `chan` says that its channels lie in another order than FFmpeg's."""
    number, order = LISTED[layout]
    clip(path, layout, range(len(order)))
    data = bytearray(path.read_bytes())
    at = data.index(b"chan") + 8  # behind the kind, version and flags
    data[at : at + 8] = number.to_bytes(4) + bytes(4)
    path.write_bytes(data)
    return path


def clip(path: Path, layout: str, order: Any) -> Path:
    """Write five pictures and a track of which channel n is a tone of loudness order[n] + 1."""
    places = list(order)
    with av.open(str(path), "w") as out:
        picture: Any = out.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        sound: Any = out.add_stream("pcm_s16le", rate=RATE, layout=layout)
        for index in range(5):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        tone = np.sin(2 * np.pi * 100 * np.arange(RATE // 5) / RATE)
        levels = np.array([3000 * (place + 1) for place in places])
        samples = (levels[:, None] * tone).astype(np.int16)
        block = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T).reshape(1, -1), format="s16", layout=layout
        )
        block.sample_rate, block.pts = RATE, 0
        out.mux(sound.encode(block))
        out.mux(sound.encode(None))
    return path


def loudnesses(blocks: list[av.AudioFrame]) -> list[int]:
    """Return of which tone of `clip` each channel is."""
    packed = av.AudioResampler(format="flt")  # PyAV misreads eight planes
    pieces = [piece.to_ndarray() for block in blocks for piece in packed.resample(block)]
    channels = blocks[0].layout.nb_channels
    samples: NDArray[Any] = np.concatenate(pieces, axis=1).reshape(-1, channels)
    return [round(float(level) * 32768 / 3000) - 1 for level in np.abs(samples).max(axis=0)]


def source(path: Path) -> SoundSource:
    info = probe(path, Limits())
    return SoundSource(info, info.audio[0], frame_times(info, Limits()).start)
