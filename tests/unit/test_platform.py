"""Platforms."""

from __future__ import annotations

import pytest

from orlop.errors import InvalidPlatform
from orlop.model.platform import Platform


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("Linux/ARM64/v8", Platform("linux", "arm64", "v8")),
    ],
)
def test_platforms_are_read_and_written(text, platform):
    assert Platform.parse(text) == platform
    assert str(platform) == text.lower()


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux", Platform("linux", "arm", "v6")),
        ("Windows", Platform("windows", "arm", "v6")),
        ("arm", Platform("linux", "arm", "v6")),
        ("amd64", Platform("linux", "amd64")),
        ("linux/amd64", Platform("linux", "amd64")),
    ],
)
def test_a_word_alone_is_completed(text, platform):
    assert Platform.parse(text, default=Platform("linux", "arm", "v6")) == platform


@pytest.mark.parametrize("text", ["", "arch", "linux ", "/"])
def test_a_word_that_is_neither_system_nor_processor_is_refused(text):
    with pytest.raises(InvalidPlatform):
        Platform.parse(text, default=Platform("linux", "arm", "v6"))


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/a b", "linux/amd64\n"])
def test_what_is_no_platform_is_refused(text):
    with pytest.raises(InvalidPlatform):
        Platform.parse(text)
