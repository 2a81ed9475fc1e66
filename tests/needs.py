"""What tests need beyond the README: where it is missing they are skipped, and fail where everything must be there.

The README asks for git and for Python with its venv module, on any Linux machine, of any user. A test that uses more
says so, with a mark that `conftest.py` reads, or while it runs:

    @pytest.mark.needs("strace", "root")
    def test_…

    openssl = need("openssl")

`CI` or `ORLOP_REQUIRE_INTEROP` says that everything must be there: then nothing is skipped silently, but for what only
an ordinary user can see when root runs the tests. `.ci/bare` runs them where nothing of this is there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

_PLACES: Final = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
#: Distributions install here; a newer program elsewhere on PATH speaks another dialect.
PATH: Final = os.pathsep.join([*_PLACES, os.environ.get("PATH", "")])

#: What every Debian has, whatever is installed there.
BARE: Final = frozenset({"cat", "chmod", "cp", "git", "ls", "mkdir", "mv", "rm", "sh", "sleep", "tar", "true"})

#: The programs that tests asked for so far, by name.
asked: Final[set[str]] = set()


def missing(reason: str) -> NoReturn:
    """Skip the test on a machine that cannot run it; fail it where everything must be there, as in CI."""
    if os.environ.get("ORLOP_REQUIRE_INTEROP") or os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need(program: str) -> str:
    """Return the path of an installed program."""
    path = shutil.which(program, path=PATH)
    if path is None:
        missing(f"{program} is not installed")
    asked.add(program)
    return path


def newest(program: str) -> str:
    """Return the path of the program that a user of this machine runs; it may be newer than the distribution's."""
    return shutil.which(program) or need(program)


def need_root() -> None:
    """Go on only as root."""
    if os.geteuid() != 0:
        missing("this needs root")


def need_user() -> None:
    """Go on only as an ordinary user, whom permissions hold back; root misses nothing else."""
    if os.geteuid() == 0:
        pytest.skip("root may read and write everything")


def need_mounts() -> None:
    """Go on only where root may mount file systems, which containers often forbid."""
    need_root()
    mount, umount = need("mount"), need("umount")
    with tempfile.TemporaryDirectory(prefix="orlop-mount-") as folder:
        done = subprocess.run([mount, "-t", "tmpfs", "orlop-test", folder], capture_output=True, check=False)
        if done.returncode:
            missing("a tmpfs cannot be mounted here")
        subprocess.run([umount, "-l", folder], check=True)


def need_terminals() -> None:
    """Go on only where a pseudo-terminal can be had."""
    try:
        ends = os.openpty()
    except OSError as error:
        missing(f"there is no pseudo-terminal here: {error}")
    for end in ends:
        os.close(end)


def need_memory() -> None:
    """Go on only where anybody may write to a file system in memory."""
    if not os.access("/dev/shm", os.W_OK):
        missing("nobody may write to /dev/shm here")


def need_zones() -> None:
    """Go on only where the names of time zones are known."""
    if not Path("/usr/share/zoneinfo/Europe/Berlin").exists():
        missing("the names of time zones are not known here: tzdata is not installed")


def need_mounted_root() -> None:
    """Go on only where the kernel shows what is mounted on `/`, as it does not in a plain chroot."""
    if not os.path.ismount("/") or " / " not in Path("/proc/self/mounts").read_text():
        missing("what is mounted on / cannot be seen here")


def need_attributes() -> None:
    """Go on only where files may have attributes of users, as they cannot in memory on some kernels."""
    with tempfile.TemporaryFile() as file:
        try:
            os.setxattr(file.fileno(), "user.tried", b"")
        except OSError:
            missing(f"files in {tempfile.gettempdir()} cannot have attributes of users")


def need_tracing() -> None:
    """Go on only where strace is installed and may trace."""
    done = subprocess.run([need("strace"), "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        missing(f"processes cannot be traced here: {done.stderr.strip()}")


_THINGS: Final[dict[str, Callable[[], None]]] = {
    "root": need_root,
    "an ordinary user": need_user,
    "mounts": need_mounts,
    "terminals": need_terminals,
    "memory": need_memory,
    "zones": need_zones,
    "a mounted root": need_mounted_root,
    "tracing": need_tracing,
    "attributes": need_attributes,
}


def need_all(*things: str) -> None:
    """Go on only where each of these is: one of the above by its name, or else a program."""
    for thing in things:
        if thing in _THINGS:
            _THINGS[thing]()
        else:
            need(thing)


def check_programs(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise AssertionError where a test starts a program of the machine that it did not ask for: an audit hook."""
    if event not in {"subprocess.Popen", "os.exec", "os.posix_spawn"} or "PYTEST_CURRENT_TEST" not in os.environ:
        return
    program = Path(os.fsdecode(arguments[0]))
    ours = program.parent == Path(sys.executable).parent or program.resolve() == Path(sys.executable).resolve()
    of_the_machine = program.parent == Path() or str(program.parent) in {*_PLACES, "/usr/local/bin", "/usr/local/sbin"}
    assert ours or not of_the_machine or program.name in asked | BARE, (
        f"the test starts {program.name} and did not say that it needs it; see tests/needs.py"
    )
