"""pybreaker as the state machine of a breaker, and as nothing else of it.

Its `call` counts nothing of what is awaited, takes a cancelled call for a failure, lets everybody
in while half-open and reads the wall clock; so calls never pass through it. It is told when to turn
and refuses, by its own rules, what is no turn.
"""

from datetime import datetime
from typing import Final

import pybreaker

_NEVER: Final = 2**31


class Machine:
    """Closed at first. One call tries at a time: `try_one`, then exactly one of the others."""

    __slots__ = ("_circuit",)

    def __init__(self) -> None:
        self._circuit = pybreaker.CircuitBreaker(
            fail_max=_NEVER, state_storage=_Storage(), throw_new_error_on_trip=False
        )

    @property
    def is_trying(self) -> bool:
        return bool(self._circuit.current_state == pybreaker.STATE_HALF_OPEN)

    @property
    def is_closed(self) -> bool:
        return bool(self._circuit.current_state == pybreaker.STATE_CLOSED)

    def try_one(self) -> None:
        """From open to half-open."""
        self._circuit.half_open()

    def went_well(self) -> None:
        """The call that tried did: half-open becomes closed; anything else stays as it is."""
        self._circuit.state.on_success()

    def open(self) -> None:
        self._circuit.open()

    def close(self) -> None:
        self._circuit.close()


class _Storage(pybreaker.CircuitBreakerStorage):
    """Only the state: what opens a breaker is counted elsewhere, and by another clock."""

    def __init__(self) -> None:
        super().__init__("holdfast")
        self._state: str = pybreaker.STATE_CLOSED
        self._successes = 0

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        self._state = state

    @property
    def counter(self) -> int:
        return 0

    @property
    def success_counter(self) -> int:
        return self._successes

    def increment_success_counter(self) -> None:
        self._successes += 1

    def reset_success_counter(self) -> None:
        self._successes = 0

    @property
    def opened_at(self) -> datetime | None:
        return None

    @opened_at.setter
    def opened_at(self, now: datetime) -> None:
        """The wall clock, which may jump: not kept."""
