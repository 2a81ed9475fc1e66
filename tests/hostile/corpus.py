"""Hostile archives, one for each thing that a stranger may try. Each is small and made anew; none is stored.

`REFUSED` must be refused with its class of error in every way that an archive is read. `HARMLESS` is odd, but no lie:
it is loaded, and nothing else happens. What takes a stream of gigabytes is in `test_large`.
"""

from __future__ import annotations

import bz2
import gzip
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orlop import errors
from tests.hostile import meanings, tars
from tests.hostile.made import (
    BODY,
    DIFF,
    OTHER,
    A,
    B,
    another_ones_config,
    both_images,
    both_lists,
    config,
    deep,
    descriptor_changed,
    docker,
    docker_of,
    entry,
    escaped_config,
    exchanged,
    hardlink,
    linked,
    manifest_changed,
    many_layers,
    many_names,
    many_tags,
    nested,
    oci,
    one_name_for_two,
    other_diff_id,
    own_index,
    padded_map,
    parents,
    skopeo,
    sparse_in_a_layer,
    symlink,
    top_changed,
    version_1,
    wide_xz,
    wide_zstd,
    with_layer,
    with_members,
    zstd,
)
from tests.unit.layouts import INDEX, MANIFEST, NAME, REF, layer_tar, sha256

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.hostile.made import Files


@dataclass(frozen=True)
class Case:
    """What to make, either files that become a tar or a directory, or a tar's bytes, and by what it is refused."""

    make: Callable[[], Files | bytes]
    kind: type[errors.OrlopError] = errors.OrlopError
    words: str = ""


_ARCHIVE, _TAR, _LIMIT = errors.InvalidArchive, errors.InvalidTar, errors.LimitExceeded
_DIGEST, _MANIFEST, _IMAGE = errors.DigestMismatch, errors.InvalidManifest, errors.InvalidImage
_SLASHES = "sha256:../../../../" + "0" * 52

REFUSED: dict[str, Case] = {
    # Names that lead out of the archive.
    "a member above the archive": Case(lambda: with_members(tars.member(b"../evil", b"x")), _ARCHIVE, "outside"),
    "a member that climbs out on the way": Case(
        lambda: with_members(tars.member(b"a/../../evil")), _ARCHIVE, "outside"
    ),
    "a folder above the archive, in an unused member": Case(
        lambda: with_members(tars.member(b"./.././x", b"x")), _ARCHIVE, "outside"
    ),
    "a layer above the archive": Case(lambda: docker_of(entry(Layers=["../l.tar"])), _ARCHIVE, "outside"),
    "a config above the archive": Case(lambda: docker_of(entry(Config="x/../../c.json")), _ARCHIVE, "outside"),
    "a layer of an absolute name that is not there": Case(
        lambda: docker_of(entry(Layers=["/etc/passwd"])), _ARCHIVE, "no such member"
    ),
    # Links.
    "manifest.json a link to itself": Case(
        lambda: linked(symlink(b"manifest.json", b"manifest.json"), without=("manifest.json",)), _ARCHIVE, "loop"
    ),
    "manifest.json a hard link to itself": Case(
        lambda: linked(hardlink(b"manifest.json", b"manifest.json"), without=("manifest.json",)), _ARCHIVE, "loop"
    ),
    "manifest.json a link to a file of the system": Case(
        lambda: linked(symlink(b"manifest.json", b"/etc/passwd"), without=("manifest.json",)),
        _ARCHIVE,
        "which is not there",
    ),
    "manifest.json a link out": Case(
        lambda: linked(symlink(b"manifest.json", b"../../m.json"), without=("manifest.json",)), _ARCHIVE, "outside"
    ),
    "manifest.json a device": Case(
        lambda: linked(tars.header(b"manifest.json", kind=b"3"), without=("manifest.json",)), _ARCHIVE, "neither"
    ),
    "the config a link to a file of the system": Case(
        lambda: linked(symlink(b"c.json", b"/proc/self/environ"), without=("c.json",)), _ARCHIVE, "no such member"
    ),
    "the config a hard link out": Case(
        lambda: linked(hardlink(b"c.json", b"../c.json"), without=("c.json",)), _ARCHIVE, "outside"
    ),
    "the layer a link to a file of the system": Case(
        lambda: linked(symlink(b"l.tar", b"/dev/zero"), without=("l.tar",)), _ARCHIVE, "no such member"
    ),
    "the layer a hard link to nothing": Case(
        lambda: linked(hardlink(b"l.tar", b"nowhere"), without=("l.tar",)), _ARCHIVE, "no such member"
    ),
    "the layer in a folder that is a link": Case(
        lambda: linked(symlink(b"dir", b"."), manifest__json=json.dumps([entry(Layers=["dir/l.tar"])]).encode()),
        _ARCHIVE,
        "'dir' is a link to '.'; links to folders are not followed",
    ),
    "links in a circle": Case(
        lambda: linked(symlink(b"l.tar", b"m.tar"), symlink(b"m.tar", b"l.tar"), without=("l.tar",)), _ARCHIVE, "loop"
    ),
    "hard links in a circle": Case(
        lambda: linked(hardlink(b"l.tar", b"m.tar"), hardlink(b"m.tar", b"l.tar"), without=("l.tar",)),
        _ARCHIVE,
        "loop",
    ),
    "a chain of a thousand links": Case(
        lambda: linked(
            *(symlink(b"%d" % number, b"%d" % (number + 1)) for number in range(1000)),
            symlink(b"1000", b"l.tar"),
            manifest__json=json.dumps([entry(Layers=["0"])]).encode(),
        ),
        _ARCHIVE,
        "loop",
    ),
    "index.json a link to a file of the system": Case(
        lambda: tars.tar(
            tars.files({name: body for name, body in oci().files.items() if name != "index.json"}),
            symlink(b"index.json", b"/etc/hostname"),
        ),
        _ARCHIVE,
        "index.json",
    ),
    "a blob a link to another blob": Case(
        lambda: tars.tar(
            tars.files({name: body for name, body in oci().files.items() if not name.startswith("blobs")}),
            *(symlink(name.encode()[:100], b"/etc/passwd") for name in oci().files if name.startswith("blobs")),
        ),
        _ARCHIVE,
        "no such member",
    ),
    # One name for two things.
    "two manifest.json": Case(
        lambda: tars.tar(tars.files(docker()), tars.member(b"./manifest.json", b"[]")), _ARCHIVE, "two different"
    ),
    "two configs": Case(
        lambda: tars.tar(tars.files(docker()), tars.member(b"/c.json", config(author="x"))), _ARCHIVE, "two different"
    ),
    "two layers": Case(lambda: tars.tar(tars.files(docker()), tars.member(b"l.tar", OTHER)), _ARCHIVE, "two different"),
    "a layer and a link": Case(lambda: linked(symlink(b"l.tar", b"c.json")), _ARCHIVE, "two different"),
    "a link and another link": Case(
        lambda: linked(symlink(b"m", b"c.json"), symlink(b"m", b"l.tar")), _ARCHIVE, "two different"
    ),
    "a member by a PAX path and one by its name": Case(
        lambda: tars.tar(tars.files(docker()), tars.pax({b"path": b"c.json"}), tars.member(b"x", b"{}")),
        _ARCHIVE,
        "two different",
    ),
    "manifest.json once more, of an unknown type": Case(
        lambda: tars.tar(tars.member(b"manifest.json", b"[]", kind=b"Z"), tars.files(docker())),
        _ARCHIVE,
        "two different",
    ),
    "the layer once more, as the name of a volume": Case(
        lambda: tars.tar(tars.files(docker()), tars.member(b"./l.tar", OTHER, kind=b"V")), _ARCHIVE, "two different"
    ),
    "the config once more, as a pipe": Case(
        lambda: tars.tar(tars.member(b"c.json", kind=b"6"), tars.files(docker())), _ARCHIVE, "two different"
    ),
    "two members that are sparse without end": Case(
        lambda: with_members(tars.sparse(b"odd", 1 << 62, b"abc"), tars.sparse(b"odd", 1 << 62, b"abd")),
        _ARCHIVE,
        "two different",
    ),
    "two blobs": Case(
        lambda: tars.tar(
            tars.files(oci().files),
            *(tars.member(name.encode(), b"x" * 600) for name in oci().files if name.startswith("blobs")),
        ),
        _ARCHIVE,
        "two different",
    ),
    "a layer of two diff IDs": Case(
        lambda: docker_of(entry(), entry(Config="d.json", RepoTags=["b:1"]), d__json=config(sha256(OTHER))),
        _DIGEST,
        "diff ID",
    ),
    # Documents that could be read as two things.
    "manifest and index at once": Case(lambda: manifest_changed(manifests=[]), _MANIFEST, "at once"),
    "index and manifest at once": Case(
        lambda: top_changed(json.dumps(json.loads(oci().files["index.json"]) | {"config": {}, "layers": []}).encode()),
        _MANIFEST,
        "at once",
    ),
    "manifest and index at once, in another case": Case(lambda: manifest_changed(Manifests=[]), _MANIFEST, "at once"),
    "a manifest that calls itself an index": Case(lambda: manifest_changed(mediaType=INDEX), _MANIFEST, "media type"),
    "a manifest of schema 1 and 2": Case(lambda: manifest_changed(fsLayers=[], manifests=[]), _MANIFEST, "at once"),
    "an index that is named a manifest": Case(lambda: top_changed(mediaType=INDEX), _MANIFEST, "is not the"),
    "two configs in a manifest": Case(
        lambda: manifest_changed(lambda raw: raw[:-1] + b',"Config":{}}'), _MANIFEST, "more than once"
    ),
    "two lists of layers in a manifest": Case(
        lambda: manifest_changed(lambda raw: raw[:-1] + b',"layers":[]}'), _MANIFEST, "more than once"
    ),
    "two digests in a descriptor": Case(
        lambda: top_changed(oci().files["index.json"].replace(b'"size"', b'"Digest":"","size"')),
        _MANIFEST,
        "more than once",
    ),
    "two names in annotations": Case(
        lambda: top_changed(
            oci(annotations={NAME: "a:1"}).files["index.json"].replace(b'{"io.', b'{"%s":"b:1","io.' % NAME.encode())
        ),
        _MANIFEST,
        "more than once",
    ),
    "two configs in an entry of manifest.json": Case(
        lambda: docker(manifest__json=json.dumps([entry()]).encode().replace(b'"Layers"', b'"config":"d","Layers"')),
        errors.InvalidJSON,
        "more than once",
    ),
    "two root file systems in a config": Case(
        lambda: docker(c__json=config()[:-1] + b',"RootFS":{"type":"layers","diff_ids":[]}}'), _IMAGE, "more than once"
    ),
    "two users in a config": Case(
        lambda: docker(c__json=config(config={"User": "1000"}).replace(b'"1000"', b'"1000","user":"root"')),
        _IMAGE,
        "more than once",
    ),
    "two names of one tag in repositories": Case(
        lambda: version_1() | {"repositories": b'{"a":{"1":"%s","1":"%s"}}' % (A.encode(), B.encode())},
        errors.InvalidJSON,
        "more than once",
    ),
    "two parents in a v1 config": Case(
        lambda: version_1(B_json=json.dumps({"parent": A, "Parent": B}).encode()), _IMAGE, "more than once"
    ),
    "a directory of skopeo that is a layout": Case(lambda: oci().files | skopeo(), _ARCHIVE, "at once"),
    "an index.json of another image than manifest.json": Case(
        lambda: both_lists("b:1", others=True), _ARCHIVE, "does not list"
    ),
    "an index.json that gives a name to another image": Case(
        lambda: both_lists(others=True), _ARCHIVE, "another image"
    ),
    "names that are exchanged between two lists": Case(both_images, _ARCHIVE, "another image"),
    "one name for two images": Case(
        one_name_for_two,
        _ARCHIVE,
        "two images",
    ),
    # Content that is not what it is called.
    "a config named as another image": Case(
        lambda: docker_of(entry(Config=f"{A}.json")) | {f"{A}.json": config()}, _DIGEST, "damaged"
    ),
    "a config as another one's blob": Case(
        lambda: docker_of(entry(Config=f"blobs/sha256/{A}")) | {f"blobs/sha256/{A}": config()}, _DIGEST, "damaged"
    ),
    "a manifest with another image's config": Case(another_ones_config, _DIGEST, "diff ID"),
    "a config of the wrong digest in a layout": Case(lambda: exchanged("config"), _DIGEST, "digest"),
    "a manifest of the wrong digest in a layout": Case(lambda: exchanged("manifest"), _DIGEST, "digest"),
    "a layer of the wrong digest in a layout": Case(lambda: exchanged("layer"), _DIGEST, "digest"),
    "a config of the wrong digest in a directory of skopeo": Case(
        lambda: skopeo(config=config(sha256(layer_tar("hello"))).replace(b"amd64", b"arm64")), errors.IntegrityError
    ),
    "a layer of the wrong digest in a directory of skopeo": Case(lambda: skopeo(layer=OTHER), _DIGEST, "digest"),
    "a wrong diff ID": Case(lambda: docker(c__json=config(sha256(OTHER))), _DIGEST, "diff ID"),
    "a wrong diff ID in a layout": Case(
        other_diff_id,
        _DIGEST,
        "diff ID",
    ),
    "a blob of a layer that is another": Case(
        lambda: docker_of(entry(Layers=[f"blobs/sha256/{A}"])) | {f"blobs/sha256/{A}": BODY}, _DIGEST, "digest"
    ),
    # Digests that are none.
    "a manifest digest with slashes": Case(lambda: top_changed(digest=_SLASHES), _MANIFEST, "invalid digest"),
    "a config digest with slashes": Case(lambda: descriptor_changed("config", digest=_SLASHES), _MANIFEST, "digest"),
    "a layer digest with slashes": Case(lambda: descriptor_changed("layer", digest=_SLASHES), _MANIFEST, "digest"),
    "an algorithm with slashes": Case(lambda: top_changed(digest=f"../../x:{A}"), _MANIFEST, "invalid digest"),
    "an unknown algorithm": Case(lambda: top_changed(digest=f"md5:{A[:32]}"), _MANIFEST, "invalid digest"),
    "an algorithm in capitals": Case(lambda: top_changed(digest=f"SHA256:{A}"), _MANIFEST, "invalid digest"),
    "a digest in capitals": Case(lambda: top_changed(digest=f"sha256:{A.upper()}"), _MANIFEST, "invalid digest"),
    "a digest with a line break": Case(lambda: top_changed(digest=f"sha256:{A}\n"), _MANIFEST, "invalid digest"),
    "a digest in digits of another script": Case(
        lambda: top_changed(digest="sha256:" + "\u0661" * 64), _MANIFEST, "invalid digest"
    ),
    "a layer by sha512": Case(
        lambda: descriptor_changed("layer", digest="sha512:" + "a" * 128), errors.InvalidArchive, "has no such member"
    ),
    "a diff ID with slashes": Case(lambda: docker(c__json=config(_SLASHES)), errors.InvalidDigest, "invalid digest"),
    "a diff ID of an unknown algorithm": Case(
        lambda: docker(c__json=config(f"crc32:{A[:8]}")), errors.InvalidDigest, "invalid digest"
    ),
    "an empty diff ID": Case(lambda: docker(c__json=config("")), errors.InvalidDigest, "invalid digest"),
    "a subject with slashes": Case(
        lambda: manifest_changed(subject={"mediaType": MANIFEST, "digest": _SLASHES, "size": 1}), _MANIFEST, "digest"
    ),
    # Sizes that lie.
    "a member larger than the archive": Case(
        lambda: tars.tar(tars.files(docker()), tars.header(b"huge", 1 << 32)), _TAR, "ends"
    ),
    "a member of eight exabytes": Case(
        lambda: tars.tar(tars.files(docker()), tars.header(b"huge", tars.base256((1 << 63) - 1))), _TAR, "ends"
    ),
    "a member of more than 64 bits": Case(
        lambda: with_members(tars.header(b"huge", tars.base256(1 << 64))), _TAR, "64 bits"
    ),
    "a member of a negative size": Case(lambda: with_members(tars.header(b"x", tars.base256(-1))), _TAR, "negative"),
    "a member of a negative size by PAX": Case(
        lambda: with_members(tars.pax({b"size": b"-1"}), tars.member(b"x")), _TAR, "negative"
    ),
    "a member of a huge size by PAX": Case(
        lambda: tars.tar(tars.files(docker()), tars.pax({b"size": b"%d" % ((1 << 63) - 1)}), tars.member(b"x")),
        _TAR,
        "ends",
    ),
    "a member whose size is not a number": Case(
        lambda: with_members(tars.header(b"x", b"99999999999\0")), _TAR, "octal"
    ),
    "an extended header of eight exabytes": Case(
        lambda: with_members(tars.header(b"x", tars.base256((1 << 63) - 1), kind=b"x")), _LIMIT, "extension-size"
    ),
    "a long name of two megabytes": Case(
        lambda: with_members(tars.long_name(b"n" * (2 << 20)), tars.member(b"x")), _LIMIT, "extension-size"
    ),
    "a global header of two megabytes": Case(
        lambda: with_members(tars.pax({b"comment": b"n" * (2 << 20)}, b"g"), tars.member(b"x")),
        _LIMIT,
        "extension-size",
    ),
    "a descriptor of another size": Case(lambda: top_changed(size=1), errors.SizeMismatch, "descriptor says"),
    "a descriptor of a negative size": Case(lambda: top_changed(size=-1), _MANIFEST, "no size"),
    "a descriptor of more than 64 bits": Case(lambda: top_changed(size=1 << 63), errors.SizeMismatch, "descriptor"),
    "a descriptor of an endless size": Case(
        lambda: top_changed(re.sub(rb'"size": \d+', b'"size": 1e400', oci().files["index.json"])),
        _MANIFEST,
        "no size",
    ),
    "a layer's descriptor of another size": Case(
        lambda: descriptor_changed("layer", size=1 << 62), errors.SizeMismatch, "manifest says"
    ),
    "a config larger than the limit": Case(
        lambda: docker(c__json=config(comment="x" * (4 << 20))), _LIMIT, "config-size"
    ),
    "a config of a million steps": Case(
        lambda: docker(c__json=config()[:-1] + b',"history":[' + b"{}," * 1_000_000 + b"{}]}"), _LIMIT, "json-values"
    ),
    "a manifest.json of a million entries": Case(
        lambda: docker(manifest__json=b"[" + b"{}," * 1_000_000 + b"{}]"), _LIMIT, "json-values"
    ),
    "a number of four million digits": Case(
        lambda: docker(c__json=config()[:-1] + b',"Size":' + b"9" * 4_000_000 + b"}"), _IMAGE, "64 bits"
    ),
    "a name of four million characters": Case(
        lambda: docker_of(entry(RepoTags=["a" * 4_000_000 + "!"])), errors.InvalidReference, "invalid reference"
    ),
    "126 layers": Case(
        lambda: docker_of(entry(Layers=["l.tar"] * 126), c__json=config(*[DIFF] * 126)), _LIMIT, "limit layers"
    ),
    "126 layers in a layout": Case(lambda: many_layers(126), _LIMIT, "limit layers"),
    "layers that add up to more than any disk": Case(
        lambda: sparse_in_a_layer((1 << 62) + 1, (1 << 62) + 1), _TAR, "no disk"
    ),
    # Sparse members.
    "manifest.json all holes": Case(
        lambda: tars.tar(tars.sparse(b"manifest.json", 1 << 62), tars.files({"c.json": config()})),
        _LIMIT,
        "manifest-size",
    ),
    "the config all holes": Case(
        lambda: tars.tar(tars.old_sparse(b"c.json", 1 << 62), tars.files({"manifest.json": docker()["manifest.json"]})),
        _LIMIT,
        "config-size",
    ),
    "a sparse map without end": Case(
        lambda: with_members(
            tars.header(b"s", kind=b"S", magic=tars.GNU, at=bytes(137) + b"\1" + tars.octal(1)),
            (b"00000000001\0" * 42 + b"\1").ljust(512, b"\0") * 4000,
        ),
        _LIMIT,
        "sparse-pieces",
    ),
    "a sparse map that says it is endless": Case(
        lambda: with_members(
            tars.pax({b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.realsize": b"9"}),
            tars.member(b"s", padded_map(b"9999999999\n")),
        ),
        _LIMIT,
        "sparse-pieces",
    ),
    "a sparse map that is out of order": Case(
        lambda: with_members(
            tars.pax({b"GNU.sparse.numblocks": b"2", b"GNU.sparse.map": b"5,1,0,1", b"GNU.sparse.size": b"9"}),
            tars.member(b"s", b"ab"),
        ),
        _TAR,
        "sparse map",
    ),
    "a sparse map with negative pieces": Case(
        lambda: with_members(
            tars.pax({b"GNU.sparse.numblocks": b"1", b"GNU.sparse.map": b"-5,9", b"GNU.sparse.size": b"9"}),
            tars.member(b"s", b"ab"),
        ),
        _TAR,
        "sparse map",
    ),
    # Headers.
    "a hundred and one extended headers": Case(
        lambda: with_members(tars.pax({b"comment": b"x"}) * 101, tars.member(b"x")), _LIMIT, "extensions"
    ),
    "a hundred and one global headers": Case(
        lambda: with_members(tars.pax({b"comment": b"x"}, b"g") * 101, tars.member(b"x")), _LIMIT, "extensions"
    ),
    "a hundred and one long names": Case(
        lambda: with_members(tars.long_name(b"n") * 101, tars.member(b"x")), _LIMIT, "extensions"
    ),
    "a hundred and one extended headers in a layer": Case(
        lambda: with_layer(tars.tar(tars.pax({b"comment": b"x"}) * 101, tars.member(b"x"))), _LIMIT, "extensions"
    ),
    "a PAX path with NUL": Case(
        lambda: with_members(tars.pax({b"path": b"c.json\0.txt"}), tars.member(b"x", b"{}")), _TAR, "NUL"
    ),
    "a PAX path with NUL in a layer": Case(
        lambda: with_layer(tars.tar(tars.pax({b"path": b"c.json\0.txt"}), tars.member(b"x", b"{}"))), _TAR, "NUL"
    ),
    "a PAX record that is longer than its header": Case(
        lambda: with_members(tars.pax(b"99 path=x\n"), tars.member(b"x")), _TAR, "length"
    ),
    "a PAX record of no length": Case(lambda: with_members(tars.pax(b"0 a=b\n"), tars.member(b"x")), _TAR, "length"),
    "a PAX header of nothing but digits": Case(
        lambda: with_layer(tars.tar(tars.pax(b"1" * (1 << 20)), tars.member(b"x"))), _TAR, ""
    ),
    "a name of five thousand characters": Case(
        lambda: with_members(tars.pax({b"path": b"n" * 5000}), tars.member(b"x")), _LIMIT, "name-length"
    ),
    "a link to five thousand characters": Case(
        lambda: with_members(tars.pax({b"linkpath": b"n" * 5000}), symlink(b"x", b"y")), _LIMIT, "name-length"
    ),
    "a name of two thousand folders": Case(
        lambda: with_members(tars.pax({b"path": b"a/" * 2000}), tars.member(b"x")), _LIMIT, "path-depth"
    ),
    "a name of half a million folders in a layer": Case(
        lambda: with_layer(tars.tar(tars.pax({b"path": b"a/" * 500_000 + b"a"}), tars.member(b"x"))),
        _LIMIT,
        "name-length",
    ),
    "a name of two thousand folders in a layer": Case(
        lambda: with_layer(tars.tar(tars.pax({b"path": b"a/" * 2000 + b"a"}), tars.member(b"x"))),
        _LIMIT,
        "path-depth",
    ),
    "a damaged header": Case(lambda: with_members(tars.member(b"x"), b"x" * 512), _TAR, "checksum"),
    "a damaged header in a layer": Case(lambda: with_layer(tars.member(b"x") + b"x" * 512 + BODY), _TAR, "checksum"),
    "a damaged first header": Case(lambda: with_members(b"x" * 512), _TAR, "a tar"),
    "a damaged first header in a layer": Case(lambda: with_layer(b"x" * 512 + BODY), _TAR, "not a tar header"),
    "an end in the middle": Case(lambda: with_members(bytes(512), tars.member(b"x")), _TAR, "zero block"),
    # Compression.
    "a zstd layer with a window of two gigabytes": Case(lambda: with_layer(wide_zstd(31), b""), _LIMIT, "window-size"),
    "an archive in zstd with a window of two gigabytes": Case(lambda: wide_zstd(31), _LIMIT, "window-size"),
    "an archive in zstd with a window beyond all": Case(lambda: wide_zstd(41), _LIMIT, "window-size"),
    "an xz layer with a dictionary of half a gigabyte": Case(
        lambda: with_layer(wide_xz(), b"x"), _LIMIT, "window-size"
    ),
    "an archive in xz with a dictionary of half a gigabyte": Case(wide_xz, _LIMIT, "window-size"),
    "a gzip layer with something after it": Case(
        lambda: with_layer(gzip.compress(BODY) + b"garbage", BODY), errors.InvalidCompression, "follows"
    ),
    "a gzip archive with something after it": Case(
        lambda: gzip.compress(tars.tar(tars.files(docker()))) + b"garbage", errors.InvalidCompression, "follows"
    ),
    "a chain of empty gzip members": Case(
        lambda: with_layer(gzip.compress(b"") * 2000, b""), errors.InvalidCompression, "empty streams"
    ),
    "a chain of empty zstd frames": Case(lambda: zstd(b"") * 2000, errors.InvalidCompression, "empty streams"),
    "a gzip archive that is cut": Case(
        lambda: gzip.compress(tars.tar(tars.files(docker())))[:-9], errors.InvalidCompression, "too early"
    ),
    "a gzip layer of another checksum": Case(
        lambda: with_layer(gzip.compress(BODY)[:-8] + bytes(8), BODY), errors.InvalidCompression, "gzip"
    ),
    "a layer that is compressed twice": Case(
        lambda: with_layer(gzip.compress(bz2.compress(BODY)), BODY), _TAR, "not a layer tar"
    ),
    "an archive that is compressed twice": Case(
        lambda: gzip.compress(zstd(tars.tar(tars.files(docker())))), errors.InvalidInput, ""
    ),
    # JSON.
    "JSON that nests without end": Case(lambda: docker(manifest__json=b"[" * 100_000), errors.InvalidJSON, "deeper"),
    "a config that nests without end": Case(
        lambda: docker(c__json=config()[:-1] + b',"x":' + deep(50_000) + b"}"), _IMAGE, "deeper"
    ),
    "a manifest that nests without end": Case(
        lambda: manifest_changed(lambda raw: raw[:-1] + b',"x":' + deep(50_000) + b"}"), _MANIFEST, "deeper"
    ),
    "a byte order mark": Case(lambda: docker(manifest__json=b"\xef\xbb\xbf[]"), errors.InvalidJSON, ""),
    "a manifest.json in UTF-16": Case(
        lambda: docker(manifest__json=json.dumps([entry()]).encode("utf-16")), errors.OrlopError, ""
    ),
    "a document that is not JSON": Case(lambda: docker(manifest__json=b"<xml/>"), errors.InvalidInput, ""),
    "a config with something after it": Case(lambda: docker(c__json=config() + b"{}"), _IMAGE, "the end"),
    # Names of images.
    "a tag with an escape sequence": Case(
        lambda: docker_of(entry(RepoTags=["a:\x1b[31m1"])), errors.InvalidReference, "\\x1b"
    ),
    "a tag with a line break": Case(lambda: docker_of(entry(RepoTags=["a:1\n"])), errors.InvalidReference, "invalid"),
    "a tag with invalid UTF-8": Case(
        lambda: docker(manifest__json=json.dumps([entry(RepoTags=["a:?"])]).encode().replace(b"?", b"\xff")),
        errors.InvalidReference,
        "invalid",
    ),
    "a tag with NUL": Case(lambda: docker_of(entry(RepoTags=["a:1\0"])), errors.InvalidReference, "invalid"),
    "a tag that is a path": Case(lambda: docker_of(entry(RepoTags=["../a:1"])), errors.InvalidReference, "invalid"),
    "a tag that is an ID": Case(lambda: docker_of(entry(RepoTags=[A])), errors.InvalidReference, "ID"),
    "a media type with escape sequences": Case(
        lambda: descriptor_changed("layer", mediaType="\x1b[2J\nError: nothing"), _MANIFEST, "\\x1b"
    ),
    "a version with escape sequences": Case(
        lambda: oci().files | {"oci-layout": b'{"imageLayoutVersion":"\\u001b[31m"}'}, _ARCHIVE, "x1b"
    ),
    "a member's name with NUL in manifest.json": Case(
        lambda: docker_of(entry(Layers=["l.tar\0.txt"])), _ARCHIVE, "no such member"
    ),
    "a member's name that is not UTF-8": Case(
        lambda: docker(manifest__json=json.dumps([entry(Layers=["?"])]).encode().replace(b"?", b"\xff\xfe")),
        _ARCHIVE,
        "no such member",
    ),
    # Lists that lead on and on.
    "indexes nested too deep": Case(lambda: nested(70), _ARCHIVE, "64 deep"),
    "indexes nested too deep, over indexes that were met before": Case(
        lambda: nested(70, long=True), _ARCHIVE, "64 deep"
    ),
    "an index in itself": Case(
        own_index,
        _DIGEST,
        "digest",
    ),
    "an image that is its own parent": Case(lambda: parents(("a", "a")), _ARCHIVE, "loop"),
    "two images that are each other's parents": Case(lambda: parents(("a", "b"), ("b", "a")), _ARCHIVE, "loop"),
    "parents in a long circle": Case(
        lambda: parents(*((str(n), str((n + 1) % 50)) for n in range(50))), _ARCHIVE, "loop"
    ),
    "parents in a circle in version 1": Case(
        lambda: version_1(A_json=json.dumps({"parent": B}).encode()), _ARCHIVE, "loop"
    ),
    "a parent outside in version 1": Case(
        lambda: version_1(A_json=json.dumps({"parent": "../../x"}).encode()), _ARCHIVE, "outside"
    ),
    "a parent with an escape sequence in version 1": Case(
        lambda: version_1(A_json=json.dumps({"parent": "\x1b[2J"}).encode()), _ARCHIVE, "\\x1b"
    ),
    "a name for nothing in version 1": Case(lambda: version_1({"a": {"1": "c" * 64}}), _ARCHIVE, "not there"),
    "a name that is a path in version 1": Case(lambda: version_1({"../a": {"1": B}}), errors.InvalidReference, ""),
    "a tag that is a path in version 1": Case(lambda: version_1({"a": {"../1": B}}), errors.InvalidReference, ""),
    "a folder whose name is not UTF-8 in version 1": Case(
        lambda: version_1() | {"\udcff\udcfe/json": b"{}"}, _ARCHIVE, "the layer '\\udcff"
    ),
    "a layer that is none in version 1": Case(lambda: version_1(A_layer=b"x" * 600), _TAR, "not a layer tar"),
    "a config that is missing in version 1": Case(lambda: version_1(A_json=None), _ARCHIVE, "v1 config"),
    "a layer that is missing in version 1": Case(lambda: version_1(A_layer=None), _ARCHIVE, "the layer"),
    # Nothing to load.
    "an empty file": Case(lambda: b"", _ARCHIVE, "empty"),
    "one byte": Case(lambda: b"\x1f", _TAR, ""),
    "only the end of a tar": Case(lambda: tars.END, _ARCHIVE, "neither"),
    "an archive in an archive": Case(lambda: {"archive.tar": tars.tar(tars.files(docker()))}, _ARCHIVE, "neither"),
    # What two programs would read as two images.
    **{name: Case(make, _ARCHIVE, words) for name, (make, words) in meanings.REFUSED.items()},
}


HARMLESS: dict[str, Callable[[], Files | bytes]] = {
    "absolute names": lambda: tars.tar(
        tars.files({f"/{name}": body for name, body in docker().items()}), tars.member(b"/etc/passwd", b"root" * 200)
    ),
    "names that climb and come back": lambda: tars.tar(
        tars.files({f"./x/../{name}": body for name, body in docker().items()})
    ),
    "links inside the archive": lambda: linked(
        symlink(b"manifest.json", b"m/m.json"),
        tars.member(b"m/m.json", json.dumps([entry(Config="/m/../d.json", Layers=["e"])]).encode()),
        symlink(b"d.json", b"m/../c.json"),
        hardlink(b"e", b"f"),
        hardlink(b"f", b"l.tar"),
        without=("manifest.json",),
        first=True,
    ),
    "members in the names of both cases": lambda: tars.tar(
        tars.files(docker()), tars.files({"L.TAR": OTHER, "C.json": b"{}" * 300, "Manifest.json": b"[]"})
    ),
    "a folder and a file of one name": lambda: with_members(tars.header(b"l.tar/", kind=b"5")),
    "devices, pipes and sockets": lambda: with_members(
        *(tars.header(b"dev-%d" % number, kind=kind) for number, kind in enumerate((b"3", b"4", b"6", b"7", b"Z")))
    ),
    "names in a layer that lead out of it": lambda: with_layer(
        tars.tar(
            tars.member(b"../../evil", b"x"),
            tars.member(b"/etc/shadow", b"x"),
            symlink(b"link", b"/etc"),
            tars.member(b"link/passwd", b"x"),
            hardlink(b"hard", b"../../../etc/passwd"),
            tars.header(b"null", kind=b"3"),
        )
    ),
    "names in a layer with escapes, invalid UTF-8 and line breaks": lambda: with_layer(
        tars.tar(*(tars.member(name, b"x") for name in (b"\x1b[31m", b"\xff\xfe", b"a\nb", b"-rf", b"\xe2\x80\xae")))
    ),
    "whiteouts of everything": lambda: with_layer(
        tars.tar(
            *(
                tars.member(name)
                for name in (
                    b".wh.",
                    b".wh..",
                    b".wh...",
                    b".wh..wh..opq",
                    b"a/.wh.../x",
                    b".wh..wh.plnk/1",
                    b"b/.wh.c/d",
                )
            ),
            hardlink(b".wh.link", b".wh."),
            symlink(b".wh.sym", b".."),
        )
    ),
    "a sparse file of eight exabytes in a layer": lambda: sparse_in_a_layer((1 << 62) + 1),
    "a layer of no bytes": lambda: with_layer(b""),
    "an archive as a layer": lambda: with_layer(tars.tar(tars.files(docker()))),
    "a layer that begins like JSON": lambda: with_layer(tars.tar(tars.member(b"{", b"x"))),
    "escape sequences wherever a config is shown": lambda: docker(c__json=escaped_config()),
    "a parent that is a path": lambda: docker_of(entry(Parent="sha256:../../../x")),
    "a subject that is the manifest's own": lambda: manifest_changed(
        subject={"mediaType": MANIFEST, "digest": f"sha256:{A}", "size": 1}
    ),
    "annotations with escape sequences": lambda: oci(annotations={REF: "\x1b[2J", "\x1b[31m": "\x1b]0;x\x07"}).files,
    "urls that lead anywhere": lambda: descriptor_changed("layer", urls=["file:///etc/passwd", "../x"]),
    "two thousand entries of one image": lambda: docker_of(*[entry(RepoTags=None)] * 2_000),
    "two thousand tags": lambda: many_tags(2_000),
    "an index of two thousand names": lambda: many_names(2_000),
    "keys in any case, once": lambda: docker(
        manifest__json=json.dumps([entry()]).encode().replace(b"Config", b"cONFIG").replace(b"Layers", b"LAYER\xc5\xbf")
    ),
    "JSON that nests deep": lambda: docker(c__json=config()[:-1] + b',"x":' + deep(9_000) + b"}"),
    "a time without end": lambda: docker(c__json=config(created="2020-01-01T00:00:00." + "1" * 100_000 + "Z")),
    **meanings.HARMLESS,
}
"""What is odd and loaded."""
