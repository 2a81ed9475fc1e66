"""How Sphinx builds the documentation as a site: `./dev nox -s docs`, then open `build/docs/index.html`.

Every warning fails the check. Nothing is fetched: the site has no fonts, scripts or inventories of other places.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import orlop

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "orlop"
author = "The orlop authors"
project_copyright = author
version = release = orlop.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_inline_tabs"]

# Markdown as GitHub reads it: anchors of headings, no rewriting of quotes and dashes.
myst_heading_anchors = 4
smartquotes = False
# Python's own `type` has the name of attributes, too.
suppress_warnings = ["ref.python"]

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
# The tree of pages is drawn on each page: with every name in it that takes most of the time.
toc_object_entries = False

html_theme = "furo"
html_title = "orlop"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("copy.js", {"defer": "defer"})]
html_favicon = "_static/logo.svg"
html_logo = "_static/logo.svg"
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5394", "color-brand-content": "#0b5394"},
    "dark_css_variables": {"color-brand-primary": "#7cc4ff", "color-brand-content": "#7cc4ff"},
}
html_show_sphinx = False
html_copy_source = False
html_show_copyright = False

_TREES: Final = {"adr/README": "[0-9]*", "commands": "commands/*"}
"""Pages that lead to others, and these. In a checkout they are read as they stand, so that they have no `toctree`."""
_TABS: Final = re.compile(r"^<!-- tabs -->\n(.*?)^<!-- /tabs -->$", re.MULTILINE | re.DOTALL)
_BLOCK: Final = re.compile(r"^```(console|sh|python)\n.*?^```$", re.MULTILINE | re.DOTALL)
_LABELS: Final = {"console": "Command line", "sh": "Command line", "python": "Python"}
_SOURCE: Final = re.compile(r"\]\(\.\./src/orlop/([\w/]+)\.py\)")


def as_tabs(found: re.Match[str]) -> str:
    """Return blocks of code, one a language, as tabs."""
    tabs = (f"````{{tab}} {_LABELS[block[1]]}\n{block[0]}\n````" for block in _BLOCK.finditer(found[1]))
    return "\n\n".join(tabs)


def as_reference(found: re.Match[str]) -> str:
    """Return a link to a module's source as one to its place in the reference of the Python API."""
    room, _, rest = found[1].partition("/")
    return f"](api/{room}.md#orlop{room}{rest.replace('/', '')})"


def read_source(_app: Sphinx, name: str, content: list[str]) -> None:
    """Fit a page, whose text is the only item of ``content``, into the site; in the checkout it reads as it stands."""
    if name in _TREES:
        content[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n\n{_TREES[name]}\n```\n"
    if name == "go-package":
        content[0] = _SOURCE.sub(as_reference, content[0])
    # The change log lies outside this folder; the page `changes` includes it.
    content[0] = _TABS.sub(as_tabs, content[0].replace("](../CHANGELOG.md)", "](changes.md)"))


def read_docstring(_app: Sphinx, _what: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    """Leave tables in Markdown out of a docstring: they are for readers of the code, and stand on a page as well."""
    lines[:] = [line for line in lines if not line.startswith("| ") and not line.startswith("|--")]


def setup(app: Sphinx) -> None:
    """Connect the functions above; Sphinx calls this."""
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", read_docstring)
