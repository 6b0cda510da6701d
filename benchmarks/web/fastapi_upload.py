"""The job of `/upload` as FastAPI has it done: a file of a form, copied to its place, durable."""

from __future__ import annotations

import os
import shutil

from fastapi import FastAPI, UploadFile

_STEP = 1 << 20

app = FastAPI()


@app.post("/upload")
def upload(file: UploadFile) -> dict[str, int]:
    """Keep a file."""
    with open(os.environ["UPLOADED"], "wb") as target:
        shutil.copyfileobj(file.file, target, _STEP)
        target.flush()
        os.fsync(target.fileno())
        return {"bytes": target.tell()}
