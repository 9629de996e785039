# mypy: ignore-errors
"""Renders a chart and checks what comes of it, with the libraries of setup.sh.

One JSON object on stdin: `chart` (its folder), `oldest` (of Kubernetes), `cases` (each the values
of one release), `linted` (values, too). One on stdout: what Helm's lint says of each of these, and
for each case `error`, or `notes`, `manifests` and `invalid`: what the strict schemas of the oldest
and the newest Kubernetes say of them. Kinds without a schema (those of CRDs) are under `unknown`.
"""

import json
import sys

import kubernetes_validate as schemas
import yaml
from helm_python import Chart, lint
from helm_python.errors import HelmError

SPACE = "agents"


class Strict(yaml.CSafeLoader):
    """A key given twice is an error: the API server would take either."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.YAMLError(f"a key twice among {keys}")
        return super().construct_mapping(node, deep)


def problems(manifest, versions):
    for version in versions:
        try:
            schemas.validate(manifest, version, strict=True)
        except schemas.ValidationError as error:
            yield f"{version}: {manifest['kind']}: {error.message}"


def rendered(chart, values, versions, known):
    try:
        texts = chart.render(values, name="try", namespace=SPACE)
    except HelmError as error:
        return {"error": str(error)}
    notes = "".join(texts.pop(name) for name in list(texts) if name.endswith("NOTES.txt"))
    documents = (doc for text in texts.values() for doc in yaml.load_all(text, Strict))
    manifests = [document for document in documents if document]
    invalid, unknown = [], []
    for manifest in manifests:
        written = json.dumps(manifest, sort_keys=True)
        if written not in known:
            try:
                known[written] = list(problems(manifest, versions))
            except schemas.SchemaNotFoundError:
                known[written] = None
        if known[written] is None:
            unknown.append(manifest["kind"])
        else:
            invalid += known[written]
    return {"notes": notes, "manifests": manifests, "invalid": invalid, "unknown": unknown}


def main():
    asked = json.load(sys.stdin)
    chart, known = Chart.load(asked["chart"]), {}
    versions = asked["oldest"], schemas.latest_version()
    told = [rendered(chart, values, versions, known) for values in asked["cases"]]
    linted = [
        lint(asked["chart"], values, namespace=SPACE, strict=True, kube_version=asked["oldest"])
        for values in asked["linted"]
    ]
    print(json.dumps({"rendered": told, "linted": linted, "versions": versions}))


main()
