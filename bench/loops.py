"""What the detection of loops costs a request: `python -m bench.loops`.

One session of so many turns, healthy: an edit, a test that fails alike, an edit. Measured is all
that is done for one more turn: reading the request's tail, finding its thread, every detector, the
state after it, and what the answer asks for; without parsing, which is done anyway. Best of the
rounds, in µs, for tool results of so many bytes.
"""

import argparse
import gc
import json
import sys
from time import perf_counter

from proxy.core.loops.judge import judge
from proxy.core.loops.policy import Loops
from proxy.core.loops.thread import Threads, after_answer, after_request
from proxy.core.loops.turns import asked_by, tail_of
from proxy.core.request import Message, Request
from proxy.core.usage import Answer, ToolCall

_LOOPS = Loops()
_WORDS = "def test_rows(db): assert db.rows == 42  # line 17, see src/rows.py\n"


def _turn(number: int, size: int) -> tuple[Answer, list[Message]]:
    """An answer, and what the client appends for it."""
    edits = number % 2 == 0
    name, arguments = ("edit", json.dumps({"line": number})) if edits else ("test", "{}")
    call = ToolCall(f"call_{number:024x}", name, arguments)
    text = (f"edit {number}\n" if edits else "1 failed\n") + _WORDS * (size // len(_WORDS))
    result = Message("tool", text[: max(size, 12)], b"", (), call.call_id)
    return Answer("", (call,)), [Message("assistant", "", b"", (call,)), result]


def _request(messages: list[Message]) -> Request:
    return Request("chat", "m", False, tuple(messages), None, 1, 0, offered_tools=("edit", "test"))


def _one_more(request: Request, threads: Threads, answer: Answer, number: int) -> Threads:
    """All that is done for one turn."""
    verdict = judge(_LOOPS, threads, tail_of(request), number)
    assert verdict.finding is None
    after = after_request(threads, verdict.noted)
    thread = verdict.noted.thread
    return after_answer(after, thread, after[thread].turns, asked_by(answer, _LOOPS), number)


def measure(turns: int, size: int, rounds: int) -> float:
    """µs for the turn after so many."""
    messages = [Message("user", "Make the tests pass.", b"")]
    threads: Threads = {}
    answer, said = _turn(0, size)
    for number in range(turns):
        threads = _one_more(_request(messages), threads, answer, number)
        messages += said
        answer, said = _turn(number + 1, size)
    request, best = _request(messages), float("inf")
    gc.collect()
    gc.disable()
    for _ in range(rounds):
        began = perf_counter()
        _one_more(request, threads, answer, turns)
        best = min(best, perf_counter() - began)
    gc.enable()
    return best * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", nargs="+", type=int, default=[10, 100, 1_000])
    parser.add_argument("--bytes", nargs="+", type=int, default=[100, 1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=20_000)
    arguments = parser.parse_args()
    for size in arguments.bytes:
        cells = [f"{measure(n, size, arguments.rounds):6.1f}" for n in arguments.turns]
        heads = " / ".join(map(str, arguments.turns))
        print(f"{size:6} bytes a result: {' / '.join(cells)} µs after {heads} turns", flush=True)


if __name__ == "__main__":
    sys.exit(main())
