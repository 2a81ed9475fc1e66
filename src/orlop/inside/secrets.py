"""Secrets in bytes: tokens and keys of a form that hardly anything else has.

A rule has a pattern, and fixed bytes without which it is not tried. Most contents have nothing that even looks like a
secret, which is found out first, and quickly: `_SUSPECTS` begin with one byte each, mostly a rare one. What is found is
never shown whole: its first characters and its length are, and a fingerprint, by which it can be allowed.
"""

from __future__ import annotations

import hashlib
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import TYPE_CHECKING, Final

from orlop.inside.private_keys import BASE64, IN_BASE64, KEYS
from orlop.inside.rest import Rest
from orlop.inside.secret_rule import is_begun_at
from orlop.inside.service_tokens import SERVICES
from orlop.inside.tokens import AWS_SECRET, AZURE, DATABRICKS, DISCORD, SLACK, TOKENS, WEBHOOKS
from orlop.model.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["AWS_SECRET", "MOST", "RULES", "Secret", "aws_secrets_in", "secrets_in", "secrets_of"]

# Longer than the longest secret with what is around it, twice.
_OVERLAP: Final = 16 << 10
_AROUND: Final = 400
_SHOWN: Final = 4
_LOOKED_AT: Final = 8 << 10


_WIDE: Final = re.compile(rb"(?:[\t\r\n -~]\0){4}|(?:\0[\t\r\n -~]){4}")
"""How a text in UTF-16 begins that has no mark of its order of bytes."""

MOST: Final = 100
"""How many secrets are reported of one content one by one: whoever wants to flood an audit finds no more room."""


class Secret(NamedTuple):
    """What was found: the name of its ``rule``, how it is ``shown``, and its ``fingerprint``."""

    rule: str
    shown: str
    fingerprint: str


RULES: Final = {**TOKENS, **SERVICES, **KEYS}
"""The rules by their names."""

# Nearly all words with these bytes in them end where what is before and behind the byte is looked at.
_SUSPECTS: Final = (
    re.compile(
        rb"_(?:(?<=[pousrmfkbatcin8dT2w]_)(?=[A-Za-z0-9_=-]{20})"
        rb"(?:(?<=gh[pousr]_)[A-Za-z0-9]{36}|(?<=ghs_)[A-Za-z0-9]{1,20}_eyJ|(?<=npm_)[A-Za-z0-9]{36}|(?<=hf_)[A-Za-z]{34}|"
        rb"(?<=[sr]k_)live_[A-Za-z0-9]{24}|(?<=github_)pat_[A-Za-z0-9]{22}|(?<=dckr_)[po]at_[A-Za-z0-9_-]{27}|"
        rb"(?<=do[opr]_)v1_[a-f0-9]{64}|(?<=shp[acps][ats]_)[a-fA-F0-9]{32}|(?<=rubygems_)[a-f0-9]{48}|"
        rb"(?<=glsa_)[A-Za-z0-9]{32}_|(?<=whsec_)[A-Za-z0-9]{32}|(?<=gsk_)[A-Za-z0-9]{52}|(?<=r8_)[A-Za-z0-9]{37}|"
        rb"(?<=sntrys_)eyJ|(?<=sntryu_)[a-f0-9]{64}|(?<=ntn_)[0-9]{11}|(?<=lin_)api_[A-Za-z0-9]{40}|(?<=pscale_tkn_)|"
        rb"(?<=pscale_pw_)|(?<=sbp_)[a-f0-9]{40}|(?<=figd_)[A-Za-z0-9_-]{40}|(?<=CCIPAT_)[A-Za-z0-9]{22}_|"
        rb"(?<=sq[upa]_)[a-f0-9]{40}|(?<=ops_)eyJ|(?<=lsv2_)(?:pt|sk)_[a-f0-9]{32})|"
        rb"(?<=[icurRdes2om1fphngk][oatSpwlk12rixue]_)(?=[A-Za-z0-9_+/-]{20})"
        rb"(?:(?<=aio_)[A-Za-z0-9]{28}|(?<=bk[uc][art]_)[a-f0-9]{40}|(?<=CLOJARS_)[a-z0-9]{60}|(?<=dd[pw]_)[A-Za-z0-9]{36}|(?<=duffel_)live_|"
        rb"(?<=sk_)[a-f0-9]{48}|(?<=fo1_)[A-Za-z0-9_-]{43}|(?<=fm2_)|(?<=fm1[ar]_)|"
        rb"(?<=napi_)[a-z0-9]{60}|(?<=nfp_)[A-Za-z0-9_]{36}|(?<=pcsk_)[A-Za-z0-9]{5,7}_|(?<=phx_)[A-Za-z0-9]{40}|"
        rb"(?<=pnu_)[A-Za-z0-9]{36}|(?<=rdme_)[a-z0-9]{70}|(?<=re_)[A-Za-z0-9]{8}_[A-Za-z0-9]{24}|(?<=shippo_)live_|"
        rb"(?<=sgp_)(?:local_|[a-f0-9]{16})|(?<=vercel_)blob_rw_|(?<=zpka_)[a-z0-9]{32}_)|"
        rb"(?<=bkct_)[A-Za-z0-9_-]{2,40}\.[A-Za-z0-9]{60})"
    ),
    re.compile(
        rb"-(?:(?<=[tsrbpaiklYXeEcyxK]-)(?:(?:(?<=gl[drf]t-)|(?<=gl(?:p[at]t|cbt|imt|oas|rtr)-)|(?<=gl(?:soa|ffc)t-)|"
        rb"(?<=glagent-))[A-Za-z0-9_-]{20}|(?<=xox[bparsc]-)[0-9]{8}|(?<=pypi-)AgE|(?<=xapp-)[0-9]-|"
        rb"(?<=sk-)(?:ant-[ao]|or-v1-)|(?<=pul-)[a-f0-9]{40}|(?<=PRIVATE KEY-)----|(?<=PRIVATE KEY BLOCK-)----|"
        rb"(?<=private-)key[ \r\n]{0,9}\(|(?<=PuTTY-)User-Key|(?<=GOCSPX-)[A-Za-z0-9_-]{28}|(?<=xox[bpe]-)[0-9]-|"
        rb"(?<=AGE-)SECRET-KEY-1|(?<=tskey-)[a-z]{3}|(?<=PMAK-)[a-f0-9]{24}-|(?<=NRAK-)[A-Z0-9]{27}|"
        rb"(?<=pplx-)[A-Za-z0-9]{48}|(?<=xai-)[A-Za-z0-9]{80}|(?<=xkeysib-)[a-f0-9]{64})|"
        rb"(?<=AT-|CK-|KU-|sk-|pi-|ss-|sp-|tp-|EY-|KN-|ly-)(?:(?<=CFPAT-)[A-Za-z0-9_-]{43}|(?<=FLWSECK-)[a-f0-9]{32}-|(?<=HRKU-)AA|(?<=sk-)lf-[a-f0-9]{8}-|"
        rb"(?<=nvapi-)[A-Za-z0-9_-]{60}|(?<=access-)production-[a-f0-9]{8}-|(?<=sq0csp-)|(?<=sq0atp-)|(?<=SWMKEY-)1-|"
        rb"(?<=SWMTKN-)1-|(?<=tvly-)[A-Za-z0-9-]{32}))"
    ),
    re.compile(
        rb"A(?:(?:[KSB]I|CC)A[A-Z2-7]{16}|Iza[A-Za-z0-9_-]{35}|TATT3xFfGF0|KCp[A-Za-z0-9]{69}|BSKQmVk|A(?<=:AA)[A-Za-z0-9_-]{33})"
    ),
)
_WORDS: Final = ((b"J", b"T3BlbkFJ"),)
"""What every secret has in it, of all rules: one of these. A byte of each is found much faster than the whole."""

_DOTTED: Final = re.compile(
    rb"\.(?<=[Gsb0-9]\.)(?=[A-Za-z0-9_-]{22})"
    rb"(?:(?<=SG\.)[A-Za-z0-9_-]{22}\.|(?<=hv[sb]\.)[A-Za-z0-9_-]{90}|(?<=dt0[a-z][0-9]{2}\.)[A-Z0-9]{24}\.)"
)
# The most dots of texts are those of sources: most words behind them end before the first fork, others before the next.
_DOTTED_OF_TEXTS: Final = re.compile(
    rb"\.[A-Za-z0-9_-]{6}(?:"
    rb"\.(?=[A-Za-z0-9_-]{27})(?:"
    + b"|".join(rb"(?<=%b[A-Za-z0-9_-]{%d}\.[A-Za-z0-9_-]{6}\.)" % (DISCORD, more) for more in (20, 21, 22))
    + rb")|1\.(?<=\.atlasv1\.)[A-Za-z0-9_-]{60}|"
    rb"[A-Za-z0-9_-]{7}(?:(?<=\.eyJ[A-Za-z0-9_-]{10})|"
    rb"[A-Za-z0-9_-]{9}(?:(?<=SG\.[A-Za-z0-9_-]{22})\.|(?<=hv[sb]\.[A-Za-z0-9_-]{22})[A-Za-z0-9_-]{68}|"
    rb"(?<=dt0[a-z][0-9]{2}\.[A-Z0-9]{22})[A-Z0-9]{2}\.)))"
)
_WORDS_OF_TEXTS: Final = (
    (b"/", SLACK, re.compile(SLACK)),
    (b"p", b"dapi", re.compile(DATABRICKS)),
    (b"~", b"Q~", re.compile(AZURE)),
    (b"J", IN_BASE64, re.compile(BASE64)),
    (b"/", WEBHOOKS, re.compile(WEBHOOKS)),
    (
        b"K",
        b"Key",
        re.compile(rb"Key(?:(?<=tKey)|(?<=sKey)|(?<=eKey))\s{0,9}=\s{0,9}[A-Za-z0-9+/]{42}"),
    ),
    (b".", b"dp.", re.compile(rb"dp\.[a-z]{2,5}\.[A-Za-z0-9._-]{40}")),
    (b'"', b'"kty', re.compile(b'"kty')),
    (b"9", b"GR1348941", re.compile(rb"GR1348941[A-Za-z0-9_-]{20}")),
)
"""The same in texts only, which most bytes of an image are not; and what must be around these words."""


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
    first, last = _AROUND if is_begun else 0, len(data) - (_AROUND if goes_on else 0)
    for name, rule in RULES.items():
        if rule.starts and not any(start in data for start in rule.starts):
            continue
        for match in rule.matches(data):
            start, end = match.span()
            if start < first or end > last or not is_begun_at(data, start):
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
    if data.find(b"\0", 0, _LOOKED_AT) >= 0:
        return _DOTTED.search(data) is not None
    return _DOTTED_OF_TEXTS.search(data) is not None or any(
        byte in data and word in data and form.search(data) for byte, word, form in _WORDS_OF_TEXTS
    )


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
    """Yield a content, and a text in UTF-16 as one of ASCII; PowerShell writes the former, others without a mark."""
    is_wide = None
    for chunk in chunks:
        if is_wide is None and chunk:
            is_wide = chunk.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or _WIDE.match(chunk) is not None
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
