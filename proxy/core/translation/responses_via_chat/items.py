"""Output items of a response, and what is told of them when they begin and end."""

from proxy.core.translation.json_values import Json
from proxy.core.translation.responses_via_chat.tools import Called


def reasoning_item(item_id: str, text: str | None, status: str) -> Json:
    """text: None where it only begins."""
    return {
        "id": item_id,
        "type": "reasoning",
        "summary": [],
        "content": [] if text is None else [reasoning_part(text)],
        "encrypted_content": None,
        "status": status,
    }


def message_item(item_id: str, content: list[Json], status: str) -> Json:
    return {
        "id": item_id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def call_item(item_id: str, called: Called, call_id: str, written: str, status: str) -> Json:
    """written: arguments, or the text of a custom tool."""
    item: Json = {
        "id": item_id,
        "type": "custom_tool_call" if called.is_custom else "function_call",
        "status": status,
        "call_id": call_id,
        "name": called.name,
        "input" if called.is_custom else "arguments": written,
    }
    return item if called.namespace is None else item | {"namespace": called.namespace}


def reasoning_part(text: str) -> Json:
    return {"type": "reasoning_text", "text": text}


def text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Json:
    return {"type": "refusal", "refusal": text}
