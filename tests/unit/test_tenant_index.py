"""What one tenant's sessions were given, and what is kept of it."""

from proxy.core.links import CROWD, Track
from proxy.core.request import Request
from proxy.core.usage import Answer, ToolCall
from proxy.tenant_index import Attempt, TenantIndex, adopt, advance, proven, remember
from tests.fakes_identity import request_of, result, said, user

LONG = "A long answer, with words enough that no other session says the same by chance, ever."


def step(index: TenantIndex, track: Track, request: Request, answer: Answer) -> tuple[bytes, ...]:
    """One step as the shell remembers it."""
    advance(index.links, track, request)
    if not track.last:
        adopt(index, track, request)
    return remember(index, track, request, answer)


def test_counted_ids_leave_no_link() -> None:
    """`call_1` would lead every run to the first that was given it."""
    index, track = TenantIndex("t"), Track("a")
    step(index, track, request_of(user("hi")), Answer("", (ToolCall("call_1", "f", "{}"),)))

    assert index.lookup(index.links.call_id("call_1")) == ()
    assert proven(index, request_of(result("call_1", "42"))) is None


def test_an_empty_answer_leaves_only_its_ids() -> None:
    """Nothing was said that could be echoed."""
    index, track = TenantIndex("t"), Track("a")
    request = request_of(user("hi"), dialect="responses")

    assert step(index, track, request, Answer(response_id="resp_1")) == (
        index.links.response("resp_1"),
    )
    assert step(index, track, request_of(user("hi")), Answer(response_id="chatcmpl-1")) == ()


def test_a_session_opened_midway_takes_part_in_what_was_given_before() -> None:
    """Its run was given that, in the session it was split from."""
    index, first, second = TenantIndex("t"), Track("a"), Track("a2")
    step(index, first, request_of(user("u1")), Answer(LONG))
    step(index, second, request_of(user("cut"), said(LONG), user("u2")), Answer("Done."))

    tracks = index.lookup(first.last)

    assert tracks == (first, second)
    assert (second.midway, second.shortens) == (True, True)


def test_what_nobody_was_given_is_not_taken_for_given() -> None:
    """A client's own words, a greeting say, stand in other runs as well."""
    index, track = TenantIndex("t"), Track("a")
    greeting = said("Hello, this is the help desk of a company with a rather long greeting text.")
    step(index, track, request_of(greeting, user("u1")), Answer("Done."))

    assert proven(index, request_of(greeting, user("v1"))) is None
    assert not track.midway


def test_a_client_that_leaves_out_history_is_noted() -> None:
    """From then on, a whole history of another session may be its own."""
    index, whole, cuts = TenantIndex("t"), Track("a"), Track("b")
    for track in (whole, cuts):
        step(index, track, request_of(user("u1")), Answer(LONG))
    again = request_of(user("u1"), said(LONG), user("u2"))
    advance(index.links, whole, again)
    advance(index.links, whole, again)
    advance(index.links, cuts, request_of(user("cut"), said(LONG), user("u2")))

    assert not whole.shortens
    assert cuts.shortens


def test_a_link_given_to_too_many_leads_to_nobody() -> None:
    """Bounded, and never mistaken for a link of the few that were kept."""
    index = TenantIndex("t")
    for i in range(40):
        index.add(b"l", Track(f"s{i}"))

    assert index.lookup(b"l") is CROWD


def test_of_too_many_the_one_still_there_is_kept() -> None:
    """A deterministic agent run again and again is told from its earlier runs for ever."""
    index = TenantIndex("t")
    request, go_on = request_of(user("u1")), request_of(user("u1"), said("Yes."), user("on"))
    for i in range(100):
        track = Track(f"s{i}")
        step(index, track, request, Answer("Yes."))
        found = proven(index, go_on)
        step(index, track, go_on, Answer("Done."))

        assert found is not None
        assert found.track is track


def test_what_a_store_knows_is_taken_in_as_far_as_it_goes() -> None:
    """Eight sessions is all it tells: there may be more."""
    index = TenantIndex("t")
    link, crowded = b"a" * 16, b"b" * 16
    index.load({link: ("s1", "s2"), crowded: tuple(f"s{i}" for i in range(8))})
    index.load({link: ("s1",)})

    tracks = index.lookup(link)

    assert [track.session for track in tracks] == ["s1", "s2"]
    assert all(track.midway and track.shortens and not track.tip for track in tracks)
    assert index.lookup(crowded) is CROWD


def test_the_oldest_links_are_forgotten_first() -> None:
    """The newest are what the next request is known by."""
    index, track = TenantIndex("t"), Track("a")
    for i in range(80):
        index.add(bytes([i]), track)

    dropped = index.drop_oldest()

    assert dropped == 10
    assert index.lookup(bytes([0])) == ()
    assert index.lookup(bytes([79])) == (track,)


def test_the_chain_of_a_history_is_its_messages_digests() -> None:
    """Sixteen bytes each, so that a prefix of messages is a prefix of bytes."""
    history = request_of(user("a"), said("b"), user("c")).history

    assert len(history.chain) == 48
    assert history.before(2) == history.chain[:32]


BODY = b"the same first prompt"


def failed(index: TenantIndex, session: str, at: float) -> None:
    """A call that came to nothing, whose client may send it again."""
    index.begin(BODY, Attempt(Track(session), b"", at))
    attempt = index.end(BODY, session)
    assert attempt is not None
    attempt.failed = attempt.client_gone = True
    index.begin(BODY, attempt)


def test_a_fleet_whose_first_call_fails_is_not_remembered_for_ever() -> None:
    """Each run sends the same body in a session of its own, and its provider is down."""
    index = TenantIndex("t")
    for number in range(1_000):
        failed(index, f"s{number}", number / 100)

    assert len(index._attempts[BODY]) < 50


def test_what_failed_long_ago_does_not_come_again() -> None:
    """Its place is given to others; one alone is still told by what it sends again."""
    index = TenantIndex("t")
    for number in range(40):
        failed(index, f"s{number}", 0.0)
    failed(index, "late", 500.0)
    retried = index.retried(BODY, 501.0, counted=False)

    assert retried is not None
    assert retried.session == "late"
    assert len(index._attempts[BODY]) == 1


def test_of_too_many_that_failed_none_is_guessed() -> None:
    """The one that is left of those that are remembered need not be the one that comes again."""
    index = TenantIndex("t")
    for number in range(40):
        failed(index, f"s{number}", 10.0)
    for attempt in index._attempts[BODY][1:]:
        index.end(BODY, attempt.track.session)

    assert len(index._attempts[BODY]) == 1
    assert index.retried(BODY, 11.0, counted=False) is None
    failed(index, "late", 200.0)
    assert index.retried(BODY, 201.0, counted=False) is not None


def test_calls_under_way_are_all_known_until_they_end() -> None:
    """However many send the same at once: their answers belong to them."""
    index = TenantIndex("t")
    for number in range(100):
        index.begin(BODY, Attempt(Track(f"s{number}"), b"", 1.0))
    for number in range(100):
        failed(index, f"f{number}", 1.0)

    assert all(index.end(BODY, f"s{number}") is not None for number in range(100))
