"""Access to a registry as a whole: the settings in a file, the guard, the audit log and the webhooks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from orlop.api.registry.guard.audit import AuditLog
from orlop.api.registry.guard.configuration import read_settings
from orlop.api.registry.guard.guard import Guard
from orlop.api.registry.guard.webhooks import Webhooks
from orlop.errors import OrlopError
from orlop.model.closing import Closing

if TYPE_CHECKING:
    from orlop.api.registry.happened import Listener

_log = logging.getLogger(__name__)


class Access(Closing):
    """Who may use a registry, and who hears of it; to be closed after the server has ended.

    Args:
        path: the file of access.

    Raises:
        OrlopError: the file, or one that it names, cannot be used.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._settings = read_settings(path)
        audit = self._settings.audit
        self._audit = None if audit is None else AuditLog(audit)
        self.guard = Guard(self._settings, audit=self._audit)
        self.webhooks = Webhooks(self._settings.webhooks)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Who is told of what happens in the registry."""
        return (self.webhooks.hear,) if self._settings.webhooks else ()

    def renew(self) -> None:
        """Read the file and those that it names again, and open the audit log anew.

        If something is wrong, that is logged, and access, or the audit log, stays what it was. Another place of the
        audit log and other webhooks hold from the next start on.
        """
        # A right that was taken away is gone, whatever becomes of the log.
        self._reopen()
        try:
            settings = read_settings(self._path)
            self.guard.renew(settings)
        except OrlopError as error:
            _log.error("access to the registry stays unchanged: %s", error)
            return
        if (settings.webhooks, settings.audit) != (self._settings.webhooks, self._settings.audit):
            _log.warning("%s: webhooks and the place of the audit log change at the next start", self._path)

    def _reopen(self) -> None:
        if self._audit is None:
            return
        try:
            self._audit.reopen()
        except OrlopError as error:
            _log.error("the audit log continues in its old file: %s", error)

    def close(self) -> None:
        """End everything; events that are not delivered stay in their queues."""
        self.webhooks.close()
        if self._audit is not None:
            self._audit.close()
