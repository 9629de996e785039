"""Real processes on one ledger: killed without warning, and writing at the same time."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from pathlib import Path

import pytest

from proxy.core.events import StepReserved, StepSettled
from proxy.core.session import SessionKey
from proxy.stores import Balance
from proxy.stores.chain import first_altered
from proxy.stores.sqlite import SqliteStore
from tests.integration.sqlite_appender import (
    ACCOUNT,
    COST_MICRO_USD,
    HOLD_MICRO_USD,
    SHARED,
    WORKERS,
)

pytestmark = pytest.mark.process

UNBOUNDED = 10**12


async def _start(path: Path, name: str, count: int, maximum: int) -> Process:
    module = "tests.integration.sqlite_appender"
    arguments = (str(path), name, str(count), str(maximum))
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=PIPE, cwd=Path(__file__).parents[2]
    )


async def _lines(process: Process) -> list[list[str]]:
    """All that a process says until its end."""
    assert process.stdout is not None
    return [line.decode().split() async for line in process.stdout if line.endswith(b"\n")]


async def _lines_until_killed(process: Process, after: int) -> list[list[str]]:
    assert process.stdout is not None
    first = [(await process.stdout.readline()).decode().split() for _ in range(after)]
    process.kill()
    return first + await _lines(process)


async def _audit(path: Path) -> dict[SessionKey, int]:
    """Every chain verifies and the account equals the sum of the events; the last seq of each."""
    store = SqliteStore(path)
    await store.open()
    secret = path.with_name(f"{path.name}.key").read_bytes()
    sessions, _ = await store.list_sessions(limit=1000)
    seqs, spent, held = {}, 0, 0
    for row in sessions:
        chained = await store.read_chain(row.key)
        assert first_altered(secret, row.key, chained, (row.seq, chained[-1].chain)) is None
        seqs[row.key] = row.seq
        if row.key == SHARED:
            continue
        events = [stored.event for stored in await store.read(row.key)]
        settled = sum(isinstance(event, StepSettled) for event in events)
        spent += settled * COST_MICRO_USD
        held += (sum(isinstance(e, StepReserved) for e in events) - settled) * HOLD_MICRO_USD
    assert await store.balances([ACCOUNT]) == {ACCOUNT: Balance(spent, held)}
    own_holds = [hold for hold in await store.open_holds() if hold.key != SHARED]
    assert len(own_holds) * HOLD_MICRO_USD == held
    await store.close()
    return seqs


@pytest.mark.timeout(60)
async def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path) -> None:
    """The promise of SPEC section 14, in the middle of whatever the process was doing."""
    path = tmp_path / "ledger.db"
    for turn, after in enumerate((2, 30, 133, 400, 801)):
        process = await _start(path, f"turn{turn}", 100_000, UNBOUNDED)
        lines = await _lines_until_killed(process, after)

        assert await process.wait() == -9
        acknowledged = {worker: int(seq) for worker, seq in (li for li in lines if len(li) == 2)}
        assert len(lines) >= after
        seqs = await _audit(path)
        for worker, seq in acknowledged.items():
            assert seqs[SessionKey("tenant", f"turn{turn}-{worker}")] >= seq


@pytest.mark.timeout(60)
async def test_processes_on_one_ledger_lose_no_update(tmp_path: Path) -> None:
    """`--workers` share one truth: every decision on the shared session stands on its own seq."""
    path = tmp_path / "ledger.db"
    processes = [await _start(path, name, 40, UNBOUNDED) for name in ("one", "two", "three")]
    said = await asyncio.gather(*(_lines(process) for process in processes))

    assert [await process.wait() for process in processes] == [0, 0, 0]
    assert [len(lines) for lines in said] == [1 + 2 * 40 * WORKERS] * 3
    seqs = await _audit(path)
    assert seqs.pop(SHARED) == 3 * 40
    assert Counter(seqs.values()) == {80: 3 * WORKERS}


@pytest.mark.timeout(60)
async def test_processes_on_one_ledger_never_pass_a_maximum(tmp_path: Path) -> None:
    """Together, whichever of them asks: the last reservation that fits is the last."""
    path = tmp_path / "ledger.db"
    maximum = 1000
    processes = [await _start(path, name, 200, maximum) for name in ("one", "two")]
    said = await asyncio.gather(*(_lines(process) for process in processes))
    steps = (sum(len(lines) for lines in said) - len(processes)) // 2

    assert [await process.wait() for process in processes] == [0, 0]
    await _audit(path)
    assert steps * COST_MICRO_USD <= maximum < steps * COST_MICRO_USD + 8 * HOLD_MICRO_USD
