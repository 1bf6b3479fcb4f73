"""Durable executions in your own transaction: the Python client of flowfabric-sql.

>>> import sqlite3, flowfabric
>>> connection = sqlite3.connect("ff.db")           # made by `ff migrate`
>>> client = flowfabric.Client(connection)
>>> client.submit("email", b"hello", lane="mail")   # takes effect with your commit
>>> connection.commit()
"""

from .client import Client, Delivered, Lease, Retry, Submission
from .errors import (
    Contention, FlowFabricError, InvalidInput, LaneClosed, LeaseExpired, LeaseRevoked, NotActive,
    NotFound, NotSignalable, Refused, SignalLimitExceeded, StaleLease, TokenRefused, Unsupported,
    WaitpointClosed,
)

__all__ = [
    "Client", "Contention", "Delivered", "FlowFabricError", "InvalidInput", "LaneClosed", "Lease",
    "LeaseExpired", "LeaseRevoked", "NotActive", "NotFound", "NotSignalable", "Refused", "Retry",
    "SignalLimitExceeded", "StaleLease", "Submission", "TokenRefused", "Unsupported",
    "WaitpointClosed",
]
