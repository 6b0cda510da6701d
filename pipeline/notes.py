"""What the report tells the user about one video, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.faces import FaceSummary
from pipeline.metadata import Audit
from pipeline.reader import Reader
from pipeline.sound import SoundProtector
from pipeline.timeline import VideoClock

_NOTED_LOSS_SECONDS = 0.1


def reader_notes(
    reader: Reader, clock: VideoClock, sounds: Mapping[int, SoundProtector]
) -> list[str]:
    """Return what of the original could not be taken as it is."""
    notes = []
    if reader.damaged_packets:
        count = reader.damaged_packets
        packets = "1 damaged packet was" if count == 1 else f"{count} damaged packets were"
        notes.append(f"{packets} passed over.")
    if reader.ended_early:
        notes.append("The original breaks off; what could be read of it is protected.")
    if reader.resized_frames:
        notes.append(
            f"Frames of another size than the first: {reader.resized_frames}; each is scaled to"
            " that one's size and shape."
        )
    if clock.jumps:
        notes.append(
            f"Places where the original's clock starts anew: {clock.jumps}; time goes on there."
        )
    if clock.moved:
        notes.append(
            f"Frames that had the time of the one before: {clock.moved}; each is one tick later."
        )
    for sound in sounds.values():
        if not sound.samples:
            notes.append(
                f"Stream {sound.track.index} holds no sound that can be decoded; the copy has none"
                " of it."
            )
        if sound.dropped_seconds >= _NOTED_LOSS_SECONDS:
            notes.append(
                f"{sound.dropped_seconds:.1f} s of sound in stream {sound.track.index} lay over"
                " other sound or before the picture's start and are left out."
            )
        if sound.wild_samples:
            notes.append(
                f"In stream {sound.track.index} silence stands for samples that are no numbers or"
                f" too large for any sound: {sound.wild_samples}."
            )
    return notes


def face_notes(faces: FaceSummary | None) -> Iterator[str]:
    """Yield what the user should know of faces."""
    if faces is not None and faces.passed_over:
        yield (
            f"Faces on anchors that got no change of their own: {faces.passed_over}; where there"
            " were many at once, the widest did."
        )


def packet_notes(checked: Audit) -> list[str]:
    """Return what the audit found where it is meant to stay."""
    if not checked.in_copied_packets:
        return []
    words = "; ".join(checked.in_copied_packets)
    return [f"Inside the copied packets, which stay bit for bit: {words}."]
