"""Who reaches whom: Services, network policies, and monitors."""

import jsonschema
import pytest

from proxy.admin.shapes import Json
from tests.helm.kit import Rendered, at, containers, items, mapping, render
from tests.helm.matrix import matrix

pytestmark = [pytest.mark.helm, pytest.mark.timeout(120)]

_SELECTOR = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "properties": {"matchLabels": {"type": "object"}, "matchExpressions": {"type": "array"}},
}
_ENDPOINTS = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["port", "path", "interval"],
        "properties": {key: {"type": "string"} for key in ("port", "path", "interval")},
    },
}


def test_no_rule_of_a_network_policy_lets_everybody_in_by_mistake() -> None:
    """An empty list of peers means everybody."""
    for rendered in matrix().rendered:
        for manifest in rendered.manifests:
            if manifest["kind"] == "NetworkPolicy":
                for rule in items(at(manifest, "spec", "ingress")):
                    assert rule["from"]
                    assert rule["ports"]
                for rule in items(at(manifest, "spec", "egress")):
                    assert rule["ports"]
                    assert rule.get("to", "DNS, anywhere")
    closed = render({"networkPolicy": {"enabled": True, "agents": []}}).of("NetworkPolicy")
    assert at(closed, "spec", "ingress") == []
    assert at(closed, "spec", "policyTypes") == ["Ingress", "Egress"]


def selected(rendered: Rendered, selector: Json) -> list[str]:
    """The Deployments whose pods a selector means."""
    wanted = mapping(selector).items()
    return [
        str(at(manifest, "metadata", "name"))
        for manifest in rendered.manifests
        if manifest["kind"] in ("Deployment", "Job")
        and wanted <= mapping(at(manifest, "spec", "template", "metadata", "labels")).items()
    ]


def test_services_policies_and_monitors_select_what_they_are_for() -> None:
    rendered = render(
        {
            "monitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "networkPolicy": {"enabled": True, "confine": {"role": "agent"}},
        }
    )
    data, admin = (
        rendered.of("Service", "try-holdfast"),
        rendered.of("Service", "try-holdfast-admin"),
    )
    monitor = rendered.of("ServiceMonitor")
    confined = rendered.of("NetworkPolicy", "try-holdfast-confined")

    for service in (data, admin):
        assert selected(rendered, at(service, "spec", "selector")) == ["try-holdfast"]
        (port,) = items(at(service, "spec", "ports"))
        pod = next(rendered.pods())
        assert port["targetPort"] in {
            p["name"] for p in items(containers(pod)["holdfast"]["ports"])
        }
    assert at(admin, "spec", "publishNotReadyAddresses") is True
    assert at(data, "spec", "publishNotReadyAddresses") is None
    wanted = mapping(at(monitor, "spec", "selector", "matchLabels")).items()
    assert wanted <= mapping(at(admin, "metadata", "labels")).items()
    assert not wanted <= mapping(at(data, "metadata", "labels")).items()
    assert at(monitor, "metadata", "labels", "release") == "prometheus"
    assert at(monitor, "spec", "endpoints", 0, "port") == at(admin, "spec", "ports", 0, "name")
    assert at(confined, "spec", "podSelector", "matchLabels") == {"role": "agent"}
    to = at(confined, "spec", "egress", 1, "to", 0, "podSelector", "matchLabels")
    assert selected(rendered, to) == ["try-holdfast"]


@pytest.mark.parametrize(
    ("mode", "endpoints"), [("gateway", "endpoints"), ("sidecar", "podMetricsEndpoints")]
)
def test_monitors_have_the_keys_that_prometheus_operator_knows(mode: str, endpoints: str) -> None:
    """https://prometheus-operator.dev/docs/api-reference/api/ (2026-11-30); its CRDs are nowhere
    among the schemas."""
    kind = {"gateway": "ServiceMonitor", "sidecar": "PodMonitor"}[mode]
    monitor = render({"mode": mode, "monitor": {"enabled": True}}).of(kind)

    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    jsonschema.validate(
        monitor["spec"],
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["selector", endpoints],
            "properties": {"selector": _SELECTOR, endpoints: _ENDPOINTS},
        },
    )
