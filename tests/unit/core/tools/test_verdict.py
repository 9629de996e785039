"""What becomes of the tool calls of an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.effects import answered
from proxy.core.tools.facts import effect_of
from proxy.core.tools.policy import OnDuplicate, Tools
from proxy.core.tools.state import NOTHING_KNOWN, ToolState
from proxy.core.tools.verdict import Bench, Judged, Outcome, of_fate, outcome
from proxy.core.usage import ToolCall

MAIL = ToolCall("c1", "send_email", '{"to": "a", "text": "hi"}')
SAME = ToolCall("c2", "send_email", '{"text":"hi","to":"a"}')
OTHER = ToolCall("c3", "send_email", '{"to": "b", "text": "hi"}')
SEARCH = ToolCall("c4", "search", '{"q": 1}')
SENT = ToolState(effects={effect_of(MAIL.name, MAIL.arguments): 7})


def judge(
    tools: Tools, known: ToolState, *calls: ToolCall, tree: ToolState | None = None
) -> list[Judged]:
    bench = Bench(tools, known, tree)
    return [bench.judge(call) for call in calls]


def fates(tools: Tools, known: ToolState, *calls: ToolCall) -> list[str]:
    return [one.fate for one in judge(tools, known, *calls)]


def test_a_call_without_a_result_is_handed_to_the_agent() -> None:
    assert fates(Tools(side_effects=("send_*",)), NOTHING_KNOWN, MAIL, OTHER) == ["hand", "hand"]


def test_a_call_that_has_a_result_is_answered_with_it() -> None:
    (judged,) = judge(Tools(side_effects=("send_*",)), SENT, SAME)

    assert (judged.fate, judged.seq) == ("give", 7)


@pytest.mark.parametrize(
    ("on_duplicate", "fate"), [("replay", "give"), ("reject", "reject"), ("ask", "ask")]
)
def test_the_policy_says_what_becomes_of_a_duplicate(on_duplicate: OnDuplicate, fate: str) -> None:
    tools = Tools(side_effects=("send_*",), on_duplicate=on_duplicate)

    assert fates(tools, SENT, SAME, OTHER) == [fate, "hand"]


def test_tools_that_are_not_named_are_none_of_its_business() -> None:
    assert fates(Tools(side_effects=("pay_*",)), SENT, SAME, SEARCH) == ["hand", "hand"]


@pytest.mark.parametrize("on_duplicate", ["replay", "reject", "ask"])
def test_of_two_equal_calls_in_one_turn_one_is_handed(on_duplicate: OnDuplicate) -> None:
    tools = Tools(side_effects=("send_*",), on_duplicate=on_duplicate)

    assert fates(tools, NOTHING_KNOWN, MAIL, SEARCH, SAME) == ["hand", "hand", "double"]


def test_a_tree_knows_the_results_of_all_its_sessions() -> None:
    (judged,) = judge(Tools(side_effects=("*",)), NOTHING_KNOWN, MAIL, tree=SENT)

    assert judged.fate == "give"


def test_a_call_that_needs_approval_waits_and_once_approved_passes() -> None:
    tools = Tools(require_approval=("send_*",))
    digest = effect_of(MAIL.name, MAIL.arguments)

    assert fates(tools, NOTHING_KNOWN, MAIL, SAME) == ["ask", "double"]
    assert fates(tools, answered(NOTHING_KNOWN, digest, approved=True), SAME) == ["hand"]
    assert fates(tools, answered(NOTHING_KNOWN, digest, approved=True), OTHER) == ["ask"]


def test_a_call_that_a_human_refused_is_told_so() -> None:
    known = answered(
        NOTHING_KNOWN, effect_of(MAIL.name, MAIL.arguments), approved=False, message="no"
    )
    (judged,) = judge(Tools(require_approval=("*",)), known, SAME)

    assert (judged.fate, judged.refused) == ("give", "no")


def test_a_duplicate_that_a_human_approves_is_handed_once_more() -> None:
    tools = Tools(side_effects=("*",), on_duplicate="ask")
    known = answered(SENT, effect_of(MAIL.name, MAIL.arguments), approved=True)

    assert fates(tools, known, MAIL) == ["hand"]


def test_a_denied_tool_is_denied_whatever_else_names_it() -> None:
    tools = Tools(side_effects=("*",), require_approval=("*",), deny=("send_*",))
    known = answered(SENT, effect_of(MAIL.name, MAIL.arguments), approved=True)

    assert fates(tools, known, MAIL) == ["deny"]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ((), "pass"),
        ((SEARCH,), "pass"),
        ((SAME,), "follow"),
        ((SAME, MAIL), "follow"),
        ((SAME, SEARCH), "withhold"),
        ((OTHER, OTHER), "withhold"),
        ((OTHER, SEARCH), "pass"),
    ],
)
def test_an_answer_passes_loses_calls_or_goes_back_to_the_model(
    calls: tuple[ToolCall, ...], expected: Outcome
) -> None:
    tools = Tools(side_effects=("send_*",))

    assert outcome(judge(tools, SENT, *calls)) == expected


def test_the_strongest_of_several_fates_decides_on_an_answer() -> None:
    tools = Tools(
        side_effects=("send_*",), on_duplicate="reject", deny=("drop_*",), require_approval=("p*",)
    )
    pay, drop = ToolCall("p", "pay", "{}"), ToolCall("d", "drop_all", "{}")

    assert outcome(judge(tools, SENT, SEARCH, pay)) == "ask"
    assert outcome(judge(tools, SENT, pay, SAME, SEARCH)) == "reject"
    assert outcome(judge(tools, SENT, pay, SAME, drop)) == "deny"


names = st.sampled_from(["send_email", "pay", "search"])
bodies = st.sampled_from(['{"a":1}', '{ "a" : 1.0 }', '{"a":2}', "", "{}", "not json"])
turns = st.lists(st.builds(ToolCall, st.uuids().map(str), names, bodies), max_size=8)


@given(turns, st.sets(st.tuples(names, bodies)))
def test_no_effect_is_handed_twice_nor_one_that_has_a_result(
    calls: list[ToolCall], sent: set[tuple[str, str]]
) -> None:
    """The promise itself, for one turn."""
    tools = Tools(side_effects=("send_*", "pay"))
    known = ToolState(effects={effect_of(*one): 1 for one in sent})
    judged = judge(tools, known, *calls)
    handed = [one.digest for one in judged if one.fate == "hand" and one.digest]

    assert len(handed) == len(set(handed))
    assert not set(handed) & known.effects.keys()
    assert all(one.fate == "hand" for one in judged if one.call.name == "search")
    assert {one.digest for one in judged if one.digest} <= {*handed, *known.effects}


@given(names, bodies, names, bodies)
def test_two_spellings_of_one_call_are_one_effect(
    one: str, its: str, other: str, others: str
) -> None:
    spelled = {'{ "a" : 1.0 }': '{"a":1}', "": "{}"}
    same = (one, spelled.get(its, its)) == (other, spelled.get(others, others))

    assert (effect_of(one, its) == effect_of(other, others)) == same


def test_calls_are_found_by_what_becomes_of_them() -> None:
    judged = judge(Tools(side_effects=("send_*",)), SENT, SAME, SEARCH, OTHER, OTHER)

    assert [one.call for one in of_fate(judged, "hand")] == [SEARCH, OTHER]
    assert [one.call for one in of_fate(judged, "give", "double")] == [SAME, OTHER]
