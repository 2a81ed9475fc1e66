"""Temporary credentials: from a program, a token service, a container's agent, the metadata of a machine.

Each function asks once and returns what it was lent. Redirects are not followed, proxies are not asked, answers are
bounded, and no message shows what was answered.
Sources: "Credential process", "AssumeRoleWithWebIdentity", "Container credential provider" and "Instance metadata
service" in the documentation of AWS.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import urllib3

from orlop.errors import BucketUnavailable, InvalidInput, PermissionDenied
from orlop.model.tuples import NamedTuple
from orlop.store.blobs.s3.client import TORN, reason_of
from orlop.store.blobs.s3.settings import Credentials, is_loopback, is_plain, parts_of
from orlop.streams.programs import ProgramTimeout, answer_of
from orlop.streams.waiting import awaited, content_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST: Final = 1 << 20
_TIMEOUT: Final = 5.0
_WHOLE: Final = 15.0
"""Seconds within which an answer is there as a whole."""
_LOOKING: Final = 0.5
_NEAR: Final = 1.0
"""Seconds within which the metadata of a machine answers, if there is any."""
_RUNNING: Final = 60.0
_OK: Final = 200
_AGENTS: Final = frozenset(("169.254.170.2", "169.254.170.23", "fd00:ec2::23"))
"""Where agents of containers are asked without encryption, beside this machine."""
_XML: Final = {
    "AccessKeyId": re.compile(rb"<AccessKeyId>([^<]+)</AccessKeyId>"),
    "SecretAccessKey": re.compile(rb"<SecretAccessKey>([^<]+)</SecretAccessKey>"),
    "SessionToken": re.compile(rb"<SessionToken>([^<]+)</SessionToken>"),
    "Expiration": re.compile(rb"<Expiration>([^<]+)</Expiration>"),
}


class Lent(NamedTuple):
    """Credentials, and until when they are good, in seconds since 1970; None where they do not end."""

    credentials: Credentials
    until: float | None


def from_process(command: str) -> Lent:
    """Run a program that prints credentials as JSON. No shell reads the command.

    Raises:
        InvalidInput: the command is not valid. PermissionDenied: it fails, or prints something else.
    """
    what = "the program of credential_process"
    try:
        status, said = answer_of(shlex.split(command), seconds=_RUNNING, most=_MOST)
    except (ValueError, IndexError):
        raise InvalidInput("credential_process is not a valid command; check its quotes") from None
    except (OSError, ProgramTimeout) as error:
        why = error.strerror if isinstance(error, OSError) else f"it runs for more than {_RUNNING:.0f} seconds"
        raise PermissionDenied(f"{what} does not work: {why}; run it yourself to see why") from None
    if status:
        raise PermissionDenied(f"{what} ended with status {status}; run it yourself to see why")
    return _from_json(said, "SessionToken", what)


def from_web_identity(service: str, path: str, role: str, session: str, *, ca: str | None) -> Lent:
    """Change the token in a file for credentials of a role. The file is read anew each time: others renew it."""
    token = _token(path)
    terms = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15"}
    terms |= {"RoleArn": role, "RoleSessionName": session, "WebIdentityToken": token}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    body = _asked(
        "POST", f"{service.rstrip('/')}/", headers, "the token service", ca=ca, body=urlencode(terms).encode()
    )
    found = {name: match[1].decode("latin-1") for name, one in _XML.items() if (match := one.search(body))}
    return _lent(found, "SessionToken", "the token service")


def from_container(url: str, token: str, path: str, *, ca: str | None) -> Lent:
    """Ask the agent of a container."""
    _require_near(url)
    token = _token(path) if path else token
    if not is_plain(token):
        raise InvalidInput("the token for the container's agent is not one line of ASCII; check where it comes from")
    headers = {"authorization": token} if token else {}
    return _from_json(_asked("GET", url, headers, "the container's agent", ca=ca), "Token", "the container's agent")


def from_machine(endpoint: str, *, is_given: bool) -> Lent:
    """Return what the metadata service of a machine (version 2) gives; without one, nothing is signed for now."""
    base, what = endpoint.rstrip("/"), "the metadata of the machine"
    try:
        ttl = {"x-aws-ec2-metadata-token-ttl-seconds": "21600"}
        token = _asked("PUT", f"{base}/latest/api/token", ttl, what, seconds=_NEAR).decode("latin-1")
    except BucketUnavailable:
        if is_given:
            raise
        return Lent(Credentials(), 0.0)
    if not is_plain(token):
        raise PermissionDenied(f"{what} does not return a token; check who answers at its address")
    headers = {"x-aws-ec2-metadata-token": token}
    place = f"{base}/latest/meta-data/iam/security-credentials/"
    role = _asked("GET", place, headers, what).decode("latin-1").strip().partition("\n")[0]
    if not re.fullmatch(r"[\w+=,.@-]{1,128}", role):
        raise PermissionDenied(f"{what} names no role; give the machine one, or set AWS_ACCESS_KEY_ID")
    return _from_json(_asked("GET", place + role, headers, what), "Token", what)


def _require_near(url: str) -> None:
    parts = parts_of(url)
    host = parts.hostname or ""
    is_near = host in _AGENTS or is_loopback(host)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_near):
        raise InvalidInput("AWS_CONTAINER_CREDENTIALS_FULL_URI is neither encrypted nor of this machine; use https")


def _token(path: str) -> str:
    try:
        return content_of(path, _MOST).decode().strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise PermissionDenied(f"cannot read the token in {path}: {why}; check who may read it") from None


def _asked(
    method: str,
    url: str,
    headers: Mapping[str, str],
    what: str,
    *,
    ca: str | None = None,
    body: bytes | None = None,
    seconds: float = _TIMEOUT,
) -> bytes:
    timeout = urllib3.Timeout(connect=seconds, read=_TIMEOUT)
    authorities: dict[str, Any] = {"ca_certs": ca} if ca else {}
    end = time.monotonic() + _WHOLE

    def ask() -> tuple[int, bytes]:
        with urllib3.PoolManager(timeout=timeout, **authorities) as pool:
            answer = pool.request(
                method, url, headers=headers, body=body, retries=False, redirect=False, preload_content=False
            )
            content = bytearray()
            with closing(answer):
                while len(content) < _MOST and (piece := answer.read1(1 << 16, decode_content=False)):
                    in_time()
                    content += piece
            return answer.status, bytes(content)

    def in_time() -> None:
        if time.monotonic() > end:
            raise TimeoutError

    try:
        # Each byte of an answer begins a timeout of its own.
        status, content = awaited(ask, in_time, every=_LOOKING)
    except TORN as error:
        msg = f"cannot get credentials from {what}: {reason_of(error)}; check its address, and try again"
        raise BucketUnavailable(msg) from None
    if status != _OK:
        raise PermissionDenied(f"{what} refuses credentials with status {status}; check the role and its trust")
    return content


def _from_json(content: bytes, token: str, what: str) -> Lent:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    return _lent(found, token, what)


def _lent(found: object, token: str, what: str) -> Lent:
    if isinstance(found, dict):
        key, secret, until = found.get("AccessKeyId"), found.get("SecretAccessKey"), found.get("Expiration")
        session = found.get(token) or ""
        if isinstance(key, str) and isinstance(secret, str) and isinstance(session, str) and key and secret:
            try:
                return Lent(Credentials(key, secret, session), None if until is None else _moment(until))
            except (InvalidInput, TypeError, ValueError):
                pass
    raise PermissionDenied(f"{what} does not return credentials; check what it is set up for")


def _moment(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
