"""What a stream's end says of its provider."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.attempting.opened import PATIENT_SECONDS, Begun
from proxy.breakers.permits import Permit
from proxy.clock import SystemClock
from proxy.core.dialects.base import Bounds
from proxy.errors import UpstreamUnavailable
from proxy.pump import Pump
from proxy.replies import dialect_of

CONTENT = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
ERROR = b'data: {"error":{"message":"No.","type":"%b"}}\n\n'


class Stream:
    """An upstream's answer in which `pieces` come, and then an error or the end."""

    status = 200
    headers = ()

    def __init__(self, pieces: tuple[bytes, ...], kind: Any = "") -> None:
        self._pieces = pieces
        self._kind = kind

    async def pass_on(self, take: Callable[[bytes], bool]) -> bool:
        for piece in self._pieces:
            take(piece)
        if self._kind:
            raise UpstreamUnavailable("It ended.", kind=self._kind)
        return False

    def close(self) -> None:
        """Nothing is open."""


class Told(Permit):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def answered(self, *, slow: bool = False) -> None:
        self.told.append("slow" if slow else "answered")

    def failed(self, failure: Any) -> None:
        self.told.append(failure.reason)

    def dropped(self) -> None:
        self.told.append("dropped")


async def told(*pieces: bytes, kind: Any = "", waited: float = 0.0) -> list[str]:
    meter = dialect_of("chat").meter(strip_usage=False, bounds=Bounds(64, 65_536))
    meter.feed(CONTENT)
    begun = Begun(Stream(pieces, kind), meter, CONTENT, CONTENT)  # type: ignore[arg-type]
    begun.permit = permit = Told()
    begun.waited = waited

    def take(piece: bytes) -> bool:
        meter.feed(piece)
        if meter.failed is not None:
            begun.told = piece
        return True

    try:
        await begun.pass_on(take)
    except UpstreamUnavailable:
        assert kind
    begun.close()
    begun.close()
    return permit.told


@pytest.mark.parametrize(
    ("kind", "says"), [("reset", "reset"), ("timeout", "slow"), ("", "truncated")]
)
async def test_who_hangs_up_on_a_slow_reader_is_not_blamed(kind: str, says: str) -> None:
    assert await told(kind=kind) == [says]
    assert await told(kind=kind, waited=PATIENT_SECONDS / 2) == [says]
    assert await told(kind=kind, waited=PATIENT_SECONDS) == ["dropped"]


async def test_an_error_that_is_the_callers_own_fault_is_an_answer() -> None:
    assert await told(ERROR % b"invalid_prompt") == ["answered"]
    assert await told(ERROR % b"content_policy_violation") == ["answered"]
    assert await told(ERROR % b"server_error") == ["error"]


async def test_an_end_that_came_before_the_connection_broke_is_one() -> None:
    assert await told(b"data: [DONE]\n\n", kind="reset", waited=PATIENT_SECONDS) == ["answered"]


class Reader:
    """A client that takes its time."""

    async def drained(self) -> None:
        await SystemClock().sleep(0.02)


async def test_how_long_its_client_keeps_it_waiting_is_added_up() -> None:
    meter = dialect_of("chat").meter(strip_usage=False, bounds=Bounds(64, 65_536))
    begun = Begun(Stream(()), meter, CONTENT, CONTENT)  # type: ignore[arg-type]
    pump = Pump(Reader(), SimpleNamespace(capture=None), meter, begun)  # type: ignore[arg-type]
    await pump._drained()
    await pump._drained()

    assert begun.waited >= 0.04
