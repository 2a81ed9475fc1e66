"""Passwords: files as ``htpasswd -B`` writes them.

Theory of operation. A bcrypt hash is slow on purpose: one check takes some 50 milliseconds of a processor. Clients send
their password with each request, and many come at once, so:

- A check that succeeded is remembered for some minutes, under a keyed hash of name, password and the user's line. The
  key is made at the start and never leaves the process; a line that changed makes a new one, so a new password holds as
  soon as the file is read again.
- Checks of the same name and password that come at once wait for one computation.
- What failed is not remembered: each guess costs a computation, in one of a few threads. As many as `_WAITING` may
  wait for these; further ones are told to come back, so that guessing cannot keep the server from its work.
- A name that is not in the file costs the same computation, against a hash that nobody has the password of; so the time
  of an answer does not tell which names there are.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidInput, NotSupported, ServerBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orlop.api.registry.guard.authorization import Login

_HASH: Final = re.compile(r"\$2[aby]\$(0[4-9]|1[0-7])\$[./A-Za-z0-9]{53}")
_LONGEST: Final = 72
"""How many bytes of a password bcrypt looks at."""
_REMEMBERED: Final = 300
"""Seconds."""
_MOST: Final = 4096
_WAITING: Final = 64


def read_htpasswd(text: str, *, where: str) -> dict[str, str]:
    """Return the hashes in a file of passwords, by user.

    Args:
        text: the file: lines ``NAME:HASH``, with hashes of bcrypt. Empty lines and those with ``#`` are skipped.
        where: the file's name, for messages.

    Raises:
        InvalidInput: a line is not valid, or names a user again.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        user, colon, hashed = entry.partition(":")
        if not colon or not user or not user.isprintable() or user == "*":
            raise InvalidInput(f"{where}, line {number}: this is not a user's name and a hash with a colon between")
        if _HASH.fullmatch(hashed) is None:
            raise InvalidInput(
                f"{where}, line {number}: the password of {user!r} is not hashed with bcrypt at a cost of 4 to 17; "
                f"write the line with: htpasswd -B {where} {user}"
            )
        if user in found:
            raise InvalidInput(f"{where}, line {number}: {user!r} occurs twice; remove one of the lines")
        found[user] = hashed
    return found


def bcrypt_check() -> Callable[[bytes, bytes], bool]:
    """Return the function that compares a password with a hash.

    Raises:
        NotSupported: the package for it is not installed.
    """
    try:
        import bcrypt  # noqa: PLC0415 - few servers have passwords
    except ModuleNotFoundError as error:
        raise NotSupported("passwords need a package; install it with: pip install 'orlop[access]'") from error
    return bcrypt.checkpw


class Passwords:
    """Checks names and passwords. Only the thread of the event loop may use it.

    Args:
        hashes: by user, as `read_htpasswd` returns them.
        check: compares a password with a hash, and is slow.
        clock: seconds, which never go back.
    """

    def __init__(
        self,
        hashes: Mapping[str, str],
        check: Callable[[bytes, bytes], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hashes = dict(hashes)
        self._check = check
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._good: dict[bytes, float] = {}
        self._running: dict[bytes, asyncio.Future[bool]] = {}
        costs = sorted(int(one.split("$")[2]) for one in hashes.values())
        self._nobody = nobody(costs[len(costs) // 2] if costs else 10)

    def replace(self, hashes: Mapping[str, str]) -> None:
        """Take other hashes from now on."""
        fresh = Passwords(hashes, self._check, self._clock)
        self._hashes, self._nobody = fresh._hashes, fresh._nobody

    def mark(self, user: str) -> str | None:
        """Return a text that changes with the user's password and does not tell it, or None for an unknown user."""
        hashed = self._hashes.get(user)
        return None if hashed is None else hashlib.sha256(f"orlop mark\0{user}\0{hashed}".encode()).hexdigest()[:32]

    async def verify(self, login: Login) -> bool:
        """Return whether there is a user with this password.

        Raises:
            ServerBusy: too many passwords are being checked already.
        """
        hashed = self._hashes.get(login.user)
        is_known, hashed = hashed is not None, hashed or self._nobody
        key = self._key_of(login, hashed)
        until = self._good.get(key)
        if until is not None and self._clock() < until:
            return True
        running = self._running.get(key)
        if running is None:
            if len(self._running) >= _WAITING:
                raise ServerBusy("too many passwords are being checked; try again later")
            running = asyncio.get_running_loop().run_in_executor(
                None, self._check, login.password.encode()[:_LONGEST], hashed.encode()
            )
            self._running[key] = running
            running.add_done_callback(lambda _: self._running.pop(key, None))
        # One client that hangs up does not end the check for others.
        is_right = await asyncio.shield(running) and is_known
        if is_right:
            self._remember(key)
        return is_right

    def _key_of(self, login: Login, hashed: str) -> bytes:
        parts = [one.encode() for one in (login.user, login.password, hashed)]
        return hmac.digest(self._key, b"".join(len(one).to_bytes(8, "big") + one for one in parts), "sha256")

    def _remember(self, key: bytes) -> None:
        self._good.pop(key, None)
        while len(self._good) >= _MOST:
            del self._good[next(iter(self._good))]
        self._good[key] = self._clock() + _REMEMBERED


def nobody(cost: int) -> str:
    """Return a hash that no password has, and that costs as much to compare with as one of this cost."""
    return f"$2b${cost:02}${'.' * 53}"
