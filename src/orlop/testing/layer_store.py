"""The contract of a layer store."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING

import pytest

from orlop.errors import DigestMismatch, InvalidInput, InvalidTar, LayerLimitExceeded, LayerNotFound
from orlop.model.descriptor import Descriptor
from orlop.model.digest import ChainID, DiffID, Digest, chain_ids
from orlop.streams.tar_read import TarReader
from orlop.streams.tar_write import END, member_header, padding
from orlop.testing.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orlop.store.layers import LayerStore, StoredLayer

_NOBODY = ChainID.of(b"nobody has this")


def layer_tar(*names: str) -> bytes:
    """Make a layer of files that hold their own names."""
    bodies = ((name, name.encode()) for name in names)
    parts = (member_header(name, size=len(body), mode=0o644) + body + padding(len(body)) for name, body in bodies)
    return b"".join(parts) + END


_ONE, _TWO, _THREE = layer_tar("one"), layer_tar("second"), layer_tar("d/3", ".wh.one")


class LayerStoreContract(Contract):
    """What every layer store does.

    Hooks: ``open(folder)`` gives the store as a context manager, and the same content for the same folder again;
    ``damage(folder, diff_id)`` changes the bytes of a layer that came plain.
    """

    hooks = ("open", "damage")

    def open(self, folder: Path) -> AbstractContextManager[LayerStore]:
        """Open the store whose content lies in a folder."""
        raise NotImplementedError

    def damage(self, folder: Path, diff_id: DiffID) -> None:
        """Change the bytes of a layer, not their number."""
        raise NotImplementedError

    @pytest.fixture
    def layers(self, tmp_path: Path) -> Iterator[LayerStore]:
        """An empty store."""
        with self.open(tmp_path) as layers:
            yield layers

    def stack(self, layers: LayerStore) -> list[StoredLayer]:
        """Three layers, each on the one before."""
        one = layers.register(io.BytesIO(_ONE))
        two = layers.register(io.BytesIO(_TWO), one.chain_id)
        return [one, two, layers.register(io.BytesIO(_THREE), two.chain_id)]

    def test_a_layer_gives_exactly_the_bytes_that_came(self, layers: LayerStore) -> None:
        """``tar_chunks`` is the registered tar, trailing bytes included."""
        for content in (_ONE, _ONE + b"trailing", END, b"", layer_tar(*map(str, range(300)))):
            layer = layers.register(io.BytesIO(content))
            assert b"".join(layer.tar_chunks()) == content
            assert layer.diff_id == DiffID.of(content)
            assert layer.chain_id == ChainID.wrap(layer.diff_id)

    def test_a_compressed_layer_is_read_plain(self, layers: LayerStore) -> None:
        """The diff ID is that of the uncompressed tar."""
        layer = layers.register(io.BytesIO(gzip.compress(_ONE)))
        assert layer.diff_id == DiffID.of(_ONE)
        assert b"".join(layer.tar_chunks()) == _ONE

    def test_a_layer_knows_its_place_and_its_sizes(self, layers: LayerStore) -> None:
        """Chain IDs, parents and sizes are those of the formulas."""
        stack = self.stack(layers)
        chain = chain_ids(layer.diff_id for layer in stack)
        assert [layer.chain_id for layer in stack] == list(chain)
        assert [layer.parent for layer in stack] == [None, *chain[:2]]
        assert [(layer.size, layer.diff_size) for layer in stack] == [(3, 3), (9, 6), (12, 3)]
        for layer in stack:
            expected = (layer.chain_id, layer.diff_id, layer.size, layer.diff_size)
            found = layer.metadata
            assert (found.chain_id, found.diff_id, found.size, found.diff_size) == expected
            assert layers.map()[layer.chain_id] == found
        assert set(layers.map()) == set(chain)

    def test_registering_twice_is_registering_once(self, layers: LayerStore) -> None:
        """``register`` is idempotent; each handle counts."""
        one, again = layers.register(io.BytesIO(_ONE)), layers.register(io.BytesIO(_ONE))
        assert one.chain_id == again.chain_id
        assert layers.release(one) == ()
        assert b"".join(again.tar_chunks()) == _ONE
        assert len(layers.release(again)) == 1

    def test_get_gives_another_handle(self, layers: LayerStore) -> None:
        """A layer stays until its last handle is released."""
        layer = layers.register(io.BytesIO(_ONE))
        got = layers.get(layer.chain_id)
        assert (got.chain_id, got.diff_id, got.size) == (layer.chain_id, layer.diff_id, layer.size)
        assert layers.release(layer) == ()
        assert [gone.chain_id for gone in layers.release(got)] == [layer.chain_id]
        with pytest.raises(LayerNotFound):
            layers.get(layer.chain_id)

    def test_what_goes_takes_its_parents(self, layers: LayerStore) -> None:
        """``release`` gives what went, top first, and leaves what others need."""
        one, two, three = self.stack(layers)
        other = layers.register(io.BytesIO(_THREE), one.chain_id)
        assert layers.release(one) == layers.release(two) == ()
        assert [gone.chain_id for gone in layers.release(three)] == [three.chain_id, two.chain_id]
        assert set(layers.map()) == {one.chain_id, other.chain_id}
        gone = layers.release(other)
        assert [(layer.chain_id, layer.size, layer.diff_size) for layer in gone] == [
            (other.chain_id, 6, 3),
            (one.chain_id, 3, 3),
        ]
        assert layers.map() == {}

    def test_one_content_may_lie_in_several_places(self, layers: LayerStore) -> None:
        """A tar stays as long as any chain holds it."""
        below = layers.register(io.BytesIO(_ONE))
        above = layers.register(io.BytesIO(_ONE), below.chain_id)
        assert below.chain_id != above.chain_id
        assert layers.release(above) != ()
        assert b"".join(below.tar_chunks()) == _ONE

    def test_a_handle_of_another_opening_counts(self, tmp_path: Path) -> None:
        """Whoever opened the store, a held layer stays."""
        with self.open(tmp_path) as first, self.open(tmp_path) as second:
            layer = first.register(io.BytesIO(_ONE))
            held = second.get(layer.chain_id)
            assert first.release(layer) == ()
            assert b"".join(held.tar_chunks()) == _ONE
            assert len(second.release(held)) == 1

    def test_unknown_layers_are_errors(self, layers: LayerStore) -> None:
        """``get`` and ``register`` need what they are told to build on."""
        with pytest.raises(LayerNotFound):
            layers.get(_NOBODY)
        with pytest.raises(LayerNotFound):
            layers.register(io.BytesIO(_ONE), _NOBODY)
        assert layers.map() == {}

    @pytest.mark.parametrize("content", [b"x" * 512, _ONE[:514], b"\x1f\x8b\x08 no gzip"])
    def test_what_is_no_layer_is_not_kept(self, layers: LayerStore, content: bytes) -> None:
        """A refused layer leaves nothing."""
        with pytest.raises(InvalidInput):
            layers.register(io.BytesIO(content))
        assert layers.map() == {}

    def test_a_reader_that_fails_leaves_nothing(self, layers: LayerStore) -> None:
        """An error of the source passes through."""

        class Broken:
            def read(self, _: int, /) -> bytes:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            layers.register(Broken())
        assert layers.map() == {}

    def test_a_chain_has_at_most_125_layers(self, layers: LayerStore) -> None:
        """The 126th is refused."""
        layer = layers.register(io.BytesIO(END))
        for _ in range(124):
            layer = layers.register(io.BytesIO(END), layer.chain_id)
        with pytest.raises(LayerLimitExceeded):
            layers.register(io.BytesIO(END), layer.chain_id)

    def test_damaged_bytes_are_never_given_whole(self, tmp_path: Path) -> None:
        """``tar_chunks`` fails before its last byte."""
        content = layer_tar(*map(str, range(3000)))
        with self.open(tmp_path) as layers:
            layer = layers.register(io.BytesIO(content))
            self.damage(tmp_path, layer.diff_id)
            got = bytearray()
            with pytest.raises(DigestMismatch):  # noqa: PT012 - the block is what is tested
                for chunk in layer.tar_chunks():
                    got += chunk
            assert len(got) < len(content)

    def test_a_tar_from_a_lower_chain(self, layers: LayerStore) -> None:
        """``tar_chunks_from`` gives what the layers above a chain do to it, as one tar."""
        one, two, three = self.stack(layers)
        assert b"".join(three.tar_chunks_from(two.chain_id)) == _THREE
        assert b"".join(one.tar_chunks_from(None)) == _ONE
        assert _names(three.tar_chunks_from(one.chain_id)) == ["second", "d/3", ".wh.one"]
        assert _names(three.tar_chunks_from(None)) == ["second", "d/3"]
        for layer, lower in ((three, _NOBODY), (one, three.chain_id), (three, three.chain_id)):
            with pytest.raises(InvalidInput):
                b"".join(layer.tar_chunks_from(lower))

    def test_a_damaged_layer_is_never_part_of_a_whole_tar(self, tmp_path: Path) -> None:
        """``tar_chunks_from`` verifies every layer that it reads."""
        with self.open(tmp_path) as layers:
            *_, three = self.stack(layers)
            self.damage(tmp_path, DiffID.of(_TWO))
            with pytest.raises((DigestMismatch, InvalidTar)):
                b"".join(three.tar_chunks_from(None))

    def test_a_descriptor_is_kept_with_its_layer(self, tmp_path: Path) -> None:
        """A layer that also lives elsewhere keeps where; another chain with the same content does not."""
        elsewhere = Descriptor(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            Digest.of(b"elsewhere"),
            123,
            annotations={"a": "é<"},
            urls=("https://example.com/layer?a=1&b=2", "https://other.example/layer"),
        )
        with self.open(tmp_path) as layers:
            one = layers.register(io.BytesIO(_ONE), descriptor=elsewhere)
            above = layers.register(io.BytesIO(_ONE), one.chain_id)
            assert one.descriptor == elsewhere
            assert above.descriptor is None
            with self.open(tmp_path) as again:
                got = again.get(one.chain_id)
                assert got.descriptor == elsewhere
                again.release(got)
            assert layers.register(io.BytesIO(_ONE)).descriptor == elsewhere


def _names(chunks: Iterator[bytes]) -> list[str]:
    return [entry.name for entry in TarReader(io.BytesIO(b"".join(chunks)))]
