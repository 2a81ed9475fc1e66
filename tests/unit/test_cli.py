"""The command line, run inside this process on the archives of a real daemon, against what that daemon answered."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from tarfile import TarFile, TarInfo
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from orlop import open as open_store
from orlop.cli.main import run
from orlop.errors import OrlopError
from orlop.model.digest import ImageID
from orlop.model.reference import Reference
from orlop.service.image_service import ImageService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TINY = "example/tiny:1.0"
DUP = "example/dup:v1"
IMPORTED = "example/imported:latest"
COMMITTED = "registry.example.com:5000/team/committed:2.0"
IDS = {
    DUP: "sha256:bd7e2a76b6474d902af57469b65bd544e8ce30a47424ca5e16ed5b50dc4b780e",
    TINY: "sha256:8126e24b2462f21d011c30e61cf0a955bed4bdaf1731e35ef3add4927267f3b2",
    COMMITTED: "sha256:1adec67d00628f682ec85fb7cc173f174d92c27c8b2da5addfe55b8f96a4d57b",
    IMPORTED: "sha256:bd11a92cebbcf16ed62e7d7ee87ed807f13979eecbb7fa6c910527ca052ecaab",
}
CREATED = 1_795_500_275
DAEMON = "dockerd-20.10-overlay2"


@dataclass
class Result:
    """How one command ended."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


@pytest.fixture
def orlop(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Result]]:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for module in ("images", "history"):
        monkeypatch.setattr(f"orlop.cli.commands.{module}.time", SimpleNamespace(time=lambda: CREATED + 2 * 3600))
    logger = logging.getLogger("orlop")
    before = logger.level, logger.propagate, list(logger.handlers)

    def call(*arguments: object, stdin: bytes | None = None) -> Result:
        with monkeypatch.context() as patch:
            if stdin is not None:
                patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            status = run([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return Result(status, out, err.decode())

    yield call
    logger.level, logger.propagate, logger.handlers[:] = before
    # The C library keeps the zone that it was told.
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def loaded(orlop: Callable[..., Result], data: Path) -> Callable[..., Result]:
    for archive in ("multi", "dup"):
        assert orlop("load", "-i", data / DAEMON / f"{archive}.tar").status == 0
    return orlop


def answer(data: Path, name: str) -> Any:
    return json.loads((data / DAEMON / "api" / name).read_bytes())


def file_of(name: str) -> str:
    return name.replace("/", "_").replace(":", "_")


# load


@pytest.mark.parametrize("name", ["load-multi", "load-multi-again"])
def test_load_says_what_a_daemon_says(orlop: Callable[..., Result], data: Path, name: str) -> None:
    stream = (data / DAEMON / "api" / f"{name}.stream.json").read_text()
    expected = "".join(json.loads(line)["stream"] for line in stream.splitlines())
    result = orlop("load", "-i", data / DAEMON / "multi.tar")
    assert (result.status, result.text, result.err) == (0, expected, "")
    assert orlop("load", "--quiet", "--input", data / DAEMON / "multi.tar").text == expected


@pytest.mark.parametrize("arguments", [("load",), ("load", "-i", "-")])
def test_load_reads_the_standard_input(orlop: Callable[..., Result], data: Path, arguments: tuple[str, ...]) -> None:
    result = orlop(*arguments, stdin=(data / DAEMON / "dup-by-id.tar").read_bytes())
    assert (result.status, result.text) == (0, f"Loaded image ID: {IDS[DUP]}\n")


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 3), (b"junk" * 500, 3), (None, 4)], ids=["empty", "junk", "missing"]
)
def test_a_bad_archive_is_one_sentence(
    orlop: Callable[..., Result], tmp_path: Path, content: bytes | None, status: int
) -> None:
    if content is not None:
        (tmp_path / "bad.tar").write_bytes(content)
    result = orlop("load", "-i", tmp_path / "bad.tar")
    assert (result.status, result.out) == (status, b"")
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    assert orlop("images", "-q").out == b""


# images


def test_images_prints_dockers_table(loaded: Callable[..., Result]) -> None:
    result = loaded("images")
    assert result.lines[0] == "REPOSITORY                                 TAG       IMAGE ID       CREATED       SIZE"
    assert sorted(result.lines[1:]) == [
        "example/dup                                v1        bd7e2a76b647   2 hours ago   16B",
        "example/imported                           latest    bd11a92cebbc   2 hours ago   106B",
        "example/tiny                               1.0       8126e24b2462   2 hours ago   3.11kB",
        "registry.example.com:5000/team/committed   2.0       1adec67d0062   2 hours ago   3.11kB",
    ]


def test_images_of_an_empty_store_prints_the_headings(orlop: Callable[..., Result]) -> None:
    assert orlop("images").text == "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n"


def test_an_image_with_two_names_has_two_lines_also_with_quiet(loaded: Callable[..., Result]) -> None:
    loaded("tag", DUP, "again:1")
    assert sorted(loaded("images", "-q").lines) == sorted(image_id[7:19] for image_id in [*IDS.values(), IDS[DUP]])
    assert sorted(loaded("images", "-q", "--no-trunc").lines) == sorted([*IDS.values(), IDS[DUP]])


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("example/tiny", [TINY]),
        (TINY, [TINY]),
        ("docker.io/example/tiny:1.0", [TINY]),
        ("example/tiny:2", []),
        ("tiny", []),
        ("8126e24b2462", [TINY]),
        ("8126", [TINY]),
        (IDS[TINY], [TINY]),
        (IDS[TINY][7:], [TINY]),
        ("sha256:bd", [IMPORTED, DUP]),
    ],
)
def test_images_takes_a_repository_a_reference_or_an_id(
    loaded: Callable[..., Result], name: str, ids: list[str]
) -> None:
    assert loaded("images", "-q", "--no-trunc", name).lines == [IDS[found] for found in ids]


def test_an_untagged_parent_is_listed_only_with_all(loaded: Callable[..., Result]) -> None:
    loaded("rmi", "--no-prune", TINY)
    line = "<none> <none> 8126e24b2462"
    template = "{{.Repository}} {{.Tag}} {{.ID}}"
    assert line not in loaded("images", "--format", template).lines
    assert line in loaded("images", "-a", "--format", template).lines


def test_images_as_json_has_dockers_keys(loaded: Callable[..., Result]) -> None:
    result = loaded("images", "--format", "json", TINY)
    assert result.text == (
        '{"Containers":"N/A","CreatedAt":"2026-11-24 06:04:35 +0000 UTC","CreatedSince":"2 hours ago",'
        r'"Digest":"\u003cnone\u003e","ID":"8126e24b2462","Repository":"example/tiny","SharedSize":"N/A",'
        '"Size":"3.11kB","Tag":"1.0","UniqueSize":"N/A","VirtualSize":"3.108kB"}'
        "\n"
    )


def test_a_format_comes_before_quiet(loaded: Callable[..., Result]) -> None:
    assert loaded("images", "-q", "--format", "{{.Tag}}", TINY).text == "1.0\n"


def test_a_wrong_format_is_a_wrong_command_line(orlop: Callable[..., Result]) -> None:
    for command in (("images",), ("history", "x")):
        result = orlop(*command, "--format", "{{.Nope}}")
        assert (result.status, result.out) == (2, b"")
        assert "{{.ID}}" in result.err


def test_digests_have_lines_where_they_are_asked_for(loaded: Callable[..., Result], tmp_path: Path) -> None:
    digest = f"sha256:{'a' * 64}"
    with open_store(tmp_path / "root") as service:
        service.references.set(Reference.parse(f"example/dup@{digest}"), ImageID.parse(IDS[DUP]))
        service.references.set(Reference.parse(f"only/digest@{digest}"), ImageID.parse(IDS[IMPORTED]))
    template = "{{.Repository}} {{.Tag}}"
    assert loaded("images", "--format", template, "example/dup").text == "example/dup v1\n"
    assert loaded("images", "--format", template, "only/digest").text == "only/digest <none>\n"
    found = loaded("images", "--format", f"{template} {{{{.Digest}}}}", "example/dup")
    assert found.text == f"example/dup v1 {digest}\n"


# history


@pytest.mark.parametrize("name", [TINY, DUP, IMPORTED, COMMITTED])
def test_history_is_what_a_daemon_answers(loaded: Callable[..., Result], data: Path, name: str) -> None:
    steps = answer(data, f"history-{file_of(name)}.json")
    for step in steps:
        # That daemon built the images; an archive does not bring the intermediate ones.
        step["Id"] = step["Id"] if step["Id"] in IDS.values() else "<missing>"
    result = loaded("history", "--no-trunc", "-H=false", "--format", "json", name)
    assert [json.loads(line) for line in result.lines] == [
        {
            "Comment": step["Comment"],
            "CreatedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(step["Created"])),
            "CreatedBy": step["CreatedBy"].replace("\t", " "),
            "CreatedSince": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(step["Created"])),
            "ID": step["Id"],
            "Size": str(step["Size"]),
        }
        for step in steps
    ]
    assert loaded("history", "-q", "--no-trunc", name).lines == [step["Id"] for step in steps]


def test_history_prints_dockers_table(loaded: Callable[..., Result]) -> None:
    assert loaded("history", DUP).text == (
        "IMAGE          CREATED       CREATED BY                                      SIZE      COMMENT\n"
        "bd7e2a76b647   2 hours ago   /bin/sh -c #(nop) COPY file:bb2d3d705f098731…   6B        \n"
        "<missing>      2 hours ago   /bin/sh -c #(nop)  ENV A=1                      0B        \n"
        "<missing>      2 hours ago   /bin/sh -c #(nop) COPY file:2ace905827802a7a…   5B        \n"
        "<missing>      2 hours ago   /bin/sh -c #(nop) COPY file:2ace905827802a7a…   5B        \n"
    )


@pytest.mark.parametrize("flag", ["-H=false", "--human=false", "--human=0", "--no-human"])
def test_history_for_programs_has_times_and_bytes(loaded: Callable[..., Result], flag: str) -> None:
    assert loaded("history", flag, IMPORTED).text == (
        "IMAGE          CREATED AT             CREATED BY   SIZE      COMMENT\n"
        "bd11a92cebbc   2026-11-24T06:04:35Z                106       imported\n"
    )


def test_flags_take_a_value_behind_an_equals_sign(loaded: Callable[..., Result]) -> None:
    assert loaded("history", "--human=true", "-q=false", IMPORTED).lines == loaded("history", IMPORTED).lines
    assert loaded("images", "-q", "--no-trunc=true", TINY).lines == [IDS[TINY]]
    assert loaded("images", "--quiet=perhaps").status == 2
    assert loaded("images", "--", "--quiet=false").status == 3


def test_steps_without_a_time_have_no_age(orlop: Callable[..., Result], one_image: Callable[..., Path]) -> None:
    steps = [{"created_by": "made", "empty_layer": True}, {"created": "1970-01-01T00:00:00Z", "empty_layer": True}]
    orlop("load", "-i", one_image("old:1", steps))
    assert orlop("history", "--format", "{{.CreatedSince}} {{.CreatedAt}}", "old:1").lines == [
        "N/A 1970-01-01T00:00:00Z",
        "N/A 0001-01-01T00:00:00Z",
    ]
    listed = orlop("images", "--format", "<{{.CreatedSince}}> {{.CreatedAt}}")
    assert listed.text == "<> 0001-01-01 00:00:00 +0000 UTC\n"
    assert orlop("images").lines[1].split() == ["old", "1", orlop("images", "-q").lines[0], "N/A", "0B"]


@pytest.fixture
def one_image(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes an archive of an image without layers, with these steps."""

    def write(name: str, history: list[dict[str, object]]) -> Path:
        config = json.dumps({"rootfs": {"type": "layers"}, "history": history}).encode()
        key = f"{sha256(config).hexdigest()}.json"
        manifest = json.dumps([{"Config": key, "RepoTags": [name], "Layers": []}]).encode()
        with TarFile(tmp_path / "one.tar", "w") as archive:
            for member, content in ((key, config), ("manifest.json", manifest)):
                info = TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return tmp_path / "one.tar"

    return write


# inspect


@pytest.mark.parametrize("name", [TINY, DUP, IMPORTED, COMMITTED])
def test_inspect_is_what_a_daemon_answers(loaded: Callable[..., Result], data: Path, name: str) -> None:
    expected = answer(data, f"inspect-{file_of(name)}.json")
    for more in expected["RepoTags"]:
        loaded("tag", name, more)
    (got,) = json.loads(loaded("inspect", name).out)
    assert list(got) == list(expected)
    assert got.pop("GraphDriver") == {"Data": None, "Name": "orlop"}
    assert got.pop("Metadata").keys() == {"LastTagTime"}
    del expected["GraphDriver"], expected["Metadata"]
    if expected["Parent"] not in IDS.values():
        expected["Parent"] = ""
    assert json.dumps(got) == json.dumps(expected)


def test_inspect_prints_json_as_docker_does(orlop: Callable[..., Result], one_image: Callable[..., Path]) -> None:
    orlop("load", "-i", one_image("a:1", [{"comment": "<&>\u2028\b\x7f", "empty_layer": True}]))
    text = orlop("inspect", "a:1").text
    assert text.startswith('[\n    {\n        "Id": "sha256:')
    assert '        "RepoTags": [\n            "a:1"\n        ],\n        "RepoDigests": [],\n' in text
    assert '        "Comment": "<&>\\u2028\\u0008\x7f",\n        "Created": "0001-01-01T00:00:00Z",\n' in text
    assert '        "Config": null,\n' in text
    assert text.endswith('Z"\n        }\n    }\n]\n')


def test_inspect_prints_what_it_finds_and_names_what_it_does_not(loaded: Callable[..., Result]) -> None:
    result = loaded("inspect", TINY, "nosuch", IDS[DUP][:20], "UPPER")
    assert [image["Id"] for image in json.loads(result.out)] == [IDS[TINY], IDS[DUP]]
    first, second = result.err.splitlines()
    assert first == "Error: No such image: nosuch:latest"
    assert second.startswith("Error: ")
    assert result.status == 4
    result = loaded("inspect", "UPPER", "nosuch")
    assert (result.status, result.text) == (3, "[]\n")


def test_inspect_raw_is_the_config_byte_for_byte(loaded: Callable[..., Result]) -> None:
    assert f"sha256:{sha256(loaded('inspect', '--raw', TINY).out).hexdigest()}" == IDS[TINY]
    assert loaded("inspect", "--raw", TINY, DUP).status == 2
    assert loaded("inspect", "--raw", "nosuch").status == 4


# tag, rmi


def test_rmi_says_what_a_daemon_says(loaded: Callable[..., Result], data: Path) -> None:
    for name, file in ((TINY, "delete-tiny"), (COMMITTED, "delete-committed")):
        body = (data / DAEMON / "api" / f"{file}.http").read_text().rpartition("\n[")[2]
        expected = [f"{kind}: {text}" for line in json.loads(f"[{body}") for kind, text in line.items()]
        result = loaded("rmi", name)
        assert (result.status, result.lines) == (0, expected)


def test_rmi_goes_on_after_a_name_that_is_not_there(loaded: Callable[..., Result]) -> None:
    result = loaded("rmi", "nosuch", IMPORTED, "UPPER")
    assert result.lines[0] == f"Untagged: {IMPORTED}"
    assert result.err.splitlines()[0] == "Error: No such image: nosuch:latest"
    assert len(result.err.splitlines()) == 2
    assert result.status == 4


def test_rmi_by_force_ends_well_where_nothing_is(loaded: Callable[..., Result]) -> None:
    result = loaded("rmi", "-f", "nosuch", "nosuch@sha256:" + "0" * 64, "0123456789ab")
    assert (result.status, result.lines, len(result.err.splitlines())) == (0, [], 3)
    assert loaded("rmi", "-f", "nosuch", "UPPER").status == 3


def test_rmi_refuses_what_a_daemon_refuses(loaded: Callable[..., Result]) -> None:
    result = loaded("rmi", "-f", IDS[TINY])
    assert (result.status, result.err) == (
        5,
        "Error: conflict: unable to delete 8126e24b2462 (cannot be forced) - image has dependent child images\n",
    )
    loaded("tag", DUP, "other:1")
    result = loaded("rmi", IDS[DUP])
    assert result.status == 5
    assert result.err == (
        "Error: conflict: unable to delete bd7e2a76b647 (must be forced)"
        " - image is referenced in multiple repositories\n"
    )
    assert loaded("rmi", "--force", IDS[DUP]).lines[:3] == [
        f"Untagged: {DUP}",
        "Untagged: other:1",
        f"Deleted: {IDS[DUP]}",
    ]


def test_tag_is_quiet_and_gives_latest(loaded: Callable[..., Result]) -> None:
    result = loaded("tag", IDS[DUP][:19], "user/new")
    assert (result.status, result.out, result.err) == (0, b"", "")
    assert loaded("images", "-q", "--no-trunc", "user/new:latest").lines == [IDS[DUP]]
    assert loaded("tag", "nosuch", "x").status == 4
    assert loaded("tag", DUP, "UPPER").status == 3


# save


@pytest.mark.parametrize(("daemon", "form"), [(DAEMON, "docker-20.10"), ("dockerd-29-overlay2", "docker")])
def test_save_gives_the_archive_back(
    orlop: Callable[..., Result], data: Path, tmp_path: Path, daemon: str, form: str
) -> None:
    archive = (data / daemon / "tiny.tar").read_bytes()
    orlop("load", "-i", data / daemon / "tiny.tar")
    assert orlop("save", "--format", form, TINY).out == archive
    assert orlop("save", "--format", form, "-o", "-", TINY).out == archive
    result = orlop("save", "--format", form, "-o", tmp_path / "saved.tar", TINY)
    assert (result.status, result.out, result.err) == (0, b"", "")
    assert (tmp_path / "saved.tar").read_bytes() == archive


def test_docker_is_the_default_format(orlop: Callable[..., Result], data: Path) -> None:
    orlop("load", "-i", data / "dockerd-29-overlay2" / "tiny.tar")
    assert orlop("save", TINY).out == (data / "dockerd-29-overlay2" / "tiny.tar").read_bytes()
    assert orlop("save", "--format", "oci?", TINY).status == 2


def test_a_failed_save_leaves_no_file(loaded: Callable[..., Result], tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    assert loaded("save", "-o", place / "a.tar", DUP, "nosuch").status == 4
    for blob in (tmp_path / "root" / "blobs" / "sha256").iterdir():
        blob.chmod(0o600)
        blob.write_bytes(bytes(blob.stat().st_size))
    result = loaded("save", "-o", place / "a.tar", DUP)
    assert result.status == 6
    assert result.err.startswith("Error: ")
    assert list(place.iterdir()) == []


# The whole


@pytest.mark.parametrize("command", ["", "images", "load", "save", "history", "inspect", "tag", "rmi"])
def test_every_help_has_an_example(orlop: Callable[..., Result], command: str) -> None:
    result = orlop(*command.split(), "--help")
    assert result.status == 0
    assert f"orlop {command}" in result.text.partition("Example")[2]


def test_a_wrong_command_line_is_status_2(orlop: Callable[..., Result]) -> None:
    for arguments in ((), ("frob",), ("images", "--frob"), ("rmi",), ("tag", "x"), ("--root", "", "images")):
        result = orlop(*arguments)
        assert (result.status, result.out) == (2, b"")
        assert result.err


def test_the_root_comes_from_the_option_then_the_environment(loaded: Callable[..., Result], tmp_path: Path) -> None:
    assert loaded("--root", tmp_path / "other", "images", "-q").out == b""
    assert (tmp_path / "other" / "metadata.db").exists()
    assert len(loaded("images", "-q").lines) == len(IDS)


def test_a_root_that_cannot_be_made_is_one_sentence(orlop: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    result = orlop("--root", tmp_path / "file" / "root", "images")
    assert result.status
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1


def test_the_unexpected_is_one_sentence_and_with_debug_a_traceback(
    orlop: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("gone")

    monkeypatch.setattr(ImageService, "history", broken)
    result = orlop("history", "x")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "--debug" in result.err
    result = orlop("--debug", "history", "x")
    assert result.status == 1
    assert "Traceback" in result.err


def test_debug_shows_where_an_error_arose(orlop: Callable[..., Result]) -> None:
    result = orlop("--debug", "history", "nosuch")
    assert result.status == 4
    assert "Traceback" in result.err
    assert result.err.endswith("Error: No such image: nosuch:latest\n")


def test_warnings_go_to_the_standard_error(orlop: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def warning(*_: object, **__: object) -> list[object]:
        logging.getLogger("orlop.store").info("nothing")
        logging.getLogger("orlop.store").warning("skipping %s", "it")
        return []

    monkeypatch.setattr(ImageService, "history", warning)
    assert orlop("history", "-q", "x").err == "Warning: skipping it\n"
    assert orlop("--debug", "history", "-q", "x").err == "Info: nothing\nWarning: skipping it\n"


def test_an_error_of_the_system_is_explained(orlop: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/place")

    monkeypatch.setattr(ImageService, "history", broken)
    result = orlop("history", "x")
    assert result.status == 7
    assert "/place" in result.err


def test_every_class_of_error_ends_with_its_own_status(
    orlop: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def classes(root: type[OrlopError]) -> Iterator[type[OrlopError]]:
        yield root
        for child in root.__subclasses__():
            yield from classes(child)

    for error in classes(OrlopError):

        def broken(*_: object, error: type[OrlopError] = error, **__: object) -> None:
            raise error("so it is")

        monkeypatch.setattr(ImageService, "history", broken)
        result = orlop("history", "x")
        assert (result.status, result.err) == (error.exit_code, "Error: so it is\n")
