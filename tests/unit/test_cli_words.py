"""docker's words on the command line: filters, formats, aliases, imports, pruning, completion."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from orlop.cli import signals
from orlop.cli.clicked import command_of
from orlop.cli.main import run
from orlop.cli.root import orlop as declared
from orlop.cli.show.terminal import harmless_text
from orlop.streams.tar_write import END, member_header, padding
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parents[1] / "data" / "dockerd-20.10-overlay2"
TINY, DUP, IMPORTED = "example/tiny:1.0", "example/dup:v1", "example/imported:latest"
COMMITTED = "registry.example.com:5000/team/committed:2.0"
TINY_ID = "sha256:8126e24b2462f21d011c30e61cf0a955bed4bdaf1731e35ef3add4927267f3b2"
ROOT = member_header("f", size=3, mode=0o644) + b"hi\n" + padding(3) + END


class Result(NamedTuple):
    """How one command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def orlop(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))

    def call(*arguments: object, stdin: bytes | None = None) -> Result:
        with monkeypatch.context() as patch:
            if stdin is not None:
                patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            status = run([str(argument) for argument in arguments])
        out, err = capsysbinary.readouterr()
        return Result(status, out.decode(), err.decode())

    return call


@pytest.fixture
def loaded(orlop: Callable[..., Result]) -> Callable[..., Result]:
    for archive in ("multi", "dup"):
        assert orlop("load", "-i", FOLDER / f"{archive}.tar").status == 0
    return orlop


# Lists


def test_images_are_filtered_by_docker_s_words(loaded: Callable[..., Result]) -> None:
    names = ("--format", "{{.Repository}}:{{.Tag}}")
    assert loaded("images", *names, "--filter", "label=x").out == f"{IMPORTED}\n"
    assert loaded("images", *names, "-f", "reference=*/tiny", "-f", "reference=*/dup").out == f"{DUP}\n{TINY}\n"
    assert loaded("images", *names, "ex*/[td]*:[1v]*").out == f"{DUP}\n{TINY}\n"


def test_a_filter_that_is_none_is_status_3(loaded: Callable[..., Result]) -> None:
    result = loaded("images", "--filter", "foo=bar")
    assert (result.status, result.out) == (3, "")
    assert result.err == (
        "Error: 'foo=bar' is not a filter; filters are NAME=VALUE, where NAME is one of before, dangling, label,"
        " reference, since, until\n"
    )


def test_archives_are_filtered_too(orlop: Callable[..., Result]) -> None:
    names = ("images", "--archive", FOLDER / "multi.tar", "--format", "{{.Repository}}")
    assert orlop(*names, "--filter", "label=x=y").out == "example/imported\n"
    assert orlop(*names, "--filter", f"since={TINY}", "ex*/*").out == "example/imported\n"
    assert orlop(*names, "--filter", "before=nope").status == 4


def test_digests_have_a_column(loaded: Callable[..., Result]) -> None:
    lines = loaded("images", "--digests", "example/tiny").out.splitlines()
    assert lines[0].split("  ")[0] == "REPOSITORY"
    assert lines[0].split() == ["REPOSITORY", "TAG", "DIGEST", "IMAGE", "ID", "CREATED", "SIZE"]
    assert lines[1].split()[:3] == ["example/tiny", "1.0", "<none>"]
    assert loaded("images", "--digests", "--format", "table {{.ID}}", TINY).out.split() == [
        "IMAGE", "ID", "DIGEST", "8126e24b2462", "<none>",
    ]  # fmt: skip


def test_lists_are_formatted_by_templates(loaded: Callable[..., Result]) -> None:
    form = "{{upper .Repository}}{{if ne .Tag `latest`}} {{.Tag}}{{end}}"
    assert loaded("images", "--format", form, "example/imported").out == "EXAMPLE/IMPORTED\n"
    assert loaded("history", "--format", "{{truncate .CreatedBy 3}}", TINY).out.splitlines()[0] == "/fs"


def test_a_template_that_is_none_is_status_2_and_one_that_does_not_fit_is_3(loaded: Callable[..., Result]) -> None:
    wrong = loaded("images", "--format", "{{.ID | nope}}")
    assert (wrong.status, wrong.out) == (2, "")
    assert "(character 9): there is no function 'nope'" in wrong.err
    misfit = loaded("images", "--format", "{{slice .Tag 99}}")
    assert (misfit.status, misfit.out) == (3, "")
    assert "slice 99" in misfit.err


# Single images


def test_inspect_takes_templates(loaded: Callable[..., Result]) -> None:
    result = loaded(
        "inspect", "--format", "{{.Id}} {{json .Config.Entrypoint}} {{len .RootFS.Layers}}", TINY, DUP, "no"
    )
    assert result.status == 4
    assert result.out.splitlines()[0] == f'{TINY_ID} ["/fs"] 5'
    assert len(result.out.splitlines()) == 2
    assert result.err == "Error: No such image: no:latest\n"


def test_inspect_as_json_is_an_object_a_line(loaded: Callable[..., Result]) -> None:
    lines = loaded("inspect", "-f", "json", TINY, DUP).out.splitlines()
    assert [json.loads(line) for line in lines] == json.loads(loaded("inspect", TINY, DUP).out)


def test_inspect_refuses_what_it_does_not_know(loaded: Callable[..., Result]) -> None:
    assert loaded("inspect", "-f", "{{template `x`}}", TINY).status == 2
    result = loaded("inspect", "-f", "{{.Nope}}", TINY)
    assert (result.status, result.out) == (3, "")
    assert "there is no field 'Nope'; there are Architecture," in result.err
    assert loaded("inspect", "--raw", "-f", "json", TINY).status == 2


# Verbs


def test_load_tells_programs_what_it_did(orlop: Callable[..., Result]) -> None:
    records = [
        json.loads(line) for line in orlop("load", "-i", FOLDER / "multi.tar", "--format", "json").out.splitlines()
    ]
    by_name = {record["Names"][0]: record for record in records}
    assert by_name[TINY] == {
        "ID": TINY_ID, "Names": [TINY], "Digests": [], "Platform": "linux/amd64", "Parent": "", "New": True,
        "Moved": [], "Format": "docker",
    }  # fmt: skip
    assert by_name[COMMITTED]["Parent"] == TINY_ID
    form = "{{.ID}}{{range .Names}} {{.}}{{end}} {{.New}}"
    assert f"{TINY_ID} {TINY} false" in orlop("load", "-i", FOLDER / "tiny.tar", "--format", form).out.splitlines()


def test_load_tells_programs_which_names_moved(loaded: Callable[..., Result]) -> None:
    loaded("tag", DUP, TINY)
    form = "{{range .Moved}}{{.Name}} {{.OldID}}{{end}}"
    dup = json.loads(loaded("inspect", "-f", "json", DUP).out)["Id"]
    assert loaded("load", "-i", FOLDER / "tiny.tar", "--format", form).out == f"{TINY} {dup}\n"


def test_rmi_tells_programs_what_went(loaded: Callable[..., Result]) -> None:
    records = [json.loads(line) for line in loaded("rmi", "--format", "json", DUP).out.splitlines()]
    assert records[0] == {"Untagged": DUP, "Deleted": ""}
    assert all(record["Deleted"].startswith("sha256:") for record in records[1:])
    assert loaded("rmi", "--format", "{{.Untagged}}", IMPORTED).out.splitlines()[0] == IMPORTED


@pytest.mark.parametrize("command", [("load", "-i", "x"), ("rmi", "x")])
def test_a_format_of_a_verb_has_the_fields_of_that_verb(orlop: Callable[..., Result], command: tuple[str, ...]) -> None:
    for form, why in (
        ("{{.Nope}}", "there is no field 'Nope'"),
        ("table", "neither 'json' nor"),
        ("{{.", "cannot be used"),
    ):
        result = orlop(*command, "--format", form)
        assert (result.status, result.out) == (2, "")
        assert why in result.err


def test_import_makes_an_image_and_prints_its_id(orlop: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(ROOT)
    change = ("-c", 'CMD ["/bin/sh"]', "--change", "ENV A=b")
    made = orlop("import", *change, "-m", "why", "--platform", "linux/arm64/v8", tmp_path / "root.tar", "a/b")
    assert made.status == 0
    (image,) = json.loads(orlop("inspect", "a/b").out)
    assert image["Id"] == made.out.strip()
    assert image["Config"]["Cmd"] == ["/bin/sh"]
    assert (image["Config"]["Env"], image["Comment"]) == (["A=b"], "why")
    assert (image["Architecture"], image["Variant"]) == ("arm64", "v8")


def test_import_reads_the_standard_input(orlop: Callable[..., Result]) -> None:
    made = orlop("image", "import", "-", stdin=ROOT)
    assert orlop("images", "-q", "--no-trunc").out == made.out


def test_an_import_that_fails_is_one_sentence(orlop: Callable[..., Result], tmp_path: Path) -> None:
    for arguments, status in (
        (("-c", "RUN x", "-"), 3),
        ((tmp_path / "nothing",), 4),
        (("http://127.0.0.1:1/x",), 1),
        (("-", "UPPER"), 3),
        (("--platform", "x", "-"), 2),
    ):
        result = orlop("import", *arguments, stdin=ROOT)
        assert (result.status, result.out) == (status, "")
        assert result.err.splitlines()[-1].startswith("Error: ")
    assert orlop("images", "-aq").out == ""


# Aliases, pruning


@pytest.mark.parametrize(
    ("alias", "command"),
    [
        (("image", "ls", "--no-trunc"), ("images", "--no-trunc")),
        (("image", "list", "-q"), ("images", "-q")),
        (("image", "inspect", TINY), ("inspect", TINY)),
        (("image", "history", "--human=false", TINY), ("history", "--human=false", TINY)),
        (("image", "save", "no"), ("save", "no")),
    ],
)
def test_docker_s_newer_names_are_the_same_commands(
    loaded: Callable[..., Result], alias: tuple[str, ...], command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("images", "history"):
        monkeypatch.setattr(f"orlop.cli.commands.{module}.time.time", lambda: 1_795_600_000)
    assert loaded(*alias) == loaded(*command)


def test_newer_names_change_the_store_too(orlop: Callable[..., Result]) -> None:
    assert orlop("image", "load", "-i", FOLDER / "tiny.tar").out == f"Loaded image: {TINY}\n"
    assert orlop("image", "tag", TINY, "a").status == 0
    assert orlop("image", "rm", "a").out == "Untagged: a:latest\n"
    assert orlop("image", "remove", TINY).out.startswith(f"Untagged: {TINY}\nDeleted: {TINY_ID}\n")


def test_prune_asks_and_does_nothing_without_a_yes(loaded: Callable[..., Result]) -> None:
    loaded("import", "-", stdin=ROOT)
    for answer in (b"", b"n\n", b"no\n"):
        result = loaded("image", "prune", stdin=answer)
        assert result.out == (
            "WARNING! This will remove all dangling images.\n"
            "Are you sure you want to continue? [y/N] Total reclaimed space: 0B\n"
        )
    assert len(loaded("images", "-q").out.splitlines()) == 5
    warning = "WARNING! This will remove all images without at least one container associated to them.\n"
    assert loaded("image", "prune", "-a", stdin=b"n\n").out.startswith(warning)


def test_prune_has_a_format_for_programs_only(loaded: Callable[..., Result]) -> None:
    assert loaded("image", "prune", "--format", "json").status == 2
    loaded("import", "-", stdin=ROOT)
    assert loaded("image", "prune", "-f", "--format", "{{len .Deleted}} {{.Reclaimed}}").out == "2 3\n"


def test_what_a_template_prints_is_harmless_to_a_terminal() -> None:
    assert harmless_text("a\x1b[1m\tb\u202e\n") == "a\ufffd[1m\tb\ufffd\n"


def test_prune_says_what_went(loaded: Callable[..., Result]) -> None:
    image = loaded("import", "-", stdin=ROOT).out.strip()
    lines = loaded("image", "prune", stdin=b"Y\n").out.splitlines()[1:]
    assert lines[0].endswith("Deleted Images:")
    assert lines[1] == f"deleted: {image}"
    assert lines[2].startswith("deleted: sha256:")
    assert lines[3:] == ["", "Total reclaimed space: 3B"]
    assert loaded("image", "prune", "-f").out == "Total reclaimed space: 0B\n"
    assert f"untagged: {IMPORTED}\n" in loaded("image", "prune", "-af", "--filter", "label=x").out
    assert loaded("image", "prune", "-f", "--filter", "before=x").status == 3


@pytest.mark.parametrize("group", [(), ("image",)])
def test_a_push_says_which_tag_is_missing(orlop: Callable[..., Result], group: tuple[str, ...]) -> None:
    result = orlop(*group, "push", "a/b:1")
    assert (result.status, result.out) == (4, "")
    assert (
        result.err == "Error: An image does not exist locally with the tag: a/b:1; `orlop images` lists what is there\n"
    )


@pytest.mark.parametrize(
    "command", ["import", "image prune", "image", "image ls", "completion", "pull", "push", "image rm"]
)
def test_every_help_has_an_example(orlop: Callable[..., Result], command: str) -> None:
    result = orlop(*command.split(), "--help")
    assert result.status == 0
    assert result.out.startswith(f"Usage: orlop {command} ")
    assert "orlop " in result.out.partition("Example: ")[2]


# Completion


@pytest.fixture(autouse=True)
def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the signals of this process as they are: it goes on when a command has ended."""
    monkeypatch.setattr(signals, "heed", lambda: None)


def complete(orlop: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    with monkeypatch.context() as patch:
        patch.setenv("_ORLOP_COMPLETE", "zsh_complete")
        patch.setenv("COMP_WORDS", " ".join(words))
        patch.setenv("COMP_CWORD", str(len(words) - 1 if words[-1] else len(words)))
        result = orlop()
    assert result.status == 0
    return result.out.splitlines()[1::3]


def test_names_of_images_are_completed(loaded: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete(loaded, monkeypatch, "orlop", "rmi", "example/t") == [TINY]
    assert complete(loaded, monkeypatch, "orlop", "rmi", "example/d") == [DUP]
    assert complete(loaded, monkeypatch, "orlop", "inspect", "8126") == [TINY_ID[7:19]]
    assert complete(loaded, monkeypatch, "orlop", "save", TINY, "example/t") == []
    assert complete(loaded, monkeypatch, "orlop", "image", "pr") == ["prune"]


@pytest.mark.parametrize("command", ["inspect", "history", "load", "save", "rmi", "import"])
def test_platforms_are_completed(orlop: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    assert "linux/arm64" in complete(orlop, monkeypatch, "orlop", command, "--platform", "linux/arm")
    assert "linux/amd64" not in complete(orlop, monkeypatch, "orlop", command, "--platform", "linux/arm")
    assert "--platform" in complete(orlop, monkeypatch, "orlop", command, "--plat")


def test_a_shell_that_asks_makes_no_store(
    orlop: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert complete(orlop, monkeypatch, "orlop", "rmi", "x") == []
    assert not (tmp_path / "root").exists()


def test_a_shell_that_is_not_known_gets_nothing(orlop: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_ORLOP_COMPLETE", "csh_complete")
    assert orlop() == Result(1, "", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_of_shells_are_printed(orlop: Callable[..., Result], shell: str) -> None:
    assert f"_ORLOP_COMPLETE={shell}_complete" in orlop("completion", shell).out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_of_shells_are_read_by_them(orlop: Callable[..., Result], shell: str, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(orlop("completion", shell).out)
    subprocess.run([need(shell), "-n", tmp_path / "script"], check=True)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("words", "answers"),
    [
        (("rmi", "example/t"), [TINY]),
        (("rmi", "example/tiny", ":"), ["1.0"]),
        (("rmi", "example/tiny", ":", "1"), ["1.0"]),
        (("rmi", "registry.example.com", ":", "5000/te"), ["5000/team/committed:2.0"]),
        (("image", "pr"), ["prune"]),
        (("pin", "example/t"), [TINY]),
        (("unpin", TINY, "example/d"), [DUP]),
        (("system", "pr"), ["prune"]),
        (("images", "--dig"), ["--digests"]),
    ],
)
def test_bash_completes_names_that_it_cuts_at_colons(
    loaded: Callable[..., Result], words: tuple[str, ...], answers: list[str], tmp_path: Path
) -> None:
    bash = need("bash")
    script = loaded("completion", "bash").out + '\nCOMP_WORDS=("$@")\nCOMP_CWORD=$(($# - 1))\n'
    program = tmp_path / "orlop"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m orlop "$@"\n')
    program.chmod(0o755)
    script += '_orlop_completion orlop\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "--norc", "-c", script, "bash", "orlop", *words],
        env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == answers


def test_every_command_has_a_help_for_each_option() -> None:
    from click import Context, Group, Option

    def walk(command: object, name: str) -> None:
        if isinstance(command, Group):
            context = Context(command)
            for inner in command.list_commands(context):
                walk(command.get_command(context, inner), f"{name} {inner}")
            return
        for parameter in command.params:  # type: ignore[attr-defined]
            assert not isinstance(parameter, Option) or parameter.help, f"{name} {parameter.name}"

    walk(command_of(declared), "orlop")


@pytest.mark.parametrize("group", [(), ("archive",), ("image",), ("store",), ("system",)])
def test_a_list_of_commands_shows_each_summary_whole(orlop, group, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = orlop(*group, "--help")
    rows = result.out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert rows
    assert [row for row in rows if not row.endswith(".") or row.endswith("...")] == []


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("imags",), "No such command 'imags'. (Did you mean 'images' or 'image'?)"),
        (("store", "chek"), "No such command 'chek'. (Did you mean 'check'?)"),
        (("frobnicate",), "No such command 'frobnicate'."),
        (("--imags",), "No such option --imags"),
    ],
)
def test_a_misspelt_command_is_answered_with_those_spelt_alike(orlop, words, answer):
    result = orlop(*words)
    assert result.status == 2
    found = result.err.splitlines()[-1]
    # Versions of click quote an option in different ways.
    assert found.replace("option: ", "option ").replace("option '--imags'.", "option --imags") == f"Error: {answer}"


LONG = 100_000 * "x"


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "words",
    [
        (f"images{LONG}",),
        ("store", f"check\x1b]0;title\x07{LONG}"),
        (f"--{LONG}\x1b[31m",),
        ("images", f"--{LONG}"),
        ("images", "-\x1b"),
        ("images", "a", "b", f"\x1b[31m{LONG}", "c\nd"),
        ("images", f"--all=\x1b{LONG}"),
        ("completion", f"\x1b[31m{LONG}"),
        ("completion",),
        ("tree", "--depth", f"\x1b\n{LONG}", "a"),
        ("serve", "--max-requests", f"\x1b\n{LONG}"),
        ("login", "--authfile", ""),
        ("pull", "--authfile", "", "localhost:1/a"),
        ("tags", "--authfile", "", "localhost:1/a"),
    ],
    ids=lambda words: " ".join(words).encode("ascii", "backslashreplace").decode()[:40],
)
def test_an_error_of_usage_repeats_no_more_of_a_word_than_people_read(orlop, words):
    result = orlop(*words, stdin=b"")
    assert result.status == 2
    *usage, blank, sentence = result.err.split("\n")[:-1]
    assert usage[0].startswith("Usage: orlop")
    assert blank == ""
    assert sentence.startswith("Error: ")
    assert len(result.err) < 1000
    assert result.err.replace("\n", "").isprintable()
