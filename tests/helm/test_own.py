"""A chart of one's own that depends on this one: the sidecar in its pods."""

import json
import shutil
from pathlib import Path

import pytest

from proxy.admin.shapes import Json
from tests.helm.kit import (
    CHART,
    ROOT,
    ask,
    at,
    containers,
    items,
    mapping,
    render,
    secrets,
    variables,
)
from tests.helm.matrix import SECRET

pytestmark = [pytest.mark.helm, pytest.mark.timeout(120)]


def test_a_chart_of_ones_own_has_the_sidecar_in_its_pod(tmp_path: Path) -> None:
    """As docs/kubernetes.md says; its values are those under `holdfast`."""
    chart = tmp_path / "mailer"
    shutil.copytree(ROOT / "tests" / "helm" / "own", chart)
    shutil.copytree(CHART, chart / "charts" / "holdfast")

    rendered = render({}, chart)

    told = (ROOT / "docs" / "kubernetes.md").read_text()
    assert (chart / "templates" / "agent.yaml").read_text().partition("    spec:\n")[2] in told
    (pod,) = rendered.pods()
    agent, holdfast = containers(pod)["agent"], containers(pod)["holdfast"]
    assert variables(agent)["OPENAI_BASE_URL"] == "http://127.0.0.1:8080/a/mailer/v1"
    assert variables(agent)["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8080/a/mailer"
    assert secrets(agent) == set()
    assert secrets(holdfast) == {SECRET, "providers"}
    assert holdfast["image"] == "registry.example/holdfast:0.1.0"
    policy = rendered.of("ConfigMap")
    names = {at(volume, "configMap", "name") for volume in items(pod["volumes"])}
    assert at(policy, "metadata", "name") in names
    assert {m["kind"] for m in rendered.manifests} == {"Deployment", "ConfigMap"}


def test_two_agents_in_one_chart_have_a_sidecar_each(tmp_path: Path) -> None:
    """By `alias`: each has its own values, and its own policy."""
    chart = tmp_path / "two"
    shutil.copytree(CHART, chart / "charts" / "holdfast")
    dependency: dict[str, Json] = {"name": "holdfast", "version": "0.1.0", "repository": ""}
    both = [dependency | {"alias": name} for name in ("reader", "writer")]
    told = {"apiVersion": "v2", "name": "two", "version": "1.0.0", "dependencies": both}
    (chart / "Chart.yaml").write_text(json.dumps(told))
    (chart / "templates").mkdir()
    own = (ROOT / "tests" / "helm" / "own" / "templates" / "agent.yaml").read_text()
    for name in ("reader", "writer"):
        text = own.replace("mailer", name).replace("Subcharts.holdfast", f"Subcharts.{name}")
        (chart / "templates" / f"{name}.yaml").write_text(text)
    values: dict[str, Json] = {
        name: {"mode": "sidecar", "sidecar": {"agent": name}, "policy": {"content": f"# {name}"}}
        for name in ("reader", "writer")
    }

    rendered = render({"global": {"region": "eu"}, **values}, chart)

    for name in ("reader", "writer"):
        pod = mapping(at(rendered.of("Deployment", name), "spec", "template", "spec"))
        url = variables(containers(pod)["agent"])["OPENAI_BASE_URL"]
        assert url == f"http://127.0.0.1:8080/a/{name}/v1"
        mounted = at(items(pod["volumes"])[1], "configMap", "name")
        policy = rendered.of("ConfigMap", str(mounted))
        assert policy["data"] == {"policy.yaml": f"# {name}"}


def test_templates_for_ones_own_pod_are_refused_in_the_other_mode(tmp_path: Path) -> None:
    chart = tmp_path / "mailer"
    shutil.copytree(ROOT / "tests" / "helm" / "own", chart)
    shutil.copytree(CHART, chart / "charts" / "holdfast")

    (rendered,) = ask(
        [{"holdfast": {"mode": "gateway", "sidecar": {"agent": ""}}}], chart=chart
    ).rendered

    assert rendered.error is not None
    assert "need `mode: sidecar`" in rendered.error
