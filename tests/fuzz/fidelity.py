"""What a client got against what its provider said: nothing lost, doubled, moved or made up.

The slow way, on whole bodies, of what the pump and the meters do chunk by chunk.
"""

import re
from functools import cache

from tests.fuzz.seeds import PATHS, honest_answer, honest_events

_EVENT = re.compile(rb".*?(?:\n\n|\n\r\n?|\r\r\n?)|.+\Z", re.DOTALL)
_BORDERS = (b"\n\n", b"\n\r", b"\n\r\n", b"\r\r", b"\r\r\n")
_WHOLE = (b"\n\n", b"\n\r\n", b"\r\r\n")
_OURS = re.compile(
    rb"(?:event: response\.failed\ndata: [^\r\n]*\n\n)?"
    rb'event: error\ndata: \{"type":"error",[^\r\n]*\n\n\Z'
)
_ENDS = (
    *(b"[DONE]", b"message_stop", b"response.completed", b"response.incomplete"),
    *(b"error", b"response.failed"),
)
"""What follows one of them is not the answer any more."""
_FINISHED = re.compile(rb'"(?:finish|stop)_reason"\s*:\s*(?!null)')
_USAGE = b"usage"
_NULL = re.compile(rb'"usage"\s*:\s*null')
_ENDLESS_BYTES = 60_000
"""An event of this size comes in pieces."""


@cache
def honest_forms() -> frozenset[bytes]:
    """All that comes of an honest provider: its usage is taken out where the client did not ask."""
    forms = {b"{}", b""}
    for dialect in PATHS:
        events = honest_events(dialect)
        forms |= {honest_answer(dialect), b"".join(events)}
        forms.add(b"".join(event for event in events if b'"choices": [],' not in event))
    return frozenset(forms)


def wrong_with_stream(said: bytes, got: bytes, *, all_came: bool) -> str | None:
    """`got` is what was said, with no more left out than usage that nobody asked for, up to the
    provider's end or to where it broke off, and then a frame of ours. all_came: what was said has
    reached the sidecar, so no whole event of it may be missing before that frame."""
    frame = _OURS.search(got)
    passed = got[: frame.start()] if frame else got
    if frame and passed and not passed.endswith(_BORDERS):
        return f"a frame within an event: {passed[-300:]!r}"
    lost = _lost(said, passed)
    if lost is None and frame:  # an event that was cut is ended first
        lost = _lost(said, passed.removesuffix(b"\n\n"))
    if lost is None:
        return f"is not what was said: {passed[-300:]!r} of {said[-300:]!r}"
    if any(mark in passed for mark in _ENDS):
        return None
    if frame is None and not _FINISHED.search(passed):
        return f"ends cleanly without an end: {passed[-300:]!r}"
    if len(lost) > _ENDLESS_BYTES or not all_came:
        return None
    missing = [event for event in _EVENT.findall(lost) if _USAGE not in event]
    if frame is not None:  # what had begun was not waited for; an LF may follow a CR
        missing = [event for event in missing if event.endswith(_WHOLE)]
    return f"lost {missing[0][:200]!r}" if missing else None


def _lost(said: bytes, passed: bytes) -> bytes | None:
    """What was said after all that was passed on; None where that is something else."""
    at = came = 0
    for match in _EVENT.finditer(said):
        event, may_be_left_out = match[0], _USAGE in match[0]
        if at == len(passed):
            break
        if passed.startswith(event, at):
            at += len(event)
        elif event.startswith(rest := passed[at:]) and not (
            may_be_left_out and said.endswith(rest)
        ):
            return event[len(rest) :] + said[match.end() :]  # cut within it
        elif may_be_left_out:
            at += _shortened(event, passed, at)
        else:
            return None
        came = match.end()
    return said[came:] if at == len(passed) else None


def _shortened(event: bytes, passed: bytes, at: int) -> int:
    """The size of what was passed on of an event with usage: none, or all but what is null."""
    found = _EVENT.match(passed, at)
    got = found[0] if found else b""
    return len(got) if got != event and _without_null(got) == _without_null(event) else 0


def _without_null(event: bytes) -> bytes:
    """Commas and blanks aside, which go with it."""
    return _NULL.sub(b"", event).translate(None, b", ")
