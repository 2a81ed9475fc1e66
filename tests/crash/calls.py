"""The system calls of a forked process, each seen before it happens: let go on, failed, cut short, or its last moment.

The kernel stops the process at every call that changes something on disk, whoever makes it (Python, SQLite, any
thread), and asks this process what to do (``SECCOMP_RET_USER_NOTIF``, see ``seccomp_unotify(2)``). Nothing is replaced
by an imitation, and a fork costs a hundredth of starting Python under a tracer.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# What may change a disk, or what a disk promises, by its number on each kind of machine.
_NUMBERS: Final = {
    "x86_64": {
        "write": 1, "close": 3, "pwrite64": 18, "writev": 20, "msync": 26, "sendfile": 40, "flock": 73, "fsync": 74,
        "fdatasync": 75, "truncate": 76, "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85,
        "link": 86, "unlink": 87, "symlink": 88, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "mknod": 133,
        "sync": 162, "mkdirat": 258, "mknodat": 259, "fchownat": 260, "unlinkat": 263, "renameat": 264, "linkat": 265,
        "symlinkat": 266, "fchmodat": 268, "splice": 275, "sync_file_range": 277, "fallocate": 285, "pwritev": 296,
        "syncfs": 306, "renameat2": 316, "copy_file_range": 326, "pwritev2": 328, "openat2": 437,
        "open": 2, "openat": 257, "ioctl": 16, "seccomp": 317, "read": 0, "pread64": 17, "getdents64": 217,
    },
    "aarch64": {
        "ioctl": 29, "flock": 32, "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37,
        "renameat": 38, "truncate": 45, "ftruncate": 46, "fallocate": 47, "fchmod": 52, "fchmodat": 53, "fchownat": 54,
        "fchown": 55, "openat": 56, "close": 57, "write": 64, "writev": 66, "pwrite64": 68, "pwritev": 70,
        "sendfile": 71, "splice": 76, "sync": 81, "fsync": 82, "fdatasync": 83, "sync_file_range": 84, "msync": 227,
        "syncfs": 267, "renameat2": 276, "seccomp": 277, "copy_file_range": 285, "pwritev2": 287, "openat2": 437,
        "read": 63, "pread64": 67, "getdents64": 61,
    },
}  # fmt: skip
_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_PIDFD_OPEN: Final = 434
_PIDFD_GETFD: Final = 438

_FICLONE: Final = 0x40049409
_CHANGING: Final = os.O_CREAT | os.O_TRUNC

_BY_DESCRIPTOR: Final = frozenset((
    "write", "close", "pwrite64", "writev", "sendfile", "flock", "fsync", "fdatasync", "ftruncate", "fchmod", "fchown",
    "splice", "sync_file_range", "fallocate", "pwritev", "syncfs", "copy_file_range", "pwritev2", "ioctl",
    "read", "pread64", "getdents64",
))  # fmt: skip
# Where the path is among the arguments, and where the other one is; with the descriptor it is relative to before it.
_BY_PATH: Final = {
    "truncate": (0, None), "rename": (0, 1), "mkdir": (0, None), "rmdir": (0, None), "creat": (0, None),
    "link": (0, 1), "unlink": (0, None), "symlink": (1, None), "chmod": (0, None), "chown": (0, None),
    "mknod": (0, None), "open": (0, None), "mkdirat": (1, None), "mknodat": (1, None), "fchownat": (1, None),
    "unlinkat": (1, None), "renameat": (1, 3), "linkat": (1, 3), "symlinkat": (2, None), "fchmodat": (1, None),
    "renameat2": (1, 3), "openat2": (1, None), "openat": (1, None),
}  # fmt: skip

_READING: Final = ("read", "pread64", "getdents64")

_PLAIN: Final = {
    "renameat": "rename", "renameat2": "rename", "mkdirat": "mkdir", "linkat": "link", "symlinkat": "symlink",
    "fchmodat": "chmod", "fchownat": "chown", "mknodat": "mknod",
}  # fmt: skip
_AT_REMOVEDIR: Final = 0x200

_libc: Final = ctypes.CDLL(None, use_errno=True)
_NOTIFICATION: Final = struct.Struct("<QIIiIQ6Q")
_ANSWER: Final = struct.Struct("<QqiI")
_RECEIVE: Final = 0xC0502100
_SEND: Final = 0xC0182101
_GO_ON: Final = 1
_PATIENCE: Final = int(os.environ.get("ORLOP_PATIENCE", "60"))


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that is about to happen: ``path`` is what it is about, ``other`` the second name of a rename.

    ``name`` is that of the plain call, also where the file is found below a directory that is held (``renameat``).

    ``flags`` are those of an open or an unlink, ``position`` and ``size`` say which bytes a write touches, or what size
    a file is given; ``data`` is what a write writes, where that was asked for.
    """

    name: str
    path: str
    other: str = ""
    flags: int = 0
    mode: int = 0
    position: int = 0
    size: int = 0
    data: bytes = b""

    def __str__(self) -> str:
        where = f"{self.path} → {self.other}" if self.other else self.path
        return f"{self.name} {where}"


class Kill:
    """The process ends before the call, by SIGKILL."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The call does nothing and fails with a number of `errno`."""

    error: int


@dataclass(frozen=True, slots=True)
class Short:
    """A write takes only so many bytes."""

    size: int


Verdict = Kill | Fail | Short | None
"""What becomes of a call; nothing: it goes on."""


@dataclass(slots=True)
class Ended:
    """How a watched process ended: its exit ``status``, or the negative number of a signal; and what it had called."""

    status: int = 0
    calls: list[Call] = field(default_factory=list)


def plain(name: str, *, of_directory: bool = False) -> str:
    """Return the plain name of a call, whether it finds its file by a path or below a directory that is held."""
    return ("rmdir" if of_directory else "unlink") if name == "unlinkat" else _PLAIN.get(name, name)


def supported() -> bool:
    """Return whether this kind of machine is known."""
    return sys.platform == "linux" and platform.machine() in _NUMBERS


def watched(
    act: Callable[[], int],
    scope: Sequence[str],
    judge: Callable[[Call, int], Verdict] = lambda _call, _number: None,
    *,
    with_data: bool = False,
    closes: bool = False,
    reads: bool = False,
) -> Ended:
    """Run ``act`` in a forked child and ask ``judge`` about each call that touches something below ``scope``.

    Args:
        act: gives the exit status; it has a process of its own.
        scope: directories; what happens elsewhere is neither counted nor touched.
        judge: called with a call and its number, the first is 1; the child waits meanwhile.
        with_data: whether calls carry what is written.
        closes: whether a close is a call as well.
        reads: whether calls that read files and directories are calls as well.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            # A command's own ticks would interrupt calls that wait for an answer, which no disk lets happen.
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            listener = _install(closes=closes, reads=reads)
            socket.send_fds(theirs, [b"!"], [listener])
            os.close(listener)
            theirs.close()
            status = act()
        except BaseException:  # noqa: BLE001 - the child must not go on as its parent
            traceback.print_exc()
            status = 70
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    theirs.close()
    with ours:
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    ended = Ended()
    if descriptors:
        supervisor = _Supervisor(pid, descriptors[0], [f"{os.path.realpath(path)}/" for path in scope], with_data)
        try:
            supervisor.run(ended, judge)
        finally:
            os.close(descriptors[0])
    ended.status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return ended


def _install(*, closes: bool, reads: bool) -> int:
    """Make every call of this process that counts wait for an answer; return the descriptor on which they are told."""
    machine = platform.machine()
    numbers = dict(_NUMBERS[machine])
    seccomp, control = numbers.pop("seccomp"), numbers.pop("ioctl")
    opens = [(numbers.pop(name), place) for name, place in (("open", 1), ("openat", 2)) if name in numbers]
    for name in (*(() if closes else ("close",)), *(() if reads else _READING)):
        del numbers[name]
    load, equal, any_bit, give = 0x20, 0x15, 0x45, 0x06
    allow, notify = 0x7FFF0000, 0x7FC00000
    program = [(load, 0, 0, 4), (equal, 1, 0, _ARCHITECTURES[machine]), (give, 0, 0, allow), (load, 0, 0, 0)]
    for number in numbers.values():
        program += [(equal, 0, 1, number), (give, 0, 0, notify)]
    for number, argument in opens:
        program += [(equal, 0, 4, number), (load, 0, 0, 16 + 8 * argument), (any_bit, 0, 1, _CHANGING)]
        program += [(give, 0, 0, notify), (give, 0, 0, allow)]
    program += [(equal, 0, 4, control), (load, 0, 0, 24), (equal, 0, 1, _FICLONE), (give, 0, 0, notify)]
    program += [(give, 0, 0, allow), (give, 0, 0, allow)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in program))
    described = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code))
    if _libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS: the right of everybody to do this
        raise OSError(ctypes.get_errno(), "prctl")
    listener: int = _libc.syscall(seccomp, 1, 1 << 3, described)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


class _Supervisor:
    """Answers for one child."""

    def __init__(self, pid: int, listener: int, scope: list[str], with_data: bool) -> None:  # noqa: FBT001 - private
        self._pid = pid
        self._listener = listener
        self._scope = tuple(scope)
        self._with_data = with_data
        self._names = {number: name for name, number in _NUMBERS[platform.machine()].items()}

    def run(self, ended: Ended, judge: Callable[[Call, int], Verdict]) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        until, asked = time.monotonic() + _PATIENCE, False
        while True:
            events = poll.poll(1000)
            if asked and time.monotonic() > until:
                os.kill(self._pid, signal.SIGKILL)
                raise TimeoutError(f"the process does nothing; its last calls: {[*map(str, ended.calls[-5:])]}")
            if not events and time.monotonic() > until:
                # Who has registered this signal says where it waits.
                os.kill(self._pid, signal.SIGUSR1)
                until, asked = time.monotonic() + 2, True
            if not events:
                continue
            if not events[0][1] & select.POLLIN:
                return
            question = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(self._listener, _RECEIVE, question)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.EINTR}:
                    continue  # who asked is dead, or was interrupted
                raise
            until = until if asked else time.monotonic() + _PATIENCE
            identity, thread, _, number, _, _, *arguments = _NOTIFICATION.unpack(question)
            call = self._call(thread, self._names[number], arguments)
            verdict: Verdict = None
            if call is not None:
                verdict = judge(call, len(ended.calls) + 1)
                ended.calls.append(call)
            if isinstance(verdict, Kill):
                os.kill(self._pid, signal.SIGKILL)
                return
            self._answer(identity, verdict, call, arguments)

    def _answer(self, identity: int, verdict: Verdict, call: Call | None, arguments: list[int]) -> None:
        answer = _ANSWER.pack(identity, 0, 0, _GO_ON)
        if isinstance(verdict, Fail):
            answer = _ANSWER.pack(identity, 0, -verdict.error, 0)
        elif isinstance(verdict, Short) and call is not None:
            answer = _ANSWER.pack(identity, self._write_some(call, verdict.size, arguments), 0, 0)
        try:
            fcntl.ioctl(self._listener, _SEND, answer)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise

    def _write_some(self, call: Call, size: int, arguments: list[int]) -> int:
        """Write the first bytes in the child's place, to the same open file."""
        data = self._memory(arguments[1], min(size, call.size))
        process = os.pidfd_open(self._pid)
        copy = _libc.syscall(_PIDFD_GETFD, process, ctypes.c_int(arguments[0] & 0xFFFFFFFF), 0)
        os.close(process)
        if copy < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
        try:
            return os.pwrite(copy, data, call.position) if call.name == "pwrite64" else os.write(copy, data)
        finally:
            os.close(copy)

    def _call(self, thread: int, name: str, arguments: list[int]) -> Call | None:
        """Return what is about to happen, or nothing where it is elsewhere."""
        if name in {"sync", "msync"}:
            raise NotImplementedError(f"{name} is not known to the harness")
        if name in _BY_DESCRIPTOR:
            return self._call_on_file(thread, name, arguments)
        first, second = _BY_PATH[name]
        path = self._path(thread, arguments, first, at="at" in name)
        other = "" if second is None else self._path(thread, arguments, second, at="at" in name)
        if not self._within(path) and not self._within(other):
            return None
        flags = {"openat": 2, "open": 1, "unlinkat": 2, "renameat2": 4}.get(name)
        mode = {"openat": 3, "open": 2, "mkdir": 1, "mkdirat": 2, "chmod": 1, "fchmodat": 2}.get(name)
        return Call(
            plain(name, of_directory=name == "unlinkat" and bool(arguments[2] & _AT_REMOVEDIR)),
            path,
            other,
            flags=0 if flags is None else arguments[flags] & 0xFFFFFFFF,
            mode=0 if mode is None else arguments[mode] & 0o7777,
            size=arguments[1] if name == "truncate" else 0,
        )

    def _call_on_file(self, thread: int, name: str, arguments: list[int]) -> Call | None:
        number = arguments[0] & 0xFFFFFFFF
        if name in {"sendfile", "splice", "copy_file_range"}:
            number = arguments[{"sendfile": 0, "splice": 2, "copy_file_range": 2}[name]] & 0xFFFFFFFF
        try:
            path = str(Path(f"/proc/{thread}/fd/{number}").readlink())
        except OSError:
            return None  # a descriptor that is none
        if not self._within(path):
            return None
        position = size = mode = 0
        data = b""
        if name in {"write", "pwrite64"}:
            size = arguments[2]
            position = arguments[3] if name == "pwrite64" else self._position(thread, number)
            data = self._memory(arguments[1], size) if self._with_data else b""
        elif name == "pread64":
            size, position = arguments[2:4]
        elif name == "ftruncate":
            size = arguments[1]
        elif name == "fallocate":
            mode, position, size = arguments[1:4]
        elif name in {"fchmod", "flock"}:
            mode = arguments[1] & 0o7777
        return Call(name, path, mode=mode, position=position, size=size, data=data)

    def _within(self, path: str) -> bool:
        return path.startswith(self._scope) or f"{path}/" in self._scope

    @staticmethod
    def _position(thread: int, number: int) -> int:
        return int(Path(f"/proc/{thread}/fdinfo/{number}").read_text(encoding="ascii").split()[1])

    def _path(self, thread: int, arguments: list[int], place: int, *, at: bool) -> str:
        text = os.fsdecode(self._text(arguments[place]))
        if not text.startswith("/"):
            relative = ctypes.c_int(arguments[place - 1] & 0xFFFFFFFF).value if at else -100
            base = f"/proc/{thread}/cwd" if relative == -100 else f"/proc/{thread}/fd/{relative}"
            text = f"{Path(base).readlink()}/{text}"
        if text.startswith("/proc/self/fd/"):
            # A mode or an owner is given to a file by a descriptor that only names it.
            return str(Path(text.replace("self", str(thread), 1)).readlink())
        # Only the last part may be a link, which is then what the call is about.
        path = Path(os.path.normpath(text))
        return str(path.parent.resolve() / path.name)

    def _text(self, address: int) -> bytes:
        found = b""
        while b"\0" not in found:
            page = 4096 - (address + len(found)) % 4096
            found += self._memory(address + len(found), page)
        return found[: found.index(b"\0")]

    def _memory(self, address: int, size: int) -> bytes:
        with Path(f"/proc/{self._pid}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            return memory.read(size)
