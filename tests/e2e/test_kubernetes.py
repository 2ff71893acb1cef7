"""The image and the manifests: judged by the schemas of Kubernetes, and run as a pod, whose kubelet is the test."""

import hashlib
import json
import os
import re
import subprocess
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from conftest import unable
from harness import kubernetes
from harness.curl import call, curl
from harness.kubernetes import USER, Podman, Volume, for_podman, only, overlay
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import GUARD, ROOT, system
from mcp_testkit.programs import Programs, free_port, wait_until

OVERLAYS = ["single", "replicas"]
OTHER = "e2e-other-Tok3n-0123456789abcdefghij"


def tokens(**clients: str) -> str:
    return "".join(f'[clients.{name}]\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n' for name, token in clients.items())


def pod_of(documents: list[dict]) -> dict:
    return only(documents, "Deployment")["spec"]["template"]["spec"]


# The manifests.


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_overlay_renders_and_fits_the_schemas_of_the_api(name):
    documents = overlay(name)
    for version in kubernetes.VERSIONS:
        kubernetes.validate(documents, version)
    wrong = json.loads(json.dumps(documents))
    pod_of(wrong)["terminationGracePeriod"] = 45
    with pytest.raises(AssertionError, match="terminationGracePeriod"):
        kubernetes.validate(wrong, kubernetes.VERSIONS[0])


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_container_is_confined_like_the_unit(name):
    pod = pod_of(overlay(name))
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == USER
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"} and not pod["automountServiceAccountToken"]
    for container in pod["initContainers"] + pod["containers"]:
        confined = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == confined, container["name"]
        assert container["resources"]["limits"]["memory"], container["name"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_selectors_and_ports_of_the_manifests_meet(name):
    documents = overlay(name)
    labels = only(documents, "Deployment")["spec"]["template"]["metadata"]["labels"]
    guard = pod_of(documents)["initContainers"][0]
    ports = {port["name"] for port in guard["ports"]}
    selectors = {
        "Deployment": only(documents, "Deployment")["spec"]["selector"]["matchLabels"],
        "Service": only(documents, "Service")["spec"]["selector"],
        "NetworkPolicy": only(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        "PodMonitor": only(documents, "PodMonitor")["spec"]["selector"]["matchLabels"],
    }
    if name == "replicas":
        selectors["PodDisruptionBudget"] = only(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert all(selector.items() <= labels.items() for selector in selectors.values()), selectors
    used = {port["targetPort"] for port in only(documents, "Service")["spec"]["ports"]}
    used |= {port["port"] for rule in only(documents, "NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]}
    used |= {endpoint["port"] for endpoint in only(documents, "PodMonitor")["spec"]["podMetricsEndpoints"]}
    used |= {guard[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert used == ports


def test_the_grace_period_holds_the_sleep_and_both_drains():
    documents = overlay("single")
    pod = pod_of(documents)
    unit = (ROOT / "conf/systemd/mcp-tools@.service").read_text()
    drain = re.search(r'drain = "(\d+)s"', only(documents, "ConfigMap")["data"]["guard.toml"])
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = sleep + int(re.search(r"TimeoutStopSec=(\d+)s", unit)[1]) + int(drain[1])
    assert pod["terminationGracePeriodSeconds"] >= needed


def test_prometheus_understands_the_queries_of_the_recipe(tmp_path):
    page = (ROOT / "docs/kubernetes.md").read_text()
    [recipe] = [found for found in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "AnalysisTemplate" in found]
    queries = [metric["provider"]["prometheus"]["query"] for metric in yaml.safe_load(recipe)["spec"]["metrics"]]
    records = [{"record": f"recipe:{number}", "expr": query.replace("{{args.hash}}", "7d9f")} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "recipe", "rules": records}]}))
    done = subprocess.run([system("promtool"), "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and f"{len(queries)} rules found" in done.stdout, done.stdout + done.stderr
    documented = set(re.findall(r"(?m)^\| `(mcp_\w+)` \|", (ROOT / "docs/metrics.md").read_text()))
    assert {name.removesuffix("_bucket") for name in re.findall(r"\bmcp_\w+", " ".join(queries))} <= documented


# The image.


@pytest.fixture(scope="module")
def image(package, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("image")
    env = {**os.environ, "MCP_IMAGE_DEB": str(package), "MCP_IMAGE_OUT": str(out)}
    done = subprocess.run([ROOT / "scripts" / "image"], capture_output=True, text=True, timeout=150, env=env)
    if "Operation not permitted" in done.stderr:
        unable(f"buildah may not build here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    print(done.stderr.strip())
    return Path(done.stdout.strip())


def layers(image: Path) -> tuple[dict, dict[str, tarfile.TarInfo]]:
    """The image's configuration, and every file in its layers."""
    with tarfile.open(image) as archive:
        read = lambda name: archive.extractfile(name).read()  # noqa: E731
        blob = lambda digest: "blobs/" + digest.replace(":", "/")  # noqa: E731
        manifest = json.loads(read(blob(json.loads(read("index.json"))["manifests"][0]["digest"])))
        files = {}
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=archive.extractfile(blob(layer["digest"]))) as content:
                files |= {member.name.lstrip("./"): member for member in content.getmembers()}
        return json.loads(read(blob(manifest["config"]["digest"]))), files


def test_the_image_holds_the_programs_and_little_else(image):
    config, files = layers(image)
    programs = {name for name, member in files.items() if member.isfile() and member.mode & 0o111 and ".so" not in name}
    assert programs == {"usr/bin/mcp-guard", "usr/bin/mcp-tools"}, "no shell, no package manager"
    assert not [name for name, member in files.items() if member.mode & 0o6000 or (member.isfile() and member.mode & 0o022)]
    assert config["config"]["User"] == f"{USER}:{USER}" and config["config"]["Entrypoint"] == ["/usr/bin/mcp-guard"]


def test_the_images_bill_of_materials_names_crates_and_libraries(image):
    bill = json.loads(image.with_suffix(".cdx.json").read_text())
    names = {part["purl"].partition("@")[0] for part in bill["components"]}
    assert names >= {"pkg:generic/mcp-guard", "pkg:generic/mcp-tools", "pkg:cargo/tokio", "pkg:deb/debian/libc6", "pkg:deb/debian/ca-certificates"}
    _, files = layers(image)
    libraries = {name for name in files if ".so" in name}
    assert libraries and len([name for name in names if name.startswith("pkg:deb/")]) >= 3, (libraries, names)


# The pod.


class Pod:
    def __init__(self, programs: Programs, image: Path):
        self.podman = Podman(programs.folder / "podman")
        loaded = self.podman.does("load", "--quiet", "--input", str(image)).rpartition(": ")[2]
        documents = overlay("single")
        self.deployment = only(documents, "Deployment")
        self.guard = self.deployment["spec"]["template"]["spec"]["initContainers"][0]
        self.toml = only(documents, "ConfigMap")["data"]["guard.toml"]
        self.config = Volume(programs.folder / "config", {"guard.toml": self.toml})
        self.tokens = Volume(programs.folder / "tokens", {"tokens.toml": tokens(bot=TOKEN)})
        folders = {"config": programs.folder / "config", "tokens": programs.folder / "tokens"}
        for name in ["admin", "sockets", "state"]:
            folders[name] = programs.folder / name
            folders[name].mkdir()
            os.chown(folders[name], USER, USER)
        self.ports = {"mcp": free_port(), "metrics": free_port()}
        env = {"MCP_GUARD_LISTEN_ADDRESS": f"127.0.0.1:{self.ports['mcp']}", "MCP_GUARD_LISTEN_METRICS": f"127.0.0.1:{self.ports['metrics']}"}
        self.podman.play(for_podman(self.deployment, loaded, folders, env))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['mcp']}/mcp"

    def probe(self, name: str) -> int | None:
        """As the kubelet does it: the pod's address is the host's name in it."""
        probe = self.guard[name]["httpGet"]
        try:
            return curl(f"http://127.0.0.1:{self.ports[probe['port']]}{probe['path']}", "-H", "Host: 10.1.2.3:8001").status
        except AssertionError:
            return None  # Nothing listens.

    def metric(self, name: str) -> float:
        page = curl(f"http://127.0.0.1:{self.ports['metrics']}/metrics").body.decode()
        return float(re.search(rf"(?m)^{re.escape(name)} (\S+)$", page)[1])


@pytest.fixture(scope="module")
def pod(module_programs, image):
    if os.geteuid() != 0:
        unable("podman runs as root here")
    started = Pod(module_programs, image)
    yield started
    started.podman.down()


def ping(pod: Pod, token: str) -> int:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    return curl(pod.url, data=json.dumps(message), token=token).status


def test_the_probes_of_the_pod_answer_and_a_call_passes(pod):
    wait_until("the pod has started", lambda: pod.probe("startupProbe") == 200)
    wait_until("the pod is ready", lambda: pod.probe("readinessProbe") == 200)
    assert pod.probe("livenessProbe") == 200
    response = call(pod.url, "tools/call", {"name": "swf_list_agents", "arguments": {}})
    assert response.status == 200 and not response.json()["result"].get("isError"), response
    inspected = json.loads(pod.podman.does("inspect", "mcp-guard", "mcp-tools"))
    for container in inspected:
        assert container["HostConfig"]["ReadonlyRootfs"] and not container["EffectiveCaps"] and container["Config"]["User"] == f"{USER}:{USER}"


def test_a_new_secret_and_a_new_config_map_are_reloaded_by_themselves(pod):
    wait_until("the pod is ready", lambda: pod.probe("readinessProbe") == 200)
    pod.tokens.publish({"tokens.toml": tokens(bot=TOKEN, second=OTHER)})
    wait_until("the new client", lambda: ping(pod, OTHER) == 200, 30)
    pod.config.publish({"guard.toml": pod.toml.replace("[slots.blue]", "[slots.blue]\nadress = 1")})
    wait_until("the refusal of a bad file", lambda: pod.metric('mcp_guard_reloads_total{outcome="refused"}') == 1, 30)
    assert ping(pod, OTHER) == 200
    pod.config.publish({"guard.toml": pod.toml.replace("[slots.blue]", "[limits]\nin_flight = 7\n[slots.blue]")})
    wait_until("the repaired file", lambda: pod.metric('mcp_guard_reloads_total{outcome="done"}') >= 2, 30)
    pod.tokens.publish({"tokens.toml": tokens(bot=TOKEN)})
    wait_until("the revoked client is refused", lambda: ping(pod, OTHER) == 403, 30)


def test_the_guard_drains_as_pid_1_of_its_container(pod):
    """A call is in flight when the kubelet stops the sidecar: it gets its response, nothing new is accepted, and the exit code is 0."""
    wait_until("the pod is ready", lambda: pod.probe("readinessProbe") == 200)
    pod.podman.does("kill", "--signal", "STOP", "mcp-tools")
    with ThreadPoolExecutor(2) as pool:
        try:
            response = pool.submit(call, pod.url, "tools/call", {"name": "swf_list_agents", "arguments": {}})
            wait_until("the call is in flight", lambda: pod.metric('mcp_guard_in_flight{slot="blue"}') == 1)
            began = time.monotonic()
            stopped = pool.submit(pod.podman.does, "stop", "--time", "45", "mcp-guard")
            wait_until("the guard drains", lambda: pod.probe("readinessProbe") != 200)
        finally:
            pod.podman.does("kill", "--signal", "CONT", "mcp-tools")
        assert response.result(30).status == 200
        stopped.result(60)
    assert time.monotonic() - began < 15, "as soon as the call is over, not at the end of the grace period"
    assert pod.podman.does("inspect", "--format", "{{.State.ExitCode}}", "mcp-guard") == "0"
    # What was cut would have exit code 137.
    pod.podman.does("stop", "--time", "20", "mcp-tools")
    assert pod.podman.does("inspect", "--format", "{{.State.ExitCode}}", "mcp-tools") == "0"


def test_the_config_map_is_a_sound_configuration(tmp_path):
    (tmp_path / "tokens.toml").write_text(tokens(bot=TOKEN))
    toml = only(overlay("replicas"), "ConfigMap")["data"]["guard.toml"]
    (tmp_path / "guard.toml").write_text(toml.replace("/etc/mcp-guard-tokens/", f"{tmp_path}/"))
    done = subprocess.run([str(GUARD), "check", "--config", str(tmp_path / "guard.toml")], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
