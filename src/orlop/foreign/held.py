"""What a data root holds, as far as this is known without reading layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from orlop.errors import OrlopError
from orlop.foreign.disk import go_on
from orlop.model.digest import DiffID

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from orlop.foreign.rebuilt import Path
    from orlop.intake.offer import OfferedImage, OfferedManifest
    from orlop.model.digest import Digest
    from orlop.streams.compression import Readable
    from orlop.streams.meter import Meter

MOST_COPIES: Final = 256
"""How many places of one layer are tried: any that verifies will do, and a root may claim any number of them."""

_HUGE: Final = 1 << 63


class LayerCopy(Protocol):
    """One place where a layer, or what is to become one again, lies in a root."""

    @property
    def reason(self) -> str:
        """Why it could not be had, once that was tried."""

    @property
    def digest(self) -> Digest | None:
        """The digest of the form in which it lies there, or nothing where it is rebuilt."""

    def problem(self) -> str:
        """Return what is wrong with it as far as can be told without reading it, or nothing."""

    def attempts(self, meter: Meter, check: Callable[[], object] = go_on) -> Generator[Readable]:
        """Yield readers of what may be the layer, the likeliest first; a caller that asks on has read a wrong one.

        Between them much may be read: ``check`` is called now and then, and what it raises ends that.
        """


@dataclass(frozen=True, slots=True)
class ForeignImage:
    """An image of a root; ``place`` is the engine and where it keeps the image, as "docker overlay2".

    ``names`` are those that the root has for it, as people write them. ``offered`` is what can be taken of it, or
    nothing where its config is lost. ``size`` is what its engine said, in bytes, or nothing where the engine said
    nothing. ``problems`` are what is wrong apart from its layers.
    """

    id: str
    place: str
    names: tuple[str, ...]
    offered: OfferedImage | None = None
    size: int | None = None
    problems: tuple[str, ...] = ()


class ForeignContainer(NamedTuple):
    """A container, and the directory of the files that it has changed, by its path below the root; or why not.

    Where that directory has all files, ``lower`` is the one that the container began with.
    """

    id: str
    name: str
    image: str
    place: str
    files: Path | None
    problem: str = ""
    lower: Path | None = None


@dataclass(slots=True)
class Held:
    """All that one engine keeps in one place of a root.

    ``copies`` has for each layer the places where it may be had, the likeliest first. ``unlisted`` gives one more for
    any layer that may be among those that no list names. ``notes`` say what concerns no single image: left-overs, lost
    lists, a daemon that is still at work. ``is_damaged`` says that there may be images that are not found.
    """

    place: str
    images: list[ForeignImage] = field(default_factory=list)
    copies: dict[DiffID, list[LayerCopy]] = field(default_factory=dict)
    manifests: list[OfferedManifest] = field(default_factory=list)
    containers: list[ForeignContainer] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_damaged: bool = False
    unlisted: Callable[[DiffID], LayerCopy | None] | None = None

    def offer(self, diff_id: DiffID, copies: Iterable[LayerCopy]) -> None:
        """Note more places where a layer may be had, as far as there is room for them."""
        known = self.copies.setdefault(diff_id, [])
        for copy in copies:
            if len(known) >= MOST_COPIES:
                return
            if copy not in known:
                known.append(copy)


def said_size(size: int | None) -> int | None:
    """Return a size that an engine has noted, or nothing for one that nothing can have."""
    return size if size is not None and 0 <= size < _HUGE else None


def diff_ids(texts: Iterable[str]) -> Iterator[DiffID]:
    """Yield those of some texts that are diff IDs."""
    for text in texts:
        try:
            yield DiffID.parse(text)
        except OrlopError:
            continue
