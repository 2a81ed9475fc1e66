"""What a registry keeps in a directory comes into the store under its digests, whatever else lies there."""

from __future__ import annotations

import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

import orlop
from orlop import errors
from orlop.model.digest import Digest
from orlop.streams.files import NewFile
from tests.unit.distribution import Directory
from tests.unit.hosted import hosting
from tests.unit.layouts import Layout, everything, sha256
from tests.unit.pulling import command

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
HOST = "registry.example.com"
ARTIFACT = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def images(tmp_path: Path) -> Iterator[orlop.ImageService]:
    with orlop.open(tmp_path / "store") as service:
        yield service


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "registry")


def artifact(layout: Layout, content: bytes, subject: dict[str, Any] | None = None) -> dict[str, Any]:
    document = {
        "schemaVersion": 2,
        "mediaType": ARTIFACT,
        "artifactType": "application/vnd.test",
        "config": layout.blob(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [layout.blob(content, "text/plain")],
    }
    return layout.document(document | ({} if subject is None else {"subject": subject}), ARTIFACT)


def run(images: orlop.ImageService, directory: Directory, **more: Any) -> orlop.RegistryImport:
    return images.import_registry(directory.root, host=HOST, **more)


def states(report: orlop.RegistryImport) -> dict[str, str]:
    return {f"{one.repository.path}:{','.join(name.tag or '' for name in one.names)}": one.state
            for one in report.manifests}  # fmt: skip


def test_images_indexes_and_artifacts_come_under_their_names_and_digests(
    images: orlop.ImageService, directory: Directory
) -> None:
    layout = Layout()
    image = layout.image("a", "b")
    index = layout.index(layout.image("c", platform=True), layout.image("d", architecture="arm64", platform=True))
    other = artifact(layout, b"hello")
    directory.push(layout, "team/sub/app", {"1": image, "latest": image, "multi": index, "doc": other})

    report = run(images, directory)

    assert report.repositories == 1
    assert not report.damaged
    assert not report.notes
    name = f"{HOST}/team/sub/app"
    assert images.inspect(f"{name}:1").image.id == images.inspect(f"{name}:latest").image.id
    content = images.store.content
    for tag, top in (("1", image), ("multi", index), ("doc", other)):
        found = content.named(orlop.Reference.parse(f"{name}:{tag}"))
        assert str(found) == top["digest"]
        assert content.node(found).raw == layout.files["blobs/" + top["digest"].replace(":", "/")]
    with content.open(Digest.parse(sha256(b"hello"))) as reader:
        assert reader.read(100) == b"hello"
    assert not orlop.stores.fsck(images.root).problems


@pytest.mark.parametrize("below", ["", "docker", "docker/registry", "docker/registry/v2"])
def test_a_directory_on_the_way_will_do(images: orlop.ImageService, directory: Directory, below: str) -> None:
    layout = Layout()
    directory.push(layout, "app", {"1": layout.image("a")})
    assert images.import_registry(directory.root / below, host=HOST).repositories == 1
    images.inspect(f"{HOST}/app:1")


def test_importing_again_reads_no_layer_and_changes_nothing(images: orlop.ImageService, directory: Directory) -> None:
    layout = Layout()
    image = layout.image("a", "b")
    directory.push(layout, "app", {"1": image})
    assert states(run(images, directory)) == {"app:1": "imported"}
    before = everything(directory.root.parent / "store")
    manifest = json.loads(layout.files["blobs/" + image["digest"].replace(":", "/")])
    for layer in manifest["layers"]:
        directory.blob(layer["digest"]).chmod(0)
        directory.blob(layer["digest"]).unlink()

    assert states(run(images, directory)) == {"app:1": "known"}

    after = everything(directory.root.parent / "store")
    assert {name for name in before if name.startswith("blobs")} == {name for name in after if name.startswith("blobs")}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
def test_several_imports_at_once_take_everything_once(
    images: orlop.ImageService, directory: Directory, link: Any
) -> None:
    layout = Layout()
    tops = {f"{number}": layout.image("shared", f"own {number}") for number in range(6)}
    tops["multi"] = layout.index(layout.image("shared", platform=True), layout.image("e", platform=True))
    directory.push(layout, "app", tops)
    directory.push(layout, "team/app", tops)
    ready = threading.Barrier(4)

    def take(_: int) -> orlop.RegistryImport:
        with orlop.open(images.root) as service:
            ready.wait()
            return service.import_registry(directory.root, host=HOST, link=link)

    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(take, range(4)))

    assert [report.damaged for report in reports] == [()] * 4
    assert {one.state for report in reports for one in report.manifests} <= {"imported", "known"}
    for repository in ("app", "team/app"):
        for tag, top in tops.items():
            name = orlop.Reference.parse(f"{HOST}/{repository}:{tag}")
            assert str(images.store.content.named(name)) == top["digest"]
    images.gc()
    assert orlop.stores.fsck(images.root).problems == ()
    assert set(states(run(images, directory, link=link)).values()) == {"known"}


def test_what_was_pushed_since_is_added_and_a_tag_moves(images: orlop.ImageService, directory: Directory) -> None:
    layout = Layout()
    first, second = layout.image("a"), layout.image("b")
    directory.push(layout, "app", {"1": first})
    run(images, directory)
    directory.push(layout, "app", {"1": second})
    assert states(run(images, directory)) == {"app:1": "imported"}
    assert str(images.store.content.named(orlop.Reference.parse(f"{HOST}/app:1"))) == second["digest"]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("damage", ["other bytes", "cut", "gone", "a directory", "a link", "a pipe"])
def test_a_damaged_layer_harms_only_its_image(
    images: orlop.ImageService, directory: Directory, damage: str, tmp_path: Path
) -> None:
    layout = Layout()
    good, bad = layout.image("a"), layout.image("b")
    directory.push(layout, "app", {"bad": bad, "good": good})
    manifest = json.loads(layout.files["blobs/" + bad["digest"].replace(":", "/")])
    path = directory.blob(manifest["layers"][0]["digest"])
    content = path.read_bytes()
    path.unlink()
    if damage == "other bytes":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "a directory":
        path.mkdir()
    elif damage == "a link":
        (tmp_path / "elsewhere").write_bytes(content)
        path.symlink_to(tmp_path / "elsewhere")
    elif damage == "a pipe":
        os.mkfifo(path)

    report = run(images, directory)

    assert states(report) == {"app:bad": "damaged", "app:good": "imported"}
    assert manifest["layers"][0]["digest"] in report.damaged[0].problems[0]
    with pytest.raises(errors.ImageNotFound):
        images.inspect(f"{HOST}/app:bad")
    assert not orlop.stores.fsck(images.root).problems


def test_a_child_that_a_collection_destroyed_is_named_and_the_others_come(
    images: orlop.ImageService, directory: Directory
) -> None:
    layout = Layout()
    lost = layout.image("c", architecture="arm64", platform=True)
    index = layout.index(layout.image("a", platform=True), lost)
    directory.push(layout, "app", {"1": index})
    directory.blob(lost["digest"]).unlink()
    directory.forget("app", lost["digest"])

    report = run(images, directory)

    assert [one.state for one in report.damaged] == ["imported"]
    assert lost["digest"] in report.damaged[0].problems[0]
    assert str(images.store.content.named(orlop.Reference.parse(f"{HOST}/app:1"))) == index["digest"]


def test_what_was_deleted_is_left_out_and_its_tag_named(images: orlop.ImageService, directory: Directory) -> None:
    layout = Layout()
    image = layout.image("a")
    directory.push(layout, "app", {"1": image})
    directory.forget("app", image["digest"])
    report = run(images, directory)
    assert not report.manifests
    assert report.notes == (f"app: the tag 1 leads to {image['digest']}, which was deleted",)


def test_referrers_come_with_their_subject_and_other_untagged_manifests_by_choice(
    images: orlop.ImageService, directory: Directory
) -> None:
    layout = Layout()
    image = layout.image("a")
    about = artifact(layout, b"signature", image)
    further = artifact(layout, b"of the signature", about)
    loose, alone = layout.image("z"), artifact(layout, b"alone")
    directory.push(layout, "app", {"1": image})
    content = images.store.content

    run(images, directory)
    assert [str(one.digest) for one in content.referrers(Digest.parse(image["digest"]))] == [about["digest"]]
    assert [str(one.digest) for one in content.referrers(Digest.parse(about["digest"]))] == [further["digest"]]
    assert not content.has(Digest.parse(loose["digest"]))

    report = run(images, directory, untagged=True)
    assert {str(one.digest): one.state for one in report.manifests} == {
        image["digest"]: "known",
        loose["digest"]: "imported",
        alone["digest"]: "imported",
    }
    images.inspect(f"{HOST}/app@{loose['digest']}")
    images.gc()
    assert content.has(Digest.parse(alone["digest"]))
    assert not orlop.stores.fsck(images.root).problems


def test_uploads_under_way_are_skipped_and_named(images: orlop.ImageService, directory: Directory) -> None:
    layout = Layout()
    directory.push(layout, "app", {"1": layout.image("a")})
    upload = directory.repository("team/new") / "_uploads" / "4f3c"
    upload.mkdir(parents=True)
    (upload / "data").write_bytes(b"half")
    report = run(images, directory)
    assert report.uploads == ("team/new/4f3c",)
    assert states(report) == {"app:1": "imported"}


def test_hostile_names_and_links_are_noted_and_lead_nowhere(
    images: orlop.ImageService, directory: Directory, tmp_path: Path
) -> None:
    layout = Layout()
    image = layout.image("a")
    directory.push(layout, "app", {"1": image})
    (tmp_path / "elsewhere" / "_manifests").mkdir(parents=True)
    directory.repository("linked").symlink_to(tmp_path / "elsewhere")
    for name in ("UPPER", "a\nb", "-x", "x" * 200):
        (directory.repository(name) / "_manifests").mkdir(parents=True)
    deep = directory.repository("/".join(["d" * 60] * 6)) / "_manifests"
    deep.mkdir(parents=True)
    tags = directory.repository("app") / "_manifests" / "tags"
    for tag, text in (("big", "x" * 5000), ("climbs", "../../../etc/passwd"), ("empty", ""), ("bytes", "\xff")):
        directory.link(tags / tag / "current", text)
    directory.link(tags / "not a tag" / "current", image["digest"])
    (tags / "away" / "current").mkdir(parents=True)
    (tags / "away" / "current" / "link").symlink_to("/etc/passwd")
    wrong = directory.repository("app") / "_manifests" / "revisions" / "sha256" / ("0" * 64)
    directory.link(wrong, image["digest"])

    report = run(images, directory)

    assert {key: state for key, state in states(report).items() if state == "imported"} == {"app:1": "imported"}
    told = "\n".join(report.notes)
    for word in ("linked", "UPPER", "-x", "d" * 60, "big", "climbs", "empty", "bytes", "not a tag", "away", "0" * 64):
        assert word in told, word


def test_another_directory_is_refused(images: orlop.ImageService, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.InvalidRoot, match="is not the directory of a registry"):
        images.import_registry(tmp_path / "empty", host=HOST)


@pytest.mark.parametrize("host", ["", "a/b", "registry.example.com/x", "docker", "UP PER", "https://r.example.com"])
def test_what_is_not_a_host_is_refused(images: orlop.ImageService, directory: Directory, host: str) -> None:
    with pytest.raises(errors.InvalidInput, match="is not the host of a registry"):
        images.import_registry(directory.root, host=host)


def test_a_link_shares_the_file_and_makes_it_read_only(images: orlop.ImageService, directory: Directory) -> None:
    layout = Layout()
    image = layout.image("a")
    other = artifact(layout, b"hello")
    directory.push(layout, "app", {"1": image, "2": other})
    manifest = json.loads(layout.files["blobs/" + image["digest"].replace(":", "/")])
    layer = manifest["layers"][0]["digest"]

    run(images, directory, link=True)

    for digest in (layer, sha256(b"hello")):
        ours = Path(f"{images.root}/blobs/{digest.replace(':', '/')}").stat()
        theirs = directory.blob(digest).stat()
        assert (ours.st_mode & 0o777, ours.st_uid) == (0o400, os.geteuid())
        # Where the file system clones, nothing needs to be linked.
        assert ours.st_ino == theirs.st_ino or theirs.st_nlink == 1
    assert not orlop.stores.fsck(images.root).problems
    images.remove(f"{HOST}/app:1")
    assert directory.blob(layer).read_bytes() == layout.files["blobs/" + layer.replace(":", "/")]


def test_a_damaged_file_that_is_linked_does_not_stay(
    images: orlop.ImageService, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NewFile, "clone", lambda *_: False)
    layout = Layout()
    image = layout.image("a")
    directory.push(layout, "app", {"1": image})
    manifest = json.loads(layout.files["blobs/" + image["digest"].replace(":", "/")])
    path = directory.blob(manifest["layers"][0]["digest"])
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert states(run(images, directory, link=True)) == {"app:1": "damaged"}
    assert path.stat().st_nlink == 1


def test_without_the_choice_nothing_is_linked(images: orlop.ImageService, directory: Directory) -> None:
    layout = Layout()
    image = layout.image("a")
    directory.push(layout, "app", {"1": image})
    run(images, directory)
    assert all(path.stat().st_nlink == 1 for path in directory.v2.rglob("data"))


@pytest.mark.sampled(2)
def test_the_command_says_what_became_of_each(directory: Directory, tmp_path: Path) -> None:
    layout = Layout()
    good, bad = layout.image("a"), layout.image("b")
    directory.push(layout, "app", {"bad": bad, "good": good})
    directory.blob(bad["digest"]).unlink()
    (directory.repository("app") / "_uploads" / "4f3c").mkdir(parents=True)
    words = ("store", "import-registry", "--host", HOST, str(directory.root))

    done = command(tmp_path, *words)
    assert done.returncode == 6
    digits = good["digest"][7:19]
    assert f"imported  {digits}  {HOST}/app: good\n" in done.stdout
    assert f"damaged   {bad['digest'][7:19]}  {HOST}/app: bad\n" in done.stdout
    assert done.stdout.endswith(": 1 repository: 1 imported, 0 known, 1 damaged\n")
    assert "note: app/4f3c is an upload under way; it is skipped" in done.stderr

    lines = [json.loads(line) for line in command(tmp_path, *words, "--format", "json").stdout.splitlines()]
    assert {line["State"]: line["Tags"] for line in lines} == {"damaged": ["bad"], "known": ["good"]}
    schema = json.loads((SCHEMAS / "store-import-registry.json").read_text())
    for line in lines:
        Draft202012Validator(schema).validate(line)


def test_the_registry_over_the_store_serves_the_same_digests(
    images: orlop.ImageService, directory: Directory, tmp_path: Path
) -> None:
    layout = Layout()
    image = layout.image("a", "b")
    children = [layout.image(one, architecture=one, platform=True) for one in ("amd64", "arm64")]
    index, about, alone = layout.index(*children), artifact(layout, b"signed", image), artifact(layout, b"alone")
    loose = layout.image("loose")
    directory.push(layout, "team/app", {"1": image, "many": index})
    assert not run(images, directory, untagged=True).damaged
    images.gc()

    with hosting(images, tmp_path, HOST) as client:
        for reference, digest in (
            ("1", image["digest"]),
            ("many", index["digest"]),
            *((one["digest"], one["digest"]) for one in (image, index, *children, about, alone, loose)),
        ):
            answer = client.get(f"/v2/team/app/manifests/{reference}")
            assert (answer.status, sha256(answer.body)) == (200, digest)
            document = json.loads(answer.body)
            for blob in (*document.get("layers", ()), *([document["config"]] if "config" in document else ())):
                found = client.get(f"/v2/team/app/blobs/{blob['digest']}")
                assert (found.status, sha256(found.body)) == (200, blob["digest"])
        listed = client.get(f"/v2/team/app/referrers/{image['digest']}").json["manifests"]
        assert [one["digest"] for one in listed] == [about["digest"]]
        assert client.get("/v2/team/app/tags/list").json["tags"] == ["1", "many"]


def put_in_place(place: Path, kind: str, tmp_path: Path) -> None:
    """Put something else in the place of a file."""
    place.unlink()
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    elif kind == "huge":
        with place.open("wb") as file:
            file.truncate(1 << 40)
    elif kind == "socket":
        os.mknod(place, 0o600 | stat.S_IFSOCK)
    else:
        secret = tmp_path / "secret"
        secret.write_text("secret")
        place.symlink_to(secret if kind == "link" else place)


@pytest.mark.parametrize("kind", ["pipe", "directory", "huge", "socket", "link", "loop"])
@pytest.mark.parametrize("which", ["current", "revision", "manifest", "config", "layer"])
def test_what_is_not_a_file_of_the_registry_harms_its_image_only(
    images: orlop.ImageService,
    directory: Directory,
    tmp_path: Path,
    kind: str,
    which: str,
) -> None:
    layout = Layout()
    good, bad = layout.image("good"), layout.image("bad")
    directory.push(layout, "app", {"good": good, "bad": bad})
    manifest = json.loads(layout.files["blobs/" + bad["digest"].replace(":", "/")])
    manifests = directory.repository("app") / "_manifests"
    blobs = {
        "manifest": bad["digest"],
        "config": manifest["config"]["digest"],
        "layer": manifest["layers"][0]["digest"],
    }
    links = {
        "current": manifests / "tags" / "bad" / "current" / "link",
        "revision": manifests / "revisions" / "sha256" / bad["digest"].partition(":")[2] / "link",
    }
    put_in_place(links[which] if which in links else directory.blob(blobs[which]), kind, tmp_path)
    report = run(images, directory)
    found = states(report)
    assert found.pop("app:good") == "imported"
    assert set(found.values()) <= {"damaged"}
    assert report.damaged or report.notes
    assert [str(name) for one in images.images() for name in one.references if name.tag] == [f"{HOST}/app:good"]
    assert not orlop.stores.fsck(images.root).problems
