"""Who is let into the registry, by name and password."""

from __future__ import annotations

import asyncio
import base64

import pytest

from orlop.api.registry.routes import Need
from tests.unit.guarded import RULES, basic, guarded, write_users

DIGEST = f"sha256:{'a' * 64}"
CHALLENGE = 'Basic realm="orlop"'


@pytest.fixture
def door(tmp_path):
    with guarded(tmp_path) as found:
        yield found


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("user", "method", "target", "status"),
    [
        ("anna", "GET", "/v2/", 200),
        ("anna", "GET", "/v2/team/app/manifests/latest", 200),
        ("anna", "PUT", "/v2/team/app/manifests/latest", 200),
        ("anna", "DELETE", "/v2/team/a/b/c/manifests/latest", 200),
        ("anna", "GET", "/v2/shared/app/manifests/latest", 200),
        ("anna", "PUT", "/v2/shared/app/manifests/latest", 200),
        ("anna", "GET", "/v2/home/anna/app/manifests/latest", 200),
        ("anna", "GET", "/v2/public/a/b/tags/list", 200),
        ("ben", "GET", "/v2/_catalog", 200),
        ("anna", "GET", "/v2/_catalog", 403),
        ("anna", "GET", "/v2/home/ben/app/manifests/latest", 403),
        ("anna", "GET", "/v2/other/manifests/latest", 403),
        ("anna", "GET", "/v2/teams/app/manifests/latest", 403),
        ("anna", "GET", "/v2/x/team/app/manifests/latest", 403),
        ("ben", "GET", "/v2/team/app/manifests/latest", 403),
        ("ben", "GET", "/v2/shared/a/b/manifests/latest", 403),
        ("ben", "DELETE", "/v2/shared/app/manifests/latest", 403),
        ("ben", "POST", "/v2/public/app/blobs/uploads/", 403),
        ("ben", "PATCH", "/v2/team/app/blobs/uploads/0", 403),
        ("ben", "GET", f"/v2/team/app/referrers/{DIGEST}", 403),
        (None, "GET", "/v2/public/app/manifests/latest", 200),
        (None, "GET", "/v2/public/app/tags/list", 200),
        (None, "GET", "/v2/", 401),
        (None, "GET", "/v2/team/app/manifests/latest", 401),
        (None, "PUT", "/v2/public/app/manifests/latest", 401),
        (None, "POST", "/v2/public/app/blobs/uploads/", 401),
        (None, "DELETE", "/v2/public/app/manifests/latest", 401),
        (None, "GET", "/v2/_catalog", 401),
        (None, "GET", "/v2/nothing", 401),
        (None, "GET", "/v2/TEAM/manifests/latest", 401),
        (None, "GET", "/v2/public/../team/app/manifests/latest", 401),
    ],
)
def test_each_user_may_do_what_a_rule_allows_and_nothing_else(door, user, method, target, status):
    answer = door.ask(method, target, None if user is None else basic(user))
    assert answer.status == status
    assert len(door.registry.seen) == (status == 200)
    if status == 401:
        assert answer.code == "UNAUTHORIZED"
        assert answer.challenge == CHALLENGE
    if status == 403:
        assert answer.code == "DENIED"
        assert "www-authenticate" not in answer.headers


def test_the_registry_learns_who_it_is_and_what_that_user_may(door):
    door.ask("POST", "/v2/shared/app/blobs/uploads/", basic("ben"))
    (scope,) = door.registry.seen
    assert scope["orlop.user"] == "ben"
    assert scope["orlop.may"](Need("repository", "shared/other", ("pull",)))
    assert not scope["orlop.may"](Need("repository", "team/app", ("pull",)))
    assert not scope["orlop.may"](Need("strange", "team/app", ("pull",)))


def encoded(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "authorization",
    [
        b"",
        b"Basic",
        b"Basic ",
        b"Basic !!!!",
        b"Basic YW5uYQ",
        encoded(b"anna"),
        encoded(b"anna:"),
        encoded(b":secret-a"),
        encoded(b"anna:wrong"),
        encoded(b"anna:secret-a\0"),
        encoded(b"anna:secret-a "),
        encoded(b"Anna:secret-a"),
        encoded(b"*:secret-a"),
        encoded(b"nobody:secret-a"),
        encoded(b"ben:secret-a"),
        encoded(b"\xff\xfe:x"),
        encoded(b"a\nb:x"),
        encoded(b"a" * 300 + b":x"),
        b"Basic " + b"YW5u" * 10_000,
        b"Bearer secret-a",
        b"Digest username=anna",
        b"Negotiate abc",
    ],
)
@pytest.mark.parametrize("target", ["/v2/", "/v2/public/app/manifests/latest", "/v2/nothing"])
def test_credentials_that_are_wrong_are_refused_whatever_is_asked_for(door, authorization, target):
    answer = door.ask("GET", target, authorization)
    assert (answer.status, answer.code, answer.challenge) == (401, "UNAUTHORIZED", CHALLENGE)
    assert door.registry.seen == []


def test_two_authorizations_are_none(door):
    more = ((b"authorization", basic("ben").encode()),)
    assert door.ask("GET", "/v2/", basic("anna"), headers=more).status == 401


def test_an_empty_name_and_password_are_no_credentials(door):
    assert door.ask("GET", "/v2/public/app/manifests/latest", encoded(b":")).status == 200
    assert door.ask("GET", "/v2/", encoded(b":")).status == 401


def test_a_refused_head_has_no_body(door):
    answer = door.ask("HEAD", "/v2/team/app/manifests/latest")
    assert (answer.status, answer.body) == (401, b"")
    assert int(answer.headers["content-length"]) > 0


def test_a_password_is_computed_once_for_many_requests_at_once_and_for_those_that_follow(door):
    async def crowd() -> list[int]:
        asked = [door.asking("GET", "/v2/", basic("anna")) for _ in range(50)]
        return [one.status for one in await asyncio.gather(*asked)]

    assert asyncio.run(crowd()) == [200] * 50
    assert door.checks.number == 1
    assert asyncio.run(crowd()) == [200] * 50
    assert door.checks.number == 1
    door.clock.seconds += 3600
    assert door.ask("GET", "/v2/", basic("anna")).status == 200
    assert door.checks.number == 2


def test_a_name_that_nobody_has_costs_as_much_as_a_wrong_password(door):
    for number, user in enumerate(("nobody", "anna", "nobody", "ben"), 1):
        assert door.ask("GET", "/v2/", basic(user, "wrong")).status == 401
        # What failed is computed again.
        assert door.checks.number == number


def test_the_hash_of_nobody_costs_what_the_others_do(tmp_path):
    costs = []

    def check(password, hashed):
        costs.append(hashed[:7])
        return False

    with guarded(tmp_path) as door:
        assert door.guard._passwords is not None
        door.guard._passwords._check = check
        door.ask("GET", "/v2/", basic("nobody", "x"))
        door.ask("GET", "/v2/", basic("anna", "x"))
    assert costs == [b"$2b$04$"] * 2


def test_more_guesses_than_can_be_computed_are_told_to_come_back(door):
    async def crowd() -> list[int]:
        asked = [door.asking("GET", "/v2/", basic("anna", f"guess-{number}")) for number in range(200)]
        return [one.status for one in await asyncio.gather(*asked)]

    statuses = asyncio.run(crowd())
    assert set(statuses) == {401, 429}
    assert statuses.count(401) == door.checks.number == 64


def test_what_the_file_says_holds_once_it_is_read_again(tmp_path):
    from orlop.api.registry.guard.configuration import read_settings

    with guarded(tmp_path) as door:
        assert door.ask("GET", "/v2/team/app/tags/list", basic("anna")).status == 200
        write_users(tmp_path, {"anna": "another", "ben": "secret-b"})
        (tmp_path / "access.toml").write_text(RULES.replace('["team/**"]', '["crew/**"]'))
        door.guard.renew(read_settings(str(tmp_path / "access.toml")))
        assert door.ask("GET", "/v2/crew/app/tags/list", basic("anna")).status == 401
        assert door.ask("GET", "/v2/crew/app/tags/list", basic("anna", "another")).status == 200
        assert door.ask("GET", "/v2/team/app/tags/list", basic("anna", "another")).status == 403


def test_a_registry_that_only_shows_changes_nothing(tmp_path):
    with guarded(tmp_path, f"read-only = true\n{RULES}") as door:
        assert door.ask("GET", "/v2/team/app/tags/list", basic("anna")).status == 200
        for method, target in (
            ("POST", "/v2/team/app/blobs/uploads/"),
            ("PUT", "/v2/team/app/manifests/latest"),
            ("DELETE", "/v2/team/app/manifests/latest"),
            ("PATCH", "/v2/team/app/blobs/uploads/0"),
        ):
            answer = door.ask(method, target, basic("anna"))
            assert (answer.status, answer.code, answer.headers["allow"]) == (405, "UNSUPPORTED", "GET, HEAD")
        # Whoever may not even do it elsewhere is told so first.
        assert door.ask("PUT", "/v2/team/app/manifests/latest", basic("ben")).status == 403
        assert len(door.registry.seen) == 1


def test_where_nobody_has_a_password_only_what_anybody_may_is_allowed(tmp_path):
    text = '[[allow]]\nanonymous = true\nrepositories = ["public/**"]\nactions = ["pull"]\n'
    with guarded(tmp_path, text) as door:
        assert door.ask("GET", "/v2/").status == 200
        assert door.ask("GET", "/v2/public/app/tags/list").status == 200
        assert door.ask("PUT", "/v2/public/app/manifests/latest").code == "DENIED"
        assert door.ask("GET", "/v2/other/tags/list").code == "DENIED"
