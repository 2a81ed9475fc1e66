"""Layers made one: what is seen of them is what unpacking them one after another leaves."""

from __future__ import annotations

import io
import posixpath
import random
import tarfile

import pytest

from orlop.errors import InvalidTar, TocDamaged
from orlop.streams.squash import Squash, cut
from orlop.streams.tar_read import TarReader
from orlop.streams.tar_write import END


def tar(*members: str | tuple[str, str] | tarfile.TarInfo) -> bytes:
    """Make a layer: `d/` is a directory, `name` a file, `(name, text)` one with content, `name=>target` a hard link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member if isinstance(member, tuple) else (member, "")
            name, _, target = name.partition("=>")
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.LNKTYPE if target else tarfile.REGTYPE
            info.linkname = target
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content.encode()))
    return out.getvalue()


def squash(*layers: bytes, keep_whiteouts: bool = False) -> bytes:
    """Make layers, bottom first, one."""
    merger = Squash(keep_whiteouts=keep_whiteouts)
    pieces = [merger.add(TarReader(io.BytesIO(layer))) for layer in reversed(layers)]
    parts = [
        b"".join(cut([layer[at : at + 700] for at in range(0, len(layer), 700)], piece))
        for layer, piece in zip(layers, reversed(pieces), strict=True)
    ]
    return b"".join(parts) + END


Tree = dict[str, object]


def unpack(layer: bytes, tree: Tree) -> Tree:
    """Put a layer on a tree of paths, by the words of the OCI image spec; a file is a list, so that links share it."""
    tree = dict(tree)
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        members = archive.getmembers()
        # "Whiteout files MUST only apply to resources in lower/parent layers."
        for member in members:
            folder, name = posixpath.split(member.name)
            if name == ".wh..wh..opq":
                remove(tree, folder, below_only=True)
            elif name.startswith(".wh.") and not name.startswith(".wh..wh."):
                remove(tree, posixpath.join(folder, name[4:]))
        for member in members:
            if posixpath.basename(member.name).startswith(".wh."):
                continue
            # A directory joins one that is there, also one that only its content implies.
            if not member.isdir() or isinstance(tree.get(member.name), list):
                remove(tree, member.name)
            if member.isdir():
                tree[member.name] = "dir"
            elif member.islnk():
                tree[member.name] = tree[member.linkname]
            else:
                file = archive.extractfile(member)
                assert file is not None
                tree[member.name] = [file.read()]
    return tree


def remove(tree: Tree, path: str, *, below_only: bool = False) -> None:
    for name in list(tree):
        if name.startswith(f"{path}/") or (name == path and not below_only) or not path:
            del tree[name]


def shape(tree: Tree) -> dict[str, object]:
    """Make two trees comparable: content, and which paths are one file. Directories that nothing names are implied."""
    files = {path: file for path, file in tree.items() if isinstance(file, list)}
    return {
        path: (file[0], sorted(other for other, same in files.items() if same is file)) for path, file in files.items()
    }


CASES = {
    "later files replace": [tar(("a", "1"), ("b", "2")), tar(("a", "3"))],
    "a whiteout hides": [tar("d/", ("d/a", "1"), ("d/b", "2")), tar("d/.wh.a")],
    "a whiteout hides a directory": [tar("d/", ("d/a", "1"), "d/e/", ("d/e/f", "2"), ("x", "3")), tar(".wh.d")],
    "a hidden directory comes again": [tar("d/", ("d/a", "1")), tar(".wh.d"), tar("d/", ("d/b", "2"))],
    "a whiteout and its file in one layer": [tar(("a", "1")), tar(".wh.a", ("a", "2"))],
    "opaque": [tar("d/", ("d/a", "1")), tar("d/", "d/.wh..wh..opq", ("d/b", "2"))],
    "opaque at the top": [tar(("a", "1")), tar(".wh..wh..opq", ("b", "2"))],
    "a file replaces a directory": [tar("d/", ("d/a", "1")), tar(("d", "file"))],
    "a directory replaces a file": [tar(("d", "file")), tar("d/", ("d/a", "1"))],
    "a directory twice": [tar("d/", ("d/a", "1")), tar("d/", ("d/b", "2"))],
    "hard links": [tar(("a", "1"), "b=>a", "c=>a"), tar(("x", "2"))],
    "a hard link outlives its file": [tar(("a", "1"), "b=>a", "c=>a"), tar(".wh.a")],
    "a hard link outlives a file that was replaced": [tar(("a", "1"), "b=>a"), tar(("a", "2"))],
    "a chain of hard links": [tar(("a", "1"), "b=>a", "c=>b", "d=>c"), tar(".wh.a", ".wh.b")],
    "other reserved names": [tar(("a", "1")), tar(".wh..wh.plnk", "d/", ("d/b", "2"))],
    "names with dots": [tar("./d/", ("./d/a", "1"), ("/e", "2")), tar("d/../.wh.e", ("./d//a", "3"))],
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_one_tar_leaves_what_all_leave(name):
    layers = CASES[name]
    if name == "names with dots":
        assert sorted(entry.name for entry in TarReader(io.BytesIO(squash(*layers)))) == ["./d/", "./d//a"]
        return
    tree: Tree = {}
    for layer in layers:
        tree = unpack(layer, tree)
    assert shape(unpack(squash(*layers), {})) == shape(tree)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"names with dots"}))
def test_on_a_lower_layer_whiteouts_still_count(name):
    below, *layers = CASES[name]
    base = unpack(tar("d/", ("d/base", "0"), ("a", "0"), ("b", "0"), "e/"), unpack(below, {}))
    tree = base
    for layer in layers:
        tree = unpack(layer, tree)
    assert shape(unpack(squash(*layers, keep_whiteouts=True), base)) == shape(tree)


def random_layer(chance: random.Random, tree: Tree) -> bytes:
    names = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/f", "g/h"]
    members: list[str | tuple[str, str]] = []
    files: list[str] = []
    taken: set[str] = set()
    for _ in range(chance.randrange(1, 7)):
        name = chance.choice(names)
        if name in taken or any(f.startswith(f"{name}/") or name.startswith(f"{f}/") for f in taken):
            continue
        kind = chance.choice(["file", "file", "dir", "whiteout", "opaque", "link"])
        folder, _, base = name.rpartition("/")
        if kind == "whiteout":
            members.append(f"{folder}/.wh.{base}".lstrip("/"))
            continue
        if kind == "opaque":
            members.append(f"{name}/.wh..wh..opq")
            continue
        taken.add(name)
        if kind == "link" and files:
            members.append(f"{name}=>{chance.choice(files)}")
        elif kind == "dir":
            members.append(f"{name}/")
        else:
            members.append((name, str(chance.random())))
            files.append(name)
    return tar(*members)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("seed", range(150))
def test_random_layers_are_merged_as_they_unpack(seed):
    chance = random.Random(seed)
    layers = [random_layer(chance, {}) for _ in range(chance.randrange(2, 6))]
    tree: Tree = {}
    for layer in layers:
        tree = unpack(layer, tree)
    assert shape(unpack(squash(*layers), {})) == shape(tree)
    base = unpack(layers[0], {})
    assert shape(unpack(squash(*layers[1:], keep_whiteouts=True), base)) == shape(tree)


def test_what_is_seen_keeps_every_byte_of_its_headers():
    info = tarfile.TarInfo("é" * 120)
    info.pax_headers = {"SCHILY.xattr.user.x": "y", "mtime": "12.5"}
    only = tar(info, ("b", "content"))
    assert squash(only, tar(".wh.nothing")).rstrip(b"\0") == only.rstrip(b"\0")


def test_a_link_that_becomes_a_file_keeps_its_attributes():
    info = tarfile.TarInfo("gone")
    info.mode, info.uid, info.gid, info.uname, info.gname = 0o4755, 1 << 22, 7, "owner", "gr\u00fc"
    info.pax_headers = {"SCHILY.xattr.user.x": "y", "mtime": "-12.25"}
    long = "x" * 150
    layers = [tar(info, f"{long}=>gone", "é=>gone"), tar(".wh.gone")]
    first, second = TarReader(io.BytesIO(squash(*layers)))
    assert (first.name, first.type, first.mode, first.uid, first.gid) == (long, "file", 0o4755, 1 << 22, 7)
    assert (first.uname, first.gname, first.mtime, first.xattrs) == (
        "owner",
        "grü",
        (-13, 750_000_000),
        {"user.x": b"y"},
    )
    assert (second.name, second.type, second.linkname) == ("é", "hardlink", long)
    with tarfile.open(fileobj=io.BytesIO(squash(*layers))) as archive:
        assert [member.name for member in archive] == [long, "é"]


def test_a_failed_layer_may_be_added_again():
    def broken():
        yield from list(TarReader(io.BytesIO(tar(("a", "1")))))
        raise OSError("the disk")

    merger = Squash(keep_whiteouts=False)
    with pytest.raises(OSError, match="the disk"):
        merger.add(broken())
    assert len(merger.add(TarReader(io.BytesIO(tar(("a", "1")))))) == 1


def test_a_link_that_leads_nowhere_is_told():
    with pytest.raises(InvalidTar, match="link to itself"):
        squash(tar("a=>b", "b=>a", "c=>a"), tar(".wh.a", ".wh.b"))


def test_a_tar_without_its_padding_is_padded():
    cut_short = tar(("a", "1"))[: 512 + 1]
    merged = squash(cut_short, tar(("b", "2")))
    with tarfile.open(fileobj=io.BytesIO(merged)) as archive:
        assert archive.getnames() == ["a", "b"]


@pytest.mark.parametrize("size", [0, 512, 1024])
def test_a_layer_that_ends_before_its_table_of_contents_does_is_told(size):
    layer = tar(("a", "1"), ("b", "2"))
    pieces = Squash(keep_whiteouts=False).add(TarReader(io.BytesIO(layer)))
    with pytest.raises(TocDamaged, match=f"in a layer of {size}"):
        list(cut([layer[:size]], pieces))
