"""Rules about the code itself that no linter knows."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest

from orlop.errors import InvalidDigest
from orlop.model.digest import DiffID, Digest
from orlop.store.blobs.places import blob_name, toc_name

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "src" / "orlop"
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def tree(path: Path) -> ast.Module:
    """Return a module as it is parsed; to keep all of them takes longer than to parse some of them again."""
    return ast.parse(path.read_bytes(), str(path))


def dotted(node: ast.expr) -> str:
    """Return a name with dots as it is written, or nothing where an attribute is one of another expression."""
    if isinstance(node, ast.Name):
        return node.id
    above = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{above}.{node.attr}" if isinstance(node, ast.Attribute) and above else ""


class Names(NamedTuple):
    """Every module that a module imports, anywhere in it, and every dotted name (`os.environ`) that it uses."""

    imports: frozenset[str]
    attributes: frozenset[str]


@cache
def names(path: Path) -> Names:
    """Return the names in a module."""
    found, used = set[str](), set[str]()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            used.add(dotted(node))
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return Names(frozenset(found), frozenset(used - {""}))


def imports(path: Path) -> frozenset[str]:
    """Every module that this one imports, anywhere in it."""
    return names(path).imports


def uses(path: Path, *searched: str) -> set[str]:
    """Which of some dotted names this module uses."""
    return {*searched} & names(path).attributes


def importers(module: str) -> set[str]:
    return {
        name for name, path in MODULES.items() if any(f"{found}.".startswith(f"{module}.") for found in imports(path))
    }


def test_every_room_is_in_the_contract_of_layers() -> None:
    contract = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    ordered = {room.strip() for layer in contract["layers"] for room in layer.replace(":", "|").split("|")}
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    # `testing` is for other people's tests and may import everything; nothing may import it.
    assert rooms - {"__init__", "__main__", "__pycache__", "_version", "py", "testing"} == ordered
    assert importers("orlop.testing") <= {name for name in MODULES if name.startswith("testing/")}


def test_the_picture_of_the_rooms_is_up_to_date() -> None:
    script = TOP / "docs" / "generate_architecture.py"
    done = subprocess.run([sys.executable, script, "--check"], check=False)
    assert done.returncode == 0, f"run `python {script.relative_to(TOP)}`"


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        # What is Linux-only stays in few places: files, sockets, and the locks that are SQLite's own.
        (
            "fcntl",
            {
                *("streams/files.py", "streams/file_lock.py", "streams/lock_wait.py", "streams/part_directory.py"),
                *("api/connection.py", "foreign/locks.py", "streams/awaited.py"),
                *("store/rows/sqlite/unopened.py", "store/rows/sqlite/damage/rebuild.py"),
            },
        ),
        # Lenient, slow, and not to the byte: layers and archives have a scanner of their own.
        ("tarfile", set()),
        ("concurrent", set()),
        ("multiprocessing", set()),
        ("pickle", set()),
    ],
)
def test_some_modules_are_imported_in_one_place_only(module: str, allowed: set[str]) -> None:
    assert importers(module) <= allowed


@pytest.mark.parametrize(
    ("module", "place"),
    [
        ("sqlite3", ("store/rows/sqlite/", "inside/rpm.py")),  # the latter reads databases in images
        ("click", "cli/"),
        ("rich", "cli/"),
        ("platformdirs", ""),
        ("asyncio", "api/"),
        ("anyio", "api/"),
        ("starlette", "api/"),
        ("urllib3", "store/blobs/s3/"),
    ],
)
def test_some_libraries_are_imported_in_few_rooms_only(module: str, place: str | tuple[str, ...]) -> None:
    assert [name for name in importers(module) if not name.startswith(place)] == []


def test_threads_start_in_streams_only() -> None:
    starters = {name for name, path in MODULES.items() if uses(path, "threading.Thread", "threading.Timer")}
    # How they begin, stages of a pipeline, what handles groups, the write-back that a new file starts early, what
    # cannot be ended, a server for other people's tests, what waits for webhooks, and the heartbeat of a session.
    streams = {f"streams/{name}.py" for name in ("pipeline", "groups", "files", "interruption", "waiting")}
    allowed = streams | {"testing/registry/site.py", "api/registry/guard/webhooks.py"}
    assert starters <= allowed | {"store/rows/postgres/sessions.py"}


READ_THE_ENVIRONMENT = (
    *("os.environ", "os.getenv", "os.environb", "sys.argv", "os.path.expanduser", "os.path.expandvars"),
    *("urllib.request.urlopen", "urllib.request.build_opener", "urllib.request.getproxies"),
    *("tempfile.mkdtemp", "tempfile.mkstemp", "tempfile.gettempdir", "shutil.which", "time.localtime"),
)
"""What asks the environment, some of it in the library that it belongs to."""


def test_only_the_command_line_reads_the_environment() -> None:
    readers = {(name, use) for name, path in MODULES.items() for use in uses(path, *READ_THE_ENVIRONMENT)}
    # Where there is no other place to write, the system's temporary directory is asked for. The façade, and
    # the calls about stores, take what the URL of a store does not say from the variables that are usual for it.
    assert {(name, use) for name, use in readers if not name.startswith("cli/")} <= {
        ("store/rows/sqlite/private_copy.py", "tempfile.mkdtemp"),
        ("store/scratch.py", "tempfile.gettempdir"),
        ("store/scratch.py", "tempfile.mkdtemp"),
        ("__init__.py", "os.environ"),
        ("service/stores.py", "os.environ"),
    }
    # The façade says which directory the command line takes.
    assert importers("platformdirs") == {"__init__.py"}


def joined_parts(path: Path) -> set[str]:
    """What of a digest this module puts into paths."""
    if "path.join(" not in path.read_text():
        return set()
    joins = [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.path.join", "posixpath.join"}
    ]
    parts = [each for join in joins for argument in join.args for each in ast.walk(argument)]
    called = {each.func for each in parts if isinstance(each, ast.Call)}  # `os.urandom(8).hex()` is not a digest
    return {
        ast.unparse(each)
        for each in parts
        if isinstance(each, ast.Attribute) and each.attr in {"hex", "algorithm"} and each not in called
    }


def test_digests_become_paths_where_they_are_checked_only() -> None:
    # Every public method of a `StoreBackend` checks them; so do `blob_name` and `toc_name`.
    assert {name for name, path in MODULES.items() if joined_parts(path)} == {"store/backends/fs.py"}
    with pytest.raises(InvalidDigest):
        blob_name(Digest.unchecked("sha256:../../x"))
    with pytest.raises(InvalidDigest):
        toc_name(DiffID.unchecked("../../x"))


def test_reading_archives_writes_nothing() -> None:
    words = (
        "chmod chown link makedirs mkdir mkfifo mknod pwrite remove rename replace rmdir symlink truncate unlink write"
    )
    changing = {f"os.{word}" for word in words.split()}
    for name, path in MODULES.items():
        if not name.startswith("archive/"):
            continue
        assert uses(path, *changing) == set(), name
        assert imports(path).isdisjoint({"shutil", "tempfile"}), name
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "open":
                assert ast.unparse(node.args[1]) == "'rb'", name
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.O_WRONLY", "os.O_RDWR", "os.O_CREAT"}:
                raise AssertionError(name)


def test_the_model_touches_no_file_socket_or_clock() -> None:
    for name, path in MODULES.items():
        if name.startswith("model/"):
            assert imports(path).isdisjoint({"os", "io", "pathlib", "socket", "time", "datetime", "tempfile"}), name
            calls = {
                node.func.id
                for node in ast.walk(tree(path))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert "open" not in calls, name


def test_a_module_holds_one_noun() -> None:
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > 520} == {}


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after running some code in a fresh interpreter."""
    show = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    argv = [sys.executable, "-c", f"{code}\n{show}"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return {*done.stdout.splitlines()[-1].split()}


HEAVY = {
    "anyio",
    "asyncio",
    "click",
    "inspect",
    "isal",
    "platformdirs",
    "rich",
    "sqlite3",
    "starlette",
    "tarfile",
    "typing_extensions",
    "unittest",
    "urllib3",
}


def test_importing_orlop_is_light() -> None:
    assert loaded_by("import orlop") & HEAVY == set()


def test_the_version_costs_no_store() -> None:
    lines = ["import contextlib, sys", "sys.argv = ['orlop', '--version']", "from orlop.cli.main import main"]
    lines += ["with contextlib.suppress(SystemExit):", "    main()"]
    assert loaded_by("\n".join(lines)) & (HEAVY - {"click", "inspect"}) == set()


def test_the_version_is_said_once() -> None:
    import orlop

    assert orlop.__version__ == version("orlop")
