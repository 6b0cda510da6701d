"""
The secret that signs webhooks: the configuration's, else one of our own under `state/`.

It is written as Standard Webhooks has it: `whsec_` and base64. Receivers give the same text to
their own library.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import secrets
from pathlib import Path

from standardwebhooks import Webhook

from daemon.atomic import write_new
from daemon.errors import ConfigError

_PREFIX = "whsec_"
_BYTES = 32
_FEWEST_BYTES = 16


def signer(configured: str | None, own: Path) -> Webhook:
    """
    Return what signs; `own` is made where nothing is configured and it is not there yet.

    Raises:
        ConfigError: the secret is none.
        OSError: our own cannot be read or written.
    """
    return Webhook(key_of(configured, "webhook.secret") if configured else _own_key(own))


def key_of(secret: str, name: str) -> bytes:
    """
    Return the bytes that a secret stands for; `name` is what a message calls it.

    Raises:
        ConfigError: it is not base64, or too short to be safe.
    """
    text = secret.removeprefix(_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) < _FEWEST_BYTES:
        raise ConfigError(
            f"{name} is no secret; allowed is {_PREFIX} and at least {_FEWEST_BYTES} random bytes"
            " in base64, such as `openssl rand -base64 32` prints."
        )
    return key


def _own_key(path: Path) -> bytes:
    try:
        text = path.read_text("ascii")
    except FileNotFoundError:
        made = base64.b64encode(secrets.token_bytes(_BYTES))
        with contextlib.suppress(FileExistsError):  # somebody else was faster
            write_new(path, _PREFIX.encode() + made + b"\n", mode=0o600)
        text = path.read_text("ascii")
    except UnicodeDecodeError:
        text = ""
    return key_of(text.strip(), str(path))
