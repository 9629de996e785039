"""What reading answers costs: `python -m bench.meters`. CPU in µs, best of many.

One event a chunk; as one of twenty in a chunk; in two chunks; with CRLF. Recorded streams (found by
HOLDFAST_DATA or beside the repository) come an event a chunk, and in chunks of 1,400 bytes.
"""

import gzip
import os
import re
import timeit
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import process_time

from proxy.core.dialects.base import Bounds, Dialect
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName
from tests.integration.cassette_upstream import recordings

_BESIDE = Path(__file__).parents[2] / "shared" / "data"
_RECORDED = Path(os.environ.get("HOLDFAST_DATA", _BESIDE)) / "cassettes/cassettes_small.jsonl.gz"
_BOUNDS = Bounds()
_EVENTS_FED = 400
_SEGMENT_BYTES = 1_400
_TEXT = (b"An agent that calls tools in a loop needs a budget. " * 14)[:700]

_CHAT = (
    b'data: {"id":"chatcmpl-B0abcdefghijklmnopqrstuvwxyz","object":"chat.completion.chunk",'
    b'"created":1763856000,"model":"gpt-4o-mini-2024-07-18","system_fingerprint":"fp_0123456789",'
    b'"choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":null}]}\n\n'
)
_CHAT_TEXT = _CHAT % b'{"content":" governed"}'
_RESPONSES = (
    b"event: response.output_text.delta\n"
    b'data: {"type":"response.output_text.delta","sequence_number":14,"item_id":'
    b'"msg_0123456789abcdef0123456789abcdef","output_index":0,"content_index":0,'
    b'"delta":" governed","logprobs":[],"obfuscation":"aB3xyz"}\n\n'
)
_MESSAGES = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":" governed"}}\n\n'
)
EVENTS: Sequence[tuple[str, DialectName, bytes]] = (
    ("chat, text", "chat", _CHAT_TEXT),
    ("chat, usage null", "chat", _CHAT_TEXT[:-3] + b',"usage":null,"obfuscation":"aB3"}\n\n'),
    ("chat, Chinese", "chat", _CHAT_TEXT.replace(b" governed", "治理代理".encode())),
    (
        *("chat, arguments", "chat"),
        _CHAT % b'{"tool_calls":[{"index":0,"function":{"arguments":"{\\"q\\""}}]}',
    ),
    ("responses, text", "responses", _RESPONSES),
    ("messages, text", "messages", _MESSAGES),
)
_ANSWERS: Mapping[DialectName, bytes] = {
    "chat": (
        b'{"id":"chatcmpl-1","object":"chat.completion","created":1763856000,"model":"gpt-4o",'
        b'"choices":[{"index":0,"message":{"role":"assistant","content":"%b","refusal":null,'
        b'"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,'
        b'"completion_tokens":160,"total_tokens":179,"prompt_tokens_details":{"cached_tokens":0,'
        b'"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}}'
    )
    % _TEXT,
    "responses": (
        b'{"id":"resp_1","object":"response","created_at":1763856000,"status":"completed",'
        b'"error":null,"incomplete_details":null,"instructions":null,"model":"gpt-4o",'
        b'"output":[{"id":"msg_1","type":"message","status":"completed","role":"assistant",'
        b'"content":[{"type":"output_text","annotations":[],"text":"%b"}]}],"usage":{'
        b'"input_tokens":19,"input_tokens_details":{"cached_tokens":0},"output_tokens":160,'
        b'"output_tokens_details":{"reasoning_tokens":0},"total_tokens":179}}'
    )
    % _TEXT,
    "messages": (
        b'{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5",'
        b'"content":[{"type":"text","text":"%b"}],"stop_reason":"end_turn","stop_sequence":null,'
        b'"usage":{"input_tokens":19,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,'
        b'"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},'
        b'"output_tokens":160,"service_tier":"standard"}}'
    )
    % _TEXT,
}


def best(work: Callable[[], object], parts: int) -> float:
    """Microseconds of one of the `parts` of `work`."""
    rounds = max(9, 60_000 // parts)
    return min(timeit.repeat(work, timer=process_time, number=1, repeat=rounds)) / parts * 1e6


def meter(dialect: Dialect, streams: Sequence[Sequence[bytes]], strip: bool) -> None:
    for chunks in streams:
        metering = dialect.meter(strip_usage=strip, bounds=_BOUNDS)
        for chunk in chunks:
            metering.feed(chunk)
        metering.close()


def read(dialect: Dialect, bodies: Sequence[bytes]) -> None:
    for body in bodies:
        dialect.read_answer(body)


def measure_events() -> None:
    """`unasked`: usage is ours to take out (chat); the columns after it are so too."""
    columns = ("bytes", "alone", "unasked", "of 20", "in two", "CRLF")
    print(f"{'an event':18}" + "".join(f"{name:>9}" for name in columns))
    for name, dialect_name, event in EVENTS:
        alone = [event] * _EVENTS_FED
        ways: Sequence[tuple[Sequence[bytes], bool]] = (
            (alone, False),
            (alone, True),
            ([event * 20] * (_EVENTS_FED // 20), True),
            ([event[:100], event[100:]] * _EVENTS_FED, True),
            ([event.replace(b"\n", b"\r\n")] * _EVENTS_FED, True),
        )
        figures = [
            best(partial(meter, DIALECTS[dialect_name], [chunks], strip), _EVENTS_FED)
            for chunks, strip in ways
        ]
        print(f"{name:18}{len(event):9}" + "".join(f"{figure:9.2f}" for figure in figures))


def measure_answers() -> None:
    print(f"\n{'an answer':18}{'bytes':>9}{'whole':>9}")
    for name, body in _ANSWERS.items():
        figure = best(partial(read, DIALECTS[name], [body] * 100), 100)
        print(f"{name:18}{len(body):9}{figure:9.2f}")


def recorded() -> Mapping[DialectName, list[bytes]]:
    """The recorded streams of each dialect."""
    found: dict[DialectName, list[bytes]] = defaultdict(list)
    with gzip.open(_RECORDED, "rt", encoding="utf-8") as lines:
        for one in recordings(lines):
            if one.stream and one.status == 200:
                found[one.endpoint].append(one.body)
    return found


def measure_recorded() -> None:
    columns = ("streams", "events", "bytes", "alone", "of 1400 B")
    print(f"\n{'recorded, an event':18}" + "".join(f"{name:>10}" for name in columns))
    for name, bodies in recorded().items():
        events = [re.findall(rb".*?(?:\r?\n){2}|.+$", body, re.DOTALL) for body in bodies]
        segments = [
            [body[at : at + _SEGMENT_BYTES] for at in range(0, len(body), _SEGMENT_BYTES)]
            for body in bodies
        ]
        count = sum(map(len, events))
        alone, packed = (
            best(partial(meter, DIALECTS[name], chunks, True), count)
            for chunks in (events, segments)
        )
        size = sum(map(len, bodies)) // count
        print(f"{name:18}{len(bodies):10}{count:10}{size:10}{alone:10.2f}{packed:10.2f}")


if __name__ == "__main__":
    measure_events()
    measure_answers()
    if _RECORDED.exists():
        measure_recorded()
