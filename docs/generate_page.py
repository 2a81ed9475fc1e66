"""Make the script, the style and the markup of the page from `web/`, into `src/orlop/page/made/`.

python -m docs.generate_page            writes them
python -m docs.generate_page --check    ends with status 1 where they are not up to date

The modules of `web/` are joined into one script, each after those that it imports from. All share one scope, so a name
may be declared at the top of one module only; that is checked. Lines that are comments, indentation, and spaces beside
braces, colons and semicolons of the style are left out.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parents[1] / "web"
TARGET: Final = Path(__file__).parents[1] / "src" / "orlop" / "page" / "made"
_FIRST: Final = "main.js"
_IMPORT: Final = re.compile(r'import \{[^}]*\} from "\./([a-z]+\.js)";\n')
_DECLARED: Final = re.compile(r"^(?:export )?(?:async )?(?:function\*?|const|let|class) ([\w$]+)", re.MULTILINE)


def made() -> dict[str, bytes]:
    """Return the contents of the files by their names. Raises ValueError where modules do not fit together."""
    return {
        "page.js": script().encode(),
        "page.css": style().encode(),
        "page.html": (SOURCE / "page.html").read_bytes(),
    }


def style() -> str:
    """Return the style without the spaces beside braces, colons and semicolons; no text of it has these."""
    text = re.sub(
        r" \{ |; (?=\})", lambda match: match[0].strip(" ;"), _without_comments((SOURCE / "page.css").read_text())
    )
    return re.sub(r"(?<=[;:]) ", "", text)


def script() -> str:
    """Return all modules as one script."""
    order = _ordered(_FIRST, [], ())
    unused = {path.name for path in SOURCE.glob("*.js")} - {*order}
    if unused:
        raise ValueError(f"nothing imports {', '.join(sorted(unused))}")
    owners: dict[str, str] = {}
    parts = []
    for name in order:
        text = (SOURCE / name).read_text()
        for declared in _DECLARED.findall(text):
            if declared in owners:
                raise ValueError(f"{name} and {owners[declared]} both declare {declared}")
            owners[declared] = name
        parts.append(_without_comments(re.sub(r"^export ", "", _IMPORT.sub("", text), flags=re.MULTILINE)))
    return '"use strict";(()=>{\n' + "".join(parts) + "})();\n"


def _ordered(name: str, done: list[str], above: tuple[str, ...]) -> list[str]:
    """Return the modules that one needs and itself, each after what it needs."""
    if name in above:
        raise ValueError(f"modules import each other: {' → '.join((*above, name))}")
    for needed in _IMPORT.findall((SOURCE / name).read_text()):
        _ordered(needed, done, (*above, name))
    if name not in done:
        done.append(name)
    return done


def _without_comments(text: str) -> str:
    text = re.sub(r"^\s*/\*.*?\*/\n", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = (line.strip() for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


def main() -> int:
    """Write the files, or compare them; return an exit status."""
    stale = [name for name, content in made().items() if not _is_same(TARGET / name, content)]
    if "--check" in sys.argv[1:]:
        return 1 if stale else 0
    TARGET.mkdir(exist_ok=True)
    for name in stale:
        (TARGET / name).write_bytes(made()[name])
    return 0


def _is_same(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main())
