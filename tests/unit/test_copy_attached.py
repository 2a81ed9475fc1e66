"""What cosign 3, oras and BuildKit attached to an image goes everywhere with it, and is found there again."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import SyncPlan, errors
from orlop.archive.names import REF_NAME
from orlop.archive.oci_forget import forget_names
from orlop.model.attached import attached_tags, attached_to
from orlop.model.digest import Digest
from orlop.model.limits import DEFAULT_LIMITS
from orlop.model.reference import Reference
from orlop.transfer import members_source
from orlop.transfer.members_source import MembersSource
from tests.conftest import DATA
from tests.unit.layouts import Layout, named, unpacked
from tests.unit.pushed import placed, simple, top_digest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orlop.model.descriptor import Descriptor
    from tests.unit.pushed import Place

pytestmark = pytest.mark.sampled(3)

SIGNED = json.loads((DATA / "registry" / "signed.json").read_text())
"""An image with attestations in a registry without a list of referrers, signed with both kinds of signatures."""
ATTACHED = {tag: digest for tag, digest in SIGNED["tags"].items() if attached_to(tag) is not None}
IMAGE = SIGNED["tags"]["1"]
FALLBACK = IMAGE.replace(":", "-")
REFERRING = {one["digest"] for one in json.loads(SIGNED["manifests"][SIGNED["tags"][FALLBACK]]["raw"])["manifests"]}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with placed(tmp_path / "root", referrers="none") as found:
        fill(found, "signed")
        yield found


def fill(place: Place, repository: str) -> None:
    for digest, blob in SIGNED["blobs"].items():
        assert place.there.add_blob(repository, base64.b64decode(blob)) == digest
    for digest, one in SIGNED["manifests"].items():
        assert place.there.add_manifest(repository, one["raw"].encode(), one["type"]) == digest
    place.there.repository(repository).tags.update(SIGNED["tags"])


def copy(place: Place, source: str, target: str, **options: Any) -> Any:
    return place.images.copy(source, target, place.registries, referrers=True, all_platforms=True, **options)


def is_whole(place: Place, repository: str, tag: str = "1") -> bool:
    """Whether a repository has the image, and everything that was attached to it, where clients look for it."""
    found = place.there.repository(repository)
    listed = json.loads(found.manifests[found.tags[FALLBACK]][1])["manifests"]
    assert {tag: found.tags.get(tag) for tag in ATTACHED} == ATTACHED
    assert {one["digest"] for one in listed} == REFERRING
    return bool(found.tags[tag] == IMAGE)


def test_the_data_has_what_the_tests_are_about():
    assert sorted(tag.rpartition(".")[2] for tag in ATTACHED) == ["att", "sbom", "sig"]
    assert len(REFERRING) == 2


@pytest.mark.parametrize("form", ["oci:{}/copy", "oci-archive:{}/copy.tar"])
@pytest.mark.parametrize("name", ["", ":{}"])
def test_it_comes_back_from_a_layout(place: Place, tmp_path: Path, form: str, name: str):
    source = place.name("signed:1")
    between = form.format(tmp_path) + name.format(source)
    assert copy(place, f"docker://{source}", between).referrers == len(ATTACHED) + len(REFERRING)
    report = copy(place, between, f"docker://{place.name('back:1')}")
    assert report.referrers == len(ATTACHED) + len(REFERRING)
    assert is_whole(place, "back")


def test_what_may_refer_to_an_image_by_an_unknown_algorithm_is_told(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    source = place.name("signed:1")
    copy(place, f"docker://{source}", f"oci:{tmp_path}/one:{source}")
    index = tmp_path / "one" / "index.json"
    document = json.loads(index.read_bytes())
    strange = f"blake3:{'7' * 64}"
    document["manifests"].append(document["manifests"][0] | {"digest": strange, "annotations": {}})
    index.write_text(json.dumps(document))
    copy(place, f"oci:{tmp_path}/one:{source}", f"docker://{place.name('back:1')}")
    assert is_whole(place, "back")
    assert len([one for one in caplog.records if strange in one.getMessage()]) == 1


def test_it_goes_from_layout_to_layout(place: Place, tmp_path: Path):
    copy(place, f"docker://{place.name('signed:1')}", f"oci:{tmp_path}/one")
    copy(place, f"oci:{tmp_path}/one", f"oci-archive:{tmp_path}/two.tar:example.com/app:7")
    copy(place, f"oci-archive:{tmp_path}/two.tar", f"docker://{place.name('back')}")
    assert is_whole(place, "back", "7")


def test_a_layout_shows_the_tags_by_which_other_programs_find_it(place: Place, tmp_path: Path):
    copy(place, f"docker://{place.name('signed:1')}", f"oci:{tmp_path}/one")
    entries = json.loads((tmp_path / "one" / "index.json").read_text())["manifests"]
    said = {(one.get("annotations") or {}).get("org.opencontainers.image.ref.name"): one["digest"] for one in entries}
    assert {tag: said.get(tag) for tag in ATTACHED} == ATTACHED


@pytest.mark.parametrize("how", ["copy", "push", "pulled", "loaded", "saved"])
def test_it_goes_through_a_store(place: Place, tmp_path: Path, how: str):
    source, target = place.name("signed:1"), place.name("back:1")
    if how == "loaded":
        copy(place, f"docker://{source}", f"oci:{tmp_path}/one:{source}")
        place.images.load(tmp_path / "one")
    elif how == "pulled":
        place.images.pull(source, place.registries, platform="all", referrers=True, exact=True)
    else:
        copy(place, f"docker://{source}", f"store:{source}")
    if how == "push":
        place.images.tag(source, target)
        place.images.push([target], place.registries, referrers=True, platform="all")
    elif how == "saved":
        place.images.save([source], tmp_path / "saved.tar", format="oci", platform="all")
        copy(place, f"oci-archive:{tmp_path}/saved.tar", f"docker://{target}")
    else:
        copy(place, f"store:{source}", f"docker://{target}")
    assert is_whole(place, "back")


@pytest.mark.parametrize("form", ["oci:{}/copy", "oci-archive:{}/copy.tar"])
def test_it_is_synced_into_a_layout_and_out_again(place: Place, tmp_path: Path, form: str):
    plans = [
        SyncPlan.parse(f'[[sync]]\nsource = "{source}"\ntarget = "{target}"\ntags = ["1"]\nreferrers = true\n')
        for source, target in (
            (f"docker://{place.name('signed')}", form.format(tmp_path)),
            (form.format(tmp_path), f"docker://{place.name('back')}"),
        )
    ]
    for plan in plans:
        report = place.images.sync(plan, place.registries)
        assert not [one.error for one in report.tags if one.error is not None]
    assert is_whole(place, "back")


@pytest.mark.parametrize("form", ["oci:{}/copy", "sync:{}/copy.tar"])
def test_a_second_signature_takes_the_place_of_the_first(place: Place, tmp_path: Path, form: str):
    """cosign puts both into a new manifest, under the tag of the old one."""

    def carry() -> None:
        if not form.startswith("sync"):
            copy(place, f"docker://{place.name('signed:1')}", form.format(tmp_path))
            return
        plan = f"""[[sync]]
            source = "docker://{place.name("signed")}"
            target = "{form.format(tmp_path).replace("sync", "oci-archive")}"
            tags = ["1"]
            referrers = true
        """
        assert not place.images.sync(SyncPlan.parse(plan), place.registries).tags[0].error

    carry()
    there = place.there.repository("signed")
    tag = f"{FALLBACK}.sig"
    media_type, raw = there.manifests[there.tags[tag]]
    document = json.loads(raw)
    document["layers"] *= 2
    second = place.there.add_manifest("signed", json.dumps(document).encode(), media_type, tag=tag)
    carry()
    source = form.format(tmp_path).replace("sync", "oci-archive")
    copy(place, source, f"docker://{place.name('back')}")
    assert place.there.repository("back").tags[tag] == second


def test_what_only_refers_is_not_an_image_of_its_own(place: Place, tmp_path: Path):
    copy(place, f"docker://{place.name('signed:1')}", f"oci:{tmp_path}/one")
    place.images.copy(f"oci:{tmp_path}/one", f"docker://{place.name('bare')}", place.registries, all_platforms=True)
    assert place.there.repository("bare").tags == {"1": IMAGE}
    # Asked for by its tag, it is.
    tag = f"{FALLBACK}.sig"
    place.images.copy(f"oci:{tmp_path}/one:{tag}", f"docker://{place.name('alone')}", place.registries)
    assert place.there.repository("alone").tags == {tag: ATTACHED[tag]}


def test_several_images_of_a_layout_still_need_names(place: Place, tmp_path: Path):
    layout = Layout()
    unpacked(
        layout.top(*(layout.image(one, **named(f"docker.io/example/{one}:1")) for one in "ab")).files, tmp_path / "in"
    )
    with pytest.raises(errors.InvalidInput, match="2 images"):
        copy(place, f"oci:{tmp_path}/in", f"docker://{place.name('app:1')}")


def test_tags_that_attach_are_told_from_others():
    digest = Digest.parse(IMAGE)
    assert list(attached_tags(digest)) == [f"{FALLBACK}{suffix}" for suffix in (".sig", ".att", ".sbom")]
    assert {attached_to(tag) for tag in attached_tags(digest)} == {digest}
    for tag in (FALLBACK, "1", f"{FALLBACK}.txt", f"{FALLBACK[:-1]}.sig", "sha256-.sig", ".sig", "", "v1.0.sig"):
        assert attached_to(tag) is None
    assert not list(attached_tags(Digest.parse(f"sha512:{'0' * 128}")))


def test_what_is_no_list_under_the_fallback_tag_refers_to_nothing(place: Place, tmp_path: Path):
    layout = Layout()
    image = layout.image("a", **named("docker.io/example/app:1"))
    other = layout.blob(b"not a list", "application/vnd.oci.image.index.v1+json") | {
        "annotations": {REF_NAME: image["digest"].replace(":", "-")}
    }
    unpacked(layout.top(image, other).files, tmp_path / "in")
    report = place.images.copy(
        f"oci:{tmp_path}/in:docker.io/example/app:1",
        f"docker://{place.name('app:1')}",
        place.registries,
        referrers=True,
    )
    assert report.referrers == 0
    assert place.there.repository("app").tags == {"1": image["digest"]}


def test_an_image_without_anything_attached_goes_alone(place: Place, tmp_path: Path):
    layout = simple("docker.io/example/app:1", "a")
    unpacked(layout.files, tmp_path / "in")
    assert copy(place, f"oci:{tmp_path}/in", f"docker://{place.name('app:1')}").referrers == 0
    assert place.there.repository("app").tags == {"1": top_digest(layout)}


@pytest.mark.parametrize("referrers", [True, False])
def test_a_layout_of_cosign_save_is_one_image_with_its_signatures(place: Place, tmp_path: Path, *, referrers: bool):
    """cosign 3 writes such an ``index.json``: entries without names, each of a kind."""
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}
    for digest, blob in SIGNED["blobs"].items():
        files[f"blobs/{digest.replace(':', '/')}"] = base64.b64decode(blob)
    for digest, one in SIGNED["manifests"].items():
        files[f"blobs/{digest.replace(':', '/')}"] = one["raw"].encode()
    kinds = {"imageIndex": IMAGE, "sigs": ATTACHED[f"{FALLBACK}.sig"], "atts": ATTACHED[f"{FALLBACK}.att"]}
    entries = [
        {
            "mediaType": SIGNED["manifests"][digest]["type"],
            "size": len(SIGNED["manifests"][digest]["raw"]),
            "digest": digest,
            "annotations": {"kind": f"dev.cosignproject.cosign/{kind}"},
        }
        for kind, digest in kinds.items()
    ]
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    unpacked(files, tmp_path / "saved")

    source, target = f"oci:{tmp_path}/saved", f"docker://{place.name('back:1')}"
    report = place.images.copy(source, target, place.registries, all_platforms=True, referrers=referrers)
    carried = {tag: digest for tag, digest in ATTACHED.items() if not tag.endswith(".sbom")} if referrers else {}
    assert report.referrers == len(carried)
    assert place.there.repository("back").tags == {"1": IMAGE, **carried}


def test_a_mirror_removes_it_with_its_image(place: Place, tmp_path: Path):
    place.load(simple(place.name("signed:2"), "a"))
    place.push("signed:2")
    plan = SyncPlan.parse(
        f"""[[sync]]
            source = "docker://{place.name("signed")}"
            target = "oci:{tmp_path}/mirror"
            referrers = true
            mirror = true
        """
    )
    place.images.sync(plan, place.registries)
    assert len(entries_of(tmp_path / "mirror")) == 2 + len(ATTACHED) + len(REFERRING)
    del place.there.repository("signed").tags["1"]
    actions = [one.action.value for one in place.images.sync(plan, place.registries, delete=True).tags]
    assert "removed" in actions
    assert [one["annotations"]["org.opencontainers.image.ref.name"] for one in entries_of(tmp_path / "mirror")] == ["2"]
    left = {f"sha256:{one.name}" for one in (tmp_path / "mirror" / "blobs" / "sha256").iterdir()}
    assert not left & SIGNED["manifests"].keys()


def tagged_for_a_platform(place: Place) -> str:
    """Attach the SBOM of the index to one of its platforms, too, as cosign does with the same bytes."""
    child = json.loads(SIGNED["manifests"][IMAGE]["raw"])["manifests"][0]
    tag = f"{child['digest'].replace(':', '-')}.sbom"
    there = place.there.repository("signed")
    there.tags[tag] = ATTACHED[f"{FALLBACK}.sbom"]
    return tag


def test_what_refers_to_a_platform_goes_with_its_index(place: Place, tmp_path: Path):
    tag, name = tagged_for_a_platform(place), place.name("signed:1")
    copy(place, f"docker://{name}", f"oci:{tmp_path}/one")
    annotations = [one.get("annotations") or {} for one in entries_of(tmp_path / "one")]
    assert tag in {one.get("org.opencontainers.image.ref.name") for one in annotations}
    forget_names(str(tmp_path / "one"), [Reference.parse(name)])
    assert entries_of(tmp_path / "one") == []


@pytest.mark.parametrize("between", ["", "oci:{}/one", "store:example/app:1"])
def test_one_sbom_may_be_attached_to_several(place: Place, tmp_path: Path, between: str):
    tag, source, target = tagged_for_a_platform(place), f"docker://{place.name('signed:1')}", place.name("back:1")
    if between:
        copy(place, source, between.format(tmp_path))
        source = between.format(tmp_path)
    copy(place, source, f"docker://{target}")
    assert is_whole(place, "back")
    assert place.there.repository("back").tags.get(tag) == ATTACHED[f"{FALLBACK}.sbom"]


@pytest.mark.parametrize("how", ["copy", "save"])
def test_what_has_a_subject_keeps_its_tag(place: Place, tmp_path: Path, how: str):
    """Registries without a list of referrers show it by its tag alone to those who do not read the fallback."""
    there, tag, source = place.there.repository("signed"), f"{FALLBACK}.sig", place.name("signed:1")
    media_type, raw = there.manifests[there.tags[tag]]
    one = SIGNED["manifests"][IMAGE]
    subject = {"mediaType": one["type"], "digest": IMAGE, "size": len(one["raw"])}
    digest = place.there.add_manifest(
        "signed", json.dumps(json.loads(raw) | {"subject": subject}).encode(), media_type, tag=tag
    )
    copy(place, f"docker://{source}", f"store:{source}")
    if how == "save":
        place.images.save([source], tmp_path / "one", format="oci-dir", platform="all")
    else:
        copy(place, f"store:{source}", f"oci:{tmp_path}/one")
    copy(place, f"oci:{tmp_path}/one", f"docker://{place.name('back:1')}")
    assert place.there.repository("back").tags[tag] == digest


def test_a_sync_keeps_both_tags_of_what_is_attached_to_an_image_and_to_its_signature(place: Place, tmp_path: Path):
    """One of the two leads to something that stays only because of what refers to the image."""
    there, archive = place.there.repository("signed"), tmp_path / "kept.tar"
    tag = f"{min(REFERRING).replace(':', '-')}.sbom"
    there.tags[tag] = ATTACHED[f"{FALLBACK}.sbom"]

    def entry(repository: str) -> str:
        source, target = f"docker://{place.name(repository)}", f"oci-archive:{archive}"
        return f'[[sync]]\nsource = "{source}"\ntarget = "{target}"\nreferrers = true\n'

    place.images.sync(SyncPlan.parse(entry("signed")), place.registries)
    place.load(simple(place.name("other:1"), "a"))
    place.push("other:1")
    assert not place.images.sync(SyncPlan.parse(entry("other")), place.registries).tags[0].error
    copy(place, f"oci-archive:{archive}:{place.name('signed:1')}", f"docker://{place.name('back:1')}")
    assert is_whole(place, "back")
    assert place.there.repository("back").tags.get(tag) == ATTACHED[f"{FALLBACK}.sbom"]


def test_a_tag_is_looked_up_in_the_repository_of_its_image(place: Place, tmp_path: Path):
    """What else is saved may be of somebody who has put other things under the same tag."""
    tag, name = f"{FALLBACK}.sig", place.name("signed:1")
    place.load(simple(place.name("other:1"), "a"))
    place.load(simple(place.name(f"other:{tag}"), "b"))
    copy(place, f"docker://{name}", f"store:{name}")
    place.images.save([place.name("other:1"), name], tmp_path / "one", format="oci-dir", platform="all")
    said = [(one.get("annotations") or {}, one["digest"]) for one in entries_of(tmp_path / "one")]
    tags = {annotations.get("org.opencontainers.image.ref.name"): digest for annotations, digest in said}
    assert {one: tags.get(one) for one in ATTACHED} == ATTACHED


def test_what_refers_to_a_platform_stays_with_another_name_of_it(place: Place, tmp_path: Path):
    tag, names = tagged_for_a_platform(place), [place.name(f"signed:{one}") for one in ("1", "child")]
    child = str(attached_to(tag))
    place.there.repository("signed").tags["child"] = child
    for name in names:
        copy(place, f"docker://{name}", f"oci:{tmp_path}/one:{name}")
    before = entries_of(tmp_path / "one")
    forget_names(str(tmp_path / "one"), [Reference.parse(names[1])])
    assert entries_of(tmp_path / "one") == [one for one in before if one["digest"] != child]


def entries_of(layout: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((layout / "index.json").read_text())["manifests"]
    return found


def test_what_is_attached_is_looked_up_once_however_much_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each of a hundred thousand signatures is asked for its own."""
    read: Counter[str] = Counter()
    manifest = MembersSource.manifest

    def counted(source: MembersSource, want: Descriptor) -> bytes:
        read[str(want.digest)] += 1
        return manifest(source, want)

    monkeypatch.setattr(MembersSource, "manifest", counted)
    layout = Layout()
    image = layout.image("a", **named("docker.io/example/app:1"))
    attached = [_attached(layout, image, number) for number in range(40)]
    unpacked(layout.top(image, *attached).files, tmp_path / "in")
    size = sum(path.stat().st_size for path in (tmp_path / "in" / "blobs" / "sha256").iterdir())
    monkeypatch.setattr(members_source, "DEFAULT_LIMITS", replace(DEFAULT_LIMITS, documents_size=size + 40_000))
    with orlop.open(tmp_path / "root") as images:
        report = images.copy(f"oci:{tmp_path}/in:docker.io/example/app:1", f"oci:{tmp_path}/out", referrers=True)
    assert report.referrers == len(attached)
    assert {one["digest"] for one in attached} <= read.keys()
    assert max(read.values()) <= 5


def _attached(layout: Layout, image: dict[str, Any], number: int) -> dict[str, Any]:
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/x",
        "config": layout.blob(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [],
        "subject": {key: image[key] for key in ("mediaType", "digest", "size")},
        "annotations": {"number": str(number)},
    }
    return layout.document(document, "application/vnd.oci.image.manifest.v1+json")
