"""An ``index.json`` beside a ``manifest.json``: the manifests that come along, and whether both say the same.

Docker with containerd storage lists whatever it saves in both, images or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.archive.containerd_form import listed_configs
from orlop.archive.meaning import IndexMeaning, check_disguises, check_owner, owners_of
from orlop.archive.names import OMITTED, address_of, said_of, unnamed
from orlop.archive.oci import blob_name, layout_index
from orlop.errors import InvalidArchive
from orlop.intake.beside_images import Top, with_artifacts
from orlop.intake.manifests import ManifestReader, names_layers
from orlop.intake.offering import kept_manifests
from orlop.model.digest import Digest, ImageID
from orlop.model.manifest import Manifest
from orlop.model.reference import Reference

if TYPE_CHECKING:
    from orlop.archive.members import Members
    from orlop.archive.names import Said
    from orlop.intake.manifests import Node
    from orlop.intake.offer import OfferedImage
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.taking import L
    from orlop.model.descriptor import Descriptor


class Beside:
    """What lies beside a ``manifest.json``.

    ``manifests`` belong to its images, or are artifacts with their ``blobs``; ``digests`` are the names of images by
    digest, ``tops`` what their tags mean.
    ``decides`` says that ``index.json`` holds all that ``manifest.json`` lists, and images that it does not: containerd
    lists there what fits the machine.

    Raises:
        InvalidManifest: a document is not a manifest. DigestMismatch, SizeMismatch: it is not what its descriptor says.
        InvalidArchive: another program would read another image than ``manifest.json`` names.
    """

    def __init__(self, members: Members[L], images: list[OfferedImage], choice: PlatformChoice) -> None:
        self._members = members
        self._reader = ManifestReader(members, blob_name, may_lack=True)
        self._images = {entry.image.id: entry for entry in images}
        self._owners = owners_of(images)
        self._kept: dict[Digest, ImageID] = {}
        self._digests: dict[ImageID, dict[Reference, None]] = {}
        self._tops: dict[ImageID, dict[Reference, Digest]] = {}
        self._described: dict[Digest, bool] = {}
        self._unlisted: list[Descriptor] = []
        self._has_more = False
        claimed: set[Reference] = set()
        tops: list[Top] = []
        meaning = IndexMeaning(self._reader)
        index = layout_index(members)
        # An engine with containerd saves the manifests that it has, others make them up of the plain layers.
        self._makes_up = listed_configs(members) is None
        self.strange = index.strange
        self._left_out = frozenset(index.annotations.get(OMITTED, "").split())
        for top in index.manifests:
            said, node = said_of(top), self._reader.node(top)
            claimed.update(said.names)
            meaning.add(top, node, said)
            check_disguises(self._reader, node)
            for name in said.names:
                if (owner := self._owners.get(name)) is not None:
                    check_owner(self._reader, name, owner, top, node)
            if node is not None:
                tops.append(Top(node, said.name, address_of(said)))
                self._add(top, node, said)
            elif (blob := self._reader.loose(unnamed(top))) is not None:
                tops.append(Top(blob, (), said.text))
        self.decides = self._is_whole(claimed)
        owned = kept_manifests(self._reader, [top.node for top in tops], self._kept)
        self.manifests, self.blobs = with_artifacts(self._reader, tops, owned, self._kept, choice)
        self.digests = {image: tuple(names) for image, names in self._digests.items()}
        self.tops = {image: tuple(tops.items()) for image, tops in self._tops.items()}

    def _add(self, top: Descriptor, node: Node, said: Said) -> None:
        leaves = self._reader.images(node)
        self._reader.count(len(leaves))
        found = [(leaf, entry) for leaf in leaves if (entry := self._listed(leaf)) is not None]
        if leaves and not found:
            self._unlisted.append(top)
        self._has_more = self._has_more or any(self._listed(leaf) is None and self._is_here(leaf) for leaf in leaves)
        for leaf, entry in found:
            self._kept[leaf.digest] = entry.image.id
            if leaf.digest not in self._described:
                self._described[leaf.digest] = self._describes(leaf, entry)
            for name in said.name if self._described[leaf.digest] else ():
                if self._owners.get(name) is entry:
                    by_digest = Reference(name.domain, name.path, None, top.digest)
                    self._digests.setdefault(entry.image.id, {})[by_digest] = None
                    self._tops.setdefault(entry.image.id, {}).setdefault(name, top.digest)

    def _listed(self, leaf: Node) -> OfferedImage | None:
        digest = leaf.config.digest
        if digest.algorithm != "sha256" and self._members.has(name := blob_name(digest, manifest=False)):
            digest = Digest.of(self._members.document(name, what="the config", limit="config_size"))
        return self._images.get(ImageID.wrap(digest))

    def _is_here(self, leaf: Node) -> bool:
        """Return whether the archive has all of an image but layers that were left out of it on purpose."""
        document = leaf.document
        layers = document.layers if isinstance(document, Manifest) else ()
        names = [blob_name(leaf.config.digest, manifest=False)]
        needed = [layer.digest for layer in layers if str(layer.digest) not in self._left_out]
        names += [blob_name(digest, manifest=False) for digest in needed]
        return all(self._members.has(self._members.place_of(name)) for name in names)

    def _is_whole(self, claimed: set[Reference]) -> bool:
        """Return whether ``index.json`` holds more than ``manifest.json``. Raises `InvalidArchive` where each does."""
        if not self._unlisted and not self._has_more:
            return False
        if set(self._kept.values()) == self._images.keys() and self._owners.keys() <= claimed:
            return True
        if not self._unlisted:
            return False
        msg = (
            f"the archive's index.json leads by {self._unlisted[0].digest} to an image that its manifest.json does not"
            " list: skopeo and Docker with containerd storage would read it, Docker with graph drivers another one; it"
            " is refused"
        )
        raise InvalidArchive(msg)

    def _describes(self, leaf: Node, entry: OfferedImage) -> bool:
        """Return whether a registry may know a manifest of an image.

        Engines with graph drivers make manifests up when they save, of the plain layers, and some versions forget
        layers or exchange them.

        Raises:
            InvalidArchive: it has a layer that is another than any of the image, so that a reader of it would read
                other files under the same image ID.
        """
        document = leaf.document
        if not isinstance(document, Manifest):
            return False
        places = [self._members.place_of(layer.name) for layer in entry.layers]
        diff_ids = [str(layer.diff_id) for layer in entry.layers]
        given = [self._members.place_of(blob_name(layer.digest, manifest=False)) for layer in document.layers]
        for place, layer in zip(given, document.layers, strict=True):
            if place not in places and str(layer.digest) not in diff_ids and self._members.has(place):
                msg = (
                    f"the archive's manifest {leaf.digest} gives the image {entry.image.id} the layer {layer.digest},"
                    " which its manifest.json does not: skopeo would read the one, Docker with graph drivers the other;"
                    " it is refused"
                )
                raise InvalidArchive(msg)
        whole = all(
            layer.size == self._members.size_of(place, what="the layer")
            for place, layer in zip(given, document.layers, strict=True)
            if self._members.has(place)
        )
        is_made_up = self._makes_up and [str(layer.digest) for layer in document.layers] == diff_ids
        return given == places and whole and not is_made_up


class Artifacts:
    """The artifacts of an ``index.json``, by the places of their configs. Raises what `Beside` raises of documents."""

    def __init__(self, members: Members[L]) -> None:
        self._members = members
        self._reader = ManifestReader(members, blob_name, may_lack=True)
        self._places: set[str] = set()
        self._seen: set[Digest] = set()
        index = layout_index(members)
        for top in index.manifests:
            if (node := self._reader.node(top)) is not None:
                self._collect(node)

    def _collect(self, node: Node) -> None:
        if node.digest in self._seen:
            return
        self._seen.add(node.digest)
        if isinstance(node.document, Manifest) and not node.is_image:
            self._places.add(self._members.place_of(blob_name(node.config.digest, manifest=False)))
        for child in node.children:
            self._collect(child)

    def has(self, config: str) -> bool:
        """Return whether a config is that of an artifact, and of no image to those who do not read ``index.json``."""
        return self._members.place_of(config) in self._places and not names_layers(
            self._members.document(config, what="the config", limit="config_size"), unread=False
        )
