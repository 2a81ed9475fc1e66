"""Limits on what an archive may take, which a user can set; the defaults allow every real image."""

from __future__ import annotations

from orlop.errors import InvalidInput, LimitExceeded, WrongType
from orlop.model.given import check_number, shown
from orlop.model.values import dataclass, fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Final

_MIB: Final = 1 << 20
_GIB: Final = 1 << 30

SIZES: Final = frozenset(
    {
        "config_size",
        "documents_size",
        "extension_size",
        "manifest_size",
        "plain_size",
        "ratio_floor",
        "trailing_size",
        "window_size",
    }
)
"""The limits that are numbers of bytes; the others count things."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much time, memory and disk an archive or a layer may take; beyond a limit `LimitExceeded` is raised.

    `UNLIMITED` instead of a number removes a limit. Immutable; raises `InvalidInput` for a negative number, and
    `WrongType` for one that is not an int.

    Attributes:
        members: files and links in an archive, or in a directory that is read as one, and its folders.
        name_length: bytes of the name of a member, of an archive or a layer, and of a link's target in an archive.
        path_depth: folders in such a name.
        extension_size: bytes of one extended header of a tar (PAX, GNU long names).
        extensions: extended headers before one member of a tar.
        sparse_pieces: pieces of one sparse file in a tar.
        layer_entries: members of one layer.
        layers: layers of one image. Docker allows 125; an image with more can be kept, but not run. The default is 500
            for what is read from a data root.
        config_size: bytes of one image config.
        manifest_size: bytes of one manifest or index, ``manifest.json`` and ``index.json`` among them.
        documents_size: bytes of all these documents, of the names of members, folders and links, and of configs that
            are made from archives of version 1; from a pipe, bytes of everything that could be a document.
        json_values: values in one document, counted by its brackets and commas.
        json_values_total: values in all documents that are read, references between them that are followed, and
            folders that are opened on the way to others.
        window_size: bytes of the window of a zstd stream, which decompressing it takes in memory; xz may take half as
            much again.
        trailing_size: bytes after the end of a tar: of a layer, which are a part of it, or of an archive that comes
            through a pipe, which are read and ignored; also zeros between and after gzip and xz streams.
        plain_size: bytes of all layers that are read, uncompressed.
        ratio: how many times larger the bytes that come out of an archive may be than the bytes that were read of it.
            gzip reaches at most 1,032; only zstd, xz, bzip2 and sparse files with nothing but zeros exceed that.
        ratio_floor: bytes that may come out before the ratio is checked.
    """

    UNLIMITED: ClassVar[int] = (1 << 63) - 1

    members: int = 200_000
    name_length: int = 4096
    path_depth: int = 1000
    extension_size: int = _MIB
    extensions: int = 100
    sparse_pieces: int = 1 << 16
    layer_entries: int = 10_000_000
    layers: int = 125
    config_size: int = 4 * _MIB
    manifest_size: int = 16 * _MIB
    documents_size: int = 128 * _MIB
    json_values: int = 400_000
    json_values_total: int = 2_000_000
    window_size: int = 128 * _MIB
    trailing_size: int = 256 * _MIB
    plain_size: int = 1024 * _GIB
    ratio: int = 1200
    ratio_floor: int = _GIB

    def __post_init__(self) -> None:
        for field in fields(self):
            check_number(getattr(self, field.name), f"the limit {field.name}")
            if getattr(self, field.name) < 0:
                msg = f"the limit {field.name} is negative; give a number, or Limits.UNLIMITED"
                raise InvalidInput(msg)

    def exceeded(self, name: str, found: str) -> LimitExceeded:
        """Return the error for a limit that is exceeded.

        Args:
            name: which limit.
            found: the clause that says what was found, and where.
        """
        option = option_of(name)
        return LimitExceeded(
            f"{found}, but the limit {option} is {getattr(self, name)}; if the source is trusted, raise it with"
            f" --limit {option}=NUMBER, in Python with Limits({name}=NUMBER)"
        )


DEFAULT_LIMITS: Final = Limits()


def limits_or(limits: Limits | None, default: Limits) -> Limits:
    """Return the limits that a caller passes, or a default instead of none. Raises `WrongType` for anything else."""
    if limits is None:
        return default
    if not isinstance(limits, Limits):
        raise WrongType(f"limits are Limits, not {shown(limits)}")
    return limits


NO_LIMITS: Final = Limits(**{field.name: Limits.UNLIMITED for field in fields(Limits)})
"""For content that is already in a store, and was checked against limits when it came."""


def option_of(name: str) -> str:
    """Return what the command line calls a limit."""
    return name.replace("_", "-")
