"""holdfast verify, on ledgers that somebody has reached into."""

import argparse
import asyncio
import json
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from proxy.cli import verify
from proxy.core.events import StepReserved, StepSettled
from proxy.core.recording import digest_of
from proxy.core.session import SessionKey
from proxy.stores import Append, Content
from proxy.stores.sqlite import SqliteStore, key_path
from tests.fakes_stores import KEY, NOW, OTHER, SECRET, opened, reserved, settled

SWAP = """UPDATE events SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3);
    UPDATE events SET seq = -seq WHERE seq < 0"""
INSERT = """UPDATE events SET seq = -seq - 1 WHERE session_id = 1 AND seq > 2;
    UPDATE events SET seq = -seq WHERE seq < 0;
    INSERT INTO events SELECT session_id, 3, payload, chain, NULL FROM events
        WHERE session_id = 1 AND seq = 2"""
CROSS = """UPDATE contents SET name = 'x' || name;
    UPDATE contents SET name = CASE name WHEN 'xc1.a' THEN 'c1.q' ELSE 'c1.a' END"""
Told = Callable[..., tuple[int, str]]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sessions of four and one events, and what one call sent and was answered."""
    monkeypatch.delenv("HOLDFAST_CHAIN_KEY", raising=False)
    path = tmp_path / "ledger.db"
    key_path(path).write_bytes(SECRET)
    key_path(path).chmod(0o600)
    _run(path, _fill)
    return path


async def _fill(store: SqliteStore) -> None:
    sent = StepReserved(NOW, call_id="c1", content=digest_of(b"sent") + bytes(90))
    said = StepSettled(NOW, call_id="c1", content=digest_of(b"said"))
    await store.append(opened())
    await store.append(Append(KEY, (sent,), contents=(Content("c1.q", b"sent"),)))
    await store.append(Append(KEY, (said,), closes=("c1",), contents=(Content("c1.a", b"said"),)))
    await store.append(reserved("c2"))
    await store.append(opened(OTHER))


def _run(path: Path, work: Callable[[SqliteStore], Coroutine[None, None, None]]) -> None:
    async def opened_store() -> None:
        store = SqliteStore(path, SECRET)
        await store.open()
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(opened_store())


@pytest.fixture
def told(ledger: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Verifies; its exit code and all it says."""

    def run(*words: str, source: str = "") -> tuple[int, str]:
        parser = argparse.ArgumentParser()
        verify.add_arguments(parser)
        code = verify.run(parser.parse_args([source or str(ledger), *words]))
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0


def test_a_ledger_as_it_was_written(told: Told, ledger: Path) -> None:
    """By its path and by its URL."""
    everything = (
        "2 sessions, 5 events, 2 contents, 0 accounts, 1 open holds: as they were written\n"
    )

    assert told() == (0, everything)
    assert told(source=f"sqlite:///{ledger}") == (0, everything)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "UPDATE events SET payload = replace(payload, '\"c1\"', '\"c9\"') WHERE seq = 3",
            "event 3 (StepSettled) altered: its content was altered",
        ),
        ("DELETE FROM events WHERE session_id = 1 AND seq = 2", "event 2 deleted: event 2 is miss"),
        ("DELETE FROM events WHERE session_id = 1 AND seq = 4", "event 4 cut: event 4 is missing"),
        (SWAP, "event 2 (StepSettled) swapped: it was swapped with event 3"),
        (INSERT, "event 3 (StepReserved) inserted"),
        ("UPDATE contents SET data = x'00' WHERE name = 'c1.q'", "event 2 (StepReserved) altered"),
        ("DELETE FROM contents WHERE name = 'c1.a'", "event 3 (StepSettled) deleted: what call c1"),
        (CROSS, "event 2 (StepReserved) altered: what call c1 sent was altered"),
        (
            "INSERT INTO contents VALUES (1, 'c7.q', x'00')",
            "event 4 inserted: no event tells of what call c7 sent",
        ),
        ("UPDATE sessions SET seq = 3 WHERE id = 1", "event 4 (StepReserved) tip altered"),
        ("DELETE FROM sessions WHERE id = 1", "number 1 (tenant ?): event 1 (SessionOpened) delet"),
        ("UPDATE sessions SET session = 's2' WHERE id = 1", "session s2 (tenant team-a): event 1"),
        ("UPDATE events SET session_id = 2, seq = seq + 7 WHERE seq = 4", "team-b): event 2 delet"),
        ("UPDATE sessions SET seq = 'many' WHERE id = 1", "event 4 (StepReserved) tip altered"),
        ("UPDATE sessions SET chain = 7 WHERE id = 1", "event 4 (StepReserved) tip altered"),
        ("UPDATE sessions SET tenant = x'ff' WHERE id = 1", "event 1 (SessionOpened) altered"),
        (
            "UPDATE sessions SET session = CAST(x'73ff' AS TEXT) WHERE id = 1",
            "event 1 (SessionOpened) altered",
        ),
        ("UPDATE contents SET name = x'ff' WHERE name = 'c1.q'", "event 2 (StepReserved) deleted"),
        ("UPDATE contents SET data = 7 WHERE name = 'c1.q'", "event 2 (StepReserved) altered"),
        ("UPDATE events SET seq = 'x' WHERE seq = 4", "altered"),
        ("UPDATE events SET chain = 'text' WHERE seq = 4", "event 4 (StepReserved) altered"),
        ("UPDATE events SET payload = x'ff' WHERE seq = 3", "event 3 (unreadable) altered"),
    ],
)
def test_what_somebody_did_is_named(told: Told, ledger: Path, statement: str, said: str) -> None:
    """By session, event and kind; the exit code tells it to a script."""
    change(ledger, *statement.split(";"))
    code, text = told()

    assert code == 1
    assert said in text, text
    assert "not as they were written" in text


def test_all_altered_sessions_are_named_in_json(told: Told, ledger: Path) -> None:
    """The first fault of each."""
    change(ledger, "UPDATE events SET payload = replace(payload, '180', '170')")
    code, text = told("--json")
    report = json.loads(text)

    assert code == 1
    assert (report["sessions"], report["faulty"]) == (2, 2)
    assert [(fault["session"], fault["tenant"], fault["seq"]) for fault in report["faults"]] == [
        ("s1", "team-a", 1),
        ("s1", "team-b", 1),
    ]
    assert report["faults"][0]["kind"] == "SessionOpened"
    assert report["faults"][0]["what"] == "altered"


def test_no_more_faults_are_shown_than_are_read(told: Told, ledger: Path) -> None:
    """A ledger of a million altered sessions is told of in a screenful."""

    async def many(store: SqliteStore) -> None:
        for n in range(450):
            await store.append(opened(SessionKey("t", f"n{n}")))

    _run(ledger, many)
    change(ledger, "UPDATE events SET payload = replace(payload, '180', '170')")
    code, text = told()

    assert code == 1
    assert len(text.splitlines()) == 22
    assert "… and 432 more" in text


def test_a_cut_tail_is_told_by_a_head_kept_outside(
    told: Told, ledger: Path, tmp_path: Path
) -> None:
    """Though the session's row was set back with it, and its hold taken away: from the ledger alone
    nothing can be told."""
    heads = tmp_path / "heads"
    assert told("--heads", str(heads))[0] == 0
    assert heads.stat().st_mode & 0o777 == 0o600
    chain = "(SELECT chain FROM events WHERE session_id = 1 AND seq = 3)"
    change(
        ledger,
        "DELETE FROM events WHERE session_id = 1 AND seq = 4",
        "DELETE FROM holds WHERE session_id = 1",
        f"UPDATE sessions SET seq = 3, chain = {chain} WHERE id = 1",
    )

    assert told()[0] == 0
    code, text = told("--head", str(heads))
    assert code == 1
    assert "session s1 (tenant team-a): event 4 cut: its log ends at event 3, but had 4" in text


def test_a_head_tells_of_a_cut_tail_whose_contents_were_left(
    told: Told, ledger: Path, tmp_path: Path
) -> None:
    """Without it, what no event tells of may as well have been put there."""
    heads = tmp_path / "heads"
    assert told("--heads", str(heads))[0] == 0
    chain = "(SELECT chain FROM events WHERE session_id = 1 AND seq = 2)"
    change(
        ledger,
        "DELETE FROM events WHERE session_id = 1 AND seq > 2",
        f"UPDATE sessions SET seq = 2, chain = {chain} WHERE id = 1",
    )

    alone, by_head = told(), told("--head", str(heads))

    assert (alone[0], by_head[0]) == (1, 1)
    assert "event 2 inserted: no event tells of what call c1 was answered: it was put" in alone[1]
    assert "event 3 cut: its log ends at event 2, but had 4 when its head was kept" in by_head[1]


def test_a_session_that_vanished_is_told_by_a_head_kept_outside(
    told: Told, ledger: Path, tmp_path: Path
) -> None:
    """One that was deleted as it should be leaves a tombstone; long after that it may be gone."""
    heads = tmp_path / "heads"
    assert told("--heads", str(heads))[0] == 0

    async def deleted(store: SqliteStore) -> None:
        await store.append(replace(settled("c2"), closes=("c2",)))
        await store.delete(KEY, NOW)

    _run(ledger, deleted)
    assert told("--head", str(heads))[0] == 0
    change(ledger, "DELETE FROM events WHERE session_id = 2", "DELETE FROM sessions WHERE id = 2")
    code, text = told("--head", str(heads))
    assert code == 1
    assert "session s1 (tenant team-b): event 1 vanished: it is gone without a tombstone" in text
    lines = [json.loads(line) | {"at": 1.0} for line in heads.read_text().splitlines()]
    heads.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, text = told("--head", str(heads), "--retention", "4w")
    assert (code, "(1 heads of sessions past their retention)" in text) == (0, True)


def test_one_head_may_be_given_by_itself(told: Told, ledger: Path) -> None:
    """As the admin API shows it."""
    with closing(sqlite3.connect(ledger)) as connection:
        (chain,) = connection.execute(
            "SELECT chain FROM events WHERE session_id = 1 AND seq = 3"
        ).fetchone()

    assert told("--head", f"team-a/s1=3:{chain.hex()}")[0] == 0
    assert told("--head", f"team-a/s1=2:{chain.hex()}")[0] == 1
    assert told("--head", f"s1=1:{chain.hex()}")[0] == 1
    code, text = told("--head", f"nobody=1:{chain.hex()}")
    assert (code, "session nobody (tenant ?): event 1 vanished" in text) == (1, True)


def test_no_heads_are_written_of_what_is_not_right(
    told: Told, ledger: Path, tmp_path: Path
) -> None:
    """They would say that it was."""
    heads = tmp_path / "heads"
    heads.write_text("before")
    change(ledger, "DELETE FROM events WHERE session_id = 1 AND seq = 2")

    assert told("--heads", str(heads))[0] == 1
    assert heads.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if "heads" in path.name] == ["heads"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--head", "nowhere"], "nowhere"),
        (["--head", f"s1={10**30}:{'a' * 64}"], "no log has so many events"),
        (["--retention", "soon"], "--retention: 'soon' is no time"),
        (["--heads", "/nowhere/heads"], "'/nowhere/heads'"),
        (["--head", "s1=4:9b7c"], "--head s1=4:9b7c: it is neither a file nor"),
    ],
)
def test_what_cannot_be_done_is_said(told: Told, words: list[str], said: str) -> None:
    """And is another exit code than a ledger that was altered."""
    code, text = told(*words)

    assert code == 2
    assert said in text


def test_a_file_of_heads_that_is_none_is_named(told: Told, tmp_path: Path) -> None:
    """With its line."""
    heads = tmp_path / "heads"
    heads.write_text("{}\n")

    assert told("--head", str(heads)) == (
        2,
        f"holdfast: {heads}:1: not a head: Object missing required field `tenant`\n",
    )


def test_a_ledger_that_cannot_be_verified_is_said(
    told: Told, ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not there, not a ledger, not this key, no key, in memory, damaged."""
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (a)")
    text = tmp_path / "text"
    text.write_text("hello")

    assert told(source=str(tmp_path / "none"))[0] == 2
    assert "there is no ledger at" in told(source=f"sqlite:///{tmp_path}/none")[1]
    assert "is not a SQLite database" in told(source=str(text))[1]
    assert "the key of the ledger" in told(source=str(other))[1]
    assert "in memory" in told(source="memory://")[1]
    assert "no such store" in told(source="etcd://x")[1]
    monkeypatch.setenv("HOLDFAST_CHAIN_KEY", "x" * 32)
    assert "database of another program" in told(source=str(other))[1]
    code, said = told()
    assert (code, "chained with another key" in said) == (2, True)
    monkeypatch.delenv("HOLDFAST_CHAIN_KEY")
    key_path(ledger).unlink()
    code, said = told()
    assert (code, f"put its key file back at {key_path(ledger)}" in said) == (2, True)
    assert not key_path(ledger).exists()


def test_what_a_running_sidecar_has_not_written_into_the_tables_is_verified(
    told: Told, ledger: Path
) -> None:
    """Its journal is part of the ledger: new sessions, and what is new of old ones."""

    async def verified_meanwhile(store: SqliteStore) -> None:
        await store.append(opened(SessionKey("t", "new")))
        more = StepSettled(NOW, call_id="c2", content=digest_of(b"more"))
        body = Content("c2.a", b"more")
        await store.append(Append(KEY, (more,), closes=("c2",), contents=(body,)))
        results.append(await asyncio.to_thread(told))
        with closing(sqlite3.connect(ledger)) as connection:
            rows.extend(connection.execute("SELECT count(*) FROM journal").fetchall())

    results: list[tuple[int, str]] = []
    rows: list[tuple[int]] = []
    _run(ledger, verified_meanwhile)

    assert rows[0][0] > 0
    assert results == [
        (0, "3 sessions, 7 events, 3 contents, 0 accounts, 0 open holds: as they were written\n")
    ]


def test_the_journal_is_told_apart_by_pages(told: Told, ledger: Path) -> None:
    """Each session is verified once, with what is new of it, on whichever page it is."""
    keys = [SessionKey("t", f"n{n}") for n in range(450)]

    async def many(store: SqliteStore) -> None:
        for key in keys:
            await store.append(opened(key))

    async def verified_meanwhile(store: SqliteStore) -> None:
        for n in (5, 240, 449):
            await store.append(reserved("c1", keys[n]))
        results.append(await asyncio.to_thread(told))

    results: list[tuple[int, str]] = []
    _run(ledger, many)
    _run(ledger, verified_meanwhile)
    everything = "452 sessions, 458 events, 2 contents, 0 accounts, 4 open holds"
    assert results == [(0, f"{everything}: as they were written\n")]


def test_nothing_is_written_to_the_ledger(told: Told, ledger: Path) -> None:
    """It is evidence."""
    before = ledger.read_bytes()
    told()

    assert ledger.read_bytes() == before
