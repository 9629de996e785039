"""What the chart's values may be: what is wrong is refused by its name, what is odd arrives."""

from collections.abc import Iterator

import pytest
import yaml

from proxy.admin.shapes import Json
from tests.helm.kit import CHART, Manifest, Values, ask, mapping, merged, render
from tests.helm.matrix import FLEET, POLICY

pytestmark = [pytest.mark.helm, pytest.mark.timeout(120)]


def job(**example: Json) -> Values:
    return {"mode": "sidecar", "example": {"job": True, **example}}


_FROM: Json = {"secret": "a", "key": "b"}
REFUSED: list[tuple[str, Values, str]] = [
    ("two replicas", {"gateway": {"replicas": 2}}, "1 at most"),
    (
        "replicas without a key in common",
        merged(FLEET, {"gateway": {"redis": {"chainKey": {"existingSecret": ""}}}}),
        "chainKey",
    ),
    (
        "replicas without a token in common",
        merged(FLEET, {"adminToken": {"existingSecret": ""}}),
        "adminToken",
    ),
    (
        "two ledgers",
        merged(FLEET, {"gateway": {"redis": {"existingSecret": "redis"}}}),
        "not both",
    ),
    (
        "a password in the open",
        {"gateway": {"redis": {"url": "redis://u:p@redis"}}},
        "url",
    ),
    ("an unknown mode", {"mode": "daemon"}, "mode"),
    ("a number as text", {"workers": "4"}, "workers"),
    ("no worker", {"workers": 0}, "workers"),
    ("a privileged port", {"ports": {"data": 80}}, "data"),
    ("root", {"user": 0}, "user"),
    ("a provider's key in the open", {"env": {"OPENAI_API_KEY": "sk-1"}}, "OPENAI_API_KEY"),
    ("a token in the open", {"env": {"HOLDFAST_ADMIN_TOKEN": "x"}}, "HOLDFAST_ADMIN_TOKEN"),
    (
        "the agent's key in the open",
        {"example": {"env": {"OPENAI_API_KEY": "s"}}},
        "OPENAI_API_KEY",
    ),
    ("a port under another name", {"env": {"HOLDFAST_PORT": "1"}}, "HOLDFAST_PORT"),
    (
        "the token for the agent",
        {"example": {"secretEnv": {"HOLDFAST_ADMIN_TOKEN": {"secret": "a", "key": "b"}}}},
        "HOLDFAST_ADMIN_TOKEN",
    ),
    ("a secret by its value", {"secretEnv": {"OPENAI_API_KEY": "sk-1"}}, "OPENAI_API_KEY"),
    ("a secret without a key", {"secretEnv": {"OPENAI_API_KEY": {"secret": "a"}}}, "key"),
    ("a label of ours", {"gateway": {"podLabels": {"helm.sh/chart": "x"}}}, "helm.sh/chart"),
    ("a policy as keys", {"policy": {"content": {"limits": {}}}}, "content"),
    ("a session in the agent's name", {"sidecar": {"agent": "a/s/b"}}, "agent"),
    ("a peer that is everybody", {"networkPolicy": {"admin": [{}]}}, "admin"),
    (
        "a network policy for sidecars",
        {"mode": "sidecar", "networkPolicy": {"enabled": True}},
        "only for the gateway",
    ),
    (
        "agents confined to no gateway",
        {"mode": "sidecar", "networkPolicy": {"confine": {"a": "b"}}},
        "only for the gateway",
    ),
    ("an example of no sidecar", {"example": {"job": True}}, "only in mode sidecar"),
    ("a gateway's agent", {"sidecar": {"agent": "a"}}, "only in mode sidecar"),
    (
        "two policies",
        {"policy": {"content": "version: 1", "existingConfigMap": "ours"}},
        "not both",
    ),
    ("two ports in one", {"ports": {"data": 9090}}, "need one each"),
    ("a simulated provider on a port of ours", job(simulatedPort=8080), "one of its own"),
    ("a variable twice", {"env": {"KEY_OF": "x"}, "secretEnv": {"KEY_OF": _FROM}}, "KEY_OF"),
    ("a way past the sidecar", job(env={"OPENAI_BASE_URL": "http://x"}), "OPENAI_BASE_URL"),
    (
        "the token for the agent under another name",
        {**job(secretEnv={"X": _FROM}), "adminToken": {"existingSecret": "a", "key": "b"}},
        "not the agent's",
    ),
    ("a name that no Service can have", {"fullnameOverride": "a.b"}, "fullnameOverride"),
    ("a name that is a number", {"nameOverride": "12"}, "nameOverride"),
]


def test_what_is_wrong_is_refused_by_its_name() -> None:
    told = ask([values for _, values, _ in REFUSED]).rendered

    for (what, _, named), rendered in zip(REFUSED, told, strict=True):
        assert rendered.error is not None, what
        assert named in rendered.error, what


def paths(values: Manifest, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Each value of the chart, with where it stands; a resource may be left away."""
    for name, value in values.items():
        yield (path := (*above, name)), value
        if isinstance(value, dict) and path != ("resources",):
            yield from paths(value, path)


def within(path: tuple[str, ...], value: Json) -> Manifest:
    """Values with one, at its path."""
    for name in reversed(path):
        value = {name: value}
    return mapping(value)


def test_an_unknown_key_is_refused_wherever_it_stands() -> None:
    """But in mappings of the user's own: these are empty, or resources'."""
    every = paths(yaml.safe_load((CHART / "values.yaml").read_text()))
    known = [(), *(path for path, value in every if isinstance(value, dict) and value)]

    for path, rendered in zip(
        known, ask([within((*path, "replicaz"), 1) for path in known]).rendered, strict=True
    ):
        assert "'replicaz' not allowed" in str(rendered.error), path
    assert len(known) > 10


def test_a_value_that_is_taken_away_is_missed_by_its_name_or_not_at_all() -> None:
    """Helm takes `key:` with nothing behind it for the key's removal: `replicas:` meant none,
    `user:` root, `drainSeconds:` no drain."""
    every = list(paths(yaml.safe_load((CHART / "values.yaml").read_text())))
    modes: list[Values] = [{}, {"mode": "sidecar", "example": {"job": True}}]

    for mode in modes:
        cases = [merged(mode, within(path, None)) for path, _ in every]
        whole, *without = ask([mode, *cases]).rendered
        for (path, value), rendered in zip(every, without, strict=True):
            if value:
                assert f"missing property '{path[-1]}'" in str(rendered.error), path
            elif path not in (("example", "job"),):
                assert rendered == whole, path


def test_the_text_of_a_policy_arrives_as_it_is() -> None:
    """Numbers do not become floats, nor is the first line's indentation lost."""
    texts = [
        POLICY,
        "  limits: {steps: 5000000}\n  budgets: []",
        'a: "{{ .Values }}"\n\n\n',
        "a: 1\r\nb: [2,\t3] \n---\n# \u2028 \u00e9 \U0001f600 \\ %\n...\n",
    ]
    for text in texts:
        told = render({"policy": {"content": text, "key": "a.yaml"}}).of("ConfigMap")
        assert told["data"] == {"a.yaml": text}


def test_names_that_look_like_numbers_or_truths_stay_texts() -> None:
    """YAML would make 123 a number and `on` a truth, which Kubernetes takes for no name."""
    odd: Values = {
        "fullnameOverride": "on",
        "nameOverride": "on",
        "adminToken": {"existingSecret": "123", "key": "007"},
        "secretEnv": {"NO": {"secret": "1", "key": "0x1F"}},
        "env": {"y": "1"},
        "policy": {"existingConfigMap": "007"},
        "imagePullSecrets": [{"name": "1"}],
        "monitor": {"enabled": True},
        "gateway": {
            "persistence": {"storageClass": "1", "size": "1"},
            "priorityClassName": "1",
            "podLabels": {"rack": "7"},
            "podAnnotations": {"n": "1e3"},
        },
    }
    claim: Values = {
        "fullnameOverride": "on",
        "networkPolicy": {"enabled": True},
        "gateway": {"persistence": {"existingClaim": "1"}},
    }
    agent = job(env={"y": "no"}, secretEnv={"NO": {"secret": "1", "key": "2"}}, model="1")

    for rendered in ask([odd, claim, merged(odd, agent)]).rendered:
        assert rendered.error is None
        assert rendered.invalid == []
