"""A guard with two slots and a console, and its page in Chromium."""

import json
import ssl
import urllib.request
from pathlib import Path

from playwright.sync_api import Browser, Page

from harness.operator import HELD_PLAN
from harness.tls import Certificate
from mcp_testkit.guard import Guard
from mcp_testkit.programs import Programs, free_port, wait_until
from mcp_testkit.tools import mcp_tools

VIEWER, OPERATOR = "viewer-0123456789abcdef", "operator-0123456789abcdef"


class Console:
    def __init__(self, programs: Programs, tls: Certificate | None = None):
        self.programs = programs
        self.blue, self.green = (mcp_tools(programs, name) for name in ("blue", "green"))
        port = free_port()
        self.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        self._context = ssl.create_default_context(cafile=tls.authority) if tls else None
        (programs.folder / "plan.toml").write_text(HELD_PLAN)
        self.releases = programs.folder / "releases"
        pair = f'[console.tls]\ncertificate = "{tls.chain}"\nkey = "{tls.key}"\n' if tls else ""
        more = f"""
[slots.green]
address = "{self.green.address}"
[health]
interval = "500ms"
timeout = "500ms"
rise = 1
[rollout]
plan = "plan.toml"
[routing]
key = "request"
[release]
directory = "{self.releases}"
[console]
address = "127.0.0.1:{port}"
viewers = ["env:CONSOLE_VIEWER"]
operators = ["env:CONSOLE_OPERATOR"]
{pair}"""
        self.guard = Guard(programs, self.blue.address, "/mcp", more=more, env={"CONSOLE_VIEWER": VIEWER, "CONSOLE_OPERATOR": OPERATOR})
        wait_until("both slots are healthy", lambda: all(slot["health"] == "healthy" for slot in self.read("rollout")["status"]["slots"]))

    def read(self, path: str) -> dict:
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", headers={"Authorization": f"Bearer {VIEWER}"})
        with urllib.request.urlopen(request, timeout=10, context=self._context) as response:
            return json.load(response)

    def order(self, path: str, **members) -> dict:
        headers = {"Authorization": f"Bearer {OPERATOR}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", json.dumps(members).encode(), headers)
        with urllib.request.urlopen(request, timeout=10, context=self._context) as response:
            return json.load(response)

    def counted(self, seconds: int) -> None:
        """Waits until the series has so many seconds."""
        wait_until(f"{seconds} s are counted", lambda: len(self.read("series?of=slots")["slots"]["blue"]["calls"]) >= seconds, seconds + 30)

    def records(self) -> list[Path]:
        return sorted((self.programs.folder / "guard.state" / "incidents").glob("*.svg"))


def opened(browser: Browser, console: Console, token: str = OPERATOR, width: int = 1200, scheme: str = "light") -> tuple[Page, list[str]]:
    """The page after its token was typed, and what the browser complains of: errors, and violations of the security policy."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, ignore_https_errors=True)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(console.url)
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_selector("#board:not([hidden])")
    page.wait_for_function("() => document.getElementById('facts-blue').textContent.includes('healthy')")
    return page, said


def at_stage(page: Page, stage: str) -> None:
    page.wait_for_function(f"() => document.querySelector('#stages [aria-current]').textContent === '{stage}'", timeout=30_000)
