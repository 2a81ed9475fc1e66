"""What a server counts, in the text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Final

from orlop._version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orlop.api.record import Record

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)


class Metrics:
    """The counters of a server; only the thread of its event loop changes them."""

    def __init__(self) -> None:
        self.active = 0
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._received = 0
        self._sent = 0

    def count(self, record: Record) -> None:
        """Count a request that has been answered."""
        route = record.route or "other"
        self._requests[route, record.method, record.status] += 1
        buckets = self._buckets.setdefault(route, [0] * (len(_BOUNDS) + 1))
        for number, bound in enumerate(_BOUNDS):
            buckets[number] += record.seconds <= bound
        buckets[-1] += 1
        self._seconds[route] += record.seconds  # type: ignore[assignment]  # a counter of floats
        self._received += record.received
        self._sent += record.sent

    def text(self, counts: Mapping[str, int]) -> str:
        """Write everything, with the numbers of rows that `Rows.counts` gives."""
        return "\n".join([*self._lines(counts), ""])

    def _lines(self, counts: Mapping[str, int]) -> Iterator[str]:
        yield from family("orlop_info", "gauge", "The version of orlop.", [({"version": __version__}, 1)])
        yield from family(
            "orlop_http_requests_total",
            "counter",
            "Requests that were answered.",
            [
                ({"route": route, "method": method, "status": str(status)}, number)
                for (route, method, status), number in sorted(self._requests.items())
            ],
        )
        yield from self._histogram()
        yield from single("orlop_http_requests_active", "gauge", "Requests at work.", self.active)
        yield from single("orlop_http_received_bytes_total", "counter", "Bytes of bodies received.", self._received)
        yield from single("orlop_http_sent_bytes_total", "counter", "Bytes of bodies sent.", self._sent)
        for kind in ("images", "names", "layers", "blobs"):
            yield from single(f"orlop_store_{kind}", "gauge", f"How many {kind} the store has.", counts[kind])
        yield from single("orlop_store_blob_bytes", "gauge", "Bytes of all blobs.", counts["blob_bytes"])
        resident, descriptors = _process()
        yield from single("process_resident_memory_bytes", "gauge", "Resident memory.", resident)
        yield from single("process_open_fds", "gauge", "Open file descriptors.", descriptors)

    def _histogram(self) -> Iterator[str]:
        name = "orlop_http_request_seconds"
        yield f"# HELP {name} How long requests took."
        yield f"# TYPE {name} histogram"
        for route, buckets in sorted(self._buckets.items()):
            for bound, number in zip((*map(str, _BOUNDS), "+Inf"), buckets, strict=True):
                yield _sample(f"{name}_bucket", {"route": route, "le": bound}, number)
            yield _sample(f"{name}_sum", {"route": route}, round(self._seconds[route], 6))
            yield _sample(f"{name}_count", {"route": route}, buckets[-1])


def family(name: str, kind: str, meaning: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    """Yield the lines of a metric that has values with labels; see `single`."""
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield _sample(name, labels, value)


def single(name: str, kind: str, meaning: str, value: float) -> Iterator[str]:
    """Yield the lines of a metric that has one value.

    Args:
        name: of the metric.
        kind: ``counter`` or ``gauge``.
        meaning: what is counted, for people.
        value: its value.
    """
    return family(name, kind, meaning, [({}, value)])


def _sample(name: str, labels: Mapping[str, str], value: float) -> str:
    # No label's value is a client's choice, and none needs an escape.
    shown = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return f"{name}{{{shown}}} {value}" if shown else f"{name} {value}"


def _process() -> tuple[int, int]:
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, len(os.listdir("/proc/self/fd"))
