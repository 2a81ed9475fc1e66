"""`orlop.stores.fsck(repair=True)`: what can be put right is put right, and nothing becomes worse."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import pytest

import orlop
from orlop import errors, stores
from orlop.model.digest import ImageID
from orlop.streams.filesystems import FileSystem
from tests.invariants import broken, sha256
from tests.unit.artifacts import chart
from tests.unit.damage import (
    PACKED,
    PLAIN,
    ask,
    blobs,
    copied,
    delete,
    digest,
    empty,
    flip,
    flip_first,
    found,
    kinds,
    layout,
    lengthen,
    overwrite,
    parent_and_child,
    sql,
    swap,
    tocs,
    truncate,
)
from tests.unit.layouts import Layout, everything, layer_tar, named
from tests.unpacked import unpack

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return copied(whole, tmp_path / "root")


def content(root: Path) -> dict[str, bytes]:
    """All of a store but for what it tells of the past."""
    files = everything(root)
    rows = [line for line in files.pop("rows").decode().splitlines() if '"event"' not in line and "'event'" not in line]
    return {**files, "rows": "\n".join(sorted(rows)).encode()}


def saved(root: Path) -> dict[str, bytes]:
    """Every image that can be saved, as it is saved."""
    archives: dict[str, bytes] = {}
    # Of a database that is damaged itself nothing is given out.
    with suppress(errors.DatabaseDamaged), orlop.open(root) as images:
        for image in images.image_store.ids():
            out = io.BytesIO()
            try:
                images.save([str(image)], out)
            except errors.OrlopError:
                continue
            archives[str(image)] = out.getvalue()
    return archives


def repaired(root: Path, *sources: BinaryIO | Path) -> stores.FsckReport:
    """Repair a store, and see that no image is lost that could be saved before, and that the report is true."""
    # Saving releases leases, and what no row needs goes with them: look at a copy.
    before = saved(copied(root, root.with_name("before")))
    report = stores.fsck(root, repair=True, sources=sources)
    after = saved(copied(root, root.with_name("after")))
    shutil.rmtree(root.with_name("before"))
    shutil.rmtree(root.with_name("after"))
    assert {image: after.get(image) for image in before} == before
    assert found(stores.fsck(root).damage) == found(report.damage)
    again = stores.fsck(root, repair=True)
    assert (again.repairs, found(again.damage)) == ((), found(report.damage))
    return report


def single_form(root: Path) -> Path:
    """The file of a plain blob whose layer is stored in this form only."""
    (name,) = ask(
        root,
        """SELECT blob FROM diff_blob JOIN blob ON digest = blob WHERE compression = 'none' AND size > 6000
        AND diff IN (SELECT diff FROM diff_blob GROUP BY diff HAVING count(*) = 1) ORDER BY blob LIMIT 1""",
    )[0]
    return root / "blobs" / str(name).replace(":", "/")


def two_forms(root: Path) -> tuple[Path, Path]:
    """The files of a plain and a compressed blob that hold the same layer."""
    forms = ask(
        root,
        """SELECT plain.blob, packed.blob FROM diff_blob AS plain JOIN diff_blob AS packed ON packed.diff = plain.diff
        WHERE plain.blob = plain.diff AND packed.blob <> plain.blob ORDER BY 1""",
    )[0]
    plain, packed = (root / "blobs" / str(name).replace(":", "/") for name in forms)
    return plain, packed


ROWS = {
    "head": ("head-wrong", ["UPDATE image SET head = NOT head"]),
    "head of no kind": ("head-wrong", ["UPDATE image SET head = 5"]),
    "sizes": ("chain-wrong", ["UPDATE chain SET size = size + 5, depth = 9"]),
    "one size": ("chain-wrong", ["UPDATE chain SET size = 0 WHERE depth = 1"]),
    "parent of chain": ("chain-wrong", ["UPDATE chain SET parent = NULL WHERE depth = 3"]),
    "layer of chain": ("chain-wrong", ["UPDATE chain SET diff = (SELECT max(id) FROM diff) WHERE depth = 2"]),
    "all chains": ("layers-missing", ["DELETE FROM chain"]),
    "top chains": ("layers-missing", ["DELETE FROM chain WHERE id IN (SELECT chain FROM image)"]),
    "lowest chains": ("database", ["DELETE FROM chain WHERE parent IS NULL"]),
    "created": ("image-wrong", ["UPDATE image SET created = 1, created_ns = 2"]),
    "chain of image": ("image-wrong", ["UPDATE image SET chain = NULL"]),
    "labels": ("image-wrong", ["UPDATE image_labels SET labels = '{'"]),
    "no labels": ("image-wrong", ["DELETE FROM image_labels"]),
    "labels of none": (
        "image-wrong",
        ["INSERT INTO image_labels SELECT id, '{}' FROM image WHERE id NOT IN (SELECT image FROM image_labels)"],
    ),
    "images without an ID": ("key-invalid", ["UPDATE image SET id = 'x' WHERE id LIKE 'sha256:5ffb%'"]),
    "images under another ID": (
        "config-damaged",
        [f"UPDATE image SET id = 'sha256:{'2' * 64}' WHERE id LIKE 'sha256:5ffb%'"],
    ),
    "manifests without a digest": (
        "key-invalid",
        ["UPDATE manifest SET digest = 'x' WHERE digest = (SELECT min(digest) FROM manifest)"],
    ),
    "manifests under another digest": (
        "manifest-damaged",
        [f"UPDATE manifest SET digest = 'sha256:{'2' * 64}' WHERE digest = (SELECT max(digest) FROM manifest)"],
    ),
    "blobs without a digest": ("key-invalid", ["UPDATE blob SET digest = '../../' || digest"]),
    "blobs under another digest": (
        "blob-missing",
        ["UPDATE blob SET digest = replace(digest, 'sha256:1', 'sha256:3') WHERE digest LIKE 'sha256:1%'"],
    ),
    "layers without a digest": ("key-invalid", ["UPDATE diff SET id = 'x' || id"]),
    "layers under another digest": (
        "content-missing",
        ["UPDATE diff SET id = replace(id, 'sha256:1', 'sha256:3') WHERE id LIKE 'sha256:1%'"],
    ),
    "chains without a digest": ("key-invalid", ["UPDATE chain SET id = 'x' || id"]),
    "chains under another digest": (
        "chain-wrong",
        ["UPDATE chain SET id = replace(id, 'sha256:1', 'sha256:3') WHERE id LIKE 'sha256:1%'"],
    ),
    "blob facts": ("blob-wrong", ["UPDATE blob SET size = size + 1", "UPDATE blob SET compression = 'xz'"]),
    "blob sizes": ("blob-wrong", ["UPDATE blob SET size = size + 1"]),
    "blobs": ("database", ["DELETE FROM blob"]),
    "layer facts": ("layer-wrong", ["UPDATE diff SET size = 1, content_size = 2, entries = 3, partial = 'x'"]),
    "layers": ("database", ["DELETE FROM diff"]),
    "links": ("content-missing", ["DELETE FROM diff_blob"]),
    "blobs and links": ("content-missing", ["DELETE FROM diff_blob", "DELETE FROM blob"]),
    "wrong links": ("form-wrong", ["UPDATE diff_blob SET diff = (SELECT min(id) FROM diff)"]),
    "all of layers": (
        "layers-missing",
        ["DELETE FROM diff_blob", "DELETE FROM blob", "DELETE FROM chain", "DELETE FROM diff"],
    ),
    "media type": ("manifest-wrong", ["UPDATE manifest SET media_type = 'x'"]),
    "nowhere": (
        "database",
        [
            f"INSERT INTO image_metadata VALUES ('sha256:{'1' * 64}', 'lastUpdated', x'00')",
            f"INSERT INTO image_labels VALUES ('sha256:{'1' * 64}', '{{}}')",
            f"INSERT INTO image_manifest VALUES ('sha256:{'1' * 64}', (SELECT min(digest) FROM manifest))",
        ],
    ),
}


@pytest.mark.sampled(18)
@pytest.mark.parametrize("name", ROWS)
def test_rows_that_follow_from_content_are_as_they_were(whole, root, name):
    kind, statements = ROWS[name]
    sql(root, *statements)
    report = repaired(root)
    assert kind in kinds(report.found)
    assert (report.state, report.problems) == ("repaired", ())
    assert content(root) == content(whole)
    assert broken(root) == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", ["head", "sizes", "all chains", "links", "blob sizes", "blobs", "layers"])
def test_a_quick_repair_puts_right_what_a_quick_look_finds(whole, root, name):
    sql(root, *ROWS[name][1])
    assert stores.fsck(root, quick=True, repair=True).state == "repaired"
    assert content(root) == content(whole)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("damage", [flip, truncate, empty, delete])
def test_a_table_of_contents_is_made_again(whole, root, damage):
    for path in tocs(root):
        damage(path)
    assert repaired(root).state == "repaired"
    assert content(root) == content(whole)


def test_what_is_in_the_place_of_a_table_goes_aside(whole, root):
    path = tocs(root)[0]
    path.unlink()
    path.mkdir()
    assert repaired(root).state == "repaired"
    assert content(root) == content(whole)


class TestBlobs:
    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("damage", [flip, flip_first, truncate, empty, lengthen])
    def test_a_bad_one_is_set_aside_and_kept(self, root, damage):
        path = single_form(root)
        damage(path)
        bad = path.read_bytes()
        report = repaired(root)
        assert (report.state, found(report.damage)) == ("damaged", [("blob-missing", digest(path))])
        (aside,) = (root / "quarantine").iterdir()
        assert aside.read_bytes() == bad
        assert [(one.kind, one.subject) for one in report.notes] == [("quarantined", str(aside))]
        assert [(one.kind, one.subject) for one in report.repairs] == [(report.found[0].kind, digest(path))]
        assert (root / "quarantine").stat().st_mode & 0o777 == 0o700

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("repair", [False, True])
    def test_a_load_brings_back_what_a_repair_has_set_aside(self, data, whole, root, repair):
        path = single_form(root)
        flip(path)
        if repair:
            stores.fsck(root, repair=True)
        with orlop.open(root) as images:
            images.load(data / "dockerd-29-overlay2" / "multi.tar")
            images.load(data / "dockerd-20.10-overlay2" / "parent-child.tar")
        assert stores.fsck(root).state == ("clean" if repair else "damaged")
        if repair:
            assert {**content(root), "rows": b""} == {**content(whole), "rows": b""}

    def test_a_load_puts_damaged_configs_and_manifests_right(self, data, whole, root):
        sql(
            root,
            "UPDATE image SET config = CAST(config || ' ' AS BLOB)",
            "UPDATE manifest SET content = CAST(content || ' ' AS BLOB)",
        )
        with orlop.open(root) as images:
            for archive in archives(data):
                assert not any(image.created for image in images.load(archive).images)
        assert stores.fsck(root).problems == ()

    @pytest.mark.sampled(2)
    def test_two_that_have_each_others_names_get_their_own(self, whole, root):
        one, *_, other = blobs(root)
        swap(one, other)
        report = repaired(root)
        assert (report.state, report.problems) == ("repaired", ())
        assert content(root) == content(whole)
        assert all(path.stat().st_mode & 0o777 == 0o400 for path in blobs(root))

    @pytest.mark.sampled(3)
    @pytest.mark.parametrize("place", ["blobs/sha256/renamed", "blobs/renamed", "quarantine/x"])
    def test_one_that_lies_elsewhere_in_the_store_comes_back(self, whole, root, place):
        (root / "quarantine").mkdir(exist_ok=True)
        single_form(root).rename(root / place)
        assert repaired(root).state == "repaired"
        assert content(root) == content(whole)

    @pytest.mark.sampled(3)
    def test_a_plain_one_is_made_again_from_a_compressed_one(self, whole, root):
        plain, _ = two_forms(root)
        for damage in (delete, flip):
            if damage is flip:
                flip(plain)
            else:
                delete(plain)
            assert repaired(root).state == "repaired"
            assert content(root) == content(whole)

    def test_a_compressed_one_that_a_manifest_names_stays_wanted(self, root):
        _, packed = two_forms(root)
        packed.unlink()
        report = repaired(root)
        assert (found(report.damage), report.repairs) == ([("blob-missing", digest(packed))], ())

    def test_one_that_nobody_names_is_forgotten_if_its_layer_is_there_in_another_form(self, root):
        _, packed = two_forms(root)
        sql(root, "DELETE FROM image_manifest", "DELETE FROM top", "DELETE FROM manifest")
        packed.unlink()
        report = repaired(root)
        assert report.state == "repaired"
        assert any("its layer is there as" in one.message for one in report.repairs)
        assert ask(root, f"SELECT * FROM blob WHERE digest = '{digest(packed)}'") == []

    @pytest.mark.sampled(2)
    def test_one_that_holds_what_nothing_needs_is_no_layer_any_more(self, root):
        content_ = layer_tar("unneeded")
        path = root / "blobs" / sha256(content_).replace(":", "/")
        path.write_bytes(content_)
        path.chmod(0o400)
        sql(
            root,
            f"INSERT INTO blob VALUES ('{sha256(content_)}', {len(content_)}, 'none')",
            f"INSERT INTO diff_blob VALUES ((SELECT min(id) FROM diff), '{sha256(content_)}')",
        )
        assert kinds(stores.fsck(root).damage) == ["form-wrong"]
        report = repaired(root)
        assert (report.state, kinds(report.notes)) == ("repaired", ["blob-unneeded"])
        assert path.exists()

    def test_a_link_to_the_blob_goes_aside_and_is_not_followed(self, root, tmp_path):
        path = single_form(root)
        elsewhere = tmp_path / "elsewhere"
        shutil.move(path, elsewhere)
        path.symlink_to(elsewhere)
        assert found(repaired(root).damage) == [("blob-missing", digest(path))]
        assert not os.path.lexists(path)
        assert elsewhere.exists()

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("instead", ["directory", "link", "pipe"])
    def test_what_is_no_file_goes_aside(self, root, instead, tmp_path):
        path = single_form(root)
        path.unlink()
        if instead == "directory":
            path.mkdir()
            (path / "x").touch()
        elif instead == "pipe":
            os.mkfifo(path)
        else:
            (tmp_path / "other").write_bytes(b"something else")
            path.symlink_to(tmp_path / "other")
        assert found(repaired(root).damage) == [("blob-missing", digest(path))]
        assert not os.path.lexists(path)
        assert len(list((root / "quarantine").iterdir())) == 1

    def test_what_a_repair_has_set_aside_can_be_removed(self, root):
        flip(blobs(root)[0])
        stores.fsck(root, repair=True)
        (root / "quarantine" / "directory").mkdir()
        flip(blobs(root)[0])
        report = stores.fsck(root, repair=True, empty_quarantine=True)
        # What was set aside just now stays.
        (aside,) = (root / "quarantine").iterdir()
        assert [one.subject for one in report.notes] == [str(aside)]
        assert stores.fsck(root, empty_quarantine=True).notes == ()
        assert list((root / "quarantine").iterdir()) == []


class TestFiles:
    def test_modes(self, root):
        before = {path: path.stat().st_mode for path in root.rglob("*")}
        for path in (blobs(root)[0], tocs(root)[0], root / "blobs" / "sha256", root / "ingest", root / "write.lock"):
            path.chmod(0o757)
        assert repaired(root).state == "repaired"
        assert {path: path.stat().st_mode for path in before} == before

    @pytest.mark.sampled(4)
    @pytest.mark.parametrize("name", ["ingest", "trash", "leases", "toc/sha256"])
    def test_directories(self, whole, root, name):
        shutil.rmtree(root / name)
        assert stores.fsck(root, repair=True).state == "repaired"
        shutil.rmtree(root / name)
        (root / name).write_bytes(b"x")
        report = stores.fsck(root, repair=True)
        assert (report.state, kinds(report.notes)) == ("repaired", ["quarantined"])
        assert content(root) == content(whole)
        assert (root / name).stat().st_mode & 0o777 == 0o700

    @pytest.mark.sampled(2)
    def test_strays_are_left_for_the_collector(self, root):
        (root / "blobs" / "sha256" / "x").touch()
        report = repaired(root)
        assert (report.state, report.repairs, kinds(report.notes)) == ("clean", (), ["stray"])


class TestLinksBetweenImages:
    def test_a_missing_parent_is_cut_and_named(self, root):
        parent, child = parent_and_child(root)
        sql(root, f"DELETE FROM image WHERE id = '{parent}'")
        report = repaired(root)
        assert report.state == "repaired"
        assert [one.message for one in report.repairs if one.kind == "parent-missing"] == [
            f"the image {child} has no parent any more; it had {parent}, which is not there"
        ]

    @pytest.mark.sampled(2)
    def test_a_circle_of_parents_is_opened_where_it_is_wrong(self, whole, root):
        parent, child = parent_and_child(root)
        sql(root, f"INSERT INTO image_metadata VALUES ('{parent}', 'parent', CAST('{child}' AS BLOB))")
        assert kinds(stores.fsck(root).damage) == ["parent-loop"]
        assert repaired(root).state == "repaired"
        assert content(root) == content(whole)

    @pytest.mark.sampled(3)
    def test_a_name_that_nobody_can_ask_for_goes_if_its_image_has_another(self, root):
        ((image,),) = ask(root, "SELECT image FROM reference WHERE name LIKE '%/imported'")
        sql(root, "UPDATE reference SET name = 'example.com/Imported' WHERE name LIKE '%/imported'")
        assert kinds(repaired(root).damage) == ["name-invalid"]
        with orlop.open(root) as images:
            images.tag(str(image), "again:1")
        report = repaired(root)
        assert (report.state, report.problems) == ("repaired", ())
        assert ask(root, f"SELECT name FROM reference WHERE image = '{image}'") == [("docker.io/library/again",)]

    @pytest.mark.parametrize("change", ["name = 'A b'", "name = ''", "name = 'a' || char(27)", "suffix = ':a b'"])
    @pytest.mark.parametrize("kind", ["image", "chart"])
    def test_so_does_a_name_of_a_manifest(self, root, kind, change):
        layout = Layout()
        only = chart(layout) if kind == "chart" else layout.index(layout.image("file", platform=True))
        with orlop.open(root) as images:
            images.load(io.BytesIO(layout.top(only | named("example.com/wrong:1")).pack()))
        sql(root, "DELETE FROM reference WHERE name = 'example.com/wrong'")
        sql(root, f"UPDATE top SET {change} WHERE name = 'example.com/wrong' AND suffix = ':1'")
        report = repaired(root)
        assert (kinds(report.damage), report.repairs) == (["name-invalid"], ())
        with orlop.open(root) as images:
            images.tag(only["digest"], "again:1")
        report = repaired(root)
        assert (report.state, report.problems) == ("repaired", ())
        assert [one.kind for one in report.repairs] == ["name-invalid"]
        with orlop.open(root) as images:
            images.gc()
            assert str(images.tree("again:1")[0].digest) == only["digest"]

    def test_a_valid_name_that_reads_the_same_stays(self, root):
        ((image,),) = ask(root, "SELECT image FROM reference WHERE name LIKE '%/imported'")
        sql(root, f"INSERT INTO reference VALUES ('a.test/a', ':1', '{image}', 1), ('a.test/a:', '1', '{image}', 1)")
        report = repaired(root)
        assert [one.kind for one in report.repairs] == ["name-invalid"]
        assert ask(root, "SELECT name, suffix FROM reference WHERE name LIKE 'a.test%'") == [("a.test/a", ":1")]

    @pytest.mark.sampled(2)
    def test_names_that_lead_nowhere_stay(self, root):
        sql(root, f"UPDATE reference SET image = 'sha256:{'0' * 64}' WHERE name LIKE '%/plain'")
        report = repaired(root)
        assert (kinds(report.damage), report.repairs) == (["name-dangling", "name-dangling"], ())
        with orlop.open(root) as images:
            assert images.remove(PLAIN).untagged == (PLAIN,)


def archives(data: Path) -> list[Path | BinaryIO]:
    """All that the store was filled from."""
    packed = [layout(PLAIN, "both", compress=False), layout(PACKED, "both", "only", compress=True)]
    files = [*DATA, "other-tools/skopeo-oci-archive-zstd.tar"]
    return [*(data / name for name in files), *map(io.BytesIO, packed)]


DATA = ("dockerd-20.10-overlay2/parent-child.tar", "dockerd-29-overlay2/multi.tar")


class TestSources:
    """What is missing is taken from archives, and nothing else."""

    @pytest.mark.sampled(2)
    @pytest.mark.parametrize("damage", [flip, delete])
    def test_every_blob_comes_back(self, data, whole, root, damage):
        for path in blobs(root):
            damage(path)
        report = repaired(root, *archives(data))
        assert (report.state, report.damage) == ("repaired", ())
        assert content(root) == content(whole)
        assert {one.kind for one in report.notes} == ({"quarantined"} if damage is flip else set())

    @pytest.mark.sampled(4)
    def test_from_a_pipe_and_a_directory(self, data, whole, root, tmp_path):
        path = single_form(root)
        archives = [(data / name).read_bytes() for name in DATA]
        for number, archive in enumerate(archives):
            unpacked(archive, tmp_path / str(number))
        for sources in ([tmp_path / "0", tmp_path / "1"], archives):
            path.unlink()
            report = repaired(root, *(piped(one) if isinstance(one, bytes) else one for one in sources))
            assert report.state == "repaired"
            assert content(root) == content(whole)

    @pytest.mark.sampled(3)
    def test_a_layer_comes_in_the_form_that_an_archive_has(self, root):
        _, packed = two_forms(root)
        ((only,),) = ask(
            root,
            """SELECT blob FROM diff_blob JOIN blob ON digest = blob WHERE compression = 'gzip'
            AND diff IN (SELECT diff FROM diff_blob GROUP BY diff HAVING count(*) = 1)""",
        )
        path = root / "blobs" / str(only).replace(":", "/")
        path.unlink()
        packed.unlink()
        plain = io.BytesIO(layout("other:1", "only", compress=False))
        report = repaired(root, plain)
        # The image can be used again, but what its manifest names is still missing, and so is what the archive has not.
        assert sorted(found(report.damage)) == sorted([("blob-missing", str(only)), ("blob-missing", digest(packed))])
        with orlop.open(root) as images:
            images.save([PACKED], io.BytesIO())
            assert len(images.images("other")) == 0
        sql(root, "DELETE FROM image_manifest", "DELETE FROM top", "DELETE FROM manifest")
        assert repaired(root).state == "repaired"
        assert ask(root, "SELECT compression FROM blob WHERE compression = 'gzip' AND size < 95") != []

    @pytest.mark.sampled(4)
    def test_documents_come_back_too(self, data, whole, root):
        sql(
            root,
            "UPDATE image SET config = CAST(config || ' ' AS BLOB)",
            "UPDATE manifest SET content = CAST(content || ' ' AS BLOB)",
        )
        report = repaired(root)
        assert {one.kind for one in report.damage} == {"config-damaged", "manifest-damaged"}
        assert report.repairs == ()
        sql(root, "DELETE FROM manifest WHERE digest = (SELECT min(digest) FROM manifest)")
        assert repaired(root, *archives(data)).state == "repaired"
        assert content(root) == content(whole)

    @pytest.mark.sampled(4)
    def test_what_only_a_repair_brings_to_light_is_repaired_with_it(self, data, whole, root):
        sql(
            root,
            "UPDATE image SET config = CAST(config || ' ' AS BLOB), created = 5, chain = NULL",
            "UPDATE diff SET entries = 1",
            "UPDATE blob SET compression = 'xz'",
        )
        for path in [*blobs(root), *tocs(root)]:
            flip(path)
        report = repaired(root, *archives(data))
        assert (report.state, report.damage) == ("repaired", ())
        assert content(root) == content(whole)

    @pytest.mark.sampled(2)
    def test_an_image_that_names_lead_to_comes_back_and_no_other(self, data, root):
        ((image,),) = ask(root, "SELECT image FROM reference WHERE name LIKE '%/imported'")
        with orlop.open(root) as images:
            before = {one.id for one in images.images(all=True)}
            images.remove(str(image), force=True)
        sql(root, f"INSERT INTO reference VALUES ('docker.io/example/imported', ':latest', '{image}', 1)")
        report = repaired(root, data / "dockerd-29-overlay2" / "multi.tar", data / "dockerd-29-overlay2" / "dup.tar")
        assert report.state == "repaired"
        with orlop.open(root) as images:
            assert {one.id for one in images.images(all=True)} == before
            assert [str(one.id) for one in images.images("example/imported")] == [image]

    @pytest.mark.sampled(2)
    def test_a_parent_that_comes_back_stays_one(self, data, whole, root):
        parent, child = parent_and_child(root)
        sql(root, f"DELETE FROM image WHERE id = '{parent}'")
        report = repaired(root, data / "dockerd-20.10-overlay2" / "parent-child.tar")
        assert report.state == "repaired"
        with orlop.open(root) as images:
            assert str(images.image_store.get(ImageID.parse(child)).parent) == parent

    @pytest.mark.sampled(3)
    def test_an_archive_that_is_bad_is_a_note_and_the_next_one_is_read(self, data, whole, root, tmp_path):
        path = single_form(root)
        path.unlink()
        (tmp_path / "text").write_bytes(b"no archive")
        archive = bytearray((data / DATA[1]).read_bytes())
        at = archive.index(b"blobs/sha256/" + path.name.encode()) + 512 + 600
        archive[at] ^= 1
        (tmp_path / "damaged").write_bytes(archive)
        report = repaired(root, tmp_path / "text", tmp_path / "damaged")
        assert found(report.notes) == [("source", str(tmp_path / "damaged")), ("source", str(tmp_path / "text"))]
        assert found(report.damage) == [("blob-missing", digest(path))]
        report = repaired(root, tmp_path / "text", tmp_path / "damaged", data / DATA[1])
        assert (report.state, kinds(report.notes)) == ("repaired", ["source", "source"])
        assert content(root) == content(whole)

    def test_one_that_is_not_there_is_told_before_anything_is_done(self, root, tmp_path):
        flip(blobs(root)[0])
        before = content(root)
        with pytest.raises(errors.NotFound):
            stores.fsck(root, repair=True, sources=[tmp_path / "nothing"])
        with pytest.raises(errors.InvalidInput):
            stores.fsck(root, sources=[tmp_path])
        assert content(root) == before


def unpacked(archive: bytes, target: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        unpack(tar, target)


def piped(content: bytes) -> BinaryIO:
    """What can be read once, and not sought in."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self._rest = io.BytesIO(content)

        def readable(self) -> bool:
            return True

        def read(self, n: int = -1, /) -> bytes:
            return self._rest.read(n)

    return cast("BinaryIO", Pipe())


class TestDatabase:
    def test_of_one_that_is_lost_in_part_the_rest_comes_back_and_no_file_goes(self, root):
        content_ = bytearray((root / "metadata.db").read_bytes())
        content_[4096:20480] = b"\xff" * 16384
        overwrite(root / "metadata.db", bytes(content_))
        before = {path: path.read_bytes() for path in blobs(root)}
        report = stores.fsck(root, repair=True)
        assert report.repairs[0].kind == "database"
        assert {path: path.read_bytes() for path in blobs(root)} == before
        assert bytes(content_) in [path.read_bytes() for path in (root / "quarantine").iterdir()]
        assert kinds(stores.fsck(root).damage) == kinds(report.damage)

    def test_a_store_that_cannot_be_written_is_not_repaired(self, root, monkeypatch):
        monkeypatch.setattr("orlop.store.local.file_system_of", lambda _: FileSystem("nfs4", "/"))
        flip(blobs(root)[0])
        with pytest.raises(errors.UnsafeFileSystem):
            stores.fsck(root, repair=True)
        assert stores.fsck(root, repair=True, allow_network=True).repairs != ()
