"""What calls sent and were answered is read back byte for byte, however it was recorded."""

import asyncio
import json
import random
import threading
import zlib
from collections.abc import Awaitable, Mapping, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.contents import Contents, Line
from proxy.core import rebuilding
from proxy.core.checkpoints import Checkpoints
from proxy.core.contents import NOT_RECORDED, RecordedAnswer
from proxy.core.dialects.base import Bounds
from proxy.core.events import SessionOpened, StepReserved, StepSettled
from proxy.core.fingerprints import IN_CLEAR, NOTHING_KEPT, Fingerprint, base_of, pack, seed_name
from proxy.core.rebuilding import decode_delta
from proxy.core.recording import (
    BY_ANSWER,
    BY_REQUEST,
    MOST_DEPTH,
    UNPRIMED,
    VERSION,
    Primed,
    RequestDelta,
    digest_of,
)
from proxy.core.request import DialectName
from proxy.core.session import EMPTY, SessionKey, SessionState, apply
from proxy.core.steps import RecordedStep, steps_of
from proxy.deflating import deflated
from proxy.errors import ContentMissing
from proxy.recording import Recorder
from proxy.replies import dialect_of
from proxy.sealing import Sealer, Sealing
from proxy.stores import Append, Content, request_name
from proxy.stores.memory import MemoryStore
from tests.fakes_stores import KEY, NOW, SECRET

TOOLS = [{"type": "function", "function": {"name": "t", "description": "d" * 400}}]
FULL = Checkpoints()
SEALED = Checkpoints(encrypt_key_env="KEYS")
ONE, OTHER = "a" * 32, "b" * 32
SEALING = Sealing({}, Checkpoints)
SEED = 7
BOUNDS = Bounds(128, 1 << 20)


class Session:
    """One session in a store, as the ledger would write it."""

    def __init__(self) -> None:
        self.store = MemoryStore(SECRET)
        self.state: SessionState = EMPTY
        self.contents = Contents(self.store, SEED, SEALING)
        self.recorder = Recorder(SEED, SEALING, self.contents.list_of)
        self.sent: dict[str, bytes] = {}
        self.answered: dict[str, RecordedAnswer] = {}
        self.sizes: dict[str, int] = {}

    async def begin(self) -> "Session":
        await self.store.open()
        await self.write(SessionOpened(NOW))
        return self

    async def write(
        self, event: SessionOpened | StepReserved | StepSettled, *kept: Content
    ) -> None:
        await self.store.append(Append(KEY, (event,), contents=kept))
        self.state = apply(self.state, event)
        self.sizes.update({one.name: len(one.data) for one in kept})

    async def ask(
        self, body: bytes, dialect: DialectName = "chat", checkpoints: Checkpoints = FULL
    ) -> str:
        call_id = f"c{len(self.sent):04}"
        request = dialect_of(dialect).parse(body, BOUNDS, None)
        recording = self.recorder.recording(KEY, call_id, request, body, checkpoints)
        assert recording is not None
        if recording.is_large:
            await recording.prepare(self.state, written=True)
        kept = recording.keep(self.state)
        event = StepReserved(NOW, call_id, 1, content=kept.fingerprint, chain=kept.chain)
        await self.write(event, *([kept.content] if kept.content else []))
        self.sent[call_id] = body
        return call_id

    async def answer(
        self, call_id: str, given: RecordedAnswer, pieces: int = 1, checkpoints: Checkpoints = FULL
    ) -> None:
        capture = self.recorder.capture(call_id, checkpoints)
        assert capture is not None
        if given.stream:
            capture.begin(given.status, given.headers, stream=True)
            size = -(-len(given.body) // pieces) or 1
            for at in range(0, len(given.body), size):
                capture.add(given.body[at : at + size])
        else:
            await capture.whole(given.status, given.headers, given.body, 0)
        taken = self.recorder.answer(call_id, capture, checkpoints)
        await self.write(StepSettled(NOW, call_id, content=taken.digest), taken.content)
        capture.drop()
        self.recorder.windows.answered(call_id, taken.after)
        self.answered[call_id] = given

    def seal(self, keys: str) -> None:
        """From now on the environment has these keys."""
        self.contents = Contents(self.store, SEED, sealing(keys))
        self.recorder = Recorder(SEED, sealing(keys), self.contents.list_of)

    def restart(self) -> None:
        """Another process goes on."""
        self.recorder = Recorder(SEED, SEALING, self.contents.list_of)

    async def steps(self) -> dict[str, RecordedStep]:
        return {step.call_id: step for step in steps_of(await self.store.read(KEY))}

    async def delta(self, call_id: str) -> RequestDelta:
        """The record of a request."""
        name = request_name(call_id)
        return decode_delta((await self.store.read_contents(KEY, [name]))[name])

    async def check(self) -> None:
        """All that was sent and answered is read back."""
        steps = await self.steps()
        for call_id, body in [*self.sent.items()][-3:]:
            assert await self.contents.body_of(KEY, steps[call_id]) == body
        assert await self.contents.bodies_of(KEY, tuple(steps.values())) == self.sent
        for call_id, said in [*self.answered.items()][-12:]:
            assert await self.contents.answer_of(KEY, steps[call_id]) == said
        await self.check_in_order(steps, [*steps])
        await self.check_in_order(steps, random.Random(len(steps)).sample([*steps], len(steps)))

    def line(self, steps: Mapping[str, RecordedStep]) -> Line:
        """Of who reads many."""

        def before(call_id: str) -> str:
            return base_of(steps[call_id].content) if call_id in steps else ""

        return Line(self.contents.reader(), before)

    async def check_in_order(self, steps: Mapping[str, RecordedStep], order: list[str]) -> None:
        """The same, read one after the other: bodies of every other step, and all answers."""
        line = self.line(steps)
        for n, call_id in enumerate(order):
            if n % 2:
                bodies = await self.contents.bodies_of(KEY, (steps[call_id],), line)
                assert bodies == {call_id: self.sent[call_id]}
            if call_id in self.answered:
                said = await self.contents.answer_of(KEY, steps[call_id], line)
                assert said == self.answered[call_id]


def chat(messages: Sequence[object], **more: object) -> bytes:
    return json.dumps({"model": "m", "messages": messages, "tools": TOOLS, **more}).encode()


def message(n: int, size: int = 200) -> dict[str, str]:
    text = random.Random(n).choices('abcdefghij \n"é', k=size)
    return {"role": ("user", "assistant")[n % 2], "content": "".join(text)}


def edited(
    messages: Sequence[dict[str, str]], edit: str, n: int, at: int, size: int
) -> list[dict[str, str]]:
    """A conversation after the n-th edit."""
    place = at % max(len(messages), 1)
    before, one, after = list(messages[:place]), messages[place : place + 1], messages[place + 1 :]
    match edit:
        case "add":
            return [*messages, *[message(100 * n + k, size) for k in range(at % 3 + 1)]]
        case "cut":
            return [*one, *after]
        case "change":
            return [*before, message(7000 + n, size), *after]
        case "move":
            return [*one, *before, *after]
        case "other":
            return [message(9000 + n, size)]
    return list(messages)


async def nothing(key: SessionKey, call_id: str) -> None:
    """No list can be read back."""


SOME = RecordedAnswer(200, (("content-type", "application/json"),), b'{"id":"x"}')
edits = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "cut", "change", "move", "other", "head", "again"]),
        st.integers(0, 40),
        st.integers(0, 3000),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(edits, st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_any_sequence_of_edited_bodies_is_read_back_byte_for_byte(
    edits: list[tuple[str, int, int]], restarts: set[int], answers: set[int]
) -> None:
    """Histories that grow, are trimmed, rewritten and forked, in one process or in several."""

    async def run() -> None:
        session = await Session().begin()
        lists: list[list[dict[str, str]]] = [[message(0)]]
        more: dict[str, object] = {}
        for n, (edit, at, size) in enumerate(edits):
            lists.append(edited(lists[at % len(lists)], edit, n, at, size))
            more = {"temperature": n, "user": "u" * size} if edit == "head" else more
            if n in restarts:
                session.restart()
            call_id = await session.ask(chat(lists[-1], **more))
            if n in answers:
                headers = (("content-type", "text/event-stream"), ("x", str(n)))
                stream = b"data: %d\n\n" % n * (size // 20)
                said = RecordedAnswer(200, headers, stream, stream=bool(size % 2))
                await session.answer(call_id, said, pieces=at + 1)
        await session.check()

    asyncio.run(run())


@given(st.lists(st.tuples(st.sampled_from(["responses", "messages", "embeddings"]), st.text())))
def test_bodies_of_any_dialect_are_read_back(asked: list[tuple[DialectName, str]]) -> None:
    """A list of items, a text in its place, a list of prompts, pretty-printed or not."""

    async def run() -> None:
        session = await Session().begin()
        for n, (dialect, text) in enumerate(asked):
            shapes: dict[str, object] = {
                "responses": {"model": "m", "input": [{"role": "user", "content": text}] * n},
                "messages": {"max_tokens": 1, "messages": [{"role": "user", "content": text}] * 3},
                "embeddings": {"model": "m", "input": [text, "b"]},
            }
            shape = {"model": "m", **shapes[dialect]}  # type: ignore[dict-item]
            if n % 3 == 1 and dialect == "responses":
                shape = {"model": "m", "input": text or "x"}
            await session.ask(json.dumps(shape, indent=n % 3 or None).encode(), dialect)
        await session.check()

    asyncio.run(run())


@pytest.mark.timeout(60)
async def test_a_session_costs_what_is_new_in_it() -> None:
    """100 steps to a context of 400 KB: little more than all its messages compressed at once."""
    session = await Session().begin()
    messages, said = [message(0)], [json.dumps(message(0))]
    for n in range(100):
        body = chat(messages)
        call_id = await session.ask(body)
        turn = message(2 * n + 1, 800)
        answer = json.dumps({"id": f"chatcmpl-{n}", "choices": [{"index": 0, "message": turn}]})
        await session.answer(call_id, RecordedAnswer(200, SOME.headers, answer.encode()))
        messages += [turn, message(2 * n + 2, 2400)]
        said += [answer, json.dumps(messages[-1])]
    whole = len(zlib.compress("".join(said).encode(), 9))
    kept = sum(session.sizes.values())

    assert len(body) > 330_000
    assert kept <= 1.5 * whole, kept / whole
    sizes = [size for name, size in session.sizes.items() if name.endswith(".q")]
    assert max(sizes[5:]) < 3 * min(sizes[5:])
    steps = await session.steps()
    assert await session.contents.body_of(KEY, steps[call_id]) == body
    assert await session.contents.answer_of(KEY, steps[call_id]) == session.answered[call_id]


async def test_a_history_goes_on_from_its_own_newest_request() -> None:
    session = await Session().begin()
    one, other = [message(1, 2000)], [message(2, 2000)]
    for n in range(3, 11):
        one, other = [*one, message(n)], [*other, message(50 + n)]
        await session.ask(chat(one))
        await session.ask(chat(other))

    steps = await session.steps()
    bases = [base_of(steps[call_id].content) for call_id in session.sent]
    assert bases[2:] == [*session.sent][:-2]
    assert len(session.state.recorded) == 2
    await session.check()


async def test_a_request_whose_last_messages_are_rewritten_costs_little() -> None:
    """Claude Code marks another message for the cache each time."""
    session = await Session().begin()
    messages: list[dict[str, object]] = [dict(message(n, 3000)) for n in range(60)]
    for n in range(60, 70):
        marked = [*messages[:-1], {**messages[-1], "cache_control": {"type": "ephemeral"}}]
        await session.ask(chat(marked))
        messages.append(dict(message(n, 3000)))

    later = [session.sizes[f"c{n:04}.q"] for n in range(1, 10)]
    assert max(later) < session.sizes["c0000.q"] / 10
    await session.check()


async def test_an_attempt_that_is_made_again_costs_next_to_nothing() -> None:
    session = await Session().begin()
    for _ in range(4):
        await session.ask(chat([message(n, 2000) for n in range(8)]))

    assert max(session.sizes[f"c{n:04}.q"] for n in (1, 2, 3)) < 100
    await session.check()


async def test_a_body_without_a_list_goes_on_from_itself_alone() -> None:
    """Its retries take the place of each other, and other bodies do not."""
    session = await Session().begin()
    for text in ("a" * 200, "a" * 200, "b" * 200, "a" * 200):
        await session.ask(json.dumps({"model": "m", "input": text}).encode(), "responses")

    assert [call_id for call_id, _ in session.state.recorded] == ["c0002", "c0003"]
    await session.check()


async def test_a_large_body_is_told_by_what_was_known_when_it_was_prepared() -> None:
    """An older base is as right as a newer one; one of another generation is not."""
    session = await Session().begin()
    messages = [message(n, 20_000) for n in range(6)]
    await session.ask(chat(messages))
    before = session.state
    await session.ask(chat([*messages, message(7)]))
    large = chat([*messages, message(7), message(8, 90_000)])
    request = dialect_of("chat").parse(large, BOUNDS, None)
    recording = session.recorder.recording(KEY, "c9", request, large, FULL)
    assert recording is not None
    await recording.prepare(before, written=True)
    anew = apply(session.state, SessionOpened(NOW, 2))

    assert recording.keep(anew) is NOT_RECORDED
    kept = recording.keep(session.state)
    assert kept.content is not None
    assert len(kept.content.data) < len(large) / 2
    await session.write(StepReserved(NOW, "c9", content=kept.fingerprint), kept.content)
    assert await session.contents.body_of(KEY, (await session.steps())["c9"]) == large


@pytest.mark.parametrize("written", ["not", "otherwise"])
async def test_a_large_body_is_not_told_by_what_the_store_refused(written: str) -> None:
    """Of two calls at once the second was prepared on the first, which then lost to a writer in
    another process: it was refused, or submitted again, and told by another."""
    session = await Session().begin()
    await session.ask(chat([message(0, 3_000)]))
    first, second = chat([message(1, 3_000)]), chat([message(1, 3_000), message(2, 20_000)])
    one, other = (
        session.recorder.recording(
            KEY, call_id, dialect_of("chat").parse(body, BOUNDS, None), body, FULL
        )
        for call_id, body in (("c8", first), ("c9", second))
    )
    assert one is not None
    assert other is not None
    submitted = one.keep(EMPTY)
    event = StepReserved(NOW, "c8", content=submitted.fingerprint)
    await other.prepare(apply(session.state, event), written=False)
    if written == "otherwise":
        again = one.keep(session.state)
        assert again.content is not None
        assert again.content != submitted.content
        await session.write(StepReserved(NOW, "c8", content=again.fingerprint), again.content)

    kept = other.keep(session.state)
    assert kept.content is not None
    await session.write(StepReserved(NOW, "c9", content=kept.fingerprint), kept.content)

    assert await session.contents.body_of(KEY, (await session.steps())["c9"]) == second


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_window_that_slides_costs_what_is_new_in_it(restarts: bool) -> None:
    """Its first message goes each time: it begins with nothing that the one before began with."""
    session = await Session().begin()
    messages = [message(n, 2_000) for n in range(60)]
    for n in range(20):
        if restarts:
            session.restart()
        await session.ask(chat([{"role": "system", "content": f"step {n}"}, *messages[n : n + 40]]))

    later = [session.sizes[f"c{n:04}.q"] for n in range(1, 20)]
    assert max(later) < session.sizes["c0000.q"] / 10
    assert len(session.state.recorded) == 1
    await session.check()


async def test_a_history_that_was_cut_short_is_told_by_the_one_before_it() -> None:
    """A compaction: a summary in the place of the first half."""
    session = await Session().begin()
    messages = [message(n, 2_000) for n in range(40)]
    await session.ask(chat(messages))
    await session.ask(chat([message(99, 900), *messages[20:], message(41)], user="u" * 40))

    assert session.sizes["c0001.q"] < session.sizes["c0000.q"] / 10
    await session.check()


async def test_where_the_base_cannot_be_read_a_body_is_kept_whole() -> None:
    session = await Session().begin()
    messages = [message(n, 2_000) for n in range(20)]
    await session.ask(chat(messages))
    await session.store.append(Append(KEY, (), contents=(Content("c0000.q", b"altered"),)))
    session.restart()
    await session.ask(chat(messages[1:], user="another frame"))

    step = (await session.steps())["c0001"]
    assert await session.contents.body_of(KEY, step) == session.sent["c0001"]


async def test_hashes_keep_no_content() -> None:
    session = await Session().begin()
    hashes = Checkpoints("hashes")
    call_id = await session.ask(chat([message(1)]), checkpoints=hashes)
    step = (await session.steps())[call_id]

    assert step.content.startswith(NOTHING_KEPT)
    assert session.sizes == {}
    with pytest.raises(ContentMissing, match=r"checkpoints\.content"):
        await session.contents.body_of(KEY, step)
    again = await session.ask(chat([message(1), message(2)]))
    assert (
        await session.contents.body_of(KEY, (await session.steps())[again]) == session.sent[again]
    )


def test_nothing_is_recorded_where_it_is_off() -> None:
    body = chat([message(1)])
    request = dialect_of("chat").parse(body, BOUNDS, None)

    recorder, off = Recorder(1, SEALING, nothing), Checkpoints("off")
    assert recorder.recording(KEY, "c", request, body, off) is None


@pytest.mark.parametrize("name", ["c0000.q", "c0001.q", "c0001.a"])
async def test_what_was_altered_or_is_gone_is_named(name: str) -> None:
    """Never another body in its place."""
    session = await Session().begin()
    for n in (2, 3):
        call_id = await session.ask(chat([message(k, 900) for k in range(n)]))
        await session.answer(call_id, SOME)
    step = (await session.steps())["c0001"]
    contents = dict(await session.store.read_contents(KEY))
    for data in (b"", contents[name][:-1], b"\x97" * 40, contents["c0000.q"][:-9] + b"123456789"):
        await session.store.append(Append(KEY, (), contents=(Content(name, data),)))
        steps = await session.steps()
        for line in (None, session.line(steps)):
            if name.endswith("a"):
                reading: Awaitable[object] = session.contents.answer_of(KEY, step, line)
            else:
                reading = session.contents.bodies_of(KEY, (step,), line)
            with pytest.raises(ContentMissing, match=r"c000[01]\.[qa] "):
                await reading


class Counting(MemoryStore):
    """Notes what it was asked for."""

    def __init__(self) -> None:
        super().__init__(SECRET)
        self.asked: list[str] = []

    async def read_contents(
        self, key: SessionKey, names: Sequence[str] | None = None
    ) -> Mapping[str, bytes]:
        assert names is not None, "all contents were asked for"
        self.asked += names
        return await super().read_contents(key, names)


@pytest.mark.parametrize("bodies", [False, True])
async def test_who_reads_a_session_step_by_step_reads_each_record_once(bodies: bool) -> None:
    """A replay of 150 steps: what it reads does not grow with what came before. Also where it
    begins in the middle, for the process has just started: then what that takes once."""
    session = Session()
    session.store = Counting()
    session.contents = Contents(session.store, SEED, SEALING)
    await session.begin()
    said = [message(k, 60) for k in range(300)]
    for n in range(150):
        call_id = await session.ask(chat(said[: 2 * n + 1]))
        await session.answer(call_id, SOME)
    steps = await session.steps()

    for first in (0, 120):
        line, asked = session.line(steps), []
        for call_id in [*steps][first:]:
            session.store.asked.clear()
            if bodies:
                found = await session.contents.bodies_of(KEY, (steps[call_id],), line)
                assert found == {call_id: session.sent[call_id]}
            given = await session.contents.answer_of(KEY, steps[call_id], line)
            assert given == session.answered[call_id]
            asked.append(len(session.store.asked))

        assert max(asked[1:]) == 2
        assert asked[0] <= 2 * (MOST_DEPTH + 17 if first and not bodies else first + 1)


async def test_a_reading_that_was_given_up_is_waited_for_by_none() -> None:
    """Its thread may go on for long, with the reader that the next call of the session has."""
    session = await Session().begin()
    call_id = await session.ask(chat([message(1)]))
    steps = await session.steps()
    line, begun, go_on = session.line(steps), threading.Event(), threading.Event()

    def slow(step: RecordedStep, body: bytes) -> bytes:
        begun.set()
        go_on.wait(5)
        return body

    made = asyncio.to_thread(line.reader.read, lambda reader: slow(steps[call_id], b""))
    given_up = asyncio.ensure_future(made)
    await asyncio.to_thread(begun.wait, 5)
    given_up.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)

    found = await session.contents.bodies_of(KEY, (steps[call_id],), line)

    assert found == {call_id: session.sent[call_id]}


class Stopping(Counting):
    """Answers so many times."""

    left = 1

    async def read_contents(
        self, key: SessionKey, names: Sequence[str] | None = None
    ) -> Mapping[str, bytes]:
        if not self.left:
            raise asyncio.CancelledError
        self.left -= 1
        return await super().read_contents(key, names)


async def test_what_a_reading_that_was_given_up_had_read_is_counted_and_read_anew() -> None:
    """A client that leaves in the middle of it, again and again, must not fill the memory; nor is
    what was not there then missing for good."""
    session = Session()
    session.store = Stopping()
    session.contents = Contents(session.store, SEED, SEALING)
    await session.begin()
    for n in range(4):
        call_id = await session.ask(chat([message(k, 60) for k in range(2 * n + 1)]))
        await session.answer(call_id, SOME)
    steps = await session.steps()
    line, last = session.line(steps), steps[[*steps][-1]]
    with pytest.raises(asyncio.CancelledError):
        await session.contents.bodies_of(KEY, (last,), line)

    stored = await MemoryStore.read_contents(session.store, KEY, [request_name(last.call_id)])
    assert line.reader.size_bytes >= sum(map(len, stored.values())) > 0
    session.store.left = 9
    session.store.asked.clear()
    assert await session.contents.bodies_of(KEY, (last,), line) == {
        last.call_id: session.sent[last.call_id]
    }
    assert session.store.asked.count(request_name(last.call_id)) == 1
    assert line.reader.lacks([request_name(last.call_id)]) != []


async def test_what_comes_from_another_ledger_is_read_and_gone_on_from_nowhere() -> None:
    """Its hashes are seeded with what nobody knows here: the chain vouches for it."""
    session = await Session().begin()
    await session.ask(chat([message(1, 3000)]))
    session.recorder, session.contents = (
        Recorder(8, SEALING, nothing),
        Contents(session.store, 8, SEALING),
    )
    await session.ask(chat([message(1, 3000), message(2)]))

    assert session.sizes["c0001.q"] > session.sizes["c0000.q"]
    await session.check()


async def test_a_large_conversation_of_another_ledger_is_gone_on_from() -> None:
    """Its hashes say nothing here; what it says does."""
    session = await Session().begin()
    messages = [message(n, 2_000) for n in range(20)]
    await session.ask(chat(messages))
    session.contents = Contents(session.store, 8, SEALING)
    session.recorder = Recorder(8, SEALING, session.contents.list_of)
    await session.ask(chat([*messages, message(99)]))

    assert session.sizes["c0001.q"] < session.sizes["c0000.q"] / 10
    await session.check()


async def test_no_record_needs_more_than_so_many_before_it() -> None:
    """A call whose answer is asked for is read without the whole of a long session."""
    session = await Session().begin()
    for n in range(150):
        await session.ask(chat([message(k, 40) for k in range(n + 1)]))
    depths = [session.recorder.windows.get(call_id) for call_id in session.sent]

    assert max(window.depth for window in depths if window) == MOST_DEPTH
    await session.check()


async def test_of_a_history_the_newest_window_alone_is_kept() -> None:
    """A request that is answered stands in its base's place: nobody goes on from that again."""
    session = await Session().begin()
    messages = [message(0)]
    for n in range(5):
        await session.answer(await session.ask(chat(messages)), SOME)
        messages.append(message(n + 1))
    kept = [call_id for call_id in session.sent if session.recorder.windows.get(call_id)]

    assert kept == ["c0004"]
    steps = await session.steps()
    assert [(await session.delta(one)).primed for one in steps] == [UNPRIMED, *[BY_ANSWER] * 4]
    await session.check()


async def test_a_window_stays_for_who_may_go_on_from_it() -> None:
    """Of one whose own answer is on its way; and of a history that another is only framed like."""
    session = await Session().begin()
    running = await session.ask(chat([message(0)]))
    await session.answer(await session.ask(chat([message(0), message(1)])), SOME)
    windows = session.recorder.windows

    assert windows.get(running)
    assert windows.fingerprint(running)
    side = await session.ask(chat([message(9)]))
    await session.answer(side, SOME)
    assert windows.get("c0001")
    again = await session.ask(chat([message(0), message(1), message(2)]))
    assert (await session.delta(again)).primed == BY_ANSWER
    await session.check()


async def test_what_reading_some_calls_takes_is_known() -> None:
    """A fork takes it along, and nothing else."""
    session = await Session().begin()
    for n in (2, 3, 4):
        call_id = await session.ask(chat([message(k, 900) for k in range(n)]))
        await session.answer(call_id, SOME)
    await session.ask(chat([message(99, 5000)]))
    needed = await session.contents.needed(KEY, ["c0001"])

    assert set(needed) == {"c0000.q", "c0000.a", "c0001.q", "c0001.a"}


def told(base: str, ranges: tuple[int, ...], data: bytes, primed: int = 0) -> bytes:
    """The record of a request, as somebody may have made it by hand."""
    return msgspec.msgpack.encode((VERSION, base, -1, -1, ranges, primed, deflated(data)))


async def shelf_of(contents: dict[str, bytes]) -> tuple[Contents, RecordedStep]:
    """A ledger with these contents, which came from a file, and a step that is told by `c`."""
    store = MemoryStore(SECRET)
    await store.open()
    kept = tuple([Content(name, data) for name, data in contents.items()])
    fingerprint = pack(
        Fingerprint(digest_of(contents["c.q"]), IN_CLEAR, seed_name(1), 0, 0, 0, 0, 0)
    )
    reserved = StepReserved(NOW, call_id="c", step=1, content=fingerprint)
    await store.append(Append(KEY, (SessionOpened(NOW), reserved), contents=kept))
    (step,) = steps_of(await store.read(KEY))
    return Contents(store, SEED, SEALING), step


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ({"c.q": told("c", (0, 0, 1), b"a")}, "told by itself"),
        ({"c.q": told("d", (0, 0, 1), b"a"), "d.q": told("c", (0, 0, 1), b"a")}, "told by itself"),
        ({"c.q": told("", (0, 0, 5_000), b"a" * 5_000)}, "larger than anything"),
        (
            {
                "c.q": told("n0", (0, 1_000, 0) * 9, b""),
                "n0.q": told("n1", (0, 300, 0, 0, 300, 0, 0, 300, 100), b"a" * 100),
                "n1.q": told("", (0, 0, 300), b"a" * 300),
            },
            "larger than anything",
        ),
    ],
)
async def test_records_that_nobody_wrote_fill_no_memory_and_end(
    monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes], said: str
) -> None:
    """A session that was taken in from a file has contents of somebody else."""
    monkeypatch.setattr(rebuilding, "MOST_BYTES", 4_096)
    reading, step = await shelf_of(contents)

    with pytest.raises(ContentMissing, match=said):
        await reading.body_of(KEY, step)
    if "itself" in said:
        with pytest.raises(ContentMissing, match=said):
            await reading.needed(KEY, ["c"])


async def test_an_answer_that_is_told_by_a_thousand_records_is_said_to_be_unreadable() -> None:
    """No ledger lets more than a few dozen stand in a row."""
    line = [f"n{n}" for n in range(2_000)]
    contents = {
        f"{one}.q": told(base, (0, 0, 1), b"a", BY_REQUEST)
        for one, base in zip(["c", *line], [*line, ""], strict=True)
    }
    contents["n1999.q"] = told("", (0, 0, 1), b"a")
    answer = msgspec.msgpack.encode((VERSION, BY_REQUEST, 200, False, 0, deflated(b"a")))
    reading, step = await shelf_of({**contents, "c.a": answer})

    with pytest.raises(ContentMissing, match="told by too many others"):
        await reading.answer_of(KEY, replace(step, answer=digest_of(answer)))


@pytest.mark.parametrize("primed", [BY_REQUEST, BY_ANSWER])
@pytest.mark.parametrize("in_line", [False, True])
async def test_a_record_that_goes_on_from_none_is_asked_for_once(
    primed: Primed, in_line: bool
) -> None:
    """Whoever reads record by record would ask for what has no name for ever."""
    reading, step = await shelf_of({"c.q": told("", (0, 0, 1), b"a", primed)})
    line = Line(reading.reader(), lambda call_id: "") if in_line else None

    with pytest.raises(ContentMissing, match="goes on from none"):
        await reading.bodies_of(KEY, (step,), line)


@pytest.mark.parametrize("ranges", [(0, -1, 1), (-1, 0, 1), (0, 0, -1)])
async def test_ranges_below_nothing_are_refused(ranges: tuple[int, ...]) -> None:
    reading, step = await shelf_of({"c.q": told("", ranges, b"a")})

    with pytest.raises(ContentMissing, match="its ranges are none"):
        await reading.body_of(KEY, step)


def sealing(keys: str) -> Sealing:
    return Sealing({"KEYS": keys}, lambda: SEALED)


async def sealed_session() -> tuple[Session, RecordedStep]:
    """One with a conversation of three requests and an answer, all sealed."""
    session = await Session().begin()
    session.seal(ONE)
    for n in (1, 2, 3):
        call_id = await session.ask(chat([message(k, 900) for k in range(n)]), checkpoints=SEALED)
    await session.answer(call_id, SOME, checkpoints=SEALED)
    return session, (await session.steps())[call_id]


async def test_what_is_sealed_is_read_with_its_key_alone() -> None:
    session, step = await sealed_session()
    contents = await session.store.read_contents(KEY)

    await session.check()
    assert not [name for name, data in contents.items() if not data.startswith(b"\1")]
    assert base_of(step.content) == "c0001"
    for keys in (OTHER, ""):
        reader = Contents(session.store, SEED, sealing(keys))
        with pytest.raises(ContentMissing, match=r"another key.*add it to KEYS"):
            await reader.body_of(KEY, step)


async def test_a_key_is_changed_without_losing_what_the_old_one_sealed() -> None:
    """And what the new one seals can be read by the new one alone."""
    session, _ = await sealed_session()
    session.seal(f"{OTHER}, {ONE}")
    call_id = await session.ask(chat([message(k, 900) for k in range(4)]), checkpoints=SEALED)

    await session.check()
    reader = Contents(session.store, SEED, sealing(OTHER))
    step = (await session.steps())[call_id]
    assert await reader.body_of(KEY, step) == session.sent[call_id]


async def test_sealed_contents_cannot_be_swapped_or_altered() -> None:
    session, step = await sealed_session()
    contents = await session.store.read_contents(KEY)
    for name, data in (("c0002.q", contents["c0001.q"]), ("c0002.q", contents["c0002.q"][:-1])):
        await session.store.append(Append(KEY, (), contents=(Content(name, data),)))
        with pytest.raises(ContentMissing):
            await session.contents.body_of(KEY, step)
        with pytest.raises(ContentMissing, match="altered"):
            sealing(ONE).opened(name, data)


async def test_the_same_sealed_twice_is_not_the_same() -> None:
    sealer = Sealer(ONE)

    assert sealer.seal("n", b"x") != sealer.seal("n", b"x")
    assert sealer.opened("n", sealer.seal("n", b"x")) == b"x"
    assert ONE.encode() not in sealer.seal("n", b"x")
