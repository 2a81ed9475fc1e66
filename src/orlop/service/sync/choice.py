"""Which tags of a repository a sync is about: a list, patterns, a range of versions, the newest of these."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orlop.model.versions import Version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orlop.model.pattern import Pattern
    from orlop.model.versions import VersionRange

_KEPT_BY_TAG: Final = re.compile(r"sha(?:256|384|512)-[0-9a-f]{64,128}(?:\.(?:sig|att|sbom))?", re.ASCII)
"""Tags under which registries and cosign keep what refers to an image; `referrers` carries these."""


@dataclass(frozen=True, slots=True)
class TagChoice:
    """Tags that are wanted.

    Attributes:
        listed: these, whatever the rest says.
        patterns: tags of which one pattern matches; without any, every tag, unless others are ``listed`` alone.
        excluded: patterns of tags that are not wanted.
        versions: a range in which the versions must be.
        newest: of all these, so many of the greatest versions.
    """

    listed: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    excluded: tuple[Pattern, ...] = ()
    versions: VersionRange | None = None
    newest: int | None = None
    _named: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep the listed tags so that each is found at once, as there may be very many."""
        object.__setattr__(self, "_named", frozenset(self.listed))

    @property
    def is_list(self) -> bool:
        """Whether it names all tags, so that nobody need be asked which there are."""
        return bool(self.listed) and not (self.patterns or self.versions or self.newest)

    def covers(self, tag: str) -> bool:
        """Return whether a tag is one of those that are spoken of, if perhaps not one of the newest."""
        if tag in self._named:
            return True
        if self.is_list or _KEPT_BY_TAG.fullmatch(tag) is not None:
            return False
        if self.patterns and not any(one.matches(tag) for one in self.patterns):
            return False
        return not any(one.matches(tag) for one in self.excluded) and self._is_wanted_version(tag)

    def chosen(self, tags: Iterable[str]) -> list[str]:
        """Return the tags that are wanted: those that are listed, whether there or not, then the others, sorted."""
        found = sorted({*tags} - self._named)
        found = [tag for tag in found if self.covers(tag)]
        if self.newest is not None:
            versions = {tag: version for tag in found if (version := Version.of(tag)) is not None}
            newest = {*sorted(versions, key=lambda tag: (versions[tag].key, tag))[-self.newest :]}
            found = [tag for tag in found if tag in newest]
        return [*self.listed, *found]

    def _is_wanted_version(self, tag: str) -> bool:
        if self.versions is None and self.newest is None:
            return True
        version = Version.of(tag)
        # What a suffix means is known to those who write a pattern for it.
        if version is None or (version.suffix and not self.patterns):
            return False
        return self.versions is None or version in self.versions
