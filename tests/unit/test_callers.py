"""Who calls is remembered by what was said, and never mixed up with what another says."""

import pytest

from proxy.callers import Callers
from proxy.core.decision import Refusal
from proxy.core.policy import Policy, Route, Target, Upstream
from proxy.errors import MalformedRequest
from proxy.wire import Head

OPENAI = Upstream("openai", "https://api.openai.com/v1")
OURS = Upstream("ours", "https://api.openai.com/v1", api_key="sk-ours")
POLICY = Policy(upstreams={"openai": OPENAI, "ours": OURS}, routes=())


def head(*headers: tuple[str, str]) -> Head:
    return Head("POST", "/v1/chat/completions", headers)


def test_each_credential_is_a_tenant_wherever_it_is_said() -> None:
    callers = Callers(b"k" * 32)
    one = head(("authorization", "Bearer sk-1"))
    other = head(("authorization", "Bearer sk-2"))
    elsewhere = head(("X-Api-Key", "sk-1"))

    first = callers.tenant(POLICY, one, OPENAI)

    assert callers.tenant(POLICY, elsewhere, OPENAI) == first
    assert callers.tenant(POLICY, other, OPENAI) != first
    assert callers.tenant(POLICY, one, OPENAI) == first
    assert callers.tenant(POLICY, one, OURS) == "anonymous" == callers.tenant(POLICY, head(), OURS)


def test_a_second_credential_is_refused_however_often_the_first_was_heard() -> None:
    """A budget is counted on the one, and the provider would take the other."""
    callers = Callers(b"k" * 32)
    said = ("authorization", "Bearer sk-1")
    tenant = callers.tenant(POLICY, head(said), OPENAI)

    for second in (("x-api-key", "sk-2"), ("authorization", "Bearer sk-2")):
        with pytest.raises(MalformedRequest):
            callers.tenant(POLICY, head(said, second), OPENAI)
    assert callers.tenant(POLICY, head(said, said), OPENAI) == tenant
    in_query = Head("POST", "/v1/chat/completions?key=sk-2", (said,))
    with pytest.raises(MalformedRequest):
        callers.tenant(POLICY, in_query, OPENAI)


def test_a_new_policy_forgets_who_called() -> None:
    callers = Callers(b"k" * 32)
    one = head(("authorization", "Bearer sk-1"))
    assert callers.tenant(POLICY, one, OURS) == "anonymous"

    strict = Policy(upstreams=POLICY.upstreams, routes=(), unknown_credentials="reject")

    assert isinstance(callers.tenant(strict, one, OURS), Refusal)


def routed(**upstreams: Upstream) -> Policy:
    names = list(upstreams)
    fallback = tuple(Target(name, "m-small") for name in names[1:])
    return Policy(
        upstreams=upstreams, routes=(Route("m*", to=(Target(names[0]),), fallback=fallback),)
    )


def test_who_can_serve_a_call_is_worked_out_once() -> None:
    """Every call asks, and a model is a client's word: neither slow nor without end."""
    callers = Callers(b"k" * 32)
    policy = routed(openai=OPENAI, ours=OURS)

    found = callers.candidates(policy, "m", "chat")

    assert [(c.upstream.name, c.model) for c in found] == [("openai", "m"), ("ours", "m-small")]
    assert callers.candidates(policy, "m", "chat") is found
    assert [c.spoken for c in callers.candidates(policy, "m", "messages")] == ["messages", "chat"]
    for number in range(5_000):
        callers.candidates(policy, f"m{number}", "chat")
    assert len(callers._candidates) <= 4_096


def test_a_new_policy_has_other_candidates() -> None:
    callers = Callers(b"k" * 32)
    callers.candidates(routed(openai=OPENAI, ours=OURS), "m", "chat")

    (only,) = callers.candidates(routed(ours=OURS), "m", "chat")

    assert only.upstream is OURS


def test_a_model_that_no_route_takes_is_the_callers_fault() -> None:
    with pytest.raises(MalformedRequest, match="no route takes model 'x'"):
        Callers(b"k" * 32).candidates(routed(openai=OPENAI), "x", "chat")


@pytest.mark.parametrize("remembers", [False, True])
def test_a_digest_tells_keys_apart_wherever_they_are_said(remembers: bool) -> None:
    """A key that a provider refuses closes it for that key alone."""

    def said(target: str, *headers: tuple[str, str]) -> bytes | None:
        one = Head("POST", target, headers, same={} if remembers else None)
        first = callers.credential(one)
        assert callers.credential(one) == first
        return first

    callers, path = Callers(b"k" * 32), "/v1/chat/completions"
    digest = said(path, ("authorization", "Bearer sk-1"))

    assert digest is not None
    assert len(digest) == 16
    assert b"sk-1" not in digest
    assert said(path, ("X-Api-Key", "sk-1")) == digest == said(path + "?key=sk-1")
    assert said(path, ("x-api-key", "sk-2")) != digest
    assert said(path) is None
    assert Callers(b"j" * 32).credential(head(("x-api-key", "sk-1"))) != digest
    with pytest.raises(MalformedRequest):
        said(path + "?key=sk-2", ("x-api-key", "sk-1"))
