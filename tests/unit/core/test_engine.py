"""`decide` on every limit: at the limit, one below it, and after it was extended."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from proxy.core.ask import Account, Ask
from proxy.core.decision import Admit, Blocked, Decision, Granted, Refusal, Wanted
from proxy.core.engine import (
    Rules,
    decide,
    fits_more,
    refuse_spent,
    remaining_micro_usd,
)
from proxy.core.events import HandedOff
from proxy.core.limits.base import money
from proxy.core.policy import Limits
from proxy.core.pricing import Price, Rates, hold_cost
from proxy.core.session import EMPTY, FailedCall, HeldCall, SessionKey, SessionState
from proxy.core.tree import Kin

NOW = 1_000_000.0
UNLIMITED = Limits(
    steps=None, cost_micro_usd=None, tokens=None, duration_seconds=None, parallel=None
)
PICO = 1_000_000
ONE = Rates(PICO, 2 * PICO, PICO, PICO, PICO, PICO, 2 * PICO, 2 * PICO)
PRICE = Price(ONE, source="policy")
"""1 micro-USD a token of input, 2 a token of output."""
ASK = Ask(
    session="s1",
    dialect="chat",
    model="m",
    input_tokens=100,
    output_bound=1000,
    output_maximum=4000,
    choices=1,
    price=PRICE,
    tools=("search",),
)
OPEN = changed(EMPTY, seq=1, created_at=NOW - 10, generation=1)


def asked(limits: Limits, state: SessionState = OPEN, ask: Ask = ASK, **more: object) -> Decision:
    accounts = more.get("accounts", ())
    assert isinstance(accounts, tuple)
    return decide(Rules(limits), state, ask, accounts, NOW)


def refused(limits: Limits, state: SessionState = OPEN, ask: Ask = ASK, **more: object) -> Refusal:
    decision = asked(limits, state, ask, **more)
    assert isinstance(decision, Refusal)
    return decision


def admitted(limits: Limits, state: SessionState = OPEN, ask: Ask = ASK, **more: object) -> Admit:
    decision = asked(limits, state, ask, **more)
    assert isinstance(decision, Admit)
    return decision


def holding(cost: int, tokens: int = 0) -> SessionState:
    call = HeldCall(1, False, "m", cost, tokens, NOW + 60, (), b"")
    return changed(OPEN, held={"c": call}, held_micro_usd=cost, held_tokens=tokens)


def test_a_call_within_all_limits_is_admitted_with_its_worst_case_held() -> None:
    """The hold is what the promise of the ledger rests on."""
    admit = admitted(Limits())

    assert (admit.step, admit.output_allowance, admit.output_bound) == (1, 1000, None)
    assert admit.hold_cost_micro_usd == hold_cost(PRICE, 100, 1000) == 2100
    assert admit.name == "allow"


def test_without_a_bound_the_models_maximum_is_held() -> None:
    """What the client does not bound can come to as much as the model produces."""
    assert admitted(Limits(), ask=changed(ASK, output_bound=None)).output_allowance == 4000


def test_every_choice_is_held() -> None:
    """n answers are billed n times."""
    assert admitted(Limits(), ask=changed(ASK, choices=3)).output_allowance == 3000


def test_the_last_step_is_served_and_the_next_one_not() -> None:
    limits = replace(UNLIMITED, steps=5)
    last = changed(OPEN, steps=4)
    refusal = refused(limits, changed(OPEN, steps=5))

    assert admitted(limits, last).step == 5
    assert (refusal.status, refusal.code) == (422, "step_limit_exceeded")
    assert "5 of 5 steps" in refusal.message
    assert "holdfast sessions extend s1 --steps" in refusal.message


def test_an_extended_step_limit_lets_the_session_go_on() -> None:
    state = changed(OPEN, steps=5, extended={"steps": 2})

    assert admitted(replace(UNLIMITED, steps=5), state).step == 6


def test_a_retry_at_the_step_limit_is_the_same_step_and_is_served() -> None:
    """The agent has not asked for more; its SDK has."""
    state = changed(OPEN, steps=5, failed=(FailedCall(b"d", 5, 1),))

    assert admitted(replace(UNLIMITED, steps=5), state, changed(ASK, body_digest=b"d")).step == 5


def test_duration_counts_from_the_first_call() -> None:
    limits = replace(UNLIMITED, duration_seconds=10)

    assert refused(limits).code == "duration_exceeded"
    admitted(replace(UNLIMITED, duration_seconds=11))
    admitted(limits, EMPTY)


def test_a_clock_set_back_makes_no_negative_age() -> None:
    state = changed(OPEN, created_at=NOW + 500)

    admitted(replace(UNLIMITED, duration_seconds=1), state)


def test_tool_calls_stop_requests_that_offer_tools_only() -> None:
    """An agent must still be able to have its conclusion written."""
    limits = replace(UNLIMITED, tool_calls=3)
    state = changed(OPEN, tool_calls=3)

    assert refused(limits, state).code == "tool_call_limit_exceeded"
    admitted(limits, state, changed(ASK, tools=()))
    admitted(limits, changed(OPEN, tool_calls=2))


def test_per_tool_counts_the_glob_and_names_it() -> None:
    limits = replace(UNLIMITED, per_tool={"send_*": 2})
    state = changed(OPEN, per_tool={"send_mail": 1, "send_sms": 1, "read": 9})
    refusal = refused(limits, state, changed(ASK, tools=("read", "send_fax")))

    assert refusal.facts is not None
    assert (refusal.code, refusal.facts.limit) == ("tool_call_limit_exceeded", "per_tool.send_*")
    admitted(limits, state, changed(ASK, tools=("read",)))
    admitted(limits, changed(state, extended={"per_tool.send_*": 1}))


def test_too_many_in_parallel_is_the_one_refusal_where_waiting_helps() -> None:
    refusal = refused(replace(UNLIMITED, parallel=1), holding(5))

    assert (refusal.status, refusal.code) == (429, "parallel_limit_exceeded")
    assert refusal.retry_after_ms is not None
    admitted(replace(UNLIMITED, parallel=2), holding(5))


def test_a_bound_that_does_not_fit_the_money_is_lowered() -> None:
    """Room for 700 micro-USD: 100 of input leave 600, which is 300 tokens of output."""
    admit = admitted(replace(UNLIMITED, cost_micro_usd=700))

    assert (admit.output_bound, admit.output_allowance, admit.name) == (300, 300, "clamp")
    assert admit.hold_cost_micro_usd == 700


def test_a_bound_is_never_lowered_below_the_minimum() -> None:
    """Room for 255 tokens, one below min_output_tokens: refused, with what is needed."""
    refusal = refused(replace(UNLIMITED, cost_micro_usd=100 + 2 * 255))

    assert refusal.code == "budget_exceeded"
    assert refusal.facts is not None
    assert refusal.facts.requested == (100 + 2 * 256) / 1_000_000
    assert admitted(replace(UNLIMITED, cost_micro_usd=100 + 2 * 256)).output_bound == 256


def test_a_bound_is_never_lowered_below_what_the_provider_takes() -> None:
    """With thinking enabled Anthropic refuses a bound under 1025: better our refusal than its."""
    ask = changed(ASK, output_bound=2000, least_output=1025)

    refused(replace(UNLIMITED, cost_micro_usd=100 + 2 * 1024), ask=ask)
    assert admitted(replace(UNLIMITED, cost_micro_usd=100 + 2 * 1025), ask=ask).output_bound == 1025


def test_a_client_may_ask_for_less_than_the_minimum() -> None:
    """min_output_tokens bounds our lowering, not what the client wants."""
    ask = changed(ASK, output_bound=10)

    assert admitted(replace(UNLIMITED, cost_micro_usd=120), ask=ask).output_bound is None
    refused(replace(UNLIMITED, cost_micro_usd=119), ask=ask)


def test_what_is_spent_and_held_is_taken_off_first() -> None:
    state = changed(holding(500), cost_micro_usd=1000)
    refusal = refused(replace(UNLIMITED, cost_micro_usd=2000), state)

    assert refusal.facts is not None
    assert (refusal.facts.used, refusal.facts.maximum) == (0.0015, 0.002)
    assert "in flight" in refusal.message


def test_one_call_may_not_cost_more_than_request_cost() -> None:
    assert refused(replace(UNLIMITED, request_cost_micro_usd=500)).code == "request_cost_exceeded"
    assert admitted(replace(UNLIMITED, request_cost_micro_usd=700)).output_bound == 300


def test_velocity_counts_the_last_minute_and_what_is_held() -> None:
    limits = replace(UNLIMITED, cost_micro_usd_per_minute=3000)
    state = changed(holding(400), recent_costs=((NOW - 59, 2000), (NOW - 61, 10**9)))

    assert refused(limits, state).code == "velocity_exceeded"
    admitted(limits, holding(400))


def test_a_clock_set_back_does_not_stop_a_session_until_it_has_caught_up() -> None:
    """What was spent at a time that is yet to come was spent earlier; another host's clock, a
    little ahead of ours, is believed."""
    limits = replace(UNLIMITED, cost_micro_usd_per_minute=3000)

    admitted(limits, changed(OPEN, recent_costs=((NOW + 3600, 2999),)))
    told = refused(limits, changed(OPEN, recent_costs=((NOW + 2, 2999),)))
    assert told.code == "velocity_exceeded"


def test_tokens_are_a_room_too() -> None:
    state = changed(holding(0, tokens=1000), tokens=3000)
    refusal = refused(replace(UNLIMITED, tokens=4300), state)

    assert refusal.code == "token_limit_exceeded"
    assert admitted(replace(UNLIMITED, tokens=4400), state).output_bound == 300


def test_a_shared_budget_refuses_in_its_own_name() -> None:
    account = Account("global:-:1d:1", "global", "1d", 1000, spent_micro_usd=600)
    refusal = refused(UNLIMITED, accounts=(account,))

    assert refusal.facts is not None
    assert (refusal.code, refusal.type) == ("budget_exceeded", "shared_budget")
    assert (refusal.facts.scope, refusal.facts.limit) == ("global", "budgets.global.1d")


def test_a_model_without_a_price_is_held_to_tokens_only() -> None:
    ask = changed(ASK, price=None)
    admit = admitted(replace(UNLIMITED, cost_micro_usd=1), ask=ask)

    assert admit.hold_cost_micro_usd == 0
    assert refused(replace(UNLIMITED, tokens=200), ask=ask).code == "token_limit_exceeded"


def test_what_generates_nothing_needs_its_input_only() -> None:
    ask = changed(ASK, output_bound=None, output_maximum=0)

    assert admitted(replace(UNLIMITED, cost_micro_usd=100), ask=ask).hold_cost_micro_usd == 100
    refused(replace(UNLIMITED, cost_micro_usd=99), ask=ask)


def test_a_killed_or_paused_session_gets_nothing() -> None:
    killed = refused(Limits(), changed(OPEN, killed=True, paused=True))
    paused = refused(Limits(), changed(OPEN, paused=True))

    assert (killed.code, paused.code) == ("session_killed", "session_paused")
    assert killed.facts is not None
    assert not killed.facts.resumable
    assert "holdfast sessions resume s1" in paused.message


def test_a_session_that_waits_for_its_human_lets_nothing_through() -> None:
    """Whatever room is left, and whatever the call is about; the error says how to answer."""
    why = "It has used 5 of 5 steps."
    stop = HandedOff(at=NOW, code="step_limit_exceeded", limit="steps", message=why, blocking=True)
    stands = changed(stop, blocking=False)
    refusal = refused(UNLIMITED, changed(OPEN, handoffs=(stands, stop)))
    spent = refuse_spent(Rules(UNLIMITED), changed(OPEN, handoffs=(stop,)), "s1", NOW)

    assert (refusal.status, refusal.code, refusal.type) == (422, "awaiting_human", "session_state")
    assert refusal.message == f"Session s1 waits for a human. {why}"
    assert refusal.facts is not None
    assert (refusal.facts.limit, refusal.facts.resumable) == ("steps", True)
    assert spent is not None
    assert spent.code == "awaiting_human"
    assert admitted(UNLIMITED, changed(OPEN, handoffs=(stands,))).step == 1


def test_a_session_above_that_waits_holds_all_below_it() -> None:
    stop = HandedOff(at=NOW, message="why", blocking=True)
    above = Kin(SessionKey("t", "root"), UNLIMITED, changed(OPEN, handoffs=(stop,)))
    refusal = decide(Rules(UNLIMITED), OPEN, ASK, (), NOW, (above,))

    assert isinstance(refusal, Refusal)
    assert refusal.message == "Session root waits for a human. why"


def test_an_admitted_call_carries_what_a_human_has_to_say_and_pays_for_it() -> None:
    """The provider bills the message as input; without a hold it would be spent past a budget."""
    state = changed(OPEN, guidance=("Use the staging host.", "Then stop."))
    admit = admitted(UNLIMITED, state)

    assert admit.guidance == state.guidance
    assert admit.hold_input_tokens == 100 + (21 // 2 + 16) + (10 // 2 + 16)
    assert admit.hold_cost_micro_usd == hold_cost(PRICE, admit.hold_input_tokens, 1000)
    assert admitted(UNLIMITED, state, changed(ASK, dialect="embeddings")).guidance == ()
    tight = replace(UNLIMITED, tokens=100 + 16 * 2)
    assert refused(tight, state).code == "token_limit_exceeded"


def test_a_session_that_nears_a_limit_is_warned() -> None:
    admit = admitted(replace(UNLIMITED, steps=10), changed(OPEN, steps=8))

    assert admit.warnings == ("steps",)
    assert admit.name == "warn"
    assert admitted(replace(UNLIMITED, steps=10), changed(OPEN, steps=7)).warnings == ()


def test_free_endpoints_are_closed_to_a_spent_session() -> None:
    rules = Rules(replace(UNLIMITED, cost_micro_usd=1000))

    assert refuse_spent(rules, changed(OPEN, cost_micro_usd=999), "s1", NOW) is None
    spent = refuse_spent(rules, changed(OPEN, cost_micro_usd=1000), "s1", NOW)
    assert spent is not None
    assert spent.code == "budget_exceeded"
    killed = refuse_spent(rules, changed(OPEN, killed=True), "s1", NOW)
    assert killed is not None
    assert killed.code == "session_killed"


def test_what_remains_is_without_holds_and_never_negative() -> None:
    limits = replace(UNLIMITED, cost_micro_usd=1000)

    assert remaining_micro_usd(limits, changed(holding(300), cost_micro_usd=200)) == 500
    assert remaining_micro_usd(limits, changed(OPEN, cost_micro_usd=5000)) == 0
    assert remaining_micro_usd(limits, changed(OPEN, extended={"cost_usd": 50})) == 1050
    assert remaining_micro_usd(UNLIMITED, OPEN) is None


@given(
    budget=st.integers(0, 10_000),
    spent=st.integers(0, 5_000),
    held=st.integers(0, 5_000),
    bound=st.integers(1, 5_000) | st.none(),
    choices=st.integers(1, 4),
)
def test_an_admitted_hold_never_passes_the_budget(
    budget: int, spent: int, held: int, bound: int | None, choices: int
) -> None:
    """The law of the ledger, at its root."""
    state = changed(holding(held), cost_micro_usd=spent)
    ask = changed(ASK, output_bound=bound, choices=choices)
    decision = asked(replace(UNLIMITED, cost_micro_usd=budget), state, ask)

    if isinstance(decision, Admit):
        assert spent + held + decision.hold_cost_micro_usd <= budget
        per_choice = decision.output_allowance // choices
        assert per_choice >= min(256, ask.bound_per_choice)


def just(tokens: int) -> Wanted:
    return Wanted(tokens, tokens)


def test_an_extension_fits_only_where_every_room_has_it() -> None:
    state = holding(2100, tokens=1100)
    rules = Rules(replace(UNLIMITED, cost_micro_usd=2300))

    assert fits_more(rules, state, ASK, (), 1000, just(100), NOW) == Granted(100, 200)
    assert fits_more(rules, state, ASK, (), 1000, just(101), NOW) == Blocked("session")
    assert fits_more(rules, changed(state, killed=True), ASK, (), 1000, just(1), NOW) == Blocked(
        None
    )


def test_an_extension_counts_against_the_calls_own_limit_with_what_it_holds() -> None:
    rules = Rules(replace(UNLIMITED, request_cost_micro_usd=2300))

    assert fits_more(rules, holding(2100), ASK, (), 1000, just(100), NOW) == Granted(100, 200)
    assert fits_more(rules, holding(2100), ASK, (), 1000, just(101), NOW) == Blocked(None)


def test_an_extension_needs_tokens_as_well() -> None:
    rules = Rules(replace(UNLIMITED, tokens=1200))

    assert fits_more(
        rules, holding(0, 1100), changed(ASK, price=None), (), 1000, just(100), NOW
    ) == Granted(100, 0)
    assert fits_more(
        rules, holding(0, 1100), changed(ASK, price=None), (), 1000, just(101), NOW
    ) == Blocked("session")


def test_money_reads_as_a_human_writes_it() -> None:
    assert [money(m) for m in (0, 2_000_000, 1_980_000, 1_500, 1)] == [
        "$0.00",
        "$2.00",
        "$1.98",
        "$0.0015",
        "$0.000001",
    ]


def test_a_call_in_no_hurry_is_not_bounded_below_what_it_likely_comes_to() -> None:
    """Its answer would end in the middle, for want of what others may give back in a moment."""
    rules = Rules(replace(UNLIMITED, cost_micro_usd=2000), min_output_tokens=50)
    likely = changed(ASK, likely_output=600)

    def decided(held: int, ask: Ask = likely, *, patient: bool = True) -> Decision:
        return decide(rules, holding(held), ask, (), NOW, patient=patient)

    for held in (701, 1000):  # 600 tokens and the input are 1,300
        waits = decided(held)
        assert isinstance(waits, Refusal)
        assert waits.held_at == "session"
    for now in (
        decided(700),  # enough for what is likely, if not for all that it may come to
        decided(1000, patient=False),
        decided(1000, ASK),  # nothing is known of its answers
        decided(701, changed(ASK, likely_output=951)),  # all of it would not be enough
    ):
        assert isinstance(now, Admit)
        assert now.name == "clamp"


def test_a_call_does_not_wait_where_what_bounds_it_will_not_change() -> None:
    limits = replace(UNLIMITED, cost_micro_usd=2000, request_cost_micro_usd=1000)
    likely = changed(ASK, likely_output=600)

    admit = decide(Rules(limits, 50), holding(701), likely, (), NOW, patient=True)

    assert isinstance(admit, Admit)
    assert admit.output_bound == 450
