"""
What a process may do beyond its user's rights (capabilities), and how it gives that up for good.

The service may need one: a unit grants CAP_LEASE, and root has all. What opens strangers' files
needs none, so it is not passed on, and a child that has some all the same drops it.

By the system calls themselves: Python knows none of them, and libcap is not everywhere.
"""

from __future__ import annotations

import ctypes
import errno
import os

_SET_NO_NEW_PRIVILEGES = 38  # linux/prctl.h
_READ_BOUNDING, _DROP_BOUNDING = 23, 24
_AMBIENT, _CLEAR_AMBIENT = 47, 4
_VERSION = 0x20080522  # linux/capability.h: sets of 64 bits
_WORDS = 2
_MAY_READ_AND_WRITE_ALL = 1  # CAP_DAC_OVERRIDE
_MAY_SET_CAPABILITIES = 8  # CAP_SETPCAP

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    """32 bits of each set."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def pass_none_on() -> None:
    """
    Let programs that this process starts have none of its capabilities, unless it is root's.

    For the thread that calls it and those that it starts afterwards.

    Raises:
        OSError: the system does not allow it.
    """
    try:
        control_process(_AMBIENT, _CLEAR_AMBIENT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # This kernel, or what stands for it in a sandbox, knows no ambient set: there is none.


def give_up_privileges() -> None:
    """
    Drop all capabilities, and the way to any, for good; before there is a second thread.

    Root keeps one, to read and write other users' files: its own rights are no more than those of
    any user then, and what people drop is often theirs alone.

    Raises:
        OSError: the system does not allow it.
    """
    # No program that is run, set-user-ID or not, gives more than there is.
    control_process(_SET_NO_NEW_PRIVILEGES, 1)
    pass_none_on()
    kept = 1 << _MAY_READ_AND_WRITE_ALL if os.geteuid() == 0 else 0
    words = _current()
    # Without this one the bound stays as it is, and nothing can come of it any more.
    if _holds(words, _MAY_SET_CAPABILITIES):
        _bound_to(kept)
    # Asked for only where there is something to drop: a filter of system calls may refuse it.
    if any(word.permitted & ~_part(kept, n) for n, word in enumerate(words)):
        _keep_only(kept, words)


def control_process(option: int, value: int) -> None:
    """
    Call prctl.

    Raises:
        OSError: it refused.
    """
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), "prctl")


def _bound_to(kept: int) -> None:
    for number in range(32 * _WORDS):
        try:
            control_process(_READ_BOUNDING, number)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return  # this kernel knows no more of them
        if not kept >> number & 1:
            control_process(_DROP_BOUNDING, number)


def _current() -> ctypes.Array[_Word]:
    words = (_Word * _WORDS)()
    _check(_libc.capget(ctypes.byref(_Header(_VERSION, 0)), words), "capget")
    return words


def _keep_only(kept: int, words: ctypes.Array[_Word]) -> None:
    for number, word in enumerate(words):
        word.permitted &= _part(kept, number)
        word.effective &= _part(kept, number)
        word.inheritable = 0
    _check(_libc.capset(ctypes.byref(_Header(_VERSION, 0)), words), "capset")


def _holds(words: ctypes.Array[_Word], number: int) -> bool:
    return bool(words[number // 32].effective >> number % 32 & 1)


def _part(mask: int, word: int) -> int:
    return mask >> 32 * word & 0xFFFFFFFF


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), call)
