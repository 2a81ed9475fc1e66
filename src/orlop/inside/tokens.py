"""Tokens: how those of each issuer are written, and what tells a true one.

Where an issuer puts a checksum into its tokens, it must be right. Generic words such as ``password=`` are not rules:
they are found in every image, and what is found everywhere is read nowhere.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from typing import Final
from zlib import crc32

from orlop.inside.secret_rule import BEGINNING, END, Rule, is_varied

__all__ = ["AWS_SECRET", "AZURE", "DATABRICKS", "DISCORD", "SLACK", "TOKENS", "WEBHOOKS"]

_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


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
    return is_varied(token) and any(
        map(is_varied, AWS_SECRET.findall(around.replace(token, b"").replace(b"\\/", b"/")))
    )


def _is_filled_in(token: bytes, around: bytes) -> bool:
    """Return whether the last part of an address is none of an example."""
    del around
    return is_varied(token.rpartition(b"/")[2])


def _is_of_a_bot(token: bytes, around: bytes) -> bool:
    """Return whether the first part of a token is a number in base64, as that of a bot of Discord is."""
    first = token.partition(b".")[0]
    try:
        number = urlsafe_b64decode(first + b"=" * (-len(first) % 4))
    except ValueError:
        return False
    return number.isdigit() and is_varied(token, around)


def _is_of_a_storage(token: bytes, around: bytes) -> bool:
    """Return whether a key is none of an example, nor the one that all emulators have."""
    del around
    return _EMULATOR not in token and is_varied(token.rstrip(b"="))


def _is_signed(token: bytes, around: bytes) -> bool:
    """Return whether the first part of a token is JSON that names the algorithm it is signed with."""
    del around
    head = token.partition(b".")[0]
    try:
        return b'"alg"' in urlsafe_b64decode(head + b"=" * (-len(head) % 4))
    except ValueError:
        return False


AWS_SECRET: Final = re.compile(rb"(?<![A-Za-z0-9/+])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])")
"""What the secret of an access key of AWS looks like, and much else does."""
_GITLAB: Final = b"pat dt rt ptt ft cbt imt oas rtr soat agent ffct".split()
SLACK: Final = b"hooks.slack.com/"
WEBHOOKS: Final = b"/api/webhooks/"
DATABRICKS: Final = rb"dapi[a-f0-9]{32}"
AZURE: Final = rb"Q~[A-Za-z0-9_~.-]{31}"
_TELEGRAM: Final = rb":AA[A-Za-z0-9_-]{33}"
DISCORD: Final = rb"[MNO][DTjz][AEIMQUYcgk][w-z0-5]"
"""Three digits in base64."""
_DISCORD: Final = rb"\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]"
_EMULATOR: Final = b"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq"
# What begins within a word is none: many beginnings in one word would take a long time.
_JWT: Final = BEGINNING + rb"eyJ[A-Za-z0-9_-]{10,1000}+\.eyJ[A-Za-z0-9_-]{10,4000}+\.[A-Za-z0-9_-]{20,1000}+"

TOKENS: Final = {
    "github-token": Rule(
        "a token of GitHub",
        (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"),
        re.compile(
            rb"(?:gh[pousr]_[A-Za-z0-9]{36}|"
            rb"ghs_[A-Za-z0-9]{1,20}_eyJ[A-Za-z0-9_-]{17,600}+\.[A-Za-z0-9_-]{20,1000}+\.[A-Za-z0-9_-]{20,1000}+)" + END
        ),
        _has_checksum,
    ),
    "github-fine-token": Rule(
        "a fine-grained token of GitHub",
        (b"github_pat_",),
        re.compile(rb"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}" + END),
    ),
    "npm-token": Rule("a token of npm", (b"npm_",), re.compile(rb"npm_[A-Za-z0-9]{36}" + END), _has_checksum),
    "gitlab-token": Rule(
        "a token of GitLab",
        (*(b"gl" + kind + b"-" for kind in _GITLAB), b"GR1348941"),
        re.compile(
            rb"(?:gl(?:"
            + b"|".join(_GITLAB)
            + rb")-[A-Za-z0-9_-]{20,300}+(?:\.[a-z0-9.]{9,12})?|GR1348941[A-Za-z0-9_-]{20})"
            + END
        ),
    ),
    "pypi-token": Rule(
        "a token of PyPI",
        (b"pypi-AgEIcHlwaS5vcmc", b"pypi-AgENdGVzdC5weXBpLm9yZw"),
        re.compile(rb"pypi-(?:AgEIcHlwaS5vcmc|AgENdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,1000}+" + END),
    ),
    "aws-access-key": Rule(
        "an access key of AWS with its secret",
        (b"AKIA", b"ASIA", b"ABIA", b"ACCA"),
        re.compile(rb"A(?:[KSB]I|CC)A[A-Z2-7]{16}(?![A-Za-z0-9])"),
        _has_secret_beside,
    ),
    "slack-token": Rule(
        "a token of Slack",
        (b"xoxb-", b"xoxp-", b"xoxa-", b"xoxr-", b"xoxs-", b"xoxc-", b"xapp-", b"xoxe"),
        re.compile(
            rb"(?:xox[bpars]-[0-9]{8,15}-[A-Za-z0-9-]{20,200}+|xapp-[0-9]-[A-Z0-9]{9,13}-[0-9]{8,15}-[a-f0-9]{64}|"
            rb"xoxe(?:\.xox[bp])?-[0-9]-[A-Za-z0-9]{100,250}+|xoxc-[0-9]{8,15}-[A-Za-z0-9-]{40,200}+)" + END
        ),
    ),
    "slack-webhook": Rule(
        "an address of Slack that anyone may post to",
        (SLACK,),
        re.compile(
            SLACK + rb"(?:services/T[A-Z0-9]{8,12}/B|(?:workflows|triggers)/T[A-Z0-9]{8,12}/A?)[A-Z0-9]{8,20}/"
            rb"(?:[0-9]{12,20}/)?[A-Za-z0-9]{20,40}+" + END
        ),
        _is_filled_in,
    ),
    "stripe-key": Rule(
        "a live key of Stripe",
        (b"sk_live_", b"rk_live_", b"whsec_"),
        re.compile(rb"(?:[sr]k_live_[A-Za-z0-9]{24,200}+|whsec_[A-Za-z0-9]{32})" + END),
    ),
    "sendgrid-key": Rule(
        "a key of SendGrid", (b"SG.",), re.compile(rb"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}" + END)
    ),
    "docker-hub-token": Rule(
        "a token of Docker Hub",
        (b"dckr_pat_", b"dckr_oat_"),
        re.compile(rb"dckr_(?:pat_[A-Za-z0-9_-]{27}|oat_[A-Za-z0-9_-]{32})" + END),
    ),
    "huggingface-token": Rule("a token of Hugging Face", (b"hf_",), re.compile(rb"hf_[A-Za-z]{34}" + END)),
    "age-key": Rule(
        "a secret key of age", (b"AGE-SECRET-KEY-1",), re.compile(rb"AGE-SECRET-KEY-1[0-9A-Z]{58}(?![0-9A-Z])")
    ),
    "anthropic-key": Rule(
        "a key of Anthropic",
        (b"sk-ant-api03-", b"sk-ant-admin01-", b"sk-ant-oat01-"),
        re.compile(rb"sk-ant-(?:api03|admin01|oat01)-[A-Za-z0-9_-]{93}AA" + END),
    ),
    "openai-key": Rule(
        "a key of OpenAI", (b"T3BlbkFJ",), re.compile(rb"sk-[A-Za-z0-9_-]{20,85}T3BlbkFJ[A-Za-z0-9_-]{20,85}+" + END)
    ),
    "digitalocean-token": Rule(
        "a token of DigitalOcean", (b"dop_v1_", b"doo_v1_", b"dor_v1_"), re.compile(rb"do[opr]_v1_[a-f0-9]{64}" + END)
    ),
    "shopify-token": Rule(
        "a token of Shopify",
        (b"shpat_", b"shpca_", b"shppa_", b"shpss_"),
        re.compile(rb"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}" + END),
    ),
    "rubygems-key": Rule("a key of RubyGems", (b"rubygems_",), re.compile(rb"rubygems_[a-f0-9]{48}" + END)),
    "pulumi-token": Rule("a token of Pulumi", (b"pul-",), re.compile(rb"pul-[a-f0-9]{40}" + END)),
    "vault-token": Rule("a token of Vault", (b"hvs.", b"hvb."), re.compile(rb"hv[sb]\.[A-Za-z0-9_-]{90,300}+" + END)),
    "databricks-token": Rule("a token of Databricks", (b"dapi",), re.compile(DATABRICKS + rb"(?:-[0-9])?" + END)),
    "azure-secret": Rule(
        "a client secret of Azure",
        (b"Q~",),
        re.compile(BEGINNING + rb"(?<!~)[A-Za-z0-9_~.-]{3}[0-9]" + AZURE + rb"[A-Za-z0-9_~.-]{0,3}(?![A-Za-z0-9_~-])"),
        core=re.compile(rb"Q~"),
        before=(4,),
    ),
    "grafana-token": Rule("a token of Grafana", (b"glsa_",), re.compile(rb"glsa_[A-Za-z0-9]{32}_[a-f0-9]{8}" + END)),
    "terraform-token": Rule(
        "a token of Terraform",
        (b".atlasv1.",),
        re.compile(BEGINNING + rb"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,70}+" + END),
        core=re.compile(rb"\.atlasv1\."),
        before=(14,),
    ),
    "atlassian-token": Rule(
        "a token of Atlassian",
        (b"ATATT3xFfGF0",),
        re.compile(rb"ATATT3xFfGF0[A-Za-z0-9_-]{100,250}+=[A-F0-9]{8}" + END),
    ),
    "telegram-token": Rule(
        "a token of a bot of Telegram",
        (b":AA",),
        re.compile(BEGINNING + rb"(?:bot)?[0-9]{8,10}" + _TELEGRAM + END),
        core=re.compile(b":AA"),
        before=(13, 12, 11, 10, 9, 8),
    ),
    "discord-token": Rule(
        "a token of a bot of Discord",
        (),
        re.compile(BEGINNING + DISCORD + rb"[A-Za-z0-9_-]{20,22}" + _DISCORD + rb"{27,38}+" + END),
        _is_of_a_bot,
        core=re.compile(rb"\.(?=[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27})"),
        before=(26, 25, 24),
    ),
    "discord-webhook": Rule(
        "an address of Discord that anyone may post to",
        (WEBHOOKS,),
        re.compile(rb"discord(?:app)?\.com" + WEBHOOKS + rb"[0-9]{17,20}/[A-Za-z0-9_-]{60,80}+" + END),
        _is_filled_in,
    ),
    "azure-storage-key": Rule(
        "a key of a storage or bus of Azure",
        (b"AccountKey=", b"SharedAccessKey="),
        re.compile(rb"(?:AccountKey=[A-Za-z0-9+/]{86}==|SharedAccessKey=[A-Za-z0-9+/]{43}=)"),
        _is_of_a_storage,
    ),
    "openrouter-key": Rule("a key of OpenRouter", (b"sk-or-v1-",), re.compile(rb"sk-or-v1-[a-f0-9]{64}" + END)),
    "groq-key": Rule("a key of Groq", (b"gsk_",), re.compile(rb"gsk_[A-Za-z0-9]{52}" + END)),
    "xai-key": Rule("a key of xAI", (b"xai-",), re.compile(rb"xai-[A-Za-z0-9]{80}" + END)),
    "perplexity-key": Rule("a key of Perplexity", (b"pplx-",), re.compile(rb"pplx-[A-Za-z0-9]{48}" + END)),
    "replicate-token": Rule("a token of Replicate", (b"r8_",), re.compile(rb"r8_[A-Za-z0-9]{37}" + END)),
    "newrelic-key": Rule("a key of New Relic", (b"NRAK-",), re.compile(rb"NRAK-[A-Z0-9]{27}" + END)),
    "sentry-token": Rule(
        "a token of Sentry",
        (b"sntrys_eyJ", b"sntryu_"),
        re.compile(rb"(?:sntryu_[a-f0-9]{64}|sntrys_eyJ[A-Za-z0-9+/=]{60,400}+_[A-Za-z0-9+/]{43})" + END),
    ),
    "postman-key": Rule("a key of Postman", (b"PMAK-",), re.compile(rb"PMAK-[a-f0-9]{24}-[a-f0-9]{34}" + END)),
    "tailscale-key": Rule(
        "a key of Tailscale",
        (b"tskey-",),
        re.compile(rb"tskey-(?:auth|api|client|scim|webhook)-[A-Za-z0-9]{10,20}-[A-Za-z0-9]{20,50}+" + END),
    ),
    "notion-token": Rule("a token of Notion", (b"ntn_",), re.compile(rb"ntn_[0-9]{11}[A-Za-z0-9]{35}" + END)),
    "linear-key": Rule("a key of Linear", (b"lin_api_",), re.compile(rb"lin_api_[A-Za-z0-9]{40}" + END)),
    "planetscale-token": Rule(
        "a token of PlanetScale",
        (b"pscale_tkn_", b"pscale_pw_"),
        re.compile(rb"pscale_(?:tkn|pw)_[A-Za-z0-9=_.-]{32,64}+" + END),
    ),
    "supabase-token": Rule("a token of Supabase", (b"sbp_",), re.compile(rb"sbp_[a-f0-9]{40}" + END)),
    "figma-token": Rule("a token of Figma", (b"figd_",), re.compile(rb"figd_[A-Za-z0-9_-]{40}" + END)),
    "circleci-token": Rule(
        "a token of CircleCI", (b"CCIPAT_",), re.compile(rb"CCIPAT_[A-Za-z0-9]{22}_[a-f0-9]{40}" + END)
    ),
    "sonar-token": Rule(
        "a token of SonarQube", (b"squ_", b"sqp_", b"sqa_"), re.compile(rb"sq[upa]_[a-f0-9]{40}" + END)
    ),
    "brevo-key": Rule("a key of Brevo", (b"xkeysib-",), re.compile(rb"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}" + END)),
    "langsmith-key": Rule(
        "a key of LangSmith", (b"lsv2_",), re.compile(rb"lsv2_(?:pt|sk)_[a-f0-9]{32}_[a-f0-9]{10}" + END)
    ),
    "onepassword-token": Rule(
        "a token of a service account of 1Password",
        (b"ops_eyJ",),
        re.compile(rb"ops_eyJ[A-Za-z0-9_-]{250,1500}+=?" + END),
    ),
    "doppler-token": Rule(
        "a token of Doppler",
        (b"dp.",),
        re.compile(rb"dp\.(?:pt|ct|sa|said|scim|audit|st(?:\.[a-z0-9_-]{2,35}+)?)\.[A-Za-z0-9]{40,44}+" + END),
    ),
    "dynatrace-token": Rule(
        "a token of Dynatrace", (b"dt0",), re.compile(rb"dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64}" + END)
    ),
    "google-secret": Rule("a client secret of Google", (b"GOCSPX-",), re.compile(rb"GOCSPX-[A-Za-z0-9_-]{28}" + END)),
    "google-key": Rule(
        "a key of Google, which may be meant for everyone",
        (b"AIza",),
        re.compile(rb"AIza[A-Za-z0-9_-]{35}" + END),
        severity="low",
    ),
    "jwt": Rule(
        "a signed token (JWT), which may have expired",
        (b"eyJ",),
        re.compile(_JWT + END),
        _is_signed,
        severity="low",
        core=re.compile(b"eyJ"),
    ),
}
"""The rules by their names."""
