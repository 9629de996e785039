"""`holdfast sessions`: what is recorded of a session, copied and deleted, from a shell."""

import asyncio
import json
from pathlib import Path

import pytest

from proxy.cli.main import main
from proxy.exports import read_export
from proxy.simulator import Script, ToolCall, Turn
from tests.integration.agent_kit import Agent
from tests.integration.kit import TOKEN, sidecar
from tests.integration.test_cli_sessions import Shell

RUN = Script(
    (
        Turn(text="\x1b[2Jsee", tool_calls=(ToolCall("search", {"q": "x"}),)),
        Turn(text="All done."),
    )
)


def session_in(file: Path) -> str:
    return read_export([file.read_bytes()])[0].session


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


async def test_a_step_is_shown_for_a_human(tmp_path: Path, shell: Shell) -> None:
    """What a model wrote cannot move the cursor."""
    async with sidecar(tmp_path, script=RUN) as on:
        shell.beside(on)
        await Agent(on, "chat", stream=False).finish()

        code, shown = await shell.run("show", "s1", "--step", "1")
        assert code == 0
        lines = shown.splitlines()
        assert lines[0] == "checkpoint   s1@1 of 2"
        assert "path         /v1/chat/completions (chat, sim-model)" in lines
        assert "  [0] user       hi" in lines
        assert '  assistant  \\x1b[2Jsee search({"q":"x"})' in lines
        assert any(line.endswith('  search({"q":"x"})') for line in lines)
        assert "\x1b" not in shown
        code, wrong = await shell.run("show", "s1", "--step", "7")
        assert (code, wrong) == (1, "holdfast: session s1 has no step 7 (it has 1 to 2)\n")


async def test_bodies_are_printed_alone_and_can_be_sent_again(tmp_path: Path, shell: Shell) -> None:
    """`holdfast sessions show ID --next | curl -d @- …`."""
    async with sidecar(tmp_path, script=RUN) as on:
        shell.beside(on)
        await Agent(on, "chat", stream=False).finish()

        _, raw = await shell.run("show", "s1", "--step", "2", "--raw")
        assert raw.encode() == bytes(on.sim.journal[1].body)
        _, following = await shell.run("show", "s1", "--next")
        assert json.loads(following)["messages"][-1]["content"] == "All done."
        _, document = await shell.run("show", "s1", "--step", "2", "--json")
        assert json.loads(document)["request"] == json.loads(raw)
        assert (await on.send("/s/s2/v1/chat/completions", raw.encode())).status == 200


async def test_a_difference_is_a_line_a_message(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path, script=RUN) as on:
        shell.beside(on)
        agent = Agent(on, "chat", stream=False)
        await agent.step()
        agent.extra, agent.tools = {"temperature": 0.5}, ("search",)
        await agent.finish()

        code, told = await shell.run("diff", "s1", "1", "2")
        assert code == 0
        first, *lines = told.splitlines()
        assert first == "step 1 -> step 2: 1 message the same"
        assert [line[:5] for line in lines[:2]] == ["+ [1]", "+ [2]"]
        assert lines[2:] == ["- tool send_email", "+ temperature: 0.5"]
        _, same = await shell.run("diff", "s1", "1", "1")
        assert same.endswith("nothing differs\n")
        await on.call(session="s3")
        await on.call(session="s3", messages=[{"role": "user", "content": "hello"}])
        _, changed = await shell.run("diff", "s3", "1", "2")
        assert "~ [0] user       hello\n      differs in content" in changed


async def test_a_session_is_forked(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path, script=RUN) as on:
        shell.beside(on)
        await Agent(on, "chat", stream=False).finish()

        code, told = await shell.run("fork", "s1", "--step", "1", "--as", "f1")
        assert code == 0
        assert "session        f1\n" in told
        assert "path           /r/f1/v1\n" in told
        _, document = await shell.run("fork", "s1", "--json")
        assert json.loads(document)["step"] == 2
        assert (await shell.run("fork", "s1", "--as", "f1"))[0] == 1
        _, told = await shell.run("resume", "s1", "--replay")
        assert "resumable      True" in told


async def test_a_session_is_exported_and_taken_in(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call()

        code, told = await shell.run("export", "s1")
        file = tmp_path / "s1.holdfast"
        assert (code, file.stat().st_mode & 0o777) == (0, 0o600)
        assert f"bytes          {file.stat().st_size}" in told
        code, told = await shell.run("import", "s1.holdfast", "--as", "copy")
        assert code == 0
        assert "session        copy" in told
        assert (await shell.run("import", "s1.holdfast"))[0] == 1, "it is there"
        assert (await shell.run("import", "s1.holdfast", "--tenant", "t9"))[0] == 0
        await on.admin("DELETE", "/sessions/copy")
        code, told = await shell.run("import", "s1.holdfast", "--as", "copy2")
        assert "note  " not in told, "nothing is to be said of its own"
        code, _ = await shell.run("export", "copy2", "-o", "other")
        assert session_in(tmp_path / "other") == "copy2"
        assert files(tmp_path) == ["other", "policy.yaml", "s1.holdfast"]


async def test_what_is_to_be_known_of_an_import_is_a_line_each(
    tmp_path: Path, shell: Shell
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with sidecar(tmp_path / "a") as on:
        shell.beside(on)
        await on.call()
        await shell.run("export", "s1")
    async with sidecar(tmp_path / "b") as on:
        shell.beside(on)
        code, told = await shell.run("import", "s1.holdfast")

    notes = [line for line in told.splitlines() if line.startswith("note           ")]
    assert code == 0
    assert len(notes) == 2
    assert "--tenant" in notes[1]


async def test_what_is_printed_is_the_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    async with sidecar(tmp_path) as on:
        monkeypatch.setenv("HOLDFAST_ADMIN_URL", on.admin_url)
        monkeypatch.setenv("HOLDFAST_ADMIN_TOKEN", TOKEN)
        await on.call()

        assert await asyncio.to_thread(main, ["sessions", "export", "s1", "-o", "-"]) == 0
        assert read_export([capfdbinary.readouterr().out])[0].session == "s1"


@pytest.mark.parametrize("damage", ["cut", "altered", "other", "gone", "folder"])
async def test_a_file_that_is_no_whole_export_is_not_sent(
    tmp_path: Path, shell: Shell, damage: str
) -> None:
    """The sentence names the file."""
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call()
        await shell.run("export", "s1", "-o", "x")
        file = tmp_path / "x"
        data = bytearray(file.read_bytes())
        match damage:
            case "cut":
                file.write_bytes(data[:-1])
            case "altered":
                data[60] ^= 1
                file.write_bytes(data)
            case "other":
                file.write_bytes(b"PK\x03\x04 an archive")
            case "gone":
                file.unlink()
            case _:
                file.unlink()
                file.mkdir()

        code, told = await shell.run("import", "x", "--as", "copy")
        assert code == 1
        assert told.startswith("holdfast: x: ")
        assert (await shell.run("show", "copy"))[0] == 1


async def test_a_file_that_cannot_be_written_is_said(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call()

        code, told = await shell.run("export", "s1", "-o", "nowhere/s1")
        assert (code, told) == (1, "holdfast: nowhere/s1: No such file or directory\n")
        assert (await shell.run("export", "s9", "-o", "s9"))[0] == 1
        assert not (tmp_path / "s9").exists()


async def test_an_archived_session_is_in_its_file_and_gone(tmp_path: Path, shell: Shell) -> None:
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call()

        code, told = await shell.run("archive", "s1", "-o", "-")
        assert code == 1
        assert "a file is needed" in told
        assert (await shell.run("archive", "s1", "-o", "nowhere/s1"))[0] == 1
        assert (await shell.run("show", "s1"))[0] == 0, "it was not written, so it is still there"
        code, told = await shell.run("archive", "s1")
        assert code == 0
        assert "state          deleted" in told
        assert (await shell.run("show", "s1"))[0] == 1
        assert (await shell.run("import", "s1.holdfast", "--as", "back"))[0] == 0
        _, events = await shell.run("events", "back")
        assert len(events.splitlines()) == 4


async def test_a_session_that_goes_on_meanwhile_is_not_deleted(
    tmp_path: Path, shell: Shell
) -> None:
    """What is not in the file would be lost."""
    async with sidecar(tmp_path) as on:
        shell.beside(on)
        await on.call()
        url, headers = f"{on.admin_url}/api/v1/sessions/s1?seq=2", {"authorization": "Bearer x"}
        assert (await on.http.delete(url, headers=headers)).status == 401

        told = await on.admin("DELETE", "/sessions/s1?seq=2")
        assert told["error"]["code"] == "session_changed"  # type: ignore[index,call-overload]
        assert (await shell.run("delete", "s1"))[0] == 0
        code, told_again = await shell.run("delete", "s1")
        assert (code, told_again) == (1, "holdfast: no session 's1'\n")
