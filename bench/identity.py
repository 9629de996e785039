"""What it costs to find a session: `python -m bench.identity`. Best of many, in µs."""

import timeit
from collections.abc import Callable

from proxy.core.identity import Identified
from proxy.core.paths import split_path
from proxy.core.request import Request
from proxy.core.usage import Answer, ToolCall
from proxy.identity import SessionIndex
from proxy.wire import Head
from tests.fakes import FakeClock
from tests.fakes_identity import FakeLinkStore, request_of, result, said, user

MESSAGES = 60
_TARGET = "/v1/chat/completions"
_HEAD = Head("POST", _TARGET, tuple((f"X-Stainless-{i}", "value") for i in range(14)))
_PARTS = split_path(_TARGET)


def best(work: Callable[[], object]) -> float:
    """Microseconds of one call."""
    return min(timeit.repeat(work, number=300, repeat=40)) / 300 * 1e6


def identified(index: SessionIndex, request: Request) -> Identified:
    """Runs `identify` without an event loop: it waits for nothing but the store, a dict here."""
    looking = index.identify("t", _HEAD, _PARTS, request)
    try:
        looking.send(None)
    except StopIteration as found:
        who: Identified = found.value
        return who
    raise AssertionError("a dict never waits")


def session_of(new_id: Callable[[int], str]) -> tuple[SessionIndex, Request]:
    """An index that knows one session, and the next request of it."""
    index = SessionIndex(FakeLinkStore(), 1_000_000, FakeClock())
    history = [user("the task, at some length " * 10)]
    while len(history) < MESSAGES:
        request = request_of(*history)
        who = identified(index, request)
        index.remember_request("t", who, request)
        call = ToolCall(new_id(len(history)), "look", f'{{"n": {len(history)}}}')
        text = f"step {len(history)}: words that an agent says before it calls a tool. " * 4
        index.remember_answer("t", who, request, Answer(text, (call,)))
        history += [said(text, call), result(call.call_id, "a result " * 50)]
    return index, request_of(*history)


def measure(name: str, new_id: Callable[[int], str]) -> None:
    index, request = session_of(new_id)
    stranger = SessionIndex(FakeLinkStore(), 1, FakeClock())
    who, answer = identified(index, request), Answer("done " * 50)

    def remember() -> None:
        index.remember_request("t", who, request)
        index.remember_answer("t", who, request, answer)

    found = best(lambda: identified(index, request))
    missed = best(lambda: identified(stranger, request))
    print(
        f"{len(request.messages)} messages, {name}: found by {who.source} {found:.1f}, "
        f"not known {missed:.1f}, remembered {best(remember):.1f}"
    )


if __name__ == "__main__":
    measure("drawn ids", lambda number: f"call_{number:04}aB3xK9pQ7zT1")
    measure("counted ids", lambda number: f"call_{number}")
