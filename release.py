"""Cut a release, ``./dev release VERSION``: change log, version, wheel and sdist, all checks, a commit and a tag.

All of it happens in a clone, from which commit, tag and files are fetched when every check has passed: what fails, and
a dry run, leave this checkout as it was. Nothing is pushed or uploaded.

- The change log is built of its fragments, the version is set, and what is generated is generated again.
- Wheel and sdist are built twice, in two clones of different names, with the commit's time as `SOURCE_DATE_EPOCH`; the
  bytes must be equal.
- The wheel holds the package, `share/` and what describes it; the sdist holds what git knows but for `LEFT_OUT`.
- The wheel is installed into a bare environment, from which the demo is run.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

TOP: Final = Path(__file__).resolve().parent
VERSION: Final = Path("src/orlop/_version.py")
#: What git knows and the sdist does not hold: folders end with a slash.
LEFT_OUT: Final = ("changes/",)
_DESCRIBED: Final = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


class Refused(Exception):
    """The release cannot be cut; the message says why."""


def run(*argv: str | Path, cwd: Path, **more: str) -> str:
    """Run a program and return what it prints; raise Refused with all that it said where it fails."""
    env = {**os.environ, **more}
    done = subprocess.run([str(word) for word in argv], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(map(str, argv))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def check_start(version: str, top: Path, *, dry: bool) -> None:
    """Raise Refused where this checkout is not one to release this version from."""
    if not re.fullmatch(r"\d+\.\d+\.\d+(rc\d+)?", version):
        raise Refused(f"{version} is not a version such as 1.2.3 or 1.2.3rc1")
    if run("git", "tag", "--list", f"v{version}", cwd=top):
        raise Refused(f"the tag v{version} exists already")
    if not dry and run("git", "status", "--porcelain", cwd=top):
        raise Refused("the checkout is not clean; commit or remove what `git status` shows")


def prepare(version: str, clone: Path) -> None:
    """Build the change log, set the version, generate again what is generated, and commit and tag that in a clone."""
    fragments = [path for path in (clone / "changes").iterdir() if path.name != "README.md"]
    if not fragments:
        raise Refused("there is nothing in changes/ to release")
    today = datetime.now(UTC).date().isoformat()
    run(sys.executable, "-m", "towncrier", "build", "--yes", "--version", version, "--date", today, cwd=clone)
    said = re.sub(r'__version__ = "[^"]*"', f'__version__ = "{version}"', (clone / VERSION).read_text())
    (clone / VERSION).write_text(said)
    for script in sorted((clone / "docs").glob("generate_*.py")):
        run(sys.executable, script, cwd=clone, PYTHONPATH=os.pathsep.join([str(clone), str(clone / "src")]))
    run("git", "add", "--all", cwd=clone)
    message = f"Release {version}\n\nThe change log is built of its fragments, and the version is set where it is kept."
    run("git", "commit", "--quiet", "--message", message, cwd=clone)
    run("git", "tag", "--annotate", "--message", f"orlop {version}", f"v{version}", cwd=clone)


def build(clone: Path, target: Path) -> list[Path]:
    """Build wheel and sdist of a clone's commit."""
    epoch = run("git", "log", "-1", "--format=%ct", cwd=clone).strip()
    kinds = ("--target", "sdist", "--target", "wheel")
    run(sys.executable, "-m", "hatchling", "build", *kinds, "--directory", target, cwd=clone, SOURCE_DATE_EPOCH=epoch)
    return sorted(target.iterdir())


def check_equal(built: Sequence[Path], again: Sequence[Path]) -> None:
    """Raise Refused where two builds differ in a byte."""
    for one, other in zip(built, again, strict=True):
        if one.name != other.name or one.read_bytes() != other.read_bytes():
            raise Refused(f"{one.name} was built twice and differs: it is not reproducible")


def expected(clone: Path, version: str) -> tuple[set[str], set[str]]:
    """Return the names that the wheel and the sdist must hold, by what git knows."""
    known = run("git", "ls-files", "-z", cwd=clone).split("\0")[:-1]
    package = {name.removeprefix("src/") for name in known if name.startswith("src/")}
    data = {f"orlop-{version}.data/data/{name}" for name in known if name.startswith("share/")}
    wheel = package | data | {f"orlop-{version}.dist-info/{name}" for name in _DESCRIBED}
    sdist = {name for name in known if not name.startswith(LEFT_OUT)} | {"PKG-INFO"}
    return wheel, {f"orlop-{version}/{name}" for name in sdist}


def contents(path: Path) -> set[str]:
    """Return the names of the files in a wheel or an sdist."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return set(wheel.namelist())
    with tarfile.open(path) as sdist:
        return {member.name for member in sdist if not member.isdir()}


def check_contents(built: Sequence[Path], wanted: tuple[set[str], set[str]]) -> None:
    """Raise Refused where a wheel or an sdist holds other files than it must."""
    for path in built:
        names = contents(path)
        want = wanted[0] if path.suffix == ".whl" else wanted[1]
        if names != want:
            raise Refused(f"{path.name} lacks {sorted(want - names)}, and should not hold {sorted(names - want)}")


def check_installed(wheel: Path, version: str, clone: Path, folder: Path, *, index: bool) -> None:
    """Install a wheel into a bare environment, and run the demo and the command from it.

    Without ``index`` what it needs is taken from this interpreter's environment, so that no network is needed.
    """
    venv.create(folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check")
    run(*pip, "install", *([] if index else ["--no-index", "--no-deps"]), wheel, cwd=folder)
    if not index:
        site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
        Path(site, "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    said = run(folder / "bin" / "orlop", "--version", cwd=folder)
    if said != f"orlop {version}\n":
        raise Refused(f"the installed command says that it is {said.strip()}, not orlop {version}")
    missing = [name for name in run("git", "ls-files", "share", cwd=clone).split() if not (folder / name).is_file()]
    if missing:
        raise Refused(f"the wheel does not install {missing}")
    run(clone / "dev", "demo", cwd=folder, ORLOP_DEV_READY="1", ORLOP_DEV_VENV=str(folder))


def take(version: str, clone: Path, built: Sequence[Path], top: Path) -> None:
    """Take commit, tag and files out of the clone; raise Refused where the branch has gone on meanwhile."""
    run("git", "fetch", "--quiet", "--no-tags", clone, f"refs/tags/v{version}", cwd=top)
    run("git", "merge", "--quiet", "--ff-only", "FETCH_HEAD", cwd=top)
    run("git", "fetch", "--quiet", clone, f"refs/tags/v{version}:refs/tags/v{version}", cwd=top)
    (top / "dist").mkdir(exist_ok=True)
    for path in built:
        shutil.copy(path, top / "dist" / path.name)


def release(version: str, top: Path, *, dry: bool, index: bool) -> None:
    """Do all of it; raise Refused where it cannot be."""
    check_start(version, top, dry=dry)
    with tempfile.TemporaryDirectory(prefix="orlop-release-") as work:
        clone, other = Path(work, "clone"), Path(work, "another place")
        run("git", "clone", "--quiet", "--no-hardlinks", top, clone, cwd=top)
        for name in ("user.name", "user.email"):
            if value := run("git", "config", "--default", "", "--get", name, cwd=top).strip():
                run("git", "config", name, value, cwd=clone)
        prepare(version, clone)
        run("git", "clone", "--quiet", "--no-hardlinks", clone, other, cwd=clone)
        built = build(clone, Path(work, "dist"))
        check_equal(built, build(other, Path(work, "dist of another place")))
        check_contents(built, expected(clone, version))
        run(sys.executable, "-m", "twine", "check", "--strict", *built, cwd=clone)
        wheel = next(path for path in built if path.suffix == ".whl")
        check_installed(wheel, version, clone, Path(work, "bare"), index=index)
        print(run("git", "show", "--shortstat", "--format=%s", "HEAD", cwd=clone), end="")
        if dry:
            print(f"orlop {version} can be released; nothing was changed.")
            return
        take(version, clone, built, top)
    print(f"orlop {version} is committed and tagged here, and lies in dist/. To publish it:")
    print(f"    git push origin HEAD v{version}\n    ./dev run twine upload dist/orlop-{version}*")


def main(arguments: Sequence[str]) -> int:
    """Read the arguments; return the exit status."""
    parser = argparse.ArgumentParser(prog="./dev release", description="Cut a release. Nothing is pushed.")
    parser.add_argument("version", help="such as 1.2.3")
    parser.add_argument("--dry-run", action="store_true", help="do everything in a clone, and change nothing here")
    parser.add_argument("--no-index", action="store_true", help="take what orlop needs from this environment")
    words = parser.parse_args(arguments)
    try:
        release(words.version, TOP, dry=words.dry_run, index=not words.no_index)
    except Refused as reason:
        print(f"./dev release: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
