"""What other clients asked Debian's registry: registries here answer the same, and orlop asks no more for the work.

See `tests.unit.conversations`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from orlop.model.manifest import OCI_MANIFEST
from orlop.model.reference import Reference
from orlop.registry.credentials import Credentials
from orlop.testing.registry.fake import FakeRegistry
from orlop.testing.registry.quirks import Quirks
from tests.unit.conversations import USERS, Replayed, comes_with, conversations
from tests.unit.hosted import digest_of, hosting
from tests.unit.layouts import Layout, named
from tests.unit.pulling import Keys
from tests.unit.pushed import placed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.conversations import Conversation, Step
    from tests.unit.pushed import Place

TOLD = conversations()
DISTRIBUTION: dict[str, Any] = {
    "location": "absolute",
    "location_query": "?_state=a%3D",
    "referrers": "none",
    "delete_tag": 400,
    "anonymous": "pull",
}
each = pytest.mark.parametrize("told", TOLD, ids=lambda one: one.name)


# Registries.


@pytest.mark.sampled(4)
@each
def test_the_registry_for_tests_answers_as_distribution_did(told: Conversation):
    with FakeRegistry(Quirks(auth=told.auth, **DISTRIBUTION), users=USERS) as there:
        rights = frozenset((f"r{number}", action) for number in range(1, 9) for action in ("pull", "push", "delete"))
        token = there.tokens.given(rights, "u") if told.auth == "bearer" else ""
        replayed = Replayed(told, there.authority, token)
        for repository, kind, tag, content in replayed.had():
            if kind == "blob":
                there.add_blob(repository, content)
            else:
                there.add_manifest(repository, content, OCI_MANIFEST, tag=tag)
        for step in told.steps:
            if step.kind != "token":
                check(replayed, step, step.status)


def check(replayed: Replayed, step: Step, wanted: int) -> None:
    status, headers, _ = replayed.answer(step)
    assert status == wanted, step
    if wanted == step.status:
        for name, said in comes_with(step).items():
            assert headers[name].startswith(said or ""), step


@each
@pytest.mark.sampled(12)
def test_the_registry_of_orlop_answers_as_distribution_did_where_that_could(told: Conversation, tmp_path: Path):
    with orlop.open(tmp_path / "root") as images, hosting(images, tmp_path) as there:
        replayed = Replayed(told, there.authority)
        for repository, kind, tag, content in replayed.had():
            if kind == "blob":
                there.push_blob(repository, content)
            else:
                there.push_manifest(repository, content, tag or digest_of(content))
        for step in told.steps:
            if step.kind not in {"token", "search"} and step.status != 401:
                # It lists referrers, and removes a tag alone.
                if step.method == "DELETE" and step.kind == "tag":
                    check(replayed, step, 202)
                    break
                check(replayed, step, 200 if step.kind == "referrers" else step.status)


# orlop as the client.


class Work:
    """The same work as in a conversation: a store and a registry that have what those had."""

    def __init__(self, told: Conversation, place: Place) -> None:
        self.told = told
        self.place = place
        self.registries = place.registries

    def new(self, *kinds: str) -> int:
        """Return how many layers crossed the network, of three; a config crossed, too."""
        moved = {step.words[2] for step in self.told.steps if step.kind == "blob" and step.method == "GET"}
        moved |= {one for step in self.told.steps if step.kind == "session" and (one := step.option("digest"))}
        return max(0, min(3, len(moved) - 1))

    def name(self, rest: str) -> str:
        return self.place.name(rest)

    def image(self, name: str, *, variant: str = "", layers: int = 3) -> None:
        """Load an image into the store whose layers are the first of three; a variant has a config of its own."""
        layout = Layout()
        files = [f"layer {number}" for number in range(layers)]
        self.place.load(layout.top(layout.image(*files, variant=variant, **named(self.name(name)))))

    def index(self, name: str) -> None:
        layout = Layout()
        children = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
        self.place.load(layout.top(layout.index(*children, **named(self.name(name)))))

    def forget(self) -> None:
        """Empty the store, so that all of it is to be fetched."""
        self.place.images.prune(all=True)
        self.place.images.gc()

    def asked(self) -> int:
        return len(self.place.there.requests)


@contextmanager
def working(told: Conversation, root: Path) -> Iterator[Work]:
    password = "wrong" if told.exit and any(word in told.name for word in ("wrong", "badpw")) else "p"
    is_anonymous = "anonymous" in told.name
    keys = None if told.auth == "none" or is_anonymous else Keys(Credentials(user="u", password=password))
    with placed(root, users=USERS, keychain=keys, **DISTRIBUTION) as place:
        yield Work(told, place)


def begin(work: Work) -> None:
    """Have the registry ask who it is from now on, and count."""
    work.place.quirks(auth=work.told.auth, **DISTRIBUTION)
    work.place.there.requests.clear()


PULLS = [one for one in TOLD if "-pull-" in one.name and not {"all", "digest"} & set(one.name.split("-"))]
PUSHES = [
    one for one in TOLD if "-push-" in one.name and one.steps and not {"multi", "artifact"} & set(one.name.split("-"))
]


@pytest.mark.sampled(8)
@pytest.mark.parametrize("told", [one for one in PULLS if not one.exit], ids=lambda one: one.name)
def test_a_pull_asks_no_more_than_theirs(told: Conversation, tmp_path: Path):
    with working(told, tmp_path / "root") as work:
        is_index, is_again = "multi" in told.name, "again" in told.name
        make = work.index if is_index else work.image
        make("team/app:1")
        work.place.push("team/app:1", platform="all" if is_index else None)
        work.forget()
        known = 3 - work.new()
        if is_again:
            work.place.images.pull(work.name("team/app:1"), registries=work.registries)
        elif known and not is_index:
            work.image("team/other:1", variant="v2", layers=known)
        elif known and is_index:
            work.index("team/other:1")
        begin(work)
        work.place.images.pull(work.name("team/app:1"), registries=work.registries)
        assert work.asked() <= len(told.steps)
        found = work.place.images.inspect(work.name("team/app:1"))
        assert len(found.image.rootfs.diff_ids) == (1 if is_index else 3)


@pytest.mark.sampled(12)
@pytest.mark.parametrize("told", [one for one in PUSHES if not one.exit], ids=lambda one: one.name)
def test_a_push_asks_no_more_than_theirs(told: Conversation, tmp_path: Path):
    with working(told, tmp_path / "root") as work:
        work.image("team/app:1")
        known = 3 - work.new()
        if "again" in told.name:
            work.place.push("team/app:1")
        elif known:
            is_elsewhere = any(step.option("mount") and step.status == 201 for step in told.steps)
            other = "team/other:1" if is_elsewhere else "team/app:other"
            work.image(other, variant="v2", layers=known)
            work.place.push(other)
        begin(work)
        work.place.push("team/app:1")
        assert work.asked() <= len(told.steps)
        assert "1" in work.place.there.repository("team/app").tags


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "told", [one for one in TOLD if "-copy-" in one.name and not one.exit], ids=lambda one: one.name
)
def test_a_copy_asks_no_more_than_theirs_and_moves_no_blob(told: Conversation, tmp_path: Path):
    with working(told, tmp_path / "root") as work:
        is_index = "index" in told.name
        (work.index if is_index else work.image)("team/app:1")
        work.place.push("team/app:1", platform="all" if is_index else None)
        begin(work)
        source, target = (f"docker://{work.name(one)}" for one in ("team/app:1", "team/other:1"))
        work.place.images.copy(source, target, work.registries, all_platforms=True, referrers="referrers" in told.name)
        # Others do not look for the three tags of cosign's of an index and of its two manifests.
        assert work.asked() <= len(told.steps) + (9 if "referrers" in told.name else 0)
        there = work.place.there
        assert there.repository("team/other").tags == there.repository("team/app").tags
        assert not [one for one in there.requests if one.method == "GET" and "/blobs/" in one.path and one.sent > 4096]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("told", [one for one in TOLD if one.exit and one.steps], ids=lambda one: one.name)
def test_what_failed_for_them_fails_with_one_error(told: Conversation, tmp_path: Path):
    with working(told, tmp_path / "root") as work:
        work.image("team/app:1")
        begin(work)
        if "missing" in told.name:
            with pytest.raises(errors.NotInRegistry):
                work.place.images.pull(work.name("team/none:1"), registries=work.registries)
        elif "private-realm" in told.name:
            # A realm on this machine is one that others refuse; a registry on this machine may name it here.
            work.place.push("team/app:1")
        else:
            with pytest.raises(errors.RegistryDenied):
                work.place.push("team/app:1")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "told",
    [
        one
        for one in TOLD
        if one.name.rpartition("-")[2] in {"ls", "tags", "catalog", "digest", "head", "inspect", "delete"}
    ],
    ids=lambda one: one.name,
)
def test_a_look_asks_no_more_than_theirs(told: Conversation, tmp_path: Path):
    with working(told, tmp_path / "root") as work:
        work.image("team/app:1")
        digest = str(work.place.push("team/app:1").tags[0].digest)
        begin(work)
        what = told.name.rpartition("-")[2]
        with orlop.Registry(work.place.there.authority, registries=work.registries) as registry:
            if what in {"ls", "tags"}:
                assert list(registry.tags("team/app")) == ["1"]
            elif what == "catalog":
                client, _ = work.registries.to_push(Reference.parse(work.name("team/app")))
                assert list(client.catalog()) == ["team/app"]
            elif what == "inspect":
                manifest = registry.manifest("team/app", "1")
                assert registry.read_blob("team/app", manifest.parsed().config)  # type: ignore[union-attr]
            elif told.name == "skopeo-delete":
                registry.delete("team/app", registry.head("team/app", "1").digest)
                assert not work.place.there.repository("team/app").tags
            elif told.name == "regctl-tag-delete":
                with pytest.raises(errors.RegistryUnsupported):
                    registry.delete("team/app", "1")
            else:
                assert str(registry.head("team/app", "1").digest) == digest
        assert work.asked() <= len(told.steps)
