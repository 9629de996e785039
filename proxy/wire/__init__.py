"""HTTP/1.1 in and out: connections, pools, time-outs, back-pressure. Knows nothing of LLMs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Protocol

import msgspec

Headers = tuple[tuple[str, str], ...]
"""Raw names and values in the order they came; values are never changed."""


class Head(msgspec.Struct, frozen=True):
    """The head of a request. `target`: path and query as they were sent, without the scheme and
    authority of an absolute form. `fields`: the first value of each header by lower-case name, made
    of `headers` where the server has not made it on the way.

    same: what was found out about this head and is true of every one that differs from it in its
    content-length alone; one dictionary for all that do, forgotten with the last of them. Whoever
    keeps something there names it by a constant of its own. None: this head is not expected again.
    """

    method: str
    target: str
    headers: Headers
    fields: dict[str, str] = {}
    same: dict[object, object] | None = None

    def __post_init__(self) -> None:
        if len(self.fields) == 0 < len(self.headers):
            for name, value in self.headers:
                self.fields.setdefault(name.lower(), value)

    def get(self, name: str) -> str | None:
        """The first value of a header, by lower-case name."""
        return self.fields.get(name)


class Answering(Protocol):
    """The answer to one request. `respond` or `start` may be called once in all."""

    @property
    def started(self) -> bool:
        """Whether a status has been sent: from then on there is no second answer."""

    async def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer; content-length is set here."""

    async def start(self, status: int, headers: Headers) -> None:
        """Begins a streamed answer (chunked, or by the content-length given)."""

    async def write(self, chunk: bytes) -> None:
        """Sends at once; waits only while the client does not read."""

    def send(self, chunk: bytes) -> bool:
        """`write` without the wait: True if more may follow at once, False while the client does
        not read (or has left): then call `drained` before the next. Legal from any callback."""

    async def drained(self) -> None:
        """Waits until the client reads again; the time is bounded as in `write`."""

    async def finish(self) -> None:
        """Ends the answer cleanly."""

    def abort(self) -> None:
        """Cuts the connection so that the client sees the answer was not whole."""


class Connection(Protocol):
    """A client's connection, the same object for all requests on it."""

    @property
    def is_open(self) -> bool:
        """Whether the client can still send on it."""


class Exchange(Answering, Protocol):
    """One request of a client and the answer to it. The handler's task is cancelled when the client
    leaves."""

    head: Head
    connection: Connection
    stays: Callable[[], bool] | None
    """Asked when the client leaves before the end of its answer: True if the handler goes on by
    itself, and then what it writes is lost. None: it is cancelled."""

    async def read_body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises MalformedRequest (413 over the limit, 408 when it stalls)."""

    def stream_body(self) -> AsyncIterator[bytes]:
        """The body as it comes, for what is only relayed."""


Handler = Callable[[Exchange], Coroutine[object, None, None]]


class Timeouts(msgspec.Struct, frozen=True):
    """Seconds. head: from the request sent to the answer's head. idle: between two chunks."""

    connect: float = 5.0
    head: float = 30.0
    idle: float = 300.0
    total: float = 600.0


class Outgoing(msgspec.Struct, frozen=True):
    """A request to a provider. `url` is absolute; its path and query are sent as they stand. same:
    where its head may be remembered, as in `Head`; then these very `headers` have to be kept there,
    too."""

    method: str
    url: str
    headers: Headers
    body: bytes | AsyncIterator[bytes]
    same: dict[object, object] | None = None


class Incoming(Protocol):
    """A provider's answer."""

    status: int
    headers: Headers

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives (still content-encoded, transfer-decoded). Raises
        UpstreamUnavailable (kind reset, timeout, truncated) when it breaks off."""

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        """Hands each piece of the body to `take` as it arrives, in the callback that read it.

        Returns True once `take` has said False: it has something to wait for, and a later
        `pass_on` gives it the rest. Returns False at the end of the body. Raises like `chunks`, and
        what `take` raises; nothing is read from the provider while nobody takes.
        """

    async def take_arrived(self, take: Callable[[bytes], object]) -> None:
        """Hands all that has arrived and nobody has read to `take`, for whoever ends the exchange
        before its end: it was billed. Waits for nothing of the provider, and raises nothing of it;
        to be closed then."""

    def unread_part(self) -> float:
        """How much has arrived that nobody has read, as a part of what was read: of 100 bytes read
        and 50 that wait, 0.5. Reads nothing: while somebody reads, the provider goes on."""

    def release(self) -> None:
        """Ends the `pass_on` that waits, as if its `take` had said False."""

    def expect_more_within(self, seconds: float) -> None:
        """The idle time-out of the rest of it, where it is shorter than before."""

    async def read(self, limit_bytes: int) -> bytes:
        """The whole body; raises UpstreamUnavailable like `chunks`, and when over the limit."""

    def close(self) -> None:
        """Ends the exchange now; a body not read to its end cancels the call at the provider."""


class Upstreams(Protocol):
    """The pool of connections to providers."""

    async def send(
        self,
        request: Outgoing,
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
        on_left: Callable[[Incoming], Awaitable[None]] | None = None,
    ) -> Incoming:
        """Sends and waits for the head. Raises UpstreamUnavailable, `sent` False only if nothing
        can have reached the provider; `on_sent` is called just before the first byte leaves. A
        cancelled call leaves no connection behind; where its answer has begun to arrive all the
        same, `on_left` may take what has come of it before it is closed."""

    async def close(self) -> None: ...
