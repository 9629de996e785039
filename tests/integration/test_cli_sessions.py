"""`holdfast sessions` against a running sidecar: what a human at a shell sees and does."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.cli.main import main
from proxy.core.session import SessionKey
from tests.integration.kit import TOKEN, Sidecar, sidecar


class Shell:
    """A shell beside a sidecar."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._environment, self._captured = monkeypatch, capsys

    def beside(self, on: Sidecar, token: str | None = TOKEN) -> None:
        """The variables that the sidecar's own container would have."""
        self._environment.setenv("HOLDFAST_ADMIN_URL", on.admin_url)
        if token is None:
            self._environment.delenv("HOLDFAST_ADMIN_TOKEN", raising=False)
        else:
            self._environment.setenv("HOLDFAST_ADMIN_TOKEN", token)

    async def run(self, *arguments: str) -> tuple[int, str]:
        """The exit code and all that was printed."""
        code = await asyncio.to_thread(main, ["sessions", *arguments])
        captured = self._captured.readouterr()
        return code, captured.out + captured.err


def modes_of_tokens(folder: Path) -> list[int]:
    return [token.stat().st_mode & 0o777 for token in folder.glob("*.admin-token")]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


async def test_list_and_show_are_tables_for_humans(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call(session="s1", headers={"x-holdfast-agent": "triage"})
        await on.call(session="s2")

        code, listed = await shell.run("list")
        assert code == 0
        heads, *rows = listed.splitlines()
        assert heads.split()[:4] == ["session", "agent", "state", "steps"]
        assert [row.split()[:4] for row in rows] == [
            ["s2", "-", "active", "1"],
            ["s1", "triage", "active", "1"],
        ]
        code, shown = await shell.run("show", "s1")
        lines = dict(line.split(maxsplit=1) for line in shown.splitlines())
        assert (code, lines["agent"], lines["steps"]) == (0, "triage", "1")
        assert "steps=150" in lines["limits"]


async def test_list_narrows_by_state_and_agent(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call(session="s1", headers={"x-holdfast-agent": "triage"})
        await on.call(session="s2")
        await shell.run("pause", "s2")

        _, paused = await shell.run("list", "--state", "paused")
        _, triage = await shell.run("list", "--agent", "triage", "--limit", "1")
        code, wrong = await shell.run("list", "--state", "tired")
        assert [row.split()[0] for row in paused.splitlines()[1:]] == ["s2"]
        assert [row.split()[0] for row in triage.splitlines()[1:]] == ["s1"]
        assert code == 1
        assert "'tired' (allowed: active, warned, paused" in wrong


async def test_a_list_says_that_there_are_more_and_goes_on(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        for session in ("s1", "s2", "s3"):
            await on.call(session=session)

        _, first = await shell.run("list", "--limit", "2")
        *rows, more = first.splitlines()
        assert [row.split()[0] for row in rows[1:]] == ["s3", "s2"]
        assert more.startswith("there are more: --cursor ")
        _, second = await shell.run("list", "--limit", "2", *more.split()[3:])
        assert [row.split()[0] for row in second.splitlines()[1:]] == ["s1"]


async def test_json_is_what_the_api_said(tmp_path: Path, shell: Shell) -> None:
    """For scripts: one document on stdout."""
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call()

        listed = json.loads((await shell.run("list", "--json"))[1])
        shown = json.loads((await shell.run("show", "s1", "--json"))[1])
        assert listed["sessions"][0]["session"] == "s1"
        assert shown == await on.admin("GET", "/sessions/s1")


async def test_events_are_the_log(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call()

        code, told = await shell.run("events", "s1")
        events = [json.loads(line) for line in told.splitlines()]
        assert code == 0
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        (tenant,) = await on.app.store.find_tenants("s1")
        stored = await on.app.store.read(SessionKey(tenant, "s1"))
        assert [event["chain"] for event in events] == [one.chain.hex() for one in stored]
        reserved = next(event for event in events if event["type"] == "StepReserved")
        assert len(bytes.fromhex(reserved["own_chain"])) == 16


async def test_pause_resume_and_kill_do_what_they_say(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call()

        for action, state, answer in (
            ("pause", "paused", 422),
            ("resume", "active", 200),
            ("kill", "killed", 422),
        ):
            code, told = await shell.run(action, "s1")
            assert code == 0
            assert f"state          {state}" in told
            assert (await on.call()).status == answer


async def test_extend_adds_to_limits(tmp_path: Path, shell: Shell) -> None:
    """The command that a refusal's message names."""
    async with sidecar(tmp_path, "limits: {steps: 1, per_tool: {send: 1}}") as on:
        shell.beside(on)
        await on.call()
        refused = await on.call()
        assert "holdfast sessions extend s1 --steps 10" in str(refused.error["message"])

        amounts = ("--steps", "10", "--cost-usd", "0.5", "--per-tool", "send=2")
        code, told = await shell.run("extend", "s1", *amounts)
        assert code == 0
        assert "steps=11" in told
        assert "cost_usd=10.5" in told
        assert (await on.call()).status == 200


@pytest.mark.parametrize(
    ("amounts", "said"),
    [
        ((), "name a limit to extend (allowed: steps, "),
        (("--steps", "-1"), "steps: a positive number is needed"),
        (("--per-tool", "send"), "--per-tool: 'send' is not GLOB=N"),
    ],
)
async def test_extend_tells_what_is_wrong(
    tmp_path: Path, shell: Shell, amounts: tuple[str, ...], said: str
) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call()

        code, told = await shell.run("extend", "s1", *amounts)
        assert code == 1
        assert said in told


async def test_an_id_of_two_tenants_needs_the_tenant(tmp_path: Path, shell: Shell) -> None:
    """The message names them, so that the next command is at hand."""
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call()
        await on.call(headers={"authorization": "Bearer key-2"})

        code, told = await shell.run("show", "s1")
        assert code == 1
        assert "used by several tenants" in told
        *_, first, second = told.split()
        assert first != second
        _, listed = await shell.run("list")
        assert all(tenant.strip(",") in listed for tenant in (first, second))
        code, shown = await shell.run("kill", "s1", "--tenant", first)
        assert code == 0
        assert first in shown


async def test_an_unknown_session_is_told(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on)

        assert await shell.run("show", "s9") == (1, "holdfast: no session 's9'\n")


async def test_a_wrong_token_is_told(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on, token="wrong")

        code, told = await shell.run("list")
        assert code == 1
        assert "the admin token that was found is not this sidecar's" in told
        assert "--store" in told


@pytest.mark.parametrize(
    ("store", "said"),
    [("sqlite:///open.db", "others can read or write this"), ("postgres://x", "no such store")],
)
def test_where_no_token_can_be_is_told(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, store: str, said: str
) -> None:
    """In a sentence, not in a traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDFAST_ADMIN_TOKEN", raising=False)
    token = tmp_path / "open.db.admin-token"
    token.write_text("t")
    token.chmod(0o644)

    code, told = asyncio.run(shell.run("list", "--store", store))
    assert code == 1
    assert told.startswith("holdfast: ")
    assert said in told


async def test_that_no_token_was_found_is_told(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in another folder than the ledger's: it says where one would be looked for."""
    async with sidecar(tmp_path) as on:
        shell.beside(on, token=None)
        monkeypatch.chdir(tmp_path)

        code, told = await shell.run("list")
        assert code == 1
        assert "no admin token was found: say which ledger it serves with --store" in told


async def test_the_token_is_found_beside_the_store(tmp_path: Path, shell: Shell) -> None:
    """Whoever may read the ledger's folder needs no variable."""
    store = f"sqlite:///{tmp_path}/ledger.db"
    async with sidecar(tmp_path, store=store, env={"HOLDFAST_ADMIN_TOKEN": ""}) as on:
        shell.beside(on, token=None)
        await on.call()

        assert (await shell.run("list", "--store", store))[0] == 0
        assert modes_of_tokens(tmp_path) == [0o600]


async def test_a_token_with_a_line_end_is_the_same_token(tmp_path: Path, shell: Shell) -> None:
    """`kubectl create secret --from-file` keeps the file's last one; no header can carry it."""
    async with sidecar(tmp_path, env={"HOLDFAST_ADMIN_TOKEN": f"{TOKEN}\n"}) as on:
        shell.beside(on)
        assert (await shell.run("list"))[0] == 0

        shell.beside(on, token=f"{TOKEN}\n")
        assert (await shell.run("list"))[0] == 0


async def test_no_sidecar_is_told(shell: Shell) -> None:
    code, told = await shell.run("list", "--admin-url", "http://127.0.0.1:1")
    assert code == 1
    assert "no sidecar answers at http://127.0.0.1:1" in told


async def test_an_url_that_is_none_is_told(shell: Shell) -> None:
    code, told = await shell.run("list", "--admin-url", "file:///etc/passwd")
    assert code == 1
    assert "is not an http URL" in told


async def test_what_is_not_utf8_is_said(tmp_path: Path, shell: Shell) -> None:
    """A shell hands over any bytes."""
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        code, said = await shell.run("show", "s\udcff")

    assert (code, said) == (1, "holdfast: 's\\udcff' is not UTF-8\n")


async def test_what_is_not_served_is_json_too(tmp_path: Path) -> None:
    """Whoever reads an error reads one shape."""
    async with sidecar(tmp_path) as on:
        answers = [await on.admin("PUT", "/sessions/s1"), await on.admin("GET", "/nothing")]

    assert [answer["error"] for answer in answers] == [
        {
            "message": "PUT is not served here (allowed: DELETE, GET, HEAD)",
            "type": "admin_error",
            "code": "method_not_allowed",
        },
        {
            "message": "nothing is served at this path",
            "type": "admin_error",
            "code": "unknown_path",
        },
    ]
