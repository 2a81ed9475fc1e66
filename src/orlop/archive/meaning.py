"""One archive, one meaning: no name of an archive may lead two programs to two images.

Theory of operation. What is in an archive depends on who reads it:

- Docker with graph drivers reads ``manifest.json`` alone. Of a name that stands in two entries the last one counts.
- Docker with containerd storage reads ``index.json``, whatever it leads to; ``manifest.json`` counts only where there
  is no OCI layout. The last entry of a name counts. The name is ``io.containerd.image.name``, else the text of
  ``org.opencontainers.image.ref.name`` as it stands.
- skopeo and podman read either, as they are told or as they try. In ``index.json`` the first entry whose
  ``org.opencontainers.image.ref.name`` is the name counts, and in ``manifest.json`` the first entry with the name.
- Of an index, all of them take the first manifest whose descriptor has their platform, and only then one whose
  descriptor has none.

So every name is followed in each of these ways, and all must end at one image. An image is its config: its digest is
the image ID, and names the layers by their content. What a descriptor says about its content beside that (an artifact
type, an annotation, the platform ``unknown/unknown``, no media type) does not keep those programs from reading an image
there, and so does not count here.

What must never happen: that a name is given to an image of ``manifest.json`` or of the first entry, without a look at
where the other readings lead. Each of them is one step for each entry and each name: nothing is compared pairwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from orlop.archive.content import platform_of
from orlop.archive.platforms import plain
from orlop.errors import InvalidArchive
from orlop.model.digest import ImageID

if TYPE_CHECKING:
    from orlop.archive.content import ArchiveImage
    from orlop.archive.manifests import ManifestReader, Node
    from orlop.archive.names import Said
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference

_Identity: TypeAlias = "ImageID | Digest"


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of ``index.json``: its digest, and what makes it the same as another one."""

    digest: Digest
    identity: _Identity


@dataclass(slots=True)
class _Text:
    """The first entries with one text as their second annotation.

    ``named`` have a first annotation, too, under which containerd knows them; of two that differ, both are kept.
    """

    alone: _Entry | None = None
    named: list[_Entry] = field(default_factory=list)


class IndexMeaning:
    """The names of one ``index.json``, entry by entry."""

    def __init__(self) -> None:
        self._names: dict[Reference, _Entry] = {}
        self._texts: dict[str, _Text] = {}

    def add(self, top: Descriptor, node: Node | None, said: Said) -> None:
        """Note an entry, with what it leads to, if that is known and there.

        Raises:
            InvalidArchive: an entry before it gives one of its names to another image.
        """
        entry = _Entry(top.digest, _identity(top, node))
        for name in said.names:
            before = self._names.setdefault(name, entry)
            if before.identity != entry.identity:
                raise _two(name.familiar, before, entry)
        if said.text:
            self._add_text(said, entry)

    def _add_text(self, said: Said, entry: _Entry) -> None:
        """Compare an entry with those of the same text, where containerd goes by that text in one of the two."""
        text = self._texts.setdefault(said.text, _Text())
        others = [text.alone] if text.alone is not None else []
        if said.alone:
            others += text.named
        for other in others:
            if other.identity != entry.identity:
                raise _two(said.text, other, entry)
        if said.alone:
            text.alone = entry
        elif not text.named or (len(text.named) == 1 and text.named[0].identity != entry.identity):
            text.named.append(entry)


def _identity(top: Descriptor, node: Node | None) -> _Identity:
    return ImageID.wrap(node.config.digest) if node is not None and node.is_image else top.digest


def _two(name: str, before: _Entry, entry: _Entry) -> InvalidArchive:
    return InvalidArchive(
        f"the archive's index.json gives the name {name} to two images: skopeo would read {before.digest}, Docker with"
        f" containerd storage {entry.digest}; it is refused"
    )


def owners_of(images: list[ArchiveImage]) -> dict[Reference, ArchiveImage]:
    """Return which image has each name of ``manifest.json``.

    Raises:
        InvalidArchive: two have the same.
    """
    owners: dict[Reference, ArchiveImage] = {}
    for entry in images:
        for name in entry.references:
            before = owners.setdefault(name, entry)
            if before.image.id != entry.image.id:
                msg = (
                    f"the archive's manifest.json gives the name {name.familiar} to two images: skopeo would read"
                    f" {before.image.id}, Docker {entry.image.id}; it is refused"
                )
                raise InvalidArchive(msg)
    return owners


def check_owner(
    reader: ManifestReader, name: Reference, owner: ArchiveImage, top: Descriptor, node: Node | None
) -> None:
    """Check that an entry of ``index.json`` leads to the image that ``manifest.json`` gives the entry's name to.

    Where it leads to an index, that image must be the one that the index has for its platform.

    Raises:
        InvalidArchive: it leads elsewhere.
    """
    leaves = () if node is None else reader.images(node)
    found = next((leaf for leaf in leaves if ImageID.wrap(leaf.config.digest) == owner.image.id), None)
    if found is not None and (leaves == (node,) or _is_first(found, leaves, platform_of(owner.image))):
        return
    other = top.digest if found is None else next((leaf.digest for leaf in leaves if leaf is not found), top.digest)
    msg = (
        f"the archive's manifest.json names {owner.image.id} as {name.familiar}, its index.json another image, {other}:"
        " Docker with graph drivers would read the one, Docker with containerd storage and skopeo the other; it is"
        " refused"
    )
    raise InvalidArchive(msg)


def _is_first(found: Node, leaves: tuple[Node, ...], platform: Platform) -> bool:
    """Return whether programs that look for a platform in an index find this manifest, which must say it truly."""
    said = found.platform
    if said is not None and (said.os, said.architecture) != (platform.os, platform.architecture):
        return False
    for leaf in leaves:
        other = leaf.platform
        if said is None:
            rival = other is None or (other.os, other.architecture) == (platform.os, platform.architecture)
        else:
            rival = other is not None and plain(other) == plain(said)
        if rival:
            return leaf.config.digest == found.config.digest
    return False
