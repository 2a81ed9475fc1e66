"""The files of an image, as a container would see them."""

from __future__ import annotations

import io
from contextlib import ExitStack, suppress

from orlop.errors import InvalidInput, PathNotFound, TocDamaged, WrongFileType, WrongType
from orlop.inside.content import Contents
from orlop.inside.info import Version, in_order, info_of
from orlop.inside.lookup import NotCovered, find_path
from orlop.inside.merge import Merge, clean
from orlop.inside.node import Node
from orlop.inside.trail import HOPS, Allowance
from orlop.model.given import Single, check_number, check_text, given_list, shown
from orlop.streams.tar_entry import TYPE_DIR, TYPE_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Final, Literal, Self

    from orlop.inside.content import Place
    from orlop.inside.grep import FileMatch
    from orlop.inside.info import FileInfo, ImageLayer
    from orlop.inside.layer import Layer
    from orlop.inside.node import Finding
    from orlop.inside.rest import Rest
    from orlop.inside.slices import Slice
    from orlop.model.image import Image
    from orlop.streams.path_table import PathTable
    from orlop.streams.tar_entry import TarEntry

__all__ = ["ImageFiles", "select_layers"]

_LOOKS: Final = 32
"""How many single paths are looked up before it is cheaper to merge all layers."""


class ImageFiles(Single):
    """The files of an image; a context manager. Made by `orlop.ImageService.files` and `orlop.ArchiveService.files`.

    It behaves as a mapping of paths to `FileInfo`, in order: iteration yields every path, directories before what is
    in them, names in the order of their bytes. Symbolic links are followed inside the image, as in a container. Only
    headers are in memory; content is read when it is asked for. Not to be shared between threads.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        described: Sequence[ImageLayer],
        config: Image,
        *,
        resolve_links: bool = False,
    ) -> None:
        """Make a view of layers, which are read when something is asked for; that raises what reading them raises.

        Args:
            layers: bottom first.
            described: what is known of each.
            config: the image's config.
            resolve_links: see `orlop.inside.merge`.
        """
        self.layers = tuple(described)
        """The layers that the view is made of, bottom first."""
        self.config = config
        """The config of the image."""
        self._content = layers
        self.resolve_links = resolve_links
        """Whether links of lower layers are followed."""
        self._stack = ExitStack()
        self._merged: Merge | None = None
        self._slice: Slice | None = None
        self._looks = 0
        self._allowance = Allowance()

    # Looking up.

    @property
    def findings(self) -> Sequence[Finding]:
        """What programs disagree on, see `orlop.inside.merge`."""
        return self._whole().findings

    @property
    def more_findings(self) -> Mapping[str, Rest]:
        """How much more there is than these, by kinds."""
        return self._whole().more

    def __iter__(self) -> Iterator[str]:
        return (path for path, _ in self._walk("/", self._whole().root))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, path: object) -> bool:
        try:
            return isinstance(path, str) and self._look(path, follow=True) is not None
        except PathNotFound:
            return False

    def __getitem__(self, path: str) -> FileInfo:
        """Return what is at a path, without following a link there. Raises PathNotFound, which is a LookupError."""
        return self.stat(path, follow=False)

    def stat(self, path: str, *, follow: bool = True) -> FileInfo:
        """Return what is at a path.

        Args:
            path: from the root; a leading slash may be left out.
            follow: follow a symbolic link there; links in the directories above are followed always.

        Raises:
            PathNotFound: nothing is there, or a link leads nowhere or in a circle.
        """
        return self.info(*self._look(path, follow=follow))

    def walk(self, path: str = "/") -> Iterator[FileInfo]:
        """Yield what is at a path and everything below it, in order. Raises as `stat`."""
        return (self.info(at, found) for at, found in self._walk(*self._found(path, follow=True)))

    def listdir(self, path: str = "/") -> list[FileInfo]:
        """Return what is in a directory, in order; of anything else, itself. Raises as `stat`."""
        real, node = self._found(path, follow=True)
        if node.children is None:
            return [self.info(real, node)]
        base = "" if real == "/" else real
        return [self.info(f"{base}/{name}", node.children[name]) for name in in_order(node.children)]

    def glob(self, pattern: str) -> Iterator[FileInfo]:
        """Yield what fits a pattern of the shell from the root, such as ``/etc/*.conf`` or ``/usr/**/*.so``.

        ``**`` stands for any number of directories. Links are not followed.
        """
        from orlop.inside.find import path_matcher  # noqa: PLC0415 - few views are searched

        fits = path_matcher(pattern)
        return (self.info(path, node) for path, node in self._walk("/", self._whole().root) if fits(path))

    # Content.

    def open(self, path: str, *, verify: bool = False) -> io.BufferedReader:
        """Open a regular file for reading; links are followed.

        Args:
            path: the file.
            verify: read its layer whole, and fail before the end of the content where the layer is damaged. Else only
                what is needed is read, and the header before it is compared with the table of contents.

        Raises:
            PathNotFound: nothing is there. WrongFileType: it is not a regular file. TocDamaged, IntegrityError,
            StorageError, from reading too: the layer cannot be read.
        """
        node = self.file(path)
        contents = Contents(self._content, [(node.origin, node.content)], verified=verify)
        return io.BufferedReader(_Stream(contents, node), 1 << 16)

    def read(self, path: str, *, verify: bool = False) -> bytes:
        """Return the content of a regular file. Raises as `open`."""
        with self.open(path, verify=verify) as file:
            return file.read()

    def grep(
        self,
        pattern: str,
        *paths: str,
        fixed: bool = False,
        ignore_case: bool = False,
        word: bool = False,
        invert: bool = False,
        hidden: bool = False,
        include: Sequence[str] = (),
        max_size: int | None = None,
    ) -> Iterator[FileMatch]:
        """Yield the lines of files that fit a pattern, in the order of the layers; each layer is read once at most.

        Args:
            pattern: an extended regular expression, matched in linear time; see `orlop.inside.expression`.
            paths: search what is at these paths and below; the root by default.
            fixed: take the pattern as plain text.
            ignore_case: do not tell capital letters of ASCII from small ones.
            word: match whole words only.
            invert: yield the lines that do not fit.
            hidden: search the files of all layers, also those that later layers overwrite or remove.
            include: search only files whose names fit one of these patterns of the shell; none for all files.
            max_size: pass over files that have more bytes.

        Raises:
            InvalidFilter: a pattern is malformed. PathNotFound: a path is not there. Beside it, what `open` raises.
        """
        from orlop.inside.grep import Search, grep  # noqa: PLC0415 - few views are searched

        search = Search(pattern, fixed=fixed, ignore_case=ignore_case, word=word, invert=invert)
        return grep(self, search, paths or ("/",), hidden=hidden, include=include, max_size=max_size)

    def contents(self, nodes: Sequence[Node], *, verify: bool = False) -> Contents:
        """Return a reader of the contents of files, which are then asked for in that order."""
        found = given_list(nodes, "nodes")
        for node in found:
            _check_node(node)
        return self.places([(node.origin, node.content) for node in found], verify=verify)

    def places(self, places: Iterable[Place], *, verify: bool = False, longest_hole: int | None = None) -> Contents:
        """Return a reader of the contents of entries of layers, seen or hidden; of holes, so many zeros at most."""
        found = given_list(places, "places")
        for place in found:
            if not isinstance(place, tuple):
                raise WrongType(f"a place is a tuple of a layer and a content, not {shown(place)}")
        return Contents(self._content, found, verified=verify, longest_hole=longest_hole)

    def file(self, path: str) -> Node:
        """Return the node of a regular file. Raises as `open`."""
        real, node = self._look(path, follow=True)
        if node.type != TYPE_FILE:
            what = "a directory" if node.type == TYPE_DIR else f"of the type {node.type}"
            raise WrongFileType(f"{real} is {what}, not a regular file; name a file")
        return node

    # History.

    def trace(self, path: str) -> list[Version]:
        """Return what each layer did to a path, bottom first; layers that left it as it was are not named.

        The layers are merged once more, with a look at the path after each.
        """
        check_text(path, "a path in an image")
        found: list[Version] = []
        real = clean(path)
        old: Node | None = None
        stated: tuple[object, ...] = ()
        for root, layer in zip(self._steps(real), self.layers, strict=True):
            node = _walk_down(root, real)
            before, stated = stated, () if node is None else _stated(node)
            if node is not old or stated != before:
                action = "added" if old is None else "removed" if node is None else "replaced"
                action = "changed" if node is old else action
                found.append(Version(layer, action, None if node is None else info_of(f"/{real}", node)))
            old = node
        return found

    # Insides, which the modules of this room and commands share.

    @property
    def content_layers(self) -> Sequence[Layer]:
        """The layers as they are read, bottom first."""
        return self._content

    def info(self, path: str, node: Node) -> FileInfo:
        """Return what is known of a node under one of its names."""
        check_text(path, "a path in an image")
        _check_node(node)
        return info_of(path, node)

    def below(self, real: str = "/") -> Iterator[tuple[str, Node]]:
        """Yield what is at a path without links in it, and everything below, in order. Raises as `stat`."""
        return self._walk(*self._found(real, follow=False))

    def node(self, path: str, *, follow: bool = True) -> Node:
        """Return the node at a path. Raises as `stat`."""
        return self._found(path, follow=follow)[1]

    def real_path(self, path: str, *, follow: bool = True) -> str:
        """Return where a path leads, without links in it. Raises as `stat`."""
        return self._look(path, follow=follow)[0]

    def _walk(self, path: str, node: Node) -> Iterator[tuple[str, Node]]:
        yield path, node
        # Of each directory on the way its children, and the names that are still to come: a list of all paths in a
        # directory would take more memory than the names in it.
        stack: list[tuple[str, dict[str, Node], Iterator[str]]] = []
        while True:
            if node.children:
                base = "" if path == "/" else path
                stack.append((base, node.children, iter(in_order(node.children))))
            while stack:
                base, children, names = stack[-1]
                for name in names:
                    path, node = f"{base}/{name}", children[name]
                    yield path, node
                    if node.children:
                        break
                else:
                    stack.pop()
                    continue
                break
            else:
                return

    def _whole(self) -> Merge:
        """Return the merge of all layers, which is made at first need."""
        if self._merged is None:
            merge = Merge(resolve_links=self.resolve_links)
            for layer in self._content:
                merge.apply(layer.entries())
            self._merged, self._slice = merge, None
        return self._merged

    def _found(self, path: str, *, follow: bool) -> tuple[str, Node]:
        """Return the real path and the node at a path, with all that is below."""
        if self._slice is None:
            return find_path(self._whole().root, path, self._allowance, follow=follow)
        real, node = self._look(path, follow=follow)
        if node.children is None or self._merged is not None:
            return real, node
        return find_path(self._whole().root, real, self._allowance, follow=False)

    def _look(self, path: str, *, follow: bool) -> tuple[str, Node]:
        """Return the real path and the node at a path; a directory may have only some of what is in it."""
        check_text(path, "a path in an image")
        self._looks += 1
        if self._merged is None and self._looks <= _LOOKS and path.strip("/"):
            with suppress(TocDamaged):
                found = self._look_in_slice(path, follow=follow)
                if found is not None:
                    return found
            self._looks = _LOOKS
        return find_path(self._whole().root, path, self._allowance, follow=follow)

    def _look_in_slice(self, path: str, *, follow: bool) -> tuple[str, Node] | None:
        """Return what `_look` does; None if it depends on too much. Raises TocDamaged from a path table."""
        part = self._sliced()
        if part is not None:
            for _ in range(2 * HOPS):
                try:
                    return find_path(part.root, path, self._allowance, follow=follow, covered=part.covered)
                except NotCovered as error:
                    if not part.add(error.path):
                        break
        return None

    def _sliced(self) -> Slice | None:
        """Return the slice of the view that is extended by each look; None if single paths cannot be looked up."""
        if self._slice is None and not self.resolve_links:
            tables: list[PathTable] = []
            for layer in self._content:
                table = layer.paths()
                if table is None or not table.plain:
                    return None
                tables.append(table)
            from orlop.inside.slices import Slice  # noqa: PLC0415 - most looks are at all paths

            self._slice = Slice(tables)
        return self._slice

    def _steps(self, real: str) -> Iterator[Node]:
        """Yield the root of the view after each layer, of which at least one path is as in the whole view."""
        if self._merged is None and self._slice is not None:
            covered = False
            with suppress(TocDamaged):
                covered = self._slice.add(real)
            if covered:
                yield from self._slice.steps()
                return
        merge = Merge(resolve_links=self.resolve_links)
        for layer in self._content:
            merge.apply(layer.entries())
            yield merge.root

    def replay(self) -> tuple[Merge, Iterator[list[TarEntry]]]:
        """Return a merge of nothing, and the entries of each layer, bottom first, which the caller applies to it.

        In the end the view keeps that merge. The one that it had is dropped at once, so that two are never in memory.
        The iteration raises what reading layers raises.
        """
        self._merged = self._slice = None
        merge = Merge(resolve_links=self.resolve_links)
        return merge, self._replayed(merge)

    def _replayed(self, merge: Merge) -> Iterator[list[TarEntry]]:
        for layer in self._content:
            yield list(layer.entries())
        self._merged = merge

    def closing(self, what: AbstractContextManager[object]) -> None:
        """Close something else with the view, such as what protects its layers."""
        if not callable(getattr(type(what), "__exit__", None)):
            raise WrongType(f"what is closed with the files is a context manager, not {shown(what)}")
        self._stack.push(what)

    def close(self) -> None:
        """Release the layers; content cannot be read any more. Idempotent."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def select_layers(layers: Sequence[ImageLayer], *, layer: int | None = None, up_to: int | None = None) -> range:
    """Return the places of the layers that a view is to be made of.

    Args:
        layers: all layers.
        layer: the number of the only one.
        up_to: the number of the last one.

    Raises:
        InvalidInput: there is no such layer, or both are given.
    """
    if layer is not None and up_to is not None:
        raise InvalidInput("a view is either of one layer or of the layers up to one; name one of the two")
    for number in (layer, up_to):
        if number is not None:
            check_number(number, "the number of a layer")
        if number is not None and not 1 <= number <= len(layers):
            raise InvalidInput(f"the image has the layers 1 to {len(layers)}, not {number}; name one of them")
    if layer is not None:
        return range(layer - 1, layer)
    return range(len(layers) if up_to is None else up_to)


def _check_node(node: object) -> None:
    if not isinstance(node, Node):
        raise WrongType(f"a node is one of the image's, not {shown(node)}")


def _stated(node: Node) -> tuple[object, ...]:
    """Return what may change of a node that stays."""
    one = node.attributes
    return node.mode, one.uid, one.gid, one.mtime, dict(node.xattrs)


def _walk_down(node: Node, path: str) -> Node | None:
    for part in path.split("/") if path else ():
        child = None if node.children is None else node.children.get(part)
        if child is None:
            return None
        node = child
    return node


class _Stream(io.RawIOBase):
    """The content of one file as a raw stream."""

    def __init__(self, contents: Contents, node: Node) -> None:
        super().__init__()
        self._contents = contents
        self._chunks = contents.chunks((node.origin, node.content))
        self._rest = memoryview(b"")
        self._ended = False

    def readable(self) -> Literal[True]:
        return True

    def readinto(self, buffer: object, /) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._rest and not self._ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._contents.finish()
                self._ended = True
            else:
                self._rest = memoryview(chunk)
        size = min(len(target), len(self._rest))
        target[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        if not self.closed:
            self._contents.close()
        super().close()
