"""``orlop images``."""

from __future__ import annotations

import time

from orlop.cli.declared import WrongUsage, argument, command, filter_option, option
from orlop.cli.show.field import Field
from orlop.cli.show.listing import Template, parse_format, table
from orlop.cli.show.units import ZERO_TIME, go_time, human_age, human_size
from orlop.cli.source import archive_option, are_remote, authfile_option, opened, platform_option
from orlop.model.tuples import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from orlop.cli.session import Session
    from orlop.model.platform import Platform
    from orlop.service.listing.summaries import ImageSummary

_NONE: Final = "<none>"
_UNKNOWN: Final = "N/A"


class _Row(NamedTuple):
    """One line of the list: an image under one of its names."""

    id: str
    repository: str
    tag: str
    digest: str
    created: int
    size: int
    now: float


def _age(row: _Row) -> str:
    return "" if row.created == ZERO_TIME else f"{human_age(row.now - row.created)} ago"


_ID: Final[Field[_Row]] = Field("IMAGE ID", lambda row: row.id)
_FIELDS: Final[dict[str, Field[_Row]]] = {
    "Containers": Field("CONTAINERS", lambda _: _UNKNOWN),
    "CreatedAt": Field("CREATED AT", lambda row: go_time(row.created)),
    "CreatedSince": Field("CREATED", _age),
    "Digest": Field("DIGEST", lambda row: row.digest),
    "ID": _ID,
    "Repository": Field("REPOSITORY", lambda row: row.repository),
    "SharedSize": Field("SHARED SIZE", lambda _: _UNKNOWN),
    "Size": Field("SIZE", lambda row: human_size(row.size)),
    "Tag": Field("TAG", lambda row: row.tag),
    "UniqueSize": Field("UNIQUE SIZE", lambda _: _UNKNOWN),
    "VirtualSize": Field("SIZE", lambda row: human_size(row.size, 4)),
}
_NAMES: Final = (_FIELDS["Repository"], _FIELDS["Tag"])
_REST: Final = (_ID, Field[_Row]("CREATED", lambda row: _age(row) or _UNKNOWN), _FIELDS["Size"])


@command(epilog="Example: orlop images --format '{{.Repository}}:{{.Tag}} {{.Size}}' user/app")
@option("-a", "--all", "intermediate", is_flag=True, help="Show intermediate images too.")
@option("-q", "--quiet", is_flag=True, help="Print only image IDs.")
@option("--no-trunc", is_flag=True, help="Do not shorten IDs.")
@option("--digests", is_flag=True, help="Show the digests of the manifests that images came with.")
@filter_option("-f", help="Show only images that match, such as label=stage=test.")
@option("--tree", is_flag=True, help="Show platforms, attestations, referrers and artifacts below each name.")
@option("--format", "form", metavar="FORMAT", help="Print a table, json, or a template such as {{.ID}}.")
@platform_option("With docker://NAME: show only the image for this platform. Default: all.")
@archive_option
@authfile_option
@argument("name", metavar="[NAME]", required=False, complete="names")
def images(
    session: Session,
    name: str | None,
    *,
    platform: Platform | None,
    archive: str | None,
    authfile: str | None,
    intermediate: bool,
    quiet: bool,
    no_trunc: bool,
    digests: bool,
    tree: bool,
    filters: tuple[str, ...],
    form: str | None,
) -> None:
    """List images, newest first.

    With NAME, list only images of that repository, reference or ID, or whose name matches a pattern such as 'team/*'.

    Filters: dangling=true|false, label=NAME[=VALUE], reference=PATTERN, before=NAME, since=NAME, until=TIME. An image
    must match all filters, but only one of several patterns. TIME is an age (24h) or a date.

    docker://NAME looks into a registry, without pulling layers; sizes are then those of the compressed layers.
    """
    is_remote = are_remote([name], archive)
    if platform is not None and not is_remote:
        raise WrongUsage("--platform needs the name of an image in a registry: docker://NAME")
    if is_remote and (filters or tree or intermediate):
        raise WrongUsage("docker://NAME shows what one name leads to; leave out --filter, --tree and --all")
    if tree:
        if archive is not None or filters or form or quiet or digests or intermediate:
            msg = "--tree can be used only with --no-trunc"
            raise WrongUsage(msg)
        from orlop.cli.show.output import write  # noqa: PLC0415 - most lists are not trees
        from orlop.cli.show.terminal import harmless  # noqa: PLC0415 - as above
        from orlop.cli.show.tree import tree_lines  # noqa: PLC0415 - as above

        with session.open() as service:
            for line in tree_lines(service.tree(name), whole=no_trunc):
                write(f"{harmless(line)}\n")
        return
    listing = ImageListing(form, quiet=quiet, digests=digests, no_trunc=no_trunc)
    if name is not None and is_remote:
        from orlop.cli.remote import looking  # noqa: PLC0415 - most looks are into a store

        with looking(session, authfile, platform, every=platform is None) as look_at:
            listing.print(one.summary for one in look_at(name))
    elif archive is not None:
        with opened(session, archive) as looked_into:
            listing.print(looked_into.images(name, all=intermediate, filters=filters))
    else:
        with session.open() as service:
            listing.print(service.iter_images(name, all=intermediate, filters=filters))


class ImageListing:
    """How a list of images is printed, as ``--format`` and its companions ask. Raises what `parse_format` raises."""

    def __init__(self, form: str | None, *, quiet: bool = False, digests: bool = False, no_trunc: bool = False) -> None:
        if quiet:
            template = Template((_ID,), table=False)
        else:
            template = table(*_NAMES, *([_FIELDS["Digest"]] if digests else []), *_REST)
        if form and digests and form.strip().startswith("table ") and "{{.Digest}}" not in form:
            form += "\t{{.Digest}}"
        self._chosen = parse_format(form, _FIELDS, template) if form else template
        self._digests = digests or (form is not None and ".Digest" in form)
        self._whole = no_trunc

    def print(self, found: Iterable[ImageSummary]) -> None:
        """Print a line for each name of each image."""
        now = time.time()
        self._chosen.print(
            row for summary in found for row in _rows(summary, now, whole=self._whole, digests=self._digests)
        )


def _rows(image: ImageSummary, now: float, *, whole: bool, digests: bool) -> Iterator[_Row]:
    """Yield a line for each tag of an image; digests have lines only where they are asked for, or are all there is."""
    image_id = str(image.id) if whole else image.id.short
    names: dict[str, tuple[list[str], list[str]]] = {}
    for reference in image.references:
        tags, hashes = names.setdefault(reference.familiar_name, ([], []))
        if reference.tag is not None:
            tags.append(reference.tag)
        if reference.digest is not None:
            hashes.append(str(reference.digest))
    for repository, (tags, hashes) in names.items() or [(_NONE, ([], []))]:
        for tag in tags or [_NONE]:
            for digest in hashes if digests and hashes else [_NONE]:
                yield _Row(image_id, repository, tag, digest, image.created, image.size, now)
