"""A track of sound is what was given to the encoder or the muxer; packets are stood in for."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av.error
import pytest

from pipeline.errors import VerificationFailed
from pipeline.soundcheck import CopiedCheck, CopiedSound, EncodedCheck, EncodedSound

RATE = 48000
MS = Fraction(1, 1000)
PICTURE = Fraction(1, 2)  # seconds on the file's clock at which the picture begins
STREAM = SimpleNamespace(time_base=MS)


class Packet:
    """One that gives frames, or fails."""

    def __init__(self, frames: Sequence[Any] = (), error: Exception | None = None) -> None:
        self._frames, self._error = list(frames), error

    def decode(self) -> list[Any]:
        if self._error is not None:
            raise self._error
        return self._frames


def frame(begins: Fraction, samples: int = 1024) -> Any:
    """A frame that begins so many seconds after the picture."""
    return SimpleNamespace(
        pts=round((PICTURE + begins) * RATE),
        time_base=Fraction(1, RATE),
        samples=samples,
        sample_rate=RATE,
        layout=SimpleNamespace(nb_channels=2),
    )


def encoded(packets: Sequence[Packet], samples: int, start: Fraction = Fraction(0)) -> None:
    check = EncodedCheck("a.mp4", 1, STREAM, EncodedSound(RATE, 2, samples, start))
    for packet in packets:
        check.take(packet)  # type: ignore[arg-type]
    check.check(PICTURE)


def copied(
    packets: Sequence[tuple[int | None, int, int]], seconds: Fraction, start: Fraction = Fraction(0)
) -> None:
    """Check a track of packets of (milliseconds after the picture, duration, bytes)."""
    check = CopiedCheck("a.mp4", 1, STREAM, CopiedSound(seconds, start))
    for pts, duration, size in packets:
        place = None if pts is None else pts + 500
        packet: Any = SimpleNamespace(pts=place, duration=duration, size=size)
        check.take(packet)
    check.check(PICTURE)


# --- Encoded anew ---


def test_sound_begins_and_ends_where_it_should_within_three_milliseconds() -> None:
    for off in (-3, 0, 3):
        encoded([Packet([frame(off * MS, RATE)])], RATE)
    for off in (-4, 4):
        # A codec frame more at an end is let pass, so it is the other end that is wrong.
        with pytest.raises(VerificationFailed, match="sound track 1 lasts from"):
            encoded([Packet([frame(off * MS, RATE)])], RATE)


def test_a_codec_frame_too_many_at_each_end_is_what_a_container_cannot_leave_out() -> None:
    length = Fraction(1024, RATE)
    packets = [Packet([frame(-length), frame(Fraction(0)), frame(length)])]
    encoded(packets, 1024)
    with pytest.raises(VerificationFailed, match="lasts from"):
        encoded([Packet([frame(-2 * length), *packets[0].decode()])], 1024)


def test_less_than_three_milliseconds_of_sound_may_be_missing() -> None:
    encoded([], 144)
    with pytest.raises(VerificationFailed, match="sound track 1 is empty"):
        encoded([], 145)


def test_a_track_that_was_flushed_before_has_no_more_frames() -> None:
    encoded([Packet(error=av.error.EOFError(541478725, "End of file"))], 0)
    with pytest.raises(VerificationFailed, match="sound track 1 cannot be decoded"):
        encoded([Packet(error=av.error.InvalidDataError(1094995529, "Invalid data"))], 0)


# --- Copied ---


def test_a_copied_track_spans_from_its_first_packet_to_the_end_of_its_last() -> None:
    in_any_order = [(100, 50, 9), (0, 50, 9), (950, 50, 9), (150, 50, 9)]
    copied(in_any_order, Fraction(1))
    with pytest.raises(VerificationFailed, match=r"lasts 1\.000 s instead of 1\.300 s"):
        copied(in_any_order, Fraction(13, 10))
    with pytest.raises(VerificationFailed, match=r"lasts 1\.000 s instead of 0\.700 s"):
        copied(in_any_order, Fraction(7, 10))
    copied([*in_any_order, (None, 0, 0), (9000, 0, 0)], Fraction(1))  # what ends a stream


def test_a_copied_track_begins_where_it_should_within_three_milliseconds() -> None:
    for off in (-3, 3):
        copied([(20 + off, 1000, 9)], Fraction(1), 20 * MS)
    for off, told in ((-4, r"\+0\.016"), (4, r"\+0\.024")):
        with pytest.raises(VerificationFailed, match=rf"begins {told} s .* instead of \+0\.020"):
            copied([(20 + off, 1000, 9)], Fraction(1), 20 * MS)


def test_a_copied_track_is_empty_only_where_it_was() -> None:
    copied([], Fraction(0))
    with pytest.raises(VerificationFailed, match="sound track 1 is empty"):
        copied([(None, 0, 0)], Fraction(1))
