"""Whose budget a call is on."""

import hashlib
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.decision import Refusal
from proxy.core.policy import Tenant
from proxy.core.tenancy import ANONYMOUS, credential_of, credentials_in, tenant_of
from proxy.errors import MalformedRequest

KEY = b"k" * 32
TEAM = Tenant("team-a", ("sha256:" + hashlib.sha256(b"sk-team").hexdigest().upper(),))


def told(
    credential: str | None,
    *,
    own_key: bool = False,
    unknown: Literal["anonymous", "reject"] = "anonymous",
    hmac_key: bytes = KEY,
) -> str | Refusal:
    return tenant_of(
        credential,
        upstream_has_own_key=own_key,
        tenants=(Tenant("other", ("sha256:00",)), TEAM),
        unknown_credentials=unknown,
        hmac_key=hmac_key,
    )


@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", "Bearer sk-team"),
        ("authorization", "bearer  sk-team "),
        ("Authorization", "sk-team"),
        ("X-Api-Key", "sk-team"),
        ("api-key", "sk-team"),
        ("x-goog-api-key", "sk-team"),
    ],
)
def test_a_credential_is_found_wherever_clients_put_it(header: tuple[str, str]) -> None:
    """Two SDKs of one team are one tenant."""
    assert credential_of([("host", "h"), header]) == "sk-team"


def test_no_credential_is_none_and_empty_ones_are_none() -> None:
    """`Authorization: Bearer` with an unset variable is no credential."""
    assert credential_of([("authorization", "Bearer "), ("x-api-key", "")]) is None


def test_two_different_credentials_are_refused_and_not_shown() -> None:
    """The provider would take the real one, and a made-up one beside it be a fresh budget."""
    headers = [("authorization", "Bearer sk-made-up"), ("x-api-key", "sk-real")]

    with pytest.raises(MalformedRequest) as caught:
        credential_of(headers)

    assert "sk-" not in repr(caught.value)


@pytest.mark.parametrize(
    "query", ["key=k", "beta=true&KEY=%6b", "api_key=k;x=1", "subscription-key=k", "access_token=k"]
)
def test_a_query_may_hold_a_credential_too(query: str) -> None:
    """A made-up header beside it would be a fresh budget, where the provider takes the query's."""
    assert credential_of(credentials_in(query)) == "k"
    with pytest.raises(MalformedRequest):
        credential_of([("authorization", "Bearer made-up"), *credentials_in(query)])


@given(st.text())
def test_any_query_is_read_without_harm(query: str) -> None:
    assert credentials_in("beta=true&limit=10&after=key") == []
    credential_of(credentials_in(query)[:1])


def test_the_same_credential_twice_is_one() -> None:
    """Some clients set both headers."""
    assert credential_of([("authorization", "Bearer k"), ("x-api-key", "k")]) == "k"


@pytest.mark.parametrize("own_key", [False, True])
def test_a_listed_credential_is_its_named_tenant(own_key: bool) -> None:
    """Named entries come first, whoever's key the upstream takes."""
    assert told("sk-team", own_key=own_key, unknown="reject") == "team-a"


def test_a_callers_own_credential_is_a_tenant_of_its_own() -> None:
    """Stable for one key, another for each other, and not the key."""
    one, again, other = told("sk-1"), told("sk-1"), told("sk-2")

    assert one == again != other
    assert isinstance(one, str)
    assert one.startswith("t_")
    assert len(one) == 18
    assert told("sk-1", hmac_key=b"another") != one


def test_made_up_credentials_share_a_budget_where_the_key_is_ours() -> None:
    """Nobody checks them, so each must not be a fresh start."""
    assert told("sk-1", own_key=True) == told("sk-2", own_key=True) == ANONYMOUS


def test_unknown_credentials_can_be_refused() -> None:
    """A value, 401, with the code that SPEC 5 names."""
    refusal = told("sk-secret", own_key=True, unknown="reject")

    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (401, "unknown_credentials")
    assert "sk-secret" not in repr(refusal)
    assert isinstance(told(None, own_key=True, unknown="reject"), Refusal)


def test_a_caller_without_credential_is_anonymous() -> None:
    """Local models need none."""
    assert told(None) == ANONYMOUS


@given(st.text(alphabet=st.characters(min_codepoint=1, max_codepoint=0xFFFF)))
def test_any_header_text_has_a_tenant(credential: str) -> None:
    """Header bytes that are no UTF-8 arrive as surrogates; they must not be a 500."""
    assert isinstance(told(credential), str)
