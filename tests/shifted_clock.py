"""
A clock that tests set forward and back, for one process and its children.

The machine's own cannot be set: it is everybody's. So a small library, compiled here, stands
before that of C, and adds what a file says to the time of day. Other clocks go on as they do, and
the times of files are the kernel's.
"""

from __future__ import annotations

import functools
import os
import shutil
import struct
import subprocess
from pathlib import Path

_VARIABLE = "TEST_CLOCK_SHIFT"
_SOURCE = f"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *shift;

__attribute__((constructor)) static void begin(void) {{
    int file = open(getenv("{_VARIABLE}"), O_RDONLY | O_CLOEXEC);
    void *found = mmap(0, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (found == MAP_FAILED) abort();
    shift = found;
}}

int clock_gettime(clockid_t clock, struct timespec *now) {{
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *shift;
    return result;
}}

int gettimeofday(struct timeval *now, void *zone) {{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}}

time_t time(time_t *now) {{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}}
"""


@functools.cache
def why_no_clock() -> str | None:
    """Return why there can be no such clock here; None where there can."""
    return None if shutil.which("cc") else "there is no C compiler"


class ShiftedClock:
    """The machine's time and so many seconds more."""

    def __init__(self, folder: Path) -> None:
        source, self._library = folder / "clock.c", folder / "clock.so"
        source.write_text(_SOURCE)
        words = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(source)]
        subprocess.run(words, check=True)
        self._file = folder / "shift"
        self._file.write_bytes(struct.pack("q", 0))

    @property
    def environment(self) -> dict[str, str]:
        """Return what a process that goes by this clock has beside its environment."""
        return {"LD_PRELOAD": str(self._library), _VARIABLE: str(self._file)}

    def set(self, seconds: float) -> None:
        """Set it so far off the machine's, for all that go by it, at once."""
        descriptor = os.open(self._file, os.O_WRONLY)
        try:
            os.pwrite(descriptor, struct.pack("q", int(seconds)), 0)
        finally:
            os.close(descriptor)
