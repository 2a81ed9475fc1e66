"""What the distribution specification's conformance program asks of a registry, line by line."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

import orlop
from tests.unit.hosted import (
    EMPTY,
    OCTETS,
    SIGNATURE,
    code,
    described,
    digest_of,
    image_manifest,
    index_of,
    written,
)
from tests.unit.layouts import CONFIG, INDEX, LAYER, MANIFEST

if TYPE_CHECKING:
    from tests.unit.hosted import (
        RegistryClient,
    )


def problems_of(images: orlop.ImageService) -> list[str]:
    """Return what is wrong with a store, as fsck finds it."""
    return [one.message for one in orlop.stores.fsck(images.root).problems]


A, B = b"some content " * 40, b"other content " * 40
MISSING = f"sha256:{'1' * 64}"


# `GET /v2/` 200 (401 with a challenge if auth is on); `/v2` → 301 to `/v2/` as distribution,
# `Docker-Distribution-Api-Version: registry/2.0` on everything.


def test_the_base_answers_200_and_its_path_without_a_slash_leads_there(registry):
    assert registry.get("/v2/").status == 200
    moved = registry.get("/v2")
    assert (moved.status, moved.headers["location"]) == (301, "/v2/")
    assert code(registry.get("/v2/nothing")) == "UNSUPPORTED"


# Empty repository: tags/list 200 or 404; referrers of an unknown digest 200 + empty index with `schemaVersion` 2 and
# `mediaType`, Content-Type exactly the index type.


def test_an_empty_repository_has_no_tags_and_an_empty_list_of_referrers(registry):
    tags = registry.get("/v2/empty/repo/tags/list")
    assert (tags.status, code(tags)) == (404, "NAME_UNKNOWN")
    referrers = registry.get(f"/v2/empty/repo/referrers/{MISSING}")
    assert referrers.status == 200
    assert referrers.headers["content-type"] == INDEX
    assert referrers.json == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    assert registry.get("/v2/_catalog").json == {"repositories": []}


def test_a_repository_without_a_tag_is_there_as_long_as_it_has_anything(registry):
    path = "/v2/a/b/tags/list"
    blob = registry.push_blob("a/b", A)
    assert (registry.get(path).status, registry.get(path).json) == (200, {"name": "a/b", "tags": []})
    assert registry.delete(f"/v2/a/b/blobs/{blob}").status == 202
    assert code(registry.get(path)) == "NAME_UNKNOWN"
    for manifest in (registry.push_image("a/b"), registry.push_artifact("a/b")):
        assert registry.delete(f"/v2/a/b/manifests/{digest_of(manifest)}").status == 202
        assert registry.get(path).json["tags"] == []
    # What was pushed elsewhere is not there.
    assert code(registry.get("/v2/a/c/tags/list")) == "NAME_UNKNOWN"


# Blobs, for sha256 and sha512, each then HEAD (200, no body, exact Content-Length, digest header if present must
# equal), GET (200, exact), DELETE (202; 404 after; 405 if off): post-only (201, or 202 then PUT 201), post+put, one
# chunk, three chunks, three chunks with the last in the PUT, stream (PATCH without Content-Range), mount (201, or
# 202 then PUT), mount without `from` (201 or 202), mount of a missing blob (202 with a usable Location), cancel
# (DELETE 204; main, optional), empty blob, `{}`.
#
# Every 201's Location answers GET 200 with the same bytes (blob and manifest).


def _check_blob(registry: RegistryClient, name: str, content: bytes, location: str, algorithm: str = "sha256") -> None:
    digest = digest_of(content, algorithm)
    path = f"/v2/{name}/blobs/{digest}"
    assert registry.get(location).body == content
    head = registry.head(path)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(content)))
    assert head.headers["docker-content-digest"] == digest
    got = registry.get(path)
    assert (got.status, got.body, got.headers["content-length"]) == (200, content, str(len(content)))
    assert "content-encoding" not in got.headers
    assert registry.delete(path).status == 202
    gone = registry.get(path)
    assert (gone.status, code(gone)) == (404, "BLOB_UNKNOWN")
    assert registry.head(path).status == 404
    assert registry.delete(path).status == 404


@pytest.fixture(params=["sha256", "sha512"])
def algorithm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_blob_that_is_posted_alone(registry, algorithm):
    answer = registry.ask("POST", "/v2/a/b/blobs/uploads/", {"digest": digest_of(A, algorithm)}, body=A)
    assert answer.status == 201
    _check_blob(registry, "a/b", A, answer.headers["location"], algorithm)


def test_a_blob_that_is_posted_and_put(registry, algorithm):
    session = registry.begin("a/b")
    assert session.headers["range"] == "0-0"
    assert session.headers["location"].endswith(session.headers["docker-upload-uuid"])
    answer = registry.finish(session, digest_of(A, algorithm), A)
    assert answer.status == 201
    _check_blob(registry, "a/b", A, answer.headers["location"], algorithm)


@pytest.mark.parametrize("chunks", [[A], [A[:200], A[200:300], A[300:]]])
@pytest.mark.parametrize("is_last_put", [False, True])
@pytest.mark.parametrize("word", ["", "bytes "])
def test_a_blob_in_chunks(registry, algorithm, chunks, is_last_put, word):
    session = registry.begin("a/b")
    at = 0
    for number, chunk in enumerate(chunks):
        span = f"{word}{at}-{at + len(chunk) - 1}"
        at += len(chunk)
        if is_last_put and number == len(chunks) - 1:
            answer = registry.finish(session, digest_of(A, algorithm), chunk, span)
            break
        session = registry.patch(session, chunk, span)
        assert (session.status, session.headers["range"]) == (202, f"0-{at - 1}")
    else:
        answer = registry.finish(session, digest_of(A, algorithm))
    assert answer.status == 201
    _check_blob(registry, "a/b", A, answer.headers["location"], algorithm)


def test_a_blob_as_a_stream_without_a_range_and_without_a_length(registry, algorithm):
    session = registry.begin("a/b")
    answer = registry.ask("PATCH", session.headers["location"], body=iter([A[:100], A[100:]]))
    assert (answer.status, answer.headers["range"]) == (202, f"0-{len(A) - 1}")
    answer = registry.finish(answer, digest_of(A, algorithm))
    assert answer.status == 201
    _check_blob(registry, "a/b", A, answer.headers["location"], algorithm)


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_an_empty_blob_and_a_small_one(registry, algorithm, content):
    answer = registry.finish(registry.begin("a/b"), digest_of(content, algorithm), content)
    assert answer.status == 201
    _check_blob(registry, "a/b", content, answer.headers["location"], algorithm)


def test_a_mount_and_one_of_a_blob_that_is_not_there(registry, algorithm):
    assert registry.finish(registry.begin("from/here"), digest_of(A, algorithm), A).status == 201
    path = "/v2/to/there/blobs/uploads/"
    answer = registry.ask("POST", path, {"mount": digest_of(A, algorithm), "from": "from/here"})
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, digest_of(A, algorithm))
    _check_blob(registry, "to/there", A, answer.headers["location"], algorithm)
    assert registry.head(f"/v2/from/here/blobs/{digest_of(A, algorithm)}").status == 200
    for query in (
        {"mount": digest_of(B, algorithm), "from": "from/here"},
        {"mount": digest_of(B, algorithm)},
        {"mount": "sha256:bad"},
    ):
        session = registry.ask("POST", path, query)
        assert session.status == 202
        answer = registry.finish(session, digest_of(B, algorithm), B)
        assert answer.status == 201
        _check_blob(registry, "to/there", B, answer.headers["location"], algorithm)


def test_a_mount_without_a_source_finds_one(registry, images):
    def mounted(name: str, digest: str) -> int:
        return int(registry.ask("POST", f"/v2/{name}/blobs/uploads/", {"mount": digest}).status)

    registry.push_blob("loose/blob", A)
    assert mounted("to/there", digest_of(A)) == 201
    image, artifact = registry.push_image("an/image", "1"), registry.push_artifact("an/artifact", content=B)
    indexed = registry.push_image("an/index", None, "indexed")
    registry.push_manifest("an/index", index_of(indexed), "all", INDEX)
    blobs = [one["digest"] for each in (image, artifact, indexed) for one in json.loads(each)["layers"]]
    # What was pushed a day ago is there because of what names it.
    with images.store.metadata.write() as rows:
        for lease in rows.leases():
            rows.delete_lease(lease)
    for blob in blobs:
        assert mounted("to/there", blob) == 201
        assert registry.head(f"/v2/to/there/blobs/{blob}").status == 200
    assert mounted("to/there", digest_of(A)) == 202
    assert mounted("to/there", MISSING) == 202


def test_an_upload_that_is_cancelled_is_gone(registry):
    session = registry.patch(registry.begin("a/b"), A)
    location = session.headers["location"]
    assert registry.delete(location).status == 204
    for answer in (registry.get(location), registry.patch(session, B), registry.finish(session, digest_of(A))):
        assert (answer.status, code(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")


# Out-of-order chunk, by PATCH or as last chunk in PUT: 416; afterwards GET upload 204 with `Range: 0-<last>` and
# Location, and the session goes on. Repeating the previous chunk: 416. Content-Range without `bytes `.


@pytest.mark.sampled(2)
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("span", ["400-519", "0-119", "100-219"])
def test_a_chunk_out_of_order_is_refused_and_the_upload_goes_on(registry, method, span):
    session = registry.patch(registry.begin("a/b"), A[:200], "0-199")
    chunk = A[400:]
    if method == "PATCH":
        refused = registry.patch(session, chunk, span)
    else:
        refused = registry.finish(session, digest_of(A), chunk, span)
    assert (refused.status, code(refused)) == (416, "RANGE_INVALID")
    assert refused.headers["range"] == "0-199"
    state = registry.get(session.headers["location"])
    assert (state.status, state.headers["range"], state.body) == (204, "0-199", b"")
    session = registry.patch(state, A[200:], f"200-{len(A) - 1}")
    answer = registry.finish(session, digest_of(A))
    assert answer.status == 201
    _check_blob(registry, "a/b", A, answer.headers["location"])


@pytest.mark.parametrize("span", ["0-", "x", "5-1", "0-99/", "1-99999999999999999999999"])
def test_a_content_range_that_cannot_be_read_is_refused(registry, span):
    session = registry.begin("a/b")
    assert registry.patch(session, A, span).status in {400, 416}
    assert registry.get(session.headers["location"]).headers["range"] == "0-0"
    assert registry.patch(session, A, f"0-{len(A)}").status == 400


# Wrong digest: 400 for post-only (or 202 + 400 at PUT), post+put, chunked, stream. GET of a blob never pushed: 404.


def test_a_wrong_digest_is_refused_and_leaves_nothing(registry, images):
    wrong = digest_of(B)
    posted = registry.ask("POST", "/v2/a/b/blobs/uploads/", {"digest": wrong}, body=A)
    put = registry.finish(registry.begin("a/b"), wrong, A)
    chunked = registry.finish(registry.patch(registry.begin("a/b"), A, f"0-{len(A) - 1}"), wrong)
    streamed = registry.finish(registry.patch(registry.begin("a/b"), iter([A])), wrong)
    for answer in (posted, put, chunked, streamed):
        assert (answer.status, code(answer)) == (400, "DIGEST_INVALID")
    for content in (A, B):
        assert registry.get(f"/v2/a/b/blobs/{digest_of(content)}").status == 404
    assert images.store.files.incoming.keys() == []


@pytest.mark.parametrize("digest", ["sha256:bad", "md5:" + "0" * 32, "x", "sha256:" + "A" * 64])
def test_a_digest_that_is_not_one_is_refused(registry, digest):
    for answer in (
        registry.finish(registry.begin("a/b"), digest, A),
        registry.ask("POST", "/v2/a/b/blobs/uploads/", {"digest": digest}, body=A),
        registry.get(f"/v2/a/b/blobs/{digest}"),
        registry.get(f"/v2/a/b/referrers/{digest}"),
    ):
        assert (answer.status, code(answer)) == (400, "DIGEST_INVALID")
    answer = registry.ask("POST", "/v2/a/b/blobs/uploads/", {"digest-algorithm": "md5"})
    assert (answer.status, code(answer)) == (400, "DIGEST_INVALID")
    lacking = registry.ask("PUT", registry.begin("a/b").headers["location"], body=A)
    assert lacking.status == 400


# Range: `500-1499`, `500-`, `-500`, `2000-5000` (cut at the end) → 206 with Content-Length and `Content-Range: bytes
# a-b/total` (or `/*`); `500-0` and beyond the end → 416.


@pytest.mark.parametrize("size", [3000, 3 << 20])
def test_parts_of_a_blob(registry, size):
    content = bytes(range(250)) * (size // 250 + 1)
    path = f"/v2/a/b/blobs/{registry.push_blob('a/b', content)}"
    total = len(content)
    spans = {
        "500-1499": (500, 1500),
        "500-": (500, total),
        "-500": (total - 500, total),
        f"2000-{total + 9}": (2000, total),
        f"-{total + 9}": (0, total),
        "0-0": (0, 1),
    }
    for text, (first, end) in spans.items():
        for method in ("GET", "HEAD"):
            answer = registry.ask(method, path, headers={"Range": f"bytes={text}"})
            assert answer.status == 206
            assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{total}"
            assert answer.headers["content-length"] == str(end - first)
            assert answer.body == (content[first:end] if method == "GET" else b"")
    for text in ("500-0", f"{total}-", f"{total + 5}-{total + 9}", "-0"):
        answer = registry.get(path, headers={"Range": f"bytes={text}"})
        assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{total}")
        assert answer.headers["content-length"] == str(len(answer.body))
    for text in ("bytes=0-1,3-4", "lines=1-2", "bytes=-"):
        assert registry.get(path, headers={"Range": text}).body == content


def test_places_have_no_host_that_a_proxy_could_make_wrong(registry):
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "r.example.com"}
    session = registry.ask("POST", "/v2/a/b/blobs/uploads/", headers=headers)
    assert session.headers["location"].startswith("/v2/a/b/blobs/uploads/")


@pytest.mark.parametrize("size", [3000, 3 << 20])
def test_a_part_is_sent_where_it_is_of_what_the_client_has(registry, size):
    content = bytes(range(250)) * (size // 250 + 1)
    path = f"/v2/a/b/blobs/{registry.push_blob('a/b', content)}"
    etag = registry.head(path).headers["etag"]
    part = registry.get(path, headers={"Range": "bytes=500-", "If-Range": etag})
    assert (part.status, part.body) == (206, content[500:])
    for other in ('"sha256:other"', f"W/{etag}", "Fri, 15 Jan 2027 08:00:00 GMT", ""):
        whole = registry.get(path, headers={"Range": "bytes=500-", "If-Range": other})
        assert (whole.status, whole.body) == (200, content)


def test_what_the_client_has_already_is_not_sent_again(registry):
    manifest = registry.push_image("a/b", "1")
    blob = registry.push_blob("a/b", A)
    for path, digest in ((f"/v2/a/b/blobs/{blob}", blob), ("/v2/a/b/manifests/1", digest_of(manifest))):
        first = registry.get(path)
        assert first.headers["etag"] == f'"{digest}"'
        same = registry.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (same.status, same.body) == (304, b"")
        assert registry.get(path, headers={"If-None-Match": '"sha256:other"'}).status == 200
    kept = registry.get(f"/v2/a/b/blobs/{blob}").headers
    assert kept["accept-ranges"] == "bytes"
    # A blob is the same for ever; a tag may lead to something else any time.
    assert "max-age=31536000" in kept["cache-control"]
    assert "max-age" not in registry.get("/v2/a/b/manifests/1").headers.get("cache-control", "")


# Manifests by digest and by tag: PUT 201 + Location; `OCI-Subject: D` for those with subject, also when the subject
# is missing; GET/HEAD 200, exact Content-Type without parameters, exact Content-Length and bytes; 404 for unknown
# tag and digest; `sha256:baddigeststring` PUT → 400, GET → 400/404; PUT by a digest that does not match → 400.


def _check_manifest(registry: RegistryClient, path: str, manifest: bytes, media_type: str = MANIFEST) -> None:
    got, head = registry.get(path), registry.head(path)
    assert (got.status, got.body, head.status, head.body) == (200, manifest, 200, b"")
    for answer in (got, head):
        assert answer.headers["content-type"] == media_type
        assert answer.headers["content-length"] == str(len(manifest))
        assert answer.headers["docker-content-digest"] == digest_of(manifest)


def test_a_manifest_by_tag_and_by_digest(registry):
    manifest = registry.push_image("team/app")
    answer = registry.put("/v2/team/app/manifests/v1", manifest, f"{MANIFEST}; charset=utf-8")
    assert answer.status == 201
    for path in (answer.headers["location"], "/v2/team/app/manifests/v1"):
        _check_manifest(registry, path, manifest)
    for path in ("/v2/team/app/manifests/v2", f"/v2/team/app/manifests/{MISSING}", "/v2/other/manifests/v1"):
        unknown = registry.get(path)
        assert (unknown.status, code(unknown)) == (404, "MANIFEST_UNKNOWN")
        assert registry.head(path).status == 404


def test_a_manifest_that_is_put_wrongly_is_refused(registry):
    manifest = registry.push_image("a/b")
    bad = registry.put("/v2/a/b/manifests/sha256:baddigeststring", manifest)
    assert (bad.status, code(bad)) == (400, "DIGEST_INVALID")
    assert registry.get("/v2/a/b/manifests/sha256:baddigeststring").status in {400, 404}
    other = registry.put(f"/v2/a/b/manifests/{digest_of(manifest)}", manifest + b"  ")
    assert (other.status, code(other)) == (400, "DIGEST_INVALID")
    for tag in ("-x", "a" * 129, "b%20c"):
        wrong = registry.put(f"/v2/a/b/manifests/{tag}", manifest)
        assert (wrong.status, code(wrong)) == (400, "TAG_INVALID")
        assert registry.get(f"/v2/a/b/manifests/{tag}").status == 404
    for body, media_type in (
        (b"", MANIFEST),
        (b"{", MANIFEST),
        (b"[]", MANIFEST),
        (b"{}", MANIFEST),
        (manifest, INDEX),
        (manifest, "application/vnd.docker.distribution.manifest.v2+json"),
        (manifest, "application/vnd.unknown+json"),
        (written(json.loads(manifest) | {"manifests": []}), MANIFEST),
        (b'{"schemaVersion": 1, "fsLayers": []}', "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    ):
        wrong = registry.put("/v2/a/b/manifests/1", body, media_type)
        assert (wrong.status, code(wrong)) == (400, "MANIFEST_INVALID"), body
    assert registry.get("/v2/a/b/manifests/1").status == 404


def test_a_manifest_whose_blobs_are_missing_is_refused_with_one_error_for_each(registry):
    config, layer = b'{"a": 1}', b"not there"
    for name in ("a/b", "other"):
        registry.push_blob(name, config)
    registry.push_blob("other", layer)
    answer = registry.put("/v2/a/b/manifests/1", written(image_manifest(config, layer, b"nor this", layer)))
    assert answer.status == 400
    errors = answer.json["errors"]
    assert [one["code"] for one in errors] == ["MANIFEST_BLOB_UNKNOWN"] * 2
    assert [one["detail"]["digest"] for one in errors] == [digest_of(layer), digest_of(b"nor this")]
    sized = json.loads(written(image_manifest(config)))
    sized["config"]["size"] += 1
    wrong = registry.put("/v2/a/b/manifests/1", written(sized))
    assert (wrong.status, code(wrong)) == (400, "SIZE_INVALID")


# Large manifest (about 4 MB must pass; over the limit 413).


def test_a_large_manifest_passes_and_one_that_is_too_large_does_not(registry):
    large = {f"large-annotation-{number}": "A" * 10000 for number in range(390)}
    manifest = registry.push_image("a/b", "large", annotations=large)
    _check_manifest(registry, "/v2/a/b/manifests/large", manifest)
    answer = registry.put("/v2/a/b/manifests/larger", b" " * ((4 << 20) + 1))
    assert (answer.status, code(answer)) == (413, "SIZE_INVALID")


# Kinds of content: image, uncompressed layers, large manifest (~4 MB must pass; over the limit 413), index, nested
# index, **empty index**, artifact with artifactType, artifact with no layers (`layers: []`), index with
# artifactType, image/index with subject, subject that does not exist, `data` fields, non-distributable layers whose
# blobs were never pushed (must be accepted), unknown extra JSON fields (kept byte for byte), sha512 descriptors,
# sparse index (optional).


def _kinds(registry: RegistryClient, name: str) -> dict[str, tuple[bytes, str]]:
    """Push what each kind needs, and return its manifest and its type."""
    first, second = registry.push_image(name), registry.push_image(name, None, "b")
    layer = gzip.compress(b"not a tar at all")
    config = written({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}})
    for blob in (layer, config, b"{}", A):
        registry.push_blob(name, blob)
    odd = image_manifest(config)
    odd["layers"] = [described(layer, f"{LAYER}+gzip")]
    artifact = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": SIGNATURE,
        "config": described(b"{}", EMPTY),
        "layers": [described(A, OCTETS)],
    }
    nested = index_of(first, second)
    registry.push_manifest(name, nested, media_type=INDEX)
    elsewhere = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    far = described(b"far away", elsewhere, urls=["https://store.example.com/x"])
    return {
        "image": (first, MANIFEST),
        "docker image": (_docker(registry, name), "application/vnd.docker.distribution.manifest.v2+json"),
        "image of odd layers": (written(odd), MANIFEST),
        "index": (index_of(first, second), INDEX),
        "nested index": (
            written({"schemaVersion": 2, "mediaType": INDEX, "manifests": [described(nested, INDEX)]}),
            INDEX,
        ),
        "empty index": (index_of(), INDEX),
        "sparse index": (index_of(first, b"elsewhere"), INDEX),
        "artifact": (written(artifact), MANIFEST),
        "artifact without layers": (written(artifact | {"layers": []}), MANIFEST),
        "index with a type": (index_of(artifactType=SIGNATURE), INDEX),
        "missing subject": (written(artifact | {"subject": described(b"gone", MANIFEST)}), MANIFEST),
        "index with a subject": (index_of(first, subject=described(first, MANIFEST)), INDEX),
        "data fields": (written(artifact | {"config": described(b"{}", EMPTY, data="e30=")}), MANIFEST),
        "non-distributable layers": (written(image_manifest(config) | {"layers": [far]}), MANIFEST),
        "unknown fields": (written(json.loads(first) | {"org.example.extra": [1, {"a": None}]}), MANIFEST),
    }


def _docker(registry: RegistryClient, name: str) -> bytes:
    document = json.loads(registry.push_image(name, None, "c"))
    document["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"
    document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json"
    document["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar"
    return written(document)


@pytest.mark.sampled(2)
def test_every_kind_of_content_is_kept_byte_for_byte_and_goes_again(registry, images):
    kinds = _kinds(registry, "kinds")
    for kind, (manifest, media_type) in kinds.items():
        tag = kind.replace(" ", "-")
        answer = registry.put(f"/v2/kinds/manifests/{tag}", manifest, media_type)
        assert answer.status == 201, (kind, answer.body)
        for path in (f"/v2/kinds/manifests/{tag}", f"/v2/kinds/manifests/{digest_of(manifest)}"):
            _check_manifest(registry, path, manifest, media_type)
        assert tag in registry.get("/v2/kinds/tags/list").json["tags"]
    # Nothing of it is garbage, and nothing is wrong.
    images.gc()
    assert problems_of(images) == []
    for kind, (manifest, media_type) in kinds.items():
        _check_manifest(registry, f"/v2/kinds/manifests/{kind.replace(' ', '-')}", manifest, media_type)
    for kind, (manifest, _) in reversed(kinds.items()):
        tag, path = kind.replace(" ", "-"), f"/v2/kinds/manifests/{digest_of(manifest)}"
        # DELETE tag 202 → GET tag 404, digest still there; DELETE digest 202 → 404.
        assert registry.delete(f"/v2/kinds/manifests/{tag}").status == 202, kind
        assert registry.get(f"/v2/kinds/manifests/{tag}").status == 404, kind
        assert registry.get(path).status == 200, kind
        if kind != "image":  # the nested index needs it
            answer = registry.delete(path)
            assert answer.status == 202, (kind, answer.body)
            assert registry.get(path).status == 404, kind
    assert problems_of(images) == []


# Referrers: each descriptor with mediaType, size, digest, artifactType (manifest's own; else config.mediaType for
# images; omitted for an index without), annotations; `?artifactType=` filter with `OCI-Filters-Applied:
# artifactType`, and nothing else in the list; bad digest 400; gone after DELETE of the referrer.


def test_referrers_are_listed_with_type_size_digest_artifact_type_and_annotations(registry):
    image = registry.push_image("a/b", "1")
    subject = described(image, MANIFEST)
    first = registry.push_artifact("a/b", subject, b"one")
    plain = registry.push_image("a/b", None, "z", subject=subject)
    index = index_of(subject=subject, annotations={"kind": "index"})
    typed = index_of(subject=subject, artifactType="application/x-typed")
    for one in (index, typed):
        answer = registry.push_manifest("a/b", one, media_type=INDEX)
        assert answer.headers["oci-subject"] == digest_of(image)
    registry.push_artifact("other", subject, b"elsewhere")
    found = registry.get(f"/v2/a/b/referrers/{digest_of(image)}")
    assert (found.status, found.headers["content-type"]) == (200, INDEX)
    assert "oci-filters-applied" not in found.headers
    assert {one["digest"]: one for one in found.json["manifests"]} == {
        digest_of(first): described(first, MANIFEST, artifactType=SIGNATURE, annotations={"of": "one"}),
        digest_of(plain): described(plain, MANIFEST, artifactType=CONFIG),
        digest_of(index): described(index, INDEX, annotations={"kind": "index"}),
        digest_of(typed): described(typed, INDEX, artifactType="application/x-typed"),
    }
    filtered = registry.get(f"/v2/a/b/referrers/{digest_of(image)}", {"artifactType": SIGNATURE})
    assert [one["digest"] for one in filtered.json["manifests"]] == [digest_of(first)]
    assert filtered.headers["oci-filters-applied"] == "artifactType"
    # Gone after DELETE of the referrer.
    for one in (first, plain, index, typed):
        assert registry.delete(f"/v2/a/b/manifests/{digest_of(one)}").status == 202
    assert registry.get(f"/v2/a/b/referrers/{digest_of(image)}").json["manifests"] == []
    assert registry.get("/v2/a/b/manifests/1").body == image


@pytest.mark.parametrize("encoded", [CONFIG, quote(CONFIG, safe=""), quote(CONFIG, safe="+")])
def test_a_type_with_a_plus_filters_referrers_whether_or_not_it_is_encoded(registry, encoded):
    subject = described(registry.push_image("a/b"), MANIFEST)
    registry.push_artifact("a/b", subject)
    plain = registry.push_image("a/b", None, "z", subject=subject)
    found = registry.get(f"/v2/a/b/referrers/{subject['digest']}?artifactType={encoded}")
    assert [one["digest"] for one in found.json["manifests"]] == [digest_of(plain)]
    assert found.headers["oci-filters-applied"] == "artifactType"


def test_a_subject_may_come_after_what_refers_to_it(registry, images):
    layer_only = registry.push_image("elsewhere")
    early = registry.push_artifact("a/b", described(layer_only, MANIFEST))
    path = f"/v2/a/b/referrers/{digest_of(layer_only)}"
    assert [one["digest"] for one in registry.get(path).json["manifests"]] == [digest_of(early)]
    images.gc()
    assert [one["digest"] for one in registry.get(path).json["manifests"]] == [digest_of(early)]


# Tag list contains all, sorted; `last=X` gives only those after X; `n` honoured, `n=0` → empty list and no Link;
# Link when cut, relative is fine; sort bytewise.


def test_tags_are_sorted_by_bytes_and_come_in_pages(registry):
    manifest = registry.push_image("a/b")
    artifact = registry.push_artifact("a/b")
    tags = ["0", "A", "B", "_x", "a", "a-b", "a.b", "ab", "b"]
    for number, tag in enumerate(reversed(tags)):
        registry.push_manifest("a/b", artifact if number % 2 else manifest, tag)
    path = "/v2/a/b/tags/list"
    whole = registry.get(path)
    assert whole.json == {"name": "a/b", "tags": tags}
    assert "link" not in whole.headers
    assert registry.get(path, {"last": "B"}).json["tags"] == tags[3:]
    assert registry.get(path, {"last": "aa"}).json["tags"] == ["ab", "b"]
    none = registry.get(path, {"n": 0})
    assert (none.status, none.json["tags"]) == (200, [])
    assert "link" not in none.headers
    found, page = [], registry.get(path, {"n": 4})
    while True:
        found += page.json["tags"]
        if "link" not in page.headers:
            break
        target, _, rel = page.headers["link"].partition(">; ")
        assert rel == 'rel="next"'
        page = registry.get(target.removeprefix("<"))
    assert found == tags
    exact = registry.get(path, {"n": len(tags)})
    assert exact.json["tags"] == tags
    assert "link" not in exact.headers
    for wrong in ("-1", "x", "1.5", "²"):
        answer = registry.get(path, {"n": wrong})
        assert (answer.status, code(answer)) == (400, "PAGINATION_NUMBER_INVALID")


def test_the_catalog_comes_in_pages_as_well(registry):
    for name in ("b", "a/c", "a-b", "a"):
        registry.push_image(name, "1")
    assert registry.get("/v2/_catalog").json == {"repositories": ["a", "a-b", "a/c", "b"]}
    page = registry.get("/v2/_catalog", {"n": 3})
    assert page.json == {"repositories": ["a", "a-b", "a/c"]}
    assert page.headers["link"] == '</v2/_catalog?n=3&last=a%2Fc>; rel="next"'
    assert registry.get("/v2/_catalog", {"last": "a/c"}).json == {"repositories": ["b"]}


# DELETE tag 202 → GET tag 404, digest still there; DELETE digest 202 → its tags are gone; disabled: 400/405.


def test_a_manifest_that_is_deleted_takes_its_tags_along_and_leaves_its_blobs_for_a_while(registry, images):
    manifest = registry.push_image("a/b", "1")
    registry.push_manifest("a/b", manifest, "2")
    other = registry.push_image("a/b", "3", "other")
    assert registry.delete(f"/v2/a/b/manifests/{digest_of(manifest)}").status == 202
    assert registry.get("/v2/a/b/tags/list").json["tags"] == ["3"]
    assert registry.get("/v2/a/b/manifests/3").body == other
    images.gc()
    document = json.loads(manifest)
    for blob in (document["config"], *document["layers"]):
        assert registry.head(f"/v2/a/b/blobs/{blob['digest']}").status == 200
        assert registry.delete(f"/v2/a/b/blobs/{blob['digest']}").status == 202
        assert registry.head(f"/v2/a/b/blobs/{blob['digest']}").status == 404
    layer = json.loads(other)["layers"][0]["digest"]
    needed = registry.delete(f"/v2/a/b/blobs/{layer}")
    assert (needed.status, code(needed)) == (405, "UNSUPPORTED")
    assert registry.head(f"/v2/a/b/blobs/{layer}").status == 200


def test_what_an_index_names_stays_until_the_index_goes(registry, images):
    manifest = registry.push_image("a/b")
    index = index_of(manifest)
    registry.push_manifest("a/b", index, "all", INDEX)
    refused = registry.delete(f"/v2/a/b/manifests/{digest_of(manifest)}")
    assert (refused.status, code(refused)) == (405, "UNSUPPORTED")
    assert registry.delete("/v2/a/b/manifests/all").status == 202
    images.gc()
    for one in (index, manifest):
        assert registry.get(f"/v2/a/b/manifests/{digest_of(one)}").body == one
        assert registry.delete(f"/v2/a/b/manifests/{digest_of(one)}").status == 202
        assert registry.get(f"/v2/a/b/manifests/{digest_of(one)}").status == 404


# Errors JSON; `429` with Retry-After; `DIGEST_INVALID` 400, `NAME_INVALID` 400, `NAME_UNKNOWN` 404,
# `MANIFEST_UNKNOWN` 404, `MANIFEST_INVALID` 400, `MANIFEST_BLOB_UNKNOWN` 400 (one error per blob; distribution),
# `BLOB_UNKNOWN` 404, `BLOB_UPLOAD_UNKNOWN` 404, `BLOB_UPLOAD_INVALID` 404 (distribution; the spec gives no status),
# `SIZE_INVALID` 400, `UNSUPPORTED` 405, `DENIED` 403, `UNAUTHORIZED` 401, `RANGE_INVALID` 416.


def test_names_and_methods_that_are_not_valid(registry):
    for name in ("A", "a//b", "a/../b", "-a"):
        answer = registry.get(f"/v2/{name}/tags/list")
        assert (answer.status, code(answer)) in {(400, "NAME_INVALID"), (404, "UNSUPPORTED")}
    answer = registry.ask("POST", "/v2/a/manifests/1")
    assert (answer.status, code(answer)) == (405, "UNSUPPORTED")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, PUT"


# Only in main (coming 1.2): Docker-Content-Digest and HEAD's Content-Length are MUST; `?digest-algorithm=sha512` on
# POST; `PUT manifests/DIGEST?tag=a&tag=b` with `OCI-Tag: a, b`; upload cancel; unknown algorithm 400; redirects
# allowed anywhere, clients MUST NOT carry Authorization across hosts.


def test_several_tags_are_put_at_once(registry):
    manifest = registry.push_image("a/b")
    answer = registry.put(f"/v2/a/b/manifests/{digest_of(manifest)}", manifest, tag=["x", "y"])
    assert (answer.status, answer.headers["oci-tag"]) == (201, "x, y")
    for tag in ("x", "y"):
        _check_manifest(registry, f"/v2/a/b/manifests/{tag}", manifest)
    wrong = registry.put(f"/v2/a/b/manifests/{digest_of(manifest)}", manifest, tag=["z", "-"])
    assert (wrong.status, code(wrong)) == (400, "TAG_INVALID")
    assert registry.get("/v2/a/b/manifests/z").status == 404


def test_an_upload_says_by_what_it_will_be_hashed(registry, algorithm):
    session = registry.begin("a/b", **{"digest-algorithm": algorithm})
    answer = registry.finish(registry.patch(session, A, f"0-{len(A) - 1}"), digest_of(A, algorithm))
    assert answer.status == 201
    _check_blob(registry, "a/b", A, answer.headers["location"], algorithm)


def test_a_manifest_by_another_algorithm(registry):
    manifest = registry.push_image("a/b")
    digest = digest_of(manifest, "sha512")
    answer = registry.put(f"/v2/a/b/manifests/{digest}", manifest, tag=["x"])
    assert (answer.status, answer.headers["docker-content-digest"]) == (201, digest)
    for path in (f"/v2/a/b/manifests/{digest}", "/v2/a/b/manifests/x"):
        got = registry.get(path)
        assert (got.body, got.headers["docker-content-digest"]) == (manifest, digest)
