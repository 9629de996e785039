"""What all connections of one server have in common."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from proxy.errors import HoldfastError
from proxy.wire import Handler, Headers
from proxy.wire.bounds import Bounds
from proxy.wire.head import AnswerHeads
from proxy.wire.known import KnownHeads
from proxy.wire.timing import Deadlines

Refusal = Callable[[HoldfastError], tuple[Headers, bytes]]
"""Headers and body of the answer to a request that never reached the handler, or broke it."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Built once, by `serve`."""

    handler: Handler
    refusal: Refusal
    bounds: Bounds
    loop: asyncio.AbstractEventLoop
    deadlines: Deadlines
    known: KnownHeads = field(default_factory=KnownHeads)
    heads: AnswerHeads = field(default_factory=AnswerHeads)
