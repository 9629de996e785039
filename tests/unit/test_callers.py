"""Who calls is remembered by what was said, and never mixed up with what another says."""

import pytest

from proxy.callers import Callers
from proxy.core.decision import Refusal
from proxy.core.policy import Policy, Upstream
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
