"""``orlop sync``."""

from __future__ import annotations

import os

from orlop.cli.declared import argument, command, option
from orlop.cli.limits import archive_limit_option
from orlop.cli.show import output, terminal
from orlop.cli.source import temporary_folder
from orlop.model.limits import DEFAULT_LIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.service.sync.report import SyncedTag, SyncReport
    from orlop.streams.directory import Entry

_FIELDS: Final = ("DryRun", "Tags", "Counts", "Size", "Fetched", "Sent")


@command(epilog="Example: orlop sync --dry-run mirrors.toml")
@option("-n", "--dry-run", is_flag=True, help="Show what would be done, why, and how many bytes, and change nothing.")
@option("--delete", is_flag=True, help="Remove tags that the source of a mirror no longer has.")
@option("--state", metavar="FILE", help="Remember in FILE what was done. Default: a file in your state directory.")
@archive_limit_option
@option("--authfile", metavar="FILE", help="Use only the credentials in FILE. Default: those of docker and podman.")
@option("-v", "--verbose", is_flag=True, help="Also print tags that are unchanged.")
@option("-q", "--quiet", is_flag=True, help="Print only errors, without progress.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Counts}}.")
@argument("file", metavar="FILE", required=True)
def sync(
    session: Session,
    file: str,
    *,
    dry_run: bool,
    delete: bool,
    state: str | None,
    authfile: str | None,
    verbose: bool,
    quiet: bool,
    form: str | None,
) -> int:
    """Copy the tags that FILE selects, and keep them up to date.

    FILE is TOML with [[sync]] tables: a source, a target, and which tags and platforms. A tag that fails does not stop
    the others; the exit status is then that of the first error. An interrupted sync resumes when the command is run
    again. Nothing is removed without --delete.
    """
    from orlop.cli import network  # noqa: PLC0415 - help needs none of it
    from orlop.service.sync.plan import SyncPlan  # noqa: PLC0415 - as above
    from orlop.service.sync.state import SyncState, state_at  # noqa: PLC0415 - as above
    from orlop.service.sync.verb import Sync  # noqa: PLC0415 - as above
    from orlop.transfer.sessions import Sessions  # noqa: PLC0415 - as above

    session.log()
    records = _records(form) if form else None
    plan = SyncPlan.read(file)

    def remembered() -> Entry:
        return _default_state(file) if state is None else state_at(state)

    def told(tag: SyncedTag) -> None:
        if tag.error is not None:
            output.complain(f"Error: {tag.target}: {tag.reason}")
        elif records is None and not quiet and (verbose or tag.action.value != "unchanged"):
            output.write(f"{terminal.harmless(_line(tag, dry_run=dry_run))}\n")
            output.flush()

    with (
        network.registries(os.environ, authfile=authfile) as registries,
        SyncState.opened(remembered) as kept,
        output.progress(quiet=quiet) as progress,
    ):
        run = Sync(
            plan,
            registries,
            session.open,
            kept,
            sessions=Sessions(lambda: network.state_folder(os.environ, "uploads")),
            progress=progress,
            told=told,
            store_root=session.place,
            temporary=temporary_folder(os.environ),
            limits=session.limits or DEFAULT_LIMITS,
        )
        report = run.run(dry_run=dry_run, delete=delete)
    if records is not None:
        records.print(_record(report))
    elif not quiet:
        output.write(f"{_summary(report)}\n")
    return report.error.exit_code if report.error is not None else 0


def _default_state(file: str) -> Entry:
    """Return the state of a file in the folder of this user, by the path of the file."""
    import hashlib  # noqa: PLC0415 - as above

    from orlop.cli import network  # noqa: PLC0415 - as above

    name = hashlib.sha256(os.fsencode(os.path.realpath(file))).hexdigest()[:32]
    return network.state_folder(os.environ, "sync").at(name)


def _line(tag: SyncedTag, *, dry_run: bool) -> str:
    """Return what became of a tag, for people."""
    from orlop.cli.show.units import human_size  # noqa: PLC0415 - as above

    words = {"copied": "would copy", "removed": "would remove"} if dry_run else {"dropped": "not removed"}
    action = words.get(tag.action.value, tag.action.value)
    size = f" ({human_size(tag.size)})" if tag.size else ""
    return f"{tag.target}: {action}: {tag.reason}{size}"


def _summary(report: SyncReport) -> str:
    from orlop.cli.show.units import human_size  # noqa: PLC0415 - as above
    from orlop.service.sync.report import SyncAction  # noqa: PLC0415 - as above

    counts = {action: report.count(action) for action in SyncAction}
    always = {SyncAction.COPIED, SyncAction.UNCHANGED, SyncAction.FAILED}
    words = [f"{count} {action.value}" for action, count in counts.items() if count or action in always]
    if report.dry_run:
        return f"Dry run: {', '.join(words)}; {human_size(report.size)} to copy"
    return f"{', '.join(words)}; {human_size(report.fetched)} fetched, {human_size(report.sent)} sent"


def _record(report: SyncReport) -> dict[str, object]:
    from orlop.service.sync.report import SyncAction  # noqa: PLC0415 - as above

    tags = [
        {
            "Source": one.source,
            "Target": one.target,
            "Action": one.action.value,
            "Reason": one.reason,
            "Digest": "" if one.digest is None else str(one.digest),
            "Size": one.size,
            "Error": "" if one.error is None else one.error.code,
        }
        for one in report.tags
    ]
    counts = {action.value.capitalize(): report.count(action) for action in SyncAction}
    return {
        "DryRun": report.dry_run,
        "Tags": tags,
        "Counts": counts,
        "Size": report.size,
        "Fetched": report.fetched,
        "Sent": report.sent,
    }


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

    return Records(form, _FIELDS)
