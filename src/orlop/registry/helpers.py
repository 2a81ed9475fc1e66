"""Credential helpers: programs called ``docker-credential-NAME`` that keep secrets elsewhere than in a file.

A helper reads the name of a server on its standard input and writes JSON on its standard output; also its errors stand
there. Secrets are in no argument and no environment variable.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidSettings
from orlop.model.regex import regex
from orlop.registry.credentials import Credentials
from orlop.streams.interruption import check_interruption

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NAME: Final = regex(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOKEN_USER: Final = "<token>"  # noqa: S105 - a name
_NOT_THERE: Final = ("credentials not found in native keychain", "no credentials found")
_LIMIT: Final = 1 << 20
_SHOWN: Final = 200


class Helpers:
    """Runs credential helpers. Each is asked once for a server, and again when it is told to `forget`.

    Args:
        directories: where programs are looked for, in order, as in ``PATH``.
        environment: what they may see of the environment.
        timeout: seconds after which one is given up; a helper may ask the network.
    """

    def __init__(
        self, directories: Sequence[str] = (), environment: Mapping[str, str] | None = None, *, timeout: float = 60
    ) -> None:
        self._directories = tuple(directories)
        self._environment = dict(environment or {})
        self._timeout = timeout
        self._known: dict[tuple[str, str], Credentials | None] = {}
        self._turn = threading.Lock()

    def get(self, name: str, server: str) -> Credentials | None:
        """Return what a helper keeps for a server, or None where it keeps nothing.

        Raises:
            InvalidSettings: there is no such helper, or it fails.
        """
        with self._turn:
            if (name, server) not in self._known:
                self._known[name, server] = self._ask(name, server)
            return self._known[name, server]

    def store(self, name: str, server: str, user: str, secret: str) -> None:
        """Have a helper keep a name and a password. Raises `InvalidSettings`."""
        self.forget()
        self._run(name, "store", json.dumps({"ServerURL": server, "Username": user, "Secret": secret}))

    def erase(self, name: str, server: str) -> None:
        """Have a helper drop what it keeps for a server. Raises `InvalidSettings`."""
        self.forget()
        self._run(name, "erase", server)

    def forget(self) -> None:
        """Ask again from now on: what helpers give may live for an hour only."""
        with self._turn:
            self._known.clear()

    def _ask(self, name: str, server: str) -> Credentials | None:
        output = self._run(name, "get", server)
        if output is None:
            return None
        try:
            found = json.loads(output)
            user, secret = found["Username"], found["Secret"]
        except (ValueError, KeyError, TypeError, RecursionError):
            user = secret = None
        if not isinstance(user, str) or not isinstance(secret, str):
            raise InvalidSettings(f"docker-credential-{name} does not answer with credentials for {server}")
        source = f"docker-credential-{name}"
        if user == _TOKEN_USER:
            return Credentials(identity_token=secret, source=source)
        return Credentials(user=user, password=secret, source=source)

    def _run(self, name: str, action: str, given: str) -> str | None:
        """Run a helper; return what it wrote, or None where it has nothing."""
        from orlop.streams.programs import ProgramTimeout, answer_of  # noqa: PLC0415 - most credentials are in a file

        program = self._program(name)
        try:
            status, said = answer_of(
                [program, action],
                given=given.encode(),
                environment=self._environment,
                seconds=self._timeout,
                most=_LIMIT,
                check=check_interruption,
            )
        except ProgramTimeout as error:
            raise InvalidSettings(f"docker-credential-{name} does not end within {self._timeout:g} s") from error
        except OSError as error:
            raise InvalidSettings(f"cannot run {program}: {error.strerror or error}") from error
        output = said.decode(errors="replace").strip()
        if status == 0:
            return output
        if action != "store" and any(words in output.lower() for words in _NOT_THERE):
            return None
        # What it wrote to keep may be part of what it says of a failure.
        words = output[:_SHOWN] if action != "store" else ""
        raise InvalidSettings(f"docker-credential-{name} {action} fails: {words or f'exit status {status}'}")

    def _program(self, name: str) -> str:
        if _NAME.fullmatch(name) is None:
            raise InvalidSettings(f"{name!r} is not the name of a credential helper")
        for directory in self._directories:
            path = os.path.join(directory, f"docker-credential-{name}")
            if directory and os.access(path, os.X_OK) and os.path.isfile(path):
                return path
        raise InvalidSettings(f"the credential helper docker-credential-{name} is not installed")
