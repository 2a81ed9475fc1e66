"""What those who run a registry ask of it, where it has a listener of its own: whether it works, and what it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import Response

from orlop.api.metrics import CONTENT_TYPE, family, single
from orlop.api.record import counted, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from orlop.api.engine.call import Context
    from orlop.api.registry.guard.access import Access
    from orlop.service.hosted.registry import Asked, HostedRegistry

HEALTH: Final = "/health"
METRICS: Final = "/metrics"
_RESULTS: Final = {
    "sent": "Requests to an upstream.",
    "refused": "Requests that an upstream answered with 429.",
    "held": "Requests that were not sent, for the budget of an upstream or at its wish.",
}
_READING: Final = frozenset({"GET", "HEAD"})


def with_health(app: ASGIApp, context: Context) -> ASGIApp:
    """Return an application that answers whether the server works: 200, or 503 once it is about to end.

    It is asked often, by whoever watches servers; it costs nothing and is not logged.
    """

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != HEALTH or scope["method"] not in _READING:
            await app(scope, receive, send)
            return
        is_ending = context.ending.is_set()
        text = "ending" if is_ending else "ok"
        await Response(f"{text}\n", 503 if is_ending else 200, media_type="text/plain")(scope, receive, send)

    return answering


def with_metrics(app: ASGIApp, context: Context, registry: HostedRegistry, access: Access | None) -> ASGIApp:
    """Return an application that answers what the server counts, in the text format of Prometheus."""

    def looked() -> tuple[Mapping[str, int], int]:
        return context.service.counts(), registry.uploads.count()

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != METRICS or scope["method"] not in _READING:
            await app(scope, receive, send)
            return
        record = record_of(scope)
        receive, send = counted(record, receive, send)
        counts, uploads = await context.workers.run(looked)
        text = context.metrics.text(counts) + "".join(
            f"{line}\n" for line in (*_lines(uploads, access), *_asked(registry.upstreams))
        )
        await Response(text, media_type=CONTENT_TYPE)(scope, receive, send)
        record.route = METRICS
        context.finished(record)

    return answering


def _lines(uploads: int, access: Access | None) -> Iterator[str]:
    yield from single("orlop_registry_uploads_open", "gauge", "Uploads that are neither finished nor over.", uploads)
    if access is None:
        return
    counts, waiting = access.webhooks.counts.copy(), access.webhooks.waiting()
    for result in ("delivered", "failed", "dropped"):
        number = sum(one for (_, found), one in counts.items() if found == result)
        name, meaning = f"orlop_registry_webhook_{result}_total", f"Events of webhooks that were {result}."
        yield from single(name, "counter", meaning, number)
    yield from single("orlop_registry_webhook_waiting", "gauge", "Events to deliver.", sum(waiting.values()))


def _asked(upstreams: Mapping[str, Asked]) -> Iterator[str]:
    if not upstreams:
        return
    for result, meaning in _RESULTS.items():
        samples = [({"upstream": host}, one.counts[result]) for host, one in upstreams.items()]
        yield from family(f"orlop_registry_proxy_requests_{result}_total", "counter", meaning, samples)
    held = [({"upstream": host}, one.held()) for host, one in upstreams.items()]
    meaning = "For how long an upstream asks to be left alone."
    yield from family("orlop_registry_proxy_held_seconds", "gauge", meaning, held)
    left = [({"upstream": host}, one.remaining) for host, one in upstreams.items() if one.remaining is not None]
    meaning = "How many more requests an upstream allows, by what it said last."
    yield from family("orlop_registry_proxy_remaining", "gauge", meaning, left)
