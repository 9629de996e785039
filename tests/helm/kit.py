"""Helm's own code, on the chart of this repository."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.admin.shapes import Json

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "helm" / "holdfast"
VENV = ROOT / ".venv-helm"
OLDEST = "1.29.0"
"""Kubernetes from this version on starts native sidecars."""

Manifest = dict[str, Json]
Values = Mapping[str, Json]


def missing() -> str | None:
    """What is not installed; None where all is there."""
    return None if (VENV / ".installed").exists() else "no .venv-helm: run tests/helm/setup.sh"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A release, as `helm template` would show it; error: why there is none."""

    error: str | None = None
    notes: str = ""
    manifests: Sequence[Manifest] = ()
    invalid: Sequence[str] = ()
    unknown: Sequence[str] = ()

    def of(self, kind: str, name: str | None = None) -> Manifest:
        """The only one of its kind, or that of a name."""
        found = [m for m in self.manifests if m["kind"] == kind]
        (only,) = [m for m in found if name is None or at(m, "metadata", "name") == name]
        return only

    def pods(self) -> Iterator[Manifest]:
        """The specification of every pod that would run."""
        for manifest in self.manifests:
            if manifest["kind"] in ("Deployment", "Job"):
                yield mapping(at(manifest, "spec", "template", "spec"))


@dataclass(frozen=True, slots=True)
class Told:
    """What one run of the program has told. linted: messages of warnings and worse."""

    rendered: Sequence[Rendered]
    linted: Sequence[Sequence[str]]
    versions: Sequence[str]


def ask(cases: Sequence[Values], linted: Sequence[Values] = (), chart: Path = CHART) -> Told:
    """Renders, validates and lints in one process: Helm takes half a second to load."""
    asked = {"chart": str(chart), "oldest": OLDEST, "cases": cases, "linted": linted}
    done = subprocess.run(
        [VENV / "bin" / "python", Path(__file__).parent / "program.py"],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    return Told(
        [Rendered(**each) for each in told["rendered"]],
        [
            [said["error"] for said in each["messages"] if said["severity"] > 1] + each["errors"]
            for each in told["linted"]
        ],
        told["versions"],
    )


def render(values: Values, chart: Path = CHART) -> Rendered:
    """One release that has to be."""
    (rendered,) = ask([values], chart=chart).rendered
    assert rendered.error is None
    assert not rendered.invalid
    return rendered


def at(value: Json, *path: str | int) -> Json:
    """What lies at a path; None where there is nothing."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step]
        else:
            return None
    return value


def mapping(value: Json) -> Manifest:
    assert isinstance(value, dict)
    return value


def merged(*parts: Values) -> Manifest:
    """As Helm merges: mappings key by key, the last one wins."""
    whole: Manifest = {}
    for name, value in (entry for part in parts for entry in part.items()):
        old = whole.get(name)
        both = isinstance(old, dict) and isinstance(value, dict)
        whole[name] = merged(mapping(old), mapping(value)) if both else value
    return whole


def items(value: Json) -> list[Manifest]:
    """A list of mappings; nothing where there is none."""
    assert value is None or isinstance(value, list)
    return [mapping(each) for each in value or ()]


def containers(pod: Manifest) -> dict[str, Manifest]:
    """All containers of a pod by their names, in the order in which they start."""
    every = items(pod.get("initContainers")) + items(pod["containers"])
    return {str(each["name"]): each for each in every}


def variables(container: Manifest) -> dict[str, Json]:
    return {str(entry["name"]): entry.get("value") for entry in items(container.get("env"))}


def secrets(container: Manifest) -> set[str]:
    """The Secrets that a container's variables come from."""
    named = {
        at(entry, "valueFrom", "secretKeyRef", "name") for entry in items(container.get("env"))
    }
    return {str(name) for name in named if name}
