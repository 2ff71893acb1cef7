"""Contract, section 19: the console in a real browser, and its description as a validator reads it."""

import json
import re
import urllib.request

import pytest
from openapi_spec_validator import validate
from playwright.sync_api import Page, sync_playwright

from harness.load import Load
from harness.operator import HELD_PLAN
from mcp_testkit.guard import Guard
from mcp_testkit.paths import E2E, system
from mcp_testkit.programs import free_port, wait_until
from mcp_testkit.tools import mcp_tools

VIEWER, OPERATOR = "viewer-0123456789abcdef", "operator-0123456789abcdef"
AXE = E2E.parent.parent / "target/e2e/node/node_modules/axe-core/axe.min.js"


class Console:
    def __init__(self, programs):
        self.programs = programs
        blue, green = (mcp_tools(programs, name).address for name in ("blue", "green"))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        (programs.folder / "plan.toml").write_text(HELD_PLAN)
        more = f"""
[slots.green]
address = "{green}"
[health]
interval = "500ms"
timeout = "500ms"
rise = 1
[rollout]
plan = "plan.toml"
[routing]
key = "request"
[console]
address = "127.0.0.1:{port}"
viewers = ["env:CONSOLE_VIEWER"]
operators = ["env:CONSOLE_OPERATOR"]
"""
        self.guard = Guard(programs, blue, "/mcp", more=more, env={"CONSOLE_VIEWER": VIEWER, "CONSOLE_OPERATOR": OPERATOR})
        wait_until("both slots are healthy", lambda: all(slot["health"] == "healthy" for slot in self.read("rollout")["status"]["slots"]))

    def read(self, path: str) -> dict:
        request = urllib.request.Request(f"{self.url}/api/v1/{path}", headers={"Authorization": f"Bearer {VIEWER}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)


@pytest.fixture(scope="module")
def console(module_programs):
    return Console(module_programs)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=system("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def opened(browser, console, token=OPERATOR, width=1200, scheme="light") -> tuple[Page, list[str]]:
    """The page after its token was typed, and what the browser complains of: errors, and violations of the security policy."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(console.url)
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_selector("#board:not([hidden])")
    page.wait_for_function("() => document.getElementById('facts-blue').textContent.includes('healthy')")
    return page, said


def test_the_description_is_valid_openapi(console):
    with urllib.request.urlopen(f"{console.url}/api/v1/openapi.json", timeout=10) as response:
        validate(json.load(response))


def test_a_rollout_is_watched_and_rolled_back_by_button_under_load(browser, console):
    page, said = opened(browser, console)
    with Load(console.guard.address, "swf_list_agents", rate=100, connections=4, path="/mcp") as load:
        page.click("#order-start")
        assert "plan moves traffic from blue to green" in page.inner_text("#consequence")
        page.fill("#reason", "planned <b>4711</b>")
        page.click("#go")
        page.wait_for_function("() => document.querySelector('#stages [aria-current]').textContent === 'canary'")
        assert "error_rate" in page.inner_text("#triggers")
        page.wait_for_function("() => /Calls a second\\s*[1-9]/.test(document.getElementById('facts-green').innerText.replace(/\\n/g, ' '))", timeout=20_000)
        page.screenshot(path=console.programs.folder / "rollout.png")
        page.click("#order-rollback")
        assert "All traffic goes back to blue at once" in page.inner_text("#consequence")
        page.fill("#reason", "seen enough")
        page.click("#go")
        page.wait_for_function("() => document.querySelector('#stages [aria-current]').textContent === 'stable'")
        page.wait_for_function("() => document.getElementById('history').innerText.includes('rolled_back')")
    assert load.outcome.succeeded and not load.outcome.failures, load.outcome
    # A reason is text, wherever it is shown.
    assert "planned <b>4711</b>" in page.inner_text("#history")
    assert page.locator("#history b").count() == 0
    assert said == []


def test_a_viewer_cannot_order_and_a_wrong_token_opens_nothing(browser, console):
    page, _ = opened(browser, console, token=VIEWER)
    page.click("#order-start")
    page.fill("#reason", "curious")
    page.click("#go")
    page.wait_for_function("() => document.getElementById('confirm-problem').textContent.includes('may look, not give orders')")
    page = browser.new_page()
    page.goto(console.url)
    page.fill("#token", "wrong-0123456789abcdef")
    page.press("#token", "Enter")
    page.wait_for_function("() => document.getElementById('enter-problem').textContent.includes('not known here')")
    assert page.is_hidden("#board")


@pytest.mark.parametrize("width, scheme", [(390, "dark"), (1200, "light")])
def test_the_page_is_accessible_and_never_scrolls_sideways(browser, console, width, scheme):
    page, said = opened(browser, console, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    grave = [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found if one["impact"] in ("serious", "critical")]
    assert grave == []
    assert said == []


def test_the_page_works_by_keyboard_only(browser, console):
    page = browser.new_page()
    page.goto(console.url)
    page.keyboard.type(OPERATOR)
    page.keyboard.press("Enter")
    page.wait_for_selector("#order-start")
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "order-start":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#confirm[open]")
    assert page.evaluate("document.activeElement.id") == "reason"
    page.keyboard.press("Escape")
    page.wait_for_selector("#confirm[open]", state="hidden")


def test_the_page_follows_an_upgrade_and_says_when_the_guard_is_away(browser, console):
    page, _ = opened(browser, console)
    console.guard.upgrade()
    page.wait_for_function("() => document.getElementById('connection').textContent === 'connected'", timeout=30_000)
    page.wait_for_function("() => /up 0 min/.test(document.getElementById('guard').textContent)", timeout=30_000)


def test_nothing_of_the_page_comes_from_elsewhere(browser, console):
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(console.url)
    page.wait_for_selector("#token")
    assert asked == [f"{console.url}/"], asked
    policy = page.evaluate("fetch('/').then((response) => response.headers.get('content-security-policy'))")
    assert re.search(r"default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; connect-src 'self'", policy)
