"""
What is wrong with a value in config.yaml, in words.

Each message goes to logs and terminals, which more people read than the file: no secret is shown.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.settings import PRESETS, Limits

# `webhook: whsec_…` is a slip, and so is a `webhook` that is written below another key.
_OF_A_SECRET = ("secret", "webhook", "whsec_")
# 007, 1e3 and 2024-01-01 could be a user's or an inbox's name, and any note.
_NO_TEXT = re.compile(r"\b(name|user_id|notes) is (\d|-\d|datetime)")

# By the last part of a key; each name means the same wherever it stands.
ALLOWED = {
    "inboxes": "a list of {name, inbox, outbox, defaults}, each name once",
    "name": "1 to 64 letters, digits, `_`, `-` or `.`",
    "inbox": "a folder's path",
    "outbox": "a folder's path",
    "temp": "a folder's path",
    "logs": "a folder's path",
    "state": "a folder's path",
    "extensions": "a list of file names' endings, such as .mp4, none of a sidecar (.yaml) or of an"
    " unfinished transfer (.part)",
    "settle_s": "a number of seconds from 0 to 86400",
    "sidecar_grace_s": "a number of seconds from 0 to 86400",
    "incomplete_wait_s": "a number of seconds from 0 to 2592000",
    "rescan_s": "a number of seconds from 0.1 to 86400",
    "max_video_size_gb": "a number above 0",
    "max_pending": "a whole number from 1 to 10000000",
    "workers": "a whole number from 1 to 1024, or null for as many as fit the machine",
    "max_attempts": "a whole number from 1 to 100",
    "task_timeout_hours": "a number above 0, up to 10000",
    "stall_s": "a number of seconds from 1 to 86400",
    "drain_s": "a number of seconds from 0 to 86400",
    "min_free_gb": "a number from 0 to 1048576",
    "cleanup_hour": "a whole number from 0 to 23",
    "retention": "results_days, failed_days, originals_days, records_days",
    "results_days": "a number of days from 0 to 36500, or null for never",
    "failed_days": "a number of days from 0 to 36500, or null for never",
    "originals_days": "a number of days from 0 to 36500, or null for never",
    "records_days": "a number of days from 0 to 36500, or null for never",
    "language": "ru or en",
    "host": "an address or name of this machine",
    "port": "a whole number from 0 to 65535; 0 takes a free one",
    "web_workers": "a whole number from 0 to 64; 0 where another unit answers requests",
    "trusted_proxies": "a list of addresses or networks, such as 10.0.0.0/8",
    "accel_redirect": "a path that begins and ends with /, or null",
    "auth": "required",
    "required": "true or false",
    "webhook": "allow_private, secret",
    "allow_private": "true or false",
    "secret": "whsec_ and at least 16 random bytes in base64 (at most 200 characters), or null",
    "surrogate": "embedded, or one or a list of networks' names",
    "weights": "a file for each network's name",
    "faces": "detector and embedders, both or neither",
    "detector": "a path to a .onnx file, or null for none",
    "embedders": "a path or a list of paths to .onnx, .pt, .pth, .ts or .torchscript files, each"
    " once",
    "speech": "recognisers",
    "recognisers": "a path or a list of paths to TorchScript files (.pt, .pth, .ts or"
    " .torchscript), each once",
    "device": "auto, cpu or cuda",
    "crf": "a whole number from 0 to 51",
    "preset": "one of " + ", ".join(PRESETS),
    "odd_size": "pad or keep",
    "limits": ", ".join(field.name for field in dataclasses.fields(Limits)),
    "max_pixels": "a whole number above 0",
    "max_duration_h": "a number above 0",
    "max_streams": "a whole number from 1 to 10000",
    "max_fps": "a number above 0",
    "worker_memory_gb": "a number above 0",
    "defaults": "the parameters of a task",
}


def what_is_wrong(found: Any, values: Mapping[str, Any]) -> str:
    """
    Return a sentence that names a key, its value and what is allowed; no secret is in it.

    Args:
        found: one of pydantic's `ErrorDetails`.
        values: the whole mapping of the file.
    """
    key = _key(found["loc"], values)
    if found["type"] == "extra_forbidden":
        if _is_more_than_a_name(found["loc"]):
            where = _key(found["loc"][:-1], values) or "the file"
            return f"{where} has a key that is none, and not shown here; write `name: value`."
        return f"{key} is not a known key; see the shipped config.yaml for those there are."
    leaf = next((part for part in reversed(found["loc"]) if part in ALLOWED), None)
    allowed = ALLOWED[str(leaf)] if leaf else found["msg"].removeprefix("Value error, ")
    if found["type"] == "missing":
        return f"{key} is missing; give {allowed}."
    shown = repr(found["input"])
    if any(word in f"{found['loc'][-1]} {shown}" for word in _OF_A_SECRET):
        return f"{key} is wrong, and not shown here; allowed is {allowed}."
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    message = f"{key} is {shown}; allowed is {allowed}."
    return message + yaml_hint(message)


def yaml_hint(message: str) -> str:
    """Say why a value is not what was written, where YAML 1.1 has made something else of it."""
    if " is True; " in message or " is False; " in message:
        return " YAML reads yes, no, on and off as true and false; put text in quotes."
    if _NO_TEXT.search(message):
        return " YAML reads a number or a date there; put text in quotes."
    return ""


def _key(location: Sequence[int | str], values: Mapping[str, Any]) -> str:
    """Return a key with its dots; one of an inbox after the inbox's name, else its folder."""
    key = ".".join(str(part) for part in location if part != "constrained-str")
    if len(location) < 2 or location[0] != "inboxes" or not isinstance(location[1], int):
        return key
    inboxes = values["inboxes"]
    inbox = inboxes[location[1]] if isinstance(inboxes, list) else None  # a set, for one
    known = inbox if isinstance(inbox, Mapping) else {}
    names = [known[word] for word in ("name", "inbox") if isinstance(known.get(word), str)]
    return f"inbox {names[0][:64]}: {key}" if names else key


def _is_more_than_a_name(location: Sequence[int | str]) -> bool:
    """May such a key hold a secret, as where a space is missing in `{secret:whsec_…}`?"""
    near_one = any(word in str(location) for word in _OF_A_SECRET)
    return near_one and not re.fullmatch("[a-z_.-]{1,24}", str(location[-1]))
