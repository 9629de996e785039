"""Histories there and back: what agents live on arrives, in its order."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.messages import MESSAGES
from proxy.core.translation.chat_via_messages.translation import CHAT_VIA_MESSAGES
from proxy.core.translation.messages_via_chat.translation import MESSAGES_VIA_CHAT

Json = dict[str, Any]

law = settings(deadline=None, max_examples=100)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9).filter(
    lambda text: text.strip() != ""
)
names = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
values = (
    st.none()
    | st.booleans()
    | st.integers()
    | words
    | st.floats(allow_nan=False, allow_infinity=False)
)
objects = st.dictionaries(words, values | st.lists(values, max_size=2), max_size=3)
any_arguments = st.builds(json.dumps, objects) | words
images = st.sampled_from(["https://x.test/a.png", "data:image/png;base64,iVBORw=="])


@st.composite
def chat_histories(draw: Any, arguments: st.SearchStrategy[str] = any_arguments) -> list[Json]:
    """A loop of tools as agents send it: with an opening, calls in parallel, results in any
    order."""
    system = st.builds(lambda text: {"role": "system", "content": text}, words)
    messages: list[Json] = draw(st.lists(system, max_size=1))
    messages.append({"role": "user", "content": draw(words)})
    for turn in range(draw(st.integers(0, 4))):
        calls = [
            {
                "id": f"call_{turn}_{n}",
                "type": "function",
                "function": {"name": draw(names), "arguments": draw(arguments)},
            }
            for n in range(draw(st.integers(0, 3)))
        ]
        said = draw(words)
        if calls:
            content = draw(st.sampled_from([None, said]))
            messages.append({"role": "assistant", "content": content, "tool_calls": calls})
            for call in draw(st.permutations(calls)):
                told = draw(words)
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": told})
            if draw(st.booleans()):
                messages.append({"role": "user", "content": draw(words)})
        else:
            messages.append({"role": "assistant", "content": said})
            messages.append({"role": "user", "content": _content(draw)})
    return messages


def _content(draw: Any) -> Any:
    if draw(st.booleans()):
        return draw(words)
    image = {"type": "image_url", "image_url": {"url": draw(images)}}
    return [{"type": "text", "text": draw(words)}, image, {"type": "text", "text": draw(words)}]


def chat(messages: list[Json]) -> bytes:
    return json.dumps({"model": "m", "messages": messages}).encode()


def seen(dialect: Any, body: bytes) -> list[tuple[object, ...]]:
    """The conversation as decisions are made on it."""
    read = dialect.parse(body, Bounds())
    return [
        (one.role, one.text, one.tool_calls, one.tool_result_id, bool(one.attached))
        for one in read.messages
    ]


@law
@given(chat_histories())
def test_a_chat_history_is_the_same_after_there_and_back(messages: list[Json]) -> None:
    """Every text, call, argument, result and image, in its place."""
    there = CHAT_VIA_MESSAGES.request(chat(messages), output_bound=9)
    back = MESSAGES_VIA_CHAT.request(there, output_bound=9)

    assert json.loads(back)["messages"] == messages


@law
@given(chat_histories(st.builds(json.dumps, objects)))
def test_the_other_dialect_reads_the_same_of_it(messages: list[Json]) -> None:
    """Loop detection and tool rules see one conversation, whoever is asked."""
    body = chat(messages)
    there = CHAT_VIA_MESSAGES.request(body, output_bound=9)

    assert seen(MESSAGES, there) == seen(CHAT, body)


@law
@given(chat_histories())
def test_turns_alternate_and_every_call_has_its_result_next(messages: list[Json]) -> None:
    """What Anthropic holds a history to."""
    turns = json.loads(CHAT_VIA_MESSAGES.request(chat(messages), output_bound=9))["messages"]

    roles = [turn["role"] for turn in turns]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"] * (len(roles) % 2)
    for turn, following in zip(turns, [*turns[1:], {"content": []}], strict=True):
        asked = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
        kinds = [block["type"] for block in following["content"]]
        answered = [b["tool_use_id"] for b in following["content"] if b["type"] == "tool_result"]
        assert sorted(answered) == sorted(asked)
        assert kinds[: len(answered)] == ["tool_result"] * len(answered)
        assert all(block.get("text", "x").strip() for block in turn["content"])


@st.composite
def messages_histories(draw: Any) -> list[Json]:
    turns: list[Json] = [{"role": "user", "content": [{"type": "text", "text": draw(words)}]}]
    for turn in range(draw(st.integers(0, 4))):
        uses = [
            {
                "type": "tool_use",
                "id": f"toolu_{turn}_{n}",
                "name": draw(names),
                "input": draw(objects),
            }
            for n in range(draw(st.integers(0, 3)))
        ]
        said = [{"type": "text", "text": draw(words)}] if not uses or draw(st.booleans()) else []
        turns.append({"role": "assistant", "content": said + uses})
        results = [
            {
                "type": "tool_result",
                "tool_use_id": use["id"],
                "content": [{"type": "text", "text": draw(words)}],
            }
            for use in draw(st.permutations(uses))
        ]
        more = [{"type": "text", "text": draw(words)}] if not uses or draw(st.booleans()) else []
        turns.append({"role": "user", "content": results + more})
    return turns


@law
@given(messages_histories())
def test_a_messages_history_is_the_same_after_there_and_back(turns: list[Json]) -> None:
    body = json.dumps({"model": "m", "max_tokens": 5, "messages": turns}).encode()
    there = MESSAGES_VIA_CHAT.request(body, output_bound=9)
    back = CHAT_VIA_MESSAGES.request(there, output_bound=9)

    assert json.loads(back)["messages"] == turns
