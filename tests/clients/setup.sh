#!/bin/sh
# Installs the pinned clients that `pytest -m sdk` runs: Python's into .venv-clients at the root of
# the repository, Node's into tests/clients/node_modules. Does nothing where they are up to date.
# --no-agents leaves out Codex CLI and Claude Code (640 MB). PYTHON: the interpreter to use.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv=$(cd "$here/../.." && pwd)/.venv-clients

agents=yes
omit=
if [ "${1:-}" = --no-agents ]; then
    agents=no
    omit=--omit=optional
fi

stamp() { cat "$@" | sha256sum | cut -d ' ' -f 1; }

wanted=$(stamp "$here/requirements.txt")
if [ "$(cat "$venv/.installed" 2>/dev/null)" != "$wanted" ]; then
    "${PYTHON:-python3}" -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
        -r "$here/requirements.txt"
    echo "$wanted" > "$venv/.installed"
fi

wanted=$(stamp "$here/package.json" "$here/package-lock.json")
case "$(cat "$here/node_modules/.installed" 2>/dev/null)" in
"$wanted yes" | "$wanted $agents") ;;
*)
    (cd "$here" && npm ci --no-audit --no-fund --loglevel=error $omit)
    echo "$wanted $agents" > "$here/node_modules/.installed"
    ;;
esac
