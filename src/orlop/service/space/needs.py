"""What in a store is needed, and by which images, told from its rows in one pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from orlop.service.listing.sharing import Stacks
from orlop.store.images import PINNED
from orlop.store.leases import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orlop.model.digest import DiffID, Digest, ImageID
    from orlop.store.rows.metadata import BlobRow, ImageRow, ReferenceRow, Rows

NOBODY: Final = -1
"""Stands for the number of an image where no image has a thing."""

SEVERAL: Final = -2
"""Stands for the number of an image where several have a thing."""


class Need(IntEnum):
    """How much something is needed; the greatest need decides."""

    NOTHING = 0
    """By nothing: a collection of garbage takes it."""
    DANGLING = 1
    """By images that dangle, and go when they are pruned."""
    ACTIVE = 2
    """By images that stay, or by somebody who is at work."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows of one moment.

    ``forms`` has each stored form of a content with the number of that in ``diff_ids``; ``leases`` what each lease
    protects; ``opaque`` the blobs that are not layers, and whether something reaches them.
    """

    images: tuple[ImageRow, ...]
    references: Mapping[ImageID, list[ReferenceRow]]
    pinned: frozenset[ImageID]
    stacks: Stacks
    diff_ids: tuple[DiffID, ...]
    forms: tuple[tuple[int, BlobRow], ...]
    leases: Mapping[str, list[Digest]]
    opaque: tuple[tuple[BlobRow, bool], ...] = ()


def take_snapshot(rows: Rows) -> Snapshot:
    """Read what tells who needs what: each kind of rows once."""
    references: dict[ImageID, list[ReferenceRow]] = {}
    for reference in rows.references():
        references.setdefault(reference.image, []).append(reference)
    diff_ids: list[DiffID] = []
    forms: list[tuple[int, BlobRow]] = []
    for diff_id, blob in rows.contents():
        if not diff_ids or diff_ids[-1] != diff_id:
            diff_ids.append(diff_id)
        if blob is not None:
            forms.append((len(diff_ids) - 1, blob))
    return Snapshot(
        images=tuple(rows.image_rows(listed_only=False)),
        references=references,
        pinned=frozenset(rows.metadata_of_all(PINNED)),
        stacks=Stacks(rows.chains()),
        diff_ids=tuple(diff_ids),
        forms=tuple(forms),
        leases=rows.protected(),
        opaque=tuple(_opaque(rows)),
    )


def _opaque(rows: Rows) -> Iterator[tuple[BlobRow, bool]]:
    unreached = set(rows.unreached())
    for blob in rows.opaque_blobs():
        yield blob, any(edge.parent not in unreached for edge in rows.edges_to(blob.digest))


@dataclass(frozen=True, slots=True)
class Needs:
    """Who needs what; every list goes with one of the snapshot.

    ``active`` images have a tag or are pinned, or are parents of such; ``listed`` ones are not the parent of another
    image, or have a name. ``chains`` and ``diffs`` say how much each layer in its place and each content is needed, and
    ``in_images`` whether any image has a chain.

    ``users`` says how many listed images stand on a chain. ``owners`` gives the number of the one image that has a
    content for itself alone, or together with those nameless parents that go when it goes; else `NOBODY` or `SEVERAL`.
    ``everything`` is set where somebody protects all content, recorded or not.
    """

    listed: Sequence[bool]
    active: Sequence[bool]
    chains: Sequence[Need]
    diffs: Sequence[Need]
    in_images: Sequence[bool]
    users: Sequence[int]
    owners: Sequence[int]
    everything: bool


def needs_of(found: Snapshot, protected: Iterable[Digest]) -> Needs:
    """Work out who needs what. Takes as many steps as there are rows.

    Args:
        found: the rows.
        protected: what leases of the living protect.
    """
    held = {str(digest) for digest in protected}
    work = _Work(found, held)
    parents = {row.parent for row in found.images}
    listed = [row.id not in parents or row.id in found.references for row in found.images]
    active = work.active()
    image_owners = work.owners()
    by_images = [Need.NOTHING] * len(found.stacks.rows)
    chain_owners = [NOBODY] * len(found.stacks.rows)
    for number, row in enumerate(found.images):
        top = found.stacks.number(row.chain_id)
        if top is not None:
            by_images[top] = max(by_images[top], Need.ACTIVE if active[number] else Need.DANGLING)
            chain_owners[top] = joint(chain_owners[top], image_owners[number])
    found.stacks.hand_down(by_images, max)
    found.stacks.hand_down(chain_owners, joint)
    chains = work.held(by_images, [row.chain_id for row in found.stacks.rows])
    found.stacks.hand_down(chains, max)
    diffs, owners = work.contents(chains, chain_owners)
    return Needs(
        listed=listed,
        active=active,
        chains=chains,
        diffs=diffs,
        in_images=[need is not Need.NOTHING for need in by_images],
        users=found.stacks.users(row.chain_id for row, counts in zip(found.images, listed, strict=True) if counts),
        owners=owners,
        everything=str(EVERYTHING) in held,
    )


class _Work:
    """The steps of `needs_of`."""

    def __init__(self, found: Snapshot, held: set[str]) -> None:
        self._found = found
        self._held = held
        numbers = {row.id.hex: number for number, row in enumerate(found.images)}
        # A parent may be missing.
        self._parents = [None if row.parent is None else numbers.get(row.parent.hex) for row in found.images]

    def active(self) -> list[bool]:
        found = self._found
        active = [False] * len(found.images)
        for number, row in enumerate(found.images):
            if row.id in found.pinned or any(one.suffix.startswith(":") for one in found.references.get(row.id, ())):
                current: int | None = number
                # Parents may go round in a circle.
                while current is not None and not active[current]:
                    active[current] = True
                    current = self._parents[current]
        return active

    def owners(self) -> list[int]:
        """Return for each image the one whose removal takes it away: a nameless parent goes with its only child."""
        found = self._found
        children = Counter(self._parents)
        above: list[int | None] = [None] * len(found.images)
        for number, parent in enumerate(self._parents):
            if parent is not None and children[parent] == 1:
                identifier = found.images[parent].id
                if identifier not in found.references and identifier not in found.pinned:
                    above[parent] = number
        owners = list(range(len(found.images)))
        settled = [False] * len(found.images)
        for start in owners[:]:
            way: list[int] = []
            current = start
            while not settled[current]:
                settled[current] = True
                way.append(current)
                child = above[current]
                if child is None:
                    break
                current = child
            for number in way:
                owners[number] = owners[current]
        return owners

    def held(self, needs: Sequence[Need], digests: Sequence[Digest]) -> list[Need]:
        """Return the needs with those of who is at work."""
        if not self._held:
            return list(needs)
        if str(EVERYTHING) in self._held:
            return [Need.ACTIVE] * len(needs)
        pairs = zip(needs, digests, strict=True)
        return [Need.ACTIVE if str(digest) in self._held else need for need, digest in pairs]

    def contents(self, chains: Sequence[Need], chain_owners: Sequence[int]) -> tuple[list[Need], list[int]]:
        """Return the needs and the owners of contents from those of the chains that they are in."""
        found = self._found
        numbers = {diff_id.hex: number for number, diff_id in enumerate(found.diff_ids)}
        needs, owners = [Need.NOTHING] * len(numbers), [NOBODY] * len(numbers)
        for row, need, owner in zip(found.stacks.rows, chains, chain_owners, strict=True):
            number = numbers.get(row.diff_id.hex)
            if number is not None:
                needs[number] = max(needs[number], need)
                owners[number] = joint(owners[number], owner)
        return self.held(needs, found.diff_ids), owners


def joint(one: int, other: int) -> int:
    """Return the owner of what belongs to both."""
    if one == NOBODY:
        return other
    return one if other in (one, NOBODY) else SEVERAL
