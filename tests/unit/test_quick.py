"""`./dev quick` finds what is wrong with what changed, and the tests of a file by imports and names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.quick import FOLDERS, TOP, Checkout, Clock, verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULES = sorted(path for path in (TOP / "src").rglob("*.py") if path.name not in {"__init__.py", "__main__.py"})
PROJECT = """
[tool.ruff]
line-length = 120
[tool.pytest]
addopts = ["--import-mode=importlib", "-p", "no:schemathesis"]
pythonpath = ["src"]
[tool.mypy]
strict = true
files = ["src"]
[tool.importlinter]
root_package = "orlop"
[[tool.importlinter.contracts]]
name = "Imports go only downward"
type = "layers"
containers = ["orlop"]
layers = ["deck", "hold"]
"""
FILES = {
    "src/orlop/__init__.py": "",
    "src/orlop/hold.py": "CARGO = 2\n",
    "src/orlop/deck.py": "from orlop.hold import CARGO\n\nSAILS = CARGO + 1\n",
    "tests/unit/test_deck.py": "from orlop.deck import SAILS\n\n\ndef test_sails() -> None:\n    assert SAILS == 3\n",
    "tests/unit/test_hold.py": "from orlop.hold import CARGO\n\n\ndef test_cargo() -> None:\n    assert CARGO == 2\n",
    "pyproject.toml": PROJECT,
}


@pytest.fixture(scope="module")
def checkout() -> Checkout:
    return Checkout()


def names(checkout: Checkout, *changed: str) -> list[str]:
    return [test.relative_to(TOP / "tests").as_posix() for test in checkout.chosen(TOP / name for name in changed)]


def test_a_module_has_the_tests_that_import_it_or_bear_its_name(checkout: Checkout) -> None:
    assert names(checkout, "src/orlop/cli/show/columns.py") == ["unit/test_cli_columns.py"]
    first, *others = names(checkout, "src/orlop/model/digest.py")
    assert first == "unit/test_digest.py"
    assert "unit/test_values.py" in others or len(others) > 10


def test_every_module_has_a_test(checkout: Checkout) -> None:
    chosen = {module: checkout.chosen([module]) for module in MODULES}
    assert [module for module, tests in chosen.items() if not tests] == []
    assert {test for tests in chosen.values() for test in tests} <= {*checkout.tests}


def test_a_command_that_is_imported_by_its_name_alone_has_the_tests_of_its_room(checkout: Checkout) -> None:
    assert "unit/test_cli.py" in names(checkout, "src/orlop/cli/commands/rmi.py")


@pytest.mark.sampled(3)
def test_a_helper_has_the_tests_that_use_it(checkout: Checkout) -> None:
    found = names(checkout, "tests/unit/layouts.py")
    assert "unit/test_bad_layouts.py" in found
    assert {name.partition("/")[0] for name in found} <= {*FOLDERS}


@pytest.mark.sampled(4)
def test_a_changed_test_comes_first(checkout: Checkout) -> None:
    assert names(checkout, "src/orlop/model/digest.py", "tests/unit/test_values.py")[0] == "unit/test_values.py"


def test_a_page_has_the_test_of_its_examples(checkout: Checkout) -> None:
    assert names(checkout, "docs/tour.md") == ["unit/test_docs.py"]


def test_what_there_is_no_time_for_is_counted() -> None:
    late, early = Clock(0), Clock(3600)
    assert late.until is None  # the first test starts it
    assert [late.pytest_runtest_protocol(), early.pytest_runtest_protocol()] == [True, None]
    assert [(late.ran, late.left), (early.ran, early.left)] == [(0, 1), (1, 0)]
    assert early.until is not None
    assert early.until > time.monotonic()


def test_the_last_line_is_the_verdict() -> None:
    fine = {"ruff check": True, "tests": True}
    assert verdict(fine, Clock(9)) == "./dev quick: fine (no unit test belongs to what changed)"
    assert verdict(fine, Clock(9, ran=3)) == "./dev quick: fine (3 of 3 tests ran)"
    said = "./dev quick: FAILED: ruff check, words (3 of 5 tests ran; `./dev test FILE…` runs the others)"
    assert verdict(fine | {"ruff check": False, "words": False}, Clock(9, ran=3, left=2)) == said


def test_the_last_line_names_changed_tests_that_it_never_runs() -> None:
    said = "./dev quick: fine (3 of 3 tests ran, and none of tests/crash/test_x.py; `./dev test FILE…` runs the others)"
    assert verdict({"tests": True}, Clock(9, ran=3), ["tests/crash/test_x.py"]) == said


def test_a_command_has_the_test_of_what_is_generated_from_it(checkout: Checkout) -> None:
    assert "unit/test_share.py" in names(checkout, "src/orlop/cli/commands/rmi.py")


def test_what_lists_all_of_a_kind_comes_first(checkout: Checkout) -> None:
    assert names(checkout, "src/orlop/errors/sources.py")[0] == "unit/test_errors.py"
    assert "unit/test_api_requests.py" in names(checkout, "src/orlop/api/engine/images.py")[:3]
    assert names(checkout, "docs/generate_openapi.py")[0] == "unit/test_openapi.py"


def test_the_last_line_counts_the_files_that_were_not_read() -> None:
    said = "./dev quick: fine (3 of 3 tests ran, and none of 7 other files; `./dev test FILE…` runs the others)"
    assert verdict({"tests": True}, Clock(9, ran=3, files=7)) == said


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which mypy keeps what it knows of Python."""
    return tmp_path_factory.mktemp("mypy")


@pytest.fixture
def quick(tmp_path: Path, kept: Path) -> Callable[..., tuple[int, str]]:
    """Return a function that runs `./dev quick` in a small checkout, after some of its files were changed."""
    top = tmp_path / "checkout"
    for name, text in FILES.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    shutil.copy(TOP / "dev", top / "dev")
    for name in ("quick.py", "language.py", "statements.py"):
        shutil.copy(TOP / "tests" / name, top / "tests" / name)
    author = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], [*author, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=top, check=True)

    def run(*words: str, **changed: str) -> tuple[int, str]:
        for name, text in changed.items():
            (top / "src" / "orlop" / f"{name}.py").write_text(text)
        env = {**os.environ, "ORLOP_DEV_READY": "1", "ORLOP_DEV_VENV": sys.prefix, "MYPY_CACHE_DIR": str(kept)}
        env = {name: value for name, value in env.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            [top / "dev", "quick", *words], cwd=top / "src", env=env, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.sampled(4)
def test_quick_runs_the_tests_of_what_git_says_has_changed(quick: Callable[..., tuple[int, str]]) -> None:
    status, said = quick()
    assert (status, "fine (no unit test belongs to what changed)" in said) == (0, True), said
    status, said = quick(deck="SAILS = 3  # more than cargo\n")
    assert (status, "1 passed" in said, "test_hold" in said) == (0, True, False), said


@pytest.mark.sampled(3)
def test_on_the_main_branch_what_was_committed_since_it_was_cloned_has_changed(
    quick: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    top = tmp_path / "checkout"
    subprocess.run(["git", "clone", "-q", "--bare", top, tmp_path / "origin"], check=True)
    for words in (
        ["remote", "add", "origin", tmp_path / "origin"],
        ["fetch", "-q"],
        ["remote", "set-head", "origin", "-a"],
    ):
        subprocess.run(["git", *words], cwd=top, check=True)
    (top / "src" / "orlop" / "deck.py").write_text("SAILS = 3\n")
    author = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *author, "commit", "-q", "-a", "-m", "more"], cwd=top, check=True)
    status, said = quick()
    assert (status, "fine (1 of 1 tests ran)" in said) == (0, True), said


@pytest.mark.sampled(3)
def test_quick_takes_files_by_name_from_where_it_is_called(quick: Callable[..., tuple[int, str]]) -> None:
    status, said = quick("orlop/hold.py")
    assert (status, "tests: tests/unit/test_hold.py\n" in said, "1 passed" in said) == (0, True, True), said
    status, said = quick("orlop/keel.py")
    assert (status, said) == (1, "./dev quick: orlop/keel.py is not a file of this checkout\n")


@pytest.mark.sampled(4)
def test_quick_fails_by_a_test_alone(quick: Callable[..., tuple[int, str]]) -> None:
    status, said = quick(hold="CARGO = 1\n")
    assert (status, "1 failed" in said, "Success: no issues" in said, "1 kept" in said) == (1, True, True, True), said


@pytest.mark.sampled(4)
def test_quick_fails_by_a_word_alone(quick: Callable[..., tuple[int, str]]) -> None:
    status, said = quick(hold='"""Cargo, which is no sail."""\n\nCARGO = 2\n')
    assert (status, "src/orlop/hold.py:1: write" in said, "FAILED: words (" in said) == (1, True, True), said


@pytest.mark.sampled(2)
def test_quick_shows_all_that_is_wrong_at_once(quick: Callable[..., tuple[int, str]]) -> None:
    status, said = quick(hold="import os\n\nfrom orlop.deck import SAILS\n\nCARGO: str   = SAILS\n", deck="SAILS = 2\n")
    words = ("F401", "hold.py", "1 passed", "Incompatible types in assignment", "BROKEN", "FAILED: ruff check, ")
    assert (status, [word for word in words if word not in said]) == (1, []), said


@pytest.mark.sampled(4)
def test_arguments_of_dev_test_go_to_pytest_alone(quick: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    env = {**os.environ, "ORLOP_DEV_READY": "1", "ORLOP_DEV_VENV": sys.prefix}
    argv = [f"{tmp_path}/checkout/dev", "test", "-k", "sails", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "1 passed, 1 deselected" in done.stdout) == (0, True), done.stdout + done.stderr
