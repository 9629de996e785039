"""How a script's turns are chosen: by what the request says, and by nothing else."""

from decimal import Decimal

from proxy.simulator.conversation import Conversation, Item, Tool, position
from proxy.simulator.script import Match, Price, Script, ToolCall, Turn, cost_micro_usd


def at(step: int, model: str = "m", user: str = "", last_tool: str = "") -> Conversation:
    return Conversation("chat", model, step=step, user=user, last_tool=last_tool)


def test_turns_are_played_by_step_and_the_last_one_stays() -> None:
    """Resent history says where a session stands; nothing is remembered."""
    script = Script((Turn("a"), Turn("b")))

    assert [script.turn(at(step)).text for step in (0, 1, 2, 9)] == ["a", "b", "b", "b"]
    assert script.turn(at(0)).text == "a"


def test_a_cycle_begins_again() -> None:
    """A→B→C→A is a drill of its own."""
    script = Script((Turn("a"), Turn("b"), Turn("c")), after="cycle")

    assert "".join(script.turn(at(step)).text for step in range(7)) == "abcabca"


def test_turns_with_the_same_match_are_one_conversation() -> None:
    """Two kinds of sessions interleave on one provider."""
    refund = Match(user="refund")
    script = Script((Turn("r0", match=refund), Turn("other"), Turn("r1", match=refund)))

    assert script.turn(at(1, user="a refund please")).text == "r1"
    assert script.turn(at(1, user="hello")).text == "other"


def test_a_turn_with_a_step_goes_before_the_sequence() -> None:
    """One step can be made to fail without writing out the others."""
    script = Script((Turn("third", step=2), Turn("else")))

    assert [script.turn(at(step)).text for step in range(4)] == ["else", "else", "third", "else"]


def test_match_looks_at_model_user_tool_and_offers() -> None:
    """Every condition has to hold."""
    match = Match(model="gpt-*", user="^Book", tool="search_*", offers="pay")
    fits = Conversation(
        "chat", "gpt-5", user="Book it", last_tool="search_flights", tools=(Tool("pay", {}),)
    )

    assert match.fits(fits)
    assert not match.fits(at(0, model="gpt-5", user="Book it", last_tool="search_flights"))
    assert not match.fits(at(0, model="claude", user="Book it", last_tool="search_flights"))


def test_no_turn_that_fits_is_said_in_words() -> None:
    """A hole in a script must not look like a fault of the proxy."""
    script = Script((Turn("x", match=Match(model="other")),))

    assert "no turn for step 3" in script.turn(at(3)).text


def test_the_step_counts_assistant_turns_since_the_last_user_message() -> None:
    """Parallel calls are one turn; a new user message begins again."""
    call = Item("assistant", calls=(("c1", "look"),))
    result = Item("tool", answers="c1")
    history = [Item("user", "old"), call, result, Item("user", "new"), call, call, result]

    found = position([*history, call, result])

    assert (found.step, found.user, found.last_tool) == (2, "new", "look")
    assert position([]).step == 0


def test_cost_is_rounded_up_and_none_where_no_price_fits() -> None:
    """USD per million tokens is micro-USD per token; None is not 0."""
    prices = {"gpt-*": Price(Decimal("1.25"), Decimal(10)), "free": Price()}

    assert cost_micro_usd(prices, "gpt-5", 3, 2) == 24  # 23.75
    assert cost_micro_usd(prices, "free", 3, 2) == 0
    assert cost_micro_usd(prices, "claude", 3, 2) is None


def test_a_tool_call_keeps_its_arguments() -> None:
    """Text arguments are sent as they stand, so that broken JSON can be asked for."""
    assert ToolCall("f", '{"broken').arguments == '{"broken'
