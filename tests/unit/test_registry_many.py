"""A repository with very many tags and referrers: bounded answers, and work that grows no faster than their number."""

from __future__ import annotations

import functools
import json
import operator
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.model.digest import Digest, ImageID
from orlop.service.hosted import registry as hosted
from orlop.service.hosted import repository
from orlop.service.hosted.registry import HostedRegistry
from orlop.service.hosted.repository import Hosts
from orlop.store.content import home_row
from orlop.store.rows.metadata import ManifestRow, ReferenceRow, TopRow
from orlop.store.rows.postgres.rows import PostgresRows
from orlop.store.rows.sqlite.content import _HOLDS_MANIFEST, SQLiteContentRows
from orlop.store.rows.sqlite.rows import SQLiteRows
from tests import engines
from tests.unit.hosted import SIGNATURE, described, digest_of, hosting, written
from tests.unit.layouts import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.unit.hosted import RegistryClient

KEY = "localhost:5000/a/b"


def pages(client: RegistryClient, target: str) -> list[list[str]]:
    found = []
    while target:
        answer = client.get(target)
        assert answer.status == 200
        found.append([one["digest"] for one in answer.json["manifests"]])
        target = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
    return found


def refer(images: orlop.ImageService, signature: bytes, count: int, note: str = "") -> list[str]:
    """Have so many artifacts refer to what one refers to, and return their digests."""
    found = [signature]
    with images.store.metadata.write() as rows:
        for number in range(count - 1):
            raw = written(json.loads(signature) | {"annotations": {"n": f"{number}{note}"}})
            rows.put_manifest(ManifestRow(Digest.of(raw), MANIFEST, raw), [])
            rows.put_top(home_row(KEY, Digest.of(raw), images.store.now()))
            found.append(raw)
    return sorted(map(digest_of, found))


@pytest.mark.parametrize("count", [1, 3, 4, 7])
def test_referrers_come_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(hosted, "MOST_REFERRERS", 3)
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        manifest = client.push_image("a/b", "1")
        signature = client.push_artifact("a/b", described(manifest, MANIFEST))
        digests = refer(images, signature, count)
        target = f"/v2/a/b/referrers/{digest_of(manifest)}"
        whole = [digests[start : start + 3] for start in range(0, count, 3)]
        assert pages(client, target) == whole
        # A filter leaves none out, and pages full, since some clients read the first alone.
        assert pages(client, f"{target}?artifactType={SIGNATURE}") == whole
        assert pages(client, f"{target}?artifactType=application/other") == [[]]


def test_a_page_of_referrers_is_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        manifest = client.push_image("a/b", "1")
        signature = client.push_artifact("a/b", described(manifest, MANIFEST))
        digests = refer(images, signature, 5, "x" * 2000)
        monkeypatch.setattr(hosted, "_REFERRERS_SIZE", 6000)
        found = pages(client, f"/v2/a/b/referrers/{digest_of(manifest)}")
        assert functools.reduce(operator.iadd, found, []) == digests
        assert len(found) > 1
        # One that alone is too large comes alone.
        monkeypatch.setattr(hosted, "_REFERRERS_SIZE", 1)
        assert pages(client, f"/v2/a/b/referrers/{digest_of(manifest)}") == [[one] for one in digests]


def test_few_of_many_referrers_are_found_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "MOST_REFERRERS", 2)
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        manifest = client.push_image("a/b", "1")
        signature = client.push_artifact("a/b", described(manifest, MANIFEST))
        refer(images, signature, 9)
        rare = [written(json.loads(signature) | {"artifactType": "a/rare", "n": number}) for number in range(3)]
        for one in rare:
            client.push_manifest("a/b", one)
        digests = sorted(map(digest_of, rare))
        target = f"/v2/a/b/referrers/{digest_of(manifest)}?artifactType=a/rare"
        assert pages(client, target) == [digests[:2], digests[2:]]
        # What is looked at for one page is bounded, too, and nothing is left out for that.
        monkeypatch.setattr(hosted, "_LOOKED_AT", 2 << 10)
        found = pages(client, target)
        assert (sum(found, []), len(found)) == (digests, 6)  # noqa: RUF017 - few


def test_a_page_of_referrers_reads_no_more_than_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted, "MOST_REFERRERS", 3)
    monkeypatch.setattr(repository, "_AT_ONCE", 4)
    read: list[object] = []
    for name in ("edges_to", "referring"):
        real = getattr(SQLiteContentRows, name)

        def noted(*words: Any, real: Any = real, **more: Any) -> list[Any]:
            found: list[Any] = real(*words, **more)
            read.extend(found)
            return found

        monkeypatch.setattr(SQLiteContentRows, name, noted)
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        manifest = client.push_image("a/b", "1")
        digests = refer(images, client.push_artifact("a/b", described(manifest, MANIFEST)), 40)
        target = f"/v2/a/b/referrers/{digest_of(manifest)}"
        assert sum(pages(client, target), []) == digests  # noqa: RUF017 - few
        for after in ("", digests[20], f"{digests[20]}%00x", "%ff", "z"):
            read.clear()
            answer = client.get(f"{target}?last={after}")
            behind = [one for one in digests if one > after.partition("%")[0]]
            assert [one["digest"] for one in answer.json["manifests"]] == ([] if after == "%ff" else behind[:3])
            assert len(read) <= 4


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["directory", "engines"])
def test_what_others_have_refer_to_a_manifest_costs_little_and_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    root: Path | str = tmp_path / "root"
    rows_of: type[SQLiteRows | PostgresRows] = SQLiteRows
    if kind == "engines":
        root, rows_of = engines.placed(monkeypatch, tmp_path), PostgresRows
    with orlop.open(root) as images, hosting(images, tmp_path) as client:
        manifest = client.push_image("a/b", "1")
        theirs = client.push_artifact("c/d", described(manifest, MANIFEST))
        ours = refer(images, client.push_artifact("a/b", described(manifest, MANIFEST), b"ours"), 3, "ours")
        refer_to = json.loads(theirs)
        # What came without a name of its own belongs to its subject.
        nameless = written(refer_to | {"annotations": {"of": "nobody"}})
        with images.store.metadata.write() as rows:
            rows.put_manifest(ManifestRow(Digest.of(nameless), MANIFEST, nameless), [])
            for number in range(20):
                raw = written(refer_to | {"annotations": {"of": str(number)}})
                rows.put_manifest(ManifestRow(Digest.of(raw), MANIFEST, raw), [])
                rows.put_top(home_row("localhost:5000/c/d", Digest.of(raw), 1))
        asked: list[Digest] = []
        holds = rows_of.holds_manifest

        def counting(self: Any, name: str, digest: Digest) -> bool:
            asked.append(digest)
            return holds(self, name, digest)

        monkeypatch.setattr(rows_of, "holds_manifest", counting)
        found = pages(client, f"/v2/a/b/referrers/{digest_of(manifest)}")
        assert found == [sorted([*ours, digest_of(nameless)])]
        assert asked == [Digest.of(nameless)]


def test_the_names_of_an_image_are_looked_at_once_however_many_tags_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with orlop.open(tmp_path / "root") as images:
        with hosting(images, tmp_path) as client:
            digest = Digest.parse(digest_of(client.push_image("a/b", "1")))
        for number in range(20):
            images.tag(f"{KEY}:1", f"{KEY}:t{number}")
        with images.store.metadata.write() as rows:
            for number in range(20):
                rows.put_top(TopRow(KEY, f":t{number}", digest, images.store.now()))
        listed: list[object] = []
        references = SQLiteRows.references

        def counting(self: SQLiteRows, **options: Any) -> object:
            listed.append(options)
            return references(self, **options)

        monkeypatch.setattr(SQLiteRows, "references", counting)
        registry = HostedRegistry(images.store, Hosts(("localhost:5000",)))
        repository = registry.repository("a/b")
        registry.delete_manifest(repository, digest)
        assert len(listed) < 10
        assert registry.tags(repository) == []


@pytest.mark.parametrize("is_tagged", [True, False])
def test_a_manifest_with_twice_the_tags_takes_about_twice_the_work(tmp_path: Path, is_tagged: bool) -> None:  # noqa: FBT001
    few, many = (steps(tmp_path / str(tags), tags, is_tagged=is_tagged) for tags in (150, 600))
    assert many < 8 * few


def steps(root: Path, tags: int, *, is_tagged: bool) -> int:
    """Return how many hundreds of steps SQLite takes to see that a repository has a manifest with so many tags."""
    with orlop.open(root) as images:
        with hosting(images, root) as client:
            digest = Digest.parse(digest_of(client.push_image("a/b", "1")))
        with images.store.metadata.write() as rows:
            (image,) = rows.images_of(digest)
            for number in range(tags):
                rows.put_reference(ReferenceRow(KEY, f":t{number}", ImageID.wrap(image), images.store.now()))
                if is_tagged:
                    rows.put_top(TopRow(KEY, f":t{number}", digest, images.store.now()))
            if not is_tagged:
                rows.delete_top(KEY, ":1")
    taken = 0

    def count() -> None:
        nonlocal taken
        taken += 1

    with closing(sqlite3.connect(root / "metadata.db")) as rows_:
        rows_.set_progress_handler(count, 100)
        assert rows_.execute(_HOLDS_MANIFEST, (KEY, str(digest))).fetchone() == (1,)
    return taken + 1


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["directory", "engines"])
def test_what_refers_to_a_manifest_is_looked_at_once_however_many_tags_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    root: Path | str = tmp_path / "root"
    rows_of: type[SQLiteRows | PostgresRows] = SQLiteRows
    if kind == "engines":
        root, rows_of = engines.placed(monkeypatch, tmp_path), PostgresRows
    with orlop.open(root) as images, hosting(images, tmp_path) as client:
        manifest = client.push_image("a/b", "1")
        refer(images, client.push_artifact("a/b", described(manifest, MANIFEST)), 5)
        digest = Digest.parse(digest_of(manifest))
        with images.store.metadata.write() as rows:
            for number in range(20):
                rows.put_top(TopRow(KEY, f":t{number}", digest, images.store.now()))
        looked: list[list[str]] = []
        prune = rows_of._prune_near

        def counting(self: Any, digests: Iterable[str]) -> None:
            looked.append(list(digests))
            prune(self, looked[-1])

        monkeypatch.setattr(rows_of, "_prune_near", counting)
        # Nor is it for tags that move away from it.
        other = Digest.parse(digest_of(client.push_image("a/b", "2", "b")))
        with images.store.metadata.write() as rows:
            for number in range(10):
                rows.put_top(TopRow(KEY, f":t{number}", other, images.store.now()))
        assert not any(str(digest) in one for one in looked)
        assert client.delete(f"/v2/a/b/manifests/{digest}").status == 202
        assert sum(str(digest) in one for one in looked) < 6
        assert client.get(f"/v2/a/b/manifests/{digest}").status == 404
        assert len(client.get(f"/v2/a/b/referrers/{digest}").json["manifests"]) == 5
