"""A request of the Messages API as one of chat completions.

Left out is what only steers how an answer is made (thinking, effort, top_k, tiers, context
editing), and what chat has no place for that takes nothing from an answer (cache markers). What
only Anthropic's servers can do is refused. `docs/translation.md` has the list.
"""

import msgspec

from proxy.core.translation.base import Untranslatable
from proxy.core.translation.chat_models import is_current_openais
from proxy.core.translation.json_values import (
    ABSENT,
    Json,
    Members,
    encoded,
    is_given,
    members_of,
    value,
)
from proxy.core.translation.messages_via_chat.turns import messages_of

_REFUSED = {"mcp_servers": "MCP servers of its own", "container": "containers to run code in"}
_STOPS = 4
_USER_CHARACTERS = 64
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class _Tool(msgspec.Struct):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str = ""
    disable_parallel_tool_use: bool = False


class _Format(msgspec.Struct):
    type: str = ""
    schema: msgspec.Raw = ABSENT


class _OutputConfig(msgspec.Struct):
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


_TOOLS = msgspec.json.Decoder(list[_Tool])


def translate(body: bytes, output_bound: int) -> bytes:
    """Raises Untranslatable, and ValueError or RecursionError for what is no request."""
    members = members_of(body)
    _refuse(members)
    model = value(members.get("model", ABSENT), str)
    messages = messages_of(members.get("system", ABSENT), members.get("messages", ABSENT))
    told: Json = {"model": model, "messages": messages}
    told |= _bound(members, model, output_bound)
    told |= _tools(members)
    told |= _format(members)
    told |= _sampling(members, model)
    told |= _stops(members)
    user = value(members["metadata"], _Metadata).user_id if "metadata" in members else None
    if user and len(user) <= _USER_CHARACTERS:
        told["user"] = user
    if "stream" in members and value(members["stream"], bool):
        told |= {"stream": True, "stream_options": {"include_usage": True}}
    return encoded(told)


def _refuse(members: Members) -> None:
    for key, what in _REFUSED.items():
        if key in members and bytes(members[key]) != b"[]":
            raise Untranslatable(f"Chat has no {key}: {what}.")
    where = value(members["inference_geo"], str) if "inference_geo" in members else "global"
    if where not in ("global", ""):
        raise Untranslatable("Chat cannot say where in the world it is to be served.")


def _bound(members: Members, model: str, output_bound: int) -> Json:
    bound = value(members["max_tokens"], int) if "max_tokens" in members else output_bound
    if bound < 1:
        raise Untranslatable("Chat has no request that only warms a cache (max_tokens 0).")
    key = "max_completion_tokens" if is_current_openais(model) else "max_tokens"
    return {key: bound}


def _tools(members: Members) -> Json:
    sent = _TOOLS.decode(members["tools"]) if "tools" in members else []
    if not sent:
        return {}
    told: Json = {"tools": [_tool(one) for one in sent]}
    if "tool_choice" not in members:
        return told
    choice = value(members["tool_choice"], _Choice)
    if choice.disable_parallel_tool_use:
        told["parallel_tool_calls"] = False
    if choice.type == "tool":
        named = {"type": "function", "function": {"name": choice.name}}
        return told | {"tool_choice": named}
    if choice.type not in _CHOICES:
        raise Untranslatable(f"Chat has no tool choice {choice.type[:64]!r}.")
    return told | {"tool_choice": _CHOICES[choice.type]}


def _tool(sent: _Tool) -> Json:
    if sent.type not in (None, "custom"):
        raise Untranslatable(f"Chat has no tool of Anthropic's kind {sent.type[:64]!r}.")
    function: Json = {"name": sent.name}
    if sent.description:
        function["description"] = sent.description
    if is_given(sent.input_schema):
        function["parameters"] = sent.input_schema
    if sent.strict and _is_strict(msgspec.json.decode(sent.input_schema)):
        function["strict"] = True
    return {"type": "function", "function": function}


def _format(members: Members) -> Json:
    """`output_format` is what it was called before (beta)."""
    form = None
    if "output_config" in members:
        form = value(members["output_config"], _OutputConfig).format
    if form is None and "output_format" in members:
        form = value(members["output_format"], _Format)
    if form is None:
        return {}
    if form.type != "json_schema" or not is_given(form.schema):
        raise Untranslatable(f"Chat has no output format {form.type[:64]!r}.")
    told: Json = {"name": "answer", "schema": form.schema}
    if _is_strict(msgspec.json.decode(form.schema)):
        told["strict"] = True
    return {"response_format": {"type": "json_schema", "json_schema": told}}


def _is_strict(schema: object) -> bool:
    """Whether OpenAI takes it as strict: it wants all properties required, and Anthropic does
    not. Without, the model only tries."""
    if isinstance(schema, list):
        return all(_is_strict(one) for one in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if isinstance(properties, dict):
        required = schema.get("required")
        closed = schema.get("additionalProperties") is False
        if not closed or not isinstance(required, list):
            return False
        if set(properties) - {name for name in required if isinstance(name, str)}:
            return False
    return all(_is_strict(one) for one in schema.values())


def _sampling(members: Members, model: str) -> Json:
    if is_current_openais(model):
        return {}
    return {key: members[key] for key in ("temperature", "top_p") if key in members}


def _stops(members: Members) -> Json:
    stops = value(members["stop_sequences"], list[str]) if "stop_sequences" in members else []
    if len(stops) > _STOPS:
        raise Untranslatable(f"Chat takes {_STOPS} stop sequences at most.")
    return {"stop": stops} if stops else {}
