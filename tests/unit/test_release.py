"""`./dev release` does all of a release in a clone, refuses what cannot be one, and builds what is reproducible."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

import release
from release import Refused
from tests.quick import TOP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VERSION = "0.99.0"


def git(repository: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=repository, capture_output=True, text=True, check=True)
    return done.stdout


def committed(repository: Path) -> Path:
    """Make a repository of a folder as it is."""
    git(repository, "init", "-q", "-b", "main")
    for key, value in (("user.name", "nobody"), ("user.email", "nobody@example.com"), ("commit.gpgsign", "false")):
        git(repository, "config", key, value)
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "all of it")
    return repository


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of what these tests belong to, without what is not committed."""
    place = tmp_path_factory.mktemp("release") / "checkout"
    place.mkdir()
    for path in TOP.iterdir():
        if path.name in {".ci", ".gitignore"} or not path.name.startswith((".", "build", "dist")):
            copy: Callable[..., object] = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, place / path.name)
    return committed(place)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository of a file."""
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "file").write_text("1")
    return committed(tmp_path / "small")


def state(repository: Path) -> tuple[str, ...]:
    return tuple(git(repository, *words) for words in (("rev-parse", "HEAD"), ("tag",), ("status", "--porcelain")))


@pytest.mark.slow
@pytest.mark.sampled(4)
@pytest.mark.needs("terminals", "chromium", "chromedriver")
def test_a_dry_run_does_all_of_a_release_and_changes_nothing(checkout: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = state(checkout)
    release.release(VERSION, checkout, dry=True, index=False)
    assert f"orlop {VERSION} can be released; nothing was changed." in capfd.readouterr().out
    assert state(checkout) == before
    assert not (checkout / "dist").exists()


@pytest.mark.sampled(2)
def test_wheel_and_sdist_hold_what_users_need_and_nothing_else(checkout: Path, tmp_path: Path) -> None:
    wheel, sdist = release.build(checkout, tmp_path)
    assert (wheel.suffix, sdist.suffix) == (".whl", ".gz")
    with zipfile.ZipFile(wheel) as found:
        names = found.namelist()
        about = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = found.read(about).decode()
    for name in (
        "orlop/__init__.py",
        "orlop/py.typed",
        "orlop/build/changes.py",
        "share/man/man1/orlop.1",
        "share/man/man1/orlop-load.1",
        "share/bash-completion/completions/orlop",
        "share/zsh/site-functions/_orlop",
        "share/fish/vendor_completions.d/orlop.fish",
        "licenses/LICENSE",
        "entry_points.txt",
    ):
        assert [one for one in names if one.endswith(name)] != [], name
    assert {re.sub(r"^orlop-[^/]*\.", "", name.partition("/")[0]) for name in names} == {"orlop", "data", "dist-info"}
    assert "Requires-Dist: click<9,>=8.2\n" in metadata
    with tarfile.open(sdist) as members:
        tops = {member.name.split("/")[1] for member in members}
    assert {"src", "tests", "docs", "share", "dev", "LICENSE", "README.md", "CHANGELOG.md", "PKG-INFO"} <= tops
    assert not {"changes", "build", "dist", ".venv"} & tops


def test_a_build_that_differs_is_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "x.whl", tmp_path / "b" / "x.whl"
    for path, text in ((one, "1"), (other, "2")):
        path.parent.mkdir()
        path.write_text(text)
    release.check_equal([one], [one])
    with pytest.raises(Refused, match=r"x\.whl was built twice and differs"):
        release.check_equal([one], [other])


def test_a_file_too_many_or_too_few_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.writestr("orlop/secret.py", "")
    with pytest.raises(Refused, match=r"lacks \['orlop/a\.py'\], and should not hold \['orlop/secret\.py'\]"):
        release.check_contents([tmp_path / "x.whl"], ({"orlop/a.py"}, set()))


def test_commit_tag_and_files_are_taken_out_of_the_clone(small: Path, tmp_path: Path) -> None:
    clone, built = tmp_path / "clone", tmp_path / "orlop-1.0.0.whl"
    built.write_text("wheel")
    git(tmp_path, "clone", "-q", str(small), str(clone))
    (clone / "file").write_text("2")
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com")
    git(clone, *who, "commit", "-q", "-a", "-m", "Release 1.0.0")
    git(clone, *who, "tag", "-a", "-m", "orlop 1.0.0", "v1.0.0")
    release.take("1.0.0", clone, [built], small)
    assert (small / "file").read_text() == "2"
    assert git(small, "describe") == "v1.0.0\n"
    assert (small / "dist" / built.name).read_text() == "wheel"


def test_a_branch_that_went_on_meanwhile_gets_neither_commit_nor_tag(small: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(small), str(clone))
    who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.com")
    git(clone, *who, "commit", "-q", "--allow-empty", "-m", "Release 1.0.0")
    git(clone, *who, "tag", "-a", "-m", "orlop 1.0.0", "v1.0.0")
    git(small, "commit", "-q", "--allow-empty", "-m", "something else")
    before = state(small)
    with pytest.raises(Refused, match="git merge"):
        release.take("1.0.0", clone, [], small)
    assert state(small) == before


@pytest.mark.parametrize(
    ("version", "words", "why"),
    [
        ("1.0", (), "1.0 is not a version such as 1.2.3"),
        ("1.0.0", ("tag", "v1.0.0"), "the tag v1.0.0 exists already"),
        ("1.0.0", ("rm", "-q", "--cached", "file"), "the checkout is not clean"),
    ],
)
def test_what_cannot_be_released_is_refused(small: Path, version: str, words: tuple[str, ...], why: str) -> None:
    if words:
        git(small, *words)
    with pytest.raises(Refused, match=why):
        release.check_start(version, small, dry=False)


def test_a_refusal_is_a_sentence_and_status_1(capfd: pytest.CaptureFixture[str]) -> None:
    assert release.main(["one"]) == 1
    assert capfd.readouterr().err == "./dev release: one is not a version such as 1.2.3 or 1.2.3rc1\n"
