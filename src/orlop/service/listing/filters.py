"""Filters of image lists, as docker's ``--filter`` has them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from orlop.errors import InvalidFilter
from orlop.model.given import given_texts
from orlop.model.names import ImageName
from orlop.model.pattern import Pattern
from orlop.model.values import dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from orlop.model.digest import ImageID
    from orlop.model.reference import Reference
    from orlop.service.listing.summaries import ImageSummary

LIST_FILTERS: Final = frozenset({"dangling", "label", "reference", "before", "since", "until"})
"""What a list of images can be filtered by."""
PRUNE_FILTERS: Final = frozenset({"dangling", "label", "label!", "until"})
"""What the images to prune can be filtered by."""

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Filters:
    """Which images are wanted; several filters of one kind: all must hold, but of ``references`` one.

    ``dangling`` images have no tag. ``labels`` are names with values, or without one where any will do. ``references``
    are patterns of names, familiar or (with ``canonical_names``) whole. ``before`` and ``since`` are names of images,
    by whose time of creation others are taken; ``until`` is such a time, in nanoseconds since 1970.
    """

    dangling: bool | None = None
    labels: tuple[tuple[str, str | None], ...] = ()
    no_labels: tuple[tuple[str, str | None], ...] = ()
    references: tuple[str, ...] = ()
    before: tuple[ImageName, ...] = ()
    since: tuple[ImageName, ...] = ()
    until: int | None = None
    canonical_names: bool = True

    @property
    def needs_config(self) -> bool:
        """Whether it takes an image's config to tell whether it is wanted."""
        return bool(self.labels or self.no_labels)

    def match_labels(self, labels: Mapping[str, str] | None) -> bool:
        """Return whether an image with these labels is wanted."""
        if self.labels and not (labels and _has_all(labels, self.labels)):
            return False
        return not (self.no_labels and labels and _has_all(labels, self.no_labels))

    def match_reference(self, reference: Reference) -> bool:
        """Return whether one of the patterns fits a name, with its tag or digest or without."""
        return any(pattern.matches(text) for text in self._texts(reference) for pattern in _patterns(self.references))

    def _texts(self, reference: Reference) -> tuple[str, ...]:
        """Return what a pattern may fit."""
        familiar = (reference.familiar, reference.familiar_name)
        return (*familiar, str(reference), reference.name) if self.canonical_names else familiar


def select(
    found: Iterable[ImageSummary],
    filters: Filters,
    *,
    created: Callable[[ImageName], tuple[int, int]],
    labels: Callable[[ImageID], Mapping[str, str] | None],
) -> Iterator[ImageSummary]:
    """Yield the images of a list that are wanted, with those of their names that are.

    Args:
        found: the list.
        filters: what is wanted.
        created: gives the time of an image by its name, in seconds and nanoseconds; asked before this returns.
        labels: gives the labels of an image.
    """
    before = min(map(created, filters.before), default=None)
    since = max(map(created, filters.since), default=None)
    until = None if filters.until is None else divmod(filters.until, 1_000_000_000)

    def is_wanted(image: ImageSummary) -> bool:
        time = (image.created, image.nanosecond)
        if (before is not None and time >= before) or (since is not None and time <= since):
            return False
        if until is not None and time > until:
            return False
        # As docker has it, an image with digests only is both: it dangles, and has names.
        if filters.dangling:
            return not image.repo_tags
        return filters.dangling is None or bool(image.references)

    def wanted() -> Iterator[ImageSummary]:
        for image in found:
            if not is_wanted(image) or (filters.needs_config and not filters.match_labels(labels(image.id))):
                continue
            if not filters.references:
                yield image
            elif names := tuple(filter(filters.match_reference, image.references)):
                yield replace(image, references=names)

    return wanted()


def parse_filters(texts: Iterable[str], *, known: frozenset[str] = LIST_FILTERS, now: int) -> Filters:
    """Read filters of the form ``name=value``; empty texts are none.

    Args:
        texts: the filters.
        known: what may be filtered by.
        now: the time, in nanoseconds since 1970.

    Raises:
        WrongType: the filters are not a list of texts.
        InvalidFilter: a filter is not known, or its value cannot be read.
        InvalidReference: the name in one cannot.
    """
    values: dict[str, list[str]] = {}
    for text in filter(None, given_texts(texts, "filters")):
        name, equals, value = text.partition("=")
        name = name.strip().lower()
        # `label!=x` asks for images without the label.
        if not equals or name not in known:
            known_names = ", ".join(sorted(known))
            msg = f"{text!r} is not a filter; filters are NAME=VALUE, where NAME is one of {known_names}"
            raise InvalidFilter(msg)
        values.setdefault(name, []).append(value)
    references = tuple(values.get("reference", ()))
    _patterns(references)
    return Filters(
        dangling=_boolean(values.get("dangling", [])),
        labels=_labels(values.get("label", [])),
        no_labels=_labels(values.get("label!", [])),
        references=references,
        before=tuple(map(ImageName.parse, values.get("before", ()))),
        since=tuple(map(ImageName.parse, values.get("since", ()))),
        until=_until(values.get("until", []), now),
    )


def _boolean(values: list[str]) -> bool | None:
    if not values:
        return None
    found = {_BOOLEANS.get(value) for value in values}
    if None in found:
        msg = (
            f"the filter dangling={next(value for value in values if value not in _BOOLEANS)} is neither true nor false"
        )
        raise InvalidFilter(msg)
    # As docker has it, true wins.
    return True in found


def _labels(values: list[str]) -> tuple[tuple[str, str | None], ...]:
    return tuple((name, value if equals else None) for name, equals, value in (text.partition("=") for text in values))


def _has_all(labels: Mapping[str, str], wanted: tuple[tuple[str, str | None], ...]) -> bool:
    return all(name in labels and value in {None, labels[name]} for name, value in wanted)


def _until(values: list[str], now: int) -> int | None:
    if not values:
        return None
    from orlop.service.listing.moments import parse_moment  # noqa: PLC0415 - few lists ask for times

    try:
        return min(parse_moment(value, now) for value in values)
    except (ValueError, OverflowError) as error:
        msg = f"the filter until cannot be read: {error}"
        raise InvalidFilter(msg) from error


@lru_cache(maxsize=8)
def _patterns(texts: tuple[str, ...]) -> tuple[Pattern, ...]:
    """Read the patterns of one list once, and not again for each of its names."""
    return tuple(map(Pattern.parse, texts))
