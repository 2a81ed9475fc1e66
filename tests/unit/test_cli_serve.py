"""`orlop serve` as a process: how it starts, what it says, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.streams.directory import outside
from orlop.streams.file_lock import FileLock
from tests.needs import need
from tests.unit.served import Client, is_active
from tests.waiting import listens, until

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60
ORLOP = [sys.executable, "-m", "orlop"]
TINY = "dockerd-20.10-overlay2/tiny.tar"


def environment(**more: str) -> dict[str, str]:
    hidden = ("ORLOP_", "DOCKER_", "XDG_", "LISTEN_", "NOTIFY_")
    return {key: value for key, value in os.environ.items() if not key.startswith(hidden)} | more


class Served:
    """A server in a process of its own; its socket is `api.sock` in the folder, if no other place is named."""

    def __init__(self, folder: Path, *options: str, **variables: str) -> None:
        self.client = Client(str(folder / "api.sock"))
        places = [] if "-H" in options or variables else ["-H", f"unix://{self.client.path}"]
        command = [*ORLOP, "--root", str(folder / "root"), "serve", *places, *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment(**variables), text=True)
        assert self.process.stderr is not None
        self.first = self.process.stderr.readline()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end, and return its status and what else it said."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said


@contextmanager
def serve(folder: Path, *options: str, **variables: str) -> Iterator[Served]:
    served = Served(folder, *options, **variables)
    try:
        yield served
    finally:
        served.process.kill()
        served.process.communicate()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_server_says_where_it_listens_and_ends_when_asked(tmp_path, number):
    with serve(tmp_path) as served:
        assert served.first == f"Listening on unix://{served.client.path}\n"
        assert stat.S_IMODE(Path(served.client.path).stat().st_mode) == 0o600
        assert served.client.get("/_ping").body == b"OK"
        assert served.end(number) == (0, "")
    assert not Path(served.client.path).exists()


@pytest.mark.sampled(3)
def test_servers_and_the_command_line_share_a_store(tmp_path, data):
    first, second = tmp_path / "1", tmp_path / "2"
    (tmp_path / "root").mkdir()
    for folder in (first, second):
        folder.mkdir()
        (folder / "root").symlink_to(tmp_path / "root")
    with serve(first) as one, serve(second) as other:
        one.client.post("/images/load", body=(data / TINY).read_bytes())
        subprocess.run([*ORLOP, "--root", tmp_path / "root", "tag", "example/tiny:1.0", "again"], check=True)
        tags = [image["RepoTags"] for image in other.client.get("/images/json").json]
        assert [sorted(names) for names in tags] == [["again:latest", "example/tiny:1.0"]]


@contextmanager
def uploading(client: Client, archive: bytes) -> Iterator[socket.socket]:
    """Send all of an archive but its end."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(client.path)
        head = f"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: {len(archive)}\r\n\r\n"
        connection.sendall(head.encode() + archive[:-100])
        until(lambda: is_active(client, 2))
        yield connection


@pytest.mark.sampled(2)
def test_an_upload_that_is_under_way_is_finished_before_the_end(tmp_path, data):
    archive = (data / TINY).read_bytes()
    with serve(tmp_path) as served, uploading(served.client, archive) as connection:
        served.process.terminate()
        until(lambda: not listens(served.client.path))
        connection.sendall(archive[-100:])
        answer = connection.recv(100000)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert served.process.wait(PATIENCE) == 0
    with orlop.open(tmp_path / "root") as images:
        assert len(images.images()) == 1


@pytest.mark.sampled(2)
@pytest.mark.parametrize("twice", [False, True])
def test_an_upload_that_does_not_come_to_its_end_is_undone(tmp_path, data, twice):
    archive = (data / TINY).read_bytes()
    with serve(tmp_path, "--grace", "600" if twice else "0.2") as served, uploading(served.client, archive):
        served.process.terminate()
        if twice:
            until(lambda: not listens(served.client.path))
            served.process.terminate()
        assert served.process.wait(PATIENCE) == 0
    with orlop.open(tmp_path / "root") as images:
        assert images.images() == []
        assert list((tmp_path / "root" / "ingest").iterdir()) == []


def waits_for_a_lock(pid: int) -> bool:
    """Whether a thread of a process waits for a lock that another process has on a file."""
    return any("->" in line and f" {pid} " in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.mark.sampled(4)
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("stuck", [True, False])
def test_a_thread_that_waits_does_not_keep_the_process(tmp_path, twice, stuck):
    """It waits for a server elsewhere to take its connection, or for a lock that another process has."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as busy,
        socket.create_connection(busy.getsockname()),
        serve(tmp_path, "--grace", "600" if twice else "0.2") as served,
        FileLock(outside(str(tmp_path / "root" / "write.lock"))) if stuck else nullcontext(),
        socket.socket(socket.AF_UNIX) as client,
    ):
        path = "/images/prune" if stuck else f"/images/create?fromSrc=http://127.0.0.1:{busy.getsockname()[1]}/root.tar"
        client.connect(served.client.path)
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        until(lambda: waits_for_a_lock(served.process.pid) if stuck else is_active(served.client, 2))
        begin = time.monotonic()
        served.process.terminate()
        if twice:
            until(lambda: not listens(served.client.path))
            served.process.terminate()
        _, said = served.process.communicate(timeout=PATIENCE)
        # The thread alone would take until the minute is over, or for ever.
        assert time.monotonic() - begin < 40
    assert served.process.returncode == 0
    assert "the server ended before all work was undone" not in said


def test_the_socket_is_in_the_users_directory_where_no_place_is_named(tmp_path):
    with serve(tmp_path, XDG_RUNTIME_DIR=str(tmp_path)) as served:
        assert served.first == f"Listening on unix://{tmp_path}/orlop.sock\n"


@pytest.mark.sampled(2)
def test_sockets_of_systemd_are_taken(tmp_path):
    path = str(tmp_path / "api.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.bind(str(tmp_path / "notify"))
    notices.settimeout(PATIENCE)
    # systemd puts the sockets behind the standard streams, and names the process.
    code = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
    code += "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
    inherited = str(listener.fileno())
    command = [sys.executable, "-c", code, inherited, "-m", "orlop", "--root", str(tmp_path / "root"), "serve"]
    env = environment(NOTIFY_SOCKET=str(tmp_path / "notify"), LISTEN_FDS="1", LISTEN_FDNAMES="api")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=env, text=True, pass_fds=[listener.fileno()])
    listener.close()
    try:
        assert notices.recv(100) == b"READY=1"
        assert Client(path).get("/_ping").status == 200
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE)
        assert (process.returncode, said) == (0, f"Listening on unix://{path}\n")
    finally:
        process.kill()
        process.communicate()
        notices.close()
    # It is systemd's.
    assert Path(path).exists()


@pytest.mark.sampled(2)
def test_a_token_is_made_where_there_is_none(tmp_path):
    file = tmp_path / "token"
    with serve(tmp_path, "-H", "tcp://127.0.0.1:0", "--token-file", str(file)) as served:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        token = file.read_text().strip()
        assert len(token) >= 32
        address = served.first.rpartition("tcp://")[2].strip()
        for word, status in ((token, 200), ("x", 401)):
            connection = http.client.HTTPConnection(address, timeout=PATIENCE)
            connection.request("GET", "/_ping", headers={"Authorization": f"Bearer {word}"})
            assert connection.getresponse().status == status
            connection.close()


@pytest.mark.sampled(3)
def test_requests_are_logged(tmp_path, data):
    log = tmp_path / "access.log"
    archive = (data / TINY).read_bytes()
    with serve(tmp_path, "--access-log", str(log)) as served:
        served.client.post("/v1.41/images/load?quiet=1", body=archive)
        served.client.get("/images/%1b%22%20/json")
        served.end()
    first, second = log.read_text().splitlines()
    client = f"uid={os.getuid()},pid={os.getpid()}"
    assert f' {client} "POST /v1.41/images/load?quiet=1" 200 {len(archive)} ' in first
    assert f' {client} "GET /images/%1b%22%20/json" 400 0 ' in second


def certify(folder: Path, name: str) -> str:
    """Put a new certificate and its key in the place of the old ones, and return the certificate."""
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([need("openssl"), "req", "-x509", *kind, *files], cwd=folder, check=True, capture_output=True)
    return (folder / "cert.pem").read_text()


@pytest.mark.sampled(2)
def test_certificates_are_read_again_when_asked_and_stay_where_they_cannot_be_used(tmp_path):
    old = certify(tmp_path, "old")
    options = ["-H", "tcp://127.0.0.1:0", "--tls", "--token-file", str(tmp_path / "token")]
    with serve(tmp_path, *options, DOCKER_CERT_PATH=str(tmp_path)) as served:
        assert served.process.stderr is not None
        host, _, port = served.first.rpartition("tcp://")[2].strip().partition(":")

        def shown() -> str:
            return ssl.get_server_certificate((host, int(port)), timeout=PATIENCE)

        assert shown() == old
        new = certify(tmp_path, "new")
        served.process.send_signal(signal.SIGHUP)
        until(lambda: shown() != old)
        assert shown() == new
        certify(tmp_path, "newest")
        (tmp_path / "key.pem").write_text("no key")
        served.process.send_signal(signal.SIGHUP)
        assert "the certificates stay unchanged" in served.process.stderr.readline()
        assert shown() == new
        assert served.end() == (0, "")


@pytest.mark.sampled(2)
def test_a_full_disk_under_the_access_log_is_told_once_and_no_reason_to_fail(tmp_path):
    with serve(tmp_path, "--access-log", "/dev/full") as served:
        for _ in range(2):
            assert served.client.get("/_ping").body == b"OK"
        status, said = served.end()
    assert (status, said.count("\n")) == (0, 1)
    assert "access log" in said


@pytest.mark.sampled(4)
def test_what_would_be_open_to_all_is_refused(tmp_path):
    token = tmp_path / "token"
    token.write_text("sesame")
    token.chmod(0o644)
    for options, status, why in [
        (("-H", "tcp://127.0.0.1:0"), 3, "--token-file"),
        (("-H", "tcp://0.0.0.0:0", "--allow-anonymous"), 3, "--tls"),
        (("-H", "tcp://127.0.0.1:0", "--token-file", str(token)), 7, "chmod 600"),
        (("-H", "nonsense"), 3, "unix:///path"),
        (("-G", "nosuchgroup"), 3, "nosuchgroup"),
        (("--max-body", "much"), 2, "500m"),
        (("-H", f"unix://{tmp_path}/nosuch/s"), 7, "No such file"),
        (("-H", "fd://"), 7, "systemd"),
    ]:
        command = [*ORLOP, "--root", str(tmp_path / "root"), "serve", *options]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == status
        assert why in done.stderr


def test_a_missing_extra_is_named(tmp_path):
    code = "import sys; sys.modules['starlette'] = None; from orlop.cli.main import main; main()"
    command = [sys.executable, "-c", code, "--root", str(tmp_path / "root"), "serve", "-H", "fd://"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 1
    assert "pip install 'orlop[serve]'" in done.stderr


@pytest.mark.sampled(3)
def test_memory_of_a_server_stays_small(tmp_path, data):
    with serve(tmp_path) as served:
        archive = (data / TINY).read_bytes()
        for _ in range(20):
            served.client.post("/images/load", body=archive)
            json.dumps(served.client.get("/images/json").json)
        status = Path(f"/proc/{served.process.pid}/status").read_text()
    (peak,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
    assert peak < 100 << 10


@pytest.mark.sampled(3)
def test_a_server_without_descriptors_says_so_once_and_goes_on(tmp_path):
    path = str(tmp_path / "api.sock")
    command = [*ORLOP, "--root", str(tmp_path / "root"), "serve", "-H", f"unix://{path}"]
    few = [need("prlimit"), "--nofile=40:40", *command]
    process = subprocess.Popen(few, stderr=subprocess.PIPE, env=environment(), text=True)
    assert process.stderr is not None
    try:
        assert process.stderr.readline().startswith("Listening")
        many = [socket.socket(socket.AF_UNIX) for _ in range(60)]
        for one in many:
            one.connect(path)
        assert "Too many open files" in process.stderr.readline()
        for one in many:
            one.close()
        assert Client(path).get("/_ping").status == 200
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE)
        assert (process.returncode, said) == (0, "")
    finally:
        process.kill()
        process.communicate()
