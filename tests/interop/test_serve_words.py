"""Docker's command before `orlop serve` prints what it prints before Engine 20.10, line by line.

Where it does not, a table in `docs/engine-api.md` says which lines differ and why; a row that is not needed fails too.
"""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import tarfile
import threading
import time
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from shlex import quote, split
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.interop.programs import PATIENCE, Docker
from tests.interop.served import serve
from tests.interop.test_words import ARCHIVES, COMMITTED, IMPORTED, LISTS, ONE_IMAGE, TINY
from tests.needs import newest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.interop.programs import Daemon
    from tests.interop.served import Served

pytestmark = pytest.mark.interop

TABLE: Final = Path(__file__).parents[2] / "docs" / "engine-api.md"
_HEAD: Final = "| command | lines | why |"
_EVERYTHING: Final = ("-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
_UNORDERED: Final = re.compile(r"images|image (ls|list|prune -a)|system df -v")

OTHERS: Final = [
    "system df",
    "system df -v",
    "system df --format '{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}'",
    "system df --format '{{json .}}'",
    "system df -v --format '{{range .Images}}{{.ID}} {{.SharedSize}} {{.UniqueSize}} {{println .Containers}}{{end}}'",
    "version",
    "version --format '{{.Client.Version}} {{.Server.Os}}/{{.Server.Arch}} {{.Server.KernelVersion}}'",
    "info",
    "info --format '{{.Images}} {{.Containers}} {{.OSType}} {{.NCPU}} {{.MemTotal}}'",
    "ps -a",
    "network ls -q",
    "volume ls",
    "inspect nosuch",
    "image inspect nosuch",
    "image inspect example/tiny:1.0 nosuch",
    "image inspect sha256:8126",
    "image inspect 8126",
    "image inspect UPPER",
    "history nosuch",
    "save nosuch",
    "save -o /nowhere/at/all.tar example/tiny:1.0",
    "save example/tiny:1.0 nosuch",
    "tag nosuch a",
    "tag example/tiny:1.0 UPPER",
    "rmi nosuch",
    "rmi -f nosuch",
    "rmi 3b93ff10a529",
    "rmi",
    "image rm nosuch UPPER",
    "image prune -f",
    "image prune -f --filter label=nobody",
    "image prune -f --filter until=1h30",
    "image prune -f --filter foo=bar",
    "load -i /nowhere/at/all.tar",
    "events --since 1 --until 2",
    "events --since 1 --until 2 --filter type=image --filter foo=bar",
]
"""Asked of both with the same images."""


class Shown(NamedTuple):
    """What a command printed, with its status."""

    status: int
    out: str
    errors: str

    def lines(self) -> Counter[str]:
        """Return its lines."""
        return Counter([f"status {self.status}", *self.out.splitlines(), *self.errors.splitlines()])

    def without(self, patterns: list[str]) -> tuple[int, list[str], list[str]]:
        """Return it without the lines that fit a pattern."""
        kept = [
            [line for line in text.splitlines() if not any(fnmatchcase(line, pattern) for pattern in patterns)]
            for text in (self.out, self.errors)
        ]
        return self.status, kept[0], kept[1]


def differences() -> dict[str, list[str]]:
    """Read the table: by command, the patterns of the lines that differ."""
    table = TABLE.read_text().partition(_HEAD)[2].partition("\n\n")[0]
    found: dict[str, list[str]] = {}
    for _, command, lines in re.findall(r"^\| (`+)(.+?)\1 \| (.+?) \| [^|]+ \|$", table, flags=re.MULTILINE):
        found[command.replace("\\|", "|")] = re.findall(r"`(.+?)`", lines.replace("\\|", "|"))
    return found


def command_of(key: str) -> str:
    """Return the command of a step."""
    return key.rpartition(": ")[2] if re.match(r"[a-z ]+, \d+: ", key) else key


def faults(key: str, theirs: Shown, ours: Shown) -> list[str]:
    """Compare what was shown: return the lines that differ and are not listed, and those that are listed and do not."""
    patterns = differences().get(key, [])
    one, other = theirs.lines(), ours.lines()
    differing = [*(f"- {line}" for line in (one - other)), *(f"+ {line}" for line in (other - one))]
    unexplained = [line for line in differing if not any(fnmatchcase(line[2:], pattern) for pattern in patterns)]
    needless = [pattern for pattern in patterns if not any(fnmatchcase(line[2:], pattern) for line in differing)]
    # Engines list images of equal times by chance, and go through those to prune by chance.
    if not differing and not _UNORDERED.match(command_of(key)) and ours != theirs:
        # Lines that are listed, and are the same, may stand elsewhere.
        if patterns and theirs.without(patterns) == ours.without(patterns):
            needless = []
        else:
            unexplained = ["the lines come in another order"]
    return [
        *(f"`{key}` differs, which {TABLE.name} does not explain: {line}" for line in unexplained),
        *(f"`{key}` no longer differs so; take it out of {TABLE.name}: {pattern}" for pattern in needless),
    ]


def tell(found: list[str]) -> None:
    """Fail with what was found, if there is something."""
    if found:
        pytest.fail("\n".join(found), pytrace=False)


def shown(docker: Docker, command: str, stdin: bytes = b"") -> Shown:
    """Run a command of docker."""
    done = docker.run(*split(command), stdin=stdin)
    # The folders of a graph driver, which not every driver tells.
    out = re.sub(r'"Data": \{[^}]*\}', '"Data": null', done.stdout.decode())
    return Shown(done.returncode, out, done.stderr.decode())


# With the same images


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the same images as the engine."""
    with serve(tmp_path_factory.mktemp("words") / "root") as server:
        for archive in ARCHIVES:
            server.orlop("load", "-q", "-i", archive)
        yield server


@pytest.fixture(scope="module")
def everything(served: Served) -> list[str]:
    """Every image of the archives, as both must list them before a command is asked of them."""
    return sorted(served.docker().lines("images", *_EVERYTHING))


@pytest.fixture
def filled(daemon: Daemon, served: Served, everything: list[str]) -> tuple[Docker, Docker]:
    """Docker's command before the engine and before orlop; an earlier test may have removed images of either."""
    docker, own = daemon.docker, served.docker()
    for program in (docker, own):
        if sorted(program.lines("images", *_EVERYTHING)) != everything:
            program.wipe()
            for archive in ARCHIVES:
                program("load", "-q", "-i", archive)
            assert sorted(program.lines("images", *_EVERYTHING)) == everything
    return docker, own


def ask_both(filled: tuple[Docker, Docker], command: str, key: str) -> None:
    """Compare the answers to a command; an age may change between the two, so that one may ask again."""
    docker, own = filled
    theirs, ours = shown(docker, command), shown(own, command)
    if faults(key, theirs, ours):
        theirs, ours = shown(docker, command), shown(own, command)
    tell(faults(key, theirs, ours))


@pytest.mark.sampled(36)
@pytest.mark.parametrize("command", [*LISTS, *OTHERS])
def test_docker_prints_what_it_prints_before_an_engine(filled: tuple[Docker, Docker], command: str) -> None:
    ask_both(filled, command, command)


@pytest.mark.sampled(12)
@pytest.mark.parametrize("command", ONE_IMAGE)
def test_docker_tells_the_same_about_an_image(filled: tuple[Docker, Docker], command: str) -> None:
    for image in (TINY, COMMITTED, IMPORTED):
        ask_both(filled, command.replace("IMAGE", image), command)


# With changes: the same steps on two empty stores


class Step(NamedTuple):
    """A command that changes something."""

    command: str
    stdin: bytes = b""
    terminal: bool = False


def tar_of(**files: bytes) -> bytes:
    """Make a tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


MULTI, BY_ID, FAMILY = ARCHIVES
_MULTI, _BY_ID, _FAMILY = (quote(str(archive)) for archive in ARCHIVES)
STEPS: Final = {
    "loads": [
        Step(f"load -i {_MULTI}"),
        Step(f"load -i {_MULTI}"),
        Step(f"load -q -i {_BY_ID}"),
        Step("load", FAMILY.read_bytes()),
        Step("load -q", FAMILY.read_bytes()),
        Step("load", b"junk"),
        Step("load", b""),
        Step("load", MULTI.read_bytes()[:20000]),
    ],
    "a load on a terminal": [
        Step(f"load -i {_MULTI}", terminal=True),
        Step(f"load --input {_MULTI}", terminal=True),
    ],
    "names": [
        Step(f"load -q -i {_MULTI}"),
        Step(f"tag {TINY} other:1"),
        Step(f"tag {TINY} other"),
        Step("tag 8126e24b2462 registry.example.com:5000/x/y:z"),
        Step(f"tag {COMMITTED} other:1"),
        Step("image tag other:1 docker.io/library/other:2"),
        Step("images other"),
        Step("images --format '{{.Repository}}:{{.Tag}} {{.ID}}' --filter reference='other:*'"),
        Step("rmi other:1"),
        Step("rmi other"),
        Step(f"rmi {TINY} other:2 registry.example.com:5000/x/y:z"),
    ],
    "removals": [
        Step(f"load -q -i {_MULTI}"),
        Step(f"load -q -i {_FAMILY}"),
        Step(f"load -q -i {_BY_ID}"),
        Step(f"tag {IMPORTED} second:name"),
        Step("rmi 8126e24b2462"),
        Step("rmi bd11a92cebbc"),
        Step("rmi -f bd11a92cebbc"),
        Step(f"rmi nosuch {COMMITTED} neither"),
        Step("image rm --no-prune 3b93ff10a529"),
        Step(f"rmi -f {TINY}"),
        Step("images -aq"),
        Step("rmi bd7e2a76b647 bd7e2a76b647"),
        Step("images -a"),
        Step("system df"),
    ],
    "prunes": [
        Step(f"load -q -i {_MULTI}"),
        Step(f"load -q -i {_FAMILY}"),
        Step(f"load -q -i {_BY_ID}"),
        Step("image prune", b"n\n"),
        Step("image prune", b"y\n"),
        Step("image prune -f"),
        Step("image prune -af --filter label=x=z"),
        Step("image prune -af --filter label=x"),
        Step("image prune -af --filter until=2020-01-01"),
        Step("image prune -a", b"y\n"),
        Step("images -a"),
    ],
    "imports": [
        Step("import - plain", tar_of(f=b"hi\n")),
        Step("import -m 'why not' - with:message", tar_of(f=b"hi\n")),
        Step(
            "import -c 'ENV A=b' -c 'CMD [\"/f\"]' --change 'LABEL x=$A' -c 'EXPOSE 80' -c 'USER 1' - with:changes",
            tar_of(f=b"hi\n", g=b"ho\n"),
        ),
        Step("import -", tar_of(g=b"")),
        Step("import -c 'COPY a b' - bad", tar_of(g=b"")),
        Step("import - UPPER", tar_of(g=b"")),
        Step("import - bad", b"junk" * 1000),
        Step("inspect --format '{{json .Config}}' with:changes"),
        Step("history --format '{{.CreatedBy}}|{{.Size}}|{{.Comment}}' with:message"),
        Step("images --format '{{.Repository}}:{{.Tag}} {{.Size}}'"),
    ],
}


def show(docker: Docker, step: Step) -> Shown:
    """Run a step, on a terminal if it asks for one."""
    if not step.terminal:
        return shown(docker, step.command, step.stdin)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*docker.argv, *split(step.command)], env=docker.env, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    out = b""
    try:
        # A terminal whose last writer has gone ends with an error.
        while chunk := os.read(leader, 4096):
            out += chunk
    except OSError:
        pass
    finally:
        os.close(leader)
        status = process.wait(PATIENCE)
    return Shown(status, on_screen(out.decode()), "")


def on_screen(text: str) -> str:
    """Return the lines that stay on a terminal, as docker moves its cursor: up, erase the line, write, down."""
    lines, at = [""], 0
    for token in re.findall(r"\x1b\[\d*[A-Z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\n" or (token.startswith("\x1b") and token.endswith("B")):
            at += 1 if token == "\n" else int(token[2:-1] or 1)
            lines += [""] * (at + 1 - len(lines))
        elif token.startswith("\x1b") and token.endswith("A"):
            at = max(0, at - int(token[2:-1] or 1))
        elif token.startswith("\x1b") and token.endswith("K"):
            lines[at] = ""
        elif token != "\r":
            lines[at] += token
    return "\n".join(line for line in lines if line)


@pytest.mark.sampled(6)
@pytest.mark.parametrize("name", STEPS)
def test_docker_prints_the_same_while_it_changes_images(docker: Docker, tmp_path: Path, name: str) -> None:
    with serve(tmp_path / "root") as server:
        own = server.docker()
        made: tuple[list[str], list[str]] = ([], [])
        found = []
        for number, step in enumerate(STEPS[name], 1):
            answers = [show(program, step) for program in (docker, own)]
            # Imports are made at different times, so that they have different IDs.
            if step.command.startswith("import"):
                for answer, ids in zip(answers, made, strict=True):
                    ids.extend(re.findall(r"^sha256:[0-9a-f]{64}$", answer.out, re.MULTILINE))
            theirs, ours = (unnamed(answer, ids) for answer, ids in zip(answers, made, strict=True))
            found += faults(step_key(name, number, step), theirs, ours)
    tell(found)


def unnamed(answer: Shown, ids: list[str]) -> Shown:
    out = answer.out
    for number, image_id in enumerate(ids):
        out = out.replace(image_id, f"IMPORT{number}")
    return answer._replace(out=out)


def step_key(name: str, number: int, step: Step) -> str:
    """Return which step it is, in the words of the table."""
    command = step.command
    for archive in ARCHIVES:
        command = command.replace(quote(str(archive)), archive.name)
    command = re.sub(r"/\S+/(\w)", r"\1", command)
    return f"{name}, {number}: {command}"


def test_every_listed_difference_is_compared() -> None:
    steps = {step_key(name, number, step) for name, steps in STEPS.items() for number, step in enumerate(steps, 1)}
    assert set(differences()) <= {*LISTS, *OTHERS, *ONE_IMAGE, *steps, EVENTS}


# Newer commands


@pytest.mark.sampled(2)
def test_the_newest_command_on_this_machine_works_too(tmp_path: Path) -> None:
    # The first on the user's own PATH may be newer than the distribution's.
    program = newest("docker")
    with serve(tmp_path / "root") as server:
        docker = Docker(program, server.socket, tmp_path / "config")
        loaded = [f"Loaded image: {name}" for name in (COMMITTED, TINY, IMPORTED)]
        assert docker.lines("load", "-i", MULTI) == docker.lines("load", "-i", MULTI) == loaded
        (tiny,) = docker.json("image", "inspect", TINY)
        assert docker.lines("images", "-q", "--no-trunc", TINY) == [tiny["Id"]]
        assert [line["Repository"] for line in map(json.loads, docker.lines("image", "ls", "--format", "{{json .}}"))]
        assert len(docker.lines("history", "-q", TINY)) == len(server.orlop.lines("history", "-q", TINY))
        docker("tag", TINY, "other:1")
        saved = docker.run("save", "other:1").stdout
        assert docker.lines("rmi", "other:1") == ["Untagged: other:1"]
        assert docker.lines("load", "-q", "-i", BY_ID)[-1].startswith("Loaded image")
        assert docker.lines("load", "-q", "--input", write(tmp_path / "saved.tar", saved)) == ["Loaded image: other:1"]
        assert docker.lines("image", "prune", "-af")[-1].startswith("Total reclaimed space: 3.")
        usage = [json.loads(line) for line in docker.lines("system", "df", "--format", "{{json .}}")]
        assert (usage[0]["Type"], usage[0]["TotalCount"], usage[0]["Size"]) == ("Images", "0", "0B")
        assert docker.lines("events", "--since", "0", "--until", f"{time.time():.9f}", "--filter", "event=prune")
        assert docker("version", "--format", "{{.Server.Version}}").strip() == server.orlop("--version").split()[1]


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# Events


EVENTS: Final = "events --filter type=image"
LAST: Final = "the-last:1"


@pytest.mark.sampled(2)
def test_docker_hears_the_same_of_what_another_client_does(docker: Docker, tmp_path: Path) -> None:
    def work(program: Docker) -> None:
        program("load", "-q", "-i", MULTI)
        program("tag", TINY, "other:1")
        program("save", "-o", tmp_path / "saved.tar", TINY)
        program("rmi", "other:1")
        program("rmi", COMMITTED, "example/imported")
        program("load", "-q", "-i", BY_ID)
        program("image", "prune", "-f")
        program("tag", TINY, LAST)

    with serve(tmp_path / "root") as server:
        theirs, ours = (Shown(0, heard(program, work), "") for program in (docker, server.docker()))
    tell(faults(EVENTS, theirs, ours))


def heard(docker: Docker, work: Callable[[Docker], None]) -> str:
    """Do some work, and return what a client that listens meanwhile prints, without the times."""
    argv = [*docker.argv, *EVENTS.split(), "--since", f"{time.time():.9f}"]
    process = subprocess.Popen(argv, env=docker.env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    # A daemon that says nothing must not stop the test for ever.
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    try:
        work(docker)
        lines = []
        for line in process.stdout:
            lines.append(line.partition(" ")[2])
            if LAST in line:
                break
        return "".join(lines)
    finally:
        guard.cancel()
        process.kill()
        process.communicate()
