"""The exit statuses of commands that have done what they were asked to, and whose answer a script may ask for.

Errors have statuses of their own, see `orlop.errors`; ``docs/errors.md`` lists all of them.
"""

from __future__ import annotations

NO_MATCH = 1
"""Nothing matched, as of other greps."""
DAMAGED = 6
"""A check found damage: what `orlop.errors.IntegrityError` has where damage is found on the way."""
UNREADABLE = 7
"""A check could not read everything: what `orlop.errors.StorageError` has where that ends a command."""
FOUND = 8
"""Something was found that is not an error: a difference, what an audit was to fail on, or damage that is repaired."""
