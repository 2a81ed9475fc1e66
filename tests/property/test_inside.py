"""The merged view of layers that hypothesis makes, compared with a naive model of paths in a dictionary."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orlop.inside.merge import Merge
from orlop.streams.tar_read import TarReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.inside.node import Node

Model = dict[str, tuple[str, int, str]]
"""Paths, and of each its type, mode and content or target."""
Member = tuple[str, str, int]
"""A kind, a path, and a mode, which is its content too."""

FOLDERS = st.lists(st.sampled_from("abc"), max_size=2).map("/".join)
PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
MODES = st.integers(0o600, 0o777)
MEMBERS = st.one_of(
    st.tuples(st.sampled_from(["dir", "file", "whiteout", "fifo"]), PATHS, MODES),
    st.tuples(st.just("opaque"), FOLDERS, MODES),
    # Links have names that nothing lies below.
    st.tuples(st.sampled_from(["symlink", "hardlink"]), FOLDERS.map(lambda folder: f"{folder}/s".lstrip("/")), MODES),
)
LAYERS = st.lists(st.lists(MEMBERS, max_size=8), max_size=4)


def tar(members: Sequence[Member]) -> bytes:
    out = io.BytesIO()
    types = {"dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE}
    with tarfile.open(fileobj=out, mode="w") as archive:
        for kind, path, mode in members:
            folder, _, name = path.rpartition("/")
            shown = {"whiteout": f"{folder}/.wh.{name}", "opaque": f"{path}/.wh..wh..opq"}.get(kind, path)
            info = tarfile.TarInfo(shown.lstrip("/"))
            info.type, info.mode = types.get(kind, tarfile.REGTYPE), mode
            info.linkname = {"symlink": str(mode), "hardlink": "a"}.get(kind, "")
            content = str(mode).encode() if kind == "file" else b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def below(model: Model, path: str) -> list[str]:
    return [one for one in model if one.startswith(f"{path}/") or not path]


def take_away(model: Model, path: str) -> None:
    for one in [path, *below(model, path)]:
        model.pop(one, None)


def unpacked(layers: Sequence[Sequence[Member]]) -> Model:
    """Apply layers by the words of the OCI image specification; where it is silent, as overlay engines do it."""
    model: Model = {}
    for members in layers:
        # "Whiteout files MUST only apply to resources in lower/parent layers."
        for kind, path, _ in members:
            if kind in {"whiteout", "opaque"}:
                folder = path.rpartition("/")[0] if kind == "whiteout" else path
                # A marker below a file puts an empty directory there.
                parts = folder.split("/") if folder else []
                above = ["/".join(parts[: size + 1]) for size in range(len(parts))]
                blocked = next((one for one in above if model.get(one, ("dir",))[0] != "dir"), None)
                if blocked is not None:
                    model[blocked] = "dir", 0o755, ""
            if kind == "whiteout":
                take_away(model, path)
            elif kind == "opaque":
                for one in below(model, path):
                    del model[one]
        made: set[str] = set()
        for kind, path, mode in members:
            if kind in {"whiteout", "opaque"}:
                continue
            parts = path.split("/")
            parents = ["/".join(parts[:size]) for size in range(1, len(parts))]
            blocked = next((one for one in parents if one in model and model[one][0] != "dir"), None)
            if blocked is not None and blocked in made:
                continue
            for parent in parents:
                if model.get(parent, ("",))[0] != "dir":
                    model[parent] = "dir", 0o755, ""
            if kind != "dir" or model.get(path, ("",))[0] != "dir":
                take_away(model, path)
            model[path] = kind, 0o777 if kind == "symlink" else mode, str(mode) if kind in {"file", "symlink"} else ""
            made.add(path)
    return model


def seen(root: Node, layers: Sequence[bytes]) -> Model:
    found: Model = {}
    stack = [("", root)]
    while stack:
        folder, node = stack.pop()
        for name, child in (node.children or {}).items():
            path = f"{folder}{name}"
            entry = child.content
            content = layers[child.origin][entry.offset : entry.offset + entry.size].decode() if entry.size else ""
            found[path] = child.type, child.mode, content or entry.linkname
            stack.append((f"{path}/", child))
    return found


@pytest.mark.sampled(2)
@given(layers=LAYERS)
@settings(deadline=None)
def test_a_view_is_what_unpacking_one_layer_after_another_leaves(layers: list[list[Member]]) -> None:
    layers = [[one for one in members if one[0] != "hardlink"] for members in layers]
    tars = [tar(members) for members in layers]
    merge = Merge()
    for data in tars:
        merge.apply(TarReader(io.BytesIO(data)))
    assert seen(merge.root, tars) == unpacked(layers)


@given(layers=LAYERS, resolve_links=st.booleans())
@example(layers=[[("dir", "a", 0o600), ("hardlink", "a/s", 0o600), ("file", "a", 0o600)]], resolve_links=False)
@settings(deadline=None)
def test_names_of_files_are_counted(layers: list[list[Member]], *, resolve_links: bool) -> None:
    merge = Merge(resolve_links=resolve_links)
    for members in layers:
        merge.apply(TarReader(io.BytesIO(tar(members))))
    counts: dict[int, list[int]] = {}
    stack = [merge.root]
    while stack:
        node = stack.pop()
        assert node.type != "hardlink"
        if node.children is None:
            counts.setdefault(id(node), [0, node.names])[0] += 1
        else:
            stack += node.children.values()
    assert all(found == said for found, said in counts.values())
