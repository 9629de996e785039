"""Answers of chat completions as the next request has them, and answers with fewer calls."""

import json

import pytest

from proxy.core.changes import Changes, Given
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT
from proxy.core.usage import ToolCall

HEAD = '{"id":"x", "choices":['


def call(call_id: str, name: str = "f") -> str:
    function = f'{{"name":"{name}","arguments":"{{ }}"}}'
    return f'{{"id":"{call_id}", "type":"function","function":{function}}}'


def answer(message: str, finish: str = "tool_calls") -> str:
    return f'{HEAD}{{"message":{message}, "finish_reason":"{finish}"}} ],"usage":{{}}}}'


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        (
            '{"role":"assistant","content":"a \\u00e9"}',
            '{"role":"assistant","content":"a \\u00e9"}',
        ),
        (
            '{"content":null,"refusal":null,"reasoning_content":"So","tool_calls":[%s] }',
            '{"content":null,"reasoning_content":"So","tool_calls":[%s],"role":"assistant" }',
        ),
        (  # what a provider has put beside a call is its own (Gemini's signatures)
            '{"role":"model","tool_calls":[{"id":"c","extra_content":{"google":{"s":"="}}}]}',
            '{"role":"assistant","tool_calls":[{"id":"c","extra_content":{"google":{"s":"="}}}]}',
        ),
        (
            '{"role":"assistant","content":null,"audio":{"id":"au","data":"AAAA","transcript":"a"}}',
            '{"role":"assistant","content":null,"audio":{"id":"au"}}',
        ),
        ('{"role":"assistant","audio":null}', '{"role":"assistant"}'),
    ],
)
def test_a_turn_is_the_message_as_it_came(message: str, turn: str) -> None:
    """It is what a client appends; fields of null are refused by some and say nothing to any."""
    said, sent = message.replace("%s", call("c")), turn.replace("%s", call("c"))

    assert CHAT.answer_turn(answer(said).encode()).decode() == sent


def test_of_several_choices_the_first_is_the_turn() -> None:
    """As in `read_answer`, wherever it stands."""
    body = b'{"choices":[{"index":1,"message":{"role":"assistant","content":"b"}},'
    body += b'{"index":0,"message":{"role":"assistant","content":"a"}}]}'

    assert CHAT.answer_turn(body) == b'{"role":"assistant","content":"a"}'
    assert CHAT.read_answer(body).answer.text == "a"


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"choices":[]}', b'{"choices":[{"message":null}]}', b'{"choices":0}'],
)
def test_what_is_no_answer_is_no_turn(body: bytes) -> None:
    """A provider may send anything."""
    assert CHAT.answer_turn(body) == b""


def test_a_follow_up_is_the_turn_and_its_results_at_the_end() -> None:
    """Every call is answered before anything else is said."""
    body = b'{"model":"m","messages":[{"role":"user","content":"a"} ],"tools":[]}'
    turn = f'{{"role":"assistant","tool_calls":[{call("c")},{call("d")}]}}'
    parts = b'[{"type":"text","text":"B"}]'
    given = [
        Given(ToolCall("c", "f", "{}"), 'A "1"', is_error=True, content=b"[]", dialect="messages"),
        Given(ToolCall("d", "f", "{}"), "B", content=parts, dialect="chat"),
    ]

    followed = CHAT.follow_up(body, CHAT.parse(body, Bounds()), turn.encode(), given)

    assert followed.decode() == (
        f'{{"model":"m","messages":[{{"role":"user","content":"a"}} ,{turn},'
        '{"role":"tool","tool_call_id":"c","content":"A \\"1\\""},'
        '{"role":"tool","tool_call_id":"d","content":[{"type":"text","text":"B"}]}],"tools":[]}'
    )


def test_the_result_of_a_legacy_call_goes_by_its_name() -> None:
    """It has no id."""
    body = b'{"model":"m","messages":[{"role":"user","content":"a"}]}'
    turn = b'{"role":"assistant","function_call":{"name":"f","arguments":"{}"}}'

    followed = CHAT.follow_up(
        body, CHAT.parse(body, Bounds()), turn, [Given(ToolCall("", "f", "{}"), "A")]
    )

    assert json.loads(followed)["messages"][-1] == {"role": "function", "name": "f", "content": "A"}


@pytest.mark.parametrize(
    ("ids", "left"),
    [
        (("a",), f"[{call('b')} , {call('c')}]"),
        (("b",), f"[{call('a')} , {call('c')}]"),
        (("b", "c"), f"[{call('a')}]"),
        (("a", "b"), f"[{call('c')}]"),
        (("a", "c"), f"[{call('b')}]"),
    ],
)
def test_calls_are_taken_out_and_the_others_stay(ids: tuple[str, ...], left: str) -> None:
    """Byte for byte, and the answer still ends for its calls."""
    message = '{"role":"assistant","content":null,"tool_calls":%s}'
    calls = f"[{call('a')} , {call('b')} , {call('c')}]"
    whole = answer(message.replace("%s", calls))

    found = CHAT.without_calls(whole.encode(), ids).decode()

    assert found == answer(message.replace("%s", left))
    assert CHAT.read_answer(found.encode()).answer.finish_reason == "tool_calls"


def test_an_answer_left_without_calls_ends_as_one_that_asked_for_none() -> None:
    """A client that finds no call where it was told of some waits, or breaks."""
    one = answer(f'{{"role":"assistant","content":null,"tool_calls":[{call("a")}],"b":1}}')
    two = answer(f'{{"role":"assistant","content":"So","tool_calls":[{call("a")}]}}')

    assert CHAT.without_calls(one.encode(), ["a"]).decode() == answer(
        '{"role":"assistant","content":"","b":1}', "stop"
    )
    assert CHAT.without_calls(two.encode(), ["a"]).decode() == answer(
        '{"role":"assistant","content":"So"}', "stop"
    )


def test_an_answer_that_was_cut_stays_cut() -> None:
    """Why it ended is the provider's to say, but for its calls."""
    body = answer(f'{{"content":"","tool_calls":[{call("a")}]}}', "length").encode()

    assert json.loads(CHAT.without_calls(body, ["a"]))["choices"][0]["finish_reason"] == "length"


def test_legacy_calls_are_taken_out_by_their_empty_id() -> None:
    """Beside others they stay, as these do."""
    legacy = '"function_call":{"name":"f","arguments":"{}"}'
    alone = answer(f'{{"content":null,{legacy}}}', "function_call").encode()
    both = answer(f'{{"content":null,"tool_calls":[{call("a")}],{legacy}}}').encode()

    assert CHAT.without_calls(alone, [""]).decode() == answer('{"content":""}', "stop")
    assert CHAT.without_calls(both, ["a"]).decode() == answer(f'{{"content":null,{legacy}}}')
    assert CHAT.without_calls(both, [""]).decode() == answer(
        f'{{"content":null,"tool_calls":[{call("a")}]}}'
    )


@pytest.mark.parametrize(
    "body",
    [
        answer(f'{{"content":null,"tool_calls":[{call("a")}]}}').encode(),
        answer('{"content":null,"tool_calls":null,"function_call":null}').encode(),
        b'{"choices":null}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{}]}',
        b"{}",
    ],
)
def test_an_answer_without_these_calls_is_the_same_object(body: bytes) -> None:
    """Untouched bytes are what fidelity means."""
    assert CHAT.without_calls(body, ["b"]) is body


def test_calls_are_taken_out_of_every_choice() -> None:
    """An agent may take any of them."""
    choice = (
        f'{{"message":{{"content":null,"tool_calls":[{call("a")}]}},"finish_reason":"tool_calls"}}'
    )
    other = choice.replace('"a"', '"b"')
    body = f'{{"choices":[{choice},{other},{choice}]}}'.encode()

    found = json.loads(CHAT.without_calls(body, ["a"]))["choices"]

    assert [one["finish_reason"] for one in found] == ["stop", "tool_calls", "stop"]
    assert ["tool_calls" in one["message"] for one in found] == [False, True, False]


def back(messages: str, *given: Given, tools: str = "") -> str:
    """The messages with these put back."""
    body = f'{{"model":"m"{tools},"messages":{messages}}}'.encode()
    request = CHAT.parse(body, Bounds())
    changed = CHAT.rewrite(body, request, Changes(put_back=given))
    assert (changed is body) == (changed == body)
    return changed.decode().partition('"messages":')[2].removesuffix("}")


def asked(*calls: str) -> str:
    return f'{{"role":"assistant","content":null,"tool_calls":[ {",".join(calls)} ]}}'


def heard(call_id: str, text: str = "A") -> str:
    return f'{{"role":"tool","tool_call_id":"{call_id}","content":"{text}"}}'


USER = '{"role":"user","content":"a"}'
PUT = '{"id":"p","type":"function","function":{"name":"f","arguments":"{}"}}'
P = Given(ToolCall("p", "f", "{}"), "A")


@pytest.mark.parametrize(
    "messages",
    [
        f"[{USER},{asked(call('a'))},{heard('a')}, {heard('b')}RESULT\n,{USER}]",
        f"[{USER},{asked(call('a'))},{heard('a')}RESULT]",
        f"[{asked(call('a'))},{heard('a')}RESULT,{USER},{USER}]",
        f'[{asked(call("a"))},{heard("a")}RESULT,{{"role":"assistant","content":"So"}},{USER}]',
    ],
)
def test_what_was_withheld_is_put_back_beside_the_others(messages: str) -> None:
    """Its call into the newest answer, its result behind theirs and before what is said then."""
    after = messages.replace("RESULT", "," + heard("p")).replace(" ]}", f" ,{PUT}]}}")

    assert back(messages.replace("RESULT", ""), P) == after


def test_several_are_put_back_in_their_order() -> None:
    """Each with its own result."""
    q = Given(ToolCall("q", "f", "{}"), "B")

    found = json.loads(back(f"[{asked(call('a'))},{heard('a')}]", P, q))

    assert [one["id"] for one in found[0]["tool_calls"]] == ["a", "p", "q"]
    assert [(one["tool_call_id"], one["content"]) for one in found[1:]] == [
        ("a", "A"),
        ("p", "A"),
        ("q", "B"),
    ]


def test_only_the_newest_answer_is_given_it() -> None:
    """It asked for it."""
    old = f"{asked(call('o'))},{heard('o')}"

    found = back(f"[{old},{asked(call('a'))},{heard('a')}]", P)

    assert (
        found == f"[{old},{asked(call('a')).replace(' ]', f' ,{PUT}]')},{heard('a')},{heard('p')}]"
    )


@pytest.mark.parametrize(
    "messages",
    [
        f"[{USER}]",
        f"[{heard('a')}]",
        f"[{asked(call('a'))},{USER},{heard('a')}]",
        f"[{asked(call('a'))}]",
        f"[{asked(call('p'), call('a'))},{heard('p')},{heard('a')}]",
        f'[{{"role":"assistant","content":"So"}},{heard("a")}]',
        f'[{{"role":"assistant","tool_calls":null}},{heard("a")}]',
        '[{"role":"assistant","function_call":{"name":"f"}},{"role":"function","name":"f"}]',
    ],
)
def test_where_there_are_no_others_nothing_is_put_back(messages: str) -> None:
    """A client that has made its history anew has no place for it."""
    assert back(messages, P) == messages


def test_a_call_without_an_id_has_no_place_beside_others() -> None:
    """There is one in an answer."""
    messages = f"[{asked(call('a'))},{heard('a')}]"

    assert back(messages, Given(ToolCall("", "f", "{}"), "A")) == messages


def test_a_call_of_a_custom_tool_is_put_back_as_one() -> None:
    """It has text, not arguments."""
    tools = ',"tools":[{"type":"function","function":{"name":"f"}},{"custom":{"name":"p"}}]'
    given = Given(ToolCall("p", "p", "{}"), "A")
    put = '{"id":"p","type":"custom","custom":{"name":"p","input":"{}"}}'
    messages = f"[{asked(call('a'))},{heard('a')}]"

    assert back(messages, given, tools=tools) == (
        f"[{asked(call('a')).replace(' ]', f' ,{put}]')},{heard('a')},{heard('p')}]"
    )
    assert PUT in back(messages, P, tools=tools)
    both = ',"tools":[{"function":{"name":"f"},"custom":{"name":"f"}}]'
    assert PUT in back(messages, P, tools=both)
