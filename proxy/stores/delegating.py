"""A store that passes all on to another: what a wrapper does not change."""

from collections.abc import Awaitable, Iterable, Mapping, Sequence

from proxy.core.session import SessionKey
from proxy.stores import (
    LIVE,
    AccountRow,
    Append,
    Appended,
    Balance,
    DeletionReason,
    OpenHold,
    Queue,
    SessionDump,
    SessionRow,
    Store,
    Stored,
)
from proxy.stores.chain import ChainedPayload


class DelegatingStore:
    """See `Store`."""

    def __init__(self, primary: Store) -> None:
        self._primary = primary

    async def open(self) -> None:
        await self._primary.open()

    async def close(self) -> None:
        await self._primary.close()

    def append(self, append: Append) -> Awaitable[Appended]:
        return self._primary.append(append)

    async def read(self, key: SessionKey, after_seq: int = 0) -> Sequence[Stored]:
        return await self._primary.read(key, after_seq)

    async def read_contents(
        self, key: SessionKey, names: Sequence[str] | None = None
    ) -> Mapping[str, bytes]:
        return await self._primary.read_contents(key, names)

    async def balances(self, accounts: Iterable[str]) -> Mapping[str, Balance]:
        return await self._primary.balances(accounts)

    async def open_holds(self, deadline_before: float | None = None) -> Sequence[OpenHold]:
        return await self._primary.open_holds(deadline_before)

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]:
        return await self._primary.find_links(tenant, links)

    async def list_sessions(
        self,
        *,
        state: str | None = None,
        agent: str | None = None,
        tenant: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> tuple[Sequence[SessionRow], str | None]:
        return await self._primary.list_sessions(
            state=state, agent=agent, tenant=tenant, limit=limit, cursor=cursor
        )

    async def list_queue(self, queue: Queue, limit: int) -> Sequence[SessionRow]:
        return await self._primary.list_queue(queue, limit)

    async def list_idle(
        self, updated_before: float, limit: int, states: Sequence[str] = LIVE
    ) -> Sequence[SessionKey]:
        return await self._primary.list_idle(updated_before, limit, states)

    async def list_keys(self, after: SessionKey | None, limit: int) -> Sequence[SessionKey]:
        return await self._primary.list_keys(after, limit)

    async def find_tenants(self, session: str) -> Sequence[str]:
        return await self._primary.find_tenants(session)

    async def read_chain(self, key: SessionKey) -> Sequence[ChainedPayload]:
        return await self._primary.read_chain(key)

    async def dump(self, key: SessionKey) -> SessionDump | None:
        return await self._primary.dump(key)

    async def restore(self, dump: SessionDump) -> None:
        await self._primary.restore(dump)

    async def dump_accounts(self, after: str, limit: int) -> Sequence[AccountRow]:
        return await self._primary.dump_accounts(after, limit)

    async def restore_accounts(self, rows: Sequence[AccountRow]) -> None:
        await self._primary.restore_accounts(rows)

    async def writable(self) -> bool:
        return await self._primary.writable()

    async def delete(
        self,
        key: SessionKey,
        at: float,
        *,
        reason: DeletionReason = "request",
        expected_seq: int | None = None,
    ) -> bool:
        return await self._primary.delete(key, at, reason=reason, expected_seq=expected_seq)

    async def purge(self, updated_before: float, at: float) -> int:
        return await self._primary.purge(updated_before, at)

    async def purge_accounts(self, touched_before: float) -> int:
        return await self._primary.purge_accounts(touched_before)
