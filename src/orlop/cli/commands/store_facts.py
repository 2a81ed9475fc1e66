"""``orlop store info``, ``check``, ``init`` and ``migrate``."""

from __future__ import annotations

from orlop.cli.declared import command, option
from orlop.cli.show import output, terminal
from orlop.cli.show.units import human_size
from orlop.cli.statuses import DAMAGED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.service.stores import StoreInfo

_FORMAT: Final = option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Root}}.")
_INFO: Final = (
    "Root",
    "Schema",
    "FileSystem",
    "ReadOnly",
    "Group",
    "BackupOf",
    "Images",
    "Names",
    "Layers",
    "Chains",
    "Blobs",
    "Manifests",
    "BlobBytes",
    "DiskBytes",
    "Leases",
    "Ingests",
    "Trash",
)


@command(epilog="Example: orlop store info --format '{{.Images}} {{.DiskBytes}}'")
@_FORMAT
def info(session: Session, *, form: str | None) -> None:
    """Show where the store is and what it holds."""
    records = _records(form, _INFO) if form else None
    from orlop.service.stores import info  # noqa: PLC0415 - help needs no store

    found = info(session.place())
    if records is not None:
        records.print(_described(found))
        return
    _write("".join(f"{f'{name}:':<14}{value}\n" for name, value in _shown(found)))


@command(epilog="Example: orlop store check --verify")
@option("--verify", is_flag=True, help="Read all content and compare it with its digest.")
@_FORMAT
def check(session: Session, *, verify: bool, form: str | None) -> int:
    """Check the store, without repairing it.

    Compares rows with each other and with file sizes. Other commands can use the store meanwhile. Exits with 6 if
    something is damaged. Notes report leftovers and data that can be rebuilt.
    """
    records = _records(form, ("Root", "Verified", "Damaged", "Problems")) if form else None
    from orlop.cli.show.problems import described, line_of  # noqa: PLC0415 - one of five commands needs it
    from orlop.service.stores import check  # noqa: PLC0415 - help needs no store

    report = check(session.place(), verify=verify)
    if records is not None:
        records.print(
            {
                "Root": report.root,
                "Verified": report.verified,
                "Damaged": bool(report.damage),
                "Problems": described(report.problems),
            }
        )
    else:
        lines = [line_of(one.level, one.message) for one in report.problems]
        count = len(report.damage)
        lines.append(f"{report.root}: {f'{count} damaged' if count else 'nothing is damaged'}")
        _write("".join(f"{line}\n" for line in lines))
    return DAMAGED if report.damage else 0


@command(epilog="Example: orlop --root /srv/images store init --group builders")
@option("--group", metavar="GROUP", help="Share the store with all members of this group.")
@option("--adopt", is_flag=True, help="Take over the bucket of a URL, after its rows were restored or copied.")
def init(session: Session, *, group: str | None, adopt: bool) -> None:
    """Create an empty store.

    Other commands create a private store if there is none. With --group, all members of the group can use the store,
    whatever their umask; you must be a member yourself. Succeeds if the store exists for the same users.

    For the URL of a store this prepares its database and its bucket.
    """
    from orlop.service.stores import init  # noqa: PLC0415 - help needs no store

    place = session.place()
    found = init(
        place,
        group=group,
        adopt=adopt,
        allow_network=session.allow_network,
        allow_foreign=session.allow_foreign,
        warn=lambda text: output.complain(f"Warning: {text}"),
    )
    if not isinstance(place, str):
        _write(f"The store at {found.root} is ready\n")
        return
    whose = "for you alone" if found.group is None else f"for the group {_group_name(found.group)}"
    _write(f"The store at {found.root} is {whose}\n")


@command(epilog="Example: orlop store migrate")
@_FORMAT
def migrate(session: Session, *, form: str | None) -> None:
    """Upgrade a store that an older version of orlop created.

    Any command that uses such a store upgrades it; use this command to choose the time. A copy of the old database
    stays beside the new one. Older versions cannot use the store afterwards.
    """
    records = _records(form, ("Root", "Old", "New", "Kept")) if form else None
    from orlop.service.stores import migrate  # noqa: PLC0415 - help needs no store

    place = session.place()
    report = migrate(place, allow_network=session.allow_network, allow_foreign=session.allow_foreign)
    if records is not None:
        records.print({"Root": place, "Old": report.old, "New": report.new, "Kept": report.kept or ""})
    elif report.kept is None:
        _write(f"The store is of schema {report.new} already\n")
    else:
        _write(f"The store is of schema {report.new} now, was of {report.old}; the old database is {report.kept}\n")


def _records(form: str, fields: tuple[str, ...]) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - most commands have none

    return Records(form, fields)


def _described(found: StoreInfo) -> dict[str, object]:
    values = (
        found.root,
        found.schema,
        found.file_system or "",
        found.read_only or "",
        "" if found.group is None else _group_name(found.group),
        found.backup_of or "",
        found.images,
        found.names,
        found.layers,
        found.chains,
        found.blobs,
        found.manifests,
        found.blob_bytes,
        found.disk_bytes,
        found.leases,
        found.ingests,
        found.trash,
    )
    return dict(zip(_INFO, values, strict=True))


def _shown(found: StoreInfo) -> list[tuple[str, str]]:
    lines = [
        ("Root", found.root),
        ("File system", found.file_system or "unknown"),
        ("Schema", str(found.schema)),
        ("Images", f"{found.images}, with {found.names} names"),
        ("Layers", f"{found.layers}, in {found.chains} places"),
        ("Blobs", f"{found.blobs}, {human_size(found.blob_bytes)}"),
        ("On disk", human_size(found.disk_bytes)),
        ("In use by", "unknown" if found.leases is None else f"{found.leases} others"),
    ]
    if found.group is not None:
        lines.insert(2, ("Shared by", f"the group {_group_name(found.group)}"))
    if found.backup_of is not None:
        lines.insert(1, ("Backup of", found.backup_of))
    if found.read_only is not None:
        lines.append(("Read-only", found.read_only))
    if found.ingests or found.trash:
        lines.append(("Unfinished", f"{found.ingests} files on their way in, {found.trash} on their way out"))
    return lines


def _group_name(number: int) -> str:
    import grp  # noqa: PLC0415 - few stores are shared

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _write(text: str) -> None:
    output.write(terminal.harmless_text(text) if output.is_terminal() else text)
