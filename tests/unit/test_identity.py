"""The index of sessions: what it remembers, for whom, and for how long."""

from hashlib import shake_128

import pytest

from proxy.core.dialects.base import Bounds
from proxy.core.dialects.chat import CHAT
from proxy.core.identity import Identified
from proxy.core.memo import Memo
from proxy.core.paths import PathParts
from proxy.core.request import Message, Request
from proxy.core.usage import Answer, ToolCall
from proxy.identity import SessionIndex
from proxy.wire import Head
from tests.fakes import FakeClock
from tests.fakes_identity import FakeLinkStore, request_of, result, said, user

NOWHERE = PathParts("/v1/chat/completions")
DRAWN = "call_L8pdnSKJiI9B8NUKgRL2VAtO"


class World:
    """An index, its store and its clock, and a client that talks to it."""

    def __init__(
        self, capacity: int = 10_000, *, store: FakeLinkStore | None = None, shared: bool = False
    ) -> None:
        self.store = store or FakeLinkStore()
        self.clock = FakeClock()
        self._drawn = 0
        self.index = SessionIndex(
            self.store, capacity, self.clock, shared=shared, random_bytes=self._random
        )

    def _random(self, size: int) -> bytes:
        self._drawn += 1
        return shake_128(b"%d %d" % (id(self), self._drawn)).digest(size)

    async def ask(
        self,
        *messages: Message,
        tenant: str = "t",
        headers: tuple[tuple[str, str], ...] = (),
        request: Request | None = None,
        parts: PathParts = NOWHERE,
    ) -> Identified:
        """A request is identified and goes upstream."""
        request = request or request_of(*messages)
        head = Head("POST", parts.rest, headers)
        who = await self.index.identify(tenant, head, parts, request)
        self.index.remember_request(tenant, who, request)
        return who

    def give(
        self, who: Identified, answer: Answer, *messages: Message, tenant: str = "t"
    ) -> tuple[bytes, ...]:
        """The request of these messages is answered, and its links persisted."""
        return self.give_to(who, answer, request_of(*messages), tenant=tenant)

    def give_to(
        self, who: Identified, answer: Answer, request: Request, *, tenant: str = "t"
    ) -> tuple[bytes, ...]:
        links = self.index.remember_answer(tenant, who, request, answer)
        self.store.persist(tenant, who.session, links)
        return links


async def test_a_loop_of_steps_is_one_session() -> None:
    """The main thing: an agent that resends its history, no header, is one session."""
    world = World()
    history = [user("task")]
    sessions = set()
    for step in range(5):
        who = await world.ask(*history)
        sessions.add(who.session)
        call = ToolCall(f"call_{step}", "look", f'{{"n": {step}}}')
        world.give(who, Answer("", (call,)), *history)
        history += [said("", call), result(call.call_id, "found")]

    assert len(sessions) == 1


async def test_two_agents_with_the_same_first_prompt_are_two_sessions() -> None:
    """Never joined, though the requests are equal to the byte."""
    world = World()

    one, two = await world.ask(user("task")), await world.ask(user("task"))

    assert one.session != two.session
    assert one.is_new
    assert two.source == "new"


async def test_one_session_may_ask_twice_at_once() -> None:
    """Parallel calls on one history are calls of one session."""
    world = World()
    first = await world.ask(user("task"))
    world.give(first, Answer("Plan."), user("task"))

    left = await world.ask(user("task"), said("Plan."), user("left"))
    right = await world.ask(user("task"), said("Plan."), user("right"))
    world.give(left, Answer("L."), user("task"), said("Plan."), user("left"))
    on = await world.ask(user("task"), said("Plan."), user("left"), said("L."), user("on"))

    assert {left.session, right.session, on.session} == {first.session}


async def test_two_tenants_share_nothing() -> None:
    """A history known of one tenant opens a new session for another."""
    world = World()
    who = await world.ask(user("task"))
    world.give(who, Answer("Plan."), user("task"))

    other = await world.ask(user("task"), said("Plan."), user("on"), tenant="other")

    assert other.is_new


async def test_a_restart_keeps_its_sessions() -> None:
    """What memory forgot the store still knows, whatever part of the history is left."""
    before = World()
    who = await before.ask(user("task"))
    call = ToolCall(DRAWN, "look", "{}")
    before.give(who, Answer("", (call,)), user("task"))
    text = await before.ask(user("other task"))
    before.give(text, Answer("A plan of many words. " * 5), user("other task"))

    after = World(store=before.store)
    by_id = await after.ask(result(DRAWN, "42"))
    plan = said("A plan of many words. " * 5)
    by_prefix = await after.ask(user("other task"), plan, user("on"))
    by_answer = await World(store=before.store).ask(user("summary"), plan, user("on"))

    assert (by_id.session, by_id.source) == (who.session, "tool_call_id")
    assert (by_prefix.session, by_prefix.source) == (text.session, "prefix")
    assert (by_answer.session, by_answer.source) == (text.session, "answer")


async def test_the_store_is_not_asked_for_first_prompts_nor_for_what_memory_knows() -> None:
    """No look-up on the path of nearly all requests."""
    world = World()
    who = await world.ask(user("task"))
    world.give(who, Answer("Plan."), user("task"))
    await world.ask(user("task"), said("Plan."), user("on"))

    assert world.store.asked == 0


async def test_with_a_shared_store_memory_alone_is_not_believed() -> None:
    """Another replica's session was given the same answer: nothing says whose this is."""
    store = FakeLinkStore()
    here, there = World(store=store, shared=True), World(store=store, shared=True)
    for world in (here, there):
        who = await world.ask(user("task"))
        world.give(who, Answer("Plan."), user("task"))

    assert (await here.ask(user("task"), said("Plan."), user("on"))).is_new


async def test_a_response_id_leads_to_the_session_that_was_answered_with_it() -> None:
    """With `previous_response_id` only what is new is sent."""
    world = World()
    first = request_of(user("task"), dialect="responses")
    who = await world.ask(request=first)
    world.give_to(who, Answer("Plan.", response_id="resp_1"), first)

    request = request_of(user("on"), dialect="responses", previous_response_id="resp_1")
    found = await world.ask(request=request)
    other = await world.ask(request=request, tenant="other")

    assert (found.session, found.source) == (who.session, "response_id")
    assert other.is_new


async def test_an_sdks_counted_retry_joins_its_first_attempt() -> None:
    """A retry of a first prompt must not be a fresh budget."""
    world = World()
    first = await world.ask(user("task"))

    retry = await world.ask(user("task"), headers=(("x-stainless-retry-count", "1"),))

    assert (retry.session, retry.source) == (first.session, "retry")


async def test_a_prompt_sent_again_after_its_client_left_is_a_retry() -> None:
    """Clients that count nothing drop the connection and send the same again."""
    world = World()
    first = await world.ask(user("task"))
    world.index.remember_failure("t", first, request_of(user("task")), client_gone=True)

    assert (await world.ask(user("task"))).session == first.session


async def test_a_prompt_sent_again_after_an_error_was_answered_is_another_agents() -> None:
    """Only the count tells it from a second agent."""
    world = World()
    first = await world.ask(user("task"))
    world.index.remember_failure("t", first, request_of(user("task")), client_gone=False)

    again = await world.ask(user("task"))
    world.index.remember_failure("t", again, request_of(user("task")), client_gone=False)

    assert again.session != first.session


@pytest.mark.parametrize("count", ["1", "2"])
async def test_a_retry_that_two_sessions_may_have_sent_joins_neither(count: str) -> None:
    """Twins that fail together are not guessed between."""
    world = World()
    twins = {(await world.ask(user("task"))).session for _ in range(2)}

    retry = await world.ask(user("task"), headers=(("x-stainless-retry-count", count),))

    assert retry.session not in twins


async def test_an_answered_or_an_old_attempt_is_not_retried() -> None:
    """The same prompt tomorrow is another run."""
    world = World()
    old = await world.ask(user("old"))
    world.index.remember_failure("t", old, request_of(user("old")), client_gone=True)
    answered = await world.ask(user("answered"))
    world.give(answered, Answer("Done."), user("answered"))
    world.clock.advance(121)

    counted = (("x-stainless-retry-count", "1"),)
    assert (await world.ask(user("old"))).is_new
    assert (await world.ask(user("answered"), headers=counted)).is_new


async def test_a_failed_step_leaves_its_session_waiting_where_it_was() -> None:
    """Between twins, the one whose step failed may send it again: still a tie."""
    world = World()
    for _ in range(2):
        who = await world.ask(user("task"))
        world.give(who, Answer("Plan."), user("task"))
    twin = Identified(who.session, "prefix")
    step = request_of(user("task"), said("Plan."), user("on"))
    world.index.remember_request("t", twin, step)
    in_flight = await world.index.identify("t", Head("POST", "/", ()), NOWHERE, step)
    world.index.remember_failure("t", twin, step, client_gone=False)
    after = await world.index.identify("t", Head("POST", "/", ()), NOWHERE, step)

    assert in_flight.source == "prefix"
    assert in_flight.session != who.session
    assert after.is_new


@pytest.mark.parametrize("history", [[], [said("Plan."), user("on")]])
async def test_a_client_that_left_in_the_middle_of_an_answer_may_send_it_again(
    history: list[Message],
) -> None:
    """What it was given of the answer is remembered; that it waits where it was, too."""
    world = World()
    messages = [user("task"), *history]
    first = await world.ask(user("task"))
    if history:
        world.give(first, Answer("Plan."), user("task"))
        await world.ask(*messages)
    world.index.remember_failure("t", first, request_of(*messages), client_gone=True)
    world.give(first, Answer("Half an ans"), *messages)

    again = await world.ask(*messages)
    interrupted = await world.ask(*messages, said("Half an ans"), user("no, do this"))

    assert again.session == interrupted.session == first.session


async def test_a_session_that_its_client_names_persists_no_links() -> None:
    """It will be named again; the store need not grow for it."""
    world = World()
    named = PathParts("/v1/chat/completions", "mine")
    who = await world.ask(user("task"), parts=named)

    assert who.session == "mine"
    assert world.give(who, Answer("", (ToolCall(DRAWN, "f", "{}"),)), user("task")) == ()


async def test_a_step_persists_a_few_links_however_long_the_history() -> None:
    """A session of n steps costs the store n times a few rows, not its square."""
    world = World()
    history = [m for i in range(100) for m in (user(f"u{i}"), said(f"a{i}"))] + [user("on")]
    who = await world.ask(*history)
    calls = tuple(ToolCall(f"call_{i:02}aaBB11ccDD22", "f", "{}") for i in range(20))

    assert len(world.give(who, Answer("x", calls), *history)) <= 8


async def test_side_calls_of_a_named_session_are_threads_of_it() -> None:
    """A title call has a history of its own; loops must not be counted across both."""
    world = World()
    named = PathParts("/v1/chat/completions", "mine")
    main = await world.ask(user("task"), parts=named)
    title = await world.ask(user("name this chat"), parts=named)
    world.give(main, Answer("Plan."), user("task"))
    world.give(title, Answer("A chat"), user("name this chat"))

    on = await world.ask(user("task"), said("Plan."), user("on"), parts=named)
    sub = await world.ask(
        user("x"), headers=(("x-claude-code-session-id", "c"), ("x-claude-code-agent-id", "a1"))
    )

    assert main.session == title.session == on.session == "mine"
    assert main.thread == on.thread != title.thread
    assert sub.thread == "a1"


async def test_what_is_not_governed_is_only_what_it_names() -> None:
    """Listing models opens no session, but a killed one is refused there as well."""
    world = World()
    head = Head("GET", "/v1/models", ())

    nobody = await world.index.identify("t", head, PathParts("/v1/models"), None)
    named = await world.index.identify("t", head, PathParts("/v1/models", "mine"), None)

    assert (nobody.session, nobody.source) == ("", "none")
    assert (named.session, named.thread) == ("mine", "")


async def test_memory_is_bounded_and_the_greedy_tenant_pays() -> None:
    """A hostile tenant can push out nobody's links but its own."""
    world = World(capacity=400)
    quiet = await world.ask(user("task"), tenant="quiet")
    world.give(quiet, Answer("Plan."), user("task"), tenant="quiet")
    for i in range(500):
        who = await world.ask(user(f"noise {i}"), tenant="loud")
        world.give(who, Answer(f"noise {i}"), user(f"noise {i}"), tenant="loud")

    on = await world.ask(user("task"), said("Plan."), user("on"), tenant="quiet")

    assert world.index.size <= 400
    assert on.session == quiet.session
    assert world.store.asked == 0


async def test_credentials_that_are_never_answered_take_no_room() -> None:
    """Made-up keys, each a tenant, must not push out the tenants that are served."""
    world = World()
    served = await world.ask(user("task"))
    world.give(served, Answer("Plan."), user("task"))
    for i in range(200):
        await world.ask(user("task"), tenant=f"made up {i}")

    assert world.index.tenants <= 65
    assert (await world.ask(user("task"), said("Plan."), user("on"))).session == served.session


async def test_an_answer_that_leaves_no_link_leaves_nothing() -> None:
    """Each embeddings call without a session is one more; nothing would ever push them out."""
    world = World()
    for i in range(100):
        request = request_of(dialect="embeddings")
        who = await world.ask(request=request, tenant=f"made up {i}")
        world.give_to(who, Answer(), request, tenant=f"made up {i}")
        who = await world.ask(request=request)
        world.give_to(who, Answer(), request)

    assert world.index.size == sum(index.size for index in world.index._tenants.values()) == 0
    assert world.index.tenants <= 64


async def test_sessions_that_were_all_given_the_same_are_bounded_too() -> None:
    """Their links are shared, so that counting links alone would not see them."""
    world = World(capacity=100)
    for i in range(300):
        who = await world.ask(user("hi"), headers=(("x-holdfast-session", f"s{i}"),))
        world.give(who, Answer("Yes."), user("hi"))

    (index,) = world.index._tenants.values()
    assert index.size == world.index.size <= 100
    assert index.track("s299", who.thread).last
    assert not index.track("s0", who.thread).last


async def test_what_an_answered_request_was_read_as_is_remembered() -> None:
    """And only that: what nobody paid for pushes nothing out."""
    world = World()
    world.index.memo = memo = Memo(100_000, 7)
    request = CHAT.parse(
        b'{"model":"m","messages":[{"role":"user","content":"x"}]}', Bounds(), memo
    )

    who = await world.ask(request=request)
    assert not memo.size_bytes
    world.give_to(who, Answer("y"), request)

    assert memo.size_bytes
