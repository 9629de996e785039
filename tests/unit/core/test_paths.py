"""Request targets: the ids in their prefixes, and the path that is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.paths import PathParts, is_session_id, split_path
from proxy.errors import MalformedRequest


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/v1/chat/completions", PathParts("/v1/chat/completions")),
        ("/s/x/v1/messages?beta=true", PathParts("/v1/messages?beta=true", "x")),
        ("/s/root/kid/v1/responses", PathParts("/v1/responses", "kid", "root")),
        ("/a/bot/v1/models", PathParts("/v1/models", agent="bot")),
        ("/a/bot/s/x/v1/models", PathParts("/v1/models", "x", agent="bot")),
        ("/a/bot/s/root/kid/v1/models", PathParts("/v1/models", "kid", "root", "bot")),
        ("/r/x/v1/messages", PathParts("/v1/messages", "x", resume=True)),
        ("/r/x/messages", PathParts("/v1/messages", "x", resume=True)),
        ("/r/root/kid/v1/messages", PathParts("/v1/messages", "kid", "root", resume=True)),
        ("/a/bot/r/x/v1/messages", PathParts("/v1/messages", "x", None, "bot", resume=True)),
        ("/a/bot/r/root/kid/v1", PathParts("/v1", "kid", "root", "bot", resume=True)),
        ("/v1/v1/messages", PathParts("/v1/messages")),
        ("/s/x/v1/v1/messages", PathParts("/v1/messages", "x")),
        ("/chat/completions", PathParts("/v1/chat/completions")),
        ("/s/x/chat/completions", PathParts("/v1/chat/completions", "x")),
        ("/s/x//v1//chat/completions/", PathParts("/v1/chat/completions", "x")),
        ("//s/x/v1/messages", PathParts("/v1/messages", "x")),
        ("/s/same/same/v1/messages", PathParts("/v1/messages", "same")),
        ("/s/a.b:c@d-e_f/v1/messages", PathParts("/v1/messages", "a.b:c@d-e_f")),
        ("/v1/models/org%2Fname", PathParts("/v1/models/org%2Fname")),
        ("/v1/files/my%20file%3Av1", PathParts("/v1/files/my%20file%3Av1")),
        ("/v1/models/", PathParts("/v1/models/")),
        ("/v1/files?path=..%2F", PathParts("/v1/files?path=..%2F")),
        ("http://proxy:8080/s/x/v1/messages", PathParts("/v1/messages", "x")),
        ("/", PathParts("/")),
        ("/s", PathParts("/s")),
        ("*", PathParts("*")),
    ],
)
def test_a_target_is_split_into_its_ids_and_the_path_of_the_provider(
    target: str, expected: PathParts
) -> None:
    """Clients that can set only a base URL say all they have to say in it."""
    assert split_path(target) == expected


@pytest.mark.parametrize(
    "target",
    [
        "/s//v1/messages",
        "/s/v1/messages",
        "/s/../v1/messages",
        "/s/a%2Fb/v1/messages",
        "/s/a b/v1/messages",
        f"/s/{'x' * 129}/v1/messages",
        "/s/é/v1/messages",
        "/a//v1/messages",
        "/a/b%00/v1/messages",
        "/r/a%20b/v1/messages",
        "/s/x/k%69d/v1/messages",
    ],
)
def test_what_cannot_be_an_id_in_a_path_is_refused(target: str) -> None:
    """An unset variable in a base URL would otherwise join every run in one session."""
    with pytest.raises(MalformedRequest) as caught:
        split_path(target)

    assert caught.value.status == 400


@pytest.mark.parametrize(
    "target",
    [
        "/v1/chat%2Fcompletions",
        "/v1/ch%61t/completions",
        "/%761/chat/completions",
        "/v1/chat/completions%2e",
        "/v1/files/../chat/completions",
        "/v1/files/%2e%2e/chat/completions",
        "/v1/files/..%2Fchat%2Fcompletions",
        "/v1/files\\..\\chat",
        "/v1/files/%5c..",
        "/V1/Chat/Completions",
        "/v1/Messages",
        "/v1/chat;x/completions",
        "/v1/files/..;/chat/completions",
        "/v1/files/..%3B/chat/completions",
        "/v1/files/.%2e;x/chat/completions",
        "/v1/files/%252e%252e/chat/completions",
        "/v1/files/%25252e/chat/completions",
        "/v1/files/..%20/chat/completions",
        "/v1/files/%c0%ae%c0%ae/chat/completions",
        "/v1/files/a%2fb",
        "/v1/files/a%3Fb",
        "/v1/files/a%00",
        "/v1/files/%zz",
        "/v1/files/\N{KELVIN SIGN}",
        "/v1/files/%2",
        "/v1/models/..%2Fchat",
        "/v1/models/a%2f%2e%2e%2fb",
        "/v1/files#/chat",
        "ftp://proxy/v1/messages",
        "v1/messages",
    ],
)
def test_a_path_that_can_be_read_in_two_ways_is_refused(target: str) -> None:
    """A governed path under another spelling would reach the provider ungoverned."""
    with pytest.raises(MalformedRequest):
        split_path(target)


@given(st.text(max_size=60))
def test_any_target_is_split_or_refused_by_name(text: str) -> None:
    """Whatever is sent, the answer is a 4xx at worst."""
    try:
        parts = split_path("/" + text)
    except MalformedRequest:
        return

    assert parts.session is None or is_session_id(parts.session)
    assert "//" not in parts.rest.partition("?")[0]


@given(st.text(max_size=30).map(lambda text: "/v1/" + text))
def test_splitting_twice_is_splitting_once(target: str) -> None:
    """What we forward is what we classified."""
    try:
        once = split_path(target)
    except MalformedRequest:
        return

    assert split_path(once.rest) == once
