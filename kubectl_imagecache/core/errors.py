"""The errors that reach the user, as one line with what is wrong and what to do next."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend; printed as `error: MESSAGE` and `hint: HINT`, without a traceback."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        """What is wrong and where, one line, no full stop."""
        self.hint = hint
        """What to do next, one line; empty if there is nothing to say."""
        self.more: tuple[tuple[str, str], ...] = ()
        """What else is to be said, each a word or two and a text: how far it is, or a command to paste."""


class BadUsage(UserError):
    """The command line or a configuration file says something impossible."""

    exit_code = 2


class NotFound(UserError):
    """A named thing (cluster, pool, disk image, container image) does not exist."""


class AlreadyExists(UserError):
    """A thing of that name is there already, or has changed since it was read."""


class NotPermitted(UserError):
    """The server refused: the caller lacks a permission."""

    def __init__(self, permission: str, on: str, role: str) -> None:
        super().__init__(f"not permitted: {permission} on {on}", f"the least role that allows it: {role}")
        self.permission = permission
        """As IAM or RBAC writes it: `compute.images.get`, or `list pods`."""
        self.on = on
        """The resource, such as `projects/p`."""
        self.role = role
        """The least predefined role, or the ClusterRole rule, that grants it."""


class Unauthenticated(UserError):
    """Credentials are missing, expired or rejected."""


class Unavailable(UserError):
    """A server could not be reached, was too slow, or kept failing."""


class BadAnswer(UserError):
    """A server or a file answered with something that can't be right (broken JSON, wrong digest, unknown version)."""


class Busy(UserError):
    """The server refuses a change now, and will take it later: another operation runs, or the object has changed."""


class FieldConflict(UserError):
    """Another manager owns a field that an apply would change."""

    exit_code = 5
