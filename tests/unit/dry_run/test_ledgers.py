"""Sessions as a ledger has them."""

from pathlib import Path

from proxy.core.events import SessionFinished, SessionOpened, StepReserved
from proxy.core.session import SessionKey
from proxy.dry_run.ledgers import recorded_in
from proxy.stores import Append
from proxy.stores.sqlite import SqliteStore
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
