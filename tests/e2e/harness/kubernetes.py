"""The shipped manifests as kustomize renders them, as the API's schemas judge them, and as a pod of podman."""

import base64
import copy
import json
import os
import shutil
import subprocess
from pathlib import Path

import yaml

from mcp_testkit.paths import ROOT, python, system

CONF = ROOT / "conf" / "kubernetes"
#: The oldest version that has what the manifests use, and the newest that the validator knows.
VERSIONS = ["1.30", "1.37"]
#: Of kinds that are no part of Kubernetes, there are no schemas in it.
FOREIGN = {"PodMonitor"}
VALIDATE = """
import json, sys
import kubernetes_validate
for document in json.load(sys.stdin):
    kubernetes_validate.validate(document, sys.argv[1], strict=True)
"""
USER = 65532


def overlay(name: str) -> list[dict]:
    return rendered(CONF / "overlays" / name)


def rendered(folder: Path) -> list[dict]:
    """What `kubectl kustomize` makes of a folder, of the few features that ours use; every other key is an error."""
    plan = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert plan.keys() <= {"apiVersion", "kind", "resources", "patches"}, f"{folder}: {sorted(plan)}"
    documents = []
    for name in plan["resources"]:
        path = folder / name
        documents += rendered(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    return patched(documents, plan.get("patches", []))


def patched(documents: list[dict], patches: list[dict]) -> list[dict]:
    """The same documents, changed in place as the `patches` of a kustomization change them."""
    for patch in patches:
        assert patch.keys() == {"target", "patch"} and patch["target"].keys() == {"kind", "name"}, patch
        [target] = [document for document in documents if (document["kind"], document["metadata"]["name"]) == (patch["target"]["kind"], patch["target"]["name"])]
        for operation in yaml.safe_load(patch["patch"]):
            apply(target, operation)
    return documents


def apply(document: dict, operation: dict) -> None:
    """One operation of a JSON patch (RFC 6902)."""
    *way, last = operation["path"].removeprefix("/").split("/")
    place = document
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if isinstance(place, list):
        index = len(place) if last == "-" else int(last)
        place[index : index + (operation["op"] == "replace")] = [operation["value"]]
        return
    assert (operation["op"], last in place) in [("replace", True), ("add", False)], f"{operation} does not fit {sorted(place)}"
    place[last] = operation["value"]


def validate(documents: list[dict], version: str) -> None:
    known = [document for document in documents if document["kind"] not in FOREIGN]
    argv = [python("kubernetes"), "-c", VALIDATE, version]
    done = subprocess.run(argv, input=json.dumps(known), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"Kubernetes {version}: {done.stderr[-2000:]}"


def only(documents: list[dict], kind: str) -> dict:
    [document] = [document for document in documents if document["kind"] == kind]
    return document


class Volume:
    """A folder as the kubelet mounts a ConfigMap or a Secret: links to `..data`, a link that is replaced at once with all files."""

    def __init__(self, folder: Path, files: dict[str, str]):
        self._folder, self._version = folder, 0
        folder.mkdir()
        self.publish(files)
        for name in files:
            (folder / name).symlink_to(f"..data/{name}")

    def publish(self, files: dict[str, str]) -> None:
        before, self._version = self._version, self._version + 1
        new = self._folder / f"..{self._version}"
        new.mkdir()
        for name, text in files.items():
            (new / name).write_text(text)
            (new / name).chmod(0o440)
            os.chown(new / name, 0, USER)
        (self._folder / "..data_tmp").symlink_to(new.name)
        (self._folder / "..data_tmp").rename(self._folder / "..data")
        shutil.rmtree(self._folder / f"..{before}", ignore_errors=True)


class Podman:
    """podman with all of its files in one folder, and what this kind of machine needs."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self._folder = folder
        (folder / "containers.conf").write_text('[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n')
        places = ["--root", f"{folder}/root", "--runroot", f"{folder}/run", "--tmpdir", f"{folder}/tmp"]
        self._argv = [system("podman"), *places, "--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        self._env = {**os.environ, "CONTAINERS_CONF": f"{folder}/containers.conf"}

    def run(self, *arguments: str, seconds: float = 90) -> subprocess.CompletedProcess:
        return subprocess.run([*self._argv, *arguments], capture_output=True, text=True, timeout=seconds, env=self._env)

    def does(self, *arguments: str, seconds: float = 90) -> str:
        done = self.run(*arguments, seconds=seconds)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def load(self, image: Path) -> str:
        """The name of the image in this archive."""
        return self.does("load", "--quiet", "--input", str(image)).rpartition(": ")[2]

    def secret(self, name: str, entries: dict[str, str]) -> None:
        """A Secret for `secretKeyRef`, in the form that podman 4.3 reads."""
        file = self._folder / f"{name}.json"
        file.write_text(json.dumps({key: base64.b64encode(text.encode()).decode() for key, text in entries.items()}))
        self.does("secret", "create", name, str(file))

    def play(self, pod: dict) -> None:
        file = self._folder / f"{pod['metadata']['name']}.yaml"
        file.write_text(yaml.safe_dump(pod))
        self.does("kube", "play", str(file))

    def down(self, *names: str) -> None:
        """Removes these pods, without a signal to end."""
        self.run("pod", "rm", "--force", "--time", "0", *names)


def for_podman(name: str, template: dict, image: str, folders: dict[str, Path], env: dict[str, str]) -> dict:
    """A pod of a Deployment's template for podman 4.3, which knows no native sidecars, no `sleep` before a stop, and no probe without a program in the image.

    The sidecar becomes a container, every volume a folder, and the pod gets the machine's network. Everything else stays.
    """
    template = copy.deepcopy(template)
    spec = template["spec"]
    containers = spec.pop("initContainers") + spec["containers"]
    for container in containers:
        container.pop("restartPolicy", None)
        container.pop("lifecycle", None)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe", "ports"):
            container.pop(probe, None)
        container |= {"image": image, "imagePullPolicy": "Never"}
    [guard] = [container for container in containers if container["name"] == "guard"]
    guard["env"] += [{"name": name, "value": value} for name, value in env.items()]
    assert {volume["name"] for volume in spec["volumes"]} == folders.keys()
    spec |= {"containers": containers, "hostNetwork": True, "restartPolicy": "Never"}
    spec["volumes"] = [{"name": name, "hostPath": {"path": str(folder)}} for name, folder in folders.items()]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": name}, "spec": spec}
