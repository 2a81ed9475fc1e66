"""Real clients log in to a registry with `--registry-access`, by password and by token, and may do what rules allow."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.served import serve
from tests.unit.guarded import RULES, TOKENS, write_access
from tests.unit.hosted import RegistryClient
from tests.unit.layouts import Layout, named, unpacked
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Docker, Program
    from tests.interop.served import Served

pytestmark = pytest.mark.interop
INSECURE = "--tls-verify=false"


@pytest.fixture(params=["password", "token"])
def guarded(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    """A registry with two users, which takes passwords or tokens."""
    (tmp_path / "access").mkdir()
    file = write_access(tmp_path / "access", f'audit = "audit"\n{RULES}')
    with serve(tmp_path / "served", "--registry", "--registry-access", str(file), tcp=True) as served:
        if request.param == "token":
            # The realm has the port, which is known only now.
            write_access(
                tmp_path / "access", file.read_text() + TOKENS.replace("registry.test/token", f"{place(served)}/token")
            )
            os.kill(served.pid, signal.SIGHUP)
            until(lambda: asks_with(served, "Bearer"))
        yield served


def place(served: Served) -> str:
    return served.host.removeprefix("tcp://")


def asks_with(served: Served, scheme: str) -> bool:
    answer = RegistryClient(int(place(served).rpartition(":")[2])).get("/v2/")
    return answer.headers["www-authenticate"].startswith(scheme)


def deeds(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "access" / "audit").read_text().splitlines()]


@pytest.mark.sampled(8, daily=False)
def test_docker_logs_in_and_may_what_the_rules_say(docker: Docker, context: Path, guarded: Served, tmp_path: Path):
    name = f"{place(guarded)}/team/app:1"
    docker("build", "-q", "-t", name, context / "tiny")
    assert docker.run("push", name).returncode != 0
    assert docker.run("login", "-u", "anna", "-p", "wrong", place(guarded)).returncode != 0
    docker("login", "-u", "anna", "-p", "secret-a", place(guarded))
    digest = docker("push", name).split("digest: ")[1].split()[0]
    docker.wipe()
    assert f"Digest: {digest}" in docker("pull", name)
    # Layers are mounted from where the user may pull.
    other = f"{place(guarded)}/shared/app:1"
    docker("tag", name, other)
    assert digest in docker("push", other)
    denied = f"{place(guarded)}/elsewhere/app:1"
    docker("tag", name, denied)
    refused = docker.run("push", denied)
    assert refused.returncode != 0
    assert b"denied" in refused.stderr or b"not allowed" in refused.stderr
    docker("logout", place(guarded))
    docker.wipe()
    assert docker.run("pull", name).returncode != 0
    # A line is written once the client has its answer: the last push was refused before the last pull.
    done = deeds(tmp_path)
    assert {"action": "push", "user": "anna", "repository": "team/app", "reference": "1", "digest": digest} in [
        {key: one.get(key) for key in ("action", "user", "repository", "reference", "digest")} for one in done
    ]
    assert any(one["status"] == 403 and one["repository"] == "elsewhere/app" for one in done)


@pytest.mark.sampled(2)
def test_skopeo_copies_with_credentials_and_lists_what_it_may(skopeo: Program, guarded: Served, tmp_path: Path):
    layout = Layout()
    layout.top(layout.image("x", "layer", **named("docker.io/a/b:1")))
    unpacked(layout.files, tmp_path / "in")
    name = f"docker://{place(guarded)}/shared/app:1"
    copy = ["copy", "-q", "--preserve-digests", "--dest-tls-verify=false"]
    assert skopeo.run(*copy, f"oci:{tmp_path}/in", name).returncode != 0
    assert skopeo.run(*copy, "--dest-creds", "anna:wrong", f"oci:{tmp_path}/in", name).returncode != 0
    skopeo(*copy, "--dest-creds", "anna:secret-a", f"oci:{tmp_path}/in", name)
    assert skopeo.json("list-tags", INSECURE, "--creds", "ben:secret-b", name.removesuffix(":1"))["Tags"] == ["1"]
    team = f"docker://{place(guarded)}/team/app:1"
    both = ["--src-tls-verify=false", "--src-creds", "anna:secret-a", "--dest-creds", "anna:secret-a"]
    skopeo(*copy, *both, name, team)
    assert skopeo.run("inspect", INSECURE, "--creds", "ben:secret-b", team).returncode != 0
    assert skopeo.run("delete", INSECURE, "--creds", "ben:secret-b", name).returncode != 0
    skopeo("delete", INSECURE, "--creds", "anna:secret-a", team)


@pytest.mark.sampled(3)
def test_what_is_public_is_pulled_without_credentials(skopeo: Program, podman: Program, docker: Docker, tmp_path: Path):
    (tmp_path / "access").mkdir()
    public = RULES + '[[allow]]\nusers = ["anna"]\nrepositories = ["public/**"]\nactions = ["pull", "push"]\n'
    file = write_access(tmp_path / "access", public)
    layout = Layout()
    layout.top(layout.image("x", "layer", **named("docker.io/a/b:1")))
    unpacked(layout.files, tmp_path / "in")
    with serve(tmp_path / "served", "--registry", "--registry-access", str(file), tcp=True) as served:
        for tokens in ("", TOKENS.replace("registry.test/token", f"{place(served)}/token")):
            file.write_text(public + tokens)
            os.kill(served.pid, signal.SIGHUP)
            until(partial(asks_with, served, "Bearer" if tokens else "Basic"))
            name = f"{place(served)}/public/app:1"
            creds = ["--dest-tls-verify=false", "--dest-creds", "anna:secret-a"]
            skopeo("copy", "-q", *creds, f"oci:{tmp_path}/in", f"docker://{name}")
            assert skopeo.json("inspect", "--raw", INSECURE, f"docker://{name}")["schemaVersion"] == 2
            podman("pull", "-q", INSECURE, name)
            if tokens:
                # With passwords docker gives up at the challenge of /v2/.
                docker("pull", "-q", name)


@pytest.mark.sampled(2)
def test_podman_logs_in_and_pushes(podman: Program, guarded: Served, tmp_path: Path):
    layout = Layout()
    layout.top(layout.image("x", "layer", **named("localhost/podman:1")))
    podman("load", "-q", stdin=layout.pack())
    auth = ["--authfile", str(tmp_path / "auth.json")]
    name = f"{place(guarded)}/home/ben/app:1"
    assert podman.run("login", INSECURE, *auth, "-u", "ben", "-p", "wrong", place(guarded)).returncode != 0
    podman("login", INSECURE, *auth, "-u", "ben", "-p", "secret-b", place(guarded))
    podman("push", "-q", INSECURE, *auth, "localhost/podman:1", name)
    podman("pull", "-q", INSECURE, *auth, name)
    other = name.replace("/ben/", "/anna/")
    assert podman.run("push", "-q", INSECURE, *auth, "localhost/podman:1", other).returncode != 0
