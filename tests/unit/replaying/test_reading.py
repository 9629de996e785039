"""What is read again of recorded answers."""

import threading
from dataclasses import dataclass

import pytest

from proxy.core.contents import RecordedAnswer
from proxy.core.dialects.base import Bounds
from proxy.core.dialects.registry import DIALECTS
from proxy.core.redelivery.redelivered import redelivered
from proxy.core.steps import RecordedStep
from proxy.replaying import reading

STEP = RecordedStep(1, "c1", "chat", "m", "openai", True, b"", b"", b"", 1, 1.0)
_ASKED = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
_CHUNK = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
_END = b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


@dataclass
class Threads:
    """Where answers were told in another form."""

    names: list[int]

    def told(self, *asked: object, **more: object) -> RecordedAnswer | None:
        self.names.append(threading.get_ident())
        return redelivered(*asked, **more)  # type: ignore[arg-type]  # as they came


@pytest.mark.parametrize(("chunks", "at_once"), [(10, True), (2_000, False)])
async def test_a_long_answer_is_told_in_another_form_beside_the_loop(
    monkeypatch: pytest.MonkeyPatch, chunks: int, at_once: bool
) -> None:
    """One of 160,000 chunks takes seconds, for which nobody else would be served."""
    threads = Threads([])
    monkeypatch.setattr(reading, "redelivered", threads.told)
    given = RecordedAnswer(200, (), _CHUNK * chunks + _END, True)
    request = DIALECTS["chat"].parse(_ASKED, Bounds())

    other = await reading.in_form(given, STEP, request)

    assert other.body.count(b"word") == chunks
    assert [name == threading.get_ident() for name in threads.names] == [at_once]
