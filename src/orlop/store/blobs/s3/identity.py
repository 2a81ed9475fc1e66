"""Who signs the requests to a bucket: keys that are given, or temporary ones that are renewed before they end.

The places are those of AWS's own tools, in their order: keys in variables, a web identity, a profile in the files
``credentials`` and ``config`` (keys, a program, a web identity), the container's agent, the machine's metadata. The
first place that is named is asked, and no other one: what is named and fails is an error, and never leads to somebody
else's rights. The metadata is asked only where the endpoint is AWS's or the metadata's address is given, as anybody may
answer at that address elsewhere.

Temporary keys are renewed some minutes before they end. Where that fails they are used as long as they are good.
Messages name the place, and show neither keys nor what a program or a server said.
"""

from __future__ import annotations

import shlex
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import BucketUnavailable, InvalidInput, OrlopError
from orlop.store.blobs.s3.settings import Credentials, parts_of
from orlop.store.blobs.s3.temporary import from_container, from_machine, from_process, from_web_identity
from orlop.streams.forked import in_child
from orlop.streams.waiting import content_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orlop.store.blobs.s3.settings import CredentialSource
    from orlop.store.blobs.s3.temporary import Lent

_AHEAD: Final = 300.0
"""Seconds before their end at which temporary credentials are renewed."""
_PAUSE: Final = 30.0
"""Seconds between two tries to renew credentials that are still good."""
_MOST: Final = 1 << 20
"""Characters of a file of profiles that are read."""
_AGENT: Final = "http://169.254.170.2"
_METADATA: Final = "http://169.254.169.254"
_UNKNOWN: Final = ("sso_session", "sso_start_url", "source_profile", "credential_source", "role_arn")


class Renewed:
    """Credentials that end, asked for anew in time. Safe to share between threads, and across a fork.

    Args:
        lend: returns new ones. Raises errors of storage.
        now: the time of day, in seconds since 1970.
    """

    def __init__(self, lend: Callable[[], Lent], now: Callable[[], float] = time.time) -> None:
        self._lend, self._now = lend, now
        self._lent: Lent | None = None
        self._tried = float("-inf")
        self.abandon()
        _all.add(self)

    def abandon(self) -> None:
        """Take a new lock, in a forked child: a thread of its parent may have held the old one."""
        self._guard = threading.Lock()

    def __call__(self, expired: bool = False) -> Credentials:  # noqa: FBT001, FBT002 - as `CredentialSource` has it
        """Return what is good now. Raises errors of storage where there are none and none can be had."""
        lent, guard = self._lent, self._guard
        if lent is not None and not expired and _is_good(lent, self._now()):
            # While another thread renews them nobody waits.
            if not guard.acquire(blocking=False):
                return lent.credentials
        else:
            guard.acquire()
        try:
            # What was refused may have been renewed while this thread waited.
            return self._current(expired=expired and self._lent is lent)
        finally:
            guard.release()

    def _current(self, *, expired: bool) -> Credentials:
        now, lent = self._now(), self._lent
        if lent is not None and not expired:
            is_due = lent.until is not None and now >= lent.until - _AHEAD
            if not is_due or 0 <= now - self._tried < _PAUSE:
                return lent.credentials
        self._tried = now
        try:
            found = self._lend()
            if lent is not None and lent.credentials.access_key and not found.credentials.access_key:
                raise BucketUnavailable("the source of credentials for S3 no longer answers; check it")
        except OrlopError:
            if lent is None or lent.until is None or expired or not _is_good(lent, now):
                raise
            return lent.credentials
        self._lent = found
        return found.credentials

    def __repr__(self) -> str:
        return "Renewed(…)"


def _is_good(lent: Lent, now: float) -> bool:
    return lent.until is None or now < lent.until


def credentials_of(
    variables: Mapping[str, str],
    *,
    region: str,
    endpoint: str = "",
    ca: str | None = None,
    allow_http: bool = False,
    now: Callable[[], float] = time.time,
) -> Credentials | CredentialSource:
    """Return what signs requests, from the usual places; credentials without a key where no place is named.

    Args:
        variables: those that `docs/remote.md` lists, and ``HOME``.
        region: whose token service is asked.
        endpoint: of the bucket; nothing where that is AWS itself.
        ca: a file with the certificates of authorities to trust.
        allow_http: ask a token service without encryption.
        now: the time of day, in seconds since 1970.

    Raises:
        InvalidInput: a variable or a file is not valid. StorageError: a file cannot be read.
    """
    get = variables.get
    if get("AWS_ACCESS_KEY_ID"):
        return _given(variables, str.upper, "AWS_ACCESS_KEY_ID is set, and")
    service = get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.amazonaws.com"
    _require_url("AWS_ENDPOINT_URL_STS", service)
    if parts_of(service).scheme != "https" and not allow_http:
        raise InvalidInput(
            "the token service is not encrypted; use https in AWS_ENDPOINT_URL_STS, or allow http for it"
        )
    web = partial(from_web_identity, service, ca=ca)
    session = get("AWS_ROLE_SESSION_NAME") or "orlop"
    if get("AWS_WEB_IDENTITY_TOKEN_FILE") and not get("AWS_PROFILE"):
        role = get("AWS_ROLE_ARN")
        if not role:
            raise InvalidInput("AWS_WEB_IDENTITY_TOKEN_FILE names no role; set AWS_ROLE_ARN")
        return Renewed(partial(web, variables["AWS_WEB_IDENTITY_TOKEN_FILE"], role, session), now)
    found = _from_profile(variables, web, session, now)
    if found is not None:
        return found
    place = get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    url = f"{_AGENT}{place}" if place else get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if url:
        token, path = get("AWS_CONTAINER_AUTHORIZATION_TOKEN", ""), get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")
        return Renewed(partial(from_container, url, token, path, ca=ca), now)
    given = get("AWS_EC2_METADATA_SERVICE_ENDPOINT")
    is_off = get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
    if given:
        _require_url("AWS_EC2_METADATA_SERVICE_ENDPOINT", given)
    if (given or _is_aws(endpoint)) and not is_off:
        return Renewed(partial(from_machine, given or _METADATA, is_given=bool(given)), now)
    return Credentials()


def _require_url(name: str, url: str) -> None:
    parts = parts_of(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InvalidInput(f"{name} is not the URL of a server, such as https://sts.example.com; correct or unset it")


def _is_aws(endpoint: str) -> bool:
    host = parts_of(endpoint).hostname or ""
    return not endpoint or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _from_profile(
    variables: Mapping[str, str], web: Callable[[str, str, str], Lent], session: str, now: Callable[[], float]
) -> Credentials | CredentialSource | None:
    """Return what a profile says; nothing where there is none, and none was asked for."""
    home = variables.get("HOME", "")
    name = variables.get("AWS_PROFILE", "")
    first = variables.get("AWS_SHARED_CREDENTIALS_FILE") or (home and f"{home}/.aws/credentials")
    second = variables.get("AWS_CONFIG_FILE") or (home and f"{home}/.aws/config")
    wanted = name or "default"
    keys, rest = _section(first, wanted), _section(second, f"profile {wanted}")
    if rest is None and wanted == "default":
        rest = _section(second, wanted)
    if keys is None and rest is None:
        if name:
            raise InvalidInput(f"the profile {name!r} does not exist; set AWS_PROFILE to one in {first} or {second}")
        return None
    values = {**(rest or {}), **(keys or {})}
    if "role_arn" in values and "web_identity_token_file" in values:
        session = values.get("role_session_name", session)
        return Renewed(partial(web, values["web_identity_token_file"], values["role_arn"], session), now)
    if "role_arn" not in values:
        if values.get("aws_access_key_id"):
            return _given(values, str, f"the profile {wanted!r} has an access key, and")
        if values.get("credential_process"):
            return Renewed(partial(from_process, values["credential_process"]), now)
    unknown = next((one for one in _UNKNOWN if one in values), None)
    if unknown is None and not name:
        return None
    what = f"uses {unknown}, which orlop does not know" if unknown else "has no credentials"
    advice = "let a program say them: credential_process = aws configure export-credentials --profile OTHER"
    raise InvalidInput(f"the profile {wanted!r} {what}; {advice}")


def _given(values: Mapping[str, str], spelt: Callable[[str], str], where: str) -> Credentials:
    names = map(spelt, ("aws_access_key_id", "aws_secret_access_key", "aws_session_token"))
    key, secret, token = (values.get(name, "") for name in names)
    if not secret:
        raise InvalidInput(f"{where} no secret key beside it; set {spelt('aws_secret_access_key')} as well")
    return Credentials(key, secret, token)


def _section(path: str, name: str) -> Mapping[str, str] | None:
    import configparser  # noqa: PLC0415 - only where no keys are given

    if not path:
        return None
    parser = configparser.RawConfigParser(default_section="", strict=False)
    try:
        parser.read_string(content_of(path, _MOST).decode())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (configparser.Error, ValueError):
        # The error of the parser shows lines of the file.
        raise InvalidInput(f"{path} is not a valid file of profiles; see the documentation of the AWS CLI") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}; check who may read it") from None
    section = next((one for one in parser.sections() if _is_called(one, name)), None)
    return None if section is None else {key: _unquoted(key, value) for key, value in parser[section].items()}


def _is_called(section: str, name: str) -> bool:
    """Return whether a section has a name, whose second word may stand in quotes."""
    try:
        return section == name or " ".join(shlex.split(section)) == name
    except ValueError:
        return False


def _unquoted(key: str, value: str) -> str:
    """Return a value without quotes around it; what is a command is split at its quotes later."""
    if key != "credential_process" and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


_all: weakref.WeakSet[Renewed] = weakref.WeakSet()


def _abandon_all() -> None:
    for one in list(_all):
        one.abandon()


in_child(_abandon_all)
