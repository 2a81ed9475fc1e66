"""Take the pictures of the page of an image in `docs/pictures`, in a real browser: Debian's chromium.

python -m docs.generate_page_pictures

The image is made up, and the same each time. Pictures depend on the version of the browser and on the fonts of the
machine, so they are not compared.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.browser import browser
from tests.unit.images_made import image, layer

HERE: Final = Path(__file__).with_name("pictures")
_SCREENS: Final = (
    ("page-light", 1280, 800, False),
    ("page-dark", 1280, 800, True),
    ("page-phone", 390, 844, False),
)
_QUALITY: Final = 60
_KB: Final = 1000


def _files(folder: str, names: str, *sizes: int) -> list[tuple[str, bytes]]:
    """Return files of as many kB as given, named by the words of a text."""
    return [(f"{folder}/{name}", bytes(size * _KB)) for name, size in zip(names.split(), sizes, strict=True)]


LAYERS: Final = (
    layer(
        *_files("usr/bin", "perl bash openssl tar dpkg find", 4060, 1270, 1010, 530, 310, 290),
        *_files("usr/lib/x86_64-linux-gnu", "libcrypto.so.3 libc.so.6 libm.so.6 libzstd.so.1", 4700, 1920, 910, 720),
        *_files("usr/share/zoneinfo", "tzdata.zi leapseconds", 110, 5),
        *_files("var/lib/dpkg", "status available", 120, 1),
        *_files("etc", "ld.so.cache services", 9, 13),
    ),
    layer(
        *_files("var/lib/apt/lists", "debian_main_Packages debian_security_Packages", 3900, 700),
        *_files("usr/bin", "python3.12 curl", 2900, 290),
        *_files("usr/lib/python3.12", "typing.py argparse.py ast.py turtle.py", 120, 102, 64, 146),
        *_files("usr/lib/python3.12/encodings", "aliases.py idna.py", 16, 10),
        *_files("var/lib/dpkg", "status", 140),
    ),
    layer(
        "var/lib/apt/lists/.wh.debian_main_Packages",
        *_files("opt/app/lib/numpy", "_core.so linalg.so random.so", 3600, 1500, 800),
        *_files("opt/app/lib/pandas", "_libs.so parsers.so frame.py", 2600, 700, 420),
        *_files("root/.cache/pip", "http-v2", 1700),
    ),
    layer(
        *_files("srv/app", "main.py model.bin static.tar.gz", 24, 2400, 640),
        *_files("opt/app/lib/pandas", "frame.py", 430),
    ),
)
_STEPS: Final = (
    "ADD rootfs.tar.xz / # buildkit",
    "RUN apt-get update && apt-get install -y python3.12 curl",
    "RUN pip install -r requirements.txt && rm /var/lib/apt/lists/*",
    "COPY app /srv/app",
)


def main() -> None:
    """Take the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        archive, page = Path(folder, "shop.tar"), Path(folder, "page.html")
        archive.write_bytes(image(*LAYERS, tag="shop:2.1", steps=_STEPS))
        orlop = [sys.executable, "-m", "orlop", "audit", "--archive", archive, "--html", page, "shop:2.1"]
        subprocess.run([*map(str, orlop)], check=True, stdout=subprocess.DEVNULL)
        with browser() as session:
            for name, width, height, dark in _SCREENS:
                session.resize(width, height, dark=dark)
                session.tell("Page.navigate", url="about:blank")
                session.open(page.as_uri())
                session.run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
                found = session.tell("Page.captureScreenshot", format="webp", quality=_QUALITY)
                HERE.joinpath(f"{name}.webp").write_bytes(base64.b64decode(found["data"]))


if __name__ == "__main__":
    main()
