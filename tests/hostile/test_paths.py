"""No name inside an archive becomes a path on disk: what the system is asked while the whole corpus is loaded."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import orlop
from tests.hostile.corpus import HARMLESS, REFUSED
from tests.hostile.made import content
from tests.needs import need_tracing

PROGRAM = Path(__file__).with_name("load_corpus.py")
# Everything by which a process changes what is in a directory, or a file through its name.
CALLS = (
    "open,openat,openat2,creat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,unlink,unlinkat,link,linkat,symlink,"
    "symlinkat,mknod,mknodat,chmod,fchmodat,chown,lchown,fchownat,truncate,utimensat,setxattr,lsetxattr,mount"
)
DIGEST = "[0-9a-f]{64}"
MINE = re.compile(
    rf"""
    | metadata\.db(-wal|-shm|-journal|\.reserve)? | rows\.db(-wal|-shm|-journal)? | write\.lock
    | blobs | blobs/sha256 | toc | toc/sha256 | ingest | trash | leases
    | blobs/sha256/{DIGEST} | toc/sha256/{DIGEST}\.zst
    | ingest/[0-9a-f]+\.[0-9]+ | leases/[0-9a-f]+ | trash/(toc-)?sha256-{DIGEST}\.[0-9a-f]+
    """,
    re.VERBOSE,
)
LINE = re.compile(r"^(?:\d+ +)?(?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)")
PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, )?"(?P<path>(?:[^"\\]|\\.)*)"')
BAIT = ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/proc/self/environ", "/dev/zero")


def named(text: str) -> str:
    """Return a path that strace has written, with its bytes that are not text as the system gives them to Python."""
    return os.fsdecode(text.encode("ascii", "surrogateescape").decode("unicode_escape").encode("latin-1"))


def asked(trace: str) -> list[tuple[str, str, bool]]:
    """Every path that a trace names: the call, the path in full, and whether something there may be changed."""
    found = []
    for line in trace.splitlines():
        match = LINE.match(line)
        if match is None:
            assert "unfinished" in line or "resumed" in line or "+++" in line or "---" in line, line
            # Calls of several threads may be cut in two: the first half has the arguments.
            match = re.match(r"^(?:\d+ +)?(?P<call>\w+)\((?P<arguments>.*) <unfinished", line)
            if match is None:
                continue
        call, arguments = match["call"], match["arguments"]
        changes = "open" not in call or re.search("O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_TMPFILE", arguments) is not None
        for each in PATH.finditer(arguments):
            folder, path = named(each["folder"] or ""), named(each["path"])
            found.append((call, os.path.normpath(f"{folder}/{path}" if path[:1] != "/" else path), changes))
    return found


#: What they share, a run of all hostile archives under strace, takes all the time.
pytestmark = pytest.mark.sampled(2)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    need_tracing()
    place = tmp_path_factory.mktemp("paths")
    folder, root = place / "corpus", place / "root"
    folder.mkdir()
    for number, make in enumerate([*(case.make for case in REFUSED.values()), *HARMLESS.values()]):
        made = make()
        (folder / f"{number:04}.tar").write_bytes(content(made))
        if isinstance(made, dict):
            for name, body in made.items():
                path = folder / f"{number:04}" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
    strace = ["strace", "-f", "-y", "-s", "6000", "-e", f"trace={CALLS}", "-o", str(place / "trace")]
    command = [sys.executable, str(PROGRAM), str(root), str(folder)]
    done = subprocess.run([*strace, *command], capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr
    loaded, refused = map(int, done.stdout.split())
    assert loaded >= len(HARMLESS)
    assert refused >= 2 * len(REFUSED)
    return root, folder, (place / "trace").read_text(errors="surrogateescape")


def test_only_the_store_is_written_and_only_under_digests_and_names_of_leases(trace: tuple[Path, Path, str]) -> None:
    root, _, text = trace
    written = {path for _, path, changes in asked(text) if changes and path != "/dev/null"}
    # A mode is given by a descriptor that only names a file.
    written = {path for path in written if re.fullmatch(r"/proc/self/fd/[0-9]+", path) is None}
    outside = {path for path in written if path != str(root) and not path.startswith(f"{root}/")}
    # The interpreter writes what it has compiled beside its modules. What is open already has no path.
    known = ("__pycache__", "/proc/self/fd/")
    assert {path for path in outside if not any(part in path for part in known)} == set()
    inside = {path[len(str(root)) + 1 :] for path in written - outside}
    assert {path for path in inside if not MINE.fullmatch(path)} == set()
    assert any(path.startswith("blobs/sha256/") for path in inside)


def test_nothing_that_an_archive_names_is_even_read(trace: tuple[Path, Path, str]) -> None:
    root, folder, text = trace
    read = {path for _, path, changes in asked(text) if not changes}
    assert read.isdisjoint(BAIT)
    # Beside the archives themselves, only what lies in them as directories: files of digests and of layouts.
    below = {path for path in read if path.startswith(f"{folder}/")}
    assert below
    assert {path for path in below if not os.path.lexists(path)} == set()
    assert read.isdisjoint({str(root.parent / "evil"), str(folder.parent / "evil")})


def test_the_store_is_whole_after_all_of_it(trace: tuple[Path, Path, str]) -> None:
    root, _, _ = trace
    with orlop.open(root, create=False) as images:
        assert images.images() == []
    assert sorted(path.name for path in root.parent.iterdir()) == ["corpus", "root", "trace"]
