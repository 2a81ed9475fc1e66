"""Places: where a copy comes from or goes to, as a user writes it: skopeo's words, a plain path, or a plain name."""

from __future__ import annotations

import os
from enum import Enum
from typing import Final

from orlop.errors import InvalidInput
from orlop.model.given import check_text
from orlop.model.reference import Reference
from orlop.model.values import dataclass

_PATHS: Final = ("/", "./", "../")


class Kind(Enum):
    """What a place is, by the word before its colon."""

    REGISTRY = "docker"
    LAYOUT = "oci"
    LAYOUT_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"
    DIRECTORY = "dir"
    ROOT = "root"
    STORE = "store"


@dataclass(frozen=True, slots=True)
class Place:
    """A kind of place; ``path`` is empty for registries and stores, ``name`` where none is given."""

    kind: Kind
    path: str
    name: str

    def reference(self) -> Reference:
        """Return its name. Raises `InvalidReference`."""
        return Reference.parse(self.name)

    def __str__(self) -> str:
        """Return it as a user writes it."""
        if self.kind is Kind.REGISTRY:
            return f"docker://{self.name}"
        parts = [one for one in (self.path, self.name) if one]
        return ":".join((self.kind.value, *parts))


def parse_place(text: str, *, is_target: bool) -> Place:
    """Read where a copy comes from or goes to.

    Args:
        text: such as ``docker://alpine``, ``oci:FOLDER:NAME``, ``dir:FOLDER``, ``store:NAME``, ``root:FOLDER:NAME`` for
            what another engine left in a directory; a path that begins with
            ``/``, ``./`` or ``../`` or is there; else a name in the store.
        is_target: whether it need not be there.

    Raises:
        WrongType: it is not a text. InvalidInput: it is none of these, or is to be written and is a root.
    """
    check_text(text, "a place to copy from or to")
    word, colon, rest = text.partition(":")
    kinds = {kind.value: kind for kind in Kind}
    if colon and word in kinds:
        kind = kinds[word]
        if kind is Kind.REGISTRY:
            if not rest.startswith("//") or len(rest) < len("//a"):
                raise InvalidInput(f"{text!r} is not a place in a registry: expected docker://NAME")
            return Place(kind, "", rest.removeprefix("//"))
        if kind is Kind.STORE:
            return Place(kind, "", rest)
        path, _, name = (rest, "", "") if kind is Kind.DIRECTORY else rest.partition(":")
        if not path:
            raise InvalidInput(f"{text!r} names no path: expected {word}:PATH")
        if kind is Kind.ROOT and is_target:
            raise InvalidInput(f"{text!r} is what another engine left, which orlop only reads; copy to another place")
        return Place(kind, path, name)
    if text.startswith(_PATHS) or os.path.exists(text):
        return Place(_target_kind(text) if is_target else _kind_of(text), text, "")
    if not text:
        raise InvalidInput("a place is needed: docker://NAME, oci:PATH, a path, or a name in the store")
    return Place(Kind.STORE, "", text)


def _target_kind(path: str) -> Kind:
    is_archive = path.endswith(".tar") or (os.path.exists(path) and not os.path.isdir(path))
    return Kind.LAYOUT_ARCHIVE if is_archive else Kind.LAYOUT


def _kind_of(path: str) -> Kind:
    """Return the kind of a path that is there; what it really holds is checked when it is read."""
    if not os.path.isdir(path):
        # An archive of Docker's that is a layout as well is read as that: it has the manifests.
        return Kind.LAYOUT_ARCHIVE if _has_layout(path) else Kind.DOCKER_ARCHIVE
    if os.path.exists(os.path.join(path, "index.json")):
        return Kind.LAYOUT
    return Kind.DIRECTORY if os.path.exists(os.path.join(path, "version")) else Kind.DOCKER_ARCHIVE


def _has_layout(path: str) -> bool:
    from orlop.archive.detect import open_members  # noqa: PLC0415 - few paths are plain
    from orlop.errors import OrlopError  # noqa: PLC0415 - as above
    from orlop.transfer.members_source import not_taken  # noqa: PLC0415 - as above

    try:
        with not_taken() as taking, open_members(path, taking) as members:
            return members.parallel and members.has("index.json")
    except OrlopError:
        return False
