"""What a path of the registry leads to, whatever the name in it looks like."""

from __future__ import annotations

import pytest

from orlop.api.registry.routes import Kind, Need, Route, check_repository, methods_of, route_of
from orlop.errors import InvalidReference, MethodNotAllowed, NotServed

DIGEST = f"sha256:{'a' * 64}"
NAMES = [
    "a",
    "team/app",
    "a/b/c/d/e/f/g",
    "blobs",
    "uploads",
    "manifests",
    "tags",
    "tags/list",
    "referrers",
    "blobs/uploads",
    "manifests/manifests",
    "a/blobs/uploads/b",
    "a/manifests/tags/list",
    "list/tags",
    "v2",
    "v2/v2",
    "x.y/z_w/p--q/r__s",
    "localhost/app",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_end_of_a_path_says_what_it_is_and_all_before_is_the_name(name):
    pull = (Need("repository", name, ("pull",)),)
    push = (Need("repository", name, ("pull", "push")),)
    delete = (Need("repository", name, ("delete",)),)
    assert route_of("GET", f"/v2/{name}/tags/list") == Route(Kind.TAGS, "GET", name, "", pull)
    for tag in ("latest", "list", "uploads", "tags", DIGEST):
        path = f"/v2/{name}/manifests/{tag}"
        assert route_of("HEAD", path) == Route(Kind.MANIFEST, "HEAD", name, tag, pull)
        assert route_of("PUT", path) == Route(Kind.MANIFEST, "PUT", name, tag, push)
        assert route_of("DELETE", path) == Route(Kind.MANIFEST, "DELETE", name, tag, delete)
    assert route_of("GET", f"/v2/{name}/blobs/{DIGEST}") == Route(Kind.BLOB, "GET", name, DIGEST, pull)
    assert route_of("DELETE", f"/v2/{name}/blobs/{DIGEST}") == Route(Kind.BLOB, "DELETE", name, DIGEST, delete)
    assert route_of("GET", f"/v2/{name}/referrers/{DIGEST}") == Route(Kind.REFERRERS, "GET", name, DIGEST, pull)
    for path in (f"/v2/{name}/blobs/uploads/", f"/v2/{name}/blobs/uploads"):
        assert route_of("POST", path) == Route(Kind.UPLOADS, "POST", name, "", push)
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        for upload in ("0123abcd", "list", "tags"):
            found = route_of(method, f"/v2/{name}/blobs/uploads/{upload}")
            assert found == Route(Kind.UPLOAD, method, name, upload, push)


def test_the_base_needs_no_right_and_the_catalog_one_of_its_own():
    assert route_of("GET", "/v2/") == route_of("GET", "/v2") == Route(Kind.BASE, "GET")
    assert route_of("GET", "/v2/_catalog").needs == (Need("registry", "catalog", ("*",)),)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1/",
        "/v2x/",
        "/v2//",
        "/v2/a",
        "/v2/a/",
        "/v2/a/b",
        "/v2/_catalog/",
        "/v2/a/tags",
        "/v2/a/tags/lists",
        "/v2/manifests/a",
        "/v2/tags/list",
        "/v2/blobs/uploads/",
        "/v2/a/manifests/",
        "/v2/a/blobs/",
        "/v2/a/uploads/x",
        "/v2/a/referrers/",
        "/_catalog",
    ],
)
def test_a_path_that_is_none_of_these_is_not_served(path):
    with pytest.raises(NotServed):
        route_of("GET", path)


@pytest.mark.parametrize(
    "name",
    [
        "A",
        "a/B",
        "-a",
        "a-",
        "a//b",
        "/a",
        "..",
        "a/../b",
        "a/./b",
        "a..b",
        "a___b",
        "a b",
        "ä",
        "a\nb",
        "a\0b",
        "a%2fb",
        "a:b",
        "a@b",
        f"a@{DIGEST}",
        "a" * 300,
        "/".join(["a"] * 200),
    ],
)
def test_a_name_that_is_not_valid_is_refused_as_such(name):
    with pytest.raises(InvalidReference):
        check_repository(name)
    with pytest.raises((InvalidReference, NotServed)):
        route_of("GET", f"/v2/{name}/tags/list")


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/v2/", Kind.BASE),
        ("DELETE", "/v2/_catalog", Kind.CATALOG),
        ("POST", "/v2/a/tags/list", Kind.TAGS),
        ("POST", "/v2/a/manifests/b", Kind.MANIFEST),
        ("PUT", f"/v2/a/blobs/{DIGEST}", Kind.BLOB),
        ("GET", "/v2/a/blobs/uploads/", Kind.UPLOADS),
        ("POST", "/v2/a/blobs/uploads/0", Kind.UPLOAD),
        ("DELETE", f"/v2/a/referrers/{DIGEST}", Kind.REFERRERS),
        ("TRACE", "/v2/", Kind.BASE),
        ("get", "/v2/", Kind.BASE),
    ],
)
def test_a_method_that_a_path_does_not_take_is_refused_with_those_that_it_takes(method, path, kind):
    with pytest.raises(MethodNotAllowed) as caught:
        route_of(method, path)
    assert caught.value.allowed == methods_of(kind)


def test_a_mount_wishes_for_the_right_to_pull_from_its_source():
    path = "/v2/team/app/blobs/uploads/"
    found = route_of("POST", path, f"mount={DIGEST}&from=other%2Fapp")
    assert found.wishes == (Need("repository", "other/app", ("pull",)),)
    for query in (f"mount={DIGEST}", "from=other/app", f"mount={DIGEST}&from=../x", f"mount={DIGEST}&from="):
        assert route_of("POST", path, query).wishes == ()
    assert route_of("PUT", "/v2/a/manifests/b", "mount=x&from=c").wishes == ()


def test_a_right_is_written_as_a_scope():
    assert str(Need("repository", "team/app", ("pull", "push"))) == "repository:team/app:pull,push"
    assert str(Need("registry", "catalog", ("*",))) == "registry:catalog:*"
