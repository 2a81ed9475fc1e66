"""BoltDB files, in which containerd keeps its rows, read as they lie on disk: damaged, torn, or made to attack.

Theory of operation. A file is an array of pages. Pages 0 and 1 are *metas*; each has a checksum, the number of a
transaction, and the root of the tree as it was after that. A transaction writes new pages and never changes those that
the last one can reach, then writes the meta of the one before the last: so after a crash or a power loss at least one
meta is whole, and what it can reach is whole as well. Trees consist of branches (a first key and a page each) and
leaves (a key and a value each); a value may be a bucket, which is the root of another tree, or holds one small leaf
within itself.

A reader of a damaged file must not believe any number in it:

- An offset and a length are compared with the size of the page, or of the value, before they are used. A page that
  claims to be larger than `_LARGEST` is damaged.
- A page says its own number, and may be met once in the walk of a tree: a page that leads back to itself is damage, not
  a loop. Buckets may lead to each other's pages all the same, so that all that is read is counted, and ends at a limit.
- Damage ends no walk. What cannot be read is left out, noted in ``damage``, and the rest is yielded.

The metas are tried the newest first. Where the tree of that one is damaged, the other is read as well, one transaction
older: what only that one has may be what was damaged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from orlop.errors import RootDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HEADER: Final = 16
_ELEMENT: Final = 16
_META: Final = 64
_BOTH: Final = 2
_MAGIC: Final = 0xED0CDAED
_VERSION: Final = 2
_BRANCH: Final = 1
_LEAF: Final = 2
_BUCKET: Final = 1
_PAGE_SIZES: Final = (4096, 512, 1024, 2048, 8192, 16384, 32768, 65536)
_DEPTH: Final = 64
_LARGEST: Final = 16 << 20
# How often a file may be read in all: what is whole needs a few times, and what leads in circles has no end.
_OFTEN: Final = 64

# Nobody reads more; a page may lead to 65,535 others that are not there.
_NOTED: Final = 100


class Bucket:
    """A bucket of a file, in which keys have values, or are buckets. Reading it raises nothing."""

    def __init__(self, file: Bolt, page: int, inline: bytes = b"", depth: int = 0) -> None:
        self._file = file
        self._page = page
        self._inline = inline
        self._depth = depth

    def items(self) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Yield all keys that can be read, in their order."""
        if self._depth > _DEPTH:
            self._file.note("buckets are nested too deep")
            return
        if self._page == 0:
            yield from self._elements(self._inline)
            return
        for page in self._file.leaves(self._page):
            yield from self._elements(page)

    def buckets(self) -> Iterator[tuple[bytes, Bucket]]:
        """Yield the buckets in it."""
        for key, value in self.items():
            if isinstance(value, Bucket):
                yield key, value

    def values(self) -> dict[bytes, bytes]:
        """Return the values in it, by their keys."""
        return {key: value for key, value in self.items() if isinstance(value, bytes)}

    def bucket(self, *path: bytes) -> Bucket | None:
        """Return a bucket some keys below this one, or nothing where there is none."""
        found: Bucket | None = self
        for key in path:
            if found is None:
                return None
            found = next((bucket for name, bucket in found.buckets() if name == key), None)
        return found

    def _elements(self, page: bytes) -> Iterator[tuple[bytes, bytes | Bucket]]:
        for key, value, flags in self._file.elements(page):
            if not flags & _BUCKET:
                yield key, value
            elif len(value) < _HEADER:
                self._file.note("a bucket has no root")
            else:
                yield key, Bucket(self._file, int.from_bytes(value[:8], "little"), value[_HEADER:], self._depth + 1)


class _Meta(NamedTuple):
    """What one meta says, if it is whole."""

    transaction: int
    root: int
    page_size: int


class Bolt:
    """A file, read where it lies. ``damage`` says what was found to be wrong in what was read so far.

    ``count`` is how many keys were read.

    Args:
        read: returns a number of bytes at an offset, fewer only at the end of the file. What it raises is passed on.
        size: the size of the file.
        what: what messages call it.
        most: how many keys are read of it.

    Raises:
        RootDamaged: neither meta is whole.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int, what: str, *, most: int) -> None:
        self._read = read
        self._size = size
        self._most = most
        self.count = 0
        self._left = _OFTEN * size + _LARGEST
        self.damage: list[str] = []
        self._metas = _metas(read(0, 2 * _PAGE_SIZES[-1]))
        if not self._metas:
            raise RootDamaged(f"{what} is damaged: it has no whole meta page")
        self._page_size = self._metas[0].page_size
        if len(self._metas) < _BOTH:
            self.note("one of its two meta pages is damaged, so that its last change may be missing")

    def roots(self) -> Iterator[Bucket]:
        """Yield the bucket of all buckets: the newest, then, if that was found to be damaged, the one before."""
        for number, meta in enumerate(self._metas):
            if number and not self.damage:
                return
            yield Bucket(self, meta.root)

    def note(self, damage: str) -> None:
        """Note what is wrong, once, and of very much the first."""
        if len(self.damage) < _NOTED and damage not in self.damage:
            self.damage.append(damage)

    def leaves(self, number: int) -> Iterator[bytes]:
        """Yield the leaf pages of a tree, in their order."""
        waiting = [(number, 0)]
        seen: set[int] = set()
        while waiting:
            at, depth = waiting.pop()
            if at in seen or depth > _DEPTH:
                self.note(f"page {at} is met twice")
                continue
            seen.add(at)
            page = self._page(at)
            if page is None:
                continue
            flags = int.from_bytes(page[8:10], "little")
            if flags & _LEAF:
                yield page
            elif flags & _BRANCH:
                waiting += [(child, depth + 1) for child in reversed(self._children(page))]
            else:
                self.note(f"page {at} is neither a branch nor a leaf")

    def elements(self, page: bytes) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield the keys, values and flags of a leaf."""
        for at in self._places(page):
            self.count += 1
            if self.count > self._most:
                self.note(f"it has more than {self._most} keys")
                return
            flags, start, key_size, value_size = _numbers(page, at)
            begin, end = at + start, at + start + key_size + value_size
            if start < _ELEMENT or end > len(page):
                self.note("a leaf has an element beyond its end")
                continue
            yield page[begin : begin + key_size], page[begin + key_size : end], flags

    def _children(self, page: bytes) -> list[int]:
        return [int.from_bytes(page[at + 8 : at + 16], "little") for at in self._places(page)]

    def _places(self, page: bytes) -> range:
        """Return where the elements of a page begin."""
        if len(page) < _HEADER:
            self.note("a page has no header")
            return range(0)
        count = int.from_bytes(page[10:12], "little")
        most = (len(page) - _HEADER) // _ELEMENT
        if count > most:
            self.note("a page has more elements than there is room for")
        return range(_HEADER, _HEADER + min(count, most) * _ELEMENT, _ELEMENT)

    def _page(self, number: int) -> bytes | None:
        """Return a page, with those that continue it, or nothing where it is not the one that it should be."""
        start = number * self._page_size
        header = self._read(start, _HEADER) if start < self._size else b""
        if len(header) < _HEADER or int.from_bytes(header[:8], "little") != number:
            self.note(f"page {number} is not there, or says that it is another one")
            return None
        length = (1 + int.from_bytes(header[12:16], "little")) * self._page_size
        if length > _LARGEST or start + length > self._size:
            self.note(f"page {number} goes beyond the end of the file")
            return None
        self._left -= length
        if self._left < 0:
            self.note("its pages lead to each other too often")
            return None
        return self._read(start, length)


def _metas(data: bytes) -> list[_Meta]:
    """Return the metas that are whole, the newest first."""
    found: list[_Meta] = []
    first = _meta(data, 0)
    if first is not None:
        found.append(first)
    # Where page 0 is lost, the size of a page is not known.
    for size in (first.page_size,) if first is not None else _PAGE_SIZES:
        second = _meta(data, size)
        if second is not None and second.page_size == size:
            found.append(second)
            break
    return sorted(found, key=lambda meta: meta.transaction, reverse=True)


def _meta(data: bytes, at: int) -> _Meta | None:
    meta = data[at + _HEADER : at + _HEADER + _META]
    if len(meta) < _META:
        return None
    magic, version, size = (int.from_bytes(meta[start : start + 4], "little") for start in (0, 4, 8))
    root, transaction, checksum = (int.from_bytes(meta[start : start + 8], "little") for start in (16, 48, 56))
    if magic != _MAGIC or version != _VERSION or size not in _PAGE_SIZES or checksum != fnv1a(meta[:56]):
        return None
    return _Meta(transaction, root, size)


def fnv1a(data: bytes) -> int:
    """Return the 64-bit FNV-1a hash of bytes, by which a meta is known to be whole."""
    found = 0xCBF29CE484222325
    for byte in data:
        found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return found


def _numbers(page: bytes, at: int) -> tuple[int, int, int, int]:
    flags, start, key_size, value_size = (int.from_bytes(page[at + i : at + i + 4], "little") for i in (0, 4, 8, 12))
    return flags, start, key_size, value_size
