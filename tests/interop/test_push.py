"""Pushes and copies with Debian's docker-registry, beside skopeo, podman and docker: digests are equal throughout."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.interop.registries import PASSWORD, USER, Keys, debian_registry
from tests.interop.served import serve
from tests.unit.layouts import Layout, named, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Docker, Orlop, Program

pytestmark = pytest.mark.interop


# One for each test: skopeo remembers in which form a registry has a layer, and takes that for other forms, too.
@pytest.fixture
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with debian_registry(tmp_path_factory.mktemp("registry")) as authority:
        yield authority


def digest_at(skopeo: Program, name: str) -> str:
    """Return the digest that skopeo computes from the bytes that a registry sends."""
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}")
    return f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}"


def two_platforms(name: str) -> Layout:
    layout = Layout()
    children = [layout.image(one, "shared", architecture=one, platform=True) for one in ("amd64", "arm64")]
    return layout.top(layout.index(*children, **named(name)))


def top(layout: Layout) -> str:
    return str(json.loads(layout.files["index.json"])["manifests"][0]["digest"])


def test_a_push_has_the_digest_that_skopeo_reads_and_copies(orlop: Orlop, skopeo: Program, there: str, tmp_path: Path):
    layout = two_platforms(f"{there}/index/app:1")
    orlop("load", "-q", stdin=layout.pack())
    words = orlop("push", "--platform", "all", f"{there}/index/app:1")
    assert words.splitlines()[-1].startswith(f"1: digest: {top(layout)} size: ")
    assert digest_at(skopeo, f"{there}/index/app:1") == top(layout)
    copied = f"oci:{tmp_path}/out:1"
    skopeo("copy", "-q", "--all", "--src-tls-verify=false", f"docker://{there}/index/app:1", copied)
    entries = json.loads((tmp_path / "out" / "index.json").read_text())["manifests"]
    assert entries[0]["digest"] == top(layout)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("form", "compression"), [("oci", "gzip"), ("oci", "zstd"), ("v2s2", "gzip")])
def test_what_skopeo_pushed_is_copied_by_orlop_and_back(
    orlop: Orlop, skopeo: Program, there: str, tmp_path: Path, form: str, compression: str
):
    unpacked(Layout().files | two_platforms("docker.io/a/b:1").files, tmp_path / "in")
    first = f"{there}/{form}-{compression}/first:1"
    options = ["--dest-tls-verify=false", "--format", form, "--dest-compress-format", compression]
    skopeo("copy", "-q", *options, f"oci:{tmp_path}/in", f"docker://{first}")
    digest = digest_at(skopeo, first)
    places = [f"oci:{tmp_path}/o:1", f"oci-archive:{tmp_path}/o.tar:1", f"dir:{tmp_path}/dir"]
    places += [f"docker://{there}/{form}-{compression}/second:1"]
    source = f"docker://{first}"
    for number, place in enumerate(places):
        assert orlop("copy", "-q", source, place).strip() == digest
        back = f"{there}/{form}-{compression}/back{number}:1"
        tls = [] if not place.startswith("docker:") else ["--src-tls-verify=false"]
        # skopeo finds no name in a layout that holds another type than OCI's.
        if form == "oci" or not place.startswith("oci"):
            skopeo("copy", "-q", "--preserve-digests", "--dest-tls-verify=false", *tls, place, f"docker://{back}")
            assert digest_at(skopeo, back) == digest
        assert orlop("copy", "-q", place, f"docker://{back}-orlop").strip() == digest
        source = place


def test_podman_pulls_what_was_pushed_and_what_it_pushed_is_copied(
    orlop: Orlop, podman: Program, skopeo: Program, there: str, data: Path
):
    orlop("load", "-q", "-i", data / "dockerd-29-overlay2" / "multi.tar")
    orlop("tag", "example/tiny:1.0", f"{there}/podman/tiny:1")
    orlop("push", "-q", f"{there}/podman/tiny:1")
    image = orlop("inspect", "--format", "{{.Id}}", "example/tiny:1.0").strip()
    podman("pull", "-q", "--tls-verify=false", f"{there}/podman/tiny:1")
    assert f"sha256:{podman('images', '-q', '--no-trunc').strip().removeprefix('sha256:')}" == image
    podman("push", "-q", "--tls-verify=false", f"{there}/podman/tiny:1", f"{there}/podman/again:1")
    digest = digest_at(skopeo, f"{there}/podman/again:1")
    assert orlop("copy", "-q", f"docker://{there}/podman/again:1", f"docker://{there}/podman/orlop:1").strip() == digest


def test_docker_pulls_what_was_pushed(orlop: Orlop, docker: Docker, there: str, data: Path):
    orlop("load", "-q", "-i", data / "dockerd-29-overlay2" / "multi.tar")
    orlop("tag", "example/tiny:1.0", f"{there}/docker/tiny:1")
    words = orlop("push", f"{there}/docker/tiny:1").splitlines()
    docker("pull", "-q", f"{there}/docker/tiny:1")
    found = docker.inspect(f"{there}/docker/tiny:1")
    assert found["Id"] == orlop("inspect", "--format", "{{.Id}}", "example/tiny:1.0").strip()
    digest = words[-1].split()[2]
    assert found["RepoDigests"] == [f"{there}/docker/tiny@{digest}"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("variant", ["htpasswd", "tls"])
def test_credentials_and_certificates_of_other_programs_are_used(
    orlop: Orlop, tmp_path: Path, data: Path, variant: str
):
    keys = Keys(tmp_path) if variant == "tls" else None
    home = tmp_path / "home"
    with debian_registry(tmp_path, keys=keys, htpasswd=True) as authority:
        secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (home / ".docker").mkdir(parents=True)
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {authority: {"auth": secret}}}))
        env = {"HOME": str(home)} | ({} if keys is None else {"SSL_CERT_FILE": str(keys.certificate)})
        loaded = orlop.run("load", "-q", "-i", data / "dockerd-29-overlay2" / "multi.tar", env=env)
        assert loaded.returncode == 0
        orlop("tag", "example/tiny:1.0", f"{authority}/app:1", env=env)
        assert orlop("push", "-q", f"{authority}/app:1", env=env) == f"{authority}/app:1\n"
        other = orlop.run("push", f"{authority}/app:1", env=env | {"HOME": str(tmp_path)})
        assert other.returncode == 1
        assert PASSWORD.encode() not in other.stderr


@pytest.mark.sampled(2)
def test_docker_pushes_and_logs_in_by_way_of_orlop(orlop: Orlop, tmp_path: Path, data: Path, skopeo: Program):
    orlop("load", "-q", "-i", data / "dockerd-29-overlay2" / "multi.tar")
    with debian_registry(tmp_path, htpasswd=True) as authority, serve(orlop.root) as served:
        docker = served.docker()
        orlop("tag", "example/tiny:1.0", f"{authority}/app:1")
        refused = docker.run("push", f"{authority}/app:1")
        assert refused.returncode != 0
        wrong = docker.run("login", "-u", USER, "--password-stdin", authority, stdin=b"wr0ng")
        assert wrong.returncode != 0
        assert "Login Succeeded" in docker("login", "-u", USER, "--password-stdin", authority, stdin=PASSWORD.encode())
        words = docker("push", f"{authority}/app:1").splitlines()
        assert words[0] == f"The push refers to repository [{authority}/app]"
        (last,) = [line for line in words if "digest: " in line]
        raw = skopeo(
            "inspect", "--raw", "--tls-verify=false", f"--creds={USER}:{PASSWORD}", f"docker://{authority}/app:1"
        )
        assert hashlib.sha256(raw.encode()).hexdigest() in last
