"""Whether rows are right, by what their bytes, their names and other rows say: the same in every database."""

from __future__ import annotations

from orlop.errors import InvalidInput
from orlop.model import plain_json
from orlop.model.digest import DiffID, Digest, chain_id
from orlop.model.hashing import sha256_hex
from orlop.store.rows.image_facts import glimpsed_facts, glimpsed_type, image_facts, manifest_type
from orlop.store.rows.rows import RowProblem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final

LOST_NAMES: Final = """WITH lost AS MATERIALIZED (SELECT * FROM top
        WHERE substr(suffix, 1, 1) = ':' AND substr(name, 1, 6) <> 'cache:'
        AND NOT EXISTS (SELECT 1 FROM reference WHERE reference.name = top.name AND reference.suffix = top.suffix)
        AND NOT EXISTS (SELECT 1 FROM top AS home WHERE home.name = top.name AND home.suffix = '@' || top.digest))
    SELECT lost.name AS name, lost.suffix AS suffix, came.image AS image, lost.updated AS updated,
        coalesce(up.position, -1) AS position, (SELECT count(*) FROM reference AS told
            WHERE told.name = lost.name AND told.suffix = '@' || lost.digest AND told.image = came.image) AS told
    FROM lost JOIN image_manifest AS came ON came.manifest = lost.digest JOIN image ON image.id = came.image
    JOIN edge AS own ON own.child = came.image AND own.role = 'config'
    LEFT JOIN edge AS up ON up.parent = lost.digest AND up.role = 'child' AND up.child = own.parent
    WHERE own.parent = lost.digest OR up.child IS NOT NULL"""
"""Tags that mean the manifest or the index of an image that is there, and that no image has, with that image.

A tag that was pushed of what is not taken for an image stands beside the digest in its repository (its home), and a
pull-through cache has no names of images. ``told`` is 1 where the repository calls the image by that digest.
"""


def structure_checks(
    *, nameless: str, topless: str, layerless: str, orphans: str, heads: str, empty: str, misfits: str, links: str
) -> tuple[tuple[str, str, str], ...]:
    """Return what is asked of all rows together: kinds of problems, statements that find subjects, and sentences.

    Args:
        nameless: finds names of images that are not there. These and the following are statements of one database.
        topless: finds names of manifests that are not there.
        layerless: finds images whose chain is not there.
        orphans: finds images whose parent is not there.
        heads: finds images of which it is recorded wrongly whether they have children.
        empty: finds layers without bytes.
        misfits: finds blobs that their digests forbid to be recorded as they are.
        links: finds images, and manifests of them that their names mean, with which they are not recorded.
    """
    return (
        (
            "name-dangling",
            nameless,
            "the name {} points to an image that is not there; remove it, or give it to another image",
        ),
        (
            "name-dangling",
            topless,
            "the name {} means a manifest that is not there; load it again, or remove the name",
        ),
        ("layers-missing", layerless, "the layers of the image {} are not there; load it again"),
        ("parent-missing", orphans, "the parent of the image {} is not there"),
        (
            "head-wrong",
            heads,
            "whether the image {} has children is recorded wrongly, so that lists may miss it",
        ),
        (
            "chain-wrong",
            """SELECT chain.id FROM chain JOIN diff ON diff.id = chain.diff
            LEFT JOIN chain AS below ON below.id = chain.parent
            WHERE chain.depth <> coalesce(below.depth, 0) + 1
            OR chain.size - coalesce(below.size, 0) <> diff.content_size ORDER BY 1""",
            "the size or the depth of the chain {} does not follow from the layers in it",
        ),
        ("content-missing", empty, "no bytes are kept of the layer {}; load its image again"),
        (
            "form-wrong",
            "SELECT blob FROM diff_blob GROUP BY blob HAVING count(*) > 1 ORDER BY 1",
            "the blob {} is recorded as several layers; a repair asks the blob itself",
        ),
        (
            "form-wrong",
            misfits,
            (
                "the blob {} is recorded as a layer, or with a compression, that its digest rules out; a repair asks it"
                " itself"
            ),
        ),
        (
            "blob-wrong",
            "SELECT digest FROM blob WHERE compression NOT IN ('none', 'gzip', 'bzip2', 'xz', 'zstd') ORDER BY 1",
            "the compression that is recorded of the blob {} does not exist; a repair asks the blob itself",
        ),
        (
            "edges-wrong",
            f"SELECT DISTINCT manifest FROM ({links}) AS lost ORDER BY 1",  # noqa: S608 - constants
            "the manifest {} is not recorded as that of its image, whose name means it",
        ),
        (
            "name-lost",
            f"SELECT DISTINCT name || suffix FROM ({LOST_NAMES}) AS lost ORDER BY 1",  # noqa: S608 - constants
            (
                "the name {} means the manifest of an image, and is not recorded as a name of that image; a repair"
                " records it"
            ),
        ),
    )


def chain_of(parent: str | None, diff: str) -> str:
    """Return the ID of the chain that a layer makes on another one."""
    diff_id = DiffID.unchecked(diff)
    return diff if parent is None else str(chain_id((DiffID.unchecked(parent), diff_id)))


def digest_of(content: bytes, named: str = "sha256:") -> str:
    """Return the digest of some bytes, by the algorithm of the digest that names them."""
    algorithm = named.partition(":")[0]
    if algorithm == "sha256":
        return f"sha256:{sha256_hex(content)}"
    if algorithm not in {"sha384", "sha512"}:
        return ""
    import hashlib  # noqa: PLC0415 - rare, and takes long to import

    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def is_name(name: str, suffix: str) -> bool:
    """Return whether the parts of a name are those of a canonical reference."""
    from orlop.model.reference import Reference  # noqa: PLC0415 - only where content is read

    name = name.removeprefix("cache:")
    text = f"{name}{suffix}"
    if name.startswith("layout:"):
        return suffix.startswith("@") and Digest.unchecked(suffix[1:]).is_valid
    try:
        return suffix[:1] in {":", "@"} and str(Reference.parse(text)) == text
    except InvalidInput:
        return False


def is_lost_name(text: str) -> bool:
    """Return whether a whole name that `LOST_NAMES` finds can be recorded again: what cannot be asked for is not."""
    name, _, tag = text.rpartition(":")
    return is_name(name, f":{tag}")


def loops_of(parents: Mapping[str, str]) -> list[list[str]]:
    """Return each circle of images that are each other's parents, as IDs: the smallest, then each one's parent."""
    done: set[str] = set()
    loops: list[list[str]] = []
    for image in parents:
        path: dict[str, None] = {}
        current: str | None = image
        while current is not None and current not in done and current not in path:
            path[current] = None
            current = parents.get(current)
        if current is not None and current in path:
            members = list(path)
            circle = members[members.index(current) :]
            start = circle.index(min(circle))
            loops.append(circle[start:] + circle[:start])
        done.update(path)
    return loops


def name_problem(name: str, suffix: str, image: str) -> RowProblem | None:
    """Return what is wrong with a name, if anything is."""
    if is_name(name, suffix):
        return None
    text = f"{name}{suffix}"
    message = f"{text!r} is not a name that a command could ask for; give {image} another one"
    return RowProblem("name-invalid", text, message)


def chain_problem(chain: str, parent: str | None, diff: str) -> RowProblem | None:
    """Return what is wrong with the name of a chain, if anything is."""
    if chain == chain_of(parent, diff) or not Digest.unchecked(chain).is_valid:
        return None
    return RowProblem("chain-wrong", chain, f"the chain {chain} is not what its layers make")


def image_problem(image: str, config: bytes, *recorded: Any) -> RowProblem | None:
    """Return what is wrong with an image's row, by its config, if anything is.

    Args:
        image: its ID.
        config: its bytes.
        recorded: its chain, seconds, nanoseconds, and its labels as JSON.
    """
    if not Digest.unchecked(image).is_valid:
        return None
    if digest_of(config) != image:
        message = f"the config of the image {image} does not match its ID; load it again"
        return RowProblem("config-damaged", image, message)
    found = (*recorded[:3], _read_labels(recorded[3]))
    if found == glimpsed_facts(config):
        return None
    try:
        facts = image_facts(config)
    except InvalidInput as error:
        return RowProblem("config-unreadable", image, f"{image} is not an image: {error}", harmless=True)
    if found == facts:
        return None
    message = f"the layers, time or labels that are recorded of the image {image} are not those of its config"
    return RowProblem("image-wrong", image, message)


def manifest_problem(digest: str, media_type: str, content: bytes, differ: Callable[[], bool]) -> RowProblem | None:
    """Return what is wrong with a manifest's row, by its bytes, if anything is.

    Args:
        digest: its name.
        media_type: what is recorded of it.
        content: its bytes.
        differ: whether other edges are recorded than the bytes say.
    """
    if not Digest.unchecked(digest).is_valid:
        return None
    if digest_of(content, digest) != digest:
        message = f"the manifest {digest} does not match its digest; load its image again"
        return RowProblem("manifest-damaged", digest, message)
    if glimpsed_type(content) != media_type and manifest_type(content) not in {None, media_type}:
        message = f"the manifest {digest} is recorded as {media_type!r}, which is not what it says itself"
        return RowProblem("manifest-wrong", digest, message)
    if differ():
        message = f"what the manifest {digest} leads to is recorded otherwise than it says itself"
        return RowProblem("edges-wrong", digest, message)
    return None


def _read_labels(text: str | None) -> object:
    try:
        return None if text is None else plain_json.loads(text)
    except (ValueError, RecursionError):
        return text
