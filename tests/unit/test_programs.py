"""Programs that are run for their answer, and pipes in the place of files: bounds of time and size."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from orlop.errors import InvalidSettings, OrlopError
from orlop.model.reference import Reference
from orlop.model.store_url import StoreURL
from orlop.registry.authfiles import AuthFiles
from orlop.registry.helpers import Helpers
from orlop.registry.logins import LoginFile
from orlop.store import remote
from orlop.store.blobs.s3.temporary import from_process
from orlop.streams.interruption import interrupted_by
from orlop.streams.programs import ProgramTimeout, answer_of
from orlop.streams.waiting import content_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = Reference.parse("registry.example.com/app")
ENDLESS = "import sys\nwhile True: sys.stdout.write('x' * 100000)"
SILENT = "import sys, time\ntime.sleep(600)"


class Enough(Exception):
    pass


def enough() -> None:
    raise Enough


def run(program: str, **options: Any) -> tuple[int, bytes]:
    return answer_of([sys.executable, "-c", program], **({"seconds": 60, "most": 1 << 20} | options))


@pytest.fixture
def leaving(tmp_path: Path) -> Iterator[str]:
    """The beginning of a program that leaves another one running, which keeps its output open until the test ends."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Open at both ends: whoever reads it waits until it is closed here.
    held = os.open(pipe, os.O_RDWR)
    yield f"import subprocess; subprocess.Popen(['cat', {str(pipe)!r}])\n"
    os.write(held, b"x")
    os.close(held)


def test_an_answer_comes_with_its_status():
    assert run("print('x'); raise SystemExit(3)") == (3, b"x\n")
    assert run("import sys; print(sys.stdin.read()[::-1])", given=b"abc") == (0, b"cba\n")
    assert run("import os; os.close(0); print('x')", given=b"y" * 100) == (0, b"x\n")


def test_an_answer_is_complete_when_its_program_ends(leaving: str):
    assert run(f"{leaving}print('x' * 200000)") == (0, b"x" * 200000 + b"\n")


@pytest.mark.sampled(3)
def test_a_program_is_killed_that_answers_too_late_or_too_much(leaving: str):
    with pytest.raises(ProgramTimeout):
        run(SILENT, seconds=0.3)
    with pytest.raises(ProgramTimeout):
        run(f"{leaving}{SILENT}", seconds=0.3)
    with pytest.raises(ProgramTimeout):
        run(f"import os\nos.close(1)\n{SILENT}", seconds=1)
    assert len(run(ENDLESS)[1]) == 0


def test_whoever_waits_for_a_program_can_be_interrupted():
    for program in (SILENT, ENDLESS, f"import os\nos.close(1)\n{SILENT}"):
        with pytest.raises(Enough):
            run(program, check=enough)


LONG = b"x" * (1 << 20)
"""More than a pipe holds."""


def test_a_program_may_read_late_or_never():
    with pytest.raises(ProgramTimeout):
        run(SILENT, given=LONG, seconds=0.3)
    with pytest.raises(Enough):
        run(SILENT, given=LONG, check=enough)
    assert run("print('x')", given=LONG) == (0, b"x\n")
    echo = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer, 1 << 12)"
    assert run(echo, given=LONG, most=len(LONG)) == (0, LONG)
    # It ends when its input does.
    assert run("import os, sys; os.close(1); sys.stdin.read(); raise SystemExit(3)", given=LONG) == (3, b"")


@pytest.fixture
def helper(tmp_path: Path) -> Any:
    def make(program: str, **options: Any) -> Helpers:
        path = tmp_path / "docker-credential-odd"
        # The path of an interpreter after "#!" may not have a space.
        script = tmp_path / "odd.py"
        script.write_text(program)
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
        path.chmod(0o755)
        return Helpers([str(tmp_path)], os.environ, **options)

    return make


SAID = json.dumps({"Username": "me", "Secret": "x"})


def test_a_helper_may_leave_a_daemon_behind(helper: Any, leaving: str):
    found = helper(f"{leaving}print({SAID!r})").get("odd", "registry.example.com")
    assert (found.user, found.password) == ("me", "x")


@pytest.mark.parametrize(
    "program",
    [
        ENDLESS,
        "print('[' * 100000)",
        "print('\\\\ud800')",
        "print('null')",
        'print(\'{"Username": 1, "Secret": {}}\')',
        "",
    ],
    ids=["endless", "deep", "surrogate", "null", "types", "nothing"],
)
def test_a_helper_that_writes_something_else_is_one_error(helper: Any, program: str):
    with pytest.raises(InvalidSettings, match="does not answer with credentials"):
        helper(program).get("odd", "registry.example.com")


def test_a_helper_that_hangs_is_given_up_or_interrupted(helper: Any):
    with pytest.raises(InvalidSettings, match=r"does not end within 0\.3 s"):
        helper(SILENT, timeout=0.3).get("odd", "registry.example.com")
    with pytest.raises(Enough), interrupted_by(enough):
        helper(SILENT).get("odd", "registry.example.com")


def test_a_helper_that_does_not_read_a_long_secret_is_given_up(helper: Any):
    with pytest.raises(InvalidSettings, match=r"does not end within 0\.3 s"):
        helper(SILENT, timeout=0.3).store("odd", "registry.example.com", "me", LONG.decode())


def test_a_program_of_a_profile_may_leave_a_daemon_behind(leaving: str):
    said = json.dumps({"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b"})
    lent = from_process(f"{shlex.quote(sys.executable)} -c {shlex.quote(f'{leaving}print({said!r})')}")
    assert lent.credentials.access_key == "a"


def test_a_pipe_may_stand_in_the_place_of_a_file(tmp_path: Path):
    path = tmp_path / "auth.json"
    os.mkfifo(path)
    text = json.dumps({"auths": {"registry.example.com": {"username": "me", "password": "x"}}})
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    found = AuthFiles([str(path)], Helpers()).find(NAME)
    writer.join()
    assert found is not None
    assert found.user == "me"


@pytest.mark.sampled(2)
def test_a_pipe_that_nobody_fills_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "pipe"
    os.mkfifo(path, 0o600)
    with pytest.raises(TimeoutError, match="nobody fills it"):
        content_of(str(path), 100, seconds=0.3)
    held = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(TimeoutError, match="nobody fills it"):
            content_of(str(path), 100, seconds=0.3)
        with pytest.raises(Enough), interrupted_by(enough):
            AuthFiles([str(path)], Helpers()).find(NAME)
        with pytest.raises(Enough), interrupted_by(enough):
            LoginFile(str(path), Helpers()).knows("registry.example.com")
        monkeypatch.setattr(remote, "content_of", partial(content_of, seconds=0.3))
        url = StoreURL.parse(f"postgresql://db/images?blobs=s3://bucket&config={path}")
        with pytest.raises(OrlopError, match=r"cannot read .*timed out"):
            remote.variables_of(url)
    finally:
        os.close(held)
