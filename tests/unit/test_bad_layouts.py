"""Bad layouts and archives of version 1: one clear sentence, a stable class, and a store that is exactly as it was."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

import orlop
from orlop import errors
from tests.unit.artifacts import chart, signature
from tests.unit.layouts import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    Layout,
    everything,
    layer_tar,
    named,
    packed,
    sha256,
    unpacked,
)
from tests.unit.odd_layouts import a_table_of_contents_of_stargz, encrypted_layers_that_begin_like_a_tar, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.layouts import Files


def good() -> Layout:
    layout = Layout()
    return layout.top(layout.image("hello", **named("docker.io/library/a:1")))


def top_changed(**changes: Any) -> Files:
    """A layout whose index says something else of its manifest."""
    layout = Layout()
    return layout.top(layout.image("hello") | changes).files


def manifest_changed(**changes: Any) -> Files:
    layout = Layout()
    return layout.top(layout.image("hello", changes=changes)).files


def descriptor_changed(key: str, **changes: Any) -> Files:
    """A layout whose manifest says something else of its config or its layer."""
    layout = Layout()
    top = layout.image("hello")
    manifest = json.loads(layout.files.pop("blobs/" + top["digest"].replace(":", "/")))
    if key == "config":
        manifest["config"] |= changes
    else:
        manifest["layers"][0] |= changes
    return layout.top(layout.document(manifest, MANIFEST)).files


def content_changed(kind: str, change: Callable[[bytes], bytes]) -> Files:
    """A layout of which one blob is not what its name says."""
    files = dict(good().files)
    for name, content in files.items():
        what = "layer"
        if content[:1] == b"{":
            document = json.loads(content)
            what = "manifest" if "config" in document else "config" if "rootfs" in document else "other"
        if what == kind:
            files[name] = change(content)
            return files
    raise AssertionError(kind)


def lacking(kind: str) -> Files:
    files = content_changed(kind, lambda _: b"")
    return {name: content for name, content in files.items() if content}


def flipped(content: bytes) -> bytes:
    return content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]


def config_changed(**changes: Any) -> Files:
    layout = Layout()
    tar = layer_tar("hello")
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(tar)]}}
    manifest = {
        "schemaVersion": 2,
        "config": layout.document(config | changes, CONFIG),
        "layers": [layout.blob(tar, LAYER)],
    }
    return layout.top(layout.document(manifest, MANIFEST)).files


def nested(depth: int) -> Files:
    layout = Layout()
    descriptor = layout.image("hello")
    for _ in range(depth):
        descriptor = layout.index(descriptor)
    return layout.top(descriptor).files


def own_index() -> Files:
    """An index that names itself, as far as one can: by a digest that it does not have."""
    layout = Layout()
    loop = {"mediaType": INDEX, "digest": "sha256:" + "1" * 64, "size": 300}
    content = json.dumps({"schemaVersion": 2, "manifests": [loop]}).encode().ljust(300)
    layout.files["blobs/sha256/" + "1" * 64] = content
    return layout.top(loop).files


def only(*descriptors: dict[str, Any]) -> Files:
    return Layout().top(*descriptors).files


def artifact() -> Files:
    layout = Layout()
    config = layout.blob(b"{}", "application/vnd.cncf.helm.config.v1+json")
    manifest = {"schemaVersion": 2, "config": config, "layers": []}
    return layout.top(layout.document(manifest, MANIFEST)).files


def attestation_alone() -> Files:
    layout = Layout()
    statement = layout.document({"_type": "https://in-toto.io/Statement/v0.1"}, "application/vnd.in-toto+json")
    config = layout.document({"architecture": "unknown", "os": "unknown"}, CONFIG)
    manifest = {"schemaVersion": 2, "config": config, "layers": [statement]}
    return layout.top(layout.document(manifest, MANIFEST)).files


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Files:
    files = good().files
    return files | {name: change(files[name])}


def reworked(change: Callable[[bytes], bytes]) -> Files:
    """A manifest of other bytes, under their digest."""
    layout = Layout()
    raw = json.dumps(read(layout, layout.image("hello"))).encode()
    return layout.top(layout.blob(change(raw), MANIFEST)).files


def with_subject(hex_: str) -> Callable[[bytes], bytes]:
    subject = {"mediaType": MANIFEST, "digest": f"sha256:{hex_}", "size": 2}
    return lambda raw: json.dumps(json.loads(raw) | {"subject": subject}).encode()


def empty_of_another_size() -> Files:
    layout = Layout()
    manifest = read(layout, signature(layout, None))
    manifest["config"]["size"] = 3
    return layout.top(layout.document(manifest, MANIFEST)).files


def child_of_two_sizes() -> Files:
    layout = Layout()
    child = layout.image("hello", platform=True)
    return layout.top(child, layout.index(child | {"size": child["size"] + 1})).files


def subjects_in_a_circle() -> Files:
    """Three artifacts that refer to each other, as far as they can: by digests that they do not have."""
    layout = Layout()
    made: list[dict[str, Any]] = [
        {"mediaType": MANIFEST, "digest": f"sha256:{digit * 64}", "size": 900} for digit in "123"
    ]
    for number, descriptor in enumerate(made):
        manifest = read(layout, signature(layout, made[(number + 1) % len(made)]))
        layout.files["blobs/" + descriptor["digest"].replace(":", "/")] = json.dumps(manifest).encode().ljust(900)
    return layout.top(layout.image("hello"), *made).files


def named_like_an_image() -> Files:
    layout = Layout()
    return layout.top(layout.image("hello", **named("a:1")), chart(layout) | named("a:1")).files


def two_of_one_name() -> Files:
    layout = Layout()
    return layout.top(layout.image("a", **named("a:1")), layout.image("b", **named("a:1"))).files


def skopeo_dir(**changes: bytes) -> Files:
    tar = layer_tar("hello")
    config = json.dumps(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256(tar)]}}
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": sha256(config), "size": len(config)},
        "layers": [{"mediaType": LAYER, "digest": sha256(tar), "size": len(tar)}],
    }
    files = {"manifest": json.dumps(manifest).encode(), "config": config, "layer": tar} | changes
    names = {"manifest": "manifest.json", "config": sha256(config)[7:], "layer": sha256(tar)[7:]}
    return {names.get(name, name): content for name, content in files.items()}


A, B = "a" * 64, "b" * 64


def version_1(**changes: bytes) -> Files:
    files = {
        f"{A}/json": json.dumps({"id": A, "os": "linux"}).encode(),
        f"{A}/layer.tar": layer_tar("lower"),
        f"{B}/json": json.dumps({"id": B, "parent": A, "os": "linux"}).encode(),
        f"{B}/layer.tar": layer_tar("upper"),
        "repositories": json.dumps({"a": {"1": B}}).encode(),
    }
    for name, content in changes.items():
        files[name.replace("A_", f"{A}/").replace("B_", f"{B}/").replace("layer", "layer.tar")] = content
    return {name: content for name, content in files.items() if content != b"-"}


BAD: dict[str, tuple[Callable[[], Files], type[orlop.OrlopError], str]] = {
    "manifest of another digest": (lambda: content_changed("manifest", flipped), errors.DigestMismatch, "digest"),
    "manifest of another size": (lambda: top_changed(size=3), errors.SizeMismatch, "descriptor says 3"),
    "manifest missing": (lambda: lacking("manifest"), errors.InvalidArchive, "no such member"),
    "manifest of schema 1": (lambda: manifest_changed(schemaVersion=1), errors.InvalidManifest, "schemaVersion"),
    "manifest and index at once": (
        lambda: manifest_changed(manifests=[]),
        errors.InvalidManifest,
        "a manifest and an index at once",
    ),
    "index that is a manifest": (lambda: top_changed(mediaType=INDEX), errors.InvalidManifest, "is not the"),
    "manifest that calls itself an index": (
        lambda: manifest_changed(mediaType=INDEX),
        errors.InvalidManifest,
        "not what its media type",
    ),
    "config of another digest": (lambda: content_changed("config", flipped), errors.DigestMismatch, "the config"),
    "config of another size": (lambda: descriptor_changed("config", size=1), errors.SizeMismatch, "the config"),
    "config missing": (lambda: lacking("config"), errors.InvalidArchive, "the config"),
    "config by another digest": (
        lambda: descriptor_changed("config", digest="sha256:" + "2" * 64),
        errors.InvalidArchive,
        "the config",
    ),
    "config without rootfs": (lambda: config_changed(rootfs=None), errors.InvalidImage, "rootfs"),
    "config of two layers": (
        lambda: config_changed(rootfs={"type": "layers", "diff_ids": [sha256(layer_tar("hello"))] * 2}),
        errors.InvalidArchive,
        "diff IDs",
    ),
    "config of another diff ID": (
        lambda: config_changed(rootfs={"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}),
        errors.DigestMismatch,
        "diff ID",
    ),
    "config with a diff ID that is a path": (
        lambda: config_changed(rootfs={"type": "layers", "diff_ids": ["sha256:../../../x"]}),
        errors.InvalidDigest,
        "",
    ),
    "layer of another digest": (lambda: content_changed("layer", lambda _: layer_tar("x")), errors.SizeMismatch, ""),
    "layer with other bytes": (
        lambda: content_changed("layer", lambda content: content[:4] + b"abcd" + content[8:]),
        errors.DigestMismatch,
        "digest",
    ),
    "layer of another size": (lambda: descriptor_changed("layer", size=1), errors.SizeMismatch, "manifest says 1"),
    "layer missing": (lambda: lacking("layer"), errors.InvalidArchive, "the layer"),
    "layer by sha512": (
        lambda: descriptor_changed("layer", digest="sha512:" + "1" * 128),
        errors.InvalidArchive,
        "the layer 'blobs/sha512/1",
    ),
    "layer digest with slashes": (
        lambda: descriptor_changed("layer", digest="sha256:../../../etc/passwd"),
        errors.InvalidManifest,
        "invalid digest",
    ),
    "manifest digest with slashes": (
        lambda: top_changed(digest="sha256:" + "../" * 21 + "x"),
        errors.InvalidManifest,
        "invalid digest",
    ),
    "algorithm with slashes": (lambda: top_changed(digest="../x:" + "1" * 64), errors.InvalidManifest, ""),
    "size a text": (lambda: top_changed(size="3"), errors.InvalidManifest, "size"),
    "size negative": (lambda: top_changed(size=-1), errors.InvalidManifest, "size"),
    "index in itself": (own_index, errors.DigestMismatch, "digest"),
    "indexes without end": (lambda: nested(70), errors.InvalidArchive, "64 deep"),
    "no manifests": (only, errors.InvalidArchive, "no image"),
    "only unknown types": (
        lambda: top_changed(mediaType="application/x-thing", digest="sha256:" + "0" * 64),
        errors.InvalidArchive,
        "'application/x-thing'",
    ),
    "index with a byte order mark": (
        lambda: rewritten("index.json", lambda raw: b"\xef\xbb\xbf" + raw),
        errors.InvalidManifest,
        "index.json is refused: invalid manifest: invalid JSON: it begins with a byte order mark",
    ),
    "index in 16 bits": (
        lambda: rewritten("index.json", lambda raw: raw.decode().encode("utf-16-le")),
        errors.InvalidManifest,
        "or is UTF-16",
    ),
    "manifest with a byte order mark": (
        lambda: reworked(lambda raw: b"\xef\xbb\xbf" + raw),
        errors.InvalidManifest,
        " is refused: invalid manifest: invalid JSON: it begins with a byte order mark",
    ),
    "index with a NUL in a key": (
        lambda: rewritten("index.json", lambda raw: raw.replace(b'"manifests"', b'"mani\0fests"')),
        errors.InvalidManifest,
        "index.json is refused",
    ),
    "index with a key that is there twice": (
        lambda: rewritten("index.json", lambda raw: raw.replace(b'"manifests"', b'"m\\u0061nifests":[],"manifests"')),
        errors.InvalidManifest,
        "'manifests' stands more than once",
    ),
    "digest in upper case": (
        lambda: top_changed(digest="sha256:" + "AB" * 32),
        errors.InvalidManifest,
        "index.json is refused: invalid manifest: digest of manifests[0]",
    ),
    "algorithm in upper case": (
        lambda: top_changed(digest="SHA256:" + "ab" * 32),
        errors.InvalidManifest,
        "lower-case hex",
    ),
    "subject in upper case": (lambda: reworked(with_subject("AB" * 32)), errors.InvalidManifest, "digest of subject"),
    "data that is not what its digest says": (
        lambda: top_changed(data="e30="),
        errors.InvalidManifest,
        "it is not the content of",
    ),
    "urls that are a text": (
        lambda: descriptor_changed("layer", urls="https://example.com"),
        errors.InvalidManifest,
        "urls of layers[0]",
    ),
    "empty config of another size": (empty_of_another_size, errors.SizeMismatch, "its manifest says 3"),
    "child of two sizes": (child_of_two_sizes, errors.SizeMismatch, "but its descriptor says"),
    "subjects in a circle": (subjects_in_a_circle, errors.DigestMismatch, "not that of its descriptor"),
    "artifact named like an image": (named_like_an_image, errors.InvalidArchive, "to two images"),
    "index no JSON": (lambda: good().files | {"index.json": b"{"}, errors.InvalidManifest, ""),
    "index a list": (lambda: good().files | {"index.json": b"[]"}, errors.InvalidManifest, "not an object"),
    "index a manifest": (
        lambda: good().files | {"index.json": b'{"schemaVersion":2,"layers":[]}'},
        errors.InvalidManifest,
        "",
    ),
    "no index": (
        lambda: {name: content for name, content in good().files.items() if name != "index.json"},
        errors.InvalidArchive,
        "index.json",
    ),
    "another version": (
        lambda: good().files | {"oci-layout": b'{"imageLayoutVersion":"2.0.0"}'},
        errors.InvalidArchive,
        "'2.0.0'",
    ),
    "name by another digest": (
        lambda: top_changed(**named("a@sha256:" + "1" * 64)),
        errors.InvalidArchive,
        "refused",
    ),
    "one name for two images": (two_of_one_name, errors.InvalidArchive, "two images"),
    "skopeo's directory and a layout": (
        lambda: skopeo_dir() | good().files,
        errors.InvalidArchive,
        "at once",
    ),
    "directory with another config": (
        lambda: skopeo_dir(config=b'{"architecture":"amd64"}'),
        errors.SizeMismatch,
        "the config",
    ),
    "directory without its layer": (
        lambda: {name: content for name, content in skopeo_dir().items() if content != layer_tar("hello")},
        errors.InvalidArchive,
        "the layer",
    ),
    "directory with another layer": (
        lambda: skopeo_dir(layer=layer_tar("other")),
        errors.DigestMismatch,
        "digest",
    ),
    "version 1 without repositories": (
        lambda: version_1(repositories=b"-"),
        errors.InvalidArchive,
        "repositories",
    ),
    "version 1 without a config": (lambda: version_1(A_json=b"-"), errors.InvalidArchive, "v1 config"),
    "version 1 without a layer": (lambda: version_1(A_layer=b"-"), errors.InvalidArchive, "the layer"),
    "version 1 with a bad layer": (lambda: version_1(B_layer=b"x" * 2000), errors.InvalidTar, "not a layer tar"),
    "version 1 with a bad config": (lambda: version_1(B_json=b"[]"), errors.InvalidImage, ""),
    "version 1 with parents in a circle": (
        lambda: version_1(A_json=json.dumps({"parent": B}).encode()),
        errors.InvalidArchive,
        "loop",
    ),
    "version 1 with a parent elsewhere": (
        lambda: version_1(A_json=json.dumps({"parent": "c" * 64}).encode()),
        errors.InvalidArchive,
        "v1 config",
    ),
    "version 1 with a parent outside": (
        lambda: version_1(A_json=json.dumps({"parent": "../x"}).encode()),
        errors.InvalidArchive,
        "outside",
    ),
    "version 1 with a name for nothing": (
        lambda: version_1(repositories=json.dumps({"a": {"1": "c" * 64}}).encode()),
        errors.InvalidArchive,
        "not there",
    ),
    "version 1 with a bad name": (
        lambda: version_1(repositories=json.dumps({"A:B": {"1": A}}).encode()),
        errors.InvalidReference,
        "",
    ),
    "version 1 with a bad tag": (
        lambda: version_1(repositories=json.dumps({"a": {"/": A}}).encode()),
        errors.InvalidReference,
        "tag",
    ),
    "version 1 with names that are not an object": (
        lambda: version_1(repositories=b"[1]"),
        errors.InvalidArchive,
        "not an object",
    ),
    "version 1 with tags that are not an object": (
        lambda: version_1(repositories=b'{"a":1}'),
        errors.InvalidArchive,
        "not an object",
    ),
    "nothing that is known": (lambda: {"README": b"hello"}, errors.InvalidArchive, "neither"),
}


@pytest.mark.sampled(6)
@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("way", ["file", "stream", "directory"])
def test_a_bad_layout_is_refused_and_changes_nothing(data, tmp_path, case, way):
    make, kind, sentence = BAD[case]
    files = make()
    source: Any = tmp_path / "bad.tar"
    if way == "directory":
        source = unpacked(files, tmp_path / "bad")
    elif way == "stream":
        source = io.BytesIO(packed(files))
    else:
        source.write_bytes(packed(files))
    with orlop.open(tmp_path / "root") as images:
        images.load(data / "dockerd-29-overlay2" / "tiny.tar")
        before = everything(tmp_path / "root")
        with pytest.raises(kind) as caught:
            images.load(source)
        assert everything(tmp_path / "root") == before
    text = str(caught.value)
    assert sentence in text
    assert "\n" not in text
    assert len(text) < 500
    # What is read without a store is refused in the same way.
    if way != "stream":
        with pytest.raises(kind), orlop.Archive(source) as archive:
            archive.verify()


def test_the_parts_that_the_cases_change_are_good(tmp_path):
    for number, files in enumerate((good().files, config_changed(), nested(5), skopeo_dir(), version_1())):
        with orlop.open(tmp_path / str(number)) as images:
            assert images.load(io.BytesIO(packed(files))).images


@pytest.mark.parametrize("link", ["/etc/passwd", "../outside", "blobs/../../outside"])
def test_a_link_out_of_a_directory_is_not_followed(tmp_path, link):
    folder = unpacked(good().files, tmp_path / "layout")
    (tmp_path / "outside").write_bytes((folder / "index.json").read_bytes())
    (folder / "index.json").unlink()
    (folder / "index.json").symlink_to(link)
    with orlop.open(tmp_path / "root") as images, pytest.raises(errors.InvalidArchive, match="outside"):
        images.load(folder)


def test_a_folder_that_is_a_link_is_not_entered(tmp_path):
    folder = unpacked(good().files, tmp_path / "layout")
    (folder / "blobs").rename(tmp_path / "blobs")
    (folder / "blobs").symlink_to(tmp_path / "blobs")
    with (
        orlop.open(tmp_path / "root") as images,
        pytest.raises(errors.InvalidArchive, match="'blobs' is a link to"),
    ):
        images.load(folder)


def test_a_fifo_in_a_directory_does_not_make_anyone_wait(tmp_path):
    folder = unpacked(good().files, tmp_path / "layout")
    (folder / "index.json").unlink()
    os.mkfifo(folder / "index.json")
    with orlop.open(tmp_path / "root") as images, pytest.raises(errors.InvalidArchive, match=r"index\.json"):
        images.load(folder)


def test_a_file_that_is_swapped_for_a_link_is_not_followed(tmp_path):
    folder = unpacked(good().files, tmp_path / "layout")
    blobs = folder / "blobs" / "sha256"
    with orlop.Archive(folder) as archive:
        (layer,) = archive.images[0].layers
        path = blobs / layer.name.rpartition("/")[2]
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(errors.OrlopError, match="cannot read"):
            layer.verify()


def test_a_directory_that_is_no_layout_is_left_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"x")
    with orlop.open(tmp_path / "root") as images, pytest.raises(errors.InvalidArchive, match="not an image layout"):
        images.load(tmp_path / "folder")


def test_links_inside_a_directory_are_followed(tmp_path):
    files = good().files
    folder = unpacked(files, tmp_path / "layout")
    (folder / "index.json").rename(folder / "blobs" / "index")
    (folder / "index.json").symlink_to("blobs/../blobs/index")
    with orlop.open(tmp_path / "root") as images:
        assert images.load(folder).messages() == ("Loaded image: a:1",)


def test_a_layer_that_is_known_is_not_read_but_its_size_is_checked(tmp_path):
    with orlop.open(tmp_path / "root") as images:
        images.load(io.BytesIO(good().pack()))
        with pytest.raises(errors.SizeMismatch):
            images.load(io.BytesIO(packed(descriptor_changed("layer", size=1))))


def test_a_device_in_a_tar_is_no_document(tmp_path):
    out = io.BytesIO(packed({"oci-layout": good().files["oci-layout"]}))
    with tarfile.open(fileobj=out, mode="a") as tar:
        member = tarfile.TarInfo("index.json")
        member.type = tarfile.CHRTYPE
        tar.addfile(member)
    with orlop.open(tmp_path / "root") as images, pytest.raises(errors.InvalidArchive, match="index"):
        images.load(io.BytesIO(out.getvalue()))


def test_an_archive_that_is_cut_off_between_two_members_is_said_to_be_incomplete(tmp_path):
    files = {name: content for name, content in good().files.items() if name.startswith("blobs/")}
    with (
        orlop.open(tmp_path / "root") as images,
        pytest.raises(errors.InvalidArchive, match="incomplete: it has blobs"),
    ):
        images.load(io.BytesIO(packed(files)))


def test_the_encrypted_image_of_one_platform_is_refused_with_what_keeps_it(tmp_path):
    layout = Layout()
    layout.top(*encrypted_layers_that_begin_like_a_tar(layout))
    with orlop.open(tmp_path / "root") as images:
        with pytest.raises(errors.InvalidManifest, match=r"is encrypted.*with all platforms"):
            images.load(io.BytesIO(layout.pack()), platform="linux/amd64")
        assert not images.load(io.BytesIO(layout.pack())).images


def test_a_platform_of_what_is_not_an_image_is_refused_by_its_type(tmp_path):
    layout = Layout()
    layout.top(a_table_of_contents_of_stargz(layout)[1])
    with (
        orlop.open(tmp_path / "root") as images,
        pytest.raises(errors.InvalidArchive, match="holds no image, only content of the type"),
    ):
        images.load(io.BytesIO(layout.pack()), platform="linux/amd64")
