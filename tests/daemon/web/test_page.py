"""The page in a real browser, on a real service: what people do with it, and what they see."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from media import Audio, Video, make_video
from ports import held_port
from services import PATIENCE_SECONDS, ServiceHouse, running, wait_until

from daemon.web.page_texts import PAGE_TEXTS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE_MS = PATIENCE_SECONDS * 1000
expect.set_options(timeout=PATIENCE_MS)
EN = PAGE_TEXTS["en"]
# What a browser itself says of answers that are no success; tests ask for these.
OF_ANSWERS = "Failed to load resource"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visit:
    """One person's window on a service; notes whatever is not as it should be."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        settings = {"locale": "en-US", "viewport": {"width": 1280, "height": 900}, **options}
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(PATIENCE_MS)
        self.url = url
        self.page = self.context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning") and OF_ANSWERS not in message.text:
            self.complaints.append(message.text)

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []
        strange = [u for u in self.requests if not u.startswith((self.url, "blob:", "data:"))]
        assert strange == []

    def find(self, selector: str) -> Any:
        return self.page.locator(selector)

    def row(self, name: str, status: str = "") -> Any:
        """Return the newest task of a video."""
        selector = f".task[data-status={status}]" if status else ".task"
        return self.find(selector).filter(has_text=name).first

    def enter(self, key: str, is_remembered: bool = False) -> None:
        self.find("#key [name=key]").fill(key)
        if is_remembered:
            self.find("#key [name=remember]").check()
        self.find("#key button").click()

    def upload(self, *videos: Path, **parameters: str) -> None:
        """Choose videos and send them with parameters."""
        self.find("#files").set_input_files([str(video) for video in videos])
        if parameters:
            self.find("#parameters summary").click()
        for name, value in parameters.items():
            field = self.find(f"#new [name={name}]")
            if name == "audio_level":
                field.select_option(value)
            else:
                field.fill(value)
        self.find("#start").click()

    def overflow(self) -> int:
        """Return by how much the page is wider than its window, CSS pixels."""
        width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(width))


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    visits: list[Visit] = []

    def come(url: str, **options: Any) -> Visit:
        visits.append(Visit(browser, url, **options))
        return visits[-1]

    yield come
    for each in visits:
        each.close()


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceHouse]:
    """A service without keys, for many tests."""
    house = ServiceHouse(tmp_path_factory.mktemp("open"), language="en")
    with running(house):
        yield house


@pytest.fixture
def paused(open_house: ServiceHouse) -> Iterator[ServiceHouse]:
    """The same, but nothing is begun."""
    assert open_house.run("pause").returncode == 0
    yield open_house
    assert open_house.run("resume").returncode == 0


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "holiday.mp4"
    return make_video(path, Video(width=320, height=240, frames=50, audio=(Audio(),)))


def named(video: Path, folder: Path, name: str) -> Path:
    return Path(shutil.copy(video, folder / name))


# --- From a video to its protected copy ---


def test_a_video_goes_in_and_comes_back(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    window = visit(open_house.url)
    clip = named(video, tmp_path, "there and back.mp4")
    parameters = {"epsilon": "0.16", "audio_level": "сильный", "every_n_frames": "5"}
    window.upload(clip, **parameters, user_id="alice", notes="from the page")
    row = window.row(clip.name, "completed")
    expect(row).to_be_visible()
    expect(row.locator(".status")).to_have_text("✅ Completed")
    expect(window.find(".upload")).to_have_count(0)
    task = open_house.wait_for(clip.name, "completed")
    assert (task["epsilon"], task["audio_level"], task["every_n_frames"]) == (0.16, "сильный", 5)
    assert (task["user_id"], task["notes"], task["mode"]) == ("alice", "from the page", "protect")

    with window.page.expect_download() as download:
        row.get_by_role("button", name=EN["download"]).click()
    result = open_house.outbox / task["output_video"]
    assert download.value.suggested_filename == "there and back_protected.mp4"
    assert Path(download.value.path()).read_bytes() == result.read_bytes()


def test_progress_is_live_and_a_task_is_called_off_and_tried_again(
    open_house: ServiceHouse, visit: Any, tmp_path: Path
) -> None:
    clip = make_video(tmp_path / "long.mp4", Video(width=640, height=360, frames=1500))
    window = visit(open_house.url)
    window.upload(clip)
    row = window.row(clip.name)
    bar = row.get_by_role("progressbar", name=clip.name)
    expect(bar).to_be_visible()
    wait_until(lambda: float(bar.evaluate("bar => bar.value")) > 5, "progress")
    expect(row.locator(".about")).to_contain_text("of 1,500 frames")
    row.get_by_role("button", name=EN["cancel"]).click()
    expect(row.locator(".status")).to_have_text("🚫 Cancelled")
    expect(bar).to_be_hidden()
    row.get_by_role("button", name=EN["retry"]).click()
    expect(row.locator(".status")).to_have_text(re.compile("Waiting|Processing"))
    row.get_by_role("button", name=EN["cancel"]).click()
    expect(row.locator(".status")).to_have_text("🚫 Cancelled")


def test_what_somebody_selects_stays_selected(
    paused: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """The list is looked at anew each second; a name is to be copied from it in peace."""
    clip = named(video, tmp_path, "selected.mp4")
    window = visit(paused.url)
    window.upload(clip)
    window.row(clip.name).locator(".name").evaluate(
        "name => getSelection().selectAllChildren(name)"
    )
    for _ in range(3):  # the last of them comes after what the one before has shown
        with window.page.expect_response(re.compile("/tasks")):
            pass
    assert window.page.evaluate("getSelection().toString()") == clip.name


def test_original_and_protected_are_compared(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    window = visit(open_house.url)
    clip = named(video, tmp_path, "compared.mp4")
    window.upload(clip)
    row = window.row(clip.name, "completed")
    row.get_by_role("button", name=EN["compare"]).click()
    original, protected = window.find("#pair .original"), window.find("#pair .protected")
    natural = "image => [image.naturalWidth, image.naturalHeight]"
    for image in (original, protected):
        expect(image).to_have_attribute("src", re.compile("^blob:"))
        wait_until(lambda image=image: image.evaluate(natural) == [320, 240], "a picture")
    moment = window.find("#moment")
    wait_until(lambda: float(moment.get_attribute("max")) == 2.0, "the length")
    expect(window.find("#stage.busy")).to_have_count(0)

    expect(window.page.get_by_role("region", name=clip.name)).to_be_visible()
    before = original.get_attribute("src")
    moment.fill("1.5")
    expect(original).not_to_have_attribute("src", before)
    expect(moment.locator("xpath=..").locator(".value")).to_have_text("1.48 s")
    # Of the frame that the original shows then: a copy in another container may round its times.
    asked = [url.partition("?")[2] for url in window.requests if "/still/" in url]
    assert asked[-2:] == ["of=original&at=1.500", "of=protected&at=1.480"]

    window.find("#edge").fill("25")
    box = window.find("#pair").bounding_box()
    assert window.find("#pair .edge").bounding_box()["x"] == pytest.approx(
        box["x"] + box["width"] / 4, abs=2
    )
    window.page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + 20)
    assert float(window.find("#edge").input_value()) == pytest.approx(75, abs=1)

    for start, end in ((0.75, 0.3), (0.1, 0.6)):  # seized on either picture
        window.page.mouse.move(box["x"] + box["width"] * start, box["y"] + 20)
        window.page.mouse.down()
        window.page.mouse.move(box["x"] + box["width"] * end, box["y"] + 20, steps=9)
        assert float(window.find("#edge").input_value()) == pytest.approx(100 * end, abs=1)
        window.page.mouse.up()
    # Nor are words marked by that; Chromium never does, Firefox does unless told.
    tags = window.find("#pair .tag").evaluate_all(
        "tags => tags.map(t => getComputedStyle(t).userSelect)"
    )
    assert tags == ["none", "none"]

    window.find("#full").check()
    assert protected.bounding_box()["width"] == 320
    window.find("#play").click()
    film = window.find("#compare video")
    wait_until(lambda: film.evaluate("video => video.videoWidth") == 320, "the film")
    window.page.keyboard.press("Escape")
    expect(window.find("#compare")).to_be_hidden()
    expect(film).not_to_have_attribute("src", re.compile("download"))


def test_each_name_stays_on_its_own_half_of_a_narrow_picture(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """As of a video held upright on a telephone held sideways: one name covered the other."""
    size = {"width": 640, "height": 160}
    window = visit(open_house.url, viewport=size, locale="ru-RU")
    clip = named(video, tmp_path, "narrow.mp4")
    window.upload(clip)
    row = window.row(clip.name, "completed")
    row.get_by_role("button", name=PAGE_TEXTS["ru"]["compare"]).click()
    expect(window.find("#pair img:visible")).to_have_count(2)
    pair, left, right = (
        window.find(selector).bounding_box() for selector in ("#pair", ".tag.left", ".tag.right")
    )
    middle = pair["x"] + pair["width"] / 2
    assert pair["x"] <= left["x"] < left["x"] + left["width"] <= middle
    assert middle <= right["x"] < right["x"] + right["width"] <= pair["x"] + pair["width"]


def test_no_broken_picture_is_shown_until_the_frames_are_there(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    window = visit(open_house.url)
    clip = named(video, tmp_path, "slow.mp4")
    window.upload(clip)
    row = window.row(clip.name, "completed")
    held: list[Any] | None = []

    def hold(route: Any) -> None:
        if held is None:
            route.continue_()
        else:
            held.append(route)

    window.page.route(re.compile("/still/"), hold)
    row.get_by_role("button", name=EN["compare"]).click()
    expect(window.find("#stage.busy")).to_be_visible()
    expect(window.find("#pair img:visible")).to_have_count(0)
    stopped, held = held, None
    for route in stopped:
        route.continue_()
    expect(window.find("#pair img:visible")).to_have_count(2)


# Answers with frames come in three pieces, each when the test gives it, and time is the test's.
SLOW_FRAMES = """() => {
  AbortSignal.timeout = (milliseconds) => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new DOMException("timed out", "TimeoutError")), milliseconds);
    return controller.signal;
  };
  window.asked = 0;
  const real = window.fetch;
  window.fetch = async (path, options) => {
    if (!path.startsWith("still/")) return real(path, options);
    const answer = await real(path, { headers: options.headers });
    const bytes = new Uint8Array(await answer.arrayBuffer());
    const size = Math.ceil(bytes.length / 3);
    let at = 0;
    const source = {
      start(stream) {
        options.signal.addEventListener("abort", () => stream.error(options.signal.reason));
      },
      async pull(stream) {
        window.asked++;
        await new Promise((resolve) => (window.give = resolve));
        if (at < bytes.length) stream.enqueue(bytes.slice(at, (at += size)));
        else stream.close();
      },
    };
    return new Response(new ReadableStream(source, { highWaterMark: 0 }), answer);
  };
}"""


def test_frames_may_take_their_time_as_long_as_they_come(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """One of 4K has some 20 MB, for which many a line needs minutes."""
    window = visit(open_house.url)
    clip = named(video, tmp_path, "line.mp4")
    window.upload(clip)
    row = window.row(clip.name, "completed")
    expect(row).to_be_visible()
    window.page.clock.install()
    window.page.evaluate(SLOW_FRAMES)
    row.get_by_role("button", name=EN["compare"]).click()
    for piece in range(1, 9):  # of two answers, each with its end
        wait_until(lambda count=piece: window.page.evaluate("asked") == count, "the wait")
        window.page.clock.fast_forward(40_000)
        window.page.evaluate("give()")
    expect(window.find("#pair img:visible")).to_have_count(2)
    wait_until(lambda: window.page.evaluate("asked") == 9, "the next frames")
    window.page.clock.fast_forward(61_000)
    expect(window.find("#compare .problem")).to_have_text(EN["no_connection"])


def test_a_result_whose_original_is_gone_is_shown_alone(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    window = visit(open_house.url)
    clip = named(video, tmp_path, "alone.mp4")
    window.upload(clip)
    row = window.row(clip.name, "completed")
    row.get_by_role("button", name=EN["compare"]).wait_for()
    name = f"{open_house.by_video()[clip.name]['task_id']}.json"
    record = next((open_house.state / "completed").rglob(name))
    Path(json.loads(record.read_text())["original"]).unlink()
    row.get_by_role("button", name=EN["compare"]).click()
    shown = window.find("#pair .protected")
    wait_until(lambda: shown.evaluate("image => image.naturalWidth") == 320, "a picture")
    expect(window.find("#compare .problem")).to_contain_text("no longer there")
    expect(window.find("#pair .original")).to_be_hidden()
    expect(window.find("#edge")).to_be_disabled()
    window.find("#moment").fill("1.5")
    expect(window.find("#compare label:has(#moment) .value")).to_have_text("1.48 s")


def test_what_is_refused_is_said_aloud(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """Whoever does not see the row would wait for a download that never comes."""
    window = visit(open_house.url)
    clip = named(video, tmp_path, "removed.mp4")
    window.upload(clip)
    row = window.row(clip.name, "completed")
    expect(row).to_be_visible()
    expect(row.get_by_role("alert")).to_have_count(0)
    task = open_house.wait_for(clip.name, "completed")
    (open_house.outbox / task["output_video"]).unlink()
    row.get_by_role("button", name=EN["download"]).click()
    expect(row.get_by_role("alert")).to_be_visible()


def test_the_slider_ends_where_a_video_was_cut(
    open_house: ServiceHouse, visit: Any, tmp_path: Path
) -> None:
    clip = make_video(tmp_path / "cut.mkv", Video(width=320, height=240, frames=200))
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) * 2 // 3])
    window = visit(open_house.url)
    window.upload(clip)
    window.row(clip.name, "completed").get_by_role("button", name=EN["compare"]).click()
    moment = window.find("#moment")
    wait_until(lambda: 3 < float(moment.get_attribute("max")) < 7, "the length")


def test_all_that_was_measured_is_told(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    window = visit(open_house.url)
    clip = named(video, tmp_path, "measured.mp4")
    window.upload(clip, notes="two\nlines")
    row = window.row(clip.name, "completed")
    row.get_by_role("button", name=EN["details"]).click()
    told = window.find("#details .facts")
    task = open_house.wait_for(clip.name, "completed")
    report = task["report"]
    psnr = f"PSNR {round(report['psnr_db'], 2):g} dB"
    for words in (task["task_id"], "embedded", psnr, "two\nlines"):
        expect(told).to_contain_text(words)
    assert "undefined" not in told.inner_text()
    assert "null" not in told.inner_text()


def test_what_was_not_measured_is_a_dash(
    paused: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """Any number of a report may be null."""
    clip = named(video, tmp_path, "unmeasured.mp4")
    window = visit(paused.url)

    names = "surrogate frames anchors ssim mean_change p999_change largest_change top1_changed"
    nothing = dict.fromkeys((*names.split(), "faces", "size_ratio", "frames_per_second"))
    there = {"psnr_db": 40, "original_bytes": 9, "protected_bytes": 9, "seconds": 1}
    report = {**nothing, **there, "audio": [], "metadata_removed": [], "notes": []}

    def unmeasured(route: Any) -> None:
        answer = route.fetch()
        value = answer.json()
        tasks = [{**task, "report": report} for task in value["tasks"]]
        route.fulfill(response=answer, json={**value, "tasks": tasks})

    window.page.route(re.compile("/tasks"), unmeasured)
    window.upload(clip)
    window.row(clip.name).locator("[data-act=details]").click()
    told = window.find("#details .facts")
    expect(told).to_contain_text("SSIM –")
    expect(told).to_contain_text("mean –")
    expect(told).to_contain_text("(×–)")
    window.page.unroute_all(behavior="ignoreErrors")


def test_a_russian_page_has_russian_words_and_says_what_is_english(
    paused: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    window = visit(paused.url, locale="ru-RU")
    sizes = {"original_bytes": 9, "protected_bytes": 9, "size_ratio": 1, "seconds": 1}
    nothing = dict.fromkeys(("frames", "anchors", "psnr_db", "top1_changed", "frames_per_second"))
    removed = ["GPS position (©xyz)", "tag DATE in the codec's header", "tag x", "odd", "more"]
    said = {"metadata_removed": removed, "notes": ["It breaks off."], "audio": []}
    failed = {
        "status": "failed",
        "error_message": "It is damaged.",
        "report": sizes | nothing | said,
    }
    failed["webhook"] = {"status": "given_up", "last_error": "it answered 500"}

    def changed(route: Any) -> None:
        answer = route.fetch()
        value = answer.json()
        tasks = [{**task, **failed} for task in value["tasks"]]
        route.fulfill(response=answer, json={**value, "tasks": tasks})

    window.page.route(re.compile("/tasks"), changed)
    clip = named(video, tmp_path, "russian.mp4")
    window.upload(clip)
    row = window.row(clip.name)
    expect(row.locator(".problem[lang=en]")).to_have_text("It is damaged.")
    row.locator("[data-act=details]").click()
    told = window.find("#details .facts")
    russian = "координаты GPS (©xyz), тег DATE в заголовке кодека, тег x, odd, и другие"
    expect(told.locator("dd", has_text="GPS")).to_have_text(russian)
    expect(told.locator("dd", has_text="доставить не удалось")).to_be_visible()
    expect(told.locator("dd[lang=en]")).to_have_text(["it answered 500", "It breaks off."])
    window.page.unroute_all(behavior="ignoreErrors")


def test_only_metadata_may_go(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    window = visit(open_house.url)
    clip = named(video, tmp_path, "stripped.mp4")
    window.find("#files").set_input_files(str(clip))
    window.find("#parameters summary").click()
    window.find("#new [value=strip]").check()
    expect(window.find("#new [name=epsilon]")).to_be_hidden()
    window.find("#start").click()
    expect(window.row(clip.name, "completed")).to_be_visible()
    assert open_house.by_video()[clip.name]["mode"] == "strip"
    window.row(clip.name).get_by_role("button", name=EN["details"]).click()
    expect(window.find("#details .facts")).to_contain_text(EN["mode_strip"])


def test_the_form_begins_with_what_is_configured(visit: Any, video: Path, tmp_path: Path) -> None:
    defaults = {"epsilon": 0.125, "video_strength": 1.33, "audio_level": "medium"}
    house = ServiceHouse(tmp_path / "house", language="en", defaults=defaults)
    with running(house):
        assert house.run("pause").returncode == 0
        window = visit(house.url)
        window.upload(video)
        expect(window.row(video.name)).to_be_visible()
        window.close()
    task = house.by_video()[video.name]
    assert (task["epsilon"], task["video_strength"]) == (0.125, 1.33)
    assert task["audio_level"] == "средний"


# --- What is refused, and what waits ---


def test_what_cannot_be_taken_is_named_before_it_is_sent(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    window = visit(open_house.url)
    names = ("notes.txt", "empty.mp4")
    window.find("#files").set_input_files([str(tmp_path / name) for name in names])
    about = window.find(".upload.failed .about")
    expect(about.first).to_have_role("alert")
    expect(about).to_have_text([re.compile("None of the videos.*mp4"), EN["empty_file"]])
    expect(window.find("#start")).to_be_disabled()
    window.find(".upload [data-act=remove]").first.click()
    expect(window.find(".upload")).to_have_count(1)
    assert not any(url.endswith("/upload") for url in window.requests)


def test_a_wrong_value_is_pointed_at(
    paused: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """Also where it is folded away; and where it does not apply it is in nobody's way."""
    clip = named(video, tmp_path, "wrong.mp4")
    window = visit(paused.url)
    window.find("#files").set_input_files(str(clip))
    fold, interval = window.find("#parameters summary"), window.find("#new [name=every_n_frames]")
    fold.click()
    interval.fill("99")
    fold.click()
    expect(interval).to_be_hidden()
    window.find("#start").click()
    expect(interval).to_be_focused()
    expect(window.find(".upload")).to_have_count(1)
    window.find("#new [value=strip]").check()
    window.find("#start").click()
    expect(window.row(clip.name)).to_be_visible()


def test_a_file_that_is_gone_by_then_holds_up_no_other(
    paused: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    gone, other = named(video, tmp_path, "gone.mp4"), named(video, tmp_path, "still there.mp4")
    window = visit(paused.url)
    window.find("#files").set_input_files([str(gone), str(other)])
    gone.unlink()
    window.find("#start").click()
    expect(window.row(other.name)).to_be_visible()
    expect(window.find(".upload")).to_have_count(1)
    expect(window.find(".upload.failed .about")).to_have_text(EN["file_gone"])


def test_a_file_that_grew_since_is_to_be_chosen_anew(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """Firefox sends a part of it; what the service says of that would be said of each new try."""
    clip = named(video, tmp_path, "grown.mp4")
    window = visit(open_house.url)
    said = {"status": "error", "code": "incomplete_upload", "detail": "Repeat it."}
    window.page.route("**/upload", lambda route: route.fulfill(status=400, json=said))
    window.upload(clip)
    expect(window.find(".upload.failed .about")).to_have_text(EN["file_gone"])
    expect(window.find(".upload [data-act=again]")).to_be_hidden()


def test_a_file_that_shrank_since_is_to_be_chosen_anew(
    paused: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """Firefox reads its beginning, sends less than it announces, and waits for an answer."""
    clip = named(video, tmp_path, "shrunk.mp4")
    window = visit(paused.url)
    window.page.evaluate(
        "() => { const { slice } = Blob.prototype;"
        " Blob.prototype.slice = function (start, end) {"
        " return start < 0 ? new Blob() : slice.call(this, start, end); }; }"
    )
    window.upload(clip)
    expect(window.find(".upload.failed .about")).to_have_text(EN["file_gone"])


def test_what_the_service_refuses_is_told_in_its_words(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(b"no video" * 1000)
    window = visit(open_house.url)
    window.upload(fake)
    expect(window.find(".upload.failed .about")).to_contain_text("fake.mp4 is not a video")
    window.find(".upload [data-act=remove]").click()

    clip = named(video, tmp_path, "webhook.mp4")
    window.upload(clip, webhook_url="http://127.0.0.1/inside")
    expect(window.find(".upload.failed .about")).to_contain_text("webhook_url")
    expect(window.find("#new [name=webhook_url]")).to_be_focused()
    window.find("#new [name=webhook_url]").fill("")
    window.find(".upload [data-act=again]").click()
    expect(window.row(clip.name)).to_be_visible()


def test_what_is_refused_for_its_parameters_is_not_sent(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """Firefox and WebKit look at no answer before all is sent; over a slow line they get none."""
    clip = named(video, tmp_path, "unsent.mp4")
    window = visit(open_house.url)
    sent = []
    window.page.on("request", lambda r: sent.append(r) if r.url.endswith("/upload") else None)
    window.upload(clip, webhook_url="http://127.0.0.1/inside")
    expect(window.find(".upload.failed .about")).to_contain_text("webhook_url")
    (asked,) = sent
    size = clip.stat().st_size
    assert 0 < int(asked.all_headers()["content-length"]) < size
    assert asked.all_headers()["upload-length"] == str(size)


def test_names_and_notes_are_text_and_nothing_else(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    markup = "<img src=x onerror=document.title=1>"
    clip = named(video, tmp_path, f"{markup}.mp4")
    window = visit(open_house.url)
    window.upload(clip, notes=f"{markup}<script>document.title=2</script>")
    row = window.row(clip.name, "completed")
    expect(row.locator(".name")).to_have_text(clip.name)
    row.get_by_role("button", name=EN["details"]).click()
    expect(window.find("#details .facts")).to_contain_text("<script>")
    assert window.find("main img, #details img, main script").count() == 0
    assert window.page.title() == "Media Cleaner"


def test_a_name_is_shown_as_it_is_and_never_reversed(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """A right-to-left override would show `gpj.mp4` as `4pm.jpg`; joiners make emoji and words."""
    kept = "\N{ZERO WIDTH JOINER}\N{TAG LATIN SMALL LETTER G}\N{ARABIC END OF AYAH}.mp4"
    clip = named(video, tmp_path, "a\N{RIGHT-TO-LEFT OVERRIDE}gpj" + kept)
    shown = "a\\u{202e}gpj" + kept
    window = visit(open_house.url)
    window.find("#files").set_input_files(str(clip))
    expect(window.find(".upload .name")).to_have_text(shown)
    window.find("#start").click()
    row = window.row(shown, "completed")
    for act in ("details", "compare"):
        row.get_by_role("button", name=EN[act]).click()
        expect(window.find(f"#{act} h2")).to_have_text(shown)
        window.page.keyboard.press("Escape")


def test_a_full_queue_is_waited_for(browser: Any, visit: Any, video: Path, tmp_path: Path) -> None:
    house = ServiceHouse(tmp_path / "house", language="en", max_pending=1)
    with running(house):
        assert house.run("pause").returncode == 0
        window = visit(house.url)
        window.upload(named(video, tmp_path, "first.mp4"), named(video, tmp_path, "second.mp4"))
        expect(window.row("first.mp4")).to_contain_text("number 1 in the queue")
        waiting = window.find(".upload .about")
        expect(waiting).to_contain_text("The queue is full")
        expect(waiting).to_contain_text(re.compile(r"Tries again in \d+ s"))
        assert house.run("resume").returncode == 0
        expect(window.row("first.mp4", "completed")).to_be_visible()
        window.find(".upload [data-act=again]").click()  # instead of waiting until it does so
        expect(window.row("second.mp4", "completed")).to_be_visible()
        window.close()


def test_a_service_that_is_away_is_told_and_comes_back(
    visit: Any, video: Path, tmp_path: Path
) -> None:
    house = ServiceHouse(tmp_path / "house", language="en")
    with running(house):
        window = visit(house.url)
        expect(window.find("#none")).to_be_visible()
        port = re.search(r":(\d+)", house.url)
        assert port
        house.stop()
        with held_port(int(port[1])):
            expect(window.find("#trouble")).to_have_text(EN["no_connection"])
            house.configure(language="en", port=int(port[1]))
            house.start()
        expect(window.find("#trouble")).to_be_hidden()
        window.upload(video)
        expect(window.row(video.name, "completed")).to_be_visible()
        window.close()


# --- Many tasks ---


def test_tasks_are_leafed_through_and_filtered(visit: Any, video: Path, tmp_path: Path) -> None:
    house = ServiceHouse(tmp_path / "house", language="en")
    with running(house):
        assert house.run("pause").returncode == 0
        for number in range(60):
            (house.inbox / f"{number:02}.mp4").write_bytes(video.read_bytes())
        wait_until(lambda: len(house.by_video()) == 60, "60 tasks")
        window = visit(house.url)
        waiting = window.find("#filters [data-status=pending]")
        waiting.click()
        expect(waiting).to_have_attribute("aria-pressed", "true")
        expect(waiting.locator(".count")).to_have_text("60")
        expect(window.find(".task")).to_have_count(50)
        window.find("#older").dblclick()
        expect(window.find(".task")).to_have_count(10)
        expect(window.find("#older")).to_be_disabled()
        window.find("#newer").click()
        expect(window.find(".task")).to_have_count(50)
        expect(window.find("#newer")).to_be_disabled()
        window.find("#filter-user input").fill("nobody")
        window.find("#filter-user input").press("Enter")
        expect(window.find(".task")).to_have_count(0)
        expect(window.find("#none")).to_be_visible()
        window.close()


# --- Keys ---


@pytest.fixture
def closed_house(tmp_path: Path) -> Iterator[tuple[ServiceHouse, str, str]]:
    """A service with keys: an admin's and alice's."""
    house = ServiceHouse(tmp_path / "house", language="en")
    admin, alice = (
        re.search(r"mc_\S+", house.run("keys", "add", *words).stdout)
        for words in (("root", "--admin"), ("of-alice", "--user", "alice"))
    )
    assert admin
    assert alice
    with running(house):
        yield house, admin[0].rstrip('".'), alice[0].rstrip('".')


def test_the_page_asks_for_a_key(
    closed_house: tuple[ServiceHouse, str, str], visit: Any, video: Path
) -> None:
    house, admin, alice = closed_house
    window = visit(house.url)
    expect(window.find("#key")).to_be_visible()
    expect(window.find("#inside")).to_be_hidden()
    expect(window.page.get_by_role("main").locator("#key")).to_be_visible()  # a reader's way to it
    window.enter("ключ")  # which no header can hold
    expect(window.find("#key [name=key]:user-invalid")).to_be_focused()
    window.enter("mc_wrong")
    expect(window.find("#key .problem")).to_have_text("Invalid API key")
    window.enter(alice)
    expect(window.find("#inside")).to_be_visible()
    # A user's uploads are theirs, so nobody is asked whose.
    expect(window.find("#filter-user")).to_be_hidden()
    window.find("#parameters summary").click()
    expect(window.find("#new [name=webhook_url]")).to_be_visible()
    expect(window.find("#owner")).to_be_hidden()
    window.find("#parameters summary").click()
    window.upload(video)
    row = window.row(video.name, "completed")
    expect(row).to_be_visible()
    task = house.wait_for(video.name, "completed")
    assert task["user_id"] == "alice"

    with window.page.expect_download() as download:
        row.get_by_role("button", name=EN["download"]).click()
    result = house.outbox / task["output_video"]
    assert Path(download.value.path()).read_bytes() == result.read_bytes()
    row.get_by_role("button", name=EN["compare"]).click()
    expect(window.find("#pair .original")).to_have_attribute("src", re.compile("^blob:"))
    window.find("#play").click()
    film = window.find("#compare video")
    wait_until(lambda: film.evaluate("video => video.videoWidth") == 320, "the film")
    window.find("#compare .close").click()

    # In no other window, as nothing was to be remembered.
    other = window.context.new_page()
    other.goto(house.url)
    expect(other.locator("#key")).to_be_visible()
    other.close()
    # Who signs out leaves nothing behind.
    window.find("#files").set_input_files(str(video))
    window.find("#new [name=notes]").evaluate("field => { field.value = 'private' }")
    window.find("#key-forget").click()
    expect(window.find("#key")).to_be_visible()
    expect(window.find(".task")).to_have_count(0)
    expect(window.find(".upload")).to_have_count(0)
    expect(window.find("#new [name=notes]")).to_have_value("")
    window.enter(admin, is_remembered=True)
    expect(window.find("#filter-user")).to_be_visible()
    other = window.context.new_page()
    other.goto(house.url)
    expect(other.locator("#inside")).to_be_visible()
    other.close()


@pytest.mark.parametrize("answer", ["throw new DOMException('', 'SecurityError')", "return null"])
def test_a_browser_that_keeps_nothing_has_a_key_until_the_page_is_left(
    closed_house: tuple[ServiceHouse, str, str], visit: Any, answer: str
) -> None:
    """One that blocks all cookies blocks storage too: by an exception, or (Firefox) by none."""
    house, admin, _alice = closed_house
    window = visit(house.url)
    window.context.add_init_script(f"""
        for (const name of ["sessionStorage", "localStorage"])
            Object.defineProperty(window, name, {{ get() {{ {answer}; }} }});""")
    window.page.reload()
    expect(window.find("#key [name=key]")).to_be_visible()
    expect(window.find("#key [name=remember]")).to_be_hidden()
    window.enter(admin)
    expect(window.find("#filter-user")).to_be_visible()
    window.find("#key-forget").click()
    expect(window.find("#key")).to_be_visible()


def test_back_brings_no_page_as_it_was_left(open_house: ServiceHouse, visit: Any) -> None:
    """It may have been signed out of since. (Chromium keeps no pages while it is driven.)"""
    window = visit(open_house.url)
    with window.page.expect_navigation(timeout=PATIENCE_MS):
        window.page.evaluate(
            "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
        )


def test_a_key_that_is_revoked_closes_the_page(
    closed_house: tuple[ServiceHouse, str, str], visit: Any, video: Path
) -> None:
    house, admin, alice = closed_house
    window = visit(house.url)
    window.enter(alice)
    window.upload(video)
    row = window.row(video.name, "completed")
    row.get_by_role("button", name=EN["details"]).click()
    assert house.run("keys", "revoke", "of-alice").returncode == 0
    expect(window.find("#key")).to_be_visible()
    expect(window.find("#inside")).to_be_hidden()
    expect(window.find("#details")).to_be_hidden()
    expect(window.find("#key [name=key]")).to_be_focused()

    # What an admin looked for is not looked for by a user, who could not change it.
    window.enter(admin)
    window.find("#filter-user input").fill("bob")
    window.find("#filter-user input").press("Enter")
    expect(window.find("#none")).to_be_visible()
    hers = re.search(r"mc_\S+", house.run("keys", "add", "hers", "--user", "alice").stdout)
    assert hers
    assert house.run("keys", "revoke", "root").returncode == 0
    expect(window.find("#key")).to_be_visible()
    window.enter(hers[0].rstrip('".'))
    expect(window.row(video.name)).to_be_visible()


# --- Whoever looks at it ---


@pytest.mark.parametrize(("locale", "language"), [("ru-RU", "ru"), ("en-GB", "en"), ("de", "en")])
def test_the_page_speaks_the_visitors_language(
    open_house: ServiceHouse, visit: Any, locale: str, language: Any
) -> None:
    window = visit(open_house.url, locale=locale)
    words, other = PAGE_TEXTS[language], PAGE_TEXTS["en" if language == "ru" else "ru"]
    expect(window.find("#new h2")).to_have_text(words["new_title"])
    window.page.get_by_role("link", name=words["other_language"]).click()
    expect(window.find("#new h2")).to_have_text(other["new_title"])


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_fits_the_window(
    paused: ServiceHouse, visit: Any, video: Path, tmp_path: Path, width: int
) -> None:
    clip = named(video, tmp_path, "a_name_without_any_space_" * 4 + f"{width}.mp4")
    window = visit(paused.url, viewport={"width": width, "height": 800}, locale="ru-RU")
    window.upload(clip, notes="x" * 200)
    expect(window.row(clip.name)).to_be_visible()
    assert window.overflow() == 0
    window.row(clip.name).locator("[data-act=details]").click()
    box = window.find("#details").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert window.overflow() == 0


def test_large_letters_fit_a_phone(
    paused: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """Twice as large as usual, as a browser's own setting makes them."""
    clip = named(video, tmp_path, "large letters.mp4")
    window = visit(paused.url, viewport={"width": 390, "height": 800}, locale="ru-RU")
    window.upload(clip)
    row = window.row(clip.name)
    expect(row.locator(".status")).to_have_text("⏳ Ожидает обработки")
    window.page.evaluate("document.documentElement.style.fontSize = '200%'")
    window.find("#parameters summary").click()
    expect(window.find("#filter-user")).to_be_visible()
    assert window.overflow() == 0
    assert row.locator(".name").bounding_box()["width"] > 200  # and not a column of letters


@pytest.mark.parametrize(("scheme", "back"), [("light", "255, 255, 255"), ("dark", "27, 34, 41")])
def test_a_browser_some_years_old_shows_before_and_after(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path, scheme: str, back: str
) -> None:
    """The last one for Windows 7, or of an iPhone that gets no other, knows less than today's."""

    def unknown(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace("light-dark(", "unknown("))

    window = visit(open_house.url, color_scheme=scheme)
    window.context.add_init_script("delete AbortSignal.any; delete AbortSignal.timeout")
    window.page.route(re.compile("page.css"), unknown)
    window.page.reload()
    clip = named(video, tmp_path, f"{scheme}.mp4")
    window.upload(clip)
    window.row(clip.name, "completed").get_by_role("button", name=EN["compare"]).click()
    expect(window.find("#pair img:visible")).to_have_count(2)
    expect(window.find("#compare")).to_have_css("background-color", f"rgb({back})")


def test_the_chosen_filter_is_seen_where_colours_are_forced(
    open_house: ServiceHouse, visit: Any
) -> None:
    """High contrast gives all buttons the same colours."""
    window = visit(open_house.url, forced_colors="active")
    ground = "chip => getComputedStyle(chip).backgroundColor.match(/[0-9]+/g).slice(0, 3).join()"
    grounds = {
        is_chosen: {
            chip.evaluate(ground) for chip in window.find(f"[aria-pressed={is_chosen}]").all()
        }
        for is_chosen in ("true", "false")
    }
    assert all(grounds.values())
    assert grounds["true"].isdisjoint(grounds["false"])


def test_a_keyboard_is_enough(
    paused: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """Each control is reached by Tab and has a name."""
    clip = named(video, tmp_path, "keys.mp4")
    window = visit(paused.url)
    window.upload(clip)
    expect(window.row(clip.name)).to_be_visible()
    window.page.reload()
    expect(window.row(clip.name)).to_be_visible()
    names = []
    for _ in range(40):
        window.page.keyboard.press("Tab")
        name = window.page.evaluate(
            "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"
        )
        names.append(name)
        if EN["details"] in name:
            break
    group = window.page.get_by_role("group", name=clip.name)  # whose buttons these are
    expect(group.get_by_role("button", name=EN["details"])).to_be_focused()
    for name in (EN["other_language"], EN["parameters"], EN["filter_all"], EN["cancel"]):
        assert any(name in reached for reached in names), (name, names)
    assert any(EN["choose"] in reached for reached in names)
    assert EN["details"] in names[-1]


def test_the_focus_stays_where_work_goes_on(
    paused: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """What was pressed may go or be switched off; whoever has no mouse is not sent to the top."""
    clip = named(video, tmp_path, "focus.mp4")
    window = visit(paused.url)
    chooser, start = window.find("#files"), window.find("#start")
    chooser.set_input_files(str(clip))
    window.find(".upload [data-act=remove]").press("Enter")
    expect(chooser).to_be_focused()
    chooser.set_input_files(str(clip))
    start.press("Enter")
    row = window.row(clip.name)
    expect(row).to_be_visible()
    expect(chooser).to_be_focused()
    row.locator("[data-act=cancel]").press("Enter")
    expect(row.locator("[data-act=retry]")).to_be_visible()
    expect(row.locator("[data-act=details]")).to_be_focused()
    row.locator("[data-act=details]").press("Enter")
    window.page.keyboard.press("Escape")
    expect(row.locator("[data-act=details]")).to_be_focused()


def test_what_stands_before_the_service_names_no_problems(
    open_house: ServiceHouse, visit: Any
) -> None:
    """A proxy whose service is away says so once, and in no empty box."""
    window = visit(open_house.url)
    said = {"status": "error", "code": "unavailable", "detail": "The service is being started."}
    window.page.route(
        re.compile(r"/(health|stats|tasks)(\?|$)"),
        lambda route: route.fulfill(status=503, json=said),
    )
    window.page.reload()
    expect(window.find("#health")).to_have_text(EN["health_bad"])
    expect(window.find("#trouble")).to_have_text(said["detail"])
    expect(window.find("#problems")).to_be_hidden()
    window.page.unroute_all(behavior="ignoreErrors")


def test_trouble_of_the_service_is_shown(browser: Any, visit: Any, tmp_path: Path) -> None:
    house = ServiceHouse(tmp_path / "house", language="en", min_free_gb=1_000_000)
    with running(house):
        window = visit(house.url)
        expect(window.find("#health")).to_have_text(EN["health_bad"])
        expect(window.find("#problems")).to_contain_text("min_free_gb")
        window.close()


def test_the_description_sends_nothing_that_nobody_has_filled_in(
    open_house: ServiceHouse, visit: Any, video: Path, tmp_path: Path
) -> None:
    """It sent a made-up owner, notes and address of a webhook, and filters of a list."""
    window = visit(open_house.url)
    window.page.goto(f"{open_house.url}docs")
    clip = named(video, tmp_path, "described.mp4")

    def executed(operation: Any, path: str) -> Any:
        with window.page.expect_response(re.compile(rf"/{path}\b")) as told:
            operation.get_by_role("button", name="Execute").click()
        return told.value.json()

    upload = window.find("#operations-videos-upload")
    upload.locator("button.opblock-summary-control").click()
    upload.locator("input[type=file]").set_input_files(str(clip))
    task = executed(upload, "upload")["task"]
    assert [task[name] for name in ("user_id", "notes", "webhook")] == [None] * 3
    listing = window.find("#operations-tasks-listTasks")
    listing.locator("button.opblock-summary-control").click()
    assert executed(listing, "tasks")["tasks"][0]["task_id"] == task["task_id"]
