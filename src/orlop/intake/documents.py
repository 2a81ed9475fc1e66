"""The documents of a source, as readers of manifests see them: by name, within limits."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from orlop.errors import InvalidImage, InvalidJSON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.intake.words import Words
    from orlop.model.digest import Digest
    from orlop.model.limits import Limits


@contextmanager
def reading(document: str) -> Iterator[None]:
    """Name a document in the errors that are raised while it is read: a source has many."""
    try:
        yield
    except (InvalidImage, InvalidJSON) as error:
        raise type(error)(f"{document} is refused: {error}") from error


class Documents(Protocol):
    """Manifests, indexes and configs by name; how names are made of digests, a `Placing` says."""

    @property
    def words(self) -> Words:
        """How messages speak of it."""

    @property
    def limits(self) -> Limits:
        """What it may ask for."""

    def has(self, name: str) -> bool:
        """Return whether a name leads to something."""

    def size_of(self, name: str, *, what: str) -> int:
        """Return how many bytes a name leads to, as they stand there. Raises what `document` raises."""

    def document(self, name: str, *, what: str, limit: str = "manifest_size") -> bytes:
        """Return the bytes of a JSON document, whole; whether they have a digest, the caller checks.

        Args:
            name: its name in the source.
            what: what it is to the reader, for the error.
            limit: which of the limits is for its size.

        Raises:
            InvalidInput: it is not there. LimitExceeded: it is too large, or has too many values to be parsed.
        """

    def count_values(self, values: int) -> None:
        """Note values of documents, or references between them that are followed. Raises `LimitExceeded`."""

    def could_be_layer(self, name: str) -> bool:
        """Return whether a name leads to bytes that begin like a tar, plain or compressed."""


class Placing(Protocol):
    """How a source names by digest what it holds."""

    def __call__(self, digest: Digest, *, manifest: bool) -> str:
        """Return the name of a manifest or index, or of a config or layer."""
