"""Which history a request goes on with, where ids are no help."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.loops.judge import judge
from proxy.core.loops.thread import (
    THREADS,
    Noted,
    Thread,
    after_answer,
    after_request,
    begun_anew,
    thread_after,
)
from proxy.core.loops.turns import Tail
from proxy.core.usage import Answer, ToolCall
from tests.unit.core.loops.kit import Agent, Session, begun, call, message


def renamed(agent: Agent) -> None:
    """The client gives the calls of its newest turn ids of its own."""
    assistant, *results = agent.history[-2:]
    mine = f"mine_{len(agent.history)}"
    calls = [ToolCall(mine, one.name, one.arguments) for one in assistant.tool_calls]
    agent.history[-2:] = [message("assistant", "", calls),
                          *[message("tool", one.text, (), mine) for one in results]]  # fmt: skip


def unasked(agent: Agent, one: ToolCall, result: str) -> None:
    """A turn of which nothing has been sent on yet."""
    asks, agent.asks = agent.asks, lambda: None  # type: ignore[method-assign]
    agent.turn((one, result))
    agent.asks = asks  # type: ignore[method-assign]


def test_a_client_that_renames_ids_is_known_by_what_it_called() -> None:
    agent = begun()
    for _ in range(4):
        unasked(agent, call(), "404")
        renamed(agent)
        agent.asks()

    assert agent.finding is not None
    assert agent.finding.count == 4


def test_parallel_agents_with_the_same_ids_are_known_by_what_they_called() -> None:
    """`call_0` in each of them, and one is sent again while the other waits."""
    session = Session()
    one, other = begun(session, ids="call_0"), begun(session, ids="call_0")
    counts = []
    for _ in range(3):
        for agent, tool in ((one, "fetch"), (other, "search")):
            finding = agent.turn((call(tool), "404"))
            again = agent.asks()
            counts.append((finding and finding.count, again == finding))

    assert counts == [(None, True)] * 2 + [(2, True)] * 2 + [(3, True)] * 2


def test_ids_that_wait_in_two_threads_are_told_apart_by_what_was_called() -> None:
    """Both have been answered `call_0`; then both come back, the older one first."""
    session = Session()
    one, other = begun(session, ids="call_0"), begun(session, ids="call_0")
    counts = []
    for _ in range(3):
        unasked(one, call("fetch"), "404")
        unasked(other, call("search"), "404")
        found = [agent.asks() for agent in (one, other)]
        counts.append([finding.count if finding else None for finding in found])

    assert counts == [[None, None], [2, 2], [3, 3]]


def test_two_calls_with_one_id_are_two_calls() -> None:
    agent = begun(ids="call_0")

    for at in range(2):
        finding = agent.turn((call("fetch"), "a"), (call("search", f'{{"q": {at}}}'), "b"))

    assert finding is None


def test_an_answer_that_is_thrown_away_and_asked_for_again_counts_once() -> None:
    """The agent could not read it: the same request, another answer."""
    agent = begun()
    for _ in range(4):
        thrown = agent.session
        thrown.answered(agent.key, agent.at, Answer("", (call("fetch", "{}", "lost"),)))
        agent.asks()
        agent.turn((call(), "404"))

    assert agent.finding is not None
    assert agent.finding.count == 4


def test_branches_of_one_history_are_counted_apart() -> None:
    """A tree of thoughts: two go on from the same turn, each with a call of its own."""
    trunk = begun()
    trunk.turn((call(), "404"))
    trunk.turn((call(), "404"))
    branch = Agent(trunk.session, history=list(trunk.history), key=trunk.key, at=trunk.at, made=50)
    unasked(trunk, call(), "404")
    unasked(branch, call(), "404")

    found = [trunk.asks(), branch.asks()]

    assert [finding and finding.count for finding in found] == [3, 3]


def test_only_so_many_threads_are_kept_and_the_oldest_goes() -> None:
    session = Session()
    agents = [begun(session, f"t{at}") for at in range(THREADS + 4)]

    assert len(session.threads) == THREADS
    assert "t0" not in session.threads
    assert list(session.threads)[-1] == agents[-1].key


@pytest.mark.parametrize("agents", [THREADS + 1, THREADS + 4, 2 * THREADS + 8])
def test_more_agents_than_threads_are_kept_for_are_not_taken_for_each_other(agents: int) -> None:
    """Forty workers side by side do the same first steps: none of them goes round."""
    session = Session()
    workers = [begun(session) for _ in range(agents)]

    for step in range(6):
        for worker in workers:
            assert worker.turn((call("read", f'{{"page": {step}}}'), f"page {step}")) is None


def test_an_answer_of_a_thread_that_was_forgotten_begins_one() -> None:
    assert after_answer({}, "gone", 3, b"a" * 21, 7) == {"gone": Thread(pending=b"a" * 21)}


def test_a_human_leaves_what_is_pending() -> None:
    threads = {"": Thread(b"r" * 24, b"p" * 21, b"k" * 8, b"u" * 8, 3, 2)}

    (after,) = begun_anew(threads).values()

    assert (after.rounds, after.cycles, after.pending, after.turns) == (b"", 0, b"p" * 21, 3)


@given(st.lists(st.integers(0, 3), max_size=12), st.data())
def test_however_agents_take_turns_each_is_counted_by_itself(order: list[int], data: st.DataObject
) -> None:  # fmt: skip
    """Interleaved, sent again, with histories trimmed: a count is never another's, nor twice."""
    session = Session()
    agents = [begun(session) for _ in range(4)]
    done = [0] * 4
    for which in order:
        agent, done[which] = agents[which], done[which] + 1
        if done[which] > 4:
            continue
        finding = agent.turn((call(), "404"))
        assert (finding.count if finding else 1) == done[which]
        if data.draw(st.booleans()):
            assert agent.asks() == finding
        if data.draw(st.booleans()):
            agent.history = agent.history[-2:]


@pytest.mark.parametrize("trim", [1, 2, 3, 5])
def test_a_history_cut_to_its_end_goes_on(trim: int) -> None:
    """A sliding window may even drop the call and keep its result."""
    agent = begun()
    for _ in range(4):
        unasked(agent, call(), "404")
        agent.history = agent.history[-trim:]
        agent.asks()

    assert agent.finding is not None
    assert agent.finding.count == 4


def test_results_of_calls_that_nobody_asked_for_bring_nothing() -> None:
    """Ids of its own, and of what it shows only the part that was not asked for has a result."""
    agent = begun()
    agent.session.answered(agent.key, agent.at, Answer("", (call("read", "{}", "c1"),)))
    shown = [call("read", "{}", "mine_1"), call("write", "{}", "mine_2")]
    agent.history += [message("assistant", "", shown), message("tool", "ok", (), "mine_2")]

    assert agent.asks() is None
    assert agent.verdict.noted.round == b""


def test_the_same_words_to_a_history_that_the_provider_keeps_are_counted_by_its_answers() -> None:
    """`previous_response_id` and a user who says what was said before: no text is shown."""
    session, found = Session(), []
    for at in range(6):
        tail = Tail(users=b"u" * 8, continues=at > 0)
        verdict = judge(session.loops, session.threads, tail, at)
        session.threads = after_request(session.threads, verdict.noted)
        found.append(verdict.finding and verdict.finding.count)
        session.answered(verdict.noted.thread, at + 1, Answer("I will now do it."))

    assert found == [None, None, 2, 3, 4, 5]


def test_a_request_sent_twice_at_once_leaves_the_answer_to_its_turn() -> None:
    """The SDK gave up waiting and asks again; the first attempt, still running, is answered."""
    agent = begun()
    for _ in range(4):
        unasked(agent, call(), "404")
        agent.asks()
        key, at = agent.key, agent.at
        agent.asks()
        agent.key, agent.at = key, at

    assert agent.finding is not None
    assert agent.finding.count == 4


def test_a_request_that_brings_nothing_is_still_a_turn_of_its_own() -> None:
    """Another prompt of the system: answers to what was asked before it are not put after it."""
    thread = Thread(b"r" * 24, b"", b"k" * 8, b"", 3, 2)

    assert thread_after(thread, Noted("", b"", b"k" * 8)) == thread
    assert thread_after(thread, Noted("", b"", b"n" * 8)).turns == 4
