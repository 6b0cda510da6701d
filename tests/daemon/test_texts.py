"""The catalogue is complete in both languages, and everything in it is said somewhere."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from daemon.spool_errors import QueueFull, TaskBusy, TaskExists, UnknownTask, WrongStatus
from daemon.task import Status
from daemon.texts import LANGUAGES, TEXTS, has_text, say
from daemon.webhook_url import Refusal
from pipeline.parameters import Parameters

ROOT = Path(__file__).parents[2]
# As the description of the deployment has it, in every language.
SAME_IN_BOTH = {"auth.invalid_api_key", "errors.rejected_parameter", "errors.rejected_url"}
# Named by what is at hand: a number, a code, a field, a status.
COMPOSED = {
    *(key for key in TEXTS["en"] if key.startswith("http.")),
    *(f"spool.{e.code}" for e in (QueueFull, TaskBusy, TaskExists, UnknownTask, WrongStatus)),
    *(f"parameters.{name}" for name in Parameters.model_fields),
    *(f"status.{status.value}" for status in Status),
    *(f"webhook_url.{refusal.value}" for refusal in Refusal),
    *("tasks.cancelled", "tasks.retried"),
}


def facts(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_texts() -> None:
    assert set(LANGUAGES) == set(TEXTS) == {"ru", "en"}
    assert TEXTS["ru"].keys() == TEXTS["en"].keys()


@pytest.mark.parametrize("key", TEXTS["en"])
def test_a_text_has_the_same_facts_in_both_languages(key: str) -> None:
    assert facts(TEXTS["ru"][key]) == facts(TEXTS["en"][key])


@pytest.mark.parametrize("key", sorted(TEXTS["en"].keys() - SAME_IN_BOTH))
def test_a_text_is_in_its_language(key: str) -> None:
    russian, english = TEXTS["ru"][key], TEXTS["en"][key]
    assert russian != english
    # What is the same word in both: names of statuses and of fields.
    if key not in ("tasks.status", "parameters.mode"):
        assert re.search("[а-я]", russian)
    assert key == "parameters.audio_level" or not re.search("[А-Яа-яё]", english)


def test_whatever_is_said_is_in_the_catalogue_and_the_other_way_round() -> None:
    sources = [ROOT / "daemon/uploads.py", *(ROOT / "daemon/web").glob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    named = set(re.findall(r'"([a-z_]+\.[a-z_0-9]+)"', code))
    modules = {key.partition(".")[0] for key in TEXTS["en"]}
    said = {key for key in named if key.partition(".")[0] in modules}
    assert said - TEXTS["en"].keys() == set()
    assert TEXTS["en"].keys() - said - COMPOSED == set()


def test_facts_are_put_in() -> None:
    assert say("en", "spool.unknown_task", task_id="{x}") == "There is no task {x}."
    assert say("ru", "spool.unknown_task", task_id="7") == "Задача 7 не найдена."


def test_a_text_without_its_facts_is_an_error() -> None:
    with pytest.raises(KeyError):
        say("en", "spool.unknown_task")
    with pytest.raises(KeyError):
        say("en", "no.such")
    assert not has_text("no.such")
    assert has_text("http.404")
