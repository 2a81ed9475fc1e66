"""How much everything in a store is needed, and by which images, told from a snapshot in one pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from orlop.store.rows.rows import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orlop.model.digest import Digest
    from orlop.store.graph.snapshot import Snapshot

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
class Needs:
    """Who needs what; every list goes with one of the snapshot.

    ``active`` images have a tag or are pinned, or an index that stays leads to them, or they are parents of such;
    ``listed`` ones are not the parent of another image, or have a name. ``chains`` and ``diffs`` say how much each
    layer in its place and each content is needed, and ``in_images`` whether any image has a chain.

    ``users`` says how many listed images stand on a chain. ``owners`` gives the number of the one image that has a
    content for itself alone, or together with those nameless parents that go when it goes; else `NOBODY` or `SEVERAL`.
    ``named`` says how much the manifests and indexes need what they name, by its digest; what is not in it they do not
    need. ``everything`` is set where somebody protects all content, recorded or not.
    """

    listed: Sequence[bool]
    active: Sequence[bool]
    chains: Sequence[Need]
    diffs: Sequence[Need]
    in_images: Sequence[bool]
    users: Sequence[int]
    owners: Sequence[int]
    named: Mapping[str, Need]
    everything: bool

    def of_blob(self, digest: Digest, by_layers: Need = Need.NOTHING) -> Need:
        """Return how much stored bytes are needed: by documents, beside the layers whose content they are."""
        if self.everything:
            return Need.ACTIVE
        return max(by_layers, self.named.get(str(digest), Need.NOTHING))


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
        named=work.named(active),
        everything=str(EVERYTHING) in held,
    )


class _Work:
    """The steps of `needs_of`."""

    def __init__(self, found: Snapshot, held: set[str]) -> None:
        self._found = found
        self._held = held
        self._indexed = found.documents.indexed()
        numbers = {row.id.hex: number for number, row in enumerate(found.images)}
        # A parent may be missing.
        self._parents = [None if row.parent is None else numbers.get(row.parent.hex) for row in found.images]
        self._numbers = numbers
        self._owner_of_name = {
            (one.name, one.suffix): numbers[image.hex]
            for image, names in found.references.items()
            if image.hex in numbers
            for one in names
        }

    def active(self) -> list[bool]:
        """Return for each image whether it stays when images that dangle go."""
        found = self._found
        active = [False] * len(found.images)
        waiting = [
            number
            for number, row in enumerate(found.images)
            if row.id in found.pinned or any(one.suffix.startswith(":") for one in found.references.get(row.id, ()))
        ]
        needed = self._needed_by_indexes(waiting)
        while waiting:
            # Parents may go round in a circle.
            current: int | None = waiting.pop()
            while current is not None and not active[current]:
                active[current] = True
                waiting += needed.get(current, ())
                current = self._parents[current]
        return active

    def _needed_by_indexes(self, waiting: list[int]) -> dict[int, list[int]]:
        """Return for each image those that stay with it, as its names mean indexes of them.

        Add those to the waiting ones that an index needs whose name is not that of an image, and so stays.
        """
        needed: dict[int, list[int]] = {}
        for image, names in self._indexed.items():
            number = self._numbers.get(image.partition(":")[2])
            if number is None:
                continue
            for name in names:
                owner = self._owner_of_name.get(name)
                if owner is None:
                    waiting.append(number)
                else:
                    needed.setdefault(owner, []).append(number)
        return needed

    def named(self, active: Sequence[bool]) -> dict[str, Need]:
        """Return how much documents need what they name, by its digest."""
        documents = self._found.documents
        roots: dict[Need, set[str]] = {Need.DANGLING: set(), Need.ACTIVE: set(self._held)}
        for top in documents.tops:
            owner = self._owner_of_name.get((top.name, top.suffix))
            roots[Need.ACTIVE if owner is None or active[owner] else Need.DANGLING].add(str(top.digest))
        for number, row in enumerate(self._found.images if documents.came else ()):
            roots[Need.ACTIVE if active[number] else Need.DANGLING].update(documents.came.get(str(row.id), ()))
        stays = documents.reached(roots[Need.ACTIVE], but=self._own(active) - self._held)
        goes = documents.reached(roots[Need.DANGLING] | roots[Need.ACTIVE])
        found = {
            content: Need.DANGLING
            for one in documents.digests
            if one in goes
            for content in (*documents.named(one), *documents.subjects(one))
        }
        for one in stays & documents.digests.keys():
            found.update((content, Need.ACTIVE) for content in (*documents.named(one), *documents.subjects(one)))
        found.update((digest, Need.ACTIVE) for digest in self._held)
        return found

    def _own(self, active: Sequence[bool]) -> set[str]:
        """Return the manifests that go with images that dangle, even where an index names them."""
        documents = self._found.documents
        own: set[str] = set()
        shared: set[str] = set()
        for number, row in enumerate(self._found.images if documents.came else ()):
            image = str(row.id)
            for document in documents.came.get(image, ()):
                if active[number]:
                    shared.add(document)
                elif documents.is_of(document, image):
                    own.add(document)
        return own - shared

    def owners(self) -> list[int]:
        """Return for each image the one whose removal takes it away: a nameless parent goes with its only child."""
        found = self._found
        children = Counter(self._parents)
        above: list[int | None] = [None] * len(found.images)
        for number, parent in enumerate(self._parents):
            if parent is not None and children[parent] == 1:
                identifier = found.images[parent].id
                stays = identifier in found.references or identifier in found.pinned
                if not stays and str(identifier) not in self._indexed:
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
