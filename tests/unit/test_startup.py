"""What starting imports: a bound for each command that scripts call often, and names of what none of them needs."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from typing import TYPE_CHECKING, Final

import pytest
from click.shell_completion import ShellComplete

from orlop.archive.docker_save import LAYOUTS
from orlop.cli import signals
from orlop.cli.clicked import command_of
from orlop.cli.root import orlop as root_command
from orlop.cli.session import Session
from orlop.cli.shell.completion import plain_answers
from orlop.service.saving import DIRECTORY, FORMATS, TAR

if TYPE_CHECKING:
    from pathlib import Path

TINY: Final = "example/tiny:1.0"
PATIENCE: Final = 60

# Each takes a good part of the time that an interpreter needs to start, and often brings others with it.
NEVER: Final = {
    "argparse",
    "ast",
    "asyncio",
    "click",
    "concurrent",
    "copy",
    "dataclasses",
    "email",
    "hashlib",
    "http",
    "inspect",
    "isal",
    "logging",
    "platformdirs",
    "re",
    "rich",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tarfile",
    "tempfile",
    "textwrap",
    "traceback",
    "typing",
    "urllib",
    "zlib",
}
# How many modules a command may import: orlop's own, and those that come with Python. To import one more in a
# command that lists, raise its bound here; lower it when one is no longer needed.
BOUNDS: Final = {
    "--version": (8, 3),
    "images": (101, 38),
    f"images {TINY}": (101, 38),
    "images -q": (100, 38),
    f"inspect {TINY}": (103, 38),
    f"history {TINY}": (106, 38),
    f"tag {TINY} other/tiny:2.0": (95, 38),
}
_RUN: Final = """
import os, sys
def leave(status, leave=os._exit):
    print(*sys.modules, file=sys.stderr, flush=True)
    leave(status)
os._exit = leave
from orlop.cli.main import main
main()
"""


def imported(code: str, *arguments: str, **environment: str) -> set[str]:
    """Return the modules that a process has when it is done."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment}, capture_output=True, check=True, timeout=PATIENCE, text=True,
    )  # fmt: skip
    return set(done.stderr.split())


@pytest.fixture(scope="module")
def bare() -> set[str]:
    return imported("import sys; print(*sys.modules, file=sys.stderr)")


@pytest.fixture(scope="module")
def root(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("startup") / "root"
    archive = data / "dockerd-29-overlay2" / "multi.tar"
    command = [sys.executable, "-m", "orlop", "--root", str(place), "load", "-q", "-i", str(archive)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    return str(place)


@pytest.mark.parametrize("command", BOUNDS)
def test_a_command_imports_little(command: str, root: str, bare: set[str]) -> None:
    modules = imported(_RUN, *command.split(), ORLOP_ROOT=root) - bare
    own = {name for name in modules if name.partition(".")[0] == "orlop"}
    others = modules - own
    assert {name.partition(".")[0] for name in others} & NEVER == set()
    most_own, most_others = BOUNDS[command]
    assert len(own) <= most_own, sorted(own)
    assert len(others) <= most_others, sorted(others)


def test_a_command_does_not_look_for_circles_among_what_it_imports(root: str) -> None:
    count = "sum(one['collections'] for one in gc.get_stats())"
    counting = _RUN.replace("*sys.modules", f"{count} - before")
    (collections,) = imported(f"import gc\nbefore = {count}{counting}", "images", ORLOP_ROOT=root)
    assert int(collections) <= 1


@pytest.mark.sampled(2)
@pytest.mark.parametrize("form", ["docker", "docker-20.10", "oci", "oci-dir"])
def test_a_save_imports_neither_the_parser_nor_what_it_needs(
    form: str, root: str, bare: set[str], tmp_path: Path
) -> None:
    words = ["save", "--format", form, "-o", str(tmp_path / "saved"), TINY]
    modules = imported(_RUN, *words, ORLOP_ROOT=root) - bare
    assert (tmp_path / "saved").exists()
    assert modules & NEVER <= {"hashlib", "re", "zlib"}


def test_a_save_to_a_directory_imports_nothing_that_writes_archives_or_compresses(
    root: str, bare: set[str], tmp_path: Path
) -> None:
    words = ["save", "--format", "oci-dir", "-o", str(tmp_path / "saved"), TINY]
    modules = imported(_RUN, *words, ORLOP_ROOT=root) - bare
    assert not modules & {"orlop.archive.docker_save", "orlop.archive.oci_tar", "orlop.streams.tar_header"}
    assert not modules & {"base64", "importlib", "orlop.streams.compressing", "zlib"}


@pytest.mark.parametrize("command", ["ls", "find", "tree", "cat", "diff", "grep"])
def test_a_look_inside_imports_only_what_it_needs(command: str, root: str, bare: set[str]) -> None:
    arguments = {"cat": ["/opt/x/2"], "diff": [TINY]}.get(command, [])
    pattern = ["x"] if command == "grep" else []
    modules = imported(_RUN, command, *pattern, TINY, *arguments, ORLOP_ROOT=root) - bare
    assert "orlop.inside.view" in modules
    others = {"orlop.inside.audit", "orlop.inside.secrets", "orlop.inside.export", "orlop.inside.extract", "difflib"}
    assert not modules & (others | {"click", "rich", "socket", "ssl", "tarfile", "urllib"})
    assert not any(name.startswith(("orlop.archive", "orlop.registry", "orlop.api", "orlop.build")) for name in modules)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("command", [f"ls {TINY}", f"ls -R {TINY}", f"cat {TINY} /opt/x/2"])
def test_a_quick_look_imports_nothing_that_it_rarely_needs(command: str, root: str, bare: set[str]) -> None:
    modules = imported(_RUN, *command.split(), ORLOP_ROOT=root) - bare
    rare = {"hashlib", "orlop.inside.rest", "orlop.store.graph.garbage"}
    assert modules & rare == set()


@pytest.mark.parametrize("command", ["images", f"inspect {TINY}", f"history {TINY}"])
def test_lists_of_images_import_nothing_of_what_is_inside(command: str, root: str, bare: set[str]) -> None:
    modules = imported(_RUN, *command.split(), ORLOP_ROOT=root) - bare
    assert not any(name.startswith("orlop.inside") or name.endswith(".cli.inside") for name in modules)


def test_a_push_imports_nothing_that_writes_layouts_or_archives() -> None:
    modules = imported("import sys, orlop.service.push; print(*sys.modules, file=sys.stderr)")
    writers = {"oci_directory", "oci_tar", "docker_save", "saved"}
    assert modules & {f"orlop.archive.{name}" for name in writers} == set()


def test_the_formats_of_saves_are_those_that_are_written() -> None:
    assert {*FORMATS} == {*LAYOUTS, TAR, DIRECTORY}


def test_the_names_of_commands_are_completed_without_what_commands_need(root: str, bare: set[str]) -> None:
    asked = {"_ORLOP_COMPLETE": "bash_complete", "COMP_WORDS": "orlop\x1fim", "COMP_CWORD": "1", "ORLOP_ROOT": root}
    modules = imported(_RUN, **asked) - bare
    assert len(modules) <= 14, sorted(modules)
    assert not modules & (NEVER | {"orlop.cli.commands.images", "sqlite3", "typing", "re", "signal"})


def test_the_names_of_images_are_completed_without_click(root: str, bare: set[str]) -> None:
    asked = {"_ORLOP_COMPLETE": "bash_complete", "COMP_WORDS": "orlop\x1frmi\x1fex", "COMP_CWORD": "2"}
    modules = imported(_RUN, **asked, ORLOP_ROOT=root) - bare
    assert "orlop.service.listing.images" in modules
    assert not modules & NEVER


WORDS: Final = [
    "",
    "i",
    "im",
    "image",
    "images",
    "x",
    "p",
    "pu",
    "un",
    "-",
    "--",
    "--ro",
    "a/b",
    "ls",
    "é",
    "p r",
    "ex",
    "example/t",
    "062",
    "re",
    TINY,
]
BEFORE: Final = [
    (),
    ("image",),
    ("store",),
    ("system",),
    ("images",),
    ("x",),
    ("image", "ls"),
    ("--debug",),
    ("--root", "image"),
    ("--root=x", "image"),
    ("--root",),
    ("image", "--help"),
    ("completion",),
    ("rmi",),
    ("rmi", TINY),
    ("rmi", "alpine", "062231e20ed4"),
    ("tag",),
    ("tag", "alpine"),
    ("images", "alpine"),
    ("images", "-q"),
    ("history",),
    ("load",),
    ("--debug", "inspect"),
    ("--root=", "inspect"),
    ("inspect", "--"),
    ("image", "rm"),
    ("store", "copy"),
]


@pytest.mark.sampled(12)
@pytest.mark.parametrize(("before", "word"), list(product(BEFORE, WORDS)), ids=repr)
def test_plain_words_are_completed_as_click_completes_them(
    before: tuple[str, ...], word: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORLOP_ROOT", root)
    # This process goes on.
    monkeypatch.setattr(signals, "heed", lambda: None)
    words = ["orlop", *before, word]
    environment = {"COMP_WORDS": "\x1f".join(words), "COMP_CWORD": str(len(words) - 1), "ORLOP_ROOT": root}
    found = plain_answers(root_command, environment)
    if found is not None:
        complete = ShellComplete(command_of(root_command), {"obj": Session()}, "orlop", "_ORLOP_COMPLETE")
        assert [(item.type, item.value) for item in complete.get_completions(list(before), word)] == [
            ("plain", name) for name in found
        ]


def test_plain_words_are_completed_at_all(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "heed", lambda: None)

    def found(*words: str) -> list[str] | None:
        environment = {"COMP_WORDS": "\x1f".join(words), "COMP_CWORD": str(len(words) - 1), "ORLOP_ROOT": root}
        return plain_answers(root_command, environment)

    assert found("orlop", "im") == ["image", "images", "import"]
    assert found("orlop", "image", "pr") == ["prune"]
    assert found("orlop", "x") == []
    assert (
        found("orlop", "rmi", "example/t")
        == found("orlop", "--root", root, "image", "rm", "alpine", "example/t")
        == [TINY]
    )
    assert found("orlop", "load", "x") is found("orlop", "--de") is found("orlop", "rmi", TINY, "x") is None
    assert plain_answers(root_command, {"COMP_WORDS": "orlop\x1fim\x1fage", "COMP_CWORD": "1"}) is None
    assert plain_answers(root_command, {}) is None


_WARN: Final = """
import sys
from orlop.cli.session import Session
from orlop.model.logger import Logger
Session().log()
assert "logging" not in sys.modules
for what in ("one", "two"):
    Logger("orlop.store").warning("skipping %s", what)
"""


def test_a_warning_reaches_the_user_where_nothing_had_to_be_logged_before() -> None:
    done = subprocess.run([sys.executable, "-c", _WARN], capture_output=True, check=True, timeout=PATIENCE, text=True)
    assert (done.stdout, done.stderr) == ("", "Warning: skipping one\nWarning: skipping two\n")
