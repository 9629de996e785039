"""The bench's load generator and upstream, compiled and run: they count what really happened."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench.bodies import Body, conversation, question
from bench.process import Server, free_port
from bench.rig.build import built
from bench.rig.load import Load, Outcome, outcome
from tests.integration.bench_kit import ok, saying

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        sys.platform != "linux" or not shutil.which("cc") or not shutil.which("taskset"),
        reason="the rig needs Linux, cc and taskset",
    ),
]
SECONDS = 0.05
WHOLE = b'{"choices":[{"message":{"content":"[whole]"}}],"usage":{"prompt_tokens":1}}'
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"10\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (WHOLE[:16], len(WHOLE) - 16, WHOLE[16:])
)


async def run(tmp_path: Path, port: int, bodies: Sequence[Body], **how: int) -> Outcome:
    files = []
    for number, body in enumerate(bodies):
        files.append(tmp_path / f"body-{number}.json")
        files[-1].write_text(json.dumps(body))
    load = Load(
        port=port,
        path="/v1/chat/completions",
        bodies=tuple(files),
        connections=how.get("connections", 2),
        stream=bool(how.get("stream")),
        sessions=how.get("sessions", 0),
    )
    process = await asyncio.create_subprocess_exec(
        built("load"), *load.argv(SECONDS), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return outcome(said)


@asynccontextmanager
async def upstream(tmp_path: Path) -> AsyncIterator[int]:
    port = free_port()
    core = min(os.sched_getaffinity(0))
    server = Server((str(built("upstream")), str(port)), core, tmp_path, {}, tmp_path / "log")
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                assert server.exit_code is None
            else:
                writer.close()
                break
        yield port
    finally:
        server.stop()


@pytest.mark.parametrize("gap_ms", [None, 0, 1])
async def test_the_rigs_own_answers_are_whole(tmp_path: Path, gap_ms: int | None) -> None:
    """Else every system would seem to break them."""
    async with upstream(tmp_path) as port:
        said = await run(tmp_path, port, [question(gap_ms)], stream=gap_ms is not None)

    assert said.errors == 0, said.example
    assert said.answered > 0
    assert said.chunks == (0 if gap_ms is None else 50 * said.answered)


async def test_a_body_of_400_kb_is_sent_and_taken_whole(tmp_path: Path) -> None:
    """More than one write at the generator, more than one read at the upstream."""
    async with upstream(tmp_path) as port:
        said = await run(tmp_path, port, conversation(60, 423_000)[-1:])

    assert said.errors == 0, said.example
    assert said.answered > 0


@pytest.mark.parametrize(
    ("answer", "close"),
    [(ok(WHOLE), False), (CHUNKED, False), (b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE, True)],
    ids=["length", "chunked", "until it closes"],
)
async def test_whole_answers_count_in_every_framing(
    tmp_path: Path, answer: bytes, close: bool
) -> None:
    """Proxies choose their own."""
    async with saying(answer, close=close) as port:
        said = await run(tmp_path, port, [question()])

    assert said.answered > 0
    assert said.errors == 0, said.example


@pytest.mark.parametrize(
    ("answer", "close", "kind"),
    [
        (b"HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\n{}", False, "refused"),
        (ok(b'{"usage":{"prompt_tokens":1}}'), False, "partial"),
        (ok(WHOLE, len(WHOLE) + 1), True, "closed"),
        (CHUNKED[:-5], True, "closed"),
        (b"", True, "closed"),
    ],
    ids=["refused", "without its text", "short of its length", "without its last chunk", "none"],
)
async def test_anything_less_than_a_whole_answer_is_an_error(
    tmp_path: Path, answer: bytes, close: bool, kind: str
) -> None:
    """A proxy that refuses, empties or truncates is faster than one that works."""
    async with saying(answer, close=close) as port:
        said = await run(tmp_path, port, [question()])

    kinds = {"refused": said.statuses.get("422", 0), "partial": said.partial}
    assert said.answered == 0
    assert said.errors > 0
    assert said.errors == {**kinds, "closed": said.closed}[kind]


@pytest.mark.parametrize(
    ("chunks", "end", "whole"),
    [(50, b"data: [DONE]\n\n", True), (49, b"data: [DONE]\n\n", False), (50, b"", False)],
    ids=["whole", "a chunk is missing", "its end is missing"],
)
async def test_a_stream_counts_only_with_every_chunk_and_its_end(
    tmp_path: Path, chunks: int, end: bytes, whole: bool
) -> None:
    """A proxy that ends a stream early and cleanly is the worst of all."""
    body = b'data: "t=123456789012 "\n\n' * chunks + b"data: %b\n\n%b" % (WHOLE, end)
    async with saying(ok(body)) as port:
        said = await run(tmp_path, port, [question(0)], stream=True)

    assert (said.answered > 0) is whole
    assert (said.partial == said.errors > 0) is not whole


async def test_a_session_grows_step_by_step_and_gives_way_to_a_new_one(tmp_path: Path) -> None:
    """A session that skipped or repeated a step would not be what an agent sends."""
    steps = conversation(6, 20_000)
    seen: list[bytes] = []
    async with saying(ok(WHOLE), seen=seen) as port:
        await run(tmp_path, port, steps, sessions=4)

    sizes: dict[bytes, list[int]] = {}
    for request in seen:
        head, _, body = request.partition(b"\r\n\r\n")
        session = head.partition(b"x-holdfast-session: ")[2].split(b"\r\n")[0]
        assert session in body
        sizes.setdefault(session, []).append(len(json.loads(body)["messages"]))
    assert len(sizes) > 4
    assert all(grown == [2, 4, 6][: len(grown)] for grown in sizes.values())
    assert [2, 4, 6] in sizes.values()
