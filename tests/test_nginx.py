"""The site in nginx/ on a real nginx, before the real service with a key."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import trustme
from media import Audio, Video, make_video
from ports import held_port
from services import PATIENCE_SECONDS, ROOT, ServiceHouse, running, wait_until

SITE = ROOT / "nginx/media-cleaner.conf"
NAME = "videos.example.org"
LIMIT_BYTES = 2 << 20


@dataclass
class Front:
    """A service behind nginx, as its users see it."""

    house: ServiceHouse
    url: str
    plain_url: str
    authority: str
    headers: dict[str, str]

    def request(self, method: str, path: str, **words: object) -> requests.Response:
        words.setdefault("headers", self.headers)
        return requests.request(
            method,
            f"{self.url}{path}",
            verify=self.authority,
            timeout=PATIENCE_SECONDS,
            **words,  # type: ignore[arg-type]
        )

    def upload(self, video: Path, **words: object) -> requests.Response:
        with video.open("rb") as file:
            return self.request("POST", "/upload", files={"file": file}, **words)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    folder = tmp_path_factory.mktemp("front")
    house = ServiceHouse(
        folder / "house", trusted_proxies=["127.0.0.1"], accel_redirect="/protected/"
    )
    added = house.run("keys", "add", "alice", "--json")
    assert added.returncode == 0, added.stderr
    key = re.search(r'"key": "([^"]+)"', added.stdout)
    assert key, added.stdout
    with running(house), held_port() as tls_port, held_port() as port:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(str(folder / "key.pem"))
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(str(folder / "chain.pem"), append=number > 0)
        configure(folder, house, tls_port, port)
        with nginx_running(nginx, folder, tls_port):
            yield Front(
                house,
                f"https://localhost:{tls_port}",
                f"http://localhost:{port}",
                str(folder / "ca.pem"),
                {"X-API-Key": key[1]},
            )


def configure(folder: Path, house: ServiceHouse, tls_port: int, port: int) -> None:
    """Write the site as it is shipped, but for its addresses, places and the limit."""
    text = SITE.read_text()
    changes = {
        "127.0.0.1:8000": house.url.split("/")[2],
        "listen 80;": f"listen 127.0.0.1:{port};",
        "    listen [::]:80;\n": "",
        "listen 443 ssl": f"listen 127.0.0.1:{tls_port} ssl",
        "    listen [::]:443 ssl http2;\n": "",
        f"server_name {NAME}": "server_name localhost",
        f"/etc/letsencrypt/live/{NAME}/fullchain.pem": str(folder / "chain.pem"),
        f"/etc/letsencrypt/live/{NAME}/privkey.pem": str(folder / "key.pem"),
        "client_max_body_size 2049m": f"client_max_body_size {LIMIT_BYTES}",
        "/var/lib/media-cleaner/outbox/": f"{house.outbox}/",
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""  # the test's folders are ours alone
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\nmaster_process on;\nworker_processes 1;\npid {folder}/pid;\n"
        f"error_log {folder}/error.log info;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{temporary}{text}\n}}\n"
    )


@contextlib.contextmanager
def nginx_running(nginx: str, folder: Path, port: int) -> Iterator[None]:
    words = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*words, "-t", "-e", "stderr"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    with subprocess.Popen([*words, "-e", str(folder / "error.log")]) as process:
        try:
            wait_until(lambda: listens(port), "nginx")
            yield
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    make_video(path, Video(frames=10, width=160, height=120, audio=[Audio()]))
    return path


@pytest.fixture(scope="module")
def task_id(front: Front, video: Path) -> str:
    """Return a task that was uploaded through nginx and is done."""
    sent = front.upload(video)
    assert sent.status_code == 200, sent.text
    found = str(sent.json()["task_id"])
    wait_until(lambda: front.house.statuses()[found]["status"] == "completed", "done")
    return found


def test_a_result_is_sent_by_nginx_whole_and_in_parts(front: Front, task_id: str) -> None:
    (result,) = front.house.results()
    whole = front.request("GET", f"/download/{task_id}")
    assert whole.content == result.read_bytes()
    assert "attachment" in whole.headers["Content-Disposition"]
    assert "X-Accel-Redirect" not in whole.headers
    assert task_id not in whole.headers["ETag"]  # as where the service sends it
    part = front.request(
        "GET", f"/download/{task_id}", headers={**front.headers, "Range": "bytes=100-199"}
    )
    assert (part.status_code, part.content) == (206, result.read_bytes()[100:200])
    assert front.request("HEAD", f"/download/{task_id}").status_code == 200


def test_the_page_and_what_it_asks_for_pass_through(front: Front, task_id: str) -> None:
    for path in ("/", "/static/page.js"):
        assert front.request("GET", path, headers={}).status_code == 200
    asked = {**front.headers, "Origin": front.url}
    link = front.request("POST", f"/link/{task_id}", headers=asked).json()["url"]
    (result,) = front.house.results()
    assert front.request("GET", link, headers={}).content == result.read_bytes()
    for which in ("original", "protected"):
        still = front.request("GET", f"/still/{task_id}?of={which}")
        assert still.headers["Content-Type"] == "image/png"


def test_results_cannot_be_had_past_the_service(front: Front, task_id: str) -> None:
    (result,) = front.house.results()
    assert front.request("GET", f"/protected/{result.name}").status_code == 404


def test_a_wrong_key_is_refused_with_the_services_own_words(
    front: Front, video: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(video.read_bytes() + b"\0" * (LIMIT_BYTES // 2))
    for wrong in ({"X-API-Key": "wrong"}, {}):
        answers = [
            front.request("GET", "/tasks", headers=wrong),
            front.upload(large, headers=wrong),
        ]
        for answer in answers:
            assert (answer.status_code, answer.json()["detail"]) == (403, "Invalid API key")


def test_too_large_an_upload_is_refused_in_json(front: Front, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(b"\0" * (LIMIT_BYTES + 1))
    answer = front.upload(large)
    assert (answer.status_code, answer.json()["code"]) == (413, "file_too_large")


def test_the_page_may_change_things_and_another_site_may_not(front: Front, task_id: str) -> None:
    for origin, code in ((front.url, 409), ("https://elsewhere.example", 403)):
        answer = front.request(
            "POST", f"/cancel/{task_id}", headers={**front.headers, "Origin": origin}
        )
        assert answer.status_code == code, answer.text


def test_without_tls_one_is_sent_on(front: Front) -> None:
    answer = requests.get(f"{front.plain_url}/x?y=1", allow_redirects=False, timeout=60)
    assert (answer.status_code, answer.headers["Location"]) == (301, "https://localhost/x?y=1")


def test_while_the_service_is_away_clients_are_told_to_try_again(front: Front) -> None:
    """Last in this file: it ends the service."""
    front.house.stop()
    answer = front.request("GET", "/health")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["code"] == "unavailable"
