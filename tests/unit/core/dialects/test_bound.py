"""Refusals of what is bound to one provider, and requests that no other one can answer."""

import json

import pytest

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.bound import is_bound_refusal, needs_state
from proxy.core.dialects.registry import DIALECTS
from proxy.core.request import DialectName
from tests.unit.core.dialects.metering import recordings
from tests.unit.core.dialects.test_chat_recordings import full_set


def openai(message: str, code: str | None = None) -> str:
    error = {"message": message, "type": "invalid_request_error", "param": "input", "code": code}
    return json.dumps({"error": error})


def claude(message: str) -> str:
    error = {"type": "invalid_request_error", "message": message}
    return json.dumps({"type": "error", "error": error})


def google(message: str) -> str:
    return json.dumps({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})


BOUND = [
    claude("messages.1.content.0: Invalid `signature` in `thinking` block"),
    claude("messages.3.content.1.thinking.signature: Field required"),
    claude("messages.2.content.0: Invalid `data` in `redacted_thinking` block"),
    claude(
        "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
        "`tool_use`. When `thinking` is enabled, a final `assistant` message must start with a "
        "thinking block"
    ),
    claude(
        "messages.5.content.1: `thinking` or `redacted_thinking` blocks in the latest assistant "
        "message cannot be modified. These blocks must remain as they were"
    ),
    claude(
        "messages.1.content.0: When thinking is disabled, an `assistant` message in the final "
        "position cannot contain `thinking`."
    ),
    claude("messages.7.content.1: Invalid `encrypted_content` in `search_result` block"),
    google(claude("messages.1.content.0: Invalid `signature` in `thinking` block")),
    json.dumps(
        {
            "message": "The model returned the following errors: messages.1.content.0: Invalid "
            "`signature` in `thinking` block"
        }
    ),
    openai("The encrypted content gAAA...c90= could not be verified.", "invalid_encrypted_content"),
    openai(
        "The encrypted content for item rs_0a18 could not be verified. Reason: Encrypted content "
        "item_id did not match the target item id."
    ),
    openai("Encrypted content is not supported with this model."),
    openai("Item 'rs_0c38' of type 'reasoning' was provided without its required following item."),
    openai(
        "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: "
        "'rs_1'."
    ),
    openai(
        "Item with id 'rs_04962' not found. Items are not persisted when `store` is set to false."
    ),
    openai("Invalid 'input[66].id': 'item_df7e'. Expected an ID that begins with 'rs'."),
    openai("Invalid 'input[2].id': string too long. Expected a string with maximum length 64"),
    openai(  # reasoning in plain text, of a chat model that answered in the stead
        "Invalid 'input[39].content': array too long. Expected an array with maximum length 0, but "
        "got an array with length 1 instead.",
        "array_above_max_length",
    ),
    openai("Duplicate item found with id rs_0c38. Remove duplicate items from your input."),
    json.dumps(
        {
            "code": "invalid-argument",
            "error": "Could not decrypt the provided encrypted_content. Ensure the value is the "
            "unmodified encrypted_content from a previous response.",
        }
    ),
    openai("reasoning `encrypted_content` was not issued to this caller"),
    google("Function call is missing a thought_signature in functionCall parts."),
    google("Corrupted thought signature."),
    openai("Tool call id was call_PTLP but must be a-z, A-Z, 0-9, with a length of 9.", "3280"),
    google("Unable to submit request because Thought signature is not valid."),
    json.dumps(
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": google("Corrupted thought signature.")},
            }
        }
    ),
    json.dumps(
        {
            "message": "messages.2.assistant.reasoning_content: property "
            "'messages.2.assistant.reasoning_content' is unsupported",
            "code": "wrong_api_format",
        }
    ),
    openai(
        "'messages.2' : for 'role:assistant' ('messages.2' : property 'reasoning' is unsupported)"
    ),
    json.dumps(
        {
            "detail": [
                {
                    "type": "extra_forbidden",
                    "loc": ["body", "messages", 31, "assistant", "reasoning_content"],
                    "msg": "Extra inputs are not permitted",
                }
            ]
        }
    ),
    openai("The `reasoning_content` in the thinking mode must be passed back to the API."),
    openai("thinking is enabled but reasoning_content is missing in assistant tool call message"),
    json.dumps(
        {"message": "User messages cannot contain reasoning content. Please remove the reasoning"}
    ),
]
ORDINARY = [
    openai("This model's maximum context length is 128000 tokens.", "context_length_exceeded"),
    openai("Invalid schema for function 'sign': 'signature' is not of type 'object'."),
    openai("Invalid 'input[3].call_id': string too long."),
    openai("Invalid 'input[3].content': array too long. Expected one with maximum length 2048."),
    openai("Invalid 'input[3].content[0].image_url'. Expected a valid URL."),
    openai("No tool output found for function call call_1."),
    openai("Previous response with id 'resp_1' not found.", "previous_response_not_found"),
    openai("Unsupported parameter: 'reasoning.effort' is not supported with this model."),
    openai("Unsupported value: 'reasoning_effort' does not support 'minimal' with this model."),
    claude("max_tokens: 16 must be greater than thinking.budget_tokens"),
    claude("messages.1: `tool_use` ids were found without `tool_result` blocks after: toolu_1."),
    claude("thinking: Input tag 'auto' found using 'type' does not match any of the expected tags"),
    claude("messages: text content blocks must be non-empty"),
    google("Please use a valid role: user, model."),
    json.dumps({"message": "The request signature we calculated does not match the signature"}),
]


@pytest.mark.parametrize("body", BOUND)
def test_a_refusal_of_what_is_bound_is_known(body: str) -> None:
    """As each provider words it, and as routers quote it."""
    assert is_bound_refusal(400, body.encode())
    assert is_bound_refusal(422, json.dumps({"error": {"message": body}}).encode())


@pytest.mark.parametrize("body", ORDINARY)
def test_other_refusals_are_not_sent_again(body: str) -> None:
    assert not is_bound_refusal(400, body.encode())


@pytest.mark.parametrize("status", [200, 401, 403, 409, 429, 500, 503])
def test_only_a_refused_request_is_one(status: int) -> None:
    assert not is_bound_refusal(status, BOUND[0].encode())


def test_a_page_is_no_refusal() -> None:
    assert not is_bound_refusal(400, b"\n<!DOCTYPE html>corrupted thought signature")
    assert not is_bound_refusal(400, b"<html>corrupted thought signature")


def test_a_long_refusal_is_read_no_further_than_it_takes() -> None:
    assert not is_bound_refusal(400, b" " * 20_000 + BOUND[0].encode())


@pytest.mark.data
def test_of_all_recorded_refusals_only_the_bound_one_is_taken_for_it() -> None:
    """60 of 12 providers; one of them, of OpenAI, is about a reasoning item."""
    refused = [record["response"] for record in full_set()]
    for endpoint in ("messages", "responses"):
        refused += [record["response"] for record in recordings(endpoint)]
    bodies = {
        str(one["body"]): is_bound_refusal(one["status"], str(one["body"]).encode())  # type: ignore[index]
        for one in refused
        if one["status"] >= 400  # type: ignore[index]
    }
    assert len(bodies) > 20
    assert [body for body, taken in bodies.items() if taken] == [
        body for body in bodies if "required following item" in body
    ]


def state(dialect: DialectName, **members: object) -> str | None:
    body = json.dumps({"model": "m", "max_tokens": 9, **members}).encode()
    return needs_state(body, DIALECTS[dialect].parse(body, Bounds()))


IMAGE = {"type": "input_image", "file_id": "file-1"}


@pytest.mark.parametrize(
    ("members", "needed"),
    [
        ({"input": "hi", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "hi", "conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "rs_1"}]}, "item_reference"),
        ({"input": [{"id": "msg_1"}]}, "item_reference"),
        ({"input": [{"type": "compaction", "encrypted_content": "gAAA"}]}, "compaction"),
        ({"input": [{"role": "user", "content": [IMAGE]}]}, "file_id"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": [IMAGE]}]},
            "file_id",
        ),
        ({"input": "hi", "previous_response_id": None}, None),
        ({"input": [{"role": "user", "content": "item_reference", "id": "msg_1"}]}, None),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, None),
        ({"input": [{"type": "compaction", "content": "so far"}]}, None),
        ({"input": "hi", "tools": [{"type": "function", "name": "file_id"}]}, None),
    ],
)
def test_what_a_response_needs_that_the_provider_keeps(
    members: dict[str, object], needed: str | None
) -> None:
    """Without it the history would be lost, and nobody would see it."""
    assert state("responses", **members) == needed


def test_what_other_requests_need() -> None:
    """Files that were uploaded, and a container of the provider's."""

    def said(*parts: object) -> list[object]:
        return [{"role": "user", "content": parts}]

    image = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}

    assert state("chat", messages=said({"type": "file", "file": {"file_id": "f"}})) == "file_id"
    assert state("chat", messages=said({"type": "file", "file": {"file_data": "f"}})) is None
    assert state("messages", messages=said(image)) == "file_id"
    assert state("messages", messages=said(result)) == "file_id"
    assert state("messages", messages=said(result), container="c_1") == "container"
    assert state("messages", messages=said({"type": "text", "text": "file_id"})) is None
    assert state("completions", prompt="file_id") is None
    spoken = {"role": "assistant", "audio": {"id": "audio_1"}}
    assert state("chat", messages=[spoken, {"role": "user", "content": "hi"}]) == "audio"
    assert state("chat", messages=[spoken | {"audio": {}}, spoken | {"audio": None}]) is None
    assert (
        state("chat", messages=said("text", {"type": "file", "file": {"file_id": 1}})) == "file_id"
    )


@pytest.mark.timeout(10)
def test_content_in_content_without_end_takes_no_longer() -> None:
    """Each level is read once more: of 64 MB a hundred times, while all other calls wait."""
    content: object = [{"type": "text", "text": "x" * 4_000_000}]
    for _ in range(50):
        content = [{"type": "tool_result", "tool_use_id": "t", "content": content}]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    written = json.dumps(body).encode()
    request = DIALECTS["messages"].parse(written, Bounds())

    for _ in range(20):
        assert needs_state(written, request) is None
