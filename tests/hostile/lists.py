"""Every list whose length a stranger decides, as work that grows with it; see `growth`."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orlop
from orlop.api.engine.shapes.filters import parse_filters as parse_api_filters
from orlop.build.changes import apply_changes
from orlop.cli.show.columns import align
from orlop.cli.show.template.fill import Template
from orlop.cli.show.template.values import Struct
from orlop.errors import OrlopError
from orlop.model import gojson
from orlop.model.container import ContainerConfig
from orlop.model.digest import ChainID, Digest
from orlop.model.durations import parse_duration
from orlop.model.image import Image
from orlop.model.manifest import parse_manifest
from orlop.model.pattern import Pattern
from orlop.model.reference import Reference
from orlop.model.timestamp import Timestamp
from orlop.streams.compression import decompressed, detect
from orlop.streams.tar import TarReader
from orlop.streams.tar_scan import TarScanner
from tests.hostile import tars
from tests.hostile.attached import ATTACHED
from tests.hostile.growth import Growing, opened
from tests.hostile.listed import LISTED
from tests.hostile.made import BODY, DIFF, config, docker, entry, version_1, zstd
from tests.hostile.saves import SAVES
from tests.unit.layouts import CONFIG, INDEX, MANIFEST, NAME, Layout, layer_tar, sha256, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.hostile.made import Files

# Texts: nothing is stored.


def text(make: Callable[[int], Any], work: Callable[[Any], object]) -> Callable[[int, Path], Callable[[], object]]:
    """Work on a value that is made of a count; what is refused is as well as what is read."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        del folder
        value = make(count)

        def run() -> None:
            with suppress(OrlopError, ValueError):
                work(value)

        return run

    return prepare


def repeated(times: int, work: Callable[[Any], object]) -> Callable[[Any], object]:
    """Do again what is too short to be measured."""

    def run(value: Any) -> None:
        for _ in range(times):
            with suppress(OrlopError, ValueError):
                work(value)

    return run


def members(count: int, one: Callable[[int], str], around: str = "{%s}") -> bytes:
    return (around % ",".join(map(one, range(count)))).encode()


def rendered(template: str) -> None:
    Template(template).fill(Struct({"A": "x" * 100}))


def unpacked_stream(data: bytes) -> None:
    with decompressed(io.BytesIO(data), detect(data)) as plain:
        while plain.read(1 << 20):
            pass


def scanned(data: bytes) -> None:
    scanner = TarScanner()
    for start in range(0, len(data), 1 << 16):
        scanner.feed(data[start : start + (1 << 16)])
    scanner.close()
    for _ in TarReader(io.BytesIO(data)):
        pass


def sparse_map(count: int) -> bytes:
    """A sparse file of the PAX format 1.0, whose map of so many empty pieces stands before its content."""
    numbers = b"%d\n" % count + b"0\n0\n" * count
    body = numbers + bytes(-len(numbers) % 512)
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"0"}
    return tars.pax(records) + tars.member(b"sparse", body)


def gzip_with(flag: int, field: bytes) -> bytes:
    """A member of gzip whose header has one more field."""
    plain = gzip.compress(b"x")
    return plain[:3] + bytes([flag]) + plain[4:10] + field + plain[10:]


SKIPPED: Final = b"\x50\x2a\x4d\x18\x01\x00\x00\x00x"

TEXTS = (
    Growing(
        "stars of a pattern",
        4000,
        text(lambda n: "*?" * n + "!", repeated(10, lambda p: Pattern.parse(p).matches("a" * 255))),
    ),
    Growing(
        "a name that a pattern is for",
        4000,
        text(lambda n: "a" * n, lambda name: Pattern.parse("*" + "[ab]" * 50 + "!").matches(name)),
    ),
    Growing(
        "classes of a pattern",
        40_000,
        text(lambda n: f"*[{'b-c' * n}]!", lambda p: Pattern.parse(p).matches("a" * 255)),
    ),
    Growing("parts of a name", 900, text(lambda n: "a." * n + "!", repeated(200, Reference.parse))),
    Growing("parts of a duration", 80_000, text(lambda n: "1m" * n + "!", parse_duration)),
    Growing("digits of a time", 8_000_000, text(lambda n: f"2020-01-01T00:00:00.{'1' * n}Z", Timestamp.parse)),
    Growing("digits of a number", 8_000_000, text(lambda n: b"1" * n, gojson.loads)),
    Growing("escapes in a text", 200_000, text(lambda n: b'"%s"' % (b"\\ud800" * n), gojson.loads)),
    Growing("arrays in arrays", 4900, text(lambda n: b"[" * n + b"]" * n, repeated(6, gojson.loads))),
    Growing(
        "keys",
        20_000,
        text(lambda n: members(n, lambda i: f'"K{i}":1'), partial(gojson.loads, keys=gojson.Keys.FOLDED)),
    ),
    Growing(
        "keys that stand twice",
        50_000,
        text(lambda n: members(n, lambda _: '"a":1'), partial(gojson.loads, keys=gojson.Keys.ONCE)),
    ),
    Growing(
        "steps of a history",
        10_000,
        text(lambda n: config(history=[{"created_by": "x", "empty_layer": True}] * n), Image.from_json),
    ),
    Growing(
        "labels", 20_000, text(lambda n: config(config={"Labels": {str(i): "" for i in range(n)}}), Image.from_json)
    ),
    Growing("texts of an environment", 20_000, text(lambda n: config(config={"Env": ["a=b"] * n}), Image.from_json)),
    Growing(
        "ports",
        20_000,
        text(lambda n: config(config={"ExposedPorts": {f"{i}/tcp": {} for i in range(n)}}), Image.from_json),
    ),
    Growing("features of a platform", 50_000, text(lambda n: config(**{"os.features": ["x"] * n}), Image.from_json)),
    Growing(
        "annotations and URLs of a descriptor",
        10_000,
        text(
            lambda n: json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": INDEX,
                    "manifests": [
                        {
                            "mediaType": MANIFEST,
                            "digest": DIFF,
                            "size": 1,
                            "annotations": {str(i): "" for i in range(n)},
                            "urls": ["http://x"] * n,
                        }
                    ],
                }
            ).encode(),
            parse_manifest,
        ),
    ),
    Growing(
        "descriptors of an index",
        5000,
        text(
            lambda n: json.dumps(
                {
                    "schemaVersion": 2,
                    "mediaType": INDEX,
                    "manifests": [{"mediaType": MANIFEST, "digest": DIFF, "size": 1}] * n,
                }
            ).encode(),
            parse_manifest,
        ),
    ),
    Growing(
        "records of a PAX header",
        20_000,
        text(lambda n: tars.pax({b"k%d" % i: b"v" for i in range(n)}) + tars.member(b"a") + tars.END, scanned),
    ),
    Growing(
        "PAX headers",
        2000,
        text(lambda n: (tars.pax({b"path": b"p", b"uid": b"1"}) + tars.member(b"a")) * n + tars.END, scanned),
    ),
    Growing(
        "long names", 2000, text(lambda n: (tars.long_name(b"n" * 300) + tars.member(b"a")) * n + tars.END, scanned)
    ),
    Growing("pieces of a sparse file", 15_000, text(lambda n: sparse_map(n) + tars.END, scanned)),
    Growing(
        "members of a layer",
        10_000,
        text(lambda n: b"".join(tars.member(b"%d" % i) for i in range(n)) + tars.END, scanned),
    ),
    Growing("members of one name in a layer", 10_000, text(lambda n: tars.member(b"a") * n + tars.END, scanned)),
    Growing("members of gzip", 20_000, text(lambda n: gzip.compress(b"x") * n, unpacked_stream)),
    Growing(
        "extra fields of gzip",
        100,
        text(lambda n: gzip_with(4, b"\xff\xff" + b"x" * 65535) * n, repeated(20, unpacked_stream)),
    ),
    Growing(
        "a comment of gzip", 400_000, text(lambda n: gzip_with(16, b"c" * n + b"\0"), repeated(300, unpacked_stream))
    ),
    Growing(
        "attributes of a member",
        5000,
        text(lambda n: tars.pax({b"SCHILY.xattr.user.%d" % i: b"v" for i in range(n)}) + tars.member(b"a"), scanned),
    ),
    Growing("streams of bzip2", 8000, text(lambda n: bz2.compress(b"x") * n, unpacked_stream)),
    Growing("streams of xz", 8000, text(lambda n: lzma.compress(b"x") * n, unpacked_stream)),
    Growing("frames of zstd", 20_000, text(lambda n: zstd(b"x") * n, unpacked_stream)),
    Growing("frames of zstd that are skipped", 10_000, text(lambda n: (SKIPPED + zstd(b"x")) * n, unpacked_stream)),
    Growing(
        "values of a filter",
        40_000,
        text(lambda n: members(n, lambda i: f'"{i}":true', '{"label":{%s}}').decode(), parse_api_filters),
    ),
    Growing(
        "lines of a change",
        20_000,
        text(lambda n: "ENV a=b \\\n" * n + "c=d", lambda c: apply_changes(ContainerConfig(), [c])),
    ),
    Growing(
        "changes",
        1000,
        text(
            lambda n: [f"{word} {i}=b" for i in range(n) for word in ("ENV", "LABEL", "ONBUILD LABEL")],
            lambda c: apply_changes(ContainerConfig(), c),
        ),
    ),
    Growing(
        "flags of a change",
        40_000,
        text(lambda n: "HEALTHCHECK " + "--retries=1 " * n + "CMD a", lambda c: apply_changes(ContainerConfig(), [c])),
    ),
    Growing(
        "variables that hold variables",
        10_000,
        text(lambda n: ["ENV A=xx"] + ["ENV A=$A$A"] * n, lambda c: apply_changes(ContainerConfig(), c)),
    ),
    Growing(
        "variables in a word",
        20_000,
        text(lambda n: ["ENV A=x", "EXPOSE " + "$A" * n], repeated(2, lambda c: apply_changes(ContainerConfig(), c))),
    ),
    Growing(
        "ranges of ports", 100, text(lambda n: ["EXPOSE 1-65535"] * n, lambda c: apply_changes(ContainerConfig(), c))
    ),
    Growing("actions of a template", 3000, text(lambda n: "{{.A}}" * n, rendered)),
    Growing("comments of a template", 20_000, text(lambda n: "{{/* */}}" * n, rendered)),
    Growing("cells of a line", 20_000, text(lambda n: "a\t" * n, align)),
    Growing("lines of cells", 20_000, text(lambda n: "a\tb\tc\n" * n, align)),
)


# Archives, on their way into an empty store.


def loaded(
    make: Callable[[int], Files | bytes], *, way: str = "file", before: bool = False
) -> Callable[[int, Path], Callable[[], object]]:
    """Load an archive from a file, a pipe or a directory, for a second time where it was loaded ``before``."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        made = make(count)
        source: Path | io.BytesIO
        if way == "directory":
            assert isinstance(made, dict)
            (folder / "unpacked").mkdir()
            source = unpacked(made, folder / "unpacked")
        else:
            source = folder / "archive.tar"
            source.write_bytes(made if isinstance(made, bytes) else tars.tar(tars.files(made)))

        def run() -> None:
            with suppress(orlop.errors.LimitExceeded):
                images.load(io.BytesIO(source.read_bytes()) if way == "pipe" else source)

        images = opened(folder)
        if before:
            run()
        return run

    return prepare


def entries(count: int, one: Callable[[int], dict[str, Any]], **files: bytes) -> Files:
    return docker(manifest__json=json.dumps([one(i) for i in range(count)]).encode(), **files)


def configs(raws: Iterable[bytes], **more: Any) -> Files:
    """Images of these configs, each of which is the next one's parent where the names of all say so."""
    files: Files = {"l.tar": BODY}
    listed = []
    for number, raw in enumerate(raws):
        files[f"{number}.json"] = raw
        changes = {key: value(number) if callable(value) else value for key, value in more.items()}
        listed.append(entry(Config=f"{number}.json", **{"RepoTags": [f"a:{number}"]} | changes))
    return files | {"manifest.json": json.dumps(listed).encode()}


def many(count: int) -> Iterator[bytes]:
    return (config(author=str(number)) for number in range(count))


def family(count: int, parent_of: Callable[[int], int | None], **more: Any) -> Files:
    """Images without history, whose parents these are."""
    raws = list(many(count))

    def parent(number: int) -> str:
        found = parent_of(number)
        return "" if found is None else sha256(raws[found])

    return configs(raws, Parent=parent, **more)


def chain(count: int, **more: Any) -> Files:
    return family(count, lambda number: number - 1 if number else None, **more)


def star(count: int, **more: Any) -> Files:
    return family(count, lambda number: 0 if number else None, **more)


def braid(count: int) -> Files:
    """A chain whose upper half gets its parents last, although each has a child: a search for circles walks it all."""
    half = count // 2
    raws = list(many(count))
    listed = []
    order = [*range(half), *range(half + 1, count, 2), *range(half, count, 2)]
    for number in order:
        above = (half - 1 if number % 2 == half % 2 else number - 1) if number >= half else number - 1
        parent = sha256(raws[above]) if number else ""
        listed.append(entry(Config=f"{number}.json", RepoTags=None, Parent=parent))
    files = {f"{number}.json": raw for number, raw in enumerate(raws)}
    return files | {"l.tar": BODY, "manifest.json": json.dumps(listed).encode()}


def alternating(count: int) -> Files:
    """Two parents of one image in turn, all three of a long history."""
    steps = [{"created_by": "x", "empty_layer": True}] * 4000
    above = [config(author=author, history=[{"created_by": "l"}, *steps]) for author in "ab"]
    child = config(history=[{"created_by": "l"}, *steps, {"created_by": "y", "empty_layer": True}])
    listed = [entry(Config=f"{name}.json", RepoTags=None) for name in "ab"]
    listed += [entry(RepoTags=None, Parent=sha256(above[number % 2])) for number in range(count)]
    return docker(c__json=child, manifest__json=json.dumps(listed).encode()) | {"a.json": above[0], "b.json": above[1]}


def unnamed(count: int, size: int) -> bytes:
    """Members that no manifest names, and that may be layers, before the archive's own."""
    return tars.tar(*(tars.member(b"m%d" % i, b"%0*d" % (size, i)) for i in range(count)), tars.files(docker()))


def links(count: int) -> bytes:
    return tars.tar(tars.files(docker()), *(tars.header(b"m%d" % i, kind=b"2", link=b"l.tar") for i in range(count)))


def one_image(layout: Layout, number: int) -> dict[str, Any]:
    """A manifest without layers, of its own."""
    kept = layout.document({"rootfs": {"type": "layers"}, "author": str(number)}, CONFIG)
    return layout.document({"schemaVersion": 2, "mediaType": MANIFEST, "config": kept, "layers": []}, MANIFEST)


def platforms(count: int, **more: Any) -> Files:
    layout = Layout()
    found = [one_image(layout, i) | {"platform": {"os": "linux", "architecture": f"a{i}"}} for i in range(count)]
    return layout.top(layout.index(*found, **more)).files


def one_name(count: int) -> Files:
    """Images for very many processors, side by side under one name."""
    layout = Layout()
    tops = []
    for number in range(count):
        kept = layout.document({"architecture": f"a{number}", "os": "linux", "rootfs": {"type": "layers"}}, CONFIG)
        top = layout.document({"schemaVersion": 2, "mediaType": MANIFEST, "config": kept, "layers": []}, MANIFEST)
        tops.append(top | {"annotations": {NAME: "a:1", "org.opencontainers.image.ref.name": "1"}})
    return layout.top(*tops).files


def attested(count: int) -> Files:
    """An image with very many artifacts that speak of it."""
    layout = Layout()
    image = one_image(layout, 0)
    about = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image["digest"]}
    return layout.top(
        layout.index(image, *(one_image(layout, i) | {"annotations": about} for i in range(1, count)))
    ).files


def same_manifest(count: int) -> Files:
    """One manifest of very many layers under very many descriptors, beside a manifest.json that has one layer."""
    layout = Layout()
    raw = config()
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": DIFF, "size": len(BODY)}
    named = {"schemaVersion": 2, "config": layout.blob(raw, CONFIG), "layers": [layer] * count}
    top = layout.document(named, MANIFEST) | {"annotations": {NAME: "a:1"}}
    layout.top(*[top] * count)
    return layout.files | docker(c__json=raw)


def folders(count: int) -> Files:
    """Images of version 1 that all continue one of a long comment."""
    files = version_1({})
    first, _ = sorted({name.partition("/")[0] for name in files if "/" in name})
    files[f"{first}/json"] = json.dumps({"id": first, "comment": "x" * 4000}).encode()
    for number in range(count):
        name = hashlib.sha256(b"%d" % number).hexdigest()
        files |= {f"{name}/json": json.dumps({"id": name, "parent": first}).encode(), f"{name}/layer.tar": BODY}
    return files


def outside(count: int, folder: Path) -> Callable[[], object]:
    """A directory with folders, files, and links that lead out of it."""
    source = unpacked(docker(), folder)
    for number in range(count):
        (source / f"folder-{number}").mkdir()
        (source / f"link-{number}").symlink_to("/nowhere/" + "x" * 200)
        (source / f"file-{number}").touch()
    return partial(_open, source)


def nested_folders(count: int, folder: Path) -> Callable[[], object]:
    """Folders in folders, many times over."""
    source = unpacked(docker(), folder)
    for number in range(count):
        (source / f"{number}").mkdir()
        (source / "/".join([str(number), *"abcdefghijklmnop"])).mkdir(parents=True)
    return partial(_open, source)


def _open(source: Path) -> None:
    with orlop.Archive(source, limits=orlop.Limits(members=1 << 30)):
        pass


ARCHIVES = (
    Growing("members from a pipe that nothing names", 2000, loaded(lambda n: unnamed(n, 1024), way="pipe")),
    Growing("larger members from a pipe that nothing names", 400, loaded(lambda n: unnamed(n, 300_000), way="pipe")),
    Growing("members in a file that nothing names", 5000, loaded(lambda n: unnamed(n, 1024))),
    Growing(
        "members of one name",
        4000,
        loaded(lambda n: tars.tar(tars.member(b"m", b"x" * 1024) * n, tars.files(docker())), way="pipe"),
    ),
    Growing("links of an archive", 5000, loaded(links)),
    Growing(
        "names of an image", 1500, loaded(lambda n: entries(1, lambda _: entry(RepoTags=[f"a:{i}" for i in range(n)])))
    ),
    Growing(
        "entries of one image",
        4000,
        loaded(
            lambda n: entries(n, lambda _: entry(RepoTags=None), c__json=config(config={"Labels": {"a": "x" * 30_000}}))
        ),
    ),
    Growing("alternating parents", 500, loaded(alternating)),
    Growing("images", 300, loaded(lambda n: configs(many(n)))),
    Growing("images that are there already", 150, loaded(lambda n: configs(many(n)), before=True)),
    Growing("parents of parents", 300, loaded(chain)),
    Growing("parents of parents that are there already", 150, loaded(chain, before=True)),
    Growing("parents in another order", 300, loaded(braid)),
    Growing("children of an image", 300, loaded(star)),
    Growing(
        "layers",
        40,
        loaded(
            lambda n: (
                docker(
                    manifest__json=json.dumps(
                        [entry(Config=f"{i}.json", RepoTags=None, Layers=[f"{i}.tar"]) for i in range(n)]
                    ).encode()
                )
                | {f"{i}.json": config(sha256(layer_tar(str(i)))) for i in range(n)}
                | {f"{i}.tar": layer_tar(str(i)) for i in range(n)}
            ),
            way="pipe",
        ),
    ),
    Growing("platforms of an index", 300, loaded(platforms)),
    Growing("platforms of a name in a layout", 150, loaded(one_name)),
    Growing("artifacts about an image", 250, loaded(attested)),
    Growing("descriptors of one manifest", 1500, loaded(same_manifest)),
    Growing("folders of version 1", 30, loaded(folders)),
    Growing("files, folders and links of a directory", 500, outside),
    Growing("folders in folders of a directory", 40, nested_folders),
)


# What a store has.


def kept(
    make: Callable[[int], Files], work: Callable[[orlop.ImageService], object]
) -> Callable[[int, Path], Callable[[], object]]:
    """Work with a store that has an archive's images."""

    def prepare(count: int, folder: Path) -> Callable[[], object]:
        images = opened(folder)
        images.load(io.BytesIO(tars.tar(tars.files(make(count)))))
        return partial(work, images)

    return prepare


def tags(count: int) -> Files:
    """An image of many labels and very many names."""
    labels = {"a": "x" * 20_000}
    return entries(
        1, lambda _: entry(RepoTags=[f"a:{i}" for i in range(count)]), c__json=config(config={"Labels": labels})
    )


def by_digest(count: int) -> Files:
    """An image of one name by the digests of very many manifests."""
    layout = Layout()
    raw = layout.document({"rootfs": {"type": "layers"}}, CONFIG)
    named = [
        layout.document({"schemaVersion": 2, "config": raw, "layers": [], "annotations": {"n": str(i)}}, MANIFEST)
        for i in range(count)
    ]
    name = {"annotations": {NAME: f"a:{1}"}}
    return layout.top(layout.index(*named, **name)).files


def looked_at(images: orlop.ImageService) -> None:
    """Ask a store everything that is asked of all images, or of one."""
    for found in (images.images(all=True), images.images(filters=["dangling=false"]), images.df().images):
        assert len(found) > 0
    for _ in images.listed_images(all=True, shared_size=True, manifests=True):
        pass
    first = images.images(all=True)[0]
    images.inspect(str(first.id))
    images.history(str(first.id))
    images.manifests(str(first.id))
    images.prune(all=True, dry_run=True)


def ended(images: orlop.ImageService, count: int) -> None:
    """Make leases of ended processes, each of which holds what it has in common with none."""
    with images._store.metadata.write() as rows:
        for number in range(count):
            rows.put_lease(f"{number:016x}", [ChainID.wrap(Digest.of(b"%d" % number))])


def littered(folder: str) -> Callable[[int, Path], Callable[[], object]]:
    """Collect files that nobody names in a folder of a store."""

    def prepare(count: int, base: Path) -> Callable[[], object]:
        images = opened(base)
        images.load(io.BytesIO(tars.tar(tars.files(docker()))))
        for number in range(count):
            name = hashlib.sha256(b"%d" % number).hexdigest()
            shown = (
                f"sha256-{name}.{number:016x}"
                if folder == "trash"
                else f"{name}.zst"
                if folder == "toc/sha256"
                else name
            )
            (base / "root" / folder / shown).write_bytes(b"x")
        return images.gc

    return prepare


def dead(count: int, folder: Path) -> Callable[[], object]:
    images = opened(folder)
    images.load(io.BytesIO(tars.tar(tars.files(docker()))))
    ended(images, count)
    return images.gc


def filtered(count: int, folder: Path) -> Callable[[], object]:
    """List some images with very many patterns."""
    images = opened(folder)
    images.load(io.BytesIO(tars.tar(tars.files(configs(many(20))))))
    return partial(images.images, filters=[f"reference=*b*{number}" for number in range(count)])


def pinned(images: orlop.ImageService) -> None:
    for found in images.images(all=True):
        images.pin(str(found.id))
    assert len(images.pinned()) > 0


def told(count: int, folder: Path) -> Callable[[], object]:
    """Events of an image of many labels: what is kept of them is bounded."""
    images = opened(folder)
    images.load(io.BytesIO(tars.tar(tars.files(docker(c__json=config(config={"Labels": {"a": "x" * 30_000}}))))))

    def run() -> None:
        for number in range(count):
            images.tag("a:1", f"b:{number}")
        images.events()

    return run


def each_removed(images: orlop.ImageService) -> None:
    for found in images.images():
        images.remove(found.references[0].familiar)


STORES = (
    Growing(
        "names of an image that goes",
        500,
        kept(tags, lambda images: images.remove(str(images.images()[0].id), force=True)),
    ),
    Growing("names of an image that is pruned", 500, kept(tags, lambda images: images.prune(all=True))),
    Growing("names of an image that is pruned for a quota", 500, kept(tags, lambda images: images.prune(max_size=0))),
    Growing("names of an image that is looked at", 1500, kept(tags, looked_at)),
    Growing("images that are looked at", 300, kept(lambda n: configs(many(n)), looked_at)),
    Growing(
        "images of one layer that are pruned",
        150,
        kept(lambda n: configs(many(n)), lambda images: images.prune(all=True)),
    ),
    Growing("children that go one by one", 80, kept(star, each_removed)),
    Growing(
        "children that are pruned",
        100,
        kept(partial(star, RepoTags=lambda i: [f"a:{i}"] if i else None), lambda images: images.prune(all=True)),
    ),
    Growing("parents that are looked at", 150, kept(chain, looked_at)),
    Growing("parents that are pruned", 100, kept(chain, lambda images: images.prune(all=True))),
    Growing("parents that are pruned for a quota", 100, kept(chain, lambda images: images.prune(max_size=0))),
    Growing(
        "parents that go with their child",
        100,
        kept(lambda n: chain(n, RepoTags=lambda i: [f"a:{i}"] if i == n - 1 else None), each_removed),
    ),
    Growing("manifests of an image", 200, kept(by_digest, looked_at)),
    Growing("platforms that are looked at", 150, kept(partial(platforms, annotations={NAME: "a:1"}), looked_at)),
    Growing("images that are pinned", 80, kept(lambda n: configs(many(n)), pinned)),
    Growing("patterns of a list", 1000, filtered),
    Growing("leases of ended processes", 3000, dead),
    Growing("files in trash", 500, littered("trash")),
    Growing("unfinished files", 500, littered("ingest")),
    Growing("blobs that nothing names", 500, littered("blobs/sha256")),
    Growing("tables that nothing names", 500, littered("toc/sha256")),
    Growing("events", 100, told),
)

LISTS: Final = (*TEXTS, *ARCHIVES, *STORES, *ATTACHED, *LISTED, *SAVES)
"""All lists, each with a name of its own."""
