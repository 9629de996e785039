"""What is measured: one kind of load each, in the order in which it is run and shown."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.bodies import Body, conversation, question

MESSAGES = 60
CHUNKS_A_STREAM = 50


@dataclass(frozen=True, slots=True)
class Cell:
    """One load. title: as tables say it. rate: requests a second, or as many as go through.

    slow_rate: for systems that cannot keep up with `rate`, going by what they did in the cell
    `plain`, which is the same load without a rate. sessions: how many run side by side, named by
    a header, each walking through the bodies; 0: every request is a session of its own.
    """

    name: str
    title: str
    bodies: Callable[[], tuple[Body, ...]]
    connections: int = 32
    stream: bool = False
    sessions: int = 0
    rate: float | None = None
    slow_rate: float | None = None
    plain: str = ""

    @property
    def unit(self) -> str:
        """What CPU time is divided by."""
        return "chunk" if self.stream else "request"


def _stream(gap_ms: int, connections: int) -> Cell:
    return Cell(
        f"gap{gap_ms}",
        f"stream, {gap_ms} ms",
        lambda: (question(gap_ms),),
        connections,
        stream=True,
    )


def _paced(plain: str, size: str, bodies: Callable[[], tuple[Body, ...]]) -> Cell:
    return Cell(f"{plain}@200", f"{size} at 200/s", bodies, rate=200, slow_rate=20, plain=plain)


SMALL = Cell("small", "400 B", lambda: (question(),))
CELLS = (
    SMALL,
    Cell("58k", "58 KB", lambda: conversation(MESSAGES, 60_000)[-1:]),
    Cell("400k", "400 KB", lambda: conversation(MESSAGES, 423_000)[-1:], connections=8),
    Cell("sessions", "64 growing sessions", lambda: conversation(MESSAGES, 60_000), sessions=64),
    _stream(0, connections=16),
    _stream(1, connections=32),
    _stream(10, connections=32),
    _paced("small", "400 B", lambda: (question(),)),
    _paced("58k", "58 KB", lambda: conversation(MESSAGES, 60_000)[-1:]),
)
