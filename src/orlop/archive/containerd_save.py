"""The bytes that ``docker save`` of an engine with containerd writes: a layout as it came, and ``manifest.json``.

What the blobs are is the affair of `orlop.archive.oci_content`; which form an image came in, that of
`orlop.archive.containerd_form`. Here the two documents are made: entries in the order in which images were named, and
behind them what refers to them; of an index, the image that the engine listed, else the one for this machine.
"""

from __future__ import annotations

from orlop.archive.containerd_form import index_document, manifest_document
from orlop.archive.docker_save import Planned
from orlop.archive.names import IMAGE_NAME, REF_NAME, SUBJECT_NAME
from orlop.archive.oci_blobs import LAYOUT_FILE, Document, blob_path
from orlop.archive.oci_tar import blob_member, document_member, folder_member, layout_chunks
from orlop.intake.platforms import chosen
from orlop.model.digest import Digest, ImageID
from orlop.model.manifest import IMAGE_CONFIGS, Index, Manifest, parse_manifest
from orlop.model.tuples import NamedTuple
from orlop.model.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orlop.archive.containerd_form import Listing
    from orlop.archive.oci_layout import LayoutContent, TopEntry
    from orlop.model.descriptor import Descriptor
    from orlop.model.progress import Progress


def containerd_chunks(
    content: LayoutContent, listings: Mapping[ImageID, Listing], progress: Progress | None
) -> Iterator[bytes]:
    """Yield the bytes of an archive; a layer that is damaged or missing raises before it can look whole.

    Args:
        content: what the archive holds.
        listings: how the archives that its images came in listed them.
        progress: hears of each layer.
    """
    written = _Written(content, listings)
    return layout_chunks(content, written.index(), progress, manifest=written.manifest())


class ContainerdLayout:
    """The members of such an archive, one by one, for an archive that is there: see `docker_append.Added`.

    Takes what `containerd_chunks` takes.
    """

    def __init__(self, content: LayoutContent, listings: Mapping[ImageID, Listing]) -> None:
        self._content = content
        self._listings = listings

    def chunks(self, progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the bytes of an archive of its own."""
        return containerd_chunks(self._content, self._listings, progress)

    def lay_out(self, before: Iterable[ImageID] = ()) -> dict[str, Planned]:
        """Return every member by its name; what is in the archive before makes no difference."""
        del before
        written = _Written(self._content, self._listings)
        algorithms = {blob.digest.algorithm for blob in self._content.blobs}
        plan = {name: Planned(0) for name in ("blobs", *(f"blobs/{algorithm}" for algorithm in algorithms))}
        plan |= {blob_path(blob.digest): Planned(0, blob=blob) for blob in self._content.blobs}
        plan |= {"index.json": Planned(0, data=written.index()), "oci-layout": Planned(0, data=LAYOUT_FILE)}
        manifest = written.manifest()
        return plan if manifest is None else plan | {"manifest.json": Planned(0, data=manifest)}

    def member(self, name: str, member: Planned, progress: Progress | None) -> Iterator[bytes]:
        """Yield the bytes of a planned member, with its header and padding."""
        if member.blob is not None:
            yield from blob_member(member.blob, progress)
        elif member.data is not None:
            yield from document_member(name, member.data)
        else:
            yield folder_member(name)


class _Listed(NamedTuple):
    """An image or artifact of ``manifest.json``."""

    position: float
    manifest: Manifest
    tags: list[str]


class _Written:
    """The two documents of one archive."""

    def __init__(self, content: LayoutContent, listings: Mapping[ImageID, Listing]) -> None:
        self._entries = content.entries
        self._left_out = [layer.digest for layer in content.left_out]
        self._listings = listings
        self._images = {image.id: image for image in content.images}
        self._blobs = {blob.digest: blob.data for blob in content.blobs if isinstance(blob, Document)}
        self._there = {*self._left_out, *(blob.digest for blob in content.blobs)}
        self._told = {
            (entry.digest, entry.annotations.get(IMAGE_NAME, "")): entry
            for listing in listings.values()
            for entry in listing.entries
        }

    def index(self) -> bytes:
        """Return ``index.json``."""
        return index_document(map(self._described, self._entries), self._left_out)

    def _described(self, entry: TopEntry) -> Descriptor:
        name, descriptor = str(entry.reference or ""), entry.descriptor
        if entry.subject is not None:
            return replace(descriptor, annotations={SUBJECT_NAME: str(entry.subject)}, platform=None)
        if (told := self._told.get((descriptor.digest, name))) is not None:
            return told
        if descriptor.digest not in self._blobs:
            return descriptor
        named = {IMAGE_NAME: name, REF_NAME: _tag_of(entry) or name} if name else {}
        return replace(descriptor, annotations=named, platform=None, artifact_type="")

    def manifest(self) -> bytes | None:
        """Return ``manifest.json``: each manifest once, with all its names; nothing where there is not any."""
        listed: dict[Digest, _Listed] = {}
        for entry in self._entries:
            digest = None if entry.subject is not None else self._listed(entry.descriptor.digest)
            if digest is None:
                continue
            if digest not in listed:
                manifest = Manifest.from_json(self._blobs[digest])
                if not self._is_readable(manifest):
                    continue
                image = self._listings.get(ImageID.wrap(manifest.config.digest))
                listed[digest] = _Listed(float("inf") if image is None else image.position, manifest, [])
            if entry.reference is not None:
                listed[digest].tags.append(entry.reference.familiar)
        if not listed:
            return None
        return manifest_document(
            (
                blob_path(one.manifest.config.digest),
                one.tags,
                [blob_path(layer.digest) for layer in one.manifest.layers],
            )
            for one in sorted(listed.values(), key=lambda one: one.position)
        )

    def _is_readable(self, manifest: Manifest) -> bool:
        """Return whether a reader of ``manifest.json`` finds what it would look for.

        That is the config, and all layers; and an image where the config is of that type. Signatures of cosign, models
        of Ollama and others say so of what is not an image.
        """
        if not all(one.digest in self._there for one in (manifest.config, *manifest.layers)):
            return False
        raw = self._blobs.get(manifest.config.digest)
        is_image = raw is not None and ImageID.wrap(Digest.of(raw)) in self._images
        return is_image or manifest.config.media_type not in IMAGE_CONFIGS

    def _listed(self, digest: Digest) -> Digest | None:
        """Return the manifest that stands for what an entry leads to, if there is one."""
        if digest not in self._blobs:
            return None
        if isinstance(parse_manifest(self._blobs[digest]), Manifest):
            return digest
        below = list(self._below(digest, set()))
        if not below:
            return None
        listed = [one for one in below if one[1] in self._listings]
        if listed:
            return min(listed, key=lambda one: self._listings[one[1]].position)[0]
        platforms = [self._images[image].platform for _, image in below]
        return below[chosen(None).first(platforms)][0]

    def _below(self, digest: Digest, seen: set[Digest]) -> Iterator[tuple[Digest, ImageID]]:
        """Yield the manifests of images that are written at or below a manifest or index, with their images."""
        if digest in seen or digest not in self._blobs:
            return
        seen.add(digest)
        document = parse_manifest(self._blobs[digest])
        if isinstance(document, Index):
            for child in document.manifests:
                yield from self._below(child.digest, seen)
        elif (image := ImageID.wrap(document.config.digest)) in self._images:
            yield digest, image


def _tag_of(entry: TopEntry) -> str:
    return (entry.reference.tag or "") if entry.reference is not None else ""
