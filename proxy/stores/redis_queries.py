"""What is read from Redis of sessions and accounts."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from proxy.core.session import SessionKey
from proxy.stores import (
    DELETED,
    Balance,
    Content,
    Counts,
    Hold,
    OpenHold,
    SessionDump,
    Stored,
)
from proxy.stores.chain import ChainedPayload
from proxy.stores.codec import decode_event
from proxy.stores.redis_connection import Reply
from proxy.stores.redis_keys import account_key, account_name, shared, tag
from proxy.stores.redis_requests import Tip, decode_tip
from proxy.stores.redis_scripts import script
from proxy.stores.redis_servers import Servers
from proxy.stores.redis_tips import Tips

_CHAIN_BYTES = 32
_EMPTY = Balance()
_decode_hold = msgspec.msgpack.Decoder(Hold, strict=False).decode
_decode_due = msgspec.msgpack.Decoder(tuple[str, str]).decode
_decode_account = msgspec.msgpack.Decoder(
    tuple[int, int, int, int, int, int, int, float], strict=False
).decode
_decode_names = msgspec.msgpack.Decoder(tuple[str, ...]).decode


class Queries:
    """Shared by all that read."""

    def __init__(self, servers: Servers, tips: Tips) -> None:
        self._servers = servers
        self._tips = tips
        servers.know(script("read"))

    async def tenants(self) -> list[str]:
        name = f"{shared(self._servers.prefix)}:t"
        return sorted(texts(await self._servers.call(name, "SMEMBERS", name)))

    def p(self, tenant: str) -> str:
        return tag(self._servers.prefix, tenant)

    async def tip(self, key: SessionKey) -> Tip | None:
        name = f"{self.p(key.tenant)}:s:{key.session}"
        return decode_tip(await self._servers.call(name, "GET", name))

    async def read_chain(self, key: SessionKey, after_seq: int = 0) -> tuple[ChainedPayload, ...]:
        found = await self._session(key, "log", after_seq)
        return () if found is None else _rows(found[1], found[2])

    async def read(self, key: SessionKey, after_seq: int) -> Sequence[Stored]:
        return [
            Stored(row.seq, decode_event(row.payload), row.chain)
            for row in await self.read_chain(key, after_seq)
        ]

    async def dump(self, key: SessionKey) -> SessionDump | None:
        found = await self._session(key, "all", 0)
        tip = None if found is None else decode_tip(found[0])
        if found is None or tip is None:
            return None
        _, first, log, holds, links, contents = found
        return SessionDump(
            key,
            tip.seq,
            tip.chain,
            tip.token,
            tip.as_head(),
            _rows(first, log),
            tuple(sorted((name, named(raw)) for name, raw in _pairs(holds))),
            tuple(sorted(set(raws(links)))),
            tuple(Content(name, data) for name, data in sorted(_pairs(contents))),
        )

    async def _session(self, key: SessionKey, what: str, after_seq: int) -> list[Reply] | None:
        p = self.p(key.tenant)
        found = await self._servers.evaluate(
            script("read"), f"{p}:s:{key.session}", p, key.session, what, after_seq
        )
        if not isinstance(found, list):
            await self._tips.check(self._servers, key, 0)
            return None
        tip = decode_tip(found[0])
        await self._tips.check(self._servers, key, 0 if tip is None else tip.seq)
        return found

    async def read_contents(
        self, key: SessionKey, names: Sequence[str] | None
    ) -> Mapping[str, bytes]:
        name = f"{self.p(key.tenant)}:c:{key.session}"
        if names is None:
            return dict(_pairs(await self._servers.call(name, "HGETALL", name)))
        if not names:
            return {}
        found = await self._servers.call(name, "HMGET", name, *names)
        assert isinstance(found, list)
        pairs = zip(names, found, strict=True)
        return {one: data for one, data in pairs if isinstance(data, bytes)}

    async def balances(self, accounts: Iterable[str]) -> Mapping[str, Balance]:
        names = list(accounts)
        rows = await self.accounts([account_key(self._servers.prefix, name) for name in names])
        return {
            name: _EMPTY if row is None else row[0] for name, row in zip(names, rows, strict=True)
        }

    async def accounts(self, keys: Sequence[str]) -> list[tuple[Balance, float] | None]:
        """What is on them, and when they were touched."""
        raw = await self._servers.get_all(keys)
        return [_account(one) if isinstance(one, bytes) else None for one in raw]

    async def open_holds(self, deadline_before: float | None) -> Sequence[OpenHold]:
        most = "+inf" if deadline_before is None else deadline_before
        found: list[OpenHold] = []
        for tenant in await self.tenants():
            p = self.p(tenant)
            due = await self._servers.call(f"{p}:d", "ZRANGEBYSCORE", f"{p}:d", "-inf", most)
            names = [_decode_due(one) for one in raws(due)]
            commands = [("HGET", f"{p}:h:{session}", call) for session, call in names]
            held = await self._servers.calls(f"{p}:d", commands)
            for (session, call), raw in zip(names, held, strict=True):
                if isinstance(raw, bytes):
                    hold = _decode_hold(raw)
                    key = SessionKey(tenant, session)
                    found.append(OpenHold(key, call, hold.owner, hold.deadline))
        return sorted(found, key=lambda h: (h.deadline, h.key.tenant, h.key.session, h.call_id))

    async def find_links(
        self, tenant: str, links: Sequence[bytes]
    ) -> Mapping[bytes, tuple[str, ...]]:
        p, digests = self.p(tenant), list(dict.fromkeys(links))
        commands = [("HGET", f"{p}:l:{_bucket(digest)}", digest) for digest in digests]
        found = await self._servers.calls(f"{p}:l", commands)
        pairs = zip(digests, found, strict=True)
        return {digest: _decode_names(raw) for digest, raw in pairs if isinstance(raw, bytes)}

    async def find_tenants(self, session: str) -> Sequence[str]:
        tenants = await self.tenants()
        names = [f"{self.p(tenant)}:s:{session}" for tenant in tenants]
        tips = [decode_tip(raw) for raw in await self._servers.get_all(names)]
        pairs = zip(tenants, tips, strict=True)
        return [tenant for tenant, tip in pairs if tip is not None and tip.state != DELETED]


def _bucket(digest: bytes) -> str:
    """Digests that begin alike lie together: many small keys cost more than a larger one."""
    return digest[:2].ljust(2, b"\0").hex()[:3]


def raws(reply: Reply) -> list[bytes]:
    assert isinstance(reply, list)
    return reply


def texts(reply: Reply) -> list[str]:
    return [one.decode() for one in raws(reply)]


def named(raw: bytes) -> Hold:
    """A hold with the names of its accounts."""
    hold = _decode_hold(raw)
    return msgspec.structs.replace(
        hold,
        accounts=tuple(map(account_name, hold.accounts)),
        trees=tuple(map(account_name, hold.trees)),
    )


def _account(raw: bytes) -> tuple[Balance, float]:
    spent, held, tokens, held_tokens, steps, tool_calls, calls, touched = _decode_account(raw)
    return Balance(spent, held, Counts(tokens, held_tokens, steps, tool_calls, calls)), touched


def _rows(before: object, log: object) -> tuple[ChainedPayload, ...]:
    assert isinstance(before, int)
    return tuple(
        ChainedPayload(before + n, raw[_CHAIN_BYTES:], raw[:_CHAIN_BYTES])
        for n, raw in enumerate(raws(log), start=1)
    )


def _pairs(reply: Reply) -> list[tuple[str, bytes]]:
    flat = raws(reply)
    return [(name.decode(), value) for name, value in zip(flat[::2], flat[1::2], strict=True)]
