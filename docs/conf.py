"""How Sphinx builds the documentation as a site: `./dev nox -s docs`, then open `build/docs/index.html`.

Every warning fails the check. Nothing is fetched: the site has no fonts, scripts or inventories of other places.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orlop

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "orlop"
author = "The orlop authors"
project_copyright = author
version = release = orlop.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# Markdown as GitHub reads it: anchors of headings, no rewriting of quotes and dashes.
myst_heading_anchors = 4
smartquotes = False

# Docstrings are Google's; what stands in single backquotes is the name of something.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 100
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "alabaster"
html_title = "orlop"
html_theme_options = {
    "description": "The Docker image store as a Python library and a command, without a daemon",
    "fixed_sidebar": True,
    "page_width": "1100px",
    "sidebar_width": "240px",
    "show_powered_by": False,
    "show_relbars": True,
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_copy_source = False
html_show_copyright = False

_README: Final = Path(__file__).parents[1] / "README.md"
_TREE_OF_DECISIONS: Final = "\n```{toctree}\n:hidden:\n:glob:\n\n[0-9]*\n```\n"


def go_names(readme: str) -> str:
    """Return README's section about the Go package as a page whose links lead to the reference of the Python API."""
    _, found, rest = readme.partition("\n## The Go package that it mirrors\n")
    if not found:
        raise ValueError("README.md has no section about the Go package; fit `go_names` in docs/conf.py to it")
    section = rest.partition("\n## ")[0]
    module = re.compile(r"\]\(src/orlop/(\w+)/(\w+)\.py\)")
    return "# The Go package that it mirrors\n" + module.sub(r"](api/\1.md#orlop\1\2)", section)


def read_source(_app: Sphinx, name: str, content: list[str]) -> None:
    """Fit a page, whose text is the only item of ``content``, into the site; in the checkout it reads as it stands."""
    if name == "adr/README":
        content[0] += _TREE_OF_DECISIONS
    if name == "go":
        content[0] = go_names(_README.read_text())
    # The change log lies outside this folder; the page `changes` includes it.
    content[0] = content[0].replace("](../CHANGELOG.md)", "](changes.md)")


def read_docstring(_app: Sphinx, _what: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    """Leave tables in Markdown out of a docstring: they are for readers of the code, and stand on a page as well."""
    lines[:] = [line for line in lines if not line.startswith("| ") and not line.startswith("|--")]


def setup(app: Sphinx) -> None:
    """Connect the functions above; Sphinx calls this."""
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", read_docstring)
