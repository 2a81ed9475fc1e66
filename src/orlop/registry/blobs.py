"""Blobs on their way here: bytes as they are in the registry, from any offset, over as many connections as it takes.

A reader asks for the rest (``Range: bytes=N-``) when a connection breaks, and believes only what fits: an answer 206
whose range begins at N and whose total is the blob's size. From a server that begins at 0 instead, what is known is
read and left out. Nothing is read beyond the blob's size but one byte, which must not be there.

Digests are checked by whoever keeps the bytes, in the same pass; sizes are checked here.

Encodings are not asked for. Where a server encodes all the same, there are two kinds of it: those that call a blob
which is gzip anyway "encoded", so that the bytes as they come are the blob; and proxies that really compress. The size
tells them apart; where the answer has no length, it is read once before, only to be counted. Such an answer cannot be
resumed.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidAnswer, RegistryUnreachable, SizeMismatch
from orlop.model.closing import Closing
from orlop.model.regex import regex

if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.registry.messages import Answer
    from orlop.registry.patience import Waiting

_CONTENT_RANGE: Final = regex(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_PIECE: Final = 1 << 20
_PROGRESS: Final = 1 << 20
"""After so many bytes the tries are counted anew."""
_PARTIAL, _UNSATISFIABLE = 206, 416


class BlobReader(Closing):
    """Reads one blob. Close it, or use it in a ``with`` block. `position` is how much of the blob was read."""

    def __init__(
        self, ask: Callable[[int], Answer], size: int, waiting: Waiting, *, what: str, offset: int = 0
    ) -> None:
        """Open it.

        Args:
            ask: asks for the blob from an offset on, and returns an answer of 200, 206 or 416.
            size: how many bytes the blob has.
            waiting: how often to try, and how long to wait between.
            what: what is read, for errors.
            offset: where to begin.

        Raises:
            RegistryError, NotInRegistry: as ``ask`` does.
        """
        self.position = offset
        self._ask = ask
        self._size = size
        self._waiting = waiting
        self._what = what
        self._tried = 0
        self._reached = offset
        self._body: Answer | _Inflated | None = None
        if offset < size or size == 0:
            try:
                self._open()
            except BaseException:
                # Nobody has it yet who could close it.
                self.close()
                raise

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes; none at the end of the blob.

        Raises:
            SizeMismatch: the blob has more or fewer bytes than it should have. RegistryUnreachable: the connection
            broke, again and again. RegistryError: the registry refuses to go on.
        """
        while self.position < self._size:
            if self._body is None:
                self._open()
            try:
                data = b"" if self._body is None else self._body.read(min(n, self._size - self.position))
            except RegistryUnreachable as error:
                self._broken(error)
                continue
            if len(data) > self._size - self.position:
                raise InvalidAnswer(f"{self._what} comes in pieces that are larger than what was asked for")
            if data:
                self.position += len(data)
                return data
            self._broken(SizeMismatch(f"{self._what} ends after {self.position} of {self._size} bytes"))
        self._end()
        return b""

    def close(self) -> None:
        """Stop reading."""
        body, self._body = self._body, None
        if body is not None:
            body.close(broken=self.position < self._size)

    def _broken(self, error: RegistryUnreachable | SizeMismatch) -> None:
        """Prepare to ask for the rest, or raise what was in the way where that was tried often enough."""
        body, self._body = self._body, None
        if body is not None:
            body.close(broken=True)
        if self.position - self._reached >= _PROGRESS:
            self._tried, self._reached = 0, self.position
        self._tried += 1
        if self._tried >= self._waiting.patience.tries:
            raise error
        self._waiting.pause(self._waiting.patience.before(self._tried, self._waiting.clock))

    def _end(self) -> None:
        """Check that nothing follows."""
        body, self._body = self._body, None
        if body is None:
            return
        try:
            more = body.read(1)
        except RegistryUnreachable:
            more = b""
        body.close(broken=bool(more))
        if more:
            raise SizeMismatch(f"{self._what} has more than {self._size} bytes")

    def _open(self) -> None:
        answer = self._ask(self.position)
        if answer.status == _UNSATISFIABLE:
            answer.close(broken=True)
            self._restart()
        elif answer.status == _PARTIAL:
            if self._fits(answer):
                self._body = answer
            else:
                answer.close(broken=True)
                self._restart()
        else:
            self._whole(answer)

    def _restart(self) -> None:
        """Ask for the whole blob, where the rest of it cannot be had."""
        answer = self._ask(0)
        if answer.status != 200:
            answer.close(broken=True)
            raise InvalidAnswer(f"{self._what} cannot be had: {answer.status} for all of it", answered=answer.status)
        self._whole(answer)

    def _whole(self, answer: Answer) -> None:
        """Read from the beginning what is known already."""
        self._body = self._decoded(answer)
        left = self.position
        while left and self._body is not None:
            try:
                data = self._body.read(min(left, _PIECE))
            except RegistryUnreachable as error:
                self._broken(error)
                return
            if not data:
                self._broken(SizeMismatch(f"{self._what} ends after {self.position - left} of {self._size} bytes"))
                return
            left -= len(data)

    def _fits(self, answer: Answer) -> bool:
        found = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range") or "")
        return (
            found is not None
            and int(found[1]) == self.position
            and found[3] in {"*", str(self._size)}
            and not answer.is_encoded
        )

    def _decoded(self, answer: Answer) -> Answer | _Inflated:
        if not answer.is_encoded:
            return answer
        length = answer.headers.get("Content-Length")
        if length is None:
            length = str(self._counted(answer))
            answer = self._ask(0)
        return answer if length == str(self._size) else _Inflated(answer, self._what)

    def _counted(self, answer: Answer) -> int:
        """Return how many bytes an encoded answer has; encoding makes hardly more of what it cannot make smaller."""
        most, count = self._size + self._size // 64 + _PROGRESS, 0
        with answer:
            while data := answer.read(_PIECE):
                count += len(data)
                if count > most:
                    answer.close(broken=True)
                    raise SizeMismatch(f"{self._what} comes as more than {most} bytes, and has {self._size}")
        return count


class _Inflated:
    """The body of an answer whose server compressed it."""

    def __init__(self, answer: Answer, what: str) -> None:
        self._answer = answer
        self._what = what
        self._decoder = zlib.decompressobj(wbits=31)

    def read(self, n: int) -> bytes:
        empty = 0
        while not self._decoder.eof:
            data = self._decoder.unconsumed_tail or self._answer.read(_PIECE)
            try:
                found = self._decoder.decompress(data, n)
            except zlib.error as error:
                raise InvalidAnswer("an answer is not encoded as it says") from error
            if found or not data:
                return found
            empty += len(data)
            if empty > _PROGRESS:
                raise InvalidAnswer(f"{self._what} comes in an encoding that holds nothing")
        return b""

    def close(self, *, broken: bool = False) -> None:
        self._answer.close(broken=broken)
