"""Indexes of which some platforms are wanted: the index with fewer entries, whose digest is another one.

What is left is what was there, byte for byte: entries keep their bytes and their order, and the index its other
members, so that the same index and platforms give the same digest everywhere. Where nothing is left out, the index
stays as it is; where one platform is wanted, its image is enough.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from orlop.errors import PlatformNotFound
from orlop.intake.platforms import matches
from orlop.model import gojson
from orlop.model.digest import Digest
from orlop.model.manifest import Index, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.model.descriptor import Descriptor
    from orlop.model.platform import Platform
    from orlop.streams.compression import OpenReadable
    from orlop.transfer.source import Home, Root, Source

_SUBJECT: Final = "vnd.docker.reference.digest"
"""What BuildKit's attestations beside an image call it by."""
_SHOWN: Final = 32


def narrowed(source: Source, root: Root, platforms: Sequence[Platform]) -> tuple[Root, bytes | None]:
    """Return what a root leads to for some platforms, and the bytes of an index that was made for it, if one was.

    A root that is not an index stays as it is.

    Raises:
        PlatformNotFound: the index has none of them. What reading it raises.
    """
    raw = source.manifest(root.descriptor)
    document = parse_manifest(raw)
    if not isinstance(document, Index):
        return root, None
    wanted = _first_of_each(document, platforms)
    if not wanted:
        known = dict.fromkeys(str(one.platform) for one in document.manifests[:_SHOWN] if one.platform is not None)
        raise PlatformNotFound(
            f"{root.name or root.descriptor.digest} is not there for {', '.join(map(str, platforms))};"
            f" it is for {', '.join(known) or 'no platform that it names'}"
        )
    if len(platforms) == 1:
        return replace(root, descriptor=wanted[0]), None
    digests = {str(one.digest) for one in wanted}
    kept = [str(one.digest) in digests or one.annotations.get(_SUBJECT) in digests for one in document.manifests]
    if all(kept):
        return root, None
    members = gojson.raw_members(raw)
    entries = gojson.raw_elements(members["manifests"])
    members["manifests"] = b"[" + b",".join(one for one, is_kept in zip(entries, kept, strict=True) if is_kept) + b"]"
    made = gojson.joined(members)
    return replace(root, descriptor=replace(root.descriptor, digest=Digest.of(made), size=len(made))), made


class WithManifest:
    """Another source, and a manifest beside what it has."""

    def __init__(self, source: Source, raw: bytes) -> None:
        self._source = source
        self._raw = raw
        self._digest = Digest.of(raw)

    def manifest(self, want: Descriptor) -> bytes:
        """See `Source.manifest`."""
        return self._raw if want.digest == self._digest else self._source.manifest(want)

    def open_blob(self, want: Descriptor, offset: int) -> OpenReadable:
        """See `Source.open_blob`."""
        return self._source.open_blob(want, offset)

    def check_blob(self, want: Descriptor) -> None:
        """See `Source.check_blob`."""
        self._source.check_blob(want)

    def label(self, want: Descriptor) -> str:
        """See `Source.label`."""
        return self._source.label(want)

    def homes(self, want: Descriptor) -> Sequence[Home]:
        """See `Source.homes`."""
        return self._source.homes(want)

    def referrers(self, subject: Digest) -> Sequence[Root]:
        """See `Source.referrers`."""
        return () if subject == self._digest else self._source.referrers(subject)


def _first_of_each(index: Index, platforms: Sequence[Platform]) -> list[Descriptor]:
    """Return the entry that fits each platform first, as a copy of one platform takes it."""
    found: dict[Digest, Descriptor] = {}
    for wanted in platforms:
        for one in index.manifests:
            if one.platform is not None and matches(wanted, one.platform):
                found.setdefault(one.digest, one)
                break
    return list(found.values())
