"""Tokens of docker's protocol: had from the token server here, or from another issuer, and shown to the registry."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from orlop.api.registry.guard.configuration import read_settings
from orlop.api.registry.routes import Need
from orlop.registry.challenges import challenges
from orlop.registry.scopes import Scope
from tests.unit.guarded import RULES, TOKENS, basic, guarded, token_of, write_users

PULL = "repository:team/app:pull"
PUSH = "repository:team/app:pull,push"
FORM = ((b"content-type", b"application/x-www-form-urlencoded"),)


@pytest.fixture
def door(tmp_path):
    with guarded(tmp_path, RULES + TOKENS) as found:
        yield found


def claims_of(authorization):
    _, body, _ = authorization.removeprefix("Bearer ").split(".")
    return json.loads(base64.urlsafe_b64decode(body + "=="))


def post(door, **fields):
    return door.ask("POST", "/token", body=urlencode(fields).encode(), headers=FORM)


# The token server here


def test_a_challenge_asks_for_exactly_what_is_needed(door):
    (found,) = challenges([door.ask("GET", "/v2/team/app/manifests/latest").challenge])
    assert found.scheme == "bearer"
    assert found.params == {"realm": "http://registry.test/token", "service": "registry.test", "scope": PULL}
    (found,) = challenges([door.ask("GET", "/v2/").challenge])
    assert "scope" not in found.params
    (found,) = challenges([door.ask("GET", "/v2/_catalog").challenge])
    assert found.scopes == ("registry:catalog:*",)
    (found,) = challenges([door.ask("DELETE", "/v2/team/app/manifests/a").challenge])
    assert found.scopes == ("repository:team/app:delete",)


def test_a_mount_asks_for_the_right_to_pull_from_its_source_too(door):
    target = f"/v2/team/app/blobs/uploads/?mount=sha256:{'a' * 64}&from=shared/base"
    (found,) = challenges([door.ask("POST", target).challenge])
    assert found.scopes == (PUSH, "repository:shared/base:pull")
    token = token_of(door, " ".join(found.scopes), basic("anna"))
    assert door.ask("POST", target, token).status == 200
    source = Need("repository", "shared/base", ("pull",))
    assert door.registry.seen[-1]["orlop.may"](source)
    # Without that right it is an upload, and no mount: the registry asks.
    assert door.ask("POST", target, token_of(door, PUSH, basic("anna"))).status == 200
    assert not door.registry.seen[-1]["orlop.may"](source)


def test_a_token_allows_what_was_asked_for_as_far_as_the_rules_do(door):
    token = token_of(door, PUSH, basic("anna"))
    assert door.ask("GET", "/v2/", token).status == 200
    assert door.ask("PUT", "/v2/team/app/manifests/latest", token).status == 200
    assert door.registry.seen[-1]["orlop.user"] == "anna"
    refused = token_of(door, PUSH, basic("ben"))
    assert claims_of(refused)["access"] == []
    answer = door.ask("PUT", "/v2/team/app/manifests/latest", refused)
    assert (answer.status, answer.code) == (403, "DENIED")


def test_a_token_with_too_little_is_answered_with_what_is_missing(door):
    answer = door.ask("PUT", "/v2/team/app/manifests/latest", token_of(door, PULL, basic("anna")))
    (found,) = challenges([answer.challenge])
    assert answer.status == 401
    assert found.params["error"] == "insufficient_scope"
    assert found.scopes == (PUSH,)


def test_anybody_gets_a_token_for_what_anybody_may(door):
    token = token_of(door, "repository:public/app:pull,push repository:team/app:pull")
    access = [{"type": "repository", "name": "public/app", "actions": ["pull"]}]
    assert claims_of(token)["access"] == access
    assert door.ask("GET", "/v2/public/app/tags/list", token).status == 200
    assert door.ask("GET", "/v2/team/app/tags/list", token).status == 403


def test_nobody_gets_a_token_without_a_password_where_nothing_is_public(tmp_path):
    with guarded(tmp_path, RULES.replace("anonymous = true", 'users = ["*"]') + TOKENS) as door:
        answer = door.ask("GET", "/token?service=registry.test")
        assert (answer.status, answer.challenge) == (401, 'Basic realm="orlop"')


def test_the_catalog_shows_what_the_user_may_pull_whatever_the_token_names(door):
    token = token_of(door, "registry:catalog:*", basic("ben"))
    assert door.ask("GET", "/v2/_catalog", token).status == 200
    may = door.registry.seen[-1]["orlop.may"]
    assert may(Need("repository", "shared/app", ("pull",)))
    assert not may(Need("repository", "team/app", ("pull",)))


def test_a_token_is_had_by_both_forms_with_the_same_answer(door):
    by_get = door.ask("GET", f"/token?{urlencode({'service': 'registry.test', 'scope': PULL})}", basic("anna"))
    fields = {"username": "anna", "password": "secret-a", "client_id": "x", "service": "registry.test", "scope": PULL}
    by_post = post(door, grant_type="password", **fields)
    for answer in (by_get, by_post):
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        document = answer.json
        assert document["token"] == document["access_token"]
        assert document["expires_in"] == 300
        assert document["issued_at"].endswith("Z")
        assert "refresh_token" not in document
        assert door.ask("GET", "/v2/team/app/tags/list", f"Bearer {document['token']}").status == 200


def test_several_scopes_may_stand_in_one_parameter_or_in_several(door):
    query = urlencode([("scope", f"{PULL} repository:shared/a:pull"), ("scope", PUSH)])
    token = door.ask("GET", f"/token?{query}", basic("anna")).json["token"]
    access = {one["name"]: one["actions"] for one in claims_of(token)["access"]}
    assert access == {"team/app": ["pull", "push"], "shared/a": ["pull"]}


def test_a_refresh_token_is_good_until_the_password_changes(door, tmp_path):
    answer = door.ask("GET", "/token?offline_token=true", basic("anna"))
    refresh = answer.json["refresh_token"]
    renewed = post(door, grant_type="refresh_token", refresh_token=refresh, scope=PULL, client_id="x")
    assert door.ask("GET", "/v2/team/app/tags/list", f"Bearer {renewed.json['token']}").status == 200
    # It is for the token server, and for nothing else; and a token is not a refresh token.
    assert door.ask("GET", "/v2/", f"Bearer {refresh}").status == 401
    assert post(door, grant_type="refresh_token", refresh_token=renewed.json["token"]).status == 401
    write_users(tmp_path, {"anna": "another"})
    door.guard.renew(read_settings(str(tmp_path / "access.toml")))
    assert post(door, grant_type="refresh_token", refresh_token=refresh, scope=PULL).status == 401


def test_a_right_that_is_taken_away_is_gone_for_tokens_that_are_out(door, tmp_path):
    token = token_of(door, PUSH, basic("anna"))
    (tmp_path / "access.toml").write_text((RULES + TOKENS).replace('["anna"]', '["ben"]'))
    door.guard.renew(read_settings(str(tmp_path / "access.toml")))
    assert door.ask("GET", "/v2/team/app/tags/list", token).status == 403


def test_tokens_are_good_after_a_restart_and_on_other_servers_with_the_same_key(door, tmp_path):
    token = token_of(door, PULL, basic("anna"))
    assert (tmp_path / "token.key").stat().st_mode & 0o777 == 0o600
    with guarded(tmp_path, RULES + TOKENS) as other:
        assert other.ask("GET", "/v2/team/app/tags/list", token).status == 200
    (tmp_path / "token.key").unlink()
    with guarded(tmp_path, RULES + TOKENS) as other:
        assert other.ask("GET", "/v2/team/app/tags/list", token).status == 401


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/token?service=another", b"", 400),
        ("GET", "/token?service=registry.test&service=registry.test", b"", 400),
        ("GET", "/token?scope=" + "%ff", b"", 400),
        ("GET", "/token?" + "scope=a&" * 500, b"", 400),
        ("GET", "/token?scope=" + "repository:a:pull+" * 100, b"", 401),
        ("GET", f"/token?scope=repository:{'a' * 1000}:pull", b"", 401),
        ("POST", "/token", b"", 400),
        ("POST", "/token", b"grant_type=client_credentials", 400),
        ("POST", "/token", b"grant_type=password", 401),
        ("POST", "/token", b"grant_type=password&username=anna&password=", 401),
        ("POST", "/token", b"grant_type=password&username=anna&password=x", 401),
        ("POST", "/token", b"grant_type=password&username=anna&username=ben&password=x", 400),
        ("POST", "/token", b"grant_type=refresh_token&refresh_token=a.b.c", 401),
        ("POST", "/token", b"grant_type=refresh_token", 401),
        ("POST", "/token", b"\xff\xfe", 400),
        ("POST", "/token", b"a=" + b"x" * 70_000, 413),
        ("PUT", "/token", b"", 405),
    ],
)
def test_a_request_for_a_token_that_is_not_valid_is_refused(door, method, target, body, status):
    assert door.ask(method, target, body=body).status == status
    assert door.ask(method, target, body=body, is_sized=False).status == status
    assert door.registry.seen == []


def test_a_scope_that_says_nothing_gives_nothing(door):
    scopes = ["x", "::", "repository", "repository::pull", "registry:catalog:pull", "repository(plugin):team/app:pull"]
    for scope in scopes:
        assert claims_of(token_of(door, scope, basic("anna")))["access"] == []
    everything = claims_of(token_of(door, "repository:team/app:*", basic("anna")))["access"]
    assert everything[0]["actions"] == ["delete", "pull", "push"]


# Time


def test_a_token_ends_with_some_leeway_for_clocks(door):
    token = token_of(door, PULL, basic("anna"))
    door.clock.seconds += 300 + 59
    assert door.ask("GET", "/v2/team/app/tags/list", token).status == 200
    door.clock.seconds += 2
    answer = door.ask("GET", "/v2/team/app/tags/list", token)
    assert answer.status == 401
    assert challenges([answer.challenge])[0].params["error"] == "invalid_token"


def test_an_upload_may_be_finished_with_the_token_that_began_it_though_it_has_expired(door):
    token = token_of(door, PUSH, basic("anna"))
    door.registry.status, door.registry.headers = 202, [(b"location", b"/v2/team/app/blobs/uploads/0123")]
    assert door.ask("POST", "/v2/team/app/blobs/uploads/", token).status == 202
    door.clock.seconds += 3600
    door.registry.headers = []
    assert door.ask("PATCH", "/v2/team/app/blobs/uploads/0123", token, body=b"abc").status == 202
    # For nothing else, in no other repository, and with no other token.
    assert door.ask("PATCH", "/v2/team/app/blobs/uploads/4567", token).status == 401
    assert door.ask("PATCH", "/v2/team/other/blobs/uploads/0123", token).status == 401
    assert door.ask("PUT", "/v2/team/app/manifests/latest", token).status == 401
    assert door.ask("GET", "/v2/", token).status == 401
    door.registry.status = 201
    assert door.ask("PUT", "/v2/team/app/blobs/uploads/0123?digest=x", token).status == 201
    # Once it is finished it is over.
    assert door.ask("GET", "/v2/team/app/blobs/uploads/0123", token).status == 401


def test_a_session_of_another_token_does_not_make_an_expired_one_good(door):
    old = token_of(door, PUSH, basic("anna"))
    door.clock.seconds += 3600
    door.registry.status, door.registry.headers = 202, [(b"location", b"/v2/team/app/blobs/uploads/0123")]
    door.ask("POST", "/v2/team/app/blobs/uploads/", token_of(door, PUSH, basic("anna")))
    assert door.ask("PATCH", "/v2/team/app/blobs/uploads/0123", old).status == 401


# Tokens that are not valid


def part(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def signed(header, claims, sign):
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{base64.urlsafe_b64encode(sign(text.encode())).rstrip(b'=').decode()}"


def claims_now(door, **changes):
    now = int(door.clock())
    access = [{"type": "repository", "name": "team/app", "actions": ["pull"]}]
    found = {"iss": "registry.test", "sub": "anna", "aud": "registry.test", "exp": now + 300, "access": access}
    found |= changes
    return {name: value for name, value in found.items() if value is not None}


def hmac_with(secret):
    return lambda text: hmac.digest(secret, text, hashlib.sha256)


@pytest.mark.parametrize(
    ("header", "changes"),
    [
        ({}, {}),
        ({"kid": None}, {}),
        ({}, {"aud": ["x", "registry.test"]}),
        ({}, {"nbf": 0}),
    ],
)
def test_a_token_that_was_made_by_hand_with_the_key_is_good(door, tmp_path, header, changes):
    secret = (tmp_path / "token.key").read_bytes().strip()
    headers = {name: value for name, value in ({"alg": "HS256"} | header).items() if value is not None}
    token = signed(headers, claims_now(door, **changes), hmac_with(secret))
    assert door.ask("GET", "/v2/team/app/tags/list", f"Bearer {token}").status == 200


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("header", "changes"),
    [
        ({"alg": "none"}, {}),
        ({"alg": "None"}, {}),
        ({"alg": "HS512"}, {}),
        ({"alg": "RS256"}, {}),
        ({"alg": None}, {}),
        ({"alg": ["HS256"]}, {}),
        ({"crit": ["exp"]}, {}),
        ({"kid": "another"}, {}),
        ({"kid": {"a": 1}}, {}),
        ({}, {"iss": "another"}),
        ({}, {"iss": None}),
        ({}, {"aud": "another"}),
        ({}, {"aud": None}),
        ({}, {"aud": ["another"]}),
        ({}, {"aud": {"registry.test": 1}}),
        ({}, {"exp": None}),
        ({}, {"exp": "1900000000"}),
        ({}, {"exp": True}),
        ({}, {"exp": 1e300}),
        ({}, {"exp": 10**400}),
        ({}, {"exp": -1}),
        ({}, {"exp": float("nan")}),
        ({}, {"exp": float("inf")}),
        ({}, {"exp": 1_700_000_000}),
        ({}, {"nbf": 1_900_000_000}),
        ({}, {"iat": 1_900_000_000}),
        ({}, {"nbf": "soon"}),
        ({}, {"use": "refresh"}),
        ({}, {"access": None}),
        ({}, {"access": "repository:team/app:pull"}),
        ({}, {"access": [{"type": "repository", "name": "team/app", "actions": "pull"}]}),
        ({}, {"access": [{"type": "repository", "name": ["team/app"], "actions": ["pull"]}]}),
        ({}, {"access": ["x", None, 1, {}]}),
        ({}, {"sub": None}),
        ({}, {"sub": 5}),
        ({}, {"sub": "ben"}),
    ],
)
def test_a_token_with_one_thing_wrong_is_not_good_though_the_signature_fits(door, tmp_path, header, changes):
    secret = (tmp_path / "token.key").read_bytes().strip()
    headers = {name: value for name, value in ({"alg": "HS256"} | header).items() if value is not None}
    token = signed(headers, claims_now(door, **changes), hmac_with(secret))
    assert door.ask("GET", "/v2/team/app/tags/list", f"Bearer {token}").status in {401, 403}
    assert door.registry.seen == []


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one[:-2] + ("AA" if one[-2:] != "AA" else "BB"),
        lambda one: one.rpartition(".")[0],
        lambda one: f"{one.rpartition('.')[0]}.",
        lambda one: f"{one}.",
        lambda one: f"{one}.x",
        lambda one: f"a{one}",
        lambda one: one.replace(".", ".."),
        lambda one: f"{one}=",
        lambda one: one.replace(".", ".!", 1),
        lambda one: f"{one.split('.')[0]}.{one.split('.')[0]}.{one.split('.')[2]}",
        lambda _: "..",
        lambda _: "x",
        lambda _: "Ww.Ww.Ww",
        lambda _: ".".join([base64.urlsafe_b64encode(b"[" * 6000).decode().rstrip("=")] * 2 + ["x"]),
        lambda _: "a." * 4000,
    ],
    ids=map(str, range(15)),
)
def test_a_token_that_was_changed_is_not_good(door, change):
    token = token_of(door, PULL, basic("anna")).removeprefix("Bearer ")
    assert door.ask("GET", "/v2/team/app/tags/list", f"Bearer {change(token)}").status == 401


# Another issuer


KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def sign_with(algorithm):
    key = KEYS[algorithm]

    def sign(text):
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(text, padding.PKCS1v15(), hashes.SHA256())
        if isinstance(key, ec.EllipticCurvePrivateKey):
            numbers = utils.decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
            return b"".join(one.to_bytes(32, "big") for one in numbers)
        return key.sign(text)

    return sign


def pem_of(algorithm):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return KEYS[algorithm].public_key().public_bytes(serialization.Encoding.PEM, form)


def number(value, size):
    return base64.urlsafe_b64encode(value.to_bytes(size, "big")).rstrip(b"=").decode()


def jwks():
    rsa_numbers = KEYS["RS256"].public_key().public_numbers()
    ec_numbers = KEYS["ES256"].public_key().public_numbers()
    raw = KEYS["EdDSA"].public_key().public_bytes_raw()
    return {
        "keys": [
            {"kty": "RSA", "kid": "r", "n": number(rsa_numbers.n, 256), "e": number(rsa_numbers.e, 3)},
            {"kty": "EC", "crv": "P-256", "kid": "e", "x": number(ec_numbers.x, 32), "y": number(ec_numbers.y, 32)},
            {"kty": "OKP", "crv": "Ed25519", "kid": "o", "x": base64.urlsafe_b64encode(raw).rstrip(b"=").decode()},
            {"kty": "oct", "kid": "h", "k": "c2VjcmV0"},
            {"kty": "RSA", "kid": "for-encryption", "use": "enc", "n": "AQAB", "e": "AQAB"},
        ]
    }


OTHER = """
[tokens]
realm = "https://auth.test/token"
service = "registry.test"
issuer = "auth.test"
keys = "keys"
"""


@pytest.fixture(params=["set", "pem"])
def foreign(tmp_path, request):
    content = json.dumps(jwks()).encode() if request.param == "set" else b"".join(map(pem_of, KEYS))
    (tmp_path / "keys").write_bytes(content)
    with guarded(tmp_path, OTHER) as found:
        yield found


KIDS = {"RS256": "r", "ES256": "e", "EdDSA": "o"}


@pytest.mark.parametrize("algorithm", KEYS)
def test_tokens_of_another_issuer_are_read_with_its_public_keys(foreign, algorithm):
    header = {"alg": algorithm, "kid": KIDS[algorithm], "typ": "JWT"}
    access = [{"type": "repository", "name": "any/thing", "actions": ["pull", "push"]}]
    claims = claims_now(foreign, iss="auth.test", sub="carla", access=access)
    token = f"Bearer {signed(header, claims, sign_with(algorithm))}"
    assert foreign.ask("PUT", "/v2/any/thing/manifests/latest", token).status == 200
    assert foreign.registry.seen[-1]["orlop.user"] == "carla"
    answer = foreign.ask("DELETE", "/v2/any/thing/manifests/latest", token)
    assert (answer.status, challenges([answer.challenge])[0].params["error"]) == (401, "insufficient_scope")
    # There is no token server here.
    assert foreign.ask("GET", "/token", basic("anna")).status == 401
    assert foreign.ask("GET", "/v2/", basic("anna")).status == 401


@pytest.mark.sampled(2)
@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("claimed", ["HS256", "none", "RS256", "ES256", "EdDSA", "PS256"])
def test_the_key_decides_the_algorithm_and_not_the_token(foreign, algorithm, claimed):
    claims = claims_now(foreign, iss="auth.test")
    public = pem_of(algorithm)
    for sign in (sign_with(algorithm), hmac_with(public), hmac_with(public.strip()), lambda _: b""):
        for kid in ({}, {"kid": KIDS[algorithm]}):
            token = signed({"alg": claimed} | kid, claims, sign)
            good = claimed == algorithm and sign.__code__ is sign_with(algorithm).__code__
            assert foreign.ask("GET", "/v2/", f"Bearer {token}").status == (200 if good else 401)


def test_keys_that_a_token_brings_along_are_not_used(foreign):
    mine = ed25519.Ed25519PrivateKey.generate()
    raw = base64.urlsafe_b64encode(mine.public_key().public_bytes_raw()).rstrip(b"=").decode()
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": raw}
    for extra in ({"jwk": jwk}, {"jku": "http://evil.test/keys"}, {"x5u": "http://evil.test"}, {"x5c": ["AAAA"]}):
        token = signed({"alg": "EdDSA"} | extra, claims_now(foreign, iss="auth.test"), mine.sign)
        assert foreign.ask("GET", "/v2/", f"Bearer {token}").status == 401


def test_rights_written_as_scopes_cover_what_the_registry_needs():
    need = Need("repository", "team/app", ("pull", "push"))
    assert Scope.parse(str(need)) == Scope("repository", "team/app", frozenset({"pull", "push"}))


def test_metrics_are_asked_for_with_a_password_as_well(tmp_path):
    with guarded(tmp_path, RULES + TOKENS) as door:
        assert door.ask("GET", "/metrics").status == 401
        assert door.ask("GET", "/metrics", basic("anna")).status == 200
        assert door.ask("GET", "/metrics", basic("anna", "wrong")).status == 401
        assert door.ask("GET", "/metrics", token_of(door, "repository:team/app:pull", basic("anna"))).status == 200
        # The registry itself asks for tokens.
        assert door.ask("GET", "/v2/", basic("anna")).status == 401
        assert door.ask("GET", "/v2/team/app/tags/list", basic("anna")).status == 401
