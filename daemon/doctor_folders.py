"""The doctor's look at folders: rights, file systems, room, and how many can be watched."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from daemon.config import Config
from daemon.disk import free_gb, in_words, shortage
from daemon.doctor import Finding, of_sentence, ok, problem, warning
from daemon.folders import broken_link
from daemon.folders import problems as folder_problems
from daemon.mounts import is_remote, mount_of
from daemon.networks import network_problems

_INOTIFY = Path("/proc/sys/fs/inotify")
# Other programs of the same user want some too.
_SPARE_WATCHES = 1000
_SPARE_INSTANCES = 16
# Beyond that many the limit is told of without counting on.
_MOST_COUNTED = 1_000_000


def of_configuration(config: Config) -> Iterator[Finding]:
    """What check-config says."""
    found = [*folder_problems(config), *network_problems(config.settings)]
    for sentence in found:
        yield of_sentence("configuration", sentence, is_of_config=True)
    if not found:
        yield ok("configuration", f"it can work; {_networks(config)}")


def _networks(config: Config) -> str:
    faces = config.faces
    named = {
        "faces": [path.name for path in (faces.detector, *faces.embedders) if path is not None],
        "speech": [path.name for path in config.speech.recognisers],
    }
    rest = [f"; {key}: {', '.join(files)}" for key, files in named.items() if files]
    return f"surrogate: {', '.join(config.surrogate)}{''.join(rest)}"


def of_rights(config: Config) -> Iterator[Finding]:
    """Whether a file can be made in each folder."""
    for key, folder in config.folders.items():
        if (link := broken_link(folder)) is not None:
            yield warning(
                key,
                f"{link} is a link that leads nowhere",
                "Make the folder that it names, or mount the share that it lies on.",
            )
            continue
        if not folder.is_dir():
            yield ok(key, f"{folder} will be made at the start")
            continue
        try:
            with tempfile.TemporaryFile(dir=folder):
                yield ok(key, f"{folder} can be written")
        except OSError as error:
            yield problem(
                key,
                f"in {folder} no file can be made: {error.strerror}",
                "Give this user the right to write there (chown, chmod g+w), or mend the disk.",
            )


def of_file_systems(config: Config) -> Iterator[Finding]:
    """Whether renames stay within a file system where they should."""
    yield from _of_temp(config)
    for inbox in config.inboxes:
        root = config.place(inbox.inbox)
        if root.is_dir():
            yield from _of_inbox(f"inboxes.{inbox.name}.inbox", root)
    yield from _of_state(config.place(config.state))


def _of_temp(config: Config) -> Iterator[Finding]:
    temp = config.place(config.temp)
    outboxes = {config.place(config.outbox), *(config.outbox_of(i) for i in config.inboxes)}
    for outbox in sorted(outboxes):
        if not (temp.is_dir() and outbox.is_dir()):
            continue
        if temp.stat().st_dev == outbox.stat().st_dev:
            yield ok("temp", f"it lies on the file system of {outbox}")
        else:
            yield warning(
                "temp",
                f"{outbox} lies on another file system, so each result is copied once more",
                "Set temp to a folder beside the outbox, if time or room is short.",
            )


def _of_inbox(key: str, root: Path) -> Iterator[Finding]:
    device = root.stat().st_dev
    apart = [entry for entry in root.iterdir() if _is_on_another(entry, device)]
    for entry in apart:
        yield problem(
            key,
            f"{entry} is another file system, and a file is claimed by one rename",
            "Unmount it, or name it in `inboxes` as an inbox of its own.",
        )
    mount = mount_of(root)
    if mount is not None and is_remote(mount.file_system):
        yield ok(
            key, f"{root} is a network share ({mount.file_system}), looked through every second"
        )
    elif not apart:
        yield ok(key, f"{root} is one file system")


def _is_on_another(entry: Path, device: int) -> bool:
    with contextlib.suppress(OSError):  # gone in the meantime
        return entry.is_dir() and not entry.is_symlink() and entry.stat().st_dev != device
    return False


def _of_state(state: Path) -> Iterator[Finding]:
    mount = mount_of(state) if state.is_dir() else None
    if mount is not None and is_remote(mount.file_system):
        yield warning(
            "state",
            f"{state} lies on a network share ({mount.file_system}), which may know no locks",
            "Set state to a folder of a local disk.",
        )


def of_room(config: Config) -> Iterator[Finding]:
    """Whether there is room for new work where it is needed."""
    places = {key: path for key, path in config.folders.items() if _needs_room(key)}
    for key, folder in places.items():
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        if (sentence := shortage(existing, config.min_free_gb)) is not None:
            yield of_sentence(f"room for {key}", sentence)
        elif (free := free_gb(existing)) is not None:
            yield ok(f"room for {key}", f"{in_words(free)} are free where {folder} lies")
        else:
            yield ok(f"room for {key}", f"the file system of {folder} does not tell what is free")


def _needs_room(key: str) -> bool:
    return key in ("temp", "state") or key.endswith("outbox")


def of_inotify(config: Config) -> Iterator[Finding]:
    """Whether the kernel lets every folder of the inboxes be watched."""
    roots = [config.place(inbox.inbox) for inbox in config.inboxes]
    wanted = sum(_count_folders(root) for root in roots) + _SPARE_WATCHES
    yield from _of_limit("max_user_watches", wanted, "folders of the inboxes")
    yield from _of_limit("max_user_instances", len(roots) + _SPARE_INSTANCES, "inboxes")


def _of_limit(name: str, wanted: int, of: str) -> Iterator[Finding]:
    try:
        limit = int((_INOTIFY / name).read_text("ascii"))
    except (OSError, ValueError):
        yield warning(
            "inotify",
            f"{_INOTIFY / name} cannot be read, so files may be found by scans alone",
            "Nothing needs to be done if /health tells of no inbox that is polled.",
        )
        return
    if limit >= wanted:
        yield ok("inotify", f"{name} is {limit}, enough for the {of}")
    else:
        yield warning(
            "inotify",
            f"{name} is {limit}, too few for the {of}, which would be polled",
            f"sysctl fs.inotify.{name}={2 * wanted}, and the same line in /etc/sysctl.d/.",
        )


def _count_folders(root: Path) -> int:
    count = 0
    for _, folders, _ in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        count += 1
        if count >= _MOST_COUNTED:
            break
    return count
