"""Which history a request goes on with whose history the provider keeps: it shows no calls."""

from proxy.core.loops.matching import thread_of
from proxy.core.loops.normal import text_digest
from proxy.core.loops.policy import Loops
from proxy.core.loops.thread import Thread
from proxy.core.loops.turns import Result, Tail, asked_by, id_digest
from proxy.core.usage import Answer, ToolCall

LOOPS = Loops()


def waits(*call_ids: str, text: str = "") -> Thread:
    """A thread whose newest answer asked for these calls, or said this."""
    calls = tuple([ToolCall(call_id, "fetch", "{}") for call_id in call_ids])
    return Thread(pending=asked_by(Answer(text, calls), LOOPS))


def kept(*call_ids: str) -> Tail:
    """A request that brings results alone."""
    results = [Result(id_digest(call_id), b"404-----", 0) for call_id in call_ids]
    return Tail(results=tuple(results), continues=True)


def test_the_thread_is_the_one_that_waits_for_these_ids() -> None:
    threads = {"": waits("a"), "~2": waits("b")}

    for call_id, name in (("a", ""), ("b", "~2")):
        found = thread_of(threads, kept(call_id), LOOPS)
        assert found is not None
        assert (found[0], found[2]) == (name, True)


def test_ids_that_a_gateway_renamed_are_those_of_the_one_thread_that_waits_for_as_many() -> None:
    threads = {"": waits("a"), "~2": waits("b", "c")}

    found = thread_of(threads, kept("other 1", "other 2"), LOOPS)

    assert found is not None
    assert found[0] == "~2"


def test_of_two_that_wait_for_as_many_it_is_neither() -> None:
    assert thread_of({"": waits("a"), "~2": waits("b")}, kept("other"), LOOPS) is None


def test_a_thread_that_waits_with_a_text_waits_for_no_result() -> None:
    assert thread_of({"": waits(text="Done.")}, kept("other"), LOOPS) is None


def test_results_of_unknown_calls_in_a_history_that_is_sent_are_of_no_thread() -> None:
    """Its beginning was cut off, and with it what was called: by number alone would be a guess."""
    cut = Tail(results=kept("other").results)

    assert thread_of({"": waits("a")}, cut, LOOPS) is None


def test_of_two_that_wait_with_a_text_it_is_the_one_that_is_shown() -> None:
    threads = {"": waits(text="One."), "~2": waits(text="Two.")}

    found = thread_of(threads, Tail(said=text_digest("One.")), LOOPS)

    assert found is not None
    assert found[0] == ""


def test_where_none_is_shown_it_is_neither_of_two() -> None:
    threads = {"": waits(text="One."), "~2": waits(text="Two.")}

    assert thread_of(threads, Tail(continues=True), LOOPS) is None
