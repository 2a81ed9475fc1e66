"""The commands that look inside images, as scripts see them: what they print, and how they end."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import socket
import stat
import tarfile
from base64 import b64decode
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import pytest

from orlop.cli.main import run
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Call = Callable[..., tuple[int, bytes, str]]

EVIL = "e\x1b[31m\nvil"
BYTES = "caf\udce8"
LAYERS = (
    layer("etc/", ("etc/passwd", b"root\n"), (EVIL, b"1"), (BYTES, b"2"), "l->etc"),
    layer(("etc/passwd", b"root\nme\n"), ("usr/big", b"x" * 20_000)),
)


@pytest.fixture
def orlop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Call:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))
    (tmp_path / "made.tar").write_bytes(image(*LAYERS))
    assert run(["load", "-q", "-i", str(tmp_path / "made.tar")]) == 0
    capsysbinary.readouterr()

    def call(*arguments: object) -> tuple[int, bytes, str]:
        status = run([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return status, out, err.decode()

    return call


def test_lists_are_those_of_a_container(orlop: Call, tmp_path: Path) -> None:
    expected = f"{BYTES}\n{EVIL}\netc\nl\nusr\n".encode("utf-8", "surrogateescape")
    for words in (["made:1"], ["--archive", tmp_path / "made.tar"], ["made:1", "/"]):
        assert orlop("ls", *words) == (0, expected, "")
    assert orlop("ls", "-R", "made:1", "/usr") == (0, b"big\n", "")
    assert orlop("ls", "--layers", "made:1", "/etc") == (0, b"  2 passwd\n", "")
    assert orlop("ls", "--layer", "1", "-l", "made:1", "/etc") == (
        *(0, b"-rw-r--r-- 1 0 0 5 2020-09-13 12:26:40 passwd\n", ""),
    )
    assert orlop("ls", "-l", "-h", "made:1", "/usr")[1] == b"-rw-r--r-- 1 0 0 20kB 2020-09-13 12:26:40 big\n"


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "-R", "-l", "made:1"),
        ("find", "made:1", "--type", "f"),
        ("tree", "made:1"),
        ("stat", "made:1", "/etc/passwd"),
        ("diff", "made:1", "made:1"),
        ("diff", "--config", "made:1", "made:1"),
    ],
    ids=" ".join,
)
def test_lists_read_no_layer(orlop: Call, tmp_path: Path, words: tuple[str, ...]) -> None:
    expected = orlop(*words)
    assert expected[0] == 0
    (tmp_path / "root" / "blobs" / "sha256").rename(tmp_path / "away")
    assert orlop(*words) == expected
    assert orlop("cat", "made:1", "/etc/passwd")[0] != 0


def test_json_is_exact(orlop: Call) -> None:
    status, out, _ = orlop("find", "made:1", "--type", "f", "--format", "json")
    found = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [(one["Path"], b64decode(one["PathBytes"])) for one in found] == [
        ("/caf\ufffd", b"/caf\xe8"),
        (f"/{EVIL}", b""),
        ("/etc/passwd", b""),
        ("/usr/big", b""),
    ]
    assert (found[2]["Size"], found[2]["Layer"], found[2]["ModTime"]) == (8, 2, "2020-09-13T12:26:40Z")


@pytest.mark.parametrize("number", ["0", "-1", "1.0", "٣", "2147483648", 5000 * "9", "", "1 "])
@pytest.mark.parametrize("option", ["--layer", "--up-to"])
def test_a_number_of_a_layer_is_one_that_layers_have(orlop: Call, number: str, option: str) -> None:
    status, out, error = orlop("ls", option, number, "made:1")
    assert (status, out) == (2, b"")
    assert "is not a number of 1 or more" in error
    assert len(error) < 1000


def test_files_are_found(orlop: Call) -> None:
    assert orlop("find", "made:1", "--size", "+1k") == (0, b"/usr/big\n", "")
    assert orlop("find", "made:1", "/etc", "--name", "p*", "-0") == (0, b"/etc/passwd\0", "")
    assert orlop("find", "made:1", "--newer", "2020-09-14") == (0, b"", "")
    status, out, error = orlop("find", "made:1", "--layer", "9")
    assert (status, out) == (3, b"")
    assert "the image has the layers 1 to" in error
    assert orlop("find", "made:1", "--layer", "2", "--type", "f") == (0, b"/etc/passwd\n/usr/big\n", "")
    assert orlop("find", "made:1", "--size", "x")[0] == 2
    assert orlop("find", "made:1", "--type", "q")[0] == 2


def special(name: str, **facts: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for fact, value in {"mtime": 1_600_000_000, **facts}.items():
        setattr(found, fact, value)
    return found


ODD = layer(
    "x/",
    *("x/!b", "x/a", "x/Ab", "x/]", ("x/512", b"x" * 512), ("x/513", b"x" * 513), ("x/9000", b"x" * 9000)),
    *(special("x/su", mode=0o4755), special("x/sg", mode=0o2711), special("x/old", mode=0o600, mtime=5)),
    *("x/to-nothing->nowhere", "x/to-itself->to-itself", "x/to-file->a", "x/to-directory->/y", "y/", "y/in"),
)
FINDS = {
    "--name [!a]*": "!b 512 513 9000 Ab ] old sg su to-directory to-file to-itself to-nothing",
    "--name [[:digit:]]*": "512 513 9000",
    "--name []!]*": "!b ]",
    "--name [a-": "",
    "--size -2b --type f --size +0": "512",
    "--size +512 --size -9000": "513",
    "--size 2b": "513",
    "--perm 04755": "su",
    "--perm -0004000": "su",
    "--perm -u+s": "su",
    "--perm /u+s,g+s": "sg su",
    "--perm u=rw --type f": "old",
    "--perm u=rwx,g=x,o+x,g+s": "sg",
    "--perm /u=s,g=s --perm -o=rx": "su",
    "--type f,l --type l --name to-[fn]*": "to-file to-nothing",
    "--newer @6 --name ol*": "",
    "--newer @4 --name ol*": "old",
    "--newer /x/old --type f --name s?": "sg su",
    "--newer /x/su": "",
    "--name ?* --name *u": "su",
}


@pytest.mark.parametrize("words", FINDS)
def test_conditions_are_those_of_find(orlop: Call, tmp_path: Path, words: str) -> None:
    (tmp_path / "odd.tar").write_bytes(image(ODD, tag="odd:1"))
    status, out, error = orlop("find", "--archive", tmp_path / "odd.tar", "/x", *words.split())
    assert (status, error) == (0, "")
    found = [line.removeprefix("/x").lstrip("/") for line in out.decode().splitlines()]
    assert [one for one in found if one] == FINDS[words].split()


@pytest.mark.parametrize(
    "words", ["--perm 10000", "--perm u+q", "--perm u", "--perm ,", "--size 1K", "--newer @x", "--name a\\"]
)
def test_conditions_that_find_refuses_are_refused(orlop: Call, words: str) -> None:
    status, out, error = orlop("find", "made:1", *words.split())
    assert (status, out) == (2, b"")
    assert error.startswith("Usage: orlop find")


def test_a_time_may_follow_a_space(orlop: Call) -> None:
    for moment, found in (("2020-09-13 12:26:39Z", 4), ("2020-09-13 12:26:40Z", 0)):
        assert len(orlop("find", "made:1", "--newer", moment, "--type", "f")[1].splitlines()) == found + (found and 1)


def test_one_path_that_is_not_there_keeps_nothing_from_the_others(orlop: Call, tmp_path: Path) -> None:
    """As of the programs that are called so."""
    (tmp_path / "odd.tar").write_bytes(image(ODD, tag="odd:1"))
    look = ("--archive", tmp_path / "odd.tar")
    missing = "Error: the image has nothing at '/none'; `orlop ls` lists what it has\n"
    assert orlop("find", *look, "/none", "/x/a", "/y") == (4, b"/x/a\n/y\n/y/in\n", missing)
    assert orlop("grep", "-c", "x", *look, "/none", "/x/512") == (4, b"/x/512:1\n", missing)
    assert orlop("grep", "-l", "x", *look, "/none") == (4, b"", missing)
    status, out, error = orlop("cat", *look, "/x/512", "/none", "/x", "/x/512")
    assert (status, out) == (4, b"x" * 1024)
    assert error == f"{missing}Error: /x is a directory, not a regular file; name a file\n"
    assert orlop("cat", *look, "/x")[:2] == (3, b"")


@pytest.mark.parametrize("link", ["to-nothing", "to-itself"])
def test_a_link_to_nothing_is_listed_itself(orlop: Call, tmp_path: Path, link: str) -> None:
    (tmp_path / "odd.tar").write_bytes(image(ODD, tag="odd:1"))
    look = ("--archive", tmp_path / "odd.tar")
    assert orlop("ls", *look, f"/x/{link}") == (0, f"/x/{link}\n".encode(), "")
    assert orlop("ls", "-l", *look, f"/x/{link}")[1].startswith(b"lrw")
    assert orlop("ls", "-R", *look, f"/x/{link}") == (0, f"/x/{link}\n".encode(), "")
    assert orlop("find", *look, f"/x/{link}") == (0, f"/x/{link}\n".encode(), "")
    assert orlop("tree", *look, f"/x/{link}")[1].startswith(f"/x/{link} -> ".encode())
    status, out, error = orlop("cat", *look, f"/x/{link}")
    assert (status, out) == (4, b"")
    assert "leads to nothing" in error or "loop" in error
    assert orlop("ls", *look, f"/x/{link}/a")[0] == 4


def test_what_a_link_leads_to_is_told_apart_from_what_is_missing_behind_it(orlop: Call, tmp_path: Path) -> None:
    (tmp_path / "odd.tar").write_bytes(image(ODD, tag="odd:1"))
    look = ("--archive", tmp_path / "odd.tar")
    for path in ("/x/to-nothing", "/x/to-nothing/a", "/x/to-nothing/"):
        assert "the link '/x/to-nothing' leads to nothing" in orlop("cat", *look, path)[2]
    assert "the image has nothing at '/x/to-directory/none'" in orlop("cat", *look, "/x/to-directory/none")[2]


@pytest.mark.parametrize("path", ["/x/a/", "/x/a/.", "/x/a/../a", "/x/to-file/"])
def test_a_slash_follows_directories_only(orlop: Call, tmp_path: Path, path: str) -> None:
    (tmp_path / "odd.tar").write_bytes(image(ODD, tag="odd:1"))
    for verb in ("ls", "stat", "cat", "find", "tree"):
        status, out, error = orlop(verb, "--archive", tmp_path / "odd.tar", path)
        assert (status, out) == (4, b"")
        assert "is not a directory" in error
    assert orlop("ls", "--archive", tmp_path / "odd.tar", "/x/to-directory/") == (0, b"in\n", "")
    assert orlop("stat", "--archive", tmp_path / "odd.tar", "/x/to-directory/")[1].startswith(b"Path:   /y\n")


def test_links_are_listed_as_by_ls(orlop: Call, tmp_path: Path) -> None:
    """A link to a directory is followed, but with -l and -d only if a slash follows; any other link is not."""
    (tmp_path / "odd.tar").write_bytes(image(ODD, tag="odd:1"))
    look = ("--archive", tmp_path / "odd.tar")
    for words in ([], ["-R"], ["-d"], ["-R", "-d"]):
        assert orlop("ls", *words, *look, "/x/to-file") == (0, b"/x/to-file\n", "")
    for words in (["-l"], ["-l", "-R"], ["-l", "-d"]):
        for link in ("to-file -> a", "to-directory -> /y"):
            (line,) = orlop("ls", *words, *look, f"/x/{link.split()[0]}")[1].decode().splitlines()
            assert line.startswith("lrw")
            assert line.endswith(link)
    for words in ([], ["-R"]):
        assert orlop("ls", *words, *look, "/x/to-directory") == (0, b"in\n", "")
    for words in (["-l"], ["-l", "-R"]):
        assert orlop("ls", *words, *look, "/x/to-directory/")[1].endswith(b" in\n")
    assert orlop("ls", "-d", *look, "/x/to-directory") == (0, b"/x/to-directory\n", "")
    for asked in ("/x/to-directory/", "/x/to-directory/.", "x//to-directory/in", "/x/../x"):
        assert orlop("ls", "-d", *look, "odd:1", asked) == (0, f"{asked}\n".encode(), "")
    assert orlop("ls", "-d", "-l", *look, "/x")[1].endswith(b" /x\n")
    assert orlop("ls", "-d", *look) == (0, b"/\n", "")
    (record,) = orlop("ls", "-d", "--format", "json", *look, "/x/to-directory")[1].splitlines()
    assert json.loads(record)["Path"] == "/x/to-directory"


def test_a_link_to_a_file_is_looked_at_itself(orlop: Call, tmp_path: Path) -> None:
    (tmp_path / "odd.tar").write_bytes(image(ODD, tag="odd:1"))
    look = ("--archive", tmp_path / "odd.tar")
    assert orlop("find", *look, "/x/to-file", "--type", "l") == (0, b"/x/to-file\n", "")
    assert orlop("find", *look, "/x/to-file", "--type", "f") == (0, b"", "")
    assert orlop("find", *look, "/x/to-directory") == (0, b"/y\n/y/in\n", "")
    assert orlop("tree", *look, "/x/to-file")[1].startswith(b"/x/to-file -> a\n")
    assert orlop("ls", "--format", "{{.Path}}", *look, "/x/to-file") == (0, b"/x/to-file\n", "")


@pytest.mark.parametrize("words", ["ls", "find", "tree", "stat", "cat", "grep x"])
def test_a_path_is_not_empty(orlop: Call, tmp_path: Path, words: str) -> None:
    """A script whose variable is not set must not search all of an image."""
    (tmp_path / "odd.tar").write_bytes(image(ODD, tag="odd:1"))
    for named in (["made:1", ""], ["--archive", tmp_path / "odd.tar", "/y", ""]):
        status, out, error = orlop(*words.split(), *named)
        assert (status, out) == (2, b"")
        assert "a path is empty" in error


def test_a_tree_is_summed_up_as_by_tree(orlop: Call, tmp_path: Path) -> None:
    (tmp_path / "odd.tar").write_bytes(image(ODD, tag="odd:1"))
    look = ("--archive", tmp_path / "odd.tar")
    assert orlop("tree", *look, "/y")[1].endswith(b"\n\n1 directory, 1 file\n")
    assert orlop("tree", "-d", *look, "/")[1].endswith(b"\n\n3 directories\n")


def test_where_a_copy_goes_is_as_of_docker(orlop: Call, tmp_path: Path) -> None:
    (tmp_path / "odd.tar").write_bytes(image(ODD, tag="odd:1"))
    look = ("--archive", tmp_path / "odd.tar")
    status, out, error = orlop("cp", *look, "/x/512", f"{tmp_path}/new/")
    assert (status, out) == (4, b"")
    assert "does not exist" in error
    assert not (tmp_path / "new").exists()
    assert orlop("cp", *look, "/y", f"{tmp_path}/new/")[0] == 0
    assert [one.name for one in (tmp_path / "new").iterdir()] == ["in"]
    assert orlop("cp", *look, "/y/in", "")[0] == 3


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("/x/to-file",), ["to-file"]),
        (("-L", "/x/to-file"), ["to-file"]),
        (("-L", "/x/to-directory"), ["to-directory", "to-directory/in"]),
        (("/x/to-directory/",), ["to-directory", "to-directory/in"]),
        (("-L", "/x/to-directory/"), ["to-directory", "to-directory/in"]),
        (("-L", "/x/to-directory/."), ["in"]),
        (("/x/to-directory/.",), ["in"]),
        (("/x/to-root/y",), ["y", "y/in"]),
        (("/y/.",), ["in"]),
        (("/x/../y",), ["y", "y/in"]),
        (("/x/to-directory/../y",), ["y", "y/in"]),
        (("/z/in/..",), ["z", "z/in"]),
    ],
)
def test_a_copy_has_the_name_that_docker_gives_it(
    orlop: Call, tmp_path: Path, words: tuple[str, ...], names: list[str]
) -> None:
    """In a directory; and in a tar the same, but for a link that is followed, which is called as what it leads to."""
    made = image(layer(*LINKED), tag="odd:1")
    (tmp_path / "odd.tar").write_bytes(made)
    (tmp_path / "to").mkdir()
    assert orlop("cp", "--archive", tmp_path / "odd.tar", *words, tmp_path / "to") == (0, b"", "")
    assert sorted(str(one.relative_to(tmp_path / "to")) for one in (tmp_path / "to").rglob("*")) == names
    packed = orlop("cp", "--archive", tmp_path / "odd.tar", *words, "-")[1]
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = [one for one in tar.getnames() if one != "."]
    renamed = {"to-file": "a", "to-directory": "y"} if "-L" in words and not words[-1].endswith(("/", ".")) else {}
    assert members == ["/".join(renamed.get(part, part) for part in one.split("/")) for one in names]


LINKED = ("x/", ("x/a", b"a"), "x/to-file->a", "x/to-directory->/y", "x/to-root->/", "y/", "y/in", "z/", "z/in/")


def test_the_root_behind_a_link_is_copied_under_the_name_of_the_link(orlop: Call, tmp_path: Path) -> None:
    (tmp_path / "odd.tar").write_bytes(image(layer("d/", "d/root->..", "f"), tag="odd:1"))
    look = ("--archive", tmp_path / "odd.tar")
    assert orlop("cp", *look, "/d/root/", tmp_path)[0] == 0
    assert sorted(one.name for one in (tmp_path / "root").iterdir() if one.name in {"d", "f"}) == ["d", "f"]
    with tarfile.open(fileobj=io.BytesIO(orlop("cp", *look, "/d/root/", "-")[1])) as tar:
        assert tar.getnames() == ["root", "root/d", "root/d/root", "root/f"]


@pytest.mark.parametrize("above", [False, True])
def test_a_copy_replaces_no_device_pipe_or_socket(orlop: Call, tmp_path: Path, *, above: bool) -> None:
    """What root copies to /dev/null must not take its place; a pipe may be copied again."""
    there = tmp_path / "d"
    there.mkdir()
    os.mkfifo(there / "pipe")
    with contextlib.suppress(PermissionError):  # only root makes devices
        os.mknod(there / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as one, contextlib.chdir(there):
        one.bind("socket")
        before = {found.name: found.lstat().st_mode for found in there.iterdir()}
        same = [(f"d/{name}", b"x") for name in before]
        odd = layer(*same, ("f", b"x"), special("p", type=tarfile.FIFOTYPE))
        (tmp_path / "odd.tar").write_bytes(image(odd, tag="odd:1"))
        look = ("--archive", tmp_path / "odd.tar")
        for name in before:
            (there / "other").write_bytes(b"")
            source, target = ("/d", tmp_path) if above else (f"/d/{name}", there / name)
            status, out, error = orlop("cp", *look, source, target)
            assert (status, out) == (5, b"")
            assert "a device, pipe or socket is in the place of /d/" in error
            assert {found.name: found.lstat().st_mode for found in there.iterdir() if found.name != "other"} == before
    for _ in range(2):
        assert orlop("cp", *look, "/p", there / "pipe") == (0, b"", "")
        assert orlop("cp", *look, "/f", there / "other") == (0, b"", "")


@pytest.mark.parametrize("refused", [False, True])
def test_copies_keep_hard_links(orlop: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, refused: bool) -> None:
    """Unless the file system refuses them, where each name gets the content."""
    entries = ("d/", "d/s/", ("d/s/a", b"one"), "d/b=>d/s/a")
    more = ("d/s/c=>d/b", "d/l->s/a")
    others = ("d/m=>d/l", "e=>d/b")
    (tmp_path / "odd.tar").write_bytes(image(layer(*entries, *more, *others), tag="odd:1"))
    if refused:

        def no_links(*_: object, **__: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr("os.link", no_links)
    out = tmp_path / "out"
    for _ in range(2):  # the second time all is there
        assert orlop("cp", "--archive", tmp_path / "odd.tar", "/d", f"{out}/" if out.exists() else out) == (0, b"", "")
        out.mkdir(exist_ok=True)
    for top in (out, out / "d"):
        assert [(top / name).read_bytes() for name in ("b", "s/a", "s/c")] == [b"one"] * 3
        assert len({(top / name).stat().st_ino for name in ("b", "s/a", "s/c")}) == (3 if refused else 1)
        assert (top / "m").readlink() == (top / "l").readlink()


def test_lines_are_searched_for(orlop: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (["made:1"], ["--archive", tmp_path / "made.tar"]):
        assert orlop("grep", "M[ef]$", *words) == (1, b"", "")
        assert orlop("grep", "-i", "-n", "M[ef]$", *words) == (0, b"/etc/passwd:2:me\n", "")
        assert orlop("grep", "-c", "o", *words, "/etc") == (0, b"/etc/passwd:1\n", "")
        assert orlop("grep", "-l", "--layers", "root", *words) == (0, b"1:/etc/passwd\n2:/etc/passwd\n", "")
        assert orlop("grep", "-v", "o", *words, "/etc/passwd") == (0, b"/etc/passwd:me\n", "")
        lacking = orlop("grep", "-L", "o", *words)[1].splitlines()
        assert lacking
        assert b"/etc/passwd" not in lacking
        assert {*lacking, *orlop("grep", "-l", "o", *words)[1].splitlines()} == {
            *orlop("find", *words, "--type", "f")[1].splitlines()
        }
        assert orlop("grep", "--layer", "1", "--verify", "root", *words) == (0, b"/etc/passwd:root\n", "")
        assert orlop("grep", "--max-size", "1kB", "xxx", *words) == (1, b"", "")
        assert orlop("grep", "-F", "-w", "2", *words) == (0, f"/{BYTES}:2\n".encode("utf-8", "surrogateescape"), "")
    status, out, _ = orlop("grep", "2", "made:1", "--format", "json")
    assert (status, json.loads(out)) == (
        0,
        {
            "Path": "/caf\ufffd",
            "PathBytes": "L2NhZug=",
            "Layer": 1,
            "Line": 1,
            "Text": "2",
            "TextBytes": "",
            "Binary": False,
            "Count": 1,
        },
    )
    for wrong in (["("], ["-l", "-c", "a"], ["-E", "-F", "a"], ["--max-size", "x", "a"]):
        assert orlop("grep", *wrong, "made:1")[0] == 2
    assert orlop("grep")[0] == 2
    assert orlop("grep", "a", "made:1", "/none")[0] == 4
    monkeypatch.setattr("orlop.cli.show.output.is_terminal", lambda: True)
    shown = orlop("grep", "1", "made:1")[1]
    assert shown == b"/e\xef\xbf\xbd[31m vil:1\n"


def test_names_of_files_to_search_are_chosen(orlop: Call, tmp_path: Path) -> None:
    made = layer(("a.conf", b"x\n"), ("b.txt", b"x\n"), "z.conf=>b.txt", ("c.md", b"x\n"), ("!d", b"x\n"))
    (tmp_path / "names.tar").write_bytes(image(made, layer(".wh.a.conf")))
    look = ("--archive", tmp_path / "names.tar")
    for words, found in {
        "--include *.conf": "/z.conf",  # by any name of a file
        "--include *.conf --layers": "1:/a.conf",
        "--include *.md --include [!a-z]*": "/c.md /!d",
        "--include b.txt /c.md": "",
        "--include *.none": "",
    }.items():
        where = [one for one in words.split() if one.startswith("/")] or ["/"]
        options = [one for one in words.split() if not one.startswith("/")]
        status, out, error = orlop("grep", "-l", *options, "x", *look, *where)
        assert (out.decode().split(), error, status) == (found.split(), "", 0 if found else 1)
    assert orlop("grep", "--include", "a\\", "x", *look)[0] == 2


def test_a_quiet_search_only_has_a_status(orlop: Call) -> None:
    assert orlop("grep", "-q", "root", "made:1") == (0, b"", "")
    assert orlop("grep", "-q", "none of it", "made:1") == (1, b"", "")
    assert orlop("grep", "-q", "root", "made:1", "/none")[:2] == (4, b"")
    assert orlop("grep", "-q", "root", "made:1", "/none", "/etc")[:2] == (0, b"")  # as of other greps
    for words in ("-l", "-c", "-L", "--format json"):
        assert orlop("grep", "-q", *words.split(), "root", "made:1")[0] == 2


def test_content_is_printed_to_the_byte(orlop: Call, tmp_path: Path) -> None:
    assert orlop("cat", "made:1", "/l/passwd", "/usr/big") == (0, b"root\nme\n" + b"x" * 20_000, "")
    assert orlop("cat", "--archive", tmp_path / "made.tar", "--verify", "/etc/passwd") == (0, b"root\nme\n", "")
    assert orlop("cat", "--up-to", 1, "made:1", "/etc/passwd") == (0, b"root\n", "")
    status, out, err = orlop("cat", "made:1", "/nowhere")
    assert (status, out) == (4, b"")
    assert err == "Error: the image has nothing at '/nowhere'; `orlop ls` lists what it has\n"
    assert orlop("cat", "made:1", "/etc")[0] == 3
    assert orlop("cat", "made:1")[0] == 2


def test_a_path_tells_where_it_comes_from(orlop: Call) -> None:
    status, out, _ = orlop("stat", "made:1", "/etc/passwd")
    assert (status, out.decode().splitlines()[-2:]) == (
        *(0, ["Layer 1: added, 5 bytes by: RUN step 1", "Layer 2: replaced, 8 bytes by: RUN step 2"]),
    )
    found = json.loads(orlop("stat", "made:1", "/etc/passwd", "--format", "json")[1])
    assert [(one["Layer"], one["Action"], one["Size"]) for one in found["Versions"]] == [
        *((1, "added", 5), (2, "replaced", 8)),
    ]


def test_a_tree_is_drawn(orlop: Call) -> None:
    assert orlop("tree", "made:1", "/usr")[1].decode() == "/usr\n└── big\n\n1 directory, 1 file\n"


def test_files_are_copied_and_exported(orlop: Call, tmp_path: Path) -> None:
    assert orlop("cp", "made:1:/etc/passwd", tmp_path / "out") == (0, b"", "")
    assert (tmp_path / "out").read_bytes() == b"root\nme\n"
    status, out, _ = orlop("cp", "made:1:/etc", "-")
    assert status == 0
    with tarfile.open(fileobj=io.BytesIO(out)) as archive:
        assert archive.getnames() == ["etc", "etc/passwd"]
    assert orlop("export", "made:1", "-o", tmp_path / "all.tar") == (0, b"", "")
    assert orlop("export", "made:1") == (0, (tmp_path / "all.tar").read_bytes(), "")
    assert orlop("cp", "made:1", "x")[0] == 2
    assert orlop("cp", "made:1:/etc", tmp_path / "none" / "x")[0] == 4


def test_differences_decide_the_status(orlop: Call, tmp_path: Path) -> None:
    assert orlop("diff", "made:1", "made:1") == (0, b"", "")
    assert orlop("diff", "made:1", tmp_path / "made.tar") == (0, b"", "")
    assert orlop("diff", "made:1#1", "made:1") == (*(8, b"M /etc/passwd (size 5 -> 8)\nA /usr\nA /usr/big\n", ""),)
    _, out, _ = orlop("diff", "--content", "made:1#1", "made:1")
    assert b"--- a/etc/passwd\n+++ b/etc/passwd\n@@ -1 +1,2 @@\n root\n+me\n" in out
    assert orlop("diff", "--ignore", "size", "made:1#1", "made:1")[1].startswith(b"M /etc/passwd (content)\n")
    assert b"\n+me\n" in orlop("diff", "--content", "--ignore", "size", "made:1#1", "made:1")[1]
    assert orlop("diff", "--ignore", "size,content", "made:1#1", "made:1")[1] == b"A /usr\nA /usr/big\n"
    assert orlop("diff", "--ignore", "nonsense", "made:1#1", "made:1")[0] == 2
    assert orlop("diff", "--cause", "made:1", tmp_path / "made.tar")[0] == 0
    assert orlop("diff", "--stat", "made:1#1", "made:1")[1].startswith(b"added: 2 paths, 20kB\n")
    assert orlop("diff", "--config", "made:1#1", "made:1", "--format", "json") == (0, b"", "")
    found = [json.loads(line) for line in orlop("diff", "made:1#1", "made:1", "--format", "json")[1].splitlines()]
    assert [(one["Path"], one["Change"], one["Facts"]) for one in found] == [
        ("/etc/passwd", "changed", ["size"]),
        ("/usr", "added", []),
        ("/usr/big", "added", []),
    ]


@pytest.mark.parametrize(
    "words",
    [
        "--stat --format json",
        "--config --content",
        "--config --ignore time",
        "--cause --ignore time",
        "--cause --format json",
    ],
)
def test_an_option_of_diff_that_would_do_nothing_is_refused(orlop: Call, words: str) -> None:
    status, out, error = orlop("diff", *words.split(), "made:1#1", "made:1")
    assert (status, out) == (2, b"")
    assert "does nothing with" in error


def test_text_differences_include_the_ends_of_lines(orlop: Call, tmp_path: Path) -> None:
    for tag, text in (("old:1", b"one\ntwo\n"), ("new:1", b"one\r\ntwo")):
        (tmp_path / "text.tar").write_bytes(image(layer(("t", text)), tag=tag))
        assert orlop("load", "-q", "-i", tmp_path / "text.tar")[0] == 0
    status, out, _ = orlop("diff", "--content", "old:1", "new:1")
    assert (status, out.split(b"\n", 1)[1]) == (
        8,
        b"--- a/t\n+++ b/t\n@@ -1,2 +1,2 @@\n-one\n-two\n+one\r\n+two\n\\ No newline at end of file\n",
    )


def test_a_name_of_several_lines_is_no_text_difference(orlop: Call, tmp_path: Path) -> None:
    """What is given to patch(1) must change only what the images have."""
    name = "x\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-one\n+evil"
    layers = (
        layer(("y", b"one\n"), f"{name}->1"),
        layer(("y", b"one\n"), f"{name}->2\n--- a/y"),
        layer(("y", b"one\n")),
    )
    for number, made in enumerate(layers):
        (tmp_path / "text.tar").write_bytes(image(made, tag=f"text:{number}"))
        assert orlop("load", "-q", "-i", tmp_path / "text.tar")[0] == 0
    for old, new in ((0, 1), (1, 0), (0, 2), (2, 0)):
        status, out, _ = orlop("diff", "--content", f"text:{old}", f"text:{new}")
        assert status == 8
        assert {line[:3] for line in out.splitlines()} <= {b"A /", b"D /", b"M /"}
        assert b" /x\\n--- a/y\\n+++ b/y" in out
    assert b"/x\n--- a/y\n" in orlop("diff", "text:0", "text:1")[1]


def test_an_audit_can_fail(orlop: Call) -> None:
    status, out, _ = orlop("audit", "made:1")
    assert status == 0
    assert out.startswith(b"made:1: 20kB in 2 layers\nhidden: 5B (5B overwritten, 0B removed)")
    assert orlop("audit", "made:1", "--fail-on", "high")[0] == 0
    assert orlop("audit", "made:1", "--fail-on", "low")[0] == 8
    assert orlop("audit", "made:1", "--fail-on", "waste=4")[0] == 8
    assert orlop("audit", "made:1", "--fail-on", "waste=1%")[0] == 0
    assert orlop("audit", "made:1", "--fail-on", "efficiency=0.9")[0] == 0
    assert orlop("audit", "made:1", "--fail-on", "nonsense")[0] == 2
    report = json.loads(orlop("audit", "made:1", "--format", "json")[1])
    assert (report["Size"], report["Hidden"], len(report["Layers"])) == (20_015, 5, 2)
    assert report["Efficiency"] == "0.9998"
    document = json.loads(orlop("audit", "made:1", "--sarif")[1])
    assert document["version"] == "2.1.0"
    assert {one["ruleId"] for one in document["runs"][0]["results"]} == {"root-user", "no-health-check"}


def test_findings_can_be_allowed_by_the_lines_of_a_file(orlop: Call, tmp_path: Path) -> None:
    def rules(*words: object) -> set[str]:
        report = json.loads(orlop("audit", "made:1", "--format", "json", *words)[1])
        return {one["Rule"] for one in report["Findings"]}

    allowed = tmp_path / "allowed"
    allowed.write_bytes(b"# what we know\n\nroot-user # it is a base image\nsetuid:/a #b/**\n#no-health-check\n")
    assert rules() == {"root-user", "no-health-check"}
    assert rules("--allow", f"@{allowed}") == {"no-health-check"}
    assert rules("--allow", f"@{allowed}", "--allow", "no-health-check") == set()
    assert orlop("audit", "made:1", "--fail-on", "low", "--allow", f"@{allowed}")[0] == 0
    status, _, error = orlop("audit", "made:1", "--allow", f"@{tmp_path}/none")
    assert (status, "none" in error) == (2, True)
    allowed.write_text(":/a\n")
    assert orlop("audit", "made:1", "--allow", f"@{allowed}")[2] == orlop("audit", "made:1", "--allow", ":/a")[2] != ""


def test_findings_for_code_hosts_have_places_whatever_a_name_is(orlop: Call, tmp_path: Path) -> None:
    names = ["caf\udce9", "a b%41?#c", "x:y", "\x1b[31m", "a\u202eb", "</script>", "..\\up", "new\nline"]
    members = [tarfile.TarInfo(f"open/{name}") for name in names]
    for one in members:
        one.mode = 0o666
    config: dict[str, object] = {"User": "a", "Healthcheck": {"Test": ["CMD", "true"]}}
    (tmp_path / "odd.tar").write_bytes(image(layer(*members), config=config))
    out = orlop("audit", "--archive", tmp_path / "odd.tar", "--sarif")[1].decode("ascii")
    (run,) = json.loads(out)["runs"]
    # No document may hold half of a character: most readers refuse it whole.
    json.dumps(run, ensure_ascii=False).encode()
    assert run["results"][0]["ruleId"] == run["tool"]["driver"]["rules"][run["results"][0]["ruleIndex"]]["id"]
    places = [one["locations"][0]["physicalLocation"] for one in run["results"] if one["ruleId"] == "world-writable"]
    assert all(one["region"] == {"startLine": 1} for one in places)
    uris = [one["artifactLocation"]["uri"] for one in places]
    assert all(re.fullmatch(r"open/(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})+", uri) for uri in uris)
    assert {unquote_to_bytes(uri) for uri in uris} == {
        f"open/{name}".encode("utf-8", "surrogateescape") for name in names
    }
    assert len({one["partialFingerprints"]["orlop/v1"] for one in run["results"]}) == len(run["results"])
    severities = [one["level"] for one in run["results"]]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


def test_names_are_harmless_on_a_terminal(orlop: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orlop.cli.show.output.is_terminal", lambda: True)
    for words in (["ls", "made:1"], ["find", "made:1"], ["tree", "made:1"], ["ls", "-l", "made:1"]):
        _, out, _ = orlop(*words)
        assert b"\x1b" not in out
        assert "e\ufffd[31m vil".encode() in out
        assert "caf\ufffd".encode() in out
