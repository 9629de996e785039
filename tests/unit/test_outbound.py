"""What goes to the provider: chosen once for heads that come again, and the same each time."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.policy import Upstream
from proxy.outbound import _governed_headers, _less_for, upstream_headers
from proxy.wire import Head
from proxy.wire.headers import Kind

GIVEN = (
    *(("Host", "h"), ("Authorization", "Bearer a"), ("X-Api-Key", "b"), ("A", "b")),
    *(("Content-Length", "7"), ("content-encoding", "gzip"), ("x-holdfast-session", "s")),
    *(("Connection", "A"), ("accept-encoding", "br")),
)
UPSTREAMS = (
    Upstream(name="one", base_url="http://a"),
    Upstream(name="one", base_url="http://a"),
    Upstream(name="keyed", base_url="http://b", api_key="k"),
    Upstream(name="keyed", base_url="http://b", api_key="l"),
    Upstream(name="claude", base_url="http://c", dialect="anthropic", api_key="k"),
)


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(UPSTREAMS) - 1),
            st.sampled_from([Kind.NONE, Kind.CONTENT_ENCODING]),
            st.integers(0, 2),
        ),
        max_size=8,
    )
)
def test_headers_chosen_before_are_those_that_would_be_chosen_now(
    calls: list[tuple[int, int, int]],
) -> None:
    """Whatever upstream, and whatever length, a head of this kind was sent with before."""
    same: dict[object, object] = {}
    for which, dropped, length in calls:
        headers = tuple((n, str(length) if n == "Content-Length" else v) for n, v in GIVEN)
        upstream = UPSTREAMS[which]
        head = Head("POST", "/v1/chat/completions", headers, same=same)

        expected = upstream_headers(headers, upstream, governed=True, dropped=dropped)
        assert _governed_headers(head, upstream, dropped) == expected
        plain = Head("POST", "/v1/chat/completions", headers)
        assert _governed_headers(plain, upstream, dropped) == expected


def test_of_a_head_that_comes_again_the_headers_are_one_object() -> None:
    """Which is how the wire knows that it has written them before."""
    same: dict[object, object] = {}
    heads = [Head("POST", "/", (("A", "b"), ("Content-Length", n)), same=same) for n in ("1", "2")]
    one, other = (_governed_headers(head, UPSTREAMS[0], Kind.NONE) for head in heads)

    assert one is other


def test_a_bound_meant_for_another_model_is_no_more_than_this_one_writes() -> None:
    """Claude Code asks for 64,000 tokens; where gpt-4o answers it that is a 400."""
    assert _less_for("gpt-4o", 64_000) == 16_384
    assert _less_for("gpt-4o", 16_384) is None
    assert _less_for("gpt-4o", None) is None
    assert _less_for("a-model-nobody-knows", 10**6) is None
