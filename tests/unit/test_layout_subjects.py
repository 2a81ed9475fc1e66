"""What an entry of a layout refers to, and which entries go with their subjects, in every kind of layout."""

from __future__ import annotations

import itertools
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import SyncPlan
from orlop.archive.oci_forget import forget_names
from orlop.model.attached import refers_to, staying_beside
from orlop.model.digest import Digest
from orlop.model.manifest import parse_manifest
from orlop.model.reference import Reference
from tests.unit.layouts import INDEX, MANIFEST, REF, Layout, packed, tagged, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orlop.model.manifest import Index, Manifest

A, B, C = (Digest.of(text) for text in (b"a", b"b", b"c"))
APP, OTHER = "docker.io/example/app:1", "docker.io/example/other:1"


def tag_of(digest: Digest | str, suffix: str = "sig") -> str:
    return f"{str(digest).replace(':', '-')}.{suffix}"


def document(subject: Digest | None) -> Manifest | Index:
    value: dict[str, Any] = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    if subject is not None:
        value["subject"] = {"mediaType": MANIFEST, "digest": str(subject), "size": 1}
    return parse_manifest(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("text", "subject", "expected"),
    [
        pytest.param("", None, set(), id="by itself"),
        pytest.param("", A, {A}, id="a subject"),
        pytest.param(tag_of(A), None, {A}, id="a tag"),
        pytest.param(tag_of(A), B, {A, B}, id="both"),
        pytest.param("1.0", A, set(), id="a tag of its own"),
        pytest.param("example.com/app:1", A, set(), id="a name"),
    ],
)
def test_an_entry_refers_to_what_its_tag_and_its_subject_say(text: str, subject: Digest | None, expected: set[Digest]):
    assert refers_to(text, lambda: document(subject)) == expected


def test_what_cannot_be_read_refers_to_what_its_tag_says():
    assert refers_to("", lambda: None) == frozenset()
    assert refers_to(tag_of(A), lambda: None) == {A}


@pytest.mark.parametrize(
    ("subjects", "held", "gone", "stays"),
    [
        pytest.param({A}, {A}, set(), True, id="held"),
        pytest.param({A}, set(), {A}, False, id="gone"),
        pytest.param({A}, {A}, {A}, True, id="gone here and held there"),
        pytest.param({A, B}, {B}, {A}, True, id="one of two is held"),
        pytest.param({A, B}, set(), {A}, False, id="one of two goes, and the other was never there"),
        pytest.param({A}, set(), {B}, True, id="never there"),
    ],
)
def test_an_entry_stays_with_one_that_it_refers_to(
    subjects: set[Digest], held: set[Digest], gone: set[Digest], *, stays: bool
):
    assert staying_beside([("one", C, frozenset(subjects))], held, gone) == ["one"] * stays


@pytest.mark.sampled(2)
@pytest.mark.parametrize("stays", [True, False])
def test_a_chain_of_any_length_stays_or_goes_whole(*, stays: bool):
    chain = [Digest.of(str(number).encode()) for number in range(20_000)]
    entries = [(number, own, frozenset({below})) for number, (below, own) in enumerate(itertools.pairwise(chain))]
    held, gone = ({chain[0]}, set()) if stays else (set(), {chain[0]})
    assert staying_beside(entries[::-1], held, gone) == ([number for number, _, _ in entries[::-1]] if stays else [])


# Layouts of two images, A and B, and what refers to them. The texts that are left once A is gone.


class Case:
    def __init__(self) -> None:
        self.layout = Layout()
        self.app = self.layout.image("app", **tagged(APP))
        self.other = self.layout.image("other", **tagged(OTHER))
        self.entries = [self.app, self.other]

    def attach(self, text: str, subject: str = "", content: str = "signature") -> str:
        """Add an artifact under a tag, with a subject; return its digest."""
        value: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": "example/signature",
            "config": self.layout.blob(b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [self.layout.blob(content.encode(), "example/signature")],
        }
        if subject:
            value["subject"] = {"mediaType": MANIFEST, "digest": subject, "size": 1}
        found = self.layout.document(value, MANIFEST, **(tagged(text) if text else {}))
        self.entries.append(found)
        return str(found["digest"])


def _two_tags(case: Case) -> list[str]:
    case.attach(tag_of(case.app["digest"]))
    case.attach(tag_of(case.other["digest"]))
    return [tag_of(case.other["digest"])]


def _tag_of_one_and_subject_of_another(case: Case) -> list[str]:
    tag = tag_of(case.app["digest"])
    case.attach(tag, case.other["digest"])
    return [tag]


def _chain(case: Case) -> list[str]:
    first = case.attach("", case.app["digest"], "first")
    second = case.attach("", first, "second")
    case.attach(tag_of(second), "", "third")
    return []


def _chain_of_the_other(case: Case) -> list[str]:
    second = case.attach("", case.attach("", case.other["digest"], "first"), "second")
    case.attach(tag_of(second), "", "third")
    return ["", "", tag_of(second)]


def _never_there(case: Case) -> list[str]:
    case.attach("", str(C), "subject")
    case.attach(tag_of(C), "", "tag")
    return ["", tag_of(C)]


def _called_by_a_tag(case: Case) -> list[str]:
    case.attach("sbom-1", case.app["digest"])
    return ["sbom-1"]


CASES = [_two_tags, _tag_of_one_and_subject_of_another, _chain, _chain_of_the_other, _never_there, _called_by_a_tag]


def texts(index: bytes) -> list[str]:
    said = [one.get("annotations", {}).get(REF, "") for one in json.loads(index)["manifests"]]
    return sorted(text for text in said if text not in {OTHER, "1"})


@pytest.mark.parametrize("make", CASES)
def test_a_name_that_goes_from_a_layout_takes_what_refers_to_it_alone(
    make: Callable[[Case], list[str]], tmp_path: Path
):
    case = Case()
    expected = make(case)
    folder = unpacked(case.layout.top(*case.entries).files, tmp_path / "layout")
    forget_names(str(folder), [Reference.parse(APP)])
    assert texts((folder / "index.json").read_bytes()) == sorted(expected)


@pytest.mark.parametrize("make", CASES)
def test_a_mirror_in_an_archive_keeps_what_one_in_a_directory_does(make: Callable[[Case], list[str]], tmp_path: Path):
    case = Case()
    expected = make(case)
    (tmp_path / "there.tar").write_bytes(packed(case.layout.top(*case.entries).files))
    source = Layout()
    unpacked(source.top(source.image("third", **tagged("docker.io/example/app:2"))).files, tmp_path / "from")
    plan = SyncPlan.parse(
        f"""[[sync]]
            source = "oci:{tmp_path}/from"
            target = "oci-archive:{tmp_path}/there.tar:docker.io/example/app"
            mirror = true
        """
    )
    with orlop.open(tmp_path / "root") as images:
        report = images.sync(plan, delete=True)
    assert [one.action.value for one in report.tags] == ["copied", "removed"]
    with tarfile.open(tmp_path / "there.tar") as tar:
        member = tar.extractfile("index.json")
        assert member is not None
        found = json.loads(member.read())
    found["manifests"] = [one for one in found["manifests"] if one.get("annotations", {}).get(REF) != "2"]
    assert texts(json.dumps(found).encode()) == sorted(expected)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def blobs_below(case: Case, top: dict[str, Any]) -> set[str]:
    key = "blobs/" + top["digest"].replace(":", "/")
    manifest = json.loads(case.layout.files[key])
    named = [manifest["config"], *manifest["layers"]]
    return {key, *("blobs/" + one["digest"].replace(":", "/") for one in named)}


def test_only_what_the_name_led_to_goes(tmp_path: Path):
    """Files of others in a layout are theirs: other programs remove them, whatever they are."""
    case = Case()
    others = {
        "blobs/sha256/README": b"",
        "blobs/sha256/.oci-put-blob123": b"",
        f"blobs/sha256/{C.hex}": b"nobody names it",
        f"blobs/blake3/{C.hex}": b"",
        "ingest/upload": b"",
        "manifest.json": b"[]",
    }
    layout = case.layout.top(*case.entries)
    folder = unpacked(layout.files | others, tmp_path / "layout")
    before = files_of(folder)
    forget_names(str(folder), [Reference.parse(APP)])
    assert before - files_of(folder) == blobs_below(case, case.app)


@pytest.mark.parametrize(
    "damage",
    ["a manifest that stays", "an index that stays", "a blob that stands for itself", "an algorithm that is not known"],
)
def test_no_blob_goes_where_what_stays_cannot_be_read(damage: str, tmp_path: Path):
    case = Case()
    entries = [*case.entries]
    if damage == "a blob that stands for itself":
        entries.append(case.layout.blob(b"<x/>", "application/xml"))
    elif damage == "an algorithm that is not known":
        entries.append({"mediaType": MANIFEST, "digest": "blake3:" + "0" * 64, "size": 3})
    elif damage == "an index that stays":
        entries.append(case.layout.blob(b'{"manifests": 1}', INDEX))
    else:
        entries.append(case.layout.blob(b"damaged", MANIFEST))
    folder = unpacked(case.layout.top(*entries).files, tmp_path / "layout")
    before = files_of(folder)
    forget_names(str(folder), [Reference.parse(APP)])
    assert files_of(folder) == before
    assert len(json.loads((folder / "index.json").read_bytes())["manifests"]) == len(entries) - 1


STRANGE = {"mediaType": INDEX, "digest": "blake3:" + "0" * 64, "size": 3}


def test_the_last_name_goes_from_beside_what_is_by_an_algorithm_that_is_not_known(tmp_path: Path):
    case = Case()
    folder = unpacked(case.layout.top(case.app, STRANGE).files, tmp_path / "layout")
    before = files_of(folder)
    for _ in range(2):
        forget_names(str(folder), [Reference.parse(APP)])
        assert json.loads((folder / "index.json").read_bytes())["manifests"] == [STRANGE]
        assert files_of(folder) == before


@pytest.mark.parametrize("is_strange", [True, False])
def test_a_signature_stays_where_nobody_can_tell_what_still_leads_to_its_image(tmp_path: Path, *, is_strange: bool):
    case = Case()
    platform = case.layout.image("platform")
    tag = tag_of(platform["digest"])
    case.entries = [case.layout.index(platform, **tagged(APP)), case.other]
    case.attach(tag)
    folder = unpacked(case.layout.top(*case.entries, *([STRANGE] if is_strange else [])).files, tmp_path / "layout")
    forget_names(str(folder), [Reference.parse(APP)])
    assert texts((folder / "index.json").read_bytes()) == (["", tag] if is_strange else [])


def test_what_is_absent_needs_nothing(tmp_path: Path):
    case = Case()
    absent = Layout().image("absent", platform=True)
    entries = [*case.entries, case.layout.index(absent), absent]
    folder = unpacked(case.layout.top(*entries).files, tmp_path / "layout")
    before = files_of(folder)
    forget_names(str(folder), [Reference.parse(APP)])
    assert before - files_of(folder) == blobs_below(case, case.app)
