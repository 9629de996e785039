"""Which recorded request goes on from which."""

import time
from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.histories import DIGEST_BYTES, Histories, beginnings


def chain(said: str) -> bytes:
    """A history of one message a letter."""
    return b"".join([letter.encode() * DIGEST_BYTES for letter in said])


def tree(*said: str) -> Histories:
    """Each named by what it says."""
    histories = Histories()
    for one in said:
        histories.add(one, chain(one))
    return histories


def test_a_request_goes_on_from_the_longest_that_it_begins_with() -> None:
    histories = tree("a", "abc", "ax", "abcde")

    assert histories.before(chain("abcdefg")) == "abcde"
    assert histories.before(chain("abcdx")) == "abc"
    assert histories.before(chain("abx")) == "a"
    assert histories.before(chain("axb")) == "ax"
    assert histories.before(chain("xabc")) == ""


def test_a_request_does_not_go_on_from_itself() -> None:
    histories = tree("a", "abc")

    assert histories.before(chain("abc")) == "a"
    assert histories.before(chain("a")) == ""
    assert histories.before(b"") == ""


def test_what_comes_after_a_step_are_those_that_go_on_from_it_next() -> None:
    """Not those further on; and two steps of one history are as one."""
    histories = tree("a", "abc", "abd", "abcd", "x")
    histories.add("a again", chain("a"))

    assert list(histories.after("a")) == ["abc", "abd"]
    assert list(histories.after("a again")) == ["abc", "abd"]
    assert list(histories.after("abd")) == []


def test_a_tree_is_as_long_as_its_messages() -> None:
    """Not their square: each step keeps what it adds."""
    histories = Histories()
    said = ""
    for n in range(100):
        said += chr(0x100 + n)
        histories.add(str(n), b"".join(blake2b(c.encode(), digest_size=16).digest() for c in said))

    assert sum(len(node.added) for node in histories._nodes.values()) == 100 * DIGEST_BYTES


@given(st.lists(st.text("ab", max_size=6), max_size=12))
def test_a_step_has_the_history_that_it_was_added_with(said: list[str]) -> None:
    histories = Histories()
    for n, one in enumerate(said):
        histories.add(str(n), chain(one))

    assert [histories.chain(str(n)) for n in range(len(said))] == [chain(one) for one in said]
    assert all(str(n) in histories for n in range(len(said)))
    assert "x" not in histories


def test_a_turn_that_was_skipped_is_left_out_of_what_follows_it() -> None:
    """R sends mail (M) and gets its result (m); then T looks (t), then U: an agent that was not
    given M's turn has seen the rest."""
    histories = tree("r", "rMm", "rMmTt", "rMmTtUu", "rXx")

    assert histories.without("rMmTt", {"r"}) == chain("rTt")
    assert histories.without("rMmTtUu", {"r"}) == chain("rTtUu")
    assert histories.without("rMmTtUu", {"r", "rMmTt"}) == chain("rTt")
    assert histories.without("rMmTtUu", {"rMm"}) == chain("rMmUu")
    assert histories.without("r", {"r"}) is None
    assert histories.without("rMmTtUu", {"rXx"}) is None


def test_the_beginnings_of_a_history_are_what_its_steps_have_as_their_chain() -> None:
    whole = chain("abc")

    found = list(beginnings(whole))

    expected = [chain("a"), chain("ab"), chain("abc")]
    assert found == [blake2b(one, digest_size=16).digest() for one in expected]
    assert list(beginnings(b"")) == []


def test_the_longest_beginning_is_found_among_many_others() -> None:
    """Of a thousand histories that have nothing in common, and as many lengths, none is hashed
    anew for each: that took seconds."""
    histories = Histories()
    for n in range(1_000):
        histories.add(f"c{n}", b"".join([(n << 16 | at).to_bytes(16, "big") for at in range(n)]))
    mine = b"".join([(20 << 16 | at).to_bytes(16, "big") for at in range(20)])
    longer = mine + bytes(16 * 900)
    began = time.process_time()

    for _ in range(100):
        assert histories.before(longer) == "c20"

    assert time.process_time() - began < 1.0


def test_a_shortened_history_is_known_without_those_that_end_otherwise() -> None:
    histories = tree("r", "rMm", "rMmTt", "rMmTtUu")

    for call_id in ("r", "rMm", "rMmTt", "rMmTtUu"):
        for skipped in ({"r"}, {"rMm"}, {"r", "rMmTt"}, {"rMmTt"}, {"x"}):
            found = histories.without(call_id, skipped)
            for said in ("", "r", "rTt", "rTtUu", "rMmUu", "rMm"):
                is_it = histories.is_shortened(call_id, skipped, chain(said))
                assert is_it == (found == chain(said))
