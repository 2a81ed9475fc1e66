"""What one run of the command line knows: its global options, and the store that they name."""

from __future__ import annotations

import os
import sys

from orlop.model.logger import before_first_warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping

    from orlop.model.limits import Limits
    from orlop.service.image_service import ImageService
    from orlop.store.opening import Root


class Session:
    """The global options of one run; ``root`` is nothing where the user named none."""

    def __init__(self, *, debug: bool = False) -> None:
        self.root: str | None = None
        self.allow_network = False
        self.allow_foreign = False
        self.limits: Limits | None = None
        self.debug = debug

    def open(self, *, downloads: bool = False) -> ImageService:
        """Open the store, or make one where there is none; use it as a context manager.

        Args:
            downloads: URLs may be downloaded, through the proxies that the environment names.

        Raises:
            StorageError: it can be neither opened nor made.
        """
        import orlop  # noqa: PLC0415 - help and errors of usage need no store

        return orlop.open(
            self.place(),
            allow_network=self.allow_network,
            allow_foreign=self.allow_foreign,
            limits=self.limits,
            proxies=orlop.Proxies.from_variables(os.environ) if downloads else None,
        )

    def place(self) -> Root:
        """Return what names the store, for what opens it by itself: a directory, or a URL with what it leaves unsaid.

        Raises:
            InvalidInput: it is the URL of a store, and not a valid one.
        """
        import orlop  # noqa: PLC0415 - as above

        self.log()
        root = orlop.default_root() if self.root is None else self.root
        url = self.named(root)
        if url is not root:
            return url
        self.allow_foreign = self.allow_foreign or _is_safe(root, os.environ)
        return root

    @staticmethod
    def named(root: str) -> Root:
        """Return a directory as it is, and the URL of a store with what it leaves unsaid. Raises `InvalidInput`."""
        if "://" in root:
            from orlop.model.store_url import StoreURL, is_store_url  # noqa: PLC0415 - most stores are directories

            if is_store_url(root):
                return StoreURL.parse(root, os.environ)
        return root

    def log(self) -> None:
        """Send warnings to the user, with ``--debug`` everything; what logs by itself must be imported before."""
        # Most commands have nothing to say, and need not import what says it.
        if self.debug or "logging" in sys.modules:
            self._log()
        else:
            before_first_warning(self._log)

    def _log(self) -> None:
        import logging  # noqa: PLC0415 - as above

        logger = logging.getLogger("orlop")
        if not logger.handlers:
            logger.addHandler(_handler(debug=self.debug))
            logger.propagate = False
        logger.setLevel(logging.DEBUG if self.debug else logging.WARNING)


def _is_safe(root: str, environment: Mapping[str, str]) -> bool:
    """Return whether the environment vouches for whoever owns a store's directory.

    That is, as with git, where ``ORLOP_SAFE_DIRECTORY`` lists it, or has ``*``, and where root is at work for the user
    who owns it (``SUDO_UID``).
    """
    listed = environment.get("ORLOP_SAFE_DIRECTORY", "").split(":")
    if "*" in listed or os.path.realpath(root) in {os.path.realpath(path) for path in listed if path}:
        return True
    caller = environment.get("SUDO_UID", "")
    if os.geteuid() != 0 or not caller.isdecimal() or len(caller) > len(str(1 << 32)):
        return False
    try:
        return os.stat(root).st_uid == int(caller)
    except OSError:
        return False


def _handler(*, debug: bool) -> logging.Handler:
    import logging  # noqa: PLC0415 - as above

    from orlop.cli.show import output  # noqa: PLC0415 - as above

    class Messages(logging.Handler):
        """Writes each record as one line for people, with ``debug`` also where an error arose."""

        def emit(self, record: logging.LogRecord) -> None:
            level = "Warning" if record.levelno == logging.WARNING else record.levelname.capitalize()
            output.complain(f"{level}: {record.getMessage()}")
            if debug and record.exc_info:
                import traceback  # noqa: PLC0415 - only where it is asked for

                shown = "".join(traceback.format_exception(record.exc_info[1]))
                output.complain(shown.rstrip("\n"), lines=True)

    return Messages()
