"""A process that appends to a ledger until it is killed or done, and prints what was acknowledged.

python -m tests.integration.sqlite_appender PATH NAME COUNT MAXIMUM
"""

import asyncio
import sys
from pathlib import Path

from proxy.core.events import StepReserved, StepSettled
from proxy.core.session import SessionKey
from proxy.errors import AccountExceeded, SeqConflict
from proxy.stores import Append, Charge, Maximum
from proxy.stores.sqlite import SqliteStore

ACCOUNT = "global"
SHARED = SessionKey("tenant", "shared")
COST_MICRO_USD = 7
HOLD_MICRO_USD = 10
WORKERS = 4


async def _step(store: SqliteStore, name: str, worker: int, step: int, maximum: int) -> bool:
    """One step on the worker's own session; False when the money is spent."""
    key = SessionKey("tenant", f"{name}-{worker}")
    call = f"{worker}-{step}"
    hold = Charge(ACCOUNT, HOLD_MICRO_USD, maximum=Maximum(maximum))
    free = Charge(ACCOUNT, -HOLD_MICRO_USD, COST_MICRO_USD)
    at = 1_800_000_000.0 + step
    try:
        reserved = await store.append(
            Append(key, (StepReserved(at, call_id=call),), expected_seq=2 * step, charges=(hold,))
        )
    except AccountExceeded:
        return False
    print(worker, reserved.seq, flush=True)
    event = StepSettled(at, call_id=call, cost_micro_usd=COST_MICRO_USD)
    links = (call.encode(),)
    settled = await store.append(
        Append(key, (event,), charges=(free,), closes=(call,), links=links)
    )
    print(worker, settled.seq, flush=True)
    return True


async def _on_shared(store: SqliteStore, name: str, count: int) -> None:
    """`count` decisions on one session, each made again until it is the first on its seq."""
    seq = 0
    for n in range(count):
        event = StepReserved(1_800_000_000.0, call_id=f"{name}-{n}", step=1)
        while True:
            try:
                seq = (await store.append(Append(SHARED, (event,), expected_seq=seq))).seq
                break
            except SeqConflict as lost:
                seq = lost.actual_seq


async def _worker(store: SqliteStore, name: str, worker: int, count: int, maximum: int) -> None:
    for step in range(count):
        if not await _step(store, name, worker, step, maximum):
            return


async def main(path: str, name: str, count: int, maximum: int) -> None:
    store = SqliteStore(Path(path))
    await store.open()
    print("open", flush=True)
    async with asyncio.TaskGroup() as tasks:
        for worker in range(WORKERS):
            tasks.create_task(_worker(store, name, worker, count, maximum))
        tasks.create_task(_on_shared(store, name, min(count, 50)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
