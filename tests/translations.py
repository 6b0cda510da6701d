"""Whether what the service and the pipeline say has a translation."""

from __future__ import annotations

from daemon.web.sentences import translated


def is_known(sentence: str) -> bool:
    """Is it told in Russian?"""
    return "только по-английски" not in translated(sentence, "ru")
