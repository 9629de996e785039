"""The admin port listens at once; what serves it is loaded beside the calls."""

import asyncio
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from proxy.admin.door import listen
from tests.integration.kit import TOKEN, sidecar


def test_a_sidecar_is_ready_without_aiohttp() -> None:
    """It is a third of the time until ready."""
    program = "import sys, proxy.app, proxy.cli.serve; sys.exit('aiohttp' in sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", program], check=False)

    assert loaded.returncode == 0


async def test_all_who_come_before_it_is_served_are_answered(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as running:
        answers = await asyncio.gather(
            *[running.http.get(f"{running.admin_url}/healthz") for _ in range(20)]
        )

        assert [answer.status for answer in answers] == [200] * 20


async def test_a_port_is_free_again_when_its_sidecar_has_ended(tmp_path: Path) -> None:
    async with sidecar(tmp_path) as running:
        port = running.app.admin_port
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", port)

    listen("127.0.0.1", port).close()


async def test_a_door_is_closed_twice_as_once(tmp_path: Path) -> None:
    """A worker whose supervisor died closes it first, and then everything."""
    async with sidecar(tmp_path) as running:
        await running.app._admin.close()

    async with sidecar(tmp_path) as running:
        async with running.http.get(f"{running.admin_url}/healthz") as answer:
            assert answer.status == 200
        await running.app._admin.close()


async def test_a_door_that_cannot_be_opened_stops_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the installation was replaced under a process that runs."""
    monkeypatch.setitem(sys.modules, "proxy.admin.server", None)
    async with sidecar(tmp_path) as running:
        assert await running.app._admin._opened is None
        with pytest.raises(aiohttp.ClientConnectorError):
            await running.http.get(f"{running.admin_url}/healthz")

    assert "the admin port cannot be served" in caplog.text


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /healthz HTTP/1.1\r\nauthorization: Bearer secret\x01\r\n\r\n",
        b"GET /healthz?token=secret\x01 HTTP/1.1\r\n\r\n",
        b"POST /secret\xff HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_quoted_in_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    """It may be a token that was read with a character too many. Nor is it an error of ours."""
    caplog.set_level("INFO")
    async with sidecar(tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.app.admin_port)
        writer.write(sent)
        answer = await reader.read()
        writer.close()

    assert answer.split()[1] == b"400"
    assert "what came to the admin port is no valid HTTP, from 127.0.0.1" in caplog.text
    assert "secret" not in caplog.text
    assert {record.levelname for record in caplog.records} <= {"INFO", "WARNING"}


@pytest.mark.parametrize("path", ["import", "s1/guide"])
async def test_a_body_that_is_not_packed_as_it_says_is_a_400(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async with sidecar(tmp_path) as running:
        await running.call()
        url = f"{running.admin_url}/api/v1/sessions/{path}"
        headers = {"content-encoding": "gzip", "authorization": f"Bearer {TOKEN}"}
        async with running.http.post(url, data=b"no gzip", headers=headers) as answer:
            said = await answer.json()

        assert (answer.status, said["error"]["code"]) == (400, "invalid_request")
    assert {record.levelname for record in caplog.records} <= {"INFO", "WARNING"}
