"""The chart's pods, run: the agent is governed, stopped, and nobody's jailer."""

import json
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from proxy.admin.shapes import Json
from tests.helm.kit import Rendered, at, mapping, render
from tests.helm.kubelet import Cluster, Pod, free_port, write_config_map
from tests.helm.matrix import SECRET

pytestmark = [pytest.mark.helm, pytest.mark.process, pytest.mark.timeout(60)]

TOKEN = "a-token-of-the-cluster-operator"
CURIOUS = """
import json, os, sys, urllib.error, urllib.request
admin = os.environ["HOLDFAST_URL"].rpartition(":")[0] + ":" + sys.argv[1]
try:
    urllib.request.urlopen(admin + "/api/v1/sessions")
except urllib.error.HTTPError as error:
    print(json.dumps({"status": error.code, "environment": dict(os.environ)}))
"""
"""An agent that wants more than it was given."""


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def rendered_job(policy: str, **more: Json) -> Rendered:
    """A Job, on ports that are free here."""
    example: dict[str, Json] = {"job": True, "simulatedPort": free_port()}
    example |= mapping(more.pop("example", {}))
    return render(
        {
            "mode": "sidecar",
            "policy": {"content": policy},
            "ports": {"data": free_port(), "admin": free_port()},
            "example": example,
            **more,
        }
    )


def pod_of(rendered: Rendered, folder: Path, address: str = "127.0.0.1") -> Pod:
    """The Job's pod, in a cluster that has its ConfigMap and the operator's token."""
    policy = rendered.of("ConfigMap")
    data = {key: str(text) for key, text in mapping(policy["data"]).items()}
    maps = {str(at(policy, "metadata", "name")): data}
    cluster = Cluster(folder, address, maps, {SECRET: {"token": TOKEN}})
    spec = mapping(at(rendered.of("Job"), "spec", "template", "spec"))
    return Pod(spec, "try-holdfast-task-1-x7k2p", cluster)


@pytest.mark.parametrize(
    ("family", "address"),
    [
        ("IPv4", "127.0.0.1"),
        pytest.param(
            "IPv6", "::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
        ),
    ],
)
def test_a_job_ends_when_its_agent_has_been_stopped(
    tmp_path: Path, family: str, address: str
) -> None:
    """And the sidecar with it, without an error: a failed container would fail the Job."""
    rendered = rendered_job(
        "limits: {steps: 2}", ipFamily=family, sidecar={"sessionPerPod": True, "agent": "triage"}
    )

    with pod_of(rendered, tmp_path, address) as pod:
        codes, said = pod.run()

    assert codes == {"provider": 0, "holdfast": 0, "agent": 0}, said
    assert said["agent"].splitlines()[:2] == ["turn 1: calls a tool", "turn 2: calls a tool"]
    assert f"turn 3: stopped: Session {pod.name} has used 2 of 2 steps." in said["agent"]


def test_an_agent_finds_no_way_to_the_admin_token(tmp_path: Path) -> None:
    """With it, it would extend its own limits."""
    admin = free_port()
    rendered = rendered_job(
        "limits: {steps: 2}",
        ports={"data": free_port(), "admin": admin},
        adminToken={"existingSecret": SECRET},
        example={"command": ["python3", "-c", CURIOUS, str(admin)]},
    )

    with pod_of(rendered, tmp_path) as pod:
        _, said = pod.run()

    told = json.loads(said["agent"])
    assert told["status"] == 401
    assert TOKEN not in said["agent"]
    assert pod.environments["holdfast"]["HOLDFAST_ADMIN_TOKEN"] == TOKEN
    assert "OPENAI_BASE_URL" in told["environment"]


class Running:
    """The sidecar of a pod, as its agent and its operator see it."""

    def __init__(self, pod: Pod) -> None:
        environment = pod.environments["holdfast"]
        self._data = f"http://127.0.0.1:{environment['HOLDFAST_PORT']}"
        self._admin = f"http://127.0.0.1:{environment['HOLDFAST_ADMIN_PORT']}"

    def admin(self, path: str) -> str:
        headers = {"authorization": f"Bearer {TOKEN}"}
        with urlopen(Request(self._admin + path, headers=headers), timeout=5) as answer:
            return str(answer.read().decode())

    def steps(self) -> Json:
        return at(json.loads(self.admin("/api/v1/policy")), "policy", "limits", "steps")

    def served(self, session: str) -> int:
        """How many calls of a session are answered before one is refused by its limit."""
        asked: Mapping[str, Json] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        url = f"{self._data}/s/{session}/v1/chat/completions"
        headers = {"authorization": "Bearer sk-1", "content-type": "application/json"}
        for number in range(100):
            try:
                urlopen(Request(url, json.dumps(asked).encode(), headers), timeout=5).close()
            except HTTPError as error:
                with error:
                    refused = json.load(error)["error"]["code"]
                return number if refused == "step_limit_exceeded" else -1
        raise AssertionError("no limit holds")


def test_config_map_swaps_reach_a_served_sidecar_and_a_broken_one_does_not(tmp_path: Path) -> None:
    """On the mounts of the chart: twice swapped, twice in force; then nothing changes, and it says
    why. Watching the path by inotify sees the first swap alone."""
    rendered = rendered_job("limits: {steps: 1}", adminToken={"existingSecret": SECRET})
    with pod_of(rendered, tmp_path) as pod:
        running, folder = Running(pod), pod.volumes["holdfast-policy"]
        assert running.served("first") == 1

        for steps in (2, 3):
            write_config_map(folder, {"policy.yaml": f"limits: {{steps: {steps}}}\n"})
            while running.steps() != steps:
                pass
            assert running.served(f"under-{steps}") == steps

        write_config_map(folder, {"policy.yaml": "limits: {steps: many, stepz: 1}\n"})
        while "policy not reloaded" not in (ready := running.admin("/readyz")):
            pass

        assert "stepz: unknown key" in ready
        assert running.steps() == 3
        assert running.served("under-the-last-good-one") == 3
        counted = running.admin("/metrics").splitlines()
        assert 'holdfast_policy_reloads_total{outcome="applied"} 2.0' in counted
        assert 'holdfast_policy_reloads_total{outcome="refused"} 1.0' in counted


@contextmanager
def provider() -> Iterator[int]:
    """The simulated provider, outside of any pod: its port."""
    port = free_port()
    command = [sys.executable, "-m", "proxy", "simulate", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert str(port) in process.stdout.readline()
            yield port
        finally:
            process.kill()


def test_a_gateway_ends_its_streams_before_it_ends(tmp_path: Path) -> None:
    """A rollout in the middle of an answer: the answer is whole, and in the ledger on the claim."""
    asked: Mapping[str, Json] = {
        "model": "sim-gap200",
        "stream": True,
        "messages": [{"role": "user", "content": "Say it slowly, please"}],
    }
    with provider() as upstream:
        ports: dict[str, Json] = {"data": free_port(), "admin": free_port()}
        rendered = render(
            {
                "ports": ports,
                "env": {"HOLDFAST_OPENAI_URL": f"http://127.0.0.1:{upstream}/v1"},
                "gateway": {"preStopSeconds": 1},
            }
        )
        spec = mapping(at(rendered.of("Deployment"), "spec", "template", "spec"))
        with Pod(spec, "try-holdfast-5d8f", Cluster(tmp_path)) as pod:
            pod.start()
            url = f"http://127.0.0.1:{ports['data']}/v1/chat/completions"
            headers = {"authorization": "Bearer sk-1", "content-type": "application/json"}
            request = Request(url, json.dumps(asked).encode(), headers)
            with urlopen(request, timeout=20) as answer:
                first = answer.readline()
                codes = pod.stop()
                rest = answer.read()
            ledger = pod.volumes["holdfast-ledger"] / "holdfast.db"

    assert first.startswith(b"data: ")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b"error" not in rest
    assert codes == {"holdfast": 0}
    with closing(sqlite3.connect(ledger)) as read:
        written = [str(payload) for (payload,) in read.execute("SELECT payload FROM events")]
    assert sum("StepSettled" in payload for payload in written) == 1
