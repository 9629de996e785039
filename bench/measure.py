"""Starts every system, then measures them in turn, one running at a time.

What a machine does beside the bench moves rates two- to fourfold and CPU time by a tenth or two.
So systems take turns within each round instead of each having a stretch of its own, and figures
are medians over rounds.
"""

import http.client
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.bodies import SLOT, Body
from bench.cells import SMALL, Cell
from bench.peers.systems import Launch, Place, System
from bench.places import BUILD
from bench.process import Server, core_busy_ns, free_port
from bench.results import DIRECT, Measured, Sample, direct_name
from bench.rig.build import built
from bench.rig.load import RIG_CORE, Load, Outcome, drive

PROXY_CORE = 0
_READY_SECONDS = 90.0
_POLL_SECONDS = 0.002
_SETTLE_SECONDS = 0.5
_WARM_SECONDS = 1.0
"""After a start, once: what compiles as it runs, or learns, does it now."""
_HEADROOM = 1.5
"""A system is asked for a fixed rate only if it can do so many times as much."""


class NotReady(Exception):
    """A system did not come up; the text says what it said."""


@dataclass(slots=True)
class Running:
    """One started system. server: None for the upstream alone.

    capacity: answers a second by cell, as first seen, where nothing but the system bounded them.
    """

    launch: Launch
    port: int
    measured: Measured
    server: Server | None
    capacity: dict[str, float] = field(default_factory=dict)

    def cpu_ns(self) -> int:
        return self.server.cpu_ns() if self.server else 0

    def pause(self) -> None:
        if self.server:
            self.server.pause()

    def resume(self) -> None:
        if self.server:
            self.server.resume()

    def measure_peak(self) -> None:
        """Keeps what it held at its most."""
        if self.server:
            self.measured.peak_bytes = self.server.memory().peak

    def stop(self) -> None:
        if self.server:
            self.server.stop()


def start_upstream() -> tuple[Server, int]:
    """The provider that all systems forward to, and its port."""
    port = free_port()
    argv = (str(built("upstream")), str(port))
    return Server(argv, RIG_CORE, BUILD, {}, BUILD / "upstream.log"), port


def direct(port: int) -> Running:
    """The upstream as if it were a system."""
    return Running(Launch(()), port, Measured(DIRECT, ""), None)


def start(system: System, program: Path, upstream_port: int, starts: int) -> Running:
    """Starts a system so many times, and leaves it running, paused. Raises NotReady."""
    measured = Measured(system.name, system.version(program))
    while True:
        running = _start_once(system, program, upstream_port, measured)
        time.sleep(_SETTLE_SECONDS)
        assert running.server is not None
        measured.idle_bytes.append(running.server.memory().now)
        if len(measured.ready_seconds) == starts:
            break
        running.stop()
    drive(_load(running, SMALL), _WARM_SECONDS)
    running.pause()
    return running


def _start_once(system: System, program: Path, upstream_port: int, measured: Measured) -> Running:
    directory = BUILD / "run" / system.name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    place = Place(directory, free_port(), free_port(), upstream_port)
    launch = system.launch(program, place)
    log = directory / "log"
    began = time.perf_counter()
    running = Running(launch, place.port, measured, None)
    running.server = Server(launch.argv, PROXY_CORE, directory, launch.env, log)
    try:
        _wait_until_ready(running, began)
    except NotReady as error:
        running.stop()
        said = log.read_text("utf-8", "replace")[-300:]
        raise NotReady(f"{error}; it said: {said}") from error
    measured.ready_seconds.append(time.perf_counter() - began)
    return running


def _wait_until_ready(running: Running, began: float) -> None:
    """Until it has answered a first call through to the upstream."""
    body = _bytes_of(SMALL.bodies()[0], running.launch.model).replace(
        SLOT.encode(), b"a first call"
    )
    last = "no connection"
    assert running.server is not None
    while time.perf_counter() - began < _READY_SECONDS:
        if running.server.exit_code is not None:
            raise NotReady(f"it ended with {running.server.exit_code}")
        port_file = running.launch.port_file
        if port_file is not None:
            if not port_file.exists() or not (text := port_file.read_text()):
                time.sleep(_POLL_SECONDS)
                continue
            running.port = int(text)
        try:
            last = _ask(running, body)
        except (OSError, http.client.HTTPException) as error:
            last = repr(error)
        if last == "200":
            return
        time.sleep(_POLL_SECONDS)
    raise NotReady(f"no answer after {_READY_SECONDS:.0f} s: {last}")


def _ask(running: Running, body: bytes) -> str:
    headers = dict(line.split(": ", 1) for line in running.launch.headers)
    headers |= {"content-type": "application/json", "authorization": "Bearer sk-bench"}
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=_READY_SECONDS)
    try:
        connection.request("POST", running.launch.path, body, headers)
        answer = connection.getresponse()
        text = answer.read(300)
        return "200" if answer.status == 200 else f"{answer.status} {text!r}"
    finally:
        connection.close()


def _bytes_of(body: Body, model: str) -> bytes:
    return json.dumps({**body, "model": model}).encode()


def _body_files(cell: Cell, model: str) -> tuple[Path, ...]:
    directory = BUILD / "bodies" / model.replace(":", "_")
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for number, body in enumerate(cell.bodies()):
        path = directory / f"{cell.name}-{number}.json"
        path.write_bytes(_bytes_of(body, model))
        files.append(path)
    return tuple(files)


def _load(running: Running, cell: Cell, rate: float | None = None) -> Load:
    launch = running.launch
    return Load(
        port=running.port,
        path=launch.path,
        bodies=_body_files(cell, launch.model),
        connections=cell.connections,
        headers=launch.headers,
        stream=cell.stream,
        sessions=cell.sessions,
        rate=rate,
    )


def measure(running: Running, cell: Cell, seconds: float) -> None:
    """One cell of one round: warms up, measures, and keeps the sample."""
    if running.server is None:
        _measure_direct(running, cell, seconds)
        return
    rate = cell.rate
    if rate is not None and _capacity(running, cell) < rate * _HEADROOM:
        rate = cell.slow_rate
    take(running, cell, rate, cell.name, seconds)
    if rate is None:
        running.capacity.setdefault(cell.name, running.measured.samples[cell.name][-1].rate)


def _capacity(running: Running, cell: Cell) -> float:
    if cell.plain not in running.capacity:
        running.resume()
        running.capacity[cell.plain] = drive(_load(running, cell), _WARM_SECONDS).rate
        running.pause()
    return running.capacity[cell.plain]


def _measure_direct(running: Running, cell: Cell, seconds: float) -> None:
    """The upstream alone, at each rate that a system may be asked for."""
    for rate in (cell.rate, cell.slow_rate):
        if rate is not None:
            take(running, cell, rate, direct_name(cell.name, rate), seconds)


def take(running: Running, cell: Cell, rate: float | None, name: str, seconds: float) -> None:
    """Measures one load and keeps the sample under a name."""
    load = _load(running, cell, rate)
    running.resume()
    try:
        drive(load, seconds / 4)
        began, busy, before = time.perf_counter_ns(), core_busy_ns(PROXY_CORE), running.cpu_ns()
        outcome = drive(load, seconds)
        spent = running.cpu_ns() - before
        others = core_busy_ns(PROXY_CORE) - busy - spent
        others_share = max(0.0, others / (time.perf_counter_ns() - began))
    finally:
        running.pause()
    sample = _sample(outcome, spent if running.server else None, cell, rate, others_share)
    running.measured.samples.setdefault(name, []).append(sample)


def _sample(
    outcome: Outcome, spent_ns: int | None, cell: Cell, rate: float | None, others_share: float
) -> Sample:
    count = outcome.chunks if cell.stream else outcome.answered
    return Sample(
        cpu_us=spent_ns / 1000 / count if spent_ns is not None and count else None,
        rate=outcome.rate,
        asked_rate=rate,
        p50_us=outcome.latency_us.p50,
        p99_us=outcome.latency_us.p99,
        chunk_p50_us=outcome.chunk_us.p50,
        chunk_p99_us=outcome.chunk_us.p99,
        answered=outcome.answered,
        errors=outcome.errors,
        backlog_ms=outcome.backlog_ms,
        others_share=others_share,
        example=outcome.example,
    )
