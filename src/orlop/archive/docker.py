"""Docker's archives: what ``docker save`` of any Engine since 1.10 writes, and podman and skopeo in its place.

``manifest.json`` decides what is in the archive. Manifests of an OCI layout beside it are verified and kept.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orlop.archive.meaning import owners_of
from orlop.errors import DigestMismatch, InvalidArchive, InvalidDigest, InvalidImage, InvalidJSON, InvalidReference
from orlop.intake.documents import reading
from orlop.intake.offer import Offer, OfferedImage, OfferedLayer, check_layers, platform_of, read_config
from orlop.model import gojson
from orlop.model.digest import Digest, ImageID
from orlop.model.reference import Reference

if TYPE_CHECKING:
    from orlop.archive.beside import Artifacts
    from orlop.archive.members import Members
    from orlop.intake.offer import OfferedBlob, OfferedManifest
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.taking import L
    from orlop.model.image import History, Image

_HEX_NAME = re.compile(r"(?:.*/)?(?:sha256:)?([0-9a-f]{64})(?:\.json)?\Z", re.DOTALL)
_BLOB_NAME = re.compile(r"blobs/sha256/([0-9a-f]{64})\Z")


def read_docker(members: Members[L], choice: PlatformChoice) -> Offer:
    """Read ``manifest.json`` and the configs that it names, and check that they fit together.

    Raises:
        InvalidArchive: the document is missing or no list of images, or names what is not there, or a parent whose
            history the child's does not continue.
        InvalidImage: a config cannot be read. InvalidReference: a name cannot. DigestMismatch: a config or manifest
            does not have the digest in its name. PlatformNotFound: there is no image for the wanted platform.
    """
    offer = _read_offer(members, choice)
    if not members.has("index.json"):
        return offer
    from orlop.archive.containerd_form import with_listings  # noqa: PLC0415 - older engines write no OCI layout beside

    return with_listings(members, offer)


def _read_offer(members: Members[L], choice: PlatformChoice) -> Offer:
    images = _read_manifest(members)
    if not images:
        from orlop.archive.oci import read_layout  # noqa: PLC0415 - few archives hold artifacts only

        return read_layout(members, choice)
    owners_of(images)
    _check_parents(images)
    manifests: tuple[OfferedManifest, ...] = ()
    blobs: tuple[OfferedBlob, ...] = ()
    strange: tuple[str, ...] = ()
    if members.has("index.json"):
        from orlop.archive.beside import Beside  # noqa: PLC0415 - older engines write no OCI layout beside

        beside = Beside(members, images, choice)
        if beside.decides:
            from orlop.archive.oci import read_layout  # noqa: PLC0415 - as above

            return read_layout(members, choice)
        manifests, blobs, strange = beside.manifests, beside.blobs, beside.strange
        images = [
            replace(entry, digests=beside.digests.get(entry.image.id, ()), tops=beside.tops.get(entry.image.id, ()))
            for entry in images
        ]
    return Offer(tuple(images), manifests, "docker", blobs, strange).only(choice, members.words)


def _check_parents(images: list[OfferedImage]) -> None:
    """Check the parent links that the archive names, as far as the parents are in it."""
    by_id = {entry.image.id: entry.image for entry in images}
    parents: dict[ImageID, ImageID] = {}
    histories = _Histories()
    for entry in images:
        child, parent = entry.image, None if entry.parent is None else by_id.get(entry.parent)
        if parent is None or parents.get(child.id) == parent.id:
            continue
        parents[child.id] = parent.id
        if not histories.go_on(child, parent):
            msg = (
                f"the archive names {parent.id} as the parent of {child.id}, but the history of one does not continue"
                " the other's; the archive is refused"
            )
            raise InvalidArchive(msg)
    _check_circles(parents)


class _Histories:
    """The histories of an archive's images, numbered: each is read once, however many pairs of images are compared."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[History, ...], int] = {}
        self._known: dict[ImageID, tuple[int, int]] = {}

    def go_on(self, child: Image, parent: Image) -> bool:
        """Return whether the history of one has one step more than the other's, or neither has any."""
        if not child.history and not parent.history:
            return True
        below, _ = self._of(child)
        _, whole = self._of(parent)
        return bool(child.history) and below == whole

    def _of(self, image: Image) -> tuple[int, int]:
        """Return the number of a history without its last step, and that of all of it."""
        if image.id not in self._known:
            history = image.history
            below, whole = (self._numbers.setdefault(each, len(self._numbers)) for each in (history[:-1], history))
            self._known[image.id] = below, whole
        return self._known[image.id]


def _check_circles(parents: dict[ImageID, ImageID]) -> None:
    """Check that nobody is his own ancestor: without any history, one may go on with the other both ways."""
    clear: set[ImageID] = set()
    for child in parents:
        way: dict[ImageID, None] = {}
        one: ImageID | None = child
        while one is not None and one not in clear:
            if one in way:
                msg = f"the parents of the archive's image {one} form a loop; the archive is refused"
                raise InvalidArchive(msg)
            way[one] = None
            one = parents.get(one)
        clear |= way.keys()


def _read_manifest(members: Members[L]) -> list[OfferedImage]:
    if not members.has("manifest.json"):
        msg = "this is not a Docker image archive: it has no manifest.json; give one that docker save wrote"
        raise InvalidArchive(msg)
    raw = members.document("manifest.json", what="the document")
    with reading("manifest.json"):
        entries = gojson.loads(raw, allow_trailing=True, keys=gojson.Keys.FOLDED)
    if not isinstance(entries, list):
        msg = "the archive's manifest.json is not a list of images; the archive is refused"
        raise InvalidArchive(msg)
    if not entries:
        msg = "the archive's manifest.json names no image; there is nothing to load"
        raise InvalidArchive(msg)
    return _read_entries(members, entries)


def _read_entries(members: Members[L], entries: list[object]) -> list[OfferedImage]:
    """Read the images of ``manifest.json``; artifacts that are listed beside them stand in ``index.json`` as well."""
    configs = _Configs(members)
    images: list[OfferedImage] = []
    artifacts: Artifacts | None = None
    for number, entry in enumerate(entries):
        try:
            images.append(_read_entry(members, entry, number, configs))
        except (InvalidImage, InvalidJSON):
            if artifacts is None and members.has("index.json"):
                from orlop.archive.beside import Artifacts  # noqa: PLC0415 - few archives have any

                artifacts = Artifacts(members)
            if artifacts is None or not artifacts.has(_config_of(entry, number)):
                raise
    return images


class _Configs:
    """The configs of an archive, each read once: it may name one any number of times."""

    def __init__(self, members: Members[Any]) -> None:
        self._members = members
        self._read: dict[str, Image] = {}

    def read(self, name: str) -> Image:
        """Return the config of this name in the archive. Raises what `read_docker` raises of configs."""
        key = self._members.key_of(name, what="the config")
        if key not in self._read:
            raw = self._members.document(name, what="the config", limit="config_size")
            with reading(f"the config {name!r}"):
                image = read_config(raw, self._members.limits)
            named = _HEX_NAME.match(key)
            if named is not None and named[1] != image.id.hex:
                msg = f"the config {name!r} has the digest {image.id}; the archive is damaged"
                raise DigestMismatch(msg)
            self._read[key] = image
        return self._read[key]


def _fields(entry: object, number: int) -> dict[str, object]:
    if not isinstance(entry, dict):
        msg = f"entry {number} of the archive's manifest.json is not an object; the archive is refused"
        raise InvalidArchive(msg)
    return gojson.folded(entry)


def checked_entry(entry: object, number: int) -> str:
    """Check the texts of an entry of ``manifest.json``, and return the name of its config. Raises `InvalidArchive`."""
    fields = _fields(entry, number)
    _texts(fields.get("layers"), "Layers", number)
    _texts(fields.get("repotags"), "RepoTags", number)
    return _config_of(entry, number)


def _config_of(entry: object, number: int) -> str:
    return _text(_fields(entry, number).get("config"), "Config", number)


def _read_entry(members: Members[L], entry: object, number: int, configs: _Configs) -> OfferedImage:
    fields = _fields(entry, number)
    image = configs.read(_config_of(entry, number))
    names = _texts(fields.get("layers"), "Layers", number)
    check_layers(image, len(names), members.words)
    layers = tuple(
        OfferedLayer(name, diff_id, _named_digest(members, name))
        for name, diff_id in zip(names, image.rootfs.diff_ids, strict=True)
    )
    tags = (_read_tag(text) for text in _texts(fields.get("repotags"), "RepoTags", number))
    references = tuple(dict.fromkeys(tag for tag in tags if tag is not None))
    parent = _text(fields.get("parent") or "", "Parent", number)
    try:
        # Daemons look a parent up among the archive's images and forget what they do not find.
        parent_id = ImageID.parse(parent) if parent else None
    except InvalidDigest:
        parent_id = None
    return OfferedImage(image, layers, platform_of(image), references, parent=parent_id)


def _named_digest(members: Members[L], name: str) -> Digest | None:
    """Return the digest that a layer's name in an OCI layout stands for."""
    named = _BLOB_NAME.match(members.place_of(name))
    return None if named is None else Digest("sha256", named[1])


def _read_tag(text: str) -> Reference | None:
    """Return the tag that a text gives, or nothing where it could be an image ID, or is a name by digest.

    containerd keeps images under such names, too, and lists them here; engines set none of them.
    """
    reference = Reference.parse(text)
    if reference.is_id_like or (reference.tag is None and reference.digest is not None):
        return None
    if reference.tag is None:
        msg = f'invalid tag "{text}": the archive names an image without a tag; it is refused'
        raise InvalidReference(msg)
    return Reference(reference.domain, reference.path, reference.tag)


def _text(value: object, key: str, number: int) -> str:
    if not isinstance(value, str):
        msg = f"entry {number} of the archive's manifest.json has no text as its {key}; the archive is refused"
        raise InvalidArchive(msg)
    return value


def _texts(value: object, key: str, number: int) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        msg = f"entry {number} of the archive's manifest.json has no list as its {key}; the archive is refused"
        raise InvalidArchive(msg)
    return tuple(_text(item, key, number) for item in value)
