"""Recorded exchanges of `/v1/responses` and `/v1/messages`, as their providers sent them."""

import json
import random
from collections.abc import Mapping

import pytest

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds, Dialect
from proxy.core.dialects.messages import MESSAGES
from proxy.core.dialects.responses import RESPONSES
from proxy.core.usage import Usage
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import metered, pieces, recordings, seen

pytestmark = pytest.mark.data

DIALECTS: Mapping[str, Dialect] = {"responses": RESPONSES, "messages": MESSAGES}
ROUNDS = 5


def told(body: bytes) -> dict[str, object]:
    """The record's own figures by an independent reading: the last of each in any of its events."""
    lines = [line.partition(b":")[2].strip() for line in body.splitlines() if line[:5] == b"data:"]
    figures: dict[str, object] = {}
    for line in lines or [body]:
        event = {} if line == b"[DONE]" else json.loads(line)
        for holder in (event, event.get("response") or {}, event.get("message") or {}):
            figures |= {k: v for k, v in (holder.get("usage") or {}).items() if v is not None}
    return figures


def expected(endpoint: str, figures: Mapping[str, object]) -> tuple[object, ...]:
    details = figures.get("input_tokens_details") or {}
    made = figures.get("output_tokens_details") or {}
    assert isinstance(details, dict)
    assert isinstance(made, dict)
    whole = figures["input_tokens"]
    read = details.get("cached_tokens", 0)
    if endpoint == "messages":
        read = figures.get("cache_read_input_tokens", 0)
        written = figures.get("cache_creation_input_tokens", 0)
        whole += read + written  # type: ignore[operator]  # JSON
    return whole, read, figures["output_tokens"], made.get("reasoning_tokens", 0)


def found(usage: Usage | None) -> tuple[object, ...]:
    assert usage is not None
    return (
        usage.total_input_tokens,
        usage.cache_read_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    )


@pytest.mark.parametrize("endpoint", ["responses", "messages"])
def test_every_recorded_answer_is_metered_as_its_provider_says(
    endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With random chunk borders and both line ends: bytes untouched, usage that of the record."""
    dialect = DIALECTS[endpoint]
    chance = random.Random(7)
    streams = whole = 0
    for record in recordings(endpoint):
        response = record["response"]
        assert isinstance(response, dict)
        if response["status"] != 200:
            continue
        body = response["body"].encode()
        figures = expected(endpoint, told(body))
        if not record["stream"]:
            read = dialect.read_answer(body)
            assert (found(read.usage), read.malformed) == (figures, None)
            whole += 1
            continue
        in_one = metered(dialect, [body])
        assert (in_one.committed, in_one.ended, in_one.failed) == (True, True, None)
        for stream in (body, body.replace(b"\n", b"\r\n")):
            for _ in range(ROUNDS):
                chunks = pieces(stream, [chance.randrange(len(stream)) for _ in range(40)])
                meter = metered(dialect, chunks)  # asserts that the chunks themselves come back
                assert found(meter.usage) == figures
                assert seen(meter) == seen(in_one)
        streams += 1
    with capsys.disabled():
        print(
            f"\n{endpoint}: {streams} streams x {2 * ROUNDS} chunkings, {whole} unstreamed answers"
        )
    assert streams
    assert whole


@pytest.mark.parametrize("endpoint", ["responses", "messages"])
def test_every_recorded_request_is_read_and_left_alone(
    endpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a provider took we take; what it refused as malformed we may."""
    dialect = DIALECTS[endpoint]
    requests = 0
    for record in recordings(endpoint):
        sent, response = record["request"], record["response"]
        assert isinstance(sent, dict)
        assert isinstance(response, dict)
        body = sent["body"].encode()
        try:
            request = dialect.parse(body, Bounds())
        except MalformedRequest:
            assert response["status"] == 400
            continue
        assert request.model == json.loads(body)["model"]
        assert request.text_bytes > 0
        assert dialect.rewrite(body, request, Changes()) is body
        lowered = dialect.rewrite(body, request, Changes(output_bound=77))
        assert dialect.parse(lowered, Bounds()).output_bound == 77
        assert dialect.parse(lowered, Bounds()).messages == request.messages
        requests += 1
    with capsys.disabled():
        print(f"\n{endpoint}: {requests} requests")
    assert requests
