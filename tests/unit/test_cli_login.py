"""`orlop login` and `orlop logout`, and what the environment says of registries."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from orlop.cli import network
from orlop.errors import InvalidSettings
from orlop.model.reference import Reference
from orlop.registry.access import to_push
from orlop.registry.authfiles import AuthFiles
from orlop.registry.credentials import Credentials
from orlop.registry.helpers import Helpers
from orlop.registry.logins import LoginFile
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "s3cret with spaces: and ünïcode"


def run(home: Path, *arguments: str, typed: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run"), "PATH": f"{home}/bin:/usr/bin:/bin"}
    environment |= {"LANG": "C.UTF-8", **more}
    argv = [sys.executable, "-m", "orlop", *arguments]
    return subprocess.run(argv, input=typed, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(params=["basic", "bearer"])
def registry(request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
    with FakeRegistry(Quirks(auth=request.param), users={"me": PASSWORD}) as found:
        yield found


def config_of(home: Path) -> Any:
    return json.loads((home / ".docker" / "config.json").read_text())


@pytest.mark.sampled(2)
def test_a_login_is_checked_kept_used_and_forgotten(registry: FakeRegistry, tmp_path: Path):
    host = registry.authority
    wrong = run(tmp_path, "login", "-u", "me", "--password-stdin", host, typed="wr0ng\n")
    assert wrong.returncode == 1
    assert "wr0ng" not in wrong.stderr + wrong.stdout
    assert not (tmp_path / ".docker").exists()
    done = run(tmp_path, "login", "-u", "me", "--password-stdin", f"https://{host}/v2/", typed=f"{PASSWORD}\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Login Succeeded: kept in {tmp_path}/.docker/config.json\n"
    auth = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert config_of(tmp_path) == {"auths": {host: {"auth": auth}}}
    assert stat.S_IMODE((tmp_path / ".docker" / "config.json").stat().st_mode) == 0o600
    with network.registries({"HOME": str(tmp_path)}) as registries:
        client, repository = registries.to_push(Reference.parse(f"{host}/a/b"))
        client.start_upload(repository)
        assert client.exchange.access.header(to_push(repository))
    for words in (f"Removing login credentials for {host}\n", f"Not logged in to {host}\n"):
        assert run(tmp_path, "logout", host).stdout == words
    assert config_of(tmp_path) == {"auths": {}}


def test_a_registry_that_asks_nobody_is_told(tmp_path: Path):
    with FakeRegistry() as registry:
        done = run(tmp_path, "login", "-u", "me", "--password-stdin", registry.authority, typed="x")
    assert done.returncode == 0
    assert "did not ask who you are" in done.stderr


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("arguments", "typed", "status", "why"),
    [
        (("--password-stdin", "r.test"), "x", 2, "needs --username"),
        (("-u", "me", "r.test"), "x", 2, "without a terminal"),
        (("-u", "m:e", "--password-stdin", "r.test"), "x", 3, "without a colon"),
        (("-u", "me", "--password-stdin", "r.test"), "", 3, "password"),
        (("-u", "me", "--password-stdin", "registry"), "x", 3, "not a registry"),
    ],
)
def test_what_is_missing_for_a_login_is_told(
    arguments: tuple[str, ...], typed: str, status: int, why: str, tmp_path: Path
):
    done = run(tmp_path, "login", *arguments, typed=typed)
    assert done.returncode == status
    assert why in done.stderr


def test_what_else_stands_in_a_file_stays(tmp_path: Path):
    target = tmp_path / "real.json"
    target.write_text('{"HttpHeaders": {"X": "ü"}, "auths": {"https://r.test/v1/": {"auth": "eDp5"}, "r.test/a": {}}}')
    path = tmp_path / "config.json"
    path.symlink_to(target)
    file = LoginFile(str(path), Helpers())
    assert file.knows("r.test")
    assert not file.knows("other.test")
    file.keep("r.test", Credentials(user="me", password="x"))
    assert path.is_symlink()
    assert json.loads(target.read_text()) == {
        "HttpHeaders": {"X": "ü"},
        "auths": {"r.test/a": {}, "r.test": {"auth": "bWU6eA=="}},
    }
    assert file.drop("r.test")
    assert {*tmp_path.iterdir()} == {target, path}


def test_docker_hub_has_the_key_that_docker_gives_it(tmp_path: Path):
    file = LoginFile(str(tmp_path / "config.json"), Helpers())
    file.keep("docker.io", Credentials(user="me", password="x"))
    assert [*json.loads((tmp_path / "config.json").read_text())["auths"]] == ["https://index.docker.io/v1/"]
    assert file.drop("docker.io")


def test_a_helper_that_the_file_names_keeps_the_login(tmp_path: Path):
    program = tmp_path / "docker-credential-kept"
    program.write_text(f'#!/bin/sh\necho "$1" >> "{tmp_path}/log"\ncat >> "{tmp_path}/log"\n')
    program.chmod(0o755)
    path = tmp_path / "config.json"
    path.write_text('{"credsStore": "kept"}')
    file = LoginFile(str(path), Helpers([str(tmp_path)], {"PATH": os.environ["PATH"]}))
    assert file.keep("r.test", Credentials(user="me", password="s3cret")) == "docker-credential-kept"
    assert json.loads(path.read_text()) == {"credsStore": "kept", "auths": {"r.test": {}}}
    assert file.drop("r.test")
    told = (tmp_path / "log").read_text()
    assert told == 'store\n{"ServerURL": "r.test", "Username": "me", "Secret": "s3cret"}erase\nr.test'


def test_the_environment_says_where_mirrors_are(tmp_path: Path):
    own = tmp_path / ".config" / "orlop" / "registries.toml"
    theirs = tmp_path / ".config" / "containers" / "registries.conf"
    part = tmp_path / ".config" / "containers" / "registries.conf.d" / "one.conf"
    for path in (own, theirs, part):
        path.parent.mkdir(parents=True, exist_ok=True)
    own.write_text('[[registry]]\nprefix = "a.test"\nlocation = "own.test"\n')
    theirs.write_text('[[registry]]\nprefix = "a.test"\nlocation = "theirs.test"\n')
    part.write_text('[[registry]]\nprefix = "b.test"\nlocation = "part.test"\n')
    hosts = network.hosts({"HOME": str(tmp_path)})
    found = [str(hosts.to_push(Reference.parse(f"{name}.test/x")).endpoint.origin) for name in "abc"]
    assert found == ["https://own.test", "https://part.test", "https://c.test"]
    assert hosts.to_push(Reference.parse("a.test/x")).repository == "x"
    own.write_text("[[registry]]\n")
    done = run(tmp_path, "login", "-u", "me", "--password-stdin", "r.test", typed="x")
    assert done.returncode == 3
    assert f"{own}: registry 1 has no prefix" in done.stderr


def ours(home: Path, text: str) -> None:
    path = home / ".config" / "orlop" / "registries.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


def test_a_password_goes_to_the_host_that_was_named_alone(tmp_path: Path):
    with FakeRegistry(Quirks(auth="basic"), users={"me": PASSWORD}) as registry:
        ours(tmp_path, f'[[registry]]\nprefix = "docker.io"\nlocation = "{registry.authority}/cache"\n')
        done = run(tmp_path, "login", "-u", "me", "--password-stdin", typed=PASSWORD)
        assert registry.requests == []
    assert done.returncode == 3
    assert f"log in to {registry.authority}" in done.stderr
    assert not (tmp_path / ".docker").exists()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("registry", ["https://me:s3cret@r.test", "me:s3cret@r.test", "r.test?s3cret", "x#s3cret"])
def test_a_secret_in_the_name_of_a_registry_is_not_shown(registry: str, tmp_path: Path):
    for command in (("login", "-u", "me", "--password-stdin"), ("logout",)):
        done = run(tmp_path, *command, registry, typed="x")
        assert done.returncode == 3
        assert "s3cret" not in done.stdout + done.stderr


def test_a_password_that_is_not_text_is_told(tmp_path: Path):
    argv = [sys.executable, "-m", "orlop", "login", "-u", "me", "--password-stdin", "r.test"]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, input=b"s3cr\xff", env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 3
    assert b"not valid UTF-8" in done.stderr
    assert b"s3cr" not in done.stderr


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("index.docker.io/v1/", "docker.io"),
        ("docker.io/v2", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("h.io/v1/", "h.io"),
        ("http://h.io/v2/", "h.io"),
        ("H.io", "h.io"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", ".dockercfg"])
def test_an_old_password_neither_wins_nor_stays(key: str, host: str, name: str, tmp_path: Path):
    path = tmp_path / name
    old = {key: {"auth": base64.b64encode(b"me:old").decode()}}
    path.write_text(json.dumps(old if name == ".dockercfg" else {"auths": old}))
    keys = AuthFiles([str(path)], Helpers())
    asked = Reference.parse(f"{host}/a/b")
    file = LoginFile(str(path), Helpers())
    assert file.knows(host)
    file.keep(host, Credentials(user="me", password="new"))
    found = keys.find(asked)
    assert found is not None
    assert found.password == "new"
    path.write_text(json.dumps(old if name == ".dockercfg" else {"auths": old}))
    assert file.drop(host)
    assert keys.find(asked) is None


def test_a_file_without_entries_gets_some(tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text('{"auths": null}')
    file = LoginFile(str(path), Helpers())
    assert not file.drop("r.test")
    file.keep("r.test", Credentials(user="me", password="x"))
    assert json.loads(path.read_text()) == {"auths": {"r.test": {"auth": "bWU6eA=="}}}


def test_numbers_and_halves_of_characters_stay_as_they_were(tmp_path: Path):
    path = tmp_path / "config.json"
    kept = ["1e999", "0.1000000000000000055511151231257827", "9" * 5000, r'"\ud800"', "-0.0", "1.50"]
    path.write_text(f'{{"more": [{", ".join(kept)}]}}')
    LoginFile(str(path), Helpers()).keep("r.test", Credentials(user="me", password="x"))
    lines = [line.strip().rstrip(",") for line in path.read_text().splitlines()]
    assert lines[2:8] == kept


@pytest.mark.parametrize("field", ["user", "password", "identity_token", "registry_token"])
def test_credentials_that_are_not_text_are_told_without_them(field: str):
    for half in ("\ud800", "\udcff"):
        with pytest.raises(InvalidSettings, match=r"of here are not valid UTF-8") as raised:
            Credentials(source="here", **{field: f"s3cret{half}"})
        assert "s3cret" not in str(raised.value)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("host", ["127.0.0.1:99999", "localhost:0", "1.5"])
def test_what_cannot_be_a_registry_is_bad_input(tmp_path: Path, host: str):
    for words in (
        ["login", "-u", "me", "--password-stdin", host],
        ["pull", "-q", f"{host}/x:1"],
        ["tags", f"{host}/x"],
        ["copy", f"docker://{host}/x:1", f"oci:{tmp_path}/layout"],
    ):
        done = run(tmp_path, *words, typed="secret\n")
        assert done.returncode == 3
        assert done.stderr == f"Error: {host!r} cannot be a registry: expected a host, and a port from 1 to 65535\n"
    assert not (tmp_path / "layout").exists()
