"""More raw requests to an engine and to `orlop serve`: odd names, filters, bodies and values."""

from __future__ import annotations

import json
from typing import Final
from urllib.parse import quote

from tests.interop.raw import FORM, JSON, TINY, Request, V, filtered

_DIGEST: Final = "sha256:8126e24b2462f21d011c30e61cf0a955bed4bdaf1731e35ef3add4927267f3b2"
_EMPTY_TAR: Final = bytes(1024)
_ENDS: Final = ("", "?force=1", "?noprune=1")

#: A pattern of paths must not fit before a newline: another image would be meant.
NEWLINES: Final = [
    *(
        Request("DELETE", f"{V}/images/{name}{end}")
        for name in ("example/tiny:1.0%0a", "%0ax", "x%0d")
        for end in _ENDS
    ),
    *(
        Request("GET", f"{V}/images/example/tiny:1.0{end}")
        for end in ("%0a/json", "/json%0a", "%0a/history", "%0a/get")
    ),
    Request("POST", f"{TINY}%0a/tag?repo=newline"),
    Request("POST", f"{TINY}/tag%0a?repo=newline"),
    Request("POST", f"{TINY}/tag?repo=newline%0a"),
    Request("POST", f"{TINY}/tag?repo=x&tag=newline%0a"),
    *(
        Request(method, f"{V}{path}")
        for method in ("GET", "POST", "DELETE")
        for path in (
            *("/info%0a", "/images/prune%0a", "/networks/x%0a", "/volumes/x%0a", "/containers/x%0a/json", "/swarm%0a"),
            *("/plugins/x%0a/json", "/nodes/a/b", "/info%20", "/info;x", "/images/a%0d/json", "/images/a%5cb/json"),
        )
    ),
]
#: Spaces count, and a filter without a value is not one that was not given.
VALUES: Final = [
    *(
        request
        for pattern in (
            " example/tiny",
            "example/tiny:1.0 ",
            "*",
            "**",
            "EXAMPLE/tiny",
            "ex*/t?ny:1.*",
            "[!a]*/*",
            "*@*",
        )
        for request in filtered("/images/json", json.dumps({"reference": [pattern]}))
    ),
    *filtered("/images/json", '{"label":[" x"]}', '{"label":["x "]}', '{"before":[" example/tiny:1.0"]}'),
    *filtered("/images/prune", '{"label!":[]}', '{"label!":null}'),
    *filtered("/images/prune", '{"until":[" 1h"]}', '{"until":["1h "],"dangling":["false"]}'),
    *filtered("/containers/prune", '{"until":[" 1h"]}', '{"label!":[]}'),
    *filtered("/networks", '{"dangling":["x"]}', '{"dangling":["1","0"]}', '{"dangling":{"maybe":false}}'),
    *(Request("GET", f"{V}/networks/nosuch?verbose={value}") for value in ("no", "2", "%20true", "T", "false", "")),
]
_TYPES: Final = ("", "text/plain", f"{JSON}; charset=utf-8", "Application/JSON ; a=b;", f"{JSON};;", f"{JSON}; x", FORM)
BODIES: Final = [
    *(
        Request("POST", f"{V}{path}", b"{}", kind)
        for path in ("/networks/x/connect", "/networks/x/disconnect", "/commit", "/commit?container=x")
        for kind in (*_TYPES, JSON)
    ),
    *(Request("POST", f"{V}/networks/x/{verb}", b"null", JSON) for verb in ("connect", "disconnect")),
    *(Request("POST", f"{V}/commit{query}", body, JSON) for query in ("", "?container=x") for body in (b"", b"null")),
    *(Request("DELETE", f"{V}/networks/x?{query}") for query in ("a;b", "a=%zz")),
]
NOT_HERE: Final = [
    *(
        Request("DELETE", f"{V}/volumes/{name}?force={force}")
        for name in ("x", "a/b", "")
        for force in ("1", "0", "no")
    ),
    *(Request(method, f"{V}/containers/{name}/kill") for method in ("POST", "GET") for name in ("x", "a/b")),
    *(Request("PUT", f"{V}/volumes/{name}") for name in ("x", "prune", "a/b")),
]
PUSHES: Final = [
    *(
        Request("POST", f"{V}/images/{name}/push{query}", b"{}", JSON)
        for name in ("nosuch", "nosuch:1", "a/b/c", "UPPER", "sha256:abc", f"{'a' * 63}:b")
        for query in ("", "?tag=x", "?tag=%20", "?tag=a/b", "?tag=%20&tag=a", "?Tag=%20")
    ),
    *(
        Request("POST", f"{V}/images/create?fromImage={name}")
        for name in ("scratch", "library/scratch:x", "%20", "x::")
    ),
]
SOURCES: Final = [
    Request("POST", f"{V}/images/create?fromSrc={quote(source, safe='')}&repo=source")
    for source in ("-%20", "http://[::1/", "http://a%2fb/", "http://127.0.0.1:9\\x", "://")
]
PLATFORMS: Final = [
    Request("POST", f"{V}/images/create?fromSrc=-&platform={quote(text, safe='')}", _EMPTY_TAR)
    for text in (
        "armhf",
        "armel",
        "linux/armhf",
        "linux/arm/7",
        "linux/arm64/8",
        '{"os":"linux"}',
        "a\\b",
        "linux/a/b/c",
    )
]
VERSIONS: Final = [
    Request("GET", f"{version}/images/nosuch/json")
    for version in ("/V1.41", "/v1.41x", "/v-1", "/v1.+41", "/v%31.41", "/v01.41", "/v1,41", "/v1.41/v1.41", "//v1.41")
]
DIGESTS: Final = [
    *(
        Request("GET", f"{V}/images/{name}/{what}")
        for name in (f"example/tiny@{_DIGEST}", f"{_DIGEST}0", _DIGEST.upper(), f"sha512:{64 * '0'}", f"@{_DIGEST}")
        for what in ("json", "history", "get")
    ),
    *(Request("POST", f"{TINY}/tag?repo=x&tag={_DIGEST}{end}") for end in ("", "&tag=y")),
]
#: What stands at the beginning of changes, and instructions that only one of both takes.
CHANGES: Final = [
    *(
        Request("POST", f"{V}/images/create?fromSrc=-&repo=x&tag=more&changes={quote(change, safe='')}", _EMPTY_TAR)
        for change in (
            *("# escape=`\nCMD x", "# escape=x\nCMD x", "# escape=\\\nCMD x", "# note\n# escape=`\nCMD x"),
            *("CMD a \\\n\n b", "CMD a \\\n# note\n b", 'SHELL ["sh"]', "SHELL sh", "STOPSIGNAL 9"),
        )
    ),
    Request("DELETE", f"{V}/images/x:more"),
]
UNTIL: Final = [
    *(
        request
        for text in (
            *("-1", "0", "-0h", "2020-02-30", "2020-01-01T24:00", "0000-01-01Z", "2020-01-01 00:00:00", "2020-01-01Z"),
            *(f"2020-01-01T00:00:00{zone}" for zone in ("+99:99", "-25:00", "+24:60", "+00:61", "+24:00", "z")),
        )
        for request in (
            *filtered("/images/prune", json.dumps({"until": [text], "label": ["nosuch"]})),
            *filtered("/networks/prune", json.dumps({"until": [text]})),
        )
    ),
    *filtered("/build/prune", '{"until":["2020-01-01"]}', '{"until":["1h"]}'),
    *filtered("/images/json", '{"until":["1h"]}'),
    *(Request("GET", f"{V}/events?since={since}&until=1") for since in ("-1h", "2020-01-01", "1e3")),
]
NOT_MADE: Final = [
    *(Request("POST", f"{V}/commit{query}", b"{", JSON) for query in ("", "?container=x")),
    *(Request("POST", f"{V}/auth", body, JSON) for body in (b"", b"{", b'{"serveraddress":"127.0.0.1:9"}')),
    *(Request("POST", f"{V}/build{query}", b"", "application/x-tar") for query in ("?buildargs={", "?cpuperiod=x")),
    Request("POST", f"{V}/build/cancel"),
    *(Request("POST", f"{V}/images/{name}/push") for name in ("app%0a", "%0a", "127.0.0.1:9/app")),
]
REQUESTS: Final = [
    *(*CHANGES, *UNTIL, *NOT_MADE),
    *(*NEWLINES, *VALUES, *BODIES, *NOT_HERE, *PUSHES, *SOURCES, *PLATFORMS, *VERSIONS, *DIGESTS),
]
