"""
What schemathesis cannot make up by itself: a video that can be read.

Loaded by schemathesis, which `tests/daemon/web/test_fuzz.py` runs.
"""

from __future__ import annotations

import os
from pathlib import Path

import schemathesis
from hypothesis import strategies
from schemathesis.transport.serialization import Binary

VIDEO = "MEDIA_CLEANER_FUZZ_VIDEO"

if VIDEO in os.environ:
    video = Binary(Path(os.environ[VIDEO]).read_bytes())
    schemathesis.openapi.format("binary", strategies.just(video))
