"""Referrers: what refers to an image, as signatures and SBOMs do (OCI distribution 1.1, "Listing Referrers").

Registries that have no such list keep one by a tag, ``sha256-HEX``, which each client that pushes a referrer updates:
it reads the index there, adds its descriptor, and writes it back. Where two do so at once, one entry may be lost,
unless the registry takes conditions (``If-Match`` with the ``ETag`` that it gave, ``If-None-Match: *`` for the first).
Few do, so the list is read again afterwards: see `orlop.registry.conditions`.

A list counts as one only where it has the status, the type and the shape of one: some registries answer 200 with a page
of HTML to everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from orlop.errors import (
    InvalidAnswer,
    InvalidManifest,
    NotInRegistry,
    RegistryBusy,
    RegistryDenied,
    RegistryError,
    RegistryUnreachable,
)
from orlop.model import gojson
from orlop.model.attached import attached_tags
from orlop.model.descriptor import Descriptor
from orlop.model.logger import Logger
from orlop.model.manifest import OCI_INDEX, Index, Manifest, parse_manifest
from orlop.model.urls import shown
from orlop.model.values import dataclass
from orlop.registry.access import to_pull
from orlop.registry.conditions import ALWAYS, FIRST, Tries
from orlop.registry.fetched import digest_of, type_of
from orlop.registry.links import Turning, next_page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orlop.model.digest import Digest
    from orlop.registry.client import RegistryClient
    from orlop.registry.conditions import Condition
    from orlop.registry.messages import Answer

T = TypeVar("T")
_LIMIT: Final = 16 << 20
_MOST: Final = 100_000
"""How many entries a list may have: each is some 600 bytes of memory, however few bytes of the registry."""
_MOST_VALUES: Final = 400_000
"""Values of one page: each takes up to 450 bytes, however few of the registry."""
_TRIES: Final = 5
_LOOKS: Final = 5
"""How often a list is put at most without knowing whether anybody writes over it."""
_LONGER: Final = 2
"""How many times as long as it took from the look to the put the next look is waited for."""
_LONGEST: Final = 5.0
_PRECONDITION: Final = 412
_ALGORITHM, _HEX = 32, 64
_SHOWN: Final = 3
_log: Final = Logger(__name__)


@dataclass(frozen=True, slots=True)
class _Tagged:
    """What is under the fallback tag: an index, something else, or nothing; and the condition to replace it."""

    index: Index | None = None
    condition: Condition = ALWAYS


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a list: what it lists, its bytes, and where the next one is, if there is one.

    ``strange`` are digests by algorithms that are not known, which it lists as well.
    """

    manifests: tuple[Descriptor, ...]
    strange: tuple[str, ...]
    size: int
    following: str | None


def fallback_tag(digest: Digest) -> str:
    """Return the tag under which the referrers of a manifest are kept where a registry has no list of them."""
    hexadecimal = "".join(one if one.isalnum() or one in "_.-" else "-" for one in digest.hex)
    return f"{digest.algorithm[:_ALGORITHM]}-{hexadecimal[:_HEX]}"


def listed(
    client: RegistryClient, repository: str, subject: Digest, artifact_type: str = ""
) -> tuple[Descriptor, ...] | None:
    """Return what a registry itself lists, or None where it has no such list.

    Raises `RegistryError`, also where a list that has begun does not go on: it would look as if there were no more.
    """
    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    first = f"/v2/{repository}/referrers/{subject}{query}"
    where: str | None = first
    found: list[Descriptor] = []
    turning = Turning(client.host, f"list what refers to {subject}", most=_MOST)
    while where is not None:
        turning.ask(where)
        page: _Page | None = None
        try:
            answer = client.exchange.ask(
                "GET",
                where,
                to_pull(repository),
                what=f"list what refers to {subject}",
                expect={200},
                headers=(("Accept", OCI_INDEX),),
            )
        except (RegistryUnreachable, RegistryBusy, RegistryDenied):
            raise
        except (RegistryError, NotInRegistry) as error:
            if where is not first:
                raise _broken(client, subject) from error
        else:
            page = _read(answer)
        if page is None:
            if where is not first:
                raise _broken(client, subject)
            return None
        turning.came(page.size, len(page.manifests) + len(page.strange))
        _warn(client, subject, page.strange)
        found += page.manifests
        where = page.following
    return _of_type(found, artifact_type)


def _read(answer: Answer) -> _Page | None:
    """Return the page of a list that came; nothing where it is something else."""
    with answer:
        if type_of(answer) != OCI_INDEX:
            return None
        try:
            # As in `RegistryClient`: another answer may have come for it, of which all is to be believed.
            raw = answer.document(_LIMIT, what="the referrers")
            if type_of(answer) != OCI_INDEX:
                return None
            if not gojson.values_at_most(raw, _MOST_VALUES):
                raise InvalidAnswer(f"{shown(answer.url)} sends more than {_MOST_VALUES} values at once")
            following = next_page(answer.url, answer.headers.all("Link"))
            index = Index.of_layout(raw, may_be_strange=True)
            return _Page(index.manifests, index.strange, len(raw), following)
        except InvalidManifest:
            return None


def _broken(client: RegistryClient, subject: Digest) -> InvalidAnswer:
    message = f"{client.host} does not send the rest of what refers to {subject}; try again"
    return InvalidAnswer(message, registry=client.host)


def _warn(client: RegistryClient, subject: Digest, strange: Sequence[str]) -> None:
    for digest in strange[:_SHOWN]:
        _log.warning(
            "%s lists %s among what refers to %s; orlop does not know its algorithm, and passes it over",
            client.host,
            digest,
            subject,
        )
    if len(strange) > _SHOWN:
        _log.warning("%d more of what refers to %s are passed over for the same reason", len(strange) - _SHOWN, subject)


def tagged(client: RegistryClient, repository: str, subject: Digest, artifact_type: str = "") -> tuple[Descriptor, ...]:
    """Return what is kept by the fallback tag."""
    index = _under_tag(client, repository, subject).index
    _warn(client, subject, () if index is None else index.strange)
    return () if index is None else _of_type(list(index.manifests), artifact_type)


def referring(client: RegistryClient, repository: str, subject: Digest) -> tuple[tuple[Descriptor, str | None], ...]:
    """Return what refers to a manifest: by the registry's list or its fallback, and by the tags of cosign.

    The latter come with their tags, since nothing else leads to them. Raises `RegistryError`.
    """
    found: list[tuple[Descriptor, str | None]] = [(one, None) for one in client.referrers(repository, subject)]
    for tag in attached_tags(subject):
        try:
            found.append((client.head_manifest(repository, tag), tag))
        except NotInRegistry:
            continue
    return tuple(found)


def put(client: RegistryClient, repository: str, raw: bytes, media_type: str) -> Descriptor:
    """Push a manifest or index under its digest, and have what it refers to know of it, by whatever the registry has.

    Returns what a list of referrers says of it. Raises `RegistryError`, and `InvalidManifest` where it is none.
    """
    document, found = parse_manifest(raw), described(raw, media_type)
    pushed = client.put_manifest(repository, found.digest, raw, media_type)
    if document.subject is not None and not pushed.lists_referrers:
        add(client, repository, document.subject.digest, found)
    return found


def described(raw: bytes, media_type: str) -> Descriptor:
    """Return what a list of referrers says of a manifest or an index. Raises `InvalidManifest` where it is none."""
    document = parse_manifest(raw)
    artifact_type = document.artifact_type
    if not artifact_type and isinstance(document, Manifest):
        artifact_type = document.config.media_type
    annotations = document.annotations
    return Descriptor(media_type, digest_of(raw), len(raw), annotations=annotations, artifact_type=artifact_type)


def add(client: RegistryClient, repository: str, subject: Digest, referrer: Descriptor) -> None:
    """Add a referrer to those that are kept by the fallback tag, unless it is there.

    Raises:
        RegistryError: the registry refuses, or others write again and again.
    """
    _change(client, repository, subject, referrer.digest, referrer)


def remove(client: RegistryClient, repository: str, subject: Digest, referrer: Digest) -> None:
    """Remove a referrer from those that are kept by the fallback tag. Raises `RegistryError`."""
    _change(client, repository, subject, referrer, None)


def _change(
    client: RegistryClient, repository: str, subject: Digest, digest: Digest, referrer: Descriptor | None
) -> None:
    def change(tries: Tries) -> None:
        found = _under_tag(client, repository, subject)
        old = found.index or Index(media_type=OCI_INDEX)
        is_there = any(one.digest == digest for one in old.manifests)
        if is_there == (referrer is not None):
            return
        new = _changed(old.raw or old.to_json(), digest, referrer)
        client.put_manifest(repository, fallback_tag(subject), new, OCI_INDEX, tries.next(found.condition))

    while_others_write(client, change)


def _changed(raw: bytes, digest: Digest, referrer: Descriptor | None) -> bytes:
    """Return an index without one entry, or with another one; all others stay as they are, to the byte."""
    members = {gojson.fold(key): (key, value) for key, value in gojson.raw_members(raw).items()}
    _, there = members.get("manifests", ("", b"null"))
    entries = [one for one in gojson.raw_elements(there) if _digest_in(one) != str(digest)]
    if referrer is not None:
        entries.append(referrer.to_json())
    head = {"schemaVersion": b"2", "mediaType": gojson.dumps(OCI_INDEX), "manifests": b"[" + b",".join(entries) + b"]"}
    ours = {gojson.fold(key) for key in head}
    return gojson.joined(head | dict(member for folded, member in members.items() if folded not in ours))


def _digest_in(entry: bytes) -> object:
    value = gojson.loads(entry)
    return gojson.folded(value).get("digest") if isinstance(value, dict) else None


def while_others_write(client: RegistryClient, change: Callable[[Tries], T]) -> T:
    """Return what a change returns, which is made anew where somebody has written meanwhile what it replaces.

    The change takes its conditions from what it is called with, and puts nothing where all is there already: so it is
    also what finds out whether somebody who looked before has written over it since.

    Raises `RegistryError`, also where others write again and again.
    """
    tries, waiting = Tries(), client.waiting
    looks = refused = 0
    while True:
        start = waiting.clock.monotonic()
        try:
            result = change(tries)
        except RegistryError as error:
            refused += 1
            if error.answered != _PRECONDITION or refused >= _TRIES:
                raise
            tries.refuse()
            waiting.pause(waiting.patience.before(refused, waiting.clock))
            continue
        if tries.is_settled():
            return result
        looks += 1
        if looks >= _LOOKS:
            _log.warning("others write over what %s keeps beside an image, again and again; push it again", client.host)
            return result
        waiting.pause(min(_LONGER * (waiting.clock.monotonic() - start), _LONGEST))


def _under_tag(client: RegistryClient, repository: str, subject: Digest) -> _Tagged:
    """Return what is under the fallback tag."""
    try:
        found = client.get_manifest(repository, fallback_tag(subject), is_list=True)
        index = Index.of_layout(found.raw, may_be_strange=True)
    except NotInRegistry:
        return _Tagged(condition=FIRST)
    except InvalidManifest:
        return _Tagged()
    # Some registries take the tag for the digest that it is made of.
    return _Tagged(index, found.condition) if found.digest != subject else _Tagged()


def _of_type(found: list[Descriptor], artifact_type: str) -> tuple[Descriptor, ...]:
    by_digest = {one.digest: one for one in found if not artifact_type or one.artifact_type == artifact_type}
    return tuple(by_digest.values())
