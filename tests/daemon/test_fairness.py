"""Turns between inboxes and between users."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from daemon.fairness import Lane, Turns

ALICE, BOB = Lane("main", "alice"), Lane("main", "bob")
STUDIO, UPLOADS = Lane("studio", None), Lane(None, "carol")


def served(waiting: list[Lane], count: int) -> list[Lane]:
    turns, order = Turns(), []
    for _ in range(count):
        lane = turns.choose(waiting, [])
        turns.serve(lane)
        order.append(lane)
    return order


def test_users_of_one_inbox_take_turns() -> None:
    assert served([ALICE, BOB], 4) == [ALICE, BOB, ALICE, BOB]


def test_inboxes_take_turns_however_many_users_one_has() -> None:
    crowd = [Lane("main", f"user{n}") for n in range(50)]
    count = Counter(lane.inbox for lane in served([*crowd, STUDIO, UPLOADS], 30))
    assert count == {"main": 10, "studio": 10, None: 10}


def test_who_has_nothing_running_goes_first() -> None:
    turns = Turns()
    turns.serve(BOB)
    turns.serve(ALICE)  # longer ago for Bob, but one of his still runs
    assert turns.choose([ALICE, BOB], [BOB]) == ALICE
    assert turns.choose([ALICE, STUDIO], [STUDIO]) == ALICE


@given(st.lists(st.sampled_from([ALICE, BOB, STUDIO, UPLOADS]), min_size=1, unique=True))
def test_nobody_waits_longer_than_a_round_of_all(waiting: list[Lane]) -> None:
    rounds = served(waiting, 4 * len(waiting) * 2)
    for lane in waiting:
        turns = [n for n, other in enumerate(rounds) if other == lane]
        assert max(b - a for a, b in zip(turns, turns[1:], strict=False)) <= 2 * len(waiting)
