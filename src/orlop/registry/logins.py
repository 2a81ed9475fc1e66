"""Logins: credentials that a user gives to be kept, in a file of docker's kind or by the helper that it names."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from orlop.errors import InvalidSettings
from orlop.model.regex import regex
from orlop.registry.authfiles import MAX_AUTHFILE, is_old_form, login_key
from orlop.registry.credentials import helper_name, host_of_key, is_key_of
from orlop.streams.files import explaining
from orlop.streams.interruption import check_interruption
from orlop.streams.waiting import content_of

if TYPE_CHECKING:
    from orlop.registry.credentials import Credentials
    from orlop.registry.helpers import Helpers

_PRIVATE: Final = 0o600


_MARK: Final = f"number {os.urandom(8).hex()} "
_NUMBERS: Final[dict[str, Any]] = dict.fromkeys(
    ("parse_int", "parse_float", "parse_constant"), lambda text: f"{_MARK}{text}"
)
"""Numbers are kept as they are written; Python would round them, and write ``1e999`` as no JSON has it."""
_NUMBER: Final = regex(rf'"{_MARK}([^"]*)"')


class LoginFile:
    """A file in which logins are kept; what else stands in it stays. A new one is for its owner alone.

    A change is one rename: whoever reads sees the old file or the new one. Of two changes at once one may be lost.

    Args:
        path: of the file. A link stays one.
        helpers: runs the helper that the file names.
    """

    def __init__(self, path: str, helpers: Helpers) -> None:
        self._path = os.path.realpath(path)
        self._shown = path
        self._helpers = helpers

    def knows(self, host: str) -> bool:
        """Return whether a login for a host is kept, here or by a helper that the file names for it."""
        document = self._read()
        return bool(self._keys(document, host)) or bool(self._helper(document, host))

    def keep(self, host: str, credentials: Credentials) -> str:
        """Keep a name and a password for a host, in place of what was kept, and return where that is.

        Raises:
            InvalidSettings: the file, or its helper, cannot be used. StorageError: it cannot be written.
        """
        document = self._read()
        key, helper = login_key(host), self._helper(document, host)
        entries = self._entries(document)
        for old in self._keys(document, host):
            del entries[old]
        if helper:
            self._helpers.store(helper, helper_name(host_of_key(host)), credentials.user, credentials.password)
            entries[key] = {}
        else:
            pair = f"{credentials.user}:{credentials.password}".encode()
            entries[key] = {"auth": b64encode(pair).decode()}
        self._write(document)
        return f"docker-credential-{helper}" if helper else self._shown

    def drop(self, host: str) -> bool:
        """Keep nothing for a host any more, and return whether something was kept. Raises as `keep` does."""
        document = self._read()
        keys, helper = self._keys(document, host), self._helper(document, host)
        if helper:
            self._helpers.erase(helper, helper_name(host_of_key(host)))
        for key in keys:
            del self._entries(document)[key]
        if keys:
            self._write(document)
        return bool(keys) or bool(helper)

    def _entries(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return the entries of a document, which has room for some then."""
        if is_old_form(self._shown, document):
            return document
        document["auths"] = document.get("auths") or {}
        found: dict[str, Any] = document["auths"]
        return found

    def _keys(self, document: dict[str, Any], host: str) -> list[str]:
        entries = document if is_old_form(self._shown, document) else document.get("auths") or {}
        return [key for key in entries if is_key_of(key, host_of_key(host))]

    def _helper(self, document: dict[str, Any], host: str) -> str:
        if is_old_form(self._shown, document):
            return ""
        helpers = document.get("credHelpers") or {}
        own = next((name for key, name in helpers.items() if host_of_key(key) == host_of_key(host)), "")
        return str(own or document.get("credsStore") or "")

    def _read(self) -> dict[str, Any]:
        try:
            content = content_of(self._path, MAX_AUTHFILE, look=check_interruption)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise InvalidSettings(f"cannot read {self._shown}: {error.strerror or error}") from error
        try:
            document = json.loads(content or b"{}", **_NUMBERS)
            parts = [document.get(name) or {} for name in ("auths", "credHelpers")]
        except (ValueError, AttributeError, RecursionError) as error:
            raise InvalidSettings(f"{self._shown} is not a file of credentials: it is not a JSON object") from error
        if not all(isinstance(part, dict) for part in parts):
            raise InvalidSettings(f"{self._shown} is not a file of credentials: auths and credHelpers are objects")
        found: dict[str, Any] = document
        return found

    def _write(self, document: dict[str, Any]) -> None:
        beside = f"{self._path}.{os.urandom(8).hex()}"
        with explaining("write", self._shown):
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            try:
                descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
                with open(descriptor, "wb") as file:
                    file.write(_written(document))
                    file.flush()
                    os.fsync(file.fileno())
                os.rename(beside, self._path)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(beside)
                raise


def _written(document: dict[str, Any]) -> bytes:
    """Return a document as JSON. Halves of surrogate pairs, which UTF-8 has none of, stay escaped."""
    text = json.dumps(document, indent="\t", ensure_ascii=False)
    bare = _NUMBER.sub(r"\1", text)
    return f"{bare}\n".encode(errors="backslashreplace")
