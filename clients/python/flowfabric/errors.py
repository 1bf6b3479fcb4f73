"""The errors of the client. A refusal has changed nothing; the transaction stays usable."""


class FlowFabricError(Exception):
    """The base of all errors of this package."""


class InvalidInput(FlowFabricError, ValueError):
    """An argument breaks a rule; the message names it."""


class Unsupported(FlowFabricError):
    """The call needs a decision that this client does not take; the message says what does."""


class Refused(FlowFabricError):
    """The state of the database forbids the call. It has changed nothing."""


class NotFound(Refused):
    """There is no such execution, attempt, waitpoint or suspension."""


class StaleLease(Refused):
    """The execution is not held under this lease any more: the work was lost. Stop working on it."""


class LeaseExpired(Refused):
    """The lease has lapsed: another worker may have the execution. Stop working on it."""


class LeaseRevoked(Refused):
    """An operator took the lease away. Stop working on it."""


class NotActive(Refused):
    """The execution has ended, or waits. Stop working on it."""


class LaneClosed(Refused):
    """The lane takes no submissions now."""


class WaitpointClosed(Refused):
    """The waitpoint takes no signals any more, or none yet."""


class NotSignalable(Refused):
    """The execution does not wait for signals now."""


class TokenRefused(Refused):
    """The token is not the one of that waitpoint."""


class SignalLimitExceeded(Refused):
    """The execution has received as many signals as it may."""


class Contention(Refused):
    """Others changed the same rows each time. Try again, in a new transaction on Postgres."""


REFUSALS = {
    "not_found.execution": (NotFound, "there is no such execution"),
    "not_found.attempt": (NotFound, "the execution has no such attempt"),
    "lease_revoked": (LeaseRevoked, "an operator revoked the lease"),
    "execution_not_active": (NotActive, "the execution has ended, or waits"),
    "stale_lease": (StaleLease, "the lease is not the current one"),
    "lease_expired": (LeaseExpired, "the lease has expired"),
}
"""The refusals of the catalogue, by name."""
