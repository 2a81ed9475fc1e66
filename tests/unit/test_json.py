"""What programs rely on: the outputs in JSON fit their published schemas, and these describe every key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from orlop.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOP = Path(__file__).parents[2]
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (TOP / "docs" / "schemas").glob("*.json")}
DATA = TOP / "tests" / "data"
ARCHIVES = [
    *(f"dockerd-{engine}/multi.tar" for engine in ("20.10-overlay2", "29-overlay2", "29-containerd")),
    "dockerd-20.10-overlay2/dup-by-id.tar",
    "other-tools/podman-oci.tar",
    "other-tools/legacy-v1-multi.tar",
    "other-tools/skopeo-oci-archive-zstd.tar",
]


def closed(schema: Any) -> Any:
    """Return a schema that forbids what it does not describe."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if "title" in schema and "properties" in schema:
        inner["additionalProperties"] = False
    return inner


@pytest.fixture
def lines(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[Any]]:
    monkeypatch.setenv("ORLOP_ROOT", str(tmp_path / "root"))

    def call(*arguments: object) -> list[Any]:
        assert run([str(argument) for argument in arguments]) == 0
        return [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]

    return call


def check(name: str, documents: list[Any]) -> None:
    validator = Draft202012Validator(closed(SCHEMAS[name]))
    assert documents
    for document in documents:
        validator.validate(document)


@pytest.mark.parametrize("archive", ARCHIVES)
def test_outputs_fit_their_schemas(lines: Callable[..., list[Any]], archive: str) -> None:
    loaded = lines("load", "-q", "-i", DATA / archive, "--format", "json")
    check("load", loaded)
    check("images", lines("images", "-a", "--digests", "--format", "json"))
    check("images", lines("images", "-a", "--no-trunc", "--format", "json"))
    check("images", lines("images", "--archive", DATA / archive, "--format", "json"))
    check("archive-ls", lines("archive", "ls", "--json", DATA / archive))
    ids = [image["ID"] for image in loaded]
    check("inspect", lines("inspect", "--format", "json", *ids))
    for image in ids:
        check("history", lines("history", "--format", "json", image))
        check("history", lines("history", "--human=false", "--no-trunc", "--format", "json", image))
    check("load", lines("load", "-q", "-i", DATA / archive, "--format", "json"))
    check("df", lines("df", "--format", "json"))
    check("df-verbose", lines("df", "-v", "--format", "json"))
    check("image-prune", lines("image", "prune", "-f", "--format", "json"))
    check("prune", lines("prune", "--dry-run", "-a", "--format", "json"))
    check("prune", lines("prune", "-f", "--format", "json"))
    for image in loaded:
        for name in image["Names"]:
            check("rmi", lines("rmi", "--format", "json", name))


def test_a_list_of_pins_fits(lines: Callable[..., list[Any]], capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    lines("load", "-q", "-i", DATA / ARCHIVES[0], "--format", "json")
    assert run(["pin", "example/tiny:1.0"]) == 0
    capsysbinary.readouterr()
    pinned = lines("pin", "--format", "json")
    check("images", pinned)
    assert [image["Repository"] for image in pinned] == ["example/tiny"]


def test_an_inspection_without_a_format_fits_too(
    lines: Callable[..., list[Any]], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    lines("load", "-q", "-i", DATA / ARCHIVES[0], "--format", "json")
    assert run(["inspect", "example/tiny:1.0", "example/imported"]) == 0
    check("inspect", [json.loads(capsysbinary.readouterr().out)])


def test_a_pruning_fits_and_is_what_it_was_without_a_format(lines: Callable[..., list[Any]]) -> None:
    lines("load", "-q", "-i", DATA / ARCHIVES[0], "--format", "json")
    (pruned,) = lines("image", "prune", "-af", "--format", "json")
    check("image-prune", [pruned])
    assert "example/tiny:1.0" in pruned["Untagged"]
    assert pruned["Reclaimed"] > 3000


def test_a_sync_fits(lines: Callable[..., list[Any]], tmp_path: Path) -> None:
    lines("load", "-q", "-i", DATA / ARCHIVES[0], "--format", "json")
    file = tmp_path / "sync.toml"
    file.write_text(f'[[sync]]\nsource = "store:example/tiny"\ntarget = "oci:{tmp_path}/layout"\n')
    for options in (["--dry-run"], []):
        check("sync", lines("sync", "--state", tmp_path / "state", "--format", "json", *options, file))


def test_a_name_that_moved_fits(lines: Callable[..., list[Any]]) -> None:
    lines("load", "-q", "-i", DATA / ARCHIVES[0], "--format", "json")
    moved = lines("load", "-q", "-i", DATA / ARCHIVES[1], "--format", "json")
    assert any(image["Moved"] for image in moved)
    check("load", moved)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_one_and_describes_what_it_names(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    for schema in objects(SCHEMAS[name]):
        assert set(schema["required"]) <= set(schema["properties"])


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Return every schema of an object that is titled."""
    if isinstance(schema, list):
        for item in schema:
            yield from objects(item)
    elif isinstance(schema, dict):
        if "title" in schema and "properties" in schema:
            yield schema
        for value in schema.values():
            yield from objects(value)


def test_every_schema_is_named_in_the_documentation() -> None:
    text = (TOP / "docs" / "json.md").read_text()
    for name in SCHEMAS:
        assert f"(schemas/{name}.json)" in text


def test_a_schema_refuses_what_does_not_fit() -> None:
    image = {"Untagged": "a:1", "Deleted": "sha256:no"}
    assert not Draft202012Validator(SCHEMAS["rmi"]).is_valid(image)
    assert Draft202012Validator(SCHEMAS["rmi"]).is_valid({"Untagged": "a:1", "Deleted": ""})
    assert not Draft202012Validator(SCHEMAS["rmi"]).is_valid({"Untagged": "a:1", "Deleted": f"sha256:{64 * '0'}"})
