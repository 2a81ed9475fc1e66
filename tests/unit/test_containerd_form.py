"""Archives of engines with containerd storage come back out as they were, to the byte."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop.model.platform import Platform
from orlop.streams.compression import zstd_module

if TYPE_CHECKING:
    from pathlib import Path

NAME, SUBJECT = "io.containerd.image.name", "io.containerd.manifest.subject"
#: A manifest.json whose order cannot be known: artifacts are not images, beside which it is kept.
ARTIFACTS = "engine29-artifact"
ARCHIVES = (
    *(f"dockerd-29-containerd/{name}" for name in ("tiny", "dup", "dup-by-id", "multi", "parent-child")),
    *(
        f"oci/engine29-{name}"
        for name in (
            "attestations-artifact",
            "attestations-legacy",
            "by-id",
            "multi",
            "one-platform",
            "platform-attestation",
            "referrers",
            "repository",
            "sparse",
            "two-platforms",
        )
    ),
    *(
        f"oci/engine28-{name}"
        for name in ("attestations", "child-absent", "estargz", "plain", "plain-index", "some-platforms")
    ),
)


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that the archives were not saved on: what the engine listed is remembered, not guessed."""
    monkeypatch.setattr("orlop.intake.platforms.host_platform", lambda: Platform("linux", "arm64"))


def archive(data: Path, name: str) -> bytes:
    plain = data / f"{name}.tar"
    if plain.exists():
        return plain.read_bytes()
    raw: bytes = zstd_module().decompress((data / f"{name}.tar.zst").read_bytes())
    return raw


def documents(raw: bytes) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        found = {name: tar.extractfile(name) for name in ("index.json", "manifest.json")}
        return {name: json.loads(file.read()) for name, file in found.items() if file is not None}


def names_of(raw: bytes) -> list[str]:
    """Return what to ask for, to get an archive: names, else the digest that an entry leads to."""
    entries = documents(raw)["index.json"]["manifests"]
    notes = [(entry["digest"], entry.get("annotations") or {}) for entry in entries]
    return [each.get(NAME, digest) for digest, each in notes if SUBJECT not in each]


def saved(images: orlop.ImageService, names: list[str], **options: Any) -> bytes:
    target = io.BytesIO()
    images.save(names, target, **options)
    return target.getvalue()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_of_containerd_comes_back_out_to_the_byte(images, data, name):
    raw = archive(data, name)
    images.load(io.BytesIO(raw))
    assert saved(images, names_of(raw)) == raw


@pytest.mark.parametrize(
    ("whole", "platforms", "name"),
    [
        ("multi", ["linux/amd64", "linux/arm64"], "two-platforms"),
        ("multi", ["linux/arm64"], "one-platform"),
        ("attestations-artifact", ["linux/amd64"], "platform-attestation"),
    ],
)
def test_some_platforms_are_what_an_engine_saves(images, data, whole, platforms, name):
    images.load(io.BytesIO(archive(data, f"oci/engine29-{whole}")))
    raw = archive(data, f"oci/engine29-{name}")
    before, after = documents(raw), documents(again := saved(images, names_of(raw)[:1], platform=platforms))
    assert after["manifest.json"] == before["manifest.json"]
    assert members_of(again).keys() == members_of(raw).keys()
    assert [entry["digest"] for entry in after["index.json"]["manifests"]] == [
        entry["digest"] for entry in before["index.json"]["manifests"]
    ]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("platform", "wanted"),
    [(None, 3), ("all", 3), (["linux/amd64", "linux/arm/v7"], 2), ("linux/arm/v7", 1), (["linux/arm/v7"] * 2, 1)],
)
def test_several_platforms_go_out_wherever_they_came_from(images, data, tmp_path, platform, wanted):
    images.load(io.BytesIO(archive(data, "oci/engine29-multi")))
    [name] = names_of(archive(data, "oci/engine29-multi"))
    images.save([name], tmp_path / "layout.tar", format="oci")
    with orlop.open(tmp_path / "other") as other:
        other.load(tmp_path / "layout.tar")
        raw = saved(other, [name], platform=platform)
    before = saved(images, [name], platform=platform)
    assert members_of(raw).keys() == members_of(before).keys()
    entries = [documents(each)["index.json"]["manifests"] for each in (raw, before)]
    assert [[entry["digest"] for entry in each] for each in entries] == [[entries[0][0]["digest"]]] * 2
    # Where no engine has listed an image, it is the one for this machine.
    [listed] = documents(raw)["manifest.json"]
    assert listed["RepoTags"] == [name]
    assert members_of(raw).keys() >= {listed["Config"], *listed["Layers"]}
    with orlop.open(tmp_path / "third") as third:
        assert len(third.load(io.BytesIO(raw)).images) == wanted


def test_all_platforms_of_an_archive_become_images(images, data):
    raw = archive(data, "oci/engine29-multi")
    loaded = images.load(io.BytesIO(raw)).images
    assert [str(one.platform) for one in loaded] == ["linux/amd64", "linux/arm64/v8", "linux/arm/v7"]
    # The name means the image for this machine, as it does to the engine that saved it.
    assert [bool(one.references) for one in loaded] == [False, True, False]


def test_an_image_of_one_platform_beside_an_index_gets_a_manifest(images, data, tmp_path):
    multi = archive(data, "oci/engine29-multi")
    images.load(io.BytesIO(multi))
    images.load(data / "dockerd-29-overlay2" / "tiny.tar")
    names = [*names_of(multi), "example/tiny:1.0"]
    found = documents(raw := saved(images, names))
    assert [entry["annotations"][NAME] for entry in found["index.json"]["manifests"]] == [
        *names_of(multi),
        "docker.io/example/tiny:1.0",
    ]
    with orlop.open(tmp_path / "other") as other:
        other.load(io.BytesIO(raw))
        assert other.inspect("example/tiny:1.0").image.id == images.inspect("example/tiny:1.0").image.id


def test_layers_are_left_out_of_several_platforms(images, data):
    raw = archive(data, "oci/engine29-multi")
    images.load(io.BytesIO(raw))
    [name] = names_of(raw)
    target = io.BytesIO()
    report = images.save([name], target, without=images.have())
    assert report.left_out
    gone = members_of(raw).keys() - members_of(target.getvalue()).keys()
    assert gone == {f"blobs/sha256/{layer.digest.hex}" for layer in report.left_out}


@pytest.mark.parametrize("there", ["linux/amd64", "linux/arm64"])
def test_layers_that_were_left_out_of_any_platform_are_needed(images, data, tmp_path, there):
    """One of them is the image that ``manifest.json`` lists: the layers of the other are missing as well."""
    raw = archive(data, "oci/engine29-multi")
    images.load(io.BytesIO(raw))
    [name] = names_of(raw)
    images.save([name], target := io.BytesIO(), without=images.have())
    with orlop.open(tmp_path / "other") as other:
        images.save([name], one := io.BytesIO(), format="oci", platform=there)
        other.load(io.BytesIO(one.getvalue()))
        before = len(other.images(all=True))
        with pytest.raises(orlop.errors.InvalidArchive, match="not in the store either"):
            other.load(io.BytesIO(target.getvalue()))
        assert len(other.images(all=True)) == before
    images.load(io.BytesIO(target.getvalue()))


@pytest.mark.parametrize("options", [{"format": "docker-20.10"}, {"format": "docker-20.10", "append": True}])
def test_plain_layers_are_of_one_platform(images, data, tmp_path, options):
    raw = archive(data, "oci/engine29-multi")
    images.load(io.BytesIO(raw))
    [name] = names_of(raw)
    with pytest.raises(orlop.errors.InvalidInput, match="plain layers has one platform"):
        images.save([name], tmp_path / "saved.tar", platform=["linux/amd64", "linux/arm64"], **options)
    assert not (tmp_path / "saved.tar").exists()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("first", ["tiny", "multi", None])
def test_all_platforms_are_added_to_an_archive(
    images: orlop.ImageService, data: Path, tmp_path: Path, first: str | None
) -> None:
    raw = archive(data, "oci/engine29-multi")
    images.load(io.BytesIO(raw))
    [name] = names_of(raw)
    target = tmp_path / "added.tar"
    if first == "tiny":
        images.import_image(io.BytesIO(b"\0" * 1024), reference="plain:1")
        images.save(["plain:1"], target)
    elif first == "multi":
        target.write_bytes(archive(data, "oci/engine29-attestations-artifact"))
    nothing: dict[str, Any] = {"index.json": {"manifests": []}, "manifest.json": []}
    before = documents(target.read_bytes()) if first else nothing
    images.save([name], target, append=True)
    after = documents(target.read_bytes())
    kept = before["index.json"]["manifests"]
    assert after["index.json"]["manifests"][: len(kept)] == kept
    assert after["index.json"]["manifests"][len(kept) :] == documents(raw)["index.json"]["manifests"]
    assert len(after["manifest.json"]) == len(before["manifest.json"]) + 1
    with tarfile.open(fileobj=io.BytesIO(raw)) as old, tarfile.open(target) as new:
        assert {one.name for one in old} <= {one.name for one in new}
    again = target.read_bytes()
    images.save([name], target, append=True)
    assert target.read_bytes() == again
    if first is None:
        assert again == saved(images, [name])
    with orlop.open(tmp_path / "other") as other:
        report = other.load(target)
        assert {one.platform.architecture for one in report.images if one.platform} >= {"amd64", "arm64"}
        assert other.save([name], tmp_path / "out", format="oci-dir").omitted == ()


def test_all_platforms_are_added_to_an_archive_that_has_one_with_plain_layers(
    images: orlop.ImageService, data: Path, tmp_path: Path
) -> None:
    raw = archive(data, "oci/engine29-multi")
    images.load(io.BytesIO(raw))
    [name] = names_of(raw)
    target = tmp_path / "added.tar"
    for number, platform in enumerate(("linux/arm64", None, "linux/arm64")):
        images.save([name], target, platform=platform, append=True)
        with orlop.open(tmp_path / f"from-{number}") as other:
            other.load(target)
            assert other.inspect(name).manifests
    images.save([name], target, append=True)
    with orlop.open(tmp_path / "last") as other:
        other.load(target)
        assert other.save([name], tmp_path / "out", format="oci-dir").omitted == ()
        assert other.tree(name)[0].kind == "index"


def test_platforms_that_are_named_are_added_and_a_single_one_stays_alone(
    images: orlop.ImageService, data: Path, tmp_path: Path
) -> None:
    raw = archive(data, "oci/engine29-multi")
    images.load(io.BytesIO(raw))
    [name] = names_of(raw)
    images.save([name], tmp_path / "two.tar", platform=["linux/amd64", "linux/arm64"], append=True)
    with orlop.open(tmp_path / "two") as other:
        assert {str(one.platform) for one in other.load(tmp_path / "two.tar").images} == {
            "linux/amd64",
            "linux/arm64/v8",
        }
    images.save([name], tmp_path / "one.tar", platform="linux/arm64", append=True)
    with orlop.open(tmp_path / "one") as other:
        assert [str(one.platform) for one in other.load(tmp_path / "one.tar").images] == ["linux/arm64/v8"]


def test_a_platform_that_is_not_here_is_not_left_out(images, data, tmp_path):
    raw = archive(data, "oci/engine29-multi")
    images.load(io.BytesIO(raw))
    [name] = names_of(raw)
    with pytest.raises(orlop.errors.PlatformNotFound, match="s390x"):
        images.save([name], tmp_path / "saved.tar", platform=["linux/amd64", "linux/s390x"])
    assert not (tmp_path / "saved.tar").exists()


def test_artifacts_come_out_in_the_order_in_which_they_are_named(images, data):
    raw = archive(data, f"oci/{ARTIFACTS}")
    images.load(io.BytesIO(raw))
    before, after = documents(raw), documents(again := saved(images, names_of(raw)))
    assert after["index.json"] == before["index.json"]
    listed = [entry["RepoTags"][0] for entry in after["manifest.json"]]
    assert listed == names_of(raw)
    wanted = sorted(before["manifest.json"], key=lambda entry: listed.index(entry["RepoTags"][0]))
    assert after["manifest.json"] == wanted
    assert members_of(again).keys() == members_of(raw).keys()


def members_of(raw: bytes) -> dict[str, int]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {member.name: member.size for member in tar}


def test_an_id_brings_the_archive_of_an_image_without_names(images, data):
    raw = archive(data, "dockerd-29-containerd/dup-by-id")
    [loaded] = images.load(io.BytesIO(raw)).images
    assert saved(images, [str(loaded.id)]) == raw


def test_what_is_saved_is_loaded_as_the_same_again(images, data, tmp_path):
    raw = archive(data, "oci/engine29-repository")
    images.load(io.BytesIO(raw))
    with orlop.open(tmp_path / "other") as other:
        other.load(io.BytesIO(saved(images, names_of(raw))))
        assert saved(other, names_of(raw)) == raw


def test_the_last_archive_that_an_image_came_in_decides(images, data):
    containerd = archive(data, "dockerd-29-containerd/tiny")
    images.load(io.BytesIO(containerd))
    plain = io.BytesIO()
    images.save(["example/tiny:1.0"], plain, without=orlop.Holdings(frozenset(), frozenset()))
    images.load(io.BytesIO(plain.getvalue()))
    assert saved(images, ["example/tiny:1.0"]) == plain.getvalue() != containerd
    images.load(io.BytesIO(containerd))
    assert saved(images, ["example/tiny:1.0"]) == containerd


def test_an_image_that_came_otherwise_makes_all_layers_plain(images, data):
    images.load(io.BytesIO(archive(data, "dockerd-29-containerd/tiny")))
    images.load(data / "dockerd-29-overlay2" / "dup.tar")
    found = documents(saved(images, ["example/tiny:1.0", "example/dup:v1"]))
    assert all("LayerSources" in entry for entry in found["manifest.json"])


def test_another_name_and_another_platform_get_no_annotations_of_the_old_entry(images, data):
    raw = archive(data, "oci/engine29-one-platform")
    images.load(io.BytesIO(raw))
    images.tag("reg.example/example/shop:multi", "example/other:2")
    [entry] = documents(saved(images, ["example/other:2"]))["index.json"]["manifests"]
    assert entry["annotations"] == {NAME: "docker.io/example/other:2", "org.opencontainers.image.ref.name": "2"}
    assert "platform" not in entry


def test_an_archive_in_a_form_of_its_own_is_not_taken_for_one_of_containerd(images, data):
    raw = archive(data, "dockerd-29-containerd/tiny")
    found = documents(raw)
    changed = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(raw)) as old, tarfile.open(fileobj=changed, mode="w") as new:
        for member in old:
            file = old.extractfile(member) if member.isfile() else None
            content = b"" if file is None else file.read()
            if member.name in found:
                content = json.dumps(found[member.name], indent=3).encode()
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    images.load(io.BytesIO(changed.getvalue()))
    assert all("LayerSources" in entry for entry in documents(saved(images, names_of(raw)))["manifest.json"])


def test_a_damaged_layer_does_not_look_whole(images, data, tmp_path):
    raw = archive(data, "dockerd-29-containerd/tiny")
    images.load(io.BytesIO(raw))
    blob = max((tmp_path / "root" / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[20] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(content)
    with pytest.raises(orlop.errors.IntegrityError):
        saved(images, names_of(raw))


def test_a_listing_that_is_damaged_only_costs_the_form(images, data):
    raw = archive(data, "dockerd-29-containerd/tiny")
    [loaded] = images.load(io.BytesIO(raw)).images
    for listing in (b"{}", b"[", b'{"schemaVersion":2,"manifests":[]}'):
        images._store.images.set_listing(loaded.id, listing)
        assert "LayerSources" in documents(saved(images, names_of(raw)))["manifest.json"][0]
