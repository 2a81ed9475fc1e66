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


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v2", "linux/amd64/v2"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64/v8"),
        ("linux/i386", "linux/386"),
        ("linux/armhf", "linux/arm"),
        ("linux/ARMEL", "linux/arm/v6"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("macos/aarch64", "darwin/arm64"),
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("i386", "linux/386"),
        ("armhf", "linux/arm"),
        ("armel", "linux/arm/v6"),
        ("macos", "darwin/arm/v5"),
    ],
)
def test_other_words_for_a_processor_mean_what_they_mean_to_containerd(text, platform):
    assert str(Platform.parse(text, default=Platform("linux", "arm", "v5"))) == platform


@pytest.mark.parametrize("text", ["", "arch", "linux ", "/"])
def test_a_word_that_is_neither_system_nor_processor_is_refused(text):
    with pytest.raises(InvalidPlatform):
        Platform.parse(text, default=Platform("linux", "arm", "v6"))


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/a b", "linux/amd64\n"])
def test_what_is_no_platform_is_refused(text):
    with pytest.raises(InvalidPlatform):
        Platform.parse(text)
