"""What `prune` leaves of what was pushed: an index stays whole as long as a tag of it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import orlop
from tests.unit.hosted import described, digest_of, index_of, written
from tests.unit.layouts import INDEX, MANIFEST

if TYPE_CHECKING:
    from tests.unit.hosted import RegistryClient


def push_index(registry: RegistryClient, tag: str, *manifests: bytes, **more: object) -> bytes:
    index = index_of(*manifests, **more)
    assert registry.put(f"/v2/app/manifests/{tag}", index, INDEX).status == 201
    return index


def held(registry: RegistryClient, *manifests: bytes) -> list[bool]:
    return [registry.get(f"/v2/app/manifests/{digest_of(one)}").status == 200 for one in manifests]


def reasons(images: orlop.ImageService, **rules: bool | int) -> list[str]:
    report = images.prune(dry_run=True, **rules)  # type: ignore[arg-type]
    return sorted(f"{'-' if one.goes else '+'}{one.reason}" for one in report.images)


def test_images_without_tags_stay_as_long_as_an_index_with_a_tag_needs_them(registry, images):
    pair = [registry.push_image("app", None, name) for name in ("one", "two")]
    loose = registry.push_image("app", None, "loose")
    inner = push_index(registry, "1", *pair)
    push_index(registry, "outer", manifests=[described(inner, INDEX)])
    assert reasons(images) == ["+index", "+named", "-dangling"]
    images.prune()
    assert held(registry, *pair, loose) == [True, True, False]
    # An index is needed by one tag as by two.
    images.remove("localhost:5000/app:1")
    images.prune()
    assert held(registry, *pair) == [True, True]
    images.remove("localhost:5000/app:outer")
    images.prune()
    assert held(registry, *pair) == [False, False]


def test_an_index_and_its_images_go_together(registry, images):
    pair = [registry.push_image("app", None, name) for name in ("one", "two")]
    push_index(registry, "1", *pair)
    assert reasons(images, all=True) == ["-all", "-dangling"]
    images.prune(all=True)
    assert held(registry, *pair) == [False, False]


def test_an_old_tag_of_an_image_stays_with_it_where_a_newer_index_needs_it(registry, images):
    pair = [registry.push_image("app", f"{name}-1", name) for name in ("one", "two")]
    push_index(registry, "1", *pair)
    assert reasons(images, keep_last=1) == ["+index", "+newest"]
    images.prune(keep_last=1)
    assert held(registry, *pair) == [True, True]


def test_what_stays_for_one_index_keeps_the_index_that_it_is_the_name_of(registry, images):
    first, second, third = (registry.push_image("app", None, name) for name in ("one", "two", "three"))
    push_index(registry, "2", second, third)
    push_index(registry, "1", first, second)
    images.pin("localhost:5000/app:1")
    assert reasons(images, all=True) == ["+index", "+index", "+pinned"]
    images.prune(all=True)
    assert held(registry, first, second, third) == [True, True, True]


def let_go(images: orlop.ImageService) -> None:
    """End the leases on what was pushed, as their time does."""
    with images.store.metadata.write() as rows:
        for name in rows.leases():
            rows.delete_lease(name)


def test_a_quota_takes_an_index_whole_or_leaves_it_whole(registry, images):
    pair = [registry.push_image("app", None, name) for name in ("one", "two")]
    push_index(registry, "1", *pair)
    newer = registry.push_image("app", "newer", "three")
    let_go(images)
    stored = images.prune(dry_run=True).stored
    # The platform without a tag was not used for longest, but its index stays as long as that has a name.
    images.pin("localhost:5000/app:1")
    assert reasons(images, max_size=stored - 1) == ["+index", "+pinned", "-quota"]
    images.unpin("localhost:5000/app:1")
    assert reasons(images, max_size=stored - 1) == ["+fits", "-quota", "-quota"]
    images.prune(max_size=stored - 1)
    assert held(registry, *pair, newer) == [False, False, True]
    assert images.prune(dry_run=True).lines == images.gc(dry_run=True).garbage == ()


def test_images_that_two_indexes_bind_together_go_together(registry, images):
    first, second = (registry.push_image("app", None, name) for name in ("one", "two"))
    push_index(registry, "1", first, second)
    push_index(registry, "2", second, first)
    let_go(images)
    with images.store.metadata.write() as rows:
        names = {row.suffix: row for row in rows.references() if row.suffix in {":1", ":2"}}
        (other,) = {row.id for row in rows.image_rows(listed_only=False)} - {names[":1"].image}
        top = rows.top(names[":2"].name, ":2")
        assert top is not None
        # Each of the two is the one that a tag means.
        rows.put_reference(names[":2"]._replace(image=other))
        rows.put_top(top)
    assert reasons(images, max_size=0) == ["-quota", "-quota"]
    images.prune(max_size=0)
    assert held(registry, first, second) == [False, False]


def test_a_parent_that_an_index_needs_does_not_go_with_its_last_child(registry, images):
    pair = [registry.push_image("app", None, name) for name in ("one", "two")]
    push_index(registry, "1", *pair)
    child = registry.push_image("app", "child", "three")
    let_go(images)
    every = {image.id: image.references for image in images.images(all=True)}
    (of_child,) = (one for one, names in every.items() if any(name.tag == "child" for name in names))
    (platform,) = (one for one, names in every.items() if not any(name.tag for name in names))
    images.store.images.set_parent(of_child, platform)
    with images.store.metadata.write() as rows:
        for name in rows.references(platform):
            rows.delete_reference(name.name, name.suffix)
    assert "-along" not in reasons(images, max_size=1_000_000)
    images.remove("localhost:5000/app:child")
    assert held(registry, *pair, child) == [True, True, False]


def test_blobs_of_artifacts_count_and_go_with_what_they_speak_of(registry, images):
    image = registry.push_image("app", "1", "one")
    before = images.prune(dry_run=True, all=True)
    signature = b"signed" * 1000
    registry.push_blob("app", signature)
    config = b"{}"
    registry.push_blob("app", config)
    artifact = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/x-signature",
        "config": described(config, "application/vnd.oci.empty.v1+json"),
        "layers": [described(signature, "application/x-signature")],
        "subject": described(image, MANIFEST),
    }
    body = written(artifact)
    assert registry.put(f"/v2/app/manifests/{digest_of(body)}", body, MANIFEST).status == 201
    let_go(images)
    with images.store.metadata.write() as rows:
        # Pushed by its digest alone it has a name of its own, that would keep it.
        assert rows.delete_top("localhost:5000/app", f"@{digest_of(body)}")
    plan = images.prune(dry_run=True, all=True)
    assert plan.stored >= before.stored + len(signature)
    images.pin("localhost:5000/app:1")
    with pytest.raises(orlop.errors.QuotaExceeded):
        images.prune(max_size=before.stored, dry_run=True)
    images.unpin("localhost:5000/app:1")
    assert images.prune(max_size=before.stored, dry_run=True).left == 0
    report = images.prune(all=True)
    assert (report.freed, report.left) == (plan.freed, plan.left) == (plan.stored, 0)
    assert [one.total for one in images.df().files if one.kind == "blob"] == [0]
    assert images.gc(dry_run=True).garbage == ()
