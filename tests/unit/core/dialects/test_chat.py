"""The chat dialect's face: refusals, error frames, and an answer of our own."""

import json

import pytest

from proxy.core.decision import Refusal
from proxy.core.dialects.base import Bounds, Dialect
from proxy.core.dialects.chat import CHAT
from proxy.core.dialects.chat_meter import read_answer
from proxy.core.dialects.completions import COMPLETIONS
from proxy.core.dialects.embeddings import EMBEDDINGS
from proxy.core.dialects.render import error_frame, openai_error
from proxy.core.request import Request
from proxy.core.usage import Answer, Usage

REFUSAL = Refusal(422, "session_killed", "session_state", "Session s1 was killed.")


def request(**fields: object) -> Request:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return CHAT.parse(json.dumps(body).encode(), Bounds())


@pytest.mark.parametrize("dialect", [CHAT, COMPLETIONS, EMBEDDINGS])
def test_all_of_the_family_refuse_alike(dialect: Dialect) -> None:
    """One SDK reads them all."""
    assert dialect.render_refusal(REFUSAL, "req_1") == openai_error(REFUSAL)
    assert dialect.error_frames(REFUSAL, "req_1", client="x") == error_frame(REFUSAL)


def test_a_text_of_ours_is_a_finished_answer() -> None:
    """Agents end gracefully on it: it must read as any other answer, at no cost."""
    rendered = CHAT.render_text("I need manual help.", request(), "chatcmpl-1", 7)

    found = CHAT.read_answer(rendered)
    assert found.answer == Answer("I need manual help.", (), "chatcmpl-1", "stop")
    assert (found.usage, found.malformed) == (Usage(), None)
    head = json.loads(rendered)
    assert (head["object"], head["created"], head["model"]) == ("chat.completion", 7, "m")


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_text_of_ours_streams_like_any_other(include_usage: bool) -> None:
    """Role, content, finish, and usage only where the client asked; then the provider's own end."""
    asked = request(stream=True, stream_options={"include_usage": include_usage})
    meter = CHAT.meter(strip_usage=False, bounds=Bounds())
    raw = CHAT.stream_text("Help.", asked, "chatcmpl-1", 7)

    meter.feed(raw)

    assert meter.answer() == Answer("Help.", (), "chatcmpl-1", "stop")
    assert (meter.ended, meter.finish_seen, meter.malformed) == (True, True, 0)
    assert meter.usage == (Usage() if include_usage else None)
    assert b"chat.completion.chunk" in raw


def test_parse_and_read_answer_are_the_dialect_s() -> None:
    """The face passes on what its parts do."""
    assert CHAT.read_answer(b"") == read_answer(b"")
    assert request().dialect == CHAT.name
