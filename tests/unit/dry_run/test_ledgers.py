"""Sessions as a ledger has them."""

import json
from dataclasses import replace
from pathlib import Path

from proxy.config import parse_policy
from proxy.core.events import SessionFinished, SessionOpened, StepReserved
from proxy.core.loops.policy import Loops, Rungs
from proxy.core.session import SessionKey
from proxy.dry_run.judging import judge_session
from proxy.dry_run.ledgers import recorded_in
from proxy.dry_run.runs import recorded
from proxy.dry_run.spending import Prices
from proxy.dry_run.trajectory import read_trajectory
from proxy.prices.book import PriceBook
from proxy.prices.table import load_table
from proxy.stores import Append
from proxy.stores.sqlite import SqliteStore
from tests.fakes import FakeClock
from tests.fakes_stores import NOW, SECRET


async def test_each_generation_that_made_a_call_is_a_session(tmp_path: Path) -> None:
    """An id that begins anew is counted from nought, so it is judged from nought."""
    path = tmp_path / "ledger.db"
    store = SqliteStore(path, SECRET)
    await store.open()
    twice, never = SessionKey("t", "twice"), SessionKey("t", "never")
    await store.append(
        Append(
            twice,
            (
                SessionOpened(NOW, agent="coder"),
                StepReserved(NOW, call_id="a", step=1),
                SessionFinished(NOW),
                SessionOpened(NOW + 9, generation=2),
                StepReserved(NOW + 9, call_id="b", step=1),
            ),
        )
    )
    await store.append(Append(never, (SessionOpened(NOW),)))
    await store.close()

    first, second = recorded_in(path)

    assert (first.name, first.group, first.agent, first.tenant) == ("twice", "coder", "coder", "t")
    assert (second.name, second.group, second.agent) == ("twice (generation 2)", "-", None)
    assert [len(one.events) for one in (first, second)] == [3, 2]
    assert first.is_timed
    assert first.success is None


async def test_a_loop_is_found_in_a_ledger_as_in_the_run_itself(tmp_path: Path) -> None:
    """The log has what was the same in digests: no content is needed, and any policy can judge."""
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    ask = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c", "content": "no such page, try another one"}
    line = {"messages": [{"role": "user", "content": "Go."}, *[ask, result] * 7, ask]}
    policy = replace(parse_policy("", "p.yaml", {}).policy, loops=Loops())
    prices = Prices(policy, PriceBook(load_table(), FakeClock()))
    run = recorded(read_trajectory(json.dumps(line).encode()), prices, Loops(), "r", "g")
    path = tmp_path / "ledger.db"
    store = SqliteStore(path, SECRET)
    await store.open()
    await store.append(Append(SessionKey("t", "s"), tuple(run.events)))
    await store.close()

    (found,) = recorded_in(path)

    assert judge_session(policy, found).reached == judge_session(policy, run).reached
    assert {one.rule for one in judge_session(policy, found).reached} == {
        *("loops.repeat", "loops.repeat_any_result")
    }
    stricter = replace(policy, loops=Loops(repeat=Rungs(None, None, None, 2)))
    assert [one.step for one in judge_session(stricter, found).reached] == [3, 6]
