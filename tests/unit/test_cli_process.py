"""The command line as a process: terminals, pipes, signals, closed streams, and what starting imports."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from hashlib import sha256
from pathlib import Path
from tarfile import GNU_FORMAT, TarFile, TarInfo
from typing import IO, TYPE_CHECKING, Any

import pytest

from tests.needs import need_terminals
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

PATIENCE = 60
TINY = "example/tiny:1.0"
ORLOP = [sys.executable, "-m", "orlop"]
CONTROLS = "red \x1b[31m bell \x07 csi \x9b31m line\nend override \N{RIGHT-TO-LEFT OVERRIDE}x"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def env(root: Path, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "ORLOP_ROOT": str(root),
        "HOME": str(tmp_path),
        "TZ": "UTC",
        "TERM": "xterm",
        "COLUMNS": "100",
    }


@pytest.fixture
def start(env: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start orlop; what a test leaves running ends with it."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
        for stream in ("stdin", "stdout", "stderr"):
            options.setdefault(stream, subprocess.PIPE)
        processes.append(subprocess.Popen([*ORLOP, *map(str, arguments)], env=env, **options))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            close(stream)


def close(stream: IO[bytes] | None) -> None:
    """Close a pipe that may have a closed other end."""
    try:
        if stream is not None:
            stream.close()
    except BrokenPipeError:
        pass


@pytest.fixture
def terminal(env: dict[str, str]) -> Callable[..., tuple[int, str]]:
    """Return what runs orlop on a terminal and returns its status and what the terminal got."""

    need_terminals()

    def call(*arguments: object) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [*ORLOP, *map(str, arguments)], env=env, stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            got = b""
            while chunk := read_terminal(ours):
                got += chunk
            os.close(ours)
            return process.wait(PATIENCE), got.decode()

    return call


def read_terminal(descriptor: int) -> bytes:
    """Read from a terminal whose other end may be closed, which Linux reports as an error."""
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        return b""


@pytest.fixture
def run(env: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    def call(*arguments: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        argv: Sequence[str] = [*options.pop("prefix", ORLOP), *map(str, arguments)]
        return subprocess.run(argv, env=env, check=False, timeout=PATIENCE, **options)

    return call


@pytest.fixture
def tiny(data: Path) -> Path:
    return data / "dockerd-29-overlay2" / "tiny.tar"


@pytest.fixture
def nasty(tmp_path: Path) -> Path:
    """An archive of an image whose texts would steer a terminal."""
    step = {"created": "2026-11-24T06:04:35Z", "created_by": CONTROLS, "comment": CONTROLS, "empty_layer": True}
    config = json.dumps(
        {"author": CONTROLS, "rootfs": {"type": "layers"}, "history": [step]}, ensure_ascii=False
    ).encode()
    key = f"{sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": key, "RepoTags": ["nasty:1"], "Layers": []}]).encode()
    with TarFile(tmp_path / "nasty.tar", "w") as archive:
        for name, content in ((key, config), ("manifest.json", manifest)):
            info = TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return tmp_path / "nasty.tar"


# Terminals


@pytest.mark.sampled(2)
def test_an_archive_is_neither_read_from_a_terminal_nor_written_to_one(
    terminal: Callable[..., tuple[int, str]], run: Callable[..., subprocess.CompletedProcess[bytes]], tiny: Path
) -> None:
    status, text = terminal("load")
    assert status == 2
    assert "-i" in text
    assert run("load", "-i", tiny).returncode == 0
    for arguments in (("save", TINY), ("save", "-o", "-", TINY)):
        status, text = terminal(*arguments)
        assert status == 2
        assert "-o" in text
        assert "manifest.json" not in text


def test_load_draws_a_bar_for_each_layer_on_a_terminal(terminal: Callable[..., tuple[int, str]], tiny: Path) -> None:
    status, text = terminal("load", "-i", tiny)
    assert status == 0
    assert "21d43ad2f0b6 " in text
    assert "━" in text
    assert f"Loaded image: {TINY}\r\n" in text


@pytest.mark.sampled(2)
def test_load_says_which_layers_are_there_already(terminal: Callable[..., tuple[int, str]], tiny: Path) -> None:
    terminal("load", "-q", "-i", tiny)
    status, text = terminal("load", "-i", tiny)
    assert status == 0
    assert "21d43ad2f0b6 is there already\r\n" in text


def test_quiet_draws_nothing(terminal: Callable[..., tuple[int, str]], tiny: Path) -> None:
    assert terminal("load", "-q", "-i", tiny) == (0, f"Loaded image: {TINY}\r\n")


@pytest.mark.sampled(3)
def test_texts_of_an_image_do_not_steer_a_terminal(
    terminal: Callable[..., tuple[int, str]], run: Callable[..., subprocess.CompletedProcess[bytes]], nasty: Path
) -> None:
    assert run("load", "-i", nasty).returncode == 0
    for arguments in (
        ("history", "--no-trunc", "nasty:1"),
        ("history", "--format", "json", "nasty:1"),
        ("history", "--format", "{{.Comment}}", "nasty:1"),
        ("inspect", "nasty:1"),
        ("inspect", "--raw", "nasty:1"),
        ("inspect", "no\x1b[31msuch"),
    ):
        status, text = terminal(*arguments)
        assert status in {0, 3}
        assert not {"\x1b", "\x07", "\x9b", "\N{RIGHT-TO-LEFT OVERRIDE}"} & set(text), arguments
    # What a terminal is shown of JSON is the same JSON.
    assert json.loads(terminal("inspect", "nasty:1")[1])[0]["Author"] == CONTROLS
    # A pipe gets what docker would give it.
    assert run("history", "--format", "{{.Comment}}", "nasty:1").stdout.decode() == f"{CONTROLS}\n"
    assert "\x1b[31m" in run("history", "--no-trunc", "nasty:1").stdout.decode()


# Pipes and closed streams


def closed_pipe() -> int:
    """Return the end to write to of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.sampled(4)
@pytest.mark.parametrize("arguments", [("images",), ("save", TINY), ("--help",), ("--version",), ("history", TINY)])
def test_a_closed_pipe_is_quiet(
    run: Callable[..., subprocess.CompletedProcess[bytes]], tiny: Path, arguments: tuple[str, ...]
) -> None:
    run("load", "-i", tiny)
    writing = closed_pipe()
    result = run(*arguments, stdout=writing)
    os.close(writing)
    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    "arguments", [("images",), ("save", TINY), ("inspect", TINY), ("--help",), ("images", "--help"), ("--version",)]
)
def test_a_full_disk_under_the_output_is_one_sentence(
    run: Callable[..., subprocess.CompletedProcess[bytes]], tiny: Path, arguments: tuple[str, ...]
) -> None:
    run("load", "-i", tiny)
    with Path("/dev/full").open("wb") as full:
        result = run(*arguments, stdout=full)
    assert result.returncode == 7
    assert result.stderr.count(b"\n") == 1
    assert b"no space left" in result.stderr


@pytest.mark.sampled(2)
def test_output_that_is_lost_is_told_also_after_another_error(
    run: Callable[..., subprocess.CompletedProcess[bytes]], tiny: Path
) -> None:
    run("load", "-i", tiny)
    with Path("/dev/full").open("wb") as full:
        result = run("pin", TINY, "missing", stdout=full)
    assert b"No such image: missing" in result.stderr
    assert b"no space left" in result.stderr
    assert result.returncode == 7


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("command", "redirection", "status"),
    [
        ("images", "<&-", 0),
        ("images", ">&-", 7),
        ("images", "2>&-", 0),
        ("images", "<&- 2>&-", 0),
        ("save example/tiny:1.0", ">&-", 7),
        ("load", "<&-", 2),
    ],
)
def test_closed_standard_streams_are_survived(
    run: Callable[..., subprocess.CompletedProcess[bytes]],
    env: dict[str, str],
    tiny: Path,
    command: str,
    redirection: str,
    status: int,
) -> None:
    assert run("load", "-i", tiny).returncode == 0
    result = subprocess.run(
        ["sh", "-c", f'"$@" {command} {redirection}', "sh", *ORLOP],
        env=env,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert result.returncode == status
    assert b"Traceback" not in result.stderr
    assert (b"Error: " in result.stderr) == (status != 0)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "words", [["--root", "relative", "images"], ["store", "backup", "there"], ["copy", f"store:{TINY}", "oci:there"]]
)
def test_a_current_directory_that_is_gone_is_told(
    run: Callable[..., subprocess.CompletedProcess[bytes]],
    env: dict[str, str],
    tiny: Path,
    tmp_path: Path,
    words: list[str],
) -> None:
    run("load", "-i", tiny)
    result = subprocess.run(
        ["sh", "-c", 'mkdir gone && cd gone && rmdir ../gone && exec "$@"', "sh", *ORLOP, *words],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    error = b"Error: the current directory was removed; change to another one\n"
    assert (result.returncode, result.stderr) == (4, error)


def test_text_is_utf_8_in_every_locale(
    run: Callable[..., subprocess.CompletedProcess[bytes]], env: dict[str, str], tiny: Path
) -> None:
    run("load", "-i", tiny)
    env |= {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    assert "…" in run("history", TINY).stdout.decode()


@pytest.mark.sampled(2)
def test_pipes_carry_archives_both_ways(
    run: Callable[..., subprocess.CompletedProcess[bytes]], start: Callable[..., subprocess.Popen[bytes]], tiny: Path
) -> None:
    archive = tiny.read_bytes()
    assert start("load").communicate(archive, PATIENCE)[0] == f"Loaded image: {TINY}\n".encode()
    assert run("save", TINY).stdout == archive
    assert run("save", "-o", "/dev/stdout", TINY).stdout == archive


@pytest.mark.sampled(2)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_slow_reader_gets_all_of_an_archive(
    env: dict[str, str],
    run: Callable[..., subprocess.CompletedProcess[bytes]],
    start: Callable[..., subprocess.Popen[bytes]],
    tiny: Path,
    unbuffered: str,
) -> None:
    run("load", "-i", tiny)
    env["PYTHONUNBUFFERED"] = unbuffered
    process = start("save", TINY)
    assert process.stdout is not None
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    until(lambda: waiting_in(process.stdout) > 0)
    # Long enough for the process to be interrupted while it waits in the middle of a write.
    time.sleep(0.6)
    assert process.communicate(timeout=PATIENCE)[0] == tiny.read_bytes()
    assert process.returncode == 0


def waiting_in(pipe: IO[bytes] | None) -> int:
    """How many bytes a reader of a pipe would get at once."""
    assert pipe is not None
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


# Signals


@pytest.mark.sampled(6)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_signal_ends_a_load_that_never_ends_and_leaves_nothing(
    start: Callable[..., subprocess.Popen[bytes]],
    root: Path,
    tmp_path: Path,
    number: signal.Signals,
    compressed: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = start("load", "-i", tmp_path / "fifo")
    with (tmp_path / "fifo").open("wb", buffering=0) as writer:
        writer.write(endless_archive(compressed=compressed))
        until(lambda: any(file.stat().st_size for file in listed(root / "ingest")))
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (128 + number, b"", b"")
    assert listed(root / "ingest") == listed(root / "leases") == []


def test_nothing_kills_a_process_that_ends_slowly_after_a_command_with_debug(env: dict[str, str]) -> None:
    script = """
import sys, time
from orlop.cli.main import main

class Slow:
    def __del__(self, sleep=time.sleep):
        sleep(0.6)

sys.slow = Slow()
sys.argv = ["orlop", "--debug", "images", "-q"]
main()
"""
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout) == (0, b"")


def endless_archive(*, compressed: bool) -> bytes:
    """Return the beginning of an archive with one layer of many gibibytes."""
    import zlib

    member, file = TarInfo("layer/layer.tar"), TarInfo("file")
    member.size, file.size = 1 << 33, 1 << 32
    begun = member.tobuf(GNU_FORMAT) + file.tobuf(GNU_FORMAT) + os.urandom(8 << 20)
    if not compressed:
        return begun
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(begun) + packer.flush(zlib.Z_SYNC_FLUSH)


def listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


def test_a_signal_ends_a_save_that_waits_for_its_reader(
    run: Callable[..., subprocess.CompletedProcess[bytes]],
    start: Callable[..., subprocess.Popen[bytes]],
    root: Path,
    tiny: Path,
) -> None:
    run("load", "-i", tiny)
    process = start("save", TINY)
    assert process.stdout is not None
    # One page of the archive fits into the pipe, and nobody makes room for the next.
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    assert process.stdout.read(1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (143, b"")
    assert listed(root / "leases") == []


def test_a_signal_leaves_no_file_of_a_save(
    run: Callable[..., subprocess.CompletedProcess[bytes]], tiny: Path, tmp_path: Path
) -> None:
    run("load", "-i", tiny)
    (tmp_path / "place").mkdir()
    result = run("save", "-o", tmp_path / "place" / "a.tar", TINY, prefix=[sys.executable, "-c", SIGNALLED_SAVE])
    assert (result.returncode, result.stdout, result.stderr) == (143, b"", b"")
    assert listed(tmp_path / "place") == []


# A signal that comes when the archive is written, but not yet under its name.
SIGNALLED_SAVE = """
import os, signal
from orlop.cli.main import main
from orlop.streams.files import NewFile
def publish(self, target):
    assert self.entry.state().st_size
    os.kill(os.getpid(), signal.SIGTERM)
NewFile.publish = publish
main()
"""


@pytest.mark.sampled(2)
def test_a_hang_up_that_is_ignored_stays_ignored(
    start: Callable[..., subprocess.Popen[bytes]], root: Path, tiny: Path
) -> None:
    process = start("load", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdin is not None
    archive = tiny.read_bytes()
    process.stdin.write(archive[:-512])
    process.stdin.flush()
    until((root / "leases").exists)
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(archive[-512:], PATIENCE)
    assert (process.returncode, out) == (0, f"Loaded image: {TINY}\n".encode())


# Starting

MODULES = "import sys; from orlop.cli.main import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"


def imported(env: dict[str, str], *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", MODULES, *arguments], env=env, capture_output=True, check=True, timeout=PATIENCE
    )
    return set(done.stderr.decode().split())


def test_the_version_needs_no_parser(env: dict[str, str]) -> None:
    assert not {"click", "logging", "sqlite3", "orlop.store"} & imported(env, "--version")


def test_listing_imports_nothing_that_only_archives_need(
    run: Callable[..., subprocess.CompletedProcess[bytes]], env: dict[str, str], tiny: Path
) -> None:
    run("load", "-i", tiny)
    heavy = {"rich", "platformdirs", "isal", "backports.zstd", "tempfile", "shutil", "lzma", "asyncio", "subprocess"}
    ours = {"orlop.archive", "orlop.model.image", "orlop.store.blobs.ingest", "orlop.cli.commands.load"}
    modules = imported(env, "images")
    assert "orlop.service.listing.images" in modules
    assert not (heavy | ours) & modules


def test_the_default_root_is_the_users_own(env: dict[str, str], tmp_path: Path) -> None:
    del env["ORLOP_ROOT"]
    env |= {"XDG_DATA_HOME": str(tmp_path / "data")}
    subprocess.run([*ORLOP, "images"], env=env, check=True, capture_output=True, timeout=PATIENCE)
    assert (tmp_path / "data" / "orlop" / "metadata.db").exists()
