"""Times with nanoseconds."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orlop.errors import InvalidTimestamp
from orlop.model import timestamp
from orlop.model.timestamp import EPOCH, ZERO, Timestamp


@pytest.mark.parametrize(
    ("text", "written", "unix"),
    [
        ("2020-01-02T03:04:05.123456789Z", "2020-01-02T03:04:05.123456789Z", 1577934245),
        ("2020-01-02T03:04:05.1234567899Z", "2020-01-02T03:04:05.123456789Z", 1577934245),
        ("2020-01-02T03:04:05,500Z", "2020-01-02T03:04:05.5Z", 1577934245),
        ("2020-01-02T3:04:05.000Z", "2020-01-02T03:04:05Z", 1577934245),
        ("2020-01-02T03:04:05-08:00", "2020-01-02T03:04:05-08:00", 1577963045),
        ("2020-01-02T03:04:05+00:00", "2020-01-02T03:04:05Z", 1577934245),
        ("2020-01-02T03:04:05+24:00", "2020-01-02T03:04:05+24:00", 1577847845),
        ("2020-01-02T03:04:05+23:60", "2020-01-02T03:04:05+24:00", 1577847845),
        ("1969-12-31T23:59:59.9Z", "1969-12-31T23:59:59.9Z", -1),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", -62135596800),
        ("0000-02-29T00:00:00+01:00", "0000-02-29T00:00:00+01:00", -62162125200),
        ("9999-12-31T23:59:59.999999999-23:59", "9999-12-31T23:59:59.999999999-23:59", 253402387139),
    ],
)
def test_times_are_read_and_written_as_go_does(text, written, unix):
    time = Timestamp.parse(text)
    assert str(time) == written
    assert time.unix == unix


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2020-01-02",
        "2020-01-02t03:04:05Z",
        "2020-01-02T03:04:05z",
        "2020-01-02 03:04:05Z",
        "2016-12-31T23:59:60Z",
        "2020-01-02T24:00:00Z",
        "2020-01-02T03:60:05Z",
        "2019-02-29T00:00:00Z",
        "2020-13-01T00:00:00Z",
        "2020-00-01T00:00:00Z",
        "2020-01-00T00:00:00Z",
        "2020-01-02T03:04:05.Z",
        "2020-01-02T03:04:05",
        "2020-01-02T03:04:05+0100",
        "2020-01-02T03:04:05+24:61",
        "2020-01-02T03:04:05+25:00",
        "2020-01-02T03:04:05Z\n",
        "20201-01-02T03:04:05Z",
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InvalidTimestamp):
        Timestamp.parse(text)


def test_unix_seconds_and_nanoseconds_go_both_ways():
    assert str(Timestamp.from_unix(0, 5)) == "1970-01-01T00:00:00.000000005Z"
    assert Timestamp.parse("1969-12-31T23:59:59.25Z").unix_ns == -750_000_000
    assert str(EPOCH) == "1970-01-01T00:00:00Z"


def test_only_the_first_instant_of_year_1_is_zero():
    assert ZERO.is_zero
    assert Timestamp.parse("0001-01-01T01:00:00+01:00").is_zero
    assert not EPOCH.is_zero
    assert not Timestamp(ZERO.unix, 1).is_zero


@pytest.mark.parametrize("arguments", [(0, 10**9), (0, -1), (2**40,), (-(2**40),)])
def test_what_cannot_be_written_cannot_be_made(arguments):
    with pytest.raises(InvalidTimestamp):
        Timestamp(*arguments)


def test_every_day_of_the_calendar_is_written_as_it_is_read():
    for year in (0, 1, 4, 100, 400, 1900, 1970, 2000, 2023, 2024, 9999):
        for month, days in enumerate((31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), start=1):
            for day in (1, days):
                text = f"{year:04}-{month:02}-{day:02}T12:00:00Z"
                assert str(Timestamp.parse(text)) == text


ODD = st.text("0195-T:Z.,+ \u0663", min_size=17, max_size=32)


@given(ODD | st.from_regex(timestamp._RFC3339.pattern, fullmatch=True))
@example("2026-11-24T07:04:35.123456789Z")
def test_times_that_are_read_without_the_expression_are_read_as_by_it(text):
    parts = timestamp._usual_parts(text)
    match = timestamp._RFC3339.fullmatch(text)
    assert parts is None or (match is not None and match.groups() == parts)


@pytest.mark.parametrize("text", ["2026-11-24T07:04:35.123456789Z", "0001-01-01T00:00:00Z"])
def test_usual_times_are_read_without_the_expression(text):
    assert timestamp._usual_parts(text) is not None
