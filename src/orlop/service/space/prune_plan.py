"""The plan of a pruning: which images go and which stay by the rules that were given, and what that frees.

A plan is made from an inventory, which is a snapshot of all rows, and is then carried out in the same write. A dry run
shows the same plan. So what is shown is what would happen, and both are decided here and nowhere else.

1. Each image is judged by itself (`_Planner.asked_for`): what the rules wish for it, and whether something refuses
   that, such as a pin or a filter. The result is a list of deeds: an image loses some names, and goes when none is
   left. An image that an index needs stays as long as a tag of that index does.
2. For a quota, more images go (`least_recently_used`). The deeds so far are done on a `PlannedGround`, which answers as
   the store would, but in memory. Then the least recently used image that nothing protects and no other image is made
   from goes, and so on, until the rest fits. An image whose layers are all needed by others would free nothing, so it
   stays.
3. All deeds are done once more on a fresh ground, by the same code that removes from a store (`Removal`), which leads
   to what is reported: lines, bytes, and a verdict with its reason for each image and layer.

Every image carries one reason. It is first the reason of the rules, and is replaced where something stronger decides: a
child or an index that stays, a lease, the quota.

The cost grows with the number of images and no faster than sorting them: parents are counted and queued, never searched
for.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orlop.errors import ImageInUse, QuotaExceeded
from orlop.model.sizes import human_size
from orlop.service.space.inventory import PlannedGround
from orlop.service.space.quota import Queue
from orlop.service.space.remove import Removal
from orlop.service.space.verdict import ImageVerdict, LayerVerdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from orlop.model.digest import ChainID, ImageID
    from orlop.model.reference import Reference
    from orlop.service.listing.filters import Filters
    from orlop.service.space.inventory import Inventory, KnownImage


_TO_GO: Final = frozenset({"dangling", "all", "old", "quota"})
"""Reasons for which an image is to go; it stays all the same if one that is made from it does."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is asked of a pruning, see `orlop.service.ImageService.prune`."""

    all: bool
    filters: Filters
    keep_last: int | None = None
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class Deed:
    """An image that is to lose names; it goes where none is left, and at once where it has none."""

    image_id: ImageID
    untagged: tuple[Reference, ...]

    def do(self, removal: Removal) -> None:
        """Do it, in a store or in a plan."""
        if not self.untagged:
            # Other images may need it, which is not an error.
            with suppress(ImageInUse):
                removal.take_image(self.image_id)
            return
        removal.take_names(self.untagged, self.image_id)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in order, and what becomes of everything then."""

    deeds: tuple[Deed, ...]
    lines: tuple[tuple[str, str], ...]
    stored: int
    left: int
    freed: int
    images: tuple[ImageVerdict, ...]
    layers: tuple[LayerVerdict, ...]

    @property
    def reclaimed(self) -> int:
        """The bytes of the files in the layers that go."""
        return sum(layer.size for layer in self.layers if layer.goes)


def make_plan(inventory: Inventory, rules: Rules, labels: Mapping[ImageID, Mapping[str, str]]) -> Plan:
    """Decide about every image and layer. The time it takes grows with their number, and no faster than sorting them.

    Args:
        inventory: what there is.
        rules: what is asked for.
        labels: the labels of images, if a filter is about them.

    Raises:
        QuotaExceeded: what must stay takes more than ``max_size``.
    """
    planner = _Planner(inventory, rules, labels)
    deeds = planner.asked_for()
    if rules.max_size is not None:
        deeds += planner.least_recently_used(deeds, rules.max_size)
    return planner.plan(deeds)


class _Planner:
    """One plan in the making; ``_reasons`` says of each image why it would go or stay if nothing else decided."""

    def __init__(self, inventory: Inventory, rules: Rules, labels: Mapping[ImageID, Mapping[str, str]]) -> None:
        self._all = inventory
        self._rules = rules
        self._labels = labels
        self._reasons: dict[ImageID, str] = {}
        self._parents = {image.row.parent for image in inventory.images.values()}
        self._newest = {} if rules.keep_last is None else _newest(inventory.images.values(), rules.keep_last)

    # What the rules ask for.

    def asked_for(self) -> list[Deed]:
        """Return what is to be done without regard to sizes, newest images first, as docker has it."""
        deeds: list[Deed] = []
        for image_id, image in self._all.images.items():
            reason, names = self._wish(image)
            if reason in _TO_GO or names:
                refusal = self._refusal(image)
                if refusal is None:
                    deeds.append(Deed(image_id, names))
                reason = refusal or reason
            elif image.pinned:
                reason = "pinned"
            self._reasons[image_id] = reason
        return self._sparing_indexes(deeds)

    def _sparing_indexes(self, deeds: Sequence[Deed]) -> list[Deed]:
        """Return the deeds without those that would take an image from an index whose tag stays."""
        whole = {deed.image_id: deed for deed in deeds if self._takes_all(deed)}
        going = {name for deed in deeds for name in deed.untagged}
        bound = self._bound_by_indexes(whole, going)
        return [deed for deed in deeds if deed.image_id not in bound or not self._takes_all(deed)]

    def _bound_by_indexes(self, images: Collection[ImageID], going: Collection[Reference]) -> set[ImageID]:
        """Return those of some images that stay for an index, where only they, and some names, may go."""
        needing: dict[Reference | None, list[ImageID]] = {}
        waiting: list[ImageID] = []
        for image_id in images:
            names = self._all.indexed.get(image_id, frozenset())
            if any(name is None or name not in going for name in names):
                waiting.append(image_id)
            for name in names:
                needing.setdefault(name, []).append(image_id)
        bound: set[ImageID] = set()
        while waiting:
            image_id = waiting.pop()
            if image_id not in bound:
                bound.add(image_id)
                self._reasons[image_id] = "index"
                # Its own tags stay with it, and so do the indexes that they mean.
                waiting += [one for name in self._all.images[image_id].references for one in needing.get(name, ())]
        return bound

    def _takes_all(self, deed: Deed) -> bool:
        return len(deed.untagged) == len(self._all.images[deed.image_id].references)

    def _wish(self, image: KnownImage) -> tuple[str, tuple[Reference, ...]]:
        """Return why an image would go or stay, and which names it would lose, if it may."""
        rules, references = self._rules, image.references
        tags = [name for name in references if name.tag is not None]
        if not references and image.row.id in self._parents:
            return "parent", ()
        if not tags:
            return "dangling", references
        if rules.keep_last is not None:
            old = tuple(name for name in references if name.tag and name.name not in self._newest.get(image.row.id, ()))
            return ("old" if len(old) == len(tags) else "newest"), (references if len(old) == len(tags) else old)
        return ("all", references) if rules.all else ("named", ())

    def _refusal(self, image: KnownImage) -> str | None:
        """Return why an image may not be touched, if it may not."""
        filters = self._rules.filters
        if image.pinned:
            return "pinned"
        if filters.until is not None and image.created > filters.until:
            return "newer"
        if filters.needs_config and not filters.match_labels(self._labels.get(image.row.id)):
            return "labels"
        return None

    # The quota.

    def least_recently_used(self, deeds: Sequence[Deed], max_size: int) -> list[Deed]:
        """Return what is to be done beside that, so that what stays fits.

        In the order of a `Queue` images go until the rest fits, and with an index those that dangle without it. But one
        whose content is needed by others all the same stays, as it would free nothing.
        """
        ground = PlannedGround(self._all)
        removal = Removal(ground)
        ground.drop_dead()
        for deed in deeds:
            deed.do(removal)
        queue = Queue(self._all, ground, self._free(ground))
        chosen: list[Deed] = []
        while turn := queue.loose() or (queue.next() if ground.left > max_size else ()):
            for image_id in turn:
                chosen.append(Deed(image_id, tuple(ground.names(image_id))))
                chosen[-1].do(removal)
                queue.gone(image_id)
        left = ground.left
        if left > max_size:
            raise _too_much(left, max_size)
        useful = self._useful([deed.image_id for deed in chosen], ground)
        self._reasons.update((deed.image_id, "quota" if deed.image_id in useful else "shared") for deed in chosen)
        return [deed for deed in chosen if deed.image_id in useful]

    def _useful(self, chosen: Sequence[ImageID], ground: PlannedGround) -> set[ImageID]:
        """Return those images whose removal freed something, and those whose names had to go for it."""
        vain: dict[ImageID, bool] = {}
        took = ground.took_blobs()
        useful = {image_id for image_id in chosen if image_id in took or not self._is_vain(image_id, ground, vain)}
        owners: dict[Reference | None, ImageID] = {
            name: image_id for image_id in chosen for name in self._all.images[image_id].references
        }
        waiting = list(useful)
        while waiting:
            for name in self._all.indexed.get(waiting.pop(), ()):
                owner = owners.get(name)
                if owner is not None and owner not in useful:
                    useful.add(owner)
                    waiting.append(owner)
        # What had no tag of its own and stayed for an index goes with that.
        return useful | {
            image_id
            for image_id in chosen
            if all(name.tag is None for name in self._all.images[image_id].references)
            and any(owners.get(name) in useful for name in self._all.indexed.get(image_id, ()))
        }

    def _free(self, ground: PlannedGround) -> set[ImageID]:
        """Return the images that may go for the quota: nothing protects them, nor an image that needs them to stay."""
        free: set[ImageID] = set()
        waiting: list[tuple[ImageID, str]] = []
        needing: dict[Reference, list[ImageID]] = {}
        for image_id in filter(ground.__contains__, self._all.images):
            refusal = self._protection(self._all.images[image_id], ground)
            if refusal is not None:
                waiting.append((image_id, refusal))
            else:
                free.add(image_id)
            for name in self._all.indexed.get(image_id, ()):
                if name is None:
                    waiting.append((image_id, "index"))
                else:
                    needing.setdefault(name, []).append(image_id)
        while waiting:
            image_id, reason = waiting.pop()
            if reason not in {"parent", "index"} or self._reasons[image_id] == "named":
                self._reasons[image_id] = reason
            if image_id in free or reason not in {"parent", "index"}:
                free.discard(image_id)
                above = self._all.images[image_id].row.parent
                if above in free:
                    waiting.append((above, "parent"))
                waiting += [(one, "index") for name in ground.names(image_id) for one in needing.get(name, ())]
        for image_id in free:
            if self._reasons[image_id] == "named":
                self._reasons[image_id] = "fits"
        return free

    def _protection(self, image: KnownImage, ground: PlannedGround) -> str | None:
        if self._reasons[image.row.id] == "newest":
            return "newest"
        refusal = self._refusal(image)
        if refusal is None and image.row.chain_id is not None and ground.is_held(image.row.chain_id):
            return "in-use"
        return refusal

    def _is_vain(self, image_id: ImageID, ground: PlannedGround, known: dict[ImageID, bool]) -> bool:
        """Return whether an image's removal freed nothing, nor that of what it is made from and went as well.

        Args:
            image_id: the image.
            ground: what is left.
            known: what was found of images before: many may be made from one.
        """
        way: list[ImageID] = []
        vain = True
        current: ImageID | None = image_id
        while vain and current is not None and current in self._all.images and current not in ground:
            if current in known:
                vain = known[current]
                break
            # Parents may go round in a circle.
            known[current] = True
            way.append(current)
            vain = not self._freed_layers(self._all.images[current].row.chain_id, ground)
            current = self._all.images[current].row.parent
        known.update(dict.fromkeys(way, vain))
        return vain

    def _freed_layers(self, chain_id: ChainID | None, ground: PlannedGround) -> bool:
        """Return whether the content of any layer of a chain went."""
        while chain_id is not None and chain_id in self._all.chains and chain_id not in ground.chains:
            row = self._all.chains[chain_id]
            if row.diff_id not in ground.contents:
                return True
            chain_id = row.parent
        return False

    # What becomes of everything.

    def plan(self, deeds: Sequence[Deed]) -> Plan:
        """Do everything in memory, and return what came of it."""
        ground = PlannedGround(self._all)
        removal = Removal(ground)
        dropped = ground.drop_dead()
        removal.lines += [("Deleted", str(chain_id)) for chain_id in dropped]
        for deed in deeds:
            deed.do(removal)
        images = tuple(self._image(image, ground) for image in self._all.images.values())
        layers = tuple(self._layers(ground, frozenset(dropped)))
        return Plan(tuple(deeds), tuple(removal.lines), self._all.stored, ground.left, ground.freed, images, layers)

    def _image(self, image: KnownImage, ground: PlannedGround) -> ImageVerdict:
        image_id = image.row.id
        goes = image_id not in ground
        reason = self._reasons[image_id]
        if goes and reason not in _TO_GO:
            reason = "along"
        elif not goes and reason in _TO_GO:
            reason = "parent"
        left = {*ground.names(image_id)}
        untagged = tuple(name for name in image.references if name not in left)
        return ImageVerdict(image_id, goes, reason, image.references, untagged, image.row.size, image.used)

    def _layers(self, ground: PlannedGround, dropped: frozenset[ChainID]) -> Iterator[LayerVerdict]:
        chains = self._all.chains
        tops = (
            image.row.chain_id
            for image_id, image in self._all.images.items()
            if image_id in ground and image.row.chain_id is not None
        )
        needed = self._with_below(tops)
        held = self._with_below(chain_id for chain_id in ground.chains if ground.is_held(chain_id))
        for chain_id, row in chains.items():
            if chain_id not in ground.chains:
                reason = "left" if chain_id in dropped else "unneeded"
            elif chain_id in needed:
                reason = "needed"
            else:
                reason = "held" if chain_id in held else "loose"
            below = 0 if row.parent is None or row.parent not in chains else chains[row.parent].size
            stored = sum(file.size for file in self._all.files_of(row.diff_id))
            yield LayerVerdict(
                chain_id,
                row.diff_id,
                chain_id not in ground.chains,
                reason,
                row.size - below,
                stored,
                ground.freed_by.get(chain_id, 0),
            )

    def _with_below(self, tops: Iterable[ChainID]) -> set[ChainID]:
        found: set[ChainID] = set()
        for top in tops:
            current: ChainID | None = top
            while current is not None and current not in found and current in self._all.chains:
                found.add(current)
                current = self._all.chains[current].parent
        return found


def _newest(images: Iterable[KnownImage], number: int) -> dict[ImageID, set[str]]:
    """Return, for each image, the repositories in which it is among the newest by the time of its newest tag there."""
    tagged: dict[str, dict[ImageID, tuple[int, int, ImageID]]] = {}
    for image in images:
        for reference, given in image.names:
            if reference.tag is not None:
                found = tagged.setdefault(reference.name, {})
                rank = (given, image.created, image.row.id)
                found[image.row.id] = max(rank, found.get(image.row.id, rank))
    newest: dict[ImageID, set[str]] = {}
    for name, ranks in tagged.items():
        for image_id in sorted(ranks, key=ranks.__getitem__, reverse=True)[:number]:
            newest.setdefault(image_id, set()).add(name)
    return newest


def _too_much(left: int, max_size: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"what must stay takes {human_size(left)} ({left} bytes), more than the {human_size(max_size)} that were asked"
        " for; nothing was removed: unpin images, keep fewer of each repository, or allow more"
    )
