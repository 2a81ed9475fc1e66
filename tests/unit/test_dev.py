"""`./dev`, the one script that a newcomer runs: it works from anywhere, and names in a sentence what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from shlex import quote

import pytest

TOP = Path(__file__).parents[2]


def dev(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `./dev` from another folder."""
    argv = [str(TOP / "dev"), *args]
    return subprocess.run(
        argv, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False, timeout=300
    )


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.sampled(3)
def test_the_demo_shows_that_saved_bytes_equal_the_original(tmp_path: Path) -> None:
    done = dev("demo", cwd=tmp_path, ORLOP_DEV_READY="1", ORLOP_DEV_VENV=sys.prefix, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Loaded image: example/tiny:1.0" in done.stdout
    sums = {line.split()[0] for line in done.stdout.splitlines() if line.endswith((" multi.tar", " saved.tar"))}
    assert len({entry for entry in sums if len(entry) == 64}) == 1
    assert "byte for byte" in done.stdout
    assert list(tmp_path.iterdir()) == []  # it cleans up


def test_an_old_python_gets_a_clear_sentence(tmp_path: Path) -> None:
    old = script(tmp_path / "python3", "case $2 in *python_version*) echo 3.9.2 ;; *) exit 1 ;; esac")
    done = dev("demo", cwd=tmp_path, PYTHON=old, ORLOP_DEV_VENV=str(tmp_path / "venv"))
    assert done.returncode != 0
    assert "needs Python 3.11 or later, but" in done.stderr
    assert "is 3.9.2" in done.stderr


def test_no_python_gets_a_clear_sentence(tmp_path: Path) -> None:
    done = dev("test", cwd=tmp_path, PYTHON=str(tmp_path / "none"), ORLOP_DEV_VENV=str(tmp_path / "venv"))
    assert done.returncode != 0
    assert "apt install python3 python3-venv" in done.stderr


def test_a_missing_venv_module_names_its_package(tmp_path: Path) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError")
    bare = script(tmp_path / "python3", f'PYTHONPATH={quote(str(tmp_path))} exec {quote(sys.executable)} "$@"')
    done = dev("demo", cwd=tmp_path, PYTHON=bare, ORLOP_DEV_VENV=str(tmp_path / "venv"))
    assert done.returncode != 0
    assert "has no venv module" in done.stderr
    assert f"python{sys.version_info[0]}.{sys.version_info[1]}-venv" in done.stderr


def test_the_bare_machines_are_named_where_another_is_asked_for() -> None:
    done = subprocess.run([TOP / ".ci" / "bare", "nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == ".ci/bare: there is no machine nowhere; there are bookworm trixie forky\n"


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv" / "mine").touch()
    done = dev("demo", cwd=tmp_path, PYTHON=sys.executable, ORLOP_DEV_VENV=str(tmp_path / "venv"))
    assert done.returncode != 0
    assert "made by something else" in done.stderr
    assert (tmp_path / "venv" / "mine").exists()


@pytest.mark.sampled(2)
def test_two_at_once_make_one_environment(tmp_path: Path) -> None:
    said = tmp_path / "said"
    log = quote(str(said))
    pip = f'echo "pip begins" >>{log}; sleep 0.2; echo "pip ends" >>{log}'
    fake = f"""
case "$1 $2" in
"-m venv") mkdir "$3/bin" && cp "$0" "$3/bin/python" && echo venv >>{log} ;;
"-m pip") {pip} ;;
*) exec {quote(sys.executable)} "$@" ;;
esac"""
    env = {**os.environ, "PYTHON": script(tmp_path / "python3", fake), "ORLOP_DEV_VENV": str(tmp_path / "venv")}
    both = [
        subprocess.Popen([TOP / "dev", "run", "true"], env=env, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = [one.communicate(timeout=60)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], errors
    assert said.read_text().split("\n")[:-1] == ["venv", *["pip begins", "pip ends"] * 2]
    assert sum("making" in text for text in errors) == 1
