"""Finds the thread that a request goes on with, and which of its pending calls came back."""

from collections.abc import Collection, Iterator, Sequence

from proxy.core.loops.normal import NO_DIGEST
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import ASKED, Asked, Flag, Returned, asked_in
from proxy.core.loops.thread import Thread, Threads, is_of
from proxy.core.loops.turns import Result, Tail, asked, id_digest

Found = tuple[str, Thread, bool]
"""The thread, by its key; and whether what the request brings is new to it."""
Candidates = Sequence[tuple[str, Thread]]
"""Threads by their keys, the one used last at the beginning."""


def thread_of(threads: Threads, tail: Tail, loops: Loops) -> Found | None:
    """None for a history that begins, or that none of these has in common with it."""
    ours = [(key, threads[key]) for key in reversed(list(threads)) if is_of(key, tail.thread)]
    if not ours:
        return None
    if tail.results:
        return _by_results(ours, tail, loops)
    if tail.said or tail.continues:
        return _by_text(ours, tail)
    return _seen(ours, tail)  # a history that begins: the same has begun and got no answer yet


def _by_results(ours: Candidates, tail: Tail, loops: Loops) -> Found | None:
    wanted = {result.call_id for result in tail.results}
    found: Candidates = [one for one in ours if _waits_for(one[1], wanted)]
    if found and len(ours) > 1:
        found = _that_asked(found, tail, loops)
    if found:
        return (*found[0], True)
    return _seen(ours, tail) or _rewritten(ours, tail, loops)


def _waits_for(thread: Thread, wanted: Collection[bytes]) -> bool:
    """Digests are looked for as bytes: to take the pending calls apart takes ten times as long."""
    pending = thread.pending
    return bool(pending) and any(one in pending for one in wanted)


def _that_asked(found: Candidates, tail: Tail, loops: Loops) -> Candidates:
    """Those whose pending calls are the ones that the request shows. Ids like `call_0` are given
    to several."""
    if not tail.calls:
        return found
    calls = {asked(call, loops).call for call in tail.calls}
    return [one for one in found if _waits_for(one[1], calls)]


def _seen(ours: Candidates, tail: Tail) -> Found | None:
    """The thread whose newest round this very tail has made: it is sent again."""
    key = tail.key
    for name, thread in ours:
        if thread.seen == key:
            return (name, thread, False)
    return None


def _rewritten(ours: Candidates, tail: Tail, loops: Loops) -> Found | None:
    """Where a client gives ids of its own: by the calls that it shows; where it shows none, by
    their number, if one thread alone waits for as many."""
    waiting = [one for one in ours if one[1].pending and not _is_text(one[1].pending)]
    if tail.calls:
        found = _that_asked(waiting, tail, loops)
        return (*found[0], True) if found else None
    same = [one for one in waiting if len(one[1].pending) == ASKED * len(tail.results)]
    return (*same[0], True) if len(same) == 1 and tail.continues else None


def _by_text(ours: Candidates, tail: Tail) -> Found | None:
    texts = [one for one in ours if _is_text(one[1].pending)]
    if not tail.said:
        return (*texts[0], True) if len(texts) == 1 else None
    for key, thread in texts:
        if next(asked_in(thread.pending)).call == tail.said:
            return (key, thread, True)
    return _seen(ours, tail)


def _is_text(pending: bytes) -> bool:
    return len(pending) == ASKED and bool(pending[-1] & Flag.TEXT)


def came_back(thread: Thread, tail: Tail, loops: Loops) -> list[Returned]:
    """The pending calls that the request has results for, each once."""
    pending = list(asked_in(thread.pending))
    came = [_returned(one, result) for one, result in _by_id(pending, tail.results)]
    if came or not tail.results:
        return came
    if tail.calls:
        shown = [_shown(one.call_id, tail, loops) for one in tail.results]
        calls = {one.call: one for one in pending}
        return [
            _returned(calls[call], result)
            for call, result in zip(shown, tail.results, strict=True)
            if call in calls
        ]
    return [_returned(one, result) for one, result in zip(pending, tail.results, strict=False)]


def _by_id(pending: list[Asked], results: tuple[Result, ...]) -> Iterator[tuple[Asked, Result]]:
    left = list(pending)
    for result in results:
        for one in left:
            if one.call_id == result.call_id:
                left.remove(one)
                yield one, result
                break


def _shown(call_id: bytes, tail: Tail, loops: Loops) -> bytes:
    """What was called, by the id that the request itself gives it."""
    for call in tail.calls:
        if id_digest(call.call_id) == call_id:
            return asked(call, loops).call
    return NO_DIGEST


def _returned(one: Asked, result: Result) -> Returned:
    return Returned(one.call, result.result, one.tool, one.flags | result.flags)
