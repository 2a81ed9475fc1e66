"""What another engine left, looked at in place: lists, histories, files, copies, and what containers have changed."""

from __future__ import annotations

import io
import os
import shutil
import tarfile

import pytest

import orlop
from orlop.cli.main import run
from orlop.errors import AmbiguousID, ContainerNotFound, DigestMismatch, RootDamaged
from orlop.foreign.changes import changes_chunks
from orlop.foreign.disk import Folder
from orlop.service.rescue import rescue_container, rescue_store
from tests.foreign_roots import CONTAINERD, DOCKER, PODMAN, make_root, snapshot, unpack
from tests.socket_files import make_socket

OVERLAY2 = "engine-20.10-overlay2"
ROOTS = (*DOCKER, *PODMAN, CONTAINERD)


@pytest.fixture(params=ROOTS)
def root(request, data, tmp_path):
    return unpack(data, request.param, tmp_path / "disk")


@pytest.fixture
def overlay2(data, tmp_path):
    return unpack(data, OVERLAY2, tmp_path / "disk")


def listing(files):
    return [(one.path, one.type, one.mode, one.uid, one.gid, one.size, one.mtime, one.target) for one in files.walk()]


@pytest.mark.sampled(6)
def test_looks_show_what_a_store_shows_after_a_rescue(root, tmp_path):
    rescue_store(tmp_path / "store", root)
    before = snapshot(root)
    with orlop.open(tmp_path / "store") as store, orlop.RootService(root) as looked:
        kept = {one.id: one for one in store.images(all=True)}
        found = {one.id: one for one in looked.images(all=True)}
        assert kept.keys() <= found.keys()
        assert len(kept) >= 5
        for image_id, image in kept.items():
            assert found[image_id].references == image.references
            assert looked.raw_config(image_id) == store.raw_config(image_id)
            assert looked.inspect(image_id).image.rootfs == store.inspect(image_id).image.rootfs
        for image_id in sorted(kept, key=str)[:3]:
            steps = [(one.created_by, one.size) for one in looked.history(image_id)]
            assert steps == [(one.created_by, one.size) for one in store.history(image_id)]
            with looked.files(image_id) as there, store.files(image_id) as here:
                assert listing(there) == listing(here)
                names = [one.path for one in here.walk() if one.type == "file" and one.size]
                assert [there.read(name) for name in names[:20]] == [here.read(name) for name in names[:20]]
    assert snapshot(root) == before


def test_what_is_damaged_is_told_when_it_is_read_and_the_rest_is_shown(overlay2):
    with orlop.RootService(overlay2) as looked:
        assert looked.inspect("give/odd-whiteouts:1").image.history
        with pytest.raises(DigestMismatch, match="cannot be rebuilt"), looked.files("give/odd-whiteouts:1") as files:
            list(files.walk())
        with looked.files("give/odd-whiteouts:1", up_to=1) as files:
            assert list(files.walk())


def test_commands_tell_that_a_root_has_lost_images(tmp_path, capfd):
    make_root(tmp_path, 2, {})
    command = ["images", "--quiet", "--root-of", str(tmp_path)]
    assert run(command) == 0
    out, err = capfd.readouterr()
    assert (len(out.splitlines()), err) == (2, "")
    configs = tmp_path / "image/overlay2/imagedb/content/sha256"
    next(configs.iterdir()).unlink()
    said = (
        f"note: images of {tmp_path} are lost, and are not among these; orlop rescue {tmp_path} tells which and why\n"
    )
    assert run(command) == 0
    out, err = capfd.readouterr()
    assert (len(out.splitlines()), err) == (1, said)
    shutil.rmtree(configs)
    (tmp_path / "image/overlay2/repositories.json").unlink()
    assert run(command) == 0
    assert capfd.readouterr() == ("", said)


@pytest.mark.sampled(2)
def test_commands_look_into_a_root(overlay2, tmp_path, capfdbinary):
    place = f"--root-of={overlay2}"
    for words in (
        ["images", place],
        ["history", place, "give/rich:1"],
        ["inspect", place, "give/rich:1"],
        ["ls", place, "give/rich:1", "/"],
        ["cat", place, "give/rich:old", "/copied-in"],
        ["find", place, "give/rich:1", "--name", "halyard"],
        ["grep", place, ".", "give/rich:1"],
        ["tree", place, "give/rich:1"],
        ["stat", place, "give/rich:1", "/halyard"],
        ["export", place, "give/rich:1", "-o", str(tmp_path / "all.tar")],
        ["cp", place, "give/rich:1:/halyard", str(tmp_path / "halyard")],
        ["audit", place, "give/rich:1"],
    ):
        assert run(words) == 0, words
    shown = capfdbinary.readouterr().out
    assert b"give/rich" in shown
    assert run(["diff", place, "give/rich:1", "give/rich:old", "--format", "json"]) == 8
    assert b"copied-in" in capfdbinary.readouterr().out
    assert run(["ls", place, "no/such"]) == 4
    assert run(["ls", place, "--archive", "x", "no/such"]) == 2
    (tmp_path / "empty").mkdir()
    assert run(["images", f"--root-of={tmp_path / 'empty'}"]) == 3
    assert run(["images", place, "--platform=linux/s390x"]) == 2


@pytest.mark.sampled(3)
def test_an_image_of_a_root_is_copied_with_its_digests(data, overlay2, tmp_path, capfd):
    target = tmp_path / "layout"
    assert run(["copy", f"root:{overlay2}:give/rich:1", f"oci:{target}"]) == 0
    with orlop.Archive(target) as archive, orlop.RootService(overlay2) as looked:
        assert [image.raw_config for image in archive.images] == [looked.raw_config("give/rich:1")]
        archive.verify()
    containerd = unpack(data, CONTAINERD, tmp_path / "containerd")
    assert (
        run(["copy", "--all-platforms", f"root:{containerd}:reg.example/give/rich:1", f"oci:{tmp_path / 'as-it-was'}"])
        == 0
    )
    with orlop.Archive(tmp_path / "as-it-was") as archive, orlop.RootService(containerd) as looked:
        said = looked.inspect("reg.example/give/rich:1")
        assert archive.images[0].manifests[0] in {orlop.Digest.parse(one) for one in said.manifests}
    capfd.readouterr()
    assert run(["copy", f"root:{overlay2}:give/odd-whiteouts:1", f"oci:{tmp_path / 'damaged'}"]) == 6
    assert "is damaged: layer 3 of 3" in capfd.readouterr().err
    assert not (tmp_path / "damaged").exists()
    assert run(["copy", f"oci:{target}", f"root:{overlay2}"]) != 0
    assert "only reads" in capfd.readouterr().err


@pytest.mark.sampled(3)
def test_what_a_container_has_changed_is_copied_as_a_layer(data, overlay2, tmp_path, capfd):
    target = tmp_path / "layer.tar"
    assert run(["rescue", str(overlay2), "--container", "work", "--into", str(target)]) == 0
    assert "a layer of what work has changed" in capfd.readouterr().out
    with tarfile.open(target) as tar:
        names = tar.getnames()
    assert names
    assert rescue_container(tmp_path / "again.tar", overlay2, "work") == target.stat().st_size
    assert (tmp_path / "again.tar").read_bytes() == target.read_bytes()
    with pytest.raises(ContainerNotFound):
        rescue_container(tmp_path / "other.tar", overlay2, "no-such")
    shutil.move(unpack(data, "engine-20.10-vfs", tmp_path / "another"), overlay2 / "second")
    with pytest.raises(AmbiguousID):
        rescue_container(tmp_path / "other.tar", overlay2, "work")
    assert not (tmp_path / "other.tar").exists()
    assert run(["rescue", str(overlay2), "--container", "work"]) == 2
    assert run(["rescue", str(overlay2), "--container", "work", "--into", str(overlay2 / "x.tar")]) == 3


def packed(folder):
    with Folder.open(str(folder)) as opened:
        return tarfile.open(fileobj=io.BytesIO(b"".join(changes_chunks(opened))))


@pytest.mark.needs("attributes")
def test_every_kind_of_file_becomes_what_a_layer_has_for_it(tmp_path):
    top = tmp_path / "diff"
    (top / "etc").mkdir(parents=True)
    (top / "etc" / "one").write_bytes(b"x" * 3000)
    os.link(top / "etc" / "one", top / "two")
    (top / "link").symlink_to("../../outside")
    (top / b"\xff".decode(errors="surrogateescape")).write_bytes(b"raw")
    (top / ".wh..wh.plnk").mkdir()
    (top / ".wh.gone").write_bytes(b"")
    os.mkfifo(top / "pipe")
    make_socket(top / "socket")
    os.setxattr(top / "etc" / "one", "user.mine", b"kept")
    os.setxattr(top / "etc", "user.overlay.opaque", b"y")
    os.setxattr(top / "two", "user.fuseoverlayfs.override_stat", b"12:34:4755")
    with packed(top) as tar:
        members = {member.name: member for member in tar}
    assert list(members) == [".wh.gone", "etc", "etc/.wh..wh..opq", "etc/one", "link", "pipe", "two", "\udcff"]
    one = members["etc/one"]
    assert one.pax_headers["SCHILY.xattr.user.mine"] == "kept"
    assert (one.uid, one.gid, one.mode, one.size) == (12, 34, 0o4755, 3000)
    assert not [key for member in members.values() for key in member.pax_headers if "overlay" in key]
    assert (members["two"].type, members["two"].linkname) == (tarfile.LNKTYPE, "etc/one")
    assert members["link"].linkname == "../../outside"
    assert members["pipe"].isfifo()


@pytest.mark.needs("root")
def test_a_device_of_zero_is_a_whiteout(tmp_path):
    (tmp_path / "diff").mkdir()
    os.mknod(tmp_path / "diff" / "gone", 0o20000, os.makedev(0, 0))
    os.mknod(tmp_path / "diff" / "null", 0o20666, os.makedev(1, 3))
    with packed(tmp_path / "diff") as tar:
        assert [(member.name, member.type) for member in tar] == [
            (".wh.gone", tarfile.REGTYPE),
            ("null", tarfile.CHRTYPE),
        ]


@pytest.mark.needs("attributes")
def test_what_only_the_driver_can_follow_is_refused_by_name(tmp_path):
    (tmp_path / "diff" / "moved").mkdir(parents=True)
    os.setxattr(tmp_path / "diff" / "moved", "user.overlay.redirect", b"/old")
    with pytest.raises(RootDamaged, match="moved was renamed by the driver"):
        packed(tmp_path / "diff")


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "words",
    [
        ["copy", "root:{root}:give/rich:1", "oci:{root}/out"],
        ["copy", "root:{root}:give/rich:1", "docker-archive:{root}/out.tar"],
        ["export", "--root-of", "{root}", "give/rich:1", "-o", "{root}/out.tar"],
        ["cp", "--root-of", "{root}", "give/rich:1:/jib", "{root}"],
        ["audit", "--no-content", "--root-of", "{root}", "give/rich:1", "--html", "{root}/out.html"],
    ],
    ids=["copy to a layout", "copy to an archive", "export", "cp", "audit"],
)
def test_nothing_that_is_had_of_a_root_is_written_into_it(overlay2, capfd, words):
    before = snapshot(overlay2)
    assert run([word.format(root=overlay2) for word in words]) == 3
    assert "where orlop writes nothing" in capfd.readouterr().err
    assert snapshot(overlay2) == before


@pytest.mark.sampled(3)
def test_with_vfs_a_container_is_compared_with_what_it_began_with(data, tmp_path):
    root = unpack(data, "engine-20.10-vfs", tmp_path / "root")
    rescue_container(tmp_path / "vfs.tar", root, "work")
    rescue_container(tmp_path / "overlay2.tar", unpack(data, "engine-20.10-overlay2", tmp_path / "other"), "work")
    with tarfile.open(tmp_path / "vfs.tar") as one, tarfile.open(tmp_path / "overlay2.tar") as other:
        assert one.getnames() == other.getnames() != []


def test_what_differs_between_two_directories_is_a_layer(tmp_path):
    def put(place, **files):
        for name, content in files.items():
            path = tmp_path / place / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            os.utime(path, ns=(10**18, 10**18))

    put("lower", same="1", changed="1", mode="1", gone="1", a__b__c__same="1", a__b__c__new="", dir__x="1", file="1")
    put("upper", same="1", changed="22", mode="1", a__b__c__same="1", dir="now a file", file__y="1", new__d__e="1")
    put("lower", kept__x="1", cleared__x="1")
    put("upper", kept__x="1", cleared__y="1", a__z="1")
    (tmp_path / "upper" / "mode").chmod(0o700)
    (tmp_path / "upper" / "link").symlink_to("same")
    put("lower", a__socket="1")
    make_socket(tmp_path / "upper" / "a" / "socket")
    with Folder.open(str(tmp_path / "upper")) as upper, Folder.open(str(tmp_path / "lower")) as lower:
        raw = b"".join(changes_chunks(upper, lower))
        assert not any(b"".join(changes_chunks(upper, upper.copy())))
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        assert [one.name for one in tar] == [
            *(
                "a",
                "a/b",
                "a/b/c",
                "a/b/c/.wh.new",
                "a/.wh.socket",
                "a/z",
                "changed",
                "cleared",
                "cleared/.wh.x",
                "cleared/y",
                "dir",
            ),
            *("file", "file/y", ".wh.gone", "link", "mode", "new", "new/d", "new/d/e"),
        ]
    (tmp_path / "upper" / "a" / ".wh.same").write_text("a file")
    with Folder.open(str(tmp_path / "upper")) as upper, Folder.open(str(tmp_path / "lower")) as lower:  # noqa: SIM117
        with pytest.raises(RootDamaged, match="would be a mark"):
            b"".join(changes_chunks(upper, lower))
