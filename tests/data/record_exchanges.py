"""Ask a fresh Docker daemon what `dockerd-20.10-overlay2/exchanges.jsonl` holds, and print it.

    python3 tests/data/record_exchanges.py /path/to/docker.sock > tests/data/dockerd-20.10-overlay2/exchanges.jsonl

One exchange a line: the request (``method``, ``url``, and as ``body`` an archive beside the file, or a text), and the
answer (``status``, ``answer``). A request that changes something changes what the following ones are answered.
"""

import http.client
import json
import socket
import sys
import urllib.parse
from pathlib import Path

HERE = Path(__file__).parent / "dockerd-20.10-overlay2"
VERSIONS = ("1.24", "1.30", "1.40", "1.41")
IMAGES = (
    "example/tiny:1.0",
    "example/dup:v1",
    "example/imported",
    "registry.example.com:5000/team/committed:2.0",
    "3b93ff10a529",
    "sha256:bd7e2a76b6474d902af57469b65bd544e8ce30a47424ca5e16ed5b50dc4b780e",
)
NAMES = (
    "nosuch",
    "nosuch:1",
    "UPPER",
    "BD7",
    "user/UPPER:x",
    "registry.example.com/UPPER",
    "REG/x",
    "localhost/UPPER",
    "a" * 64,
    "sha256:" + "1" * 64,
    "sha256:bd",
    "1" * 12,
    "bd",
    "x:" + "t" * 129,
    "-x",
    "x@sha256:123",
    "x@sha256:" + "g" * 64,
    "x@sha256:" + "1" * 64,
    "x" * 300,
    "foo:bar:baz",
    "\u00e9",
)
FILTERS = (
    {"dangling": ["true"]},
    {"dangling": {"false": True}},
    {"dangling": ["true", "false"]},
    {"dangling": ["x"]},
    {"label": ["x"]},
    {"label": {"x=y": True}},
    {"label": ["x=z"]},
    {"label": {"x": False}},
    {"label": [None]},
    {"label": ["com.example.escape=a<b & c>d", "com.example.quote"]},
    {"reference": ["example/*"]},
    {"reference": ["example/tiny", "*/*:v1"]},
    {"reference": {"nosuch": True}},
    {"before": ["example/dup:v1"]},
    {"since": ["example/tiny:1.0"]},
    {"before": ["nosuch"]},
    {"since": ["UPPER"]},
    {"foo": ["1"]},
    {"Label": ["x"]},
    {},
    None,
)
TARGETS = (
    "repo=UPPER",
    "repo=x&tag=-",
    "repo=" + "a" * 64,
    "repo=r@sha256:" + "1" * 64,
    "repo=sha256:1",
    "repo=",
    "",
    "repo=x:y&tag=z",
    "repo=registry.example.com:5000/x",
)


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("docker")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def ask(path, method, url, body=None):
    connection = Connection(path)
    content = None if body is None else (HERE / body).read_bytes() if body.endswith(".tar") else body.encode()
    connection.request(method, url, content, {} if body is None else {"Content-Type": "application/x-tar"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    line = {"method": method, "url": url, "status": answer.status, "answer": text}
    print(json.dumps(line if body is None else {**line, "body": body}))


def main(path):
    def quoted(text):
        return urllib.parse.quote(text, safe="/:@")

    ask(path, "POST", "/v1.41/images/load?quiet=0", "multi.tar")
    ask(path, "POST", "/v1.41/images/load?quiet=1", "multi.tar")
    ask(path, "POST", "/v1.24/images/load?quiet=0", "dup.tar")
    ask(path, "POST", "/v1.41/images/load?quiet=1", "parent-child.tar")
    for version in VERSIONS:
        for url in ("/images/json", "/images/json?all=1", "/system/df"):
            ask(path, "GET", f"/v{version}{url}")
        for image in IMAGES:
            ask(path, "GET", f"/v{version}/images/{image}/json")
            ask(path, "GET", f"/v{version}/images/{image}/history")
    for name in NAMES:
        ask(path, "GET", f"/v1.41/images/{quoted(name)}/json")
        ask(path, "GET", f"/v1.41/images/{quoted(name)}/history")
        ask(path, "GET", f"/v1.41/images/{quoted(name)}/get")
        ask(path, "GET", f"/v1.41/images/get?names={urllib.parse.quote(name)}")
        ask(path, "POST", f"/v1.41/images/{quoted(name)}/tag?repo=a")
        ask(path, "DELETE", f"/v1.41/images/{quoted(name)}")
    for filters in FILTERS:
        ask(path, "GET", f"/v1.41/images/json?filters={urllib.parse.quote(json.dumps(filters))}")
    for pattern in ("example/tiny", "example/*", "nosuch"):
        ask(path, "GET", f"/v1.40/images/json?filter={pattern}")
    for target in TARGETS:
        ask(path, "POST", f"/v1.41/images/example/imported/tag?{target}")
    ask(path, "DELETE", "/v1.41/images/8126e24b2462?force=1")
    ask(path, "DELETE", "/v1.41/images/bd11a92cebbc")
    ask(path, "DELETE", "/v1.41/images/example/imported")
    ask(path, "DELETE", "/v1.41/images/bd11a92cebbc?force=1")
    for filters in ({"foo": ["1"]}, {"dangling": ["x"]}, {"until": ["1h", "2h"]}, {"label": ["nosuch"]}):
        ask(path, "POST", f"/v1.41/images/prune?filters={urllib.parse.quote(json.dumps(filters))}")
    ask(path, "POST", "/v1.41/images/prune")
    ask(path, "DELETE", "/v1.41/images/example/dup:v1")
    ask(path, "POST", "/v1.41/images/prune?filters=" + urllib.parse.quote('{"dangling":["false"]}'))
    ask(path, "POST", "/v1.41/images/load", "junk")
    ask(path, "GET", "/v1.41/nosuch")
    ask(path, "PUT", "/v1.41/images/json")
    ask(path, "DELETE", "/v1.41/images/")
    ask(path, "GET", "/v1.42/images/json")
    ask(path, "GET", "/v1.99/images/json")


main(sys.argv[1])
