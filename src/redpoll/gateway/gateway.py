"""The gateway: takes calls in, draws, journals, asks, journals, replies."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from redpoll.backends.port import Failure
from redpoll.catalog import Limits
from redpoll.errors import RedpollError, closest
from redpoll.facts import Answer, Request
from redpoll.gateway import replies
from redpoll.gateway.call import DONE, FLYING, OIP, ROWS, WAITING, Call
from redpoll.gateway.choice import choose
from redpoll.gateway.deadlines import Deadlines
from redpoll.gateway.lanes import Lane, Served, Tally
from redpoll.gateway.reading import encode_rows, name, read
from redpoll.gateway.second_look import SecondLooks
from redpoll.gateway.tick import Tick
from redpoll.host.counters import Counters
from redpoll.ids import IdMaker
from redpoll.journal.port import Writer

log = logging.getLogger("redpoll.gateway")
RETRY_FLUSH_S = 0.25
