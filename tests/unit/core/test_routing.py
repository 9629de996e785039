"""Which targets a call may go to, what they are asked in, and who gets the caller's key."""

from itertools import product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.policy import Policy, Route, Target, Upstream
from proxy.core.request import DialectName
from proxy.core.routing import (
    Candidate,
    candidates,
    endpoints_of,
    is_low,
    origin_of,
    spoken_to,
    takes_credential,
)
from proxy.core.translation.registry import translation

DIALECTS: tuple[DialectName, ...] = get_args(DialectName)
UPSTREAMS = {
    "openai": Upstream("openai", "https://api.openai.com/v1"),
    "anthropic": Upstream(
        "anthropic", "https://api.anthropic.com", "anthropic", endpoints=("messages",)
    ),
    "local": Upstream("local", "http://127.0.0.1:11434/v1", endpoints=("chat", "embeddings")),
    "own": Upstream("own", "https://own.example/v1", api_key="sk-own"),
    "told": Upstream("told", "https://told.example/v1", forward_credentials=True),
}
FIRST = Candidate(0, UPSTREAMS["openai"], "gpt-5", "chat", named=False)

dialects = st.sampled_from(DIALECTS)
targets = st.lists(
    st.builds(Target, st.sampled_from(sorted(UPSTREAMS)), st.none() | st.sampled_from(("a", "b"))),
    min_size=1,
    max_size=5,
)


def found(dialect: DialectName, *targets: str) -> list[tuple[str, str, str]]:
    """Upstream, model and dialect of each candidate of a route to these targets."""
    made = [Target(up, model or None) for up, _, model in (t.partition("/") for t in targets)]
    policy = Policy(UPSTREAMS, ())
    route = Route(to=(made[0],), fallback=tuple(made[1:]))
    return [(c.upstream.name, c.model, c.spoken) for c in candidates(policy, route, "m", dialect)]


def test_targets_come_in_order_in_a_dialect_that_they_speak() -> None:
    assert found("chat", "openai", "anthropic/claude", "local/qwen") == [
        ("openai", "m", "chat"),
        ("anthropic", "claude", "messages"),
        ("local", "qwen", "chat"),
    ]
    assert found("responses", "openai", "local/qwen", "anthropic/claude") == [
        ("openai", "m", "responses"),
        ("local", "qwen", "chat"),
        ("anthropic", "claude", "messages"),
    ]


def test_a_target_that_cannot_be_asked_is_left_out() -> None:
    """Nothing is translated to or from embeddings: asking would only cost time."""
    assert found("embeddings", "openai", "anthropic/claude", "local/e") == [
        ("openai", "m", "embeddings"),
        ("local", "e", "embeddings"),
    ]
    assert found("completions", "own", "local") == [("own", "m", "completions")]


def test_the_first_target_is_always_asked() -> None:
    """As the client asked, where there is no better: the provider itself says no."""
    assert found("embeddings", "anthropic") == [("anthropic", "m", "embeddings")]


def test_the_first_target_is_asked_as_it_is_where_its_endpoints_are_unsaid() -> None:
    """Many speak more than one dialect: what passed untouched before still does."""
    assert found("messages", "openai") == [("openai", "m", "messages")]
    assert found("messages", "own", "openai") == [("own", "m", "messages"), ("openai", "m", "chat")]
    assert found("messages", "local", "openai") == [("local", "m", "chat"), ("openai", "m", "chat")]


def test_a_target_that_comes_again_is_asked_once() -> None:
    """It has its retries; asking it again as a fallback would double them."""
    assert found("chat", "openai", "openai/m", "openai/n", "openai") == [
        ("openai", "m", "chat"),
        ("openai", "n", "chat"),
    ]


def test_several_first_targets_are_tried_in_order() -> None:
    route = Route(to=(Target("openai"), Target("own")), fallback=(Target("local", "q"),))

    one, two, three = candidates(Policy(UPSTREAMS, ()), route, "m", "chat")

    assert [(c.index, c.upstream.name) for c in (one, two, three)] == [
        (0, "openai"),
        (1, "own"),
        (2, "local"),
    ]
    assert [c.named for c in (one, two, three)] == [False, False, True]


@given(targets, dialects)
def test_every_candidate_is_a_target_and_asked_in_what_it_answers(
    of: list[Target], dialect: DialectName
) -> None:
    policy, route = Policy(UPSTREAMS, ()), Route(to=(of[0],), fallback=tuple(of[1:]))

    made = candidates(policy, route, "m", dialect)

    assert made[0].index == 0
    assert [c.index for c in made] == sorted({c.index for c in made})
    assert len({(c.upstream.name, c.model) for c in made}) == len(made)
    for candidate in made:
        target = of[candidate.index]
        assert candidate.upstream is UPSTREAMS[target.upstream]
        assert candidate.model == (target.model or "m")
        assert candidate.named == (target.model is not None)
        if candidate.index:
            assert candidate.spoken in endpoints_of(candidate.upstream)
    assert made == candidates(policy, route, "m", dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dialect_that_is_spoken_is_never_translated(dialect: DialectName) -> None:
    everything = Upstream("all", "https://all.example", endpoints=DIALECTS)

    assert spoken_to(everything, dialect) == dialect


def test_what_an_upstream_speaks_follows_from_its_api() -> None:
    assert endpoints_of(UPSTREAMS["openai"]) == ("chat", "responses", "completions", "embeddings")
    assert endpoints_of(Upstream("a", "https://a.example", "anthropic")) == ("messages",)
    assert endpoints_of(UPSTREAMS["local"]) == ("chat", "embeddings")
    nothing = Upstream("none", "https://none.example", endpoints=())
    assert [spoken_to(nothing, dialect) for dialect in DIALECTS] == [None] * 5


def at(base_url: str, index: int = 1, **fields: bool | str) -> Candidate:
    upstream = Upstream("other", base_url, **fields)  # type: ignore[arg-type]  # of the fields
    return Candidate(index, upstream, "m", "chat", named=True)


def test_a_credential_goes_to_no_other_origin() -> None:
    """Whoever runs the second provider could spend with it."""
    assert takes_credential(FIRST, FIRST, Route())
    assert takes_credential(at("https://api.openai.com:443/v2"), FIRST, Route())
    assert takes_credential(at("HTTPS://API.openai.com./v1"), FIRST, Route())
    for other in (
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
        "https://openai.com/v1",
        "https://api.openai.com.evil.example/v1",
        "https://user@evil.example/api.openai.com",
    ):
        assert not takes_credential(at(other), FIRST, Route())


def test_a_credential_goes_where_the_policy_says() -> None:
    other = "https://other.example/v1"

    assert takes_credential(at(other, forward_credentials=True), FIRST, Route())
    assert takes_credential(at(other), FIRST, Route(forward_credentials=True))


@pytest.mark.parametrize("index", [0, 1])
def test_a_credential_never_goes_beside_a_key_of_ones_own(index: int) -> None:
    own = at("https://api.openai.com/v1", index, api_key="sk-own", forward_credentials=True)

    assert not takes_credential(own, FIRST, Route(forward_credentials=True))


ports = st.sampled_from(("", ":80", ":443", ":8080"))
hosts = st.sampled_from(("a.example", "A.example", "b.example", "[::1]", "127.0.0.1"))
urls = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(("http", "https")),
    hosts,
    ports,
    st.sampled_from(("", "/v1")),
)


@given(urls, urls)
def test_an_origin_is_scheme_host_and_port(one: str, other: str) -> None:
    def parts(url: str) -> tuple[str, str, str]:
        scheme, _, rest = url.partition("://")
        host, _, port = rest.removesuffix("/v1").rpartition(":")
        if not port.isdigit():
            host, port = rest.removesuffix("/v1"), {"http": "80", "https": "443"}[scheme]
        return scheme, host.lower(), port

    assert (origin_of(one) == origin_of(other)) == (parts(one) == parts(other))


def test_a_port_that_is_unsaid_is_that_of_the_scheme() -> None:
    assert origin_of("http://h") == origin_of("http://h:80/v1") != origin_of("http://h:81")
    assert origin_of("https://h") == origin_of("https://h:443/v1") != origin_of("http://h:443")


@pytest.mark.parametrize("no_url", ["http://h:99999/v1", "http://[::::]/v1", "https://[1.2]", ""])
def test_what_is_no_url_shares_its_origin_with_nothing(no_url: str) -> None:
    """The form that a policy allows for one lets these through."""
    assert origin_of(no_url) == origin_of(no_url)
    assert origin_of(no_url) != origin_of("http://h/v1")
    assert not takes_credential(at(no_url), FIRST, Route())


shares = st.floats(0, 1)


@given(shares, shares)
def test_a_run_is_low_below_the_share_and_not_at_it(below: float, left: float) -> None:
    assert is_low(Route(downgrade_below=below), left) == (left < below)


@given(st.none() | shares, st.none() | shares)
def test_a_run_is_never_low_where_nothing_bounds_it(
    below: float | None, left: float | None
) -> None:
    if below is None or left is None:
        assert not is_low(Route(downgrade_below=below), left)


@pytest.mark.parametrize(("one", "other"), list(product(DIALECTS, DIALECTS)))
def test_a_target_is_asked_where_there_is_a_translation_and_only_there(
    one: DialectName, other: DialectName
) -> None:
    """Else a call would be sent in words that its target does not know, or not at all."""
    spoken = spoken_to(Upstream("u", "https://u.example", endpoints=(other,)), one)

    assert (spoken is not None) == (one == other or translation(one, other) is not None)
