"""The checks, one session each; `./dev test` runs them all.

They all run in the environment that `./dev` made for nox itself: a first run installs little, a second nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.5"
nox.options.sessions = ["lint", "types", "imports", "docs", "tests"]

HERE = Path(__file__).parent


@nox.session(python=False)
def lint(session: nox.Session) -> None:
    """Style, by ruff: every rule that pyproject.toml does not ignore with a reason, and the format."""
    session.run(sys.executable, "-m", "ruff", "check", ".", external=True)
    session.run(sys.executable, "-m", "ruff", "format", "--check", ".", external=True)


@nox.session(python=False)
def types(session: nox.Session) -> None:
    """Types, by mypy in its strict mode."""
    session.run(sys.executable, "-m", "mypy", external=True)


@nox.session(python=False)
def imports(session: nox.Session) -> None:
    """The directions between the rooms, by import-linter."""
    session.run(str(Path(sys.executable).with_name("lint-imports")), "--no-logo", external=True)


@nox.session(python=False)
def docs(session: nox.Session) -> None:
    """The change log can be built from its fragments, and the site, into build/docs, without a warning.

    Examples and links are checked by the tests.
    """
    session.run(sys.executable, "-m", "towncrier", "build", "--draft", "--version", "next", external=True, silent=True)
    build = HERE / "build"
    options = ["-b", "html", "-j", "auto", "-q", "-E", "-W", "--keep-going", "-d", str(build / "doctrees")]
    session.run(sys.executable, "-m", "sphinx", *options, str(HERE / "docs"), str(build / "docs"), external=True)


@nox.session(python=False, default=False)
def generate(session: nox.Session) -> None:
    """Write again what is made from sources: pages, manuals, the rooms' picture, the API's description, the page."""
    for name in ("commands", "share", "architecture", "openapi", "registry_openapi", "page"):
        session.run(sys.executable, "-m", f"docs.generate_{name}", external=True)


@nox.session(python=False)
def tests(session: nox.Session) -> None:
    """Every test, of costly ones a sample; arguments go to pytest.

    Interop tests join in where their programs are installed.
    """
    session.run(sys.executable, "-m", "pytest", *session.posargs, external=True)


@nox.session(python=False, default=False)
def bench(session: nox.Session) -> None:
    """Memory and speed, as numbers to read: no check fails by time."""
    for script in sorted((HERE / "benchmarks").glob("bench_*.py")):
        session.run(sys.executable, str(script), *session.posargs, external=True)


@nox.session(python=False, default=False)
def fuzz(session: nox.Session) -> None:
    """Every fuzz target, a minute each; arguments are options of libFuzzer. Installs atheris."""
    session.run(sys.executable, "-m", "pip", "install", "-q", "atheris", external=True)
    options = session.posargs or ["-max_total_time=60"]
    session.run(sys.executable, str(HERE / "fuzz" / "run.py"), "all", "-max_len=16384", *options, external=True)
