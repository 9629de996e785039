"""What a request brings is found in its thread, and how far a loop in it has gone."""

from typing import Final

import msgspec

from proxy.core.loops.detectors.base import Count
from proxy.core.loops.detectors.registry import DETECTORS
from proxy.core.loops.finding import Finding, Rung, strength
from proxy.core.loops.matching import came_back, thread_of
from proxy.core.loops.naming import names_of
from proxy.core.loops.policy import Loops
from proxy.core.loops.rounds import ROUND, asked_in, round_of, text_round
from proxy.core.loops.thread import NOTHING, Noted, Thread, Threads, fresh_key, thread_after
from proxy.core.loops.turns import Tail

RESTED_SECONDS: Final = 30.0
"""Between an answer and the same words of the user: no loop waits for so long."""


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """noted: what the log is to say of the request. finding: the loop that it goes on with, None
    for most. first: whether the loop comes to its rung with this request."""

    noted: Noted = NOTHING
    finding: Finding | None = None
    first: bool = False


def judge(
    loops: Loops, threads: Threads, tail: Tail, number: int, *, rested: bool = False
) -> Verdict:
    """The verdict on a request. Of one that is sent again it is the same, but nothing is noted.

    number: one that no other request of the session has. rested: the session was quiet for a while
    (`RESTED_SECONDS`): what the user says then is new, though it be the same words. An agent that a
    clock wakes is told and says the same each time; one that is always told to go on is not left
    alone for that long. Beside results they are a harness's, and the tool took its time.
    """
    found = thread_of(threads, tail, loops)
    if found is None:
        key = fresh_key(threads, tail.thread, number)
        return Verdict(Noted(key, b"", tail.key, tail.users))
    key, thread, is_new = found
    new_users = _unknown(tail.users, thread.users)
    if rested and is_new and not new_users and not tail.results:
        new_users = tail.users
    if new_users:
        return Verdict(Noted(key, b"", tail.key, new_users))
    noted = Noted(key, b"", tail.key)
    if is_new:
        noted = Noted(key, _round(thread, tail, loops), tail.key)
        thread = thread_after(thread, noted)
    if len(thread.rounds) < ROUND:
        return Verdict(noted)
    return _looked(loops, thread, tail, noted)


def _round(thread: Thread, tail: Tail, loops: Loops) -> bytes:
    """What a request brings to its thread; nothing where its results are of calls that nobody asked
    for. A text that the provider keeps is not sent again: it is what the thread waits with."""
    came = came_back(thread, tail, loops)
    if came:
        return round_of(came, thread.apart)
    if tail.results:
        return b""
    said = tail.said or next(asked_in(thread.pending)).call
    return text_round(said)


def _unknown(users: bytes, known: bytes) -> bytes:
    said = [users[at : at + 8] for at in range(0, len(users), 8)]
    before = {known[at : at + 8] for at in range(0, len(known), 8)} if said else set()
    return b"".join([one for one in said if one not in before])


def _looked(loops: Loops, thread: Thread, tail: Tail, noted: Noted) -> Verdict:
    """What the detectors say of a thread, the strongest first."""
    strongest: tuple[int, Rung, str, Count] | None = None
    for detector in DETECTORS:
        count = detector.look(loops, thread.rounds)
        if count is None or count.times < count.rungs.least:
            continue
        rung = _rung(count)
        if rung is not None and (strongest is None or strength(rung) > strongest[0]):
            strongest = (strength(rung), rung, detector.name, count)
    if strongest is None:
        return Verdict(noted)
    _, rung, name, count = strongest
    finding = Finding(
        detector=name,
        rung="observe" if loops.observe else rung,
        count=count.times,
        stop=count.rungs.stop,
        tools=names_of(thread.rounds, count.period, tail),
        period=count.period,
    )
    first = bool(noted.round) and count.is_new and count.times in _thresholds(count)
    return Verdict(noted, finding, first)


def _rung(count: Count) -> Rung | None:
    """Each rung acts once per count: between two of them the warning alone stays."""
    rungs, times = count.rungs, count.times
    reached = rungs.at(times)
    if reached in _ACTING and not (count.is_new and times in (rungs.steer, rungs.final_answer)):
        return "warn" if rungs.warn is not None else None
    return reached


_ACTING: Final = ("steer", "final_answer")


def _thresholds(count: Count) -> tuple[int | None, ...]:
    rungs = count.rungs
    return (rungs.warn, rungs.steer, rungs.final_answer, rungs.stop)
