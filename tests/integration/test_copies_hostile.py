"""Files that somebody made to look like exports: taken in or refused, and never more than that."""

import json
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from proxy.core.fingerprints import unpack
from proxy.core.recording import UNPRIMED, VERSION, PackedAnswer
from proxy.deflating import deflated
from proxy.exports import export_of, read_export
from proxy.simulator import Script, ToolCall, Turn
from proxy.stores import Content, SessionDump
from proxy.stores.chain import ChainedPayload
from tests.integration.agent_kit import Agent
from tests.integration.kit import Sidecar, sidecar
from tests.integration.test_copies import BEARER, exported, imported

RUN = Script(
    (
        Turn(text="Let me see.", tool_calls=(ToolCall("send_email", {"to": "a"}),)),
        Turn(text="Once more.", tool_calls=(ToolCall("search", {"q": "x"}),)),
        Turn(text="All done."),
    )
)
VALUES: list[Any] = [
    *(-1, 0, 1, 2**31, 2**63, 2**70, -(2**63), 1.5, 1e300, True, None, "", "é\u2028", "c1", "../x"),
    *("A" * 3_000, "AAAA", [], [[]], [1, "b"], [["a", 1]], {}, {"a": 1}),
]


def mutated(dump: SessionDump, chance: Random) -> SessionDump:
    """One to three things in it are others; events tell of their contents as they are then."""
    rows, contents = [*dump.rows], {one.name: one.data for one in dump.contents}
    for _ in range(chance.randrange(1, 4)):
        if contents and chance.random() < 0.4:
            name = chance.choice(sorted(contents))
            contents[name] = other_bytes(contents[name], chance)
        else:
            at = chance.randrange(len(rows))
            rows[at] = other_event(rows[at], chance)
    rows = [retold(row, contents) for row in rows]
    if chance.random() < 0.1:
        chance.shuffle(rows)
    kept = tuple([Content(name, data) for name, data in contents.items()])
    return replace(dump, rows=tuple(rows), contents=kept)


def other_bytes(data: bytes, chance: Random) -> bytes:
    altered = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        if altered:
            altered[chance.randrange(len(altered))] = chance.randrange(256)
    return (
        bytes(altered[: chance.randrange(len(altered) + 1)])
        if chance.random() < 0.2
        else bytes(altered)
    )


def other_event(row: ChainedPayload, chance: Random) -> ChainedPayload:
    event = json.loads(row.payload)
    name = chance.choice(sorted(event))
    if name == "content" and chance.random() < 0.7:
        event[name] = msgspec.to_builtins(other_bytes(msgspec.convert(event[name], bytes), chance))
    else:
        event[name] = chance.choice(VALUES)
    return replace(row, payload=json.dumps(event).encode())


def retold(row: ChainedPayload, contents: dict[str, bytes]) -> ChainedPayload:
    """The event with the digest of what is kept beside it, as whoever made the file would write."""
    event = json.loads(row.payload)
    ending = {"StepReserved": ".q", "StepSettled": ".a"}.get(str(event.get("type")), "")
    data = contents.get(f"{event.get('call_id')}{ending}")
    if not ending or data is None or not isinstance(event.get("content"), str):
        return row
    try:
        fingerprint = msgspec.convert(event["content"], bytes)
    except msgspec.ValidationError:
        return row
    fingerprint = blake2b(data, digest_size=16).digest() + fingerprint[16:]
    event["content"] = msgspec.to_builtins(fingerprint)
    return replace(row, payload=json.dumps(event).encode())


async def statuses(on: Sidecar, session: str) -> list[int]:
    """What each way to look at a session, to go on with it and to end it is answered."""
    one = f"{on.admin_url}/api/v1/sessions/{session}"
    asked = [
        *[("GET", one + path) for path in ("", "/events", "/checkpoint", "/checkpoint?raw=next")],
        *[("GET", f"{one}/checkpoint?step={step}") for step in (1, 2, 3)],
        *[("GET", one + path) for path in ("/diff?from=1&to=3", "/export")],
        ("POST", one + "/fork"),
        ("GET", f"{on.admin_url}/api/v1/sessions?limit=1000"),
        ("GET", f"{on.admin_url}/api/v1/handoffs"),
        ("POST", one + "/resume"),
    ]
    found = []
    for method, url in asked:
        async with on.http.request(method, url, headers=BEARER) as response:
            await response.read()
            found.append(response.status)
    headers = {"x-holdfast-resume": "true"}
    found.append((await on.call(session=session, headers=headers)).status)
    async with on.http.delete(one, headers=BEARER) as response:
        found.append(response.status)
    return found


@pytest.mark.timeout(60)
async def test_whatever_stands_in_a_file_nothing_breaks(tmp_path: Path) -> None:
    """Neither when it is taken in nor when it is looked at, forked, gone on with and deleted."""
    chance, told = Random(5), dict[int, int]()
    policy = "tools: {side_effects: ['send_*']}"
    async with sidecar(tmp_path, policy, script=RUN) as on:
        await Agent(on, "chat", stream=False).finish()
        whole = await exported(on)
        _, dump = read_export([whole])
        assert len(dump.contents) == 6
        assert all(
            unpack(msgspec.convert(e["content"], bytes))
            for e in map(read, dump.rows)
            if e["type"] == "StepReserved"
        )
        for n in range(150):
            file = b"".join(export_of(mutated(dump, chance), 1.0))
            status, _ = await imported(on, file, f"?as=n{n}")
            told[status] = told.get(status, 0) + 1
            assert status in (201, 400)
            if status == 201:
                seen = await statuses(on, f"n{n}")
                assert max(seen) < 500, (n, seen)
        print(told)
        assert told[201] > 30
        assert (await on.call(session="s1", seed=2)).status == 200


async def test_headers_that_are_no_text_are_named(tmp_path: Path) -> None:
    """msgspec says so by an error that is not its own."""
    async with sidecar(tmp_path, script=RUN) as on:
        await Agent(on, "chat", stream=False).finish()
        _, dump = read_export([await exported(on)])
        answer = next(one for one in dump.contents if one.name.endswith(".a"))
        headers = b"\x91\x92\xa1\xba\xa1b"
        record = PackedAnswer(VERSION, UNPRIMED, 200, False, len(headers), deflated(headers))
        contents = {one.name: one.data for one in dump.contents}
        contents[answer.name] = msgspec.msgpack.encode(record)
        rows = tuple([retold(row, contents) for row in dump.rows])
        kept = tuple([Content(name, data) for name, data in contents.items()])
        file = b"".join(export_of(replace(dump, rows=rows, contents=kept), 1.0))
        status, _ = await imported(on, file, "?as=n1")

        assert status == 201
        url = f"{on.admin_url}/api/v1/sessions/n1/checkpoint?step=1"
        async with on.http.get(url, headers=BEARER) as response:
            assert response.status == 200
            assert "cannot be read: 'utf-8' codec" in await response.text()


async def test_a_body_that_is_no_text_is_refused(tmp_path: Path) -> None:
    async with sidecar(tmp_path, script=RUN) as on:
        await on.call()
        url = f"{on.admin_url}/api/v1/sessions/s1/guide"
        async with on.http.post(url, headers=BEARER, data=b'{"message":"\xba"}') as response:
            assert response.status == 400
            assert (await response.json())["error"]["code"] == "invalid_request"


def read(row: ChainedPayload) -> Any:
    return json.loads(row.payload)
