"""
A process that answers once which of the libraries that do the work can be loaded.

A process of its own: what is broken about them may end whoever loads them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from daemon.child import child_connection
from daemon.doctor import Programs

_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))


def main() -> None:
    """Look, answer, and end."""
    connection = child_connection()
    connection.send(_with_torch(_with_av(Programs())))


def _with_av(programs: Programs) -> Programs:
    try:
        import av
        from av.codec import Codec
    except (ImportError, OSError) as error:
        return replace(programs, av_error=_first_line(error))
    encoders: set[str] = set()
    decoders: set[str] = set()
    for names, mode in ((encoders, "w"), (decoders, "r")):
        for name in av.codecs_available:
            try:
                Codec(name, mode)  # type: ignore[arg-type]
            except ValueError:
                continue
            names.add(name)
    return replace(
        programs,
        av=av.__version__,
        encoders=frozenset(encoders),
        decoders=frozenset(decoders),
    )


def _with_torch(programs: Programs) -> Programs:
    programs = replace(programs, has_driver=any(path.exists() for path in _DRIVERS))
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:
        return replace(programs, torch_error=_first_line(error))
    is_reached = torch.cuda.is_available()
    return replace(
        programs,
        torch=str(torch.__version__),
        cuda=torch.version.cuda,
        accelerator=torch.cuda.get_device_name() if is_reached else None,
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


if __name__ == "__main__":
    main()
