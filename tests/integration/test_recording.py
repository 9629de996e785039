"""What a sidecar keeps of its calls: what the client sent and was given, byte for byte."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest

from proxy.answer_capture import Room
from proxy.app import App
from proxy.config.problems import PolicyInvalid
from proxy.core import events as ev
from proxy.core.fingerprints import NOTHING_KEPT
from proxy.core.request import DialectName
from proxy.core.session import SessionKey
from proxy.core.steps import RecordedStep, steps_of
from proxy.simulator import Script, Turn
from proxy.simulator.script import ToolCall
from tests.integration.kit import DIALECTS, MODEL, ONCE, PATHS, Answer, Sidecar, body_of, sidecar

every_dialect = pytest.mark.parametrize("dialect", DIALECTS)
streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
AS_KEY = {"authorization": "Bearer key-1", "content-type": "application/json"}
GUARDED = 'tools: {side_effects: ["pay"]}\n'


def grown(size: int) -> bytes:
    """A conversation that is the one of size - 1, and a message more."""
    messages = [{"role": "user", "content": f"{n} " * 900} for n in range(size)]
    return json.dumps({"model": MODEL, "messages": messages, "max_tokens": 9}).encode()


async def key_of(app: App, session: str = "s1") -> SessionKey:
    return SessionKey((await app.store.find_tenants(session))[0], session)


async def steps(on: Sidecar, session: str = "s1") -> tuple[RecordedStep, ...]:
    await on.app.ledger.drained()
    return steps_of(await on.app.store.read(await key_of(on.app, session)))


async def check(on: Sidecar, sent: list[bytes], answers: list[Answer], session: str = "s1") -> None:
    """Each step has what was sent and given, and nothing of ours."""
    key, recorded = await key_of(on.app, session), await steps(on, session)
    assert [await on.app.contents.body_of(key, step) for step in recorded] == sent
    for step, answer in zip(recorded, answers, strict=True):
        given = await on.app.contents.answer_of(key, step)
        assert given.body == answer.body
        assert given.status == answer.status
        assert not [name for name, _ in given.headers if name.lower().startswith("x-holdfast")]
        kinds = [value for name, value in given.headers if name.lower() == "content-type"]
        assert kinds == [answer.headers["content-type"]]


@every_dialect
@streamed_or_not
async def test_a_conversation_is_kept_as_it_was_sent_and_answered(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    async with sidecar(tmp_path, script=Script((Turn(text_tokens=30),))) as on:
        body, sent, answers = body_of(dialect, stream=stream), list[bytes](), list[Answer]()
        name = "input" if dialect == "responses" else "messages"
        for n in range(4):
            sent.append(json.dumps(body, indent=n % 2 or None).encode())
            answers.append(await on.send(f"/s/s1{PATHS[dialect]}", sent[-1]))
            more = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"m{n}"}]
            body = {**body, name: [*body[name], *more]}  # type: ignore[misc, list-item]

        await check(on, sent, answers)
        assert [step.stream for step in await steps(on)] == [stream] * 4
        assert len({step.chain for step in await steps(on)}) == 4


@streamed_or_not
async def test_the_answer_of_a_guarded_call_is_kept_as_it_was_given(
    tmp_path: Path, stream: bool
) -> None:
    turns = (
        Turn(text_tokens=5, tool_calls=(ToolCall("pay"), ToolCall("look"))),
        Turn(text_tokens=7),
    )
    async with sidecar(tmp_path, GUARDED, script=Script(turns)) as on:
        sent = [json.dumps(body_of("chat", stream=stream, tools=("pay", "look"))).encode()]
        answers = [await on.send(f"/s/s1{PATHS['chat']}", sent[0])]

        assert b"pay" in answers[0].body
        await check(on, sent, answers)


@streamed_or_not
async def test_a_translated_answer_is_kept_as_it_was_given(tmp_path: Path, stream: bool) -> None:
    """In the client's dialect: whoever is given it again speaks that."""
    route = "routes: [{match: {model: '*'}, to: [anthropic]}]\n"
    async with sidecar(tmp_path, route, script=Script((Turn(text_tokens=9),))) as on:
        sent = [json.dumps(body_of("chat", stream=stream)).encode()]
        answers = [await on.send(f"/s/s1{PATHS['chat']}", sent[0])]

        assert b"chat.completion" in answers[0].body
        await check(on, sent, answers)


async def test_a_compressed_body_is_kept_without_its_encoding(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        plain = json.dumps(body_of("chat")).encode()
        headers = {"content-encoding": "gzip"}
        answer = await on.send(f"/s/s1{PATHS['chat']}", gzip.compress(plain), headers)

        await check(on, [plain], [answer])


@streamed_or_not
async def test_a_large_request_and_a_large_answer_are_kept(tmp_path: Path, stream: bool) -> None:
    """On a thread, in pieces; and a conversation that goes on from them."""
    async with sidecar(tmp_path, script=Script((Turn(text_tokens=15_000),))) as on:
        body, sent, answers = body_of("chat", stream=stream, bound=40_000), [], []
        for n in range(2):
            messages = [{"role": "user", "content": f"{n}" * 300_000}, *body["messages"]]  # type: ignore[misc]
            body = {**body, "messages": messages}
            sent.append(json.dumps(body).encode())
            answers.append(await on.send(f"/s/s1{PATHS['chat']}", sent[-1]))

        assert len(answers[0].body) > 65_536
        await check(on, sent, answers)


async def test_a_step_that_failed_keeps_its_request_and_no_answer(tmp_path: Path) -> None:
    async with sidecar(tmp_path, ONCE) as on:
        on.sim.fail("status=500", times=1)
        for text in ("one", "other"):
            await on.send(f"/s/s1{PATHS['chat']}", json.dumps(body_of("chat", text=text)).encode())
        failed, answered = await steps(on)

        assert (failed.outcome, failed.answer, answered.outcome) == ("failed", b"", "answered")
        assert answered.answer != b""


@pytest.mark.parametrize(("content", "marked"), [("hashes", True), ("off", False)])
async def test_the_policy_says_what_is_kept(tmp_path: Path, content: str, marked: bool) -> None:
    async with sidecar(tmp_path, f"checkpoints: {{content: {content}}}\n") as on:
        await on.call()
        (step,) = await steps(on)

        assert await on.app.store.read_contents(await key_of(on.app)) == {}
        assert (step.answer, step.content.startswith(NOTHING_KEPT)) == (b"", marked)
        assert bool(step.content) == bool(step.chain) == marked


async def test_what_is_kept_changes_with_the_policy(tmp_path: Path) -> None:
    """What was kept before stays readable, and what comes after goes on from it."""
    async with sidecar(tmp_path) as on:
        sent = list[bytes]()
        for content in ("full", "hashes", "full", "off", "full"):
            (tmp_path / "policy.yaml").write_text(f"checkpoints: {{content: {content}}}\n")
            on.app.watcher.reload_now()
            sent.append(grown(len(sent) + 1))
            await on.send(f"/s/s1{PATHS['chat']}", sent[-1])
        recorded, key = await steps(on), await key_of(on.app)

        for n in (0, 2, 4):
            assert await on.app.contents.body_of(key, recorded[n]) == sent[n]
        assert len((await on.app.store.read_contents(key))[f"{recorded[4].call_id}.q"]) < 300


async def test_a_new_generation_goes_on_from_nothing_of_the_one_before(tmp_path: Path) -> None:
    """Its steps are read without the log of the one before. Large bodies too."""
    async with sidecar(tmp_path) as on:
        large = body_of("chat", text="y" * 100_000)
        for body in (body_of("chat"), large):
            for _ in range(2):
                await on.send(f"/s/s1{PATHS['chat']}", json.dumps(body).encode())
                await on.app.ledger.record(await key_of(on.app), ev.SessionFinished(at=2e9))
            (step,) = await steps(on)
            assert (
                await on.app.contents.body_of(await key_of(on.app), step)
                == json.dumps(body).encode()
            )


async def test_calls_of_one_session_at_once_are_kept_each(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as on:
        bodies = [json.dumps(body_of("chat", text=f"part {n} " * 99)).encode() for n in range(20)]
        answers = await asyncio.gather(*[on.send(f"/s/s1{PATHS['chat']}", b) for b in bodies])
        key = await key_of(on.app)
        kept = {await on.app.contents.body_of(key, step) for step in await steps(on)}

        assert kept == set(bodies)
        assert {(await on.app.contents.answer_of(key, s)).body for s in await steps(on)} == {
            answer.body for answer in answers
        }


async def test_another_process_goes_on_from_what_is_in_the_ledger(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/ledger.db"
    sent, sizes = list[bytes](), list[int]()
    for n in range(3):
        async with sidecar(tmp_path, store=store) as on:
            sent.append(grown(n + 1))
            answer = await on.send(f"/s/s1{PATHS['chat']}", sent[-1])
            assert answer.status == 200
            key, recorded = await key_of(on.app), await steps(on)
            assert [await on.app.contents.body_of(key, step) for step in recorded] == sent
            assert b"choices" in (await on.app.contents.answer_of(key, recorded[-1])).body
            contents = await on.app.store.read_contents(key)
            sizes.append(len(contents[f"{recorded[-1].call_id}.q"]))
    assert sizes[2] <= sizes[1] + 10


def ledger_of(folder: Path) -> bytes:
    files = [folder / "ledger.db", folder / "ledger.db-wal"]
    return b"".join([file.read_bytes() for file in files if file.exists()])


async def test_what_is_sealed_is_nowhere_in_the_ledger_in_clear(tmp_path: Path) -> None:
    policy = "checkpoints: {encrypt_key_env: KEYS}\n"
    options = {"store": f"sqlite:///{tmp_path}/ledger.db", "env": {"KEYS": "k" * 32}}
    async with sidecar(tmp_path, policy, **options) as on:  # type: ignore[arg-type]
        sent = json.dumps(body_of("chat", text="a secret that nobody reads")).encode()
        answer = await on.send(f"/s/s1{PATHS['chat']}", sent)
        await check(on, [sent], [answer])
        said = str(answer.json["choices"][0]["message"]["content"])  # type: ignore[index, call-overload]
    written = ledger_of(tmp_path)

    assert said
    assert b"a secret" not in written
    assert said.encode() not in written
    with pytest.raises(PolicyInvalid, match="KEYS is not set here"):
        async with sidecar(tmp_path, policy):
            pass


async def test_two_processes_go_on_from_each_other_in_turns(tmp_path: Path) -> None:
    """As workers do. What one has not seen of the other costs size, and nothing else."""
    options = {"store": f"sqlite:///{tmp_path}/ledger.db"}
    (tmp_path / "b").mkdir()
    async with (
        sidecar(tmp_path, **options) as one,  # type: ignore[arg-type]
        sidecar(tmp_path / "b", **options) as other,  # type: ignore[arg-type]
    ):
        sent, answers = list[bytes](), list[Answer]()
        for n in range(8):
            sent.append(grown(4 * n + 1))
            on = (one, other)[n % 2]
            answers.append(await on.send(f"/s/s1{PATHS['chat']}", sent[-1]))
        await check(one, sent, answers)
        await check(other, sent, answers)
        contents = await one.app.store.read_contents(await key_of(one.app))
        assert sum(map(len, contents.values())) < len(sent[-1]) / 2


async def test_an_answer_that_broke_off_is_not_kept(tmp_path: Path) -> None:
    """Whoever is given it again would take it for a whole one."""
    async with sidecar(tmp_path, ONCE, script=Script((Turn(text_tokens=50),))) as on:
        on.sim.fail("cut_events=9;how=reset", times=1)
        for _ in range(2):
            await on.call(stream=True)
        broken, whole = await steps(on)

        assert (broken.outcome, broken.answer) == ("truncated", b"")
        assert (whole.outcome, bool(whole.answer)) == ("answered", True)
        assert on.app._recorder._room.left_bytes == Room().left_bytes


async def test_an_answer_whose_client_left_is_not_kept(tmp_path: Path) -> None:
    turn = Turn(text_tokens=50, chunk_gap_seconds=0.02)
    async with sidecar(tmp_path, script=Script((turn,))) as on:
        body = json.dumps(body_of("chat", stream=True)).encode()
        async with on.http.post(
            f"{on.url}/s/s1{PATHS['chat']}", data=body, headers=AS_KEY
        ) as response:
            await response.content.readany()
        while on.app.ledger.running:
            await asyncio.wait([asyncio.ensure_future(on.app.ledger.drained())])
        (step,) = await steps(on)

        assert (step.outcome, step.answer) == ("client_left", b"")
        assert await on.app.contents.body_of(await key_of(on.app), step) == body
