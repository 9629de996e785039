"""What a session's log knows of its guarded calls, and what a request brings."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from proxy.core import events as ev
from proxy.core.effects import answered, brought, kept_text, recorded
from proxy.core.request import Message
from proxy.core.session import EMPTY, SessionState, fold
from proxy.core.tools.facts import RESULT_BYTES, Handed, Withheld, effect_of
from proxy.core.tools.state import EFFECTS, HANDED, KEPT, NOTHING_KNOWN, ToolState
from proxy.core.usage import ToolCall

ARGUMENTS = '{"to":"a"}'
MAIL = effect_of("send_email", ARGUMENTS)


def handed(call_id: str = "c1", arguments: str = ARGUMENTS, at: float = 1.0) -> ev.CallsHanded:
    call = Handed(call_id, "send_email", effect_of("send_email", arguments))
    return ev.CallsHanded(at=at, calls=(call,))


def result(digest: bytes = MAIL, text: str = "sent") -> ev.ResultRecorded:
    return ev.ResultRecorded(at=2.0, call=digest, tool="send_email", call_id="c1", text=text)


def asked(call_id: str = "c1", arguments: str = ARGUMENTS, name: str = "send_email") -> Message:
    return Message("assistant", "", b"", (ToolCall(call_id, name, arguments),))


def told(call_id: str = "c1", text: str = "sent") -> Message:
    return Message("tool", text, b"", (), call_id)


def known(*log: ev.AnyEvent) -> ToolState:
    return fold(log).tools


def test_a_handed_call_is_awaited_until_its_result_is_known() -> None:
    assert known(handed()).awaited == {MAIL}
    assert known(handed(), result()).awaited == frozenset()
    assert known(handed(), result(), handed("c2")).awaited == frozenset()


def test_the_first_result_of_a_call_holds_and_is_found_by_its_place_in_the_log() -> None:
    assert known(handed(), result(), result(text="again")).effects == {MAIL: 2}


def test_a_result_is_brought_with_the_call_that_asked_for_it() -> None:
    (found,) = brought(known(handed()), [asked(), told()])

    assert (found.call.digest, found.message.text) == (MAIL, "sent")


def test_a_result_is_brought_though_its_call_was_renamed_or_respelled() -> None:
    history = [asked("mine", '{ "to": "a" }'), told("mine")]

    assert [one.call.call_id for one in brought(known(handed()), history)] == ["mine"]


def test_a_result_without_its_call_is_known_by_its_id() -> None:
    assert len(brought(known(handed()), [told()])) == 1
    assert brought(known(handed()), [told("c9")]) == ()


def test_an_id_that_shows_another_call_proves_nothing() -> None:
    assert brought(known(handed()), [asked("c1", '{"to":"b"}'), told()]) == ()


def test_an_example_in_a_prompt_is_no_call_that_was_made() -> None:
    assert brought(NOTHING_KNOWN, [asked(), told()]) == ()


def test_of_calls_with_one_id_the_newest_has_the_newest_result() -> None:
    log = (handed("call_0"), handed("call_0", '{"to":"b"}'))
    history = [asked("call_0"), told("call_0", "one"), asked("call_0", '{"to":"b"}')]
    history.append(told("call_0", "two"))
    found = {one.call.digest: one.message.text for one in brought(known(*log), history)}

    assert found == {effect_of("send_email", '{"to":"b"}'): "two"}


def test_results_are_recorded_once_whatever_is_resent() -> None:
    history = [asked(), told()]
    events = recorded(known(handed()), history, "chat", {"c1": b'"sent"'}, 3.0)
    (event,) = events

    assert (event.call, event.text, event.content) == (MAIL, "sent", b'"sent"')
    assert recorded(known(handed(), *events), history, "chat", {}, 4.0) == ()


def test_a_large_result_is_cut_and_says_so() -> None:
    text = "é" * RESULT_BYTES
    cut = kept_text(text)

    assert len(cut.encode()) < RESULT_BYTES + 100
    assert cut.endswith("of 131072 bytes)")
    assert kept_text("é" * (RESULT_BYTES // 2)) == "é" * (RESULT_BYTES // 2)


def test_an_approval_is_used_up_by_the_call_it_was_for() -> None:
    approved = answered(NOTHING_KNOWN, MAIL, approved=True)
    state = fold([handed()], start=_with(approved))

    assert approved.approved == {MAIL: 1}
    assert state.tools.approved == {}
    assert fold([handed(arguments="{}")], start=_with(approved)).tools.approved == {MAIL: 1}


def test_a_human_may_change_their_mind() -> None:
    refused = answered(answered(NOTHING_KNOWN, MAIL, approved=True), MAIL, approved=False)
    again = answered(refused, MAIL, approved=True)

    assert (refused.approved, refused.refused) == ({}, {MAIL: ""})
    assert (again.approved, again.refused) == ({MAIL: 1}, {})


def test_what_was_withheld_kept_and_claimed_is_found_in_the_log() -> None:
    withheld = ev.CallsWithheld(at=1.0, calls=(Withheld("c2", "t", "{}", MAIL, "c1"),))
    kept = ev.AnswerKept(at=1.0, body_digest=b"d", body=b"{}", waits_for=(MAIL,))
    state = known(withheld, kept, kept, ev.CallClaimed(at=1.0, call=MAIL, until=9.0))

    assert [(one.beside, one.seq) for one in state.withheld] == [("c1", 1)]
    assert [(one.body_digest, one.seq) for one in state.kept] == [(b"d", 3)]
    assert state.claims[MAIL].until == 9.0
    assert fold([result()], start=_with(state)).tools.claims == {}


def test_a_new_generation_knows_nothing_of_the_last() -> None:
    state = known(handed(), result(), ev.SessionOpened(at=9.0, generation=2))

    assert state == NOTHING_KNOWN


events = st.one_of(
    st.integers(0, 2_000).map(lambda n: handed(f"c{n}", f'{{"n":{n}}}')),
    st.integers(0, 2_000).map(lambda n: result(effect_of("send_email", f'{{"n":{n}}}'))),
    st.integers(0, 99).map(lambda n: ev.AnswerKept(at=1.0, body_digest=bytes([n]))),
    st.integers(0, 99).map(lambda n: ev.CallsWithheld(at=1.0)),
)


@given(st.lists(events, max_size=60))
def test_what_has_a_result_is_never_awaited(log: list[ev.AnyEvent]) -> None:
    tools = fold(log).tools

    assert not tools.awaited & tools.effects.keys()
    assert tools.awaited <= {call.digest for call in tools.handed.values()}


def test_all_that_is_known_is_bounded_and_the_oldest_goes() -> None:
    log: list[ev.AnyEvent] = []
    for number in range(EFFECTS + 3):
        log += [handed(f"c{number}", f"{number}"), result(effect_of("send_email", f"{number}"))]
        log.append(ev.AnswerKept(at=1.0, body_digest=number.to_bytes(4, "big")))
    tools = fold(log).tools

    assert (len(tools.effects), len(tools.handed), len(tools.kept)) == (EFFECTS, HANDED, KEPT)
    assert effect_of("send_email", "2") not in tools.effects
    assert effect_of("send_email", "3") in tools.effects


def _with(tools: ToolState) -> SessionState:
    return replace(EMPTY, tools=tools)


def test_a_response_is_known_by_the_id_that_the_agent_saw() -> None:
    state = known(ev.ResponseRenamed(at=1.0, given="a", kept="b"))

    assert state.renamed == {"a": "b"}


def test_a_result_of_another_tool_is_not_read_for_what_it_says() -> None:
    assert brought(known(handed()), [asked("c1", name="search"), told()]) == ()


def test_content_that_is_too_much_is_kept_as_text_alone() -> None:
    large = b"[" + b"1," * RESULT_BYTES + b"1]"
    (event,) = recorded(known(handed()), [asked(), told()], "chat", {"c1": large}, 3.0)

    assert (event.text, event.content) == ("sent", b"")


def test_each_approval_is_good_for_one_call() -> None:
    twice = answered(answered(NOTHING_KNOWN, MAIL, approved=True), MAIL, approved=True)

    assert twice.approved == {MAIL: 2}
    assert fold([handed()], start=_with(twice)).tools.approved == {MAIL: 1}
