"""
What schemathesis cannot know by itself: a video that can be read, and what a form cannot tell.

Loaded by schemathesis, which `tests/daemon/web/test_fuzz.py` runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import schemathesis
from hypothesis import strategies
from schemathesis.transport.serialization import Binary

VIDEO = "MEDIA_CLEANER_FUZZ_VIDEO"
# Fields of an upload that are any text, or nearly.
TEXTS = ("user_id", "notes", "webhook_url", "audio_level", "mode")
# A header that no description knows, which anybody's proxy may add.
UNKNOWN_HEADER = "x-schemathesis-unknown-property"

if VIDEO in os.environ:
    video = Binary(Path(os.environ[VIDEO]).read_bytes())
    schemathesis.openapi.format("binary", strategies.just(video))


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """
    Leave out what is no fault.

    Numbers for text in a form are text there, and so what was asked for.
    """
    if UNKNOWN_HEADER in (case.headers or {}):
        return False
    is_form = str(case.media_type).startswith("multipart/")
    return not (is_form and isinstance(case.body, dict) and _has_number_for_text(case.body))


def _has_number_for_text(body: Mapping[str, object]) -> bool:
    return any(isinstance(body.get(name), int | float) for name in TEXTS)
