"""A list of signatures under a tag of cosign loses nothing to an older copy of it."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from orlop import errors
from orlop.model.manifest import OCI_INDEX, OCI_MANIFEST
from orlop.testing.registry.quirks import Failure
from orlop.transfer.signatures import grows
from tests.conftest import DATA
from tests.unit.pushed import placed
from tests.unit.synced import actions, sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from orlop.testing.registry.site import Asked, Reply
    from tests.unit.pushed import Place

SIGNED = json.loads((DATA / "registry" / "signed.json").read_text())
"""What cosign 3 wrote, one signature among it."""
IMAGE = SIGNED["tags"]["1"]
SIGNATURES, ATTESTATIONS, SBOM = (f"{IMAGE.replace(':', '-')}.{kind}" for kind in ("sig", "att", "sbom"))
MINE = json.loads(SIGNED["manifests"][SIGNED["tags"][SIGNATURES]]["raw"])
LIST = "dev.cosignproject.cosign/signature"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root", referrers="none") as found:
        for repository in ("old", "new"):
            for blob in SIGNED["blobs"].values():
                found.there.add_blob(repository, base64.b64decode(blob))
            for one in SIGNED["manifests"].values():
                found.there.add_manifest(repository, one["raw"].encode(), one["type"])
            found.there.repository(repository).tags["1"] = IMAGE
        yield found


def signature(text: str) -> dict[str, Any]:
    """Return a layer as a second key of cosign's makes it: the same content, and another signature."""
    return {**MINE["layers"][0], "annotations": {LIST: text}}


def signed(place: Place, repository: str, *signatures: str, tag: str = SIGNATURES) -> str:
    """Put signatures under the tag, as cosign does, and return the digest of their list."""
    rootfs = {"type": "layers", "diff_ids": [MINE["layers"][0]["digest"]] * len(signatures)}
    history = [{"created": "0001-01-01T00:00:00Z"}] * len(signatures)
    config = {"architecture": "", "history": history, "os": "", "rootfs": rootfs, "config": {}}
    raw = json.dumps(config).encode()
    described = MINE["config"] | {"digest": place.there.add_blob(repository, raw), "size": len(raw)}
    manifest = MINE | {"config": described, "layers": [signature(one) for one in signatures]}
    return str(place.there.add_manifest(repository, json.dumps(manifest).encode(), OCI_MANIFEST, tag=tag))


def at(place: Place, tag: str = SIGNATURES) -> str:
    return str(place.there.repository("new").tags[tag])


def listed(place: Place, tag: str = SIGNATURES) -> Sequence[str]:
    """Return the signatures that a client finds, of a list whose parts are all there and fit each other."""
    there = place.there.repository("new")
    manifest = json.loads(there.manifests[at(place, tag)][1])
    assert not there.missing(json.dumps(manifest).encode())
    config = json.loads(there.blobs[manifest["config"]["digest"]])
    layers = manifest["layers"]
    assert config["rootfs"] == {"type": "layers", "diff_ids": [one["digest"] for one in layers]}
    assert len(config["history"]) == len(layers)
    return [one["annotations"][LIST] for one in layers]


def by_copy(place: Place) -> None:
    source, target = (f"docker://{place.name(f'{one}:1')}" for one in ("old", "new"))
    place.images.copy(source, target, place.registries, all_platforms=True, referrers=True)


def by_push(place: Place) -> None:
    store(place, "1")
    place.push("new:1", platform="all", referrers=True)


def by_push_of_all(place: Place) -> None:
    store(place, "1", SIGNATURES)
    place.push("new", platform="all", all_tags=True)


def by_push_of_the_tag(place: Place) -> None:
    store(place, SIGNATURES)
    report = place.push(f"new:{SIGNATURES}")
    assert [str(one.digest) for one in report.tags] == [at(place)]


def by_copy_of_the_tag(place: Place) -> None:
    source, target = (f"docker://{place.name(f'{one}:{SIGNATURES}')}" for one in ("old", "new"))
    report = place.images.copy(source, target, place.registries)
    assert [str(one.digest) for one in report.images] == [at(place)]


def by_sync(place: Place) -> None:
    repositories = f'source = "docker://{place.name("old")}"\ntarget = "docker://{place.name("new")}"\n'
    sync(place, f"[[sync]]\n{repositories}referrers = true\n")


def store(place: Place, *tags: str) -> None:
    """Have the store know what the old repository has as what is to be pushed to the new one."""
    for tag in tags:
        source, target = f"docker://{place.name(f'old:{tag}')}", f"store:{place.name(f'new:{tag}')}"
        place.images.copy(source, target, place.registries, all_platforms=True, referrers=tag == "1")


WAYS = [by_copy, by_push, by_push_of_all, by_push_of_the_tag, by_copy_of_the_tag, by_sync]


@pytest.mark.parametrize("carry", WAYS)
def test_an_older_list_leaves_the_newer_one(carry: Callable[[Place], None], place: Place):
    signed(place, "old", "a")
    newer = signed(place, "new", "a", "b")
    carry(place)
    assert at(place) == newer


@pytest.mark.sampled(2)
@pytest.mark.parametrize("carry", WAYS)
def test_a_newer_list_replaces_the_older_one_as_it_is(carry: Callable[[Place], None], place: Place):
    newer = signed(place, "old", "b", "a")
    signed(place, "new", "a")
    carry(place)
    assert at(place) == newer


@pytest.mark.sampled(2)
@pytest.mark.parametrize("carry", WAYS)
def test_lists_that_grew_apart_are_joined_once(carry: Callable[[Place], None], place: Place):
    signed(place, "old", "a", "b")
    signed(place, "new", "a", "c")
    carry(place)
    assert listed(place) == ["a", "c", "b"]
    joined = at(place)
    carry(place)
    assert at(place) == joined


def test_attestations_are_a_list_and_an_sbom_is_not(place: Place):
    assert grows(SIGNATURES)
    assert grows(ATTESTATIONS)
    for tag in (SBOM, "1", "v1.sig", IMAGE.replace(":", "-")):
        assert not grows(tag)
    signed(place, "old", "a", tag=ATTESTATIONS)
    signed(place, "new", "b", tag=ATTESTATIONS)
    ours = signed(place, "old", "a", tag=SBOM)
    signed(place, "new", "b", tag=SBOM)
    by_copy(place)
    assert listed(place, ATTESTATIONS) == ["b", "a"]
    assert at(place, SBOM) == ours


def test_a_sync_tells_that_nothing_changed(place: Place, tmp_path: Path):
    signed(place, "old", "a")
    signed(place, "new", "a", "b")
    plan = f"""
        [[sync]]
        source = "docker://{place.name("old")}"
        target = "docker://{place.name("new")}"
        tags = ["{SIGNATURES}"]
    """
    state = tmp_path / "state"
    found = sync(place, plan, state=state)
    assert list(actions(found).values()) == ["unchanged"]
    assert found.tags[0].reason == "has all of its signatures"
    place.asked()
    assert list(actions(sync(place, plan, state=state)).values()) == ["unchanged"]
    assert {one.partition(" ")[0] for one in place.asked()} == {"HEAD"}


@pytest.mark.parametrize("before", [(), ("a",)], ids=["the first list", "a further one"])
def test_who_signs_at_the_same_time_is_not_written_over(before: tuple[str, ...], place: Place):
    signed(place, "old", "b")
    if before:
        signed(place, "new", *before)
    condition = "if-match" if before else "if-none-match"
    conditions: list[str | None] = []
    answer = place.there.registry.answer

    def signing(asked: Asked) -> Reply:
        """Sign in the moment before the registry takes what was made of the list that was there."""
        nonlocal condition
        if asked.method == "PUT" and asked.path.endswith(SIGNATURES):
            conditions.append(asked.headers.get(condition))
            if len(conditions) == 1:
                condition = "if-match"
                signed(place, "new", "a", "c")
        return answer(asked)

    place.there.registry.answer = signing
    by_copy(place)
    assert len(conditions) == 2
    assert None not in conditions
    assert listed(place) == ["a", "c", "b"]


@pytest.mark.parametrize("whose", ["proxy's", "registry's", "another text"])
def test_a_weak_tag_of_a_version_is_a_condition_where_it_is_the_digest(whose: str, place: Place):
    signed(place, "old", "b")
    before = signed(place, "new", "a")
    answer, conditions = place.there.registry.answer, list[str | None]()

    def weak(asked: Asked) -> Reply:
        """Answer as through a proxy that compresses, or as a registry whose own tags are good for no `If-Match`."""
        if asked.method == "PUT" and asked.path.endswith(SIGNATURES):
            conditions.append(asked.headers.get("if-match"))
            if whose == "registry's" and conditions[-1]:
                asked.headers["if-match"] = '"another"'
        reply = answer(asked)
        made = 'W/"1"' if whose == "another text" else "W/{}"
        reply.headers[:] = [(name, made.format(value) if name == "ETag" else value) for name, value in reply.headers]
        return reply

    place.there.registry.answer = weak
    by_copy(place)
    expected = {"proxy's": [f'"{before}"'], "registry's": [f'"{before}"', None], "another text": [None]}
    assert (listed(place), conditions) == (["a", "b"], expected[whose])


def test_a_signature_that_came_meanwhile_stays_behind_a_proxy_with_weak_tags(place: Place):
    signed(place, "old", "b")
    signed(place, "new", "a")
    answer, times = place.there.registry.answer, list[str]()

    def signing(asked: Asked) -> Reply:
        if asked.method == "PUT" and asked.path.endswith(SIGNATURES):
            times.append(asked.path)
            if len(times) == 1:
                signed(place, "new", "a", "c")
        reply = answer(asked)
        reply.headers[:] = [(name, f"W/{value}" if name == "ETag" else value) for name, value in reply.headers]
        return reply

    place.there.registry.answer = signing
    by_copy(place)
    assert (listed(place), len(times)) == (["a", "c", "b"], 2)


def test_a_registry_where_others_write_without_end_is_an_error(place: Place):
    signed(place, "old", "b")
    signed(place, "new", "a")
    before = at(place)
    place.quirks(referrers="none", failures=tuple(Failure(412, methods="PUT", path=SIGNATURES) for _ in range(9)))
    with pytest.raises(errors.RegistryError):
        by_copy(place)
    assert at(place) == before


@pytest.mark.parametrize(
    "there", ["index", "other config", "broken config", "fewer diff IDs", "huge config", "other case"]
)
def test_what_cannot_be_joined_stays_and_is_told(there: str, place: Place):
    signed(place, "old", "b")
    manifest = json.loads(place.there.repository("new").manifests[signed(place, "new", "a")][1])
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": []}}).encode()
    if there == "broken config":
        config = b'{"rootfs":7}'
    described = MINE["config"] | {"digest": place.there.add_blob("new", config), "size": len(config)}
    if there == "other config":
        described["mediaType"] = "application/vnd.example.config"
    if there == "huge config":
        described = manifest["config"] | {"size": 1 << 40}
    kind, document = OCI_MANIFEST, manifest | {"config": described}
    if there == "other case":
        document = manifest | {"Layers": manifest["layers"]}
        del document["layers"]
    if there == "index":
        kind, document = OCI_INDEX, {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    before = place.there.add_manifest("new", json.dumps(document).encode(), kind, tag=SIGNATURES)
    with pytest.raises(errors.Conflict, match=f"{SIGNATURES} has signatures that this would remove"):
        by_copy(place)
    assert at(place) == before


def test_a_config_that_is_not_what_its_digest_says_is_refused(place: Place):
    signed(place, "old", "b")
    digest = signed(place, "new", "a")
    there = place.there.repository("new")
    config = json.loads(there.manifests[digest][1])["config"]
    there.blobs[config["digest"]] = b" " * config["size"]
    with pytest.raises(errors.DigestMismatch):
        by_copy(place)
    assert at(place) == digest


@pytest.mark.parametrize("strength", ["strong", "weak", "none"])
def test_whoever_looked_before_and_writes_over_it_is_found_out(strength: str, place: Place):
    """A registry that does not look at conditions takes both lists, of which the second lacks what the first added."""
    signed(place, "old", "b")
    signed(place, "new", "a")
    answer, times = place.there.registry.answer, list[str]()

    def heedless(asked: Asked) -> Reply:
        is_put = asked.method == "PUT" and asked.path.endswith(SIGNATURES)
        if is_put:
            asked.headers.pop("if-match", None)
        reply = answer(asked)
        if is_put:
            times.append(asked.path)
            if len(times) == 1:
                signed(place, "new", "a", "c")
        made = {"strong": "{}", "weak": 'W/"1"', "none": ""}[strength]
        reply.headers[:] = [(name, made.format(value) if name == "ETag" else value) for name, value in reply.headers]
        return reply

    place.there.registry.answer = heedless
    by_copy(place)
    assert (listed(place), len(times)) == (["a", "c", "b"], 2)


def test_a_put_under_a_condition_that_is_known_to_count_is_not_read_again(place: Place):
    signed(place, "old", "b")
    signed(place, "new", "a")
    place.quirks(referrers="none", failures=(Failure(412, methods="PUT", path=SIGNATURES),))
    place.asked()
    by_copy(place)
    asked = [one for one in place.asked() if one.endswith(f"/new/manifests/{SIGNATURES}")]
    assert [one.partition(" ")[0] for one in asked][-4:] == ["GET", "PUT", "GET", "PUT"]


def test_whoever_writes_over_it_without_end_is_told(place: Place, caplog: pytest.LogCaptureFixture):
    signed(place, "old", "b")
    before = signed(place, "new", "a")
    answer = place.there.registry.answer

    def greedy(asked: Asked) -> Reply:
        reply = answer(asked)
        if asked.method == "PUT" and asked.path.endswith(SIGNATURES):
            place.there.repository("new").tags[SIGNATURES] = before
        return reply

    place.there.registry.answer = greedy
    by_copy(place)
    assert "again and again" in caplog.text
