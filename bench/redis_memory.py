"""What a session costs Redis: `python -m bench.redis_memory`. Servers: tests/redis/setup.sh.

A session of so many steps as the ledger writes them, a reservation on two windows and a settlement
with two links each: first without contents, then with so many bytes of them a step. Told are the
bytes that `used_memory` grew by, divided by the sessions; what their keys say of themselves (MEMORY
USAGE); and how much of it is events, as a yardstick.
"""

import argparse
import asyncio
import os
import re

from msgspec.structs import replace

from bench.store_calls import Session, reserve, settle
from proxy.core.session import SessionKey
from proxy.stores import Content, answer_name, request_name
from proxy.stores.redis import RedisStore
from tests.fakes_redis import RedisServer, temporary

SECRET = bytes(range(32))
TENANT = "4f1c09d2a7b3"


async def fill(
    store: RedisStore, sessions: int, steps: int, bytes_each: int, name: str = ""
) -> None:
    async def one(number: int) -> None:
        session = Session(SessionKey(TENANT, f"{name}{number:032x}"))
        for step in range(steps):
            call = f"{name}{number:016x}{step:016x}"
            sent = (Content(request_name(call), os.urandom(bytes_each)),) if bytes_each else ()
            said = (Content(answer_name(call), os.urandom(bytes_each)),) if bytes_each else ()
            await store.append(replace(reserve(session, call), contents=sent))
            await store.append(replace(settle(session, call, number * steps + step), contents=said))

    for first in range(0, sessions, 50):
        await asyncio.gather(*(one(n) for n in range(first, min(first + 50, sessions))))


def used(server: RedisServer) -> int:
    server.ask("MEMORY", "PURGE")
    found = re.search(r"used_memory:(\d+)", server.ask("INFO", "memory"))
    assert found is not None
    return int(found[1])


async def measure(server: RedisServer, sessions: int, steps: int, bytes_each: int) -> None:
    server.ask("FLUSHALL")
    store = RedisStore(server.url, SECRET)
    await store.open()
    await fill(store, 5, 1, 0, "w")  # what a tenant costs
    before = used(server)
    await fill(store, sessions, steps, bytes_each)
    grown = (used(server) - before) / sessions
    key = SessionKey(TENANT, f"{sessions - 1:032x}")
    events = sum(32 + len(row.payload) for row in await store.read_chain(key))
    parts = []
    for part in "sekc":
        name = f"holdfast:{{{TENANT}}}:{part}:{key.session}"
        usage = await store.servers.call(name, "MEMORY", "USAGE", name, "SAMPLES", 0)
        parts.append(f"{part} {usage or 0}")
    await store.close()
    contents = 2 * bytes_each * steps
    print(
        f"{steps:5} steps, {contents:8} bytes of contents: {grown:9.0f} a session"
        f" ({events} of events; keys {', '.join(parts)})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="redis", choices=("redis", "valkey"))
    parser.add_argument("--sessions", type=int, default=400)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--bytes", type=int, nargs="+", default=[0, 600], help="a content")
    arguments = parser.parse_args()
    with temporary(arguments.server) as server:
        for steps in arguments.steps:
            for size in arguments.bytes:
                asyncio.run(measure(server, arguments.sessions, steps, size))


if __name__ == "__main__":
    main()
