"""What a kubelet does with a pod, in processes of this machine.

As of Kubernetes 1.29 (https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/,
2026-11-30): init containers start in their order; one with `restartPolicy: Always` is a sidecar,
and the next starts once its startup probe has passed. When all other containers have ended the pod
has, and sidecars get SIGTERM in the reverse order. What a container is given is what its manifest
says and nothing else: variables, with $(NAME) expanded, and mounts. For want of namespaces a
mounted folder's path is replaced by that of the volume wherever it is named, the pod's address is
a loopback, and there is one image: this Holdfast.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.helm.kit import Manifest, at, items, mapping

_VARIABLE = re.compile(r"\$\((\w+)\)")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def write_config_map(folder: Path, data: Mapping[str, str]) -> None:
    """As the kubelet's atomic writer does: a new folder, then `..data` is swapped by a rename."""
    number = len(list(folder.glob("..2026_*")))
    fresh = folder / f"..2026_{number}"
    fresh.mkdir(parents=True)
    for name, text in data.items():
        (fresh / name).write_text(text)
    aside = folder / "..data_tmp"
    aside.symlink_to(fresh.name)
    aside.rename(folder / "..data")
    for name in data:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What pods refer to. secrets: by name, then by key. address: the pods'."""

    folder: Path
    address: str = "127.0.0.1"
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Pod:
    """A running pod; as a context it ends with it. Its sidecars run once it is entered."""

    def __init__(self, spec: Manifest, name: str, cluster: Cluster) -> None:
        self._spec, self.name, self._cluster = spec, name, cluster
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.environments: dict[str, dict[str, str]] = {}
        self.volumes = {
            str(volume["name"]): self._volume(volume) for volume in items(spec["volumes"])
        }

    def __enter__(self) -> Self:
        try:
            for container in items(self._spec.get("initContainers")):
                assert container["restartPolicy"] == "Always"
                self._start(container)
                self._await_started(container)
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def run(self) -> tuple[dict[str, int], dict[str, str]]:
        """Runs the pod to its end: every container's exit code and what it has printed."""
        sidecars = list(self.processes)
        said: dict[str, str] = {}
        for container in items(self._spec["containers"]):
            self._start(container)
            said[str(container["name"])] = self._ended(str(container["name"]))
        for name in reversed(sidecars):
            self.processes[name].send_signal(signal.SIGTERM)
            said[name] = self._ended(name)
        return {name: process.returncode for name, process in self.processes.items()}, said

    def start(self) -> None:
        """Starts what is no sidecar, one after the other, each ready before the next."""
        for container in items(self._spec["containers"]):
            self._start(container)
            self._await_started(container)

    def stop(self) -> dict[str, int]:
        """As on a deletion: each container's preStop, then SIGTERM; the exit codes."""
        for container in items(self._spec["containers"]):
            before = at(container, "lifecycle", "preStop", "exec", "command")
            if before is not None:
                subprocess.run(_texts(before), check=True)
            self.processes[str(container["name"])].send_signal(signal.SIGTERM)
        for name in self.processes:
            self._ended(name)
        return {name: process.returncode for name, process in self.processes.items()}

    def kill(self) -> None:
        """SIGKILL, whoever is left."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.communicate()

    def _ended(self, name: str) -> str:
        grace = self._spec["terminationGracePeriodSeconds"]
        assert isinstance(grace, int)
        return self.processes[name].communicate(timeout=grace)[0]

    def _volume(self, volume: Manifest) -> Path:
        folder = self._cluster.folder / self.name / str(volume["name"])
        folder.mkdir(parents=True)
        if "configMap" in volume:
            name = str(at(volume, "configMap", "name"))
            write_config_map(folder, self._cluster.config_maps[name])
        return folder

    def _start(self, container: Manifest) -> None:
        command = container.get("command")
        if command is None:
            assert str(container["image"]).startswith("holdfast:")
            command = [sys.executable, "-m", "proxy", *_texts(container["args"])]
        words = [self._mounted(container, word) for word in _texts(command)]
        environment = self._environment(container)
        name = str(container["name"])
        self.environments[name] = environment
        self.processes[name] = subprocess.Popen(
            [sys.executable if words[0] == "python3" else words[0], *words[1:]],
            cwd=self._cluster.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _environment(self, container: Manifest) -> dict[str, str]:
        # What images set themselves. No variable of this machine gets in.
        environment = {"PATH": os.defpath}
        for entry in items(container.get("env")):
            environment[str(entry["name"])] = self._mounted(
                container,
                _VARIABLE.sub(lambda found: environment[found[1]], self._value(entry)),
            )
        return environment

    def _value(self, entry: Manifest) -> str:
        if "valueFrom" not in entry:
            return str(entry["value"])
        if at(entry, "valueFrom", "fieldRef", "fieldPath") == "metadata.name":
            return self.name
        reference = mapping(at(entry, "valueFrom", "secretKeyRef"))
        return self._cluster.secrets[str(reference["name"])][str(reference["key"])]

    def _mounted(self, container: Manifest, text: str) -> str:
        for mount in items(container.get("volumeMounts")):
            text = text.replace(str(mount["mountPath"]), str(self.volumes[str(mount["name"])]))
        return text

    def _await_started(self, container: Manifest) -> None:
        """Asks as the startup probe would, more often."""
        process = self.processes[str(container["name"])]
        while process.poll() is None:
            if self._passes(container):
                return
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        raise AssertionError(f"{container['name']} ended: {process.communicate()[0]}")

    def _passes(self, container: Manifest) -> bool:
        probe, address = mapping(container["startupProbe"]), self._cluster.address
        if "tcpSocket" in probe:
            port = int(str(at(probe, "tcpSocket", "port")))
            with suppress(OSError), socket.create_connection((address, port), timeout=1):
                return True
            return False
        http = mapping(probe["httpGet"])
        ports = {p["name"]: p["containerPort"] for p in items(container["ports"])}
        asked = HTTPConnection(address, int(str(ports[http["port"]])), timeout=1)
        with suppress(OSError), closing(asked):
            asked.request("GET", str(http["path"]))
            return asked.getresponse().status == 200
        return False


def _texts(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(each) for each in value]
