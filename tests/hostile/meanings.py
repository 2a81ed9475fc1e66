"""Archives that two programs would read as two images, and others that only look so.

What each program reads is told in `docs/formats.md`; `tests/interop/test_meanings.py` asks the programs themselves.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.hostile import tars
from tests.hostile.made import BODY, OTHER, A, B, config, docker, docker_of, entry, hardlink, symlink, version_1
from tests.unit.layouts import MANIFEST, NAME, REF, Layout, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hostile.made import Files

Descriptor = dict[str, Any]
APP = "docker.io/library/app:1"
NAMES = {NAME: APP, REF: "1"}


def blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def parts(layout: Layout, image: Descriptor) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(layout.files[blob(image["digest"])])
    return document


def listed(layout: Layout, image: Descriptor, *names: str, **changes: Any) -> dict[str, Any]:
    """The entry of manifest.json for an image of a layout."""
    document = parts(layout, image)
    layers = [blob(layer["digest"]) for layer in document["layers"]]
    return {"Config": blob(document["config"]["digest"]), "RepoTags": list(names) or None, "Layers": layers} | changes


def both(layout: Layout, entries: list[dict[str, Any]], *tops: Descriptor) -> Files:
    return layout.top(*tops).files | {"manifest.json": json.dumps(entries).encode()}


def disguised(layout: Layout, **manifest: Any) -> Descriptor:
    """Another image, whose manifest is changed as it is said."""
    image = layout.image("other", compress=False)
    document = parts(layout, image) | manifest
    del layout.files[blob(image["digest"])]
    return layout.document({key: value for key, value in document.items() if value is not None}, MANIFEST)


def exchanged(
    annotations: dict[str, str] | None = None, *, manifest: dict[str, Any] | None = None, **top: Any
) -> Files:
    """manifest.json gives a name to one image, index.json to another one that may be marked as no image."""
    layout = Layout()
    one, other = layout.image("one", compress=False), disguised(layout, **(manifest or {}))
    other |= {"annotations": NAMES if annotations is None else annotations} | top
    return both(layout, [listed(layout, one, "app:1")], {k: v for k, v in other.items() if v is not None})


def with_layers(media_type: str) -> dict[str, Any]:
    """What `disguised` changes so that the layers have another type."""
    layout = Layout()
    layers = parts(layout, layout.image("other", compress=False))["layers"]
    return {"layers": [layer | {"mediaType": media_type} for layer in layers]}


def in_an_index(*, first: Descriptor, second: Descriptor, architecture: str = "amd64") -> Files:
    """manifest.json lists the second of two images that an index has under one name."""
    layout = Layout()
    one = layout.image("one") | first
    two = layout.image("two", architecture=architecture) | second
    return both(layout, [listed(layout, two, "app:1")], layout.index(one, two, annotations=NAMES))


def in_disguise(
    media_type: str = "application/x", *, listing: bool = False, text: str = "", index: bool = False
) -> Files:
    """An index of two images, the first of which is for the machine and has another type than a manifest's."""
    layout = Layout()
    one = layout.image("one")
    other = layout.image("other", architecture="arm64", compress=False, platform=True)
    if text:
        raw = layout.files["blobs/" + one["digest"].replace(":", "/")]
        one = layout.blob(raw.replace(b"{", b"{" + text.encode(), 1), MANIFEST)
    if index:
        one = layout.index(one)
    top = layout.index(one | {"mediaType": media_type} | platform("amd64"), other, annotations=NAMES)
    entries = [listed(layout, other, "app:1")] if listing else []
    return both(layout, entries, top) if listing else layout.top(top).files


def platform(architecture: str, **more: str) -> Descriptor:
    return {"platform": {"os": "linux", "architecture": architecture} | more}


def two_of(first: dict[str, str], second: dict[str, str], *, says: Descriptor | None = None, **more: Any) -> Files:
    """A layout of two images whose descriptors have these annotations; that of the second also says something else."""
    layout = Layout()
    one = layout.image("one", annotations=first)
    two = layout.image("two", annotations=second, **more) | (says or {})
    return layout.top(one, two).files


def flat(*architectures: str, names: dict[str, str] = NAMES) -> Files:
    """A layout of images whose descriptors have one name and, all but the first, a platform."""
    layout = Layout()
    images = [
        layout.image(str(number), architecture=each, platform=bool(number), annotations=names)
        for number, each in enumerate(architectures)
    ]
    return layout.top(*images).files


def other_layers(change: Callable[[Layout, list[Descriptor]], list[Descriptor]]) -> Files:
    """An image in both lists, whose manifest in index.json has other layers than manifest.json gives it."""
    layout = Layout()
    image = layout.image("one", "two")
    document = parts(layout, image)
    entries = [listed(layout, image, "app:1")]
    document["layers"] = change(layout, document["layers"])
    return both(layout, entries, layout.document(document, MANIFEST, annotations=NAMES))


def evil_layer(layout: Layout, layers: list[Descriptor]) -> list[Descriptor]:
    return [layers[0], layout.blob(OTHER, layers[1]["mediaType"])]


def tops_of(*names: dict[str, str], nested: bool = False) -> Files:
    """Images that manifest.json does not list, beside one that it does."""
    layout = Layout()
    one = layout.image("one", annotations=names[0])
    more = [layout.image(f"more-{number}", annotations=each) for number, each in enumerate(names[1:])]
    if nested:
        more = [layout.index(layout.index(*more))]
    return both(layout, [listed(layout, one, "app:1")], one, *more)


def unlisted_alone() -> Files:
    """index.json leads to an image without a name, manifest.json names another one."""
    layout = Layout()
    return both(layout, [listed(layout, layout.image("one"), "app:1")], layout.image("other"))


def swapped_folder(link: bytes = b"d") -> bytes:
    """A config that unpacking replaces: its folder becomes a link to another one, in which the name comes again."""
    first, second = config(sha256(BODY)), config(sha256(OTHER))
    return tars.tar(
        tars.files({"manifest.json": json.dumps([entry(Config="d/c.json")]).encode(), "l.tar": BODY}),
        tars.member(b"d/c.json", first),
        symlink(link, b"e"),
        tars.member(b"e/c.json", second),
    )


def absolute_link() -> bytes:
    """A link whose absolute target is there twice: from the archive's root, and from the link's own folder."""
    return tars.tar(
        tars.files({"manifest.json": json.dumps([entry(Config="d/c.json", Layers=["d/l.tar"])]).encode()}),
        tars.files({"x.json": config(author="a"), "d/x.json": config(author="b"), "d/l.tar": BODY}),
        symlink(b"d/c.json", b"/x.json"),
    )


def climbing_link(name: bytes = b"d/x", link: bytes = b"../a/../c.json") -> bytes:
    """A link that leads up again from another link: as text to one member, in a tree of files to another one."""
    return tars.tar(
        tars.files({"manifest.json": json.dumps([entry(Config=name.decode())]).encode(), "l.tar": BODY}),
        tars.files({"c.json": config(author="a"), "e/c.json": config(author="b"), "e/f/g": b""}),
        symlink(b"a", b"e/f"),
        symlink(name, link),
    )


def moved_link(*hops: bytes, target: bytes = b"c.json") -> bytes:
    """A hard link to a symbolic one: as text it leads to one member, as a file of another folder to another one."""
    links = [hardlink(name, before) for before, name in pairwise((b"e/s", *hops))]
    listed = json.dumps([entry(Config=hops[-1].decode())]).encode()
    return tars.tar(
        tars.files({"manifest.json": listed, "l.tar": BODY}),
        tars.files({"e/c.json": config(author="a"), "f/c.json": config(author="b"), "c.json": config(author="c")}),
        symlink(b"e/s", target),
        *links,
    )


def moved_by_folder(target: bytes = b"k/c.json") -> bytes:
    """A hard link to a symbolic one whose text leads through a folder, and there through a link to another folder."""
    listed = json.dumps([entry(Config="f/h")]).encode()
    files = {"e/k/c.json": config(author="a"), "e/c.json": config(author="a"), "g/i/c.json": config(author="b")}
    return tars.tar(
        tars.files({"manifest.json": listed, "l.tar": BODY, "g/c.json": config(author="b")} | files),
        symlink(b"f/k", b"../g/i"),
        symlink(b"e/s", target),
        hardlink(b"f/h", b"e/s"),
    )


def linked_between(*texts: bytes) -> bytes:
    """A hard link to a symbolic one that comes again, with another text for the same member."""
    listed = json.dumps([entry(Config="f/h")]).encode()
    first, *others = (symlink(b"e/s", text) for text in texts)
    return tars.tar(
        tars.files({"manifest.json": listed, "l.tar": BODY}),
        tars.files({"e/c.json": config(author="a"), "f/c.json": config(author="b")}),
        first,
        hardlink(b"f/h", b"e/s"),
        *others,
    )


def hidden_list(link: bytes = b"a/m.json") -> bytes:
    """An OCI layout whose manifest.json is a link that leads nowhere as text, and to a list in a tree of files."""
    layout = Layout()
    one, other = layout.image("one", compress=False), layout.image("other", compress=False)
    files = layout.top(one | {"annotations": NAMES}).files
    listing = {"e/f/m.json": json.dumps([listed(layout, other, "app:1")]).encode()}
    return tars.tar(
        tars.files(files | listing | {"e/m.json": listing["e/f/m.json"]}),
        symlink(b"a", b"e/f"),
        symlink(b"manifest.json", link),
    )


def hidden_names() -> bytes:
    """An OCI layout that is an archive of version 1 as well, whose ``repositories`` a link to a folder hides."""
    layout = Layout()
    files = layout.top(layout.image("one", compress=False) | {"annotations": NAMES}).files
    first = {"id": A, "created": "2020-01-01T00:00:00Z", "architecture": "amd64", "os": "linux"}
    # Docker takes each folder for an image.
    for folder in (A, "blobs"):
        files |= {
            f"{folder}/VERSION": b"1.0",
            f"{folder}/json": json.dumps(first).encode(),
            f"{folder}/layer.tar": BODY,
        }
    return behind_folder("repositories", files, json.dumps({"app": {"1": A}}).encode())


def hidden_mark() -> bytes:
    """An OCI layout whose ``oci-layout`` a link to a folder hides."""
    layout = Layout()
    files = layout.top(layout.image("one", compress=False) | {"annotations": NAMES}).files
    return behind_folder("oci-layout", files, files.pop("oci-layout"))


def behind_folder(name: str, files: Files, content: bytes) -> bytes:
    return tars.tar(
        tars.files(files | {f"{A}/{name}": content}),
        symlink(b"there", A.encode()),
        symlink(name.encode(), b"there/" + name.encode()),
    )


REFUSED: dict[str, tuple[Callable[[], Files | bytes], str]] = {
    # manifest.json against index.json: which program reads which, and what marks do not count.
    "an artifact type in the other image's manifest": (
        lambda: exchanged(manifest={"artifactType": "application/x"}),
        "another image",
    ),
    "an artifact type in the other image's descriptor": (lambda: exchanged(artifactType="application/x"), "another"),
    "an annotation of an attestation": (
        lambda: exchanged(NAMES | {"vnd.docker.reference.type": "attestation-manifest"}),
        "another image",
    ),
    "an annotation of a referrer": (
        lambda: exchanged(NAMES | {"io.containerd.manifest.subject": f"sha256:{A}"}),
        "another image",
    ),
    "the platform unknown/unknown": (lambda: exchanged(**platform("unknown", os="unknown")), "another image"),
    "no media type": (lambda: exchanged(mediaType=None), "another image"),
    "an empty media type": (lambda: exchanged(mediaType=""), "another image"),
    "an unknown media type": (lambda: exchanged(mediaType="application/x"), "another image"),
    "no media type, and no name": (lambda: exchanged({}, mediaType=None), "does not list"),
    "no schema version": (lambda: exchanged(manifest={"schemaVersion": None}), "another image"),
    "a config of an odd type": (
        lambda: exchanged(
            manifest={
                "config": parts(layout := Layout(), layout.image("other", compress=False))["config"]
                | {"mediaType": "application/octet-stream"}
            }
        ),
        "another image",
    ),
    "a subject": (
        lambda: exchanged(manifest={"subject": {"mediaType": MANIFEST, "digest": f"sha256:{A}", "size": 2}}),
        "another image",
    ),
    "layers of an unknown type": (lambda: exchanged({}, manifest=with_layers("application/x")), "does not list"),
    "layers of the type of a statement": (
        lambda: exchanged({}, manifest=with_layers("application/vnd.in-toto+json")),
        "does not list",
    ),
    "layers without a type": (lambda: exchanged({}, manifest=with_layers("")), "does not list"),
    "a layer of an unknown type in the manifest": (
        lambda: other_layers(
            lambda layout, layers: [layout.blob(OTHER, "application/x"), layers[1] | {"mediaType": "application/x"}]
        ),
        "which its manifest.json does not",
    ),
    "a name by the second annotation only": (lambda: exchanged({REF: APP}), "another image"),
    "a name in its short form": (lambda: exchanged({REF: "app:1"}), "another image"),
    "a name behind one that is not a name": (lambda: exchanged({NAME: "ocidir://x", REF: "app:1"}), "another image"),
    "a name behind another name": (lambda: exchanged({NAME: "other:1", REF: "app:1"}), "another image"),
    "an artifact type, and no name": (lambda: exchanged({}, manifest={"artifactType": "application/x"}), "not list"),
    "an image without a name that manifest.json does not list": (unlisted_alone, "does not list"),
    "an image that manifest.json does not list, beside none that it does": (
        lambda: exchanged({NAME: "other:1"}),
        "does not list",
    ),
    # An index, of which manifest.json lists one image.
    "two images of one platform, of which the second is listed": (
        lambda: in_an_index(first=platform("amd64"), second=platform("amd64")),
        "another image",
    ),
    "two images of one platform in two spellings": (
        lambda: in_an_index(first=platform("arm64", variant="v8"), second=platform("arm64"), architecture="arm64"),
        "another image",
    ),
    "an image that is listed, under a platform that it is not for": (
        lambda: in_an_index(first=platform("amd64"), second=platform("arm64")),
        "another image",
    ),
    "an image that is listed, under no platform": (
        lambda: in_an_index(first=platform("amd64"), second={}),
        "another image",
    ),
    "an image of an unknown type in an index": (in_disguise, "another one"),
    "an image of a type in capitals in an index": (lambda: in_disguise(MANIFEST.upper()), "another one"),
    "an image of an unknown type in an index, beside a list": (lambda: in_disguise(listing=True), "another one"),
    "an image of an unknown type in an index, with a key twice": (
        lambda: in_disguise(text='"schemaVersion":2,'),
        "another one",
    ),
    "an index of an unknown type in an index": (lambda: in_disguise(index=True), "another one"),
    # One name twice.
    "a name twice in manifest.json": (
        lambda: docker_of(
            entry(), entry(Config="d.json", Layers=["m.tar"]), d__json=config(sha256(OTHER)), m__tar=OTHER
        ),
        "to two images",
    ),
    "a name twice in manifest.json, in two spellings": (
        lambda: docker_of(
            entry(RepoTags=["a:latest"]),
            entry(Config="d.json", Layers=["m.tar"], RepoTags=["index.docker.io/library/a:latest"]),
            d__json=config(sha256(OTHER)),
            m__tar=OTHER,
        ),
        "to two images",
    ),
    "a name twice in index.json": (lambda: two_of(NAMES, NAMES), "two images"),
    "a name twice in index.json, in two spellings": (
        lambda: two_of({NAME: "app"}, {NAME: "docker.io/library/app:latest"}),
        "two images",
    ),
    "a name for an image whose descriptor has another platform": (
        lambda: two_of(NAMES, NAMES, says=platform("arm64")),
        "two images",
    ),
    "a name for an image whose config has another platform": (
        lambda: two_of(NAMES, NAMES, architecture="arm64", says=platform("amd64")),
        "two images",
    ),
    "a name for an image of another platform that is marked as of none": (
        lambda: two_of(NAMES, NAMES, architecture="arm64", says=platform("unknown", os="unknown")),
        "two images",
    ),
    "a name for images of two variants of a processor": (
        lambda: two_of(NAMES, NAMES, variant="v2", platform=True),
        "two images",
    ),
    "a name for images of one platform in two spellings": (
        lambda: two_of(NAMES, NAMES, architecture="x86_64", platform=True),
        "two images",
    ),
    "a name for images of which one is for no platform": (
        lambda: two_of(NAMES, NAMES, architecture=""),
        "two images",
    ),
    "a name for images of two platforms, and one of the first again": (lambda: flat("amd64", "arm64", "amd64"), "two"),
    "a name for images of two platforms, and one of the second again": (lambda: flat("amd64", "arm64", "arm64"), "two"),
    "a name for images of two platforms, and an index": (
        lambda: (
            (layout := Layout())
            .top(
                layout.image("one", annotations=NAMES),
                layout.image("two", architecture="arm64", annotations=NAMES),
                layout.index(layout.image("three", architecture="s390x"), annotations=NAMES),
            )
            .files
        ),
        "two images",
    ),
    "a name for images of two platforms, of which manifest.json lists one": (
        lambda: both(
            layout := Layout(),
            [listed(layout, one := layout.image("one"), "app:1")],
            one | {"annotations": NAMES},
            layout.image("two", architecture="arm64", annotations=NAMES),
        ),
        "another image",
    ),
    "a tag alone for an image twice under two platforms, and for another one": (
        lambda: (
            (layout := Layout())
            .top(
                (one := layout.image("one", architecture="arm64", annotations={REF: "1"})) | platform("arm64"),
                one | platform("amd64"),
                layout.image("two", annotations={REF: "1"}),
            )
            .files
        ),
        "two images",
    ),
    "a name for an image that is marked as an attestation": (
        lambda: two_of(NAMES, NAMES | {"vnd.docker.reference.type": "x"}),
        "two images",
    ),
    "a name for an image and an artifact": (
        lambda: two_of(NAMES, NAMES, changes={"config": Layout().document({}, "application/x")}),
        "two images",
    ),
    "names that are exchanged between the annotations": (
        lambda: two_of({NAME: "a:1", REF: "b:1"}, {NAME: "b:1", REF: "a:1"}),
        "two images",
    ),
    "a name by one annotation each": (lambda: two_of({NAME: "a:1"}, {REF: "docker.io/library/a:1"}), "two images"),
    "a tag alone twice": (lambda: two_of({REF: "1"}, {REF: "1"}), "two images"),
    "a tag alone, and as that of a name": (lambda: two_of({REF: "1"}, NAMES), "two images"),
    "a tag of a name, and alone": (lambda: two_of(NAMES, {REF: "1"}), "two images"),
    "a text that is not a name, twice": (lambda: two_of({REF: "Some Text"}, {REF: "Some Text"}), "two images"),
    "a name twice in repositories, in two spellings": (
        lambda: version_1({"a": {"1": A}, "docker.io/library/a": {"1": B}}),
        "two images",
    ),
    # Other layers under one image ID.
    "another layer in the manifest": (lambda: other_layers(evil_layer), "which its manifest.json does not"),
    "one more layer in the manifest": (
        lambda: other_layers(lambda layout, layers: [*layers, layout.blob(OTHER, layers[0]["mediaType"])]),
        "which its manifest.json does not",
    ),
    # Two formats at once.
    "a layout that is an archive of version 1": (
        lambda: Layout().files | (top := Layout()).top(top.image("one")).files | version_1(),
        "at once",
    ),
    # Names that unpacking changes.
    "a folder that becomes a link": (swapped_folder, "at once"),
    "a file that is a folder": (
        lambda: tars.tar(tars.files(docker()), tars.member(b"l.tar/x", b"x"), tars.member(b"y", b"x")),
        "at once",
    ),
    "a hard link that is a folder": (
        lambda: tars.tar(tars.files(docker()), hardlink(b"d", b"c.json"), tars.member(b"d/x/y", b"x")),
        "at once",
    ),
    "a link with an absolute target that is there twice": (absolute_link, "for Docker and to"),
    "a link that leads up from a link": (climbing_link, "which is a link itself"),
    "a link that leads up from a link, from the root": (lambda: climbing_link(b"x", b"a/../c.json"), "a link itself"),
    "a link with an absolute target that leads up from a link": (
        lambda: climbing_link(b"x", b"/a/../c.json"),
        "a link itself",
    ),
    "a link that leads down and up, and then up from a link": (
        lambda: climbing_link(b"x", b"e/./f//../../a/../c.json"),
        "a link itself",
    ),
    "a hard link to a link in another folder": (lambda: moved_link(b"f/h"), "leads to a symbolic one"),
    "a hard link to a link, by way of another one": (lambda: moved_link(b"e/h", b"h"), "leads to a symbolic one"),
    "a hard link to a link that meets a link to a folder": (moved_by_folder, "leads to a symbolic one"),
    "a hard link to a link that leads up from a link": (lambda: moved_by_folder(b"k/../c.json"), "to a symbolic one"),
    "a hard link between two links of one name": (
        lambda: linked_between(b"c.json", b"../e/c.json"),
        "two different members",
    ),
    "a list of images behind a link to a folder": (hidden_list, "which is not there"),
    "names of version 1 behind a link to a folder": (hidden_names, "which is not there"),
    "a list of images above a link to a folder": (lambda: hidden_list(b"a/../m.json"), "which is not there"),
}
"""What is refused, with a part of the sentence: it names both readings."""


def nested_and_named() -> Files:
    layout = Layout()
    one = layout.image("one", **platform("amd64"))
    index = layout.index(one, layout.image("two", architecture="arm64", **platform("arm64")), annotations=NAMES)
    return both(layout, [listed(layout, one, "app:1")], index)


def same_twice(**more: Any) -> Files:
    layout = Layout()
    one, plain = layout.image("one", annotations=NAMES), layout.image("one", compress=False, annotations=NAMES)
    return layout.top(one, one, plain | more).files


def signed() -> Files:
    """An image in both lists, and what was made of it: under its own name in index.json only."""
    layout = Layout()
    one = layout.image("one", annotations=NAMES)
    payload = layout.blob(b'{"critical":{}}', "application/vnd.dev.cosign.simplesigning.v1+json")
    signature = {
        "schemaVersion": 2,
        "config": layout.document({"rootfs": {"type": "layers", "diff_ids": [payload["digest"]]}}, OCI_CONFIG),
        "layers": [payload],
    }
    top = layout.document(signature, MANIFEST, annotations={NAME: f"app:{one['digest'].replace(':', '-')}.sig"})
    return both(layout, [listed(layout, one, "app:1")], one, top)


OCI_CONFIG = "application/vnd.oci.image.config.v1+json"

HARMLESS: dict[str, Callable[[], Files | bytes]] = {
    "an index of which manifest.json lists one image": nested_and_named,
    "a name twice for one image in two forms": same_twice,
    "a name twice in manifest.json for one image": lambda: docker_of(entry(), entry()),
    "a name for images of three platforms": lambda: flat("amd64", "arm64", "s390x"),
    "a tag alone for images of two platforms": lambda: flat("arm64", "amd64", names={REF: "1"}),
    "a tag alone, and as that of a name for another platform": lambda: two_of({REF: "1"}, NAMES, architecture="arm64"),
    "two names of one tag": lambda: two_of({NAME: "a:1", REF: "1"}, {NAME: "b:1", REF: "1"}),
    "a signature that only index.json lists": signed,
    "an index.json that lists more": lambda: tops_of(NAMES, {NAME: "other:1", REF: "1"}),
    "a manifest.json that lists more": lambda: both(
        layout := Layout(),
        [listed(layout, one := layout.image("one"), "app:1"), listed(layout, layout.image("two"), "b:1")],
        one | {"annotations": NAMES},
    ),
    "layers in another order in the manifest": lambda: other_layers(lambda _, layers: layers[::-1]),
    "no layers in the manifest": lambda: other_layers(lambda *_: []),
    "layers in the manifest that the archive lacks": lambda: other_layers(
        lambda _, layers: [layers[0] | {"digest": f"sha256:{A}", "urls": ["https://example.com/layer"]}, layers[1]]
    ),
    "an index with an artifact of an unknown type": lambda: (
        (layout := Layout())
        .top(
            layout.index(
                layout.image("one"),
                layout.document({"config": {}, "name": "x"}, "application/x"),
                layout.blob(b"{", "application/x"),
            )
        )
        .files
    ),
    "an index that is empty": lambda: both(layout := Layout(), [listed(layout, layout.image("one"), "app:1")]),
    "a layout beside repositories": lambda: (
        (layout := Layout()).top(layout.image("one")).files | {"repositories": b"{}"}
    ),
    "the mark of a layout behind a link to a folder": hidden_mark,
    "a link that leads up from a folder": lambda: climbing_link(link=b"../e/f/../c.json"),
    "a hard link to a link in the same folder": lambda: moved_link(b"e/h"),
    "a hard link to a link that names its own folder": lambda: moved_link(b"f/h", target=b"../e/c.json"),
    "a hard link to a link with an absolute target": lambda: moved_link(b"f/h", target=b"/e/c.json"),
    "a link that comes twice": lambda: tars.tar(
        tars.files(docker_of(entry(Layers=["d/l.tar"]))), *[symlink(b"d/l.tar", b"../l.tar")] * 2
    ),
    "an absolute link that leads to one member": lambda: tars.tar(
        tars.files(docker_of(entry(Layers=["d/l.tar"]))), symlink(b"d/l.tar", b"/l.tar")
    ),
}
"""What has one meaning, and is loaded."""
