"""What a load did."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from orlop.model.values import dataclass

if TYPE_CHECKING:
    from orlop.model.digest import DiffID, Digest, ImageID
    from orlop.model.platform import Platform
    from orlop.model.reference import Reference

FORMATS: Final = {
    "docker": "a Docker archive",
    "docker-v1": "a Docker archive in the layout of version 1",
    "oci": "an OCI image layout",
    "dir": "a directory of skopeo",
}
"""The formats of archives that are read, as they are called to programs and to people."""

_SHOWN: Final = 20
"""How many digests by algorithms that are not known are named at most."""


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image that a source held.

    ``references`` are its tags in the source; ``created`` says that it was not in the store before; ``digests`` are
    its names by the digest of the manifest or index that it came with; ``parent`` is another image of the source.
    """

    id: ImageID
    references: tuple[Reference, ...]
    created: bool
    digests: tuple[Reference, ...] = ()
    parent: ImageID | None = None
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class LoadedArtifact:
    """What a source held that is not an image: an artifact, or an index without images; ``references`` are its tags."""

    digest: Digest
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class MovedReference:
    """A name that pointed to another image before the load."""

    reference: Reference
    old_id: ImageID


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did, in the source's order; ``format`` is one of `FORMATS`, or what the source calls its form.

    ``in_other_form`` are layers that the source names and lacks, and that the store has under another digest.
    ``strange`` are digests by algorithms that are not known, whose content was passed over.
    """

    images: tuple[LoadedImage, ...]
    moved: tuple[MovedReference, ...]
    format: str = "docker"
    artifacts: tuple[LoadedArtifact, ...] = ()
    in_other_form: tuple[DiffID, ...] = ()
    strange: tuple[str, ...] = ()

    def messages(self) -> tuple[str, ...]:
        """Return the lines that a Docker daemon prints for this load."""
        lines: list[str] = []
        # A name may move more than once in one source.
        moved: dict[Reference, deque[ImageID]] = {}
        for move in self.moved:
            moved.setdefault(move.reference, deque()).append(move.old_id)
        for image in self.images:
            for reference in image.references:
                if moved.get(reference):
                    lines.append(
                        f"The image {reference.familiar} already exists, renaming the old one with ID"
                        f" {moved[reference].popleft()} to empty string"
                    )
                lines.append(f"Loaded image: {reference.familiar}")
        if self.format == "docker":
            # Daemons print the IDs of all images, but only where the last one has no name.
            unnamed = self.images if self.images and not self.images[-1].references else ()
        else:
            parents = {image.parent for image in self.images}
            unnamed = tuple(image for image in self.images if not image.references and image.id not in parents)
        lines += [f"Loaded image ID: {image.id}" for image in unnamed]
        for artifact in self.artifacts:
            names = [name.familiar for name in artifact.references]
            lines += [f"Loaded artifact: {name}" for name in names or [str(artifact.digest)]]
        return tuple(lines)

    def warnings(self) -> tuple[str, ...]:
        """Return what the user may not expect, a line for each."""
        lines = [
            f"passed over {digest}: orlop does not know its algorithm, and cannot verify it"
            for digest in self.strange[:_SHOWN]
        ]
        if (left := len(self.strange) - _SHOWN) > 0:
            lines.append(f"passed over {left} more whose algorithms orlop does not know")
        if count := len(self.in_other_form):
            layers = "1 layer is" if count == 1 else f"{count} layers are"
            lines.append(f"{layers} here in another form than manifests name: when saved, the images get new manifests")
        return tuple(lines)

    def found(self) -> tuple[str, ...]:
        """Return what the source was and what it held, a line for each image."""
        count = len(self.images)
        lines = [f"found {FORMATS.get(self.format, self.format)} with {count} image{'' if count == 1 else 's'}"]
        for image in self.images:
            names = [name.familiar for name in (*image.references, *image.digests)] or ["no name"]
            state = "new" if image.created else "known"
            lines.append(f"{image.id} ({str(image.platform).rstrip('/')}, {state}): {', '.join(names)}")
        for artifact in self.artifacts:
            names = [name.familiar for name in artifact.references] or ["no name"]
            lines.append(f"{artifact.digest} (artifact): {', '.join(names)}")
        return tuple(lines)
