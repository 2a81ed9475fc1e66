"""docker and containerd pull through orlop what Debian's docker-registry has, which they take for docker.io."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.programs import Daemon, Program
from tests.interop.registries import debian_registry
from tests.interop.served import serve
from tests.needs import need
from tests.unit.layouts import Layout, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Orlop

pytestmark = pytest.mark.interop

NAMES = ("library/app:1", "team/many:1")


@contextmanager
def serving_upstream(tmp_path: Path, skopeo: Program) -> Iterator[str]:
    """Run a registry with an image and an index of two platforms."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    with debian_registry(folder) as there:
        layout = Layout()
        unpacked(layout.top(layout.image("a", "b")).files, tmp_path / "one")
        layout = Layout()
        children = [layout.image(one, "shared", architecture=one, platform=True) for one in ("amd64", "arm64")]
        unpacked(layout.top(layout.index(*children)).files, tmp_path / "many")
        for source, name in zip(("one", "many"), NAMES, strict=True):
            target = f"docker://{there}/{name}"
            skopeo("copy", "-q", "--all", "--dest-tls-verify=false", f"oci:{tmp_path}/{source}", target)
        yield there


def digest_at(orlop: Orlop, name: str) -> str:
    return f"sha256:{hashlib.sha256(orlop.run('manifest', f'docker://{name}').stdout).hexdigest()}"


def options(upstream: str, log: Path) -> tuple[str, ...]:
    return ("--registry", "--proxy", f"docker.io=http://{upstream}", "--access-log", str(log))


@pytest.mark.sampled(3)
def test_docker_pulls_through_a_mirror_also_while_the_upstream_is_away(
    orlop: Orlop, skopeo: Program, tmp_path: Path
) -> None:
    away = ExitStack()
    upstream = away.enter_context(serving_upstream(tmp_path, skopeo))
    digests = {name: digest_at(orlop, f"{upstream}/{name}") for name in NAMES}
    log = tmp_path / "log"
    with away, serve(orlop.root, *options(upstream, log), tcp=True) as served:
        daemon = Daemon(f"--registry-mirror=http://{served.host.removeprefix('tcp://')}")
        try:
            for name, digest in digests.items():
                said = daemon.docker("pull", name.removeprefix("library/"))
                assert f"Digest: {digest}" in said
            assert log.read_text().count("/manifests/") >= len(NAMES)
            daemon.docker.wipe()
            away.close()
            log.write_text("")
            for name, digest in digests.items():
                assert f"Digest: {digest}" in daemon.docker("pull", name.removeprefix("library/"))
            assert " 200 " in log.read_text()
        finally:
            daemon.stop()
    orlop("fsck")


@pytest.mark.sampled(3)
def test_containerd_pulls_by_its_hosts_file(orlop: Orlop, skopeo: Program, tmp_path: Path) -> None:
    away = ExitStack()
    upstream = away.enter_context(serving_upstream(tmp_path, skopeo))
    digests = {name: digest_at(orlop, f"{upstream}/{name}") for name in NAMES}
    with away, serve(orlop.root, *options(upstream, tmp_path / "log"), tcp=True) as served:
        hosts = tmp_path / "certs.d" / "docker.io"
        hosts.mkdir(parents=True)
        place = served.host.replace("tcp://", "http://")
        (hosts / "hosts.toml").write_text(
            f'server = "https://registry-1.docker.io"\n[host."{place}"]\n  capabilities = ["pull", "resolve"]\n'
        )
        daemon = Daemon()
        try:
            socket = daemon.folder / "exec" / "containerd" / "containerd.sock"
            ctr = Program([need("ctr"), "--address", socket, "--namespace", "tests"])
            for name, digest in digests.items():
                ctr("content", "fetch", "--all-platforms", "--hosts-dir", tmp_path / "certs.d", f"docker.io/{name}")
                images: dict[str, Any] = {line.split()[0]: line.split()[2] for line in ctr.lines("images", "ls")[1:]}
                assert images[f"docker.io/{name}"] == digest
        finally:
            daemon.stop()
    assert "ns=docker.io" in (tmp_path / "log").read_text()
