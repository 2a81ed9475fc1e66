"""Images added to an archive of docker's formats: the bytes of a new archive, with all that the old one holds.

The members of the old archive go over as they are, to the byte, headers included. New members come between them where
the old ones are sorted, else behind them. A member that both have stays as it was, if its content is what it must be,
and makes way otherwise. Only the documents that list images are written anew: ``manifest.json``, ``index.json`` where
there is one, and ``repositories``. So images that are added one by one give the archive that all of them would give at
once.

A name means one image: it goes to the one that is added. Who had it before stays in the archive without that name, as
in an engine.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol

from orlop.archive.docker import checked_entry
from orlop.archive.docker_save import order
from orlop.archive.members import member_key
from orlop.archive.names import IMAGE_NAME, REF_NAME
from orlop.archive.oci_blobs import Document, blob_path
from orlop.archive.old_tar import OldTar
from orlop.errors import InvalidManifest, InvalidReference
from orlop.model import gojson
from orlop.model.digest import Digest, ImageID
from orlop.model.manifest import Index, Manifest, parse_manifest
from orlop.model.reference import Reference
from orlop.streams.tar_entry import TYPE_DIR, TYPE_FILE, TYPE_SYMLINK
from orlop.streams.tar_write import archive_chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orlop.archive.docker_save import Planned
    from orlop.model.limits import Limits
    from orlop.model.progress import Progress

_MANIFEST: Final = "manifest.json"
_INDEX: Final = "index.json"
_REPOSITORIES: Final = "repositories"
_IMAGE: Final = re.compile(r"(?:.*/)?([0-9a-f]{64})(?:\.json)?\Z", re.DOTALL)
_BLOBS: Final = "blobs"
_LARGEST: Final = 4 << 20
"""Bytes of a manifest; what is larger is not read as one."""
_ENTRY: Final = {gojson.fold(key): key for key in ("Config", "Layers", "LayerSources", "RepoTags")}
_LISTED: Final = {gojson.fold(key): key for key in ("manifests", "digest", "annotations")}


class Added(Protocol):
    """What is added: members that are planned, and written one by one."""

    def lay_out(self, before: Iterable[ImageID] = ()) -> dict[str, Planned]:
        """Return every member by its name; see `orlop.archive.docker_save.Layout.lay_out`."""

    def member(self, name: str, member: Planned, progress: Progress | None) -> Iterator[bytes]:
        """Yield the bytes of a planned member, with its header and padding."""

    def chunks(self, progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the bytes of an archive of these members alone."""


class OldArchive(OldTar):
    """The archive that is there, and the documents that list its images; takes what `OldTar` takes.

    Raises:
        InvalidArchive: it is not a plain archive of docker's formats, or contradicts itself. LimitExceeded: it asks for
            too much.
    """

    def __init__(self, descriptor: int, shown: str, limits: Limits) -> None:
        super().__init__(descriptor, shown, limits)
        if _MANIFEST not in self.members:
            advice = "choose the format 'oci'" if _INDEX in self.members else "save to a new file"
            raise self.refused(f"it has no {_MANIFEST}, and so is not a Docker archive; {advice}")
        self.images = list(self._images())
        self.index = self._index() if _INDEX in self.members else None
        self.repositories: dict[str, Any] = self.document(_REPOSITORIES) if _REPOSITORIES in self.members else {}
        if not isinstance(self.repositories, dict):
            raise self.refused(f"its {_REPOSITORIES} is not what it must be")

    @property
    def form(self) -> str:
        """The format in which images are added: a reader of ``index.json`` would miss an image that is not in it."""
        return "docker-20.10" if self.index is None else "docker"

    @property
    def is_sorted(self) -> bool:
        """Whether the members stand in the order in which archives are written."""
        return sorted(self.members, key=order) == list(self.members)

    def ids(self) -> Iterator[ImageID]:
        """Yield the IDs of its images, as far as the names of their configs have them."""
        for entry in self.images:
            found = _IMAGE.match(str(entry.get("Config")))
            if found is not None:
                yield ImageID("sha256", found[1])

    def key(self, config: str) -> str:
        """Return where a config lies, however its name is spelt. Raises `InvalidArchive`, `LimitExceeded`."""
        return member_key(config, self._limits)

    def _images(self) -> Iterator[dict[str, Any]]:
        document = self.document(_MANIFEST, gojson.Keys.FOLDED)
        if not isinstance(document, list):
            raise self.refused(f"its {_MANIFEST} is not what it must be")
        for number, entry in enumerate(document):
            checked_entry(entry, number)
            yield _spelt(entry, _ENTRY)

    def _index(self) -> dict[str, Any]:
        try:
            Index.from_json(self.read(_INDEX))
        except InvalidManifest as error:
            raise self.refused(f"{_INDEX}: {error}") from error
        document = _spelt(self.document(_INDEX), _LISTED)
        return document | {"manifests": [_spelt(entry, _LISTED) for entry in document["manifests"] or ()]}


def _spelt(document: dict[str, Any], keys: dict[str, str]) -> dict[str, Any]:
    """Return an object with the keys that are known as they are written here: to readers case makes no difference."""
    return {keys.get(gojson.fold(key), key): value for key, value in document.items()}


def appended(old: OldArchive, layout: Added, progress: Progress | None = None) -> Iterator[bytes]:
    """Yield the bytes of an archive with all that another has, and the images of a layout of its `OldArchive.form`.

    Raises what `Layout.chunks` raises, and `InvalidArchive` where the old archive changes meanwhile.
    """
    plan = layout.lay_out(old.ids())
    documents = _merged(old, plan)
    new: dict[str, Planned] = {}
    for name, planned in plan.items():
        before = old.members.get(name)
        if name in documents:
            new[name] = replace(planned, data=documents[name])
        elif before is None or (name == _BLOBS and planned.is_folder) or not _is_same(old, name, plan):
            new[name] = planned
    old.require_folders([*new, *(f"{name}/" for name, planned in new.items() if planned.is_folder)])
    old.require_own(documents)
    kept = [name for name in old.members if name not in new]
    names = sorted([*kept, *new], key=order) if old.is_sorted else [*kept, *sorted(new, key=order)]
    pieces = (layout.member(name, new[name], progress) if name in new else old.raw(old.members[name]) for name in names)
    yield from archive_chunks(chain.from_iterable(pieces))
    old.require_unchanged()


def _is_same(old: OldArchive, name: str, plan: dict[str, Planned]) -> bool:
    """Return whether a member holds what is planned in its place; a link leads to what has it."""
    planned, entry = plan[name], old.members[name]
    if planned.is_folder:
        return entry.type == TYPE_DIR
    if planned.data is not None:
        is_file = entry.type == TYPE_FILE and not entry.sparse
        return is_file and entry.size == len(planned.data) and b"".join(old.content(entry)) == planned.data
    if planned.blob is not None:
        return entry.type == TYPE_FILE and old.is_blob(entry, planned.blob.digest.algorithm, planned.blob.digest.hex)
    source = planned if planned.link is None else plan.get(_led(name, planned.link))
    found = old.members.get(_led(name, entry.linkname)) if entry.type == TYPE_SYMLINK else entry
    return (
        source is not None
        and source.layer is not None
        and found is not None
        and old.is_blob(found, "sha256", source.layer.hex)
    )


def _led(name: str, link: str) -> str:
    """Return where a link leads from a member; what is outside is none."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), link))


def _merged(old: OldArchive, plan: dict[str, Planned]) -> dict[str, bytes]:
    """Return the documents that list all images; ``repositories`` is planned where only the old ones have names."""
    documents = {}
    if _MANIFEST in plan:
        added = _planned(plan, _MANIFEST)
        taken = {tag for entry in added for tag in entry["RepoTags"] or ()}
        # Of the two forms only that of graph drivers ends the line.
        end = b"\n" if (plan[_MANIFEST].data or b"").endswith(b"\n") else b""
        came = _came(old, plan)
        images = [_as_it_came(entry, came.get(old.key(entry["Config"]), ())) for entry in _images(old, added, taken)]
        documents[_MANIFEST] = gojson.dumps(images) + end
    if old.index is not None and _INDEX in plan:
        documents[_INDEX] = gojson.dumps(_index(old.index, _planned(plan, _INDEX)))
    if _REPOSITORIES in plan:
        names = {name: dict(tags) for name, tags in old.repositories.items() if isinstance(tags, dict)}
        for name, tags in _planned(plan, _REPOSITORIES).items():
            names.setdefault(name, {}).update(tags)
        listed = {name: dict(sorted(tags.items())) for name, tags in sorted(names.items())}
        documents[_REPOSITORIES] = gojson.dumps(listed) + b"\n"
    return documents


def _came(old: OldArchive, plan: dict[str, Planned]) -> dict[str, list[list[str]]]:
    """Return the layers that manifests of both archives name, by the places of their configs, if all are there.

    A manifest that came from elsewhere names layers that are compressed. Where an archive has these, it must not list
    the plain ones of the image: readers of one document would take those of the other for another image's.
    """
    found: dict[str, list[list[str]]] = {}
    manifests = [one.blob.data for one in plan.values() if isinstance(one.blob, Document)]
    for raw in (*_manifests(old), *manifests):
        document = _parsed(raw)
        if isinstance(document, Manifest):
            layers = [blob_path(layer.digest) for layer in document.layers]
            if all(layer in plan or layer in old.members for layer in layers):
                found.setdefault(blob_path(document.config.digest), []).append(layers)
    return found


def _manifests(old: OldArchive) -> Iterator[bytes]:
    """Yield the manifests to which the ``index.json`` of the old archive leads, as far as they are there."""
    waiting = [str(entry.get("digest")) for entry in (old.index or {}).get("manifests") or ()]
    seen = set(waiting)
    while waiting:
        digest = Digest.unchecked(waiting.pop())
        if not digest.is_valid or (path := blob_path(digest)) not in old.members or old.members[path].size > _LARGEST:
            continue
        raw = old.read(path)
        document = _parsed(raw)
        if isinstance(document, Index):
            # Very many indexes may name the same ones.
            children = dict.fromkeys(str(child.digest) for child in document.manifests)
            waiting += [child for child in children if child not in seen]
            seen |= children.keys()
        elif document is not None:
            yield raw


def _parsed(raw: bytes) -> Manifest | Index | None:
    try:
        return parse_manifest(raw)
    except InvalidManifest:
        return None


def _as_it_came(entry: dict[str, Any], came: Sequence[list[str]]) -> dict[str, Any]:
    """Return an entry of ``manifest.json``, with the layers of a manifest that came where it has plain ones."""
    layers = next((one for one in came if one != entry.get("Layers")), None)
    if layers is None or "LayerSources" not in entry:
        return entry
    return {key: value for key, value in entry.items() if key != "LayerSources"} | {"Layers": layers}


def _planned(plan: dict[str, Planned], name: str) -> Any:
    """Return a document that a layout has planned."""
    return gojson.loads(plan[name].data or b"", allow_trailing=True)


def _images(old: OldArchive, added: list[dict[str, Any]], taken: set[str]) -> list[dict[str, Any]]:
    """Return the entries of ``manifest.json``: the old ones without the names that are taken, then the new ones."""
    found = {entry["Config"]: entry for entry in added}
    images: list[dict[str, Any]] = []
    for entry in old.images:
        tags = [tag for tag in entry.get("RepoTags") or () if _familiar(tag) not in taken]
        same = found.pop(old.key(entry["Config"]), None)
        tags += [] if same is None else same["RepoTags"] or []
        images.append(entry | {"RepoTags": tags or None})
    return [*images, *found.values()]


def _index(before: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """Return ``index.json`` with what another one names, too."""
    new = added["manifests"]
    taken = {entry.get("annotations", {}).get(IMAGE_NAME) for entry in new} - {None}
    digests = {entry.get("digest") for entry in new}
    entries: list[dict[str, Any]] = []
    for entry in before.get("manifests") or ():
        notes = entry.get("annotations")
        if not isinstance(notes, dict) or notes.get(IMAGE_NAME) not in taken:
            entries.append(entry)
        elif entry.get("digest") not in digests:
            left = {key: text for key, text in notes.items() if key not in {IMAGE_NAME, REF_NAME}}
            unnamed = {key: value for key, value in entry.items() if key != "annotations"}
            entries.append(unnamed | ({"annotations": left} if left else {}))
        else:
            continue
        digests.add(entry.get("digest"))
    said = {_said(entry) for entry in entries}
    return before | {"manifests": [*entries, *(entry for entry in new if _said(entry) not in said)]}


def _said(entry: dict[str, Any]) -> str:
    """Return what is the same for entries that say the same."""
    return json.dumps(entry, sort_keys=True)


def _familiar(tag: object) -> str:
    """Return a tag as it is written here; what is not one stays as it is."""
    try:
        return Reference.parse(str(tag)).familiar
    except InvalidReference:
        return str(tag)
