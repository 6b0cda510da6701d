"""How large a video may be, whichever way it came."""

from __future__ import annotations

from daemon.task import Failure


def too_large(name: str, size: int, max_bytes: int) -> Failure | None:
    """Return why a video of so many bytes is refused, None where it is not."""
    if size <= max_bytes:
        return None
    return Failure(
        "limit_exceeded",
        f"{name} has {size / (1 << 30):.2f} GB, and max_video_size_gb allows"
        f" {max_bytes / (1 << 30):g}; cut it, or raise that and retry the task.",
    )
