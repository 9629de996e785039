"""What kind of result a tool gave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.loops.normal import normal_text
from proxy.core.loops.outcome import outcome_of
from proxy.core.loops.rounds import Flag


def kind(text: str, *, is_error: bool = False) -> int:
    return outcome_of(text, normal_text(text), is_error=is_error)


@pytest.mark.parametrize(
    "text",
    [
        *("", " \n", "[]", "{}", "null", "None", '""', "[[]]"),
        *("No results found.", "no matches", "0 results", "No files found for '*.py'"),
        *("There were no matching records", "Nothing found."),
        *('{"results": []}', '{"items": [], "total": 0}', '{"success": true, "data": []}'),
        *('{"query": "a", "matches": null, "count": 0}', '{"output": ""}'),
    ],
)
def test_nothing_came_back(text: str) -> None:
    assert kind(text) == Flag.EMPTY


@pytest.mark.parametrize(
    "text",
    [
        *("0", "false", "ok", "no", '{"results": [], "hint": "b"}', '{"status": "ok", "data": {}}'),
        *('{"returncode": 0, "output": ""}', "No results yet, but a page of text on them " * 3),
        *("nothing", '{"a": {}}', '{"results": [0]}'),
    ],
)  # fmt: skip
def test_what_may_say_something_is_not_nothing(text: str) -> None:
    assert not kind(text) & Flag.EMPTY


@pytest.mark.parametrize(
    "text",
    [
        *("Error: no such file", "ERROR 404", "error", "[Error] x", "fatal: not a repository"),
        *("Traceback (most recent call last):\n  File", "ValueError: bad", "urllib.HTTPError: 5"),
        *("<tool_use_error>x</tool_use_error>", "Failed to fetch", "Error executing tool x"),
        *('{"error": "not found"}', '{"success": false}', '{"ok":false}', '{"status":"error"}'),
        *('{"errors": [{"m": "x"}]}', '{"isError": true}'),
    ],
)  # fmt: skip
def test_an_error_came_back(text: str) -> None:
    assert kind(text) == Flag.ERROR


@pytest.mark.parametrize(
    "text",
    [
        *("Errors are explained in chapter 3", "No error occurred", "the failed build was fixed"),
        *('{"error": null, "rows": [1]}', '{"errors": [], "n": 3}', '{"error": false, "v": "x y"}'),
        *('{"status": "active"}', "[1, 2]", "1 failed, 2 passed", '{"exit_code": 1, "out": "x"}'),
        '{"page": "x", "body": "' + "long " * 1_000 + '", "error": "y"}',
    ],
)  # fmt: skip
def test_what_may_be_no_error_is_none(text: str) -> None:
    """An error counted that is none is worse than one missed."""
    assert not kind(text) & Flag.ERROR


def test_what_the_client_calls_an_error_is_one_whatever_it_says() -> None:
    assert kind("all is well, here is your page of text", is_error=True) == Flag.ERROR
    assert kind("", is_error=True) == Flag.ERROR | Flag.EMPTY


@pytest.mark.parametrize(
    "text",
    [
        *("ok", "true", "42", "-1.5", '{"in_stock": true}', "Deleted.", "File written"),
        *("2b1d6a52-9f4e-4c0a-8d3e-0123456789ab", "(no output)", "HTTP 204", "exited with code 0"),
    ],
)
def test_a_nod_is_brief(text: str) -> None:
    """Many different calls get the same one rightly."""
    assert kind(text) == Flag.BRIEF


@pytest.mark.parametrize(
    "text", ["nothing new", "Sorry, the page that you want is not here. " * 3, "a page of words"]
)
def test_what_says_more_is_not(text: str) -> None:
    assert kind(text) == Flag.NONE


@given(st.text() | st.text().map(lambda text: "{" + text), st.booleans())
def test_any_text_has_a_kind(text: str, is_error: bool) -> None:
    flags = kind(text, is_error=is_error)

    assert bool(flags & Flag.ERROR) or not is_error
    assert flags & ~(Flag.EMPTY | Flag.ERROR | Flag.BRIEF) == 0
