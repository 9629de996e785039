"""Recorded answers of every provider, translated: nothing of them may be lost on the way."""

import random
from dataclasses import replace
from typing import Any

import pytest

from proxy.core.dialects.base import Bounds, Dialect, Meter
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.messages import MESSAGES
from proxy.core.pricing import Price, Rates, Tier, cost_micro_usd
from proxy.core.surcharges import Apart, Fees
from proxy.core.translation.base import Translation
from proxy.core.translation.chat_via_messages.translation import CHAT_VIA_MESSAGES
from proxy.core.translation.finishes import chat_finish, messages_stop
from proxy.core.translation.messages_via_chat.translation import MESSAGES_VIA_CHAT
from proxy.core.usage import Answer, Usage
from tests.unit.core.dialects.metering import pieces, recordings

pytestmark = pytest.mark.data

RATES = Rates(101, 507, 13, 131, 211, 307, 701, 601)
PRICE = Price(
    RATES,
    tiers=(Tier(40, replace(RATES, input=211, output=997)),),
    fees=Fees(web_search=10_000_019, by_context={"low": 5_000_011, "high": 12_000_017}),
    apart=Apart(cache_read_audio=59, input_image=61, output_image=887),
)
"""Every class at a rate of its own: a token in the wrong class, or in none, changes the cost."""

DIRECTIONS: dict[str, tuple[str, Dialect, Dialect, Translation]] = {
    "chat via messages": ("messages", MESSAGES, CHAT, CHAT_VIA_MESSAGES),
    "messages via chat": ("chat.completions", CHAT, MESSAGES, MESSAGES_VIA_CHAT),
}


def cost(usage: Usage | None) -> int | None:
    return None if usage is None else cost_micro_usd(PRICE, usage)


def kept(answer: Answer) -> tuple[object, ...]:
    """What a client acts on. Ids that the other dialect refuses are made anew; Snowflake sends an
    empty `function_call` with every text."""
    calls = [(call.name, call.arguments or "{}") for call in answer.tool_calls if call.name]
    return answer.text, calls


def finish(name: str, answer: Answer) -> str:
    """What the reason has to become."""
    calls = any(call.name for call in answer.tool_calls)
    if name == "chat via messages":
        return chat_finish(answer.finish_reason, calls=calls)
    return messages_stop(answer.finish_reason, calls=calls)


def metered(dialect: Dialect, stream: bytes) -> Meter:
    meter = dialect.meter(strip_usage=False, bounds=Bounds())
    meter.feed(stream)
    meter.close()
    return meter


def translated(translation: Translation, chunks: list[bytes]) -> bytes:
    stream = translation.stream(b"{}", created=7)
    return b"".join([stream.feed(chunk) for chunk in chunks]) + stream.close()


def bodies(endpoint: str, *, stream: bool) -> list[bytes]:
    found: list[bytes] = []
    for record in recordings(endpoint):
        response: Any = record["response"]
        asks_one = '"n": 1' in record["request"]["body"] or '"n":' not in record["request"]["body"]  # type: ignore[index]  # JSON
        if response["status"] == 200 and bool(record["stream"]) == stream and asks_one:
            found.append(response["body"].encode())
    assert found
    return found


@pytest.mark.parametrize("name", DIRECTIONS)
def test_nothing_of_a_recorded_answer_is_lost(name: str) -> None:
    endpoint, spoken, client, translation = DIRECTIONS[name]
    for body in bodies(endpoint, stream=False):
        read = spoken.read_answer(body)
        seen = client.read_answer(translation.answer(body, asked=b"{}", created=7))
        assert (seen.malformed is None) == (read.malformed is None)
        assert kept(seen.answer) == kept(read.answer), body
        assert cost(seen.usage) == cost(read.usage), body
        if read.malformed is None:
            assert seen.answer.finish_reason == finish(name, read.answer)
            assert seen.answer.response_id == read.answer.response_id


@pytest.mark.parametrize("name", DIRECTIONS)
def test_nothing_of_a_recorded_stream_is_lost(name: str) -> None:
    """However its bytes are cut, and with both line ends."""
    endpoint, spoken, client, translation = DIRECTIONS[name]
    chance = random.Random(5)
    for body in bodies(endpoint, stream=True):
        whole = translated(translation, [body])
        for stream in (body, body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")):
            cuts = [chance.randrange(len(stream)) for _ in range(30)]
            assert translated(translation, pieces(stream, cuts)) == whole
        read, seen = metered(spoken, body), metered(client, whole)
        assert kept(seen.answer()) == kept(read.answer()), body
        assert cost(seen.usage) == cost(read.usage), body
        assert seen.malformed == 0
        assert bool(seen.failed) == bool(read.failed), body
        if not read.failed:
            assert seen.ended == (read.ended or read.finish_seen), body
            assert seen.answer().finish_reason == finish(name, read.answer())
            assert seen.answer().response_id == read.answer().response_id
