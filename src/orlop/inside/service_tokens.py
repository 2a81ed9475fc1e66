"""Tokens of further services, which begin with a name that hardly anything else has; see `orlop.inside.tokens`."""

from __future__ import annotations

import re
from typing import Final

from orlop.inside.secret_rule import END, Rule, is_varied

__all__ = ["SERVICES"]

_UUID: Final = rb"[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}"


def _is_mixed(token: bytes, around: bytes) -> bool:
    """Return whether a token, whose beginning is a short word, has digits and letters of both cases."""
    forms = (rb"[0-9]", rb"[a-z]", rb"[A-Z]")
    return all(re.search(form, token.rpartition(b"_")[2]) for form in forms) and is_varied(token, around)


SERVICES: Final = {
    "adafruit-key": Rule("a key of Adafruit IO", (b"aio_",), re.compile(rb"aio_[A-Za-z0-9]{28}" + END), _is_mixed),
    "artifactory-key": Rule("a key of Artifactory", (b"AKCp",), re.compile(rb"AKCp[A-Za-z0-9]{69}" + END)),
    "bedrock-key": Rule(
        "a key of Amazon Bedrock",
        (b"ABSKQmVkcm9ja0FQSUtleS",),
        re.compile(rb"ABSKQmVkcm9ja0FQSUtleS[A-Za-z0-9+/]{80,300}+={0,2}+" + END),
    ),
    "buildkite-token": Rule(
        "a token of Buildkite",
        (b"bkua_", b"bkur_", b"bkct_"),
        # Those of clusters begin with the number of an organization.
        re.compile(rb"bk(?:(?:u[ar]|ct)_[a-f0-9]{40}|ct_[A-Za-z0-9_-]{2,40}\.[1-9A-HJ-NP-Za-km-z]{60,90}+)" + END),
    ),
    "clojars-token": Rule("a token of Clojars", (b"CLOJARS_",), re.compile(rb"CLOJARS_[a-z0-9]{60}" + END)),
    "contentful-token": Rule("a token of Contentful", (b"CFPAT-",), re.compile(rb"CFPAT-[A-Za-z0-9_-]{43}" + END)),
    "deno-token": Rule("a token of Deno Deploy", (b"ddp_", b"ddw_"), re.compile(rb"dd[pw]_[A-Za-z0-9]{36}" + END)),
    "duffel-token": Rule(
        "a live token of Duffel", (b"duffel_live_",), re.compile(rb"duffel_live_[A-Za-z0-9_-]{43}" + END)
    ),
    "elevenlabs-key": Rule("a key of ElevenLabs", (b"sk_",), re.compile(rb"sk_[a-f0-9]{48}" + END)),
    "flutterwave-key": Rule(
        "a secret key of Flutterwave", (b"FLWSECK-",), re.compile(rb"FLWSECK-[a-f0-9]{32}-(?:[a-z0-9]{8,20}-)?X" + END)
    ),
    "fly-token": Rule(
        "a token of Fly.io",
        (b"fo1_", b"fm1r_", b"fm1a_", b"fm2_"),
        re.compile(rb"(?:fo1_[A-Za-z0-9_-]{43}|fm(?:1[ar]|2)_[A-Za-z0-9+/]{100,2000}+={0,3}+)" + END),
    ),
    "heroku-key": Rule("a key of Heroku", (b"HRKU-AA",), re.compile(rb"HRKU-AA[A-Za-z0-9_-]{58}" + END)),
    "langfuse-key": Rule("a secret key of Langfuse", (b"sk-lf-",), re.compile(rb"sk-lf-" + _UUID + END)),
    "mapbox-token": Rule(
        "a secret token of Mapbox",
        (b"sk.eyJ1Ijoi",),
        re.compile(rb"sk\.eyJ1Ijoi[A-Za-z0-9_-]{20,300}+\.[A-Za-z0-9_-]{22}" + END),
    ),
    "neon-key": Rule("a key of Neon", (b"napi_",), re.compile(rb"napi_[a-z0-9]{60,70}+" + END)),
    "netlify-token": Rule("a token of Netlify", (b"nfp_",), re.compile(rb"nfp_[A-Za-z0-9_]{36}" + END), _is_mixed),
    "nvidia-key": Rule("a key of NVIDIA", (b"nvapi-",), re.compile(rb"nvapi-[A-Za-z0-9_-]{60,70}+" + END)),
    "pinecone-key": Rule(
        "a key of Pinecone", (b"pcsk_",), re.compile(rb"pcsk_[A-Za-z0-9]{5,7}_[A-Za-z0-9]{60,70}+" + END)
    ),
    "plaid-token": Rule("a token of Plaid", (b"access-production-",), re.compile(rb"access-production-" + _UUID + END)),
    "posthog-key": Rule("a personal key of PostHog", (b"phx_",), re.compile(rb"phx_[A-Za-z0-9]{40,50}+" + END)),
    "prefect-key": Rule("a key of Prefect", (b"pnu_",), re.compile(rb"pnu_[A-Za-z0-9]{36}" + END)),
    "readme-key": Rule("a key of ReadMe", (b"rdme_",), re.compile(rb"rdme_[a-z0-9]{70}" + END)),
    "resend-key": Rule(
        "a key of Resend", (b"re_",), re.compile(rb"re_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}" + END), _is_mixed
    ),
    "shippo-token": Rule("a live token of Shippo", (b"shippo_live_",), re.compile(rb"shippo_live_[a-f0-9]{40}" + END)),
    "sourcegraph-token": Rule(
        "a token of Sourcegraph", (b"sgp_",), re.compile(rb"sgp_(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40}" + END)
    ),
    "square-token": Rule(
        "a token or secret of Square",
        (b"sq0csp-", b"sq0atp-"),
        re.compile(rb"sq0(?:csp-[A-Za-z0-9_-]{43}|atp-[A-Za-z0-9_-]{22})" + END),
    ),
    "swarm-key": Rule(
        "a key or token of a Docker swarm",
        (b"SWMKEY-1-", b"SWMTKN-1-"),
        re.compile(rb"SWM(?:KEY-1-[A-Za-z0-9+/]{43}|TKN-1-[a-z0-9]{50}-[a-z0-9]{25})" + END),
    ),
    "tavily-key": Rule(
        "a key of Tavily",
        (b"tvly-",),
        re.compile(rb"tvly-(?:dev-|prod-)?(?:[A-Za-z0-9]{32}|[A-Za-z0-9]{4,8}-[A-Za-z0-9]{36,48}+)" + END),
        is_varied,
    ),
    "vercel-token": Rule(
        "a token of a store of Vercel",
        (b"vercel_blob_rw_",),
        re.compile(rb"vercel_blob_rw_[A-Za-z0-9]{16}_[A-Za-z0-9]{30}" + END),
    ),
    "zuplo-key": Rule("a key of Zuplo", (b"zpka_",), re.compile(rb"zpka_[a-z0-9]{32}_[a-f0-9]{8}" + END)),
}
"""The rules by their names."""
