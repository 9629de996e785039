"""Real servers for tests: Redis and Valkey, single, with a replica, as a cluster.

`tests/redis/setup.sh` unpacks them into .redis; else those of PATH are taken. Each has a port and a
folder of its own, writes every command to its append-only file, and ends with the test that started
it. HOLDFAST_REQUIRE_REDIS=1 makes a missing server a failure, as on CI.
"""

import atexit
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

_ROOT: Final = Path(__file__).parent.parent / ".redis" / "usr"
_STARTED_SECONDS: Final = 15.0


def find_server(kind: str) -> str | None:
    """The program of `redis` or `valkey`, with its libraries in _ENVIRONMENT."""
    unpacked = _ROOT / "bin" / f"{kind}-server"
    return str(unpacked) if unpacked.exists() else shutil.which(f"{kind}-server")


def needs_server(kind: str) -> str:
    """The program, or the test is skipped with a word."""
    program = find_server(kind)
    if program is None:
        reason = f"no {kind}-server here: tests/redis/setup.sh unpacks one on Debian"
        if os.environ.get("HOLDFAST_REQUIRE_REDIS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return program


def _environment() -> dict[str, str]:
    libraries = _ROOT / "lib" / f"{platform.machine()}-linux-gnu"
    return (
        {**os.environ, "LD_LIBRARY_PATH": str(libraries)} if libraries.exists() else {**os.environ}
    )


def free_port() -> int:
    """Below those that the kernel gives to clients, or one would take it while its server is down:
    who connects to such a port again and again even gets through to itself. A cluster's nodes talk
    to each other 10,000 ports higher."""
    while True:
        port = 12_000 + secrets.randbelow(10_000)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """One server; `start` after `kill` finds the data as a crash left it."""

    def __init__(self, kind: str, folder: Path, options: Sequence[str] = ()) -> None:
        self.kind = kind
        self.folder = folder
        self.port = free_port()
        self.options = list(options)
        self._process: subprocess.Popen[bytes] | None = None
        self._words: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"{self.kind}://127.0.0.1:{self.port}"

    def watch(self, name: str, port: int, down_after_seconds: float = 0.5) -> None:
        """Makes it a sentinel of that primary, alone and quick to judge."""
        settings = (
            f"port {self.port}", "bind 127.0.0.1", "protected-mode no", f"dir {self.folder}",
            f"sentinel monitor {name} 127.0.0.1 {port} 1",
            f"sentinel down-after-milliseconds {name} {down_after_seconds * 1000:.0f}",
            f"sentinel failover-timeout {name} 3000",
        )  # fmt: skip
        (self.folder / "sentinel.conf").write_text("\n".join(settings) + "\n")
        self._words = [str(self.folder / "sentinel.conf"), "--sentinel"]

    def start(self) -> "RedisServer":
        settings = {
            "port": self.port, "bind": "127.0.0.1", "dir": self.folder, "appendonly": "yes",
            "appendfsync": "everysec", "save": "", "protected-mode": "no", "loglevel": "warning",
        }  # fmt: skip
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        words = self._words or [*words, *self.options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [needs_server(self.kind), *words],
                env=_environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._until_it_answers()
        return self

    def kill(self) -> None:
        """As a crash would: nothing is flushed that the kernel does not have."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """It stays connected and does not answer."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        self._send(signal.SIGCONT)

    def ask(self, *words: str | int) -> str:
        """An answer, plainly read: for `CONFIG SET`, `CLIENT KILL` and the like."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            sent = [str(word).encode() for word in words]
            parts = [b"*%d\r\n" % len(sent)]
            parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in sent]
            connection.sendall(b"".join(parts))
            return connection.recv(1 << 20).decode(errors="replace").strip()

    def _send(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _until_it_answers(self) -> None:
        deadline = time.perf_counter() + _STARTED_SECONDS
        while True:
            try:
                if self.ask("PING") == "+PONG":
                    return
            except OSError:
                pass
            alive = self._process is not None and self._process.poll() is None
            if not alive or time.perf_counter() > deadline:
                raise RuntimeError((self.folder / "log").read_text()[-2_000:])
            _pause()


class Cluster:
    """Three primaries that share the slots."""

    def __init__(self, kind: str, folder: Path) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        self.nodes = [RedisServer(kind, folder / str(n), options) for n in range(3)]

    @property
    def url(self) -> str:
        addresses = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://{addresses}"

    def start(self) -> "Cluster":
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            first, last = number * 16_384 // 3, (number + 1) * 16_384 // 3 - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port)
        deadline = time.perf_counter() + _STARTED_SECONDS
        while any("cluster_state:ok" not in node.ask("CLUSTER", "INFO") for node in self.nodes):
            if time.perf_counter() > deadline:
                raise RuntimeError(self.nodes[0].ask("CLUSTER", "INFO"))
            _pause()
        return self

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()


@contextmanager
def running(server: RedisServer | Cluster) -> Iterator[None]:
    try:
        server.start()
        yield
    finally:
        server.stop()


@contextmanager
def temporary(kind: str, *options: str) -> Iterator[RedisServer]:
    """A server for a measurement."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(kind, Path(folder), options)
        with running(server):
            yield server


def _pause() -> None:
    time.sleep(0.02)


_SHARED: dict[str, RedisServer | Cluster] = {}


def shared_server(kind: str) -> RedisServer | Cluster:
    """Of `redis`, `valkey` or `cluster` one for the whole run: stores tell theirs by a prefix."""
    needs_server("redis" if kind == "cluster" else kind)
    if kind not in _SHARED:
        folder = tempfile.TemporaryDirectory(prefix="holdfast-redis-")
        path = Path(folder.name)
        server = Cluster("redis", path) if kind == "cluster" else RedisServer(kind, path)
        _SHARED[kind] = server.start()

        def end() -> None:
            server.stop()
            folder.cleanup()

        atexit.register(end)
    return _SHARED[kind]


def url_for(kind: str, folder: Path) -> str:
    """A ledger of its own for each folder, on the shared server."""
    prefix = sha256(str(folder).encode()).hexdigest()[:12]
    return f"{shared_server(kind).url}?prefix={prefix}"
