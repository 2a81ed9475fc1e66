"""Files of credentials: docker's ``config.json``, and the ``auth.json`` of podman and skopeo, which has the same shape.

    {"auths": {KEY: {"auth": BASE64 of "user:password", "identitytoken": …, "registrytoken": …}},
     "credHelpers": {"HOST": "NAME"}, "credsStore": "NAME"}

A key is a host, a host with the beginning of a repository's path, or an old URL. For ``host/team/app`` the files are
asked in order for ``host/team/app``, ``host/team``, ``host``, and then for a URL of that host; the first file that
knows one of these is the answer. A helper is asked for hosts only. A file that is not there has no credentials.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from binascii import Error as NotBase64
from typing import TYPE_CHECKING, Any, Final

from orlop.errors import InvalidSettings
from orlop.registry.credentials import HUB_KEY, Credentials, helper_name, host_of_key, is_key_of
from orlop.streams.interruption import check_interruption
from orlop.streams.waiting import content_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orlop.model.reference import Reference
    from orlop.registry.helpers import Helpers

MAX_AUTHFILE: Final = 16 << 20
"""How many bytes of a file are read at most."""
_NO_LINES: Final = str.maketrans("", "", "\r\n")
_VARIABLE: Final = "DOCKER_AUTH_CONFIG"
_SHARED: Final = "/run/containers"
"""Each user without a session has a folder in it, which nobody named. Root's podman may have made it for root alone."""


def search_order(variables: Mapping[str, str], *, home: str, user: int, authfile: str | None = None) -> tuple[str, ...]:
    """Return the files in which credentials are looked for, as skopeo and podman do, docker's last.

    Args:
        variables: the environment.
        home: the user's home directory.
        user: the user's number.
        authfile: the one file that the user named, if any.
    """
    if authfile is not None:
        return (authfile,)
    runtime = variables.get("XDG_RUNTIME_DIR") if user else None
    config = variables.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    docker = variables.get("DOCKER_CONFIG") or os.path.join(home, ".docker")
    found = (
        variables.get("REGISTRY_AUTH_FILE") or "",
        os.path.join(runtime, "containers", "auth.json") if runtime else _unnamed(user),
        os.path.join(config, "containers", "auth.json"),
        os.path.join(docker, "config.json"),
        os.path.join(home, ".dockercfg"),
    )
    return tuple(dict.fromkeys(filter(None, found)))


class AuthFile:
    """One file of credentials, as it was read."""

    def __init__(self, content: bytes, source: str) -> None:
        """Read its bytes. Raises `InvalidSettings` where they are not such a file."""
        try:
            document = json.loads(content or b"{}")
        except (ValueError, RecursionError) as error:
            raise InvalidSettings(f"{source} is not valid JSON") from error
        document = {} if document is None else document
        if not isinstance(document, dict):
            raise InvalidSettings(f"{source} is not a file of credentials: it holds no object")
        self._source = source
        is_old = is_old_form(source, document)
        self._entries = document if is_old else self._object(document, "auths")
        self._helpers = {} if is_old else self._object(document, "credHelpers")
        store = document.get("credsStore", "")
        self._store = store if isinstance(store, str) else ""

    def find(self, name: Reference, helpers: Helpers) -> Credentials | None:
        """Return what the file, or a helper that it names, has for a repository."""
        host = host_of_key(name.domain)
        helper = next((one for key, one in self._helpers.items() if host_of_key(key) == host), "")
        if isinstance(helper, str) and helper:
            return helpers.get(helper, helper_name(host))
        for key in self._keys(host, name.path):
            found = self._credentials(key)
            if found is not None:
                return found
        return helpers.get(self._store, helper_name(host)) if self._store else None

    def _keys(self, host: str, path: str) -> Iterator[str]:
        """Yield the keys of the file that are for a repository, the most special one first."""
        parts = path.split("/")
        for count in range(len(parts), -1, -1):
            wanted = "/".join([host, *parts[:count]])
            if wanted in self._entries:
                yield wanted
        yield from (key for key in self._entries if is_key_of(key, host))

    def _credentials(self, key: str) -> Credentials | None:
        # As Go reads it, no object is an empty one, and base64 may have ends of lines in it.
        entry = {} if self._entries[key] is None else self._entries[key]
        if not isinstance(entry, dict):
            raise InvalidSettings(f"{self._source}: the entry of {key} is not an object")

        def text(name: str) -> str:
            value = entry.get(name) or ""
            if not isinstance(value, str):
                raise InvalidSettings(f"{self._source}: {name} of {key} is not a text")
            return value

        user, password = text("username"), text("password")
        if text("auth"):
            user, password = self._decoded(text("auth"), key)
        found = Credentials(
            user=user,
            password=password,
            identity_token=text("identitytoken"),
            registry_token=text("registrytoken"),
            source=self._source,
        )
        # An empty entry only says that a helper has it.
        has_any = found.user or found.password or found.identity_token or found.registry_token
        return found if has_any else None

    def _decoded(self, text: str, key: str) -> tuple[str, str]:
        try:
            pair = b64decode(text.translate(_NO_LINES), validate=True).decode()
        except (NotBase64, ValueError) as error:
            raise InvalidSettings(f"{self._source}: auth of {key} is not base64 of user:password") from error
        user, colon, password = pair.partition(":")
        if not colon:
            raise InvalidSettings(f"{self._source}: auth of {key} is not base64 of user:password")
        return user, password.rstrip("\0")

    def _object(self, document: dict[str, Any], name: str) -> dict[str, Any]:
        found = document.get(name) or {}
        if not isinstance(found, dict):
            raise InvalidSettings(f"{self._source}: {name} is not an object")
        return found


class AuthFiles:
    """A keychain of files, asked in order.

    Args:
        paths: the files, see `search_order`.
        helpers: runs the helpers that they name.
        given: a whole file as a text, asked first, as docker has it in ``DOCKER_AUTH_CONFIG``.
    """

    def __init__(self, paths: Sequence[str], helpers: Helpers, *, given: str | None = None) -> None:
        self._paths = tuple(paths)
        self._helpers = helpers
        self._given = given

    def find(self, name: Reference) -> Credentials | None:
        """Return the credentials for a repository, or None where no file has any.

        Raises:
            InvalidSettings: a file cannot be read or understood, or a helper fails.
        """
        for file in self._files():
            found = file.find(name, self._helpers)
            if found is not None:
                return found
        return None

    def forget(self) -> None:
        """Ask helpers again from now on."""
        self._helpers.forget()

    def _files(self) -> Iterator[AuthFile]:
        if self._given:
            yield AuthFile(self._given.encode(errors="surrogateescape"), _VARIABLE)
        for path in self._paths:
            try:
                content = content_of(path, MAX_AUTHFILE, look=check_interruption)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                # Alone, it was named.
                if len(self._paths) > 1 and _is_hidden(path):
                    continue
                raise InvalidSettings(f"cannot read {path}: {error.strerror or error}") from error
            yield AuthFile(content, path)


def _is_hidden(path: str) -> bool:
    """Return whether a file is the one that nobody named, and may not even be looked for: it is not the user's."""
    try:
        os.lstat(path)
    except PermissionError:
        return path == _unnamed(os.geteuid())
    except OSError:
        pass
    return False


def _unnamed(user: int) -> str:
    """Return the file of a user without a session."""
    return f"{_SHARED}/{user}/auth.json"


def is_old_form(path: str, document: dict[str, Any]) -> bool:
    """Return whether a file has the oldest form, that of ``.dockercfg``, which holds nothing but the entries."""
    return os.path.basename(path) == ".dockercfg" and "auths" not in document


def login_key(host: str) -> str:
    """Return the key under which a login is kept for a host."""
    return HUB_KEY if host_of_key(host) == host_of_key(HUB_KEY) else host
