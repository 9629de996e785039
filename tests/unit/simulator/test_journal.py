"""The journal: bounded, exact, and without credentials."""

import pytest

from proxy.simulator.cache import PromptCache
from proxy.simulator.control import Control
from proxy.simulator.faults import FaultBoard
from proxy.simulator.journal import Journal, Totals
from tests.fakes import FakeClock


def journal(size: int = 1000, size_bytes: int = 10_000) -> Journal:
    return Journal(FakeClock(), lambda model, i, o: i + 10 * o, size, size_bytes)


def test_totals_outlive_the_entries() -> None:
    """Bounded memory must not lose money."""
    book = journal(size=2)
    for _ in range(5):
        entry = book.open("POST", "/v1/messages", (), b"{}")
        entry.input_tokens, entry.output_tokens = 3, 2
        book.close(entry)

    assert [entry.number for entry in book.entries] == [4, 5]
    assert book.totals == Totals(5, 15, 10, 115, 0)


def test_bodies_are_bounded_in_bytes() -> None:
    """Histories are resent: a thousand entries could be gigabytes."""
    book = journal(size_bytes=100)
    for _ in range(3):
        book.open("POST", "/", (), b"x" * 60)

    assert [entry.number for entry in book.entries] == [3]


def test_running_requests_count_and_survive_clearing() -> None:
    """A stream under way is billed as it goes."""
    book = journal()
    entry = book.open("POST", "/", (), b"")
    entry.output_tokens = 4
    book.clear()

    assert book.totals.output_tokens == 4
    assert book.entries == (entry,)


def test_credentials_are_shown_as_hashes_only() -> None:
    """The journal is served over HTTP."""
    book = journal()
    headers = (("Authorization", "Bearer sk-secret"), ("X-Api-Key", "sk-secret"), ("a", "b"))
    shown = book.open("POST", "/", headers, b"\xff").shown()

    assert "secret" not in str(shown)
    assert isinstance(shown["headers"], dict)
    assert shown["headers"]["a"] == "b"


async def test_waiting_ends_with_the_event_or_with_the_time() -> None:
    """Tests wait for conditions, and never for ever."""
    book = journal()
    with pytest.raises(TimeoutError):
        await book.wait_for(lambda: False, 0.01)
    book.open("GET", "/", (), b"")

    await book.wait_for(lambda: len(book.entries) == 1, 1)


def test_control_tells_what_it_does_not_understand() -> None:
    """A drill that sets a fault in vain would pass for the wrong reason."""
    control = Control(journal(), FaultBoard())

    def post(body: bytes) -> tuple[int, object]:
        return control.answer("POST", "/__sim/faults", {}, body)

    assert post(b'{"fault": "status=503", "times": 2, "model": "gpt-*"}')[0] == 200
    assert post(b'{"faults": [{"name": "reset"}]}')[0] == 200
    for body in (b"{", b"{}", b'{"fault": "nope"}', b'{"falt": "reset"}', b'{"fault": 3}'):
        assert post(body)[0] == 400
    assert post(b'{"fault": "reset", "times": 0}')[0] == 400
    assert control.answer("GET", "/__sim/journal", {"limit": "x"}, b"")[0] == 400
    assert control.answer("GET", "/__sim/other", {}, b"")[0] == 404


def test_the_cache_knows_a_prefix_only_when_it_was_seen_and_is_long_enough() -> None:
    """Honest: nothing is cached that was not sent before to the same model."""
    cache = PromptCache(minimum_tokens=10)

    assert cache.read("m", ["a", "b"], [8, 8]) == 0
    assert cache.read("m", ["a", "b", "c"], [8, 8, 8]) == 16
    assert cache.read("m", ["a", "x"], [8, 8]) == 0
    assert cache.read("other", ["a", "b"], [8, 8]) == 0
