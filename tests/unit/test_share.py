"""What a wheel installs beside the package: a manual page for each command, and completion for shells."""

from __future__ import annotations

import subprocess
import sys

import pytest

from docs.generate_share import COMPLETIONS, SHARE, _text, manual, page
from orlop.cli.declared import DeclaredGroup
from orlop.cli.root import orlop
from tests.needs import need
from tests.quick import TOP

PAGES = sorted((SHARE / "man" / "man1").glob("*.1"))


def commands(group: DeclaredGroup, above: str) -> list[str]:
    """Return every command that help lists, by its words."""
    found = [above]
    for name in sorted(group.places.keys() - group.hidden):
        inner = group.find(name)
        words = f"{above} {name}"
        found += commands(inner, words) if isinstance(inner, DeclaredGroup) else [words]
    return found


def test_what_is_generated_is_up_to_date() -> None:
    script = TOP / "docs" / "generate_share.py"
    done = subprocess.run([sys.executable, script, "--check"], check=False)
    assert done.returncode == 0, "run `./dev nox -s generate`"


def test_every_command_has_a_page() -> None:
    wanted = commands(orlop, "orlop")
    assert sorted(manual()) == sorted(wanted)
    assert {path.stem for path in PAGES} == {page(words) for words in wanted}


def test_a_page_says_what_help_says() -> None:
    text = " ".join((SHARE / "man" / "man1" / "orlop-load.1").read_text().replace("\\-", "-").split())
    load = orlop.find("load")
    assert load is not None
    assert load.run.__doc__ is not None
    short = load.run.__doc__.partition("\n")[0].rstrip(".")
    for part in (
        f".SH NAME orlop-load - {short} ",
        ".SH SYNOPSIS \\fBorlop load\\fR [OPTIONS] ",
        f".SH DESCRIPTION {short}",
        ".TP \\fB-i, --input FILE\\fR ",
        ".SH SEE ALSO \\fBorlop\\fR(1)",
    ):
        assert part in text, part
    whole = (SHARE / "man" / "man1" / "orlop.1").read_text()
    assert ".TP\n\\fB130\\fR\ninterrupted by Ctrl\\-C\n" in whole
    assert "\\fBorlop\\-store\\fR(1)" in whole


def test_another_name_of_a_command_refers_to_its_page() -> None:
    assert (SHARE / "man" / "man1" / "orlop-image-ls.1").read_text() == ".so man1/orlop-images.1\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [(".a", "\\&.a"), ("'a'", "\\(aqa\\(aq"), ("a\\b", "a\\eb"), ("--x", "\\-\\-x"), ("~/a", "\\(ti/a")],
)
def test_no_text_is_taken_for_a_request(text: str, shown: str) -> None:
    assert _text(text) == shown


@pytest.mark.needs("groff")
def test_pages_are_shown_without_a_warning() -> None:
    argv = [need("groff"), "-man", "-ww", "-b", "-t", "-k", "-Tutf8", *(str(path) for path in PAGES)]
    done = subprocess.run(argv, cwd=SHARE / "man", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("User Commands") >= len(manual())


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_shells_read_their_completion_file(shell: str) -> None:
    done = subprocess.run([need(shell), "-n", SHARE / COMPLETIONS[shell]], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
