"""`holdfast serve` as a process: flags, variables, readiness, drain, and what is told at start."""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from proxy.cli import serve

SERVE = (sys.executable, "-m", "proxy", "serve")


@dataclass(frozen=True, slots=True)
class Running:
    """A sidecar that has told that it is ready."""

    process: subprocess.Popen[str]
    ready: Mapping[str, object]

    def get(
        self, path: str, *, admin: bool = False, token: str = "", body: bytes | None = None
    ) -> tuple[int, str]:
        """GET, or POST where there is a body: the status and what was said."""
        port = self.ready["admin_port" if admin else "port"]
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        request = Request(f"http://127.0.0.1:{port}{path}", data=body, headers=headers)
        try:
            with urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=25)


@contextmanager
def serving(folder: Path, *flags: str, **variables: str) -> Iterator[Running]:
    """`holdfast serve` on free ports, in a folder of its own."""
    env = {**os.environ, "HOLDFAST_PORT": "0", "HOLDFAST_ADMIN_PORT": "0", **variables}
    with subprocess.Popen(
        [*SERVE, *flags], cwd=folder, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            lines = (json.loads(line) for line in process.stderr)
            yield Running(process, next(line for line in lines if line["message"] == "ready"))
        finally:
            process.kill()


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    """0 after a drain: an orchestrator takes anything else for a crash."""
    with serving(tmp_path) as sidecar:
        assert sidecar.get("/healthz") == (200, "ok\n")
        assert sidecar.get("/readyz") == (200, "ok\n")
        assert sidecar.get("/readyz", admin=True) == (200, "ok\n")
        assert sidecar.get("/api/v1/sessions", admin=True)[0] == 401
        assert sidecar.stop(number) == 0
    assert (tmp_path / "holdfast.db").exists()


@pytest.mark.process
def test_a_credential_is_nowhere_to_be_found_afterwards(tmp_path: Path) -> None:
    """Not in the log, not in the ledger, not in any file beside it."""
    key = "sk-nobody-may-see-this"
    with serving(
        tmp_path, "--log-level", "debug", HOLDFAST_OPENAI_URL="http://127.0.0.1:1/v1"
    ) as sidecar:
        assert sidecar.process.stderr is not None
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}
        status, _ = sidecar.get("/v1/chat/completions", token=key, body=json.dumps(body).encode())
        assert status == 503
        assert sidecar.stop(signal.SIGTERM) == 0
        logged = sidecar.process.stderr.read()

    assert '"reason":"upstream_unavailable"' in logged
    assert key not in logged
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if key.encode() in path.read_bytes()]


@contextmanager
def starting(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Callable[[], None]]]:
    """A sidecar that waits for its policy, and what lets it have it."""
    policy = folder / "policy.yaml"
    os.mkfifo(policy)
    ports = ("--port", "0", "--admin-port", "0")
    with subprocess.Popen(
        [*SERVE, *ports, "--policy", str(policy)], cwd=folder, stderr=subprocess.PIPE, text=True
    ) as process:
        pipe = policy.open("w")  # returns once it is opened to be read as well
        policy.unlink()
        policy.write_text("version: 1\n")

        def go_on() -> None:
            pipe.write("version: 1\n")
            pipe.close()

        try:
            yield process, go_on
        finally:
            process.kill()


@pytest.mark.process
def test_a_stop_while_it_starts_is_a_clean_one(tmp_path: Path) -> None:
    """An orchestrator that changes its mind at once has not seen a crash."""
    with starting(tmp_path) as (process, go_on):
        process.send_signal(signal.SIGTERM)
        go_on()

        assert process.wait(timeout=25) == 0


@pytest.mark.process
def test_a_reload_while_it_starts_does_not_end_it(tmp_path: Path) -> None:
    """Whoever writes the file signals the process, and may be quicker than it."""
    with starting(tmp_path) as (process, go_on):
        process.send_signal(signal.SIGHUP)
        go_on()
        assert process.stderr is not None

        assert any(json.loads(line)["message"] == "ready" for line in process.stderr)


@pytest.mark.process
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGHUP, 7)])
def test_signals_are_minded_before_the_command_is_even_imported(
    number: signal.Signals, code: int
) -> None:
    """Most of the start is that import."""
    program = (
        "import os, sys; from proxy.cli import main\n"
        f"signalled = lambda name: (os.kill(os.getpid(), {number:d}), sys.exit(7))\n"
        "main.importlib.import_module = signalled\n"
        "main.main(['serve'])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=25)

    assert done.returncode == code


@pytest.mark.process
def test_flags_win_over_variables(tmp_path: Path) -> None:
    """The policy comes from a variable here, the store from a flag."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("limits: {steps: 7}\nstore: {url: 'sqlite:///policy.db'}\n")
    with serving(
        tmp_path,
        *("--store", "memory://"),
        HOLDFAST_POLICY=str(policy),
        HOLDFAST_STORE="sqlite:///variable.db",
        HOLDFAST_ADMIN_TOKEN="secret",
    ) as sidecar:
        _, told = sidecar.get("/api/v1/policy", admin=True, token="secret")
        assert json.loads(told)["policy"]["limits"]["steps"] == 7
        assert sidecar.ready["store"] == "memory://"
        assert not list(tmp_path.glob("*.db"))
        policy.write_text("limits: {steps: 8}\n")
        sidecar.process.send_signal(signal.SIGHUP)
        while 'steps":8' not in sidecar.get("/api/v1/policy", admin=True, token="secret")[1]:
            pass


@pytest.mark.process
@pytest.mark.parametrize(
    ("policy", "flags", "said"),
    [
        ("limits: {stepz: 1}", (), "policy.yaml:1:10: limits.stepz: unknown key"),
        ("version: 1", ("--store", "mysql://x"), "no such store: 'mysql://x' (allowed: memory://"),
        ("version: 1", ("--host", "203.0.113.1"), "203.0.113.1"),
    ],
)
def test_what_prevents_it_is_told_without_a_traceback(
    tmp_path: Path, policy: str, flags: tuple[str, ...], said: str
) -> None:
    (tmp_path / "policy.yaml").write_text(policy)
    done = subprocess.run(
        [*SERVE, "--policy", "policy.yaml", "--port", "0", "--admin-port", "0", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=25,
    )

    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_every_flag_is_a_variable_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Deployment sets variables; argparse reads them as it reads flags."""
    variables = {
        "POLICY": "p.yaml",
        "HOST": "0.0.0.0",
        "PORT": "1",
        "ADMIN_HOST": "::1",
        "ADMIN_PORT": "2",
        "STORE": "memory://",
        "WORKERS": "3",
        "DRAIN_SECONDS": "1.5",
        "LOG_LEVEL": "debug",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"HOLDFAST_{name}", value)
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)

    args = vars(parser.parse_args([]))
    assert {name.upper(): str(value) for name, value in args.items()} == variables


def test_a_variable_that_cannot_be_read_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOLDFAST_PORT", "eighty")
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)

    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert "argument --port: invalid int value: 'eighty'" in capsys.readouterr().err
