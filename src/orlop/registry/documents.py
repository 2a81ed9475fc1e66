"""The documents of an image in a registry: manifests, indexes and configs, each fetched once, by digest.

Threads may add to them; they are read once all are there.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orlop.errors import InvalidInput
    from orlop.intake.words import Words
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits


def name_of(digest: Digest, *, manifest: bool) -> str:
    """Return the name of a document or a layer, see `orlop.intake.documents.Placing`."""
    del manifest
    return str(digest)


class RegistryDocuments:
    """What was fetched, as `orlop.intake.documents.Documents` has it; what was not is not there.

    Args:
        words: how messages speak of the registry.
        limits: what it may ask for.
    """

    def __init__(self, words: Words, limits: Limits) -> None:
        self.words = words
        self.limits = limits
        self._found: dict[str, bytes] = {}
        self._promised: dict[str, int] = {}
        self._bytes = self._values = 0
        self._turn = threading.Lock()

    def add(self, digest: Digest, raw: bytes) -> None:
        """Keep a document. Raises `LimitExceeded` where all of them are too large, or one has too many values."""
        with self._turn:
            self._add(str(digest), raw)

    def promise(self, blob: Descriptor) -> None:
        """Note a blob that the registry has, and that is not fetched before it is asked for."""
        with self._turn:
            self._promised.setdefault(str(blob.digest), blob.size)

    def _add(self, name: str, raw: bytes) -> None:
        limits = self.limits
        if name in self._found:
            return
        self._bytes += len(raw)
        if self._bytes > limits.documents_size:
            raise limits.exceeded("documents_size", f"the documents of {self.words.name} have {self._bytes} bytes")
        values = 1 + raw.count(b",") + raw.count(b"[") + raw.count(b"{")
        if values > limits.json_values:
            raise limits.exceeded("json_values", f"the document {name} of {self.words.name} has up to {values} values")
        self.count_values(values)
        self._found[name] = raw

    def has(self, name: str) -> bool:
        """Return whether a document was fetched, or a blob promised."""
        return name in self._found or name in self._promised

    def size_of(self, name: str, *, what: str) -> int:
        """Return the size of a document, or of a blob that was promised."""
        found = self._found.get(name)
        return self._promised[name] if found is None and name in self._promised else len(self._required(name, what))

    def document(self, name: str, *, what: str, limit: str = "manifest_size") -> bytes:
        """Return a document. Raises `LimitExceeded` where it is too large, and the words' error where it is absent."""
        raw = self._required(name, what)
        if len(raw) > getattr(self.limits, limit):
            raise self.limits.exceeded(limit, f"{what} {name} has {len(raw)} bytes")
        return raw

    def count_values(self, values: int) -> None:
        """Note values of documents, or references between them that are followed. Raises `LimitExceeded`."""
        self._values += values
        if self._values > self.limits.json_values_total:
            found = f"the documents of {self.words.name} have up to {self._values} values and references"
            raise self.limits.exceeded("json_values_total", found)

    def could_be_layer(self, name: str) -> bool:
        """Return False: a layer is known by its type alone, and none is fetched to see what it is."""
        del name
        return False

    def missing(self, name: str, *, what: str) -> InvalidInput:
        """Return the error for a document that was not fetched."""
        return self.words.error(f"{self.words.name} names {what} {name}, which it does not have")

    def _required(self, name: str, what: str) -> bytes:
        if name not in self._found:
            raise self.missing(name, what=what)
        return self._found[name]
