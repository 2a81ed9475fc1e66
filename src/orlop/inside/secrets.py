"""Secrets in bytes: tokens and keys of a form that hardly anything else has.

A rule has a pattern, and fixed bytes without which it is not tried. Most contents have nothing that even looks like a
secret, which is found out first, and quickly: `_SUSPECTS` begin with one byte each, mostly a rare one. Where an issuer
puts a checksum into its tokens, it must be right. Generic words such as ``password=`` are not rules: they are found in
every image, and what is found everywhere is read nowhere. What is found is never shown whole: its first characters and
its length are, and a fingerprint, by which it can be allowed.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode, urlsafe_b64decode
from binascii import a2b_base64
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import TYPE_CHECKING, Final
from zlib import crc32

from orlop.inside.rest import Rest
from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["AWS_SECRET", "MOST", "RULES", "Secret", "aws_secrets_in", "secrets_in", "secrets_of"]

# Longer than the longest secret with what is around it, twice.
_OVERLAP: Final = 16 << 10
_AROUND: Final = 400
_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHOWN: Final = 4
_VARIED: Final = 8
_LOOKED_AT: Final = 8 << 10


MOST: Final = 100
"""How many secrets are reported of one content one by one: whoever wants to flood an audit finds no more room."""


class Secret(NamedTuple):
    """What was found: the name of its ``rule``, how it is ``shown``, and its ``fingerprint``."""

    rule: str
    shown: str
    fingerprint: str


def _is_varied(token: bytes, around: bytes) -> bool:
    """Return whether a token is none of a text that explains tokens: ``glpat-xxxxxxxxxxxxxxxxxxxx``."""
    del around
    return not _EXPLAINED.search(token)


class _Rule(NamedTuple):
    """What a secret looks like; ``check`` judges a match further, with the bytes around it.

    ``severity`` is low where what looks so is mostly meant to be published.
    """

    text: str
    starts: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    check: Callable[[bytes, bytes], bool] = _is_varied
    severity: str = "high"


def _has_checksum(token: bytes, around: bytes) -> bool:
    """Return whether a token ends in the checksum of what is before it, as those of GitHub and npm do.

    Tokens of GitHub that are signed (JWT) have none.
    """
    del around
    if b"." in token:
        return True
    body = token.rpartition(b"_")[2]
    number, digits = crc32(body[:30]), bytearray()
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits.insert(0, _DIGITS[digit])
    return body[30:] == digits


def _has_secret_beside(token: bytes, around: bytes) -> bool:
    """Return whether a secret of 40 characters is near an access key, and neither is an example."""
    if b"EXAMPLE" in token:
        return False
    return any(b"EXAMPLE" not in one for one in AWS_SECRET.findall(around.replace(token, b"")))


def _is_filled_in(token: bytes, around: bytes) -> bool:
    """Return whether the last part of a token is none of an example, such as one letter many times."""
    del around
    return len({*token.rpartition(b"/")[2]}) >= _VARIED


def _is_signed(token: bytes, around: bytes) -> bool:
    """Return whether the first part of a token is JSON that names the algorithm it is signed with."""
    del around
    head = token.partition(b".")[0]
    try:
        return b'"alg"' in urlsafe_b64decode(head + b"=" * (-len(head) % 4))
    except ValueError:
        return False


def _is_key(token: bytes, around: bytes) -> bool:
    """Return whether a private key is in a text, and is not encrypted. Keys of OpenSSH say that only in their body.

    The text may be in base64, as a secret of Kubernetes is.
    """
    if b"\0" in around:
        return False
    if token.startswith(_IN_BASE64):
        found = _PEM_FORM.match(a2b_base64(token[: len(token) & -4]))
        return found is not None and _is_key(found[0], b"")
    head, _, body = token.partition(b"PRIVATE KEY")
    bare = _ENDS.sub(b"", body[:_AROUND].lstrip(b"-"))
    if _EXPLAINED.match(bare):
        return False
    if b"OPENSSH" in head:
        return bare.startswith(_OPENSSH)
    # Others are sequences of ASN.1, which begin with the same bits. Words of a text could be joined by spaces, too.
    return _LINES.match(body) is not None or (bare.startswith(b"M") and len({*bare}) >= _DIFFERING)


AWS_SECRET: Final = re.compile(rb"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
"""What the secret of an access key of AWS looks like, and much else does."""
_GITLAB: Final = b"pat dt rt ptt ft cbt imt oas rtr soat agent ffct".split()
_SLACK: Final = b"hooks.slack.com/services/"
_DATABRICKS: Final = rb"dapi[a-f0-9]{32}"
_AZURE: Final = rb"Q~[A-Za-z0-9_~.-]{31}"
# What begins within a word is none: many beginnings in one word would take a long time.
_JWT: Final = rb"(?<![A-Za-z0-9_.-])eyJ[A-Za-z0-9_-]{10,1000}+\.eyJ[A-Za-z0-9_-]{10,4000}+\.[A-Za-z0-9_-]{20,1000}+"
_END: Final = rb"(?![A-Za-z0-9_-])"
_EXPLAINED: Final = re.compile(rb"x{10}|your|example", re.IGNORECASE)
"""What hardly any secret has in it, other than those that stand for one."""
# In JSON, the ends of lines are escaped, and slashes may be; once more if the JSON is in a string of JSON. In YAML,
# lines are indented, and in a variable they may be joined by spaces or by nothing.
_PEM: Final = (
    rb"-----BEGIN (?:RSA |EC |DSA |OPENSSH )?PRIVATE KEY-----(?:\s|\\{1,3}[rnt]|&#(?:10|13|x[AaDd]);){0,80}+(?=\w)"
    rb"(?:[A-Za-z0-9+/=\s]|\\{1,3}[rnt/]|&#(?:10|13|x[AaDd]);){64,12000}+-----END "
)
_LINES: Final = re.compile(rb"-----(?:[\r\n]|\\{1,3}[rn]){1,4}(?:[A-Za-z0-9+/=\r\n]|\\{1,3}[rn/])++-----END ")
_DIFFERING: Final = 20
_PEM_FORM: Final = re.compile(_PEM)
_IN_BASE64: Final = b64encode(b"-----BEGIN P")[:14]
"""How a private key and much else begins in base64, with 10 bytes of it."""
_BASE64: Final = _IN_BASE64 + rb"[A-Za-z0-9+/]{120,12000}+"
_ENDS: Final = re.compile(rb"\s|\\{1,3}[rnt]|&#\w{2,3};|\\(?=/)")
_OPENSSH: Final = b64encode(b"openssh-key-v1\0\0\0\0\4no")  # the beginning of the name of the cipher "none"

RULES: Final = {
    "github-token": _Rule(
        "a token of GitHub",
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"),
        re.compile(
            rb"(?:gh[pousr]_[A-Za-z0-9]{36}|"
            rb"ghs_[A-Za-z0-9]{1,20}_eyJ[A-Za-z0-9_-]{17,600}+\.[A-Za-z0-9_-]{20,1000}+\.[A-Za-z0-9_-]{20,1000}+)"
            + _END
        ),
        _has_checksum,
    ),
    "github-fine-token": _Rule(
        "a fine-grained token of GitHub",
        (b"github_pat_",),
        re.compile(rb"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}" + _END),
    ),
    "npm-token": _Rule("a token of npm", (b"npm_",), re.compile(rb"npm_[A-Za-z0-9]{36}" + _END), _has_checksum),
    "gitlab-token": _Rule(
        "a token of GitLab",
        (*(b"gl" + kind + b"-" for kind in _GITLAB), b"GR1348941"),
        re.compile(
            rb"(?:gl(?:"
            + b"|".join(_GITLAB)
            + rb")-[A-Za-z0-9_-]{20,300}+(?:\.[a-z0-9.]{9,12})?|GR1348941[A-Za-z0-9_-]{20})"
            + _END
        ),
    ),
    "pypi-token": _Rule(
        "a token of PyPI",
        (b"pypi-AgEIcHlwaS5vcmc", b"pypi-AgENdGVzdC5weXBpLm9yZw"),
        re.compile(rb"pypi-(?:AgEIcHlwaS5vcmc|AgENdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,1000}+" + _END),
    ),
    "aws-access-key": _Rule(
        "an access key of AWS with its secret",
        (b"AKIA", b"ASIA", b"ABIA", b"ACCA"),
        re.compile(rb"A(?:[KSB]I|CC)A[A-Z2-7]{16}(?![A-Za-z0-9])"),
        _has_secret_beside,
    ),
    "slack-token": _Rule(
        "a token of Slack",
        (b"xoxb-", b"xoxp-", b"xoxa-", b"xoxr-", b"xoxs-", b"xapp-", b"xoxe"),
        re.compile(
            rb"(?:xox[bpars]-[0-9]{8,15}-[A-Za-z0-9-]{20,200}+|xapp-[0-9]-[A-Z0-9]{9,13}-[0-9]{8,15}-[a-f0-9]{64}|"
            rb"xoxe(?:\.xox[bp])?-[0-9]-[A-Za-z0-9]{100,250}+)" + _END
        ),
    ),
    "slack-webhook": _Rule(
        "an address of Slack that anyone may post to",
        (_SLACK,),
        re.compile(_SLACK + rb"T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{20,30}+" + _END),
        _is_filled_in,
    ),
    "stripe-key": _Rule(
        "a live key of Stripe", (b"sk_live_", b"rk_live_"), re.compile(rb"[sr]k_live_[A-Za-z0-9]{24,200}+" + _END)
    ),
    "sendgrid-key": _Rule(
        "a key of SendGrid", (b"SG.",), re.compile(rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}" + _END)
    ),
    "docker-hub-token": _Rule(
        "a token of Docker Hub", (b"dckr_pat_",), re.compile(rb"dckr_pat_[A-Za-z0-9_-]{27}" + _END)
    ),
    "huggingface-token": _Rule("a token of Hugging Face", (b"hf_",), re.compile(rb"hf_[A-Za-z]{34}" + _END)),
    "age-key": _Rule(
        "a secret key of age", (b"AGE-SECRET-KEY-1",), re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{58}(?![0-9A-Z])")
    ),
    "anthropic-key": _Rule(
        "a key of Anthropic",
        (b"sk-ant-api03-", b"sk-ant-admin01-"),
        re.compile(rb"sk-ant-(?:api03|admin01)-[A-Za-z0-9_-]{93}AA" + _END),
    ),
    "openai-key": _Rule(
        "a key of OpenAI", (b"T3BlbkFJ",), re.compile(rb"sk-[A-Za-z0-9_-]{20,85}T3BlbkFJ[A-Za-z0-9_-]{20,85}+" + _END)
    ),
    "digitalocean-token": _Rule(
        "a token of DigitalOcean", (b"dop_v1_", b"doo_v1_", b"dor_v1_"), re.compile(rb"do[opr]_v1_[a-f0-9]{64}" + _END)
    ),
    "shopify-token": _Rule(
        "a token of Shopify",
        (b"shpat_", b"shpca_", b"shppa_", b"shpss_"),
        re.compile(rb"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}" + _END),
    ),
    "rubygems-key": _Rule("a key of RubyGems", (b"rubygems_",), re.compile(rb"rubygems_[a-f0-9]{48}" + _END)),
    "pulumi-token": _Rule("a token of Pulumi", (b"pul-",), re.compile(rb"pul-[a-f0-9]{40}" + _END)),
    "vault-token": _Rule("a token of Vault", (b"hvs.",), re.compile(rb"hvs\.[A-Za-z0-9_-]{90,200}+" + _END)),
    "databricks-token": _Rule("a token of Databricks", (b"dapi",), re.compile(_DATABRICKS + rb"(?:-[0-9])?" + _END)),
    "azure-secret": _Rule(
        "a client secret of Azure",
        (b"Q~",),
        re.compile(
            rb"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}[0-9]" + _AZURE + rb"[A-Za-z0-9_~.-]{0,3}(?![A-Za-z0-9_~-])"
        ),
    ),
    "grafana-token": _Rule("a token of Grafana", (b"glsa_",), re.compile(rb"glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}" + _END)),
    "terraform-token": _Rule(
        "a token of Terraform",
        (b".atlasv1.",),
        re.compile(rb"(?<![A-Za-z0-9])[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,70}+" + _END),
    ),
    "atlassian-token": _Rule(
        "a token of Atlassian",
        (b"ATATT3xFfGF0",),
        re.compile(rb"ATATT3xFfGF0[A-Za-z0-9_-]{100,250}+=[A-F0-9]{8}" + _END),
    ),
    "google-secret": _Rule("a client secret of Google", (b"GOCSPX-",), re.compile(rb"GOCSPX-[A-Za-z0-9_-]{28}" + _END)),
    "google-key": _Rule(
        "a key of Google, which may be meant for everyone",
        (b"AIza",),
        re.compile(rb"AIza[A-Za-z0-9_-]{35}" + _END),
        severity="low",
    ),
    "jwt": _Rule(
        "a signed token (JWT), which may have expired",
        (b"eyJ",),
        re.compile(_JWT + _END),
        _is_signed,
        severity="low",
    ),
    "private-key": _Rule(
        "a private key without a password",
        (b"PRIVATE KEY-----", _IN_BASE64),
        re.compile(_PEM + b"|" + _BASE64),
        _is_key,
    ),
}
"""The rules by their names."""

# Nearly all words with these bytes in them end where what is before and behind the byte is looked at.
_SUSPECTS: Final = (
    re.compile(
        rb"_(?<=[pousrmfkbat]_)(?=[A-Za-z0-9_-]{20})"
        rb"(?:(?<=gh[pousr]_)[A-Za-z0-9]{36}|(?<=ghs_)[A-Za-z0-9]{1,20}_eyJ|(?<=npm_)[A-Za-z0-9]{36}|(?<=hf_)[A-Za-z]{34}|"
        rb"(?<=[sr]k_)live_[A-Za-z0-9]{24}|(?<=github_)pat_[A-Za-z0-9]{22}|(?<=dckr_)pat_[A-Za-z0-9_-]{27}|"
        rb"(?<=do[opr]_)v1_[a-f0-9]{64}|(?<=shp[acps][ats]_)[a-fA-F0-9]{32}|(?<=rubygems_)[a-f0-9]{48}|"
        rb"(?<=glsa_)[A-Za-z0-9]{32}_)"
    ),
    re.compile(
        rb"-(?<=[tsrbpaiklYXeE]-)(?:(?:(?<=gl[drf]t-)|(?<=gl(?:p[at]t|cbt|imt|oas|rtr)-)|(?<=gl(?:soa|ffc)t-)|(?<=glagent-))"
        rb"[A-Za-z0-9_-]{20}|(?<=xox[bpars]-)[0-9]{8}|"
        rb"(?<=pypi-)AgE|(?<=xapp-)[0-9]-|(?<=sk-)ant-a|(?<=pul-)[a-f0-9]{40}|"
        rb"(?<=PRIVATE KEY-)----|(?<=GOCSPX-)[A-Za-z0-9_-]{28}|(?<=xox[bpe]-)[0-9]-|(?<=AGE-)SECRET-KEY-1)"
    ),
    re.compile(rb"A(?:(?:[KSB]I|CC)A[A-Z2-7]{16}|Iza[A-Za-z0-9_-]{35}|TATT3xFfGF0)"),
    re.compile(rb"SG\.[A-Za-z0-9_-]{22}\."),
)
_WORDS: Final = ((b"J", b"T3BlbkFJ"), (b".", b"hvs."))
"""What every secret has in it, of all rules: one of these. A byte of each is found much faster than the whole."""

_WORDS_OF_TEXTS: Final = (
    (b"/", _SLACK, re.compile(_SLACK)),
    (b"p", b"dapi", re.compile(_DATABRICKS)),
    (b"~", b"Q~", re.compile(_AZURE)),
    (b"J", b".eyJ", re.compile(_JWT)),
    (b"J", _IN_BASE64, re.compile(_BASE64)),
    (b"v", b".atlasv1.", re.compile(rb"\.atlasv1\.[A-Za-z0-9_-]{60}")),
    (b"9", b"GR1348941", re.compile(rb"GR1348941[A-Za-z0-9_-]{20}")),
)
"""The same in texts only, which most bytes of an image are not; and what must be around these words."""

_STARTS: Final = re.compile(b"|".join(re.escape(start) for rule in RULES.values() for start in rule.starts))


def secrets_in(data: bytes, *, is_begun: bool = False, goes_on: bool = False) -> Iterator[Secret]:
    """Yield the secrets in some bytes of a content.

    Args:
        data: the bytes.
        is_begun: they begin with some that were searched before. What begins so early that not all around it is there
            was found then.
        goes_on: they will be searched again with those that follow. What ends so late will be found then: here it may
            be the beginning of something longer.
    """
    if not _is_suspect(data):
        return
    found = {match[0] for match in _STARTS.finditer(data)}
    first, last = _AROUND if is_begun else 0, len(data) - (_AROUND if goes_on else 0)
    for name, rule in RULES.items():
        if found.isdisjoint(rule.starts):
            continue
        for match in rule.pattern.finditer(data):
            start, end = match.span()
            if start < first or end > last or (start and data[start - 1 : start].isalnum()):
                continue
            around = data[max(0, start - _AROUND) : end + _AROUND]
            if rule.check(match[0], around):
                yield _secret(name, match[0])


def _is_suspect(data: bytes) -> bool:
    """Return whether bytes may have a secret in them."""
    if any(suspect.search(data) for suspect in _SUSPECTS) or any(
        byte in data and word in data for byte, word in _WORDS
    ):
        return True
    is_text = data.find(b"\0", 0, _LOOKED_AT) < 0
    return is_text and any(byte in data and word in data and form.search(data) for byte, word, form in _WORDS_OF_TEXTS)


def aws_secrets_in(data: bytes) -> Iterator[bytes]:
    """Yield what may be the secrets of access keys of AWS, which are near such a key."""
    for key in RULES["aws-access-key"].pattern.finditer(data):
        yield from AWS_SECRET.findall(data, max(0, key.start() - _AROUND), key.end() + _AROUND)


def secrets_of(chunks: Iterable[bytes]) -> Iterator[Secret]:
    """Yield the secrets in a content that comes in chunks, each once; one may lie across a border.

    They are `MOST` at most, and then one for each rule that has more, which stands for all others.
    """
    seen: set[str] = set()
    rests: dict[str, Rest] = {}
    for secret in _secrets_of(chunks):
        if secret.fingerprint in seen:
            continue
        if len(seen) < MOST:
            seen.add(secret.fingerprint)
            yield secret
        else:
            rests.setdefault(secret.rule, Rest()).add(secret.fingerprint)
    for rule, rest in rests.items():
        yield Secret(rule, f"{rest.count:,} more in this content", rest.fingerprint)


def _narrow(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a content, and a text in UTF-16 as one of ASCII; PowerShell writes the former."""
    is_wide = None
    for chunk in chunks:
        if is_wide is None and chunk:
            is_wide = chunk.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
        yield chunk.replace(b"\0", b"") if is_wide else chunk


def _secrets_of(chunks: Iterable[bytes]) -> Iterator[Secret]:
    data, is_begun = b"", False
    for chunk in _narrow(chunks):
        if data:
            yield from secrets_in(data, is_begun=is_begun, goes_on=True)
            is_begun = is_begun or len(data) > _OVERLAP
            data = data[-_OVERLAP:] + chunk
        else:
            data = chunk
    yield from secrets_in(data, is_begun=is_begun)


def _secret(rule: str, value: bytes) -> Secret:
    shown = f"{value[:_SHOWN].decode('ascii', 'replace')}…, {len(value)} characters"
    fingerprint = hashlib.sha256(rule.encode() + b"\0" + value).hexdigest()[:16]
    return Secret(rule, shown, fingerprint)
