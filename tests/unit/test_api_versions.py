"""Versions of the Engine API: read, ordered, and refused in docker's words where they are not served."""

from __future__ import annotations

import pytest

from orlop.api.engine.versions import MAXIMUM, ApiVersion, requested
from orlop.errors import UnsupportedVersion


def test_versions_are_ordered_by_their_numbers():
    assert ApiVersion.parse("1.9") < ApiVersion.parse("v1.41") < ApiVersion.parse("1.100") < ApiVersion.parse("2.0")
    assert str(ApiVersion.parse("v1.41")) == "1.41"


@pytest.mark.parametrize(
    "text", ["", "1", "1.", "v", "1.41.0", "1.x", "-1.41", " 1.41", "1.41\n", "1.\u0661", "1.99999"]
)
def test_what_is_no_version_is_refused(text: str):
    with pytest.raises(UnsupportedVersion):
        ApiVersion.parse(text)


def test_a_request_without_a_version_has_the_newest():
    assert requested(None) == MAXIMUM == requested("1.55")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "v1.23",
            (
                "client version 1.23 is too old. Minimum supported API version is 1.24,"
                " please upgrade your client to a newer version"
            ),
        ),
        ("1.56", "client version 1.56 is too new. Maximum supported API version is 1.55"),
    ],
)
def test_versions_that_are_not_served_are_refused_in_the_words_of_the_daemon(text: str, words: str):
    with pytest.raises(UnsupportedVersion) as refused:
        requested(text)
    assert str(refused.value) == words
