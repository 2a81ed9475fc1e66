"""How often and how much, from where, and what is written down of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from orlop.api.registry.guard.audit import AuditLog
from orlop.api.registry.guard.configuration import read_settings
from orlop.api.registry.guard.rate import Buckets
from orlop.errors import FileNotThere
from tests.unit.guarded import PASSWORDS, RULES, TOKENS, Clock, basic, guarded, token_of, write_access

DIGEST = f"sha256:{'a' * 64}"
RATE = "[limits]\nrate = 2\nburst = 5\n"
SIZES = '[limits]\nupload = "100"\nmanifest = "50"\n'
PUBLIC = "/v2/public/app/tags/list"
UPLOADS = "/v2/team/app/blobs/uploads/"
UPLOAD = f"{UPLOADS}0123"


# How often


def test_whoever_comes_too_often_is_told_when_to_come_back(tmp_path):
    with guarded(tmp_path, RULES + RATE) as door:
        assert [door.ask("GET", PUBLIC).status for _ in range(7)] == [200] * 5 + [429] * 2
        answer = door.ask("GET", PUBLIC)
        assert (answer.code, answer.headers["retry-after"]) == ("TOOMANYREQUESTS", "1")
        assert len(door.registry.seen) == 5
        door.clock.seconds += int(answer.headers["retry-after"])
        assert [door.ask("GET", PUBLIC).status for _ in range(3)] == [200, 200, 429]


def test_reading_the_file_again_forgets_nobody_who_came_too_often(tmp_path):
    with guarded(tmp_path, RULES + RATE) as door:
        while door.ask("GET", PUBLIC).status != 429:
            pass
        for text, status in ((RULES + RATE, 429), (RULES + RATE.replace("5", "6"), 200)):
            door.guard.renew(read_settings(str(write_access(tmp_path, text))))
            assert door.ask("GET", PUBLIC).status == status


def test_clients_and_users_are_counted_each_on_their_own(tmp_path):
    with guarded(tmp_path, RULES + RATE) as door:
        target = "/v2/shared/app/tags/list"
        for user in ("anna", "ben"):
            assert [door.ask("GET", target, basic(user)).status for _ in range(6)] == [200] * 5 + [429]
        # A user is the same from wherever; nameless clients are told apart by their addresses.
        assert door.ask("GET", target, basic("anna"), client=("192.0.2.9", 1)).status == 429
        for address in ("192.0.2.1", "192.0.2.9"):
            found = [door.ask("GET", PUBLIC, client=(address, 1)).status for _ in range(6)]
            assert found == [200] * 5 + [429]


def test_whoever_guesses_passwords_is_stopped_and_the_user_is_not(tmp_path):
    with guarded(tmp_path, RULES + RATE) as door:
        guesses = [door.ask("GET", "/v2/", basic("anna", f"guess-{number}")).status for number in range(8)]
        assert guesses == [401] * 5 + [429] * 3
        assert door.checks.number == 5
        assert door.ask("GET", "/v2/", basic("anna"), client=("192.0.2.9", 1)).status == 200


def test_the_token_server_stops_guesses_too(tmp_path):
    with guarded(tmp_path, RULES + TOKENS + RATE) as door:
        guesses = [door.ask("GET", "/token", basic("anna", f"guess-{number}")).status for number in range(8)]
        assert guesses == [401] * 5 + [429] * 3
        forged = [door.ask("GET", "/v2/", f"Bearer {number}.a.b", client=("a", 1)).status for number in range(8)]
        assert forged == [401] * 5 + [429] * 3


def test_as_many_clients_are_remembered_as_there_is_room_for():
    clock = Clock()
    buckets = Buckets(1, 2, clock)
    for number in range(40_000):
        assert buckets.take(number) == 0
    assert len(buckets._levels) <= 16_384
    assert buckets.take(39_999) == 0
    assert buckets.take(39_999) == 1


# From where


@pytest.mark.parametrize(
    ("client", "forwarded", "found"),
    [
        (("10.0.0.1", 1), [], "10.0.0.1"),
        (("10.0.0.1", 1), ["192.0.2.7"], "192.0.2.7"),
        (("10.0.0.1", 1), ["6.6.6.6, 192.0.2.7"], "192.0.2.7"),
        (("10.0.0.1", 1), ["6.6.6.6", "192.0.2.7, 10.9.9.9"], "192.0.2.7"),
        (("10.0.0.1", 1), ["2001:db8::1"], "2001:db8::1"),
        (("10.0.0.1", 1), ["6.6.6.6, unknown"], "10.0.0.1"),
        (("10.0.0.1", 1), [""], "10.0.0.1"),
        (("192.0.2.7", 1), ["6.6.6.6"], "192.0.2.7"),
        (("uid=0", 7), ["192.0.2.7"], "192.0.2.7"),
        (None, [], "-"),
    ],
)
def test_only_proxies_that_are_trusted_say_who_asks(tmp_path, client, forwarded, found):
    log = AuditLog(str(tmp_path / "audit"))
    with guarded(tmp_path, f'trusted-proxies = ["10.0.0.0/8"]\n{RULES}', audit=log) as door:
        headers = tuple((b"x-forwarded-for", one.encode()) for one in forwarded)
        door.ask("GET", PUBLIC, client=client, headers=headers)
    assert json.loads((tmp_path / "audit").read_text())["address"] == found
    log.close()


def test_without_trusted_proxies_nobody_is_believed(tmp_path):
    log = AuditLog(str(tmp_path / "audit"))
    with guarded(tmp_path, RULES, audit=log) as door:
        door.ask("GET", PUBLIC, headers=((b"x-forwarded-for", b"6.6.6.6"),))
    assert json.loads((tmp_path / "audit").read_text())["address"] == "192.0.2.1"
    log.close()


# How much


@pytest.mark.parametrize(
    ("method", "target", "most"),
    [
        ("PUT", "/v2/team/app/manifests/latest", 50),
        ("POST", f"{UPLOADS}?digest={DIGEST}", 100),
        ("PATCH", UPLOAD, 100),
        ("PUT", f"{UPLOAD}?digest={DIGEST}", 100),
    ],
)
@pytest.mark.parametrize("is_sized", [True, False])
def test_a_body_that_is_too_large_is_refused_as_soon_as_that_is_known(tmp_path, method, target, most, is_sized):
    with guarded(tmp_path, RULES + SIZES) as door:
        assert door.ask(method, target, basic("anna"), body=b"x" * most, is_sized=is_sized).status == 200
        before = door.registry.received
        parts = [b"x"] * (most + 1) + [b"x" * 1000] * 50
        answer = door.ask(method, target, basic("anna"), body=parts, is_sized=is_sized)
        assert (answer.status, answer.code) == (413, "SIZE_INVALID")
        assert door.registry.received - before == (0 if is_sized else most)


# What is written down


def lines(folder):
    return [json.loads(line) for line in (folder / "audit").read_text().splitlines()]


def test_the_audit_log_tells_who_did_what(tmp_path):
    log = AuditLog(str(tmp_path / "audit"), now=lambda: datetime(2027, 1, 2, 3, 4, 5, 6000, UTC))
    with guarded(tmp_path, RULES + TOKENS, audit=log) as door:
        assert door.ask("GET", "/v2/").status == 401
        token = token_of(door, "repository:team/app:pull,push", basic("anna"))
        door.registry.status, door.registry.headers = 201, [(b"Docker-Content-Digest", DIGEST.encode())]
        agent = ((b"user-agent", b"docker/20.10\x1b[31m\n"),)
        door.ask("PUT", "/v2/team/app/manifests/latest", token, body=b"{}", headers=agent)
        door.ask("POST", f"{UPLOADS}?mount={DIGEST}&from=shared/base", token)
        door.ask("DELETE", "/v2/team/app/manifests/latest", token)
        door.ask("GET", "/token", basic("ben", "wrong"))
    first, put, mount, delete, failed = lines(tmp_path)
    assert (first["action"], first["user"], first["status"]) == ("login", "anna", 200)
    assert put == {
        "time": "2027-01-02T03:04:05.006Z",
        "user": "anna",
        "address": "192.0.2.1",
        "action": "push",
        "method": "PUT",
        "repository": "team/app",
        "reference": "latest",
        "digest": DIGEST,
        "agent": "docker/20.10\x1b[31m\n",
        "status": 201,
        "received": 2,
        "sent": 11,
    }
    assert (mount["action"], mount["source"]) == ("upload", "shared/base")
    assert (delete["action"], delete["status"], delete["error"]) == ("delete", 401, "UNAUTHORIZED")
    assert (failed["action"], failed["status"], failed["error"]) == ("login", 401, "UNAUTHORIZED")
    assert "user" not in failed
    # One line for each deed, whatever its texts contain, and no secret in any.
    text = (tmp_path / "audit").read_text()
    assert text.isascii()
    assert "\x1b" not in text
    assert not any(word in text for word in (*PASSWORDS.values(), token, token.removeprefix("Bearer "), "0123"))
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o600
    log.close()


def test_the_id_of_an_upload_is_not_written_down(tmp_path):
    log = AuditLog(str(tmp_path / "audit"))
    with guarded(tmp_path, RULES, audit=log) as door:
        door.ask("PATCH", UPLOAD, basic("anna"), body=b"x")
    assert "0123" not in (tmp_path / "audit").read_text()
    log.close()


def test_the_audit_log_goes_on_in_a_new_file_once_it_was_moved(tmp_path):
    log = AuditLog(str(tmp_path / "audit"))
    with guarded(tmp_path, RULES, audit=log) as door:
        door.ask("GET", PUBLIC)
        (tmp_path / "audit").rename(tmp_path / "audit.1")
        log.reopen()
        door.ask("GET", PUBLIC)
    assert len(lines(tmp_path)) == 1
    log.close()
    with pytest.raises(FileNotThere):
        AuditLog(str(tmp_path / "missing" / "audit"))
