"""What signs, and that receivers with the same text agree."""

from __future__ import annotations

import base64
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from daemon.errors import ConfigError
from daemon.webhook_secret import key_of, signer

NOW = datetime(2026, 11, 24, tzinfo=UTC)
KEY = base64.b64encode(b"k" * 24).decode()


def signature(webhook: Webhook) -> str:
    return webhook.sign("id", NOW, "{}")


@pytest.mark.parametrize("secret", [f"whsec_{KEY}", KEY, "whsec_" + "A" * 43])
def test_a_receivers_own_library_reads_a_secret_as_we_do(secret: str, tmp_path: Path) -> None:
    assert signature(signer(secret, tmp_path / "s")) == signature(Webhook(secret))
    assert not (tmp_path / "s").exists()


def test_sixteen_bytes_are_the_fewest() -> None:
    assert key_of(base64.b64encode(bytes(16)).decode(), "webhook.secret") == bytes(16)
    with pytest.raises(ConfigError, match="at least 16 random bytes"):
        key_of(base64.b64encode(bytes(15)).decode(), "webhook.secret")


@pytest.mark.parametrize("secret", ["correct horse battery staple", "whsec_", "whsec_QUJD", "ключ"])
def test_what_is_no_secret_is_told_with_the_way_to_make_one(secret: str) -> None:
    with pytest.raises(ConfigError, match=r"webhook\.secret.*openssl rand") as caught:
        key_of(secret, "webhook.secret")
    assert secret not in caught.value.message or secret == "whsec_"


def test_our_own_is_made_once_and_for_our_eyes_only(tmp_path: Path) -> None:
    path = tmp_path / "webhook_secret"
    first = signature(signer(None, path))
    assert signature(signer(None, path)) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text().strip()
    assert signature(Webhook(text)) == first
    assert len(key_of(text, "it")) == 32
    assert list(tmp_path.iterdir()) == [path]


def test_another_state_has_another_secret(tmp_path: Path) -> None:
    assert signature(signer(None, tmp_path / "a")) != signature(signer(None, tmp_path / "b"))


def test_several_at_once_make_one(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(signature(signer(None, tmp_path / "s"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


@pytest.mark.parametrize("content", [b"", b"nonsense\n", b"\xff\xfe"])
def test_a_damaged_file_is_told_by_its_name_and_not_replaced(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "webhook_secret"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="webhook_secret"):
        signer(None, path)
    assert path.read_bytes() == content
