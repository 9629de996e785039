#!/bin/sh
# Installs Helm and the schemas of Kubernetes' manifests, as Python packages, into .venv-helm at the
# root of the repository (390 MB). Does nothing where they are up to date. PYTHON: the interpreter.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$here/../.." && pwd)/.venv-helm

wanted=$(sha256sum < "$here/requirements.txt" | cut -d ' ' -f 1)
[ "$(cat "$venv/.installed" 2>/dev/null)" = "$wanted" ] && exit 0
"${PYTHON:-python3}" -m venv --clear "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$here/requirements.txt"
echo "$wanted" > "$venv/.installed"
