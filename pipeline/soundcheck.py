"""
One track of sound in a finished file: is it what was given to the encoder or the muxer?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NoReturn

import av
import av.error

from pipeline.errors import VerificationFailed

# A track of sound against the picture: both may have been rounded to a millisecond, by
# Matroska or by an MP4 edit list. A forgotten priming frame of AAC shifts by 21.
_SOUND_TOLERANCE = Fraction(3, 1000)
# The end of a copied track: containers do not all store the last packet's length.
_COPIED_END_TOLERANCE = Fraction(1, 4)


@dataclass(frozen=True)
class EncodedSound:
    """
    A track that was encoded anew.

    Attributes:
        samples: how many were given to the encoder, of each channel.
        start: seconds from the first frame of the picture to the first sample, may be
            negative.
    """

    sample_rate: int
    channels: int
    samples: int
    start: Fraction

    @property
    def is_empty(self) -> bool:
        """Whether no sample was written."""
        return self.samples == 0


@dataclass(frozen=True)
class CopiedSound:
    """
    A track whose packets were copied. They are not decoded: damage in them is the original's.

    Attributes:
        seconds: from the start of its first packet to the end of its last.
        start: seconds from the first frame of the picture to the first packet.
    """

    seconds: Fraction
    start: Fraction

    @property
    def is_empty(self) -> bool:
        """Whether no packet was written."""
        return self.seconds == 0


def sound_checks(
    container: Any, name: str, sound: Sequence[EncodedSound | CopiedSound]
) -> tuple[SoundCheck, ...]:
    """
    Return one check for each track of sound of an opened file.

    Each takes its stream's packets, then compares.

    Raises:
        VerificationFailed: there are more or fewer tracks than there should be.
    """
    streams = container.streams.audio
    if len(streams) < len(sound):
        sound = [s for s in sound if not s.is_empty]  # FFmpeg's MP4 muxer leaves these out
    if len(streams) != len(sound):
        fail(f"{name} has {len(streams)} tracks of sound instead of {len(sound)}")
    return tuple(
        EncodedCheck(name, number, stream, wanted)
        if isinstance(wanted, EncodedSound)
        else CopiedCheck(name, number, stream, wanted)
        for number, (stream, wanted) in enumerate(zip(streams, sound, strict=True), start=1)
    )


class EncodedCheck:
    """Decodes and counts one track that was encoded anew."""

    def __init__(self, name: str, number: int, stream: Any, expected: EncodedSound) -> None:
        self.stream = stream
        self._what = f"{name}: sound track {number}"
        self._expected = expected
        self._samples = 0
        self._longest = 0
        self._start: Fraction | None = None

    def take(self, packet: av.Packet[Any]) -> None:
        for frame in decoded(packet, self._what):
            self._check_kind(frame)
            if self._start is None and frame.pts is not None:
                self._start = frame.pts * frame.time_base
            self._samples += frame.samples
            self._longest = max(self._longest, frame.samples)

    def check(self, picture_start: Fraction) -> None:
        """
        Compare the span of time that the samples fill.

        Where the container cannot say what to leave out, the decoder gives up to one codec
        frame more at each end: priming before, the filled-up last frame after. (FFmpeg's
        MP4 muxer cannot for a track that begins late.)
        """
        if self._start is None:
            # MP4 states the lengths of tracks in milliseconds: less of sound is none.
            if self._expected.samples > _SOUND_TOLERANCE * self._expected.sample_rate:
                fail(f"{self._what} is empty")
            return
        rate = self._expected.sample_rate
        begins = self._start - picture_start
        ends = begins + Fraction(self._samples, rate)
        wanted_end = self._expected.start + Fraction(self._expected.samples, rate)
        surplus = (self._expected.start - begins, ends - wanted_end)
        most = Fraction(self._longest, rate) + _SOUND_TOLERANCE
        if not all(-_SOUND_TOLERANCE <= seconds <= most for seconds in surplus):
            fail(
                f"{self._what} lasts from {float(begins):.3f} to {float(ends):.3f} s instead of"
                f" {float(self._expected.start):.3f} to {float(wanted_end):.3f} s"
            )

    def _check_kind(self, frame: av.AudioFrame) -> None:
        found = (frame.sample_rate, frame.layout.nb_channels)
        wanted = (self._expected.sample_rate, self._expected.channels)
        if found != wanted:
            fail(
                f"{self._what} has {found[0]} Hz and {found[1]} channels"
                f" instead of {wanted[0]} Hz and {wanted[1]} channels"
            )


class CopiedCheck:
    """Follows the packets of one track that was copied."""

    def __init__(self, name: str, number: int, stream: Any, expected: CopiedSound) -> None:
        self.stream = stream
        self._what = f"{name}: sound track {number}"
        self._expected = expected
        self._first: int | None = None
        self._end = 0

    def take(self, packet: av.Packet[Any]) -> None:
        if packet.pts is None or not packet.size:
            return
        self._first = packet.pts if self._first is None else min(self._first, packet.pts)
        self._end = max(self._end, packet.pts + (packet.duration or 0))

    def check(self, picture_start: Fraction) -> None:
        if self._first is None:
            if not self._expected.is_empty:
                fail(f"{self._what} is empty")
            return
        base = self.stream.time_base
        seconds = (self._end - self._first) * base
        if abs(seconds - self._expected.seconds) > _COPIED_END_TOLERANCE:
            fail(
                f"{self._what} lasts {float(seconds):.3f} s"
                f" instead of {float(self._expected.seconds):.3f} s"
            )
        _check_start(self._what, self._first * base - picture_start, self._expected.start)


SoundCheck = EncodedCheck | CopiedCheck


def decoded(packet: av.Packet[Any], what: str) -> list[Any]:
    """
    Return the packet's frames.

    Raises:
        VerificationFailed: saying that `what` cannot be decoded.
    """
    try:
        return packet.decode()
    except av.error.EOFError:  # flushed before: a track without any packet
        return []
    except av.error.FFmpegError as error:
        fail(f"{what} cannot be decoded ({error.strerror})", error)


def _check_start(what: str, found: Fraction, wanted: Fraction) -> None:
    if abs(found - wanted) > _SOUND_TOLERANCE:
        fail(
            f"{what} begins {float(found):+.3f} s from the picture"
            f" instead of {float(wanted):+.3f} s"
        )


def fail(fact: str, cause: BaseException | None = None) -> NoReturn:
    """Raise VerificationFailed with `fact` and what is to be done."""
    raise VerificationFailed(f"{fact}; the original is untouched, try again.") from cause
