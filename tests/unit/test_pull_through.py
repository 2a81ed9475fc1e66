"""The pull-through cache: what it asks of the upstream, what it keeps, and what whoever asks gets meanwhile."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.model.digest import Digest
from orlop.model.proxies import NO_PROXIES
from orlop.model.reference import Reference
from orlop.registry.blobs import BlobReader
from orlop.registry.certificates import HostTrust
from orlop.registry.registries import Registries
from orlop.registry.transport import HttpTransport
from orlop.service.hosted.registry import HostedRegistry
from orlop.service.proxied.pull_through import CachedManifest, PullThrough, Rules
from orlop.testing.registry.quirks import Failure
from tests.unit.faked import everywhere
from tests.unit.hosted import EMPTY
from tests.unit.layouts import MANIFEST, Layout, named
from tests.unit.pulling import REPOSITORY, pulling, push
from tests.unit.test_pull import big_tar, image_of
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orlop.service.proxied.budget import Rate
    from tests.unit.pulling import Pulled

SECOND = 1_000_000_000
SIZE = 3 << 20


class Cached:
    """A cache before a fake registry, in which there is an image of one layer of 3 MiB."""

    def __init__(self, pulled: Pulled, cache: PullThrough) -> None:
        self.pulled = pulled
        self.registry = pulled.registry
        self.images = pulled.images
        self.cache = cache
        self.name = Reference.parse(f"{pulled.registry.authority}/{REPOSITORY}")

    def push(self, tag: str, seed: int = 1, size: int = SIZE) -> tuple[Digest, Digest]:
        """Push an image, and return its digest and that of its layer."""
        layout = Layout()
        top = image_of(layout, big_tar(size, seed))
        push(self.registry, layout, top, tag)
        manifest = json.loads(layout.files["blobs/" + top["digest"].replace(":", "/")])
        return Digest.parse(top["digest"]), Digest.parse(manifest["layers"][0]["digest"])

    def ask(self, tag: str) -> CachedManifest:
        return self.cache.manifest(self.name.with_tag(tag))

    def read(self, digest: Digest) -> bytes:
        with self.cache.blob(self.name, digest) as reader:
            return b"".join(iter(lambda: reader.read(1 << 16), b""))

    def asked(self) -> list[str]:
        """Return what was asked of the upstream since the last call."""
        found = [f"{one.method} {one.path.split('/')[-2]}" for one in self.registry.requests]
        self.registry.requests.clear()
        return found

    def gets(self, digest: Digest) -> int:
        return sum(one.method == "GET" and str(digest) in one.path for one in self.registry.requests)

    def content(self, digest: Digest) -> bytes:
        return self.registry.repository(REPOSITORY).blobs[str(digest)]


@contextmanager
def caching(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    rules: Rules | None = None,
    quota: int | None = None,
    rate: Rate | None = None,
    **more: Any,
) -> Iterator[tuple[Cached, list[float]]]:
    """Yield a cache, and a list of seconds by which its clock is ahead."""
    ahead = [0.0]
    with pulling(folder, **more) as pulled:
        store = pulled.images.store
        real = store.now
        monkeypatch.setattr(store, "now", lambda: real() + int(ahead[0] * SECOND))
        hosts = {pulled.registry.authority: rules or Rules()}
        rates = {} if rate is None else dict.fromkeys(hosts, rate)
        with closing(PullThrough(store, pulled.registries, hosts, quota=quota, rates=rates)) as cache:
            yield Cached(pulled, cache), ahead


def test_a_manifest_and_its_blobs_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        top, layer = cached.push("1")
        assert cached.ask("1").row.digest == top
        assert cached.read(layer) == cached.content(layer)
        assert cached.asked() == ["GET manifests", "GET blobs"]
        assert cached.ask("1").row.digest == top
        assert cached.cache.manifest(Reference(cached.name.domain, cached.name.path, None, top)).row.digest == top
        assert cached.read(layer) == cached.content(layer)
        assert cached.asked() == []
        assert not orlop.stores.fsck(cached.images.root).problems
        assert not cached.images.images()


def test_what_is_cached_survives_a_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        cached.ask("1")
        cached.read(layer)
        cached.images.gc()
        cached.asked()
        assert cached.read(layer) == cached.content(layer)
        assert cached.asked() == []


def test_a_tag_is_believed_for_a_while_and_then_only_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch, rules=Rules(fresh=60)) as (cached, ahead):
        first, _ = cached.push("1")
        cached.ask("1")
        second, _ = cached.push("1", seed=2)
        assert cached.ask("1").row.digest == first
        cached.asked()
        ahead[0] = 61
        assert cached.ask("1").row.digest == second
        assert cached.asked() == ["HEAD manifests", "GET manifests"]
        ahead[0] = 122
        assert cached.ask("1").row.digest == second
        assert cached.asked() == ["HEAD manifests"]
        assert cached.ask("1").row.digest == second
        assert cached.asked() == []


@pytest.mark.sampled(2)
def test_a_hundred_who_ask_at_once_cost_one_request_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        top, layer = cached.push("1")
        begin = threading.Barrier(100)
        found: list[object] = []

        def client() -> None:
            begin.wait()
            found.append((cached.ask("1").row.digest, cached.read(layer)))

        threads = [threading.Thread(target=client) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [(top, cached.content(layer))] * 100
        assert cached.asked() == ["GET manifests", "GET blobs"]


class Held:
    """A stream of the upstream that stops at an offset until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
        self.reached, self.goes_on = threading.Event(), threading.Event()
        real = BlobReader.read

        def read(reader: BlobReader, n: int, /) -> bytes:
            if reader.position < offset:
                return real(reader, min(n, offset - reader.position))
            self.reached.set()
            assert self.goes_on.wait(60)
            return real(reader, n)

        monkeypatch.setattr(BlobReader, "read", read)


def test_whoever_asks_gets_bytes_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        cached.ask("1")
        content = cached.content(layer)
        held = Held(monkeypatch, SIZE // 2)
        with cached.cache.blob(cached.name, layer) as first, cached.cache.blob(cached.name, layer) as second:
            for reader in (first, second):
                got = b""
                while len(got) < SIZE // 2:
                    got += reader.read(1 << 16)
                assert got == content[: SIZE // 2]
            held.goes_on.set()
            rest = [b"".join(iter(lambda: reader.read(1 << 16), b"")) for reader in (first, second)]  # noqa: B023
            assert rest == [content[SIZE // 2 :]] * 2
        assert cached.gets(layer) == 1


def test_wrong_bytes_are_cut_before_the_last_one_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        cached.ask("1")
        cached.pulled.quirks(corrupt=True)
        with cached.cache.blob(cached.name, layer) as reader:
            got: list[bytes] = []
            with pytest.raises(errors.DigestMismatch):
                got.extend(iter(lambda: reader.read(1 << 16), b""))
        assert sum(map(len, got)) < len(cached.content(layer))
        assert not cached.images.store.content.has(layer)
        assert cached.pulled.partial() == []
        cached.pulled.quirks()
        assert cached.read(layer) == cached.content(layer)


@pytest.mark.parametrize("kept", [100_000, SIZE - 1])
def test_what_an_earlier_server_left_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        cached.ask("1")
        (cached.pulled.root / "partial").mkdir(0o700, exist_ok=True)
        (cached.pulled.root / "partial" / f"sha256-{layer.hex}").write_bytes(cached.content(layer)[:kept])
        cached.registry.requests.clear()
        assert cached.read(layer) == cached.content(layer)
        assert cached.pulled.sent() == len(cached.content(layer)) - kept


def test_what_was_left_and_is_wrong_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        cached.ask("1")
        (cached.pulled.root / "partial").mkdir(0o700, exist_ok=True)
        (cached.pulled.root / "partial" / f"sha256-{layer.hex}").write_bytes(b"x" * 1000)
        with pytest.raises(errors.DigestMismatch):
            # It may have got the wrong beginning, and is cut off.
            cached.read(layer)
        assert cached.read(layer) == cached.content(layer)
        assert not orlop.stores.fsck(cached.images.root).problems


@pytest.mark.parametrize("quirks", [{"cut": 1_000_000, "cuts": 2}, {"ranges": "ignored", "cut": 1_000_000}])
def test_a_connection_that_breaks_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quirks: dict[str, Any]
) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        cached.ask("1")
        cached.pulled.quirks(**quirks)
        assert cached.read(layer) == cached.content(layer)


def test_an_upstream_that_is_away_is_stood_in_for_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caching(tmp_path, monkeypatch, rules=Rules(fresh=60, stale=3600, away=10), tries=1) as (cached, ahead):
        top, _ = cached.push("1")
        cached.ask("1")
        away = Failure(503, methods="HEAD GET")
        cached.pulled.quirks(failures=(away,) * 3)
        cached.asked()
        ahead[0] = 61
        found = cached.ask("1")
        assert (found.row.digest, bool(found.stale)) == (top, True)
        assert cached.asked()
        assert cached.ask("1").stale
        assert cached.asked() == []  # it is not asked again at once
        with pytest.raises(errors.RegistryError):
            cached.ask("other")
        ahead[0] = 5000
        cached.pulled.quirks(failures=(away,) * 3)
        with pytest.raises(errors.RegistryError):
            cached.ask("1")
        cached.pulled.quirks()
        ahead[0] = 5011
        assert cached.ask("1") == CachedManifest(found.row)


def test_an_upstream_that_refuses_is_not_stood_in_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch, rules=Rules(fresh=60)) as (cached, ahead):
        cached.push("1")
        cached.ask("1")
        ahead[0] = 61
        cached.pulled.quirks(auth="basic")
        with pytest.raises(errors.RegistryDenied):
            cached.ask("1")


def test_what_the_upstream_lacks_is_not_asked_for_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caching(tmp_path, monkeypatch, rules=Rules(fresh=60, missing=30)) as (cached, ahead):
        cached.push("other")
        for _ in range(3):
            with pytest.raises(errors.ContentNotFound):
                cached.ask("1")
            with pytest.raises(errors.ContentNotFound):
                cached.read(Digest.of(b"nowhere"))
        assert cached.asked() == ["GET manifests", "HEAD blobs"]
        top, _ = cached.push("1")
        ahead[0] = 31
        assert cached.ask("1").row.digest == top


def test_a_tag_that_the_upstream_deleted_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch, rules=Rules(fresh=60, missing=0)) as (cached, ahead):
        top, _ = cached.push("1")
        cached.ask("1")
        del cached.registry.repository(REPOSITORY).tags["1"]
        ahead[0] = 61
        with pytest.raises(errors.ContentNotFound):
            cached.ask("1")
        by_digest = Reference(cached.name.domain, cached.name.path, None, top)
        assert cached.cache.manifest(by_digest).row.digest == top


def test_a_blob_is_not_seen_through_a_repository_that_does_not_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        cached.ask("1")
        cached.read(layer)
        other = Reference.parse(f"{cached.name.domain}/other/app")
        with pytest.raises(errors.ContentNotFound), cached.cache.blob(other, layer):
            pass


def test_a_cached_blob_whose_bits_a_disk_has_flipped_is_fetched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        cached.ask("1")
        content = cached.read(layer)
        file = Path(cached.images.root) / "blobs" / "sha256" / layer.hex
        before = file.stat()
        file.chmod(0o600)
        with file.open("r+b") as changed:
            changed.write(bytes([content[0] ^ 1]))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        # Another one, which has not just fetched it.
        hosts = {cached.registry.authority: Rules()}
        with closing(PullThrough(cached.images.store, cached.pulled.registries, hosts)) as cache:
            cached.cache = cache
            assert cached.read(layer) != content
            until(lambda: cached.read(layer) == content)
        assert cached.gets(layer) == 2
        assert len(list((Path(cached.images.root) / "quarantine").iterdir())) == 1


def _push_as_own(cached: Cached, content: bytes) -> None:
    hosted = HostedRegistry(cached.images.store)
    mine = hosted.repository("secret/app")
    hosted.uploads.finish(mine, hosted.uploads.begin(mine), Digest.of(content), io.BytesIO(content))


def _load_in_an_index(cached: Cached, content: bytes) -> None:
    layout = Layout()
    layers = [layout.blob(content, "application/octet-stream")]
    artifact = {"schemaVersion": 2, "mediaType": MANIFEST, "config": layout.blob(b"{}", EMPTY), "layers": layers}
    below = layout.index(layout.document(artifact, MANIFEST, artifactType="text/plain"))
    cached.images.load(io.BytesIO(layout.top(layout.index(below, **named("secret/app:1"))).pack()))


@pytest.mark.parametrize("have", [_push_as_own, _load_in_an_index])
def test_an_upstream_that_only_names_what_others_have_here_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, have: Callable[[Cached, bytes], None]
) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        content = cached.content(layer)
        # Somebody has the same content here, and the upstream does not have it, though its manifest names it.
        have(cached, content)
        blobs = cached.registry.repository(REPOSITORY).blobs
        taken = blobs.pop(str(layer))
        cached.ask("1")
        with pytest.raises(errors.ContentNotFound):
            cached.read(layer)
        assert cached.gets(layer) == 0
        blobs[str(layer)] = taken
        cached.cache._missing.clear()
        # What it has is not fetched again.
        assert cached.read(layer) == content
        assert cached.gets(layer) == 0


def test_the_least_recently_used_goes_where_the_quota_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 1 << 20
    with caching(tmp_path, monkeypatch, quota=size * 5 // 2) as (cached, ahead):
        pushed = {tag: cached.push(tag, seed=seed, size=size) for seed, tag in enumerate("abc", 1)}
        for number, tag in enumerate("ab"):
            ahead[0] = number
            cached.ask(tag)
            cached.read(pushed[tag][1])
        ahead[0] = 7200
        cached.ask("a")  # used again, hours later
        cached.ask("c")
        cached.read(pushed["c"][1])
        cached.cache.close()
        has = cached.images.store.content.has
        assert [has(pushed[tag][1]) for tag in "abc"] == [True, False, True]
        assert not has(pushed["b"][0])
        assert not orlop.stores.fsck(cached.images.root).problems


def test_what_is_larger_than_the_quota_drives_nothing_else_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1 << 20
    with caching(tmp_path, monkeypatch, quota=size * 5 // 2) as (cached, ahead):
        pushed = {tag: cached.push(tag, seed=seed, size=size * seed) for tag, seed in (("a", 1), ("large", 3))}
        for number, (tag, (_, layer)) in enumerate(pushed.items()):
            ahead[0] = number * 7200
            cached.ask(tag)
            assert cached.read(layer) == cached.content(layer)
        cached.cache.close()
        has = cached.images.store.content.has
        assert [has(layer) for _, layer in pushed.values()] == [True, False]
        assert not orlop.stores.fsck(cached.images.root).problems


def test_layers_whose_manifest_was_evicted_meanwhile_pass_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 1 << 20
    with caching(tmp_path, monkeypatch, quota=size * 3 // 2) as (cached, _):
        pushed = [cached.push(tag, seed=seed, size=size) for seed, tag in enumerate("abcd", 1)]
        for tag in "abcd":
            cached.ask(tag)
        # The first two are too much, so the first one goes; then those are read that lead nowhere.
        for _, layer in pushed:
            assert cached.read(layer) == cached.content(layer)
        for _, layer in pushed:
            assert cached.read(layer) == cached.content(layer)
        cached.cache.close()
        has = cached.images.store.content.has
        assert sum(has(layer) for _, layer in pushed) == 1
        assert not orlop.stores.fsck(cached.images.root).problems


def test_what_a_person_has_is_never_evicted_and_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1 << 20
    with caching(tmp_path, monkeypatch, quota=size * 3 // 2) as (cached, ahead):
        mine, other, third = (cached.push(tag, seed=seed, size=size) for seed, tag in enumerate("abc", 1))
        cached.pulled.pull("a")
        for number, (tag, pushed) in enumerate((("a", mine), ("b", other), ("c", third))):
            ahead[0] = number
            cached.ask(tag)
            cached.read(pushed[1])
        cached.cache.close()
        has = cached.images.store.content.has
        assert [has(pushed[1]) for pushed in (mine, other, third)] == [True, False, True]
        assert cached.images.inspect(cached.pulled.name("a")).references


def test_children_of_an_index_and_small_and_empty_blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        layout = Layout()
        children = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
        index = layout.index(*children)
        push(cached.registry, layout, index, "1")
        empty = Digest.parse(cached.registry.add_blob(REPOSITORY, b""))
        assert str(cached.ask("1").row.digest) == index["digest"]
        for child in children:
            digest = Digest.parse(child["digest"])
            row = cached.cache.manifest(Reference(cached.name.domain, cached.name.path, None, digest)).row
            for blob in (json.loads(row.raw)["config"], *json.loads(row.raw)["layers"]):
                assert cached.read(Digest.parse(blob["digest"])) == cached.content(blob["digest"])
        assert cached.read(empty) == b""
        cached.images.gc()
        assert not orlop.stores.fsck(cached.images.root).problems


@pytest.mark.sampled(3)
def test_two_processes_fetch_a_blob_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        cached.ask("1")
        held = Held(monkeypatch, SIZE // 2)
        with cached.cache.blob(cached.name, layer) as reader:
            assert held.reached.wait(60)
            program = (
                "import sys; from tests.unit.test_pull_through import follow; follow(*sys.argv[1:])",
                str(cached.pulled.root), str(cached.name), str(layer),
            )  # fmt: skip
            with subprocess.Popen([sys.executable, "-c", *program], stdout=subprocess.PIPE) as other:
                assert other.stdout is not None
                assert other.stdout.readline() == b"has begun\n"  # it reads while this process fetches
                held.goes_on.set()
                said = other.stdout.read().decode()
            assert said == f"{layer}\n"
            assert b"".join(iter(lambda: reader.read(1 << 16), b"")) == cached.content(layer)
        assert cached.gets(layer) == 1


def follow(root: str, name: str, digest: str) -> None:
    """Read a blob through a cache of another process, and print what its digest is."""
    transport = HttpTransport(HostTrust(), proxies=NO_PROXIES, resolve=everywhere)
    reference = Reference.parse(name)
    with orlop.open(root) as images:
        cache = PullThrough(images.store, Registries(transport), {reference.domain: Rules()})
        with closing(cache), cache.blob(reference, Digest.parse(digest)) as reader:
            got = reader.read(1000)
            print("has begun", flush=True)
            while data := reader.read(1 << 16):
                got += data
        print(Digest.of(got))
    transport.close()


def test_a_client_names_the_registry_or_means_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pulling(tmp_path) as pulled:
        cache = PullThrough(pulled.images.store, pulled.registries, {"docker.io": Rules(), "quay.io": Rules()})
        assert str(cache.repository("library/alpine")) == "docker.io/library/alpine"
        assert str(cache.repository("team/app", "quay.io")) == "quay.io/team/app"
        assert cache.repository("team/app", "ghcr.io") is None


@pytest.mark.sampled(3)
def test_a_download_whose_process_dies_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with caching(tmp_path, monkeypatch) as (cached, _):
        _, layer = cached.push("1")
        cached.ask("1")
        cached.pulled.quirks(stall=SIZE // 2)
        program = (
            "import sys; from tests.unit.test_pull_through import follow; follow(*sys.argv[1:])",
            str(cached.pulled.root), str(cached.name), str(layer),
        )  # fmt: skip
        with subprocess.Popen([sys.executable, "-c", *program], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"has begun\n"
            with cached.cache.blob(cached.name, layer) as reader:
                got = reader.read(1000)
                # It reads what the other process fetches, and has asked for nothing.
                assert cached.gets(layer) == 1
                cached.pulled.quirks()
                other.kill()
                got += b"".join(iter(lambda: reader.read(1 << 16), b""))
        assert got == cached.content(layer)
        assert not orlop.stores.fsck(cached.images.root).problems
