"""The built-in script: a plausible agent run without any configuration."""

import json
from collections.abc import Mapping

import jsonschema
import pytest

from proxy.simulator.builtin import DefaultScript, wishes
from proxy.simulator.conversation import Conversation, Tool
from proxy.simulator.invent import invent_object
from proxy.simulator.script import Turn

SCHEMA: Mapping[str, object] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"enum": ["celsius", "kelvin"]},
        "days": {"type": "integer", "minimum": 2, "maximum": 3},
        "when": {"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}]},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
        "deep": {"properties": {"on": {"type": "boolean"}}, "required": ["on"]},
        "maybe": {"type": ["null", "number"]},
        "none": {"type": "null"},
        "kind": {"const": "x"},
        "optional": {"type": "string"},
    },
    "required": ["city", "unit", "days", "when", "tags", "deep", "maybe", "none", "kind"],
    "$defs": {"tag": {"type": "string", "maxLength": 4}},
    "additionalProperties": False,
}
TOOLS = (Tool("first", SCHEMA), Tool("second", {}), Tool("final_answer", {"type": "object"}))


def say(
    step: int,
    model: str = "gpt-5",
    tools: tuple[Tool, ...] = TOOLS[:2],
    choice: str = "auto",
    schema: Mapping[str, object] | None = None,
) -> Turn:
    conversation = Conversation(
        "chat", model, step, "Do it", tools=tools, tool_choice=choice, schema=schema
    )
    return DefaultScript().turn(conversation)


def called(turn: Turn) -> str:
    return turn.tool_calls[0].name if turn.tool_calls else ""


@pytest.mark.parametrize("step", range(5))
def test_invented_arguments_obey_the_schema(step: int) -> None:
    """Clients validate what the model sends."""
    jsonschema.validate(invent_object(SCHEMA, step), SCHEMA)


def test_a_schema_that_refers_to_itself_ends() -> None:
    """Recursive types are legal in tools."""
    node = {"$ref": "#"}
    schema = {"type": "object", "properties": {"child": node}, "required": ["child"]}

    assert "child" in invent_object(schema, 0)


def test_tools_are_used_in_turn_and_then_it_concludes() -> None:
    """Three steps, each with arguments of its own, and a text."""
    turns = [say(step) for step in range(4)]

    assert [called(turn) for turn in turns] == ["first", "second", "first", ""]
    assert turns[0].tool_calls[0].arguments != turns[2].tool_calls[0].arguments
    assert turns[3].text == "Done after 3 tool steps: Do it"


def test_a_loop_asks_for_the_same_for_ever() -> None:
    """The runaway that the proxy is there to stop."""
    assert say(0, "sim-loop").tool_calls == say(99, "openai/sim-loop").tool_calls


def test_a_cycle_goes_round_the_tools() -> None:
    """Periods above one are a detector of their own."""
    names = [called(say(step, "sim-cycle", tools=TOOLS)) for step in range(4)]

    assert names == ["first", "second", "final_answer", "first"]


def test_tool_choice_is_obeyed() -> None:
    """none, a name, and required: where a finishing tool is on offer it ends the run."""
    assert called(say(0, choice="none")) == ""
    assert called(say(9, choice="second")) == "second"
    assert called(say(9, choice="missing")) == ""
    assert called(say(3, choice="required", tools=TOOLS)) == "final_answer"
    assert called(say(9, choice="required")) == "first"


def test_structured_answers_obey_their_schema() -> None:
    """`parse()` of the SDKs reads them."""
    jsonschema.validate(json.loads(say(0, tools=(), schema=SCHEMA).text), SCHEMA)


def test_words_of_a_model_name_combine() -> None:
    """Clients that can set nothing but a model still drive it."""
    asked = wishes("sim-tools-5-gap20-latency300-first50-spend9-chunk4-think")

    assert (asked.tool_steps, asked.chunk_gap_seconds, asked.latency_seconds) == (5, 0.02, 0.3)
    assert (asked.first_token_seconds, asked.text_tokens, asked.chunk_tokens) == (0.05, 9, 4)
    assert asked.reasoning
    assert wishes("gpt-5-loop") == wishes("anything")
    assert wishes("sim-text").tool_steps == 0
