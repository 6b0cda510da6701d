"""
Protect one video: the one entry to everything else in this package.

    plan ─ decode ▶ protect ▶ encode ─ read back ─ audit ─ report ─ rename

Composes, computes nothing. Callable from a worker process as from a command line: progress
and cancellation are callbacks, errors pickle, nothing global is changed.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.boxes import completeness
from pipeline.errors import InvalidParameters, MetadataLeft, OutputFailed, UnreadableMedia
from pipeline.memory import lack_of_memory_told
from pipeline.metadata import Audit, audit, inventory
from pipeline.notes import packet_notes
from pipeline.parameters import Mode, Parameters
from pipeline.plan import check_suffix, plan_output
from pipeline.probe import probe
from pipeline.progress import Progress, ShowProgress, Watch
from pipeline.publish import protected_name, publish
from pipeline.readback import read_back
from pipeline.report import Report
from pipeline.settings import Settings
from pipeline.storage import storage_failure_told
from pipeline.strip import strip
from pipeline.transcode import Transcoder


@dataclass(frozen=True)
class Outcome:
    """A finished file and what is to be said of it."""

    output: Path
    report: Report


def protect(
    original: Path,
    output: Path | None,
    parameters: Parameters,
    settings: Settings,
    *,
    may_replace: bool = True,
    progress: ShowProgress = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Outcome:
    """
    Make a protected copy of `original`; it appears under its name only when it is complete.

    Args:
        output: where to, its ending naming the container; by default beside the original,
            as `<stem>_protected` with the ending that fits.
        may_replace: whether a file of that name, which may have come while the work went on,
            is replaced.

    Raises:
        PipelineError: why there is no result. Nothing is left behind.
        Cancelled: `cancelled` said so. Nothing is left behind.
    """
    if output is not None and output.exists() and output.samefile(original):
        raise InvalidParameters(f"{output} is the original, which is never altered; name another.")
    if output is not None and parameters.mode is Mode.PROTECT:
        check_suffix(output.suffix)
    elif output is not None and output.suffix.lower() != original.suffix.lower():
        raise InvalidParameters(
            f"{output.name}: strip keeps the container; let the name end in {original.suffix}."
        )
    suffix = output.suffix if output else planned_suffix(original, parameters, settings)
    output = output or original.with_name(protected_name(original, suffix))
    partial = output.with_name(f".{secrets.token_hex(8)}.part{suffix}")
    try:
        report = protect_into(
            original, partial, parameters, settings, progress=progress, cancelled=cancelled
        )
        publish(partial, output, may_replace)
    finally:
        # Where nothing could be written there is nothing to remove, and the reason is told.
        with contextlib.suppress(OSError):
            partial.unlink()
    return Outcome(output, report)


def planned_suffix(original: Path, parameters: Parameters, settings: Settings) -> str:
    """Return the file name's ending that fits `original`'s protected copy."""
    if parameters.mode is Mode.STRIP:
        return original.suffix
    with storage_failure_told(original):
        info = probe(original, settings.limits)
    return plan_output(info, parameters, settings).suffix


def protect_into(
    original: Path,
    partial: Path,
    parameters: Parameters,
    settings: Settings,
    *,
    progress: ShowProgress = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Report:
    """
    Write the protected copy of `original` to `partial`, read it back and audit it.

    For callers that publish the result themselves; `partial` may be left behind on failure.
    Its ending names the container.

    Raises:
        PipelineError, Cancelled: as `protect`.
    """
    with lack_of_memory_told(original), storage_failure_told(original):
        if parameters.mode is Mode.STRIP:
            return _strip(original, partial, settings, progress, cancelled)
        return _protect(original, partial, parameters, settings, progress, cancelled)


def _protect(
    original: Path,
    partial: Path,
    parameters: Parameters,
    settings: Settings,
    progress: ShowProgress,
    cancelled: Callable[[], bool],
) -> Report:
    watch = Watch()
    info = probe(original, settings.limits)
    plan = plan_output(info, parameters, settings, partial.suffix)
    work = Transcoder(info, plan, parameters, settings, progress)
    work.run(partial, cancelled)
    check = read_back(
        partial,
        work.expected(),
        name=original.name,
        threads=settings.threads,
        progress=lambda n: progress(Progress("read back", n, work.frames)),
        cancelled=cancelled,
    )
    progress(Progress("audit", work.frames, work.frames))
    checked = _audited(partial, work.copied_streams, original.name, cancelled)
    removed = _removed(original, checked, cancelled)
    return work.report(partial, check, checked, removed, watch)


def _audited(
    partial: Path, copied: frozenset[int], name: str, cancelled: Callable[[], bool]
) -> Audit:
    try:
        checked = audit(partial, copied, cancelled)
    except (OSError, UnreadableMedia) as error:
        reason = getattr(error.__cause__ or error, "strerror", None) or str(error)
        raise OutputFailed(
            f"The copy of {name} cannot be read in {partial.parent.absolute()}: {reason}."
        ) from error
    if not checked.is_clean:
        raise MetadataLeft(
            f"The copy of {name} still holds metadata ({'; '.join(checked.findings)});"
            " it is not given out. Please report this with the original's container and codec."
        )
    return checked


def _removed(original: Path, checked: Audit, cancelled: Callable[[], bool]) -> tuple[str, ...]:
    """Return what the original says, less what stays inside copied packets, in words."""
    kept = checked.in_copied_packets
    return tuple(words for words in inventory(original, cancelled) if words not in kept)


def _strip(
    original: Path,
    partial: Path,
    settings: Settings,
    progress: ShowProgress,
    cancelled: Callable[[], bool],
) -> Report:
    watch = Watch()
    result = strip(
        original,
        partial,
        settings.limits,
        progress=lambda n, total: progress(Progress("strip", n, total)),
        cancelled=cancelled,
    )
    progress(Progress("audit", result.frames, result.frames))
    notes = [f"Not kept: {', '.join(result.dropped)}."] if result.dropped else []
    is_truncated = completeness(original).is_truncated
    if result.ended_early or is_truncated:
        notes.append("The original breaks off; what could be read of it is kept.")
    checked = _audited(partial, frozenset(result.streams), original.name, cancelled)
    notes += packet_notes(checked)
    return Report(
        mode=Mode.STRIP,
        container=result.container,
        video_codec=result.video_codec,
        original_bytes=original.stat().st_size,
        protected_bytes=partial.stat().st_size,
        frames=result.frames,
        metadata_removed=_removed(original, checked, cancelled),
        audit=checked.findings,
        is_truncated=is_truncated,
        notes=tuple(notes),
        seconds=watch.seconds,
        cpu_seconds=watch.cpu_seconds,
    )
