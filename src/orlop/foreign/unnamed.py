"""Layers of Podman that no list describes as an image wants them: their tar-splits tell what they are, once read."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING, Final

from orlop.errors import OrlopError
from orlop.foreign.disk import go_on
from orlop.foreign.rebuilt import UnpackedLayer
from orlop.store.blobs.ingest import measure_layer
from orlop.streams.meter import Meter

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from orlop.foreign.held import LayerCopy
    from orlop.model.digest import DiffID
    from orlop.model.limits import Limits
    from orlop.streams.compression import Readable

_LOST: Final = "it is in no list of layers, and no tar-split gives it"


class Unnamed:
    """Layers that no list describes as an image wants them, and what they are, once somebody needs to know.

    ``listed`` has those that a list describes. They are read as well once one of them has turned out to be another one.
    """

    def __init__(self, limits: Limits, listed: Mapping[DiffID, Sequence[LayerCopy]]) -> None:
        self.copies: list[LayerCopy] = []
        self._listed = listed
        self._limits = limits
        self._known: dict[str, LayerCopy] = {}
        self._read = 0
        self._lock = Lock()

    def layer(self, diff_id: DiffID) -> UnnamedLayer | None:
        """Return a layer that may be among them, or nothing where it cannot be."""
        return UnnamedLayer(self, diff_id) if self.copies or self._listed.get(diff_id) else None

    def find(self, diff_id: DiffID, check: Callable[[], object]) -> LayerCopy | None:
        """Return the layer of a diff ID. All of them are read the first time, those with damaged files twice.

        ``check`` is called now and then; what it raises ends it, and the next call reads them anew.
        """
        with self._lock:
            for number, (copies, most) in enumerate(self._readings(diff_id), 1):
                if self._read < number and str(diff_id) not in self._known:
                    self._read_all(copies, most, check)
                    self._read = number
            return self._known.get(str(diff_id))

    def _readings(self, diff_id: DiffID) -> Iterator[tuple[Iterable[LayerCopy], int]]:
        """Yield what is read in turn, and how many attempts at each layer."""
        yield self.copies, 1
        yield self.copies, sys.maxsize
        if any(isinstance(copy, UnpackedLayer) and copy.is_another for copy in self._listed.get(diff_id, ())):
            for most in (1, sys.maxsize):
                yield chain.from_iterable(self._listed.values()), most

    def _read_all(self, copies: Iterable[LayerCopy], most: int, check: Callable[[], object]) -> None:
        """Note the diff IDs of the first attempts at each layer."""
        for copy in copies:
            meter = Meter(self._limits)
            check()
            for reader in islice(copy.attempts(meter, check), most):
                with suppress(OrlopError):
                    found = measure_layer(reader, meter=meter, progress=lambda _: check())
                    self._known.setdefault(str(found.diff.diff_id), copy)


@dataclass(slots=True)
class UnnamedLayer:
    """A layer that may be among those that no list describes, an `orlop.foreign.held.LayerCopy`."""

    unnamed: Unnamed
    diff_id: DiffID
    reason: str = field(default="", compare=False)

    @property
    def digest(self) -> None:
        """Nothing: the tar is rebuilt, and has no other form."""

    def problem(self) -> str:
        """Return that it is not known before layers are read."""
        return f"{_LOST} so far: layers that no list describes have to be read for that"

    def attempts(self, meter: Meter, check: Callable[[], object] = go_on) -> Generator[Readable]:
        """Yield its readers, if it is among them."""
        found = self.unnamed.find(self.diff_id, check)
        if found is None:
            self.reason = _LOST
            return
        yield from found.attempts(meter, check)
        self.reason = found.reason
