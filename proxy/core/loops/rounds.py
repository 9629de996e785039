"""The turns of a thread as bytes: ten thousand sessions are kept in memory, each with its last 128.

A round is 24 bytes: what was called (8; a set, so in whatever order), what came back (8), which
tool (4; 0 where several), flags (1), and 3 to spare. A call that was asked for and has not come
back is 21: its id (8), what was called (8), which tool (4), flags (1). All but flags are digests.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from proxy.core.loops.normal import DIGEST_BYTES, NO_DIGEST, NO_TOOL, digest

ROUND: Final = 24
CALLS_AND_RESULTS: Final = 16
_TOOL_END: Final = 20
ASKED: Final = 21
_APART: Final = 16
"""Calls of a round that are known one by one; more are known together alone."""


class Flag:
    """What a round is, as far as it matters to detectors. Plain bits: an IntFlag takes 1 µs to ask.

    EMPTY, ERROR: all results of the round. BRIEF: none says more than a nod. POLLING: all calls are
    of tools that are asked again rightly. TEXT: nothing was called. WITHIN: all calls were also
    made in the round before, beside others; WITHIN_SAME: and came to the same there.
    """

    NONE: Final = 0
    EMPTY: Final = 1
    ERROR: Final = 2
    POLLING: Final = 4
    TEXT: Final = 8
    BRIEF: Final = 16
    WITHIN: Final = 32
    WITHIN_SAME: Final = 64


class Asked(NamedTuple):
    """A call that an answer asked for. Of an answer of text alone: `call` is over what it says."""

    call_id: bytes
    call: bytes
    tool: bytes
    flags: int


class Returned(NamedTuple):
    """A call that came back."""

    call: bytes
    result: bytes
    tool: bytes
    flags: int


def asked_bytes(calls: Iterable[Asked]) -> bytes:
    return b"".join([one.call_id + one.call + one.tool + bytes((one.flags,)) for one in calls])


def asked_in(pending: bytes) -> Iterator[Asked]:
    for at in range(0, len(pending) - ASKED + 1, ASKED):
        yield Asked(
            pending[at : at + 8],
            pending[at + 8 : at + 16],
            pending[at + 16 : at + 20],
            pending[at + 20],
        )


def round_of(came: Iterable[Returned], before: bytes = b"") -> bytes:
    """One round of all that came back together, and each of them where they are several.

    before: the same of the round before, where that had several."""
    came = list(came)
    within = _within({one.call + one.result for one in came}, before) if before else Flag.NONE
    if len(came) == 1:
        call, result, tool, flags = came[0]
        return _round(call, result, tool, flags | within)
    tools = {one.tool for one in came}
    together = came[0].flags
    for one in came:
        together &= one.flags
    return _round(
        _of_all({one.call for one in came}),
        _of_all({one.result for one in came}),
        tools.pop() if len(tools) == 1 else NO_TOOL,
        together | within,
    ) + b"".join([one.call + one.result for one in came[:_APART]])


def _within(came: set[bytes], before: bytes) -> int:
    """Whether a round is a part of the one before it."""
    others = {before[at : at + 16] for at in range(0, len(before), 16)}
    if came < others:
        return Flag.WITHIN | Flag.WITHIN_SAME
    calls = {one[:DIGEST_BYTES] for one in came}
    return Flag.WITHIN if calls < {one[:DIGEST_BYTES] for one in others} else Flag.NONE


def text_round(said: bytes) -> bytes:
    return _round(said, NO_DIGEST, NO_TOOL, Flag.TEXT)


def _round(calls: bytes, results: bytes, tool: bytes, flags: int) -> bytes:
    return calls + results + tool + bytes((flags, 0, 0, 0))


def _of_all(digests: set[bytes]) -> bytes:
    return digests.pop() if len(digests) == 1 else digest(b"".join(sorted(digests)))


def is_of_calls(turn: bytes) -> bool:
    """Whether this round called something."""
    return len(turn) >= ROUND and not turn[_TOOL_END] & Flag.TEXT


def flags_of(rounds: bytes, back: int = 1) -> int:
    """The flags of the round so many from the end; 0 where there is none."""
    at = len(rounds) - back * ROUND
    return rounds[at + _TOOL_END] if at >= 0 else 0


def any_flag(rounds: bytes, flag: int, most: int) -> bool:
    """Whether any of so many of the newest rounds has this flag."""
    start = max(len(rounds) - most * ROUND, 0) + _TOOL_END
    every = int.from_bytes(rounds[start::ROUND], "big")
    return bool(every & int.from_bytes(bytes((flag,)) * most, "big"))


def calls_and_results(rounds: bytes, back: int = 1) -> bytes:
    """What was called and what came back, likewise; b"" where there is none."""
    at = len(rounds) - back * ROUND
    return rounds[at : at + CALLS_AND_RESULTS] if at >= 0 else b""


def calls_of(rounds: bytes, back: int = 1) -> bytes:
    at = len(rounds) - back * ROUND
    return rounds[at : at + DIGEST_BYTES] if at >= 0 else b""


def in_a_row(rounds: bytes, part: Callable[[bytes, int], bytes]) -> int:
    """How many of the newest rounds are alike in this part of them: never more than there are."""
    newest, most, times = part(rounds, 1), len(rounds) // ROUND, 1
    while times < most and part(rounds, times + 1) == newest:
        times += 1
    return times


def results_and_tool(rounds: bytes, back: int = 1) -> bytes:
    at = len(rounds) - back * ROUND
    return rounds[at + DIGEST_BYTES : at + _TOOL_END] if at >= 0 else b""


def tool_of(rounds: bytes, back: int = 1) -> bytes:
    at = len(rounds) - back * ROUND
    return rounds[at + CALLS_AND_RESULTS : at + _TOOL_END] if at >= 0 else b""
