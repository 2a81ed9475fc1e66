"""The contract of `Metadata`: transactions and their hooks, snapshots, the check of all rows and the mender."""

from __future__ import annotations

from threading import Event as Flag
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from orlop.errors import DatabaseDamaged, StoreClosed
from orlop.model.digest import ChainID, DiffID, Digest, ImageID
from orlop.store.rows.metadata import BlobRow, ChainRow, DiffRow, ManifestRow, ReferenceRow, TopRow
from orlop.testing.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from orlop.store.rows.metadata import Metadata, Rows, WritableRows

_PATIENCE = 60
_CONFIG = b'{"created":"1970-01-01T00:00:00Z","rootfs":{"type":"layers","diff_ids":["%s"]}}'
_BLOB = BlobRow(Digest.of(b"a layer"), 7, "none")
_DIFF = DiffRow(DiffID.wrap(_BLOB.digest), 7, 7, 1)


def name(tag: str) -> ReferenceRow:
    """Return a name of the image of `keep`."""
    return ReferenceRow("docker.io/library/a", f":{tag}", image(), 1)


def image() -> ImageID:
    """Return the image of `keep`."""
    return ImageID.of(_CONFIG % str(_DIFF.diff_id).encode())


def keep(rows: WritableRows) -> None:
    """Keep an image of one layer, and all that it needs."""
    chain = ChainID.wrap(_DIFF.diff_id)
    rows.put_diff(_DIFF, _BLOB)
    rows.put_chain(ChainRow(chain, None, _DIFF.diff_id, _DIFF.content_size, 1))
    rows.put_image(image(), _CONFIG % str(_DIFF.diff_id).encode(), chain_id=chain, created=(0, 0))


def tags(rows: Rows) -> list[str]:
    """Return all tags."""
    return [row.suffix[1:] for row in rows.references()]


class MetadataContract(Contract):
    """What every database of rows does.

    Hook: ``open(folder)`` gives a `Metadata` as a context manager, and the same rows for the same folder again.
    """

    hooks = ("open",)

    def open(self, folder: Path) -> AbstractContextManager[Metadata]:
        """Open the database whose rows lie in a folder."""
        raise NotImplementedError

    @pytest.fixture
    def metadata(self, tmp_path: Path) -> Iterator[Metadata]:
        """An empty database: the first block of all lays it out."""
        with self.open(tmp_path) as metadata:
            with metadata.read():
                pass
            yield metadata

    # Transactions.

    def test_what_was_written_is_seen_by_all(self, tmp_path: Path) -> None:
        """The end of a write commits it, for this opening and every other, and for later ones."""
        with self.open(tmp_path) as first, self.open(tmp_path) as second:
            with first.write() as rows:
                keep(rows)
                rows.put_reference(name("1"))
            for metadata in (first, second):
                with metadata.read() as view:
                    assert tags(view) == ["1"]
                    assert view.config(image()) is not None
        with self.open(tmp_path) as again, again.read() as view:
            assert tags(view) == ["1"]

    def test_an_exception_undoes_all_of_a_write(self, metadata: Metadata) -> None:
        """A write is whole, or was not."""
        with metadata.write() as rows:
            rows.put_reference(name("1"))
        with pytest.raises(KeyboardInterrupt), metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            rows.put_reference(name("2"))
            rows.delete_reference(*name("1")[:2])
            raise KeyboardInterrupt
        with metadata.read() as view:
            assert tags(view) == ["1"]

    def test_a_write_inside_a_write_is_a_part_of_it(self, metadata: Metadata) -> None:
        """The outer block commits or undoes both, and a read inside sees what was written."""
        with pytest.raises(ZeroDivisionError), metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            rows.put_reference(name("1"))
            with metadata.write() as inner:
                inner.put_reference(name("2"))
            with metadata.read() as view:
                assert tags(view) == ["1", "2"]
            raise ZeroDivisionError
        with metadata.read() as view:
            assert tags(view) == []

    def test_a_write_cannot_begin_inside_a_read(self, metadata: Metadata) -> None:
        """It could not see what it changes."""
        with metadata.read(), pytest.raises(RuntimeError), metadata.write():
            pass
        with metadata.write() as rows:
            rows.put_reference(name("1"))

    def test_a_thread_knows_whether_it_is_in_a_block(self, metadata: Metadata) -> None:
        """``in_block`` is about this thread alone."""
        found: list[bool] = []
        with metadata.read():
            thread = Thread(target=lambda: found.append(metadata.in_block()))
            thread.start()
            thread.join()
            found.append(metadata.in_block())
        assert [*found, metadata.in_block()] == [False, True, False]

    def test_a_view_stays_as_it_was(self, metadata: Metadata) -> None:
        """What another thread writes is not seen by a block that has begun."""
        thread = Thread(target=self._tag, args=(metadata, "1"))
        with metadata.read() as view:
            before = tags(view)
            thread.start()
            thread.join(0.05)  # it may have written by now, or wait for this block
            assert tags(view) == before == []
        thread.join()
        with metadata.read() as view:
            assert tags(view) == ["1"]

    @staticmethod
    def _tag(metadata: Metadata, tag: str) -> None:
        with metadata.write() as rows:
            rows.put_reference(name(tag))

    def test_writes_of_many_threads_are_one_after_another(self, tmp_path: Path) -> None:
        """What a write reads, nobody changes before it commits: not through another opening either."""
        with self.open(tmp_path) as one, self.open(tmp_path) as other:

            def count(metadata: Metadata) -> None:
                for _ in range(10):
                    with metadata.write() as rows:
                        rows.put_reference(name(f"{len(tags(rows)):03}"))

            threads = [Thread(target=count, args=(metadata,)) for metadata in (one, other) * 2]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            with one.read() as view:
                assert tags(view) == [f"{number:03}" for number in range(40)]

    def test_the_lock_keeps_writers_waiting(self, tmp_path: Path) -> None:
        """``lock`` excludes every writer, and the one who has it can read."""
        with self.open(tmp_path) as one, self.open(tmp_path) as other:
            written = Flag()

            def write() -> None:
                self._tag(other, "1")
                written.set()

            thread = Thread(target=write)
            with one.lock(), one.read() as view:
                thread.start()
                assert not written.wait(0.1)
                assert tags(view) == []
            assert written.wait(_PATIENCE)
            thread.join()

    def test_the_lock_is_taken_again_by_who_has_it(self, metadata: Metadata) -> None:
        """Inside a lock or a write of the same thread ``lock`` adds nothing, and its end frees nothing."""
        with metadata.lock(), metadata.lock(), metadata.read() as rows:
            assert tags(rows) == []
        with metadata.write(), metadata.lock(), metadata.read() as rows:
            assert tags(rows) == []
        self._tag(metadata, "1")
        with metadata.read() as rows:
            assert tags(rows) == ["1"]

    # Hooks.

    def test_hooks_are_called_as_a_write_ends(self, metadata: Metadata) -> None:
        """Before the commit each action once; after it those for that, when the lock is free again."""
        told: list[str] = []

        def before() -> None:
            told.append("before")

        def after() -> None:
            with metadata.write() as rows:
                told.append(f"after {tags(rows)}")

        with metadata.write() as rows:
            rows.after_commit(after)
            rows.before_commit(before)
            rows.before_commit(before)
            rows.after_rollback(lambda: told.append("undone"))
            rows.put_reference(name("1"))
        assert told == ["before", "after ['1']"]

    def test_hooks_are_called_as_a_write_is_undone(self, metadata: Metadata) -> None:
        """The actions for that are called last first, and no others."""
        told: list[str] = []
        with pytest.raises(ZeroDivisionError), metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            rows.after_commit(lambda: told.append("done"))
            rows.before_commit(lambda: told.append("before"))
            rows.after_rollback(lambda: told.append("first"))
            rows.after_rollback(lambda: told.append("second"), if_sure=True)
            raise ZeroDivisionError
        assert told == ["second", "first"]

    def test_what_cannot_be_prepared_is_undone(self, metadata: Metadata) -> None:
        """An action before the commit that fails undoes the write."""

        def fail() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            rows.put_reference(name("1"))
            rows.before_commit(fail)
        with metadata.read() as view:
            assert tags(view) == []

    def test_what_a_row_needs_cannot_go(self, metadata: Metadata) -> None:
        """A write that would take the bytes that a row names is refused, and undone."""
        with metadata.write() as rows:
            keep(rows)
        with pytest.raises(DatabaseDamaged), metadata.write() as rows:  # noqa: PT012 - the block is what is tested
            rows.put_reference(name("1"))
            rows.will_go(blobs=[_BLOB.digest])
        with metadata.read() as view:
            assert tags(view) == []

    # All rows at once.

    def test_a_repository_does_not_have_what_it_only_names(self, metadata: Metadata) -> None:
        """A layer that is said to be elsewhere is not held, nor is a part of an index that came with another one."""
        blob, kind = _BLOB.digest, "application/vnd.oci.image.layer.nondistributable.v1.tar"
        layer = '{"digest":"%s","size":1%s}'
        foreign = layer % (blob, f',"mediaType":"{kind}"')
        child = ManifestRow(Digest.of(b"child"), "", b"{}")
        index = b'{"manifests":[%s]}' % (layer % (child.digest, "")).encode()
        with metadata.write() as rows:
            keep(rows)
            rows.put_reference(name("2"))
            for where, raw in (("b", foreign), ("c", layer % (blob, ""))):
                digest = Digest.of(where.encode())
                rows.put_manifest(ManifestRow(digest, "", b'{"layers":[%s]}' % raw.encode()), [])
                rows.put_top(TopRow(f"docker.io/library/{where}", ":1", digest, 1))
                assert rows.names_elsewhere("docker.io/library/b", blob) is (where == "b")
        with metadata.read() as rows:
            held = [where for where in "abc" if rows.holds_blob(f"docker.io/library/{where}", blob)]
            assert held == ["c"]
            assert not rows.names_elsewhere("docker.io/library/a", blob)
        with metadata.write() as rows:
            image = rows.reference("docker.io/library/a", ":2")
            assert image is not None
            came, other = Digest.of(b"index"), Digest.of(b"other index")
            rows.put_manifest(child, [image.image])
            rows.put_manifest(ManifestRow(came, "", index), [image.image])
            rows.put_manifest(ManifestRow(other, "", index), [])
            for where, digest in (("d", came), ("e", other)):
                rows.put_top(TopRow(f"docker.io/library/{where}", ":1", digest, 1))
        with metadata.read() as rows:
            held = [where for where in "abcde" if rows.holds_manifest(f"docker.io/library/{where}", child.digest)]
            assert held == ["a", "d"]
            assert rows.named_manifests("docker.io/library/a", [child.digest]) == {}
            assert rows.named_manifests("docker.io/library/d", [child.digest, came, other]) == {came: True}

    def test_a_repository_holds_the_content_that_an_index_lists(self, metadata: Metadata) -> None:
        """A layer among the manifests of an index, as caches of BuildKit have them, is held; another type is not."""
        layer = '{"digest":"%s","size":1,"mediaType":"%s"}'
        kinds = {"a": "application/vnd.oci.image.layer.v1.tar+gzip", "b": "application/vnd.example.unknown"}
        with metadata.write() as rows:
            keep(rows)
            for where, kind in kinds.items():
                digest = Digest.of(where.encode())
                raw = b'{"manifests":[%s]}' % (layer % (_BLOB.digest, kind)).encode()
                rows.put_manifest(ManifestRow(digest, "", raw), [])
                rows.put_top(TopRow(f"docker.io/library/{where}", ":1", digest, 1))
        with metadata.read() as rows:
            assert [one for one in kinds if rows.holds_blob(f"docker.io/library/{one}", _BLOB.digest)] == ["a"]

    def test_a_repository_is_what_its_names_say(self, metadata: Metadata) -> None:
        """Tags of images and of other content are listed together, and a manifest is held where a name leads to it."""
        config = _CONFIG % str(_DIFF.diff_id).encode()
        digest, blob = Digest.of(b"manifest"), _BLOB.digest
        layer = b'{"digest":"%s","size":1}' % str(blob).encode()
        raw = b'{"layers":[%s],"config":{"digest":"%s","size":1}}' % (layer, str(Digest.of(config)).encode())
        with metadata.write() as rows:
            keep(rows)
            rows.put_reference(name("2"))
            rows.put_manifest(ManifestRow(digest, "", raw), [])
            for suffix in (":1", f"@{digest}"):
                rows.put_top(TopRow("docker.io/library/b", suffix, digest, 1))
            rows.put_top(TopRow("docker.io/library/a", ":3", digest, 1))
        with metadata.read() as rows:
            assert rows.repositories("docker.io") == ["docker.io/library/a", "docker.io/library/b"]
            assert rows.repositories("docker.io", after="docker.io/library/a") == ["docker.io/library/b"]
            assert rows.repositories("docker.io", most=1) == ["docker.io/library/a"]
            assert rows.repositories("docker.i") == []
            assert rows.tags("docker.io/library/a") == ["2", "3"]
            assert rows.tags("docker.io/library/a", after="2") == ["3"]
            assert rows.tags("docker.io/library/b") == ["1"]
            for where, held in (("a", True), ("b", True), ("c", False)):
                assert rows.holds_manifest(f"docker.io/library/{where}", digest) is held
                assert rows.named_manifests(f"docker.io/library/{where}", [digest, blob]) == {digest: held}
                assert rows.holds_blob(f"docker.io/library/{where}", blob) is held
        with metadata.write() as rows:
            assert not rows.drop_manifest(digest)
            for suffix in (":1", f"@{digest}"):
                rows.delete_top("docker.io/library/b", suffix)
            rows.delete_top("docker.io/library/a", ":3")
            rows.put_manifest(ManifestRow(digest, "", raw), [image()])
            assert rows.drop_manifest(digest)
            assert not rows.drop_manifest(digest)
            rows.put_lease("l", [digest])
            assert rows.leases_of(digest) == ["l"]
            rows.delete_lease("l")

    @pytest.mark.parametrize("form", ["subject", "annotation", "neither", "named"])
    def test_an_attestation_goes_with_its_image(self, metadata: Metadata, form: str) -> None:
        """Of what an index names beside an image, what only speaks of this goes with it, though the index stays."""
        own = b'{"layers":[],"config":{"digest":"%s","size":1}}' % str(image()).encode()
        subject = b',"subject":{"digest":"%s","size":1}' % str(Digest.of(own)).encode() if form == "subject" else b""
        about = b'{"layers":[],"config":{"digest":"sha256:%s","size":1}%s}' % (b"0" * 64, subject)
        said = b'{"vnd.docker.reference.digest":"%s"}' % str(Digest.of(own)).encode()
        children = [
            b'{"digest":"%s","size":1,"annotations":%s}' % (str(Digest.of(raw)).encode(), notes)
            for raw, notes in ((own, b"{}"), (about, b"{}" if form == "neither" else said))
        ]
        index = b'{"schemaVersion":2,"manifests":[%s]}' % b",".join(children)
        with metadata.write() as rows:
            keep(rows)
            for raw in (own, about, index):
                rows.put_manifest(ManifestRow(Digest.of(raw), "", raw), [image()])
            rows.put_top(TopRow("docker.io/library/a", ":1", Digest.of(index), 1))
            if form == "named":
                rows.put_top(TopRow("docker.io/library/a", ":2", Digest.of(about), 1))
        with metadata.write() as rows:
            assert rows.delete_image(image())
        with metadata.read() as rows:
            found = [rows.manifest(Digest.of(raw)) is not None for raw in (index, own, about)]
        assert found == [True, False, form in {"neither", "named"}]

    def test_what_refers_to_a_missing_child_of_an_index_stays_with_the_index(self, metadata: Metadata) -> None:
        """Even after the image is gone with which it came."""
        absent = b'{"digest":"%s","size":1}' % str(Digest.of(b"absent")).encode()
        index = b'{"schemaVersion":2,"manifests":[%s]}' % absent
        about = b'{"schemaVersion":2,"manifests":[],"subject":%s}' % absent
        with metadata.write() as rows:
            keep(rows)
            rows.put_manifest(ManifestRow(Digest.of(index), "", index), [])
            rows.put_manifest(ManifestRow(Digest.of(about), "", about), [image()])
            rows.put_top(TopRow("docker.io/library/a", ":1", Digest.of(index), 1))
        with metadata.write() as rows:
            assert rows.delete_image(image())
        with metadata.read() as rows:
            assert rows.manifest(Digest.of(about)) is not None
        with metadata.write() as rows:
            rows.delete_top("docker.io/library/a", ":1")
        with metadata.read() as rows:
            assert rows.manifest(Digest.of(about)) is None

    def test_a_snapshot_is_of_its_moment(self, metadata: Metadata) -> None:
        """What is written later is not in it; it says what its rows need."""
        with metadata.snapshot() as before:
            with metadata.write() as rows:
                keep(rows)
            assert before.needs() == (0, [], [], False)
        with metadata.snapshot() as snapshot:
            with metadata.write() as rows:
                rows.delete_image(image())
            snapshot.require_sound()
            assert snapshot.needs() == (1, [_BLOB], [_DIFF], False)

    def test_a_look_finds_what_is_wrong_and_a_mender_puts_it_right(self, metadata: Metadata) -> None:
        """``problems`` and ``require_sound`` agree, and forgive what they are told to."""
        with metadata.write() as rows:
            keep(rows)
            rows.put_chain(ChainRow(ChainID.of(b"nothing"), None, _DIFF.diff_id, 1, 7))
        assert "chain-wrong" in {one.kind for one in metadata.problems(verify=True)}
        for _ in range(2):
            with pytest.raises(DatabaseDamaged):
                metadata.require_sound()
            metadata.require_sound(but=["chain-wrong"])
        with metadata.write():
            metadata.mender().forget_loose_ends()
            metadata.mender().add_up_chains()
        assert [one for one in metadata.problems(verify=True) if not one.harmless] == []
        for _ in range(2):
            metadata.require_sound()

    def test_a_mender_shares_the_fate_of_its_write(self, metadata: Metadata) -> None:
        """What it changes is undone with the write."""
        with metadata.write() as rows:
            keep(rows)
        with pytest.raises(ZeroDivisionError), metadata.write():  # noqa: PT012 - the block is what is tested
            metadata.mender().forget_blob(_BLOB.digest)
            raise ZeroDivisionError
        with metadata.read() as view:
            assert view.blob(_BLOB.digest) == _BLOB

    def test_a_mender_records_what_content_says(self, metadata: Metadata) -> None:
        """Configs, manifests, layers and chains get the right bytes, and the facts that follow from them, once."""
        config = _CONFIG % str(_DIFF.diff_id).encode()
        chain = ChainRow(ChainID.wrap(_DIFF.diff_id), None, _DIFF.diff_id, _DIFF.content_size, 1)
        manifest = ManifestRow(Digest.of(b"{}"), "application/vnd.oci.image.manifest.v1+json", b"{}")
        with metadata.write() as rows:
            keep(rows)
        with metadata.write():
            mender = metadata.mender()
            mender.set_config(image(), b"other")
            assert [mender.correct(str(image()), b"other", config) for _ in range(2)] == [True, False]
            later = config.replace(b"1970", b"1971")
            assert [mender.set_image(image(), one) for one in (config, later, later, config)] == [
                False,
                True,
                False,
                True,
            ]
            assert not mender.set_chain(chain)
            mender.set_manifest(manifest)
            mender.set_media_type(str(manifest.digest), "application/x")
            assert mender.manifest(str(manifest.digest)) == b"{}"
            mender.set_blob(_BLOB._replace(size=8))
            mender.set_diff(_DIFF._replace(entries=9))
            mender.unlink(_BLOB.digest)
            mender.link(_BLOB.digest, _DIFF.diff_id)
        with metadata.read() as view:
            row = view.image_row(image())
            assert view.config(image()) == config
            assert row is not None
            assert row.created == (0, 0)
            assert view.manifest(manifest.digest) == manifest._replace(media_type="application/x")
            assert view.blob(_BLOB.digest) == _BLOB._replace(size=8)
            assert view.diff(_DIFF.diff_id) == _DIFF._replace(entries=9)

    def test_a_mender_puts_links_and_names_right(self, metadata: Metadata) -> None:
        """An image gets the ID that others know, circles are opened, and what leads nowhere or has no name goes."""
        config, wrong = _CONFIG % str(DiffID.of(b"x")).encode(), ImageID.of(b"wrong")
        right = ImageID.of(config)
        with metadata.write() as rows:
            keep(rows)
            rows.put_image(wrong, config, chain_id=None, created=(0, 0))
            rows.put_reference(name("1"))
            rows.put_reference(name("b!d"))
            rows.set_metadata(image(), "parent", str(right).encode())
        with metadata.write():
            assert metadata.mender().forget_name("docker.io/library/a:b!d") == str(image())
            assert metadata.mender().adopt_image(str(image())) is None
            assert metadata.mender().adopt_image(str(wrong)) == str(right)
        with metadata.write() as rows:
            assert (rows.config(right), rows.config(wrong), tags(rows)) == (config, None, ["1"])
            rows.set_metadata(right, "parent", str(image()).encode())
            (opened,) = metadata.mender().open_loops()
            assert opened in {(str(image()), str(right)), (str(right), str(image()))}
            rows.set_metadata(right, "parent", str(wrong).encode())
            assert metadata.mender().forget_missing_parents() == [(str(right), str(wrong))]
            assert metadata.mender().open_loops() == metadata.mender().forget_missing_parents() == []

    def test_a_name_that_means_the_manifest_of_an_image_is_one_of_the_image(self, metadata: Metadata) -> None:
        """One that no image has is found, unless its repository has the manifest, or nobody can ask for it."""
        raw = b'{"config":{"digest":"%s","size":2},"layers":[]}' % str(image()).encode()
        manifest = ManifestRow(Digest.of(raw), "application/vnd.oci.image.manifest.v1+json", raw)
        with metadata.write() as rows:
            keep(rows)
            rows.put_manifest(manifest, [image()])
            home = f"@{manifest.digest}"
            for repository, suffix in (("a", ":1"), ("a!", ":1"), ("b", ":1"), ("b", home), ("c", ":1")):
                host = "cache:docker.io" if repository == "c" else "docker.io"
                rows.put_top(TopRow(f"{host}/library/{repository}", suffix, manifest.digest, 7))
        found = [one.subject.removeprefix("docker.io/library/") for one in metadata.problems(verify=True)]
        assert found == ["a:1", "a!:1"]
        with metadata.write():
            assert metadata.mender().record_lost_names() == [("docker.io/library/a:1", str(image()))]
            assert metadata.mender().forget_name("docker.io/library/a!:1") == str(manifest.digest)
        with metadata.read() as view:
            assert view.reference("docker.io/library/a", ":1") == name("1")._replace(updated=7)
        assert metadata.problems(verify=True) == []

    # The whole.

    def test_a_database_says_what_it_is(self, metadata: Metadata) -> None:
        """It has a kind and a schema, can be written, and needs no update."""
        assert metadata.facts()["kind"]
        assert metadata.update() == (int(metadata.facts()["schema"]), None)
        assert metadata.refusal() is None

    def test_a_reserve_may_be_kept_and_given_up(self, metadata: Metadata) -> None:
        """Without one there is nothing to give; with one, once."""
        with metadata.write() as rows:
            keep(rows)
        metadata.keep_reserve()
        given = [metadata.give_up_reserve(), metadata.give_up_reserve()]
        assert given in ([True, False], [False, False])

    def test_close_lets_go_and_end_is_the_end(self, tmp_path: Path) -> None:
        """A closed database is used again; one that has ended raises `StoreClosed`, and others go on."""
        with self.open(tmp_path) as metadata, self.open(tmp_path) as other:
            self._tag(metadata, "1")
            metadata.close()
            self._tag(metadata, "2")
            metadata.end()
            metadata.end()
            for block in (metadata.read, metadata.write, metadata.lock, metadata.snapshot):
                with pytest.raises(StoreClosed), block():
                    pass
            with pytest.raises(StoreClosed):
                metadata.require_open()
            with other.read() as view:
                assert tags(view) == ["1", "2"]
