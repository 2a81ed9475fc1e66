"""The rest of some content, after what an earlier try has left of it here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orlop.errors import NotInRegistry, RegistryError

if TYPE_CHECKING:
    from typing import Self

    from orlop.model.descriptor import Descriptor
    from orlop.registry.blobs import BlobReader
    from orlop.registry.places import Places
    from orlop.store.blobs.store import Ingest


class Rest:
    """Content: first what is left of it here, then the rest, which is asked for only where there is one.

    A place that breaks off for good is left for the next one, which goes on from there. ``others`` are the places that
    come after the first one that was read from: they are to be asked where it turns out to be wrong.
    """

    def __init__(self, content: Ingest | None, places: Places, want: Descriptor) -> None:
        self._content = content
        self._left = 0 if content is None else content.kept
        self._places: Places | None = places
        self._want = want
        self._position = 0
        self._reader: BlobReader | None = None
        self._was_opened = False
        self.others: Places | None = None

    def read(self, n: int, /) -> bytes:
        """Return at most ``n`` bytes, none at the end."""
        if self._content is not None and self._position < self._left:
            data = self._content.read_kept(self._position, min(n, self._left - self._position))
        elif self._reader is None and self._position and self._position == self._want.size:
            return b""
        else:
            data = self._fetch(n)
        self._position += len(data)
        return data

    def _fetch(self, n: int) -> bytes:
        while True:
            reader = self._opened()
            try:
                return reader.read(n)
            except (RegistryError, NotInRegistry):
                if self._places is None:
                    raise
                self.__exit__()

    def _opened(self) -> BlobReader:
        if self._reader is None:
            assert self._places is not None
            self._reader, self._places = self._places.blob(self._want, offset=self._position)
            if not self._was_opened:
                self._was_opened, self.others = True, self._places
        return self._reader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
