"""What ``--format`` takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orlop.cli.declared import WrongUsage
from orlop.cli.show.field import Field
from orlop.cli.show.listing import parse_format, table
from orlop.errors import InvalidTemplate

if TYPE_CHECKING:
    from orlop.cli.show.listing import Template

FIELDS: dict[str, Field[tuple[str, str]]] = {
    "ID": Field("IMAGE ID", lambda row: row[0]),
    "Tag": Field("TAG", lambda row: row[1]),
}
DEFAULT: Template[tuple[str, str]] = table(FIELDS["ID"], FIELDS["Tag"])
ROWS = [("8126", "1.0"), ("bd11", "<none>")]


def printed(text: str, capsysbinary: pytest.CaptureFixture[bytes]) -> str:
    parse_format(text, FIELDS, DEFAULT).print(ROWS)
    return capsysbinary.readouterr().out.decode()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("{{.ID}}", "8126\nbd11\n"),
        ("{{ .Tag }} of {{.ID}}", "1.0 of 8126\n<none> of bd11\n"),
        (r"a\tb{{.ID}}\n", "a\tb8126\n\na\tbbd11\n\n"),
        ("table {{.ID}} x {{.Tag}}", "IMAGE ID x TAG\n8126 x 1.0\nbd11 x <none>\n"),
        (r"table {{.Tag}}\t{{.ID}}", "TAG       IMAGE ID\n1.0       8126\n<none>    bd11\n"),
        ("table", "IMAGE ID   TAG\n8126       1.0\nbd11       <none>\n"),
        ("漢 {{.ID}}", "漢 8126\n漢 bd11\n"),
    ],
)
def test_templates_of_plain_fields(text: str, lines: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert printed(text, capsysbinary) == lines


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("{{.ID | upper}}-{{json .Tag}}", '8126-"1.0"\nBD11-"<none>"\n'),
        ('{{if ne .Tag "<none>"}}{{.Tag}}{{end}}', "1.0\n\n"),
        ("x{{json .}}", 'x{"ID":"8126","Tag":"1.0"}\nx{"ID":"bd11","Tag":"\\u003cnone\\u003e"}\n'),
        (r"table {{upper .Tag}}\t{{slice .ID 0 2}}", "TAG       IM\n1.0       81\n<NONE>    bd\n"),
        (r"table {{truncate .Tag 1}}\t{{lower .ID}}", "TAG       IMAGE ID\n1         8126\n<         bd11\n"),
        ("{{/* nothing */}}{{.ID}}", "8126\nbd11\n"),
    ],
)
def test_templates_of_more_than_fields(text: str, lines: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert printed(text, capsysbinary) == lines


@pytest.mark.parametrize("text", ["{{.ID}} {{", "{{nope .ID}}", "{{if .ID}}", "{{.ID 1}}"])
def test_what_is_outside_the_subset_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(WrongUsage, match=r"the template cannot be used \(character \d+\)"):
        parse_format(text, FIELDS, DEFAULT)


def test_what_does_not_fit_a_row_is_refused() -> None:
    with pytest.raises(InvalidTemplate, match="slice 9 to 4 is outside"):
        parse_format("{{slice .ID 9}}", FIELDS, DEFAULT).print(ROWS)


@pytest.mark.parametrize("text", ["json", "{{json .}}", "{{ json . }}"])
def test_json_is_an_object_a_line_escaped_as_docker_does(text: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    lines = printed(text, capsysbinary).splitlines()
    assert lines == ['{"ID":"8126","Tag":"1.0"}', r'{"ID":"bd11","Tag":"\u003cnone\u003e"}']
    assert json.loads(lines[1]) == {"ID": "bd11", "Tag": "<none>"}


@pytest.mark.parametrize(
    "text",
    ["", "raw", "{{.Nope}}", "{{.ID | lower}} {{.Nope}}", "{{if .Nope}}x{{end}}", "{{range .ID}}{{$.Nope}}{{end}}"],
)
def test_anything_else_is_refused_with_the_fields_there_are(text: str) -> None:
    with pytest.raises(WrongUsage) as caught:
        parse_format(text, FIELDS, DEFAULT)
    assert "{{.ID}} and {{.Tag}}" in caught.value.args[0]
