"""What proves a session, and what does not: a session found wrongly is worse than one not found."""

from proxy.core.evidence import Found, evidence_links, find, sole
from proxy.core.links import CROWD, Links, Track, answer_turn
from proxy.core.request import Message, Request
from proxy.core.usage import Answer, ToolCall
from tests.fakes_identity import request_of, result, said, user

LONG = "A long answer, with words enough that no other session says the same by chance, ever."
OTHER = "Another long answer, with words enough that no other session says it by chance either."
DRAWN = "call_L8pdnSKJiI9B8NUKgRL2VAtO"


class Given:
    """Links to tracks, filled as an index would be."""

    def __init__(self) -> None:
        self.links = Links("tenant")
        self._tracks: dict[bytes, tuple[Track, ...]] = {}

    def lookup(self, link: bytes) -> tuple[Track, ...]:
        return self._tracks.get(link, ())

    def add(self, link: bytes, *tracks: Track) -> None:
        self._tracks[link] = (*self.lookup(link), *tracks)

    def answer(self, track: Track, request: Request, text: str, *calls: ToolCall) -> None:
        """`track` sent `request` and was answered so."""
        history = request.history
        turn = answer_turn(Answer(text, calls), len(history.messages))
        track.asked = self.links.asked(history.chain)
        track.root = track.root or track.asked
        track.model = request.model
        track.tip = self.links.history(history.chain, turn.said)
        track.last = self.links.said(turn.said)
        heard = self.links.heard(history.messages[-1].content_digest, turn.said)
        for link in (track.asked, track.tip, track.last, heard):
            self.add(link, track)

    def find(self, *messages: Message, model: str = "m") -> tuple[str, str] | None:
        found = find(self.links, request_of(*messages, model=model), self.lookup)
        return None if found is None else (found.track.session, found.source)


def test_an_id_that_one_session_was_given_identifies_it() -> None:
    """It survives a client that drops or rewrites everything else."""
    given = Given()
    given.add(given.links.call_id(DRAWN), Track("a"))

    assert given.find(result(DRAWN, "42")) == ("a", "tool_call_id")
    assert given.find(user("other"), said("", ToolCall(DRAWN, "f", "{}"))) == ("a", "tool_call_id")
    assert given.find(said(f"Calling tools: [{{'id': '{DRAWN}'}}]"), user("42")) == (
        "a",
        "tool_call_id",
    )


def test_of_many_ids_in_one_message_the_first_are_looked_up() -> None:
    """100,000 calls in one message are no more than a few look-ups."""
    given = Given()
    looked_up: list[bytes] = []

    def lookup(link: bytes) -> tuple[Track, ...]:
        looked_up.append(link)
        return given.lookup(link)

    calls = [ToolCall(f"c{at}", "f", "{}") for at in range(1000)]
    find(given.links, request_of(user("u"), said("", *calls), result("c1", "x")), lookup)

    assert len(looked_up) < 200
    assert given.links.call_id("c0") in looked_up


def test_an_id_given_to_two_sessions_proves_nothing() -> None:
    """Recorded runs hold many, even of drawn ids: caches and replays repeat them."""
    given = Given()
    given.add(given.links.call_id(DRAWN), Track("a"), Track("b"))

    assert given.find(result(DRAWN, "42")) is None


def test_an_older_id_is_found_behind_a_shared_one() -> None:
    """Any answer that only one session was given is proof."""
    given = Given()
    shared, own = "call_AAAA1111bbbb2222", "call_CCCC3333dddd4444"
    given.add(given.links.call_id(shared), Track("a"), Track("b"))
    given.add(given.links.call_id(own), Track("b"))

    calls = [said("", ToolCall(own, "f", "{}")), result(own, "1")]
    assert given.find(*calls, said("", ToolCall(shared, "f", "{}")), result(shared, "2")) == (
        "b",
        "tool_call_id",
    )


def test_a_whole_history_identifies_however_short_its_answer() -> None:
    """Exact equality of everything said is proof enough."""
    given = Given()
    given.answer(Track("a"), request_of(user("hi")), "Yes.")

    assert given.find(user("hi"), said("Yes."), user("go on")) == ("a", "prefix")


def test_twins_are_told_apart_by_the_answer_each_was_given() -> None:
    """Same first prompt, other answer."""
    given = Given()
    given.answer(Track("a"), request_of(user("hi")), "Yes.")
    given.answer(Track("b"), request_of(user("hi")), "No.")

    assert given.find(user("hi"), said("No."), user("go on")) == ("b", "prefix")


def test_twins_with_one_answer_are_never_guessed_between() -> None:
    """Both wait for the same continuation: nothing says whose it is."""
    given = Given()
    given.answer(Track("a"), request_of(user("hi")), "Yes.")
    given.answer(Track("b"), request_of(user("hi")), "Yes.")

    assert given.find(user("hi"), said("Yes."), user("go on")) is None


def test_a_rerun_is_the_one_that_still_waits() -> None:
    """The same deterministic agent run twice: the first has gone on, the second has not."""
    given, first, second = Given(), Track("a"), Track("b")
    given.answer(first, request_of(user("hi")), "Yes.")
    given.answer(first, request_of(user("hi"), said("Yes."), user("go on")), "Done.")
    given.answer(second, request_of(user("hi")), "Yes.")

    assert given.find(user("hi"), said("Yes."), user("go on")) == ("b", "prefix")


def test_twins_of_two_models_keep_theirs() -> None:
    """What a run asks for does not change in the middle of a tie."""
    given = Given()
    given.answer(Track("a"), request_of(user("hi"), model="big"), "Yes.")
    given.answer(Track("b"), request_of(user("hi"), model="small"), "Yes.")

    assert given.find(user("hi"), said("Yes."), user("go on"), model="big") == ("a", "prefix")
    assert given.find(user("hi"), said("Yes."), user("go on"), model="new") is None


def test_a_trimmed_history_is_known_by_its_long_answers() -> None:
    """Old messages dropped, or replaced by a summary."""
    given, track = Given(), Track("a")
    given.answer(track, request_of(user("hi")), LONG)
    given.answer(Track("b"), request_of(user("ho")), OTHER)

    assert given.find(user("summary"), said(LONG), user("go on")) == ("a", "answer")


def test_a_short_answer_alone_is_no_evidence() -> None:
    """`Done.` may be anybody's, even where only one session was given it so far."""
    given = Given()
    given.answer(Track("a"), request_of(user("hi")), "Done.")

    assert given.find(user("summary"), said("Done."), user("go on")) is None


def test_short_answers_together_are_evidence() -> None:
    """What two sessions share by chance once, they do not share all the way."""
    given, track = Given(), Track("a")
    given.answer(track, request_of(user("x")), "The first of some short answers.")
    given.answer(track, request_of(user("x"), user("y")), "The second of those short answers.")

    echoed = [said("The first of some short answers."), user("and then?")]
    assert given.find(*echoed, said("The second of those short answers."), user("go on")) == (
        "a",
        "answer",
    )


def test_a_shared_answer_is_narrowed_by_older_ones() -> None:
    """Only one session was given both."""
    given, one, two = Given(), Track("a"), Track("b")
    given.answer(one, request_of(user("x")), OTHER)
    given.answer(one, request_of(user("x"), user("y")), LONG)
    given.answer(two, request_of(user("z")), LONG)

    assert given.find(user("cut"), said(OTHER), user("y"), said(LONG), user("on")) == (
        "a",
        "answer",
    )


def test_a_session_opened_midway_is_not_excluded_by_what_it_was_not_seen_to_be_given() -> None:
    """After a split, older answers lead to the run's earlier session and to its twin."""
    given, earlier, twin, later = Given(), Track("a1"), Track("b"), Track("a2", midway=True)
    given.answer(earlier, request_of(user("x")), OTHER)
    given.answer(twin, request_of(user("x")), OTHER)
    given.answer(twin, request_of(user("x"), user("y")), LONG)
    given.answer(later, request_of(user("cut"), user("y")), LONG)

    assert given.find(user("new cut"), said(OTHER), user("y"), said(LONG), user("on")) is None


def test_a_history_cut_to_look_like_anothers_whole_one_is_not_taken_for_it() -> None:
    """`u1 a1 u2 a2` cut to `u1 a2` equals the history of a session that was given a2 at once."""
    given, cut, whole = Given(), Track("a"), Track("b")
    given.answer(cut, request_of(user("u1")), OTHER)
    given.answer(cut, request_of(user("u1"), said(OTHER), user("u2")), LONG)
    given.answer(whole, request_of(user("u1")), LONG)

    assert given.find(user("u1"), said(LONG), user("u3")) is None


def test_a_session_that_shortens_may_be_the_one_whose_history_looks_whole_again() -> None:
    """Its previous request was cut, so it never left the link of the whole."""
    given, shortens, whole = Given(), Track("a", shortens=True), Track("b")
    given.answer(shortens, request_of(user("cut"), user("u2")), LONG)
    given.answer(whole, request_of(user("u1"), said(OTHER), user("u2")), LONG)

    assert given.find(user("u1"), said(OTHER), user("u2"), said(LONG), user("u3")) is None


def test_a_rewritten_answer_is_bridged_by_the_request_before_it() -> None:
    """The client rewrote beyond recognition, but its own messages are as they were."""
    given, track = Given(), Track("a")
    before = [user("hi"), said("rewritten one"), user("go on")]
    given.answer(track, request_of(*before), LONG)

    assert given.find(*before, said("rewritten two"), user("and on")) == ("a", "prefix")


def test_a_first_prompt_alone_is_no_evidence() -> None:
    """Any agent may begin so, and its history come from elsewhere."""
    given = Given()
    given.answer(Track("a"), request_of(user("hi")), LONG)

    assert given.find(user("hi"), said("of another proxy"), user("go on")) is None


def test_an_answer_to_nothing_but_a_system_prompt_is_no_history() -> None:
    """Clients put the same greeting before every conversation."""
    given = Given()
    given.add(given.links.history(b"", answer_turn(Answer("Hello!"), 0).said), Track("a"))

    assert given.find(said("Hello!"), user("I have a question")) is None


def test_a_crowd_is_nobody() -> None:
    """A link given to too many to remember must not look like one given to none, or to one."""
    given = Given()
    given.add(given.links.said(answer_turn(Answer(LONG), 1).said), *CROWD)
    older = Track("a")
    given.answer(older, request_of(user("x")), OTHER)

    assert sole(CROWD) is None
    assert given.find(user("cut"), said(LONG), user("on")) is None
    assert given.find(user("cut"), said(OTHER), user("y"), said(LONG), user("on")) == (
        "a",
        "answer",
    )


def test_a_store_is_asked_for_the_newest_turns_only() -> None:
    """The question stays small however long the history: SQLite and Redis answer it on the path."""
    history = [m for i in range(60) for m in (user(f"u{i}"), said(f"a{i}"))]
    ids = [
        m for i in range(60) for m in (said("", ToolCall(f"call_{i}", "f", "{}")), result("r", "x"))
    ]

    asked = evidence_links(Links("t"), request_of(*history, *ids, previous_response_id="resp_1"))

    assert len(asked) <= 1 + 16 + 4 * 3 + 1
    assert Links("t").response("resp_1") in asked


def test_tracks_of_one_session_are_one_session() -> None:
    """A session's side histories share answers with it."""
    assert sole([Track("a", "main"), newest := Track("a", "side")]) is newest
    assert sole([Track("a"), Track("b")]) is None
    assert sole([]) is None
    assert Found(newest, "prefix").track is newest


def test_an_older_history_that_others_share_the_answer_of_is_no_proof() -> None:
    """The newest answer is unknown, so the run may be any that was given the older one."""
    given = Given()
    given.answer(Track("a"), request_of(user("u1")), LONG)
    given.answer(Track("b"), request_of(user("v1")), LONG)

    echoed = [user("u1"), said(LONG), user("u2")]
    assert given.find(*echoed, said("rewritten"), user("u3")) is None


def test_a_session_whose_next_step_is_under_way_does_not_wait() -> None:
    """Of two that were given the same, the other one goes on."""
    given, under_way = Given(), Track("a")
    given.answer(under_way, request_of(user("u1")), LONG)
    given.answer(Track("b"), request_of(user("v1")), LONG)
    under_way.asked = under_way.tip = given.links.asked(b"its next request")

    assert given.find(user("cut"), said(LONG), user("on")) == ("b", "answer")


def test_who_waits_is_only_told_by_the_newest_answer() -> None:
    """The newest is unknown: either may have been given it since."""
    given, gone_on = Given(), Track("a")
    given.answer(gone_on, request_of(user("u1")), LONG)
    given.answer(gone_on, request_of(user("u1"), user("u2")), OTHER)
    given.answer(Track("b"), request_of(user("v1")), LONG)

    assert given.find(user("cut"), said(LONG), user("u"), said("rewritten"), user("on")) is None


def test_an_earlier_request_of_a_session_that_went_on_is_no_bridge() -> None:
    """Only its latest request can be followed by an answer that the client rewrote."""
    given, track = Given(), Track("a")
    before = [user("hi"), said("rewritten one"), user("go on")]
    given.answer(track, request_of(*before), LONG)
    given.answer(track, request_of(*before, said("rewritten two"), user("next")), OTHER)

    assert given.find(*before, said("another rewriting"), user("and on")) is None


def test_what_stands_beside_the_first_message_left_is_no_proof() -> None:
    """A trimmed history puts together what was never asked together."""
    given = Given()
    given.answer(Track("a"), request_of(user("x"), user("y")), LONG)
    given.answer(Track("b"), request_of(user("x"), user("u1")), LONG)

    assert given.find(user("u1"), said(LONG), user("on")) is None


def test_a_session_of_before_a_restart_is_not_chosen_over_its_twin() -> None:
    """Where it stands is not known, so it may be either's step."""
    given, loaded = Given(), Track("a")
    given.answer(loaded, request_of(user("hi")), "Yes.")
    loaded.tip = b""
    twin = Track("b")
    given.answer(twin, request_of(user("hi")), "Yes.")
    given.answer(twin, request_of(user("hi"), said("Yes."), user("go on")), "Done.")

    assert given.find(user("hi"), said("Yes."), user("go on")) is None
