"""The synchronous Python client. Standard library only: sending a click needs no core.

>>> from redpoll.client import Client
>>> client = Client()                                         # doctest: +SKIP
>>> answer = client.predict("churn", {"age": 41}, unit="u-17")  # doctest: +SKIP
>>> client.outcome("redo", answer)                            # doctest: +SKIP
"""

from redpoll.client.api import Client, Prediction
from redpoll.client.errors import ClientError, RolloutUnfinished
from redpoll.client.outcomes import Receipt, Rejected
from redpoll.client.rollouts import Rollout, RolloutHandle

__all__ = [
    "Client",
    "ClientError",
    "Prediction",
    "Receipt",
    "Rejected",
    "Rollout",
    "RolloutHandle",
    "RolloutUnfinished",
]
