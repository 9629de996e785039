"""What is read all at once is read as it would be one by one; and what is odd is left to that."""

import json
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dialects import chat_parse, messages_request, responses_request
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.body import refuse_deep
from proxy.core.dialects.reader import Style
from proxy.core.dialects.registry import DIALECTS
from proxy.core.memo import Memo
from proxy.core.request import Element, Frame, Piece
from proxy.errors import MalformedRequest
from tests.unit.core.dialects.metering import Json, json_values, law, texts
from tests.unit.core.dialects.test_reader import CONTENT, SMALL, told

STYLES = {
    "chat": chat_parse.STYLE,
    "messages": messages_request.STYLE,
    "responses": responses_request.STYLE,
}
DEEP = [[[[[[[[1]]]]]]]]
LEVELS = Bounds(json_depth=12)
dialects = pytest.mark.parametrize("dialect", STYLES)
marks = st.sampled_from([None, {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, {}])
arguments = st.one_of(
    st.builds(json.dumps, st.dictionaries(texts, json_values, max_size=3)),
    st.sampled_from(
        ["", "{}", "{", "}", "{}{}", '{"a":{}', '{"b": 1.0}\n', '{"a":1,"a":2}', "[1]"]
    ),
    st.just('{"\\u0061": 1e400, "b": 12345678901234567890}'),
    texts,
)
flats = st.none() | st.dictionaries(texts, texts | st.integers() | st.none(), max_size=2)


def optional(required: Json, **members: st.SearchStrategy[object]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {key: st.just(value) for key, value in required.items()}, optional=members
    )


chat_parts = st.one_of(
    optional({"type": "text"}, text=texts, cache_control=marks),
    optional({"type": "refusal"}, refusal=texts | st.none(), text=st.none() | texts),
    optional({"type": "image_url"}, image_url=st.just({"url": "a"})),
    texts,
)
chat_messages = st.one_of(
    *(
        optional(
            {"role": role},
            content=st.none() | texts | st.lists(chat_parts, max_size=3),
            name=texts,
            refusal=st.none() | texts,
            tool_call_id=texts | st.none(),
            reasoning_content=texts | st.integers(),
            annotations=st.lists(flats, max_size=2),
            provider_specific_fields=flats,
            cache_control=marks,
            function_call=st.none(),
            tool_calls=st.none()
            | st.lists(
                optional(
                    {"type": "function"},
                    id=texts | st.none(),
                    index=st.integers(0, 3),
                    function=optional(
                        {}, name=texts | st.none(), arguments=arguments | st.none() | flats
                    ),
                ),
                max_size=5,
            ),
        )
        for role in ("user", "assistant", "tool", "system", "developer", "function", "owner")
    ),
    json_values,
)
inner_blocks = st.one_of(
    optional({"type": "text"}, text=texts, cache_control=marks),
    optional({"type": "image"}, source=st.just({"type": "base64", "data": "AA"})),
)
blocks = st.one_of(
    optional({"type": "text"}, text=texts | st.none(), cache_control=marks, content=texts),
    optional(
        {"type": "tool_use"},
        id=texts,
        name=texts,
        input=st.dictionaries(texts, json_values, max_size=3) | json_values,
        cache_control=marks,
    ),
    optional(
        {"type": "tool_result"},
        tool_use_id=texts | st.none(),
        content=texts | st.none() | st.lists(inner_blocks, max_size=3),
        is_error=st.none() | st.booleans(),
        cache_control=marks,
        input=st.none(),
    ),
    optional({"type": "thinking"}, thinking=texts, signature=texts | st.none() | json_values),
    optional({"type": "redacted_thinking"}, data=texts),
    optional({"type": "image"}, source=st.just({"type": "base64", "data": "AA"})),
    optional({}, type=texts, text=texts),
)
turns = st.one_of(
    *(
        optional({"role": role}, content=st.none() | texts | st.lists(blocks, max_size=4), id=texts)
        for role in ("user", "assistant", "system", "owner")
    ),
    json_values,
)
parts = st.one_of(
    *(
        optional({"type": kind}, text=texts | st.none(), refusal=texts, annotations=st.just([]))
        for kind in ("input_text", "output_text", "input_image", None)
    ),
)
said = st.none() | texts | st.lists(parts, max_size=3)
items = st.one_of(
    optional({"type": "function_call"}, call_id=texts, id=texts, name=texts, arguments=arguments),
    optional({"type": "custom_tool_call"}, call_id=texts, name=texts, input=texts | json_values),
    *(
        optional({"type": kind}, call_id=texts | st.none(), id=texts, output=said | json_values)
        for kind in ("function_call_output", "custom_tool_call_output", "shell_call_output")
    ),
    *(
        optional({"role": role}, type=st.just("message"), content=said, id=texts, status=texts)
        for role in ("user", "assistant", "system", "developer", "owner", None)
    ),
    optional({"type": "reasoning"}, summary=st.lists(flats, max_size=2), id=texts),
    optional({"type": "item_reference"}, id=texts),
    optional({"type": "additional_tools"}, tools=st.lists(optional({}, name=texts), max_size=2)),
    json_values,
)
LISTS: dict[str, st.SearchStrategy[list[object]]] = {
    "chat": st.lists(chat_messages, max_size=5),
    "messages": st.lists(turns, max_size=5),
    "responses": st.lists(items, max_size=5),
}


def frame_of(dialect: str, model: str = "m") -> Frame:
    style = STYLES[dialect]
    body = json.dumps({"model": model, style.listed: [{"role": "user", "content": "x"}]}).encode()
    learned = DIALECTS[dialect].parse(body, LEVELS, Memo(10**6, 7)).learned  # type: ignore[index]
    assert learned is not None
    assert learned.frame is not None
    return learned.frame


def one_by_one(style: Style, written: bytes) -> list[Element]:
    elements = []
    for at, part in enumerate(msgspec.json.decode(written, type=list[msgspec.Raw])):
        refuse_deep((part,), LEVELS, 2)
        elements.append(style.read(part, at))
    return elements


def without_writes(element: Element) -> Element:
    """What is only asked of Claude is not looked for in the messages of others (chat)."""
    if isinstance(element, Piece) and element.apart is not None and element.saying is None:
        apart = msgspec.structs.replace(element.apart, writes="none")
        if apart == type(apart)() and len(element.messages) == 1:
            return element.messages[0]
    return element


@dialects
@law
@given(st.data(), st.booleans(), st.booleans())
def test_what_is_read_at_once_is_read_as_if_one_by_one(
    dialect: str, data: st.DataObject, escaped: bool, compact: bool
) -> None:
    """Or is left to be."""
    style = STYLES[dialect]
    drawn = data.draw(LISTS[dialect])
    for one in drawn if len(drawn) > 1 else ():
        alone = json.dumps([one]).encode()
        if (told := style.told(alone, frame_of(dialect))) is not None:
            assert [without_writes(one) for one in told] == [
                without_writes(one) for one in one_by_one(style, alone)
            ]
    written = json.dumps(
        drawn, ensure_ascii=escaped, separators=(",", ":") if compact else None
    ).encode(errors="surrogatepass")
    elements = style.told(written, frame_of(dialect))
    if elements is None:
        return

    expected = one_by_one(style, written)
    if dialect == "chat":
        expected = [without_writes(one) for one in expected]
    assert list(elements) == expected


@dialects
def test_what_agents_send_is_read_at_once(dialect: str) -> None:
    """Else all this were of no use."""
    usual: dict[str, list[object]] = {
        "chat": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "u"}]},
            {"role": "assistant", "content": None, "refusal": None, "annotations": [],
             "function_call": None, "audio": None, "tool_calls": [{"id": "c", "type": "function",
             "index": 0, "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": "r"},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "u",
             "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "AA"},
                {"type": "text", "text": "a"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"a": [{"b": {}}]}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c",
             "content": [{"type": "text", "text": "r"}], "is_error": False}]},
        ],
        "responses": [
            {"role": "user", "content": [{"type": "input_text", "text": "u"}]},
            {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "AA"},
            {"type": "message", "role": "assistant", "id": "m", "status": "completed", "content": [
                {"type": "output_text", "text": "a", "annotations": [], "logprobs": []}]},
            {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": "{}",
             "status": "completed"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
        ],
    }  # fmt: skip
    style = STYLES[dialect]
    written = json.dumps(usual[dialect]).encode()
    elements = style.told(written, frame_of(dialect))

    assert elements is not None
    assert list(elements) == one_by_one(style, written)


@dialects
@pytest.mark.parametrize("place", ["beside", "in the content", "in the arguments"])
def test_what_is_deep_is_never_read_at_once(dialect: str, place: str) -> None:
    """A bound that one way of reading knows and the other does not is none."""
    deep: object = "x"
    for _ in range(20):
        deep = [deep]
    spelled: dict[str, Callable[[], object]] = {
        "beside": lambda: {"role": "user", "content": "x", "type": "message", "extra": deep},
        "in the content": lambda: {"role": "user", "content": [{"type": "text", "text": deep}]},
        "in the arguments": lambda: {
            "role": "assistant",
            "type": "function_call",
            "arguments": deep,
            "content": [{"type": "tool_use", "id": "c", "name": "f", "input": deep}],
        },
    }
    body = json.dumps({"model": "m", CONTENT[dialect]: [spelled[place]()]}).encode()

    for memo in (None, Memo(10**6, 7)):
        with pytest.raises(MalformedRequest):
            DIALECTS[dialect].parse(body, LEVELS, memo)  # type: ignore[index]


@dialects
@pytest.mark.parametrize(
    ("message", "at_once"),
    [
        ({"role": "tool", "tool_call_id": "c", "tool_calls": [{"function": {}}]}, {"chat"}),
        ({"role": "user", "content": "x", "tool_calls": [{"function": {}}]}, {"chat"}),
        (
            {"role": "assistant", "content": [{"type": "tool_use", "input": [[[[[[[[1]]]]]]]]}]},
            set(),
        ),
        ({"role": "assistant", "content": [{"type": "thinking", "signature": ["x"]}]}, set()),
        ({"role": "assistant", "content": [{"type": "thinking", "signature": "x"}]}, {"messages"}),
        (
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image"}]}]},
            set(),
        ),
        ({"role": "user", "content": [{"type": "text", "signature": "x"}]}, set()),
    ],
)
def test_what_is_odd_is_left_to_be_read_alone(
    dialect: str, message: Json, at_once: set[str]
) -> None:
    """And is read alike where it is not."""
    style, written = STYLES[dialect], json.dumps([message]).encode()
    told = style.told(written, frame_of(dialect))

    assert (told is not None) == (dialect in at_once)
    assert told is None or list(told) == one_by_one(style, written)


def test_markers_are_looked_for_where_claude_is_asked() -> None:
    """They make what is written to the cache dearer."""
    marked = (
        b'[{"role":"user","content":[{"type":"text","text":"x","cache_control":{"ttl":"1h"}}]}]'
    )
    style = STYLES["chat"]

    assert style.told(marked, frame_of("chat")) is not None
    assert style.told(marked, frame_of("chat", "anthropic/claude-sonnet-5")) is None
    assert style.told(b'[{"role":"user","content":"\\u0041"}]', frame_of("chat", "Claude")) is None
    assert style.told(b'[{"role":"user","content":"x"}]', frame_of("chat", "Claude")) is not None


SNIPPETS = (
    *(b"]", b"}", b",", b'"', b"\\", b" ", b"0", b"\xff", "é".encode(), b"null", b"[[[[[[[[[[["),
    *(b'],"max_tokens":9,"x":[{}', b'}],"stream":false,"messages":[{"role":"user"'),
    *(b'"n":2,', b',"n":2', b',{"role":"user","content":"x"}', b',"messages":[]', b'"input":[],'),
)


@dialects
def test_what_is_put_into_a_known_frame_is_seen(dialect: str) -> None:
    """A client may build its body so that it reads as one thing to us, as another to the provider:
    every snippet at every place, and every byte taken out."""
    turn = {"role": "user", "content": "hi"}
    body = json.dumps(
        {"model": "m", CONTENT[dialect]: [turn, turn], "n": 1, "stream": True}
    ).encode()
    memo = Memo(10**6, 7)
    learned = DIALECTS[dialect].parse(body, LEVELS, memo).learned  # type: ignore[index]
    assert learned is not None
    memo.keep(learned)
    assert memo.frame(STYLES[dialect].kind, body, LEVELS) is None or learned.frame is not None
    small = DIALECTS[dialect].parse(body, SMALL, memo).learned  # type: ignore[index]
    assert small is not None
    memo.keep(small)

    for at in range(len(body) + 1):
        cut = body[:at] + body[at + 1 :]
        assert told(dialect, cut, memo) == told(dialect, cut, None)  # type: ignore[arg-type]
        for snippet in SNIPPETS:
            put_in = body[:at] + snippet + body[at:]
            assert told(dialect, put_in, memo) == told(dialect, put_in, None)  # type: ignore[arg-type]
