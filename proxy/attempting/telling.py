"""What a client is told of a call that no target has served."""

import math
from collections import Counter

from proxy.attempting.choosing import name_of, shut_in_words
from proxy.attempting.opened import Refused
from proxy.attempting.sending import Failed
from proxy.breakers.breaker import Shut
from proxy.core.failures import Failure
from proxy.core.provider_errors import read_error
from proxy.core.routing import Candidate
from proxy.errors import UpstreamUnavailable
from proxy.wire import Headers

_OF_A_GATEWAY = (502, 503, 504)
_RETRIED = (408, 409, 429)
"""Statuses that SDKs send again, beside those from 500 on."""
_SHORT_SECONDS = 60.0
"""SDKs wait as long as they are told; for longer than this nobody wants them to."""
_WHY = {"slow": "slow_first_token", "timeout": "timeout", "rate_limited": "rate_limited"}


class Told:
    """What became of each target of one call, the last word on it."""

    def __init__(self) -> None:
        self._words: dict[str, str] = {}
        self._times = Counter[str]()
        self._seconds = math.inf

    def failed(self, candidate: Candidate, failure: Failure) -> None:
        name, said = name_of(candidate), failure.message.rstrip(".")
        self._times[name] += 1
        if (times := self._times[name]) > 1:
            self._words[name] = f" failed {times} times, and last {_last(said, failure)}"
        else:
            self._words[name] = f" {said}" if failure.status else f" failed: {said}"

    def shut(self, candidate: Candidate, shut: Shut) -> None:
        self._seconds = min(self._seconds, shut.seconds)
        self._words.setdefault(name_of(candidate), f" {shut_in_words(shut)}")

    def not_asked(self, candidate: Candidate, why: str) -> None:
        self._words.setdefault(name_of(candidate), f": {why}")

    def error(self) -> UpstreamUnavailable:
        """All of it, in a sentence."""
        said = "; ".join([f"{name}{words}" for name, words in self._words.items()])
        when = "" if math.isinf(self._seconds) else f" The next try is in {self._seconds:.0f} s."
        seconds = None if math.isinf(self._seconds) else round(self._seconds, 3)
        message = f"No upstream could serve this call: {said}.{when}"
        return UpstreamUnavailable(message, "error", next_try_seconds=seconds)


def _last(said: str, failure: Failure) -> str:
    return said if failure.status else f"so: {said}"


def own_error(came: Failed) -> UpstreamUnavailable:
    """Of the only target there is."""
    failure = came.failure
    status = failure.status or came.status
    if status >= 500 and status not in _OF_A_GATEWAY:
        status = 502  # else it would be a fault of ours
    return UpstreamUnavailable(failure.message, "error", failure.sent, came.code, status)


def own_words(came: Failed, *, retried: bool) -> Refused | None:
    """The provider's error, if its client can read it: no page of a server in between. retried: by
    us, so that its client need not."""
    answer = came.answer
    if answer is None or not _is_readable(answer.body):
        return None
    if retried:
        answer.headers = _not_again(answer, came.failure)
    return answer


def why_elsewhere(came: Failed | Shut) -> str:
    """Why another target is asked, as metrics count it."""
    if isinstance(came, Shut):
        return "breaker_open"
    return _WHY.get(came.failure.reason, "error")


def _is_readable(body: bytes) -> bool:
    return read_error(body).is_json or not (body.isspace() or body.lstrip()[:1] in (b"", b"<"))


def _not_again(refused: Refused, failure: Failure) -> Headers:
    """With the word that it is not to be sent again, unless it says itself when."""
    if refused.status not in _RETRIED and refused.status < 500:
        return refused.headers
    reset = failure.reset_seconds
    told = any(name.lower() == "retry-after" for name, _ in refused.headers)
    own = any(name.lower() == "x-should-retry" for name, _ in refused.headers)
    if own or (told and reset is not None and reset <= _SHORT_SECONDS):
        return refused.headers
    return (*refused.headers, ("x-should-retry", "false"))
