"""What a call leaves behind: nothing that only the garbage collector could find."""

import gc
from pathlib import Path

import pytest

from proxy.core.request import DialectName, Request
from proxy.progress import Progress
from proxy.wire.answer import Answer
from proxy.wire.exchange import HttpExchange
from proxy.wire.handling import Handling
from tests.integration.kit import DIALECTS, sidecar

_OF_A_CALL = (Request, Progress, Answer, HttpExchange, Handling)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_call_that_has_ended_is_gone_at_once(
    tmp_path: Path, dialect: DialectName, stream: bool
) -> None:
    """In a circle it would stay, body and all, until a collection stops every stream to find it."""
    async with sidecar(tmp_path) as on:
        await on.call(dialect, stream=stream)
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                assert (await on.call(dialect, stream=stream)).status == 200
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            left = {type(one).__name__ for one in gc.garbage if isinstance(one, _OF_A_CALL)}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

        assert left == set()
