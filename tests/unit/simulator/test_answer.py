"""From a turn to an answer: bounds are kept, and what is billed is what is said."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.simulator.answer import Answer, Usage, chunks, compose, filler
from proxy.simulator.conversation import Conversation
from proxy.simulator.script import ToolCall, Turn, UsageOverride
from proxy.simulator.tokens import split

TURN = Turn(
    text="I shall look that up in the catalogue.",
    reasoning="The user wants a price, so the catalogue is the place to look.",
    tool_calls=(ToolCall("look_up", {"article": "lamp"}), ToolCall("note", {"text": "asked"})),
)


def size(answer: Answer) -> int:
    calls = sum(call.tokens for call in answer.calls)
    return len(answer.reasoning) + len(answer.text) + calls


@given(st.integers(1, 80))
def test_an_answer_keeps_its_bound_and_is_billed_what_it_says(limit: int) -> None:
    """A provider that breaks its bound is a fault of its own, never an accident."""
    answer = compose(TURN, Conversation("chat", "m", max_output_tokens=limit), Usage(5))

    assert size(answer) <= limit
    assert answer.billed.output_tokens == size(answer)
    whole = size(compose(TURN, Conversation("chat", "m"), Usage()))
    assert answer.finish == ("length" if whole > limit else "tool_calls")


def test_ignoring_the_bound_passes_it_by_a_quarter() -> None:
    """Some providers do; what it costs has to be booked by somebody."""
    conversation = Conversation("chat", "m", max_output_tokens=200)

    answer = compose(Turn("short"), conversation, Usage(), bounded=False)

    assert answer.billed.output_tokens == 250
    assert len(split("".join(answer.text))) == 250


def test_each_choice_is_billed() -> None:
    """`n` answers cost n times the output and once the input."""
    answer = compose(Turn("one two three"), Conversation("chat", "m", choices=3), Usage(5))

    assert (answer.billed.input_tokens, answer.billed.output_tokens) == (5, 9)


def test_usage_can_be_claimed_or_left_out() -> None:
    """Providers that lie, and providers that say nothing."""
    lie = compose(
        Turn("a b c", usage=UsageOverride(output_tokens=99)), Conversation("chat", "m"), Usage(5)
    )
    silent = compose(
        Turn("a b c", usage=UsageOverride(omit=True)), Conversation("chat", "m"), Usage(5)
    )

    assert lie.usage == Usage(5, 99)
    assert (silent.usage, silent.billed) == (None, Usage(5, 3))


def test_filler_is_as_long_as_asked_and_survives_the_tokenizer() -> None:
    """`sim-spend` is used to reach budgets exactly."""
    assert len(split("".join(filler(777)))) == 777


def test_placeholders_stand_for_the_step() -> None:
    """Different arguments at each step, from one turn."""
    turn = Turn(tool_calls=(ToolCall("page", {"number": "{{step}}"}),))

    answer = compose(turn, Conversation("chat", "m", step=4), Usage())

    assert "".join(answer.calls[0].arguments) == '{"number":"4"}'


def test_a_request_without_room_for_reasoning_gets_none() -> None:
    """Anthropic's models think only where they are told to."""
    assert compose(TURN, Conversation("messages", "m", thinks=False), Usage()).reasoning == ()


def test_chunks_hold_as_many_tokens_as_asked() -> None:
    """Chunk size is part of a benchmark."""
    assert list(chunks(("a", "b", "c"), 2)) == [("ab", 2), ("c", 1)]
