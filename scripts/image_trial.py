"""Puts an image to the test: `image_trial.py IMAGE`, after scripts/image has built it.

Prints its size and what fills it, then runs it as a cluster would (its own user, a read-only root,
no capability, no new privileges; only the ledger's folder can be written to) in front of the
provider that it simulates itself, and has a real client call it: openai-python where
tests/clients/setup.sh has installed it. Exits with 1 where a promise is broken.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent
CLIENTS = ROOT / ".venv-clients" / "bin" / "python"
AGENT = ROOT / "helm" / "holdfast" / "files" / "agent.py"
STARTS = 5
Json = dict[str, Any]
LEDGER = "/var/lib/holdfast"
ANOTHER_USER = 65533
UNWANTED = ("pip", "setuptools", "wheel", "pytest", "tests", "sh", "bash", "gcc", "apt", "perl")
POLICY = 'limits: {steps: 3}\nprices: {"*": {input: 1.0, output: 2.0}}\n'
CLIENT = """
import json, sys
from openai import APIStatusError, OpenAI
client, said = OpenAI(max_retries=0), []
ask = dict(model="sim-model", messages=[{"role": "user", "content": "Good morning"}])
said.append(client.chat.completions.create(**ask).choices[0].message.content)
said.append("".join(c.choices[0].delta.content or "" for c in
                    client.chat.completions.create(stream=True, **ask) if c.choices))
said.append(client.responses.create(model="sim-model", input="Good morning").output_text)
try:
    client.chat.completions.create(**ask)
except APIStatusError as error:
    said.append(f"{error.status_code} {error.code}")
print(json.dumps(said))
"""


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """What a command printed; raises where it failed."""
    done = subprocess.run(command, cwd=cwd, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def claim(holds: bool, what: str) -> None:
    print(f"  {'ok  ' if holds else 'NOT '} {what}")
    if not holds:
        sys.exit(1)


@contextmanager
def mounted(image: str) -> Iterator[tuple[Path, Json]]:
    """The image's root, and what it says of how it is run."""
    container = run("buildah", "from", "--pull-never", image).strip()
    try:
        told = json.loads(run("buildah", "inspect", "--type", "image", image))
        yield Path(run("buildah", "mount", container).strip()), told["Docker"]["config"]
    finally:
        run("buildah", "rm", container)


class Container:
    """One run of the image under runc, in the network of this machine."""

    def __init__(
        self,
        root: Path,
        config: Json,
        folder: Path,
        env: Mapping[str, str],
        *args: str,
    ) -> None:
        self.name = f"holdfast-trial-{os.getpid()}-{time.monotonic_ns()}"
        self.log = folder / f"{self.name}.log"
        bundle = folder / self.name
        bundle.mkdir()
        run("runc", "spec", cwd=bundle)
        spec = json.loads((bundle / "config.json").read_text())
        spec["root"] = {"path": str(root), "readonly": True}
        user, group = config["User"].split(":")
        process = spec["process"]
        process |= {"terminal": False, "cwd": config["WorkingDir"], "noNewPrivileges": True}
        process["user"] = {"uid": int(user), "gid": int(group)}
        process["args"] = [*config["Entrypoint"], *(args or config["Cmd"])]
        process["env"] = [*config["Env"], *(f"{name}={value}" for name, value in env.items())]
        process["capabilities"] = {kind: [] for kind in process["capabilities"]}
        linux = spec["linux"]
        linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "network"]
        linux.pop("resources", None)
        # Who does not serve has no volume, and finds what the image has in its place.
        mounts = {"/etc/hosts": Path("/etc/hosts")}
        if process["args"] == ["/opt/holdfast/bin/holdfast", "serve"]:
            mounts |= {LEDGER: folder / "ledger", "/etc/policy": folder / "policy"}
        for target, source in mounts.items():
            options = ["bind", "rw" if target == LEDGER else "ro", "nosuid", "nodev"]
            mount = {"type": "bind", "source": str(source), "options": options}
            spec["mounts"].append({"destination": target, **mount})
        (bundle / "config.json").write_text(json.dumps(spec))
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            ["runc", "--rootless=true", "run", self.name],
            cwd=bundle,
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("w"),
        )

    def ready_seconds(self, port: int) -> float:
        """From the start until /readyz says 200."""
        while self.process.poll() is None and time.monotonic() < self.started + 60:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    return time.monotonic() - self.started
            except OSError:
                time.sleep(0.005)
        sys.exit(f"not ready, exit code {self.stop()}: {self.log.read_text()}")

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command beside it, as `docker exec` would."""
        started = ["runc", "--rootless=true", "exec", self.name, *command]
        return subprocess.run(started, capture_output=True, text=True)

    def resident_mib(self) -> float:
        pid = json.loads(run("runc", "--rootless=true", "state", self.name))["pid"]
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            subprocess.run(["runc", "--rootless=true", "kill", self.name, "TERM"], check=False)
        return self.process.wait(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def show_size(root: Path) -> None:
    """What fills the image, the largest first."""
    sizes: dict[str, int] = {}
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            parts = path.relative_to(root).parts
            if "site-packages" in parts:
                kind = parts[parts.index("site-packages") + 1].split("-")[0].removesuffix(".libs")
            elif any(part.startswith("python3.") for part in parts[:-1]):
                kind = "standard library"
            elif ".so" in path.name:
                kind = "shared libraries"
            else:
                kind = "interpreter" if path.name.startswith("python3") else "/".join(parts[:3])
            sizes[kind] = sizes.get(kind, 0) + path.stat().st_size
    print(f"{sum(sizes.values()) / 1e6:.1f} MB of files:")
    for kind, size in sorted(sizes.items(), key=lambda entry: -entry[1])[:12]:
        print(f"  {size / 1e6:6.1f} MB  {kind}")


def have_called(port: int) -> None:
    """A real client: whole, streamed, the other API, and past a limit."""
    if not CLIENTS.exists():
        print("  (no openai-python: tests/clients/setup.sh installs it)")
        return
    env = {"OPENAI_API_KEY": "sk-trial", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/s/trial/v1"}
    *said, refused = json.loads(run(CLIENTS, "-c", CLIENT, env=os.environ | env))
    claim(all(said) and len(said) == 3, f"openai-python was answered: {said[0]!r}, streamed too")
    claim(refused == "422 step_limit_exceeded", f"and its fourth call was not: {refused}")


def check(sidecar: Container, config: Json) -> None:
    """What it may do, and what is said of it."""
    status = sidecar.inside("python3", "-ISc", "print(open('/proc/1/status').read())").stdout
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    claim(facts["Uid"].split() == ["65532"] * 4, f"its user is {facts['Uid'].split()[0]}")
    claim(int(facts["CapBnd"], 16) == 0 and facts["NoNewPrivs"] == "1", "it has no capability")
    wrote = sidecar.inside("python3", "-ISc", "open('/opt/holdfast/x', 'w')").stderr
    claim("Read-only file system" in wrote, "its root is read-only")
    claim(not sidecar.inside("sleep", "0").returncode, "it can sleep before it is told to stop")
    kind, *command = config["Healthcheck"]["Test"]
    claim(kind == "CMD" and not sidecar.inside(*command).returncode, "its HEALTHCHECK passes")
    shown = sidecar.inside("holdfast", "sessions", "list", "--json")
    claim(shown.returncode == 0, "`holdfast sessions list` beside it finds the admin token")
    began = time.monotonic()
    code = sidecar.stop()
    claim(code == 0, f"SIGTERM: exit code {code} after {time.monotonic() - began:.2f} s")


def try_out(root: Path, config: Json, folder: Path) -> None:
    """Every promise of the image."""
    data, admin, provider = free_port(), free_port(), free_port()
    env = {
        "HOLDFAST_HOST": "127.0.0.1",
        "HOLDFAST_PORT": str(data),
        "HOLDFAST_ADMIN_HOST": "127.0.0.1",
        "HOLDFAST_ADMIN_PORT": str(admin),
        "HOLDFAST_POLICY": "/etc/policy/policy.yaml",
        "HOLDFAST_OPENAI_URL": f"http://127.0.0.1:{provider}/v1",
    }
    starts = []
    for _ in range(STARTS):
        with Container(root, config, folder, env) as sidecar:
            starts.append(sidecar.ready_seconds(data))
    shown = ", ".join(f"{seconds:.2f}" for seconds in sorted(starts))
    for more in ({"HOLDFAST_STORE": "memory://"}, {"HOLDFAST_WORKERS": "2"}):
        with Container(root, config, folder, env | more) as sidecar:
            sidecar.ready_seconds(data)
        claim(True, f"with {more} it is ready, too")
    other = config | {"User": f"{ANOTHER_USER}:{ANOTHER_USER}"}
    with (
        Container(root, other, folder, {}, "simulate", "--port", str(provider)),
        Container(root, config, folder, env) as sidecar,
    ):
        sidecar.ready_seconds(data)
        sidecar.ready_seconds(admin)  # what serves it is loaded beside the first calls
        print(f"ready {shown} s after its start; {sidecar.resident_mib():.1f} MiB resident")
        have_called(data)
        print(f"  {sidecar.resident_mib():.1f} MiB resident after these calls")
        agent = other | {"Entrypoint": ["python3", "-c", AGENT.read_text()], "Cmd": []}
        url = f"http://127.0.0.1:{data}/s/agent/v1"
        with Container(root, agent, folder, {"OPENAI_BASE_URL": url, "AGENT_MODEL": "m"}) as run_of:
            code = run_of.process.wait(timeout=60)
        claim(code == 0, f"the chart's agent runs in it as user {ANOTHER_USER}")
        check(sidecar, config)


def main(image: str) -> None:
    with mounted(image) as (root, config), tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "ledger").mkdir()
        shutil.chown(folder / "ledger", *map(int, config["User"].split(":")))
        (folder / "policy").mkdir()
        (folder / "policy" / "policy.yaml").write_text(POLICY)
        show_size(root)
        found = {path.name for path in root.rglob("*")} & set(UNWANTED)
        claim(not found, f"none of {', '.join(UNWANTED)} is in it {found or ''}")
        try_out(root, config, folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
