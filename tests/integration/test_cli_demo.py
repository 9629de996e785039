"""`holdfast demo`: what it promises, and that a broken promise is told by its exit code."""

import pytest

from proxy.cli import demo
from proxy.cli.main import main
from proxy.demo.stage import Stage
from proxy.demo.telling import Promise


@pytest.mark.timeout(60)  # 6 s on a quiet machine, of which half is waiting
def test_the_demo_keeps_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it runs on loopback; the figures come from the provider's own journal. It fits a
    terminal, and a log: plain ASCII, no control characters."""
    assert main(["demo"]) == 0

    told = capsys.readouterr().out
    assert told.count("[ok]") == 11
    assert "NOT KEPT" not in told
    assert "HTTP 422 loop_detected: Session demo-loop goes round in a loop" in told
    assert '$ holdfast sessions guide demo-loop "The report is in report-q3.csv."' in told
    assert "HTTP 422 budget_exceeded: Session demo-agent has spent" in told
    assert "$ holdfast sessions extend demo-agent --cost-usd 0.05" in told
    assert "with nothing in between   30 served,  0 refused   billed $0.3745" in told
    assert "holdfast serve" in told
    assert max(len(line) for line in told.splitlines()) <= 100
    assert all(line.isascii() and line.isprintable() for line in told.splitlines())


def test_a_broken_promise_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipeline must not take a demo that failed for one that went well."""

    async def scene(on: Stage) -> list[Promise]:
        return [Promise("the sun rose in the west", kept=False)]

    monkeypatch.setattr(demo, "SCENES", (scene,))

    assert main(["demo"]) == 1
    assert "[NOT KEPT] the sun rose in the west" in capsys.readouterr().out


def test_what_prevents_it_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback where loopback cannot be used."""

    async def scene(on: Stage) -> list[Promise]:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr(demo, "SCENES", (scene,))

    assert main(["demo"]) == 1
    assert "the demo could not run: [Errno 98] Address" in capsys.readouterr().err
