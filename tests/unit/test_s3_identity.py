"""Credentials from the usual places: real programs, files and servers, and a strict object store."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
import socketserver
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from orlop.errors import BucketUnavailable, InvalidInput, OrlopError, PermissionDenied, StorageError
from orlop.store.blobs.s3 import identity, temporary
from orlop.store.blobs.s3.bucket import Bucket
from orlop.store.blobs.s3.client import S3Client
from orlop.store.blobs.s3.identity import Renewed, credentials_of
from orlop.store.blobs.s3.settings import Credentials, S3Settings
from orlop.store.blobs.s3.temporary import Lent, from_container, from_machine, from_process
from orlop.streams.waiting import content_of
from tests.ports import free_port
from tests.s3_strict import ACCESS, SECRET, strict_s3
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.store.blobs.s3.settings import CredentialSource

pytestmark = pytest.mark.sampled(3)

_ROLE = "arn:aws:iam::1:role/ci"
_NOW = 1_800_000_000.0
# Its path may have spaces.
_PYTHON = shlex.quote(sys.executable)


class Authority:
    """A token service, a container's agent and a machine's metadata in one server, which counts what it lends."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.token = "token-1"
        self.until = _NOW + 3600
        self.status = 200
        self.lent = 0
        self.seen: list[tuple[str, str]] = []

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        self.seen.append((method, path))
        if self.status != 200:
            return self.status, b"the-secret is shown by a server that fails"
        if path == "/latest/api/token":
            return (200, b"meta-token") if method == "PUT" else (405, b"")
        if path.startswith("/latest/"):
            if headers.get("X-aws-ec2-metadata-token") != "meta-token":
                return 401, b""
            return (200, b"builder") if path.endswith("/") else (200, self._json())
        if path == "/agent":
            return (200, self._json()) if headers.get("Authorization") == "agent-token" else (403, b"")
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        wanted = {"Action": "AssumeRoleWithWebIdentity", "RoleArn": _ROLE, "WebIdentityToken": "web-token"}
        if method != "POST" or not wanted.items() <= asked.items():
            return 403, b""
        self.lent += 1
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in self._keys("SessionToken").items())
        return 200, f"<R><AssumeRoleWithWebIdentityResult><Credentials>{inner}</Credentials></R>".encode()

    def _json(self) -> bytes:
        self.lent += 1
        return json.dumps({"Code": "Success", **self._keys("Token")}).encode()

    def _keys(self, token: str) -> dict[str, str]:
        end = datetime.fromtimestamp(self.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"AccessKeyId": ACCESS, "SecretAccessKey": SECRET, token: self.token, "Expiration": end}


@pytest.fixture
def authority() -> Iterator[Authority]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            status, content = found.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 - the names of `http.server`

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Authority(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str, str], str]:
    def write(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


@contextmanager
def bucket(credentials: Credentials | CredentialSource, token: str, patience: float = 0.0) -> Iterator[Bucket]:
    """Return a bucket of a server that takes only what is signed with a token."""
    with strict_s3() as s3:
        s3.token = token
        client = S3Client(s3.settings(credentials=credentials, patience=patience))
        yield Bucket(client)
        client.close()


def taken(credentials: Credentials | CredentialSource, token: str = "token-1") -> bool:
    with bucket(credentials, token) as found:
        return not list(found.objects("blobs/"))


def usual(authority: Authority, now: Any = lambda: _NOW, **variables: str) -> Any:
    variables.setdefault("AWS_ENDPOINT_URL_STS", authority.url)
    return credentials_of(variables, region="eu-west-1", endpoint="http://s3.test", allow_http=True, now=now)


def every(authority: Authority, place: Callable[[str, str], str], how: str) -> Any:
    """Return the credentials of one of the usual places."""
    token = place("token", "web-token\n")
    if how == "web":
        return usual(authority, AWS_WEB_IDENTITY_TOKEN_FILE=token, AWS_ROLE_ARN=_ROLE)
    if how == "profile":
        text = f"[profile ci]\nrole_arn = {_ROLE}\nweb_identity_token_file = {token}\n"
        return usual(authority, AWS_PROFILE="ci", AWS_CONFIG_FILE=place("config", text))
    if how == "agent":
        where = place("agent", "agent-token\n")
        full = f"{authority.url}/agent"
        return usual(authority, AWS_CONTAINER_CREDENTIALS_FULL_URI=full, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=where)
    return usual(authority, AWS_EC2_METADATA_SERVICE_ENDPOINT=authority.url)


@pytest.mark.parametrize("how", ["web", "profile", "agent", "machine"])
def test_what_is_lent_signs_requests_and_is_asked_for_once(
    authority: Authority, place: Callable[[str, str], str], how: str
) -> None:
    found = every(authority, place, how)
    assert taken(found)
    assert taken(found)
    assert authority.lent == 1


@pytest.mark.parametrize("how", ["web", "profile", "agent", "machine"])
def test_a_refusal_is_one_error_that_shows_nothing_of_it(
    authority: Authority, place: Callable[[str, str], str], how: str
) -> None:
    authority.status = 500
    with pytest.raises(PermissionDenied) as caught:
        every(authority, place, how)(False)
    shown = str(caught.value)
    assert "500" in shown
    assert not [one for one in ("the-secret", "token-1", "web-token", "agent-token", SECRET) if one in shown]


def test_keys_of_profiles_sign(authority: Authority, place: Callable[[str, str], str], tmp_path: Path) -> None:
    keys = f"aws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\naws_session_token = token-1\n"
    (tmp_path / ".aws").mkdir()
    place(".aws/credentials", f"[default]\naws_access_key_id = other\naws_secret_access_key = s\n[ci]\n{keys}")
    place(".aws/config", "[default]\nregion = x\n[profile ci]\ns3 =\n  addressing_style = path\n")
    assert taken(usual(authority, HOME=str(tmp_path), AWS_PROFILE="ci"))
    assert usual(authority, HOME=str(tmp_path)).access_key == "other"
    assert usual(authority, HOME=str(tmp_path / "none")).access_key == ""


def test_what_is_refused_without_a_signature_is_asked_for_with_one() -> None:
    given = [Lent(Credentials(), 0.0), Lent(Credentials(ACCESS, SECRET, "token-1"), None)]
    # The metadata was silent at first, and nobody waits for half a minute.
    with bucket(Renewed(lambda: given.pop(0), lambda: _NOW), "token-1", patience=10) as found:
        assert not list(found.objects("blobs/"))
    nobody = Renewed(lambda: Lent(Credentials(), 0.0), lambda: _NOW)
    with bucket(nobody, "token-1") as found, pytest.raises(StorageError, match="403"):
        list(found.objects("blobs/"))


@pytest.mark.parametrize("section", ["default", "profile default", 'profile "default"'])
def test_the_default_profile_may_be_called_one(
    authority: Authority, place: Callable[[str, str], str], section: str
) -> None:
    config = place("config", f"[{section}]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert usual(authority, AWS_CONFIG_FILE=config).access_key == "a"
    assert usual(authority, AWS_CONFIG_FILE=config, AWS_PROFILE="default").access_key == "a"


def test_a_default_profile_that_is_called_one_comes_first(
    authority: Authority, place: Callable[[str, str], str]
) -> None:
    config = place(
        "config",
        "[default]\naws_access_key_id = a\n[profile default]\naws_access_key_id = b\naws_secret_access_key = c\n",
    )
    assert usual(authority, AWS_CONFIG_FILE=config).access_key == "b"


def test_names_and_values_may_stand_in_quotes(authority: Authority, place: Callable[[str, str], str]) -> None:
    text = '[profile "my  own"]\naws_access_key_id = "a"\naws_secret_access_key = \'b"\'\n[profile it\'s]\nregion = "\n'
    found = usual(authority, AWS_CONFIG_FILE=place("config", text), AWS_PROFILE="my  own")
    assert (found.access_key, found.secret_key) == ("a", 'b"')


@pytest.mark.parametrize("variable", ["AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE"])
def test_a_pipe_that_nobody_fills_is_one_error(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setattr(identity, "content_of", partial(content_of, seconds=0.2))
    monkeypatch.setattr(temporary, "content_of", partial(content_of, seconds=0.2))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OrlopError, match="nobody fills it"):
        usual(authority, **{variable: str(tmp_path / "pipe"), "AWS_ROLE_ARN": _ROLE})(False)


def test_keys_in_variables_come_first(authority: Authority) -> None:
    found = usual(authority, AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN="token-1")
    assert taken(found)
    assert not authority.seen


def test_a_program_says_credentials(authority: Authority, place: Callable[[str, str], str]) -> None:
    said = {"Version": 1, "AccessKeyId": ACCESS, "SecretAccessKey": SECRET, "SessionToken": "token-1"}
    program = place("program.py", f"print({json.dumps(said)!r})")
    config = place("config", f'[default]\ncredential_process = {_PYTHON} "{program}"\n')
    found = usual(authority, AWS_CONFIG_FILE=config)
    assert taken(found)
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("import sys; print('the-secret', file=sys.stderr); sys.exit(3)", PermissionDenied),
        ("print('the-secret')", PermissionDenied),
        ('print(\'{"AccessKeyId": "the-secret"}\')', PermissionDenied),
        ('print(\'{"AccessKeyId": "a", "SecretAccessKey": "the-secret", "Expiration": 5}\')', PermissionDenied),
    ],
)
def test_a_program_that_fails_is_one_error(
    place: Callable[[str, str], str], program: str, error: type[OrlopError]
) -> None:
    with pytest.raises(error) as caught:
        from_process(f"{_PYTHON} {shlex.quote(place('program.py', program))}")
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize(("command", "error"), [("'", InvalidInput), ("", InvalidInput), ("/none", PermissionDenied)])
def test_a_command_that_cannot_run_is_one_error(command: str, error: type[OrlopError]) -> None:
    with pytest.raises(error):
        from_process(command)


@pytest.mark.parametrize(
    ("variables", "config", "words"),
    [
        ({"AWS_PROFILE": "none"}, "", "the profile 'none' does not exist"),
        ({"AWS_PROFILE": "ci"}, "[profile ci]\nregion = x\n", "has no credentials"),
        ({"AWS_PROFILE": "ci"}, "[profile ci]\naws_access_key_id = x\n", "set aws_secret_access_key as well"),
        ({"AWS_ACCESS_KEY_ID": "x"}, "", "set AWS_SECRET_ACCESS_KEY as well"),
        ({"AWS_PROFILE": "ci"}, "[profile ci]\nsso_session = corp\n", "uses sso_session"),
        ({"AWS_PROFILE": "ci"}, f"[profile ci]\nrole_arn = {_ROLE}\nsource_profile = x\n", "uses source_profile"),
        ({}, "aws_secret_access_key = the-secret\n", "not a valid file"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/x"}, "", "AWS_ROLE_ARN"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(
    authority: Authority, place: Callable[[str, str], str], variables: dict[str, str], config: str, words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        usual(authority, AWS_CONFIG_FILE=place("config", config), **variables)
    assert words in str(caught.value)
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/x", "http://169.254.170.2@evil.test/", "ftp://127.0.0.1/", "http:///"]
)
def test_a_token_goes_to_no_agent_elsewhere_without_encryption(url: str) -> None:
    with pytest.raises(InvalidInput):
        from_container(url, "agent-token", "", ca=None)


def test_a_token_service_is_asked_with_encryption_only() -> None:
    with pytest.raises(InvalidInput):
        credentials_of({"AWS_ENDPOINT_URL_STS": "http://sts.test"}, region="eu-west-1")


def test_only_a_machine_of_aws_is_asked_for_metadata(authority: Authority) -> None:
    assert isinstance(usual(authority), Credentials)
    assert isinstance(credentials_of({}, region="eu-west-1"), Renewed)
    assert isinstance(credentials_of({"AWS_EC2_METADATA_DISABLED": "true"}, region="eu-west-1"), Credentials)
    closed = f"http://127.0.0.1:{free_port()}"
    assert from_machine(closed, is_given=False).credentials.access_key == ""
    with pytest.raises(BucketUnavailable):
        from_machine(closed, is_given=True)


# Answers of those who are not what they should be.


@contextmanager
def saying(answer: bytes, *, every: float | None = None) -> Iterator[str]:
    """Answer each request with some bytes, and then with one more byte every some seconds, for ever."""
    is_over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            with suppress(OSError):
                self.request.sendall(answer)
                while every is not None and not is_over.wait(every):
                    self.request.sendall(b"x")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        is_over.set()
        server.shutdown()
        thread.join()


_HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("how", ["web", "agent", "machine"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b"<AccessKeyId>\xff</AccessKeyId><SecretAccessKey>the-secret</SecretAccessKey>",
        b"<AccessKeyId>a\r\nb: c</AccessKeyId><SecretAccessKey>the-secret</SecretAccessKey>",
        b'{"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "the-secret\\nx"}',
        b'{"AccessKeyId": "a", "SecretAccessKey": "the-secret\\ud800"}',
        "{}\n☃".encode(),
        b"the-secret\nx",
        b"x" * (2 << 20),
    ],
)
def test_an_answer_of_somebody_else_is_one_error(
    authority: Authority, place: Callable[[str, str], str], how: str, body: bytes
) -> None:
    with saying(_HEAD + body) as url:
        authority.url = url
        with pytest.raises((PermissionDenied, BucketUnavailable)) as caught:
            every(authority, place, how)(False)
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize("answer", [_HEAD, b"HTTP/1.1 200 OK\r\nSlow: "])
def test_an_answer_without_an_end_is_one_error(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    monkeypatch.setattr(temporary, "_WHOLE", 0.5)
    with saying(answer, every=0.1) as url, pytest.raises(BucketUnavailable):
        from_machine(url, is_given=True)


@pytest.mark.parametrize("place", ["stdout", "stderr"])
def test_a_program_that_prints_without_an_end_takes_no_memory(place: str) -> None:
    endless = f"import sys\nfor _ in range(512): sys.{place}.write('x' * (1 << 20))"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PermissionDenied):
        from_process(f'{_PYTHON} -c "{endless}"')
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_program_that_does_not_end_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary, "_RUNNING", 0.3)
    with pytest.raises(PermissionDenied, match="runs for more than"):
        from_process(f'{_PYTHON} -c "import time; time.sleep(60)"')


@pytest.mark.parametrize("token", ["a\nb", "☃"])
def test_a_token_that_no_header_can_have_is_one_error(token: str) -> None:
    with pytest.raises(InvalidInput):
        from_container("http://127.0.0.1:9/", token, "", ca=None)


@pytest.mark.parametrize("values", [("the-secret\n",), ("a☃",), ("a", "the-secret\udcff"), ("a", "b", "the-secret\n")])
def test_keys_that_no_header_can_have_are_refused_at_once(authority: Authority, values: tuple[str, ...]) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    with pytest.raises(InvalidInput) as caught:
        usual(authority, **dict(zip(names, values, strict=False)))
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_STS", "AWS_EC2_METADATA_SERVICE_ENDPOINT"])
@pytest.mark.parametrize("url", ["http://[", "nonsense", "ftp://x"])
def test_an_address_that_is_none_is_one_error(name: str, url: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        credentials_of({name: url}, region="eu-west-1", endpoint="http://s3.test", allow_http=True)


def test_an_endpoint_that_is_none_is_one_error() -> None:
    with pytest.raises(InvalidInput):
        S3Settings("images", endpoint="https://[")


def test_a_home_that_is_not_a_folder_has_no_profiles(authority: Authority) -> None:
    assert usual(authority, HOME="/dev/null").access_key == ""


# Renewal.


class Time:
    now = _NOW

    def __call__(self) -> float:
        return self.now


def test_credentials_are_renewed_before_they_end(authority: Authority) -> None:
    clock = Time()
    found = usual(authority, clock, AWS_EC2_METADATA_SERVICE_ENDPOINT=authority.url)
    assert found(False).session_token == "token-1"
    clock.now += 3600 - 301
    found(False)
    assert authority.lent == 1
    clock.now += 2
    authority.token, authority.until = "token-2", clock.now + 3600
    assert found(False).session_token == "token-2"
    assert authority.lent == 2


def test_what_is_still_good_is_used_while_renewal_fails(authority: Authority) -> None:
    clock = Time()
    found = usual(authority, clock, AWS_EC2_METADATA_SERVICE_ENDPOINT=authority.url)
    found(False)
    authority.status = 503
    clock.now += 3400
    before = len(authority.seen)
    assert [found(False).session_token for _ in range(10)] == ["token-1"] * 10
    assert len(authority.seen) == before + 1
    clock.now += 201
    with pytest.raises(OrlopError):
        found(False)
    authority.status, authority.until = 200, clock.now + 3600
    assert found(False).session_token == "token-1"


def test_a_server_that_refuses_an_old_token_leads_to_a_new_one(authority: Authority) -> None:
    found = usual(authority, AWS_EC2_METADATA_SERVICE_ENDPOINT=authority.url)
    assert found(False).session_token == "token-1"
    authority.token = "token-2"
    with strict_s3() as s3:
        s3.token = "token-2"
        client = S3Client(s3.settings(credentials=found))
        assert not list(Bucket(client).objects("blobs/"))
        client.close()


def test_a_machine_that_is_silent_for_a_moment_does_not_take_keys_away() -> None:
    clock, lent = Time(), [Lent(Credentials("a", "b"), _NOW + 600), Lent(Credentials(), 0.0), Lent(Credentials(), 0.0)]
    found = Renewed(lambda: lent.pop(0), clock)
    found(False)
    clock.now += 400
    assert found(False).access_key == "a"
    clock.now += 300
    with pytest.raises(BucketUnavailable):
        found(False)


def test_nobody_waits_for_a_renewal_while_keys_are_good() -> None:
    asked, go = threading.Event(), threading.Event()

    def renew() -> Lent:
        asked.set()
        assert go.wait(PATIENCE)
        return Lent(Credentials("new", "b"), None)

    def lend() -> Lent:
        return lends.pop(0)()

    lends = [lambda: Lent(Credentials("old", "b"), _NOW + 600), renew]
    clock = Time()
    found = Renewed(lend, clock)
    found(False)
    clock.now += 400
    thread = threading.Thread(target=found, args=(False,))
    thread.start()
    assert asked.wait(PATIENCE)
    assert found(False).access_key == "old"
    go.set()
    thread.join()
    assert found(False).access_key == "new"


def test_threads_whose_keys_are_refused_together_share_a_renewal() -> None:
    waits, go = threading.Event(), threading.Event()
    lent: list[str] = []

    class Guard:
        def __init__(self) -> None:
            self._lock = threading.Lock()

        def acquire(self, blocking: bool = True) -> bool:  # noqa: FBT001, FBT002 - as locks have it
            if self._lock.acquire(blocking=False):
                return True
            waits.set()
            return blocking and self._lock.acquire()

        def release(self) -> None:
            self._lock.release()

    def lend() -> Lent:
        lent.append("key")
        assert len(lent) == 1 or go.wait(PATIENCE)
        return Lent(Credentials(f"key-{len(lent)}", "b"), None)

    found: Any = Renewed(lend)
    found(False)
    found._guard = Guard()
    threads = [threading.Thread(target=found, args=(True,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert waits.wait(PATIENCE)
    go.set()
    for thread in threads:
        thread.join()
    assert len(lent) == 2
    assert found(False).access_key == "key-2"


def test_a_child_renews_though_a_thread_of_its_parent_did() -> None:
    found = Renewed(lambda: Lent(Credentials("a", "b"), None))
    with found._guard:
        child = os.fork()
        if not child:
            signal.alarm(int(PATIENCE))
            os._exit(0 if found(False).access_key == "a" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
