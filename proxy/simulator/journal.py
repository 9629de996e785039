"""What the provider received, sent and bills: the truth that a proxy's ledger is compared with."""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from proxy.clock import Clock
from proxy.simulator.tokens import Json

_SECRET_HEADERS = ("authorization", "x-api-key", "api-key", "cookie")


@dataclass(slots=True)
class Entry:
    """One request, growing while it is served: not frozen, because a stream counts here.

    started, finished, client_disconnected_at: seconds since the epoch. status 0: no head was sent.
    events_sent: events of the stream. Billed tokens grow as they are generated.
    """

    number: int
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    started: float
    model: str = ""
    step: int = 0
    status: int = 0
    faults: tuple[str, ...] = ()
    bytes_sent: int = 0
    events_sent: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int | None = None
    finished: float | None = None
    client_disconnected_at: float | None = None

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def json(self) -> Json:
        """The body, if it is a JSON object, else an empty one."""
        try:
            body = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return body if isinstance(body, dict) else {}

    def shown(self) -> dict[str, object]:
        """The entry as JSON; of a credential only a hash is shown."""
        return {
            "number": self.number,
            "method": self.method,
            "target": self.target,
            "headers": {name: _shown_header(name, value) for name, value in self.headers},
            "body": self.json or self.body.decode("utf-8", "replace"),
            "model": self.model,
            "step": self.step,
            "status": self.status,
            "faults": self.faults,
            "bytes_sent": self.bytes_sent,
            "events_sent": self.events_sent,
            "billed": {
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
                "cost_micro_usd": self.cost_micro_usd,
            },
            "started": self.started,
            "finished": self.finished,
            "client_disconnected_at": self.client_disconnected_at,
        }


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all requests since the start, also those that the journal no longer holds."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0
    disconnected: int = 0

    def plus(self, entry: Entry) -> "Totals":
        """These and one entry more."""
        return Totals(
            self.requests + 1,
            self.input_tokens + entry.input_tokens,
            self.output_tokens + entry.output_tokens,
            self.cost_micro_usd + (entry.cost_micro_usd or 0),
            self.disconnected + (entry.client_disconnected_at is not None),
        )


CostOf = Callable[[str, int, int], int | None]


class Journal:
    """Bounded in entries and in bytes of bodies; the oldest go first."""

    def __init__(
        self,
        clock: Clock,
        cost_of: CostOf,
        size: int = 1_000,
        size_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._clock, self._cost_of = clock, cost_of
        self._size, self._size_bytes = size, size_bytes
        self._entries: deque[Entry] = deque()
        self._open: dict[int, Entry] = {}
        self._bytes = 0
        self._numbers = 0
        self._settled = Totals()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is still held, the oldest first."""
        return tuple(self._entries)

    @property
    def totals(self) -> Totals:
        """The sums, running streams included."""
        totals = self._settled
        for entry in self._open.values():
            totals = totals.plus(entry)
        return totals

    def open(
        self, method: str, target: str, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> Entry:
        """Notes a request that has been received whole."""
        self._numbers += 1
        entry = Entry(self._numbers, method, target, headers, body, self._clock.now())
        self._entries.append(entry)
        self._open[entry.number] = entry
        self._bytes += len(body)
        while len(self._entries) > self._size or (
            self._bytes > self._size_bytes and len(self._entries) > 1
        ):
            self._bytes -= len(self._entries.popleft().body)
        self.changed()
        return entry

    def close(self, entry: Entry) -> None:
        """The request is done with; what it cost is known."""
        entry.finished = self._clock.now()
        self.bill(entry)
        if self._open.pop(entry.number, None) is not None:
            self._settled = self._settled.plus(entry)
        self.changed()

    def bill(self, entry: Entry) -> None:
        """Prices what has been generated so far."""
        entry.cost_micro_usd = self._cost_of(entry.model, entry.input_tokens, entry.output_tokens)

    def left(self, entry: Entry) -> None:
        """The client has gone."""
        entry.client_disconnected_at = self._clock.now()

    def clear(self) -> None:
        """Forgets the entries and the sums; requests under way count for the new ones."""
        self._entries = deque(self._open.values())
        self._bytes = sum(len(entry.body) for entry in self._entries)
        self._settled = Totals()

    async def wait_for(self, predicate: Callable[[], bool], timeout_seconds: float) -> None:
        """Waits until something here makes the predicate true. Raises TimeoutError."""
        if predicate():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = (predicate, waiter)
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(timeout_seconds):
                await waiter
        finally:
            self._waiting.remove(waiting)

    def changed(self) -> None:
        """Wakes those whose predicate is now true."""
        for predicate, waiter in self._waiting:
            if not waiter.done() and predicate():
                waiter.set_result(None)


def _shown_header(name: str, value: str) -> str:
    if name.lower() not in _SECRET_HEADERS:
        return value
    return "sha256:" + hashlib.sha256(value.encode()).hexdigest()[:12]
