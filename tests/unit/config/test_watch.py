"""Hot reload, on real files: what is good is taken up, what is not changes nothing."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.config import watch
from proxy.config.load import Loaded, read_text
from proxy.config.problems import PolicyInvalid
from proxy.config.watch import POLL_SECONDS, PolicyWatcher
from tests.fakes import FakeClock
from tests.fakes_config import SteppingClock


class Sidecar:
    """What holds the policy in force: takes what it is told."""

    def __init__(self, path: Path | None, clock: FakeClock) -> None:
        self.steps: list[int | None] = []
        self.watcher = PolicyWatcher(path, {"N": "7"}, clock, self.take)

    def take(self, loaded: Loaded) -> None:
        self.steps.append(loaded.policy.limits.steps)


def config_map(root: Path, revision: int, text: str) -> None:
    """As the kubelet writes: a new directory, then the `..data` link swapped by rename."""
    folder = root / f"..2026_{revision}"
    folder.mkdir()
    (folder / "policy.yaml").write_text(text)
    fresh = root / "..data_tmp"
    fresh.symlink_to(folder.name)
    fresh.rename(root / "..data")
    if not (root / "policy.yaml").is_symlink():
        (root / "policy.yaml").symlink_to("..data/policy.yaml")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text("limits: {steps: 1}")
    return path


def settle(watcher: PolicyWatcher) -> list[object]:
    """Two looks: the first sees a change, the second that it has come to rest."""
    return [watcher.poll(), watcher.poll()]


async def test_config_map_swaps_are_taken_up_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    """inotify on the path misses the second swap: the policy of a cluster would stand still."""
    swaps: list[tuple[int, str]] = [
        (2, "limits: {steps: 2}"),
        (3, "limits: {steps: 3}"),
        (4, "limits: {steps: many, stepz: 1}"),
    ]
    config_map(tmp_path, 1, "limits: {steps: 1}")

    def steps() -> Iterator[Callable[[], object]]:
        for revision, text in swaps:
            yield lambda r=revision, t=text: config_map(tmp_path, r, t)  # type: ignore[misc]
            yield lambda: None
            yield lambda: None

    clock = SteppingClock(steps())
    sidecar = Sidecar(tmp_path / "policy.yaml", clock)

    with pytest.raises(asyncio.CancelledError):
        await sidecar.watcher.run()

    assert sidecar.steps == [2, 3]
    assert sidecar.watcher.loaded.policy.limits.steps == 3
    assert sidecar.watcher.outcomes == {"applied": 2, "refused": 1}
    said = str(sidecar.watcher.last_error).splitlines()
    assert [line.split(":", 3)[1:3] for line in said] == [["1", "17"], ["1", "23"]]
    assert set(clock.slept) == {POLL_SECONDS}


def test_an_edit_and_a_file_moved_over_it_are_taken_up(path: Path) -> None:
    """The two ways in which editors and deployments write."""
    sidecar = Sidecar(path, FakeClock())

    path.write_text("limits: {steps: 22}")
    edited = settle(sidecar.watcher)
    other = path.with_suffix(".new")
    other.write_text("limits: {steps: 33}")
    other.rename(path)
    moved = settle(sidecar.watcher)

    assert edited == moved == [None, "applied"]
    assert sidecar.steps == [22, 33]


def test_a_change_that_keeps_size_and_time_is_seen(path: Path) -> None:
    """`cp -p` and image layers keep the time; the inode's own change does not lie."""
    sidecar = Sidecar(path, FakeClock())
    before = path.stat()

    path.write_text("limits: {steps: 2}")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert settle(sidecar.watcher) == [None, "applied"]


def test_a_file_that_does_not_change_is_not_read(path: Path) -> None:
    """Half a second is often; it must cost a stat."""
    sidecar = Sidecar(path, FakeClock())

    assert [sidecar.watcher.poll() for _ in range(5)] == [None] * 5
    assert sidecar.watcher.outcomes == {}


def test_a_file_still_being_written_waits(path: Path) -> None:
    """Its beginning may be a good policy, with limits missing that come on the next line."""
    sidecar = Sidecar(path, FakeClock())

    path.write_text("limits: {steps: 5}\n")
    first = sidecar.watcher.poll()
    path.write_text("limits: {steps: 5}\nbudgets: []\n")
    second = sidecar.watcher.poll()
    third = sidecar.watcher.poll()

    assert (first, second, third) == (None, None, "applied")
    assert sidecar.watcher.loaded.policy.budgets == ()


@pytest.mark.parametrize("text", ["", "  \n", "limits: {steps: 5", "a: 1"])
def test_a_broken_or_empty_file_keeps_the_old_policy(path: Path, text: str) -> None:
    """An empty file means the defaults at the start; under way it is half a write."""
    sidecar = Sidecar(path, FakeClock())
    before = sidecar.watcher.loaded

    path.write_text(text)

    assert settle(sidecar.watcher) == [None, "refused"]
    assert sidecar.watcher.poll() is None
    assert sidecar.watcher.loaded is before
    assert sidecar.steps == []


def test_a_file_that_vanishes_keeps_the_old_policy_until_it_is_back(path: Path) -> None:
    """A volume that is remounted is not a wish for other limits."""
    sidecar = Sidecar(path, FakeClock())
    text = path.read_text()

    path.unlink()
    gone = settle(sidecar.watcher)
    error = sidecar.watcher.last_error
    path.write_text(text)
    back = settle(sidecar.watcher)

    assert gone == [None, "refused"]
    assert error == f"{path}: cannot be read: No such file or directory"
    assert back == [None, "unchanged"]
    assert sidecar.watcher.last_error is None
    assert sidecar.steps == []


def test_a_refusal_is_logged_with_every_problem(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The one who changed the file looks there first."""
    sidecar = Sidecar(path, FakeClock())
    path.write_text("a: 1\nlimits: {steps: no}")

    with caplog.at_level(logging.INFO, logger=watch.__name__):
        settle(sidecar.watcher)

    record = caplog.records[0]
    assert (record.levelname, record.message) == (
        "WARNING", "policy refused, the one in force stays",
    )  # fmt: skip
    assert len(record.__dict__["problems"]) == 2


def test_reload_now_does_not_wait(path: Path) -> None:
    """SIGHUP and the API are asked by someone who has finished writing."""
    clock = FakeClock()
    sidecar = Sidecar(path, clock)
    loaded_at = sidecar.watcher.loaded_at

    path.write_text("limits: {steps: '${N}'}")
    clock.advance(10)

    assert sidecar.watcher.reload_now() == "applied"
    assert sidecar.watcher.reload_now() == "unchanged"
    assert sidecar.watcher.poll() is None
    assert sidecar.steps == [7]
    assert sidecar.watcher.loaded_at == loaded_at + 10


def test_a_file_that_changes_while_it_is_read_is_not_taken(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read may be half of one and half of the other."""
    sidecar = Sidecar(path, FakeClock())

    def read_and_disturb(file: Path) -> str:
        text = read_text(file)
        file.write_text(text + "#")
        return text

    path.write_text("limits: {steps: 9}")
    monkeypatch.setattr(watch, "read_text", read_and_disturb)
    polled = settle(sidecar.watcher)
    asked = sidecar.watcher.reload_now()

    assert polled == [None, None]
    assert asked == "refused"
    assert sidecar.watcher.last_error == f"{path}: is just being written"
    monkeypatch.undo()
    assert settle(sidecar.watcher) == [None, "applied"]


def test_a_new_store_url_takes_a_restart(path: Path) -> None:
    """A ledger cannot be exchanged beneath calls in flight; all else of the file is taken up."""
    sidecar = Sidecar(path, FakeClock())

    path.write_text("limits: {steps: 4}\nstore: {url: 'memory://'}")
    settle(sidecar.watcher)

    assert sidecar.steps == [4]
    assert sidecar.watcher.loaded.policy.store_url == "sqlite:///holdfast.db"
    warnings = [str(warning) for warning in sidecar.watcher.loaded.warnings]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{path}: warning: store.url: takes a restart to change")


async def test_the_shipped_policy_needs_no_watching() -> None:
    """It changes with the package."""
    sidecar = Sidecar(None, FakeClock())

    await sidecar.watcher.run()

    assert sidecar.watcher.reload_now() == "unchanged"
    assert sidecar.steps == []


def test_a_broken_file_at_the_start_is_an_error(path: Path) -> None:
    """There is no old policy to keep."""
    path.write_text("a: 1")

    with pytest.raises(PolicyInvalid):
        Sidecar(path, FakeClock())
