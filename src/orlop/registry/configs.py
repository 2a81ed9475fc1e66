"""Configs as they lie in a registry: read whole, and verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from orlop.errors import DigestMismatch, InvalidAnswer
from orlop.model.image import Image
from orlop.registry.fetched import digest_of

if TYPE_CHECKING:
    from orlop.model.descriptor import Descriptor
    from orlop.registry.client import RegistryClient

_LIMIT: Final = 8 << 20
_PIECE: Final = 1 << 16


def read_small(client: RegistryClient, repository: str, want: Descriptor, *, limit: int = _LIMIT) -> bytes:
    """Return the bytes of a small blob.

    Raises:
        NotInRegistry: it is not there. DigestMismatch: it is something else. InvalidAnswer: it is too large.
    """
    if want.size > limit:
        raise InvalidAnswer(f"the blob {want.digest} has {want.size} bytes, but at most {limit} are read at once")
    with client.open_blob(repository, want) as reader:
        raw = b"".join(iter(lambda: reader.read(_PIECE), b""))
    if digest_of(raw, want.digest.algorithm) != want.digest:
        raise DigestMismatch(f"{client.host} sent something else for the blob {want.digest}")
    return raw


def read_image(client: RegistryClient, repository: str, config: Descriptor) -> Image:
    """Return the image that a config is. Raises as `read_small`, and `InvalidImage` where it is not one."""
    return Image.from_json(read_small(client, repository, config))
