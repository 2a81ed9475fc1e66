"""How often a cache asks its upstreams, and what it answers where it may not ask."""

from __future__ import annotations

import urllib.request
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from orlop import errors
from orlop.model.digest import Digest
from orlop.registry.messages import Answer, Headers
from orlop.service.proxied.budget import Budget, Rate
from orlop.service.proxied.pull_through import Rules
from orlop.testing.registry.quirks import Failure
from tests.unit.hosted import code
from tests.unit.pulling import command
from tests.unit.test_proxied_registry import path, proxying
from tests.unit.test_pull_through import caching

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000
RULES = Rules(fresh=60, away=0, missing=0)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> int:
        return int(self.seconds * SECOND)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("100/6h", Rate(100, 6 * 3600 * SECOND)),
        ("1/s", Rate(1, SECOND)),
        ("5/h", Rate(5, 3600 * SECOND)),
        ("7/1m30s", Rate(7, 90 * SECOND)),
    ],
)
def test_a_rate_is_read(text: str, rate: Rate) -> None:
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "5", "/h", "0/h", "-1/h", "5/", "5/x", "5/0s", "5/-1h", "1e3/h", "9999999999/h", "٣/h"]
)
def test_what_is_not_a_rate_is_told(text: str) -> None:
    with pytest.raises(errors.InvalidInput, match="is not a rate"):
        Rate.parse(text)


def test_in_no_span_are_more_requests_than_the_budget_has() -> None:
    clock = Clock()
    budget = Budget("r.test", clock, Rate(3, 10 * SECOND))
    sent: list[float] = []
    for _ in range(400):
        try:
            budget.take()
        except errors.RegistryBusy:
            pass
        else:
            sent.append(clock.seconds)
        clock.seconds += 0.25
    assert all(later - first >= 10 for first, later in zip(sent, sent[3:], strict=False))
    # All that it has is used, and what is held back costs nothing.
    assert len(sent) == 30
    assert budget.counts == {"sent": 30, "held": 370}


def test_a_clock_that_is_set_back_holds_nothing_back_for_ever() -> None:
    clock = Clock()
    budget = Budget("r.test", clock, Rate(1, 10 * SECOND))
    budget.take()
    clock.seconds = 0
    budget.take()


def test_a_clock_that_is_set_back_holds_nothing_back_for_longer_than_was_asked() -> None:
    clock = Clock()
    clock.seconds = 1_000_000.0
    budget = Budget("r.test", clock)
    budget.learn(Answer(429, Headers((("Retry-After", "30"),)), "https://r.test/v2/"))
    clock.seconds -= 500_000
    assert budget.held() == 30
    clock.seconds += 30
    budget.take()


def test_an_upstream_that_asks_to_wait_is_not_asked_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch, rules=RULES, tries=1) as (cached, ahead):
        top, layer = cached.push("1")
        cached.ask("1")
        ahead[0] = 61
        cached.asked()
        cached.pulled.quirks(failures=(Failure(429, headers=(("Retry-After", "300"),)),))
        assert cached.ask("1").stale
        assert cached.asked() == ["HEAD manifests"]
        for _ in range(3):
            found = cached.ask("1")
            assert (found.row.digest, bool(found.stale)) == (top, True)
            with pytest.raises(errors.RegistryBusy) as caught:
                cached.ask("other")
            assert 230 < (caught.value.wait or 0) <= 300
            with pytest.raises(errors.RegistryBusy):
                cached.read(layer)
            with pytest.raises(errors.RegistryBusy):
                cached.cache.tags(cached.name)
            with pytest.raises(errors.RegistryBusy):
                cached.cache.referrers(cached.name, top)
            with pytest.raises(errors.RegistryBusy):
                cached.read(Digest.of(b"other"))
        assert cached.asked() == []
        ahead[0] = 362
        assert not cached.ask("1").stale
        assert cached.read(layer) == cached.content(layer)
        assert cached.asked() == ["HEAD manifests", "GET blobs"]


@pytest.mark.sampled(4)
def test_an_upstream_that_does_not_say_how_long_is_asked_less_and_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caching(tmp_path, monkeypatch, rules=RULES, tries=5) as (cached, ahead):
        cached.push("1")
        cached.ask("1")
        cached.asked()
        cached.pulled.quirks(failures=(Failure(429),) * 100)
        ahead[0], asked = 100.0, []
        for second in range(1500):
            ahead[0] = 100.0 + second
            assert cached.ask("1").stale
            asked += [second] * len(cached.asked())
        pauses = [later - first for first, later in pairwise(asked)]
        assert all(later >= first for first, later in pairwise(pauses))
        assert len(asked) <= 10
        assert max(pauses) <= 601
        cached.pulled.quirks()
        ahead[0] += 601
        assert not cached.ask("1").stale


def test_no_more_is_asked_than_the_budget_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch, rules=RULES, rate=Rate.parse("4/1h")) as (cached, ahead):
        _, layer = cached.push("1")
        # The first request finds that the registry does not speak TLS.
        cached.ask("1")
        cached.read(layer)
        ahead[0] = 61
        assert not cached.ask("1").stale
        cached.asked()
        ahead[0] = 122
        assert cached.ask("1").stale
        assert cached.read(layer) == cached.content(layer)
        assert cached.asked() == []
        ahead[0] = 3700
        assert not cached.ask("1").stale


def test_clients_are_told_when_to_come_again_and_metrics_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying(tmp_path, monkeypatch, rules=RULES, rate=Rate.parse("3/1h"), tries=1) as (client, cached, ahead):
        cached.push("1")
        limited = (("RateLimit-Limit", "100;w=21600"), ("RateLimit-Remaining", "0;w=21600"), ("Retry-After", "60"))
        cached.pulled.quirks(failures=(Failure(429, headers=limited),))
        for _ in range(2):
            answer = client.get(path("manifests", "1"))
            assert (answer.status, code(answer)) == (429, "TOOMANYREQUESTS")
            assert 0 < int(answer.headers["retry-after"]) <= 60
        ahead[0] = 61
        assert client.get(path("manifests", "1")).status == 200
        spent = client.get(path("manifests", "2"))
        assert spent.status == 429
        assert 3000 < int(spent.headers["retry-after"]) <= 3600
        with urllib.request.urlopen(f"http://127.0.0.1:{client.port}/metrics") as found:
            text = found.read().decode()
        label = f'{{upstream="{cached.name.domain}"}}'
        for line in (
            f"orlop_registry_proxy_requests_sent_total{label} 3",
            f"orlop_registry_proxy_requests_refused_total{label} 1",
            f"orlop_registry_proxy_requests_held_total{label} 2",
            f"orlop_registry_proxy_held_seconds{label} 0.0",
        ):
            assert line in text.splitlines()


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--proxy-rate", "docker.io=1/h"], 2, "needs --proxy"),
        (["--proxy", "docker.io", "--proxy-rate", "quay.io=1/h"], 2, "names no registry of a --proxy"),
        (["--proxy", "docker.io", "--proxy-rate", "5/h"], 2, "names no registry of a --proxy"),
        (["--proxy", "docker.io", "--proxy-rate", "docker.io=x"], 3, "is not a rate"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(tmp_path: Path, arguments: list[str], status: int, words: str) -> None:
    found = command(tmp_path, "serve", "--registry", "-H", "tcp://127.0.0.1:0", *arguments)
    assert found.returncode == status
    assert words in found.stderr
