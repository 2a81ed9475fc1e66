"""Every rule of audits is documented, and code hosts are told what it is about."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from orlop.cli.show.sarif import Reported, meaning, sarif
from orlop.inside.audit import Audit
from orlop.inside.declared import _STEPS
from orlop.inside.finding import AuditFinding
from orlop.inside.masked import Mask
from orlop.inside.oddities import KINDS
from orlop.inside.secrets import RULES
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    import orlop

DOCUMENT = Path(__file__).parents[2] / "docs" / "inside.md"
SOURCES = Path(__file__).parents[2] / "src" / "orlop" / "inside"


def documented() -> dict[str, str]:
    """Return the severities of rules, as the documentation has them."""
    table = DOCUMENT.read_text().partition("| rule | severity |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`.+?) \| (\w+) \|", table, re.MULTILINE)
    return {rule: severity for rules, severity in rows for rule in re.findall(r"`([a-z-]+[a-z])`", rules)}


def test_every_rule_is_documented_and_has_a_meaning() -> None:
    found = documented()
    assert {rule: found.get(rule) for rule in RULES} == {rule: one.severity for rule, one in RULES.items()}
    others = {*found} - {*RULES}
    # Each is in the code that reports it.
    code = "".join(path.read_text() for path in SOURCES.glob("*.py"))
    reported = {
        *re.findall(
            r'(?:AuditFinding\(\s*|Cache\(|_of_layer\(|rule: str = |True,\s+|^\s+"\w+": \()"([a-z]+(?:-[a-z]+)*)"',
            code,
            re.MULTILINE,
        ),
        *_STEPS,
    }
    assert others == reported
    assert [rule for rule in found if meaning(rule) == rule] == []
    assert {meaning(f"layer-{kind}") for kind in KINDS} == {*KINDS.values()}
    assert meaning("other") == "other"


def test_a_rule_is_named_and_described(images: orlop.ImageService) -> None:
    images.load(io.BytesIO(image(layer("a"))))
    details = images.inspect("made:1")
    audit = Audit(findings=[AuditFinding("root-user", "fact", "low", "processes run as root")])
    (run,) = json.loads(sarif([Reported("made:1", audit, details, Mask(details.image))]))["runs"]
    (rule,) = run["tool"]["driver"]["rules"]
    assert (rule["id"], rule["name"], rule["fullDescription"]["text"]) == (
        "root-user",
        "RootUser",
        meaning("root-user"),
    )
    assert rule["shortDescription"]["text"] == f"fact: {meaning('root-user')}"
