"""What earlier bodies had is read from memory, and nobody can tell."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.links import turns_of
from proxy.core.memo import Memo
from proxy.core.request import DialectName, Learned, Piece, Request
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import Json, json_values, law, texts

CONTENT = {
    "chat": "messages",
    "messages": "messages",
    "responses": "input",
    "completions": "prompt",
    "embeddings": "input",
}
SMALL = Bounds(json_depth=8)
images = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": "a"}},
        {"type": "input_image", "image_url": "b"},
        {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
    ]
)
parts = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, texts),
    st.builds(lambda text: {"type": "output_text", "text": text}, texts),
    st.builds(
        lambda name, q: {"type": "tool_use", "id": "t1", "name": name, "input": {"q": q}},
        *(texts, json_values),
    ),
    st.builds(lambda text: {"type": "tool_result", "tool_use_id": "t1", "content": text}, texts),
    images,
)
calls = st.builds(
    lambda name, value: [
        {"id": "c1", "function": {"name": name, "arguments": json.dumps({"v": value})}}
    ],
    *(texts, json_values),
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer"])},
    optional={
        "content": texts | st.lists(parts, max_size=3) | st.none(),
        "tool_calls": calls,
        "tool_call_id": texts,
    },
)
items = st.one_of(
    messages,
    st.builds(
        lambda name, value: {
            "type": "function_call",
            "call_id": "c1",
            "name": name,
            "arguments": json.dumps(value),
        },
        *(texts, json_values),
    ),
    st.builds(
        lambda value: {
            "type": "function_call_output",
            "call_id": "c1",
            "output": json.dumps(value),
        },
        json_values,
    ),
    st.just({"type": "reasoning", "summary": []}),
    st.builds(lambda name: {"type": "item_reference", "id": name}, texts),
    st.builds(lambda name: {"type": "additional_tools", "tools": [{"name": name}]}, texts),
)
contents = st.one_of(st.lists(items | json_values, max_size=5), texts, json_values)
tools = st.one_of(
    st.lists(
        st.builds(lambda name: {"type": "function", "function": {"name": name}}, texts)
        | st.builds(lambda name: {"name": name, "type": "custom"}, texts),
        max_size=3,
    ),
    json_values,
)
conversations = st.lists(st.tuples(contents, st.booleans(), st.booleans()), max_size=3)


def spelled(dialect: DialectName, content: object, offered: object, *, compact: bool) -> bytes:
    body: Json = {"model": "m", CONTENT[dialect]: content, "stream": True}
    if offered is not None:
        body |= {"tools": offered, "system": offered}
    return json.dumps(body, separators=(",", ":") if compact else None).encode()


def told(dialect: DialectName, body: bytes, memo: Memo | None) -> object:
    """All that is told of a body, or why it is refused."""
    try:
        return seen(DIALECTS[dialect].parse(body, SMALL, memo))
    except MalformedRequest as error:
        return error.message, error.param, error.status


def outcome(dialect: DialectName, body: bytes, memo: Memo | None) -> object:
    """The same; what is new in it is remembered."""
    told_of = told(dialect, body, memo)
    if memo is not None and isinstance(told_of, list):
        learned = DIALECTS[dialect].parse(body, SMALL, memo).learned
        memo.keep(learned or Learned())
    return told_of


def learn(memo: Memo, body: bytes) -> Learned:
    """What is learned, and kept, of a chat body."""
    learned = DIALECTS["chat"].parse(body, Bounds(), memo).learned
    assert learned is not None
    memo.keep(learned)
    return learned


def seen(request: Request) -> list[object]:
    apart = ("learned", "history", "laid", "listed", "moved")
    fields = [name for name in request.__struct_fields__ if name not in apart]
    history = request.history
    return [
        *(getattr(request, name) for name in fields),
        request.places,
        *(history.messages, history.chain, history.answers_in_items),
        list(turns_of(history)),
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
@law
@given(
    st.lists(st.tuples(contents, st.none() | tools, st.booleans()), min_size=1, max_size=4),
    st.sampled_from([0, 2_000, 10**6]),
)
def test_what_is_known_is_read_as_if_it_were_not(
    dialect: DialectName, bodies: list[tuple[object, object, bool]], limit: int
) -> None:
    """The law of the memo: it saves time, and changes nothing."""
    memo = Memo(limit, 7)
    history: list[object] = []
    for content, offered, compact in bodies:
        if isinstance(content, list):
            history += content
            content = history
        body = spelled(dialect, content, offered, compact=compact)
        first = outcome(dialect, body, memo)

        assert first == outcome(dialect, body, None)
        assert outcome(dialect, body, memo) == first


@pytest.mark.parametrize("dialect", ["chat", "messages", "responses"])
def test_a_body_met_again_teaches_nothing(dialect: DialectName) -> None:
    """Else the memo would be of no use."""
    turns = [{"role": "user", "content": "a"}, *[{"role": "assistant", "content": "b"}] * 2]
    body = spelled(
        dialect, turns, [{"type": "function", "name": "f", "function": {"name": "f"}}], compact=True
    )
    memo = Memo(10**6, 7)
    first = DIALECTS[dialect].parse(body, Bounds(), memo)
    assert first.learned is not None
    memo.keep(first.learned)

    again = DIALECTS[dialect].parse(body, Bounds(), memo).learned

    assert first.learned.pieces
    assert first.learned.frame is not None
    assert again is not None
    assert again.pieces == ()
    assert again.frame is first.learned.frame


def test_what_is_about_to_be_forgotten_is_kept_again() -> None:
    """It was met: the old generation goes without it."""
    body = b'{"model":"m","tools":[],"n":1,"messages":[{"role":"user","content":"mine"}]}'
    memo = Memo(16_000, 7)
    learn(memo, body)
    for number in range(10):
        memo.keep(Learned(((number.to_bytes(16, "big"), Piece()),)))

    assert len(learn(memo, body.replace(b"1", b"2")).pieces) == 1


def test_depth_is_judged_anew_under_another_bound() -> None:
    """A policy that allows less must not be told what an earlier one allowed."""
    deep: Json = {"role": "user", "content": "x", "extra": [[[[[[1]]]]]]}
    body = json.dumps({"model": "m", "messages": [deep]}).encode()
    memo = Memo(10**6, 7)
    learn(memo, body)

    with pytest.raises(MalformedRequest, match="nests deeper than 8 levels"):
        DIALECTS["chat"].parse(body, SMALL, memo)


def test_reading_alone_remembers_nothing() -> None:
    """What is never answered pushes nothing out, and a thread may read."""
    memo = Memo(10**6, 7)
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    DIALECTS["chat"].parse(body, Bounds(), memo)

    assert memo.size_bytes == 0
    assert not memo.young


def test_answers_that_begin_alike_are_told_apart() -> None:
    """Several items are one answer: all of them say which."""
    user: Json = {"role": "user", "content": "a"}
    first: Json = {"role": "assistant", "content": "Well"}
    memo = Memo(10**6, 7)
    for rest in ("yes", "no", "yes"):
        turns = [user, first, {"role": "assistant", "content": rest}]
        body = spelled("responses", turns, None, compact=True)

        assert outcome("responses", body, memo) == outcome("responses", body, None)
