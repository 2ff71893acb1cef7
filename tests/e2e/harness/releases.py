"""Releases on a booted machine: made, deployed and looked at as an operator does."""

import json
import subprocess

from harness.installed import Installed
from harness.package import RELEASE
from mcp_testkit.guard import TOKEN
from mcp_testkit.programs import wait_until

GUARD = "/etc/mcp-guard/guard.toml"
PROGRAM = f"{RELEASE}/bin/mcp-tools"
#: What the package's release starts, and options for it.
SERVE = [PROGRAM, "serve", "--socket", "{socket}"]
#: Deployments wait for checks of health: these come soon. `rise` and `fall` bear with a busy machine.
SOON = {
    'interval = "5s"                                 # between two checks of a slot': 'interval = "500ms"',
    'timeout = "2s"                                  # of one check': 'timeout = "500ms"',
    "rise = 2 ": "rise = 1 ",
    "fall = 3 ": "fall = 20 ",
    'ready_timeout = "60s"': 'ready_timeout = "15s"',
    "load_requests = 100 ": "load_requests = 20 ",
    # A busy machine is slower at times, which undoes no deployment here.
    "load_slowdown = 3 ": "load_slowdown = 100 ",
}


def ready(installed: Installed, **more: str) -> Installed:
    """Both slots configured, blue serves, and a short wait for health. `more` are lines of `slots.green`."""
    machine = installed.machine
    machine.write("/etc/mcp-guard/env", f"MCP_BEARER_TOKEN={TOKEN}\n", mode=0o600)
    guard = machine.do("cat", GUARD)
    for old, new in SOON.items():
        assert guard.count(old) == 1, f"{old!r} stands {guard.count(old)} times in the shipped guard.toml"
        guard = guard.replace(old, new)
    machine.write(GUARD, guard + '\n[slots.green]\naddress = "unix:/run/mcp-tools/green.sock"\n')
    machine.do("systemctl", "enable", "--quiet", "mcp-guard", "mcp-tools@blue")
    installed.start()
    installed.serves(TOKEN)
    return installed


class Releases:
    """The releases of a machine."""

    def __init__(self, installed: Installed):
        self.installed, self.machine = installed, installed.machine

    def make(self, name: str, *, start: list[str] | None = None, script: str | None = None, more: str = "", files: dict[str, str] | None = None) -> str:
        """Installs a release; it starts the package's mcp-tools, `start`, or a shell script."""
        folder = f"/srv/sources/{name}"
        if script is not None:
            self.machine.write(f"{folder}/bin/app", f"#!/bin/sh\n{script}\n", mode=0o755)
            start = ["bin/app"]
        more = more or ("" if start else "sd_notify = true\n")
        text = f"name = {json.dumps(name)}\nversion = {json.dumps(name)}\nstart = {json.dumps(start or SERVE)}\n{more}"
        for path, content in {"release.toml": text, "note": name, **(files or {})}.items():
            self.machine.write(f"{folder}/{path}", content)
        self.machine.do("mcp-guard", "release", "pack", folder)
        self.machine.do("mcp-guard", "release", "add", folder)
        return name

    def types(self, *words: str, seconds: float = 180) -> subprocess.CompletedProcess:
        return self.machine.run("mcp-guard", "release", *words, seconds=seconds)

    def does(self, *words: str, seconds: float = 180) -> str:
        return self.machine.do("mcp-guard", "release", *words, seconds=seconds)

    def listed(self) -> dict:
        return json.loads(self.does("list", "--json"))

    def of_slots(self) -> dict[str, str]:
        """The release that each slot has; nothing is interrupted and no release is damaged."""
        listed = self.listed()
        assert not listed["interrupted"] and not [each for each in listed["releases"] if each["damaged"]], listed
        return {slot: each["name"] for each in listed["releases"] for slot in each["slots"]}

    def process(self, slot: str) -> str:
        return self.machine.show(f"mcp-tools@{slot}", "MainPID")

    def serving(self) -> str:
        return json.loads(self.machine.do("mcp-guard", "rollout", "status", "--json"))["status"]["position"]["stable"]

    def record(self) -> dict:
        """The newest record."""
        return json.loads(self.machine.do("mcp-guard", "incident", "list", "--json"))[0]

    def state(self) -> dict:
        """What a failed deployment must leave as it was."""
        active = {slot: self.machine.is_active(f"mcp-tools@{slot}") for slot in ("blue", "green")}
        serving = self.serving()
        enabled = {slot: self.machine.run("systemctl", "is-enabled", f"mcp-tools@{slot}").stdout.strip() for slot in active}
        return {"releases": self.of_slots(), "serving": serving, "active": active, "enabled": enabled, "process": self.process(serving)}

    def both_healthy(self) -> None:
        def healthy() -> bool:
            slots = json.loads(self.machine.do("mcp-guard", "rollout", "status", "--json"))["status"]["slots"]
            return all(slot["health"] == "healthy" for slot in slots)

        wait_until("both slots to be healthy", healthy)
