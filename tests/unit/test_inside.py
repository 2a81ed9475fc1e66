"""The files of images of a store and of archives: looked up, read, exported, copied out and compared."""

from __future__ import annotations

import io
import json
import re
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import orlop
from orlop.errors import (
    DigestMismatch,
    InvalidInput,
    PathNotFound,
    SizeMismatch,
    TargetExists,
    TocDamaged,
    WrongFileType,
)
from orlop.inside.cause import config_changes, first_cause
from orlop.inside.content import Contents
from orlop.inside.difference import compare
from orlop.inside.export import export_chunks
from orlop.inside.extract import extract
from orlop.inside.find import Conditions, path_matcher
from orlop.model.digest import DiffID
from orlop.streams.tar_read import TarReader
from tests.unit import merge_cases
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orlop.inside.view import ImageFiles
    from orlop.streams.tar_entry import TarEntry

BASE = layer("etc/", ("etc/passwd", b"root\n"), "bin/", ("bin/sh", b"x" * 5000), "bin/sh2=>bin/sh", "lib->usr/lib")
NEXT = layer("etc/", ("etc/passwd", b"root\nme\n"), "etc/.wh.gone", ("usr/lib/libc.so", b"c" * 70_000), "loop->loop")


@pytest.fixture(params=["plain", "gzip", "archive"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ImageFiles]:
    """The files of one image, kept in several ways."""
    archive = image(BASE, NEXT, compressed=request.param == "gzip")
    if request.param == "archive":
        (tmp_path / "image.tar").write_bytes(archive)
        with orlop.ArchiveService(tmp_path / "image.tar") as looked_into, looked_into.files() as found:
            yield found
    else:
        with orlop.open(tmp_path / "root") as images:
            images.load(io.BytesIO(archive))
            with images.files("made:1") as found:
                yield found


def made(root: Path, *layers: bytes, tag: str = "made:1", compressed: bool = False) -> ImageFiles:
    images = orlop.open(root)
    images.load(io.BytesIO(image(*layers, tag=tag, compressed=compressed)))
    found = images.files(tag)
    found.closing(images)
    return found


def members(chunks: Iterator[bytes]) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        return {one.name: one for one in archive}


def test_it_is_a_mapping_of_paths(files: ImageFiles) -> None:
    assert [*files] == [
        *("/", "/bin", "/bin/sh", "/bin/sh2", "/etc", "/etc/passwd", "/lib", "/loop"),
        *("/usr", "/usr/lib", "/usr/lib/libc.so"),
    ]
    assert len(files) == 11
    assert "/etc/passwd" in files
    assert "etc/../bin/sh" in files
    assert "/nowhere" not in files
    assert files["/lib"].target == "usr/lib"
    assert files["/bin/sh"].links == 2
    assert files["/bin/sh"].inode == files["/bin/sh2"].inode
    assert (files["/etc/passwd"].layer, files["/bin/sh"].layer, files["/usr"].layer) == (2, 1, 0)
    assert [layer.created_by for layer in files.layers] == ["RUN step 1", "RUN step 2"]
    with pytest.raises(LookupError):
        files["/nowhere"]


def test_links_are_followed_inside_the_image(files: ImageFiles) -> None:
    assert files.stat("/lib/libc.so").path == "/usr/lib/libc.so"
    assert files.stat("/lib").type == "dir"
    assert files.stat("/lib", follow=False).type == "symlink"
    with pytest.raises(PathNotFound, match="loop"):
        files.stat("/loop")
    with pytest.raises(PathNotFound):
        files.stat("/loop/below")


def test_a_link_that_linux_would_not_make_leads_nowhere(tmp_path: Path) -> None:
    """Going along a target of a MiB for each of many paths would take days."""
    just, long = "d/../" * 819, "d/../" * 820
    with made(tmp_path / "one", layer("d/", f"just->{just}", f"long->{long}", "just/d/x", "long/d/y")) as files:
        assert files.stat("/just/d/x").path == "/d/x"
        with pytest.raises(PathNotFound, match="over 4095 characters"):
            files.stat("/long/d")
        assert "/d/y" not in files
        assert [one.path for one in files.findings if one.kind == "not-for-a-disk"] == ["long"]
    # A whiteout comes after a link of its own layer.
    for target, is_there in ((just, False), (long, True)):
        with made(tmp_path / str(is_there), layer("d/", ("d/f", b"1")), layer(f"l->{target}", "l/d/.wh.f")) as files:
            assert ("/d/f" in files) is is_there


def test_long_links_of_many_paths_are_followed_as_long_as_there_is_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty such links take 10 ms, and an image may have a million paths below them."""
    monkeypatch.setattr("orlop.inside.trail._SHARED", 4000)
    way = "d/../" * 800
    members = [f"l/d/x{number}/f" for number in range(4)]
    with made(tmp_path / "own", layer("d/", f"l->{way}", "s->d", *members, "s/x3/f")) as files:
        # Of 1,601 names, 128 are free. Shorter links are followed as before.
        assert [path for path in files if path.endswith("/f")] == ["/d/x0/f", "/d/x1/f", "/d/x3/f"]
        assert [one.path for one in files.findings if one.kind == "below-file"] == members[2:]
        assert ["/l/d/x0/f" in files, "/l/d/x1/f" in files, "/l/d/x0/f" in files] == [True, True, False]
        with pytest.raises(PathNotFound, match="too long targets together"):
            files.stat("/l/d/x0/f")
        assert files.stat("/s/x1/f").path == "/d/x1/f"
    lower = layer("d/", *((f"d/{number}/f", b"1") for number in range(3)))
    markers = [f"l/d/{number}/.wh.f" for number in range(3)]
    with made(tmp_path / "hidden", lower, layer(f"l->{way}", *markers)) as files:
        assert [path for path in files if path.endswith("/f")] == ["/d/2/f"]


def test_content_is_read_in_any_order_and_verified_where_asked(files: ImageFiles) -> None:
    for verify in (False, True):
        assert files.read("/lib/libc.so", verify=verify) == b"c" * 70_000
        assert files.read("/etc/passwd", verify=verify) == b"root\nme\n"
        assert files.read("/bin/sh2", verify=verify) == b"x" * 5000
    with files.open("/bin/sh") as file:
        assert (file.read(3), len(file.read())) == (b"xxx", 4997)
    with pytest.raises(WrongFileType):
        files.open("/etc")
    with pytest.raises(PathNotFound):
        files.open("/nowhere")


def test_files_are_found(files: ImageFiles) -> None:
    assert [one.path for one in files.glob("/**/*.so")] == ["/usr/lib/libc.so"]
    assert [one.path for one in files.glob("/bin/*")] == ["/bin/sh", "/bin/sh2"]
    assert [one.path for one in files.listdir("/lib")] == ["/usr/lib/libc.so"]
    big = Conditions.parse(types="f", size="+4k")
    assert [one.path for one in files.walk() if big.fit(one)] == ["/bin/sh", "/bin/sh2", "/usr/lib/libc.so"]


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/**", "/a/b", True),
        ("**/b", "/b", True),
        ("/a/**/b", "/a/b", True),
        ("/a/**/b", "/a/x/y/b", True),
        ("/a/*/b", "/a/x/y/b", False),
        ("/a", "/a/b", False),
        ("/a/**/**/c", "/a/c", True),
        ("/[ab]?", "/ax", True),
    ],
)
def test_patterns_of_paths(pattern: str, path: str, *, fits: bool) -> None:
    assert path_matcher(pattern)(path) is fits


def test_a_path_has_a_history(files: ImageFiles) -> None:
    assert [(one.layer.number, one.action) for one in files.trace("/etc/passwd")] == [(1, "added"), (2, "replaced")]
    assert [(one.layer.number, one.action) for one in files.trace("/etc")] == [(1, "added")]
    assert [(one.layer.number, one.action) for one in files.trace("/bin/sh")] == [(1, "added")]


def test_an_export_is_the_same_however_files_are_spread_over_layers(files: ImageFiles, tmp_path: Path) -> None:
    exported = b"".join(export_chunks(files))
    flat = made(tmp_path / "flat", b"".join(export_chunks(files)), tag="flat:1")
    with flat:
        assert b"".join(export_chunks(flat)) == exported
    found = members(iter([exported]))
    assert [*found] == [
        *("bin", "bin/sh", "bin/sh2", "etc", "etc/passwd", "lib", "loop", "usr", "usr/lib", "usr/lib/libc.so"),
    ]
    assert (found["bin/sh2"].type, found["bin/sh2"].linkname) == (tarfile.LNKTYPE, "bin/sh")
    assert [*members(export_chunks(files, "/usr/lib"))] == ["lib", "lib/libc.so"]
    assert [*members(export_chunks(files, "/bin/sh2"))] == ["sh2"]


def test_files_are_copied_out(files: ImageFiles, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert extract(files, "/bin", str(out)) == []
    assert (out / "bin" / "sh2").read_bytes() == b"x" * 5000
    assert (out / "bin" / "sh").stat().st_mtime_ns == 1_600_000_000 * 10**9
    extract(files, "/bin/.", str(out))
    assert (out / "sh").read_bytes() == b"x" * 5000
    extract(files, "/etc/passwd", str(tmp_path / "copy"), verify=True)
    assert (tmp_path / "copy").read_bytes() == b"root\nme\n"
    extract(files, "/lib", str(out))
    assert str((out / "lib").readlink()) == "usr/lib"


@pytest.mark.sampled(6)
@pytest.mark.parametrize("resolve_links", [False, True], ids=["engines", "resolve-links"])
@pytest.mark.parametrize("case", merge_cases.names())
def test_a_stored_case_is_exported_as_it_is_seen(case: str, tmp_path: Path, *, resolve_links: bool) -> None:
    layers = merge_cases.layers_of(case)
    with orlop.open(tmp_path / "root") as images:
        loaded = images.load(io.BytesIO(merge_cases.image_of(case)))
        with images.files(loaded.images[0].id, resolve_links=resolve_links) as files:
            exported = b"".join(export_chunks(files))
    merge = merge_cases.merged([exported])
    lines = merge_cases.listing([exported], merge)
    # What is of a type that no program unpacks is seen, and not exported.
    expected = [one for one in merge_cases.expected(case, resolve_links=resolve_links) if one.split("\t")[1] != "?"]
    # Implied directories have an entry in the export; the root has one only where a layer has one.
    assert lines == expected, layers


def test_copies_never_leave_the_destination(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("kept")
    evil = layer("d/", ("d/kept", b"evil"), f"l->{outside}", "../../up", (f"{outside}/abs", b"evil"), "f->kept")
    with made(tmp_path / "root", evil) as files:
        (out / "d").symlink_to(outside)
        with pytest.raises(TargetExists):
            extract(files, "/d", str(out))
        (out / "d").unlink()
        (out / "f").symlink_to(outside / "kept")
        extract(files, "/.", str(out))
    assert (outside / "kept").read_text() == "kept"
    assert [one.name for one in outside.iterdir()] == ["kept"]
    assert str((out / "f").readlink()) == "kept"
    assert (out / "up").is_file()
    assert (out / "l").is_symlink()


def test_devices_are_left_out_of_copies(tmp_path: Path) -> None:
    null = tarfile.TarInfo("null")
    null.type, null.devmajor, null.devminor = tarfile.CHRTYPE, 1, 3
    with made(tmp_path / "root", layer(null, "f")) as files:
        (tmp_path / "out").mkdir()
        assert extract(files, "/.", str(tmp_path / "out")) == ["/null"]
        assert files["/null"].device == (1, 3)


def test_layers_are_chosen(tmp_path: Path) -> None:
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(image(layer("a"), layer("b"), layer(".wh.a"))))
        with images.files("made:1", up_to=2) as files:
            assert [*files] == ["/", "/a", "/b"]
        with images.files("made:1", layer=2) as files:
            assert [*files] == ["/", "/b"]
        with images.files("made:1") as files:
            assert [*files] == ["/", "/b"]
            assert [one.action for one in files.trace("/a")] == ["added", "removed"]
        for layer_number, up_to in ((4, None), (None, 0), (1, 1)):
            with pytest.raises(InvalidInput):
                images.files("made:1", layer=layer_number, up_to=up_to)


def test_a_layer_without_its_table_is_read_itself(tmp_path: Path) -> None:
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(image(BASE, NEXT)))
        with images.files("made:1") as files:
            expected = [*files.walk()]
        for table in (tmp_path / "root" / "toc").rglob("*.zst"):
            table.unlink()
        with images.files("made:1") as files:
            assert [one._replace(inode=0) for one in files.walk()] == [one._replace(inode=0) for one in expected]


def test_a_damaged_layer_gives_an_error_and_no_other_content(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with orlop.open(root) as images:
        images.load(io.BytesIO(image(BASE)))
        (blob,) = (one for one in (root / "blobs" / "sha256").iterdir())
        data = bytearray(blob.read_bytes())
        blob.chmod(0o600)
        data[data.index(b"bin/sh\0")] = ord("X")
        blob.write_bytes(data)
        with images.files("made:1") as files:
            with pytest.raises(TocDamaged):
                files.read("/bin/sh")
            with pytest.raises((DigestMismatch, SizeMismatch)):
                files.read("/etc/passwd", verify=True)
            with pytest.raises((DigestMismatch, TocDamaged)):
                b"".join(export_chunks(files))


def test_differences_are_told(tmp_path: Path) -> None:
    one = made(tmp_path / "root", BASE, layer(("a", b"one"), ("same", b"1"), "gone"))
    two = made(tmp_path / "root", BASE, layer(("a", b"two"), ("same", b"1"), ("new", b"12")), tag="other:1")
    with one, two:
        quick = compare(one, two)
        assert [(change.path, change.kind, change.facts) for change in quick.changes] == [
            ("/gone", "removed", ()),
            ("/new", "added", ()),
        ]
        assert quick.uncertain == 2
        whole = compare(one, two, contents=True)
        assert [(change.path, change.facts) for change in whole.changes] == [
            ("/a", ("content",)),
            ("/gone", ()),
            ("/new", ()),
        ]
        assert whole.uncertain == 0
        assert compare(one, one).changes == ()


def info(name: str, **facts: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for fact, value in facts.items():
        setattr(found, fact, value)
    return found


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (layer("a", "b"), layer("b", "a"), "order"),
        (layer(info("a", mtime=1)), layer(info("a", mtime=2)), "times"),
        (layer(info("a", uid=1)), layer(info("a", uid=2)), "owners"),
        (layer(info("a", uname="x")), layer(info("a", uname="y")), "owners"),
        (layer(info("a", mode=0o600)), layer(info("a", mode=0o644)), "attributes"),
        (layer(("a", b"1")), layer(("a", b"2")), "content"),
        (layer(("a", b"1")), layer(("a", b"12")), "content"),
        (layer("a"), layer("a", "b"), "paths"),
        (layer("a"), layer("a") + bytes(512), "headers"),
        (layer("a"), layer("a"), "none"),
    ],
)
def test_the_first_cause_of_a_difference_is_named(old: bytes, new: bytes, kind: str, tmp_path: Path) -> None:
    with made(tmp_path / "root", BASE, old) as one, made(tmp_path / "root", BASE, new, tag="other:1") as two:
        assert first_cause(one, two).kind == kind


def tar_of(member: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        tar.addfile(info("before"))
        tar.addfile(member, io.BytesIO(b"x" * member.size))
    return out.getvalue()


DEVICE = {"type": tarfile.CHRTYPE, "devmajor": 5}
SAME_HEADERS = {
    "another format": (tar_of(info("a"), tarfile.GNU_FORMAT), "'before'.*that of POSIX tars and that of GNU ones"),
    "an extended header": (tar_of(info("a", pax_headers={"comment": "x"})), "'a' has an extended header in the second"),
    "a longer end": (tar_of(info("a")) + bytes(10240), "after their last member.*10,240 and 20,480 bytes"),
    "a number spelt otherwise": (
        tar_of(info("a")).replace(b"0000644\0", b"000644 \0", 2),
        "the header of 'before' is written in another way, from byte 1",
    ),
}


@pytest.mark.parametrize("case", SAME_HEADERS)
def test_it_is_told_where_tars_differ_that_say_the_same(case: str, tmp_path: Path) -> None:
    old, (new, text) = tar_of(info("a")), SAME_HEADERS[case]
    if case == "a number spelt otherwise":
        checked = bytearray(new)
        for start in (0, 512):  # the sum of a header, in which a space and a digit have changed places
            checked[start + 148 : start + 156] = b" " * 8
            checked[start + 148 : start + 156] = b"%06o\0 " % sum(checked[start : start + 512])
        new = bytes(checked)
    with made(tmp_path / "root", BASE, old) as one, made(tmp_path / "root", BASE, new, tag="other:1") as two:
        found = first_cause(one, two)
        assert found.kind == "headers"
        assert re.search(text, found.text)


def test_a_layer_that_ends_earlier_is_told_whichever_it_is(tmp_path: Path) -> None:
    fewer, more = layer("a", "b"), layer("a", "b", "a")
    for old, new, shown in ((fewer, more, ("its end", "'a'")), (more, fewer, ("'a'", "its end"))):
        with made(tmp_path / "root", old) as one, made(tmp_path / "root", new, tag="other:1") as two:
            text = "in layer 1 member 3 is {} in the first image, {} in the second"
            assert first_cause(one, two).text == text.format(*shown)


def test_padding_that_differs_is_told(tmp_path: Path) -> None:
    old = tar_of(info("a", size=100))
    new = old.replace(b"x" * 100 + b"\0", b"x" * 100 + b"y")
    with made(tmp_path / "root", old) as one, made(tmp_path / "root", new, tag="other:1") as two:
        assert first_cause(one, two).text == "in layer 1 the padding after the content of 'a' differs"


def test_what_differs_in_entries_is_named(tmp_path: Path) -> None:
    device = layer(info("d", **DEVICE, devminor=1))
    other = layer(info("d", **DEVICE, devminor=2))
    attribute = layer(info("d", **DEVICE, devminor=1, pax_headers={"SCHILY.xattr.user.k": "v" * 500}))
    for new, text in ((other, "minor number: 1 and 2"), (attribute, "extended attribute 'user.k': none and b'vvv")):
        with made(tmp_path / "root", device) as one, made(tmp_path / "root", new, tag="other:1") as two:
            found = first_cause(one, two)
            assert found.kind == "attributes"
            assert text in found.text
            assert len(found.text) < 300


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({}, {"Env": ["A=b"]}, [("config.Env[0]", None, "A=b")]),
        ({}, {"Labels": {"a.b/c-d_é": "v"}}, [("config.Labels.a.b/c-d_é", None, "v")]),
        ({}, {"Labels": {'a\nconfig.User: "b"': "v"}}, [('config.Labels["a\\nconfig.User: \\"b\\""]', None, "v")]),
        ({}, {"Labels": {"\N{RIGHT-TO-LEFT OVERRIDE}": "v"}}, [('config.Labels["\\u202e"]', None, "v")]),
        ({}, {"Labels": {"": "v"}}, [('config.Labels[""]', None, "v")]),
        ({}, {"Labels": {"a[0]": "v"}}, [('config.Labels["a[0]"]', None, "v")]),
        ({"Labels": {}}, {"Labels": {"a.b": "c"}}, [("config.Labels.a.b", None, "c")]),
        ({"Env": ["A=b"]}, {"Env": []}, [("config.Env[0]", "A=b", None)]),
        ({"x": []}, {"x": {}}, [("config.x", [], {})]),
        ({"x": [], "y": "a"}, {"y": "b", "x": "c"}, [("config.x", [], "c"), ("config.y", "a", "b")]),
        ({"x": 1}, {"x": True}, [("config.x", 1, True)]),
    ],
)
def test_what_differs_in_configs_is_named_by_where_it_is(
    old: dict[str, object], new: dict[str, object], changes: list[tuple[str, object, object]], tmp_path: Path
) -> None:
    for number, config in enumerate((old, new)):
        (tmp_path / f"{number}.tar").write_bytes(image(BASE, config=config))
    with (
        orlop.ArchiveService(tmp_path / "0.tar") as one,
        orlop.ArchiveService(tmp_path / "1.tar") as two,
        one.files(None) as left,
        two.files(None) as right,
    ):
        found = config_changes(left, right)
        assert json.dumps(found) == json.dumps(changes)
        assert f"first in {changes[0][0]}: " in first_cause(left, right).text


class Streamed:
    """A layer that can only be read from its beginning, and counts how often it is."""

    seekable = False

    def __init__(self, raw: bytes) -> None:
        self.diff_id = DiffID.of(raw)
        self.begun = 0
        self._raw = raw

    def entries(self, known: Mapping[int, TarEntry] | None = None) -> Iterator[TarEntry]:
        del known
        return iter([*TarReader(io.BytesIO(self._raw))])

    def chunks(self) -> Iterator[bytes]:
        self.begun += 1
        yield self._raw

    def indexed(self, *, make: bool) -> bool:
        del make
        return False

    def paths(self) -> None:
        return None

    @contextmanager
    def at(self, offset: int) -> Iterator[io.BytesIO]:
        self.begun += 1
        yield io.BytesIO(self._raw[offset:])


@pytest.mark.parametrize("verified", [False, True])
def test_many_names_of_one_file_do_not_mean_as_many_passes(*, verified: bool) -> None:
    streamed = Streamed(layer(("a", b"one"), ("b", b"two")))
    one, two = streamed.entries()
    wanted = [(0, entry) for entry in (two, one, two, two, one, two)]
    with Contents([streamed], wanted, verified=verified) as contents:
        assert [b"".join(contents.chunks(place)) for place in wanted] == [
            b"two" if place[1] is two else b"one" for place in wanted
        ]
        contents.finish()
    assert streamed.begun == 1


def test_files_with_uncommon_headers_are_read_in_one_pass() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for number in range(20):
            one = tarfile.TarInfo(str(number))
            one.type, one.size = tarfile.CONTTYPE, 7
            archive.addfile(one, io.BytesIO(b"content"))
    streamed = Streamed(out.getvalue())
    wanted = [(0, entry) for entry in streamed.entries()]
    with Contents([streamed], wanted) as contents:
        for place in wanted:
            assert b"".join(contents.chunks(place)) == b"content"
    assert (len(wanted), streamed.begun) == (20, 1)


def test_what_is_at_hand_is_what_reading_gives() -> None:
    files = [
        ("a", b"one"),
        ("b" * 150, b"long"),
        ("c", b"x" * 2000),
        ("caf\udce8", b"odd"),
        *((c, c.encode()) for c in "efghi"),
    ]
    raw = layer(*files)

    class Pieces(Streamed):
        def chunks(self) -> Iterator[bytes]:
            self.begun += 1
            yield from (raw[at : at + 2560] for at in range(0, len(raw), 2560))

    streamed = Pieces(raw)
    wanted = [(0, entry) for entry in streamed.entries()]
    found: list[tuple[bytes, bool]] = []
    with Contents([streamed], wanted, verified=True) as contents:
        for place in wanted:
            whole = contents.whole(place)
            found.append((b"".join(contents.chunks(place)) if whole is None else bytes(whole), whole is not None))
        contents.finish()
    assert [content for content, _ in found] == [one for _, one in files]
    assert {whole for _, whole in found} == {True, False}
    assert streamed.begun == 1


@pytest.mark.parametrize("place", range(2))
@pytest.mark.parametrize("at", [0, 124, 156, 345], ids=["name", "size", "type", "prefix"])
def test_what_is_at_hand_is_compared_with_the_table(at: int, place: int) -> None:
    raw = bytearray(layer(("a", b"first"), ("name", b"content")))
    entries = [*Streamed(bytes(raw)).entries()]
    header = entries[place].header_offset
    # Another letter, size or type, or something before the name; the checksum is made to fit.
    raw[header + at : header + at + 1] = {0: b"z", 124: b"1", 156: b"2", 345: b"p"}[at]
    field = b"%06o\0 " % sum(raw[header : header + 148] + b" " * 8 + raw[header + 156 : header + 512])
    raw[header + 148 : header + 156] = field
    with Contents([Streamed(bytes(raw))], [(0, one) for one in entries], verified=True) as contents:
        for one in entries[:place]:
            assert b"".join(contents.chunks((0, one))) == b"first"
        assert contents.whole((0, entries[place])) is None
        with pytest.raises(TocDamaged):
            b"".join(contents.chunks((0, entries[place])))
