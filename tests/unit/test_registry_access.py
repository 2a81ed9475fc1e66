"""Who gets to see credentials, and how a registry and its token server are asked.

A test of every variant looks at all requests that came: to the registry, its token server, and the store.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import InvalidAnswer, RegistryDenied, RegistryError, UnsafeRedirect
from orlop.model.digest import Digest
from orlop.model.reference import Reference
from orlop.registry.access import Wants
from orlop.registry.certificates import HostTrust
from orlop.registry.credentials import Credentials
from orlop.registry.hosts import Hosts, Rule, Server
from orlop.registry.patience import Waiting
from orlop.registry.pushing import BlobPush, Way
from orlop.registry.registries import Registries
from orlop.registry.scopes import Scope
from orlop.registry.transport import HttpTransport
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Failure, Quirks
from tests.unit.faked import LAYER, REPOSITORY, body_of, everywhere, faked, read_all

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.testing.registry.site import Recorded
    from tests.unit.faked import Faked

DIGEST = Digest.of(LAYER)
USERS = {"me": "s3cret"}
ME = Credentials(user="me", password="s3cret", source="a/config.json")
TOKEN = Credentials(identity_token="refresh-s3cret", source="a/config.json")
ACR = Credentials(user="00000000-0000-0000-0000-000000000000", identity_token="refresh-s3cret")
HUB = {"registry": "registry.example.com", "auth": "auth.example.com", "store": "store.cdn.test"}


def secrets_at(requests: Iterable[Recorded], *sites: str) -> set[str]:
    """Return the kinds of authorization that these sites got."""
    found = [one.headers.get("authorization", "") for one in requests if one.site in sites]
    return {one.partition(" ")[0] for one in found if one}


def use(fake: Faked, *, push: bool = True) -> None:
    """Pull what is there, push a blob, and look."""
    fake.image()
    fake.client.get_manifest(REPOSITORY, "1")
    assert read_all(fake.client, LAYER) == LAYER
    if push:
        fake.registry.repository(REPOSITORY).blobs.clear()
        BlobPush(fake.client, REPOSITORY, DIGEST, body_of(LAYER), way=Way.CHUNKED, chunk=300_000).run()
        assert fake.client.has_blob(REPOSITORY, DIGEST)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("credentials", [ME, TOKEN, ACR], ids=["password", "identity token", "both"])
@pytest.mark.parametrize(
    "quirks",
    [
        {},
        {"auth": "both"},
        {"carrier": "token"},
        {"carrier": "access_token"},
        {"expires_in": None},
        {"expires_in": 5},
        {"expires_in": 0},
        {"token_uses": 2},
        {"first_scope_only": True},
        {"challenge_at_root_only": True},
        {"commit_expires": True},
        {"location": "absolute"},
        {"location": "store"},
        {"redirect": 307},
        {"redirect": 307, "redirect_expired": 1},
        {"redirect": 307, "redirect_challenge": True, "anonymous": "pull"},
        {"cut": 300_000, "cuts": 3},
        {"cut": 300_000, "cuts": 2, "redirect": 302, "token_uses": 1},
        {"upload_cut": 500_000, "upload_kept": True},
        {"challenge": 'Negotiate, Basic realm="x", BEARER Realm={realm},service=fake'},
        {"realm": "/token"},
        {"failures": (Failure(503), Failure(429, (("Retry-After", "1"),)))},
    ],
    ids=str,
)
@pytest.mark.parametrize("names", [{}, HUB], ids=["loopback", "hosts"])
def test_a_token_is_had_and_used_where_it_belongs(
    credentials: Credentials, quirks: dict[str, Any], names: dict[str, str]
):
    with faked(credentials, users=USERS, names=names, **({"auth": "bearer"} | quirks)) as fake:
        if quirks.get("realm"):
            # The registry's own path leads to the token server.
            fake.registry.registry.answer = _with_tokens(fake)
        use(fake)
        requests = fake.registry.requests
        store = {"Bearer"} if quirks.get("redirect_challenge") else set()
        assert secrets_at(requests, "store") == store
        given = {one.headers.get("authorization", "at the store") for one in requests if one.site == "store"}
        assert given.isdisjoint({one.headers.get("authorization") for one in requests if one.site == "registry"})
        if not quirks.get("realm"):
            assert secrets_at(requests, "registry") <= {"Bearer"}
        assert "s3cret" not in " ".join(one.target for one in requests)


def _with_tokens(fake: Faked) -> Any:
    usual = fake.registry.registry.answer
    return lambda asked: fake.registry.tokens.answer(asked) if asked.path == "/token" else usual(asked)


@pytest.mark.parametrize(
    ("credentials", "quirks", "methods"),
    [
        (ME, {}, "GET"),
        (ME, {"token_get": 404}, "GET POST"),
        (ME, {"token_get": 405}, "GET POST"),
        (TOKEN, {}, "POST"),
        (ACR, {"token_post": 404}, "POST GET"),
        (ACR, {"token_post": 400}, "POST GET"),
        (ACR, {"token_post": 401}, "POST GET"),
        (ACR, {"token_post": 405}, "POST GET"),
    ],
    ids=str,
)
def test_a_token_server_is_asked_as_it_can_be(credentials: Credentials, quirks: dict[str, Any], methods: str):
    users = USERS | {ACR.user: "s3cret"}
    with faked(credentials, users=users, auth="bearer", **quirks) as fake:
        use(fake, push=False)
        assert " ".join(one.method for one in fake.registry.requests if one.site == "auth") == methods


def test_basic_goes_to_the_registry_alone():
    variants: list[dict[str, Any]] = [{}, {"redirect": 307}, {"location": "store"}]
    for quirks in variants:
        with faked(ME, users=USERS, names=HUB, auth="basic", **quirks) as fake:
            use(fake)
            assert secrets_at(fake.registry.requests, "registry") == {"Basic"}
            assert secrets_at(fake.registry.requests, "store", "auth") == set()


def test_basic_is_asked_for_the_catalog_alone():
    with faked(ME, users=USERS, auth="bearer", catalog_basic=True) as fake:
        use(fake)
        assert list(fake.client.catalog()) == [REPOSITORY]
        use(fake)


def test_a_registry_is_asked_without_credentials_first():
    with faked(ME, users=USERS, auth="bearer") as fake:
        use(fake, push=False)
        first, *others = [one for one in fake.registry.requests if one.site == "registry"]
        assert "authorization" not in first.headers
        assert all("authorization" in one.headers for one in others)
        # One token for all that needs the same rights.
        assert len([one for one in fake.registry.requests if one.site == "auth"]) == 1
        token = next(one for one in fake.registry.requests if one.site == "auth")
        assert token.target == f"/token?service=fake&scope=repository:{REPOSITORY}:pull&account=me"
    with faked(ME, users=USERS) as fake:
        use(fake)
        assert secrets_at(fake.registry.requests, "registry", "auth", "store") == set()


def test_anybody_may_pull_with_a_token_of_their_own():
    with faked(auth="bearer", anonymous="pull") as fake:
        use(fake, push=False)
        assert secrets_at(fake.registry.requests, "auth") == set()
        with pytest.raises(RegistryDenied, match="UNAUTHORIZED"):
            fake.client.start_upload(REPOSITORY)


def test_a_ready_token_is_sent_as_it_is():
    with faked(Credentials(registry_token="made-before"), auth="bearer") as fake:
        fake.image()
        with pytest.raises(RegistryDenied):
            fake.client.get_manifest(REPOSITORY, "1")
        assert fake.registry.requests[1].headers["authorization"] == "Bearer made-before"
        assert [one.site for one in fake.registry.requests] == ["registry", "registry"]


@pytest.mark.parametrize("denied_is_403", [False, True])
def test_too_few_rights_end_soon(denied_is_403: bool):  # noqa: FBT001
    quirks: dict[str, Any] = {"auth": "bearer", "forbidden": (REPOSITORY,), "denied_is_403": denied_is_403}
    with faked(ME, users=USERS, **quirks) as fake:
        fake.image()
        for ask in (lambda: fake.client.get_manifest(REPOSITORY, "1"), lambda: fake.client.start_upload(REPOSITORY)):
            fake.registry.requests.clear()
            with pytest.raises(RegistryDenied) as raised:
                ask()
            assert raised.value.answered == (403 if denied_is_403 else 401)
            assert len(fake.registry.requests) <= 4


def test_rights_that_shrink_end_soon_too():
    with faked(ME, users=USERS, auth="bearer") as fake:
        use(fake)
        fake.quirks(auth="bearer", forbidden=(REPOSITORY,))
        with pytest.raises(RegistryDenied):
            fake.client.get_manifest(REPOSITORY, "1")
        assert len(fake.registry.requests) <= 4


@pytest.mark.parametrize("quirks", [{"auth": "bearer"}, {"auth": "basic"}])
def test_wrong_credentials_are_told_with_their_file(quirks: dict[str, Any]):
    wrong = Credentials(user="me", password="wr0ng", source="a/config.json")
    with faked(wrong, users=USERS, **quirks) as fake:
        fake.image()
        with pytest.raises(RegistryDenied) as raised:
            fake.client.get_manifest(REPOSITORY, "1")
        assert "wr0ng" not in str(raised.value)
        if quirks["auth"] == "bearer":
            assert "gives no token for the credentials of a/config.json" in str(raised.value)
            assert "incorrect username or password" in str(raised.value)
        else:
            assert "it refused the user name and password of a/config.json" in str(raised.value)


def test_a_mount_needs_the_other_repository_too():
    with faked(ME, users=USERS, auth="bearer") as fake:
        fake.registry.add_blob("other/app", LAYER)
        assert fake.client.mount_blob(REPOSITORY, DIGEST, "other/app") is None
        asked = [one.target for one in fake.registry.requests if one.site == "auth"]
        assert asked[-1].count("scope=") == 2
        assert f"scope=repository:{REPOSITORY}:pull,push&scope=repository:other/app:pull" in asked[-1]


def test_a_mount_that_is_not_allowed_becomes_an_upload():
    variants: list[dict[str, Any]] = [{"all_or_nothing": True}, {}, {"first_scope_only": True}]
    for quirks in variants:
        with faked(ME, users=USERS, auth="bearer", forbidden=("other/app",), **quirks) as fake:
            fake.registry.add_blob("other/app", LAYER)
            upload = fake.client.mount_blob(REPOSITORY, DIGEST, "other/app")
            assert upload is not None
            upload.commit(DIGEST, body_of(LAYER))
            assert fake.client.has_blob(REPOSITORY, DIGEST)


# Where credentials must not go.


@pytest.mark.parametrize(
    ("names", "realms", "sent"),
    [
        ({"auth": "auth.example.com"}, (), True),
        ({"auth": "evil.test"}, (), False),
        ({"auth": "example.com.evil.test"}, (), False),
        ({"registry": "a.azurecr.io", "auth": "b.azurecr.io"}, (), False),
        ({"auth": "login.example.org"}, ("http://login.example.org:{port}/",), True),
        ({"auth": "login.example.org"}, ("http://login.example.org/",), False),
        ({"auth": "login.example.org"}, ("http://login.example.org:{port}/x",), False),
        ({"auth": "evil.test"}, ("http://login.example.org:{port}/",), False),
    ],
)
@pytest.mark.parametrize("credentials", [ME, TOKEN], ids=["password", "identity token"])
def test_credentials_go_to_a_token_server_of_the_same_site_or_of_ones_choice(
    credentials: Credentials,
    names: dict[str, str],
    realms: tuple[str, ...],
    sent: bool,  # noqa: FBT001
):
    # CVE-2019-10214: a registry names a token server, which gets the password.
    names = {"registry": "registry.example.com"} | names
    with faked(credentials, users=USERS, names=names, auth="bearer", anonymous="pull") as fake:
        fake.client.exchange.access._realms = tuple(one.format(port=fake.registry.auth.port) for one in realms)
        use(fake, push=False)
        got = [one for one in fake.registry.requests if one.site == "auth"]
        assert got
        assert any("authorization" in one.headers or one.received for one in got) is sent
        if not sent:
            with pytest.raises(RegistryDenied, match="which is another site"):
                fake.client.start_upload(REPOSITORY)
            assert not any("authorization" in one.headers or one.received for one in fake.registry.requests[-2:-1])


@pytest.mark.parametrize(
    "realm",
    [
        "http://169.254.169.254/token",
        "http://127.0.0.1:1/token",
        "http://localhost/token",
        "http://[::1]/token",
        "file:///etc/passwd",
        "http://auth.example.com@evil.test/token",
        r"http://auth.example.com\@evil.test/token",
    ],
)
def test_a_realm_where_nothing_may_go_is_not_asked(realm: str):
    with faked(ME, users=USERS, names=HUB, auth="bearer", realm=realm) as fake:
        fake.image()
        with pytest.raises(UnsafeRedirect):
            fake.client.get_manifest(REPOSITORY, "1")
        assert [one.site for one in fake.registry.requests] == ["registry"]


def test_a_challenge_without_a_realm_is_told():
    with faked(ME, users=USERS, auth="bearer", challenge='Bearer service="s"') as fake:
        fake.image()
        with pytest.raises(InvalidAnswer, match="does not say where to get one"):
            fake.client.get_manifest(REPOSITORY, "1")


def test_a_token_server_that_redirects_takes_nobody_along():
    with faked(ME, users=USERS, names=HUB, auth="bearer") as fake:
        fake.image()
        fake.quirks(auth="bearer", token_redirect=f"{fake.registry.store.url}/steal")
        with pytest.raises(UnsafeRedirect, match="these credentials do not belong"):
            fake.client.get_manifest(REPOSITORY, "1")
        assert not [one for one in fake.registry.requests if one.site == "store"]


def test_a_token_does_not_follow_a_redirection_back_to_the_registry_of_another_name():
    # The same server by another name is another origin.
    with faked(ME, users=USERS, names=HUB, auth="bearer", redirect=307) as fake:
        use(fake, push=False)
        assert secrets_at(fake.registry.requests, "store") == set()
        assert {one.headers["host"] for one in fake.registry.requests if one.site == "store"} == {
            f"store.cdn.test:{fake.registry.store.port}"
        }


def test_a_mirror_gets_nothing_of_its_upstream():
    class Keys:
        """Knows the upstream only, and what it was asked for."""

        def __init__(self) -> None:
            self.asked: list[str] = []

        def find(self, name: Reference) -> Credentials | None:
            self.asked.append(name.domain)
            return ME if name.domain == "docker.io" else None

        def forget(self) -> None:
            pass

    keys = Keys()
    transport = HttpTransport(HostTrust(), resolve=everywhere)
    with FakeRegistry(Quirks(auth="basic"), users=USERS, names={"registry": "mirror.test"}) as mirror:
        mirror.add_manifest("hub/library/alpine", b"{}", "x", tag="1")
        server = Server(location=f"{mirror.authority}/hub", plain_http=True, namespace=True)
        hosts = Hosts([Rule(prefix="docker.io", mirrors=(server,))])
        registries = Registries(transport, keychain=keys, hosts=hosts, waiting=Waiting())
        (client, repository), upstream = registries.to_pull(Reference.parse("alpine:1"))
        assert (repository, upstream[0].host) == ("hub/library/alpine", "registry-1.docker.io")
        with pytest.raises(RegistryDenied):
            client.get_manifest(repository, "1")
        assert keys.asked == [mirror.authority]
        assert secrets_at(mirror.requests, "registry") == set()
        assert "ns=docker.io" in mirror.requests[0].target
    transport.close()


@pytest.mark.sampled(2)
def test_secrets_are_in_no_message_no_log_and_no_text(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    everywhere_else: dict[str, Any] = {"auth": "bearer", "location": "store", "redirect": 307}
    for quirks in ({"auth": "basic"}, {"auth": "bearer"}, everywhere_else):
        for credentials in (ME, TOKEN, Credentials(user="me", password="wr0ng-s3cret")):
            with faked(credentials, users=USERS, warning='299 - "see http://x:s3cret@y.test/"', **quirks) as fake:
                try:
                    use(fake)
                    access = fake.client.exchange.access
                    held = [one.header.partition(" ")[2] for one in access._held]
                    upload = fake.client.start_upload(REPOSITORY)
                    shown += [repr(upload.state), repr(access), str(vars(upload.state.__class__))]
                    assert not [one for one in held if one in " ".join(shown) + caplog.text]
                except RegistryError as error:
                    shown += [str(error), repr(error)]
                shown += [repr(credentials), *fake.warnings]
    assert shown
    assert "s3cret" not in " ".join(shown)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_helper_is_asked_again_when_what_it_gave_is_old(auth: str):
    with faked(users=USERS, auth=auth) as fake:
        access = fake.client.exchange.access
        given = [Credentials(user="me", password="of yesterday"), ME]
        access._find = lambda: given[0]
        access._renew = lambda: given[1]
        use(fake, push=False)
        assert access.credentials == ME


def test_what_a_request_needs_is_of_a_kind():
    assert Wants((Scope.parse("registry:catalog:*"),)).kind == Wants().kind == "registry"


def test_a_login_that_was_never_sent_has_not_succeeded():
    names = {"registry": "registry.example.com", "auth": "auth.other.test"}
    with faked(ME, users=USERS, names=names, auth="bearer", anonymous="pull") as fake:
        with pytest.raises(RegistryDenied, match=r"its credentials were not sent to http://auth\.other\.test"):
            fake.client.log_in()
        assert secrets_at(fake.registry.requests, "auth") == set()
    for auth in ("basic", "bearer"):
        with faked(ME, users=USERS, names=HUB, auth=auth) as fake:
            assert fake.client.log_in()
    with faked(ME, users=USERS) as fake:
        assert not fake.client.log_in()


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_login_that_is_refused_says_what_to_give(auth: str):
    wrong = Credentials(user="me", password="another", source="a/config.json")
    with faked(wrong, auth=auth, users=USERS) as fake:
        with pytest.raises(RegistryDenied, match=fake.client.host) as found:
            fake.client.log_in()
        assert "log in," not in str(found.value)


def test_a_way_in_that_is_not_known_is_named():
    failure = Failure(401, headers=(("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", "NTLM")))
    with faked(failures=(failure,) * 9) as fake, pytest.raises(RegistryDenied, match="asks for negotiate, ntlm"):
        fake.client.get_manifest(REPOSITORY, "1")
