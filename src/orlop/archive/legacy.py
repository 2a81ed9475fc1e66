"""Docker's archives before manifest.json (Docker Image Specification v1.0): a directory for each layer.

Each directory's ``json`` is a v1 config; image configs are made of them as Engine 20.10 makes them, byte for byte, so
every directory becomes an image, the parent of those above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orlop.errors import InvalidArchive
from orlop.intake.documents import reading
from orlop.intake.offer import Offer, OfferedImage, OfferedLayer, check_depth, platform_of
from orlop.model import gojson
from orlop.model.dialect import Dialect
from orlop.model.image import Image, RootFS, V1Image
from orlop.model.reference import Reference
from orlop.model.v1 import history_from_config, make_config_from_v1_config

if TYPE_CHECKING:
    from orlop.archive.members import Members
    from orlop.intake.platforms import PlatformChoice
    from orlop.intake.taking import L

_DIALECT: Final = Dialect.ENGINE_20_10


def read_legacy(members: Members[L], choice: PlatformChoice) -> Offer:
    """Make an image of every directory, in the order of their names, parents first; see `orlop.archive.formats.Reader`.

    Layers are read, since their diff IDs are not in the archive.
    """
    reader = _Reader(members)
    folders = {key.partition("/")[0] for key in members.names() if "/" in key}
    for folder in sorted(folders, key=lambda name: name.encode("utf-8", "surrogateescape")):
        reader.read(folder)
    references = _read_repositories(members, reader.images)
    images = (
        OfferedImage(
            entry.image,
            entry.layers,
            entry.platform,
            tuple(references.get(folder, ())),
            parent=entry.parent,
        )
        for folder, entry in reader.images.items()
    )
    return Offer(tuple(images), form="docker-v1").only(choice, members.words)


class _Reader:
    """The images that were made so far, by directory."""

    def __init__(self, members: Members[Any]) -> None:
        self._members = members
        self.images: dict[str, OfferedImage] = {}

    def read(self, folder: str) -> None:
        """Make the image of a directory, and before it those of its parents as far as they are not there yet."""
        waiting: dict[str, bytes] = {}
        while folder and folder not in self.images:
            if folder in waiting:
                msg = f"the parents of the archive's image {folder!r} form a loop; it is refused"
                raise InvalidArchive(msg)
            # Their layers are not read for nothing.
            check_depth(next(iter(waiting), folder), len(waiting) + 1, self._members.limits)
            waiting[folder] = self._members.document(f"{folder}/json", what="the v1 config", limit="config_size")
            with reading(f"{folder}/json"):
                folder = V1Image.from_json(waiting[folder], dialect=_DIALECT, once=True).parent
        for each, raw in reversed(waiting.items()):
            self.images[each] = self._image(each, raw)

    def _image(self, folder: str, raw: bytes) -> OfferedImage:
        parent = self.images.get(V1Image.from_json(raw, dialect=_DIALECT).parent)
        below = RootFS() if parent is None else parent.image.rootfs
        history = () if parent is None else parent.image.history
        name = f"{folder}/layer.tar"
        diff_id = self._members.layer(name, label=folder[:12]).diff.diff_id
        config = make_config_from_v1_config(
            raw,
            below.append(diff_id),
            (*history, history_from_config(raw, empty_layer=False, dialect=_DIALECT)),
            dialect=_DIALECT,
        )
        # It repeats what its parents say: a short one may become long, and so may each of very many.
        limits = self._members.limits
        if len(config) > limits.config_size:
            raise limits.exceeded("config_size", f"the config of the image {folder!r} would have {len(config)} bytes")
        self._members.count_bytes(len(config))
        image = Image.from_json(config, dialect=_DIALECT)
        check_depth(image.id, len(image.rootfs.diff_ids), self._members.limits)
        layers = (*(() if parent is None else parent.layers), OfferedLayer(name, diff_id))
        return OfferedImage(image, layers, platform_of(image), parent=None if parent is None else parent.image.id)


def _read_repositories(members: Members[L], images: dict[str, OfferedImage]) -> dict[str, list[Reference]]:
    """Return the names of each directory's image, sorted."""
    raw = members.document("repositories", what="the document")
    with reading("repositories"):
        document = gojson.loads(raw, allow_trailing=True, keys=gojson.Keys.ONCE)
    if not isinstance(document, dict):
        msg = "the archive's repositories is not an object; the archive is refused"
        raise InvalidArchive(msg)
    references: dict[str, list[Reference]] = {}
    owners: dict[Reference, str] = {}
    for name, tags in document.items():
        if not isinstance(tags, dict):
            msg = f"the tags of {name!r} in the archive's repositories are not an object; the archive is refused"
            raise InvalidArchive(msg)
        repository = Reference.parse(name)
        for tag, folder in tags.items():
            if not isinstance(folder, str) or folder not in images:
                msg = f"the archive's repositories names the image {folder!r} as {name}:{tag}, but it is not there"
                raise InvalidArchive(msg)
            tagged = repository.with_tag(tag)
            if owners.setdefault(tagged, folder) != folder:
                msg = (
                    f"the archive's repositories gives the name {tagged.familiar} to two images, {owners[tagged]!r} and"
                    f" {folder!r}: Docker would take one of them by chance; it is refused"
                )
                raise InvalidArchive(msg)
            references.setdefault(folder, []).append(tagged)
    return {folder: sorted(names) for folder, names in references.items()}
