"""One archive, one meaning: no name of an archive may lead two programs to two images.

Theory of operation. What is in an archive depends on who reads it:

- Docker with graph drivers reads ``manifest.json`` alone. Of a name that stands in two entries the last one counts.
- Docker with containerd storage reads ``index.json``, whatever it leads to; ``manifest.json`` counts only where there
  is not an OCI layout. The last entry of a name counts. The name is ``io.containerd.image.name``, else the text of
  ``org.opencontainers.image.ref.name`` as it stands.
- skopeo and podman read either, as they are told or as they try. In ``index.json`` the first entry whose
  ``org.opencontainers.image.ref.name`` is the name counts, and in ``manifest.json`` the first entry with the name.
- Of an index, all of them take the first manifest whose descriptor has their platform, and only then one whose
  descriptor has none.

So every name is followed in each of these ways, and all must end at one image. An image is its config: its digest is
the image ID, and names the layers by their content. What a descriptor says about its content beside that (an artifact
type, an annotation, the platform ``unknown/unknown``, no media type) does not keep those programs from reading an image
there, and so does not count here.

One thing is more than one image and yet has one meaning: entries of one name whose images are for different operating
systems or processors. Programs that take one entry then say that it is not for the machine, where it is not. Variants
of one processor do not count, since a machine may run either. Such a name counts as an index without a document of its
own; an entry whose descriptor contradicts its config, and one that is not an image, takes no part in it.

What must never happen: that a name is given to an image of ``manifest.json`` or of the first entry, without a look at
where the other readings lead. Each of them is one step for each entry and each name: nothing is compared pairwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from orlop.errors import InvalidArchive
from orlop.intake.offer import platform_of
from orlop.intake.platforms import plain
from orlop.model.digest import ImageID

if TYPE_CHECKING:
    from orlop.archive.names import Said
    from orlop.intake.manifests import ManifestReader, Node
    from orlop.intake.offer import OfferedImage
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference

_Identity: TypeAlias = "ImageID | Digest"
_Machine: TypeAlias = "tuple[str, str]"
_ENOUGH: Final = 2


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of ``index.json``: its digest, what makes it the same as another one, and where it leads."""

    digest: Digest
    identity: _Identity
    node: Node | None

    @property
    def kind(self) -> tuple[_Identity, Platform | None]:
        """What two entries have in common of which one need not be looked at."""
        return self.identity, None if self.node is None else self.node.descriptor.platform


class _Entries:
    """The entries that are called the same, by the machine that their image is for."""

    def __init__(self, reader: ManifestReader) -> None:
        self._reader = reader
        self._kinds: dict[tuple[_Identity, Platform | None], None] = {}
        # Of any number of images, two are enough to find one that is not a given image.
        self._some: dict[_Identity, _Entry] = {}
        self._waiting: list[_Entry] = []
        self._by_machine: dict[_Machine | None, dict[_Identity, _Entry]] = {}

    def add(self, entry: _Entry) -> None:
        """Note an entry."""
        if entry.kind not in self._kinds:
            self._kinds[entry.kind] = None
            self._waiting.append(entry)
            _keep(self._some, entry)

    def rival(self, entry: _Entry) -> _Entry | None:
        """Return an entry that leads somewhere else than another one, where programs may take either of them."""
        if all(identity == entry.identity for identity in self._some):
            return None
        # Only now does it matter for which machine they are, which is in their configs.
        while self._waiting:
            waiting = self._waiting.pop()
            _keep(self._by_machine.setdefault(self._reader.machine(waiting.node), {}), waiting)
        machine = self._reader.machine(entry.node)
        groups = [self._some] if machine is None else [self._by_machine.get(each, {}) for each in (machine, None)]
        return next((other for group in groups for other in group.values() if other.identity != entry.identity), None)


def _keep(group: dict[_Identity, _Entry], entry: _Entry) -> None:
    if len(group) < _ENOUGH:
        group.setdefault(entry.identity, entry)


class IndexMeaning:
    """The names of one ``index.json``, entry by entry."""

    def __init__(self, reader: ManifestReader) -> None:
        self._reader = reader
        self._names: dict[Reference, _Entries] = {}
        # By the second annotation: entries without a first one, which containerd knows under this text, and others.
        self._alone: dict[str, _Entries] = {}
        self._beside: dict[str, _Entries] = {}

    def add(self, top: Descriptor, node: Node | None, said: Said) -> None:
        """Note an entry, with what it leads to, if that is known and there.

        Raises:
            InvalidArchive: an entry before it gives one of its names to another image. InvalidImage, DigestMismatch, …:
                it gives it to another document, which would have to be a config, and is not.
        """
        entry = _Entry(top.digest, _identity(top, node), node)
        for name in said.names:
            entries = self._names.setdefault(name, _Entries(self._reader))
            self._check(name.familiar, entry, entries)
            entries.add(entry)
        if said.text:
            alone = self._alone.setdefault(said.text, _Entries(self._reader))
            beside = self._beside.setdefault(said.text, _Entries(self._reader))
            self._check(said.text, entry, alone)
            if said.alone:
                self._check(said.text, entry, beside)
            (alone if said.alone else beside).add(entry)

    def _check(self, name: str, entry: _Entry, before: _Entries) -> None:
        if (rival := before.rival(entry)) is not None:
            raise _two(name, rival, entry)


def _identity(top: Descriptor, node: Node | None) -> _Identity:
    return ImageID.wrap(node.config.digest) if node is not None and node.is_image else top.digest


def _two(name: str, before: _Entry, entry: _Entry) -> InvalidArchive:
    return InvalidArchive(
        f"the archive's index.json gives the name {name} to two images: skopeo would read {before.digest}, Docker with"
        f" containerd storage {entry.digest}; it is refused"
    )


def check_disguises(reader: ManifestReader, node: Node | None) -> None:
    """Check that an index leads to no image under a type that some programs pass over, and others do not look at.

    Raises:
        InvalidArchive: it does. DigestMismatch, SizeMismatch: what it leads to is not what its descriptor says.
    """
    found = None if node is None else reader.disguised(node)
    if node is not None and found is not None:
        msg = (
            f"the archive's index {node.digest} leads to a manifest, {found.digest}, as the type"
            f" {found.media_type!r}: skopeo and podman would read it, Docker with containerd storage another one; it is"
            " refused"
        )
        raise InvalidArchive(msg)


def owners_of(images: list[OfferedImage]) -> dict[Reference, OfferedImage]:
    """Return which image has each name of ``manifest.json``.

    Raises:
        InvalidArchive: two have the same.
    """
    owners: dict[Reference, OfferedImage] = {}
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
    reader: ManifestReader, name: Reference, owner: OfferedImage, top: Descriptor, node: Node | None
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
