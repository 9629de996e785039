"""The plan of limits says what the limits say: the same admission, or nothing."""

from collections.abc import Callable
from dataclasses import fields, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as changed

from proxy.core.ask import Account, Ask
from proxy.core.decision import Admit
from proxy.core.engine import Rules, decide, decide_by_rules
from proxy.core.events import HandedOff
from proxy.core.exposure import ANYTHING, PLAIN, Exposure
from proxy.core.plan import admit_at_once, plan_of
from proxy.core.policy import Limits
from proxy.core.pricing import Price, Rates
from proxy.core.session import EMPTY, Below, FailedCall, HeldCall, SessionKey, SessionState
from proxy.core.surcharges import Fees
from proxy.core.tree import Kin
from tests.unit.core.test_engine import ASK, NOW, OPEN, PRICE
from tests.unit.core.test_pricing import SONNET

BODIES = (b"a", b"b")
TOOLS = ("search", "send")
GLOBS = ("se*", "search", "x")
CHEAP = Price(Rates(100_000, 400_000, 10_000, 0, 0, 0, 0, 0), fees=Fees(request=10**6))
CALL = HeldCall(1, False, "m", 0, 0, NOW + 60, (), b"")
CASES = 40
"""A seed. Drawn one by one, hypothesis takes 9 ms for a case, and the law 30 µs."""


class Cases:
    """Random limits, states and calls; small, so that what is used meets what is allowed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def few(self) -> int:
        return self.random.randint(0, 6)

    def some(self) -> int:
        return self.random.choice([0, self.random.randint(0, 30), self.random.randint(0, 200)])

    def rarely(self) -> bool:
        return self.random.random() < 0.04

    def unset(self, draw: Callable[[], int]) -> int | None:
        return None if self.random.random() < 0.75 else draw()

    def limits(self) -> Limits:
        return Limits(
            steps=self.unset(self.few),
            cost_micro_usd=self.unset(self.some),
            tokens=self.unset(self.some),
            duration_seconds=self.unset(self.few),
            tool_calls=self.unset(self.few),
            per_tool={glob: self.few() for glob in GLOBS if self.rarely()},
            parallel=self.unset(self.few),
            request_cost_micro_usd=self.unset(self.some),
            cost_micro_usd_per_minute=self.unset(self.some),
            warn_at=self.random.choice([0.0, 0.25, 0.8, 1.0, 1.5, self.random.random() - 0.05]),
            on_limit=self.random.choice(["reject", "handoff"]),
        )

    def below(self) -> Below:
        return Below(
            spent_micro_usd=self.some(),
            held_micro_usd=self.some(),
            tokens=self.some(),
            held_tokens=self.some(),
            steps=self.few(),
            tool_calls=self.few(),
            calls=self.few(),
            per_tool={glob: self.few() for glob in GLOBS},
            recent_micro_usd=self.some(),
        )

    def state(self) -> SessionState:
        used = {tool: self.few() for tool in TOOLS if self.rarely()}
        lately = [(NOW + self.random.uniform(-90, 90), self.some()) for _ in range(self.few() // 3)]
        failed = [
            FailedCall(self.random.choice(BODIES), self.few(), self.random.randint(1, 9))
            for _ in range(self.few() // 4)
        ]
        return changed(
            EMPTY,
            seq=1,
            steps=self.few(),
            paused=self.rarely(),
            killed=self.rarely(),
            tokens=self.some(),
            held_tokens=self.some(),
            largest_tokens=self.few(),
            cost_micro_usd=self.some(),
            held_micro_usd=self.some(),
            held={str(n): CALL for n in range(self.few() // 2)},
            tool_calls=sum(used.values()),
            per_tool=used,
            extended={"steps": 1, "cost_usd": self.some()} if self.rarely() else {},
            recent_costs=tuple(lately),
            failed=tuple(failed),
            below=self.below() if self.rarely() else EMPTY.below,
            handoffs=(HandedOff(at=NOW, blocking=self.rarely()),) if self.rarely() else (),
            guidance=("Try the other file.",) if self.rarely() else (),
            created_at=NOW - self.random.randint(-3, 8),
        )

    def price(self) -> Price | None:
        return self.random.choice([None, PRICE, SONNET, CHEAP])

    def ask(self) -> Ask:
        return Ask(
            session="s1",
            dialect="chat",
            model="m",
            input_tokens=self.few(),
            output_bound=self.unset(self.some),
            output_maximum=self.random.choice([0, self.few(), self.some(), self.some(), 10**9]),
            choices=self.random.randint(1, 2),
            price=self.price(),
            tools=tuple([tool for tool in TOOLS if self.rarely()]),
            body_digest=self.random.choice(BODIES),
            least_output=self.few(),
            unseen_tokens=self.few() if self.rarely() else 0,
            usual_output=self.unset(self.few),
            likely_output=self.unset(self.some),
            exposure=self.random.choice([PLAIN, ANYTHING, Exposure(searches=2, terms=("flex",))]),
        )

    def accounts(self) -> tuple[Account, ...]:
        return tuple(
            [
                Account("a", "global", "1d", self.some() * 9, self.some(), self.some())
                for _ in range(self.few() // 3)
            ]
        )

    def above(self) -> tuple[Kin, ...]:
        if not self.rarely():
            return ()
        return (Kin(SessionKey("t", "p"), self.limits(), self.state()),)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_a_decision_is_that_of_the_rules(seed: int) -> None:
    """Which way it was made must never show: not in what is held, nor in what is refused."""
    cases = Cases(seed)
    for _ in range(CASES):
        rules = Rules(cases.limits(), cases.random.randint(0, 4))
        asked = (cases.state(), cases.ask(), cases.accounts(), NOW, cases.above())

        assert decide(rules, *asked, patient=False) == decide_by_rules(rules, *asked)
        patient = decide_by_rules(rules, *asked, patient=True)
        assert decide(rules, *asked, patient=True) == patient


def test_the_law_is_about_every_limit() -> None:
    """One that the plan does not know would not hold."""
    drawn = [Cases(seed).limits() for seed in range(400)]

    for field in fields(Limits):
        assert len({str(getattr(limits, field.name)) for limits in drawn}) > 1, field.name


def test_the_law_is_not_about_nothing() -> None:
    cases, at_once = Cases(0), 0
    for _ in range(1_000):
        plan = plan_of(cases.limits())
        found = admit_at_once(plan, 4, cases.state(), cases.ask(), cases.accounts(), NOW)
        at_once += found is not None

    assert 100 < at_once < 900


TIGHT = Limits(
    steps=10,
    cost_micro_usd=10_000,
    tokens=10_000,
    duration_seconds=100,
    tool_calls=10,
    per_tool={"se*": 5},
    parallel=2,
    request_cost_micro_usd=5_000,
    cost_micro_usd_per_minute=5_000,
)
"""All of them, and the call of `ASK`, 2,100 micro-USD and 1,100 tokens, far below each."""


def at_once(
    limits: Limits = TIGHT, state: SessionState = OPEN, ask: Ask = ASK, **account: int
) -> Admit | None:
    shared = Account("global:-:1d:1", "global", "1d", 5_000)
    accounts = (changed(shared, **account),)
    found = admit_at_once(plan_of(limits), 256, state, ask, accounts, NOW)
    if found is not None:
        assert found == decide_by_rules(Rules(limits), state, ask, accounts, NOW)
    return found


def test_a_call_far_from_every_limit_is_admitted_at_once() -> None:
    """Else the law says nothing, and the plan gains nothing."""
    assert at_once() == Admit(1, 2_100, 100, 1_000)
    assert at_once(Limits()) == Admit(1, 2_100, 100, 1_000)
    assert at_once(ask=changed(ASK, price=None)) == Admit(1, 0, 100, 1_000)


def test_a_session_that_has_used_most_of_what_it_may_is_quiet_still() -> None:
    """Each figure one below where its limit begins to warn."""
    used = changed(
        OPEN,
        steps=7,
        cost_micro_usd=7_000,
        tokens=7_000,
        tool_calls=3,
        per_tool={"other": 3},
        created_at=NOW - 79,
    )

    assert at_once(state=used) == Admit(8, 2_100, 100, 1_000)


@pytest.mark.parametrize(
    "state",
    [
        changed(OPEN, steps=8),
        changed(OPEN, cost_micro_usd=8_000),
        changed(OPEN, cost_micro_usd=6_000, held_micro_usd=2_000),
        changed(OPEN, tokens=8_000),
        changed(OPEN, tokens=7_000, held_tokens=2_000),
        changed(OPEN, tool_calls=8),
        changed(OPEN, per_tool={"other": 4}),
        changed(OPEN, created_at=NOW - 80),
        changed(OPEN, held={"a": CALL, "b": CALL}),
        changed(OPEN, held_micro_usd=3_000),
        changed(OPEN, recent_costs=((NOW, 3_000),)),
        changed(OPEN, paused=True),
        changed(OPEN, killed=True),
        changed(OPEN, extended={"steps": 1}),
        changed(OPEN, below=Below()),
    ],
)
def test_near_any_limit_the_rules_decide(state: SessionState) -> None:
    assert at_once(state=state) is None


def test_what_others_left_on_a_shared_account_counts() -> None:
    assert at_once(spent_micro_usd=1_000, held_micro_usd=1_900) is not None
    assert at_once(spent_micro_usd=1_000, held_micro_usd=1_901) is None


def test_a_call_that_is_dear_by_itself_is_for_the_rules() -> None:
    assert at_once(replace(TIGHT, request_cost_micro_usd=2_100)) is not None
    assert at_once(replace(TIGHT, request_cost_micro_usd=2_099)) is None


def test_a_retry_keeps_its_step_and_a_stream_holds_what_is_usual() -> None:
    failed = changed(OPEN, steps=5, failed=(FailedCall(b"a", 3, 1), FailedCall(b"b", 4, 9)))
    again, worn_out = changed(ASK, body_digest=b"a"), changed(ASK, body_digest=b"b")

    assert at_once(state=failed, ask=again) == Admit(3, 2_100, 100, 1_000)
    assert at_once(state=failed, ask=worn_out) == Admit(6, 2_100, 100, 1_000)
    assert at_once(ask=changed(ASK, usual_output=300)) == Admit(1, 700, 100, 300)
    assert at_once(ask=changed(ASK, usual_output=30)) == Admit(1, 612, 100, 256)
    assert at_once(ask=changed(ASK, unseen_tokens=50)) == Admit(1, 2_150, 150, 1_000)


def test_an_output_beyond_what_is_reckoned_with_is_for_the_rules() -> None:
    """They answer with a bound where output costs nothing."""
    endless = Limits(tokens=None, cost_micro_usd=None)
    free = Price(replace(PRICE.rates, output=0, output_audio=0, reasoning=0), source="policy")
    ask = changed(ASK, output_bound=10**9, price=free)

    assert at_once(endless, ask=ask) is not None
    assert at_once(endless, ask=changed(ask, choices=2)) is None
