"""Templates: docker's recorded answers, and errors that say what is outside the subset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.cli.show.template.fill import _FUNCTIONS, Template
from orlop.cli.show.template.image import fill
from orlop.cli.show.template.values import Duration, Map, float_text, printf, quoted, text_of
from orlop.errors import InvalidTemplate
from orlop.service.listing.image_document import image_document

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parents[1] / "data" / "dockerd-20.10-overlay2"
RECORDED = [json.loads(line) for line in (FOLDER / "templates.jsonl").read_text().splitlines()]

#: What docker prints and orlop refuses: see docs/templates.md.
REFUSED = ('printf "%d" .Os', 'printf "%s" .Size', 'printf "%d %s" 1', 'printf "%d" 1 2', 'eq .Size "a"', "html", "%T")


@pytest.fixture(scope="module")
def documents() -> Mapping[str, dict[str, Any]]:
    with orlop.ArchiveService(FOLDER / "multi.tar") as archive:
        return {name: image_document(archive.inspect(name)) for name in ("example/tiny:1.0", "example/imported:latest")}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", RECORDED, ids=lambda case: f"{case['image']} {case['template']}")
def test_what_docker_prints_is_printed(case: dict[str, Any], documents: Mapping[str, dict[str, Any]]) -> None:
    template, document = case["template"], documents[case["image"]]
    if case["output"] is None or any(part in template for part in REFUSED):
        with pytest.raises(InvalidTemplate, match=r"^the template cannot be used \(character \d+\): "):
            fill(Template(template), document)
    else:
        assert fill(Template(template), document) + "\n" == case["output"]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{", r"character 1\): this {{ has no }}"),
        ("ab{{}}", r"character 5\): an action is empty"),
        ("{{ /* no comment */}}", r"character 4\): "),
        ("{{/* no comment */ }}", r"character 3\): "),
        ("{{-  /* no comment */}}", r"character 6\): "),
        ("{{if .A}}x", r"character 3\): this {{if}} has no {{end}}"),
        ("x{{end}}", r"character 4\): {{end}} ends or divides a block"),
        ("{{if .A}}{{else}}{{else}}{{end}}", "second {{else}}"),
        ("{{if .A}}{{else with .A}}{{end}}{{end}}", "'with' does not belong after {{else}}"),
        ('{{template "x"}}', r"character 3\): 'template' is outside the subset"),
        ("{{nope .A}}", "there is no function 'nope'; there are and, "),
        ("{{$x}}", r"the variable \$x has no value here"),
        ("{{if true}}{{$x := 1}}{{end}}{{$x}}", r"the variable \$x has no value here"),
        ("{{$ := 1}}", r"\$ is the root"),
        ("{{$a, $b := .A}}", "only {{range}} sets two variables"),
        ("{{.A | .B}}", "what follows a | must be a function"),
        ("{{.A .B}}", "only a function takes arguments"),
        ("{{(.A}}", "this parenthesis is not closed"),
        ("{{.A ? .B}}", r"character 6\): '\?' is outside the subset"),
        ("{{range .A}}{{break}}{{end}}", "'break' is outside the subset"),
        ('{{"\\q"}}', "the escape"),
        ("{{09}}", "09 is not a number"),
        ('{{"a""b"}}', "a space is missing"),
        ("{{.A |}}", "a value or a function is missing"),
        ("{{end .A}}", "{{end}} ends or divides"),
        ("{{if .A}}{{end .A}}", "'.A' does not belong after {{end}}"),
        ("{{if 1}}" * 200, "nested too deeply"),
    ],
)
def test_what_is_no_template_is_refused_with_a_place_and_a_reason(template: str, why: str) -> None:
    with pytest.raises(InvalidTemplate, match=why):
        Template(template)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{.B}}", "a list has no field 'B'"),
        ("{{len 3}}", "len takes a text, a list or a map, not an integer"),
        ("{{upper 3}}", "upper takes a text, not an integer"),
        ("{{upper}}", "upper takes another number of arguments than 0"),
        ("{{truncate `a` -1}}", "not negative"),
        ("{{pad `a` 999999999 1}}", "at most 100,000 spaces"),
        ("{{pad `a` 0 100001}}", "at most 100,000 spaces"),
        ("{{lt true false}}", "have no order"),
        ("{{lt 1 `a`}}", "have no order"),
        ("{{index .A 7}}", "index 7 is outside"),
        ("{{slice `abc` 2 1}}", "slice 2 to 1 is outside"),
        ("{{slice `abc` 1 2 3}}", "at most two numbers"),
        ("{{and}}", "and needs an argument"),
        ("{{join `a` `b`}}", "join takes a list of texts, not a text"),
        ("{{printf `%z` 1}}", "printf does not know '%z'"),
        ("{{range `abc`}}{{end}}", "goes over lists and maps, and this is a text"),
    ],
)
def test_what_does_not_fit_is_refused(template: str, why: str) -> None:
    with pytest.raises(InvalidTemplate, match=why):
        Template(template).fill(["a"] if ".B" in template else {"A": ["x"]})


#: Of an image without any of these, as docker 20.10 answers.
NILS = {
    '{{join nil ","}}': "",
    '{{join .Config.OnBuild ","}}': "",
    '{{join .Config.Labels.nosuch ","}}': "",
    '{{join .Config.Volumes ","}}': None,
    '{{join .Config.Labels ","}}': None,
    '{{join .Config.Healthcheck ","}}': None,
    '{{join .GraphDriver.Data ","}}': None,
    "{{index nil}}": None,
    "{{index .Config.OnBuild}}": "[]",
    "{{index .Config.OnBuild 0}}": None,
    '{{index .Config.Volumes "x"}}': "{}",
    '{{index .Config.Labels "x"}}': "",
    "{{index .Config.Volumes 0}}": None,
    "{{index .Config.Labels nil}}": None,
    '{{index .Config.Healthcheck "x"}}': None,
}


@pytest.mark.parametrize(("template", "answer"), NILS.items())
def test_join_and_index_take_a_nil_as_docker_does(template: str, answer: str | None) -> None:
    document = {
        "Config": {"OnBuild": None, "Volumes": None, "Labels": None},
        "GraphDriver": {"Data": None, "Name": "orlop"},
        "RootFS": {"Type": "layers"},
        "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        **dict.fromkeys(("RepoTags", "RepoDigests", "ContainerConfig")),
    }
    if answer is not None:
        assert fill(Template(template), document) == answer
        return
    with pytest.raises(InvalidTemplate):
        fill(Template(template), document)


def test_white_space_goes_where_a_dash_and_a_space_ask_for_it() -> None:
    assert Template("a {{- 1 }} b {{ 2 -}} c").fill(None) == "a1 b 2c"
    assert Template("a {{-1}} b").fill(None) == "a -1 b"
    assert Template("a {{- /* never {{seen}} */ -}} b").fill(None) == "ab"


def test_blocks_have_scopes_of_their_own() -> None:
    template = "{{$x := 1}}{{range $i, $e := .A}}{{$x = $i}}{{$x := 7}}{{end}}{{$x}}{{with .A}}{{len .}}{{$.B}}{{end}}"
    assert Template(template).fill({"A": ["p", "q"], "B": "b"}) == "12b"


def test_what_does_not_decide_is_not_looked_at() -> None:
    assert Template("{{or 1 (index .A 9)}} {{and 0 (index .A 9)}}").fill({"A": []}) == "1 0"


def test_headings_pass_through_functions_unchanged() -> None:
    template = Template("{{upper .ID}}\t{{truncate .Name 1}} {{json .ID}}")
    assert template.fill_heading({"ID": "image id", "Name": "NAME"}) == "image id\tNAME image id"


def test_fields_of_the_root_are_known_without_a_value() -> None:
    template = Template(
        "{{.A.B}}{{if .C}}{{.D}}{{end}}{{range .E}}{{.F}}{{$.G}}{{else}}{{.H}}{{end}}{{len (print .I)}}"
    )
    assert {name for name, _ in template.root_fields()} == set("ACDEGHI")


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (2_000_000, "2ms"),
        (5_000_000_000, "5s"),
        (90_000_000_000, "1m30s"),
        (3_600_500_000_000, "1h0m0.5s"),
        (-1_500_000_000, "-1.5s"),
        (-1_500, "-1.5µs"),
    ],
)
def test_durations_are_printed_as_go_prints_them(nanoseconds: int, text: str) -> None:
    assert text_of(Duration(nanoseconds)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        (1000.0, "1000"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1e-5, "1e-05"),
        (0.0001, "0.0001"),
    ],
)
def test_fractions_are_printed_as_go_prints_them(value: float, text: str) -> None:
    assert float_text(value) == text


@pytest.mark.parametrize(
    ("form", "values", "text"),
    [
        ("%-4s|%4s|%.2s", ("a", "b", "cde"), "a   |   b|cd"),
        ("%+d % d %04d %-4d|", (1, 2, -3, 4), "+1  2 -003 4   |"),
        ("%x %X %o %b %c %q", (255, 255, 8, 5, 65, 65), "ff FF 10 101 A 'A'"),
        ("%t %v %v", (True, False, None), "true false <nil>"),
        ("%.1f %g %e", (2.25, 2.0, 12345.678), "2.2 2 1.234568e+04"),
        ("%q %v", (["a", "b"], {"k": 1}), '["a" "b"] map[k:1]'),
        ("100%%", (), "100%"),
        ("%s", (Duration(1_000_000_000),), "1s"),
    ],
)
def test_printf_prints_as_go_does(form: str, values: tuple[object, ...], text: str) -> None:
    assert printf(form, values) == text


def test_texts_are_quoted_as_go_quotes_them() -> None:
    assert quoted('a"\\\n\x00é\u200b☃\U000e0001') == '"a\\"\\\\\\n\\x00é\\u200b☃\\U000e0001"'


def test_a_function_that_goes_wrong_by_itself_is_not_told_as_called_wrongly(monkeypatch):
    def broken(value: object) -> object:
        return value + 1  # type: ignore[operator]

    monkeypatch.setitem(_FUNCTIONS, "upper", broken)
    with pytest.raises(TypeError):
        Template("{{upper `a`}}").fill({})


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{range $x := .}}{{else}}{{$x}}{{end}}", "map[]"),
        ("{{range $key, $x := .}}{{else}}{{$key}} {{$x}}{{end}}", "map[] map[]"),
        ("{{$x := 1}}{{range $x = .}}{{end}}{{$x}}", "map[]"),
        ("a {{- /* one */ -}} b{{/* two */}} c", "ab c"),
    ],
)
def test_variables_of_a_range_over_nothing_and_comments(template: str, text: str) -> None:
    assert Template(template).fill(Map({})) == text
