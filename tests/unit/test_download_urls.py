"""URLs that cannot be downloaded are refused in the words, and for the first reason, of Go's ``net/url``."""

from __future__ import annotations

import pytest

from orlop.errors import InvalidInput
from orlop.registry.download import check_url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://-%20", 'parse "http://-%20": invalid URL escape "%20"'),
        ("http://a%2fb/", 'parse "http://a%2fb/": invalid URL escape "%2f"'),
        ("http://[::1/", """parse "http://[::1/": missing ']' in host"""),
        ("http://127.0.0.1:9\\x", r'parse "http://127.0.0.1:9\\x": invalid port ":9\\x" after host'),
        ("http://a\\b/", r'parse "http://a\\b/": invalid character "\\" in host name'),
        ("http://a:b c/", 'parse "http://a:b c/": invalid port ":b c" after host'),
        ("http://a%zz:x/", 'parse "http://a%zz:x/": invalid URL escape "%zz"'),
    ],
)
def test_the_first_reason_is_told(url: str, why: str):
    with pytest.raises(InvalidInput) as caught:
        check_url(url)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    "url", ["http://[::1]:9/x", "http://a:/", "http://a/%20?%zz", "https://u:p@a:80", "http://[fe80::1%25eth0]/"]
)
def test_what_go_reads_is_taken(url: str):
    check_url(url)
