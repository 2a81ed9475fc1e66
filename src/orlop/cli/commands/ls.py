"""``orlop ls``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import image_and_paths, listed_at, look_options, looked_into

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.cli.inside import Look
    from orlop.cli.session import Session
    from orlop.inside.info import FileInfo
    from orlop.inside.node import Node
    from orlop.inside.view import ImageFiles


@command(epilog="Example: orlop ls -l alpine /etc")
@option("-l", "long", is_flag=True, help="Print type, mode, links, owner, group, size and time (UTC) as well.")
@option("-d", "itself", is_flag=True, help="List PATH itself, not what is in it.")
@option("-R", "recursive", is_flag=True, help="List everything below PATH.")
@option("-h", "human", is_flag=True, help="Print rounded sizes, such as 1.5MB.")
@option("--layers", is_flag=True, help="Print the number of the last layer that has each path.")
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Path}}.")
@look_options(layers=True)
@argument("words", metavar="IMAGE [PATH]", nargs=-1, complete="names")
def ls(
    session: Session,
    words: tuple[str, ...],
    *,
    long: bool,
    itself: bool,
    recursive: bool,
    human: bool,
    layers: bool,
    form: str | None,
    look: Look,
) -> None:
    """List the files of an image, as a container sees them.

    PATH defaults to the root. If it is a symbolic link to a directory, that is listed, but with -l and -d the link
    itself, unless a slash follows. The store has a table of contents for each layer, so layers are not read. With
    --archive, IMAGE can be omitted if the archive holds one image, and PATH must begin with a slash.
    """
    name, paths = image_and_paths(words, look.archive)
    if len(paths) > 1:
        raise WrongUsage(f"Got unexpected extra argument ({paths[1]})")
    from orlop.cli.show import files as show  # noqa: PLC0415 - errors of usage show no files

    records = None
    if form:
        from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

        records = Records(form, show.FIELDS)
    with looked_into(session, name, look) as files:
        path = paths[0] if paths else "/"
        top = files.real_path(path, follow=False) if itself or (long and records is None) else listed_at(files, path)
        recursive = recursive and not itself
        if recursive and records is None and not long:
            show.write_lines(_shown(files, top, path, layers=layers))
            return
        found = _listed(files, top, path, itself=itself, recursive=recursive)
        if records is not None:
            for _, info in found:
                records.print(show.record(info))
        elif long:
            show.write_lines(show.long_lines(found, human=human, layers=layers))
        else:
            show.write_lines(f"{info.layer:>3} {shown}" if layers else shown for shown, info in found)


def _listed(
    files: ImageFiles, top: str, asked: str, *, itself: bool, recursive: bool
) -> Iterator[tuple[str, FileInfo]]:
    """Yield what is to be listed of a real path, each with the name that is shown: its path below that, or as asked."""
    if recursive:
        yield from ((shown, files.info(real, node)) for shown, real, node in _below(files, top, asked))
    elif itself or files.node(top, follow=False).children is None:
        yield asked, files[top]
    else:
        for info in files.listdir(top):
            yield info.path.rpartition("/")[2], info


def _shown(files: ImageFiles, top: str, asked: str, *, layers: bool) -> Iterator[str]:
    """Yield what a short list of all that is below a path has, without looking at more of it than that."""
    for shown, _, node in _below(files, top, asked):
        yield f"{node.layer + 1:>3} {shown}" if layers else shown


def _below(files: ImageFiles, top: str, asked: str) -> Iterator[tuple[str, str, Node]]:
    """Yield what is below a real path, or the file there: the name that is shown, the real path, and the node."""
    cut = len(top.rstrip("/")) + 1
    for real, node in files.below(top):
        if real != top or node.children is None:
            yield real[cut:] or asked, real, node
