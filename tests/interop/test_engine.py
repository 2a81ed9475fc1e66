"""Docker Engine 20.10 and orlop, side by side: they give the same answers, and each reads what the other wrote."""

from __future__ import annotations

import json
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.programs import PATIENCE, Orlop
from tests.needs import missing, need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.programs import Daemon, Docker

pytestmark = pytest.mark.interop

TINY = "example/tiny:1.0"
DUP = "example/dup:v1"
COMMITTED = "registry.example.com:5000/team/committed:2.0"
IMPORTED = "example/imported:latest"

FORMATS = pytest.mark.parametrize("form", ["docker", "docker-20.10"])
ARCHIVES = pytest.mark.parametrize(
    "archive",
    [
        f"{engine}/{name}.tar"
        for engine in ("dockerd-20.10-overlay2", "dockerd-29-overlay2")
        for name in ("tiny", "dup", "dup-by-id", "multi", "parent-child")
    ],
)


def references(program: Docker | Orlop) -> dict[str, str]:
    """Return every reference with its image ID."""
    lines = program.lines("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    return dict(line.split() for line in lines)


def manifest(archive: Path) -> list[dict[str, Any]]:
    """Return the manifest.json of an archive."""
    with tarfile.open(archive) as members:
        file = members.extractfile("manifest.json")
        assert file is not None
        answer: list[dict[str, Any]] = json.load(file)
    return answer


def config_ids(archive: Path) -> list[str]:
    """Return the image IDs that an archive's manifest.json names, in its order."""
    return ["sha256:" + entry["Config"].rpartition("/")[2].removesuffix(".json") for entry in manifest(archive)]


@pytest.fixture(scope="module")
def built(daemon: Daemon, context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of two images that this engine has built, as it saved it."""
    docker = daemon.docker
    docker.wipe()
    ids = {}
    for name, folder in ((TINY, "tiny"), (DUP, "dup")):
        docker("build", "--network=none", "--tag", name, context / folder, env={"DOCKER_BUILDKIT": "0"})
        ids[name] = docker.inspect(name)["Id"]
    archive = tmp_path_factory.mktemp("built") / "built.tar"
    docker("save", "--output", archive, TINY, DUP)
    assert sorted(config_ids(archive)) == sorted(ids.values())
    return archive


def load_in_both(docker: Docker, orlop: Orlop, archive: Path) -> None:
    """Load one archive into the engine and into orlop, and compare what they say about it."""
    assert orlop("load", "-i", archive) == docker("load", "-i", archive)


@pytest.mark.sampled(3)
def test_a_wiped_engine_has_nothing_left(docker: Docker, data: Path) -> None:
    docker("load", "-i", data / "dockerd-20.10-overlay2" / "tiny.tar")
    docker("create", "--volume", "/of-the-container", TINY)
    assert docker.lines("volume", "ls", "-q")
    docker.wipe()
    for words in (("ps", "-aq"), ("volume", "ls", "-q"), ("images", "-aq")):
        assert docker.lines(*words) == []


def test_what_docker_built_and_saved_loads_with_the_same_ids_and_tags(
    built: Path, docker: Docker, orlop: Orlop
) -> None:
    load_in_both(docker, orlop, built)
    assert references(orlop) == references(docker)
    assert references(orlop).keys() == {TINY, DUP}
    assert sorted(references(orlop).values()) == sorted(config_ids(built))


@pytest.mark.sampled(2)
def test_what_docker_built_is_saved_as_docker_saved_it(orlop: Orlop, built: Path, tmp_path: Path) -> None:
    orlop("load", "-i", built)
    names = [tag for entry in manifest(built) for tag in entry["RepoTags"]]
    orlop("save", "--format", "docker-20.10", "-o", tmp_path / "saved.tar", *names)
    with tarfile.open(built) as theirs, tarfile.open(tmp_path / "saved.tar") as ours:
        repeated = {member.name.partition("/")[0] for member in theirs if member.issym()}
        for expected, got in zip(theirs, ours, strict=True):
            for field in ("name", "type", "mode", "size", "linkname", "uname", "gname", "uid", "gid"):
                assert getattr(got, field) == getattr(expected, field), (expected.name, field)
            # Only beside the link of a repeated layer does the engine write the time of saving, and orlop the image's.
            if expected.name.partition("/")[0] not in repeated:
                assert got.mtime == expected.mtime, expected.name
            if expected.isfile():
                assert read(ours, got) == read(theirs, expected), expected.name


def read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Return a member's content."""
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


@pytest.mark.sampled(2)
@FORMATS
def test_docker_loads_what_orlop_saved(docker: Docker, orlop: Orlop, data: Path, tmp_path: Path, form: str) -> None:
    orlop("load", "-i", data / "dockerd-29-overlay2" / "multi.tar")
    orlop("load", "-i", data / "dockerd-29-overlay2" / "dup.tar")
    saved = tmp_path / "saved.tar"
    orlop("save", "--format", form, "-o", saved, COMMITTED, TINY, IMPORTED, DUP)
    said = docker("load", "-i", saved)
    assert said.splitlines() == [f"Loaded image: {name}" for name in (COMMITTED, TINY, IMPORTED, DUP)]
    assert references(docker) == references(orlop)
    assert docker.inspect(COMMITTED)["Parent"] == references(orlop)[TINY]


@pytest.mark.sampled(4)
@FORMATS
def test_docker_loads_an_image_that_orlop_saved_by_its_id(
    docker: Docker, orlop: Orlop, data: Path, tmp_path: Path, form: str
) -> None:
    orlop("load", "-i", data / "dockerd-20.10-overlay2" / "dup-by-id.tar")
    (image_id,) = orlop.lines("images", "-q", "--no-trunc")
    orlop("save", "--format", form, "-o", tmp_path / "saved.tar", image_id)
    assert docker("load", "-i", tmp_path / "saved.tar") == f"Loaded image ID: {image_id}\n"
    assert docker.lines("images", "-q", "--no-trunc") == [image_id]


@pytest.mark.sampled(32, daily=False)
@ARCHIVES
def test_what_an_archive_holds_is_told_as_docker_tells_it_and_survives_a_round_trip(
    daemon: Daemon, docker: Docker, orlop: Orlop, data: Path, tmp_path: Path, archive: str
) -> None:
    load_in_both(docker, orlop, data / archive)
    ids = config_ids(data / archive)
    check_lists(daemon, docker, orlop)
    check_histories(daemon, docker, orlop, ids)
    check_inspects(daemon, docker, orlop, ids)
    check_round_trip(docker, orlop, tmp_path, ids)


def check_round_trip(docker: Docker, orlop: Orlop, tmp_path: Path, ids: list[str]) -> None:
    """Check that images which the engine saves, and a second store loads, have the same configs."""
    docker("save", "-o", tmp_path / "theirs.tar", *ids)
    again = Orlop(tmp_path / "again")
    again("load", "-i", tmp_path / "theirs.tar")
    for image_id in ids:
        assert again("inspect", "--raw", image_id) == orlop("inspect", "--raw", image_id)


def pipe(command: str, docker: Docker, orlop: Orlop, *args: str | Path) -> None:
    """Run a real shell pipe: $0 is the client, $1 Python, $2 orlop's root, the rest arguments."""
    argv = [
        need("bash"),
        "-o",
        "pipefail",
        "-ec",
        command,
        docker.argv[0],
        orlop.argv[0],
        str(orlop.root),
        *map(str, args),
    ]
    done = subprocess.run(
        argv, env=docker.env, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def test_docker_save_pipes_into_orlop_load(docker: Docker, orlop: Orlop, data: Path) -> None:
    docker("load", "-i", data / "dockerd-29-overlay2" / "multi.tar")
    pipe('"$0" save "$3" "$4" | "$1" -m orlop --root "$2" load', docker, orlop, TINY, COMMITTED)
    theirs = references(docker)
    assert references(orlop) == {name: theirs[name] for name in (TINY, COMMITTED)}


@pytest.mark.sampled(2)
@FORMATS
def test_orlop_save_pipes_into_docker_load(docker: Docker, orlop: Orlop, data: Path, form: str) -> None:
    orlop("load", "-i", data / "dockerd-20.10-overlay2" / "multi.tar")
    command = '"$1" -m orlop --root "$2" save --format "$3" "$4" "$5" | "$0" load'
    pipe(command, docker, orlop, form, TINY, IMPORTED)
    ours = references(orlop)
    assert references(docker) == {name: ours[name] for name in (TINY, IMPORTED)}


def check_lists(daemon: Daemon, docker: Docker, orlop: Orlop) -> None:
    """Check that images are listed as docker lists them."""
    fields = ["Repository", "Tag", "ID", "CreatedAt", "Digest"]
    if daemon.driver == "overlay2":
        fields.append("Size")
    template = "|".join(f"{{{{.{field}}}}}" for field in fields)
    for options in ([], ["-a"], ["--no-trunc"], ["-a", "--no-trunc"]):
        ours = orlop.lines("images", *options, "--format", template)
        # Among images of one time the engine's order is that of a hash map.
        assert sorted(ours) == sorted(docker.lines("images", *options, "--format", template))
    for options in (["-q"], ["-aq"], ["-q", "--no-trunc"]):
        assert sorted(orlop.lines("images", *options)) == sorted(docker.lines("images", *options))


@pytest.mark.sampled(2)
def test_the_table_of_images_is_dockers(daemon: Daemon, docker: Docker, orlop: Orlop, data: Path) -> None:
    if daemon.driver != "overlay2":
        missing("this file system does not carry overlay2, and vfs counts sizes in another way")
    load_in_both(docker, orlop, data / "dockerd-29-overlay2" / "multi.tar")
    # The age may tick over between two commands: orlop's answer is the one before it or the one after it.
    before, ours, after = docker("images"), orlop("images"), docker("images")
    assert rows(ours) in (rows(before), rows(after))
    for name in ("example/tiny", "example/tiny:1.0", "example/tiny:none", COMMITTED):
        before, ours, after = docker("images", name), orlop("images", name), docker("images", name)
        assert rows(ours) in (rows(before), rows(after))


def rows(table: str) -> tuple[str, list[str]]:
    """Split a table into its heading and its rows, sorted: see above on the order."""
    heading, *lines = table.splitlines()
    return heading, sorted(lines)


def check_histories(daemon: Daemon, docker: Docker, orlop: Orlop, ids: list[str]) -> None:
    """Check that each history is what docker prints."""
    fields = ["ID", "CreatedAt", "CreatedBy", "Comment"]
    if daemon.driver == "overlay2":
        fields.append("Size")
    template = "|".join(f"{{{{.{field}}}}}" for field in fields)
    for image_id in ids:
        for options in ([], ["--no-trunc"]):
            ours = orlop.lines("history", *options, "--format", template, image_id)
            assert ours == docker.lines("history", *options, "--format", template, image_id)
        assert orlop.lines("history", "-q", image_id) == docker.lines("history", "-q", image_id)
        if daemon.driver == "overlay2":
            before, ours, after = (program.lines("history", image_id) for program in (docker, orlop, docker))
            assert ours in (before, after)


@pytest.mark.sampled(2)
def test_json_lines_have_dockers_keys(docker: Docker, orlop: Orlop, data: Path) -> None:
    load_in_both(docker, orlop, data / "dockerd-29-overlay2" / "multi.tar")
    for command in (["images"], ["history", TINY]):
        theirs = [json.loads(line) for line in docker.lines(*command, "--format", "{{json .}}")]
        ours = [json.loads(line) for line in orlop.lines(*command, "--format", "json")]
        assert len(ours) == len(theirs)
        for line in ours:
            # 20.10's client still prints the virtual size, which later ones dropped.
            assert {*line} | {"VirtualSize"} == {*theirs[0]} | {"VirtualSize"}


#: Where and when an engine keeps an image is its own affair.
PRIVATE = {"GraphDriver", "Metadata"}


def check_inspects(daemon: Daemon, docker: Docker, orlop: Orlop, ids: list[str]) -> None:
    """Check that what is inspected is what docker prints, but for where and when an engine keeps it."""
    ours = orlop.json("inspect", *ids)
    assert len(ours) == len(ids)
    for image_id, our in zip(ids, ours, strict=True):
        their = docker.inspect(image_id)
        sizes = set() if daemon.driver == "overlay2" else {"Size", "VirtualSize"}
        for key in their.keys() - PRIVATE - sizes:
            assert our[key] == their[key], key


@pytest.mark.sampled(2)
def test_remove_prints_the_same_lines(docker: Docker, orlop: Orlop, data: Path) -> None:
    load_in_both(docker, orlop, data / "dockerd-29-overlay2" / "multi.tar")
    load_in_both(docker, orlop, data / "dockerd-29-overlay2" / "dup.tar")
    for program in (docker, orlop):
        program("tag", TINY, "example/other:latest")
    tiny = references(docker)[TINY]
    removals: list[list[str]] = [
        [TINY],  # untags: another tag is left
        ["example/other"],  # untags, and keeps the image, because it has a child
        [COMMITTED],  # removes the child, and its parent with it
        ["-f", IMPORTED, DUP],
    ]
    for names in removals:
        assert orlop("rmi", *names) == docker("rmi", *names), names
        assert references(orlop) == references(docker)
    assert tiny not in orlop("images", "-aq", "--no-trunc")
    assert orlop.lines("images", "-aq") == docker.lines("images", "-aq") == []


@pytest.mark.sampled(3)
def test_remove_without_pruning_keeps_the_parent(docker: Docker, orlop: Orlop, data: Path) -> None:
    load_in_both(docker, orlop, data / "dockerd-29-overlay2" / "parent-child.tar")
    assert orlop("rmi", "--no-prune", TINY) == docker("rmi", "--no-prune", TINY)
    assert orlop.lines("images", "-aq") == docker.lines("images", "-aq") != []


@pytest.mark.sampled(3)
def test_remove_by_id_and_by_force(docker: Docker, orlop: Orlop, data: Path) -> None:
    load_in_both(docker, orlop, data / "dockerd-29-overlay2" / "dup.tar")
    for program in (docker, orlop):
        program("tag", DUP, "example/dup:also")
        program("tag", DUP, "other.example.com/dup:v1")
    image_id = references(docker)[DUP]
    for program in (docker, orlop):
        # An image with tags in several repositories goes by its ID only with force.
        assert program.run("rmi", image_id).returncode != 0
    assert references(orlop) == references(docker)
    assert sorted(orlop.lines("rmi", "-f", image_id)) == sorted(docker.lines("rmi", "-f", image_id))
    assert references(orlop) == references(docker) == {}


@pytest.mark.sampled(3)
def test_remove_refuses_what_docker_refuses(docker: Docker, orlop: Orlop, data: Path) -> None:
    load_in_both(docker, orlop, data / "dockerd-29-overlay2" / "parent-child.tar")
    parent = docker.inspect(TINY)["Parent"]
    for name in (parent, parent[7:19], "example/none", "example/none:1", "sha256:" + "0" * 64):
        for options in ([], ["-f"]):
            ours, theirs = orlop.run("rmi", *options, name), docker.run("rmi", *options, name)
            assert ours.stdout == theirs.stdout == b""
            # With force, docker's client is content with an image that is not there, and so is orlop.
            assert (ours.returncode == 0) == (theirs.returncode == 0), (name, options)
            assert options or ours.returncode != 0
    assert sorted(orlop.lines("images", "-aq")) == sorted(docker.lines("images", "-aq"))


def test_a_name_whose_first_part_no_host_can_have_goes_both_ways(
    docker: Docker, orlop: Orlop, data: Path, tmp_path: Path
) -> None:
    load_in_both(docker, orlop, data / "dockerd-20.10-overlay2" / "tiny.tar")
    for program in (docker, orlop):
        program("tag", TINY, "my_team.dev/app")
        program("tag", TINY, "my__team.dev/a/b:2")
    assert references(orlop) == references(docker)
    docker("save", "-o", str(tmp_path / "theirs.tar"), "my_team.dev/app", "my__team.dev/a/b:2")
    orlop("save", "-o", str(tmp_path / "ours.tar"), "my_team.dev/app", "my__team.dev/a/b:2")
    for program in (docker, orlop):
        program("rmi", "my_team.dev/app", "my__team.dev/a/b:2")
    docker("load", "-i", str(tmp_path / "ours.tar"))
    orlop("load", "-i", str(tmp_path / "theirs.tar"))
    assert references(orlop) == references(docker)
    assert "my_team.dev/app:latest" in references(orlop)


@pytest.mark.sampled(3)
def test_a_tag_moves_with_dockers_message(docker: Docker, orlop: Orlop, data: Path) -> None:
    load_in_both(docker, orlop, data / "dockerd-20.10-overlay2" / "tiny.tar")
    load_in_both(docker, orlop, data / "dockerd-29-overlay2" / "tiny.tar")
    assert references(orlop) == references(docker)
    assert sorted(orlop.lines("images", "-aq")) == sorted(docker.lines("images", "-aq"))
