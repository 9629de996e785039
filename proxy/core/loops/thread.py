"""One history inside a session (the agent's, a sub-agent's, a title call's), and how it goes on.

Theory of operation. What is new is not read from the history that a client sends, which may be
trimmed, compacted or rewritten. It is known from what was answered: the calls of an answer are
*pending* in its thread; the request that brings their results makes a *round* of them, once, and
they are pending no more. A request that is sent again brings nothing that is pending; by the ids
of its results it is known as that of the newest round. An answer belongs to the turn that its
request was. Where that has been answered already (the same was asked twice) it begins a thread of
its own with the same rounds; where the thread has gone on meanwhile, with none: histories that part
are never counted together.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from proxy.core.loops.policy import REMEMBERED
from proxy.core.loops.rounds import ROUND, is_of_calls

THREADS: Final = 16
"""Of one session; the one that was used least of late goes."""
_USERS: Final = 64
_PARTED: Final = "~"

Threads = Mapping[str, "Thread"]
"""By name, the one used last at the end."""


class Thread(msgspec.Struct, frozen=True, gc=False):
    """The state of one. All bytes are as `core.loops.rounds` writes them.

    rounds: of the newest REMEMBERED turns, the newest last. apart: what stands after the newest
    one, where several calls came back together. pending: calls of the newest answer
    that have not come back, or its text. seen: the key of the tail that brought the newest round.
    users: digests of what the user has said, 8 bytes each. turns: requests that brought something.
    cycles: turns in which tools were called and came back, since the user said something new.
    """

    rounds: bytes = b""
    pending: bytes = b""
    seen: bytes = b""
    users: bytes = b""
    turns: int = 0
    cycles: int = 0
    apart: bytes = b""


class Noted(msgspec.Struct, frozen=True, gc=False):
    """What a request adds to its thread: facts, whatever the policy says.

    thread: its name. round: what came back, as `rounds.round_of` writes it, b"" for nothing new.
    key: of the tail. users: what the user says for the first time: it ends all that was counted.
    """

    thread: str = ""
    round: bytes = b""
    key: bytes = b""
    users: bytes = b""


NOTHING: Final = Noted()
NO_THREAD: Final = Thread()


def is_of(key: str, name: str) -> bool:
    """Whether the thread with this key is one of those that a client calls by this name."""
    return key == name or key.startswith(name + _PARTED)


def fresh_key(threads: Threads, name: str, number: int) -> str:
    """A key that no thread has, nor had: answers may be under way in one that was forgotten.
    number: one that no other request of the session has."""
    is_free = name not in threads and len(threads) < THREADS
    return name if is_free else f"{name}{_PARTED}{number}"


def after_request(threads: Threads, noted: Noted) -> Threads:
    """The threads of a session after a request that was let through."""
    thread = threads.get(noted.thread, NO_THREAD)
    return _with(threads, noted.thread, thread_after(thread, noted))


def thread_after(thread: Thread, noted: Noted) -> Thread:
    if noted.users:
        users = (thread.users + noted.users)[-8 * _USERS :]
        return Thread(b"", b"", noted.key, users, thread.turns + 1)
    if noted.round:
        newest, apart = noted.round[:ROUND], noted.round[ROUND:]
        rounds = (thread.rounds + newest)[-ROUND * REMEMBERED :]
        turns, cycles = thread.turns + 1, thread.cycles + is_of_calls(newest)
        return Thread(rounds, b"", noted.key, thread.users, turns, cycles, apart)
    if noted.key == thread.seen:
        return thread
    return replace(thread, seen=noted.key, turns=thread.turns + 1)


def after_answer(threads: Threads, key: str, turn: int, asked: bytes, number: int) -> Threads:
    """The threads of a session after an answer in one of them.

    turn: `turns` of the thread when its request was let through. asked: by `turns.asked_by`.
    number: as for `fresh_key`.
    """
    thread = threads.get(key, NO_THREAD)
    parted = thread.turns != turn
    if parted or thread.pending:
        key = fresh_key(threads, key.partition(_PARTED)[0], number)
    if parted:
        thread = Thread(users=thread.users)
    return _with(threads, key, replace(thread, pending=asked))


def begun_anew(threads: Threads) -> Threads:
    """After a human said so: nothing has been counted."""
    return {
        key: replace(thread, rounds=b"", apart=b"", cycles=0)
        if thread.rounds or thread.cycles
        else thread
        for key, thread in threads.items()
    }


def _with(threads: Threads, key: str, thread: Thread) -> Threads:
    if len(threads) <= 1 and (not threads or key in threads):
        return {key: thread}
    after = {name: one for name, one in threads.items() if name != key}
    if len(after) >= THREADS:
        del after[next(iter(after))]
    after[key] = thread
    return after
