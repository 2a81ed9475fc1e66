"""`orlop serve` and the real docker command: on a Unix socket, over TLS, with a token."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks
from tests.interop.programs import PATIENCE, Program, environment
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.programs import Docker, Orlop

pytestmark = pytest.mark.interop

TINY, COMMITTED = "example/tiny:1.0", "registry.example.com:5000/team/committed:2.0"


class Client(Program):
    """Docker's command, speaking to a server of orlop."""

    def __init__(self, host: str, config: Path, *options: str | Path) -> None:
        super().__init__([need("docker"), *options], {"DOCKER_HOST": host, "DOCKER_CONFIG": str(config)})

    def fails(self, *args: str, stdin: bytes = b"") -> str:
        """Run it, expect failure, and return what it says."""
        done = self.run(*args, stdin=stdin)
        assert done.returncode != 0
        return done.stderr.decode()


@contextmanager
def serving(orlop: Orlop, *options: str | Path) -> Iterator[list[str]]:
    """Serve a store, and return the places where."""
    argv = [*orlop.argv, "serve", *map(str, options)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, env=environment(), text=True)
    try:
        assert process.stderr is not None
        count = options.count("-H")
        yield [process.stderr.readline().removeprefix("Listening on ").strip() for _ in range(count)]
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def client(orlop: Orlop) -> Iterator[Client]:
    """Docker's command before an empty store."""
    # A socket's path has at most 107 bytes, which pytest's own folders may exceed.
    folder = tempfile.mkdtemp(prefix="orlop-serve-")
    try:
        with serving(orlop, "-H", f"unix://{folder}/api.sock") as (host,):
            yield Client(host, Path(folder) / "config")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def archive(data: Path) -> Path:
    """Three images, as Engine 20.10 saved them."""
    return data / "dockerd-20.10-overlay2" / "multi.tar"


def test_docker_loads_from_a_file_and_from_a_pipe(client, orlop, archive):
    expected = ["Loaded image: " + name for name in (COMMITTED, TINY, "example/imported:latest")]
    assert client("load", "-i", archive).splitlines() == expected
    assert client("load", stdin=archive.read_bytes()).splitlines() == expected
    assert orlop.lines("images", "-q") == client.lines("images", "-q")


def test_docker_saves_the_bytes_that_an_engine_saves(client, archive, data, tmp_path):
    client("load", "-q", "-i", archive)
    client("save", "-o", tmp_path / "saved.tar", TINY)
    assert (tmp_path / "saved.tar").read_bytes() == (data / "dockerd-20.10-overlay2" / "tiny.tar").read_bytes()
    # The stream of two images is one archive.
    both = client.run("save", TINY, "example/imported").stdout
    with tarfile.open(fileobj=io.BytesIO(both)) as tar:
        (manifest,) = [tar.extractfile(member) for member in tar if member.name == "manifest.json"]
        assert manifest is not None
        assert [entry["RepoTags"] for entry in json.load(manifest)] == [[TINY], ["example/imported:latest"]]


def test_docker_names_inspects_and_removes(client, archive):
    client("load", "-q", "-i", archive)
    client("tag", TINY, "other:1")
    (tiny,) = client.json("image", "inspect", "other:1")
    assert tiny["RepoTags"] == [TINY, "other:1"]
    assert client.lines("history", "-q", "other:1")[0] == tiny["Id"].removeprefix("sha256:")[:12]
    assert client.lines("rmi", "other:1") == ["Untagged: other:1"]
    assert "image has dependent child images" in client.fails("rmi", tiny["Id"])
    deleted = client.lines("rmi", COMMITTED, "example/imported")
    assert deleted[0] == f"Untagged: {COMMITTED}"
    assert client.lines("images", "--format", "{{.Repository}}:{{.Tag}}") == [TINY]
    assert client.fails("image", "inspect", "nosuch").strip() == "Error: No such image: nosuch"


def test_docker_imports_prunes_and_counts(client):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = 1000
        tar.addfile(member, io.BytesIO(bytes(1000)))
    image_id = client(
        "import", "-c", "CMD run", "-c", "ENV A=b", "-m", "made here", "-", "made:1", stdin=out.getvalue()
    )
    (made,) = client.json("image", "inspect", "made:1")
    assert made["Id"] == image_id.strip()
    assert (made["Comment"], made["Config"]["Env"], made["Size"]) == ("made here", ["A=b"], 1000)
    usage = json.loads(client.lines("system", "df", "--format", "{{json .}}")[0])
    assert (usage["TotalCount"], usage["Size"]) == ("1", "1kB")
    assert client.lines("image", "prune", "-f") == ["Total reclaimed space: 0B"]
    assert client.lines("image", "prune", "-af")[-1] == "Total reclaimed space: 1kB"
    assert client("system", "prune", "-f").strip() == "Total reclaimed space: 0B"


def test_docker_says_what_it_speaks_to(client):
    assert client("version", "--format", "{{.Server.APIVersion}} {{.Server.MinAPIVersion}}").split() == ["1.55", "1.24"]
    assert "orlop keeps images; it runs no containers" in client.run("info").stderr.decode()
    assert client.lines("ps", "-aq") == client.lines("volume", "ls", "-q") == []
    assert client.lines("network", "ls", "--format", "{{.Name}}") == ["bridge"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", ["run --rm alpine", "build -"])
def test_docker_is_told_what_orlop_does_not_do(client, command):
    env = {"DOCKER_BUILDKIT": "0"}
    done = client.run(*command.split(), stdin=b"FROM scratch\n", env=env)
    assert done.returncode != 0
    assert "orlop" in done.stderr.decode()


def test_docker_is_told_what_is_not_there_in_its_own_words(client):
    done = client.run("push", "alpine")
    assert (done.returncode, done.stderr.decode()) == (1, "An image does not exist locally with the tag: alpine\n")


def test_docker_searches_a_registry(client):
    with FakeRegistry(Quirks(search=200)) as there:
        for name in ("team/app", "other"):
            there.repository(name)
        found = client.lines("search", "--format", "{{.Name}} {{.Description}}", f"{there.authority}/app")
        assert found == ["team/app about team/app"]


def test_docker_hears_of_what_the_command_line_does(client, orlop, archive):
    argv = [*client.argv, "events", "--filter", "event=tag", "--format", "{{.Action}} {{.Actor.Attributes.name}}"]
    orlop("load", "-i", archive)
    process = subprocess.Popen(argv, env=client.env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        heard: list[str] = []
        listener = threading.Thread(target=lambda: heard.append(process.stdout.readline()))  # type: ignore[union-attr]
        listener.start()
        for number in range(200):
            orlop("tag", TINY, f"heard:{number}")
            listener.join(0.2)
            if heard:
                break
        assert heard[0].startswith("tag heard:")
    finally:
        process.kill()
        process.communicate()
    # In whole seconds; the events are of this one.
    until = str(int(time.time()) + 1)
    assert len(client.lines("events", "--since", "0", "--until", until, "--filter", "event=load")) == 3


def test_an_engine_loads_what_docker_saves_from_orlop_and_back(client, docker: Docker, archive):
    client("load", "-q", "-i", archive)
    docker("load", "-q", stdin=client.run("save", TINY).stdout)
    assert docker.inspect(TINY)["Id"] == client.json("image", "inspect", TINY)[0]["Id"]
    client("rmi", COMMITTED, TINY)
    client("load", "-q", stdin=docker.run("save", TINY).stdout)
    assert docker.inspect(TINY)["RootFS"] == client.json("image", "inspect", TINY)[0]["RootFS"]


# TCP.


def certificates(folder: Path) -> None:
    """Make an authority, a server's and a client's certificate, and a client's that nobody has signed."""
    openssl = Program([need("openssl")])
    key: list[str | Path] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

    def own(name: str) -> None:
        files: list[str | Path] = ["-keyout", folder / f"{name}-key.pem", "-out", folder / f"{name}.pem"]
        openssl("req", "-x509", *key, *files, "-subj", f"/CN={name}", "-days", "2")

    own("ca")
    own("stranger")
    for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        request = folder / f"{name}.csr"
        openssl("req", *key, "-keyout", folder / f"{name}-key.pem", "-out", request, "-subj", f"/CN={name}")
        extensions = folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n")
        authority: list[str | Path] = ["-CA", folder / "ca.pem", "-CAkey", folder / "ca-key.pem", "-CAcreateserial"]
        openssl(
            "x509",
            "-req",
            "-in",
            request,
            *authority,
            "-days",
            "2",
            "-extfile",
            extensions,
            "-out",
            folder / f"{name}.pem",
        )


def test_docker_comes_in_by_its_certificate_only(orlop, archive, tmp_path):
    certificates(tmp_path)
    files = ["--tlscacert", tmp_path / "ca.pem", "--tlscert", tmp_path / "server.pem"]
    with serving(orlop, "-H", "tcp://127.0.0.1:0", "--tlsverify", *files, "--tlskey", tmp_path / "server-key.pem") as (
        host,
    ):

        def client(name: str) -> Client:
            own = ["--tlscert", tmp_path / f"{name}.pem", "--tlskey", tmp_path / f"{name}-key.pem"]
            return Client(host, tmp_path / "config", "--tlsverify", "--tlscacert", tmp_path / "ca.pem", *own)

        known = client("client")
        assert len(known.lines("load", "-i", archive)) == 3
        assert len(known.run("save", TINY).stdout) > 10000
        client("stranger").fails("images")
        Client(host, tmp_path / "config", "--tls", "--tlscacert", tmp_path / "ca.pem").fails("images")
        Client(host, tmp_path / "config").fails("images")
        # Who speaks no TLS at all keeps nobody else waiting.
        address = host.removeprefix("tcp://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as silent:
            silent.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert len(known.lines("images", "-q")) == 3


def test_docker_comes_in_by_a_token_in_its_configuration(orlop, tmp_path):
    token = tmp_path / "token"
    with serving(orlop, "-H", "tcp://127.0.0.1:0", "--token-file", token) as (host,):
        assert "token" in Client(host, tmp_path / "none").fails("images")
        config = tmp_path / "config"
        config.mkdir()
        headers = {"Authorization": f"Bearer {token.read_text().strip()}"}
        (config / "config.json").write_text(json.dumps({"HttpHeaders": headers}))
        assert Client(host, config).lines("images", "-q") == []


def test_docker_finds_it_by_a_context(client, tmp_path):
    config = tmp_path / "config"
    host = client.env["DOCKER_HOST"]
    own = Program([need("docker"), "--config", config])
    own("context", "create", "orlop", "--docker", f"host={host}")
    assert own("--context", "orlop", "version", "--format", "{{.Server.Version}}") == own(
        "-H", host, "version", "--format", "{{.Server.Version}}"
    )


def test_systemd_starts_it_with_the_first_client(orlop, tmp_path, data):
    activate = need("systemd-socket-activate")
    with tempfile.TemporaryDirectory(prefix="orlop-serve-") as folder:
        path = f"{folder}/api.sock"
        env = environment()
        argv = [activate, "-l", path, "--fdname=api", *orlop.argv, "serve", "-H", "fd://api"]
        process = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr is not None
            # It says that it listens before it starts anything.
            assert path in process.stderr.readline()
            client = Client(f"unix://{path}", tmp_path / "config")
            assert client.lines("load", "-i", data / "dockerd-20.10-overlay2" / "tiny.tar") == [f"Loaded image: {TINY}"]
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.communicate()
        assert Path(path).exists()
