"""Whole transfers through a network that fails at any request: each ends right, or with one error, and then succeeds.

Behind the proxy is a real registry. What is there afterwards is compared by digest with what was to be there.
"""

from __future__ import annotations

import io
import itertools
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import OrlopError, RegistryBusy, RegistryError
from orlop.model.platform import Platform
from orlop.service.sync.plan import SyncPlan
from orlop.transfer import registry_target
from tests.crash.faulty import Fault, faulty
from tests.interop.registries import debian_registry
from tests.invariants import broken, sha256
from tests.unit.layouts import MANIFEST, Layout, named
from tests.unit.pushed import reached, top_digest
from tests.unit.synced import entry
from tests.unit.test_pull import big_tar, image_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orlop.registry.registries import Registries
    from tests.crash.faulty import FaultyProxy

KIB = 1 << 10
LARGE = 200 * KIB
NUMBERS = itertools.count(1)
HARMLESS = {Fault.SLOW, Fault.TORN}
"""What does not end a transfer where all requests have it: most answers of a push have no body."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with debian_registry(tmp_path_factory.mktemp("registry")) as authority:
        yield authority


@pytest.fixture
def proxy(registry: str) -> Iterator[FaultyProxy]:
    with faulty(registry) as found:
        yield found


@pytest.fixture
def registries() -> Iterator[Registries]:
    with reached() as found:
        yield found


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have layers sent as far larger ones are: in pieces, of which each is acknowledged."""
    monkeypatch.setattr(registry_target, "_WHOLE", LARGE)
    monkeypatch.setattr(registry_target, "_PIECE", LARGE)
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: Platform("linux", "amd64"))


class Transfer:
    """A transfer of an image, each time from or to a place of its own, and what it must bring about."""

    def __init__(self, kind: str, root: Path, registry: str, through: str, registries: Registries) -> None:
        self._kind = kind
        self._root = root
        self._registry = registry
        self._through = through
        self._registries = registries
        self._target = f"team/{kind}{next(NUMBERS)}"

    def run(self) -> None:
        """Do it, or go on with it. Raises what it raises."""
        image, target = f"{self._through}/team/source:1", f"{self._through}/{self._target}"
        with orlop.open(self._root) as images:
            if self._kind == "pull":
                images.pull(image, self._registries)
            elif self._kind == "push":
                images.load(io.BytesIO(layout(f"{target}:1").pack()))
                images.push([f"{target}:1"], self._registries)
            elif self._kind == "copy":
                images.copy(f"docker://{image}", f"docker://{target}:1", self._registries)
            else:
                plan = SyncPlan.parse(entry(f"docker://{self._through}/team/source", f"docker://{target}"))
                report = images.sync(plan, self._registries, state=self._root.parent / f"{self._root.name}.state")
                if report.error is not None:
                    raise report.error

    def seen(self) -> str | None:
        """Return the digest of what is visible under the name of the target, with all of it there and right."""
        if self._kind == "pull":
            with orlop.open(self._root) as images:
                listed = [name for one in images.images() for name in one.references]
                held = [images.inspect(name).references for name in listed]
            # Layers stay for a next pull, without a name.
            assert not held or [one for one in broken(self._root) if "lease" not in one] == []
            return next((str(name.digest) for names in held for name in names if name.digest is not None), None)
        raw = fetched(self._registry, f"{self._target}/manifests/1")
        if raw is None:
            return None
        document = json.loads(raw)
        for part in (document["config"], *document["layers"]):
            content = fetched(self._registry, f"{self._target}/blobs/{part['digest']}")
            assert content is not None
            assert sha256(content) == part["digest"]
        return sha256(raw)


def layout(name: str) -> Layout:
    """Return an image of three layers, of which one is sent in pieces."""
    found = Layout()
    tars = [big_tar(size, seed=seed) for seed, size in enumerate((3 * LARGE, 1 * KIB, 2 * KIB), 1)]
    return found.top(image_of(found, *tars) | named(name))


def fetched(registry: str, path: str) -> bytes | None:
    request = urllib.request.Request(f"http://{registry}/v2/{path}", headers={"Accept": MANIFEST})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None


@pytest.fixture(scope="module")
def digest(registry: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Put the image into the registry, and return its digest."""
    image = layout(f"{registry}/team/source:1")
    with reached() as found, orlop.open(tmp_path_factory.mktemp("source") / "root") as images:
        images.load(io.BytesIO(image.pack()))
        images.push([f"{registry}/team/source:1"], found)
    return top_digest(image)


@pytest.fixture
def made(registry: str, proxy: FaultyProxy, registries: Registries, tmp_path: Path) -> Callable[[str], Transfer]:
    return lambda kind: Transfer(kind, tmp_path / f"{next(NUMBERS)}", registry, proxy.authority, registries)


def attempted(transfer: Transfer, digest: str) -> OrlopError | None:
    """Do a transfer; return the error that it ended with, after which nothing, or all, must be visible."""
    found: OrlopError | None = None
    try:
        transfer.run()
    except OrlopError as error:
        found = error
    # What was done may not have been told.
    assert transfer.seen() in ({digest} if found is None else {None, digest})
    assert found is None or len(str(found).splitlines()) == 1
    return found


@pytest.mark.sampled(96, daily=False)
@pytest.mark.parametrize("fault", Fault, ids=lambda one: one.name.lower())
@pytest.mark.parametrize("kind", ["pull", "push", "copy", "sync"])
def test_a_fault_at_any_one_request_is_survived_or_told(
    kind: str, fault: Fault, digest: str, proxy: FaultyProxy, made: Callable[[str], Transfer]
):
    proxy.begin(lambda _: None)
    assert attempted(made(kind), digest) is None
    for number in range(1, len(proxy.asked) + 1):
        transfer = made(kind)
        proxy.begin({number: fault}.get)
        error = attempted(transfer, digest)
        if fault is Fault.TOMORROW:
            assert isinstance(error, RegistryBusy | None), (number, proxy.asked)
        else:
            assert error is None, (number, proxy.asked[number - 1])
        if error is not None:
            proxy.begin(lambda _: None)
            assert attempted(transfer, digest) is None


@pytest.mark.sampled(36)
@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("fault", Fault, ids=lambda one: one.name.lower())
@pytest.mark.parametrize("kind", ["pull", "push", "copy", "sync"])
def test_faults_all_the_way_end_in_one_error_at_most(
    kind: str, fault: Fault, every: int, digest: str, proxy: FaultyProxy, made: Callable[[str], Transfer]
):
    transfer = made(kind)
    proxy.begin(lambda asked: fault if asked % every == 0 else None)
    attempted(transfer, digest)
    proxy.begin(lambda _: None)
    assert attempted(transfer, digest) is None


@pytest.mark.sampled(24)
@pytest.mark.parametrize("fault", sorted(set(Fault) - HARMLESS, key=str), ids=lambda one: one.name.lower())
@pytest.mark.parametrize("kind", ["pull", "push", "copy", "sync"])
def test_a_registry_that_only_fails_is_given_up_in_the_end(
    kind: str, fault: Fault, digest: str, proxy: FaultyProxy, made: Callable[[str], Transfer]
):
    transfer = made(kind)
    proxy.begin(lambda _: fault)
    assert isinstance(attempted(transfer, digest), RegistryError)
    assert len(proxy.asked) < 100
    proxy.begin(lambda _: None)
    assert attempted(transfer, digest) is None
