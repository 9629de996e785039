"""The embeddings endpoint: only input, never a stream."""

import json

import pytest

from proxy.core.changes import Changes
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.embeddings import EMBEDDINGS
from proxy.core.request import Request
from proxy.errors import MalformedRequest


def read(given: object, bounds: Bounds | None = None) -> Request:
    body = json.dumps({"model": "m", "input": given}).encode()
    return EMBEDDINGS.parse(body, bounds or Bounds())


@pytest.mark.parametrize(
    ("given", "text_bytes"),
    [
        ("abc", 5),
        (["abc", "d"], 8),
        ([1, 2, 3], 24),
        ([[1], [2, 3]], 24),
        ([{"text": "a"}], 13),
    ],
)
def test_a_request_is_priced_by_its_input(given: object, text_bytes: int) -> None:
    """Nothing is generated, so nothing is held for output."""
    request = read(given)

    assert request.text_bytes == text_bytes
    assert (request.dialect, request.output_bound, request.choices) == ("embeddings", 0, 1)
    assert (request.messages, request.stream) == ((), False)


@pytest.mark.parametrize("given", [None, [], 5, ["a", 5], [[True]]])
def test_what_is_no_input_is_refused_by_name(given: object) -> None:
    """Wrong types get a 400 that names the parameter."""
    with pytest.raises(MalformedRequest, match="input: expected"):
        read(given)


def test_inputs_are_bounded() -> None:
    """As messages are."""
    with pytest.raises(MalformedRequest, match="input: expected 1 to 1 inputs"):
        read(["a", "b"], Bounds(messages=1))


def test_only_the_model_is_ever_changed() -> None:
    """There is no bound and no stream to change."""
    body = b'{"model":"m","input":"a"}'
    request = EMBEDDINGS.parse(body, Bounds())

    assert EMBEDDINGS.rewrite(body, request, Changes(5, ask_usage=True, model="m")) is body
    assert EMBEDDINGS.rewrite(body, request, Changes()) is body
    assert EMBEDDINGS.rewrite(body, request, Changes(model="x")) == b'{"model":"x","input":"a"}'


def test_answers_are_metered() -> None:
    """Unstreamed; the meter is there because every dialect has one."""
    answer = b'{"data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}'
    found = EMBEDDINGS.read_answer(answer)

    assert found.usage is not None
    assert found.usage.total_tokens == 3
    assert EMBEDDINGS.meter(strip_usage=False, bounds=Bounds()).feed(b"x") == b"x"


def test_no_text_can_be_an_embedding() -> None:
    """A hand-over has nothing to say here: the list is empty, and SDKs stop on that."""
    rendered = EMBEDDINGS.render_text("Help.", read("a"), "x", 7)

    assert json.loads(rendered)["data"] == []
    assert EMBEDDINGS.stream_text("Help.", read("a"), "x", 7) == rendered
