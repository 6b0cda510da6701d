"""A warm process that does measured work, seen from the one that measures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cost import Cost

_ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """A warm process, see `worker.py`."""

    def __init__(self, device: str = "auto") -> None:
        path = os.pathsep.join((str(_ROOT), os.environ.get("PYTHONPATH", "")))
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), device]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.warming = self._answer()

    def ask(self, kind: str, **job: Any) -> dict[str, Any]:
        """Have a job done."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"kind": kind, **job}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def cost(self, kind: str, **job: Any) -> Cost:
        """Have a job done whose answer is what it cost."""
        return Cost(**self.ask(kind, **job))

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the measured process ended; its complaint is above")
        answer: dict[str, Any] = json.loads(line)
        return answer
