"""Secrets of all kinds, made up, and what only looks like them."""

from __future__ import annotations

import json
import random
from base64 import b64encode, urlsafe_b64encode
from string import ascii_letters, ascii_uppercase, digits
from zlib import crc32

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def checked(prefix: str, body: str) -> str:
    """Return a token with its checksum."""
    number, tail = crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        tail = DIGITS[digit] + tail
    return f"{prefix}_{body}{tail}"


def pem(words: str) -> str:
    return f"-----BEGIN {words}-----\n{'A' * 64}\n{'b' * 32}\n-----END {words}-----\n"


def encoded(claims: dict[str, str]) -> str:
    return urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def _made(size: int, letters: str) -> str:
    """Return a text that no person would type, always the same."""
    return "".join(random.Random(f"{size}{letters}").choices(letters, k=size))


def word(size: int) -> str:
    return _made(size, DIGITS)


def letters(size: int) -> str:
    return _made(size, ascii_letters)


def capitals(size: int) -> str:
    return _made(size, ascii_uppercase + digits)


def hexed(size: int) -> str:
    return _made(size, "0123456789abcdef")


def dashed(size: int) -> str:
    """Return a text with dashes, though none at its ends."""
    return word(1) + _made(size - 2, DIGITS + "-_") + word(1)


def pgp(usage: int, *, curve: bool = True) -> str:
    """Return a private key of OpenPGP: encrypted if ``usage`` is not 0."""
    oid, number = b"\x09\x2b\x06\1\4\1\xda\x47\x0f\1", b"\1\7" + word(33).encode()
    public = b"\x16" + oid + number if curve else b"\1" + number * 2
    packet = b"\4" + bytes(4) + public + bytes([usage]) + word(120).encode()
    text = b64encode(b"\x94" + bytes([len(packet)]) + packet).decode()
    lines = "\n".join(text[place : place + 64] for place in range(0, len(text), 64))
    kind = "PGP PRIVATE KEY BLOCK"
    return f"-----BEGIN {kind}-----\nComment: a key\n\n{lines}\n=abcd\n-----END {kind}-----\n"


def putty(cipher: str) -> str:
    head = f"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: {cipher}\nComment: a\nPublic-Lines: 2\n"
    return f"{head}{word(64)}\n{word(16)}\nPrivate-Lines: 1\n{word(44)}=\nPrivate-MAC: {hexed(64)}\n"


WORD = word(20)
UUID = f"{hexed(8)}-{hexed(4)}-4{hexed(3)}-8{hexed(3)}-{hexed(12)}"
PLANTED = {
    "github-token": checked("ghp", "A" * 30),
    "npm-token": checked("npm", "b" * 30),
    "github-fine-token": f"github_pat_{letters(22)}_{letters(59)}",
    "gitlab-token": "glpat-" + WORD[:20],
    "pypi-token": "pypi-AgEIcHlwaS5vcmc" + letters(60),
    "aws-access-key": "AKIAQ3EGRIWAK7TPLZ2M\naws_secret_access_key = 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",
    "slack-token": "xoxb-" + "1234567890-" + letters(24),
    "slack-webhook": "https://hooks.slack.com/services/T01234567/B0123456789/" + word(24),
    "stripe-key": "sk_live_" + word(24),
    "sendgrid-key": f"SG.{letters(22)}.{letters(43)}",
    "docker-hub-token": "dckr_pat_" + letters(27),
    "huggingface-token": "hf_" + letters(34),
    "age-key": "AGE-SECRET-KEY-1" + capitals(58),
    "anthropic-key": f"sk-ant-api03-{dashed(92)}bAA",
    "openai-key": f"sk-proj-{word(40)}T3BlbkFJ{word(40)}",
    "digitalocean-token": "dop_v1_" + hexed(64),
    "shopify-token": "shpat_" + hexed(32),
    "rubygems-key": "rubygems_" + hexed(48),
    "pulumi-token": "pul-" + hexed(40),
    "vault-token": "hvs." + dashed(96),
    "databricks-token": "dapi" + hexed(32),
    "grafana-token": f"glsa_{word(32)}_01ab23cd",
    "terraform-token": f"{word(12)}cD.atlasv1.{dashed(66)}z",
    "atlassian-token": f"ATATT3xFfGF0{dashed(174)}=01AB23CD",
    "google-secret": "GOCSPX-" + dashed(28),
    "azure-secret": "abc8Q~" + dashed(32) + "b2",
    "google-key": "AIza" + dashed(35),
    "jwt": f"{encoded({'alg': 'HS256'})}.{encoded({'sub': '1234567890'})}.{dashed(44)}",
    "telegram-token": f"https://api.telegram.org/bot123456789:AA{dashed(33)}/getMe",
    "discord-token": f"{b64encode(b'123456789012345678').decode()}.{word(6)}.{dashed(38)}",
    "discord-webhook": f"https://discord.com/api/webhooks/123456789012345678/{dashed(68)}",
    "azure-storage-key": f"AccountName=a;AccountKey={word(86)}==;EndpointSuffix=b",
    "openrouter-key": f"sk-or-v1-{hexed(64)}",
    "groq-key": f"gsk_{word(52)}",
    "xai-key": f"xai-{word(80)}",
    "perplexity-key": f"pplx-{word(48)}",
    "replicate-token": f"r8_{word(37)}",
    "newrelic-key": f"NRAK-{capitals(27)}",
    "sentry-token": f"sntrys_{encoded({'iat': '1', 'url': 'https://a.example', 'org': 'x'})}_{word(43)}",
    "postman-key": f"PMAK-{hexed(24)}-{hexed(34)}",
    "tailscale-key": f"tskey-auth-{word(12)}CNTRL-{word(32)}",
    "notion-token": f"ntn_12345678901{word(35)}",
    "linear-key": f"lin_api_{word(40)}",
    "planetscale-token": f"pscale_tkn_{dashed(43)}",
    "supabase-token": f"sbp_{hexed(40)}",
    "figma-token": f"figd_{dashed(40)}",
    "circleci-token": f"CCIPAT_{word(22)}_{hexed(40)}",
    "sonar-token": f"squ_{hexed(40)}",
    "brevo-key": f"xkeysib-{hexed(64)}-{word(16)}",
    "langsmith-key": f"lsv2_pt_{hexed(32)}_{hexed(10)}",
    "onepassword-token": f"ops_{encoded({'a': word(300)})}",
    "doppler-token": f"dp.st.dev.{word(43)}",
    "dynatrace-token": f"dt0c01.{capitals(24)}.{capitals(64)}",
    "adafruit-key": f"aio_{word(28)}",
    "artifactory-key": f"AKCp{word(69)}",
    "bedrock-key": f"ABSKQmVkcm9ja0FQSUtleS{word(110)}",
    "buildkite-token": f"bkua_{hexed(40)}",
    "clojars-token": f"CLOJARS_{hexed(60)}",
    "contentful-token": f"CFPAT-{dashed(43)}",
    "deno-token": f"ddp_{word(36)}",
    "duffel-token": f"duffel_live_{dashed(43)}",
    "elevenlabs-key": f"sk_{hexed(48)}",
    "flutterwave-key": f"FLWSECK-{hexed(32)}-X",
    "fly-token": f"fm2_{word(140)}",
    "heroku-key": f"HRKU-AA{dashed(58)}",
    "langfuse-key": f"sk-lf-{UUID}",
    "mapbox-token": f"sk.eyJ1Ijoi{word(60)}.{dashed(22)}",
    "neon-key": f"napi_{hexed(64)}",
    "netlify-token": f"nfp_{word(36)}",
    "nvidia-key": f"nvapi-{dashed(64)}",
    "pinecone-key": f"pcsk_{word(6)}_{word(63)}",
    "plaid-token": f"access-production-{UUID}",
    "posthog-key": f"phx_{word(43)}",
    "prefect-key": f"pnu_{word(36)}",
    "readme-key": f"rdme_{hexed(70)}",
    "resend-key": f"re_{word(8)}_{word(24)}",
    "shippo-token": f"shippo_live_{hexed(40)}",
    "sourcegraph-token": f"sgp_{hexed(16)}_{hexed(40)}",
    "square-token": f"sq0csp-{dashed(43)}",
    "swarm-key": f"SWMTKN-1-{hexed(50)}-{hexed(25)}",
    "tavily-key": f"tvly-dev-{word(32)}",
    "vercel-token": f"vercel_blob_rw_{word(16)}_{word(30)}",
    "zuplo-key": f"zpka_{hexed(32)}_{hexed(8)}",
    "pgp-key": pgp(0),
    "putty-key": putty("none"),
    "json-web-key": json.dumps({"kty": "EC", "crv": "P-256", "x": dashed(43), "d": dashed(43)}),
    "wireguard-key": f"[Interface]\nPrivateKey = {word(42)}E=\nAddress = 10.0.0.1/24",
    "private-key": pem("RSA PRIVATE KEY"),
}
MINOR = {"google-key", "jwt"}
"""What looks so is mostly no secret."""
JWT = f"eyJ{dashed(36)}.{dashed(240)}.{word(80)}"


def openssh(cipher: bytes) -> str:
    body = b64encode(b"openssh-key-v1\0" + len(cipher).to_bytes(4, "big") + cipher + b"\0\0\0\4none" * 20).decode()
    return pem("OPENSSH PRIVATE KEY").replace("A" * 64, body)


GITLAB = ("glpat", "gldt", "glrt", "glptt", "glft", "glimt", "gloas", "glrtr", "glsoat", "glagent", "glffct")
OTHER_FORMS = {
    f"ghs_123456_{JWT}": "github-token",
    openssh(b"none"): "private-key",
    json.dumps(openssh(b"none")): "private-key",
    **{f"{prefix}-{WORD[:20]}": "gitlab-token" for prefix in GITLAB},
    f"glcbt-64_{WORD[:20]}": "gitlab-token",
    f"GR1348941{WORD[:20]}": "gitlab-token",
    f"xoxe.xoxp-1-{word(160)}": "slack-token",
    f"xoxe-1-{word(144)}": "slack-token",
    **{
        f"{prefix}Q3EGRIWAK7TPLZ2M\naws_secret_access_key = {word(40)}": "aws-access-key" for prefix in ("ABIA", "ACCA")
    },
    f"dapi{hexed(32)}-2": "databricks-token",
    f"abc8Q~{dashed(28)}b2c": "azure-secret",
    **{f"{prefix}_v1_{hexed(64)}": "digitalocean-token" for prefix in ("dop", "doo", "dor")},
    **{f"{prefix}_{hexed(32)}": "shopify-token" for prefix in ("shpat", "shpca", "shppa", "shpss")},
    "pypi-AgENdGVzdC5weXBpLm9yZw" + letters(60): "pypi-token",
    f"xapp-1-A0123456789-1234567890123-{hexed(64)}": "slack-token",
    f"sk-ant-admin01-{dashed(92)}bAA": "anthropic-key",
    f"sk-{word(20)}T3BlbkFJ{word(20)}": "openai-key",
    f"sk-ant-oat01-{dashed(92)}bAA": "anthropic-key",
    f"dckr_oat_{word(32)}": "docker-hub-token",
    f"whsec_{word(32)}": "stripe-key",
    f"hvb.{dashed(150)}": "vault-token",
    f"xoxc-123456789012-123456789012-{hexed(64)}": "slack-token",
    f"https://hooks.slack.com/workflows/T01234567/A0123456789/123456789012345678/{word(24)}": "slack-webhook",
    f"Endpoint=sb://a.example/;SharedAccessKey={word(43)}=": "azure-storage-key",
    json.dumps({"d": dashed(342), "e": "AQAB", "n": dashed(342), "kty": "RSA"}): "json-web-key",
    json.dumps(json.dumps({"kty": "oct", "k": dashed(43)})): "json-web-key",
    f"fo1_{dashed(43)}": "fly-token",
    f"fm1r_{word(140)}==": "fly-token",
    f"sgp_{hexed(40)}": "sourcegraph-token",
    f"sgp_local_{hexed(40)}": "sourcegraph-token",
    f"sq0atp-{dashed(22)}": "square-token",
    f"SWMKEY-1-{word(43)}": "swarm-key",
    f"tvly-{word(32)}": "tavily-key",
    f"tvly-dev-{word(6)}-{word(42)}": "tavily-key",
    f"FLWSECK-{hexed(32)}-19c{hexed(8)}vt-X": "flutterwave-key",
    f"bkct_{hexed(40)}": "buildkite-token",
    f"bkct_MTI.{word(79).replace('0', 'o').replace('O', 'o').replace('I', 'i').replace('l', 'L')}": "buildkite-token",
    f"bkur_{hexed(40)}": "buildkite-token",
    f"ddw_{word(36)}": "deno-token",
    json.dumps(pgp(0)): "pgp-key",
    pgp(0, curve=False): "pgp-key",
    "Created: 20260101T000000\nKey: (private-key (ecc (curve Ed25519)": "pgp-key",
    "(11:private-key(3:rsa": "pgp-key",
    putty("none").replace("\n", "\r\n"): "putty-key",
}
GCRYPT = (
    "(private-key(rsa(n%m)(e%m)(d%m)(p%m)(q%m)(u%m)))",
    "\0(private-key\n  (ecc%S%S(p%m)(a%m)(b%m)(g%m)(n%m)(h%u)(q%m)(d%m))))",
    f"\0(private-key (rsa\n  (n #00{'9F56231A' * 32}#)\n  (e #010001#)\n  (d #{'07EF82500C403899' * 16}#)))",
    "(11:private-key\0(21:protected-private-key\0",
)
"""What is in libraries that deal with keys, also a key that one tests itself with."""
NEAR = {
    "github-token": [
        checked("ghp", "A" * 30)[:-1] + "!",
        "ghp_" + "A" * 36,
        f"ghs_123456_{JWT.replace('.', '-')}",
        f"ghp_123456_{JWT}",
    ],
    "npm-token": ["npm_" + "b" * 36, checked("npm", "b" * 30) + "c"],
    "github-fine-token": [f"github_pat_{letters(22)}_{letters(58)}", f"github_pat_{letters(21)}-_{letters(59)}"],
    "gitlab-token": [
        "glpat-" + "x" * 20,
        "glpat-your-access-token-here",
        "glpat-" + "0" * 20,
        "glpat-abcdefghij0123456789",
        "glpat-a1b2c3d4e5f6g7h8i9j0",
        "glpat-" + "REDACTED-" * 3,
        "glpat-" + WORD[:19],
        "a_glpat+" + WORD[:20],
        "glpab-" + WORD[:20],
    ],
    "pypi-token": ["pypi-AgEIcHlwaS5vcmc" + letters(49), "pypi-AgEIcHlwaS5vcmb" + letters(60)],
    "aws-access-key": [
        "AKIAIOSFODNN7EXAMPLE\n" + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY",
        "AKIA" + "Q3EGRIWAK7TPLZ2M",
        f"AKIA{'X' * 16}\naws_secret_access_key = {word(40)}",
        f"AKIAQ3EGRIWAK7TPLZ2M\naws_secret_access_key = {'x' * 40}",
        "AKIAQ3EGRIWAK7TPLZ2M" + " " * 500 + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY",
    ],
    "slack-token": [f"xoxb-{0:012}-{0:012}-{'x' * 24}", "xoxb-" + letters(40), "xoxc-" + "1234567890-" + letters(24)],
    "slack-webhook": [
        f"https://hooks.slack.com/services/T00000000/B00000000/{'X' * 24}",
        "https://hooks.slack.com/services/T01234567/a1b2c3d4e5f6g7h8i9j0k1l2",
    ],
    "stripe-key": ["sk_live_" + "x" * 30, "sk_test_" + word(24), "sk_live_" + word(22)],
    "sendgrid-key": [f"SG.{letters(22)}.{letters(42)}", f"MSG.{letters(22)}.{letters(43)}"],
    "docker-hub-token": ["dckr_pat_" + letters(26), "dckr_pat_" + letters(28)],
    "huggingface-token": ["xhf_" + letters(34), "hf_" + word(34), "hf_" + letters(35)],
    "age-key": ["AGE-SECRET-KEY-1" + capitals(57), "AGE-SECRET-KEY-1" + "q" * 58],
    "anthropic-key": [f"sk-ant-api03-{dashed(92)}bBB"],
    "openai-key": [f"T3BlbkFJ{word(40)}", f"sk-{word(18)}T3BlbkFJ{word(40)}"],
    "digitalocean-token": ["dop_v1_" + "0g" * 32, "dox_v1_" + hexed(64)],
    "shopify-token": [
        f"shpat_{'0' * 32}",
        "shpat_" + "1234567890abcdef" * 2,
        "shpat_" + "deadbeef" * 4,
        "shpat_" + "a1b2c3d4" * 4,
        "shpat_" + hexed(34),
        "shpaa_" + hexed(32),
    ],
    "rubygems-key": ["rubygems_" + hexed(46)],
    "pulumi-token": ["pul-" + hexed(42), "impul-" + hexed(40)],
    "vault-token": ["hvs." + dashed(88)],
    "databricks-token": [
        f"dapi{'0' * 32}",
        "dapi" + "0123456789abcdef" * 2,
        "ldapi" + hexed(32),
        "dapi" + hexed(34),
        "dapi" + "0g" * 16,
    ],
    "grafana-token": [f"glsa_{word(32)}_01ab23c", f"glsa_{'x' * 32}_01ab23cd", f"aglsa_{word(32)}_01ab23cd"],
    "terraform-token": [f"{word(16)}.atlasv1.{dashed(66)}", f"{word(12)}cD.atlasv1.{dashed(54)}"],
    "atlassian-token": [f"ATATT3xFfGF0{dashed(174)}", f"ATATT3xFfGF0{dashed(54)}=01AB23CD"],
    "google-secret": ["GOCSPX-" + dashed(24), "GOCSPX-your-client-secret-is-put-he"],
    "azure-secret": [
        "abcdQ~" + dashed(32) + "b2",
        "abc8Q~" + dashed(28),
        "abc8Q~" + dashed(36),
        "-abc8Q~" + dashed(32),
    ],
    "google-key": ["AIza" + letters(34), "AIza" + letters(36), "xAIza" + letters(35)],
    "jwt": [
        f"{encoded({'typ': 'JWT'})}.{encoded({'sub': '1234567890'})}.{dashed(44)}",
        f"{encoded({'alg': 'HS256'})}.{encoded({'sub': '1234567890'})}.",
        f"x{encoded({'alg': 'HS256'})}.{encoded({'sub': '1234567890'})}.{dashed(44)}",
    ],
    "private-key": [
        "-----BEGIN RSA PRIVATE KEY-----",
        pem("ENCRYPTED PRIVATE KEY"),
        pem("RSA PRIVATE KEY").replace("-----\nAA", "-----\nProc-Type: 4,ENCRYPTED\n\nAA"),
        "\0" + pem("RSA PRIVATE KEY"),
        openssh(b"aes256-ctr"),
        json.dumps(openssh(b"aes256-gcm@openssh.com")),
    ],
    "telegram-token": [f"123456789:AB{dashed(33)}", f"123456789:AA{dashed(34)}", f"a123456789:AA{dashed(33)}"],
    "discord-token": [f"{b64encode(b'12345678901234567x').decode()}.{word(6)}.{dashed(38)}"],
    "discord-webhook": [f"https://discord.com/api/webhooks/1234567890/{dashed(68)}"],
    "azure-storage-key": [
        "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
        f"AccountKey={word(85)}==",
        f"SharedAccessKey={'A' * 43}=",
    ],
    "openrouter-key": [f"sk-or-v2-{hexed(64)}", f"sk-or-v1-{hexed(65)}"],
    "groq-key": [f"gsk_{word(51)}"],
    "xai-key": [f"xai-{word(79)}"],
    "perplexity-key": [f"pplx-{word(47)}"],
    "replicate-token": [f"r8_{word(36)}", f"ar8_{word(37)}"],
    "newrelic-key": [f"NRAK-{capitals(26)}"],
    "sentry-token": [f"sntryu_{hexed(63)}", f"sntrys_{encoded({'iat': '1', 'url': 'https://a.example'})}"],
    "postman-key": [f"PMAK-{hexed(24)}-{hexed(33)}"],
    "tailscale-key": [f"tskey-other-{word(12)}CNTRL-{word(32)}"],
    "notion-token": [f"ntn_1234567890a{word(35)}"],
    "linear-key": [f"lin_api_{word(39)}"],
    "planetscale-token": [f"pscale_tkn_{dashed(31)}"],
    "supabase-token": [f"sbp_{hexed(39)}"],
    "figma-token": [f"figd_{dashed(39)}"],
    "circleci-token": [f"CCIPAT_{word(22)}_{hexed(39)}"],
    "sonar-token": [f"sqx_{hexed(40)}"],
    "brevo-key": [f"xkeysib-{hexed(63)}-{word(16)}"],
    "langsmith-key": [f"lsv2_xx_{hexed(32)}_{hexed(10)}"],
    "onepassword-token": [f"ops_{encoded({'a': word(30)})}"],
    "doppler-token": [f"dp.st.dev.{word(39)}"],
    "dynatrace-token": [f"dt0c01.{capitals(24)}.{capitals(63)}"],
    "adafruit-key": [f"aio_{word(27)}", f"aio_{'read' * 7}", f"aio_{hexed(28)}"],
    "artifactory-key": [f"AKCp{word(68)}"],
    "bedrock-key": [f"ABSKQmVkcm9ja0FQSUtleS{word(70)}"],
    "buildkite-token": [f"bkua_{hexed(39)}", f"bkct_MTI.{letters(40)}"],
    "clojars-token": [f"CLOJARS_{hexed(59)}"],
    "contentful-token": [f"CFPAT-{dashed(42)}"],
    "deno-token": [f"ddx_{word(36)}"],
    "duffel-token": [f"duffel_test_{dashed(43)}"],
    "elevenlabs-key": [f"sk_{hexed(47)}", f"task_{hexed(48)}"],
    "flutterwave-key": [f"FLWSECK_TEST-{hexed(32)}-X"],
    "fly-token": [f"fm2_{word(90)}", f"fo1_{dashed(42)}"],
    "heroku-key": [f"HRKU-{UUID}"],
    "langfuse-key": [f"pk-lf-{UUID}"],
    "mapbox-token": [f"pk.eyJ1Ijoi{word(60)}.{dashed(22)}"],
    "neon-key": [f"napi_{'threadsafe_function_' * 4}"],
    "netlify-token": [f"nfp_{word(35)}", "nfp_" + "next_free_port_" * 3],
    "nvidia-key": [f"nvapi-{dashed(59)}"],
    "pinecone-key": [f"pcsk_{word(6)}_{word(59)}"],
    "plaid-token": [f"access-sandbox-{UUID}"],
    "posthog-key": [f"phc_{word(43)}"],
    "prefect-key": [f"pnu_{word(35)}"],
    "readme-key": [f"rdme_{hexed(69)}"],
    "resend-key": [f"re_{word(8)}_{word(23)}", "re_compiled_" + "expressionsforwordsofall"],
    "shippo-token": [f"shippo_test_{hexed(40)}"],
    "sourcegraph-token": [f"sgp_{hexed(39)}"],
    "square-token": [f"sq0idp-{dashed(22)}"],
    "swarm-key": [f"SWMTKN-1-{hexed(50)}-{hexed(24)}"],
    "tavily-key": [f"tvly-{word(31)}", f"tvly-dev-{word(6)}-{word(30)}", "tvly-YOUR_API_KEY"],
    "vercel-token": [f"vercel_blob_rw_{word(16)}_{word(29)}"],
    "zuplo-key": [f"zpka_{hexed(32)}_{hexed(7)}"],
    "pgp-key": [pgp(254), pgp(0).replace("PRIVATE", "PUBLIC"), "(protected-private-key (rsa", *GCRYPT],
    "putty-key": [putty("aes256-cbc"), putty("none").replace("Private-Lines", "Private lines")],
    "json-web-key": [
        json.dumps({"kty": "EC", "crv": "P-256", "x": dashed(43), "y": dashed(43)}),
        json.dumps([{"kty": "EC", "x": dashed(43)}, {"d": dashed(43)}]),
        json.dumps({"kty": "oct", "k": "A" * 43}),
    ],
    "wireguard-key": [f"PublicKey = {word(42)}E=", f"PrivateKey = {word(42)}F=", f"PrivateKey = {'A' * 43}="],
    "no rule": ["password=hunter2"],
}
HARMLESS = [text for texts in NEAR.values() for text in texts]
