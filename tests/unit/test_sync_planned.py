"""A dry run of a sync says of each tag what the run says that follows it, whatever the tag and the target are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.layouts import Layout, named
from tests.unit.pushed import placed, simple
from tests.unit.synced import CONFIG_TYPE, MANIFEST, add_image, add_index, descriptor, entry, sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.service.sync.report import SyncReport
    from tests.unit.pushed import Place

TARGETS = ["docker", "store", "oci", "oci-archive", "docker-archive"]
SIGNATURE = "application/vnd.dev.cosign.simplesigning.v1+json"
KEEPS_REFERRERS = ["docker", "store", "oci", "oci-archive"]


class Planned:
    """A registry with a repository ``team/app``, a place to sync it to, and what is remembered between runs."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.there = place.there
        self.folder = folder

    def source(self, repository: str = "team/app") -> str:
        return f"docker://{self.place.name(repository)}"

    def target(self, kind: str) -> str:
        where = {
            "docker": f"docker://{self.place.name('mirror/app')}",
            "store": "store:mirror/app",
            "oci": f"oci:{self.folder}/layout:mirror/app",
            "dir": f"dir:{self.folder}/directory",
        }
        return where.get(kind, f"{kind}:{self.folder}/app.tar")

    def image(self, repository: str, tag: str, text: str) -> str:
        """Push an image, and return the digest of its manifest."""
        self.place.load(simple(self.place.name(f"{repository}:{tag}"), text))
        return str(self.place.push(f"{repository}:{tag}").tags[0].digest)

    def index(self, tag: str, text: str = "") -> None:
        """Push an index of images for three platforms."""
        layout = Layout()
        children = [
            layout.image(f"{text}{one}", architecture=one, platform=True) for one in ("amd64", "arm64", "s390x")
        ]
        self.place.load(layout.top(layout.index(*children, **named(self.place.name(f"team/app:{tag}")))))
        self.place.push(f"team/app:{tag}", platform="all")

    def agreed(self, text: str, *, state: bool = True, **options: Any) -> list[str]:
        """Return what became of the tags, of which a dry run and the run have said the same."""
        more = options | ({"state": self.folder / "state"} if state else {})
        planned = sync(self.place, text, dry_run=True, **more)
        done = sync(self.place, text, **more)
        # In a layout tags become visible together, those that are unchanged before them.
        assert sorted(told(planned), key=str) == sorted(told(done), key=str)
        return [one.action.value for one in done.tags]

    def referring(self, subject: str, text: str) -> str:
        """Put an artifact into the repository that refers to a manifest of it."""
        raw = self.there.repository("team/app").manifests[subject][1]
        about = descriptor(MANIFEST, subject, len(raw))
        return add_image(self.there, "team/app", None, text, subject=about)


def told(report: SyncReport) -> list[tuple[object, ...]]:
    """Return what a report says of each tag but for sizes, and for words that are about what was done."""
    return [(one.source, one.target, one.action, one.reason, one.digest, type(one.error)) for one in report.tags]


@pytest.fixture
def planned(tmp_path: Path) -> Iterator[Planned]:
    with placed(tmp_path / "root") as place:
        yield Planned(place, tmp_path)


def list_of(planned: Planned, repository: str, subject: str, *signatures: str) -> str:
    """Put a list of signatures under the tag of cosign's for a manifest."""
    layer = b"signed"
    digest = planned.there.add_blob(repository, layer)
    config = json.dumps({
        "architecture": "", "os": "", "config": {}, "history": [{"created": "0001-01-01T00:00:00Z"}] * len(signatures),
        "rootfs": {"type": "layers", "diff_ids": [digest] * len(signatures)},
    }).encode()  # fmt: skip
    layers = [descriptor(SIGNATURE, digest, len(layer), annotations={"signature": one}) for one in signatures]
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG_TYPE, planned.there.add_blob(repository, config), len(config)),
        "layers": layers,
    }
    raw = json.dumps(document).encode()
    tag = f"{subject.replace(':', '-')}.sig"
    return planned.there.add_manifest(repository, raw, MANIFEST, tag=tag)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("state", [True, False])
@pytest.mark.parametrize("kind", TARGETS)
def test_of_tags_that_are_new_moved_and_the_same(planned: Planned, kind: str, *, state: bool):
    for tag in ("1", "2"):
        planned.image("team/app", tag, tag)
    text = entry(planned.source(), planned.target(kind))
    assert planned.agreed(text, state=state) == ["copied"] * 2
    planned.image("team/app", "2", "another")
    planned.image("team/app", "3", "3")
    moved = planned.agreed(text, state=state)
    assert (
        sorted(moved) == ["copied"] * 3 if kind in {"oci-archive", "docker-archive"} else ["copied"] * 2 + ["unchanged"]
    )
    again = planned.agreed(text, state=state)
    assert set(again) == {"copied" if kind.endswith("archive") and not state else "unchanged"}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("platforms", [None, ["linux/amd64"], ["linux/amd64", "linux/arm64"]])
@pytest.mark.parametrize("state", [True, False])
@pytest.mark.sampled(18)
def test_of_indexes(planned: Planned, kind: str, platforms: list[str] | None, *, state: bool):
    planned.index("1")
    more = {} if platforms is None else {"platforms": platforms}
    text = entry(planned.source(), planned.target(kind), **more)
    assert planned.agreed(text, state=state) == ["copied"]
    again = planned.agreed(text, state=state)
    assert again == ["copied" if kind.endswith("archive") and not state else "unchanged"]
    planned.index("1", "more")
    assert planned.agreed(text, state=state) == ["copied"]


@pytest.mark.sampled(8)
@pytest.mark.parametrize("kind", KEEPS_REFERRERS)
@pytest.mark.parametrize("state", [True, False])
def test_of_what_refers_to_an_image_that_is_there(planned: Planned, kind: str, *, state: bool):
    subject = planned.image("team/app", "1", "1")
    text = entry(planned.source(), planned.target(kind), tags=["1"], referrers=True)
    assert planned.agreed(text, state=state) == ["copied"]
    is_known = state or not kind.endswith("archive")
    assert planned.agreed(text, state=state) == ["unchanged" if is_known else "copied"]
    planned.referring(subject, "about")
    assert planned.agreed(text, state=state) == ["copied"]
    assert planned.agreed(text, state=state) == ["unchanged" if is_known else "copied"]
    list_of(planned, "team/app", subject, "one")
    assert planned.agreed(text, state=state) == ["copied"]
    assert planned.agreed(text, state=state) == ["unchanged" if is_known else "copied"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("state", [True, False])
def test_of_what_refers_to_an_image_that_was_copied_without(planned: Planned, *, state: bool):
    subject = planned.image("team/app", "1", "1")
    planned.referring(subject, "about")
    for kind in KEEPS_REFERRERS:
        for more in ({}, {"referrers": True}):
            text = entry(planned.source(), planned.target(kind), tags=["1"], **more)
            assert planned.agreed(text, state=state) == ["copied"]


@pytest.mark.parametrize("kind", KEEPS_REFERRERS)
@pytest.mark.parametrize("referrers", [True, False])
@pytest.mark.sampled(8)
def test_of_tags_that_attach_something(planned: Planned, kind: str, *, referrers: bool):
    subject = planned.image("team/app", "1", "1")
    tags = [f"{subject.replace(':', '-')}.{one}" for one in ("sig", "sbom")]
    add_image(planned.there, "team/app", tags[1], "sbom")
    list_of(planned, "team/app", subject, "one")
    text = entry(planned.source(), planned.target(kind), tags=["1", *tags], referrers=referrers)
    new = "unchanged" if referrers and kind in {"docker", "store"} else "copied"
    assert planned.agreed(text) == ["copied", new, new]
    assert planned.agreed(text) == ["unchanged"] * 3
    list_of(planned, "team/app", subject, "one", "two")
    assert "copied" in planned.agreed(text)
    assert planned.agreed(text) == ["unchanged"] * 3


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("there", "then"), [(["one"], "copied"), (["one", "two", "three"], "unchanged"), (["three"], "copied")], ids=str
)
@pytest.mark.parametrize("referrers", [True, False])
def test_of_a_list_of_signatures_that_has_grown_at_the_target(
    planned: Planned, there: list[str], then: str, *, referrers: bool
):
    subject = planned.image("team/app", "1", "1")
    planned.image("mirror/app", "1", "1")
    list_of(planned, "team/app", subject, "one", "two")
    list_of(planned, "mirror/app", subject, *there)
    text = entry(
        planned.source(), planned.target("docker"), tags=[f"{subject.replace(':', '-')}.sig"], referrers=referrers
    )
    assert planned.agreed(text) == [then]
    assert planned.agreed(text) == ["unchanged"]
    with_subject = entry(planned.source(), planned.target("docker"), tags=["1"], referrers=True)
    planned.agreed(with_subject)
    assert planned.agreed(with_subject) == ["unchanged"]


def test_of_a_list_of_signatures_that_cannot_be_joined(planned: Planned):
    subject = planned.image("team/app", "1", "1")
    list_of(planned, "team/app", subject, "one")
    add_index(planned.there, "mirror/app", f"{subject.replace(':', '-')}.sig", "amd64")
    assert planned.agreed(
        entry(planned.source(), planned.target("docker"), tags=[f"{subject.replace(':', '-')}.sig"])
    ) == ["failed"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", ["docker", "store", "oci"])
def test_of_entries_that_share_a_target(planned: Planned, kind: str):
    for repository in ("team/app", "team/other"):
        planned.image(repository, "1", "1")
        planned.image(repository, "2", repository)
    one, other = (entry(planned.source(name), planned.target(kind)) for name in ("team/app", "team/other"))
    assert planned.agreed(one + one) == ["copied"] * 2 + ["unchanged"] * 2
    moved = planned.agreed(one + other)
    assert moved == ["unchanged"] * 3 + ["copied"]


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("delete", [True, False])
@pytest.mark.sampled(8)
def test_of_a_mirror_whose_source_has_dropped_tags(planned: Planned, kind: str, *, delete: bool):
    for tag in ("1", "2", "3"):
        planned.image("team/app", tag, tag)
    text = entry(planned.source(), planned.target(kind), mirror=True)
    assert planned.agreed(text, delete=delete) == ["copied"] * 3
    del planned.there.repository("team/app").tags["1"]
    planned.agreed(text, delete=delete)
    planned.agreed(text + entry(planned.source(), planned.target(kind), tags=["1"]), delete=delete)
    planned.agreed(text, delete=delete)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", TARGETS)
def test_of_a_mirror_that_would_be_left_without_a_tag(planned: Planned, kind: str):
    planned.image("team/app", "1", "1")
    planned.image("team/app", "x", "x")
    text = entry(planned.source(), planned.target(kind), match=["1"], mirror=True)
    planned.agreed(text)
    del planned.there.repository("team/app").tags["1"]
    expected = "failed" if kind.endswith("archive") else "removed"
    assert planned.agreed(text, delete=True) == [expected]


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive", "dir"])
def test_of_a_target_that_is_something_else(planned: Planned, kind: str):
    planned.image("team/app", "1", "1")
    text = entry(planned.source(), planned.target(kind), tags=["1"])
    path = planned.folder / planned.target(kind).split(":")[1]
    if kind.endswith("archive"):
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "notes").write_text("mine")
    assert planned.agreed(text) == ["failed"]


@pytest.mark.parametrize("kind", [*TARGETS, "dir"])
def test_of_an_artifact(planned: Planned, kind: str):
    raw = json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/vnd.example",
        "config": descriptor("application/vnd.oci.empty.v1+json", planned.there.add_blob("team/app", b"{}"), 2),
        "layers": [descriptor("text/plain", planned.there.add_blob("team/app", b"words"), 5)],
    }).encode()  # fmt: skip
    planned.there.add_manifest("team/app", raw, MANIFEST, tag="1")
    text = entry(planned.source(), planned.target(kind), tags=["1"])
    assert planned.agreed(text) == ["copied"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", TARGETS)
def test_of_a_tag_that_is_not_there(planned: Planned, kind: str):
    planned.image("team/app", "1", "1")
    planned.agreed(entry(planned.source(), planned.target(kind), tags=["1", "none"]))
    planned.agreed(entry(planned.source("nothing"), planned.target(kind)))
    planned.agreed(entry(planned.source(), planned.target(kind), tags=["1"], platforms=["linux/riscv64"]))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("kind", TARGETS)
def test_of_tags_that_are_left_alone_where_they_are(planned: Planned, kind: str):
    planned.image("team/app", "1", "1")
    text = entry(planned.source(), planned.target(kind), skip_existing=True)
    assert planned.agreed(text) == ["copied"]
    planned.image("team/app", "1", "moved")
    assert planned.agreed(text) == ["unchanged"]


@pytest.mark.parametrize("kind", ["docker", "store", "oci"])
def test_of_a_tag_that_is_left_alone_where_another_entry_has_written_it(planned: Planned, kind: str):
    planned.image("team/app", "1", "1")
    planned.image("team/other", "1", "other")
    target = planned.target(kind)
    first, second = planned.source(), planned.source("team/other")
    assert planned.agreed(entry(first, target) + entry(second, target, skip_existing=True)) == ["copied", "unchanged"]
    assert planned.agreed(entry(first, target)) == ["unchanged"]


def test_of_a_layout_that_two_entries_spell_in_two_ways(planned: Planned):
    planned.image("team/app", "1", "1")
    target = planned.target("oci")
    other = target.replace("/layout:", "/./layout:")
    assert planned.agreed(entry(planned.source(), target) + entry(planned.source(), other)) == ["copied", "unchanged"]
