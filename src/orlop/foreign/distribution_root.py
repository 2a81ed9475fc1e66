"""The directory in which distribution (``registry:2``, Debian's docker-registry) keeps what was pushed to it.

Theory of operation. Its file system driver writes:

    docker/registry/v2/blobs/ALGORITHM/XX/HEX/data                            every blob, manifests too; never in place
    …/repositories/NAME/_manifests/revisions/ALGORITHM/HEX/link               the manifests of a repository
    …/repositories/NAME/_manifests/tags/TAG/current/link                      what a tag means
    …/repositories/NAME/_layers/ALGORITHM/HEX/link                            the blobs of a repository
    …/repositories/NAME/_uploads/ID/                                          uploads under way

A link is a file whose content is a digest. A name of a repository has slashes, and is that many directories. A manifest
that was deleted has lost the link of its revision; its blob stays until the registry collects garbage, and a tag may
still lead to it: the registry does not serve it, and so neither is it taken from here.

Names are a stranger's: each is opened below a descriptor (`orlop.foreign.disk`), and is used only where it is a name
that the registry itself would have accepted. What is wrong is noted, and the rest is read all the same. One repository
is in memory at a time.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidDigest, InvalidRoot, LimitExceeded, RootDamaged
from orlop.foreign.disk import Folder
from orlop.model.closing import Closing
from orlop.model.digest import Digest
from orlop.model.regex import regex
from orlop.model.values import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BEGINNINGS: Final = (("docker", "registry", "v2"), ("registry", "v2"), ("v2",), ())
"""Where version 2 of the layout is below the directory that a user may name."""
_REPOSITORIES: Final = "repositories"
_COMPONENT: Final = regex(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG: Final = regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_MANIFESTS, _LAYERS, _UPLOADS = "_manifests", "_layers", "_uploads"
_LONGEST_NAME: Final = 255
_LONGEST_LINK: Final = 256
_LISTED: Final = 80


@dataclass(frozen=True, slots=True)
class Repository:
    """What a repository holds.

    ``tags`` says which manifest each tag means, ``revisions`` are all of its manifests. ``uploads`` are the names of
    uploads under way. ``problems`` say what cannot be used of it, a sentence each.
    """

    name: str
    tags: Mapping[str, Digest] = field(default_factory=dict)
    revisions: frozenset[Digest] = frozenset()
    uploads: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class DistributionRoot(Closing):
    """The directory of a registry, opened. Nothing is ever written there. Leaving the block closes it.

    Safe to share between threads.
    """

    def __init__(self, path: str) -> None:
        """Open it.

        Raises:
            InvalidRoot: it is not the directory of such a registry. StorageError: it cannot be read.
        """
        self.path = path
        self.notes: list[str] = []
        with Folder.open(path) as top:
            found = [folder for names in _BEGINNINGS if (folder := _version_2(top, names)) is not None]
        if not found:
            raise InvalidRoot(
                f"{path} is not the directory of a registry: it has neither docker/registry/v2/repositories nor"
                " repositories; name the root directory of its file system driver, such as /var/lib/registry"
            )
        self._root, *others = found
        for folder in others:
            folder.close()

    def repositories(self) -> Iterator[Repository]:
        """Yield every repository, sorted by name. What is not one is added to ``notes``."""
        waiting: list[str] = [""]
        while waiting:
            name = waiting.pop()
            with self._root.below(_REPOSITORIES, *_parts(name)) as here:
                below = [one for one in here.names() if not one.startswith("_") and self._is_one(here, name, one)]
                waiting += (f"{name}/{one}" if name else one for one in reversed(below))
                if name and any(map(here.is_directory, (_MANIFESTS, _LAYERS, _UPLOADS))):
                    yield _Reading(name, here).repository()

    def _is_one(self, here: Folder, above: str, name: str) -> bool:
        """Return whether a directory may be a part of a repository's name, and note it where it cannot be."""
        if len(above) + len(name) >= _LONGEST_NAME or _COMPONENT.fullmatch(name) is None:
            self.notes.append(f"{_shown(here, name)} is not the name of a repository; it is left out")
        elif not here.is_directory(name):
            self.notes.append(f"{_shown(here, name)} is not a directory; it is left out")
        else:
            return True
        return False

    def has(self, digest: Digest) -> bool:
        """Return whether a blob is there."""
        folder = self._root.there(*_place(digest))
        if folder is None:
            return False
        with folder:
            state = folder.state("data")
        return state is not None and stat.S_ISREG(state.st_mode)

    def open(self, digest: Digest) -> tuple[int, int]:
        """Open a blob, and return its descriptor and its size. Raises `RootDamaged`."""
        with self._root.below(*_place(digest)) as folder:
            return folder.open_file("data")

    def read(self, digest: Digest, limit: int) -> bytes:
        """Return the bytes of a small blob. Raises `RootDamaged`, and `LimitExceeded` where it is larger."""
        with self._root.below(*_place(digest)) as folder:
            return folder.read("data", limit)

    def close(self) -> None:
        """Close it."""
        self._root.close()


class _Reading:
    """One repository, as it is read."""

    def __init__(self, name: str, folder: Folder) -> None:
        self._name = name
        self._folder = folder
        self._problems: list[str] = []

    def repository(self) -> Repository:
        revisions = frozenset(self._revisions())
        tags = dict(self._tags(revisions))
        uploads = self._names(_UPLOADS)
        return Repository(self._name, tags, revisions, tuple(uploads), tuple(self._problems))

    def _names(self, *place: str) -> list[str]:
        folder = self._folder.there(*place)
        if folder is None:
            return []
        with folder:
            return folder.names()

    def _revisions(self) -> Iterator[Digest]:
        for algorithm in self._names(_MANIFESTS, "revisions"):
            for digits in self._names(_MANIFESTS, "revisions", algorithm):
                place = (_MANIFESTS, "revisions", algorithm, digits)
                # A manifest that was deleted leaves its directory.
                digest = self._link(place) if "link" in self._names(*place) else None
                if digest is not None and digest == Digest.unchecked(f"{algorithm}:{digits}"):
                    yield digest
                elif digest is not None:
                    self._note(f"the link of the manifest {algorithm}:{digits} names {digest}")

    def _tags(self, revisions: frozenset[Digest]) -> Iterator[tuple[str, Digest]]:
        for tag in self._names(_MANIFESTS, "tags"):
            if _TAG.fullmatch(tag) is None:
                self._note(f"{tag[:_LISTED]!r} is not a valid tag")
                continue
            digest = self._link((_MANIFESTS, "tags", tag, "current"))
            if digest is None:
                continue
            if digest in revisions:
                yield tag, digest
            else:
                self._note(f"the tag {tag} leads to {digest}, which was deleted")

    def _link(self, place: tuple[str, ...]) -> Digest | None:
        """Return the digest in a link; nothing, and a note, where it has none."""
        try:
            with self._folder.below(*place) as folder:
                text = folder.read("link", _LONGEST_LINK).decode("ascii")
            return Digest.parse(text.strip())
        except (RootDamaged, LimitExceeded) as error:
            self._note(str(error))
        except (UnicodeDecodeError, InvalidDigest):
            self._note(f"{'/'.join(place)}/link does not hold a digest")
        return None

    def _note(self, problem: str) -> None:
        self._problems.append(problem)


def _version_2(top: Folder, names: tuple[str, ...]) -> Folder | None:
    folder = top.there(*names)
    if folder is None or folder.is_directory(_REPOSITORIES):
        return folder
    folder.close()
    return None


def _place(digest: Digest) -> tuple[str, ...]:
    return "blobs", digest.algorithm, digest.hex[:2], digest.hex


def _parts(name: str) -> list[str]:
    return name.split("/") if name else []


def _shown(folder: Folder, name: str) -> str:
    return repr(folder.path_of(name[:_LISTED]))
