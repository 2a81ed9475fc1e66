"""What is written here reads like English that an engineer would write, as far as words can show it.

The words themselves are in `tests/language.py`; a change of them is tried on wrong and right sentences below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.language import Text, faults, faults_of_fragment, of_file, of_page, of_python

TOP: Final = Path(__file__).parents[2]
_CODE: Final = ("src", "tests/unit", "tests", "benchmarks", "docs", "fuzz", ".")


def modules(folder: str) -> list[Path]:
    """Return the modules in a folder, without those of a folder that comes before it."""
    if folder == ".":
        return sorted(TOP.glob("*.py"))
    others = [TOP / one for one in (*_CODE[: _CODE.index(folder)], "tests/data")]
    return [path for path in sorted((TOP / folder).rglob("*.py")) if not {*others} & {*path.parents}]


PAGES: Final = [*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").rglob("*.md"))]
FRAGMENTS: Final = [path for path in sorted((TOP / "changes").glob("*.md")) if path.name != "README.md"]


@pytest.mark.parametrize("folder", _CODE)
def test_docstrings_comments_and_messages_are_plain(folder: str) -> None:
    assert modules(folder)
    assert [fault for path in modules(folder) for fault in of_file(path, TOP)] == []


def test_pages_are_plain() -> None:
    assert len(PAGES) > 40
    assert [fault for path in PAGES for fault in of_file(path, TOP)] == []


def test_fragments_of_the_change_log_are_plain() -> None:
    assert [fault for path in FRAGMENTS for fault in of_file(path, TOP)] == []


@pytest.mark.parametrize(
    "words",
    [
        "Give the rows of an image.",
        "Gives the rows of an image.",
        "Say whether it was there.",
        "Let images stay.",
        "Tell how far it is.",
        "Forget a name; say whether it was there.",
        "Forget a name, and give it back.",
        "Return the rows. Let others wait.",
    ],
)
def test_a_docstring_that_begins_with_a_weak_verb_is_found(words: str) -> None:
    module = f'def run():\n    """{words}\n\n    More.\n    """\n'
    assert [fault.split(":")[0] for fault in faults(of_python(module, messages=False))] == ["2"]
    assert len(list(faults(of_python(f'option("--x", help="{words}")', messages=False)))) == 1
    assert len(list(faults_of_fragment("+x.fixed.md", words))) == 1


@pytest.mark.parametrize(
    "words",
    [
        "'x' is no valid name",
        "these are no names",
        "what is no\n    member",
        "the file has not the digest that its name says",
        "a process who holds the lock",
        "a copy for who needs it",
        "Nothing is locked: who reads deletes nothing.",
        "return to what a tag leads",
    ],
)
def test_a_turn_of_phrase_is_found_wherever_it_stands(words: str) -> None:
    one_line = " ".join(words.split())
    assert len(list(faults(of_page(f"# A page\n\nSee: {words}.\n")))) == 1
    assert len(list(faults(of_python(f"x = 1  # {one_line}\n", messages=False)))) == 1
    assert len(list(faults(of_python(f'raise ValueError(f"{{x}}: {one_line}")\n', messages=True)))) == 1
    assert len(list(faults(of_python(f'"""A module: {words}."""\n', messages=False)))) == 1


def test_a_description_of_a_number_that_begins_as_a_comparison_is_found() -> None:
    assert len(list(faults(of_python('"""So many pieces wait at most."""\n', messages=False)))) == 1
    assert len(list(faults(of_python("MOST = 3  # So many pieces wait.\n", messages=False)))) == 1
    assert list(faults(of_page("Eight are read. So many requests need 8 MiB.\n"))) == []


@pytest.mark.parametrize(
    "words",
    [
        "Return what the archive says of a layer; it gives way to others.",
        "Discard what was written, and let go of the lock.",
        "There is no name, and it is no longer held.",
        "Who is it? A reader that asks who reads.",
        "Run `orlop say`, which ``is no command``.",
    ],
)
def test_plain_words_pass(words: str) -> None:
    assert list(faults([Text(1, words, acts=True)])) == []


def test_code_on_a_page_is_not_prose() -> None:
    page = "# A page\n\n```console\n$ this is no prose\n```\n\nText [here](is no target).\n\nThis is no good.\n"
    assert [fault.split(":")[0] for fault in faults(of_page(page))] == ["9"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fixed.md", "A fault is gone."),
        ("+Some_Word.fixed.md", "A fault is gone."),
        ("+word.mended.md", "A fault is gone."),
        ("+word.fixed.md", "a fault is gone."),
        ("+word.fixed.md", "A fault is gone"),
    ],
)
def test_a_fragment_that_is_named_or_written_wrongly_is_found(name: str, text: str) -> None:
    assert len(list(faults_of_fragment(name, text))) == 1
    assert list(faults_of_fragment("+a-word.security.md", "`orlop load` refuses it.")) == []
