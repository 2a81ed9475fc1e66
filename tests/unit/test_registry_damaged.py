"""What a database has lost or damaged of a manifest is missing, so that a push, or another registry, mends it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

import orlop
from tests import engines
from tests.unit.hosted import code, described, digest_of, hosting, index_of
from tests.unit.layouts import INDEX, MANIFEST
from tests.unit.test_proxied_registry import path, proxying

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.hosted import RegistryClient

WHERE = "/v2/team/app/manifests"
_FLIP = "UPDATE manifest SET content = CAST(replace(content, 'schemaVersion', 'schemaversion') AS BLOB)"
_CUT = "UPDATE manifest SET content = substr(content, 1, 9)"


def change(root: Path, *statements: str) -> None:
    database = next(root.rglob("metadata.db"))
    with closing(sqlite3.connect(database, timeout=60)) as rows, rows:
        for one in statements:
            rows.execute(one)


@pytest.mark.parametrize("damage", [_FLIP, _CUT], ids=["other bytes", "cut off"])
def test_a_damaged_manifest_is_missing_until_it_is_pushed_again(tmp_path: Path, damage: str) -> None:
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        manifest = client.push_image("team/app", "1")
        signature = client.push_artifact("team/app", described(manifest, MANIFEST))
        digest = digest_of(manifest)
        change(tmp_path, damage)
        for reference in ("1", digest):
            for method in ("GET", "HEAD"):
                assert client.ask(method, f"{WHERE}/{reference}").status == 404
        answer = client.get(f"{WHERE}/1")
        assert code(answer) == "MANIFEST_UNKNOWN"
        assert "damaged" in answer.json["errors"][0]["message"]
        assert client.get(f"/v2/team/app/referrers/{digest}").json["manifests"] == []
        # Whoever sees that nothing is there may put it as something new.
        headers = {"Content-Type": MANIFEST, "If-None-Match": "*"}
        assert client.ask("PUT", f"{WHERE}/1", body=manifest, headers=headers).status == 201
        client.push_manifest("team/app", signature)
        for reference in ("1", digest):
            assert client.get(f"{WHERE}/{reference}").body == manifest
        (one,) = client.get(f"/v2/team/app/referrers/{digest}").json["manifests"]
        assert one["digest"] == digest_of(signature)
        assert orlop.stores.fsck(images.root).problems == ()


def test_a_server_that_finds_a_damaged_manifest_when_it_begins_has_it_mended_as_well(tmp_path: Path) -> None:
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        manifest = client.push_image("team/app", "1")
        signature = client.push_artifact("team/app", described(manifest, MANIFEST))
    change(tmp_path, _FLIP)
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        referrers = f"/v2/team/app/referrers/{digest_of(manifest)}"
        assert client.get(f"{WHERE}/1").status == 404
        assert client.get(referrers).json["manifests"] == []
        client.push_manifest("team/app", signature)
        client.push_manifest("team/app", manifest)
        assert client.get(f"{WHERE}/1").body == manifest
        assert len(client.get(referrers).json["manifests"]) == 1
        change(tmp_path, _FLIP)
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        for one in (manifest, signature):
            assert client.delete(f"{WHERE}/{digest_of(one)}").status == 202
    assert orlop.stores.fsck(tmp_path / "root").problems == ()


def test_a_tag_of_a_damaged_manifest_is_not_deleted_against_its_condition(tmp_path: Path) -> None:
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        manifest = client.push_image("team/app", "1")
        change(tmp_path, _FLIP)
        for one in (f'"{digest_of(b"something else")}"', f'"{digest_of(manifest)}"', "*"):
            assert client.ask("DELETE", f"{WHERE}/1", headers={"If-Match": one}).status == 412
        assert client.ask("DELETE", f"{WHERE}/2", headers={"If-Match": "*"}).status == 404
        client.push_manifest("team/app", manifest)
        assert client.get(f"{WHERE}/1").body == manifest
        change(tmp_path, _FLIP)
        assert client.ask("DELETE", f"{WHERE}/1").status == 202


def test_a_damaged_config_is_missing_until_it_is_pushed_again(tmp_path: Path) -> None:
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        manifest = client.push_image("team/app", "1")
        config = json.loads(manifest)["config"]["digest"]
        target = f"/v2/team/app/blobs/{config}"
        content = client.get(target).body
        # What was pulled or loaded has its config in the rows alone.
        damage = "UPDATE image SET config = CAST(replace(config, 'amd64', 'amd46') AS BLOB)"
        change(tmp_path, damage, f"DELETE FROM blob WHERE digest = '{config}'")
        assert [client.ask(method, target).status for method in ("GET", "HEAD")] == [404, 404]
        answer = client.put(f"{WHERE}/1", manifest)
        assert (answer.status, code(answer)) == (400, "MANIFEST_BLOB_UNKNOWN")
        assert answer.json["errors"][0]["detail"] == {"digest": config}
        assert client.push_blob("team/app", content) == config
        client.push_manifest("team/app", manifest, "1")
        assert client.get(target).body == content
        assert orlop.stores.fsck(images.root).problems == ()


def test_an_index_above_a_damaged_manifest_is_an_image_without_it(tmp_path: Path) -> None:
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        damaged, sound = client.push_image("team/app"), client.push_image("team/app", None, "b")
        change(tmp_path, f"{_FLIP} WHERE digest = '{digest_of(damaged)}'")
        index = index_of(damaged, sound)
        client.push_manifest("team/app", index, "1", INDEX)
        assert len([one for one in images.images() if any(name.tag == "1" for name in one.references)]) == 1
        assert client.get(f"{WHERE}/1").body == index
        assert client.get(f"{WHERE}/{digest_of(damaged)}").status == 404
        client.push_manifest("team/app", damaged)
        assert client.get(f"{WHERE}/{digest_of(damaged)}").body == damaged
        assert orlop.stores.fsck(images.root).problems == ()


LOSSES = {
    "damaged": _FLIP,
    "cut off": _CUT,
    "manifests": "DELETE FROM manifest",
    "names": "DELETE FROM top",
    "edges": "DELETE FROM edge",
    "blobs": "DELETE FROM blob",
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_cache_fetches_anew_what_it_has_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str) -> None:
    with proxying(tmp_path, monkeypatch) as (client, cached, _):
        top, layer = cached.push("1")
        wanted = [path("manifests", "1"), path("manifests", top), path("blobs", layer)]
        before = [client.get(one).body for one in wanted]
        assert [digest_of(one) for one in before] == [str(top), str(top), str(layer)]
        change(tmp_path, LOSSES[loss])
        assert [client.get(one).body for one in wanted] == before


def test_a_page_begins_behind_whatever_the_client_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with orlop.open(engines.placed(monkeypatch, tmp_path)) as images, hosting(images, tmp_path) as client:
        _check_pages(client)
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as client:
        _check_pages(client)


def _check_pages(client: RegistryClient) -> None:
    client.push_image("a/b", "1")
    client.push_image("a/b", "2")
    for last, tags in (("%00", ["1", "2"]), ("1%00", ["2"]), ("1%00%ff", ["2"]), ("%ff", []), ("%ed%a0%80", [])):
        answer = client.get(f"/v2/a/b/tags/list?last={last}")
        assert (answer.status, answer.json.get("tags")) == (200, tags)
    for last, names in (("%00", ["a/b"]), ("a%00", ["a/b"]), ("a/b%00", []), ("%ff", [])):
        answer = client.get(f"/v2/_catalog?last={last}")
        assert (answer.status, answer.json.get("repositories")) == (200, names)
