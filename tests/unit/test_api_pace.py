"""How slow a client is."""

from __future__ import annotations

from orlop.api.pace import Pace


def test_who_does_nothing_is_behind_by_all_the_time() -> None:
    pace = Pace(1000)
    pace.look(100, 0, is_awaited=True)
    assert pace.look(160, 0, is_awaited=True) == 60


def test_who_drips_is_behind_by_nearly_all_the_time() -> None:
    pace = Pace(1000)
    pace.look(0, 0, is_awaited=True)
    behind = [pace.look(2 * number, number, is_awaited=True) for number in range(1, 301)]
    assert 599 < behind[-1] < 600


def test_who_keeps_up_is_never_behind_and_pays_nothing_in_advance() -> None:
    pace = Pace(1000)
    pace.look(0, 0, is_awaited=True)
    assert [pace.look(second, 1000 * second, is_awaited=True) for second in range(1, 100)] == [0] * 99
    assert pace.look(99, 10**9, is_awaited=True) == 0
    assert pace.look(159, 10**9, is_awaited=True) == 60


def test_time_in_which_nobody_waits_does_not_count() -> None:
    pace = Pace(1000)
    pace.look(0, 0, is_awaited=True)
    pace.look(10, 0, is_awaited=False)
    pace.look(1000, 0, is_awaited=True)
    assert pace.look(1005, 0, is_awaited=True) == 15


def test_without_a_rate_any_byte_is_enough() -> None:
    pace = Pace(0)
    pace.look(0, 0, is_awaited=True)
    assert pace.look(500, 0, is_awaited=True) == 500
    assert pace.look(501, 1, is_awaited=True) == 0
