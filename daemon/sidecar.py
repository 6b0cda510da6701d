"""
The parameters in a YAML file beside a video.

Which of the sidecars in an inbox belongs to which video is the watcher's business; here are
what is in one, what holds where there is none, and what becomes of one that is dropped again.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePath

from daemon.atomic import sync_folder
from daemon.errors import ConfigError
from daemon.held_folder import held_folder, told_as
from daemon.names import (
    is_left_alone,
    is_sidecar,
    own_sidecar_names,
    shared_sidecar_names,
    sidecar_names,
    stem,
)
from daemon.small_file import NO_FILE, NotReadable, read_small_file
from daemon.task import Failure
from daemon.webhook_url import check_literal
from daemon.yaml_file import text_mapping
from pipeline.errors import InvalidParameters
from pipeline.parameters import Parameters

MAX_BYTES = 64 << 10
_CODE = "invalid_sidecar"
_ADVICE = "Correct the sidecar, then retry the task (`media-cleaner retry`)."
_LONGEST_REASON = 500


class SidecarError(Exception):
    """
    A sidecar is wrong.

    Attributes:
        code: `invalid_parameter`: a value is; `invalid_sidecar`: it is none.
        message: names the file, what is wrong, what is allowed, and what to do.
    """

    def __init__(self, code: str, reason: str) -> None:
        shown = reason if len(reason) <= _LONGEST_REASON else reason[: _LONGEST_REASON - 3] + "..."
        self.code = code
        self.message = f"{shown} {_ADVICE}"
        super().__init__(self.message)

    @property
    def failure(self) -> Failure:
        """As the reason why a task failed."""
        return Failure(self.code, self.message)


def read_sidecar(
    path: Path, subfolder: str, defaults: Parameters, allow_private: bool = False
) -> Parameters:
    """
    Return what a sidecar asks for, the rest as `parameters_without_sidecar` has it.

    Args:
        subfolder: of the inbox, in which the video lay.
        allow_private: may its webhook lead to this machine or a private network?

    Raises:
        SidecarError: its content is wrong, or it is not a file that can be read.
        OSError: the disk or the network is the reason.
    """
    try:
        values = text_mapping(path.name, _content(path))
        parameters = Parameters.parse(values, parameters_without_sidecar(subfolder, defaults))
        if parameters.webhook_url is not None:
            check_literal(parameters.webhook_url, allow_private)
        return parameters
    except ConfigError as error:
        raise SidecarError(_CODE, error.message) from error
    except InvalidParameters as error:
        raise SidecarError(error.code, f"{path.name}: {error.message}") from error


def parameters_without_sidecar(subfolder: str, defaults: Parameters) -> Parameters:
    """Return the defaults; the first subfolder's name is the user, if it can be one."""
    user_id = user_of(subfolder)
    return defaults if user_id is None else defaults.model_copy(update={"user_id": user_id})


def user_of(subfolder: str) -> str | None:
    """Return the user that a subfolder of an inbox belongs to, None for none."""
    first = next(iter(PurePath(subfolder).parts), None)
    try:
        return Parameters.parse({"user_id": first}).user_id
    except InvalidParameters:
        return None  # a folder may have any name


def find_sidecar(folder: Path, video: str) -> str | None:
    """Return the name of a video's sidecar in `folder`, the best of those there are."""
    return _first_file(folder, sidecar_names(video))


def adopt_dropped(inbox: Path, subfolder: str, video: str, task_folder: Path) -> str | None:
    """
    Take over a sidecar that was dropped again; return the name of the task's, None if none.

    Where no video of that name lies in the inbox any more but a sidecar of it does, that one
    is moved to the task's folder. It takes the old one's name there, so that at every moment
    there is either the old or the new one.

    Raises:
        SidecarError: the task has none, and what lies in its place in the inbox is no file.
        OSError: it is there and cannot be moved; the old one is as it was.
    """
    present = find_sidecar(task_folder, video)
    try:
        with (
            held_folder(inbox, *PurePath(subfolder).parts) as folder,
            told_as(folder, inbox / subfolder),
        ):
            dropped = _first_file(folder, _names_of_it_alone(folder, video))
            if dropped is None:
                if present is None:
                    _refuse_what_is_no_file(folder, video)
                return present
            target = present or dropped
            os.rename(folder / dropped, task_folder / target)
            sync_folder(task_folder)
            sync_folder(folder)
            return target
    except (FileNotFoundError, NotADirectoryError):
        return present  # no such folder any more, or whoever dropped the sidecar took it back


def _content(path: Path) -> bytes:
    try:
        return read_small_file(path, MAX_BYTES)
    except (NotReadable, FileNotFoundError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path.name} cannot be read: {reason}.") from error


def _refuse_what_is_no_file(folder: Path, video: str) -> None:
    """Somebody asked for something, as when the video came; the defaults may be the opposite."""
    for name in _names_of_it_alone(folder, video):
        what = NO_FILE.get(_kind(folder / name))
        if what is not None:
            raise SidecarError(_CODE, f"{name} is {what}, not a file, and so is not read.")


def _names_of_it_alone(folder: Path, video: str) -> tuple[str, ...]:
    """Return the names, the best first, that can be no other video's sidecar's in `folder`."""
    if os.path.lexists(folder / video):
        return ()
    own = own_sidecar_names(video)
    return own if _has_namesake(folder, video) else (*own, *shared_sidecar_names(video))


def _has_namesake(folder: Path, video: str) -> bool:
    """Is there a file that `NAME.yaml` could belong to as well?"""
    return any(
        stem(name) == stem(video) and not is_sidecar(name) and not is_left_alone(name)
        for name in os.listdir(folder)
    )


def _first_file(folder: Path, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if _is_file(folder / name)), None)


def _is_file(path: Path) -> bool:
    return _kind(path) == stat.S_IFREG


def _kind(path: Path) -> int:
    """Return what lies there, as `stat.S_IFMT` has it; 0 for nothing."""
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):  # no room for `.yaml` behind it
            return 0
        raise
