"""Links: equal for what a client may respell, different for everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.canonical import message_digest
from proxy.core.links import Links, answer_turn, has_history, is_random_id, turns_of
from proxy.core.request import Message, Request
from proxy.core.usage import Answer, ToolCall
from tests.fakes_identity import request_of, said, user

CALL = ToolCall("call_L8pdnSKJiI9B8NUKgRL2VAtO", "look", '{"q": "a", "n": 1}')


@pytest.mark.parametrize(
    ("call_id", "name"),
    [
        ("call_L8pdnSKJiI9B8NUKgRL2VAtO", "look"),
        ("toolu_01QPaw1YfuDVUtkYa9vfTpKj", "look"),
        ("chatcmpl-tool-233a86ef8026456f97fb2cb1e1ffd091", "look"),
        ("function-call-17283940182736451928", "look"),
        ("D681PevKs", "look"),
        ("call_spqd-UV_qAeE1Nyp", "look"),
        ("call_qWzKpTbXrLmVcNdQ", "look"),
        ("VvvODy9mT", "look"),
        ("f8abf50a-c86c-436f-8054-365a3cf1a543", "look"),
    ],
)
def test_drawn_ids_are_random(call_id: str, name: str) -> None:
    """Providers' own ids identify a session by themselves."""
    assert is_random_id(call_id, name)


@pytest.mark.parametrize(
    ("call_id", "name"),
    [
        ("", "look"),
        ("call_1", "look"),
        ("call_0", ""),
        ("get_user_0", "get_user"),
        ("gem_get_reservation_details_0", "get_reservation_details"),
        ("getUserDetails0", "getUserDetails"),
        ("functions.getWeather:12", "getWeather"),
        ("call_search_flights_12", "search_flights"),
        ("toolcall", "look"),
    ],
)
def test_counted_ids_are_not_random(call_id: str, name: str) -> None:
    """They recur in every run, and one that only one session had so far proves nothing."""
    assert not is_random_id(call_id, name)


def test_two_tenants_have_no_link_in_common() -> None:
    """One tenant's messages must not lead to another's session."""
    one, two = Links("a"), Links("b")

    assert one.call_id("x") != two.call_id("x")
    assert one.said(b"d" * 16) != two.said(b"d" * 16)


def test_kinds_of_links_do_not_collide() -> None:
    """An id that spells another link's content is still an id."""
    links = Links("a")
    made = {links.call_id("x"), links.response("x"), links.said(b"x"), links.asked(b"x")}

    assert len(made) == 4


@pytest.mark.parametrize(
    "echo",
    [
        Message("assistant", "Sure.", b"any", (CALL,)),
        Message("assistant", " Sure.\n", b"any", (ToolCall("other", "look", '{"n":1,"q":"a"}'),)),
        Message("assistant", "<think>hm</think>Sure.", b"any", (CALL,)),
    ],
)
def test_an_answer_is_known_by_its_echo_whatever_the_client_respells(echo: Message) -> None:
    """Ids replaced, arguments dumped again, thinking stripped: still the answer that was given."""
    turn = next(turns_of(request_of(user("hi"), echo).history))
    given_turn = answer_turn(Answer("<think>hm</think>\nSure.", (CALL,)), 1)

    assert turn.said == given_turn.said


def test_an_answer_of_another_text_or_call_is_another() -> None:
    """What is said, and what is asked for, is what identifies."""
    base = answer_turn(Answer("Sure.", (CALL,)), 1).said

    assert answer_turn(Answer("Sure!", (CALL,)), 1).said != base
    assert answer_turn(Answer("Sure.", ()), 1).said != base
    assert answer_turn(Answer("Sure.", (ToolCall("i", "look", '{"q":"b"}'),)), 1).said != base


def test_responses_items_of_one_answer_are_one_turn() -> None:
    """That API splits an answer into a message and its calls; chat never does."""
    items = [said("Sure."), Message("assistant", "", b"c", (CALL,))]
    whole = answer_turn(Answer("Sure.", (CALL,)), 1)

    in_items = list(turns_of(request_of(user("hi"), *items, dialect="responses").history))
    in_chat = list(turns_of(request_of(user("hi"), *items).history))

    assert [(turn.start, turn.end, turn.said) for turn in in_items] == [(1, 3, whole.said)]
    assert len(in_chat) == 2


def test_system_messages_are_not_part_of_a_history() -> None:
    """Clients move and rewrite them between requests."""
    system = Message("system", "be good", message_digest("system", "be good"))

    plain = request_of(user("hi"), said("yes")).history
    moved = request_of(user("hi"), system, said("yes")).history

    assert plain.chain == moved.chain


def test_a_history_is_what_follows_an_answer_or_a_result() -> None:
    """A first prompt, however long, opens a session."""
    result = Message("tool", "42", b"d", (), "call_1")

    assert not has_history(request_of(user("hi"), user("there")))
    assert has_history(request_of(user("hi"), said("yes")))
    assert has_history(request_of(result))
    assert has_history(request_of(user("go on"), previous_response_id="resp_1"))


@given(st.lists(st.sampled_from(["user", "assistant", "tool"]), max_size=12))
def test_turns_cover_every_answer_once_newest_first(roles: list[str]) -> None:
    """No answer is skipped or read twice."""
    messages = [
        user(str(i)) if role == "user" else Message(role, str(i), bytes(16))  # type: ignore[arg-type]
        for i, role in enumerate(roles)
    ]
    request: Request = request_of(*messages)

    starts = [turn.start for turn in turns_of(request.history)]

    assert starts == [i for i, role in enumerate(roles) if role == "assistant"][::-1]


LONGER = "x" * 600_000
MANY = tuple(ToolCall(f"c{at}", f"f{at}", "{}") for at in range(300))


def test_no_more_is_read_of_a_turn_than_a_model_can_answer() -> None:
    """60 MB in the place of an answer held up every other call for eight seconds."""
    ends = [answer_turn(Answer(LONGER + end), 1) for end in ("a", "b")]
    calls = [answer_turn(Answer("", (*MANY, ToolCall("c", "f", end))), 1) for end in ("1", "2")]
    arguments = [
        answer_turn(
            Answer("", (ToolCall("c", "f" + LONGER, LONGER + end), ToolCall("c", end, end))), 1
        )
        for end in ("1", "2")
    ]

    assert ends[0] == ends[1] != answer_turn(Answer("y" + LONGER), 1)
    assert calls[0] == calls[1] != answer_turn(Answer("", MANY[1:]), 1)
    assert arguments[0] == arguments[1]
    assert max(turn.size for turn in (*ends, *calls, *arguments)) < 2 * len(LONGER)


def test_long_answers_are_searched_less_far_back() -> None:
    """Sixteen turns of a few hundred thousand characters each, on every step, are too many."""
    turns = turns_of(request_of(*[said(LONGER[:300_000]) for _ in range(9)]).history)
    short = turns_of(request_of(*[said("x") for _ in range(20)]).history)

    assert [turn.start for turn in turns] == [8, 7]
    assert [turn.start for turn in short] == list(range(19, 3, -1))


def test_an_id_is_read_as_far_as_any_provider_writes_one() -> None:
    """Some keep a signature in it; nobody 60 MB."""
    links, long = Links("a"), "x" * 4096

    assert links.call_id(long + "1") == links.call_id(long + "2") != links.call_id(long[1:] + "1")
    assert links.response(long + "1") == links.response(long + "2")


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>a</think> b", "b"),
        (" \n<thinking>a</think>c</thinking>b", "b"),
        ("<think>a", "<think>a"),
        ("b <think>a</think>", "b <think>a</think>"),
        ("<think></think>x<think>b</think>", "x<think>b</think>"),
    ],
)
def test_thinking_is_what_stands_before_an_answer(text: str, rest: str) -> None:
    """Some clients strip it, some send it back."""
    assert answer_turn(Answer(text), 1) == answer_turn(Answer(rest), 1)
