"""Images that buildah and podman built, in every form that they and skopeo write; orlop and skopeo agree on digests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.programs import Program, folder_of_engine
from tests.needs import need, need_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.interop.programs import Orlop

pytestmark = pytest.mark.interop

NAME = "localhost/made/app:1.0"
FORMS = ("docker-archive", "oci-archive", "oci", "dir")


@pytest.fixture(scope="session")
def buildah() -> Iterator[Program]:
    """buildah with a storage of its own, for all tests of this worker."""
    need_root()
    program = need("buildah")
    with folder_of_engine("orlop-buildah-") as folder:
        places = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs"]
        yield Program([program, *places], {"BUILDAH_ISOLATION": "chroot", "HOME": folder})


@pytest.fixture(scope="session")
def built(buildah: Program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The ID of an image in buildah's storage, by the format of its manifest."""
    folder = tmp_path_factory.mktemp("built")
    write_recipe(folder)
    found = {}
    for kind in ("oci", "docker"):
        buildah("build", "--format", kind, "--iidfile", folder / "id", folder)
        found[kind] = (folder / "id").read_text().strip()
    return found


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A build context of one file."""
    folder = tmp_path / "context"
    folder.mkdir()
    write_recipe(folder)
    return folder


def write_recipe(folder: Path) -> None:
    """Make a folder a build context of one file."""
    (folder / "Containerfile").write_text(
        'FROM scratch\nCOPY --chown=1:2 hello /data/\nLABEL a=b\nENV WHO=world\nCMD ["/data/hello"]\n'
    )
    (folder / "hello").write_text("hello\n")


def destination(form: str, place: Path, name: str = NAME) -> str:
    """Where skopeo, podman and buildah are to write, or to read; a directory has no names."""
    return f"{form}:{place}" + ("" if form == "dir" else f":{name}")


def inspected(orlop: Orlop, name: str) -> Any:
    (image,) = orlop.json("inspect", name)
    return image


def check(orlop: Orlop, skopeo: Program, form: str, place: Path) -> None:
    """Load what a program wrote, and compare with what skopeo says of it."""
    source = destination(form, place)
    seen = skopeo.json("inspect", source)
    raw = json.loads(skopeo("inspect", "--raw", source))
    config = json.loads(skopeo("inspect", "--config", "--raw", source))
    printed = orlop("load", "-i", place)
    image_id = raw["config"]["digest"]
    image = inspected(orlop, image_id)
    assert image["Id"] == image_id
    assert json.loads(orlop("inspect", "--raw", image_id)) == config
    assert image["Config"]["Env"] == seen["Env"]
    assert image["Architecture"] == seen["Architecture"]
    assert image["RootFS"]["Layers"] == config["rootfs"]["diff_ids"]
    if form == "dir":
        assert printed == f"Loaded image ID: {image_id}\n"
        assert image["RepoTags"] == []
    else:
        assert printed == f"Loaded image: {NAME}\n"
        assert image["RepoTags"] == [NAME]
    # The manifest of a docker archive is skopeo's own invention, and a directory has no name.
    digest = [] if form in {"docker-archive", "dir"} else [f"localhost/made/app@{seen['Digest']}"]
    assert image["RepoDigests"] == digest
    assert orlop.json("inspect", "--archive", place)[0] | {"Metadata": 0} == image | {"Metadata": 0}


@pytest.mark.sampled(8)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_what_buildah_built_loads(
    buildah: Program, skopeo: Program, orlop: Orlop, built: dict[str, str], tmp_path: Path, form: str, kind: str
) -> None:
    buildah("push", "-q", built[kind], destination(form, tmp_path / "saved"))
    check(orlop, skopeo, form, tmp_path / "saved")


@pytest.mark.sampled(4)
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir", "docker-dir"])
def test_what_podman_built_loads(
    podman: Program, skopeo: Program, orlop: Orlop, recipe: Path, tmp_path: Path, form: str
) -> None:
    podman("build", "--isolation", "chroot", "-t", NAME, recipe)
    podman("save", "-q", "--format", form, "-o", tmp_path / "saved", NAME)
    transport = {"oci-dir": "oci", "docker-dir": "dir"}.get(form, form)
    check(orlop, skopeo, transport, tmp_path / "saved")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_what_skopeo_recompressed_loads(
    buildah: Program, skopeo: Program, orlop: Orlop, built: dict[str, str], tmp_path: Path, compression: str
) -> None:
    buildah("push", "-q", built["oci"], destination("oci", tmp_path / "first"))
    copying = ["copy", "-q", "--dest-compress-format", compression, "--dest-compress"]
    skopeo(*copying, destination("oci", tmp_path / "first"), destination("oci-archive", tmp_path / "saved"))
    check(orlop, skopeo, "oci-archive", tmp_path / "saved")


@pytest.fixture(scope="session")
def platforms(buildah: Program, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A manifest list `app` of two platforms in buildah's storage."""
    folder = tmp_path_factory.mktemp("platforms")
    write_recipe(folder)
    buildah("manifest", "create", "app")
    found = []
    for architecture in ("amd64", "arm64"):
        (folder / "hello").write_text(f"{architecture}\n")
        buildah("build", "--platform", f"linux/{architecture}", "--manifest", "app", folder)
        found.append(architecture)
    return found


@pytest.mark.sampled(6)
@pytest.mark.parametrize("form", ["oci", "oci-archive", "dir"])
@pytest.mark.parametrize("writer", ["buildah", "skopeo"])
def test_an_index_of_two_platforms_loads(
    buildah: Program,
    skopeo: Program,
    orlop: Orlop,
    platforms: list[str],
    tmp_path: Path,
    form: str,
    writer: str,
) -> None:
    place = tmp_path / "saved"
    if writer == "buildah":
        buildah("manifest", "push", "-q", "--all", "app", destination(form, place))
    else:
        buildah("manifest", "push", "-q", "--all", "app", destination("oci", tmp_path / "first"))
        skopeo("copy", "-q", "--all", destination("oci", tmp_path / "first"), destination(form, place))
    source = destination(form, place)
    index = json.loads(skopeo("inspect", "--raw", source))
    orlop("load", "-i", place)
    images = [inspected(orlop, image) for image in orlop.lines("images", "-aq", "--no-trunc")]
    assert sorted(image["Architecture"] for image in images) == sorted(platforms)
    for image in images:
        architecture = image["Architecture"]
        config = json.loads(skopeo("--override-arch", architecture, "inspect", "--config", "--raw", source))
        assert json.loads(orlop("inspect", "--raw", image["Id"])) == config
    if form == "dir":
        return
    # The name stands for the index, which skopeo's digest is of; what it does not point to has its manifest's digest.
    digest = skopeo.json("--override-arch", "amd64", "inspect", source)["Digest"]
    (named,) = [image for image in images if image["RepoTags"] == [NAME]]
    assert named["RepoDigests"] == [f"localhost/made/app@{digest}"]
    (other,) = [image for image in images if image is not named]
    assert other["RepoTags"] == []
    manifests = {child["platform"]["architecture"]: child["digest"] for child in index["manifests"]}
    assert other["RepoDigests"] == [f"localhost/made/app@{manifests[other['Architecture']]}"]
    assert inspected(orlop, other["RepoDigests"][0]) == other


@pytest.mark.sampled(2)
@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_one_platform_of_an_index_loads_as_skopeo_takes_it(
    buildah: Program, skopeo: Program, orlop: Orlop, platforms: list[str], tmp_path: Path, architecture: str
) -> None:
    assert architecture in platforms
    buildah("manifest", "push", "-q", "--all", "app", destination("oci", tmp_path / "saved"))
    source = destination("oci", tmp_path / "saved")
    assert orlop("load", "--platform", f"linux/{architecture}", "-i", tmp_path / "saved") == f"Loaded image: {NAME}\n"
    image = inspected(orlop, NAME)
    assert image["Architecture"] == architecture
    assert orlop.lines("images", "-aq", "--no-trunc") == [image["Id"]]
    digest = skopeo.json("--override-arch", architecture, "inspect", source)["Digest"]
    assert image["RepoDigests"] == [f"localhost/made/app@{digest}"]
    skopeo("--override-arch", architecture, "copy", "-q", source, f"dir:{tmp_path / 'copy'}")
    taken = json.loads((tmp_path / "copy" / "manifest.json").read_bytes())
    assert taken["config"]["digest"] == image["Id"]


def test_what_umoci_made_loads_without_inventing_a_name(
    skopeo: Program, orlop: Orlop, recipe: Path, tmp_path: Path
) -> None:
    umoci = Program([need("umoci")])
    layout = tmp_path / "layout"
    umoci("init", "--layout", layout)
    umoci("new", "--image", f"{layout}:1.0")
    umoci("insert", "--image", f"{layout}:1.0", recipe / "hello", "/hello")
    raw = json.loads(skopeo("inspect", "--raw", f"oci:{layout}:1.0"))
    image_id = raw["config"]["digest"]
    # "1.0" is a tag: it does not say of what.
    assert orlop("load", "-i", layout) == f"Loaded image ID: {image_id}\n"
    image = inspected(orlop, image_id)
    assert (image["RepoTags"], image["RepoDigests"]) == ([], [])
    assert len(image["RootFS"]["Layers"]) == 1
