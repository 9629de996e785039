"""A chat request as one of the Messages API.

What only steers how an answer is made (seed, penalties, effort, verbosity, tiers, storage) is left
out: a fallback without it is better than none. What an answer would lack, or say otherwise than it
was asked to, is refused. `docs/translation.md` has the list.
"""

import re

import msgspec

from proxy.core.dialects.chat_parse import BOUND_KEYS
from proxy.core.translation.base import Untranslatable
from proxy.core.translation.chat_via_messages.blocks import text_block
from proxy.core.translation.chat_via_messages.tools import told_tools
from proxy.core.translation.chat_via_messages.turns import Conversation
from proxy.core.translation.json_values import (
    ABSENT,
    Json,
    Members,
    encoded,
    is_given,
    members_of,
    value,
)

_REFUSED = {
    "functions": "functions of the kind before tools",
    "function_call": "a choice of functions of the kind before tools",
    "audio": "spoken answers",
    "web_search_options": "a web search by the provider",
    "plugins": "searches and files of OpenRouter",
    "logit_bias": "biases on the tokens of another model",
    "prompt": "a prompt that the client's provider keeps",
}
_SAMPLES_FREELY = re.compile(
    r"claude-(?:[1-3]\b|instant|(?:opus|sonnet|haiku)-4(?:[-.][0-6])?(?:-\d{8})?(?![-.]?\d))"
)
"""Claude models that take a temperature. From Opus 4.7 on, any but the default is a 400
(https://platform.claude.com/docs/en/about-claude/models/migration-guide, in users' reports of
2026-04). Models that are no Claude take what the dialect has."""
_GOES_ON = re.compile(
    r"claude-(?:[1-3]\b|instant|(?:opus|sonnet|haiku)-4(?:[-.][0-5])?(?:-\d{8})?(?![-.]?\d))"
)
"""Claude models that go on from words of their own; later ones refuse a conversation that ends so
(https://platform.claude.com/docs/en/api/errors#prefill-not-supported)."""
_ON = "Go on."
_JSON_ONLY = "Answer with one JSON object and nothing else: no words around it, no code fence."
_USER_CHARACTERS = 256


class _Schema(msgspec.Struct):
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class _Format(msgspec.Struct):
    type: str = "text"
    json_schema: _Schema | None = None


def translate(body: bytes, output_bound: int) -> bytes:
    """Raises Untranslatable, and ValueError or RecursionError for what is no request."""
    members = members_of(body)
    _refuse(members)
    conversation = Conversation(members.get("messages", ABSENT))
    turns = conversation.turns()
    model = value(members.get("model", ABSENT), str)
    told: Json = {"model": model, "max_tokens": _bound(members) or output_bound}
    told |= _format(members, conversation.system)
    if conversation.system:
        told["system"] = conversation.system
    told["messages"] = turns if _may_end(turns, model) else [*turns, _user_says(_ON)]
    told |= told_tools(members, list(conversation.called))
    told |= _sampling(members, model)
    told |= _stops(members)
    told |= _user(members)
    for key in ("stream", "cache_control"):
        if key in members:
            told[key] = members[key]
    return encoded(told)


def _refuse(members: Members) -> None:
    for key, what in _REFUSED.items():
        if key in members and bytes(members[key]) not in (b"{}", b"[]"):
            raise Untranslatable(f"Messages have no {key}: {what}.")
    if "n" in members and value(members["n"], int) > 1:
        raise Untranslatable("Messages have one answer, and n asks for several.")
    if "logprobs" in members and value(members["logprobs"], bool):
        raise Untranslatable("Messages have no log probabilities.")
    modalities = value(members["modalities"], list[str]) if "modalities" in members else []
    if any(one != "text" for one in modalities):
        raise Untranslatable("Messages answer in text only.")


def _may_end(turns: list[Json], model: str) -> bool:
    named = model.lower()
    return turns[-1]["role"] == "user" or "claude" not in named or bool(_GOES_ON.search(named))


def _user_says(text: str) -> Json:
    return {"role": "user", "content": text_block(text)}


def _bound(members: Members) -> int:
    """The larger of both keys, as `parse` reads it; 0 without one."""
    return max([value(members[key], int) for key in BOUND_KEYS if key in members], default=0)


def _format(members: Members, system: list[Json]) -> Json:
    """A strict schema is kept to; what is asked for beside is said in the system prompt, for
    Anthropic has no mode of any JSON, and takes schemas of the strict kind only
    (https://platform.claude.com/docs/en/build-with-claude/structured-outputs)."""
    raw = members.get("response_format")
    form = msgspec.json.decode(raw, type=_Format) if raw is not None else _Format()
    if form.type == "text":
        return {}
    if form.type not in ("json_object", "json_schema"):
        raise Untranslatable(f"Messages have no response format {form.type[:64]!r}.")
    asked = form.json_schema or _Schema()
    schema = asked.schema
    if form.type == "json_object" or not is_given(schema):
        system += text_block(_JSON_ONLY)
        return {}
    if asked.strict:
        return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    written = bytes(schema).decode()
    system += text_block(f"{_JSON_ONLY} It matches this JSON schema:\n{written}")
    return {}


def _sampling(members: Members, model: str) -> Json:
    """Temperature is at most 1 there, and Claude takes it or top_p, not both."""
    named = model.lower()
    if "claude" in named and not _SAMPLES_FREELY.search(named):
        return {}
    if "temperature" in members:
        return {"temperature": min(1.0, value(members["temperature"], float))}
    return {"top_p": members["top_p"]} if "top_p" in members else {}


def _stops(members: Members) -> Json:
    raw = members.get("stop")
    if raw is None:
        return {}
    sent = value(raw, str) if bytes(raw).startswith(b'"') else value(raw, list[str])
    stops = [sent] if isinstance(sent, str) else sent
    if any(not one.strip() for one in stops):
        raise Untranslatable("Messages take no stop sequence of white space only.")
    return {"stop_sequences": stops} if stops else {}


def _user(members: Members) -> Json:
    for key in ("safety_identifier", "user"):
        if key in members:
            user = value(members[key], str)
            if user and len(user) <= _USER_CHARACTERS:
                return {"metadata": {"user_id": user}}
    return {}
