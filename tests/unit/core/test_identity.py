"""What a request names itself: path, our headers, what clients send anyway."""

import pytest

from proxy.core.identity import (
    CLIENT_HINTS,
    SESSION_DIGITS,
    named_session,
    session_digits,
)
from proxy.core.paths import PathParts, is_session_id
from proxy.core.request import Request
from proxy.errors import MalformedRequest

NOWHERE = PathParts("/v1/chat/completions")


def asking(**hints: str) -> Request:
    return Request(
        dialect="chat",
        model="m",
        stream=False,
        messages=(),
        output_bound=None,
        choices=1,
        text_bytes=0,
        hints={key.replace("__", "."): value for key, value in hints.items()},
    )


def test_the_path_comes_before_the_header_and_the_header_before_the_client() -> None:
    """SPEC 3: what a human wrote on purpose beats what a client happens to send."""
    headers = {"x-holdfast-session": "ours", "x-claude-code-session-id": "theirs"}

    by_path = named_session(headers, PathParts("/", "path"), None)
    by_header = named_session(headers, NOWHERE, None)
    by_client = named_session({"x-claude-code-session-id": "theirs"}, NOWHERE, None)

    assert (by_path.session, by_path.source) == ("path", "path")
    assert (by_header.session, by_header.source) == ("ours", "header")
    assert (by_client.session, by_client.source) == ("theirs", "client:claude-code")


def test_parent_and_agent_come_from_the_path_or_our_headers() -> None:
    """Trees and profiles work with either."""
    headers = {"x-holdfast-parent": "root", "x-holdfast-agent": "bot"}

    named = named_session(headers, PathParts("/", "kid"), None)
    from_path = named_session(headers, PathParts("/", "kid", "other", "agent"), None)

    assert (named.parent, named.agent) == ("root", "bot")
    assert (from_path.parent, from_path.agent) == ("other", "agent")


def test_a_session_is_not_its_own_parent() -> None:
    """A tree with a loop would count a call on itself for ever."""
    headers = {"x-holdfast-session": "x", "x-holdfast-parent": "x"}

    assert named_session(headers, NOWHERE, None).parent is None


@pytest.mark.parametrize("name", ["x-holdfast-session", "x-holdfast-parent", "x-holdfast-agent"])
@pytest.mark.parametrize("value", ["", "a b", "..", "x" * 129, "v1"])
def test_our_own_headers_are_refused_where_they_are_no_ids(name: str, value: str) -> None:
    """They were written for us, so a mistake in them is told."""
    with pytest.raises(MalformedRequest) as caught:
        named_session({name: value}, NOWHERE, None)

    assert caught.value.param == name


@pytest.mark.parametrize(
    ("headers", "hints", "session", "client"),
    [
        ({"x-claude-code-session-id": "c1"}, {}, "c1", "claude-code"),
        ({}, {"metadata__user_id": '{"device_id":"d","session_id":"c2"}'}, "c2", "claude-code"),
        ({}, {"metadata__user_id": "user_ab_account_cd_session_c3"}, "c3", "claude-code"),
        ({"session-id": "x1", "thread-id": "x2"}, {}, "x1", "codex"),
        ({"user-agent": "codex_exec/0.169.0", "thread-id": "x2"}, {}, "x2", "codex"),
        ({"user-agent": "codex_exec/0.1", "x-client-request-id": "x3"}, {}, "x3", "codex"),
        ({}, {"client_metadata__session_id": "x4"}, "x4", "codex"),
        ({"user-agent": "codex_cli_rs/1"}, {"prompt_cache_key": "x5"}, "x5", "codex"),
        ({"x-session-id": "o1"}, {}, "o1", "opencode"),
        ({"x-session-affinity": "o2"}, {}, "o2", "opencode"),
        ({"x-litellm-session-id": "l1"}, {}, "l1", "litellm"),
        ({}, {"litellm_session_id": "l2"}, "l2", "litellm"),
        ({}, {"metadata__session_id": "l3"}, "l3", "litellm"),
        ({"x-portkey-trace-id": "p1"}, {}, "p1", "portkey"),
        ({"x-portkey-metadata": '{"session_id":"p2"}'}, {}, "p2", "portkey"),
        ({"helicone-session-id": "h1"}, {}, "h1", "helicone"),
        ({}, {"conversation": "conv_1"}, "conv_1", "openai-conversation"),
        ({"baggage": "a=b, session.id=b1;p=q"}, {}, "b1", "baggage"),
    ],
)
def test_what_clients_send_anyway_names_the_session(
    headers: dict[str, str], hints: dict[str, str], session: str, client: str
) -> None:
    """Clients of the table need neither code nor a header of ours."""
    named = named_session(headers, NOWHERE, asking(**hints))

    assert (named.session, named.source) == (session, f"client:{client}")


@pytest.mark.parametrize(
    ("headers", "hints"),
    [
        ({}, {"metadata__user_id": "alice"}),
        ({}, {"metadata__user_id": "{not json"}),
        ({}, {"metadata__user_id": '{"session_id": 5}'}),
        ({}, {"prompt_cache_key": "shared-by-all"}),
        ({"x-client-request-id": "fresh-each-time"}, {}),
        ({"thread-id": "any"}, {}),
        ({"baggage": "session=1"}, {}),
        ({"x-portkey-metadata": "[]"}, {}),
        ({"x-session-id": "  "}, {}),
    ],
)
def test_what_does_not_name_a_run_names_no_session(
    headers: dict[str, str], hints: dict[str, str]
) -> None:
    """A user, a cache key or a request id would merge or split runs."""
    assert named_session(headers, NOWHERE, asking(**hints)).session is None


def test_a_clients_value_that_is_no_id_is_hashed_into_one() -> None:
    """The client did nothing wrong, and the same value must be the same session again."""
    first = named_session({"x-session-id": "a b/c"}, NOWHERE, None).session
    again = named_session({"x-session-id": "a b/c"}, NOWHERE, None).session
    other = named_session({"x-session-id": "a b/d"}, NOWHERE, None).session

    assert first is not None
    assert is_session_id(first)
    assert first == again != other


def test_sub_agents_are_threads_and_children_of_the_clients_session() -> None:
    """Budgets are the session's, loops are counted in each history apart."""
    claude = {"x-claude-code-session-id": "c", "x-claude-code-agent-id": "sub"}
    codex = {"session-id": "x", "thread-id": "t"}
    opencode = {"x-session-id": "kid", "x-parent-session-id": "root"}

    assert named_session(claude, NOWHERE, None).thread == "sub"
    assert named_session(claude, PathParts("/", "mine"), None).thread == "sub"
    assert named_session(codex, NOWHERE, None).thread == "t"
    assert named_session(opencode, NOWHERE, None).parent == "root"


def test_every_hint_is_a_lower_case_header_or_a_body_field() -> None:
    """Headers are looked up by their lower-case names."""
    assert all(hint.key == hint.key.lower() for hint in CLIENT_HINTS)


def test_every_digit_of_a_new_session_is_as_likely_as_any_other() -> None:
    """Of 256 values of a byte each of the 62 has four; the other eight say nothing."""
    digits = session_digits(bytes(range(256)))

    assert len(set(digits)) == 62
    assert {digits.count(digit) for digit in digits} == {4}
    assert is_session_id("s_" + digits[:SESSION_DIGITS])
    assert 62**SESSION_DIGITS > 2**128
