"""One line of a file of recorded runs, in the forms that people export."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.usage import ToolCall, Usage
from proxy.dry_run.trajectory import Spent, Trajectory, read_trajectory, steps_of
from proxy.errors import MalformedRequest

USER = {"role": "user", "content": "Go."}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def read(**members: object) -> Trajectory:
    return read_trajectory(json.dumps({"messages": [USER], **members}).encode())


def test_a_run_as_openai_clients_send_it() -> None:
    run = read(
        id="r1",
        model="gpt-5",
        success=True,
        messages=[
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "nothing"},
        ],
    )

    assert (run.name, run.model, run.success, run.dialect) == ("r1", "gpt-5", True, "chat")
    assert run.messages[1].tool_calls == (ToolCall("c1", "look", "{}"),)
    assert run.messages[2].tool_result_id == "c1"


def test_a_run_as_anthropics_clients_send_it() -> None:
    """Results are blocks of a user's message there; that user has not said anything."""
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": True}

    run = read(
        system="Be brief.",
        messages=[
            USER,
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result]},
        ],
    )

    assert run.dialect == "messages"
    assert [m.role for m in run.messages] == ["system", "user", "assistant", "tool"]
    assert run.messages[2].tool_calls == (ToolCall("t1", "look", '{"at": 1}'),)
    assert run.messages[3].is_error


def test_a_text_about_tool_use_is_still_openais_form() -> None:
    """Inside a text its quotes are escaped."""
    assert read(messages=[{**USER, "content": '{"type": "tool_use"}'}]).dialect == "chat"


@pytest.mark.parametrize(
    ("said", "success"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0.0, False),
        (0.5, None),
        ("yes", None),
        (None, None),
    ],
)
def test_success_is_known_or_not(said: object, success: bool | None) -> None:
    """A reward of a half is neither."""
    assert read(success=said).success is success


def test_usage_of_each_answer_is_read_as_providers_report_it() -> None:
    spent = read(
        usage=[
            {"i": 3, "usage": {"prompt_tokens": 7, "completion_tokens": 2}, "cost": 0.25},
            {"input_tokens": 5, "output_tokens": 1},
            {"prompt_tokens": 7, "completion_tokens": 2, "cost": 0.5},
            {"i": 5, "usage": {"prompt_tokens": 7, "completion_tokens": 2, "cost": 0.5}, "cost": 1},
        ]
    ).spent

    seven = Usage(input_tokens=7, output_tokens=2)
    assert spent[0] == Spent(seven, 250_000, 3)
    assert spent[1] == Spent(Usage(input_tokens=5, output_tokens=1))
    assert spent[2].cost_micro_usd == 500_000
    assert spent[3].cost_micro_usd == 500_000, "what the provider billed wins"
    assert spent[3].at == 5


def test_a_recorded_cost_of_nought_is_not_known() -> None:
    """Tools write it where they know no price of the model."""
    run = read(cost=0, usage=[{"i": 1, "usage": {"prompt_tokens": 7}, "cost": 0.0}])

    assert run.cost_micro_usd is None
    assert run.spent[0].cost_micro_usd is None


def test_usage_and_cost_of_all_answers_together() -> None:
    run = read(usage={"prompt_tokens": 70, "completion_tokens": 20}, cost=1.5)

    assert run.spent == ()
    assert run.total == Usage(input_tokens=70, output_tokens=20)
    assert run.cost_micro_usd == 1_500_000


@pytest.mark.parametrize("usage", ["none", 5, [5], [{"i": "x"}], {"a": 1}, None])
def test_usage_that_cannot_be_read_is_as_if_it_were_not_there(usage: object) -> None:
    run = read(usage=usage)

    assert (run.spent, run.total) == ((), None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "not JSON: Input data was truncated"),
        (b'{"messages":', "not JSON: Input data was truncated"),
        (b"[]", 'expected "object", got "array"'),
        (b"{}", 'missing required field "messages"'),
        (b'{"messages": 5}', "messages: expected a list"),
        (b'{"messages": []}', "messages: expected at least one message"),
        (b'{"messages": [{"role": "wizard"}]}', "messages[0].role: expected one of system,"),
        (b'{"messages": [{"role": "user", "content": 5}]}', "messages[0].content: expected "),
        (b'{"messages": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "not UTF-8"),
    ],
)
def test_what_is_no_run_says_why(line: bytes, said: str) -> None:
    """The reader of the message has a file of a million lines before him."""
    with pytest.raises(MalformedRequest) as caught:
        read_trajectory(line)
    assert caught.value.message.startswith(said)


@given(st.binary() | st.text().map(str.encode))
def test_nothing_but_a_malformed_request_is_ever_raised(line: bytes) -> None:
    with suppress(MalformedRequest):
        read_trajectory(line)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["id", "model", "success", "usage", "cost", "system"]), json_values
    )
)
def test_whatever_stands_beside_the_messages_does_no_harm(members: dict[str, object]) -> None:
    try:
        run = read(**members)
    except MalformedRequest:
        assert "system" in members
    else:
        assert run.messages[-1].text == "Go."


def test_steps_are_the_models_own_answers() -> None:
    """A greeting that nobody asked a model for is not one."""
    roles = ["system", "assistant", "user", "assistant", "assistant", "user"]
    messages = read(messages=[{"role": role, "content": "x"} for role in roles]).messages

    assert steps_of(messages) == [3, 4]
