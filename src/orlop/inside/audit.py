"""An audit of an image: where its bytes are, which of them nobody sees, and what somebody should look at.

*Hidden* are bytes of regular files in a layer that the view of all layers does not show: overwritten or removed by a
later one. *Twice* are bytes of files that are seen and whose content another file has as well (all but one of them).
Efficiency is the share of all bytes that is not hidden. Hard links count once. All are bytes of content, not of what a
compressed layer takes up.

Findings are of four kinds that are never mixed: facts of the config, waste, risks, and secrets, which are looked for in
every layer, seen or hidden, and in the config. Each has a rule by which it can be allowed; a secret has a fingerprint
beside it that stays the same when an image is built again. Beside a baseline (`orlop.inside.baseline`), only new ones
count.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from os import urandom
from typing import TYPE_CHECKING, Final

from orlop.errors import PathNotFound, WrongType
from orlop.inside.accounts import accounts_in
from orlop.inside.allowance import allowance
from orlop.inside.baseline import compared
from orlop.inside.caches import caches_in, is_remains
from orlop.inside.content import joined
from orlop.inside.credentials import keeper_of
from orlop.inside.declared import config_findings, step_findings, writable_paths
from orlop.inside.dumps import dump_of
from orlop.inside.finding import SEVERITIES, AuditFinding, fingerprint_of, secret_finding
from orlop.inside.holes import LONGEST_HOLE, HoleDigest
from orlop.inside.listing import Listing
from orlop.inside.marks import Marks
from orlop.inside.masked import Mask
from orlop.inside.merge import clean
from orlop.inside.modes import view_findings
from orlop.inside.oddities import KINDS
from orlop.inside.packages import package_sizes
from orlop.inside.programs import SMALLEST, Program
from orlop.inside.remains import archives_in, byte_code_in
from orlop.inside.secrets import RULES, secrets_of
from orlop.inside.strays import sensitive_at
from orlop.model.given import given_list, given_texts, shown
from orlop.model.tuples import NamedTuple
from orlop.streams.tar_entry import TYPE_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from orlop.inside.credentials import Keeper
    from orlop.inside.info import ImageLayer
    from orlop.inside.node import Node
    from orlop.inside.secrets import Secret
    from orlop.inside.view import ImageFiles
    from orlop.streams.tar_entry import TarEntry

__all__ = ["Audit", "LayerBytes", "audit"]

_LISTED: Final = 1000
_LISTED_OF_CONTENTS: Final = 10_000
"""Of secrets more than of names, since a new one must not hide among those that are known; but not a million."""
_OF_CONTENTS: Final = frozenset(
    {"stored-credentials", "core-dump", "shared-id", "empty-password", "sent-again", "second-root", "unknown-owner"}
)
_WORTH_TELLING: Final = 1 << 20
_SALT: Final = 16
_MARK: Final = 8
_UNSEEN: Final = ", which no container sees and anyone can still read"


class LayerBytes(NamedTuple):
    """What a layer holds: bytes of files, and those of them that are hidden by later layers."""

    layer: ImageLayer
    size: int
    hidden: int


@dataclass(slots=True)
class Audit:
    """What an audit found; sizes in bytes of content.

    Of the bytes that are ``overwritten``, ``unchanged`` are those of files whose content a later layer has again at the
    same path: only their mode, owner, time or attributes were changed, or nothing. It is 0 if contents were not read.
    ``folders`` and ``packages`` have the bytes below directories, and of packages (`orlop.inside.packages`). With a
    baseline, ``findings`` are those that it does not have, ``known`` those that it has, and ``gone`` those that only it
    has.
    """

    layers: list[LayerBytes] = field(default_factory=list)
    overwritten: int = 0
    unchanged: int = 0
    removed: int = 0
    twice: int = 0
    folders: dict[str, int] = field(default_factory=dict)
    packages: dict[str, int] = field(default_factory=dict)
    findings: list[AuditFinding] = field(default_factory=list)
    known: list[AuditFinding] = field(default_factory=list)
    gone: list[AuditFinding] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The bytes of all files of all layers."""
        return sum(one.size for one in self.layers)

    @property
    def hidden(self) -> int:
        """The bytes that the view of all layers does not show."""
        return self.overwritten + self.removed

    @property
    def efficiency(self) -> float:
        """The share of bytes that is not hidden, from 0 to 1; 1 of an image without bytes."""
        return 1 - self.hidden / self.size if self.size else 1.0


def audit(
    files: ImageFiles,
    *,
    contents: bool = True,
    visible_only: bool = False,
    allow: Sequence[str] = (),
    baseline: Iterable[AuditFinding] | None = None,
) -> Audit:
    """Audit an image.

    Args:
        files: the view of all its layers.
        contents: read all layers, for secrets and duplicated content; else tables of contents alone.
        visible_only: leave out findings about what the view does not show. All bytes are counted all the same.
        allow: findings that are left out: a rule, ``RULE:PATTERN`` with a pattern of paths, or a fingerprint.
        baseline: what an earlier audit found: only other findings are among the ``findings`` then.

    Raises:
        InvalidFilter: a pattern is malformed. WrongType: what is allowed is not texts, or a baseline not findings.
            Beside them, what reading layers raises.
    """
    allowed = allowance(given_texts(allow, "the findings to allow"))
    before = None if baseline is None else _given_findings(baseline)
    found = Audit()
    found.findings += _listed(chain(config_findings(files), step_findings(files), writable_paths(files)))
    found.findings += _listed(view_findings(files))
    found.findings += byte_code_in(files)
    found.findings += accounts_in(files) if contents else ()
    for one in files.findings:
        text = KINDS.get(one.kind, one.kind)
        found.findings.append(
            AuditFinding(f"layer-{one.kind}", "risk", "info", text, one.layer + 1, "/" + clean(one.path))
        )
    for kind, rest in files.more_findings.items():
        text = f"{KINDS.get(kind, kind)}; so it is {rest.count:,} times more than are listed"
        found.findings.append(AuditFinding(f"layer-{kind}", "risk", "info", text, fingerprint=rest.fingerprint))
    for cache in chain(caches_in(files.below()), archives_in(files)):
        text = f"files with {cache.size:,} bytes {cache.text}"
        found.findings.append(
            AuditFinding(cache.rule, "waste", "low", text, cache.layer + 1, cache.path, size=cache.size)
        )
    count = _Count(found, files, _seen(files), contents=contents, visible_only=visible_only)
    for index, layer in enumerate(files.layers):
        count.add(index, layer)
    found.findings += count.listing.rest()
    found.folders = _folders(files)
    found.packages = package_sizes(files, count.programs) if contents else {}

    def is_told(one: AuditFinding) -> bool:
        return (one.seen or not visible_only) and not allowed(one)

    found.findings = [one for one in _with_shipped(files, found.findings) if is_told(one)]
    found.findings.sort(key=_by_severity)
    if before is not None:
        found.findings, found.known, gone = compared(found.findings, [one for one in before if is_told(one)])
        found.gone = sorted((one for one in gone if contents or not _is_of_content(one)), key=_by_severity)
    return found


def _by_severity(one: AuditFinding) -> tuple[int, str, str, int]:
    return -SEVERITIES.index(one.severity), one.rule, one.path, one.layer


def _is_of_content(one: AuditFinding) -> bool:
    """Return whether something can only be found if contents are read."""
    return one.rule in _OF_CONTENTS or (one.rule in RULES and one.layer > 0)


def _listed(findings: Iterable[AuditFinding]) -> Iterator[AuditFinding]:
    """Yield findings, of each rule `_LISTED` at most, and then how many more there are."""
    listing = Listing(lambda _: _LISTED)
    yield from filter(listing.has_room, findings)
    yield from listing.rest()


def _most_of(rule: str) -> int:
    """Return how many findings of a rule are listed that are looked for in all layers."""
    return _LISTED_OF_CONTENTS if rule in _OF_CONTENTS or rule in RULES else _LISTED


def _seen(files: ImageFiles) -> list[dict[int, TarEntry]]:
    """Return the entries whose contents the view shows: of each layer, by their offsets."""
    seen: list[dict[int, TarEntry]] = [{} for _ in files.layers]
    stack = [files.node("/")]
    while stack:
        for node in (stack.pop().children or {}).values():
            if node.type == TYPE_FILE:
                seen[node.origin][node.content.header_offset] = node.content
            elif node.children:
                stack.append(node)
    return seen


class _Count:
    """The bytes of the layers, counted one after another."""

    def __init__(
        self,
        found: Audit,
        files: ImageFiles,
        seen: Sequence[dict[int, TarEntry]],
        *,
        contents: bool,
        visible_only: bool,
    ) -> None:
        self._found = found
        self._files = files
        self._seen = seen
        self._contents = contents
        self._visible_only = visible_only
        self._masked = Mask(files.config)
        self.programs: dict[tuple[int, int], str] = {}
        """What programs were built from, by the numbers of their layers and the offsets of their headers."""
        self._fresh = hashlib.sha256(urandom(_SALT))  # so nobody can make contents whose marks are alike
        self._fresh_of_holes = hashlib.sha256(urandom(_SALT))  # nor one without holes that is alike to one with them
        self._sparse_sizes = {one.size for entries in seen for one in entries.values() if one.sparse}
        self._marks = Marks()
        self.listing = Listing(_most_of)
        """What is told about files."""
        self._overwritten: set[str] = set()  # the paths of this layer that a later one overwrites
        self._below: dict[str, tuple[bytes, TarEntry]] = {}  # the last content of each path that is overwritten later

    def add(self, index: int, layer: ImageLayer) -> None:
        """Count a layer, and look for secrets in it, in one pass."""
        found = self._found
        members = self._files.content_layers[index].entries(self._seen[index])
        entries = [one for one in members if one.type == TYPE_FILE and one.size]
        # A file that is named as a whiteout is not in the image, though it may have a content that anyone can read.
        counted = [one for one in entries if "/.wh." not in f"/{clean(one.name)}"]
        hidden = remains = 0
        self._overwritten.clear()
        for entry in counted:
            if entry.header_offset in self._seen[index]:
                continue
            hidden += entry.size
            path = f"/{clean(entry.name)}"
            remains += entry.size if is_remains(path) else 0
            self._tell_sensitive(path, entry, index + 1)
            if path in self._files:
                found.overwritten += entry.size
                self._overwritten.add(path)
            else:
                found.removed += entry.size
        found.layers.append(LayerBytes(layer, sum(one.size for one in counted), hidden))
        if hidden >= _WORTH_TELLING:
            text = f"{hidden:,} bytes of this layer are overwritten or removed by later ones"
            if remains >= _WORTH_TELLING:
                text += f"; {remains:,} of them are caches or other remains, for the same step to remove"
            found.findings.append(self._of_layer("hidden-bytes", text, layer, hidden)._replace(seen=False))
        if self._contents:
            self._read(index, layer, entries)

    def _tell(self, one: AuditFinding) -> None:
        """List a finding about a file, unless there are very many of its rule."""
        if self.listing.has_room(one):
            self._found.findings.append(one)

    def _tell_sensitive(self, path: str, entry: TarEntry, layer: int) -> None:
        """Note a file of a kind that often holds secrets, which a later layer hides."""
        text = sensitive_at(path)
        if text:
            finding = AuditFinding("sensitive-file", "fact", "info", text + _UNSEEN, layer, path, size=entry.size)
            self._tell(finding._replace(seen=False))

    def _read(self, index: int, layer: ImageLayer, entries: list[TarEntry]) -> None:
        again = _Again()
        if self._visible_only:
            entries = [one for one in entries if one.header_offset in self._seen[index] or self._is_overwritten(one)]
        with self._files.places(((index, entry) for entry in entries), longest_hole=LONGEST_HOLE) as contents:
            for entry in entries:
                shown = entry.header_offset in self._seen[index]
                path = "/" + clean(entry.name)
                digest: hashlib._Hash | HoleDigest
                if self._has_digest_of_holes(entry):
                    digest = HoleDigest(self._fresh_of_holes.copy(), entry.size)
                    chunks = joined(_located(contents.located((index, entry)), digest.update))
                else:
                    digest = self._fresh.copy()
                    chunks = _hashed(contents.chunks((index, entry)), digest.update)
                keeper, dump = keeper_of(path), dump_of(path)
                program = Program()
                if shown and entry.size >= SMALLEST:
                    chunks = program.look_into(chunks)
                if keeper is not None:
                    chunks = keeper.look_into(chunks)
                if dump is not None:
                    chunks = dump.look_into(chunks)
                is_told = shown or not self._visible_only
                where = "" if shown else _UNSEEN
                for secret in secrets_of(chunks) if is_told else _nothing_of(chunks):
                    self._tell(secret_finding(secret, where, layer=index + 1, path=path, seen=shown))
                if dump is not None and dump.is_one and is_told:
                    self._tell(_dumped(entry, index + 1, path, where))
                if keeper is not None and keeper.count and is_told:
                    self._tell(_kept(keeper, index + 1, path, where))
                if program.module:
                    self.programs[index, entry.header_offset] = program.module
                value = digest.digest()
                if shown:
                    is_new = self._marks.add(int.from_bytes(value[:_MARK]))
                    self._found.twice += 0 if is_new else entry.size
                before = self._below.pop(path, None)
                if before is not None and before[0] == value:
                    again.add(before[1], entry)
                if path in self._overwritten:
                    self._below[path] = value, entry
        self._found.unchanged += again.size
        if again.size >= _WORTH_TELLING:
            self._found.findings.append(self._of_layer("sent-again", again.text, layer, again.size))

    def _has_digest_of_holes(self, entry: TarEntry) -> bool:
        """Return whether a content may be that of a sparse file, which has another digest than most."""
        if entry.sparse:
            self._sparse_sizes.add(entry.size)
        return entry.size in self._sparse_sizes

    def _of_layer(self, rule: str, text: str, layer: ImageLayer, size: int) -> AuditFinding:
        """Return a finding about a whole layer. Its fingerprint is that of the step, the same in other builds."""
        fingerprint = fingerprint_of(rule, self._masked(layer.created_by) or str(layer.number))
        return AuditFinding(rule, "waste", "low", text, layer.number, size=size, fingerprint=fingerprint)

    def _is_overwritten(self, entry: TarEntry) -> bool:
        return f"/{clean(entry.name)}" in self._overwritten


class _Again:
    """Files of a layer that have the content that a lower layer has at the same path."""

    def __init__(self) -> None:
        self.size = 0
        self._facts: set[str] = set()

    def add(self, before: TarEntry, after: TarEntry) -> None:
        """Count one, and note what differs beside the content."""
        self.size += before.size
        differing = {
            "mode": before.mode & 0o7777 != after.mode & 0o7777,
            "owner": (before.uid, before.gid) != (after.uid, after.gid),
            "time": before.mtime != after.mtime,
            "attributes": before.xattrs != after.xattrs,
        }
        self._facts |= {fact for fact, differs in differing.items() if differs}

    @property
    def text(self) -> str:
        """What to say of them."""
        what = " and ".join(fact for fact in ("mode", "owner", "time", "attributes") if fact in self._facts)
        only = f"only their {what} changed" if what else "nothing of them changed"
        return f"files with {self.size:,} bytes are here again with the content that they had before; {only}"


def _with_shipped(files: ImageFiles, findings: list[AuditFinding]) -> list[AuditFinding]:
    """Return findings, of which secrets in what is published, and in tests of libraries, are minor ones."""
    nodes: dict[tuple[int, str], Node] = {}
    if not any(one.rule in RULES and one.path for one in findings):
        return findings
    from orlop.inside.shipped import is_of_a_test, shipped_files  # noqa: PLC0415 - most images have no secret

    findings = [
        one._replace(severity="low", text=f"{one.text}, in a test or an example of a library")
        if one.rule in RULES and is_of_a_test(one.path)
        else one
        for one in findings
    ]
    for one in findings:
        if one.rule in RULES and one.path and one.seen and not is_of_a_test(one.path):
            with suppress(PathNotFound):
                node = files.node(one.path, follow=False)
                if node.type == TYPE_FILE and node.origin + 1 == one.layer:
                    nodes[one.layer, one.path] = node
    if not nodes:
        return findings
    packages = shipped_files(files, {path: node for (_, path), node in nodes.items()})
    shipped = {place: packages[node] for place, node in nodes.items() if node in packages}
    return [
        one._replace(severity="low", text=f"{one.text}, as the package {shipped[one.layer, one.path]} ships it")
        if one.rule in RULES and (one.layer, one.path) in shipped
        else one
        for one in findings
    ]


def _kept(keeper: Keeper, layer: int, path: str, where: str) -> AuditFinding:
    text, fingerprint = f"{keeper.text} ({keeper.count}){where}", fingerprint_of(keeper.rule, path)
    return AuditFinding(keeper.rule, "secret", "high", text, layer, path, seen=not where, fingerprint=fingerprint)


def _dumped(entry: TarEntry, layer: int, path: str, where: str) -> AuditFinding:
    text = f"it is a dump of the memory of a program, with all secrets that it had{where}"
    return AuditFinding("core-dump", "risk", "medium", text, layer, path, seen=not where, size=entry.size)


def _hashed(chunks: Iterator[bytes], update: Callable[[bytes], object]) -> Iterator[bytes]:
    for chunk in chunks:
        update(chunk)
        yield chunk


def _located(pieces: Iterator[tuple[int, bytes]], update: Callable[[int, bytes], object]) -> Iterator[bytes]:
    for at, piece in pieces:
        update(at, piece)
        yield piece


def _nothing_of(chunks: Iterable[bytes]) -> Iterator[Secret]:
    """Read a content for what else is to be known of it."""
    for _ in chunks:
        pass
    yield from ()


def _folders(files: ImageFiles) -> dict[str, int]:
    """Return the bytes below the root, below each of its directories, and below those of theirs."""
    sizes: dict[str, int] = {}
    counted: set[Node] = set()
    for path, node in files.below():
        if not node.size or node in counted:
            continue
        if node.names > 1:
            counted.add(node)
        first = path.find("/", 1)
        second = path.find("/", first + 1) if first > 0 else -1
        for folder in ("/", path[: max(first, 0)], path[: max(second, 0)]):
            if folder:
                sizes[folder] = sizes.get(folder, 0) + node.size
    return sizes


def _given_findings(baseline: Iterable[AuditFinding]) -> list[AuditFinding]:
    found = given_list(baseline, "the findings of a baseline")
    for one in found:
        if not isinstance(one, AuditFinding):
            raise WrongType(f"a finding of a baseline is an AuditFinding, not {shown(one)}")
    return found
