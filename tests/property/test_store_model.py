"""The store against a model of plain dictionaries: random calls through several openings, each answer compared.

`ORLOP_LONG=1` makes it run for minutes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orlop import errors
from orlop.model.digest import ChainID, ImageID
from orlop.model.reference import Reference
from orlop.store.blobs.memory import MemoryBlobStore
from orlop.store.local import local_store
from orlop.store.root import Store
from orlop.store.rows.postgres.database import PostgresMetadata
from orlop.store.rows.sqlite.database import SQLiteMetadata
from orlop.store.rows.sqlite.memory import MemoryMetadata, MemoryRows
from orlop.store.upkeep.gc import collect_garbage
from orlop.streams.directory import Directory
from tests.postgres import database

if TYPE_CHECKING:
    from orlop.store.layers import StoredLayer

LONG = bool(os.environ.get("ORLOP_LONG"))
OPENINGS = 3
NAMES = [f"{name}:{tag}" for name in ("a", "b/c", "localhost/d") for tag in ("1", "2")]
PICK = st.integers(0, 1 << 20)


def layer(name: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(name)
        tar.addfile(member, io.BytesIO(name.encode()))
    return out.getvalue()


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


LAYERS = {sha256(content): content for content in map(layer, ("one", "second", "third layer"))}


def chains(diff_ids: tuple[str, ...]) -> list[str]:
    """All chain IDs of a stack, bottom first."""
    found: list[str] = []
    for diff_id in diff_ids:
        found.append(sha256(f"{found[-1]} {diff_id}".encode()) if found else diff_id)
    return found


class StoreMachine(RuleBasedStateMachine):
    """The machine over local files; a subclass says how it opens something else."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="orlop-model-"))
        self.stores: list[Store] = []
        # The model.
        self.configs: dict[str, bytes] = {}
        self.stacks: dict[str, tuple[str, ...]] = {}
        self.parents: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.handles: list[tuple[Store, StoredLayer, tuple[str, ...]]] = []

    @initialize()
    def first(self) -> None:
        self.stores.append(self.opened())

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        shutil.rmtree(self.folder)

    def opened(self) -> Store:
        """Open what the machine is about once more."""
        return local_store(self.folder / "root")

    def store(self, pick: int) -> Store:
        return self.stores[pick % len(self.stores)]

    def image(self, pick: int) -> str:
        return sorted(self.configs)[pick % len(self.configs)]

    def needed(self) -> set[str]:
        """The chains that images and handles need, with all below them."""
        stacks = [*self.stacks.values(), *(stack for _, _, stack in self.handles)]
        return {chain for stack in stacks for chain in chains(stack)}

    def on_disk(self) -> set[str]:
        return {f"sha256:{path.name}" for path in (self.folder / "root" / "blobs" / "sha256").iterdir()}

    # What may happen.

    @precondition(lambda self: len(self.stores) < OPENINGS)
    @rule()
    def open_another(self) -> None:
        self.stores.append(self.opened())

    @rule(pick=PICK)
    def reopen(self, pick: int) -> None:
        at = pick % len(self.stores)
        old = self.stores[at]
        self.handles = [held for held in self.handles if held[0] is not old]
        # What only its handles have kept stays until somebody removes something: a close removes nothing.
        before = self.on_disk()
        old.close()
        self.stores[at] = self.opened()
        assert self.on_disk() == before
        collect_garbage(self.stores[at])

    @rule(pick=PICK, content=st.sampled_from(sorted(LAYERS)), on=PICK)
    def register(self, pick: int, content: str, on: int) -> None:
        below = [(), *(stack for _, _, stack in self.handles if len(stack) < 4)][on % (1 + len(self.handles)) :][:1]
        stack = (*(below[0] if below else ()), content)
        parent = ChainID.parse(chains(stack[:-1])[-1]) if len(stack) > 1 else None
        store = self.store(pick)
        handle = store.layers.register(io.BytesIO(LAYERS[content]), parent)
        assert str(handle.chain_id) == chains(stack)[-1]
        self.handles.append((store, handle, stack))

    @precondition(lambda self: self.handles)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        before = self.needed()
        store, handle, stack = self.handles.pop(pick % len(self.handles))
        gone = before - self.needed()
        expected = [chain for chain in reversed(chains(stack)) if chain in gone]
        assert [str(one.chain_id) for one in store.layers.release(handle)] == expected

    @rule(pick=PICK, which=PICK)
    def get_layer(self, pick: int, which: int) -> None:
        stacks = sorted({*self.stacks.values(), *(stack for _, _, stack in self.handles)} - {()})
        store = self.store(pick)
        if not stacks:
            with pytest.raises(errors.LayerNotFound):
                store.layers.get(ChainID.parse(min(LAYERS)))
            return
        stack = stacks[which % len(stacks)]
        self.handles.append((store, store.layers.get(ChainID.parse(chains(stack)[-1])), stack))

    @rule(pick=PICK, author=st.sampled_from("abcdef"), which=PICK)
    def create(self, pick: int, author: str, which: int) -> None:
        stacks = sorted({(), *self.stacks.values(), *(stack for _, _, stack in self.handles)})
        stack = stacks[which % len(stacks)]
        raw = json.dumps({"author": author, "rootfs": {"type": "layers", "diff_ids": stack}}).encode()
        image_id = self.store(pick).images.create(raw)
        assert str(image_id) == sha256(raw)
        self.configs[str(image_id)] = raw
        self.stacks[str(image_id)] = stack

    @rule(pick=PICK, content=st.sampled_from(sorted(LAYERS)))
    def create_without_layers(self, pick: int, content: str) -> None:
        stack = (content,) * 6
        raw = json.dumps({"rootfs": {"type": "layers", "diff_ids": stack}}).encode()
        with pytest.raises(errors.LayerNotFound):
            self.store(pick).images.create(raw)

    @precondition(lambda self: self.configs)
    @rule(pick=PICK, which=PICK)
    def delete(self, pick: int, which: int) -> None:
        image = self.image(which)
        before = self.needed()
        del self.configs[image]
        stack = self.stacks.pop(image)
        self.parents = {child: parent for child, parent in self.parents.items() if image not in {child, parent}}
        gone = before - self.needed()
        # A name that leads nowhere would keep the layers: what it meant may have been lost.
        for name in [name for name, meant in self.names.items() if meant == image]:
            self.store(pick).references.delete(Reference.parse(name))
            del self.names[name]
        deleted = self.store(pick).images.delete(ImageID.parse(image))
        assert [str(one.chain_id) for one in deleted] == [chain for chain in reversed(chains(stack)) if chain in gone]

    @precondition(lambda self: self.configs)
    @rule(pick=PICK, child=PICK, parent=PICK)
    def set_parent(self, pick: int, child: int, parent: int) -> None:
        one, other = self.image(child), self.image(parent)
        above: str | None = other
        while above not in {None, one}:
            above = self.parents.get(str(above))
        images = self.store(pick).images
        if above == one:
            with pytest.raises(errors.InvalidInput):
                images.set_parent(ImageID.parse(one), ImageID.parse(other))
            return
        images.set_parent(ImageID.parse(one), ImageID.parse(other))
        self.parents[one] = other

    @rule(pick=PICK, which=st.booleans())
    def ask_for_nobody(self, pick: int, *, which: bool) -> None:
        images, nobody = self.store(pick).images, ImageID.parse(sha256(b"nobody"))
        with pytest.raises(errors.ImageNotFound):
            images.delete(nobody)
        if self.configs:
            pair = (nobody, ImageID.parse(self.image(0)))
            with pytest.raises(errors.ImageNotFound):
                images.set_parent(*(pair if which else reversed(pair)))

    @precondition(lambda self: self.configs)
    @rule(pick=PICK, name=st.sampled_from(NAMES), which=PICK)
    def tag(self, pick: int, name: str, which: int) -> None:
        image = self.image(which)
        before = self.store(pick).references.set(Reference.parse(name), ImageID.parse(image))
        expected = self.names.get(name)
        assert (None if before is None else str(before)) == (None if expected == image else expected)
        self.names[name] = image

    @rule(pick=PICK, name=st.sampled_from(NAMES))
    def untag(self, pick: int, name: str) -> None:
        references = self.store(pick).references
        if self.names.pop(name, None) is None:
            with pytest.raises(errors.ReferenceNotFound):
                references.delete(Reference.parse(name))
        else:
            references.delete(Reference.parse(name))

    # What always holds, through every opening.

    @invariant()
    def the_answers_are_those_of_the_model(self) -> None:
        heads = set(self.configs) - set(self.parents.values())
        for store in self.stores:
            images = store.images
            found = {str(image_id): image for image_id, image in images.map().items()}
            assert {image: one.raw_json for image, one in found.items()} == self.configs
            parents: dict[str, Any] = {image: one.parent for image, one in found.items() if one.parent is not None}
            assert {image: str(parent) for image, parent in parents.items()} == self.parents
            assert set(map(str, images.heads())) == heads
            for image in self.configs:
                children = {child for child, parent in self.parents.items() if parent == image}
                assert set(map(str, images.children(ImageID.parse(image)))) == children
                assert str(images.search(image[7:])) == image
            assert {name: str(store.references.get(Reference.parse(name))) for name in self.names} == self.names
            assert set(map(str, store.layers.map())) == self.needed()

    @invariant()
    def only_what_is_needed_lies_on_disk(self) -> None:
        stacks = [*self.stacks.values(), *(stack for _, _, stack in self.handles)]
        assert self.on_disk() == {diff_id for stack in stacks for diff_id in stack}

    @invariant()
    def a_layer_that_is_held_gives_its_bytes(self) -> None:
        for _, handle, stack in self.handles[-1:]:
            assert b"".join(handle.tar_chunks()) == LAYERS[stack[-1]]


class MemoryMachine(StoreMachine):
    """The same over memory; nothing of it lies in the folder."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = MemoryRows()
        self.blobs = MemoryBlobStore()

    def opened(self) -> Store:
        return Store(MemoryMetadata(self.rows), self.blobs)

    def on_disk(self) -> set[str]:
        assert list(self.folder.iterdir()) == []
        return set(map(str, self.blobs.digests()))


class MixedMachine(MemoryMachine):
    """Rows in a file beside blobs in memory."""

    def opened(self) -> Store:
        return Store(SQLiteMetadata(Directory(str(self.folder))), self.blobs)

    def on_disk(self) -> set[str]:
        assert not (self.folder / "blobs").exists()
        return set(map(str, self.blobs.digests()))


class PostgresMachine(MemoryMachine):
    """Rows in PostgreSQL beside blobs in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.database = database()

    def opened(self) -> Store:
        return Store(PostgresMetadata(self.database), self.blobs)


@pytest.mark.sampled(16, daily=False)
@pytest.mark.parametrize("machine", [StoreMachine, MemoryMachine, MixedMachine, PostgresMachine])
def test_the_store_does_what_a_model_of_dictionaries_does(machine: type[StoreMachine]) -> None:
    # Every step compares everything.
    many = 1500 if LONG else 25
    plan = settings(
        max_examples=many // 3 if machine is PostgresMachine else many,
        stateful_step_count=60 if LONG else 30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=plan)
