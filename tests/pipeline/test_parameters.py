from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InvalidParameters
from pipeline.parameters import AudioLevel, Mode, Parameters, allowed_values


def test_defaults_are_those_of_the_documentation() -> None:
    parameters = Parameters()
    assert (parameters.epsilon, parameters.video_strength, parameters.every_n_frames) == (
        0.12,
        1.0,
        10,
    )
    assert parameters.audio_level is AudioLevel.WEAK
    assert parameters.mode is Mode.PROTECT


def test_the_budget_is_six_point_nine_levels_at_the_defaults() -> None:
    assert Parameters().budget == pytest.approx(6.9, abs=0.05)
    assert Parameters.parse({"video_strength": 2}).budget == pytest.approx(13.8, abs=0.05)


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("weak", AudioLevel.WEAK),
        ("слабый", AudioLevel.WEAK),
        ("Средний", AudioLevel.MEDIUM),
        ("слабы\u0438\u0306", AudioLevel.WEAK),  # `й` in two code points, as macOS and PDFs have it
        ("STRONG", AudioLevel.STRONG),
        ("none", AudioLevel.NONE),
        ("None", AudioLevel.NONE),
        (None, AudioLevel.WEAK),  # nothing was asked for
    ],
)
def test_levels_have_russian_and_english_names(word: str | None, level: AudioLevel) -> None:
    assert Parameters.parse({"audio_level": word}).audio_level is level


def test_numbers_from_a_file_may_end_their_line() -> None:
    """As of `curl -F 'epsilon=<file'`."""
    given = Parameters.parse({"epsilon": "0.1\n", "every_n_frames": " 5 "})
    assert (given.epsilon, given.every_n_frames) == (0.1, 5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epsilon", 0.039),
        ("epsilon", 0.21),
        ("epsilon", "strong"),
        ("epsilon", True),
        ("epsilon", "nan"),
        ("epsilon", "inf"),
        ("epsilon", "0.1_2"),
        ("epsilon", "٠.١٢"),
        ("epsilon", "0,12"),
        ("video_strength", "1:30"),
        ("video_strength", 0.99),
        ("video_strength", 2.01),
        ("video_strength", True),
        ("every_n_frames", 0),
        ("every_n_frames", 31),
        ("every_n_frames", 2.5),
        ("every_n_frames", "1_0"),
        ("every_n_frames", "1e1"),
        ("every_n_frames", "١٢"),
        ("every_n_frames", "0o10"),
        ("every_n_frames", True),
        ("audio_level", "loud"),
        ("audio_level", 3),
        ("user_id", ".hidden"),
        ("user_id", ""),
        ("user_id", "a/b"),
        ("user_id", "a" * 65),
        ("user_id", "имя"),
        ("user_id", "a\n"),
        ("user_id", 7),
        ("notes", "n" * 2001),
        ("notes", ["list"]),
        ("webhook_url", "ftp://host/"),
        ("webhook_url", "http://"),
        ("webhook_url", "http://[broken"),
        ("mode", "delete"),
    ],
)
def test_a_wrong_value_is_refused_by_field_value_and_what_is_allowed(
    field: str, value: object
) -> None:
    with pytest.raises(InvalidParameters) as caught:
        Parameters.parse({field: value})
    assert caught.value.field == field
    assert field in caught.value.message
    assert repr(value)[:40] in caught.value.message
    assert allowed_values(field) in caught.value.message
    assert pickle.loads(pickle.dumps(caught.value)).field == field


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InvalidParameters, match="Unknown parameter 'epsylon'"):
        Parameters.parse({"epsylon": 0.1})


def test_what_is_not_given_comes_from_the_defaults_given() -> None:
    base = Parameters.parse({"epsilon": 0.2, "notes": "kept"})
    changed = Parameters.parse({"video_strength": "1.5", "notes": None}, base)
    assert (changed.epsilon, changed.video_strength, changed.notes) == (0.2, 1.5, "kept")


@given(st.floats(0.04, 0.20), st.floats(1.0, 2.0), st.integers(1, 30))
def test_forms_and_sidecars_give_the_same(epsilon: float, strength: float, every: int) -> None:
    numbers = {"epsilon": epsilon, "video_strength": strength, "every_n_frames": every}
    texts = {name: str(value) for name, value in numbers.items()}
    assert Parameters.parse(texts) == Parameters.parse(numbers)


def test_an_unknown_name_is_refused_also_without_a_value() -> None:
    with pytest.raises(InvalidParameters, match="epsilo"):
        Parameters.parse({"epsilo": None})


def test_an_unknown_name_that_is_no_text_is_refused_too() -> None:
    with pytest.raises(InvalidParameters, match=r"Unknown parameter '\\ud800'"):
        Parameters.parse({"\ud800": "x"})


def test_letters_that_a_user_id_may_not_have_are_not_told_as_allowed() -> None:
    with pytest.raises(InvalidParameters, match="Latin letters"):
        Parameters.parse({"user_id": "имя"})
