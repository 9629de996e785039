"""Many calls at once on one budget, some of whose clients leave: never more billed than allowed."""

import asyncio
from pathlib import Path

import pytest

from proxy.simulator import Price, Script, Turn
from tests.integration.kit import DIALECTS, MODEL, Sidecar, sidecar

BUDGET_MICRO_USD = 20_000
POLICY = (
    "limits: {cost_usd: 0.02, parallel: null, steps: null}\naccounting: {min_output_tokens: 50}"
)
SHARED = (
    "limits: {cost_usd: null, parallel: null, steps: null}\n"
    "budgets: [{scope: tenant, cost_usd: 0.02, window: 1d}]\n"
    "accounting: {min_output_tokens: 50}"
)


async def storm(on: Sidecar, *, sessions: int) -> list[int]:
    """90 calls at once, of every dialect, streamed and not; a third of the clients leave early."""

    async def one(number: int) -> int:
        call = on.call(
            DIALECTS[number % 3],
            session=f"s{number % sessions}",
            stream=number % 2 == 0,
            bound=200 + number,
        )
        if number % 3 != 1:
            return (await call).status
        try:
            async with asyncio.timeout(0.05 + number / 1000):
                return (await call).status
        except TimeoutError:
            return 0

    return await asyncio.gather(*(one(n) for n in range(90)))


async def idle(on: Sidecar) -> None:
    """Every call has been settled."""
    while on.app.ledger.running:
        await asyncio.wait([asyncio.ensure_future(on.app.ledger.drained())], timeout=0.01)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("policy", "sessions"), [(POLICY, 1), (SHARED, 10)], ids=["one session", "a tenant's window"]
)
async def test_a_budget_is_never_passed(tmp_path: Path, policy: str, sessions: int) -> None:
    """Peers check after the fact: 30 calls at once against a cap for a few, all let through."""
    script = Script((Turn(text_tokens=150, chunk_gap_seconds=0.001),))
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, policy, script=script, store=store) as on:
        statuses = await storm(on, sessions=sessions)
        await idle(on)

        billed = sum(e.input_tokens + 2 * e.output_tokens for e in on.sim.journal)
        assert 0 < billed <= BUDGET_MICRO_USD
        assert statuses.count(200) >= 10
        assert set(statuses) <= {0, 200, 422}
        assert await on.app.store.open_holds() == []
        rows, _ = await on.app.store.list_sessions(limit=100)
        booked = sum(row.head.cost_micro_usd for row in rows)
        assert billed <= booked <= BUDGET_MICRO_USD
        assert all(row.head.held_micro_usd == 0 for row in rows)


@pytest.mark.timeout(30)
async def test_the_defect_of_the_field_is_absent(tmp_path: Path) -> None:
    """30 concurrent calls against $0.05, each of which may cost $0.01."""
    policy = "limits: {cost_usd: 0.05, parallel: null}\naccounting: {min_output_tokens: 4000}"
    script = Script((Turn(text_tokens=4500),), prices={MODEL: Price()})
    async with sidecar(tmp_path, policy, script=script) as on:
        answers = await asyncio.gather(*(on.call(bound=4800) for _ in range(30)))

        served = [a for a in answers if a.status == 200]
        billed = sum(e.input_tokens + 2 * e.output_tokens for e in on.sim.journal)
        assert len(served) == len(on.sim.journal) == 5
        assert billed <= 50_000
