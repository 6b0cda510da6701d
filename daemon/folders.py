"""
Can this configuration work, folder by folder? Says what is wrong.

Nothing is mended; but the service's own folders are made where they are missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from daemon.atomic import make_folder
from daemon.config import Config
from daemon.errors import ConfigError
from daemon.machine import too_many_workers
from daemon.mounts import origin_of, why_away
from pipeline.settings import EMBEDDED


def problems(config: Config) -> list[str]:
    """Return what keeps this configuration from working, in sentences; empty when nothing."""
    return [
        *_unusable(config),
        *_nested(config),
        *_too_many_workers(config),
        *_missing_weights(config),
        *_missing_faces(config),
        *_missing_recognisers(config),
        *_bad_secret(config),
    ]


def make_folders(config: Config, mounts: Mapping[str, str]) -> None:
    """
    Make the folders of a configuration where they are missing.

    Args:
        mounts: where each folder's file system was mounted when it was there, by the folder.

    Raises:
        ConfigError: one cannot be made.
    """
    for key, folder in config.folders.items():
        # An inbox is made by its watcher, which knows whether its share is mounted.
        if key.endswith(".inbox"):
            continue
        try:
            if key.endswith("outbox") and _is_away(folder, mounts.get(str(folder))):
                continue  # the disks tell of that; in the empty folder below it nothing is made
            make_folder(folder)
        except OSError as error:
            raise ConfigError(
                f"{key}: {folder} cannot be made: {error.strerror}; name another."
            ) from error


def _is_away(folder: Path, known_mount: str | None) -> bool:
    return broken_link(folder) is not None or why_away(folder, known_mount) is not None


def broken_link(folder: Path) -> Path | None:
    """Return the link on the way to a folder that leads nowhere; None where there is none."""
    last = next(p for p in (folder, *folder.parents) if p.exists() or p.is_symlink())
    return None if last.exists() else last


def _unusable(config: Config) -> Iterator[str]:
    for key, folder in config.folders.items():
        try:
            # What a link to a share leads to may be away: that of an inbox or outbox is waited for.
            link = broken_link(folder) if key in ("temp", "logs", "state") else None
            problem = _problem_of(folder) if link is None else _of_link(link)
        except OSError as error:  # below a folder that may not be entered; a name too long
            problem = f"{folder} cannot be used ({error.strerror}); name another."
        if problem is not None:
            yield f"{key}: {problem}"


def _of_link(link: Path) -> str:
    return f"{link} is a link that leads nowhere; make the folder that it names, or name another."


def _problem_of(folder: Path) -> str | None:
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if not existing.is_dir():
        return f"{existing} is not a folder; name another or move it away."
    # One that is there already is opened and listed, too; one above it is only written to.
    needed = os.W_OK | os.X_OK | (os.R_OK if existing == folder else 0)
    if not os.access(existing, needed):
        if os.statvfs(existing).f_flag & os.ST_RDONLY:
            return (
                f"{existing} is read-only; mount it for writing, name it in ReadWritePaths where"
                " systemd starts the service, or name another."
            )
        return f"{existing} may not be read and written by this user; change its owner or mode."
    return None


def _nested(config: Config) -> Iterator[str]:
    # Resolved, since a symlink can lead one folder into another. Not by `Path.resolve`, which has
    # a RuntimeError for a link to itself; that such a folder cannot be made is told elsewhere.
    places = [(key, path, Path(os.path.realpath(path))) for key, path in config.folders.items()]
    # One folder has two resolved paths where it is mounted twice, as a container's volumes may be,
    # or where capital letters do not count.
    identities = {real: _identity(real) for _, _, real in places}
    origins = {real: _origin(real) for _, _, real in places}
    for key, path, real in places:
        for other, other_path, other_real in places:
            if key == other:
                continue
            origin, other_origin = origins[real], origins[other_real]
            identity = identities[other_real]
            has_one_number = identity is not None and identity == identities[real]
            if real == other_real or has_one_number and not _lie_apart(origin, other_origin):
                if key < other and not _may_share(key, other):
                    both = path if path == other_path else f"{path} and {other_path}"
                    yield f"{key} and {other} are the same folder, {both}; keep them apart."
            elif real.is_relative_to(other_real) or _lies_in(origin, other_origin):
                yield f"{key}: {path} lies inside {other}, {other_path}; keep them apart."


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:  # not there yet, or not to be reached, which is told elsewhere
        return None
    return status.st_dev, status.st_ino


def _origin(folder: Path) -> PurePath | None:
    existing = next(p for p in (folder, *folder.parents) if _identity(p) is not None)
    origin = origin_of(existing)
    return None if origin is None else origin / folder.relative_to(existing)


def _lies_in(origin: PurePath | None, other: PurePath | None) -> bool:
    return origin is not None and other is not None and origin.is_relative_to(other)


def _lie_apart(origin: PurePath | None, other: PurePath | None) -> bool:
    """
    Whether two folders are at different places of one file system, whatever their numbers.

    virtiofs, 9p and bindfs show folders of several file systems as one, with the numbers that each
    has there: the first folder of each has the same.
    """
    if origin is None or other is None or origin.parts[0] != other.parts[0]:
        return False
    return str(origin).casefold() != str(other).casefold()


def _may_share(key: str, other: str) -> bool:
    """Several inboxes may have one outbox, which may be the common one."""
    return all(name.split(".")[-1] == "outbox" for name in (key, other))


def _too_many_workers(config: Config) -> Iterator[str]:
    reason = None if config.workers is None else too_many_workers(config.workers)
    if reason is not None:
        yield f"workers is {reason}"


def _missing_weights(config: Config) -> Iterator[str]:
    for name, path in config.settings.weights.items():
        if not os.path.isfile(path):
            yield f"weights.{name}: {path} is not a file; put the network's weights there."
        if name not in config.surrogate:
            yield f"weights.{name}: surrogate does not name {name}; add it there or remove this."
    if config.surrogate == (EMBEDDED,):
        return
    for name in config.settings.surrogates:
        if os.sep in name and not os.path.isfile(name):
            yield f"surrogate: {name} is not a file; put the network there."


def _missing_faces(config: Config) -> Iterator[str]:
    faces = config.settings.faces
    named = [("detector", faces.detector), *(("embedders", path) for path in faces.embedders)]
    for key, path in named:
        if path is not None and not os.path.isfile(path):
            yield f"faces.{key}: {path} is not a file; put the network there."


def _missing_recognisers(config: Config) -> Iterator[str]:
    for path in config.settings.recognisers:
        if not os.path.isfile(path):
            yield f"speech.recognisers: {path} is not a file; put the network there."


def _bad_secret(config: Config) -> Iterator[str]:
    if config.webhook.secret is None:
        return
    from daemon.webhook_secret import key_of  # not for every command: it takes time to import

    try:
        key_of(config.webhook.secret, "webhook.secret")
    except ConfigError as error:
        yield error.message
