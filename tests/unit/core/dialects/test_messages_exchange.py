"""Answers of the Messages API as the next request has them, and answers with fewer calls."""

import pytest

from proxy.core.changes import Changes, Given
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.messages import MESSAGES
from proxy.core.usage import ToolCall

THINKING = '{"type":"thinking","thinking":"So \\u00e9","signature":"EqQB=="}'
SEALED = '{"type":"redacted_thinking","data":"Aw=="}'
TEXT = '{"type":"text","text":"Let me see.","citations":null}'


def use(call_id: str) -> str:
    return f'{{"type":"tool_use","id":"{call_id}","name":"f","input":{{"a": 1}}}}'


def answer(blocks: str, reason: str = "tool_use") -> str:
    return f'{{"id":"m","content": [{blocks}],"stop_reason":"{reason}","usage":{{}}}}'


def test_a_turn_has_all_blocks_as_they_came() -> None:
    """Thinking is refused if a byte of it has changed."""
    blocks = f"{THINKING}, {SEALED},{TEXT} ,{use('t')}"

    assert MESSAGES.answer_turn(answer(blocks).encode()).decode() == (
        f'{{"role":"assistant","content":[{blocks}]}}'
    )


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"content":"a"}', b'{"content":null}'])
def test_what_is_no_answer_is_no_turn(body: bytes) -> None:
    """A provider may send anything."""
    assert MESSAGES.answer_turn(body) == b""


def test_a_follow_up_is_the_turn_and_its_results_at_the_end() -> None:
    """All results in the one message that follows the calls."""
    body = b'{"model":"m","messages":[{"role":"user","content":"a"} ],"max_tokens":9}'
    turn = f'{{"role":"assistant","content":[{use("t")},{use("u")}]}}'
    image = b'[{"type":"image"}]'
    given = [
        Given(ToolCall("t", "f", "{}"), 'A "1"', is_error=True, content=b"[]", dialect="chat"),
        Given(ToolCall("u", "f", "{}"), "", content=image, dialect="messages"),
    ]

    followed = MESSAGES.follow_up(body, MESSAGES.parse(body, Bounds()), turn.encode(), given)

    assert followed.decode() == (
        f'{{"model":"m","messages":[{{"role":"user","content":"a"}} ,{turn},'
        '{"role":"user","content":['
        '{"type":"tool_result","tool_use_id":"t","content":"A \\"1\\"","is_error":true},'
        '{"type":"tool_result","tool_use_id":"u","content":[{"type":"image"}]}]}],"max_tokens":9}'
    )


def test_a_follow_up_of_nothing_is_a_conversation() -> None:
    """Whatever is read can be gone on from."""
    body = b'{"model":"m"}'

    assert MESSAGES.follow_up(
        body, MESSAGES.parse(body, Bounds()), b"{}", [Given(ToolCall("t", "f", "{}"), "")]
    ) == (
        b'{"model":"m","messages":[{},{"role":"user","content":'
        b'[{"type":"tool_result","tool_use_id":"t","content":""}]}]}'
    )


@pytest.mark.parametrize(
    ("ids", "left", "reason"),
    [
        (("t",), f"{THINKING} , {use('u')}", "tool_use"),
        (("u",), f"{THINKING} , {use('t')}", "tool_use"),
        (("t", "u"), THINKING, "end_turn"),
    ],
)
def test_calls_are_taken_out_and_the_rest_stays(
    ids: tuple[str, ...], left: str, reason: str
) -> None:
    """Byte for byte; without any call, the turn has ended."""
    body = answer(f"{THINKING} , {use('t')} , {use('u')}").encode()

    assert MESSAGES.without_calls(body, ids).decode() == answer(left, reason)


def test_an_answer_that_was_cut_stays_cut() -> None:
    """Why it ended is the provider's to say, but for its calls."""
    body = answer(use("t"), "max_tokens").encode()

    assert MESSAGES.without_calls(body, ["t"]).decode() == answer("", "max_tokens")


@pytest.mark.parametrize(
    "body",
    [
        answer(f"{TEXT},{use('t')}").encode(),
        answer('7,{"type":"tool_use","id":7},{"type":"server_tool_use","id":"u"}').encode(),
        b'{"content":"u"}',
        b"{}",
    ],
)
def test_an_answer_without_these_calls_is_the_same_object(body: bytes) -> None:
    """Untouched bytes are what fidelity means; what the provider ran itself is no call."""
    assert MESSAGES.without_calls(body, ["u"]) is body


def back(messages: str, *given: Given) -> str:
    """The messages with these put back."""
    body = f'{{"model":"m","messages":{messages}}}'.encode()
    request = MESSAGES.parse(body, Bounds())
    changed = MESSAGES.rewrite(body, request, Changes(put_back=given))
    assert (changed is body) == (changed == body)
    return changed.decode().partition('"messages":')[2].removesuffix("}")


def heard(call_id: str) -> str:
    return f'{{"type":"tool_result","tool_use_id":"{call_id}","content":"A"}}'


def said(role: str, *blocks: str) -> str:
    return f'{{"role":"{role}","content":[{" , ".join(blocks)}]}}'


P = Given(ToolCall("p", "f", '{"a": 1}'), "A")
PUT = '{"type":"tool_use","id":"p","name":"f","input":{"a": 1}}'
USER = '{"role":"user","content":"a"}'
OLD = f"{said('assistant', use('t'))},{said('user', heard('t'))}"


def test_what_was_withheld_is_put_back_beside_the_others() -> None:
    """Its call behind those of the newest answer, its result behind theirs, before any text."""
    old = f"{said('assistant', use('o'))},{said('user', heard('o'))}"
    note = TEXT.replace(',"citations":null', "")

    found = back(
        f"[{USER},{old},{said('assistant', THINKING, use('t'))},"
        f"{said('user', heard('t'), note)},{USER}]",
        P,
    )

    assert found == (
        f"[{USER},{old},{said('assistant', THINKING, use('t'))[:-2]},{PUT}]}},"
        f"{said('user', heard('t') + ',' + heard('p'), note)},{USER}]"
    )


def test_what_the_model_is_to_go_on_with_stays_the_last() -> None:
    """It is an answer, too, but made no call."""
    turn, results = said("assistant", use("t")), said("user", heard("t"))

    assert back(f"[{turn},{results},{said('assistant', TEXT)}]", P) == (
        f"[{turn[:-2]},{PUT}]}},{results[:-2]},{heard('p')}]}},{said('assistant', TEXT)}]"
    )


def test_several_are_put_back_in_their_order() -> None:
    """Each with its own result; arguments that are no object were none."""
    q = Given(ToolCall("q", "f", "a"), "A", is_error=True)

    found = back(f"[{said('assistant', use('t'))},{said('user', heard('t'))}]", P, q)

    assert found == (
        f"[{said('assistant', use('t'))[:-2]},{PUT},"
        '{"type":"tool_use","id":"q","name":"f","input":{}}]},'
        f"{said('user', heard('t'))[:-2]},{heard('p')},"
        f'{heard("q")[:-1]},"is_error":true}}]}}]'
    )


@pytest.mark.parametrize(
    "messages",
    [
        "null",
        "[]",
        f"[{USER}]",
        f"[{USER},{USER}]",
        f"[{said('assistant', use('t'))}]",
        f"[{said('assistant', use('t'))},{said('assistant', TEXT)}]",
        f"[{OLD},{said('assistant', use('u'))},{said('user', TEXT)}]",
        f"[{said('assistant', use('t'))},{said('system', heard('t'))}]",
        f"[{said('assistant', use('t'))},{USER}]",
        f"[{said('assistant', use('t'))},{said('user', TEXT)}]",
        f"[{said('assistant', TEXT)},{said('user', heard('t'))}]",
        f'[{{"role":"assistant","content":"a"}},{said("user", heard("t"))}]',
        f'[{{"role":"assistant"}},{said("user", heard("t"))}]',
        f"[{said('assistant', use('t'), use('p'))},{said('user', heard('t'), heard('p'))}]",
    ],
)
def test_where_there_are_no_others_nothing_is_put_back(messages: str) -> None:
    """A client that has made its history anew has no place for it."""
    assert back(messages, P) == messages


def test_a_note_stands_behind_what_is_put_back() -> None:
    """Results come first."""
    body = f'{{"model":"m","messages":[{said("assistant", use("t"))},{said("user", heard("t"))}]}}'
    request = MESSAGES.parse(body.encode(), Bounds())

    changed = MESSAGES.rewrite(body.encode(), request, Changes(notes=("n",), put_back=(P,)))

    assert changed.decode().endswith(
        f'{heard("t")},{heard("p")},{{"type":"text","text":"n"}}]}}]}}'
    )
