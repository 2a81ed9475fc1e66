"""``prune``: images that nobody needs, removed as daemons do it, or as many as it takes to keep a store small."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from orlop.errors import DatabaseDamaged, InvalidInput
from orlop.model.given import check_number
from orlop.service.listing.filters import PRUNE_FILTERS, parse_filters
from orlop.service.space.inventory import take_inventory
from orlop.service.space.prune_plan import Rules, make_plan
from orlop.service.space.remove import Removal, StoreGround
from orlop.service.space.verdict import PruneReport
from orlop.store.upkeep.lost_rows import require_no_lost_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.service.space.inventory import Inventory
    from orlop.service.space.prune_plan import Plan
    from orlop.store.root import Store
    from orlop.store.rows.metadata import Rows

__all__ = ["PruneReport", "prune"]

_UNKNOWN: Final = "nothing is pruned, since names and pins may be missing"
_FORGIVEN: Final = ("config-damaged",)
"""What is wrong with an image or a name that may go, and says nothing of what others need."""


def prune(
    store: Store,
    *,
    all: bool = False,  # noqa: A002 - docker's word
    filters: Sequence[str] = (),
    keep_last: int | None = None,
    max_size: int | None = None,
    dry_run: bool = False,
) -> PruneReport:
    """See `orlop.service.ImageService.prune`."""
    wanted = parse_filters(filters, known=PRUNE_FILTERS, now=store.now())
    for name, number, least in (("keep_last", keep_last, 1), ("max_size", max_size, 0)):
        if number is not None:
            check_number(number, name)
        if number is not None and number < least:
            msg = f"{name} is {number}, but at least {least} is needed; give a greater number"
            raise InvalidInput(msg)
    rules = Rules(all or wanted.dangling is False, wanted, keep_last, max_size)
    if dry_run:
        store.metadata.require_sound(but=_FORGIVEN)
        with store.metadata.read() as rows:
            require_no_lost_rows(store, rows, _UNKNOWN)
            plan = _planned(store, rows, rules)
        return _report(plan, plan.lines, dry_run=True)
    return store.with_reserve(partial(_pruned, store, rules))


def _pruned(store: Store, rules: Rules) -> PruneReport:
    store.metadata.require_sound(but=_FORGIVEN)
    state, ahead = _planned_ahead(store, rules)
    with store.metadata.write() as rows:
        require_no_lost_rows(store, rows, _UNKNOWN)
        plan = _planned(store, rows, rules) if ahead is None or rows.state() != state else ahead
        store.blobs.sweep_trash(rows)
        removal = Removal(StoreGround(store))
        removal.lines += [("Deleted", str(layer.chain_id)) for layer in store.layers.prune_dead(rows)]
        for deed in plan.deeds:
            deed.do(removal)
        store.content.sweep(rows)
        store.events.pruned(plan.reclaimed)
    return _report(plan, removal.lines, dry_run=False)


def _planned_ahead(store: Store, rules: Rules) -> tuple[str | None, Plan | None]:
    """Return a plan that holds as long as the state of the rows is the one beside it; nothing where none can be told.

    Others need not wait while it is made, which takes long where there are many images.
    """
    with store.metadata.read() as rows:
        state = rows.state()
        if state is None:
            return None, None
        require_no_lost_rows(store, rows, _UNKNOWN)
        return state, _planned(store, rows, rules)


def _planned(store: Store, rows: Rows, rules: Rules) -> Plan:
    inventory = take_inventory(store, rows)
    plan = make_plan(inventory, rules, rows.labels(list(inventory.images)) if rules.filters.needs_config else {})
    _require_names_known(store, inventory, plan)
    return plan


def _require_names_known(store: Store, inventory: Inventory, plan: Plan) -> None:
    """Refuse to take an image for want of a name where a name leads nowhere: it may have been that image's."""
    astray = inventory.astray
    if astray and any(image.goes and image.reason == "dangling" for image in plan.images):
        more = f", and so do {len(astray) - 1} more" if len(astray) > 1 else ""
        msg = (
            f"the name {astray[0]} in the store {store.root} points to an image that is not there{more}, and an image"
            " without a name may be the one that it meant; remove the name, or give it to that image, and prune then"
        )
        raise DatabaseDamaged(msg)


def _report(plan: Plan, lines: Sequence[tuple[str, str]], *, dry_run: bool) -> PruneReport:
    return PruneReport(
        lines=tuple(lines),
        reclaimed=plan.reclaimed,
        freed=plan.freed,
        stored=plan.stored,
        left=plan.left,
        images=plan.images,
        layers=plan.layers,
        dry_run=dry_run,
    )
