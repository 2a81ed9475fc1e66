"""What registries and files could write as well as what is in tests/data/registry."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import InvalidAnswer, InvalidReference, InvalidSettings, UnsafeRedirect
from orlop.model.names import pulled_name
from orlop.model.reference import Reference
from orlop.registry.authfiles import AuthFile
from orlop.registry.certificates import ClientCertificates
from orlop.registry.challenges import challenges, chosen
from orlop.registry.helpers import Helpers
from orlop.registry.hostfiles import rules_of_containers
from orlop.registry.hosts import Hosts
from orlop.registry.limits import RateLimit, retry_after
from orlop.registry.links import next_page
from orlop.registry.messages import Answer, Headers
from orlop.registry.offsets import offset_after
from orlop.registry.tokens import token_in

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1795816800.0  # Fri, 27 Nov 2026 22:00:00 GMT
PAGE = "https://r.test/v2/a/tags/list?n=1"
NEXT = "https://r.test/v2/a/tags/list?last=x"


@pytest.mark.parametrize(
    ("headers", "scheme", "params"),
    [
        (["Negotiate YIIabc==, Basic realm=x"], "basic", {"realm": "x"}),
        (["bearer,Basic realm=x"], "basic", {"realm": "x"}),
        (['Bearer service="s"', "Basic"], "basic", {}),
        (["NTLM", 'BEARER REALM="https://r.test/t"'], "bearer", {"realm": "https://r.test/t"}),
        (['Bearer realm="https://r.test/t" service="s"'], "bearer", {"realm": "https://r.test/t", "service": "s"}),
        (
            ['Bearer realm = "https://r.test/t"\t,\tservice = s'],
            "bearer",
            {"realm": "https://r.test/t", "service": "s"},
        ),
        (['Bearer realm="https://r.test/t",service="s",junk'], "bearer", {"realm": "https://r.test/t", "service": "s"}),
        (['Bearer realm="https://r.test/t",realm="https://evil.test"'], "bearer", {"realm": "https://r.test/t"}),
        (
            ['Digest realm="d", qop="auth,auth-int", Bearer realm="https://r.test"'],
            "bearer",
            {"realm": "https://r.test"},
        ),
        (
            ["Bearer realm=https://r.test/t?x=1&y=2,service=s"],
            "bearer",
            {"realm": "https://r.test/t?x=1&y=2", "service": "s"},
        ),
        (['Basic realm="a", charset="UTF-8"'], "basic", {"realm": "a", "charset": "UTF-8"}),
    ],
)
def test_a_challenge_is_chosen_that_can_be_answered(headers: list[str], scheme: str, params: dict[str, str]):
    found = chosen(challenges(headers))
    assert found is not None
    assert (found.scheme, dict(found.params)) == (scheme, params)


@pytest.mark.parametrize("headers", [[], [""], ["Negotiate"], ["=,"], ["Mutual, NTLM"]])
def test_what_cannot_be_answered_is_not_chosen(headers: list[str]):
    assert chosen(challenges(headers)) is None


@pytest.mark.parametrize(
    "header",
    [
        "</v2/a/tags/list?last=x>; rel=next",
        "</v2/a/tags/list?last=x>; rel='next'",
        '</v2/a/tags/list?last=x>; rel="prev next"',
        '</v2/a/tags/list?last=x>; title="a, b"; REL=NEXT',
        '</v2/a/tags/list?last=x>;rel="next",',
        '</v2/a/tags/list?last=x>; rel="next"; foo="',
        '<list?last=x>; rel="next"',
        '<?last=x>; rel="next"',
        '< /v2/a/tags/list?last=x >; rel="next"',
        '<//r.test/v2/a/tags/list?last=x>; rel="next"',
        '<HTTP://r.test/v2/a/tags/list?last=x>; rel="next"',
        '<http://r.test:80/v2/a/tags/list?last=x>; rel="next"',
        '</first>; rel="first", </v2/a/tags/list?last=x>; rel="next"',
    ],
)
def test_the_next_page_is_found_in_every_form(header: str):
    assert next_page(PAGE, [header]) == NEXT


@pytest.mark.parametrize(
    "header", ["</p>; rel=prev", "garbage", '</p>; rel="nextpage"', '</p>; anchor="#rel=next"; rel="last"', ""]
)
def test_what_is_not_a_next_page_is_the_end(header: str):
    assert next_page(PAGE, [header]) is None


@pytest.mark.parametrize(
    "target",
    [
        "",
        "https://r.test.evil.test/v2/a",
        "https://r.test@evil.test/v2/a",
        "//evil.test/v2/a",
        "/v2/a?last=a b",
        "/v2/\u00e4",
        "/v2\\a",
    ],
)
def test_a_next_page_that_leads_astray_is_refused(target: str):
    with pytest.raises((InvalidAnswer, UnsafeRedirect)):
        next_page(PAGE, [f'<{target}>; rel="next"'])


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        (" 7 ", 7),
        ("0.1", 1),
        ("Friday, 27-Nov-26 22:00:10 GMT", 10),
        ("Fri Nov 27 22:00:10 2026", 10),
        ("Fri, 27 Nov 2026 23:00:10 +0100", 10),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        *((text, None) for text in ("", "-5", "7s", "1e3", "120, 60", "\u0667", "9" * 30, "1.2.3", ".", "inf", "nan")),
        ("Fri, 27 Nov 99999 22:00:10 GMT", None),
    ],
)
def test_how_long_to_wait_is_read_or_left_alone(text: str, wait: float | None):
    assert retry_after(Headers([("Retry-After", text)]), NOW) == wait


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("100", (100, None)),
        ("100;w=60", (100, 60)),
        ("100 ; w=60", (100, 60)),
        ("100;q=1;w=60", (100, 60)),
        ("100, 100;w=60", (100, 60)),
        ("100, 10;w=1, 100;w=60", (100, 1)),
        ("100;w=", (100, None)),
        ("-1;w=5", (None, 5)),
        (";;,,", (None, None)),
    ],
)
def test_a_quota_is_read_in_every_form(limit: str, expected: tuple[int | None, int | None]):
    found = RateLimit.of(Headers([("ratelimit-limit", limit), ("RATELIMIT-REMAINING", "3;w=60")]))
    assert found is not None
    assert ((found.limit, found.window), found.remaining) == (expected, 3)


def token(document: object) -> tuple[str, float]:
    pieces = [json.dumps(document).encode()]
    found = token_in(Answer(200, Headers(), "https://r.test/t", read=lambda _: pieces.pop() if pieces else b""))
    return found.text, found.lifetime


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"token": "", "access_token": "T"}, ("T", 60)),
        ({"token": None, "access_token": "T"}, ("T", 60)),
        ({"token": 5, "access_token": "T"}, ("T", 60)),
        ({"token": "T", "expires_in": "300"}, ("T", 300)),
        ({"token": "T", "expires_in": "soon"}, ("T", 60)),
        ({"token": "T", "expires_in": 300.5}, ("T", 300.5)),
        ({"token": "T", "expires_in": -5}, ("T", 60)),
        ({"token": "T", "expires_in": None}, ("T", 60)),
        ({"token": "T", "expires_in": True}, ("T", 60)),
        ({"token": "T", "expires_in": []}, ("T", 60)),
        ({"token": "T", "issued_at": "not a time", "refresh_token": 5}, ("T", 60)),
    ],
)
def test_a_token_is_read_as_lenient_servers_give_it(document: object, expected: tuple[str, float]):
    assert token(document) == expected


@pytest.mark.parametrize(
    "document", [{"token": "T x"}, {"token": "T\r\nX: y"}, {"token": 5}, {"token": {}}, [], "T", 7, None]
)
def test_what_is_no_token_is_told(document: object):
    with pytest.raises(InvalidAnswer, match="without a token"):
        token(document)


@pytest.mark.parametrize(
    "said", ["0-1023", "bytes=0-1023", "bytes 0-1023", " 0-1023 ", "1023", "0-1023/2048", "5-9", "x"]
)
def test_an_upload_goes_on_behind_what_was_sent_where_nothing_else_is_said(said: str):
    assert offset_after(202, Headers([("Range", said)]), 1024) == 1024


def auth(user: str, password: str) -> str:
    return b64encode(f"{user}:{password}".encode()).decode()


OURS = {"auth": auth("u", "p")}


def found_in(document: object, image: str, source: str = "config.json") -> str | None:
    file = AuthFile(json.dumps(document).encode(), source)
    found = file.find(Reference.parse(image), Helpers())
    return None if found is None else f"{found.user}:{found.password}:{found.identity_token}:{found.registry_token}"


@pytest.mark.parametrize(
    "key",
    [
        "r.test",
        "R.Test",
        "r.test/",
        "https://r.test",
        "http://r.test/v1/",
        "r.test/v2/",
        "r.test/team",
        "r.test/team/app",
    ],
)
def test_a_key_is_found_in_every_form(key: str):
    assert found_in({"auths": {"other.test": {}, key: OURS}}, "r.test/team/app:1") == "u:p::"


@pytest.mark.parametrize(
    "key",
    [
        "docker.io",
        "index.docker.io",
        "registry-1.docker.io",
        "registry.hub.docker.com",
        "https://index.docker.io/v1",
        "https://index.docker.io/v1/",
        "docker.io/library",
    ],
)
def test_docker_hub_is_found_under_each_of_its_names(key: str):
    assert found_in({"auths": {key: OURS}}, "alpine") == "u:p::"


@pytest.mark.parametrize(
    "key",
    [
        "r.test:443",
        "r.test.evil",
        "https://u@r.test",
        "https://r.test@evil.test",
        "r.tes",
        "r.test/tea",
        "r.test/team/app/x",
        "test",
        "*",
    ],
)
def test_the_credentials_of_another_place_are_not_found(key: str):
    assert found_in({"auths": {key: OURS}}, "r.test/team/app:1") is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"auth": auth("u", "p") + "\r\n"}, "u:p::"),
        ({"auth": auth("u", "p\0\0")}, "u:p::"),
        ({"auth": auth("u", ":p:")}, "u::p:::"),
        ({"auth": auth("u", "p"), "username": "v", "password": "q"}, "u:p::"),
        ({"username": "v", "password": "q"}, "v:q::"),
        ({"auth": auth("u", ""), "identitytoken": "T"}, "u::T:"),
        ({"registrytoken": "T"}, ":::T"),
        ({}, None),
        ({"auth": ""}, None),
        (None, None),
    ],
)
def test_an_entry_is_read_as_docker_reads_it(entry: Any, expected: str | None):
    assert found_in({"auths": {"r.test": entry}}, "r.test/x") == expected


@pytest.mark.parametrize(
    "entry",
    [
        "text",
        [],
        {"auth": 5},
        {"auth": b64encode(b"no colon").decode()},
        {"auth": f" {auth('u', 'p')}"},
        {"auth": auth("user", "pq").rstrip("=")},
        {"auth": urlsafe_b64encode(b"u:\xc3\xbf\xc3\xbe?>~").decode().replace("w", "-")},
        {"auth": "\ud800"},
    ],
    ids=str,
)
def test_an_entry_that_is_none_is_named_and_not_shown(entry: Any):
    with pytest.raises(InvalidSettings, match=r"config\.json: .*r\.test") as raised:
        found_in({"auths": {"r.test": entry}}, "r.test/x")
    assert "dXNl" not in str(raised.value)


@pytest.mark.parametrize(
    "document", [None, {}, {"auths": None}, {"auths": {}}, {"credsStore": 5}, {"credHelpers": {"r.test": 5}}]
)
def test_a_file_that_says_nothing_has_no_credentials(document: object):
    assert found_in(document, "r.test/x") is None


def test_the_oldest_form_is_one_of_its_name_alone():
    assert found_in({"https://r.test/v1/": {**OURS, "email": "x"}}, "r.test/x", "/home/me/.dockercfg") == "u:p::"
    assert found_in({"https://r.test/v1/": OURS}, "r.test/x") is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
        ("docker.io/a/b", "docker.io/a/b:latest"),
        ("a/b/c", "docker.io/a/b/c:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("host.test/x:TAG", "host.test/x:TAG"),
        ("host_x/y", "docker.io/host_x/y:latest"),
        ("a__b", "docker.io/library/a__b:latest"),
        (f"x:t@sha256:{'a' * 64}", f"docker.io/library/x:t@sha256:{'a' * 64}"),
    ],
)
def test_a_name_means_a_place(name: str, meant: str):
    assert str(pulled_name(Reference.parse(name))) == meant


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-x",
        " x",
        "x ",
        "A",
        "a//b",
        "a___b",
        "a..b",
        "a.-b",
        "x:-a",
        "x:\u00fc",
        "x@sha256:abc",
        "host.test:/x",
        "x/y:5000/z",
        "http://x/y",
        "x:" + "t" * 129,
        "a" * 256,
    ],
)
def test_what_is_no_name_is_refused(name: str):
    with pytest.raises(InvalidReference):
        Reference.parse(name)


def places(conf: str, name: str, tmp_path: Path) -> list[str]:
    (tmp_path / "registries.conf").write_text(conf)
    hosts = Hosts(rules_of_containers(str(tmp_path / "registries.conf")))
    return [f"{one.endpoint.origin} {one.repository}" for one in hosts.to_pull(Reference.parse(name))]


def conf(*mirrors: str, **settings: str) -> str:
    lines = ["[[registry]]", *(f'{key.replace("_", "-")} = "{value}"' for key, value in settings.items())]
    return "\n".join([*lines, *(f'[[registry.mirror]]\nlocation = "{one}"' for one in mirrors)])


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (conf(prefix="docker.io", location="m.test/hub"), "alpine", ["https://m.test hub/library/alpine"]),
        (
            conf("m.test:5000", location="docker.io"),
            "a/b",
            ["https://m.test:5000 a/b", "https://registry-1.docker.io a/b"],
        ),
        (conf("m.test/x", location="docker.io/library"), "a/b", ["https://registry-1.docker.io a/b"]),
        (conf(prefix="*.r.test", location="m.test"), "a.b.r.test:5000/p", ["https://m.test p"]),
        (conf(prefix="*.r.test", location="m.test"), "r.test/p", ["https://r.test p"]),
        (conf(prefix="*.r.test", location="m.test"), "nor.test/p", ["https://nor.test p"]),
        (conf(prefix="r.test", location="m.test"), "r.test:5000/x", ["https://r.test:5000 x"]),
        (conf(prefix="r.test:5000", location="m.test"), "r.test/x", ["https://r.test x"]),
        (conf(prefix="r.test", location="m.test"), "r.test.evil.test/x", ["https://r.test.evil.test x"]),
        (conf(prefix="r.test/foo", location="m.test"), "r.test/foobar", ["https://r.test foobar"]),
        (conf(prefix="r.test/foo/", location="m.test/"), "r.test/foo/bar", ["https://m.test bar"]),
        (conf("m.test/", location="R.TEST/"), "r.test/x", ["https://m.test x", "https://r.test x"]),
        (
            "unqualified-search-registries = ['x.test']\n[registries.search]\nregistries = []\n",
            "r.test/x",
            ["https://r.test x"],
        ),
        (conf(location="r.test", some_word="x"), "r.test/x", ["https://r.test x"]),
    ],
)
def test_a_rule_of_podman_is_for_the_names_that_it_says(text: str, name: str, expected: list[str], tmp_path: Path):
    assert places(text, name, tmp_path) == expected


def test_what_is_put_at_a_host_alone_is_not_taken_for_an_image_of_docker_hub(tmp_path: Path):
    with pytest.raises(InvalidSettings, match=r"puts r\.test/foo at m\.test, which names no repository"):
        places(conf(prefix="r.test/foo", location="m.test"), "r.test/foo:1", tmp_path)


@pytest.mark.parametrize("location", ["https://r.test", "r", "", "r.test//x", "r.test/X", "*.*.test"])
def test_a_location_of_podman_that_is_none_is_named(location: str, tmp_path: Path):
    with pytest.raises(InvalidSettings):
        places(conf(prefix="a.test", location=location) if location else conf(location=""), "a.test/x", tmp_path)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ("a.cert", "needs a.key"),
        ("a.key", "needs a.cert"),
        ("a.cert b.key", "needs a.key"),
        ("a.cert.key", "needs a.cert.cert"),
    ],
)
def test_half_a_pair_of_certificates_is_named(names: str, why: str, tmp_path: Path):
    folder = tmp_path / "r.test:5000"
    folder.mkdir()
    for name in names.split():
        (folder / name).write_text("")
    with pytest.raises(InvalidSettings, match=why.replace(" ", r" \S*").replace(".", r"\.")):
        ClientCertificates.beside([str(tmp_path)], "r.test:5000")


def test_certificates_are_those_of_their_host_and_port_alone(tmp_path: Path):
    for folder, names in {
        "r.test:5000": "ca.crt z.crt c.cert c.key notes.txt .crt",
        "r.test": "x.crt",
        "file": "",
    }.items():
        (tmp_path / folder).mkdir()
        for name in names.split():
            (tmp_path / folder / name).write_text("")
    found = ClientCertificates.beside([str(tmp_path / "none"), str(tmp_path / "file"), str(tmp_path)], "r.test:5000")
    assert [path.rpartition("/")[2] for path in found.authorities] == ["ca.crt", "z.crt"]
    assert [path.rpartition("/")[2] for pair in found.pairs for path in pair] == ["c.cert", "c.key"]
    assert ClientCertificates.beside([str(tmp_path)], "other.test") == ClientCertificates()
