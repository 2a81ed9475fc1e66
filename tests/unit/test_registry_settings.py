"""Files that say who somebody is to registries, whom to trust, and where names are pulled from."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import InvalidReference, InvalidSettings, RegistryDenied
from orlop.model.dialect import Dialect
from orlop.model.reference import Reference
from orlop.registry import authfiles
from orlop.registry.authfiles import AuthFiles, search_order
from orlop.registry.certificates import ClientCertificates, HostTrust, directories
from orlop.registry.helpers import Helpers
from orlop.registry.hostfiles import rules_in, rules_of_containers
from orlop.registry.hosts import Hosts, Rule, Server
from orlop.registry.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[1] / "data" / "registry"
LOOKUPS = [json.loads(line) for line in (DATA / "config-lookup.jsonl").read_text().splitlines()]

HELPER = """#!/bin/sh
read server
echo "$0 $1 $server $PWD" >> "$LOG"
case "$1 $server" in
  "get ecr.test") echo '{"ServerURL":"ecr.test","Username":"AWS","Secret":"of-the-hour"}' ;;
  "get token.test") echo '{"Username":"<token>","Secret":"refresh-me"}' ;;
  "get none.test") echo 'credentials not found in native keychain'; exit 1 ;;
  "get odd.test") echo '{"Username":7}' ;;
  "get slow.test") exec sleep 60 ;;
  store*) echo "cannot keep $server"; exit 1 ;;
  *) echo 'the keychain is locked'; exit 2 ;;
esac
"""


@pytest.fixture
def helpers(tmp_path: Path) -> Helpers:
    program = tmp_path / "bin" / "docker-credential-fake-ecr"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "LOG": str(tmp_path / "log")}
    return Helpers(["", str(tmp_path / "nowhere"), str(program.parent)], environment)


def written(path: Path, document: object) -> str:
    path.write_text(json.dumps(document))
    return str(path)


@pytest.mark.parametrize("case", LOOKUPS, ids=lambda case: case["image"])
def test_credentials_are_found_for_the_most_special_key(case: dict[str, Any], helpers: Helpers, tmp_path: Path):
    keychain = AuthFiles([str(tmp_path / "not there"), str(DATA / "config.json")], helpers)
    name = Reference.parse(case["image"])
    if "error" in case:
        with pytest.raises(InvalidSettings, match="base64"):
            keychain.find(name)
        return
    found = keychain.find(name)
    if case.get("anonymous"):
        assert found is None
    elif "helper" in case:
        assert found is not None
        assert (found.user, found.password) == ("AWS", "of-the-hour")
        assert "fake-ecr get ecr.test" in (tmp_path / "log").read_text()
    else:
        assert found is not None
        assert found.identity_token == case.get("identity_token", "")
        assert (found.user, found.password) == (case.get("username", found.user), case.get("password", ""))
        assert found.source == str(DATA / "config.json")
        assert not {found.password, found.identity_token} & {*repr(found).replace("'", " ").split()} - {""}


def test_the_first_file_that_knows_a_host_is_the_answer(helpers: Helpers, tmp_path: Path):
    first = written(tmp_path / "auth.json", {"auths": {"a.test": {"username": "a", "password": "1"}}})
    second = written(
        tmp_path / "config.json",
        {"auths": {"a.test": {"username": "x", "password": "x"}, "b.test": {"registrytoken": "ready"}}},
    )
    given = json.dumps({"auths": {"c.test": {"auth": "YzoyOjM="}}})
    keychain = AuthFiles([first, second], helpers, given=given)
    found = [keychain.find(Reference.parse(f"{host}.test/x")) for host in "abcd"]
    assert [one and (one.user, one.password, one.registry_token) for one in found] == [
        ("a", "1", ""), ("", "", "ready"), ("c", "2:3", ""), None,
    ]  # fmt: skip


@pytest.mark.parametrize("content", ["[]", "{", '{"auths": 7}', '{"auths": {"a.test": 7}}', "[" * 100_000])
def test_a_file_of_credentials_that_is_none_is_named(content: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InvalidSettings, match=r"config\.json"):
        AuthFiles([str(tmp_path / "config.json")], Helpers()).find(Reference.parse("a.test/x"))


def test_a_helper_is_asked_once_by_the_name_that_was_given_at_login(helpers: Helpers, tmp_path: Path):
    config = {"credsStore": "fake-ecr", "credHelpers": {"none.test": "fake-ecr"}, "auths": {"ecr.test": {}}}
    keychain = AuthFiles([written(tmp_path / "config.json", config)], helpers)
    for _ in range(2):
        found = keychain.find(Reference.parse("ecr.test/x"))
        assert found is not None
        assert found.source == "docker-credential-fake-ecr"
    assert keychain.find(Reference.parse("none.test/x")) is None
    token = keychain.find(Reference.parse("token.test/x"))
    assert token is not None
    assert (token.user, token.identity_token) == ("", "refresh-me")
    with pytest.raises(InvalidSettings, match="the keychain is locked"):
        keychain.find(Reference.parse("alpine"))
    asked = [line.removeprefix(str(tmp_path)).split()[1:3] for line in (tmp_path / "log").read_text().splitlines()]
    assert asked == [
        ["get", "ecr.test"], ["get", "none.test"], ["get", "token.test"], ["get", "https://index.docker.io/v1/"],
    ]  # fmt: skip
    keychain.forget()
    keychain.find(Reference.parse("ecr.test/x"))
    assert len((tmp_path / "log").read_text().splitlines()) == 5


def test_an_entry_with_credentials_is_used_before_the_helper_of_all_hosts(helpers: Helpers, tmp_path: Path):
    auths = {"ecr.test": {"username": "a", "password": "1"}, "ecr.test/team": {"username": "b", "password": "2"}}
    config = {"credsStore": "fake-ecr", "auths": auths}
    keychain = AuthFiles([written(tmp_path / "config.json", config)], helpers)
    found = [keychain.find(Reference.parse(f"ecr.test/{path}")) for path in ("x", "team/x")]
    assert [one and one.user for one in found] == ["a", "b"]
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("not-there", "is not installed"),
        ("../bin/evil", "is not the name of a credential helper"),
        ("-x", "is not the name of a credential helper"),
        ("a b", "is not the name of a credential helper"),
    ],
)
def test_a_helper_that_is_none_is_not_run(name: str, why: str, helpers: Helpers):
    with pytest.raises(InvalidSettings, match=why):
        helpers.get(name, "ecr.test")


def test_a_helper_that_answers_nonsense_or_never_is_named(helpers: Helpers):
    with pytest.raises(InvalidSettings, match="does not answer with credentials"):
        helpers.get("fake-ecr", "odd.test")
    helpers._timeout = 0.2
    with pytest.raises(InvalidSettings, match="does not end within"):
        helpers.get("fake-ecr", "slow.test")


def test_what_a_helper_is_to_keep_is_in_no_message_and_no_argument(helpers: Helpers, tmp_path: Path):
    with pytest.raises(InvalidSettings) as raised:
        helpers.store("fake-ecr", "a.test", "me", "s3cr3t")
    assert "s3cr3t" not in str(raised.value)
    # The script logs what it read on its standard input, behind its arguments.
    assert "/docker-credential-fake-ecr store " in (tmp_path / "log").read_text()
    assert "s3cr3t" in (tmp_path / "log").read_text()


def test_files_are_looked_for_where_skopeo_and_docker_look():
    assert search_order({"REGISTRY_AUTH_FILE": "/r"}, home="/h", user=7, authfile="/one") == ("/one",)
    assert search_order(
        {"REGISTRY_AUTH_FILE": "/r", "XDG_RUNTIME_DIR": "/run/user/7", "DOCKER_CONFIG": "/d"}, home="/h", user=7
    ) == (
        "/r",
        "/run/user/7/containers/auth.json",
        "/h/.config/containers/auth.json",
        "/d/config.json",
        "/h/.dockercfg",
    )
    assert search_order({"XDG_RUNTIME_DIR": "/run/user/0"}, home="/root", user=0)[0] == "/run/containers/0/auth.json"


# Hosts.


def names_of(hosts: Hosts, text: str) -> list[str]:
    return [f"{one.endpoint.origin} {one.repository}" for one in hosts.to_pull(Reference.parse(text))]


def test_without_rules_a_name_is_where_it_says():
    assert names_of(Hosts(), "alpine:1") == ["https://registry-1.docker.io library/alpine"]
    assert names_of(Hosts(), "r.test:5000/a/b") == ["https://r.test:5000 a/b"]
    assert [one.endpoint.may_be_plain for one in Hosts().to_pull(Reference.parse("r.test/a"))] == [False]
    assert [one.endpoint.may_be_plain for one in Hosts().to_pull(Reference.parse("localhost:5000/a"))] == [True]


def test_a_name_without_a_registry_is_in_none_unless_a_rule_gives_it_a_place():
    name = Reference.parse("my_team.dev/app:1")
    for attempt in (Hosts().to_pull, Hosts().to_push, Hosts([Rule(prefix="my_team.dev")]).to_push):
        with pytest.raises(
            InvalidReference, match=r"my_team\.dev/app is in no registry: 'my_team\.dev' cannot be a host"
        ):
            attempt(name)
    moved = Hosts([Rule(prefix="my_team.dev", server=Server(location="r.test/team"))])
    assert names_of(moved, "my_team.dev/app") == ["https://r.test team/app"]
    with pytest.raises(InvalidSettings, match="no '_'"):
        Server(location="my_team.dev")


@pytest.mark.parametrize(
    ("host", "may_be"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9:5000", True),
        ("[::1]:5000", True),
        ("registry.localhost", True),
        ("10.0.0.1:5000", False),
        ("192.168.1.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("[::2]:5000", False),
    ],
)
def test_plain_http_may_be_spoken_to_this_machine_alone_without_a_rule(host: str, *, may_be: bool):
    (place,) = [Hosts().to_push(Reference.parse(f"{host}/a", dialect=Dialect.ENGINE_29))]
    assert (place.endpoint.may_be_plain, place.endpoint.verify) == (may_be, True)


OURS = """
[[registry]]
prefix = "docker.io"
location = "hub.example.com/cache"
[[registry.mirror]]
location = "mirror.example.com:5000/hub"
plain-http = true
namespace = true
[[registry.mirror]]
location = "digests.example.com"
pull = "digest-only"

[[registry]]
prefix = "docker.io/library/secret"
blocked = true

[[registry]]
prefix = "plain.test"
plain-http = true
token-realms = ["https://login.example.org/"]

[[registry]]
prefix = "*.corp.test"
location = "corp.example.com/all"

[[registry]]
prefix = "quay.io/team"
verify = false
"""


def test_a_file_of_our_own_says_where_names_are(tmp_path: Path):
    (tmp_path / "registries.toml").write_text(OURS)
    hosts = Hosts(rules_in(str(tmp_path / "registries.toml")))
    assert names_of(hosts, "alpine:1") == [
        "http://mirror.example.com:5000 hub/library/alpine",
        "https://hub.example.com cache/library/alpine",
    ]
    digest = f"alpine@sha256:{'a' * 64}"
    assert names_of(hosts, digest)[1] == "https://digests.example.com library/alpine"
    mirror, *_, last = hosts.to_pull(Reference.parse("alpine:1"))
    assert mirror.endpoint.namespace == "docker.io"
    assert str(mirror.name) == "mirror.example.com:5000/hub/library/alpine:1"  # whose credentials are looked for
    assert hosts.to_push(Reference.parse("alpine:1")) == last
    for verb in (hosts.to_pull, hosts.to_push):
        with pytest.raises(RegistryDenied, match=r"blocks docker\.io/library/secret"):
            verb(Reference.parse("secret:1"))
    assert names_of(hosts, "secrets:1")[-1] == "https://hub.example.com cache/library/secrets"
    plain = hosts.to_push(Reference.parse("plain.test/a"))
    assert (str(plain.endpoint.origin), plain.endpoint.token_realms) == (
        "http://plain.test",
        ("https://login.example.org/",),
    )
    assert names_of(hosts, "a.b.corp.test/x:1") == ["https://corp.example.com all/x"]
    assert hosts.to_push(Reference.parse("quay.io/team/x")).endpoint.verify is False
    assert hosts.to_push(Reference.parse("quay.io/teams/x")).endpoint.verify is True


THEIRS = """
unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "example.com/foo"
location = "internal.example.net/bar"
insecure = true
mirror-by-digest-only = true
[[registry.mirror]]
location = "mirror.example.net/foo"
[[registry]]
location = "two.test"
[[registry.mirror]]
location = "tags.test"
pull-from-mirror = "tag-only"
[[registry]]
prefix = "*.blocked.test"
blocked = true
"""


def test_registries_conf_of_podman_and_skopeo_is_understood(tmp_path: Path):
    (tmp_path / "registries.conf").write_text(THEIRS)
    hosts = Hosts(rules_of_containers(str(tmp_path / "registries.conf")))
    assert names_of(hosts, "example.com/foo/x:1") == ["https://internal.example.net bar/x"]
    by_digest = f"example.com/foo/x@sha256:{'a' * 64}"
    assert names_of(hosts, by_digest)[0] == "https://mirror.example.net foo/x"
    place = hosts.to_push(Reference.parse("example.com/foo/x"))
    assert (place.endpoint.verify, place.endpoint.may_be_plain) == (False, True)
    assert names_of(hosts, "two.test/x:1") == ["https://tags.test x", "https://two.test x"]
    assert names_of(hosts, f"two.test/x@sha256:{'a' * 64}") == ["https://two.test x"]
    with pytest.raises(RegistryDenied):
        hosts.to_pull(Reference.parse("a.blocked.test/x"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[registry]", "list of tables"),
        ("[[registries]]", "write"),
        ('[[registry]]\nprefix = "a.test"\nblockd = true', "no setting 'blockd'"),
        ('[[registry]]\nprefix = "a.test"\nblocked = "yes"', "not a bool"),
        ("[[registry]]\nblocked = true", "no prefix"),
        ('[[registry]]\nprefix = "a test"', "not a prefix"),
        ('[[registry]]\nprefix = "a.test"\nlocation = "mirror/x"', "not a location"),
        ('[[registry]]\nprefix = "a.test"\nlocation = "https://b.test"', "not a location"),
        ('[[registry]]\nprefix = "*.a.test"\nplain-http = true', "needs a location"),
        ('[[registry]]\nprefix = "a.test"\n[[registry.mirror]]\nlocation = "b.test"\npull = "some"', "digest-only"),
        ('[[registry]]\nprefix = "a.test"\n[[registry.mirror]]\n', "no location"),
        ("[[registry", "not valid TOML"),
    ],
)
def test_a_mistake_in_a_file_of_registries_is_named(content: str, why: str, tmp_path: Path):
    (tmp_path / "registries.toml").write_text(content)
    with pytest.raises(InvalidSettings, match=why):
        rules_in(str(tmp_path / "registries.toml"))


def test_a_file_of_registries_that_is_not_there_has_no_rules(tmp_path: Path):
    assert rules_in(str(tmp_path / "none")) == rules_of_containers(str(tmp_path / "none")) == ()


def test_the_longest_prefix_counts():
    rules = [Rule(prefix="a.test", blocked=True), Rule(prefix="a.test/b", server=Server(location="c.test/d"))]
    for given in (rules, rules[::-1]):
        assert names_of(Hosts(given), "a.test/b/x") == ["https://c.test d/x"]
        with pytest.raises(RegistryDenied):
            Hosts(given).to_pull(Reference.parse("a.test/bx"))


# Certificates.


def test_a_host_in_any_case_is_the_same_host():
    mirror = Server(location="M.test/Cache".lower().replace("m", "M", 1))
    hosts = Hosts(
        [
            Rule(prefix="a.test", blocked=True),
            Rule(prefix="*.B.test", blocked=True),
            Rule(prefix="C.test/team", server=Server(location="c.test/team", verify=False), mirrors=(mirror,)),
            Rule(prefix="docker.io/library", blocked=True),
        ]
    )
    for name in ("A.test/x", "a.TEST/x", "x.B.TEST/y", "x.b.test/y", "Docker.io/alpine", "DOCKER.IO/library/alpine"):
        with pytest.raises(RegistryDenied, match="blocks"):
            hosts.to_pull(Reference.parse(name))
    for name in ("c.test/team/x", "C.TEST/team/x"):
        first, last = hosts.to_pull(Reference.parse(name))
        assert (first.name.name, last.name.name) == ("m.test/cache/x", "c.test/team/x")
        assert not last.endpoint.verify


def test_a_client_certificate_needs_its_key(tmp_path: Path):
    folder = tmp_path / "r.test:5000"
    folder.mkdir()
    (folder / "ca.crt").touch()
    (folder / "me.cert").touch()
    with pytest.raises(InvalidSettings, match=r"needs me\.key"):
        ClientCertificates.beside([str(tmp_path)], "r.test:5000")
    (folder / "me.key").touch()
    found = ClientCertificates.beside([str(tmp_path / "none"), str(tmp_path)], "r.test:5000")
    assert [Path(path).name for path in found.authorities] == ["ca.crt"]
    assert [(Path(one).name, Path(other).name) for one, other in found.pairs] == [("me.cert", "me.key")]
    with pytest.raises(InvalidSettings, match=r"ca\.crt"):
        HostTrust([str(tmp_path)]).context(Origin("https", "r.test", 5000))
    assert ClientCertificates.beside([str(tmp_path)], "r.test") == ClientCertificates()


def test_only_a_host_that_was_named_is_not_verified():
    trust = HostTrust(unverified=["a.test:5000"])
    modes: Callable[[str], ssl.VerifyMode] = lambda host: trust.context(Origin("https", host, 5000)).verify_mode  # noqa: E731
    assert modes("a.test") is ssl.CERT_NONE
    assert modes("b.test") is ssl.CERT_REQUIRED
    b = Origin("https", "b.test", 5000)
    assert trust.context(b, verify=False).verify_mode is ssl.CERT_NONE
    assert trust.context(b).verify_mode is ssl.CERT_REQUIRED
    assert trust.context(Origin("https", "c.test", 443)).check_hostname


def test_certificates_are_where_podman_and_docker_keep_them():
    machine = ("/etc/containers/certs.d", "/etc/docker/certs.d")
    assert directories("/root", 0) == ("/root/.config/containers/certs.d", *machine)
    assert directories("/h", 7) == ("/h/.config/containers/certs.d", "/h/.config/docker/certs.d", *machine)


def test_a_variable_that_is_not_utf_8_is_told():
    with pytest.raises(InvalidSettings, match="DOCKER_AUTH_CONFIG is not valid JSON"):
        AuthFiles([], Helpers(), given="\udcff").find(Reference.parse("registry.example.com/app"))


@pytest.mark.needs("an ordinary user")
@pytest.mark.parametrize("named", [True, False])
def test_a_folder_of_all_users_that_root_has_closed_keeps_nobody_from_a_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    closed = tmp_path / "containers"
    path = closed / str(os.geteuid()) / "auth.json"
    own = tmp_path / "config.json"
    own.write_text('{"auths": {"example.com": {"username": "me", "password": "x"}}}')
    path.parent.mkdir(parents=True)
    closed.chmod(0)
    if not named:
        monkeypatch.setattr(authfiles, "_SHARED", str(closed))
    files = AuthFiles([str(path), str(own)], Helpers())
    try:
        if named:
            with pytest.raises(InvalidSettings, match="cannot read"):
                files.find(Reference.parse("example.com/a"))
        else:
            found = files.find(Reference.parse("example.com/a"))
            assert found is not None
            assert found.user == "me"
    finally:
        closed.chmod(0o700)
    assert files.find(Reference.parse("example.com/a"))


@pytest.mark.needs("an ordinary user")
@pytest.mark.parametrize("name", ["of the user, alone", "of root"])
def test_a_file_of_the_folder_of_all_users_that_somebody_named_is_not_passed_over(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "containers"
    monkeypatch.setattr(authfiles, "_SHARED", str(closed))
    of_root, own = closed / "0" / "auth.json", closed / str(os.geteuid()) / "auth.json"
    closed.mkdir(mode=0)
    files = AuthFiles([str(own)] if name == "of the user, alone" else [str(of_root), str(own)], Helpers())
    try:
        with pytest.raises(InvalidSettings, match="cannot read"):
            files.find(Reference.parse("example.com/a"))
    finally:
        closed.chmod(0o700)
