"""``orlop archive ls``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.limits import archive_limit_option
from orlop.cli.show.field import Field
from orlop.cli.show.listing import parse_format, table
from orlop.cli.show.units import human_size
from orlop.cli.source import opened_archive, platform_option
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from orlop.archive.reader import Archive, ArchivedImage
    from orlop.cli.session import Session
    from orlop.model.platform import Platform

_NONE: Final = "<none>"
_UNKNOWN: Final = "-"
_IMAGE: Final = "image"


class _Row(NamedTuple):
    """One line of the list: an image or an artifact under one of its names, or under none."""

    name: str
    platform: str
    id: str
    digest: str
    layers: int
    size: int | None
    type: str = _IMAGE


def _is_sized(row: _Row) -> bool:
    return row.size is not None


_FIELDS: Final[dict[str, Field[_Row]]] = {
    "Bytes": Field("BYTES", lambda row: _UNKNOWN if row.size is None else str(row.size), _is_sized),
    "Digest": Field("DIGEST", lambda row: row.digest),
    "ID": Field("IMAGE ID", lambda row: row.id),
    "Layers": Field("LAYERS", lambda row: str(row.layers)),
    "Name": Field("NAME", lambda row: row.name),
    "Platform": Field("PLATFORM", lambda row: row.platform),
    "Size": Field("SIZE", lambda row: _UNKNOWN if row.size is None else human_size(row.size), _is_sized),
    "Type": Field("TYPE", lambda row: row.type),
}
_SHOWN: Final = tuple(_FIELDS[name] for name in ("Name", "Platform", "ID", "Digest", "Size"))


@command("ls", epilog="Example: orlop archive ls --format '{{.Name}} {{.Platform}}' images.tar")
@option("--no-trunc", is_flag=True, help="Do not shorten IDs and digests.")
@option("--json", "as_json", is_flag=True, help="Print a JSON object for each line; short for --format json.")
@option("--format", "form", metavar="FORMAT", help="table, json, or a template such as {{.Name}}.")
@platform_option("List only the images of this platform.")
@archive_limit_option
@argument("file", metavar="FILE", required=True)
def archive_ls(
    session: Session, file: str, *, no_trunc: bool, as_json: bool, form: str | None, platform: Platform | None
) -> None:
    """List the images and artifacts of an archive.

    Prints a line for each name, in the order of the archive.

    FILE has any format that load reads, as a file or a directory; "-" is standard input. No store is needed, and
    nothing is kept.

    DIGEST is the digest of the manifest or index that the name leads to, if there is one. SIZE is the size of the
    image's config and layers in the archive. For layers that the archive lacks, it is the size that the archive states;
    if it states none, SIZE is "-" (null in JSON).
    """
    if as_json and form:
        raise WrongUsage("--json and --format cannot be used together", "--format")
    chosen = parse_format("json" if as_json else form or "table", _FIELDS, table(*_SHOWN))
    whole = no_trunc or as_json or form == "json"
    with opened_archive(session, file, platform) as looked_into:
        chosen.print(_all_rows(looked_into.archive, whole=whole))


def _all_rows(archive: Archive, *, whole: bool) -> Iterator[_Row]:
    for image in archive.images:
        yield from _rows(image, whole=whole)
    for artifact in archive.artifacts:
        digest = str(artifact.digest) if whole else artifact.digest.short
        for name in artifact.names or (_NONE,):
            yield _Row(name, "", _NONE, digest, artifact.blobs, artifact.size, artifact.type)


def _rows(image: ArchivedImage, *, whole: bool) -> Iterator[_Row]:
    """Yield a line for each tag of an image, else for each of its names by digest, else one."""
    sizes = [layer.known_size for layer in image.layers]
    known = [size for size in sizes if size is not None]
    size = len(image.raw_config) + sum(known) if len(known) == len(sizes) else None
    image_id = str(image.id) if whole else image.id.short
    tops = dict(image.tops)
    names = [(name.familiar, tops.get(name)) for name in image.references] or [
        (name.familiar_name, name.digest) for name in image.digests
    ]
    alone = image.manifests[0] if len(image.manifests) == 1 else None
    for name, digest in names or [(_NONE, alone)]:
        shown = _NONE if digest is None else str(digest) if whole else digest.short
        yield _Row(name, str(image.platform).rstrip("/"), image_id, shown, len(image.layers), size)
