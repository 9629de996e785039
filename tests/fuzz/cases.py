"""One attack: what the client sends, how it leaves, and what its provider does."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import Final
from zlib import crc32

from proxy.core.request import DialectName
from tests.fakes_wire import End

MARK: Final = "x-case"
"""The header by which the provider knows which case a request is of."""
SESSIONS: Final = 4_000
"""So many ids, each used again and again: more than are kept in memory."""

Plan = Sequence[bytes | float | End]
"""What a provider does: sends bytes, waits some seconds, leaves; with End.HOLD it waits for the
other end to leave. At its end the connection stays. An empty one is of a provider that is not
there."""


class Leave(Enum):
    """What the client does after it has sent its bytes."""

    WAIT = auto()  # reads the answer and keeps the connection
    DRAIN = auto()  # reads the answer, half-closes, and reads all that still comes
    FIN = auto()  # half-closes at once, and reads all that still comes
    RESET = auto()  # is gone


@dataclass(frozen=True, slots=True)
class Case:
    """dialect: what refusals must be told in, None where the request may not say. session: where
    it names one in its path. plan: None is an honest provider. ends: whether a provider that was
    only cut short or spoilt may have come to its own end. billed: in micro-USD, if `plan` is sent.
    said: the body that it sends, as far as it sends it, where that is known. all_came: and nothing
    of it can have been lost on its way, as a reset may lose it.
    """

    number: int
    raw: bytes
    leave: Leave = Leave.WAIT
    dialect: DialectName | None = None
    session: str | None = None
    plan: Plan | None = None
    ends: bool = True
    billed: int = 0
    said: bytes | None = None
    all_came: bool = True


Fuzzer = Callable[[Random, int], Case]
"""A case from a source of chance and its number."""


def session_of(number: int) -> str:
    """The session that a case is played in."""
    return f"fz-{number % SESSIONS}"


def marked(number: int) -> str:
    """The mark of a case, with a check: the mark may be spoilt too."""
    return f"{number}/{crc32(b'%d' % number)}"


def case_of(mark: bytes) -> int:
    """The number of the case; -1 where it cannot be told."""
    number = mark.partition(b"/")[0]
    known = number.isdigit() and marked(int(number)).encode() == mark
    return int(number) if known else -1


def head(number: int, method: str, target: str, lines: Iterable[str] = ()) -> bytes:
    """The head of a request that is well-formed, if the lines are."""
    first = f"{method} {target} HTTP/1.1", f"{MARK}: {marked(number)}", "host: h"
    credential = "authorization: Bearer fuzz", "anthropic-version: 2023-06-01"
    text = "\r\n".join((*first, *credential, *lines, "", ""))
    return text.encode("latin-1", "replace")


def post(number: int, target: str, body: bytes, *lines: str) -> bytes:
    """A whole request with its right length."""
    length = f"content-length: {len(body)}", "content-type: application/json"
    return head(number, "POST", target, (*length, *lines)) + body
