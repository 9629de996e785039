"""Values over which the chart is rendered: every combination of what changes a manifest's shape."""

from collections.abc import Iterator
from functools import cache
from itertools import product

from proxy.admin.shapes import Json
from tests.helm.kit import Told, Values, ask, merged

POLICY = "# every agent\nlimits: {steps: 60, tokens: 5000000}\n\nbudgets: []\n"
SECRET = "holdfast-admin-token"
PROVIDER_KEY: dict[str, Json] = {"OPENAI_API_KEY": {"secret": "providers", "key": "openai"}}

_POLICIES: tuple[Values, ...] = (
    {},
    {"policy": {"content": POLICY, "key": "agents.yaml"}},
    {"policy": {"existingConfigMap": "ours"}},
)
_TOKENS: tuple[Values, ...] = (
    {},
    {"adminToken": {"existingSecret": SECRET}, "secretEnv": PROVIDER_KEY},
)
_FAMILIES: tuple[Values, ...] = ({}, {"ipFamily": "IPv6"})
_MONITORS: tuple[Values, ...] = (
    {},
    {"monitor": {"enabled": True, "labels": {"release": "prometheus"}}},
)
_CLAIMS: tuple[Values, ...] = (
    {},
    {"gateway": {"persistence": {"enabled": False}}},
    {"gateway": {"persistence": {"existingClaim": "ours"}}},
)
_MONITORING: Json = {"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}
_VLLM: Json = {"to": [{"podSelector": {"matchLabels": {"app": "vllm"}}}], "ports": [{"port": 8000}]}
_NETWORKS: tuple[Values, ...] = (
    {},
    {"networkPolicy": {"enabled": True, "admin": [_MONITORING], "egress": [_VLLM]}},
    {"networkPolicy": {"enabled": True, "agents": [], "confine": {"role": "agent"}}},
)
_EXAMPLES: tuple[Values, ...] = (
    {},
    {"example": {"job": True}},
    {"example": {"job": True, "deployment": True, "simulated": False}},
    {"example": {"deployment": True, "image": "our/agent:3", "command": ["agent", "--all"]}},
)
_AGENTS: tuple[Values, ...] = ({}, {"sidecar": {"agent": "triage", "sessionPerPod": True}})

JOB: Values = {"mode": "sidecar", "example": {"job": True}}
EVERYTHING: Values = {
    "fullnameOverride": "a-name-that-is-as-long-as-names-may-become-in-a-cluster",
    "image": {
        "repository": "registry.example:5000/ai/holdfast",
        "digest": f"sha256:{'a' * 64}",
        "pullPolicy": "Always",
    },
    "imagePullSecrets": [{"name": "registry"}],
    "env": {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "10.0.0.0/8"},
    "ports": {"data": 18080, "admin": 19090},
    "workers": 4,
    "drainSeconds": 120,
    "logLevel": "DEBUG",
    "user": 1000650000,
    "group": 1000650000,
    "resources": {"limits": {"cpu": 2, "memory": "1Gi"}},
    "gateway": {
        "replicas": 0,
        "service": {"type": "LoadBalancer", "annotations": {"internal": "true"}},
        "persistence": {"storageClass": "fast", "accessMode": "ReadWriteOncePod", "size": "20Gi"},
        "podAnnotations": {"note": "a: b"},
        "podLabels": {"team": "a"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "ai", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
    },
}


FLEET: Values = {
    "adminToken": {"existingSecret": SECRET},
    "gateway": {
        "replicas": 3,
        "redis": {
            "url": "redis+cluster://redis-0.redis:6379,redis-1.redis:6379",
            "chainKey": {"existingSecret": "holdfast-chain-key"},
        },
    },
}
"""Replicas on one ledger."""
ONE_ON_REDIS: Values = {
    "gateway": {
        "redis": {"existingSecret": "redis", "chainKey": {"existingSecret": "holdfast-chain-key"}},
    },
}


def gateways() -> Iterator[Values]:
    """A gateway in every shape."""
    for parts in product(_POLICIES, _TOKENS, _FAMILIES, _MONITORS, _CLAIMS, _NETWORKS):
        yield merged(*parts)
    yield EVERYTHING
    for shape in product((FLEET, ONE_ON_REDIS), _POLICIES, _TOKENS[1:], _CLAIMS, _NETWORKS):
        yield merged(*shape)
    yield merged(EVERYTHING, FLEET)


def sidecars() -> Iterator[Values]:
    """Sidecars in every shape."""
    for parts in product(_POLICIES, _TOKENS, _FAMILIES, _MONITORS, _EXAMPLES, _AGENTS):
        yield merged({"mode": "sidecar"}, *parts)
    yield merged(EVERYTHING, {"mode": "sidecar", "example": {"job": True, "deployment": True}})


MATRIX: tuple[Values, ...] = (*gateways(), *sidecars())


@cache
def matrix() -> Told:
    """All of them, rendered once; lint on a few."""
    linted = [{}, EVERYTHING, FLEET, JOB, {"mode": "sidecar"}]
    return ask(MATRIX, linted)
