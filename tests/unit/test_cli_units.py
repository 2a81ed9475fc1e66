"""Sizes and times; the expected texts are what Docker's command line 28 prints."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from orlop.cli.show.units import ZERO_TIME, go_time, human_age, human_size, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTE, HOUR, DAY = 60, 3600, 86_400


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (1, "1B"),
        (106, "106B"),
        (999, "999B"),
        (1000, "1kB"),
        (1024, "1.02kB"),
        (3108, "3.11kB"),
        (12_345, "12.3kB"),
        (999_500, "1e+03kB"),
        (1_234_567, "1.23MB"),
        (100_000_000, "100MB"),
        (7_990_000_000, "7.99GB"),
        (10**15, "1PB"),
        (10**27, "1e+03YB"),
    ],
)
def test_a_size_has_three_digits_and_a_decimal_unit(size: int, text: str) -> None:
    assert human_size(size) == text


def test_a_virtual_size_has_four_digits() -> None:
    assert [human_size(size, 4) for size in (3108, 999_500, 106)] == ["3.108kB", "999.5kB", "106B"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "Less than a second"),
        (0.9, "Less than a second"),
        (1, "1 second"),
        (1.9, "1 second"),
        (59.9, "59 seconds"),
        (MINUTE, "About a minute"),
        (2 * MINUTE - 1, "About a minute"),
        (2 * MINUTE, "2 minutes"),
        (HOUR - 1, "59 minutes"),
        (HOUR, "About an hour"),
        (1.5 * HOUR - 1, "About an hour"),
        (1.5 * HOUR, "2 hours"),
        (47.5 * HOUR - 1, "47 hours"),
        (47.5 * HOUR, "2 days"),
        (14 * DAY - HOUR, "13 days"),
        (14 * DAY, "2 weeks"),
        (60 * DAY - HOUR, "8 weeks"),
        (60 * DAY, "2 months"),
        (730 * DAY - HOUR, "24 months"),
        (730 * DAY, "2 years"),
        (3 * 365 * DAY - 1, "2 years"),
        (2_000 * 365 * DAY, "292 years"),
    ],
)
def test_an_age_is_in_words(seconds: float, text: str) -> None:
    assert human_age(seconds) == text


@pytest.mark.parametrize("zone", ["UTC"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_times_in_utc() -> None:
    assert rfc3339(1_795_500_275) == "2026-11-24T06:04:35Z"
    assert go_time(1_795_500_275) == "2026-11-24 06:04:35 +0000 UTC"
    assert rfc3339(ZERO_TIME) == "0001-01-01T00:00:00Z"


@pytest.mark.parametrize("zone", ["Europe/Berlin"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_times_are_local_ones() -> None:
    assert rfc3339(1_795_500_275) == "2026-11-24T07:04:35+01:00"
    assert go_time(1_795_500_275) == "2026-11-24 07:04:35 +0100 CET"
    # Before there were time zones, a place's own noon counted.
    assert go_time(ZERO_TIME) == "0001-01-01 00:53:28 +0053 LMT"


@pytest.mark.parametrize("zone", ["America/New_York"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_times_west_of_utc() -> None:
    assert rfc3339(1_795_500_275) == "2026-11-24T01:04:35-05:00"
    assert go_time(1_795_500_275) == "2026-11-24 01:04:35 -0500 EST"
