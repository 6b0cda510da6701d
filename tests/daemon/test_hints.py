"""The letterbox of an inbox's thread."""

from __future__ import annotations

import threading

from daemon import hints as hints_module
from daemon.hints import Hints, News
from daemon.stability import Event


def test_of_a_file_the_newest_event_is_kept_with_its_time() -> None:
    now = 100.0
    hints = Hints(clock=lambda: now)
    hints.file("a.mp4", Event.CREATED)
    hints.file("b.mp4", Event.MOVED_IN)
    now = 101.0
    hints.file("a.mp4", Event.CLOSED)
    news = hints.take(0)
    assert list(news.files.items()) == [
        ("b.mp4", (Event.MOVED_IN, 100.0)),
        ("a.mp4", (Event.CLOSED, 101.0)),
    ]
    assert hints.take(0) == News()


def test_writing_wakes_nobody_and_is_told_all_the_same() -> None:
    hints = Hints()
    hints.file("a.mp4", Event.WRITING)
    assert not hints._is_urgent
    assert list(hints.take(0).files) == ["a.mp4"]


def test_whoever_waits_is_woken() -> None:
    hints = Hints()
    took: list[News] = []
    thread = threading.Thread(target=lambda: took.append(hints.take(30)))
    thread.start()
    hints.rescan()
    thread.join(60)
    assert took == [News(is_rescan=True)]


def test_too_much_news_is_forgotten_and_said_to_be_lost() -> None:
    hints = Hints()
    for number in range(hints_module._MOST_FILES + 1):
        hints.file(f"{number}.mp4", Event.CREATED)
    news = hints.take(0)
    assert news.are_lost
    assert news.files == {}


def test_what_people_ask_is_not_forgotten_with_the_events() -> None:
    hints = Hints()
    hints.file("a.mp4", Event.CREATED)
    hints.folder("b")
    hints.lost()
    hints.end("gone")
    hints.rescan()
    hints.stop()
    hints.forget_events()
    assert hints.take(0) == News(is_rescan=True, is_stop=True)
