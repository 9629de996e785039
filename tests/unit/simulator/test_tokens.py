"""The simulator's tokenizer: what it bills must be what passed."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.simulator.tokens import TokenCounter, split


@given(st.text(max_size=400))
def test_tokens_joined_are_the_text(text: str) -> None:
    """Streams send tokens one by one; nothing may be lost between them."""
    assert "".join(split(text)) == text


@given(st.text(max_size=600))
def test_the_count_is_the_number_of_tokens(text: str) -> None:
    """Remembered or counted, long or short: one truth."""
    counter = TokenCounter()

    assert counter.text(text) == counter.text(text) == len(split(text))


def test_english_takes_about_four_bytes_a_token() -> None:
    """Budgets in examples have to look as they do with real models."""
    text = "The agent reads the file, finds the failing test and repairs the function. " * 20

    assert 3.5 < len(text) / len(split(text)) < 6


def test_an_image_costs_the_same_however_large_it_is() -> None:
    """Providers bill images by tiles, not by the bytes of their base64."""
    counter = TokenCounter()

    def image(size: int) -> object:
        return {"content": [{"image_url": {"url": "data:image/png;base64," + "A" * size}}]}

    assert counter.part(image(10)) == counter.part(image(100_000))


def test_ids_cost_nothing_and_tool_definitions_cost_their_names() -> None:
    """Models never read ids; they do read the names of parameters."""
    counter = TokenCounter()
    message = {"role": "tool", "content": "ok"}
    bare = {"function": {"name": "f", "parameters": {}}}
    named = {"function": {"name": "f", "parameters": {"properties": {"city": {}, "unit": {}}}}}

    assert counter.part(message | {"tool_call_id": "call_" + "x" * 24}) == counter.part(message)
    assert counter.part(named) > counter.part(bare)


def test_tool_input_is_counted_with_its_names() -> None:
    """In messages an input is an object, in chat a text: both are what the model wrote."""
    counter = TokenCounter()

    short = counter.part({"input": {}})

    assert counter.part({"input": {"id": "abc", "count": 12}}) > short + 3
