"""A call's leave to ask, and what it learns."""

from typing import NamedTuple, Protocol

from proxy.breakers.breaker import Breaker
from proxy.clock import Clock
from proxy.core.failures import Failure


class Part(NamedTuple):
    """A breaker that let the call go, and the generation it did so in."""

    breaker: Breaker
    generation: int


class Learning(Protocol):
    """Who keeps the breakers, and is told what calls learnt of them."""

    clock: Clock

    def well(self, permit: "Permit", breaker: Breaker, *, slow: bool) -> None: ...

    def badly(self, permit: "Permit", breaker: Breaker, failure: Failure) -> None: ...

    def nothing(self, permit: "Permit") -> None: ...

    def begun(self, permit: "WatchedPermit", breaker: Breaker) -> None: ...

    def overstays(self, permit: "WatchedPermit") -> None: ...


class Permit:
    """Exactly one of its methods but `begun` and `overstays` is called, once; more calls change
    nothing.

    probe: the breaker is open, and this call tries whether it can be closed; nobody else may until
    it is told what came of it. tries: of which breakers. late: of those it has tried for too long.
    credential: a digest of the caller's own key, where that is sent; own_generation: of its
    breaker.
    """

    __slots__ = ("_breaker", "_learning", "credential", "generation")

    probe = False
    own_generation = 0
    tries: tuple[Part, ...] = ()
    late: tuple[Part, ...] = ()

    def __init__(
        self, learning: Learning, breaker: Breaker, generation: int, credential: bytes | None
    ) -> None:
        self._learning = learning
        self._breaker: Breaker | None = breaker
        self.generation = generation
        self.credential = credential

    def begun(self) -> None:
        """Content has come in time: where it tries, it has tried well, and others need not wait for
        the end, which may be minutes away. Its end counts like that of any other call."""

    def overstays(self) -> None:
        """It has taken so long that others may try as well: it may be of one who has asked for
        much, or hang. If it goes well in the end, that counts."""

    def answered(self, *, slow: bool = False) -> None:
        """It was answered, if slowly; also with what is the caller's own fault."""
        breaker = self._breaker
        if breaker is None:
            return
        self._breaker = None
        if slow or self.probe or breaker.seen is None:
            self._learning.well(self, breaker, slow=slow)
        elif breaker.generation == self.generation:
            breaker.seen.went_well(self._learning.clock.monotonic())

    def failed(self, failure: Failure) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            self._learning.badly(self, breaker, failure)

    def stalled(self) -> None:
        """A stream of it fell silent."""
        self.answered(slow=True)

    def dropped(self) -> None:
        """Nothing was learnt: the client left, or we cut it."""
        breaker, self._breaker = self._breaker, None
        if breaker is not None and self.probe:
            self._learning.nothing(self)


class WatchedPermit(Permit):
    """Of more than one closed breaker."""

    __slots__ = ("late", "own_generation", "probe", "tries")

    def __init__(
        self,
        learning: Learning,
        shared: Part,
        credential: bytes | None,
        own_generation: int,
        tries: tuple[Part, ...],
    ) -> None:
        super().__init__(learning, *shared, credential)
        self.own_generation = own_generation
        self.tries = tries
        self.late = ()
        self.probe = bool(tries)

    def begun(self) -> None:
        if self._breaker is not None and self.probe:
            self._learning.begun(self, self._breaker)

    def overstays(self) -> None:
        if self._breaker is not None:
            self._learning.overstays(self)

    def __del__(self) -> None:
        """Lost without a word, it must not keep others from trying for good."""
        self.dropped()
