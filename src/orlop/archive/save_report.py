"""What a save has to tell of an archive that it wrote."""

from __future__ import annotations

from orlop.model.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest, ImageID
    from orlop.model.reference import Reference


@dataclass(frozen=True, slots=True)
class OmittedManifests:
    """An index that was written, and those of its manifests that were not, since the store or the choice lacks them."""

    index: Digest
    manifests: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class SaveReport:
    """What a save wrote otherwise than its user may expect.

    ``omitted`` are manifests that were left out of indexes; ``in_full`` the names whose tag alone would mean another
    entry of the layout, too; ``remade`` the images under a new manifest, as the store lacks the layers of their own;
    ``left_out`` the layers that the reader has; ``outdated`` what refers to a manifest that was written anew, with its
    layers in another form: a signature does not cover it.
    """

    omitted: tuple[OmittedManifests, ...] = ()
    in_full: tuple[Reference, ...] = ()
    remade: tuple[ImageID, ...] = ()
    left_out: tuple[Descriptor, ...] = ()
    outdated: tuple[Digest, ...] = ()

    def messages(self) -> tuple[str, ...]:
        """Return a line for people for each of these."""
        lines = [
            f"The index {each.index} names {len(each.manifests)} manifests that are left out:"
            f" {', '.join(_described(child) for child in each.manifests)}"
            for each in self.omitted
        ]
        lines += [
            f"The tag {name.tag} stands for several images: skopeo and podman find this one as {name}"
            for name in self.in_full
        ]
        lines += [
            f"The image {image} gets a new manifest: the store has its layers in another form than its own one names"
            for image in self.remade
        ]
        lines += [
            f"{digest} refers to a manifest as it was with its layers in another form: it does not cover the new one"
            for digest in self.outdated
        ]
        if self.left_out:
            size = sum(layer.size for layer in self.left_out)
            layers = f"{len(self.left_out)} layer{'' if len(self.left_out) == 1 else 's'}"
            lines.append(f"Left out {layers} of {size} bytes, which whoever loads this must have")
        return tuple(lines)


def _described(descriptor: Descriptor) -> str:
    platform = descriptor.platform
    return str(descriptor.digest) if platform is None else f"{descriptor.digest} ({str(platform).rstrip('/')})"
