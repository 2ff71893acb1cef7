"""Contract, section 19: a client that a generator makes of `/api/v1/openapi.json` reads, gives orders, and gets problems."""

import subprocess
import urllib.request

import pytest

from harness.console import OPERATOR, VIEWER, Console
from mcp_testkit.paths import ENVS, python

PROGRAM = """
import sys
import time

from guard_client import AuthenticatedClient, Client
from guard_client.api.default import clients, history, rollout, rollout_rollback, rollout_start, series, slots, status, tools
from guard_client.models import Problem, Rollback, RollbackTargetStage, SeriesOf, Start

url, viewer, operator = sys.argv[1:]
may_look, may_order = AuthenticatedClient(base_url=url, token=viewer), AuthenticatedClient(base_url=url, token=operator)

now = status.sync(client=may_look)
assert now.stable == "blue" and now.version and now.uptime_seconds >= 0, now
assert [one.slot for one in slots.sync(client=may_look).slots] == ["blue", "green"]
assert rollout.sync(client=may_look).status.run is None
# The first second is the difference of two looks, so it comes after at most 1.5 s.
read = lambda: series.sync(client=may_look, last=5, of=SeriesOf.SLOTS)
began = time.monotonic()
while not (part := read()).slots.additional_properties and time.monotonic() - began < 20:
    time.sleep(0.1)
assert set(part.slots.additional_properties) == {"blue", "green"} and not part.tools.additional_properties, part
assert tools.sync(client=may_look).tools == [] and clients.sync(client=may_look).tokens

strange = status.sync_detailed(client=AuthenticatedClient(base_url=url, token="x" * 20))
assert strange.status_code == 401 and isinstance(strange.parsed, Problem), strange
curious = rollout_start.sync(client=may_look, body=Start(reason="curious"))
assert isinstance(curious, Problem) and curious.status == 403 and "may look" in curious.detail, curious
idle = rollout_rollback.sync(client=may_order, body=Rollback(reason="nothing to roll back"))
assert isinstance(idle, Problem) and idle.status == 409 and idle.title == "Conflict", idle

started = rollout_start.sync(client=may_order, body=Start(reason="a generated client"))
assert started.transition.kind == "started", started
assert rollout.sync(client=may_look).status.position.stage == "canary"
back = rollout_rollback.sync(client=may_order, body=Rollback(reason="done", target_stage=RollbackTargetStage.DUAL_PROTOCOL))
assert back.transition.kind == "rolled_back", back
assert [one.kind for one in history.sync(client=may_look)] == ["started", "rolled_back"]
print("done")
"""


@pytest.fixture
def generated(programs):
    """The package of the client, without what formats it afterwards."""
    console = Console(programs)
    description, settings = programs.folder / "openapi.json", programs.folder / "generator.yaml"
    with urllib.request.urlopen(f"{console.url}/api/v1/openapi.json", timeout=10) as response:
        description.write_bytes(response.read())
    settings.write_text("post_hooks: []\ncontent_type_overrides: {image/svg+xml: text/html}\n")
    generator = [ENVS / "openapi" / "bin" / "openapi-python-client", "generate", "--path", description, "--config", settings]
    made = subprocess.run([*generator, "--meta", "none", "--output-path", programs.folder / "guard_client", "--fail-on-warning"],
                          capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stdout + made.stderr
    return console


def test_a_generated_client_reads_orders_and_gets_problems(generated):
    argv = [python("openapi"), "-c", PROGRAM, generated.url, VIEWER, OPERATOR]
    done = subprocess.run(argv, cwd=generated.programs.folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == "done\n", done.stdout + done.stderr
