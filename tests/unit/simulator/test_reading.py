"""What the real providers refuse is refused, in their words; the rest is understood."""

import pytest

from proxy.simulator import chat_read, completions, messages_read, responses_read
from proxy.simulator.conversation import Conversation, Rejected
from proxy.simulator.ids import Ids
from proxy.simulator.memory import Memory, Stored
from proxy.simulator.routes import Endpoint, resolve
from proxy.simulator.tokens import Json

USER = {"role": "user", "content": "Go"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
ASKED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "seen"}
USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look"}]}
USED = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]}
FC = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
FCO = {"type": "function_call_output", "call_id": "c1", "output": "seen"}


def chat(**fields: object) -> Conversation:
    return chat_read.read({"model": "gpt-4o", "messages": [USER], **fields})


def responses(memory: Memory | None = None, **fields: object) -> Conversation:
    return responses_read.read({"model": "gpt-5", "input": "Go", **fields}, memory or Memory())


def messages(**fields: object) -> Conversation:
    body: Json = {"model": "claude", "max_tokens": 9, "messages": [USER], **fields}
    return messages_read.read({key: value for key, value in body.items() if value is not ...})


CHAT_REFUSED: list[tuple[Json, str, str | None]] = [
    ({"model": None}, "you must provide a model parameter", None),
    ({"model": 5}, "Invalid type for 'model'", "model"),
    ({"messages": None}, "Missing required parameter: 'messages'", "messages"),
    ({"messages": "x"}, "expected an array of objects, but got a string", "messages"),
    ({"messages": []}, "empty array", "messages"),
    ({"messages": [{"role": "robot"}]}, "Supported values are: 'system'", "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "got null", "messages.[0].content"),
    ({"messages": [USER, RESULT]}, "must be a response to a preceeding", "messages.[1].role"),
    ({"messages": [USER, ASKED, USER]}, "did not have response messages: c1", "messages.[2].role"),
    ({"messages": [USER, ASKED]}, "did not have response messages: c1", "messages.[2].role"),
    ({"max_tokens": 0}, "Expected a value >= 1, but got 0", "max_tokens"),
    ({"max_tokens": "9"}, "expected an integer, but got a string", "max_tokens"),
    ({"max_tokens": True}, "but got a boolean", "max_tokens"),
    ({"max_tokens": 1, "max_completion_tokens": 1}, "at the same time", "max_tokens"),
    ({"model": "gpt-5-mini", "max_tokens": 9}, "Use 'max_completion_tokens'", "max_tokens"),
    ({"n": 129}, "Expected a value <= 128", "n"),
    ({"tools": [{"function": {"name": "a b"}}]}, "does not match", "tools[0].function.name"),
    ({"tools": [{"function": {"name": "a"}}] * 129}, "maximum length 128", "tools"),
]
MESSAGES_REFUSED: list[tuple[Json, str]] = [
    ({"model": ...}, "model: Field required"),
    ({"model": 1}, "model: Input should be a valid string"),
    ({"max_tokens": ...}, "max_tokens: Field required"),
    ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
    ({"max_tokens": 0}, "greater than or equal to 1"),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 9}},
        "greater than `thinking.budget_tokens`",
    ),
    ({"messages": ...}, "messages: Field required"),
    ({"messages": 1}, "messages: Input should be a valid list"),
    ({"messages": []}, "at least one message"),
    ({"messages": [{"role": "tool", "content": ""}]}, "messages.0.role: Input should be"),
    ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
    ({"messages": [USE]}, 'must use the "user" role'),
    ({"messages": [USER, USED]}, "messages.1.content.0: unexpected `tool_use_id`"),
    ({"messages": [USER, USE]}, "messages.1: `tool_use` ids were found without"),
    ({"messages": [USER, USE, USER]}, "messages.1: `tool_use` ids were found without"),
    ({"tools": [{}]}, "tools.0.custom.name: Field required"),
    ({"tools": [{"name": "a"}]}, "tools.0.custom.input_schema: Field required"),
]
RESPONSES_REFUSED: list[tuple[Json, str, str]] = [
    ({"model": None}, "Missing required parameter: 'model'", "model"),
    ({"input": None}, "Missing required parameter: 'input'", "input"),
    ({"input": 5}, "an array of objects, but got an integer", "input"),
    ({"input": [FCO]}, "No tool call found for function call output with call_id c1.", "input"),
    ({"input": [FC]}, "No tool output found for function call c1.", "input"),
    ({"max_output_tokens": 15}, "Expected a value >= 16", "max_output_tokens"),
    ({"previous_response_id": "resp_x"}, "'resp_x' not found", "previous_response_id"),
    ({"conversation": "conv_x"}, "'conv_x' not found", "conversation"),
    (
        {"previous_response_id": "a", "conversation": {"id": "b"}},
        "exclusive",
        "previous_response_id",
    ),
    ({"tools": [{"type": "function"}]}, "'tools[0].name'", "tools[0].name"),
]


@pytest.mark.parametrize(("fields", "told", "param"), CHAT_REFUSED)
def test_chat_refuses_as_openai_does(fields: Json, told: str, param: str | None) -> None:
    """A proxy that sends what the provider would refuse must fail here, not in production."""
    with pytest.raises(Rejected) as caught:
        chat(**fields)

    assert told in caught.value.message
    assert caught.value.param == param


@pytest.mark.parametrize(("fields", "told"), MESSAGES_REFUSED)
def test_messages_refuses_as_anthropic_does(fields: Json, told: str) -> None:
    """The same, in the other dialect."""
    with pytest.raises(Rejected) as caught:
        messages(**fields)

    assert told in caught.value.message


@pytest.mark.parametrize(("fields", "told", "param"), RESPONSES_REFUSED)
def test_responses_refuses_as_openai_does(fields: Json, told: str, param: str) -> None:
    """The same, with the state that the provider keeps."""
    with pytest.raises(Rejected) as caught:
        responses(None, **fields)

    assert told in caught.value.message
    assert caught.value.param == param


def test_a_chat_history_tells_step_user_and_tool() -> None:
    """Scripts choose by these."""
    view = chat(messages=[{"role": "developer", "content": "x"}, USER, ASKED, RESULT])

    assert (view.step, view.user, view.last_tool) == (1, "Go", "look")


def test_messages_count_results_as_the_tools_and_not_the_users() -> None:
    """Anthropic puts results into user messages; they do not begin a new run."""
    view = messages(messages=[USER, USE, USED])

    assert (view.step, view.user, view.last_tool) == (1, "Go", "look")


def test_responses_remember_what_went_before() -> None:
    """With previous_response_id only the new result is sent."""
    memory = Memory()
    memory.store("resp_1", Stored({}, None, ({"role": "user", "content": "Go"}, FC)), None)

    view = responses(memory, input=[FCO], previous_response_id="resp_1")

    assert (view.step, view.user, view.last_tool) == (1, "Go", "look")
    assert len([part for part in view.parts if part]) == 3


def test_a_conversation_grows_by_what_is_stored_in_it() -> None:
    """The second way in which the provider keeps state."""
    memory = Memory()
    opened = memory.open_conversation([USER], Ids(1))
    memory.store("resp_1", Stored({}, None, (FC, FCO)), opened)

    assert responses(memory, input=[], conversation={"id": opened}).step == 1


def test_a_forgotten_response_is_not_found() -> None:
    """Deleting works, and what followed cannot go on."""
    memory = Memory()
    memory.store("resp_1", Stored({}, None, ()), None)
    memory.forget("resp_1")

    with pytest.raises(Rejected, match="not found"):
        memory.response("resp_1")


@pytest.mark.parametrize(
    ("choice", "read"),
    [
        ("required", "required"),
        ({"type": "function", "function": {"name": "f"}}, "f"),
        ({"type": "function", "name": "f"}, "f"),
        (None, "auto"),
    ],
)
def test_tool_choice_is_read_in_every_form(choice: object, read: str) -> None:
    """Chat nests the name, responses does not."""
    assert chat_read.tool_choice(choice) == read


def test_schemas_of_structured_answers_are_found() -> None:
    """Each dialect puts them elsewhere."""
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "schema": schema}

    assert chat(response_format={"type": "json_schema", "json_schema": wanted}).schema == schema
    assert chat(response_format={"type": "json_object"}).schema == {}
    assert responses(text={"format": wanted}).schema == schema
    assert messages(output_config={"format": wanted}).schema == schema


def test_tools_that_run_at_the_provider_are_not_asked_for() -> None:
    """Nobody would answer such a call."""
    search = {"type": "web_search_20250305", "name": "web_search"}

    assert messages(tools=[search]).tools == ()
    assert responses(tools=[{"type": "web_search"}]).tools == ()
    assert chat(tools=[{"type": "custom", "custom": {}}]).tools == ()


def test_several_prompts_are_several_choices() -> None:
    """A list of numbers is one prompt of tokens."""
    assert completions.read_completion({"model": "m", "prompt": ["a", "b"], "n": 2}).choices == 4
    assert completions.read_completion({"model": "m", "prompt": [1, 2]}).choices == 1
    with pytest.raises(Rejected):
        completions.read_embeddings({"model": "m", "input": []})
    with pytest.raises(Rejected):
        completions.read_completion({"model": "m", "prompt": 5})


@pytest.mark.parametrize(
    ("method", "path", "endpoint"),
    [
        ("POST", "/v1/chat/completions", Endpoint("call", "chat")),
        ("POST", "/chat/completions", Endpoint("call", "chat")),
        ("POST", "/s/responses/v1/chat/completions", Endpoint("call", "chat")),
        ("POST", "/v1/v1/messages", Endpoint("call", "messages")),
        ("POST", "/v1/messages/count_tokens", Endpoint("count", "messages")),
        ("POST", "/v1/completions", Endpoint("call", "completions")),
        ("POST", "/v1/conversations", Endpoint("conversations", "responses")),
        ("GET", "/v1/models", Endpoint("models", "chat")),
        ("GET", "/x/v1/models/org/model", Endpoint("models", "chat", "org/model")),
        ("DELETE", "/v1/responses/resp_1", Endpoint("response", "responses", "resp_1")),
        ("GET", "/v1/responses", None),
        ("DELETE", "/v1/models/x", None),
        ("GET", "/v1/chat/completions", None),
        ("POST", "/v1/unknown", None),
        ("PUT", "/v1/messages", None),
    ],
)
def test_paths_are_found_behind_any_prefix(
    method: str, path: str, endpoint: Endpoint | None
) -> None:
    """Proxies put sessions into paths, and users forget or double `/v1`."""
    assert resolve(method, path) == endpoint
