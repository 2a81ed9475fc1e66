"""What a descriptor of ``index.json`` is called, and by which programs.

Two annotations give names. containerd, and so Docker with containerd storage, reads ``io.containerd.image.name``, and
``org.opencontainers.image.ref.name`` only where that is absent. skopeo, podman and buildah read the second alone, and
compare its whole text.
"""

from __future__ import annotations

from orlop.errors import InvalidArchive, InvalidReference
from orlop.model.reference import Reference
from orlop.model.regex import regex
from orlop.model.values import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

    from orlop.model.descriptor import Descriptor
    from orlop.model.digest import Digest

IMAGE_NAME: Final = "io.containerd.image.name"
REF_NAME: Final = "org.opencontainers.image.ref.name"
SUBJECT_NAME: Final = "io.containerd.manifest.subject"
"""By this annotation of an entry engines find what refers to an image."""
OMITTED: Final = "dev.orlop.omitted"
"""The annotation of ``index.json`` with the digests that documents in the layout name and it lacks, with spaces."""
_KIND: Final = "kind"
_IMAGES: Final = {"dev.cosignproject.cosign/image", "dev.cosignproject.cosign/imageIndex"}
_SUFFIXES: Final = {"dev.cosignproject.cosign/sigs": ".sig", "dev.cosignproject.cosign/atts": ".att"}
_BLOB: Final = regex(r"(?:\./)?(?:blobs/)?(sha384|sha512)[/-][0-9a-f]+\Z")
_TAG: Final = regex(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class Said:
    """What the annotations of one descriptor say.

    ``names`` are the names that both readings give; the first of them is the one that an image gets. ``text`` is the
    whole second annotation; ``alone`` says that there is no first one, so that containerd reads this text, too.
    """

    names: tuple[Reference, ...]
    text: str
    alone: bool

    @property
    def name(self) -> tuple[Reference, ...]:
        """The name that an image gets, if there is one."""
        return self.names[:1]


def said_of(descriptor: Descriptor) -> Said:
    """Return what a descriptor is called, with the tag ``latest`` where a name has neither tag nor digest.

    A tag alone is not a name: none is invented for it. Neither is any other text that is not a reference, nor what
    could be taken for an image ID, such as ``sha256:HEX``: containerd keeps images under such texts, too.

    Raises:
        InvalidArchive: a name has the digest of something else.
    """
    first = descriptor.annotations.get(IMAGE_NAME, "")
    text = descriptor.annotations.get(REF_NAME, "")
    found = [_name(first, descriptor)]
    if not is_tag(text):
        found.append(_name(text, descriptor))
    return Said(tuple(dict.fromkeys(name for name in found if name is not None)), text, not first)


def address_of(said: Said) -> str | None:
    """Return the text by which a layout names an entry, where no reference can hold it; empty where there is none.

    Gives nothing where the name that the entry gets says the same.
    """
    if said.name and (not said.text or is_tag(said.text) or named_by(said.text) is not None):
        return None
    return said.text


def unnamed(descriptor: Descriptor) -> Descriptor:
    """Return a descriptor without the text by which a layout names it."""
    return replace(descriptor, annotations={k: v for k, v in descriptor.annotations.items() if k != REF_NAME})


def tags_by_kind(tops: Sequence[Descriptor]) -> Mapping[Digest, str]:
    """Return the tags that entries of a layout of ``cosign save`` have in registries, but not there.

    Such a layout is of one image or index. cosign knows the entries by their kinds.
    """
    kinds = {top.digest: top.annotations.get(_KIND, "") for top in tops if REF_NAME not in top.annotations}
    images = [top.digest for top in tops if top.annotations.get(_KIND) in _IMAGES]
    if len(images) != 1:
        return {}
    stem = f"{images[0].algorithm}-{images[0].hex}"
    return {digest: f"{stem}{_SUFFIXES[kind]}" for digest, kind in kinds.items() if kind in _SUFFIXES}


def _name(text: str, descriptor: Descriptor) -> Reference | None:
    reference = named_by(text)
    if reference is not None and reference.digest not in {None, descriptor.digest}:
        msg = f"the archive names {descriptor.digest} as {text!r}; it is refused"
        raise InvalidArchive(msg)
    return None if reference is None else without_second(reference)


def named_by(text: str) -> Reference | None:
    """Return the reference that an annotation's whole text is; nothing where it is none, or could be an ID."""
    if not text:
        return None
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return None
    return None if reference.is_id_like else reference


def without_second(reference: Reference) -> Reference:
    """Return the name that a reference gives: its tag, ``latest`` where it has neither, or its digest alone."""
    return (reference if reference.tag is None else replace(reference, digest=None)).with_default_tag()


def is_tag(text: str) -> bool:
    """Return whether a text is a tag alone, which does not say of what."""
    return _TAG.fullmatch(text) is not None


def algorithm_of(name: str) -> str:
    """Return the algorithm by which a member's name says that its bytes are named, in a layout or one of skopeo's."""
    found = _BLOB.match(name)
    return "sha256" if found is None else found[1]
