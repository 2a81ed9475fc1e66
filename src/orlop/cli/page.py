"""``orlop audit --html``: the page of an image, in a file."""

from __future__ import annotations

from orlop.cli.inside import looked_into

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orlop.cli.inside import Look
    from orlop.cli.session import Session
    from orlop.inside.audit import Audit
    from orlop.inside.view import ImageFiles


def write_page(
    session: Session,
    path: str,
    audited: tuple[str, Audit, dict[str, Any]],
    files: ImageFiles,
    other: tuple[str | None, Look],
) -> None:
    """Write a page to a file, or to the standard output if the file is ``-``.

    Args:
        session: what opens the image to compare with.
        path: the file; it appears whole or not at all.
        audited: what the image is called, its audit, and its paths, which are made before the audit.
        files: what is in it.
        other: an image or archive to compare with, which is looked into in the same way.
    """
    from orlop.page.comparison import comparison_document  # noqa: PLC0415 - with what makes pages
    from orlop.page.document import image_document  # noqa: PLC0415 - as above
    from orlop.page.html import html_page  # noqa: PLC0415 - as above

    name, report, paths = audited
    documents = [image_document(name, files, report, paths)]
    other_name, look = other
    if other_name is not None:
        archive = other_name if other_name.startswith(("/", "./", "../")) else None
        with looked_into(session, None if archive else other_name, look._replace(archive=archive)) as old:
            documents.append(comparison_document((other_name, old), (name, files)))
    _write(path, html_page(documents))


def _write(path: str, content: bytes) -> None:
    if path == "-":
        from orlop.cli.show import output  # noqa: PLC0415 - only where it is asked for

        output.write(content)
        return
    from orlop.streams.output import Output  # noqa: PLC0415 - as above

    with Output(path) as target:
        target.write(content)
        target.finish()
