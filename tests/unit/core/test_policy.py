"""The policy's pure part: which limits, route and status a call gets."""

from collections.abc import Mapping
from dataclasses import fields, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.policy import (
    MICRO,
    Caller,
    Limits,
    Policy,
    Profile,
    ProfileMatch,
    Rejection,
    Route,
    Target,
    limits_for,
    refusal_status,
    route_for,
)

law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NO_COUNTS = ("per_tool", "warn_at", "on_limit")
FIELDS = tuple(f.name for f in fields(Limits) if f.name not in NO_COUNTS)
GLOBS = ("send_*", "*", "search")

counts = st.integers(0, 1000)
some_limits = st.builds(
    Limits,
    **{name: st.none() | counts for name in FIELDS},
    per_tool=st.dictionaries(st.sampled_from(GLOBS), counts),
    warn_at=st.sampled_from((0.5, 0.8, 1.0)),
    on_limit=st.sampled_from(("reject", "handoff")),
)
overrides = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.none() | counts for name in FIELDS},
        "per_tool": st.dictionaries(st.sampled_from(GLOBS), st.none() | counts),
        "warn_at": st.sampled_from((0.1, 0.9)),
        "on_limit": st.sampled_from(("reject", "handoff")),
    },
)
choosable = st.sampled_from(
    (
        ProfileMatch(),
        ProfileMatch(agent="*"),
        ProfileMatch(model="gpt-*"),
        ProfileMatch(header={"x-team": "*"}),
        ProfileMatch(agent="a", model="*", header={"x-team": "?"}),
    )
)
CALLER = Caller(tenant="team-a", agent="a", model="gpt-5", headers={"x-team": "b"})


PLAIN = Limits()


def policy(limits: Limits = PLAIN, *profiles: Profile, **more: object) -> Policy:
    made = Policy(upstreams={}, routes=(), limits=limits, profiles=profiles)
    return replace(made, **more)  # type: ignore[arg-type]  # each test names real fields


def is_within(tight: float | None, wide: float | None) -> bool:
    return wide is None or (tight is not None and tight <= wide)


@law
@given(some_limits, st.lists(st.builds(Profile, choosable, overrides)))
def test_what_a_client_can_choose_never_loosens_a_limit(
    limits: Limits, profiles: list[Profile]
) -> None:
    """An agent picks its own name, model and headers: it must not pick its own budget."""
    effective = limits_for(policy(limits, *profiles), CALLER)

    assert all(is_within(getattr(effective, f), getattr(limits, f)) for f in (*FIELDS, "warn_at"))
    assert all(is_within(effective.per_tool.get(g), n) for g, n in limits.per_tool.items())
    assert effective.on_limit == limits.on_limit, "whoever it wakes is not for a client to say"


@law
@given(some_limits, overrides, st.booleans())
def test_a_profile_by_tenant_or_trusted_sets_what_it_names(
    limits: Limits, over: Mapping[str, object], trusted: bool
) -> None:
    """The operator's word for a credential holds both ways; null lifts a limit."""
    match = ProfileMatch() if trusted else ProfileMatch(tenant="team-*")

    effective = limits_for(policy(limits, Profile(match, over, trusted)), CALLER)

    counts = {**limits.per_tool, **dict(over.get("per_tool", {}))}  # type: ignore[call-overload]
    assert effective.per_tool == {g: n for g, n in counts.items() if n is not None}
    for name in (*FIELDS, "warn_at", "on_limit"):
        assert getattr(effective, name) == over.get(name, getattr(limits, name))


@law
@given(some_limits, overrides)
def test_a_profile_tightens_as_far_as_it_says(limits: Limits, over: dict[str, object]) -> None:
    """Tightening is not ignoring: a smaller value is in force, also where there was no limit."""
    profile = Profile(ProfileMatch(agent="a"), over)

    effective = limits_for(policy(limits, profile), CALLER)

    for name in FIELDS:
        value = over.get(name)
        assert value is None or is_within(getattr(effective, name), value)  # type: ignore[arg-type]


def test_later_profiles_win() -> None:
    """A tenant's profile after an agent's may loosen again; before it, the agent's tightens."""
    tenant = Profile(ProfileMatch(tenant="team-a"), {"steps": 300})
    agent = Profile(ProfileMatch(agent="a"), {"steps": 20})

    assert limits_for(policy(Limits(), agent, tenant), CALLER).steps == 300
    assert limits_for(policy(Limits(), tenant, agent), CALLER).steps == 20


def test_a_profile_that_does_not_match_changes_nothing() -> None:
    """Every part of a match has to hold."""
    misses = (
        ProfileMatch(agent="b"),
        ProfileMatch(tenant="team-b"),
        ProfileMatch(model="claude-*"),
        ProfileMatch(header={"x-team": "c"}),
        ProfileMatch(agent="a", header={"x-absent": "?*"}),
    )
    for match in misses:
        profile = Profile(match, {"cost_micro_usd": MICRO}, trusted=True)

        assert limits_for(policy(Limits(), profile), CALLER) == Limits()


def test_the_first_route_that_takes_model_and_endpoint_is_taken() -> None:
    """Order is the operator's way to say what is special."""
    claude, messages, rest = Route("claude-*"), Route(endpoint="messages"), Route(to=(Target("o"),))
    routed = policy(routes=(claude, messages, rest))

    assert route_for(routed, "claude-x", "chat") is claude
    assert route_for(routed, "gpt-5", "messages") is messages
    assert route_for(routed, "gpt-5", "chat") is rest
    assert route_for(policy(routes=(claude,)), "gpt-5", "chat") is None


def test_the_status_of_a_refusal_is_by_agent_then_client_then_for_all() -> None:
    """Some agents retry 422 or fall over it; they are known by name or by user-agent."""
    rejection = Rejection(status=422, clients={"Codex*": 400}, agents={"aider": 418})
    refusing = policy(rejection=rejection)

    assert refusal_status(refusing, Caller("t", agent="aider", user_agent="codex_exec/1")) == 418
    assert refusal_status(refusing, Caller("t", agent="b", user_agent="codex_exec/1")) == 400
    assert refusal_status(refusing, Caller("t", user_agent="OpenAI/Python")) == 422
