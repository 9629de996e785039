"""The chart, rendered by Helm: valid, closed, and without a secret where the agent is."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import proxy
from proxy.cli.run import base_url_variables
from tests.helm.kit import (
    CHART,
    OLDEST,
    ROOT,
    Manifest,
    ask,
    at,
    containers,
    items,
    mapping,
    merged,
    render,
    secrets,
    variables,
)
from tests.helm.matrix import FLEET, JOB, ONE_ON_REDIS, SECRET, matrix

pytestmark = [pytest.mark.helm, pytest.mark.timeout(120)]


def every_container() -> Iterator[tuple[Manifest, Manifest]]:
    """Each container with its pod."""
    for rendered in matrix().rendered:
        for pod in rendered.pods():
            for container in containers(pod).values():
                yield pod, container


def test_every_combination_is_valid_on_the_oldest_kubernetes_and_the_newest() -> None:
    """Strictly: a field that a version does not know is an error, as it is with kubectl."""
    told = matrix()

    assert told.versions[0] == OLDEST
    assert tuple(map(int, told.versions[1].split("."))) >= (1, 37, 0)
    assert {rendered.error for rendered in told.rendered} == {None}
    assert {what for rendered in told.rendered for what in rendered.invalid} == set()
    assert {kind for rendered in told.rendered for kind in rendered.unknown} == {
        "ServiceMonitor",
        "PodMonitor",
    }


def test_helm_has_nothing_to_say_of_it() -> None:
    assert matrix().linted == [[]] * 5


def test_a_field_that_kubernetes_does_not_know_is_found(tmp_path: Path) -> None:
    """Else the two tests above would show nothing."""
    chart = tmp_path / "holdfast"
    shutil.copytree(CHART, chart)
    template = chart / "templates" / "gateway.yaml"
    template.write_text(template.read_text().replace("fsGroupChangePolicy", "fsGroupPolicy"))

    (rendered,) = ask([{}], chart=chart).rendered

    assert len(rendered.invalid) == 2
    assert all("fsGroupPolicy" in said for said in rendered.invalid)


def test_every_pod_keeps_to_the_restricted_standard() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/ (2026-11-30)"""
    for pod, container in every_container():
        security = mapping(container["securityContext"])
        user = security.get("runAsUser", at(pod, "securityContext", "runAsUser"))
        assert security["runAsNonRoot"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert isinstance(user, int)
        assert user > 0
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(pod)
        assert all("hostPort" not in port for port in items(container.get("ports")))
        for volume in items(pod["volumes"]):
            (kind,) = set(volume) - {"name"}
            assert kind in ("emptyDir", "configMap", "persistentVolumeClaim")


def test_no_container_but_holdfast_ever_gets_a_secret() -> None:
    """Nor the ledger's folder, where a token is that was made there, nor its user, whose memory it
    could read. Whoever holds the token extends their own limits."""
    seen = 0
    for pod, container in every_container():
        mounts = {mount["name"] for mount in items(container.get("volumeMounts"))}
        user = at(containers(pod)["holdfast"], "securityContext", "runAsUser")
        if container["name"] == "holdfast":
            assert "holdfast-ledger" in mounts
            seen += SECRET in secrets(container)
        else:
            assert not secrets(container)
            assert "HOLDFAST_ADMIN_TOKEN" not in variables(container)
            assert "envFrom" not in container
            assert not mounts
            assert at(pod, "securityContext", "runAsUser") != user
    assert seen > 100


def test_the_sidecar_is_native_and_ready_before_the_agent() -> None:
    """`restartPolicy: Always` lets a Job end; the startup probe holds the agent back."""
    for rendered in matrix().rendered:
        for pod in rendered.pods():
            if "initContainers" not in pod:
                continue
            assert [c["restartPolicy"] for c in items(pod["initContainers"])][-1] == "Always"
            sidecar = containers(pod)["holdfast"]
            assert at(sidecar, "startupProbe", "httpGet", "path") == "/readyz"
            assert list(containers(pod))[-2:] == ["holdfast", "agent"]
            assert variables(sidecar)["HOLDFAST_HOST"] in ("127.0.0.1", "::1")
            assert [port["name"] for port in items(sidecar["ports"])] == ["holdfast-admin"]


def test_an_agent_is_told_of_the_sidecar_as_by_holdfast_run() -> None:
    for address, family in (("127.0.0.1", "IPv4"), ("[::1]", "IPv6")):
        (pod,) = render(merged(JOB, {"ipFamily": family})).pods()

        told = variables(containers(pod)["agent"])
        assert base_url_variables(f"http://{address}:8080").items() <= told.items()


def test_a_policy_is_mounted_so_that_its_changes_are_seen() -> None:
    """A file that is mounted alone (subPath) is never updated; a checksum would restart the pod."""
    for pod, container in every_container():
        policy = variables(container).get("HOLDFAST_POLICY")
        mounts = {m["name"]: m for m in items(container.get("volumeMounts"))}
        assert all("subPath" not in mount for mount in mounts.values())
        assert (policy is not None) == ("holdfast-policy" in mounts)
        if policy is not None:
            folder = mounts["holdfast-policy"]["mountPath"]
            assert str(policy).rpartition("/")[0] == folder
            assert "holdfast-policy" in {volume["name"] for volume in items(pod["volumes"])}


def test_replicas_share_a_ledger_and_nothing_else() -> None:
    """One after another is replaced, none waits for a volume, and nodes can be drained."""
    one, fleet = render(ONE_ON_REDIS), render(FLEET)
    for rendered in (one, fleet):
        kinds = {str(manifest["kind"]) for manifest in rendered.manifests}
        assert "PersistentVolumeClaim" not in kinds
        deployment = rendered.of("Deployment")
        assert at(deployment, "spec", "strategy", "rollingUpdate", "maxUnavailable") == 0
        (pod,) = rendered.pods()
        environment = str(containers(pod)["holdfast"]["env"])
        assert "'holdfast-chain-key'" in environment
        assert "sqlite" not in environment
        assert ("PodDisruptionBudget" in kinds) == (rendered is fleet)
        assert "Redis" in rendered.notes

    budget = fleet.of("PodDisruptionBudget")
    assert at(budget, "spec", "maxUnavailable") == 1
    labels = at(fleet.of("Deployment"), "spec", "template", "metadata", "labels")
    assert set(items_of(at(budget, "spec", "selector", "matchLabels"))) <= set(items_of(labels))


def items_of(labels: object) -> list[tuple[str, str]]:
    assert isinstance(labels, dict)
    return [(str(name), str(value)) for name, value in labels.items()]


def test_whoever_ends_it_waits_for_the_drain() -> None:
    for rendered in matrix().rendered:
        for pod in rendered.pods():
            holdfast = containers(pod)["holdfast"]
            drain = int(str(variables(holdfast)["HOLDFAST_DRAIN_SECONDS"]))
            command = at(holdfast, "lifecycle", "preStop", "exec", "command")
            before = int(str(at(command, 1) or 0))
            grace = pod["terminationGracePeriodSeconds"]
            assert isinstance(grace, int)
            assert grace >= before + drain + 5
            assert ("initContainers" in pod) == (command is None)


def test_each_variable_is_one_that_holdfast_reads() -> None:
    """And none is left to service links: a Service called holdfast means HOLDFAST_PORT=tcp://…"""
    command = [sys.executable, "-m", "proxy", "serve", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    read = set(re.findall(r"\[(HOLDFAST_\w+)\]", told))
    others = {"HOLDFAST_ADMIN_HOSTS", "HOLDFAST_ADMIN_TOKEN", "HOLDFAST_OPENAI_URL"}
    others |= {"HOLDFAST_STATE_DIR", "HOLDFAST_CHAIN_KEY"}
    linked = {
        f"{service}_{what}"
        for service in ("HOLDFAST", "HOLDFAST_ADMIN")
        for what in ("PORT", "SERVICE_HOST", "SERVICE_PORT")
    }
    assert linked & read == {"HOLDFAST_PORT", "HOLDFAST_ADMIN_PORT"}
    for _, container in every_container():
        if container["name"] == "holdfast":
            given = {name for name in variables(container) if name.startswith("HOLDFAST_")}
            assert given <= read | others
            assert read - given <= {"HOLDFAST_POLICY"}


def test_the_admin_port_answers_to_its_service_and_to_whom_else_is_named() -> None:
    """And to no other name: a page could have its own name point here (DNS rebinding)."""
    (pod,) = render({"gateway": {"adminHosts": ["holdfast.example"]}}).pods()

    assert variables(containers(pod)["holdfast"])["HOLDFAST_ADMIN_HOSTS"] == (
        "try-holdfast-admin,try-holdfast-admin.agents,try-holdfast-admin.agents.svc,"
        "try-holdfast-admin.agents.svc.cluster.local,holdfast.example"
    )


def test_a_new_version_of_the_chart_alone_restarts_no_pod(tmp_path: Path) -> None:
    """A gateway's restart is a gap in its service."""
    chart = tmp_path / "holdfast"
    shutil.copytree(CHART, chart)
    told = (chart / "Chart.yaml").read_text()
    (chart / "Chart.yaml").write_text(told.replace("\nversion: 0.1.0", "\nversion: 0.1.1"))

    for values in ({}, merged(JOB, {"example": {"deployment": True}})):
        before, after = render(values), render(values, chart)
        old, new = before.of("Deployment"), after.of("Deployment")
        assert at(old, "metadata", "labels") != at(new, "metadata", "labels")
        assert at(old, "spec", "template") == at(new, "spec", "template")


def test_notes_say_where_to_call_and_what_is_not_kept() -> None:
    gateway = render({}).notes
    forgetful = render({"gateway": {"persistence": {"enabled": False}}}).notes
    job = render(JOB).notes

    assert "OPENAI_BASE_URL=http://try-holdfast.agents:8080/v1" in gateway
    assert "outlives an uninstall" in gateway
    assert "forgotten with the pod" in forgetful
    assert "logs -f job/try-holdfast-task-1 -c agent" in job


def test_the_chart_the_image_and_the_package_say_the_same() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    image = (ROOT / "Dockerfile").read_text()

    assert chart["appVersion"] == proxy.__version__
    assert chart["kubeVersion"] == ">=1.29.0-0"
    assert f"USER {values['user']}:{values['group']}\n" in image
    assert f"EXPOSE {values['ports']['data']} {values['ports']['admin']}\n" in image
    assert "VOLUME /var/lib/holdfast\n" in image
