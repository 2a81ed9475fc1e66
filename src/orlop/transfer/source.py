"""Sources: where content comes from, by digest: a registry, a layout, a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orlop.model.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.reference import Reference
    from orlop.registry.client import RegistryClient
    from orlop.streams.compression import OpenReadable


@dataclass(frozen=True, slots=True)
class Root:
    """A manifest or an index that is to be carried with all that it names.

    Attributes:
        descriptor: what it is.
        tag: the tag that it gets at the target; None where it stays without one.
        name: the whole name that it gets in a layout, where it has one.
        address: the text by which a layout called it, where that is not a name.
    """

    descriptor: Descriptor
    tag: str | None = None
    name: Reference | None = None
    address: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """A repository of a registry in which content is known to be."""

    client: RegistryClient
    repository: str


class Source(Protocol):
    """Where content comes from. Threads may share it. What it hands out is verified by whoever takes it."""

    def manifest(self, want: Descriptor) -> bytes:
        """Return the bytes of a manifest or an index, which have its digest.

        Raises:
            NotFound: it is not there. IntegrityError: it is something else.
        """

    def open_blob(self, want: Descriptor, offset: int) -> OpenReadable:
        """Open a blob at an offset; the caller closes it. What is read may be damaged.

        Raises:
            NotFound: it is not there.
        """

    def check_blob(self, want: Descriptor) -> None:
        """Raise `IntegrityError` where a blob is damaged here, so that no target can take it."""

    def label(self, want: Descriptor) -> str:
        """Return what progress calls a blob; nothing where it is not told of."""

    def homes(self, want: Descriptor) -> Sequence[Home]:
        """Return where a blob is known to be, so that a registry need not be sent it."""

    def referrers(self, subject: Digest) -> Sequence[Root]:
        """Return what refers to a manifest: signatures, SBOMs, attestations, and other artifacts."""
