"""Few at once, one to each receiver, fair between users, and no time for the dead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from daemon.webhook_turns import AT_ONCE, Turn, Turns

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def later(**spans: float) -> datetime:
    return NOON + timedelta(**spans)


def turns(*given: tuple[str, str] | tuple[str, str, str | None]) -> Turns:
    """Return turns that are all due: the task, its receiver, its user."""
    made = Turns()
    for number, (task_id, receiver, *user) in enumerate(given):
        due = NOON - timedelta(hours=1) + timedelta(seconds=number)
        made.add(Turn(due, task_id, receiver, user[0] if user else None))
    return made


def taken(made: Turns, now: datetime = NOON) -> list[str]:
    return [turn.task_id for turn in iter(lambda: made.take(now), None)]


def test_few_at_once() -> None:
    made = turns(*((f"t{n}", f"host{n}", f"user{n}") for n in range(9)))
    first = made.take(NOON)
    assert first is not None
    assert len(taken(made)) == AT_ONCE - 1
    made.done(first, True, NOON)
    assert len(taken(made)) == 1


def test_one_at_a_time_to_each_receiver() -> None:
    made = turns(("a1", "a"), ("a2", "a"), ("b1", "b"))
    first = made.take(NOON)
    assert first is not None
    assert taken(made) == ["b1"]
    made.done(first, True, NOON)
    assert taken(made) == ["a2"]


def test_what_is_due_first_comes_first_and_nothing_before_its_time() -> None:
    made = Turns()
    made.add(Turn(later(seconds=9), "late", "a", None))
    made.add(Turn(later(seconds=5), "early", "b", None))
    assert made.next_due() == later(seconds=5)
    assert taken(made) == []
    assert taken(made, later(seconds=5)) == ["early"]
    assert made.next_due() == later(seconds=9)


def test_a_receiver_with_many_does_not_go_before_one_with_few() -> None:
    made = turns(*((f"many{n}", "many") for n in range(50)), ("few", "few"))
    first = made.take(NOON)
    assert first is not None
    assert taken(made) == ["few"]


def test_a_user_with_many_receivers_does_not_go_before_one_with_few() -> None:
    made = turns(*((f"m{n}", f"host{n}", "mallory") for n in range(50)), ("a", "host", "alice"))
    assert made.take(NOON).task_id == "m0"  # type: ignore[union-attr]
    assert made.take(NOON).task_id == "a"  # type: ignore[union-attr]


def test_no_user_takes_all_that_may_be_taken_at_once() -> None:
    made = turns(*((f"m{n}", f"host{n}", "mallory") for n in range(9)))
    assert len(taken(made)) == AT_ONCE - 1
    assert made.next_due() is None
    made.add(Turn(NOON, "a", "host", "alice"))
    assert made.next_due() == NOON
    assert taken(made) == ["a"]


def test_a_user_s_dead_receiver_holds_up_nobody_else_s_at_the_same_host() -> None:
    made = turns(("m1", "host", "mallory"), ("m2", "host", "mallory"), ("b1", "host", "bob"))
    first = made.take(NOON)
    assert first is not None
    assert taken(made) == ["b1"]
    made.done(first, False, NOON)
    assert taken(made) == []
    assert taken(made, later(seconds=5)) == ["m2"]


def test_a_receiver_that_does_not_answer_is_left_alone_for_a_while() -> None:
    made = turns(("a1", "a"), ("a2", "a"), ("a3", "a"), ("b1", "b"))
    first = made.take(NOON)
    assert first is not None
    made.done(first, False, NOON)
    assert taken(made) == ["b1"]
    assert made.next_due() == later(seconds=5)
    second = made.take(later(seconds=5))
    assert second is not None
    made.done(second, False, later(seconds=5))
    assert made.take(later(seconds=14)) is None
    third = made.take(later(seconds=15))
    assert third is not None


def failures(made: Turns, count: int) -> timedelta:
    """Have that many turns of one receiver fail; return the pause after the last."""
    now = NOON
    for number in range(count):
        made.add(Turn(now, f"t{number}", "a", None))
        turn = made.take(now)
        assert turn is not None
        made.done(turn, False, now)
        made.add(Turn(now, "next", "a", None))
        due = made.next_due()
        assert due is not None
        pause, now = due - now, due
        next_turn = made.take(now)
        assert next_turn is not None
        made.done(next_turn, False, now)
        now += timedelta(minutes=5)
    return pause


def test_the_pause_grows_up_to_its_bound() -> None:
    assert failures(Turns(), 1) == timedelta(seconds=5)
    assert failures(Turns(), 2) == timedelta(seconds=20)
    assert failures(Turns(), 30) == timedelta(minutes=5)


def test_a_clock_that_is_set_back_by_years_puts_nothing_off_for_years() -> None:
    made = turns(("a1", "a"), ("a2", "a"))
    first = made.take(NOON)
    assert first is not None
    made.done(first, False, NOON)
    assert [turn.task_id for turn in [made.take(later(days=-900))] if turn] == ["a2"]
    made.add(Turn(NOON, "b1", "b", None))
    assert taken(made, later(hours=-3)) == []
    assert taken(made, later(days=-900)) == ["b1"]


def test_an_answer_ends_the_pause() -> None:
    made = turns(*((f"a{number}", "a") for number in range(9)))
    now, pauses = NOON, []
    for has_answered in (False, False, True, False):
        turn = made.take(now)
        assert turn is not None
        made.done(turn, has_answered, now)
        due = made.next_due()
        assert due is not None
        pauses.append(max(due - now, timedelta()).total_seconds())
        now = max(due, now)
    assert pauses == [5, 10, 0, 5]


def test_a_task_has_one_turn() -> None:
    made = turns(("t", "a"), ("t", "a"))
    turn = made.take(NOON)
    assert turn is not None
    assert "t" in made
    made.add(Turn(NOON, "t", "a", None))
    made.done(turn, True, NOON)
    assert "t" not in made
    assert taken(made) == []


def test_a_sooner_turn_takes_the_place_of_one_that_waits_but_not_of_one_that_is_taken() -> None:
    made = Turns()
    made.add(Turn(later(hours=5), "t", "old", None))
    made.add(Turn(NOON, "t", "new", None))
    turn = made.take(NOON)
    assert turn is not None
    assert turn.receiver == "new"
    made.add(Turn(later(hours=-1), "t", "new", None))
    made.done(turn, True, NOON)
    assert taken(made, later(hours=9)) == []


def test_nothing_is_kept_of_receivers_that_are_done_with() -> None:
    made = turns(*((f"t{n}", f"host{n}", f"user{n}") for n in range(100)))
    now = NOON
    while turn := made.take(now):
        made.done(turn, False, now)
        now += timedelta(minutes=1)
    made.add(Turn(now, "last", "host", None))
    turn = made.take(now + timedelta(hours=1))
    assert turn is not None
    made.done(turn, True, now + timedelta(hours=1))
    assert (made._receivers, made._served, made._known) == ({}, {}, {})


def test_nothing_is_kept_of_receivers_whose_pause_was_of_a_clock_set_back_since() -> None:
    made = turns(*((f"t{n}", f"host{n}", f"user{n}") for n in range(9)))
    for _ in range(8):
        turn = made.take(NOON)
        assert turn is not None
        made.done(turn, False, NOON)
    assert len(made._receivers) == 9
    before = later(days=-900)
    last = made.take(before)
    assert last is not None
    made.done(last, True, before)
    assert (made._receivers, made._served, made._known) == ({}, {}, {})
