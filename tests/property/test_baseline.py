"""Reports of audits are read again as they were written, and anything else is refused."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orlop
from orlop.cli.commands import audit as command
from orlop.cli.show.sarif import Reported, sarif
from orlop.errors import InvalidJSON
from orlop.inside.audit import Audit
from orlop.inside.baseline import compared, read_reports, report_of
from orlop.inside.finding import SEVERITIES, AuditFinding
from orlop.inside.masked import Mask
from tests.unit.images_made import image, layer

if TYPE_CHECKING:
    from orlop.service.listing.inspect import ImageDetails

READABLE = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PATHS = st.binary(max_size=6).map(lambda raw: "/" + raw.decode("utf-8", "surrogateescape")) | st.just("")
FINDINGS = st.builds(
    AuditFinding,
    rule=st.sampled_from(["setuid", "jwt", "root-user"]),
    kind=st.sampled_from(["fact", "waste", "risk", "secret"]),
    severity=st.sampled_from(SEVERITIES),
    text=READABLE,
    layer=st.integers(0, 3),
    path=PATHS,
    seen=st.booleans(),
    size=st.integers(0, 1 << 50),
    fingerprint=st.sampled_from(["", "0123456789abcdef"]),
)
LISTS = st.lists(FINDINGS, max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["runs", "Format", "Image", "Findings", "Known", "properties"]), inner)
    ),
)


@pytest.fixture(scope="module")
def details() -> ImageDetails:
    with orlop.ArchiveService(io.BytesIO(image(layer("a")))) as images:
        return images.inspect()


@pytest.mark.sampled(2)
@given(new=LISTS, known=LISTS, gone=LISTS, name=READABLE)
def test_what_was_new_or_known_is_read_again(
    details: ImageDetails, new: list[AuditFinding], known: list[AuditFinding], gone: list[AuditFinding], name: str
) -> None:
    """A baseline may be what ``--format json`` or ``--sarif`` printed, itself with or without a baseline."""
    reported = Reported(name, Audit(findings=new, known=known, gone=gone), details, Mask(details.image))
    assert read_reports(json.dumps(command._record(reported)).encode()) == {name: new + known}
    read = read_reports(sarif([reported], compared=True).encode())
    assert {key: sorted(found) for key, found in read.items()} == {name: sorted(new + known)}


@pytest.mark.sampled(2)
@given(LISTS, LISTS)
def test_each_finding_is_new_known_or_gone(findings: list[AuditFinding], baseline: list[AuditFinding]) -> None:
    """Each finding of the baseline makes one known."""
    new, known, gone = compared(findings, baseline)
    assert sorted(new + known) == sorted(findings)
    assert len(known) + len(gone) == len(baseline)
    assert compared(findings, findings) == ([], findings, [])
    assert compared(findings, []) == (findings, [], [])
    # Where more is known before, no more is new.
    assert len(compared(findings, [*baseline, *findings])[0]) == 0


@given(st.binary(max_size=30) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_refused(data: bytes) -> None:
    """It is either read whole or refused."""
    try:
        reports = read_reports(data)
    except InvalidJSON:
        return
    assert reports
    assert all(isinstance(one, AuditFinding) for found in reports.values() for one in found)


@pytest.mark.sampled(2)
@given(st.dictionaries(READABLE, LISTS, min_size=2, max_size=4), READABLE)
def test_an_image_is_compared_with_its_own_report(reports: dict[str, list[AuditFinding]], name: str) -> None:
    """Of several, it is the one with the name of the image."""
    for known, found in reports.items():
        assert report_of(reports, known) is found
    found_of_other = report_of(reports, name)
    assert found_of_other is None or any(found_of_other is found for found in reports.values())
