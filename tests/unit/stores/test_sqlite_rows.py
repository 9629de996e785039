"""Law: however records are merged, the tables end as if each row had been written by itself."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.links import SESSIONS_PER_LINK
from proxy.stores import Balance, Counts, SessionHead
from proxy.stores.codec import encode_head
from proxy.stores.effects import Hold, Tip
from proxy.stores.sqlite_file import MIGRATIONS
from proxy.stores.sqlite_journal import Record
from proxy.stores.sqlite_rows import DECIDED, TOLD, Bulk, Changes, hold_of

NUMBERS = st.integers(1, 12)
SMALL = st.integers(-5, 5)
handoffs = st.sampled_from([(), ("h1",)])
heads = st.builds(
    SessionHead,
    state=st.sampled_from(["active", "killed"]),
    agent=st.sampled_from([None, "coder", ""]),
    steps=SMALL,
    waits=handoffs,
    stands=handoffs,
    owed=handoffs,
)
tips = st.builds(Tip, SMALL, st.binary(max_size=3), heads, st.binary(max_size=3))
balances = st.builds(Balance, SMALL, SMALL, st.builds(Counts, *[SMALL] * 5))
names = st.sampled_from([(), ("a",), ("a", "ü")])
holds = st.builds(Hold, st.just("me"), st.floats(0, 9), SMALL, names, SMALL, names)
calls = st.tuples(NUMBERS, st.sampled_from(["c1", "c2"]), st.none() | holds)
links = st.tuples(st.sampled_from(["t", "u"]), st.sampled_from([b"x", b"y", b"z"]), NUMBERS)


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Records as batches leave them: no event twice, and of accounts, holds and links anything."""
    records: list[Record] = []
    seqs = dict.fromkeys(range(1, 13), 0)
    for _ in range(draw(st.integers(0, 5))):
        record = Record(
            {},
            draw(st.dictionaries(st.sampled_from(["a", "b", "ü"]), balances, max_size=3)),
            [],
            draw(st.lists(calls, max_size=4)),
            draw(st.lists(links, max_size=12)),
            draw(st.floats(0, 9)),
            draw(st.lists(st.tuples(NUMBERS, st.just("t"), st.just(b"x")), max_size=2)),
        )
        for number in draw(st.lists(NUMBERS, max_size=6)):
            seqs[number] += 1
            payload, chain = draw(st.text(max_size=3)).encode(), draw(st.binary(max_size=3))
            packed = draw(st.none() | st.binary(max_size=2))
            record.events.append((number, seqs[number], payload, chain, packed))
        for number in draw(st.sets(NUMBERS, max_size=3)):
            record.sessions[number] = ("t", f"s{number}", draw(tips))
        records.append(record)
    return records


def _tables() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statements in MIGRATIONS:
        for statement in statements:
            connection.execute(statement)
    return connection


def _write_row_by_row(connection: sqlite3.Connection, record: Record) -> None:
    """As one would without a thought of speed."""
    run = connection.execute
    for number, (tenant, session, tip) in record.sessions.items():
        head = tip.head or SessionHead()
        shown = (encode_head(head), tip.token, head.state, head.agent, head.updated_at)
        queued = (1 if head.waits or head.stands else 0) + (2 if head.owed else 0)
        facet = (tenant, head.agent, head.state)
        found = run("SELECT id FROM facets WHERE (tenant, agent, state) IS (?, ?, ?)", facet)
        (facet_id,) = (
            found.fetchone()
            or run(
                "INSERT INTO facets (tenant, agent, state) VALUES (?, ?, ?) RETURNING id", facet
            ).fetchone()
        )
        row = (number, tenant, session, tip.seq, tip.chain, *shown, queued, facet_id)
        run(f"INSERT OR REPLACE INTO sessions VALUES ({', '.join('?' * 12)})", row)
    for number, seq, payload, chain, packed in record.events:
        event = (number, seq, payload.decode(), chain, packed)
        run("INSERT INTO events VALUES (?, ?, ?, ?, ?)", event)
    for account, balance in record.balances.items():
        counts = balance.counts
        money = (account, balance.spent_micro_usd, balance.held_micro_usd)
        counted = (counts.tokens, counts.held_tokens, counts.steps, counts.tool_calls, counts.calls)
        old = run("SELECT touched_at FROM accounts WHERE account = ?", (account,)).fetchone()
        at = max(record.at, old[0] if old else 0.0)
        balance_row = (*money, *counted, at)
        run(f"INSERT OR REPLACE INTO accounts VALUES ({', '.join('?' * 9)})", balance_row)
    for number, call_id, hold in record.holds:
        run("DELETE FROM holds WHERE session_id = ? AND call_id = ?", (number, call_id))
        if hold is not None:
            texts = [str(list(names)).replace("'", '"') for names in (hold.accounts, hold.trees)]
            held = (hold.owner, hold.deadline, hold.cost_micro_usd, texts[0], hold.tokens, texts[1])
            run("INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (number, call_id, *held))
    for loose in record.loose:
        run("INSERT OR REPLACE INTO loose_links VALUES (?, ?, ?)", loose)
    for tenant, digest, number in record.links:
        _link(connection, tenant, digest, number)


def _link(connection: sqlite3.Connection, tenant: str, digest: bytes, number: int) -> None:
    where = "FROM links WHERE tenant = ? AND digest = ?"
    line = connection.execute(f"SELECT session_id {where} ORDER BY ordinal", (tenant, digest))
    others = [other for (other,) in line if other != number]
    connection.execute(f"DELETE {where}", (tenant, digest))
    for place, other in enumerate([*others, number][-SESSIONS_PER_LINK:]):
        connection.execute("INSERT INTO links VALUES (?, ?, ?, ?)", (tenant, digest, other, place))


def _content(connection: sqlite3.Connection) -> list[Sequence[object]]:
    """Of links their order; of holds and facets what they mean."""
    sessions = """id, sessions.tenant, session, seq, chain, head, token, sessions.state,
        sessions.agent, updated_at, queued, facets.tenant, facets.agent, facets.state
        FROM sessions LEFT JOIN (SELECT id AS facet, tenant, agent, state FROM facets) AS facets
        USING (facet)"""
    selects = (sessions, "* FROM events", "* FROM accounts", "* FROM loose_links")
    rows: list[Sequence[object]] = [
        connection.execute(f"SELECT {what} ORDER BY 1, 2").fetchall() for what in selects
    ]
    held = connection.execute("SELECT * FROM holds ORDER BY 1, 2").fetchall()
    rows.append([(row[:2], hold_of(row[2:])) for row in held])
    line = "SELECT tenant, digest, session_id FROM links ORDER BY tenant, digest, ordinal"
    rows.append(connection.execute(line).fetchall())
    return rows


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(), st.lists(st.integers(0, 8), max_size=3))
def test_records_together_are_records_one_by_one(records: list[Record], cuts: list[int]) -> None:
    """Written in any groups, whichever the manner."""
    with closing(_tables()) as naive, closing(_tables()) as merged:
        for record in records:
            _write_row_by_row(naive, record)
        bounds = sorted({0, *(min(cut, len(records)) for cut in cuts), len(records)})
        for start, end in pairwise(bounds):
            changes = Changes(records[start:end])
            changes.write(merged, (DECIDED, TOLD)[start % 2])

        assert _content(merged) == _content(naive)


@settings(deadline=None)
@given(st.integers(0, 700))
def test_a_bulk_statement_takes_any_number_of_rows(count: int) -> None:
    """Each once, and none that nobody gave."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a, b)")
        rows = [(n, f"{n}") for n in range(count)]
        Bulk(2, "INSERT INTO t SELECT a, b FROM r WHERE a NOTNULL").run(connection, rows)

        assert connection.execute("SELECT * FROM t ORDER BY a").fetchall() == rows
