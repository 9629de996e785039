"""What the SDKs make of translated answers, and whether their types take translated requests."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from proxy.core.dialects.base import Bounds, Dialect
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.messages import MESSAGES
from proxy.core.translation.base import Translation, Untranslatable
from proxy.core.translation.chat_via_messages.translation import CHAT_VIA_MESSAGES
from proxy.core.translation.messages_via_chat.translation import MESSAGES_VIA_CHAT
from tests.clients.kit import node, python
from tests.clients.test_held_streams import Sdk, every_sdk, sdk_reads, streams
from tests.unit.core.dialects.metering import recordings
from tests.unit.core.translation import test_chat_via_messages as of_chat
from tests.unit.core.translation import test_messages_via_chat as of_messages

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

Json = dict[str, Any]
WAYS: dict[str, tuple[str, Dialect, str, Dialect, Translation]] = {
    "chat via messages": ("messages", MESSAGES, "chat", CHAT, CHAT_VIA_MESSAGES),
    "messages via chat": ("chat", CHAT, "messages", MESSAGES, MESSAGES_VIA_CHAT),
}
ENDPOINTS = {"chat": "chat.completions", "messages": "messages"}
every_way = pytest.mark.parametrize("way", WAYS)


def translated(translation: Translation, stream: bytes) -> bytes:
    translating = translation.stream(b"{}", created=7)
    return translating.feed(stream) + translating.close()


def wrong_with(cases: Sequence[tuple[str, Any]]) -> list[str]:
    """What the types of the SDKs say against these bodies of these kinds."""
    lines = [json.dumps({"kind": kind, "body": body}) for kind, body in cases]
    ended = subprocess.run(
        python("check_bodies"), input="\n".join(lines), capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    said = [json.loads(line) for line in ended.stdout.strip().split("\n")]
    assert len(said) == len(cases)
    return said


def metered(dialect: Dialect, stream: bytes) -> list[Any]:
    """As the programs tell it: text and calls."""
    meter = dialect.meter(strip_usage=False, bounds=Bounds())
    meter.feed(stream)
    meter.close()
    answer = meter.answer()
    calls = [[c.call_id, c.name, json.loads(c.arguments or "{}")] for c in answer.tool_calls]
    return [answer.text, calls]


@every_sdk
@every_way
def test_an_sdk_reads_in_a_translated_stream_what_the_provider_said(way: str, sdk: Sdk) -> None:
    name, spoken, client_name, _, translation = WAYS[way]
    given = [one.stream for one in streams(name, "1")]
    passed = [translated(translation, stream) for stream in given]

    (seen,) = sdk_reads(sdk, client_name, passed)
    times = len(seen) // len(passed)  # by a helper, and by hand
    expected = [metered(spoken, stream) for stream in given for _ in range(times)]
    told = [
        [text, [[one, called, json.loads(arguments or "{}")] for one, called, arguments in calls]]
        for _, text, calls, _, _ in seen
    ]
    assert told == expected
    assert [whole[3] for whole in seen] == [
        ("tool_calls" if calls else "stop")
        if client_name == "chat"
        else ("tool_use" if calls else "end_turn")
        for _, calls in expected
    ]


@every_way
def test_a_translated_answer_is_one_of_the_sdks(way: str) -> None:
    """Every recorded one; validated, not only read."""
    name, _, client_name, client, translation = WAYS[way]
    cases = []
    for record in recordings(ENDPOINTS[name]):
        response: Any = record["response"]
        if record["stream"] or response["status"] != 200:
            continue
        told = translation.answer(response["body"].encode(), asked=b"{}", created=7)
        if client.read_answer(told).malformed is None:
            cases.append((f"{client_name} answer", json.loads(told)))

    assert [wrong for wrong in wrong_with(cases) if wrong] == []
    assert len(cases) > 5


@every_way
def test_a_translated_request_is_one_of_the_sdks(way: str) -> None:
    """Every recorded one that can be translated, and every row of the tables."""
    name, _, client_name, _, translation = WAYS[way]
    module: Any = of_chat if client_name == "chat" else of_messages
    bodies: list[Json] = [{"model": "m", **given} for given, _ in module.CARRIED.values()]
    parts: Any = module.PARTS if client_name == "chat" else module.BLOCKS
    bodies += [{"messages": [{"role": "user", "content": [part]}]} for part, _ in parts.values()]
    bodies = [{"model": "m", "messages": [module.USER], **body} for body in bodies]
    recorded: list[Any] = [one["request"] for one in recordings(ENDPOINTS[client_name])]
    bodies += [json.loads(request["body"]) for request in recorded if request["body"]]
    cases = []
    for body in bodies:
        try:
            told = translation.request(json.dumps(body).encode(), output_bound=9)
        except Untranslatable:
            continue
        cases.append((f"{name} request", json.loads(told)))

    wrong = wrong_with(cases)
    assert [(one, case) for one, case in zip(wrong, cases, strict=True) if one] == []
    assert len(cases) > 40


def test_the_types_of_the_sdks_refuse_what_is_wrong() -> None:
    """Else the tests above could not fail."""
    cases = [
        ("messages request", {"model": "m", "max_tokens": 1, "messages": [{"role": "user"}]}),
        ("chat request", {"model": "m", "messages": [{"role": "assistant", "content": [{}]}]}),
        ("messages answer", {"id": "m", "content": []}),
        ("chat answer", {"id": "c", "choices": []}),
    ]

    assert all(wrong_with(cases))


@pytest.mark.parametrize("sdk", [python, node])
@every_way
def test_an_error_in_a_translated_stream_is_raised(way: str, sdk: Sdk) -> None:
    """Not read as an answer that is whole."""
    name, _, client_name, _, translation = WAYS[way]
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    whole = streams(name, "1")[0].events[0]
    stream = whole + f"event: error\ndata: {json.dumps(error)}\n\n".encode()
    line = {"dialect": client_name, "stream": translated(translation, stream).decode()}
    ended = subprocess.run(
        sdk("read_streams"), input=json.dumps(line), capture_output=True, text=True
    )

    assert ended.returncode != 0
    assert "busy" in ended.stderr
