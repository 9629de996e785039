"""The legacy completions endpoint: prompts in, text out."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.completions import COMPLETIONS
from proxy.core.request import Request
from proxy.core.usage import Answer, Usage
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import json_values, law


def read(bounds: Bounds | None = None, **fields: object) -> Request:
    body = json.dumps({"model": "m", **fields}).encode()
    return COMPLETIONS.parse(body, bounds or Bounds())


def test_a_request_is_read() -> None:
    """A prompt is the message of a user."""
    request = read(prompt="Once", suffix="end", max_tokens=0, n=2, best_of=3, stream=True, user="u")

    assert [(message.role, message.text) for message in request.messages] == [("user", "Once")]
    assert (request.dialect, request.stream, request.include_usage) == ("completions", True, False)
    assert (request.output_bound, request.choices) == (0, 3)
    assert request.text_bytes == len('"Once""end"')
    assert request.hints == {"user": "u"}


@pytest.mark.parametrize(
    ("prompt", "prompts", "text_bytes"),
    [
        (None, 0, 0),
        ([], 0, 0),
        (["a", "bc"], 2, 7),
        ([1, 2, 3], 1, 24),
        ([[1, 2], [3]], 2, 24),
    ],
)
def test_each_prompt_is_answered_and_each_token_counted(
    prompt: object, prompts: int, text_bytes: int
) -> None:
    """A list of prompts multiplies the output; tokens are no fewer than their text would be."""
    request = read(prompt=prompt, n=2)

    assert len(request.messages) == prompts
    assert request.choices == 2 * max(1, prompts)
    assert request.text_bytes == text_bytes


def test_token_prompts_differ() -> None:
    """They have no text, but they are not all one message."""
    first, second = read(prompt=[[1], [2]]).messages

    assert first.content_digest != second.content_digest


@pytest.mark.parametrize("prompt", [5, True, ["a", 5], [1.5], [[1.5]], [None], [1, "a"]])
def test_what_is_no_prompt_is_refused_by_name(prompt: object) -> None:
    """Wrong types get a 400 that names the parameter."""
    with pytest.raises(MalformedRequest, match="prompt: expected text, tokens, or a list"):
        read(prompt=prompt)


def test_prompts_are_bounded() -> None:
    """Each is hashed and stored."""
    with pytest.raises(MalformedRequest, match="prompt: expected at most 1 prompts"):
        read(Bounds(messages=1), prompt=["a", "b"])


@law
@given(json_values, st.sampled_from(["prompt", "max_tokens", "best_of", "stream", "suffix"]))
def test_arbitrary_values_are_read_or_refused(value: object, key: str) -> None:
    """MalformedRequest is all that may be raised."""
    body = json.dumps({"model": "m", key: value}).encode()

    with suppress(MalformedRequest):
        assert COMPLETIONS.parse(body, Bounds()).choices >= 1


def test_the_bound_is_lowered_under_its_only_key() -> None:
    """This endpoint knows no max_completion_tokens."""
    body = b'{"model":"m","prompt":"a","stream":true}'
    request = COMPLETIONS.parse(body, Bounds())

    assert COMPLETIONS.rewrite(body, request, Changes(5, ask_usage=True)) == (
        b'{"model":"m","prompt":"a","stream":true,'
        b'"stream_options":{"include_usage":true},"max_tokens":5}'
    )


def test_streams_and_answers_are_metered() -> None:
    """Text instead of messages, the rest as in chat."""
    meter = COMPLETIONS.meter(strip_usage=True, bounds=Bounds())
    first = b'data: {"id":"cmpl-1","choices":[{"text":"On","index":0,"finish_reason":null}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'

    assert meter.feed(first + usage) == first
    assert meter.answer() == Answer("On", (), "cmpl-1")
    assert meter.usage == Usage(1, output_tokens=2)
    whole = COMPLETIONS.read_answer(b'{"choices":[{"text":"On","finish_reason":"stop"}]}')
    assert whole.answer == Answer("On", (), None, "stop")


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_text_of_ours_is_a_finished_answer(include_usage: bool) -> None:
    """Streamed or not."""
    request = read(prompt="a", stream=True, stream_options={"include_usage": include_usage})
    answer = Answer("Help.", (), "cmpl-1", "stop")
    meter = COMPLETIONS.meter(strip_usage=False, bounds=Bounds())

    meter.feed(COMPLETIONS.stream_text("Help.", request, "cmpl-1", 7))

    assert (
        COMPLETIONS.read_answer(COMPLETIONS.render_text("Help.", request, "cmpl-1", 7)).answer
        == answer
    )
    assert (meter.answer(), meter.ended) == (answer, True)
    assert meter.usage == (Usage() if include_usage else None)
