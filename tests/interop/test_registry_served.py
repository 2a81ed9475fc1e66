"""`orlop serve --registry` before docker 20.10, podman, skopeo and buildah: digests are equal throughout."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.programs import PATIENCE, Program, environment, folder_of_engine
from tests.interop.served import serve
from tests.needs import need, need_root
from tests.unit.artifacts import about, signature
from tests.unit.layouts import Layout, named, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Docker, Orlop
    from tests.interop.served import Served

pytestmark = pytest.mark.interop
INSECURE = "--tls-verify=false"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "served", "--registry", tcp=True) as found:
        yield found


def place(served: Served) -> str:
    return served.host.removeprefix("tcp://")


def local(served: Served) -> str:
    """Return what the registry calls itself in the names of images."""
    return f"localhost:{served.host.rpartition(':')[2]}"


def raw(skopeo: Program, name: str) -> bytes:
    return skopeo("inspect", "--raw", INSECURE, f"docker://{name}").encode()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def two_platforms(name: str = "docker.io/a/b:1") -> Layout:
    layout = Layout()
    children = [layout.image(one, "shared", architecture=one, platform=True) for one in ("amd64", "arm64")]
    return layout.top(layout.index(*children, **named(name)))


def top(layout: Layout) -> str:
    return str(json.loads(layout.files["index.json"])["manifests"][0]["digest"])


def fine(served: Served) -> None:
    """The store is sound, and a collection takes nothing that a name needs."""
    served.orlop("gc")
    assert "nothing is damaged" in served.orlop("fsck")


def test_docker_pushes_and_pulls_what_it_built(docker: Docker, context: Path, served: Served):
    name = f"{place(served)}/team/app:1"
    docker("build", "-q", "-t", name, context / "tiny")
    image = docker.inspect(name)["Id"]
    pushed = docker("push", name)
    digest = pushed.split("digest: ")[1].split()[0]
    listed = served.orlop("images", "--digests", "--no-trunc", f"{local(served)}/team/app")
    assert digest in listed
    assert image in listed
    docker.wipe()
    assert f"Digest: {digest}" in docker("pull", name)
    assert docker.inspect(name)["Id"] == image
    # Another tag, and another repository: layers are mounted, and nothing is sent twice.
    other = f"{place(served)}/other/app:2"
    docker("tag", name, other)
    assert digest in docker("push", other)
    docker("pull", f"{other.partition(':2')[0]}@{digest}")
    fine(served)


@pytest.mark.sampled(2)
def test_docker_pulls_what_was_loaded_or_comes_from_elsewhere(docker: Docker, context: Path, served: Served):
    name = f"{local(served)}/loaded:1"
    docker("build", "-q", "-t", name, context / "tiny")
    image = docker.inspect(name)["Id"]
    archive = docker.run("save", name).stdout
    served.orlop("load", "-q", stdin=archive)
    docker.wipe()
    first = docker("pull", f"{place(served)}/loaded:1")
    assert docker.inspect(f"{place(served)}/loaded:1")["Id"] == image
    docker.wipe()
    # It is made once.
    assert docker("pull", f"{place(served)}/loaded:1").splitlines()[-3:-1] == first.splitlines()[-3:-1]
    fine(served)


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("form", "compression"), [("oci", "gzip"), ("oci", "zstd"), ("v2s2", "gzip")])
def test_skopeo_pushes_and_pulls_an_index_in_every_form(
    skopeo: Program, served: Served, tmp_path: Path, form: str, compression: str
):
    unpacked(two_platforms().files, tmp_path / "in")
    name = f"docker://{place(served)}/forms/{form}-{compression}:1"
    options = ["--dest-tls-verify=false", "--format", form, "--dest-compress-format", compression]
    skopeo("copy", "-q", "--all", *options, f"oci:{tmp_path}/in", name)
    pushed = raw(skopeo, name.removeprefix("docker://"))
    skopeo("copy", "-q", "--all", "--src-tls-verify=false", "--preserve-digests", name, f"dir:{tmp_path}/out")
    assert (tmp_path / "out" / "manifest.json").read_bytes() == pushed
    assert digest_of(pushed) in served.orlop("images", "-a", "--digests", "--no-trunc")
    again = f"docker://{place(served)}/again/{form}:1"
    skopeo("copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false", f"dir:{tmp_path}/out", again)
    assert raw(skopeo, again.removeprefix("docker://")) == pushed
    fine(served)


def test_an_index_that_skopeo_pushes_keeps_its_digest(skopeo: Program, served: Served, tmp_path: Path):
    layout = two_platforms()
    unpacked(layout.files, tmp_path / "in")
    name = f"{place(served)}/index:1"
    skopeo(
        "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false", f"oci:{tmp_path}/in", f"docker://{name}"
    )
    assert digest_of(raw(skopeo, name)) == top(layout)
    tags = json.loads(skopeo("list-tags", INSECURE, f"docker://{place(served)}/index"))["Tags"]
    assert tags == ["1"]
    skopeo("delete", INSECURE, f"docker://{name}")
    assert skopeo.run("inspect", INSECURE, f"docker://{name}").returncode != 0
    fine(served)


def test_podman_pushes_and_pulls(podman: Program, served: Served):
    layout = Layout()
    layout.top(layout.image("x", "layer", **named("localhost/podman:1")))
    podman("load", "-q", stdin=layout.pack())
    name = f"{place(served)}/podman:1"
    image = podman("inspect", "--format", "{{.Id}}", "localhost/podman:1").strip()
    podman("push", "-q", INSECURE, "localhost/podman:1", name)
    podman("rmi", "-f", image)
    assert podman("pull", "-q", INSECURE, name).strip() == image
    # Both are in the store under the name that the registry has for them.
    assert image[:12] in served.orlop("images", "-q")
    fine(served)


@pytest.fixture
def buildah() -> Iterator[Program]:
    need_root()
    program = need("buildah")
    with folder_of_engine("orlop-buildah-") as folder:
        yield Program([program, "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_buildah_pushes_and_pulls(buildah: Program, skopeo: Program, served: Served, tmp_path: Path, form: str):
    (tmp_path / "file").write_text("content\n")
    container = buildah("from", "scratch").strip()
    buildah("add", container, tmp_path / "file", "/file")
    buildah("commit", "-q", "--format", "oci", container, "built")
    name = f"docker://{place(served)}/buildah:{form}"
    buildah("push", "-q", INSECURE, "--format", form, "built", name)
    kind = json.loads(raw(skopeo, name.removeprefix("docker://")))["mediaType"]
    assert ("docker" in kind) == (form == "v2s2")
    buildah("pull", "-q", INSECURE, name)
    assert served.orlop("cat", f"{local(served)}/buildah:{form}", "/file") == "content\n"
    fine(served)


@pytest.mark.sampled(2)
def test_an_artifact_with_a_subject_goes_in_and_is_found(orlop: Orlop, served: Served):
    layout = Layout()
    image = layout.image("x", "layer", **named(f"{local(served)}/signed:1"))
    signed = signature(layout, image)
    layout.top(image, signed)
    orlop("load", "-q", stdin=layout.pack())
    orlop("push", "--referrers", f"{local(served)}/signed:1")
    found = asked(served, "GET", f"/v2/signed/referrers/{image['digest']}")
    assert [one["digest"] for one in found["manifests"]] == [signed["digest"]]
    assert about(image)["digest"] in served.orlop("images", "--digests", "--no-trunc")
    fine(served)


def asked(served: Served, method: str, path: str, **how: Any) -> Any:
    connection = http.client.HTTPConnection(place(served), timeout=PATIENCE)
    try:
        connection.request(method, path, **how)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def test_an_upload_goes_on_after_the_server_was_killed(tmp_path: Path):
    """A client that has sent half of a blob asks the next server how much that has, and sends the rest."""
    content = os.urandom(3 << 20)
    root, port = tmp_path / "root", 0
    location, reached = "", 0
    for number in range(2):
        process, port = started(root, port)
        try:
            if not number:
                location = answer(port, "POST", "/v2/a/b/blobs/uploads/")[1]["location"]
                status, _ = answer(port, "PATCH", location, content[: 2 << 20])
                assert status == 202
            else:
                status, headers = answer(port, "GET", location)
                assert (status, headers["range"]) == (204, f"0-{(2 << 20) - 1}")
                reached = int(headers["range"].partition("-")[2]) + 1
                assert answer(port, "PATCH", location, content[reached:])[0] == 202
                assert answer(port, "PUT", f"{location}?digest={digest_of(content)}")[0] == 201
                assert answer(port, "HEAD", f"/v2/a/b/blobs/{digest_of(content)}")[0] == 200
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def started(root: Path, port: int) -> tuple[subprocess.Popen[str], int]:
    argv = [sys.executable, "-m", "orlop", "--root", str(root), "serve", "--registry", "-H", f"tcp://127.0.0.1:{port}"]
    process = subprocess.Popen(argv, env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("Listening on "), line
    return process, int(line.strip().rpartition(":")[2])


def answer(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()
