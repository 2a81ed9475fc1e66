"""What a pull costs with nginx before `orlop serve --registry`, without it, and from nginx alone.

`./dev run python benchmarks/bench_registry_nginx.py [--turns N] [--size MIB]`

nginx alone sends the same file from the store's folder: so fast would be an answer with `X-Accel-Redirect`, by which a
server lets nginx send a file. All are asked in turn, by `curl`. Processor seconds are those of the servers. Needs
nginx. Writes `docs/benchmarks/registry-nginx.md`. A minute.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench_registry import blob, orlop_registry, send
from measure import MIB, paragraph, report

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIGURATION: Final = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors; {user}
events {{}}
http {{
    access_log off; sendfile on;
    client_body_temp_path {folder}/1; proxy_temp_path {folder}/2; fastcgi_temp_path {folder}/3;
    uwsgi_temp_path {folder}/4; scgi_temp_path {folder}/5;
    server {{
        listen 127.0.0.1:{port};
        location /alone/ {{ alias {blobs}/; }}
        location / {{
            proxy_pass http://{authority}; proxy_http_version 1.1; proxy_set_header Host $http_host;
            proxy_buffering off;
        }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, authority: str, blobs: Path) -> Iterator[tuple[int, int]]:
    """Run nginx before a registry for a block, and yield its port and the process that answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""
    text = _CONFIGURATION.format(folder=folder, user=user, port=port, blobs=blobs, authority=authority)
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen(["nginx", "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield port, int(children[0])
    finally:
        process.terminate()
        process.wait(60)


def used(*processes: int) -> float:
    """Return the processor seconds of some processes."""
    found = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in processes]
    return sum(int(one[11]) + int(one[12]) for one in found) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--size", type=int, default=512, help="of the blob, in MiB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orlop-bench-") as name:
        folder = Path(name)
        path, digest = blob(folder, options.size * MIB, 0)
        with orlop_registry(folder) as server:
            send(server, "one", [(path, digest)])
            blobs = folder / "store" / "blobs" / "sha256"
            with nginx(folder, server.authority, blobs) as (port, answering):
                place = f"v2/one/blobs/{digest}"
                urls = {
                    "orlop, by itself": f"http://{server.authority}/{place}",
                    "orlop behind nginx": f"http://127.0.0.1:{port}/{place}",
                    "nginx alone": f"http://127.0.0.1:{port}/alone/{digest.partition(':')[2]}",
                }
                taken: dict[str, list[tuple[float, float]]] = {way: [] for way in urls}
                for _ in range(options.turns):
                    for way, url in urls.items():
                        before, start = used(server.process, answering), time.perf_counter()
                        subprocess.run(["curl", "-sS", "-f", "-o", "/dev/null", url], check=True)
                        seconds = time.perf_counter() - start
                        taken[way].append((seconds, used(server.process, answering) - before))
    _report(taken, options.size, options.turns)


def _report(taken: dict[str, list[tuple[float, float]]], size: int, turns: int) -> None:
    told = (
        f"Pulls of a blob of {size} MiB from `orlop serve --registry`, with nginx before it and without, and of the"
        f" same file from nginx alone, on a machine of {os.cpu_count()} cores; medians of {turns}, each asked in turn"
        " by `curl`. Made by `benchmarks/bench_registry_nginx.py`."
    )
    rows = ["| from | MiB/s | processor seconds for a GiB |", "|---|---:|---:|"]
    for way, found in taken.items():
        seconds, work = (statistics.median(one) for one in zip(*found, strict=True))
        rows.append(f"| {way} | {size / seconds:.0f} | {work * 1024 / size:.2f} |")
    why = (
        "orlop lets the kernel send files, as nginx does. With `X-Accel-Redirect`, by which nginx sends a file itself"
        " after orlop has said which, pulls through nginx would cost what the last row says, and nginx would have to be"
        " let into the store. orlop does not offer that."
    )
    report(
        "registry-nginx",
        "\n".join(["# A registry behind nginx", "", paragraph(told), "", *rows, "", paragraph(why), ""]),
    )


if __name__ == "__main__":
    main()
