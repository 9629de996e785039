"""The systems that are measured, each as its makers tell people to run it, with one worker."""

import json
import sys
from pathlib import Path

from bench.peers.systems import CONFIGS, Launch, Place, System, installed, packaged, said
from bench.places import BENCH, ROOT
from proxy import __version__


def _nginx(program: Path, place: Place) -> Launch:
    conf = place.configured("nginx.conf")
    return Launch((str(program), "-p", str(place.directory), "-e", "stderr", "-c", conf))


def _envoy(program: Path, place: Place) -> Launch:
    conf = place.configured("envoy.yaml")
    quiet = ("--log-level", "warning", "--disable-hot-restart")
    return Launch((str(program), "--config-path", conf, "--concurrency", "1", *quiet))


def _caddy(program: Path, place: Place) -> Launch:
    conf = place.configured("Caddyfile")
    home = str(place.directory)
    return Launch(
        (str(program), "run", "--config", conf, "--adapter", "caddyfile"),
        {"HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home},
    )


def _smg(program: Path, place: Place) -> Launch:
    options = {
        "--backend": "openai",
        "--worker-urls": f"http://127.0.0.1:{place.upstream_port}",
        "--host": "127.0.0.1",
        "--port": str(place.port),
        "--prometheus-host": "127.0.0.1",
        "--prometheus-port": str(place.spare_port),
        "--log-level": "warn",
    }
    said = tuple(word for option in options.items() for word in option)
    return Launch((str(program), "launch", *said))


def _tensorzero(program: Path, place: Place) -> Launch:
    conf = place.configured("tensorzero.toml")
    port_file = place.directory / "port"
    return Launch(
        (str(program), str(CONFIGS / "tensorzero_gateway.py"), conf, str(port_file)),
        {"RUST_LOG": "warn"},
        path="/openai/v1/chat/completions",
        model="tensorzero::model_name::mock",
        port_file=port_file,
    )


def _portkey(program: Path, place: Place) -> Launch:
    loopback = (CONFIGS / "loopback.mjs").as_uri()
    return Launch(
        ("node", "--import", loopback, str(program), f"--port={place.port}", "--headless"),
        {"NODE_ENV": "production"},
        headers=(
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: http://127.0.0.1:{place.upstream_port}/v1",
        ),
    )


def _portkey_version(program: Path) -> str:
    package = json.loads((program.parent.parent / "package.json").read_text())
    return str(package["version"])


def _litellm(program: Path, place: Place) -> Launch:
    conf = place.configured("litellm.yaml")
    address = ("--host", "127.0.0.1", "--port", str(place.port))
    return Launch(
        (str(program), "--config", conf, *address, "--num_workers", "1"),
        {
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network at start
        },
    )


def _holdfast(store: str) -> System:
    def launch(program: Path, place: Place) -> Launch:
        options = {
            "--policy": str(BENCH / "policy.yaml"),
            "--port": str(place.port),
            "--admin-port": str(place.spare_port),
            "--store": store.format(place.directory),
            "--log-level": "WARNING",  # as with the others: no line for each call
        }
        said = tuple(word for option in options.items() for word in option)
        env = {
            "HOLDFAST_OPENAI_URL": f"http://127.0.0.1:{place.upstream_port}/v1",
            "PYTHONPATH": str(ROOT),  # this tree, whatever else is installed
        }
        return Launch((str(program), "-m", "proxy", "serve", *said), env)

    name = "holdfast" if store.startswith("sqlite") else "holdfast-memory"
    return System(name, lambda: Path(sys.executable), lambda _: __version__, launch)


SYSTEMS = (
    System("nginx", installed("nginx", "usr/sbin/nginx", "nginx"), said("-v"), _nginx),
    System("envoy", installed("envoy", "bin/envoy"), said("--version"), _envoy),
    _holdfast("sqlite:///{}/holdfast.db"),
    _holdfast("memory://"),
    System("caddy", installed("caddy", "usr/bin/caddy", "caddy"), said("version"), _caddy),
    System("smg", installed("smg", "bin/smg"), packaged("smg"), _smg),
    System(
        "tensorzero", installed("tensorzero", "bin/python"), packaged("tensorzero"), _tensorzero
    ),
    System(
        "portkey",
        installed("portkey", "node_modules/@portkey-ai/gateway/build/start-server.js"),
        _portkey_version,
        _portkey,
    ),
    System("litellm", installed("litellm", "bin/litellm"), packaged("litellm"), _litellm),
)
"""In the order of tables; the first two are what the others are compared with."""
