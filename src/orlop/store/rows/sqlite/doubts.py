"""Whether a database may be believed: what one look through it found, and which answers that forbids.

A small database is looked through wholly before it is first used, in every process: that takes a few milliseconds,
where a command takes some hundred. A large one is looked through before something is done because of all of it (`gc`,
`prune`, copies); until then its rows are verified where they are used, as far as they are hashed.

What is found is of two kinds. Where the database itself is damaged no answer can be trusted, and none is given. Where a
row contradicts what it is about, the answers that would show it are refused, and others are given: a bad object harms
only itself.

A name whose image is gone is neither: a program that deletes images by themselves leaves such names, as the Go package
has it, and a bit that flips in a name shows in its index as well.
"""

from __future__ import annotations

from contextlib import nullcontext

from orlop.errors import DatabaseDamaged
from orlop.streams.interruption import interruptible

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from typing import Final

    from orlop.model.digest import Digest
    from orlop.store.rows.metadata import ChainRow, ImageRow, ManifestRow, RowProblem

SMALL: Final = 256 << 10
"""The size in bytes up to which a database is looked through before it is first used."""

# What a problem of these kinds is about can be named, and everything else is right.
_SINGLE: Final = frozenset(
    {
        "blob-wrong",
        "chain-wrong",
        "config-damaged",
        "content-missing",
        "edges-wrong",
        "form-wrong",
        "head-wrong",
        "image-wrong",
        "layers-missing",
        "manifest-damaged",
        "manifest-wrong",
        "name-invalid",
        "name-lost",
        "parent-loop",
        "parent-missing",
    }
)


class Doubts:
    """What is wrong with rows, and the answers that it forbids: each method refuses one with `DatabaseDamaged`.

    Args:
        path: of the database.
        problems: what a look found, without what is harmless.
        moment: of the look, see `moment_of`, if it is known.
    """

    def __init__(self, path: str, problems: Sequence[RowProblem], moment: tuple[int, int] | None = None) -> None:
        self._path = path
        self.moment = moment
        self._problems = problems
        self._wrong: dict[str, dict[str, RowProblem]] = {}
        for one in problems:
            self._wrong.setdefault(one.kind, {})[one.subject] = one

    def __bool__(self) -> bool:
        return bool(self._problems)

    def require_none(self, *, but: Iterable[str] = ()) -> None:
        """Refuse where anything is wrong ``but`` problems of some kinds."""
        wrong = [one for one in self._problems if one.kind not in but]
        if wrong:
            raise self._refusal(wrong[0], len(wrong) - 1)

    def require_usable(self) -> None:
        """Refuse where the database itself is damaged."""
        for one in self._problems:
            if one.kind not in _SINGLE:
                raise self._refusal(one, len(self._problems) - 1)

    def require_image(self, row: ImageRow) -> None:
        """Refuse an image whose row does not say what its config says, or what its layers add up to."""
        for kind in ("image-wrong", "layers-missing"):
            self._require(kind, str(row.id))
        self._require("chain-wrong", str(row.chain_id))

    def require_list(self, rows: Iterable[ImageRow]) -> None:
        """Refuse a list of images with one of these or a wrong name, or without some images or their parents."""
        for kind in ("name-invalid", "name-lost", "head-wrong", "layers-missing", "chain-wrong"):
            self._require(kind)
        for row in rows:
            self.require_image(row)

    def require_name(self, name: str, suffix: str) -> None:
        """Refuse a name that has lost its image."""
        self._require("name-lost", f"{name}{suffix}")

    def require_labels(self, images: Iterable[Digest]) -> None:
        """Refuse labels that are not those of the config."""
        for image in images:
            self._require("image-wrong", str(image))

    def require_chains(self, rows: Iterable[ChainRow]) -> None:
        """Refuse layers whose sums are wrong."""
        for row in rows:
            self._require("chain-wrong", str(row.chain_id))

    def require_contents(self) -> None:
        """Refuse what all layers take where one has no form, or a form is recorded wrongly."""
        for kind in ("blob-wrong", "content-missing", "form-wrong"):
            self._require(kind)

    def require_edges(self) -> None:
        """Refuse to tell where all manifests lead where that is not recorded of one as its bytes say."""
        self._require("edges-wrong")

    def require_manifests(self, rows: Iterable[ManifestRow]) -> None:
        """Refuse manifests that are recorded as something else, or as leading elsewhere.

        Whether their bytes are what their digests say, whoever reads them verifies: they may have been put anew since.
        """
        for row in rows:
            self._require("manifest-wrong", str(row.digest))
            self._require("edges-wrong", str(row.digest))

    def _require(self, kind: str, subject: str | None = None) -> None:
        found = self._wrong.get(kind)
        if found:
            one = next(iter(found.values())) if subject is None else found.get(subject)
            if one is not None:
                raise self._refusal(one, 0)

    def _refusal(self, one: RowProblem, more: int) -> DatabaseDamaged:
        # What the message advises is for that problem alone.
        what = f"{one.message.partition('; ')[0]}{f', and {more} more' if more else ''}"
        return DatabaseDamaged(
            f"{self._path} cannot be trusted: {what}; run `orlop fsck --repair`, or restore it from a backup"
        )


NO_DOUBTS: Final = Doubts("", ())


def look_through(
    reading: Callable[[], AbstractContextManager[sqlite3.Connection]], path: str, *, verify: bool = True
) -> Doubts:
    """Look through all rows; a database that is damaged itself is looked at no further.

    Args:
        reading: gives a connection inside a transaction, for a block.
        path: of the database.
        verify: hash what is hashed, too.
    """
    from orlop.store.rows.sqlite.damage.check import row_problems  # noqa: PLC0415 - large databases are used without

    found: list[RowProblem] = []
    for one in row_problems(reading, verify=verify):
        if not one.harmless and one.kind != "name-dangling":
            found.append(one)
            if one.kind not in _SINGLE:
                break
    return Doubts(path, found)


def first_look(connection: sqlite3.Connection, path: str) -> Doubts:
    """Look through a database that is begun to be used, if it is small, and refuse one that is damaged itself."""
    (pages,), (size,) = (connection.execute(f"PRAGMA {word}").fetchone() for word in ("page_count", "page_size"))
    if pages * size > SMALL:
        return NO_DOUBTS
    connection.execute("BEGIN")
    try:
        # Few pages may have very many rows.
        with interruptible(connection):
            doubts = look_through(lambda: nullcontext(connection), path)
        doubts.moment = moment_of(connection)
    finally:
        connection.execute("ROLLBACK")
    doubts.require_usable()
    return doubts


def moment_of(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return what changes with each change of the rows that a connection makes or sees."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0]), connection.total_changes
