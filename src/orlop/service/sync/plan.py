"""The file that says what a sync keeps where. It is TOML.

    [budget."docker.io"]                      # optional: what a registry may be asked for, over all runs
    manifests = 90
    per = "6h"

    [[sync]]
    source = "docker://quay.io/team/app"      # a repository, or any other place that `copy` reads
    target = "docker://mirror.example.com/"   # the slash stands for the path of the source: team/app
    tags = ["latest"]
    match = ["*-alpine", "3.*"]
    exclude = ["*-rc*"]
    versions = ">=1.20, <2"
    newest = 5
    platforms = ["linux/amd64"]               # by default "all"
    referrers = true
    mirror = true                             # what the source has dropped is removed, with --delete
    skip-existing = true                      # a tag that is there is not looked at again

Words that it does not have are errors: a misspelt ``exclude`` must not copy, or remove, what it should keep.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from orlop.errors import InvalidInput, InvalidPlatform, InvalidReference, InvalidSettings, ReadFailed
from orlop.intake.platforms import host_platform
from orlop.model import toml
from orlop.model.durations import parse_duration
from orlop.model.given import check_text
from orlop.model.names import pulled_name
from orlop.model.pattern import Pattern
from orlop.model.platform import Platform
from orlop.model.reference import Reference
from orlop.model.versions import VersionRange
from orlop.registry.budget import Budget
from orlop.service.sync.choice import TagChoice
from orlop.streams.given import path_text
from orlop.streams.waiting import content_of
from orlop.transfer.places import Kind, Place, parse_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LIMIT: Final = 4 << 20
_SECOND: Final = 1_000_000_000
_ENTRY: Final[Mapping[str, type]] = {
    "source": str,
    "target": str,
    "tags": list,
    "match": list,
    "exclude": list,
    "versions": str,
    "newest": int,
    "platforms": list,
    "referrers": bool,
    "mirror": bool,
    "skip-existing": bool,
}
_BUDGET: Final[Mapping[str, type]] = {"manifests": int, "per": str}
_WRITTEN_WHOLE: Final = frozenset({Kind.LAYOUT_ARCHIVE, Kind.DOCKER_ARCHIVE, Kind.DIRECTORY})
_WORDS: Final = {str: "a text", list: "a list of texts", int: "a whole number", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class SyncEntry:
    """One ``[[sync]]`` of a file.

    Attributes:
        source: the place that is read. target: the place that is written.
        choice: which tags.
        platforms: what is copied of an index; None for all of it.
        referrers: copy what refers to the images, too.
        mirror: what the source has dropped is to go from the target.
        skip_existing: a tag that is at the target is not compared with the source.
    """

    source: Place
    target: Place
    choice: TagChoice = field(default_factory=TagChoice)
    platforms: tuple[Platform, ...] | None = None
    referrers: bool = False
    mirror: bool = False
    skip_existing: bool = False

    @property
    def is_written_whole(self) -> bool:
        """Whether its target is a file, or a directory of skopeo's, which is rewritten where it has changed."""
        return self.target.kind in _WRITTEN_WHOLE

    @property
    def shown(self) -> str:
        """How messages and the state call it."""
        return f"{self.source} to {self.target}"

    def repository_at(self, repository: Reference | None) -> Reference:
        """Return the repository at the target into which one of the source goes.

        Raises:
            InvalidInput: the one of the source has no name, and the target needs it.
        """
        if self.target.name and not self.target.name.endswith("/"):
            return Reference.parse(self.target.name)
        if repository is None:
            raise InvalidInput(f"{self.source} has tags without a repository; name a repository in the target")
        return Reference.parse(f"{self.target.name}{repository.path}") if self.target.name else repository

    def speaks_of(self, target: Place, name: Reference) -> bool:
        """Return whether a tag at a target may be one that this entry copies, or removes."""
        if self.target.kind is not target.kind or _file(self.target) != _file(target):
            return False
        if not self.choice.covers(name.tag or ""):
            return False
        if self.source.name or (self.target.name and not self.target.name.endswith("/")):
            return self.repository_at(Reference.parse(self.source.name or "any")).name == name.name
        return not self.target.name or name.name.startswith(Reference.parse(f"{self.target.name}x").name[:-1])


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What a file says: its ``entries``, in order, and the ``budgets`` of registries by their hosts."""

    entries: tuple[SyncEntry, ...]
    budgets: Mapping[str, Budget] = field(default_factory=dict)

    def together(self) -> list[list[SyncEntry]]:
        """Return the entries in order, but those that go into one file together, where the first of them stands."""
        found: list[list[SyncEntry]] = []
        of_files: dict[str, list[SyncEntry]] = {}
        for entry in self.entries:
            if not entry.is_written_whole:
                found.append([entry])
            elif (path := _file(entry.target)) in of_files:
                of_files[path].append(entry)
            else:
                of_files[path] = [entry]
                found.append(of_files[path])
        return found

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file.

        Raises:
            WrongType: it is not a path. ReadFailed: it cannot be read. InvalidSettings: it is not such a file; the
            error names the place.
        """
        shown = path_text(path, "the sync file")
        try:
            raw = content_of(shown, _LIMIT + 1)
        except OSError as error:
            raise ReadFailed(f"cannot read {shown}: {error.strerror}") from error
        if len(raw) > _LIMIT:
            raise InvalidSettings(f"{shown} is larger than {_LIMIT >> 20} MiB")
        try:
            return cls.parse(raw.decode(), shown=shown)
        except UnicodeDecodeError as error:
            raise InvalidSettings(f"{shown} is not UTF-8: byte {error.start + 1}") from error

    @classmethod
    def parse(cls, text: str, *, shown: str = "the sync file") -> Self:
        """Read the text of a file, which errors call ``shown``. Raises `InvalidSettings`."""
        check_text(text, "a sync file")
        try:
            document = toml.loads(text)
        except ValueError as error:
            raise InvalidSettings(f"{shown}: {error}") from error
        _require_known(document, {"sync": list, "budget": dict}, shown)
        tables = document.get("sync", [])
        if not isinstance(tables, list) or not tables or not all(isinstance(one, dict) for one in tables):
            raise InvalidSettings(f"{shown} has no [[sync]], which names a source and a target")
        entries = tuple(_entry(table, f"{shown}: sync {number}") for number, table in enumerate(tables, 1))
        _require_apart(entries, shown)
        budgets = document.get("budget", {})
        if not isinstance(budgets, dict):
            raise InvalidSettings(f'{shown}: budget is not a table; write [budget."HOST"]')
        return cls(entries, {host: _budget(table, f"{shown}: budget {host}") for host, table in budgets.items()})


def _entry(table: dict[str, Any], where: str) -> SyncEntry:
    table = {key: _listed(key, value) for key, value in table.items()}
    _require_known(table, _ENTRY, where)
    for word in ("source", "target"):
        if word not in table:
            raise InvalidSettings(f"{where} has no {word}")
    source, source_tags = _source(table["source"], f"{where}, source")
    target = _target(table["target"], f"{where}, target")
    if source_tags and not {"tags", "match", "versions", "newest"}.isdisjoint(table):
        raise InvalidSettings(f"{where}: its source has the tag {source_tags[0]} already; name the repository alone")
    tags = source_tags or tuple(_texts(table, "tags", where))
    newest = table.get("newest")
    if newest is not None and newest < 1:
        raise InvalidSettings(f"{where}: newest is {newest}; expected 1 or more")
    choice = TagChoice(
        tuple(dict.fromkeys(_tag(one, where) for one in tags)),
        _patterns(table, "match", where),
        _patterns(table, "exclude", where),
        _versions(table.get("versions"), where),
        newest,
    )
    if "exclude" in table and choice.is_list:
        raise InvalidSettings(f"{where}: exclude needs match, versions or newest beside tags, or none of them")
    return SyncEntry(
        source,
        target,
        choice,
        _platforms(table, where),
        referrers=table.get("referrers", False),
        mirror=table.get("mirror", False),
        skip_existing=table.get("skip-existing", False),
    )


def _require_apart(entries: Iterable[SyncEntry], shown: str) -> None:
    """Raise `InvalidSettings` where two entries would write one file in two forms, or a directory that holds one."""
    taken: dict[str, tuple[int, SyncEntry]] = {}
    for number, entry in enumerate(entries, 1):
        if not entry.is_written_whole:
            continue
        other, first = taken.setdefault(_file(entry.target), (number, entry))
        if first.target.kind is not entry.target.kind:
            raise InvalidSettings(
                f"{shown}: sync {other} and sync {number} write {entry.target.path} in two forms; name two files"
            )
        if other != number and entry.target.kind is Kind.DIRECTORY:
            raise InvalidSettings(
                f"{shown}: sync {other} and sync {number} both write all of {entry.target.path}; name two directories,"
                " or sync into an oci: directory, which holds several repositories"
            )


def _file(place: Place) -> str:
    return os.path.realpath(place.path) if place.path else ""


def _listed(key: str, value: object) -> object:
    """Return a value, of which one text may stand for a list of it."""
    return [value] if _ENTRY.get(key) is list and isinstance(value, str) else value


def _source(text: str, where: str) -> tuple[Place, tuple[str, ...]]:
    """Return a place that is read, whose name is that of a repository, and the tag that it was written with."""
    place = _place(text, where, is_target=False)
    if place.kind not in {Kind.REGISTRY, Kind.STORE} and not place.name:
        return place, ()
    name = _repository(place.name, where)
    if name.digest is not None:
        raise InvalidSettings(f"{where}: {text} names a digest, which never changes; use copy, or name tags")
    named = Place(place.kind, place.path, name.familiar_name)
    return named, () if name.tag is None else (name.tag,)


def _target(text: str, where: str) -> Place:
    """Return a place that is written: a repository, or a prefix that ends with a slash, or files."""
    place = _place(text, where, is_target=True)
    if place.kind in {Kind.REGISTRY, Kind.STORE} and not place.name:
        raise InvalidSettings(f"{where}: {text} names no repository")
    if place.name and not place.name.endswith("/"):
        name = _repository(place.name, where)
        if name.tag is not None or name.digest is not None:
            raise InvalidSettings(f"{where}: {text} has a tag or digest; images keep the tags of the source")
        return Place(place.kind, place.path, name.familiar_name)
    if place.name:
        _repository(f"{place.name}x", where)
    return place


def _place(text: str, where: str, *, is_target: bool) -> Place:
    try:
        return parse_place(text, is_target=is_target)
    except InvalidInput as error:
        raise InvalidSettings(f"{where}: {error}") from error


def _repository(text: str, where: str) -> Reference:
    try:
        name = Reference.parse(text)
        pulled_name(name)
    except InvalidReference as error:
        raise InvalidSettings(f"{where}: {error}") from error
    return name


def _tag(text: str, where: str) -> str:
    try:
        return Reference.parse("x").with_tag(text).tag or ""
    except InvalidReference as error:
        raise InvalidSettings(f"{where}: {text!r} in tags is not a valid tag") from error


def _patterns(table: dict[str, Any], key: str, where: str) -> tuple[Pattern, ...]:
    try:
        return tuple(Pattern.parse(one) for one in _texts(table, key, where))
    except InvalidInput as error:
        raise InvalidSettings(f"{where}: {key}: {error}") from error


def _versions(text: str | None, where: str) -> VersionRange | None:
    try:
        return None if text is None else VersionRange.parse(text)
    except InvalidInput as error:
        raise InvalidSettings(f"{where}: versions: {error}") from error


def _platforms(table: dict[str, Any], where: str) -> tuple[Platform, ...] | None:
    texts = _texts(table, "platforms", where)
    if not texts or texts == ["all"]:
        return None
    try:
        return tuple(dict.fromkeys(Platform.parse(one, default=host_platform()) for one in texts))
    except InvalidPlatform as error:
        raise InvalidSettings(f"{where}: platforms: {error}") from error


def _texts(table: dict[str, Any], key: str, where: str) -> list[str]:
    """Return a list of texts, which must not be empty where it is given: it would mean all, or nothing."""
    found = table.get(key, [])
    if key in table and (not found or not all(isinstance(one, str) and one for one in found)):
        raise InvalidSettings(f"{where}: {key} is not a list of texts, or is empty; leave it out")
    return list(found)


def _budget(table: object, where: str) -> Budget:
    if not isinstance(table, dict):
        raise InvalidSettings(f"{where} is not a table with manifests and per")
    _require_known(table, _BUDGET, where)
    if "manifests" not in table or "per" not in table or table["manifests"] < 1:
        raise InvalidSettings(f'{where} needs manifests, a number of 1 or more, and per, such as "6h"')
    try:
        seconds = parse_duration(table["per"]) // _SECOND
    except ValueError as error:
        raise InvalidSettings(f"{where}: per: {error}") from error
    if seconds < 1:
        raise InvalidSettings(f"{where}: per is {table['per']}; expected a second or more")
    return Budget(table["manifests"], seconds)


def _require_known(table: Mapping[str, Any], words: Mapping[str, type], where: str) -> None:
    """Raise `InvalidSettings` for a key that is not known, or a value of another type."""
    for key, value in table.items():
        if key not in words:
            raise InvalidSettings(f"{where}: {key!r} is not a valid key; there are {', '.join(words)}")
        if type(value) is not words[key] and words[key] in _WORDS:
            raise InvalidSettings(f"{where}: {key} is {value!r}; expected {_WORDS[words[key]]}")
