"""Breakers on a clock and by a chance that a test sets."""

from dataclasses import dataclass, field

from proxy.breakers.breaker import Breaker
from proxy.breakers.keeping import Keeper
from proxy.breakers.permits import Permit
from proxy.breakers.registry import Breakers
from proxy.breakers.telling import Alone
from proxy.core.breaking import Standing
from proxy.core.failing import BreakerPolicy
from proxy.core.failures import Failure, Reason
from proxy.core.policy import Policy, Upstream
from proxy.core.routing import Candidate
from tests.fakes import FakeClock, FakePlaces

OPENAI = Upstream("openai", "https://api.openai.com/v1")
LOCAL = Upstream("local", "http://127.0.0.1:11434/v1", api_key="key")


@dataclass
class Source:
    """A policy that can be changed."""

    current: Policy


@dataclass
class Kit:
    """chance: what a wait is shortened by, as a share of the jitter. turns: what was noticed."""

    rules: BreakerPolicy = BreakerPolicy()  # noqa: RUF009 - frozen
    places: FakePlaces | None = None
    telling: object = field(default_factory=Alone)
    clock: FakeClock = field(default_factory=FakeClock)
    chance: float = 0.0
    most: int = 4_096
    turns: list[tuple[str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.policy = Source(Policy({}, (), breakers=self.rules))
        self.keeper = Keeper(
            self.policy,
            self.clock,
            lambda: self.chance,
            self.telling,  # type: ignore[arg-type] # of any worker
            self.places,  # type: ignore[arg-type] # stands in for the real ones
            self._notice,
            self.most,
        )
        self.breakers = Breakers(self.keeper)

    def _notice(self, breaker: Breaker, was: Standing) -> None:
        self.turns.append((breaker.key.model, breaker.is_open))

    def permit(self, to: Candidate | None = None, credential: bytes | None = None) -> Permit:
        given = self.breakers.acquire(to or candidate(), credential)
        assert isinstance(given, Permit), given
        return given

    def fail(self, reason: Reason = "error", times: int = 1, reset: float | None = None) -> None:
        for _ in range(times):
            self.permit().failed(failure(reason, reset))

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            self.permit().answered()

    def open(self) -> None:
        self.fail(times=self.rules.consecutive_failures)


def candidate(
    model: str = "gpt-5", upstream: Upstream = OPENAI, *, named: bool = True
) -> Candidate:
    return Candidate(0, upstream, model, "chat", named)


def failure(reason: Reason = "error", reset: float | None = None) -> Failure:
    return Failure(reason, "It failed.", reset_seconds=reset)
