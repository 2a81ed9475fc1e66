"""``orlop rescue``."""

from __future__ import annotations

import os

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.limits import archive_limit_option
from orlop.cli.show import output, terminal
from orlop.cli.show.units import human_size
from orlop.cli.source import temporary_folder
from orlop.cli.statuses import DAMAGED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from orlop.cli.session import Session
    from orlop.cli.show.records import Records
    from orlop.model.progress import Progress
    from orlop.service.rescue import RescuedImage, RescueReport
    from orlop.service.rescue_parts import PartsReport

_FIELDS: Final = ("ID", "Names", "Place", "State", "Size", "Problems")
_STORE: Final = "store"
_FORMATS: Final = {"oci": "oci-dir", "oci-archive": "oci", "docker": "docker", "docker-20.10": "docker-20.10"}
_NO_NAME: Final = "<none>"


@command(epilog="Examples: orlop rescue /mnt/var/lib/docker; orlop rescue /mnt --into images.tar user/app:1.0")
@option("--list", "only_list", is_flag=True, help="Only list images; the default without --into.")
@option("--verify", is_flag=True, help="Read all layers and check their digests.")
@option(
    "--into",
    "target",
    metavar="TARGET",
    help="Copy images to FILE, an archive for docker load; to docker-20.10:FILE, oci:DIR or oci-archive:FILE; or, with"
    " the word store, to the store.",
)
@option("--containers", is_flag=True, help="Also list containers.")
@option(
    "--container",
    metavar="CONTAINER",
    help="Copy the files that this container has changed to the FILE of --into, as a layer. CONTAINER is a name, or the"
    " first characters of an ID.",
)
@option(
    "--parts",
    "parts",
    metavar="DIR",
    help="Write what can be recovered of damaged images to DIR: configs, whole layers, and files of the others.",
)
@archive_limit_option
@option("-q", "--quiet", is_flag=True, help="Do not show progress.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.ID}}.")
@argument("root", metavar="ROOT")
@argument("names", metavar="[NAME...]", nargs=-1)
def rescue(
    session: Session,
    root: str,
    names: tuple[str, ...],
    *,
    only_list: bool,
    verify: bool,
    target: str | None,
    containers: bool,
    container: str | None,
    parts: str | None,
    quiet: bool,
    form: str | None,
) -> int:
    """Recover images that a dead engine left on a disk.

    The engine can be Docker, Podman or containerd. ROOT is a data root such as /var/lib/docker, a copy of one, or a
    mounted disk that has one in its usual place. No daemon is needed. Nothing is written below ROOT, so it can be
    mounted read-only.

    The list shows each image as complete (nothing is missing), whole (all of it was read and is correct; needs
    --verify) or damaged, with the reason. With --into, every image that is whole is copied, bit for bit, with its
    names. An interrupted rescue resumes when the command is run again.

    With --container, the files that a container has changed are copied instead, as an uncompressed layer in a tar:
    deleted files are whiteouts. It can be added to an image, or unpacked over one.

    With --parts, each image that is damaged, or that is named, gets a directory with its config.json and a tar of each
    layer: N.tar if it is whole, N.partial.tar with the files that are as they were, or N.unverified.tar if they
    cannot be checked.

    Exits with 6 if an image is damaged, or if there may be others that cannot be listed, else with 0.
    """
    if target is not None and (only_list or verify):
        raise WrongUsage("--list and --verify cannot be used with --into, which verifies what it copies")
    if container is not None:
        if target is None or names or containers or form or parts:
            raise WrongUsage("--container copies one container; name the file with --into, and leave out the rest")
        return _copy_container(session, root, container, target)
    if parts is not None:
        if target is not None or only_list or verify or containers or form:
            raise WrongUsage("--parts takes images apart; leave out the other options")
        return _take_apart(session, root, names, parts, quiet=quiet)
    records = _records(form) if form else None
    with output.progress(quiet=quiet) as progress:
        report = _report(session, root, names, target, verify=verify, progress=progress)
    if records is not None:
        for image in report.images:
            records.print(_described(image))
    else:
        # A name from the root must not pass itself off as another line.
        text = "".join(line.replace("\n", " ") + "\n" for line in _lines(report, containers=containers))
        output.write(terminal.harmless_text(text) if output.is_terminal() else text)
    return _ended(report)


def _ended(report: RescueReport | PartsReport) -> int:
    """Print what concerns no single image, and return the exit status."""
    for note in report.notes:
        output.complain(terminal.harmless(f"note: {note}"))
    return DAMAGED if report.damaged or report.is_partial else 0


def _copy_container(session: Session, root: str, container: str, target: str) -> int:
    from orlop.service.rescue import rescue_container  # noqa: PLC0415 - help needs none

    session.log()
    size = rescue_container(target, root, container)
    output.write(terminal.harmless(f"{target}: {human_size(size)}, a layer of what {container} has changed") + "\n")
    return 0


def _take_apart(session: Session, root: str, names: tuple[str, ...], parts: str, *, quiet: bool) -> int:
    """Write what can be had of images, those that are named or else those that are damaged."""
    from orlop.service.rescue_parts import rescue_parts  # noqa: PLC0415 - help needs none

    session.log()
    with output.progress(quiet=quiet) as progress:
        report = rescue_parts(parts, root, names, limits=session.limits, progress=progress)
    for image in report.images:
        lines = [f"{image.directory}: {', '.join(image.files) or 'nothing'}", *(f"  {one}" for one in image.problems)]
        text = "".join(line.replace("\n", " ") + "\n" for line in lines)
        output.write(terminal.harmless_text(text) if output.is_terminal() else text)
    if not report.images:
        output.write(terminal.harmless(f"{root}: no image is damaged, so there is nothing to take apart") + "\n")
    return _ended(report)


def _report(
    session: Session, root: str, names: tuple[str, ...], target: str | None, *, verify: bool, progress: Progress | None
) -> RescueReport:
    from orlop.service import rescue as verbs  # noqa: PLC0415 - help needs none

    settings: dict[str, Any] = {"limits": session.limits, "progress": progress}
    session.log()
    if target is None:
        return verbs.look(root, names, verify=verify, **settings)
    if target == _STORE:
        place = session.place()
        allowed: dict[str, Any] = {
            "allow_network": session.allow_network,
            "allow_foreign": session.allow_foreign,
            "temporary": temporary_folder(os.environ),
        }
        return verbs.rescue_store(place, root, names, **allowed, **settings)
    form, path = _target(target)
    return verbs.rescue_archive(path, root, names, format=form, **settings)


def _target(target: str) -> tuple[str, str]:
    """Return the format and the path that a target names."""
    form, colon, path = target.partition(":")
    if not colon or form not in _FORMATS:
        form, path = "docker", target
    if not path:
        raise WrongUsage("a file or a directory is needed", "--into")
    return _FORMATS[form], path


def _lines(report: RescueReport, *, containers: bool) -> Iterator[str]:
    states = {image.state: 0 for image in report.images}
    for image in report.images:
        states[image.state] += 1
        found = image.image
        size = "" if found.size is None else human_size(found.size)
        digits = found.id.removeprefix("sha256:")[:12]
        yield f"{image.state:<9} {digits} {size:>8}  {', '.join(found.names) or _NO_NAME}"
        for problem in image.problems:
            yield f"          {problem}"
    if containers:
        for container in report.containers:
            what = container.problem or "/".join(container.files or ())
            yield f"container {container.id[:12]} {container.name or _NO_NAME}: {what}"
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    count = len(report.images)
    yield f"{report.root} ({', '.join(dict.fromkeys(report.places))}): {count} image{'s' * (count != 1)}" + (
        f": {counted}" if counted else ""
    )


def _described(image: RescuedImage) -> dict[str, object]:
    found = image.image
    return {
        "ID": found.id,
        "Names": list(found.names),
        "Place": found.place,
        "State": image.state,
        "Size": -1 if found.size is None else found.size,
        "Problems": list(image.problems),
    }


def _records(form: str) -> Records:
    from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

    return Records(form, _FIELDS)
