"""The end of a WAL as a crash of the machine can leave it: cut at any byte, or followed by garbage.

What SQLite finds whole counts, and nothing behind it; so each session's log is a beginning of what
it was, its chain verifies, and accounts say what the logs say.
"""

import asyncio
import os
import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from shutil import copy, copytree, rmtree
from typing import Final

from proxy.core.session import fold
from proxy.stores.chain import Chain
from proxy.stores.sqlite import SqliteStore, key_path
from proxy.stores.verification import SessionLog, first_fault
from tests.crash.steps import ACCOUNT, LEDGER, appends_of

SESSIONS: Final = 12
_HEADER, _FRAME = 32, 24 + 2_048
LAST_FRAMES: Final = 4


def torn(folder: Path) -> Path:
    """A ledger whose process was killed when all had been acknowledged, its WAL not emptied."""
    ledger = folder / "whole"
    ledger.mkdir()
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(_fill(ledger))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    return ledger


async def _fill(folder: Path) -> None:
    store = SqliteStore(folder / LEDGER)
    await store.open()
    for number in range(SESSIONS):
        for append in appends_of(number):
            await store.append(append)
    os.kill(os.getpid(), signal.SIGKILL)


def tails_of(wal: bytes, most: int | None = None) -> Iterator[tuple[str, bytes, bool]]:
    """Each: what was done, the WAL after it, and whether all must be there still."""
    frames = (len(wal) - _HEADER) // _FRAME
    end = _HEADER + frames * _FRAME
    begin = end - min(frames, LAST_FRAMES) * _FRAME
    cuts: Sequence[int] = range(begin, end)
    if most is not None:
        draw = random.Random(1)
        borders = [begin + n * _FRAME + d for n in range(LAST_FRAMES) for d in (0, 1, 24)]
        cuts = sorted({*borders, *draw.sample(cuts, most)})
    for size in cuts:
        yield f"cut at byte {size} of {end}", wal[:size], False
    noise = random.Random(2).randbytes(3 * _FRAME)
    yield "garbage behind it", wal[:end] + noise, True
    yield "half a page of zeros behind it", wal[:end] + bytes(1_024), True
    yield "frames of zeros behind it", wal[:end] + bytes(2 * _FRAME), True
    yield "its last frame half written", wal[: end - 1_024] + bytes(1_024), False
    yield "its last frame garbage", wal[: end - _FRAME] + noise[:_FRAME], False
    yield "an older frame behind it", wal[:end] + wal[_HEADER : _HEADER + _FRAME], True
    yield "nothing", b"", False
    yield "only half a header", wal[:16], False


def faults_of(ledger: Path, what: str, wal: bytes, *, is_whole: bool) -> list[str]:
    """Of the ledger with this WAL."""
    where = ledger.with_name("torn")
    copytree(ledger, where, ignore=lambda *_: [f"{LEDGER}-shm"])
    (where / f"{LEDGER}-wal").write_bytes(wal)
    try:
        faults = asyncio.run(_look(where, is_whole))
    except Exception as error:  # whatever it is, it is a fault of this tail
        faults = [f"{type(error).__name__}: {error}"]
    rmtree(where)
    return [f"{what}: {fault}" for fault in faults]


async def _look(folder: Path, is_whole: bool) -> list[str]:
    path = folder / LEDGER
    chain = Chain(key_path(path).read_bytes())
    store = SqliteStore(path)
    await store.open()
    faults, spent, events = [], 0, 0
    for key in await store.list_keys(None, 1_000):
        rows = await store.read_chain(key)
        (row,) = [r for r in (await store.list_sessions(limit=1_000))[0] if r.key == key]
        log = SessionLog(key, rows, (row.seq, rows[-1].chain), {})
        if (fault := first_fault(chain, log)) is not None:
            faults.append(f"{key.session}: {fault.detail}")
        spent += fold(stored.event for stored in await store.read(key)).cost_micro_usd
        events += len(rows)
    balance = (await store.balances([ACCOUNT])).get(ACCOUNT)
    if (0 if balance is None else balance.spent_micro_usd) != spent:
        faults.append(f"the account has {balance}, the logs {spent}")
    if is_whole and events != sum(len(appends_of(number)) for number in range(SESSIONS)):
        faults.append(f"only {events} events are there")
    await store.append(appends_of(SESSIONS)[0])
    await store.close()
    return faults


def played(folder: Path, most: int | None = None) -> Iterator[tuple[str, list[str]]]:
    """Each tail, or so many cuts and all others, with its faults."""
    ledger = torn(folder)
    copy(ledger / f"{LEDGER}-wal", folder / "wal")
    for what, wal, is_whole in tails_of((folder / "wal").read_bytes(), most):
        yield what, faults_of(ledger, what, wal, is_whole=is_whole)
