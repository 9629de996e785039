"""A ledger in a file of its own, and the store on it. (The contract has a `store` of each kind.)"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.stores.sqlite import SqliteStore
from tests.fakes_stores import SECRET


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, SECRET)
    await store.open()
    yield store
    await store.close()
