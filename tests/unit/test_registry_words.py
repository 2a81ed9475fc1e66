"""What registries write in headers and bodies: one case a line in tests/data/registry."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orlop.errors import InvalidAnswer, RegistryBusy, RegistryError, UnsafeRedirect, UploadLost
from orlop.registry.challenges import challenges, chosen
from orlop.registry.limits import RateLimit, retry_after
from orlop.registry.links import next_page
from orlop.registry.messages import Answer, Headers
from orlop.registry.offsets import Unknown, offset_after, offset_asked
from orlop.registry.origin import Origin, is_same_site, resolved, target_of
from orlop.registry.refusal import refusal, said_in
from orlop.registry.scopes import Scope, are_covered, merged
from orlop.registry.tokens import TokenServer, by_get, token_in
from tests.growing import growth, spent

DATA = Path(__file__).parents[1] / "data" / "registry"


def cases(name: str) -> list[Any]:
    lines = (DATA / f"{name}.jsonl").read_text().splitlines()
    return [pytest.param(json.loads(line), id=f"{number}") for number, line in enumerate(lines, 1)]


def answer_of(status: int, body: bytes = b"", headers: dict[str, str] | None = None, url: str = "https://r.test/v2/"):
    pieces = [body]
    pairs = (headers or {}).items()
    return Answer(status, Headers(pairs), url, read=lambda _: pieces.pop() if pieces else b"")


@pytest.mark.parametrize("case", cases("www-authenticate"))
def test_challenges_are_read_as_they_are_written(case: dict[str, Any]):
    found = challenges(case["headers"])
    assert [{"scheme": one.scheme, "params": dict(one.params)} for one in found] == case["challenges"]
    if "scopes" in case:
        assert [scope for one in found for scope in one.scopes] == case["scopes"]
    if "use" in case:
        best = chosen(found)
        assert best is not None
        assert best.scheme == case["use"]
    if "token_url" in case:
        params = found[0].params
        realm = resolved(case.get("request_url", "https://r.test/v2/"), params["realm"])
        assert by_get(TokenServer(realm, params["service"]), (), None).url == case["token_url"]
    if case.get("error") == "realm downgraded to http":
        with pytest.raises(UnsafeRedirect, match="not encrypted"):
            resolved(case["request_url"], found[0].params["realm"])


def test_a_challenge_is_read_in_time_that_grows_with_it():
    hostile = ['a="' + "\\" * 100_000, "Bearer " + "a=," * 50_000, "," * 100_000, "a " * 100_000, "Bearer " * 10_000]
    assert len(challenges(hostile)) <= 16


@pytest.mark.parametrize("case", cases("link"))
def test_the_next_page_is_where_the_link_says(case: dict[str, Any]):
    if "error" in case:
        with pytest.raises((InvalidAnswer, UnsafeRedirect)):
            next_page(case["base"], case["headers"])
    else:
        assert next_page(case["base"], case["headers"]) == case["next"]


@pytest.mark.parametrize("case", cases("location"))
def test_an_upload_goes_where_the_location_says(case: dict[str, Any]):
    if "error" in case:
        with pytest.raises(UnsafeRedirect) as raised:
            resolved(case["base"], case["location"])
        if "X-Forwarded-Proto" in case["error"]:
            assert "X-Forwarded-Proto" in str(raised.value)
        return
    found = resolved(case["base"], case["location"])
    assert found == case["upload"]
    assert (Origin.of(found) == Origin.of(case["base"])) == case["authorization"]


@pytest.mark.parametrize(
    "url",
    [
        r"https://r.test\@evil.test/",
        "https://r.test@evil.test/",
        "https://user:pass@r.test/",
        "https://r.test:80:443/",
        "https://r.test:99999/",
        "https://r.test /",
        "https://2852039166/",
        "https://127.1/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://127.0.0.0x1/",
        "https://0/",
        "https://127.1./",
        "https://r.test.1/",
        "https://0x/",
        "https://1.2.3.4.5/",
        "\x01//e[",
        "https://r.test/a b",
        "https://r.test/\r\nHost: evil.test",
        "https:///v2/",
        "https://[::1/",
        "https://\uff52.test/",
        "javascript:alert(1)",
        "ftp://r.test/",
        "unix:/run/docker.sock",
        "gopher://127.0.0.1:6379/_FLUSHALL",
    ],
)
def test_a_url_that_programs_read_differently_is_not_read_at_all(url: str):
    # A host that is checked must be the host that is asked: the same confusion as in CVE-2020-15136.
    with pytest.raises(UnsafeRedirect):
        resolved("https://r.test/v2/", url)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "localhost", "a.localhost", "10.0.0.1", "192.168.1.1", "169.254.169.254", "[::1]", "[fe80::1]",
     "[::ffff:127.0.0.1]", "0.0.0.0", "[fd00:ec2::254]", "100.64.0.1", "[64:ff9b::a9fe:a9fe]",
     "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[::127.0.0.1]", "[::a9fe:a9fe]"],
)  # fmt: skip
def test_a_public_host_does_not_lead_to_a_private_one(address: str):
    for base in ("https://r.test/v2/", "https://8.8.8.8/v2/"):
        with pytest.raises(UnsafeRedirect, match="not a public address"):
            resolved(base, f"https://{address}/latest")


@pytest.mark.parametrize(
    ("base", "address"),
    [
        ("10.1.1.1", "10.0.0.1"),
        ("10.1.1.1", "[fd00::1]"),
        ("10.1.1.1", "100.64.0.1"),
        ("127.0.0.1", "192.168.1.1"),
        ("127.0.0.1", "localhost"),
        ("localhost", "[::1]"),
        ("169.254.0.9", "169.254.0.10"),
        ("[fe80::1]", "[fe80::2]"),
    ],
)
def test_a_private_host_leads_to_what_is_as_near_as_itself(base: str, address: str):
    assert resolved(f"https://{base}/v2/", f"https://{address}/x") == f"https://{address}/x"


@pytest.mark.parametrize(
    ("base", "address"),
    [
        ("10.1.1.1", "127.0.0.1"),
        ("10.1.1.1", "a.localhost"),
        ("10.1.1.1", "0.0.0.0"),
        ("10.1.1.1", "[64:ff9b::7f00:1]"),
        ("10.1.1.1", "[::ffff:127.0.0.1]"),
        ("10.1.1.1", "169.254.169.254"),
        ("127.0.0.1", "169.254.169.254"),
        ("localhost", "[::ffff:169.254.169.254]"),
        ("127.0.0.1", "[fe80::1]"),
        ("127.0.0.1", "[fd00:ec2::254]"),
        ("127.0.0.1", "[64:ff9b::a9fe:a9fe]"),
        ("[::1]", "[2002:a9fe:a9fe::1]"),
    ],
)
def test_no_host_leads_to_what_is_nearer_than_itself(base: str, address: str):
    with pytest.raises(UnsafeRedirect, match="leads to"):
        resolved(f"https://{base}/v2/", f"https://{address}/x")


@pytest.mark.parametrize(
    ("registry", "realm", "is_same"),
    [
        ("registry-1.docker.io", "auth.docker.io", True),
        ("registry.gitlab.com", "gitlab.com", True),
        ("registry.example.com", "gitlab.example.com", True),
        ("registry.eu.example.com", "auth.example.com", True),
        ("registry.digitalocean.com", "api.digitalocean.com", True),
        ("ghcr.io", "ghcr.io", True),
        ("localhost", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("10.0.0.1", "10.0.0.2", False),
        ("a.azurecr.io", "b.azurecr.io", False),
        ("one.amazonaws.com", "two.amazonaws.com", False),
        ("us-docker.pkg.dev", "eu-docker.pkg.dev", False),
        ("a.co.uk", "b.co.uk", False),
        ("ghcr.io", "evil.io", False),
        ("registry.example.com", "example.com.evil.test", False),
        ("registry.example.com", "evil.test", False),
        ("example.com", "notexample.com", False),
    ],
)
def test_hosts_are_of_one_site_where_strangers_are_not_neighbours(registry: str, realm: str, is_same: bool):  # noqa: FBT001
    assert is_same_site(Origin("https", registry, 443), Origin("https", realm, 443)) is is_same


def test_the_query_of_a_location_stays_as_it_is():
    location = "https://store.test/u?sig=a%2fb%2B&x=%3d~!"
    assert target_of(resolved("https://r.test/", location)) == "/u?sig=a%2fb%2B&x=%3d~!"
    assert str(Origin.of("https://R.test:443/x")) == "https://r.test"
    assert Origin.of("http://[::1]:5000/").authority == "[::1]:5000"


@pytest.mark.parametrize("case", cases("retry-after"))
def test_how_long_to_wait_is_what_the_headers_say(case: dict[str, Any]):
    headers = Headers(case["headers"].items())
    if "wait" in case:
        now = datetime.fromisoformat(case.get("now", "2026-11-27T22:00:00Z")).timestamp()
        assert retry_after(headers, now) == case["wait"]
    else:
        found = RateLimit.of(headers)
        assert found is not None
        assert (found.limit, found.remaining) == (case["limit"], case["remaining"])
        assert found.window == case.get("window", 21600)


@pytest.mark.parametrize("case", cases("token-response"))
def test_a_token_is_what_the_answer_holds(case: dict[str, Any]):
    body = case["raw"].encode() if "raw" in case else json.dumps(case["body"]).encode()
    answer = answer_of(case.get("status", 200), body, url="https://auth.r.test/token?account=me")
    if case.get("status", 200) != 200:
        assert "incorrect username or password" in str(refusal(answer, "give a token"))
    elif "error" in case:
        with pytest.raises(InvalidAnswer, match="the token server https://auth"):
            token_in(answer)
    else:
        token = token_in(answer)
        assert (token.text, token.lifetime, token.refresh) == (
            case["token"],
            case["lifetime"],
            case.get("refresh_token", ""),
        )
        assert "T" not in repr(token).replace("Token(", "")


@pytest.mark.parametrize("text", ["two words", "a\r\nEvil: header", "größe", "", 7, None])
def test_what_cannot_stand_in_a_header_is_not_a_token(text: object):
    with pytest.raises(InvalidAnswer):
        token_in(answer_of(200, json.dumps({"token": text}).encode()))


@pytest.mark.parametrize("case", cases("upload-offset"))
def test_an_upload_goes_on_where_the_registry_is(case: dict[str, Any]):
    headers = Headers(case["headers"].items())
    if case["status"] == 404 or "error" in case:
        with pytest.raises(UploadLost):
            offset_after(case["status"], headers, case["sent"])
    else:
        expected = case["offset"] if isinstance(case["offset"], int) else Unknown.ASK
        assert offset_after(case["status"], headers, case["sent"]) == expected


@pytest.mark.parametrize(("text", "offset"), [("0-0", 0), ("0--1", 0), ("0-99", 100), ("bytes=0-99", 100), ("x", 0)])
def test_an_upload_that_is_asked_says_how_far_it_is(text: str, offset: int):
    assert offset_asked(Headers([("Range", text)])) == offset


@pytest.mark.parametrize("case", cases("errors"))
def test_a_refusal_carries_the_registrys_own_words(case: dict[str, Any]):
    said, text = said_in(case["body"].encode())
    assert [code for code, _ in said] == case["codes"]
    error = refusal(answer_of(case["status"], case["body"].encode()), "pull r.test/a:1")
    assert error.answered == case["status"]
    assert error.said == said
    assert "cannot pull r.test/a:1: r.test answers" in str(error)
    assert isinstance(error, RegistryBusy) == (case["status"] == 429)
    if "message" in case:
        assert case["message"] in f"{text} {error}"
    if "MANIFEST_BLOB_UNKNOWN" in case["codes"]:
        assert error.missing == ("sha256:ab", "sha256:cd")


def test_a_quota_is_told_with_its_window():
    headers = {"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "0;w=21600"}
    error = refusal(answer_of(429, b'{"errors":[{"code":"TOOMANYREQUESTS"}]}', headers), "pull a:1")
    assert "its limit is 100 in 6 h, and more after logging in" in str(error)
    busy = refusal(answer_of(429, b"", {"Retry-After": "86400"}), "pull a:1")
    assert isinstance(busy, RegistryBusy)
    assert busy.wait == 86400
    assert "it asks to wait 86400 s" in str(busy)


def test_what_a_registry_says_controls_no_terminal_and_shows_no_password():
    body = json.dumps({"errors": [{"code": "X", "message": "\x1b]0;x see https://me:secret@r.test/ " + "y" * 9999}]})
    error = refusal(answer_of(400, body.encode()), "pull a:1")
    assert isinstance(error, RegistryError)
    assert str(error).isprintable()
    assert len(str(error)) <= 600
    assert "secret" not in str(error)


def test_scopes_are_merged_and_covered():
    first, second = Scope.parse("repository:a/b:pull"), Scope.parse("repository:a/b:push")
    other = Scope.parse("repository:r.test:5000/c:pull")
    assert [str(one) for one in merged([first, other, second])] == [
        "repository:a/b:pull,push",
        "repository:r.test:5000/c:pull",
    ]
    assert are_covered([first], [Scope.parse("repository:a/b:pull,push")])
    assert not are_covered([first, second], [first, other])
    assert Scope.parse("registry:catalog:*").covers(Scope.parse("registry:catalog:*"))


def test_a_link_is_read_in_time_that_grows_with_it():
    hostile = ("<x>;" + '"\\' * 5000, "<" * 16000, "<x>" + '"a' * 7000, "<>" * 8000, "<x>;" + '"\\"' * 5000)
    for text in hostile:
        with suppress(InvalidAnswer, UnsafeRedirect):
            next_page("https://r.test/v2/x", [text])

    def taken(count: int) -> float:
        links = ['</y>"' * count]
        return spent(lambda: [next_page("https://r.test/v2/x", links) for _ in range(20)])

    assert growth(taken, 750, 3000, below=8, least=0.01) < 8
    with pytest.raises(InvalidAnswer, match="longer than"):
        next_page("https://r.test/v2/x", ['</y>; rel="next"; ' + "x" * 20000])


@pytest.mark.parametrize("number", ["9" * 400, "1e400", "NaN", "-Infinity", "true", "-5", '"9"'])
def test_a_lifetime_is_a_number_of_seconds_that_can_be_waited_for(number: str):
    found = token_in(answer_of(200, f'{{"token": "x", "expires_in": {number}}}'.encode()))
    assert 60 <= found.lifetime <= 366 * 24 * 3600


def test_a_token_of_too_many_digits_is_not_json():
    with pytest.raises(InvalidAnswer):
        token_in(answer_of(200, b'{"token": "x", "expires_in": ' + b"9" * 5000 + b"}"))


def test_the_title_of_a_page_is_read_in_time_that_grows_with_it():
    def taken(count: int) -> float:
        pages = [unit * count for unit in (b"<title", b"<title>", b"<title>x")]
        return spent(lambda: [said_in(page) for page in pages])

    assert growth(taken, 2000, 8000, below=10, least=0.01) < 10
