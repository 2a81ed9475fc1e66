"""Real clients push to a registry by TLS and pull from it, with passwords and tokens, and check its certificate."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.interop.programs import Program, folder_of_engine
from tests.interop.registries import Keys
from tests.interop.served import serve
from tests.needs import need, need_root
from tests.unit.guarded import RULES, TOKENS, write_access
from tests.unit.layouts import Layout, named, unpacked
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Docker
    from tests.interop.served import Served

pytestmark = pytest.mark.interop


class Secure:
    """A registry with a certificate and two users."""

    def __init__(self, served: Served, authority: Path) -> None:
        self.served = served
        self.place = served.host.removeprefix("tcp://")
        #: As clients have it: a folder with the authority of the certificate.
        self.certificates = authority

    def challenge(self) -> str:
        """Return how it asks who somebody is."""
        trust = ssl.create_default_context(cafile=str(self.certificates / "ca.crt"))
        connection = http.client.HTTPSConnection(self.place, timeout=60, context=trust)
        connection.request("GET", "/v2/")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.headers["WWW-Authenticate"].partition(" ")[0]

    def check(self) -> None:
        """See that its store is sound, and that a collection takes nothing that a name needs."""
        self.served.orlop("gc")
        assert json.loads(self.served.orlop("fsck", "-q", "--format", "json"))["State"] == "clean"


@pytest.fixture(params=["Basic", "Bearer"])
def secure(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Secure]:
    for name in ("keys", "access", "trusted"):
        (tmp_path / name).mkdir()
    keys = Keys(tmp_path / "keys")
    shutil.copyfile(keys.certificate, tmp_path / "trusted" / "ca.crt")
    file = write_access(tmp_path / "access", RULES)
    options = ["--registry", "--registry-access", str(file), "--tls"]
    options += ["--tlscert", str(keys.certificate), "--tlskey", str(keys.key)]
    # What does not trust the certificate is told to the log.
    with serve(tmp_path / "served", *options, tcp=True, heard=[]) as served:
        found = Secure(served, tmp_path / "trusted")
        if request.param == "Bearer":
            # The realm has the port, which is known only now.
            file.write_text(RULES + TOKENS.replace("http://registry.test/token", f"https://{found.place}/token"))
            os.kill(served.pid, signal.SIGHUP)
        until(lambda: found.challenge() == request.param)
        yield found
        found.check()


@pytest.fixture
def source(tmp_path: Path) -> str:
    layout = Layout()
    children = [layout.image(one, "shared", architecture=one, platform=True) for one in ("amd64", "arm64")]
    unpacked(layout.top(layout.index(*children, **named("docker.io/a/b:1"))).files, tmp_path / "in")
    return f"oci:{tmp_path}/in"


@pytest.mark.sampled(4, daily=False)
def test_skopeo_checks_the_certificate_and_copies(skopeo: Program, secure: Secure, source: str, tmp_path: Path) -> None:
    name = f"docker://{secure.place}/team/app:1"
    copy = ["copy", "-q", "--all", "--preserve-digests", "--dest-creds", "anna:secret-a"]
    refused = skopeo.run(*copy, source, name)
    assert refused.returncode != 0
    assert b"certificate" in refused.stderr
    trust = ["--dest-cert-dir", str(secure.certificates)]
    assert skopeo.run("copy", "-q", *trust, "--dest-creds", "anna:wrong", source, name).returncode != 0
    skopeo(*copy, *trust, source, name)
    back = ["--src-cert-dir", str(secure.certificates), "--src-creds", "anna:secret-a"]
    skopeo("copy", "-q", "--all", "--preserve-digests", *back, name, f"dir:{tmp_path}/out")
    index = json.loads((tmp_path / "in" / "index.json").read_text())["manifests"][0]["digest"]
    assert (tmp_path / "out" / "manifest.json").read_bytes() == (
        tmp_path / "in" / "blobs" / index.replace(":", "/")
    ).read_bytes()


@pytest.mark.sampled(4, daily=False)
def test_podman_checks_the_certificate_logs_in_pushes_and_pulls(
    podman: Program, secure: Secure, tmp_path: Path
) -> None:
    layout = Layout()
    layout.top(layout.image("x", "layer", **named("localhost/podman:1")))
    podman("load", "-q", stdin=layout.pack())
    auth = ["--authfile", str(tmp_path / "auth.json")]
    assert podman.run("login", *auth, "-u", "anna", "-p", "secret-a", secure.place).returncode != 0
    trust = ["--cert-dir", str(secure.certificates), *auth]
    podman("login", *trust, "-u", "anna", "-p", "secret-a", secure.place)
    name = f"{secure.place}/team/podman:1"
    image = podman("inspect", "--format", "{{.Id}}", "localhost/podman:1").strip()
    podman("push", "-q", *trust, "localhost/podman:1", name)
    podman("rmi", "-f", image)
    assert podman("pull", "-q", *trust, name).strip() == image


@pytest.fixture
def buildah() -> Iterator[Program]:
    need_root()
    program = need("buildah")
    with folder_of_engine("orlop-buildah-") as folder:
        yield Program([program, "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"])


@pytest.mark.sampled(4, daily=False)
def test_buildah_checks_the_certificate_pushes_and_pulls(buildah: Program, secure: Secure, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    container = buildah("from", "scratch").strip()
    buildah("add", container, tmp_path / "file", "/file")
    buildah("commit", "-q", container, "built")
    name = f"docker://{secure.place}/team/buildah:1"
    creds = ["--creds", "anna:secret-a"]
    assert buildah.run("push", "-q", *creds, "built", name).returncode != 0
    trust = ["--cert-dir", str(secure.certificates), *creds]
    buildah("push", "-q", *trust, "built", name)
    buildah("rmi", "-f", "built")
    buildah("pull", "-q", *trust, name)


@pytest.mark.sampled(4, daily=False)
def test_docker_logs_in_pushes_and_pulls(docker: Docker, context: Path, secure: Secure) -> None:
    """Docker asks by TLS first at an address of this machine, and does not check a certificate there."""
    name = f"{secure.place}/team/app:1"
    docker("build", "-q", "-t", name, context / "tiny")
    assert docker.run("push", name).returncode != 0
    docker("login", "-u", "anna", "-p", "secret-a", secure.place)
    digest = docker("push", name).split("digest: ")[1].split()[0]
    docker.wipe()
    assert f"Digest: {digest}" in docker("pull", name)
    docker("logout", secure.place)
