"""holdfast migrate as a process, killed in the middle of it, and into a real Redis."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from proxy.core.session import SessionKey
from proxy.stores import Append
from proxy.stores.sqlite import SqliteStore, key_path
from tests.fakes_redis import url_for
from tests.fakes_stores import NOW, SECRET, opened, outcomes, reserved, settled

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

SESSIONS = 1_500


@pytest.fixture
async def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    key_path(path).write_bytes(SECRET)
    key_path(path).chmod(0o600)
    store = SqliteStore(path, SECRET)
    await store.open()
    appends: list[Append] = []
    for n in range(SESSIONS):
        key = SessionKey("t", f"s{n:05}")
        appends += [opened(key, NOW + n), reserved(f"c{n}", key), settled(f"c{n}", key)]
    await outcomes(store, appends)
    await store.close()
    return path


def holdfast(*words: str, **env: str) -> "subprocess.Popen[str]":
    environment = {k: v for k, v in os.environ.items() if k != "HOLDFAST_CHAIN_KEY"} | env
    return subprocess.Popen(
        [sys.executable, "-m", "proxy", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


def run(*words: str, **env: str) -> tuple[int, str]:
    process = holdfast(*words, **env)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


def _sessions(path: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM sessions").fetchone()
            return int(count)
    except sqlite3.Error:
        return 0


def test_killed_in_the_middle_it_goes_on_when_it_is_begun_again(
    source: Path, tmp_path: Path
) -> None:
    """Nothing is there by halves, nothing twice."""
    target = tmp_path / "b.db"
    process = holdfast("migrate", str(source), f"sqlite:///{target}")
    while process.poll() is None and not _sessions(target):
        time.sleep(0.002)  # whoever sleeps is given a core as soon as it looks again
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    taken = _sessions(target)
    code, said = run("migrate", str(source), f"sqlite:///{target}")

    assert 0 < taken < SESSIONS
    assert code == 0, said
    assert f"{SESSIONS} sessions (" in said
    assert f"{3 * SESSIONS} events" in said
    code, said = run("verify", str(target))
    everything = f"{SESSIONS} sessions, {3 * SESSIONS} events, 0 contents, 0 accounts, 0 open holds"
    assert (code, said) == (0, f"{everything}: as they were written\n")


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_file_goes_into_redis_and_back(source: Path, tmp_path: Path, kind: str) -> None:
    """Under the file's own key, which the environment can name; both verify."""
    url = url_for(kind, tmp_path)
    code, said = run("migrate", str(source), url)
    assert code == 0, said
    assert f"HOLDFAST_CHAIN_KEY=hex:$(od -An -v -tx1 {key_path(source)} | tr -d ' \\n')" in said

    key = f"hex:{SECRET.hex()}"
    code, said = run("verify", url, HOLDFAST_CHAIN_KEY=key)
    assert (code, f"{SESSIONS} sessions" in said) == (0, True), said
    back = tmp_path / "back.db"
    code, said = run("migrate", url, f"sqlite:///{back}", HOLDFAST_CHAIN_KEY=key)
    assert code == 0, said
    assert _sessions(back) == SESSIONS
    assert run("verify", str(back), HOLDFAST_CHAIN_KEY=key)[0] == 0
