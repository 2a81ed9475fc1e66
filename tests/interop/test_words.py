"""The words of docker, command for command: Engine 20.10's client and orlop print the same about the same images.

Where they do not, `docs/differences.md` says what differs and why; a difference that stands there and is none any more
fails too.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from tests.interop.programs import Orlop

if TYPE_CHECKING:
    from tests.interop.programs import Daemon, Docker

pytestmark = pytest.mark.interop

DIFFERENCES: Final = Path(__file__).parents[2] / "docs" / "differences.md"
TINY, DUP, IMPORTED = "example/tiny:1.0", "example/dup:v1", "example/imported:latest"
COMMITTED = "registry.example.com:5000/team/committed:2.0"

ARCHIVES: Final = [
    Path(__file__).parents[1] / "data" / "dockerd-20.10-overlay2" / f"{name}.tar"
    for name in ("multi", "dup-by-id", "parent-child")
]
_EVERYTHING: Final = ("-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")

LISTS: Final = [
    "images",
    "images -a",
    "images -q",
    "images -aq --no-trunc",
    "images --no-trunc",
    "images --digests",
    "images --digests --no-trunc",
    "images example/tiny",
    "images example/tiny:1.0",
    "images nobody/knows",
    "images 'example/*'",
    "images 'ex*/t*:1.?'",
    "images 'registry.example.com:5000/*/*'",
    "images '*'",
    "images 'example/[a-e]*'",
    "images 'example/[^a-e]*'",
    "images '[a'",
    "images --filter dangling=true",
    "images --filter dangling=false",
    "images --filter dangling=1",
    "images --filter dangling=x",
    "images --filter dangling=true -q",
    "images -a --filter dangling=true",
    "images --filter label=x",
    "images --filter label=x=y",
    "images --filter label=x=z",
    "images --filter label=",
    "images --filter label=com.example.unicode",
    "images --filter label=x --filter label=com.example.unicode",
    "images --filter reference=example/*",
    "images --filter reference=example/tiny",
    "images --filter reference=tiny",
    "images --filter reference=*/*:1.0",
    "images --filter reference=*",
    "images --filter reference=nobody --filter reference=*/dup",
    "images --filter reference=docker.io/example/tiny",
    "images --filter 'reference=['",
    "images --filter before=example/tiny:1.0",
    "images --filter since=example/tiny:1.0",
    "images --filter since=example/tiny:1.0 --filter label=x",
    "images --filter before=nobody",
    "images --filter until=2020-01-01",
    "images --filter foo=bar",
    "images --filter dangling",
    "images --filter dangling=true example/tiny",
    "images --format '{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}} {{.CreatedAt}} {{.CreatedSince}} {{.VirtualSize}}'",
    "images --format '{{.Containers}} {{.SharedSize}} {{.UniqueSize}} {{.Digest}}'",
    "images --format 'table {{.ID}}\\t{{.Tag}}'",
    "images --format 'table {{upper .Tag}}\\t{{slice .ID 0 2}} {{lower .Repository}}'",
    "images --format 'table {{.ID}}' --digests",
    "images --format '{{json .}}'",
    "images --format '{{json .Tag}} {{.Tag|json}}'",
    "images --format 'x{{json .}}'",
    "images --format '{{if eq .Tag \"1.0\"}}{{upper .Repository}}{{else}}{{.ID}}{{end}}'",
    'images --format \'{{split .Repository "/"}} {{join (split .Repository "/") "-"}} {{title .Repository}}\'',
    "images --format '{{truncate .ID 4}}|{{pad .Tag 2 3}}|{{len .Repository}}|{{printf \"%-12s|%5s\" .Tag .Size}}'",
    "images --format '{{/* nothing */ -}} x {{- .ID -}} y '",
    "images --format '{{.ID}}\\n{{.Tag}}'",
    "images --format '{{.Nope}}'",
    "images --format 'table {{.Nope}}'",
    "images --format '{{.ID'",
    "images --format '{{nope .ID}}'",
    "images --format '{{slice .ID 99}}'",
    "images --format raw",
    "images --format json",
    "images --format hello",
    "images --format '{{.}}'",
    "images -q --format '{{.Repository}}'",
    "image ls --filter label=x",
    "image list -q",
]
ONE_IMAGE: Final = [
    "history IMAGE",
    "history -q IMAGE",
    "history --no-trunc IMAGE",
    "history -H=false IMAGE",
    "history --human=false --no-trunc IMAGE",
    "history -q --no-trunc IMAGE",
    "history --format '{{.ID}}|{{.CreatedBy}}|{{.CreatedAt}}|{{.CreatedSince}}|{{.Size}}|{{.Comment}}' IMAGE",
    "history --format 'table {{.Size}}\\t{{.ID}}' IMAGE",
    "history --format '{{json .}}' IMAGE",
    "history --format '{{if eq .Size \"0B\"}}-{{else}}{{upper .Size}}{{end}} {{truncate .CreatedBy 9}}' IMAGE",
    "history --format '{{.Nope}}' IMAGE",
    "image history -q IMAGE",
    "inspect IMAGE",
    "image inspect IMAGE",
    "inspect --format json IMAGE",
]
"""For every image; `IMAGE` is its name."""

TEMPLATES: Final = [
    "{{.Id}}",
    "{{.ID}}",
    "{{.RepoTags}}",
    "{{.RepoDigests}}",
    "{{.Parent}}|{{.Comment}}|{{.DockerVersion}}|{{.Author}}",
    "{{.Created}}",
    "{{.Size}} {{.VirtualSize}}",
    "{{.Os}}/{{.Architecture}}{{.Variant}}",
    "{{.OsVersion}}|{{.Variant}}|",
    "{{.RootFS}}",
    "{{.RootFS.Layers}} {{.RootFS.Type}} {{.RootFS.BaseLayer}}",
    "{{json .RootFS}}",
    "{{len .RootFS.Layers}}",
    "{{.Config}}",
    "{{json .Config}}",
    "{{json .ContainerConfig}}",
    "{{.ContainerConfig.Cmd}}",
    "{{.Config.User}}",
    "{{.Config.Labels}}",
    "{{.Config.Labels.foo}}",
    '{{index .Config.Labels "foo"}}',
    '{{index .Config.Labels "x"}}',
    '{{index .Config.Labels "com.example.escape"}}',
    "{{json .Config.Labels}}",
    "{{.Config.ExposedPorts}}",
    "{{json .Config.ExposedPorts}}",
    "{{.Config.Volumes}}",
    "{{.Config.Healthcheck}}",
    "{{json .Config.Healthcheck}}",
    "{{.Config.StopTimeout}}|{{.Config.StopSignal}}",
    "{{.Config.Shell}} {{.Config.OnBuild}}",
    "{{json .Config.OnBuild}}",
    "{{.Config.Cmd}} {{.Config.Entrypoint}} {{json .Config.Cmd}}",
    "{{.Config.Env}}",
    '{{join .Config.Env ","}}',
    "{{range .Config.Env}}{{.}};{{end}}",
    "{{range $i, $e := .Config.Env}}{{$i}}={{$e}};{{else}}none{{end}}",
    "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{else}}none{{end}}",
    "{{range $k, $v := .Config.ExposedPorts}}{{$k}}={{$v}};{{else}}none{{end}}",
    "{{with .Config.Labels}}{{.}}{{else}}no{{end}}",
    "{{if .Config.Tty}}a{{else if .Config.Env}}b{{else}}c{{end}}",
    '{{if and (eq .Os "linux") (gt .Size 1)}}y{{end}}',
    "{{range $i, $l := .RootFS.Layers}}{{if $i}},{{end}}{{$l}}{{end}}",
    "{{slice .ID 7 19}}",
    "{{index .RepoTags 5}}",
    '{{printf "%s %d %q %v" .Os .Size .Architecture .Config.Env}}',
    '{{printf "%5d|%-5s|%05d|%x|%t" 3 "a" 4 "hi" true}}',
    '{{printf "%d" .Os}}',
    '{{printf "%d" 1 2}}',
    "{{eq .Size `a`}}",
    "{{print .Os .Architecture 1 2}}",
    "{{println .Os 1}}",
    "{{$x := .Os}}{{$x}} {{with .Config}}{{$.Os}}{{.User}}{{end}}",
    "{{.Os | upper | printf `%s-%s` `x`}}",
    "{{html `<a>`}}",
    "{{.Nope}}",
    "{{.Config.Nope}}",
    "{{.Config.Env.Foo}}",
    "{{range .Size}}x{{end}}",
    "{{.Os 1}}",
    "{{json .}}",
    "{{.}}",
    "{{.Metadata}}",
    "{{json .Metadata}}",
    "{{.GraphDriver.Name}}",
    "{{json .GraphDriver}}",
    "json",
    "{{",
    "{{end}}",
    "{{.Os",
]
"""Given to `inspect --format`."""


class Ended(NamedTuple):
    """What a command printed, if it did not fail."""

    success: bool
    out: str


def differences() -> set[str]:
    """Return the commands that `docs/differences.md` lists."""
    table = DIFFERENCES.read_text().partition("| command |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`+)(.+?)\1 \|", table, flags=re.MULTILINE)
    return {command.replace("\\|", "|") for _, command in rows}


def ran(program: Docker | Orlop, command: str) -> Ended:
    """Run a command; lists are sorted, since the engine's order of equal times is none."""
    done = program.run(*shlex.split(command))
    out = done.stdout.decode()
    if command.startswith(("images", "image ls", "image list")):
        out = "\n".join(sorted(out.splitlines()))
    # What was printed before an error is nothing to rely on.
    return Ended(True, out) if done.returncode == 0 else Ended(False, "")


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Orlop:
    """orlop with three images that have names, one without, and a parent of none."""
    orlop = Orlop(tmp_path_factory.mktemp("words") / "root")
    for archive in ARCHIVES:
        orlop("load", "-q", "-i", archive)
    return orlop


@pytest.fixture(scope="session")
def everything(loaded: Orlop) -> list[str]:
    """Every image of orlop, as the engine must list them before a command is asked of both."""
    return sorted(loaded.lines("images", *_EVERYTHING))


@pytest.fixture
def filled(daemon: Daemon, loaded: Orlop, everything: list[str]) -> tuple[Docker, Orlop]:
    """The engine and orlop with the same images; other tests may have emptied the engine."""
    docker = daemon.docker
    if sorted(docker.lines("images", *_EVERYTHING)) != everything:
        docker.wipe()
        for archive in ARCHIVES:
            docker("load", "-q", "-i", archive)
        assert sorted(docker.lines("images", *_EVERYTHING)) == everything
    return docker, loaded


def compare(filled: tuple[Docker, Orlop], command: str, key: str) -> None:
    """Compare a command's answers, unless its difference is listed; then there must be one."""
    docker, orlop = filled
    listed = key in differences()
    theirs, ours = ran(docker, command), ran(orlop, command)
    if theirs != ours and not listed:
        # An age may have changed between the two.
        theirs, ours = ran(docker, command), ran(orlop, command)
    if listed:
        assert theirs != ours, f"`{key}` no longer differs; take it out of {DIFFERENCES.name}"
    else:
        assert ours == theirs


@pytest.mark.sampled(18)
@pytest.mark.parametrize("command", LISTS)
def test_lists_are_docker_s(filled: tuple[Docker, Orlop], command: str) -> None:
    compare(filled, command, command)


@pytest.mark.sampled(12)
@pytest.mark.parametrize("command", ONE_IMAGE)
def test_an_image_is_told_as_docker_tells_it(filled: tuple[Docker, Orlop], command: str) -> None:
    for image in (TINY, COMMITTED, IMPORTED):
        compare(filled, command.replace("IMAGE", image), command)


@pytest.mark.sampled(36)
@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_are_filled_as_docker_fills_them(filled: tuple[Docker, Orlop], template: str) -> None:
    docker, orlop = filled
    command = f"inspect --format {shlex.quote(template)}"
    listed = f"inspect --format '{template}' IMAGE" in differences()
    images = (TINY, IMPORTED)
    theirs = [ran(docker, f"{command} {image}") for image in images]
    ours = [ran(orlop, f"{command} {image}") for image in images]
    if listed:
        assert theirs != ours, f"{template} no longer differs; take it out of {DIFFERENCES.name}"
    else:
        assert ours == theirs


def test_every_listed_difference_is_compared() -> None:
    templates = {f"inspect --format '{template}' IMAGE" for template in TEMPLATES}
    assert differences() <= {*LISTS, *ONE_IMAGE, *templates}


# The disk


def test_the_use_of_the_disk_has_docker_s_sizes(filled: tuple[Docker, Orlop]) -> None:
    fields = "Repository Tag ID CreatedAt CreatedSince Size VirtualSize SharedSize UniqueSize Containers Digest"
    form = "|".join(f"{{{{.{field}}}}}" for field in fields.split())
    images = f"system df -v --format '{{{{range .Images}}}}{form};{{{{end}}}}'"
    summary = "system df --format '{{.Type}} {{.TotalCount}} {{.Size}}'"

    def told(program: Docker | Orlop) -> tuple[list[str], str]:
        (_, listed), (_, lines) = ran(program, images), ran(program, summary)
        return sorted(listed.strip().split(";")), lines.splitlines()[0]

    docker, orlop = filled
    theirs, ours = told(docker), told(orlop)
    if theirs != ours:
        # An age may have changed between the two.
        theirs, ours = told(docker), told(orlop)
    assert ours == theirs
    assert len(theirs[0]) == 5


# Imports


IMPORTS: Final = [
    (),
    ("-m", "why <&> not"),
    ("-c", "ENV A=b", "-c", 'CMD ["/f"]', "-c", "LABEL x=$A", "-c", "EXPOSE 80", "-c", "VOLUME /v", "-c", "WORKDIR w"),
    ("-c", "HEALTHCHECK --interval=5s CMD true", "-c", "ONBUILD RUN x", "-c", "USER 1:2", "-c", "ENTRYPOINT e"),
]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("options", IMPORTS, ids=lambda options: " ".join(options) or "plain")
def test_an_import_has_docker_s_config_but_for_time_and_version(
    docker: Docker, orlop: Orlop, options: tuple[str, ...]
) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        member = tarfile.TarInfo("f")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"hi\n"))
    documents = []
    for program in (docker, orlop):
        program("import", *options, "-", "example/new", stdin=content.getvalue())
        saved = program.run("save", "example/new").stdout
        with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
            member_file = archive.extractfile("manifest.json")
            assert member_file is not None
            (entry,) = json.load(member_file)
            config = archive.extractfile(entry["Config"])
            assert config is not None
            document = json.load(config)
        del document["created"], document["history"][0]["created"]
        documents.append(document)
    theirs, ours = documents
    assert theirs.pop("docker_version").startswith("20.10")
    assert json.dumps(ours) == json.dumps(theirs)
