"""The client of the fuzzers: plays a case, and says what is wrong with what came back."""

import asyncio
import json
from collections import Counter
from contextlib import suppress

from tests.fakes_wire import Answer, End, RawClient
from tests.fuzz.cases import Case, Leave
from tests.fuzz.fidelity import honest_forms, wrong_with_stream

_LIMIT_BYTES = 4_194_304
_PATIENT_SECONDS = 0.4
_HANG_SECONDS = 15.0
_UPSTREAM_CODES = frozenset({502, 503, 504})
_ENDS = (
    b"[DONE]",
    b"message_stop",
    b"response.completed",
    b"finish_reason",
    b"response.incomplete",
)
_FAILED = (b'"error"', b"response.failed", b"event: error")


class Client:
    """Plays one case after another, on a kept connection where the last case left one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._kept: RawClient | None = None
        self.statuses: Counter[str] = Counter()
        self.faults: list[str] = []

    async def play(self, case: Case) -> None:
        """One case; what is wrong is added to `faults`."""
        try:
            async with asyncio.timeout(_HANG_SECONDS):
                await self._play(case)
        except TimeoutError:
            self._fault(case, "hangs")
            self.close()

    def close(self) -> None:
        """Leaves."""
        if self._kept is not None:
            self._kept.writer.transport.abort()
            self._kept = None

    async def _play(self, case: Case) -> None:
        kept, self._kept = self._kept, None
        if case.leave is Leave.WAIT and kept is not None:
            if await self._wait(case, kept):
                return
        elif kept is not None:
            kept.writer.transport.abort()
        connection = await self._connect()
        try:
            if case.leave is Leave.WAIT:
                if not await self._wait(case, connection):
                    self._fault(case, "closed without an answer")
            else:
                await self._leave(case, connection)
        finally:
            if connection is not self._kept:
                connection.writer.transport.abort()

    async def _connect(self) -> RawClient:
        opened = await asyncio.open_connection("127.0.0.1", self._port, limit=_LIMIT_BYTES)
        return RawClient(*opened)

    async def _wait(self, case: Case, on: RawClient) -> bool:
        """Sends, and reads one answer. False: the connection was closed before a byte of it."""
        try:
            await on.send(case.raw)
            answer = await self._answer(case, on)
        except ConnectionError:
            answer = None
        if answer is None:
            on.writer.transport.abort()
            return False
        if answer.whole and answer.header("connection") != "close" and not on.reader.at_eof():
            self._kept = on
        else:
            on.writer.transport.abort()
        return True

    async def _leave(self, case: Case, on: RawClient) -> None:
        with suppress(ConnectionError):
            await on.send(case.raw)
            if case.leave is Leave.RESET:
                on.close(End.RESET)
                self.statuses["left"] += 1
                return
            first = asyncio.ensure_future(self._answer(case, on))
            if case.leave is Leave.DRAIN:
                await asyncio.wait((first,), timeout=_PATIENT_SECONDS)
            with suppress(OSError):
                on.writer.write_eof()
            answer = await first
            while answer is not None:
                answer = await self._answer(case, on)

    async def _answer(self, case: Case, on: RawClient) -> Answer | None:
        """The next final answer, judged; None at the end of the connection."""
        answer = None
        while answer is None or answer.status < 200:
            try:
                answer = await on.read_answer(head_only=case.raw.startswith(b"HEAD "))
                if case.raw.startswith(b"HEAD ") and answer.status >= 400:
                    await on.read_to_end()  # a line that could not be read may ask for a body
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    self._fault(case, f"half a head: {end.partial[:200]!r}")
                return None
            except (ValueError, IndexError, asyncio.LimitOverrunError) as error:
                self._fault(case, f"not HTTP: {error!r}")
                return None
        self.statuses[str(answer.status)] += 1
        if (wrong := wrong_with(case, answer)) is not None:
            self._fault(case, wrong)
        return answer

    def _fault(self, case: Case, what: str) -> None:
        self.statuses["FAULT"] += 1
        self.faults.append(
            f"case {case.number} ({case.leave.name}): {what}\n    {case.raw[:300]!r}"
        )


def wrong_with(case: Case, answer: Answer) -> str | None:
    """None if it is an answer that a client of this path can use."""
    theirs = answer.header("x-up") is not None
    if not answer.whole:
        left = case.leave is not Leave.WAIT
        return None if left else f"cut: {answer.head!r} {answer.body[-200:]!r}"
    if 200 <= answer.status < 400:
        return _wrong_end(case, answer) or (_unlike(case, answer) if theirs else None)
    if theirs:
        return None
    if answer.status >= 500 and not _may_fail(case, answer.status):
        return f"a {answer.status} of ours: {answer.body[:300]!r}"
    return None if case.raw.startswith(b"HEAD ") else _wrong_refusal(case, answer)


def _unlike(case: Case, answer: Answer) -> str | None:
    """Where the provider's words have changed on their way."""
    if case.plan is None and not case.raw.startswith(b"HEAD "):
        honest = answer.body in honest_forms()
        return None if honest else f"is not what an honest provider said: {answer.body[:300]!r}"
    if case.said is None or "text/event-stream" not in (answer.header("content-type") or ""):
        return None
    return wrong_with_stream(case.said, answer.body, all_came=case.all_came)


def _may_fail(case: Case, status: int) -> bool:
    """505: the version was at fault."""
    return status == 505 or (status in _UPSTREAM_CODES and case.plan is not None)


def _wrong_refusal(case: Case, answer: Answer) -> str | None:
    try:
        told = json.loads(answer.body)
        error = told["error"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.status} is no JSON error: {answer.body[:300]!r}"
    if not (error.get("message") and error.get("type") and error.get("code")):
        return f"{answer.status} says nothing: {told}"
    anthropic = told.get("type") == "error" and "request_id" in told
    if case.dialect is not None and anthropic != (case.dialect == "messages"):
        return f"{answer.status} not in the dialect: {told}"
    if (answer.status != 429) != (answer.header("x-should-retry") == "false"):
        return f"{answer.status} invites a retry: {answer.head!r}"
    return None


def _wrong_end(case: Case, answer: Answer) -> str | None:
    """A stream has an end of the provider's or of ours; an answer is not half a document."""
    if case.dialect is None or case.ends:
        return None
    if "text/event-stream" in (answer.header("content-type") or ""):
        ended = any(mark in answer.body for mark in (*_ENDS, *_FAILED))
        return None if ended else f"ends cleanly without an end: {answer.body[-300:]!r}"
    return f"a whole {answer.status} of half an answer: {answer.body[:300]!r}"
