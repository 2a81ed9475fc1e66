"""``orlop tree``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import image_and_paths, listed_at, look_options, looked_into, read_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.cli.inside import Look
    from orlop.cli.session import Session
    from orlop.inside.view import ImageFiles


@command(epilog="Example: orlop tree -L 2 alpine /usr")
@option("-L", "--depth", "depth", read=read_number, metavar="N", help="Descend at most N levels.")
@option("-d", "--dirs", "dirs", is_flag=True, help="Print only directories.")
@option("-s", "--sizes", "sizes", is_flag=True, help="Print the size of each file, and the total below each directory.")
@look_options(layers=True)
@argument("words", metavar="IMAGE [PATH]", nargs=-1, complete="names")
def tree(
    session: Session,
    words: tuple[str, ...],
    *,
    depth: int | None,
    dirs: bool,
    sizes: bool,
    look: Look,
) -> None:
    """Print the directories and files of an image as a tree.

    PATH defaults to the root. With --archive, IMAGE can be omitted if the archive holds one image, and PATH must begin
    with a slash.
    """
    name, paths = image_and_paths(words, look.archive)
    if len(paths) > 1:
        raise WrongUsage(f"Got unexpected extra argument ({paths[1]})")
    from orlop.cli.show import files as show  # noqa: PLC0415 - errors of usage show no files

    with looked_into(session, name, look) as files:
        show.write_lines(_lines(files, paths[0] if paths else "/", depth=depth, dirs=dirs, sizes=sizes))


def _lines(files: ImageFiles, path: str, *, depth: int | None, dirs: bool, sizes: bool) -> Iterator[str]:
    from orlop.cli.show.units import human_size  # noqa: PLC0415 - only where it is asked for
    from orlop.inside.info import in_order  # noqa: PLC0415 - errors of usage need no images
    from orlop.inside.sizes import size_below  # noqa: PLC0415 - as above

    top = listed_at(files, path)
    node = files.node(top, follow=False)
    total = size_below(node) if sizes else {}
    # What is still to be printed: how it is drawn, its name, the node, and how deep it lies.
    stack = [("", "", top, node, 0)]
    directories = others = 0
    while stack:
        before, branch, name, node, level = stack.pop()
        size = f"[{human_size(total.get(node, node.size))}] " if sizes else ""
        target = f" -> {node.content.linkname}" if node.type == "symlink" else ""
        yield f"{before}{branch}{size}{name}{target}"
        if node.children is None:
            others += 1
            continue
        directories += 1
        if depth is not None and level >= depth:
            continue
        below = before + ("" if not level else "    " if branch == "└── " else "│   ")
        names = [one for one in in_order(node.children) if not dirs or node.children[one].children is not None]
        children = node.children
        stack += [
            (below, "└── " if number == 0 else "├── ", one, children[one], level + 1)
            for number, one in enumerate(reversed(names))
        ]
    yield ""
    counts = [f"{directories} {'directory' if directories == 1 else 'directories'}"]
    yield ", ".join(counts if dirs else [*counts, f"{others} {'file' if others == 1 else 'files'}"])
