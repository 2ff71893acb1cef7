"""The image and the manifests: judged by the schemas of Kubernetes, and run as a pod, whose kubelet is the test."""

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
from harness.kubernetes import USER, Podman, only, overlay, patched
from harness.pods import Pod, tokens
from harness.store import Store
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import GUARD, ROOT, system
from mcp_testkit.programs import wait_until

OVERLAYS = ["single", "replicas", "fleet"]
#: Pods as a Deployment names them.
MEMBERS = [f"mcp-guard-6d4cf56db6-{end}" for end in ("2x7kq", "hb9wz", "n4tcp")]
FLEET_SECRET = {"store": "rediss://guard:word@valkey:6379", "key": "one-key-for-the-guards-of-one-fleet-0123456789"}
OTHER = "e2e-other-Tok3n-0123456789abcdefghij"


def pod_of(documents: list[dict]) -> dict:
    return only(documents, "Deployment")["spec"]["template"]["spec"]


def recipes(word: str) -> list[str]:
    """The YAML of the documentation with this word in it."""
    page = (ROOT / "docs/kubernetes.md").read_text()
    return [found for found in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if word in found]


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
    if name != "single":
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


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_config_map_is_a_sound_configuration(name, tmp_path):
    (tmp_path / "tokens.toml").write_text(tokens(bot=TOKEN))
    toml = only(overlay(name), "ConfigMap")["data"]["guard.toml"]
    (tmp_path / "guard.toml").write_text(toml.replace("/etc/mcp-guard-tokens/", f"{tmp_path}/"))
    guard = pod_of(overlay(name))["initContainers"][0]
    env = {**os.environ, **{variable["name"]: of_fleet(variable) for variable in guard["env"]}}
    done = subprocess.run([str(GUARD), "check", "--config", str(tmp_path / "guard.toml")], capture_output=True, text=True, timeout=30, env=env)
    assert done.returncode == 0, done.stdout + done.stderr


def of_fleet(variable: dict) -> str:
    """What the kubelet makes of a variable of the pod."""
    if "value" in variable:
        return variable["value"]
    source = variable["valueFrom"]
    return MEMBERS[0] if source == {"fieldRef": {"fieldPath": "metadata.name"}} else FLEET_SECRET[source["secretKeyRef"]["key"]]


def test_the_overlay_of_a_fleet_adds_only_the_fleet_to_the_configuration_of_the_base():
    base, fleet = (only(overlay(name), "ConfigMap")["data"]["guard.toml"] for name in ("replicas", "fleet"))
    before, table = fleet.split("[fleet]")
    assert before.strip() == base.strip()
    assert re.findall(r"(?m)^(\w+) = ", table) == ["name", "member", "store", "key"]


def with_candidate() -> list[dict]:
    """The overlay `fleet` with the patches of the recipe."""
    [recipe] = recipes("name: candidate")
    plan = yaml.safe_load(recipe)
    assert plan["resources"] == ["../../conf/kubernetes/overlays/fleet"]
    return patched(overlay("fleet"), plan["patches"])


def test_the_candidate_of_the_recipe_starts_before_the_guard_and_ends_after_it():
    documents = with_candidate()
    for version in kubernetes.VERSIONS:
        kubernetes.validate(documents, version)
    candidate, guard = pod_of(documents)["initContainers"]
    assert (candidate["name"], guard["name"]) == ("candidate", "guard") and candidate["restartPolicy"] == "Always"
    assert {"name": "MCP_GUARD_SLOTS_GREEN_ADDRESS", "value": f"unix:{candidate['args'][-1]}"} in guard["env"]
    assert candidate["securityContext"] == guard["securityContext"] and candidate["resources"]["limits"]["memory"]


def test_the_store_of_a_fleet_may_be_reached():
    egress = only(overlay("fleet"), "NetworkPolicy")["spec"]["egress"]
    assert [rule for rule in egress if {"protocol": "TCP", "port": 6379} in rule["ports"]]
    assert egress[:-1] == only(overlay("replicas"), "NetworkPolicy")["spec"]["egress"]


def test_prometheus_understands_the_queries_of_the_recipe(tmp_path):
    [recipe] = recipes("AnalysisTemplate")
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


@pytest.fixture(scope="module")
def podman(module_programs) -> Podman:
    if os.geteuid() != 0:
        unable("podman runs as root here")
    return Podman(module_programs.folder / "podman")


@pytest.fixture(scope="module")
def loaded(podman, image) -> str:
    return podman.load(image)


@pytest.fixture(scope="module")
def pod(module_programs, podman, loaded):
    started = Pod(podman, loaded, module_programs.folder / "pod", "mcp", overlay("single"))
    yield started
    podman.down(started.name)


def ping(pod: Pod, token: str) -> int:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    return curl(pod.url, data=json.dumps(message), token=token).status


def test_the_probes_of_the_pod_answer_and_a_call_passes(pod):
    wait_until("the pod has started", lambda: pod.probe("startupProbe") == 200)
    wait_until("the pod is ready", pod.is_ready)
    assert pod.probe("livenessProbe") == 200
    response = call(pod.url, "tools/call", {"name": "swf_list_agents", "arguments": {}})
    assert response.status == 200 and not response.json()["result"].get("isError"), response
    inspected = json.loads(pod.podman.does("inspect", "mcp-guard", "mcp-tools"))
    for container in inspected:
        assert container["HostConfig"]["ReadonlyRootfs"] and not container["EffectiveCaps"] and container["Config"]["User"] == f"{USER}:{USER}"


def test_a_new_secret_and_a_new_config_map_are_reloaded_by_themselves(pod):
    wait_until("the pod is ready", pod.is_ready)
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
    wait_until("the pod is ready", pod.is_ready)
    pod.podman.does("kill", "--signal", "STOP", "mcp-tools")
    with ThreadPoolExecutor(2) as pool:
        try:
            response = pool.submit(call, pod.url, "tools/call", {"name": "swf_list_agents", "arguments": {}})
            wait_until("the call is in flight", lambda: pod.metric('mcp_guard_in_flight{slot="blue"}') == 1)
            began = time.monotonic()
            stopped = pool.submit(pod.stops, "guard", 45)
            wait_until("the guard drains", lambda: not pod.is_ready())
        finally:
            pod.podman.does("kill", "--signal", "CONT", "mcp-tools")
        assert response.result(30).status == 200
        assert stopped.result(60) == 0
    assert time.monotonic() - began < 25, "as soon as the call is over, not at the end of the grace period"
    assert pod.stops("tools", 20) == 0


# Three pods as a fleet.


@pytest.fixture(scope="module")
def start_member(module_programs, podman, loaded):
    """Starts a pod of the overlay `fleet` under this name, with a candidate as the documentation adds it."""
    podman.secret("mcp-guard-fleet", {**FLEET_SECRET, "store": Store(module_programs).url})
    started = []

    def start(name: str) -> Pod:
        started.append(Pod(podman, loaded, module_programs.folder / name, name, with_candidate()))
        return started[-1]

    yield start
    podman.down(*(pod.name for pod in started))


@pytest.fixture(scope="module")
def three(start_member) -> list[Pod]:
    return [start_member(name) for name in MEMBERS]


def agree(pods: list[Pod]) -> None:
    """Waits until each pod sees exactly these members, all live, and the same leader and generation."""

    def settled() -> bool:
        seen = [pod.fleet() for pod in pods]
        full = all({member["member"] for member in view["members"]} == {pod.name for pod in pods} and view["live"] == len(pods) for view in seen)
        return full and seen[0]["leader"] is not None and len({(view["leader"], view["generation"]) for view in seen}) == 1

    wait_until("the pods agree", settled, 30)


def test_the_pods_of_a_deployment_are_members_of_a_fleet_under_their_names(three):
    for pod in three:
        wait_until("the pod is ready", pod.is_ready)
    agree(three)
    shown = three[1].executes("fleet status")
    assert "3 of 3 members live" in shown and f"this guard  {MEMBERS[1]}" in shown, shown


def test_a_rollout_ordered_at_any_pod_is_that_of_all_pods_and_outlives_one(three, start_member):
    agree(three)
    for pod in three:
        wait_until("both slots are healthy", lambda pod=pod: {slot["health"] for slot in pod.status()["slots"]} == {"healthy"}, 30)
    ordered, *others = three
    ordered.executes("rollout start")
    wait_until("the rollout of all pods", lambda: all(pod.status()["run"] is not None for pod in three))

    assert ordered.ends() == {"tools": 0, "guard": 0, "candidate": 0}
    began = time.monotonic()
    agree(others)
    assert time.monotonic() - began < 25, "it has left; a silent member would be forgotten after 30 s"
    assert all(pod.status()["run"] is not None for pod in others)

    new = start_member("mcp-guard-6d4cf56db6-zk58v")
    wait_until("the new pod is ready", new.is_ready)
    agree([*others, new])
    assert new.status()["run"] is not None
    new.executes("rollout rollback")
    wait_until("no pod has a rollout", lambda: all(pod.status()["run"] is None for pod in [*others, new]))
