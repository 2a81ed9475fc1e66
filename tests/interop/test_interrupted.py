"""Signals at some moment of transfers to and from Debian's docker-registry: they end, and can be repeated."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.crash import pace
from tests.interop.registries import debian_registry
from tests.interop.test_push import digest_at
from tests.unit.pushed import large
from tests.unit.test_cli_push import Shell
from tests.waiting import heeds, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Program

pytestmark = pytest.mark.interop

MIB = 1 << 20


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with debian_registry(tmp_path_factory.mktemp("registry")) as authority:
        yield authority


@pytest.fixture(scope="module")
def whole(there: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image that is in the registry, which is large enough for its transfer to take a while."""
    shell, name = Shell(tmp_path_factory.mktemp("whole")), f"{there}/team/app:1"
    shell.load(large(name, 24 * MIB))
    assert shell.run("push", "-q", name).returncode == 0
    return name


def words(command: str, shell: Shell, whole: str, there: str) -> tuple[str, ...]:
    """Return the words of a command, which needs nothing more."""
    repository = whole.rpartition(":")[0]
    target = f"{there}/{shell.folder.name.lower()}"
    plan = shell.folder / "plan.toml"
    plan.write_text(f'[[sync]]\nsource = "docker://{repository}"\ntarget = "docker://{target}"\n')
    return {
        "pull": ("pull", "--platform", "linux/amd64", whole),
        "push": ("push", f"{target}:1"),
        "copy": ("copy", f"docker://{whole}", f"oci:{shell.folder}/layout:1"),
        "sync": ("sync", str(plan)),
    }[command]


@pytest.mark.sampled(24)
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("command", ["pull", "push", "copy", "sync"])
def test_a_signal_ends_a_transfer_with_its_status(
    tmp_path: Path, skopeo: Program, there: str, whole: str, command: str, number: signal.Signals, *, twice: bool
):
    shell = Shell(tmp_path)
    arguments = words(command, shell, whole, there)
    if command == "push":
        shell.load(large(arguments[1], 24 * MIB))
    moment = random.Random(f"{pace.DAY} {command} {number} {twice}").random()
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        shell.argv(*arguments), env=shell.environment, stdout=pipe, stderr=pipe, start_new_session=True
    )
    # Before that, the interpreter does not yet run orlop.
    until(lambda: heeds(process.pid, signal.SIGTERM) or process.poll() is not None)
    time.sleep(moment)
    for _ in range(1 + twice):
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode in {0, 128 + number, -number}
    assert b"orlop/" not in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert shell.run(*arguments).returncode == 0
    if command == "push":
        assert digest_at(skopeo, arguments[1])
    elif command == "sync":
        assert digest_at(skopeo, f"{there}/{tmp_path.name.lower()}:1") == digest_at(skopeo, whole)
    if command in {"pull", "push"}:
        assert shell.run("fsck", "-q").returncode == 0
