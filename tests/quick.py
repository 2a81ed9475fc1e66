"""The quick loop, ``./dev quick [FILE…]``: style, words, types, import rules, and the unit tests of what changed.

What changed is asked of git: the commits since the branch left the main one (on the main one itself, those that are not
in the repository that it was cloned from), and the working tree. Which tests belong to a file follows from imports and
names, without running anything:

- a test file is its own test; a helper of the tests has the tests that import it, through other helpers too;
- a module has the tests that import it, or the package that gives its names away, or that bear its name
  (``cli/show/columns.py``: ``test_cli_columns.py``); where there are none, those of the modules that import it; and
  where nothing imports it, those of its room (``test_cli*.py``);
- a file of another kind has the tests in `OTHERS`, and so has what something is generated from, or listed by.

These and those with the module's name run first, then those that import little else. Of many files only the closest are
read. What has not begun when the time is over is left to ``./dev test``, and so is what is slow or starts daemons:
`FOLDERS` are looked at. The last line is the verdict.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.language import of_file
from tests.statements import statements

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TOP: Final = Path(__file__).parents[1]
FOLDERS: Final = ("arch", "contract", "property", "unit")
OTHERS: Final = {
    "dev": "unit/test_dev.py",
    ".ci/": "unit/test_dev.py",
    "docs/": "unit/test_docs.py",
    "README.md": "unit/test_docs.py",
    "fuzz/": "property/test_fuzz_targets.py",
    "pyproject.toml": "arch/test_rooms.py",
    "src/orlop/cli/commands/": "unit/test_share.py",
    "src/orlop/errors/": "unit/test_errors.py",
    "src/orlop/api/engine/": "unit/test_api_requests.py",
    "docs/generate_openapi.py": "unit/test_openapi.py",
}
SECONDS: Final = 35
"""For how long tests begin; what has begun ends."""
CLOSEST: Final = 40
"""How many test files are read at the most: more than begin in that time."""
RUFF: Final = (("check", "-q", "."), ("format", "-q", "--check", "."))


def module_of(path: Path) -> str:
    """Return the dotted name of a file of the package or of the tests."""
    parts = path.relative_to(TOP).with_suffix("").parts
    parts = parts[1:] if parts[0] == "src" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Return every name that a file imports, anywhere in it, and what that is a part of: ``from a.b import c`` both."""
    found: set[str] = set()
    for node in statements(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{name.name}" for name in node.names)
    return found


@dataclass
class Checkout:
    """The package and its tests, and who imports whom."""

    top: Path = TOP
    _imports: dict[Path, set[str]] = field(default_factory=dict)
    _users: dict[str, dict[str, set[Path]]] = field(default_factory=dict)

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Every module of the package and of the tests by its dotted name."""
        return {module_of(path): path for room in ("src", "tests") for path in sorted((self.top / room).rglob("*.py"))}

    @cached_property
    def tests(self) -> list[Path]:
        """The test files that may be chosen."""
        return [path for name in FOLDERS for path in sorted((self.top / "tests" / name).glob("test_*.py"))]

    def imported(self, path: Path) -> set[str]:
        """Return what a file imports; it is read once."""
        if path not in self._imports:
            self._imports[path] = imports(path)
        return self._imports[path]

    def importers(self, module: str, among: str) -> set[Path]:
        """Return which files import a module: of the ``tests`` that may be chosen, the ``package``, or its ``helpers``.

        All files of the kind are read at the first question.
        """
        if among not in self._users:
            users = self._users[among] = {}
            for path in {"tests": self.tests, "package": self._package, "helpers": self._helpers}[among]:
                for name in self.imported(path):
                    users.setdefault(name, set()).add(path)
        return {*self._users[among].get(module, ())}

    def others(self, path: Path) -> set[Path]:
        """Return the tests of what is generated from a file, or lists what is in it."""
        name = path.relative_to(self.top).as_posix()
        return {self.top / "tests" / test for start, test in OTHERS.items() if name.startswith(start)}

    def tests_of(self, path: Path) -> set[Path]:
        """Return the test files that belong to a file of the checkout."""
        name = path.relative_to(self.top).as_posix()
        others = self.others(path)
        if path.suffix != ".py" or not name.startswith(("src/", "tests/")):
            return others
        if name.startswith("tests/"):
            return {path} & {*self.tests} if path.name.startswith("test_") else self._through_helpers(module_of(path))
        found, known, layer = set[Path](), {module_of(path)}, {module_of(path)}
        while layer and not found:
            found = {test for module in layer for test in self._direct(module)}
            above = {module_of(at) for module in layer for at in self.importers(module, "package")}
            layer = above - known
            known |= layer
        rooms = tuple(f"test_{room}" for room in module_of(path).split(".")[1:-1])
        return others | (found or {test for test in self.tests if test.name.startswith(rooms)})

    @cached_property
    def _package(self) -> list[Path]:
        return [path for module, path in self.modules.items() if module.partition(".")[0] == "orlop"]

    @cached_property
    def _helpers(self) -> list[Path]:
        return [path for module, path in self.modules.items() if module.startswith("tests.")]

    def _direct(self, module: str) -> set[Path]:
        """Return the tests that import a module, or its package where that re-exports it, or that bear its name."""
        found = self.importers(module, "tests") | {test for test in self.tests if bears(test, module)}
        package = module.rpartition(".")[0]
        if package not in {"", "orlop"} and module in self.imported(self.modules[package]):
            found |= self.importers(package, "tests")
        return found

    def _through_helpers(self, helper: str) -> set[Path]:
        found, helpers = set[Path](), {helper}
        while helpers:
            users = {path for module in helpers for path in self.importers(module, "helpers")} - found
            found |= users
            helpers = {module_of(path) for path in users if not path.name.startswith("test_")}
        return found & {*self.tests}

    def chosen(self, changed: Iterable[Path]) -> list[Path]:
        """Return the tests of what changed: first those that list it or bear its name, then by how few they import."""
        files = [path for path in changed if path.exists()]
        modules = [module_of(path) for path in files if path.suffix == ".py" and path.is_relative_to(self.top / "src")]
        found = {test for path in files for test in self.tests_of(path)}
        others = {test for path in files for test in self.others(path)}
        return sorted(
            found,
            key=lambda test: (
                test not in files,
                test not in others and not any(bears(test, module) for module in modules),
                sum(name.startswith("orlop.") for name in self.imported(test)),
                test,
            ),
        )


def bears(test: Path, module: str) -> bool:
    """Return whether a test file has a module's name: ``test_cli_columns`` that of ``orlop.cli.show.columns``."""
    *rooms, last = module.split(".")
    words = test.stem.removeprefix("test_")
    return words == last or any(words == f"{room}_{last}" for room in rooms)


def changed(top: Path = TOP) -> list[Path]:
    """Return the files that differ from where this branch left the main one, or are new."""

    def git(*words: str) -> list[str]:
        done = subprocess.run(["git", *words], cwd=top, capture_output=True, text=True, check=False)
        return [line for line in done.stdout.split("\0") if line] if done.returncode == 0 else []

    here = git("rev-parse", "HEAD")
    bases = [base for main in ("main", "origin/HEAD") for base in git("merge-base", "HEAD", main)]
    start = next((base.strip() for base in bases if [base] != here), "HEAD")
    names = [*git("diff", "--name-only", "-z", start), *git("ls-files", "--others", "--exclude-standard", "-z")]
    return [top / name for name in dict.fromkeys(names)]


def named(words: Sequence[str]) -> list[Path]:
    """Return the files that somebody names, and those in folders; raise SystemExit for what is not in the checkout."""
    found: list[Path] = []
    for word in words:
        path = Path(word).resolve()
        if not path.exists() or not path.is_relative_to(TOP):
            raise SystemExit(f"./dev quick: {word} is not a file of this checkout")
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return found


@dataclass
class Clock:
    """A part of pytest: no test begins when the time is over, which the first one starts; all are counted."""

    seconds: float
    until: float | None = None
    ran: int = 0
    left: int = 0
    files: int = 0
    """How many test files were not even read."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> bool | None:
        """Pass over a test for which there is no time."""
        if self.until is None:
            self.until = time.monotonic() + self.seconds
        if time.monotonic() < self.until:
            self.ran += 1
            return None
        self.left += 1
        return True


def run_tests(tests: Sequence[Path], clock: Clock) -> bool:
    """Run these in order until the time is over; return whether all that ran passed."""
    if not tests:
        return True
    options = [
        "-n0",
        "-q",
        "-p",
        "no:randomly",
        "-m",
        "not slow",
        f"--rootdir={TOP}",
        f"--config-file={TOP}/pyproject.toml",
    ]
    status = pytest.main([*options, *map(str, tests)], plugins=[clock])
    return status in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


def words_are_plain(files: Iterable[Path]) -> bool:
    """Print which words of files this project avoids; return whether there are none."""
    faults = [fault for path in files if path.is_file() for fault in of_file(path, TOP)]
    print(*faults, sep="\n", end="\n" if faults else "", flush=True)
    return not faults


def main(words: Sequence[str]) -> int:
    """Check; return 1 where something is wrong."""
    files = named(words) if words else changed()
    tests = Checkout().chosen(files)
    tests += [path for path in files if words and path.name.startswith("test_") and path not in tests]
    clock = Clock(SECONDS, files=len(tests[CLOSEST:]))
    del tests[CLOSEST:]
    print("tests:", *(path.relative_to(TOP) for path in tests), flush=True)
    tools = Path(sys.executable).parent
    fine = {f"ruff {check[0]}": _succeeds(f"{tools}/ruff", *check) for check in RUFF}
    fine["words"] = words_are_plain(files)
    # While the tests have one processor, these have the other.
    others = {
        name: subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name, command in {"mypy": [f"{tools}/mypy"], "imports": [f"{tools}/lint-imports", "--no-logo"]}.items()
    }
    fine["tests"] = run_tests(tests, clock)
    for name, other in others.items():
        print(other.communicate()[0], end="", flush=True)
        fine[name] = other.returncode == 0
    asked = [path for path in files if path.name.startswith("test_")]
    slow = [path.relative_to(TOP).as_posix() for path in asked if path not in tests]
    print(verdict(fine, clock, slow), flush=True)
    return 0 if all(fine.values()) else 1


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, cwd=TOP, check=False).returncode == 0


def verdict(fine: Mapping[str, bool], clock: Clock, slow: Sequence[str] = ()) -> str:
    """Return the last line: what failed, if anything, how many tests there was time for, and which files never run."""
    failed = ", ".join(name for name, passed in fine.items() if not passed)
    tests = (
        f"{clock.ran} of {clock.ran + clock.left} tests ran" if clock.ran else "no unit test belongs to what changed"
    )
    tests += f", and none of {clock.files} other files" if clock.files else ""
    never = f", and none of {', '.join(slow)}" if slow else ""
    left = "; `./dev test FILE…` runs the others" if clock.left or clock.files or slow else ""
    return f"./dev quick: {f'FAILED: {failed}' if failed else 'fine'} ({tests}{never}{left})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
