"""The bytes that ``docker save`` writes: the layouts of Engine 20.10 and of Engine 29 with graph drivers.

Everything is known before the first byte: names, sizes and times come from rows and configs, so an archive streams
out without a temporary directory. Where a 20.10 daemon writes the time of saving (the four members of a layer that is
a link to another's), the image's own time is written, so that equal images always give equal bytes. See
``docs/formats.md``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import chain

from orlop.archive.saved import told
from orlop.errors import InvalidInput, LayerNotFound
from orlop.model import gojson
from orlop.model.descriptor import Descriptor
from orlop.model.dialect import Dialect
from orlop.model.digest import DiffID, Digest, chain_ids
from orlop.model.v1 import v1_layers
from orlop.model.values import dataclass
from orlop.streams.tar_write import archive_chunks, member_header, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import ClassVar, Literal, TypeAlias

    from orlop.archive.oci_blobs import Blob
    from orlop.archive.saved import SaveItem
    from orlop.model.digest import ImageID
    from orlop.model.holdings import Holdings
    from orlop.model.progress import Progress
    from orlop.model.timestamp import Timestamp
    from orlop.store.root import Store

    _Kind: TypeAlias = Literal["dir", "file", "layer", "symlink"]

_LATEST_NS = (1 << 63) - 1

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True)
class Planned:
    """A member that will be written: a directory, bytes, a link, a plain layer or any blob; ``mtime`` in seconds."""

    mtime: int
    data: bytes | None = None
    layer: DiffID | None = None
    link: str | None = None
    blob: Blob | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a directory."""
        return self.data is None and self.layer is None and self.link is None and self.blob is None


class Layout(ABC):
    """One way to lay images out in a tar. `chunks` may be called once."""

    file_mode: ClassVar[int]
    layer_mode: ClassVar[int]
    directory_mode: ClassVar[int]
    owner: ClassVar[str]

    def __init__(self, store: Store, items: Sequence[SaveItem], had: Holdings | None = None) -> None:
        self._store = store
        self._items = items
        self._left = frozenset[DiffID]() if had is None else _had(items, had)
        self._saved = {item.image.id for item in items}
        self._plan: dict[str, Planned] = {}
        self._sizes: dict[DiffID, int] = {}

    def chunks(self, progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the archive's bytes; what is damaged or missing raises before the archive can look whole."""
        plan = self.lay_out()
        members = (self.member(name, plan[name], progress) for name in sorted(plan, key=order))
        yield from archive_chunks(chain.from_iterable(members))

    def lay_out(self, before: Iterable[ImageID] = ()) -> dict[str, Planned]:
        """Return every member by its name, in no order; the images ``before`` are in the archive, too.

        Raises `LayerNotFound` where the store lacks a layer.
        """
        self._saved.update(before)
        self._read_sizes()
        self._lay_out()
        return self._plan

    @property
    def left_out(self) -> tuple[Descriptor, ...]:
        """The layers that are named and do not come along, as whoever reads the archive has them."""
        return tuple(Descriptor(_LAYER_TYPE, Digest.wrap(one), self._sizes[one]) for one in sorted(self._left))

    def _read_sizes(self) -> None:
        with self._store.metadata.read() as rows:
            for item in self._items:
                for diff_id in item.image.rootfs.diff_ids:
                    diff = rows.diff(diff_id)
                    if diff is None:
                        msg = f"the layer {diff_id} of the image {item.image.id} is missing; load the image again"
                        raise LayerNotFound(msg)
                    self._sizes[diff_id] = diff.size

    def member(self, name: str, member: Planned, progress: Progress | None) -> Iterator[bytes]:
        """Yield the bytes of a planned member, with its header and padding."""
        if member.link is not None:
            yield self._header(name, member, 0, "symlink")
        elif member.layer is not None:
            size = self._sizes[member.layer]
            yield self._header(name, member, size, "layer")
            yield from self._layer(member.layer, size, progress)
            yield padding(size)
        elif member.data is not None:
            yield self._header(name, member, len(member.data), "file")
            yield member.data
            yield padding(len(member.data))
        else:
            yield self._header(name, member, 0, "dir")

    def _header(self, name: str, member: Planned, size: int, kind: _Kind) -> bytes:
        modes = {"dir": self.directory_mode, "file": self.file_mode, "layer": self.layer_mode, "symlink": 0o120777}
        return member_header(
            f"{name}/" if kind == "dir" else name,
            size=size,
            mode=modes[kind],
            mtime=member.mtime,
            type="file" if kind == "layer" else kind,
            linkname=member.link or "",
            uname=self.owner,
            gname=self.owner,
        )

    def _layer(self, diff_id: DiffID, size: int, progress: Progress | None) -> Iterator[bytes]:
        yield from told(self._store.layers.tar_chunks(diff_id), diff_id.short, size, progress)

    def _manifest_entry(self, item: SaveItem, config: str, layers: list[str]) -> dict[str, object]:
        entry: dict[str, object] = {
            "Config": config,
            "RepoTags": [reference.familiar for reference in item.references] or None,
            "Layers": layers or None,
        }
        if item.parent in self._saved:
            entry["Parent"] = str(item.parent)
        return entry

    def _repositories(self, tops: Sequence[str]) -> bytes | None:
        """Return the ``repositories`` document: name → tag → what the layout calls the top layer."""
        names: dict[str, dict[str, str]] = {}
        for item, top in zip(self._items, tops, strict=True):
            for reference in item.references:
                if top and reference.tag is not None:
                    names.setdefault(reference.familiar_name, {})[reference.tag] = top
        if not names:
            return None
        return gojson.dumps({name: dict(sorted(tags.items())) for name, tags in sorted(names.items())}) + b"\n"

    def _add(self, name: str, member: Planned) -> None:
        self._plan.setdefault(name, member)

    @abstractmethod
    def _lay_out(self) -> None:
        """Plan every member."""


class Docker2010Layout(Layout):
    """A directory per v1 image, as Engine 1.10 to 24 write it."""

    file_mode = 0o100644
    layer_mode = 0o100644
    directory_mode = 0o040755
    owner = "root"

    def _lay_out(self) -> None:
        where: dict[DiffID, str] = {}
        entries: list[dict[str, object]] = []
        tops: list[str] = []
        for item in self._items:
            mtime = member_time(item.image.created)
            config = f"{item.image.id.hex}.json"
            self._add(config, Planned(mtime, data=item.image.raw_json))
            layers: list[str] = []
            top = ""
            for layer in v1_layers(item.image, Dialect.ENGINE_20_10):
                top = layer.id
                layers.append(f"{top}/layer.tar")
                if top in self._plan:
                    continue
                self._add(top, Planned(mtime))
                self._add(f"{top}/VERSION", Planned(mtime, data=b"1.0"))
                self._add(f"{top}/json", Planned(mtime, data=layer.json))
                if layer.diff_id in self._left:
                    continue
                first = where.setdefault(layer.diff_id, top)
                if first == top:
                    self._add(f"{top}/layer.tar", Planned(mtime, layer=layer.diff_id))
                else:
                    self._add(f"{top}/layer.tar", Planned(mtime, link=f"../{first}/layer.tar"))
            tops.append(top)
            entries.append(self._manifest_entry(item, config, layers))
        self._add("manifest.json", Planned(0, data=gojson.dumps(entries) + b"\n"))
        repositories = self._repositories(tops)
        if repositories is not None:
            self._add("repositories", Planned(0, data=repositories))


class DockerLayout(Layout):
    """An OCI layout of plain layers with Docker's documents beside it, as Engine 25 and later write it."""

    file_mode = 0o644
    layer_mode = 0o666
    directory_mode = 0o755
    owner = ""

    def _lay_out(self) -> None:
        entries: list[dict[str, object]] = []
        manifests: list[dict[str, object]] = []
        tops: list[str] = []
        mtime = 0
        for item in self._items:
            mtime = member_time(item.image.created)
            diff_ids = item.image.rootfs.diff_ids
            config = self._blob(item.image.raw_json, mtime)
            for layer in v1_layers(item.image, Dialect.ENGINE_29):
                if layer.diff_id not in self._left:
                    self._add(_blob_name(layer.diff_id), Planned(mtime, layer=layer.diff_id))
                self._blob(layer.json, mtime)
            manifests += self._manifest(item, config, listed=bool(manifests))
            entry = self._manifest_entry(item, _blob_name(config), [_blob_name(diff_id) for diff_id in diff_ids])
            if diff_ids:
                entry["LayerSources"] = {str(diff_id): self._source(diff_id) for diff_id in sorted(diff_ids)}
            entries.append(entry)
            tops.append(diff_ids[-1].hex if diff_ids else "")
        index = {"schemaVersion": 2, "mediaType": _INDEX_TYPE, "manifests": manifests}
        self._add("blobs", Planned(mtime))
        self._add("blobs/sha256", Planned(0))
        self._add("index.json", Planned(0, data=gojson.dumps(index)))
        self._add("manifest.json", Planned(0, data=gojson.dumps(entries) + b"\n"))
        self._add("oci-layout", Planned(0, data=b'{"imageLayoutVersion": "1.0.0"}'))
        repositories = self._repositories(tops)
        if repositories is not None:
            self._add("repositories", Planned(0, data=repositories))

    def _blob(self, data: bytes, mtime: int) -> Digest:
        digest = Digest.of(data)
        self._add(_blob_name(digest), Planned(mtime, data=data))
        return digest

    def _source(self, diff_id: DiffID) -> dict[str, object]:
        return {"mediaType": _LAYER_TYPE, "size": self._sizes[diff_id], "digest": str(diff_id)}

    def _manifest(self, item: SaveItem, config: Digest, *, listed: bool) -> list[dict[str, object]]:
        """Keep an image's manifest and return what the index says of it: once per name, or once where it has none."""
        raw = gojson.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST_TYPE,
                "config": {"mediaType": _CONFIG_TYPE, "digest": str(config), "size": len(item.image.raw_json)},
                "layers": [
                    {"mediaType": _LAYER_TYPE, "digest": str(diff_id), "size": self._sizes[diff_id]}
                    for diff_id in item.image.rootfs.diff_ids
                ],
            }
        )
        described = {"mediaType": _MANIFEST_TYPE, "digest": str(self._blob(raw, 0)), "size": len(raw)}
        if not item.references:
            return [] if listed else [described]
        return [
            described
            | {
                "annotations": {
                    "io.containerd.image.name": str(reference),
                    "org.opencontainers.image.ref.name": reference.tag,
                }
            }
            for reference in item.references
        ]


LAYOUTS: dict[str, type[Layout]] = {"docker": DockerLayout, "docker-20.10": Docker2010Layout}
"""The formats that an archive can be written in, by the name that a user gives."""


def layout(name: str) -> type[Layout]:
    """Return a layout by its name. Raises `InvalidInput` for one that is not known."""
    try:
        return LAYOUTS[name]
    except KeyError:
        msg = f"the archive format {name!r} is not known; choose one of {', '.join(LAYOUTS)}"
        raise InvalidInput(msg) from None


def order(name: str) -> list[bytes]:
    """Return the key by which members are sorted: part by part, a folder before what is in it."""
    return name.encode("utf-8", "surrogateescape").split(b"/")


def member_time(created: Timestamp | None) -> int:
    """Return the time in an archive's headers, in seconds: 0 for what lies before 1970 or after 2262."""
    return created.unix if created is not None and 0 <= created.unix_ns <= _LATEST_NS else 0


def _had(items: Iterable[SaveItem], had: Holdings) -> frozenset[DiffID]:
    """Return the layers that a reader has in every place where they are: engines find a layer only by its chain."""
    places = [
        (diff_id, stack in had.chains)
        for item in items
        for diff_id, stack in zip(item.image.rootfs.diff_ids, chain_ids(item.image.rootfs.diff_ids), strict=True)
    ]
    return frozenset(diff_id for diff_id, _ in places) - {diff_id for diff_id, is_had in places if not is_had}


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"
