"""What it takes to keep what a session said: `python -m bench.recording`.

A session of tool calls is recorded as the proxy records it, request by request and answer by
answer, and read back. Its size is compared with that of all its messages and answers compressed at
once, of each of them compressed alone, and of each request compressed whole. CPU is of one thread,
the least of the rounds for each step, as others share the machine, and of as many steps as the
windows begin anew in; `--trajectories FILE` takes the longest conversation of a file of them (JSON
lines with `messages`, .gz or not).
"""

import argparse
import asyncio
import gzip
import json
import zlib
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from time import perf_counter, thread_time

from bench.bodies import Writer
from proxy.contents import Contents
from proxy.core.checkpoints import Checkpoints
from proxy.core.dialects.base import Bounds
from proxy.core.events import SessionOpened, StepReserved, StepSettled
from proxy.core.memo import MEMO_BYTES, Memo
from proxy.core.recording import MOST_DEPTH
from proxy.core.session import EMPTY, SessionKey, apply
from proxy.core.steps import steps_of
from proxy.recording import Recorder
from proxy.replies import dialect_of
from proxy.sealing import Sealing
from proxy.stores import Append, Content
from proxy.stores.memory import MemoryStore

FULL = Checkpoints()
KEY = SessionKey("bench", "s1")
JSON = (("content-type", "application/json"),)
_BOUNDS = Bounds(128, 1 << 23)
_PERIOD = MOST_DEPTH + 1
"""Of windows: two records a step, so that in as many steps they begin anew twice."""
Messages = list[object]


def drawn(steps: int, size_bytes: int) -> tuple[Messages, Messages]:
    """The tools of a session, and its messages: two a step, so many bytes in all."""
    writer = Writer()
    each = max(size_bytes // (2 * steps) - 100, 50)
    pairs = [writer.step(number, each) for number in range(steps)]
    begin: Messages = [{"role": "system", "content": writer.text(2_000)}]
    begin.append({"role": "user", "content": writer.text(500)})
    return [writer.tool(n) for n in range(20)], [*begin, *[m for pair in pairs for m in pair]]


def recorded(file: Path) -> tuple[Messages, Messages]:
    """The longest conversation of a file."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt") as lines:
        read = [json.loads(line) for line in lines]
    longest = max(read, key=lambda one: len(json.dumps(one.get("messages", ()))))
    return longest.get("tools") or [], longest["messages"]


class Session:
    """One, as it is recorded."""

    def __init__(self) -> None:
        self.store = MemoryStore(bytes(32))
        self.contents = Contents(self.store, 7, Sealing({}, Checkpoints))
        self.recorder = Recorder(7, Sealing({}, Checkpoints), self.contents.list_of)
        self.memo = Memo(MEMO_BYTES, 7)
        self.state = EMPTY
        self.sizes: list[tuple[int, int]] = []
        self.seconds: list[tuple[float, float]] = []
        self.elsewhere = Memo(MEMO_BYTES, 7)

    async def write(self, event: SessionOpened | StepReserved | StepSettled, *kept: Content) -> int:
        await self.store.append(Append(KEY, (event,), contents=kept))
        self.state = apply(self.state, event)
        return sum(len(one.data) for one in kept)

    async def step(self, body: bytes, answer: bytes, other: bytes = b"") -> None:
        """A request and its answer, each with what it costs to record. other: of another session,
        read in between."""
        call_id = f"{len(self.sizes):024x}"
        request = dialect_of("chat").parse(body, _BOUNDS, self.memo)
        assert request.learned is not None
        one = self.recorder.recording(KEY, call_id, request, body, FULL)
        assert one is not None
        if other:
            read = dialect_of("chat").parse(other, _BOUNDS, self.elsewhere)
            assert read.learned is not None
            self.elsewhere.keep(read.learned)
        began = thread_time()
        kept = self.recorder.request(one, self.state.recorded)
        asked = thread_time() - began
        assert kept.content is not None
        event = StepReserved(1.0, call_id, 1, content=kept.fingerprint, chain=kept.chain)
        sent = await self.write(event, kept.content)
        capture = self.recorder.capture(call_id, FULL)
        assert capture is not None
        began = thread_time()
        await capture.whole(200, JSON, answer, 0)
        taken = self.recorder.answer(call_id, capture, FULL)
        answered = thread_time() - began
        capture.drop()
        given = await self.write(StepSettled(1.0, call_id, content=taken.digest), taken.content)
        self.recorder.windows.answered(call_id, taken.after)
        self.memo.keep(request.learned)
        self.sizes.append((sent, given))
        self.seconds.append((asked, answered))


def bodies(tools: Messages, messages: Messages) -> list[tuple[bytes, bytes]]:
    """The requests of a conversation, each with its answer: before every assistant message."""
    found = []
    for at, message in enumerate(messages):
        if isinstance(message, dict) and message.get("role") == "assistant" and at:
            body: dict[str, object] = {"model": "mock", "messages": messages[:at]}
            if tools:
                body["tools"] = tools
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            head = {"id": f"chatcmpl-{at:x}", "object": "chat.completion", "model": "mock"}
            usage = {"prompt_tokens": at * 100, "completion_tokens": 64}
            answer = {**head, "choices": [choice], "usage": usage}
            found.append((json.dumps(body).encode(), json.dumps(answer).encode()))
    return found


async def record(steps: Sequence[tuple[bytes, bytes]], others: Sequence[bytes] = ()) -> Session:
    session = Session()
    await session.store.open()
    await session.write(SessionOpened(1.0))
    for (body, answer), other in zip(steps, others or repeat(b""), strict=False):
        await session.step(body, answer, other)
    return session


async def check(session: Session, steps: Sequence[tuple[bytes, bytes]]) -> float:
    """Reads the last request and all answers back; the seconds of the request."""
    log = steps_of(await session.store.read(KEY))
    began = perf_counter()
    assert await session.contents.body_of(KEY, log[-1]) == steps[-1][0]
    seconds = perf_counter() - began
    for step, (_, answer) in list(zip(log, steps, strict=True))[:: len(log) // 10 or 1]:
        assert (await session.contents.answer_of(KEY, step)).body == answer
    return seconds


def deflated(*texts: bytes) -> int:
    return sum(len(zlib.compress(text, 6)) for text in texts)


async def show_size(tools: Messages, messages: Messages) -> None:
    steps = bodies(tools, messages)
    session = await record(steps)
    seconds = await check(session, steps)
    kept = sum(map(sum, session.sizes))
    said = [json.dumps(message).encode() for message in messages]
    answers = [answer for _, answer in steps]
    tail = json.dumps(tools).encode()
    at_once = deflated(b"".join([tail, *said, *answers]))
    print(f"{len(steps)} steps, the last request {len(steps[-1][0]):,} bytes")
    print(f"  kept                                {kept:9,} bytes")
    for name, size in (
        ("messages and answers, all at once", at_once),
        ("messages and answers, each alone", deflated(tail, *said, *answers)),
        ("requests whole, and answers", deflated(*[body for body, _ in steps], *answers)),
    ):
        print(f"  {name:34}  {size:9,} bytes: kept is {kept / size:.2f} of it")
    print(f"  the last request read back          {seconds * 1e3:9.1f} ms")


async def show_growth(rounds: int, steps: int) -> None:
    """What is paid from step 10 on and for the last ones, for messages of one size; and early
    where something as large as those was read just before: that costs caches, not lengths."""
    said = bodies(*drawn(steps, steps * 800))
    runs = [await record(said) for _ in range(rounds)]
    print(f"{steps} steps of 800 bytes each")
    most = steps - _PERIOD
    for at in sorted({min(at, most) for at in (10, steps // 10, steps // 2, most)}):
        show_steps(runs, at)
    early = said[: 10 + _PERIOD]
    large = [body for body, _ in said[-len(early) :]]
    print("the early ones, where each time a body as large as the last ones was read just before")
    show_steps([await record(early, large) for _ in range(rounds)], 10)


def show_steps(runs: Sequence[Session], at: int) -> None:
    near = range(at, at + _PERIOD)
    least = [
        sum(min(run.seconds[n][part] for run in runs) for n in near) / _PERIOD * 1e6
        for part in (0, 1)
    ]
    size_bytes = sum(sum(runs[0].sizes[n]) for n in near) // _PERIOD
    print(
        f"  steps {at:4} to {near[-1]:4}  {size_bytes:6,} bytes kept, "
        f"request {least[0]:6.1f} µs, answer {least[1]:5.1f} µs"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trajectories", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--bytes", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--until", type=int, default=1_000, help="at least 100")
    arguments = parser.parse_args()
    file = arguments.trajectories
    said = recorded(file) if file else drawn(arguments.steps, arguments.bytes)
    asyncio.run(show_size(*said))
    if file is None:
        asyncio.run(show_growth(arguments.rounds, arguments.until))


if __name__ == "__main__":
    main()
