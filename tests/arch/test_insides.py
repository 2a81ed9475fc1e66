"""What is relied on of other libraries beyond what they document, and that such a library is bounded above.

A method of a subclass whose name begins with an underscore takes the place of one that the library may rename in any
release; then the check would silently do nothing. What is overridden under a public name has to be there to override.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import tomllib
from typing import TYPE_CHECKING

import orlop
from tests.quick import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Libraries that may change their insides with a major version; Python's own are tried with each of its versions.
LIBRARIES = {"click", "rich", "starlette"}
#: Private names that are overridden, and why.
RELIED_ON = {
    # It would warn of an old bash each time that one asks; the script says nothing to a bash that is too old for it.
    ("orlop.cli.shell.bash.Bash", "click", "_check_version"),
}
#: Public names that are overridden: the library calls them.
OVERRIDDEN = {
    ("orlop.api.engine.call.Call", "starlette"): set(),
    ("orlop.api.engine.call.Endpoint", "starlette"): {"matches"},
    ("orlop.api.engine.events._Stream", "starlette"): set(),
    ("orlop.api.registry.blobs._Copied", "starlette"): set(),
    ("orlop.api.streamed.Streamed", "starlette"): set(),
    ("orlop.cli.clicked.Command", "click"): {"context_class", "parse_args"},
    ("orlop.cli.clicked.Context", "click"): {"formatter_class"},
    ("orlop.cli.clicked.Formatter", "click"): {"getvalue", "write_dl", "write_text"},
    ("orlop.cli.clicked.Group", "click"): {
        "context_class",
        "get_command",
        "list_commands",
        "parse_args",
        "resolve_command",
    },
    ("orlop.cli.shell.bash.Bash", "click"): {"format_completion", "get_completion_args", "name", "source_template"},
}


def classes() -> Iterator[type]:
    """Yield every class of the package."""
    for module in pkgutil.walk_packages(orlop.__path__, "orlop."):
        if module.name != "orlop.__main__":
            for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if found.__module__ == module.name:
                    yield found


def overridden() -> dict[tuple[str, str], set[str]]:
    """Return which names of a library each class that is made of one of its classes defines anew, but for dunders."""
    found: dict[tuple[str, str], set[str]] = {}
    for ours in classes():
        for base in ours.__mro__[1:]:
            library = base.__module__.partition(".")[0]
            if library in LIBRARIES:
                # Python's own notes of a class are not a method of it.
                names = {
                    name for name in vars(ours).keys() & vars(base).keys() if name[:2] != "__" and name != "_abc_impl"
                }
                found.setdefault((f"{ours.__module__}.{ours.__qualname__}", library), set()).update(names)
    return found


def test_what_is_overridden_is_named_here() -> None:
    found = overridden()
    private = {(ours, library, name) for (ours, library), names in found.items() for name in names if name[0] == "_"}
    assert private == RELIED_ON
    assert {key: {name for name in names if name[0] != "_"} for key, names in found.items()} == OVERRIDDEN


def test_libraries_that_are_overridden_are_bounded_above() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    bounds = {re.split(r"[<>=;\[ ]", one)[0]: one for one in wanted}
    for library in {library for _, library in overridden()}:
        assert "<" in bounds[library], bounds[library]
