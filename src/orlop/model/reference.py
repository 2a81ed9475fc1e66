"""References: the names that people give to images.

The grammar is that of the distribution project's references, as the Docker Engine normalises them: ``alpine`` stands
for ``docker.io/library/alpine``, and so on.
"""

from __future__ import annotations

from functools import total_ordering

from orlop.errors import InvalidDigest, InvalidReference
from orlop.model.dialect import Dialect
from orlop.model.digest import Digest
from orlop.model.given import check_text
from orlop.model.regex import Seldom, regex
from orlop.model.values import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final, Self

DEFAULT_DOMAIN: Final = "docker.io"
DEFAULT_TAG: Final = "latest"
_LEGACY_DOMAIN: Final = "index.docker.io"
_OFFICIAL: Final = "library"
MAX_NAME: Final = 255
"""How many characters the name of a repository may have."""
_MAX_TEXT: Final = 4096  # more than any name, tag and digest together; longer texts would only take time

_HOST = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOSTS = rf"{_HOST}(?:\.{_HOST})*"
_PORT = r"(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REST = (
    rf"(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?"
)
_CANONICAL: Final = regex(rf"(?P<domain>{_HOSTS}{_PORT})/{_REST}")
_CANONICAL_29: Final = regex(rf"(?P<domain>(?:{_HOSTS}|\[[0-9a-fA-F:]+\]){_PORT})/{_REST}")
_PLACELESS: Final = regex(_REST)
_TAG: Final = regex(r"[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}")
_seldom: Final = Seldom()
_DIGITS: Final = "0123456789abcdef"
_IDENTIFIER_LENGTH: Final = 64
MAX_TAG: Final = 128
"""How many characters a tag may have."""


@total_ordering
@dataclass(frozen=True, slots=True)
class Reference:
    """A normalised image name: where the image is kept, what it is called, and which version is meant.

    ``domain`` is the registry's host and port, ``path`` the repository in it; ``tag`` and ``digest`` may be absent.
    ``domain`` is empty where the first part cannot be a host (``my_team.dev/app``): such a name is in no registry. Make
    one with `parse`. Ordered by its canonical text. Hashable, immutable.
    """

    domain: str
    path: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, name: str, *, dialect: Dialect = Dialect.REFERENCE) -> Self:
        """Read a name as a person writes it, or a canonical one.

        The first part is a registry if it has a ``.`` or ``:`` or is ``localhost``; otherwise the name is in docker.io,
        under ``library/`` if it has only one part. No tag is added (see `with_default_tag`). A tag and a digest may
        both be given, and both are kept. With `Dialect.ENGINE_29` a first part with an upper-case letter and an IPv6
        address in brackets are registries too, and the limit of 255 characters applies to the path alone. As in docker,
        a first part with a ``_`` is part of the path even if it has a ``.``.

        Raises `InvalidReference` for anything else, even for 64 hex digits, which are always an image ID.
        """
        check_text(name, "a reference")
        if len(name) > _MAX_TEXT:
            raise InvalidReference(f"invalid reference {name[:32]!r}...: no name has {len(name)} characters")
        if _is_identifier(name):
            raise InvalidReference(f"invalid reference {name!r}: 64 hex digits are an image ID, not a name")
        later = dialect is Dialect.ENGINE_29
        domain, remainder = split_domain(name, upper_case_is_domain=later)
        parts = _simple_parts(domain, remainder) if _seldom() else None
        if parts is None:
            text = f"{domain}/{remainder}"
            match = (_CANONICAL_29 if later else _CANONICAL).fullmatch(text) or _PLACELESS.fullmatch(text)
            if match is None:
                path = remainder.partition(":")[0]
                expected = "[HOST[:PORT]/]PATH[:TAG][@DIGEST]" if path == path.lower() else "a path in lower case"
                raise InvalidReference(f"invalid reference {name!r}: expected {expected}")
            parts = match.groupdict("").get("domain", ""), *match.group("path", "tag", "digest")
        domain, path, tag, digest = parts
        if len(path if later or not domain else f"{domain}/{path}") > MAX_NAME:
            raise InvalidReference(
                f"invalid reference {name[:32]!r}...: a repository name has at most {MAX_NAME} characters"
            )
        return cls(domain, path, tag, None if digest is None else _parse_digest(name, digest))

    @property
    def name(self) -> str:
        """The canonical name without tag and digest: ``domain/path``."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    @property
    def familiar_name(self) -> str:
        """The name as people write it, without tag and digest: ``alpine`` for ``docker.io/library/alpine``."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        first, _, rest = self.path.partition("/")
        return rest if first == _OFFICIAL and rest and "/" not in rest else self.path

    @property
    def familiar(self) -> str:
        """The whole reference as people write it.

        As in docker, a path on docker.io that begins like a registry, such as ``docker.io/localhost/x``, is written in
        a way that is read as another name.
        """
        return self.familiar_name + self._suffix

    @property
    def is_name_only(self) -> bool:
        """Whether there is neither a tag nor a digest."""
        return self.tag is None and self.digest is None

    @property
    def is_id_like(self) -> bool:
        """Whether the name could be taken for an image ID: engines refuse ``sha256:TAG``."""
        return (self.domain, self.path) == (DEFAULT_DOMAIN, f"{_OFFICIAL}/sha256")

    def with_default_tag(self) -> Self:
        """Return the reference with the tag ``latest`` if it has neither tag nor digest, else itself."""
        return replace(self, tag=DEFAULT_TAG) if self.is_name_only else self

    def with_tag(self, tag: str) -> Self:
        """Return the reference with this tag instead of its own; a digest stays. Raises `InvalidReference`."""
        check_text(tag, "a tag")
        if not _TAG.fullmatch(tag):
            raise InvalidReference(
                f"invalid tag {tag!r}: expected at most 128 letters, digits, '_', '.' and '-', not '.' or '-' first"
            )
        return replace(self, tag=tag)

    @property
    def _suffix(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        return tag if self.digest is None else f"{tag}@{self.digest}"

    def __str__(self) -> str:
        """Return the canonical text, which `parse` reads back to an equal value."""
        return self.name + self._suffix

    def __lt__(self, other: object) -> bool:
        """Order by canonical text."""
        if not isinstance(other, Reference):
            return NotImplemented
        return str(self) < str(other)


def parse_any(text: str, *, dialect: Dialect = Dialect.REFERENCE) -> Reference | Digest:
    """Read a text that may be an image ID or a name.

    Return a `Digest` for exactly 64 lower-case hex digits, with or without ``sha256:``, and for any other whole digest;
    everything else must be a name, and returns a `Reference`. Raises `InvalidReference`.
    """
    if _is_identifier(text):
        return Digest("sha256", text)
    digest = Digest.unchecked(text)
    return digest if digest.is_valid else Reference.parse(text, dialect=dialect)


def split_domain(name: str, *, upper_case_is_domain: bool) -> tuple[str, str]:
    """Return the registry of a name and the rest, with the defaults filled in; neither is checked."""
    first, slash, rest = name.partition("/")
    is_domain = "." in first or ":" in first or first == "localhost"
    if upper_case_is_domain and first != first.lower():
        is_domain = True
    domain, remainder = (first, rest) if slash and is_domain else (DEFAULT_DOMAIN, name)
    if domain == _LEGACY_DOMAIN:
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in remainder:
        remainder = f"{_OFFICIAL}/{remainder}"
    return domain, remainder


def _simple_parts(domain: str, remainder: str) -> tuple[str | Any, ...] | None:
    """Return the parts of a name in the usual form, or None if it needs the whole grammar.

    Most commands read a name or two: compiling the grammar would take longer than everything else they do with it.
    """
    path, colon, tag = remainder.partition(":")
    host, _, port = domain.partition(":")
    is_simple = (
        (domain + remainder).isascii()
        and " " not in domain + remainder
        and path == path.lower()
        and _are_words(path, "/._-")
        and _are_words(host, ".-")
        and (port.isdigit() or host == domain)
        and ((_are_words(tag, "._-") and len(tag) <= MAX_TAG) or not colon)
    )
    return (domain, path, tag or None, None) if is_simple else None


def _are_words(text: str, separators: str) -> bool:
    """Return whether an ASCII text consists of letters and digits, and single separators between these."""
    for one in separators:
        text = text.replace(one, " ")
    return all(word.isalnum() for word in text.split(" "))


def _is_identifier(text: str) -> bool:
    return len(text) == _IDENTIFIER_LENGTH and not text.strip(_DIGITS)


def _parse_digest(name: str, text: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidDigest as error:
        raise InvalidReference(f"invalid reference {name!r}: {error}") from error
