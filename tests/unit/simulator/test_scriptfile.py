"""Scripts from files: what is wrong is told at once, with place and what is allowed."""

import pytest

from proxy.simulator.faults import FaultKind
from proxy.simulator.scriptfile import ScriptError, parse_script

FULL = """
after: cycle
prices: {"gpt-*": {input: 1.25, output: 10}}
turns:
  - tool_calls: [{name: get_weather, arguments: {city: Bern, days: 3}}]
    reasoning: hm
    match: {model: "gpt-*", user: weather}
  - text: "12:30:45"
    chunk_gap_seconds: 0.01
    chunk_tokens: 4
    latency_seconds: 1
    finish: length
    usage: {input_tokens: 7}
    fault: "status=503;times=2"
  - {text: no, step: 2, usage: omit, faults: [{name: cut_events, arg: 3, how: reset}, slow_head=1]}
"""


def test_every_key_of_a_script_is_read() -> None:
    """The file says the same as the Python value."""
    script = parse_script(FULL)
    call, text, last = script.turns

    assert script.after == "cycle"
    assert call.tool_calls[0].arguments == {"city": "Bern", "days": 3}
    assert call.match.model == "gpt-*"
    assert (text.text, text.chunk_tokens, text.finish) == ("12:30:45", 4, "length")
    assert (text.faults[0].kind, text.faults[0].at, text.faults[0].times) == (
        FaultKind.STATUS,
        503,
        2,
    )
    assert (last.text, last.step, last.usage.omit) == ("no", 2, True)
    assert [fault.kind for fault in last.faults] == [FaultKind.CUT_EVENTS, FaultKind.SLOW_HEAD]
    assert script.prices is not None


def test_json_is_read_as_well() -> None:
    """Generated scripts are JSON."""
    assert parse_script('{"turns": [{"text": "hi"}]}').turns[0].text == "hi"


def test_every_problem_is_told_at_once_with_its_place() -> None:
    """One run shows all that has to be repaired."""
    text = (
        "after: never\nturns:\n  - txt: hi\n    chunk_tokens: 0\n    fault: explode\n"
        "    match: {user: '('}\n  - tool_calls: [{arguments: 3}]\n    text: 5\n"
        "extra: 1\nextra: 2\n"
    )

    with pytest.raises(ScriptError) as caught:
        parse_script(text, "s.yaml")

    told = str(caught.value)
    assert told.startswith("s.yaml:1:1: after: cannot be 'never' (allowed: last, cycle)")
    assert "s.yaml:3:5: turns.0.txt: unknown key (allowed: text, reasoning," in told
    assert "s.yaml:4:5: turns.0.chunk_tokens: must be a whole number from 1, got 0" in told
    assert "s.yaml:5:5: turns.0.fault: unknown fault 'explode' (allowed: status," in told
    assert "s.yaml:6:13: turns.0.match.user: is no regular expression" in told
    assert "s.yaml:7:18: turns.1.tool_calls.0: needs a name" in told
    assert "turns.1.text: must be a text, got 5" in told
    assert "s.yaml:10:1: extra: unknown key (allowed: turns, after, prices)" in told
    assert "s.yaml:10:1: extra: stands here twice" in told


@pytest.mark.parametrize("text", ["", "[]", "turns: []", "turns: 3", "turns: [x]", "prices: 1"])
def test_what_is_no_script_is_refused(text: str) -> None:
    """An empty script would answer nothing."""
    with pytest.raises(ScriptError):
        parse_script(text)


def test_broken_yaml_is_told_with_its_line() -> None:
    """The parser's own mark is passed on."""
    with pytest.raises(ScriptError, match=r"s\.yaml:2:\d+: neither YAML nor JSON"):
        parse_script("turns:\n  - {text: ]", "s.yaml")
