"""``orlop audit``."""

from __future__ import annotations

from orlop.cli.declared import WrongUsage, argument, command, option
from orlop.cli.inside import look_options, looked_up
from orlop.cli.statuses import FOUND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Final

    from orlop.cli.inside import Look
    from orlop.cli.session import Session
    from orlop.cli.show.sarif import Reported
    from orlop.inside.audit import Audit
    from orlop.inside.finding import AuditFinding

_FIELDS: Final = (
    "Format",
    "Image",
    "Size",
    "Hidden",
    "Overwritten",
    "Unchanged",
    "Removed",
    "Twice",
    "Efficiency",
    "Layers",
    "Folders",
    "Packages",
    "Findings",
    "Known",
    "Gone",
)
_SHOWN: Final = 10
_FINGERPRINT: Final = 16
_HEX: Final = frozenset("0123456789abcdef")


@command(epilog="Example: orlop audit --fail-on high --fail-on efficiency=0.9 app:1.0")
@option(
    "--fail-on",
    "limits",
    multiple=True,
    metavar="LIMIT",
    help="Exit with 8 if a finding has this severity (info, low, medium, high) or a higher one, if there is a secret"
    " (secret), if more is wasted (waste=20MB, waste=10%), or if the efficiency is lower (efficiency=0.9). May be"
    " repeated.",
)
@option(
    "--allow",
    "allow",
    multiple=True,
    metavar="WHAT",
    help="Suppress findings of RULE, of RULE:PATTERN (for paths), or with a fingerprint. @FILE names a file with one of"
    " these on each line, where ' #' begins a comment. May be repeated.",
)
@option(
    "--baseline",
    metavar="FILE",
    help="Do not count findings that an earlier report has, made with --format json or --sarif. What is gone since then"
    " is shown.",
)
@option("--visible-only", is_flag=True, help="Skip findings about files that a container does not see.")
@option(
    "--no-content", "tables_only", is_flag=True, help="Read no layers: skip secrets in files, and duplicate content."
)
@option("--sarif", "as_sarif", is_flag=True, help="Print the findings as SARIF 2.1.0.")
@option("--html", metavar="FILE", help="Write a page for a web browser, with everything in one file.")
@option(
    "--compare",
    metavar="OTHER",
    help="With --html, also show how the image differs from this one: an image, or an archive if it begins with"
    ' "/", "./" or "../".',
)
@option("--format", "form", metavar="FORMAT", help="Print json, or a template such as {{.Efficiency}}.")
@look_options()
@argument("names", metavar="IMAGE...", nargs=-1, complete="names")
def audit(
    session: Session,
    names: tuple[str, ...],
    *,
    limits: tuple[str, ...],
    allow: tuple[str, ...],
    baseline: str | None,
    visible_only: bool,
    tables_only: bool,
    as_sarif: bool,
    html: str | None,
    compare: str | None,
    form: str | None,
    look: Look,
) -> int:
    """Report wasted space, secrets and other risks of images.

    All layers are searched for secrets of known forms, including hidden files. Secrets are never printed. Each finding
    has a severity: info, low, medium or high. With --archive, IMAGE can be omitted if the archive holds one image.
    """
    if not names and look.archive is None:
        raise WrongUsage("Missing argument 'IMAGE...'.")
    if as_sarif and form:
        raise WrongUsage("--sarif and --format cannot be used together", "--format")
    if compare is not None and html is None:
        raise WrongUsage("it needs --html", "--compare")
    if html is not None and (len(names) > 1 or as_sarif or form):
        raise WrongUsage("it shows one image, and cannot be used with another format", "--html")
    exceeded = [_limit(one) for one in limits]
    allowed = [word for one in allow for word in _allowed(one)]
    if allowed:
        _check_rules(allowed)
    before = None if baseline is None else _baseline(baseline)
    records: Any = None
    if form:
        from orlop.cli.show.records import Records  # noqa: PLC0415 - mostly people read it

        records = Records(form, _FIELDS)
    from orlop.cli.show import files as show  # noqa: PLC0415 - errors of usage show nothing
    from orlop.cli.show.sarif import Reported, sarif  # noqa: PLC0415 - as above
    from orlop.inside.audit import audit as audited  # noqa: PLC0415 - as above
    from orlop.inside.masked import Mask  # noqa: PLC0415 - as above

    reports = []
    for name in names or (None,):
        with looked_up(session, name, look, target=None if html == "-" else html) as (files, inspected):
            shown = name or str(files.config.id)
            paths: dict[str, Any] = {}
            if html is not None:
                from orlop.page.document import image_paths  # noqa: PLC0415 - few audits make a page

                paths = image_paths(files)
            known = None if before is None else _findings(before, shown)
            report = audited(files, contents=not tables_only, visible_only=visible_only, allow=allowed, baseline=known)
            reports.append(Reported(shown, report, inspected(), Mask(files.config)))
            if html is not None:
                from orlop.cli.page import write_page  # noqa: PLC0415 - few audits make one

                titled = (name or look.archive or shown, reports[-1].audit, paths)
                write_page(session, html, titled, files, (compare, look))
        if html is not None:
            continue
        if records is not None:
            records.print(_record(reports[-1]))
        elif not as_sarif:
            show.write_lines(_lines(reports[-1]))
    if as_sarif:
        show.write_lines([sarif(reports, compared=before is not None)])
    return FOUND if any(limit(report.audit) for limit in exceeded for report in reports) else 0


def _baseline(path: str) -> dict[str, list[AuditFinding]]:
    """Return what a file with reports says. Raises `WrongUsage` and `InvalidJSON`."""
    from orlop.errors import InvalidJSON  # noqa: PLC0415 - only where the option is given
    from orlop.inside.baseline import LARGEST, read_reports  # noqa: PLC0415 - as above

    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise WrongUsage(f"cannot read {path!r}: {error.strerror}", "--baseline") from error
    if len(data) > LARGEST:
        raise InvalidJSON(f"cannot use the baseline {path!r}: it has more than {LARGEST:,} bytes")
    try:
        return read_reports(data)
    except InvalidJSON as error:
        raise InvalidJSON(f"cannot use the baseline {path!r}: {error}") from error


def _findings(reports: dict[str, list[AuditFinding]], image: str) -> list[AuditFinding]:
    """Return what a baseline says of an image; nothing, with a warning, if it does not know the image."""
    from orlop.inside.baseline import report_of  # noqa: PLC0415 - only where the option is given

    found = report_of(reports, image)
    if found is None:
        from orlop.cli.show.output import complain  # noqa: PLC0415 - as above

        complain(f"Warning: the baseline has no report of {image!r}, whose findings are all new")
    return found or []


def _allowed(text: str) -> Iterator[str]:
    """Yield what an option allows: itself, or the lines of the file that it names. Raises `WrongUsage`."""
    if not text.startswith("@"):
        yield text
        return
    try:
        with open(text[1:], encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                if word := f" {line}".partition(" #")[0].strip():
                    yield word
    except OSError as error:
        raise WrongUsage(f"cannot read {text[1:]!r}: {error.strerror}", "--allow") from error


def _limit(text: str) -> Callable[[Audit], bool]:
    """Return what tells whether an audit exceeds a limit. Raises `WrongUsage`."""
    from orlop.inside.finding import SEVERITIES  # noqa: PLC0415 - only where the option is given

    name, _, value = text.partition("=")
    if text in SEVERITIES:
        severe = SEVERITIES[SEVERITIES.index(text) :]
        return lambda report: any(one.severity in severe for one in report.findings)
    if text == "secret":
        return lambda report: any(one.kind == "secret" and one.severity != "low" for one in report.findings)
    try:
        if name == "efficiency":
            least = _share(value)
            return lambda report: report.efficiency < least
        if name == "waste" and value.endswith("%"):
            share = _share(value)
            return lambda report: report.hidden > share * report.size
        if name == "waste":
            from orlop.model.sizes import parse_size  # noqa: PLC0415 - as above

            most = parse_size(value)
            return lambda report: report.hidden > most
    except ValueError as error:
        form = "a share such as 0.9 or 90%" if name == "efficiency" else "a size such as 20MB or a share such as 10%"
        raise WrongUsage(f"{value!r} is not a valid limit; use {form}", "--fail-on") from error
    raise WrongUsage(
        f"{text!r} is not a limit; use {', '.join(SEVERITIES)}, secret, waste=… or efficiency=…", "--fail-on"
    )


def _share(text: str) -> float:
    """Return a share from 0 to 1. Raises ValueError: with another one, a limit would hold always or never."""
    share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= share <= 1:  # NaN is not, either
        raise ValueError(text)
    return share


def _check_rules(allowed: Sequence[str]) -> None:
    """Warn of rules that do not exist: what is misspelt allows nothing. Raises `WrongUsage`."""
    from orlop.cli.show.output import complain  # noqa: PLC0415 - only where the option is given
    from orlop.cli.show.sarif import meaning  # noqa: PLC0415 - as above
    from orlop.errors import InvalidFilter  # noqa: PLC0415 - as above
    from orlop.inside.allowance import allowance  # noqa: PLC0415 - as above

    try:
        allowance(allowed)
    except InvalidFilter as error:
        raise WrongUsage(str(error), "--allow") from error
    for word in allowed:
        rule, mark, _ = word.partition(":")
        is_fingerprint = not mark and len(rule) == _FINGERPRINT and set(rule) <= _HEX
        if not is_fingerprint and meaning(rule) == rule:
            complain(f"Warning: --allow {word!r} allows nothing: it is neither a rule nor a fingerprint")


def _record(reported: Reported) -> dict[str, object]:
    from orlop.cli.show.files import exact  # noqa: PLC0415 - as in `audit`
    from orlop.inside.baseline import FORMAT  # noqa: PLC0415 - as above

    name, report, _, masked = reported
    return {
        "Format": FORMAT,
        "Image": name,
        "Size": report.size,
        "Hidden": report.hidden,
        "Overwritten": report.overwritten,
        "Unchanged": report.unchanged,
        "Removed": report.removed,
        "Twice": report.twice,
        "Efficiency": f"{report.efficiency:.4f}",
        "Layers": [
            {
                "Number": one.layer.number,
                "DiffID": str(one.layer.diff_id),
                "CreatedBy": masked(one.layer.created_by),
                "Size": one.size,
                "Hidden": one.hidden,
            }
            for one in report.layers
        ],
        "Folders": {exact(path)[0]: size for path, size in report.folders.items()},
        "Packages": {exact(package)[0]: size for package, size in report.packages.items()},
        "Findings": [_finding(one) for one in report.findings],
        "Known": [_finding(one) for one in report.known],
        "Gone": [_finding(one) for one in report.gone],
    }


def _finding(one: AuditFinding) -> dict[str, object]:
    from orlop.cli.show.files import exact  # noqa: PLC0415 - as in `audit`

    path, exact_path = exact(one.path)
    return {
        "Rule": one.rule,
        "Kind": one.kind,
        "Severity": one.severity,
        "Text": exact(one.text)[0],
        "Layer": one.layer,
        "Path": path,
        "PathBytes": exact_path,
        "Seen": one.seen,
        "Size": one.size,
        "Fingerprint": one.fingerprint,
    }


def _lines(reported: Reported) -> Iterator[str]:
    from orlop.cli.show.units import human_size  # noqa: PLC0415 - as in `audit`

    name, report, _, masked = reported
    yield f"{name}: {human_size(report.size)} in {len(report.layers)} layers"
    again = f" ({human_size(report.unchanged)} of it by the same content)" if report.unchanged else ""
    yield (
        f"hidden: {human_size(report.hidden)} ({human_size(report.overwritten)} overwritten{again},"
        f" {human_size(report.removed)} removed); efficiency {report.efficiency:.1%};"
        f" duplicated: {human_size(report.twice)}"
    )
    for layer in report.layers:
        step = masked(layer.layer.created_by).replace("\n", " ").replace("\t", " ")[:80]
        hidden = f" ({human_size(layer.hidden)} hidden)" if layer.hidden else ""
        yield f"layer {layer.layer.number}: {human_size(layer.size)}{hidden} {step}".rstrip()
    largest = sorted(report.folders.items(), key=lambda one: -one[1])[:_SHOWN]
    for path, size in largest:
        yield f"{human_size(size):>8} {path}"
    for package, size in list(report.packages.items())[:_SHOWN]:
        yield f"{human_size(size):>8} package {package}"
    if report.packages:
        yield f"{human_size(report.size - report.hidden - sum(report.packages.values())):>8} in no package"
    for one in report.findings:
        yield _line(one)
    if report.known:
        yield f"known: {len(report.known)} findings of the baseline"
    for one in report.gone:
        yield f"gone: {_line(one)}"


def _line(one: AuditFinding) -> str:
    where = " ".join([*([one.path] if one.path else []), *([f"(layer {one.layer})"] if one.layer else [])])
    allowed_by = f" [{one.fingerprint}]" if one.fingerprint else ""
    return f"{one.severity}: {one.rule}: {where + ': ' if where else ''}{one.text}{allowed_by}"
