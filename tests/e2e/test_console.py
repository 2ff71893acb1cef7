"""Contract, section 19: the console in a real browser, and its description as a validator reads it."""

import json
import re
import urllib.request
from datetime import datetime
from xml.etree import ElementTree

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from playwright.sync_api import sync_playwright

from harness.console import OPERATOR, VIEWER, Console, at_stage, opened
from harness.load import Load
from harness.tls import certificate
from mcp_testkit.paths import E2E, system
from mcp_testkit.programs import wait_until

AXE = E2E.parent.parent / "target/e2e/node/node_modules/axe-core/axe.min.js"


@pytest.fixture(scope="module")
def console(module_programs):
    return Console(module_programs)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=system("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def test_the_description_is_valid_openapi(console):
    with urllib.request.urlopen(f"{console.url}/api/v1/openapi.json", timeout=10) as response:
        validate(json.load(response))


def test_every_response_is_as_described(console):
    with urllib.request.urlopen(f"{console.url}/api/v1/openapi.json", timeout=10) as response:
        described = json.load(response)
    console.order("rollout/start", reason="so that there is a run")
    checked = 0
    for path, methods in described["paths"].items():
        content = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if path.startswith("/api/v1/") and "application/json" in content:
            schema = {**content["application/json"]["schema"], "components": described["components"]}
            Draft202012Validator(schema).validate(console.read(path.removeprefix("/api/v1/")))
            checked += 1
    done = console.order("rollout/rollback", reason="checked")
    Draft202012Validator({"$ref": "#/components/schemas/Done", "components": described["components"]}).validate(done)
    assert checked >= 10, checked


def test_a_rollout_is_watched_and_rolled_back_by_button_under_load(browser, console):
    page, said = opened(browser, console)
    with Load(console.guard.address, "swf_list_agents", rate=100, connections=4, path="/mcp") as load:
        page.click("#order-start")
        assert "plan moves traffic from blue to green" in page.inner_text("#consequence")
        page.fill("#reason", "planned <b>4711</b>")
        page.click("#go")
        at_stage(page, "canary")
        assert "error_rate" in page.inner_text("#triggers")
        page.wait_for_function("() => /Calls a second\\s*[1-9]/.test(document.getElementById('facts-green').innerText.replace(/\\n/g, ' '))", timeout=20_000)
        page.click("#order-rollback")
        assert "All traffic goes back to blue at once" in page.inner_text("#consequence")
        page.fill("#reason", "seen enough")
        page.click("#go")
        at_stage(page, "stable")
        page.wait_for_function("() => document.getElementById('history').innerText.includes('rolled_back')")
    assert load.outcome.succeeded and not load.outcome.failures, load.outcome
    # A reason is text, wherever it is shown.
    assert "planned <b>4711</b>" in page.inner_text("#history")
    assert page.locator("#history b").count() == 0
    assert said == []


SVG = "{http://www.w3.org/2000/svg}"


def calls_drawn(path) -> tuple[int, int]:
    """The points of the first line of a picture of a rollout, and the seconds that it says to show."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{SVG}svg" and root.find(f"{SVG}title").text.startswith("Rollout "), path.read_text()[:500]
    assert not [one.tag for one in root.iter() if one.tag.removeprefix(SVG) not in ("svg", "title", "rect", "text", "line", "path")]
    lines = [re.findall(r"[ML][0-9.]+,[0-9.]+", one.get("d")) for one in root.iter(f"{SVG}path") if one.get("class") == "blue"]
    moments = (one.text for one in root.iter(f"{SVG}text") if re.fullmatch(r"[-0-9]{10} [:0-9]{8} UTC", one.text))
    times = [datetime.strptime(moment, "%Y-%m-%d %H:%M:%S UTC") for moment in moments]
    assert len(lines[0]) == len(lines[1]), "calls and errors of every second"
    return len(lines[0]), int((times[1] - times[0]).total_seconds()) + 1


def test_a_rollout_leaves_a_picture_in_its_record(console):
    """The record of the rollout of the test before, and of another one."""
    with Load(console.guard.address, "swf_list_agents", rate=100, connections=4, path="/mcp"):
        console.counted(5)
        began = console.order("rollout/start", reason="drill & <i>more</i>")["transition"]["rollout"]
        wait_until("the candidate has calls", lambda: console.read("series?of=slots&last=1")["slots"]["green"]["calls"][0])
        before = len(console.records())
        console.order("rollout/rollback", reason="drill")
        picture = wait_until("the record", lambda: (found := console.records()) and len(found) > before and found[-1])
        points, seconds = calls_drawn(picture)
        assert points == seconds >= 5
        texts = [one.text for one in ElementTree.parse(picture).getroot().iter(f"{SVG}text")]
        assert any("started: " in text and "drill & <i>more</i>" in text for text in texts if text), texts
        assert any("rolled_back: " in text for text in texts if text) and any(began in text for text in texts if text), texts
        wait_until("the link to the picture", lambda: f"]({picture.name})" in console.guard.command("incident", "show", picture.stem).stdout)
        # It is drawn once more, and then also shows what came after.
        wait_until("the second picture", lambda: calls_drawn(picture)[0] >= points + 10, 30)


def by_second(columns: dict) -> dict[int, int]:
    """The calls of each second."""
    return {columns["at"] - back: calls for back, calls in enumerate(reversed(columns["calls"]))}


def test_the_page_puts_every_second_in_its_place(browser, console):
    page, _ = opened(browser, console)
    row = page.evaluate("""() => {
        const columns = columnsOf();
        let at = 0;
        // A gap, seconds that come twice and one out of order.
        for (const [second, calls] of [[100, 1], [101, 2], [104, 5], [101, 9], [104, 9], [103, 9], [105, 6]]) at = append(columns, at, second, { calls });
        return [at, columns.calls];
    }""")
    assert row == [105, [1, 2, None, None, 5, 6]], row
    later = page.evaluate("() => { const columns = columnsOf(); append(columns, 100, 1e6, { calls: 1 }); return columns.calls.length; }")
    assert later == 1800


def test_a_dialogue_closes_when_something_else_has_happened(browser, console):
    """What is ordered was decided by what the dialogue says."""
    page, said = opened(browser, console)
    before = console.read("rollout")["status"]["position"]["stable"]
    page.click("#order-switch")
    fixed = page.evaluate("state.order.body")
    other = "green" if before == "blue" else "blue"
    assert fixed["slot"] == other, fixed
    console.order("slots/switch", reason="another operator", slot=other)
    page.wait_for_selector("#confirm[open]", state="hidden")
    assert "Not ordered: Switch to" in page.inner_text("#said")
    assert console.read("rollout")["status"]["position"]["stable"] == other
    # An order on its way is refused by the guard.
    status = page.evaluate("""(body) => fetch("/api/v1/slots/switch", {method: "POST", body: JSON.stringify({...body, reason: "late"}),
        headers: {Authorization: `Bearer ${state.token}`, "Content-Type": "application/json"}}).then((response) => response.status)""", fixed)
    assert status == 409
    assert [line for line in said if "409" not in line] == []
    console.order("slots/switch", reason="back", slot=before)


def test_a_second_token_ends_what_the_first_one_began(browser, console):
    page, _ = opened(browser, console)
    page.evaluate("leave('drill')")
    assert page.inner_text("#enter-problem") == "drill" and page.evaluate("[state.at, state.lastEvent, state.token]") == [0, None, ""]
    page.evaluate("window.streams = 0; { const real = window.fetch; window.fetch = (path, options) => { if (path === '/api/v1/events') window.streams += 1; return real(path, options); }; }")
    page.fill("#token", OPERATOR)
    page.evaluate("for (let time = 0; time < 2; time++) document.getElementById('enter').requestSubmit()")
    page.wait_for_function("() => state.at > 0 && document.getElementById('connection').textContent === 'connected'")
    at = page.evaluate("state.at")
    page.wait_for_function(f"() => state.at >= {at + 3}")
    assert page.evaluate("window.streams") == 1


def test_a_tool_s_row_opens_its_plot_by_keyboard(browser, console):
    page, said = opened(browser, console)
    with Load(console.guard.address, "swf_list_agents", rate=50, connections=2, path="/mcp"):
        button = page.locator("#tools button", has_text="swf_list_agents")
        button.wait_for()
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#tool-plot:not([hidden])")
        assert page.inner_text("#tool-title") == "swf_list_agents" and button.get_attribute("aria-expanded") == "true"
        page.wait_for_function("() => / [1-9][0-9]* calls /.test(document.getElementById('rate-tool').getAttribute('aria-label'))")
        began = page.evaluate("state.tool.at")
        page.wait_for_function(f"() => state.tool.at >= {began + 3}", timeout=15_000)
        # What the page has put together of its parts is what the guard has, second by second.
        ours = by_second(page.evaluate("({at: state.tool.at, calls: state.tool.columns.calls})"))
        series = console.read("series?tool=swf_list_agents")
        theirs = by_second({"at": series["at"], **series["tools"]["swf_list_agents"]})
        assert ours and ours == {at: theirs.get(at) for at in ours}, (ours, theirs)
        assert sum(ours[at] for at in ours if at > began) > 0, ours
        # The rows are refreshed under the keyboard: focus stays.
        assert page.evaluate("document.activeElement.dataset.tool") == "swf_list_agents"
        drawn = page.evaluate("document.getElementById('rate-tool').getContext('2d').getImageData(0, 0, 400, 64).data.some((byte) => byte)")
        assert drawn
        page.focus("#tool-close")
        page.keyboard.press("Escape")
        page.wait_for_selector("#tool-plot", state="hidden")
        assert page.evaluate("document.activeElement.dataset.tool") == "swf_list_agents"
    # A call that takes its time is counted with the calls of every second: nothing is told twice.
    series = console.read("series?tool=swf_list_agents")
    counted = next(one["calls"] for one in console.read("tools")["tools"] if one["name"] == "swf_list_agents")
    assert list(series["tools"]) == ["swf_list_agents"] and sum(series["tools"]["swf_list_agents"]["calls"]) <= counted
    assert said == []


def test_the_page_names_the_release_of_a_slot(browser, console):
    page, _ = opened(browser, console)
    assert "Release\n-" in page.inner_text("#facts-green")
    slot = console.releases / "slots" / "green"
    slot.mkdir(parents=True)
    (slot / "current").symlink_to("../../releases/tools-2.1.0")
    page.wait_for_function("() => document.getElementById('facts-green').innerText.includes('tools-2.1.0')")
    found = {one["slot"]: one["release"] for one in console.read("slots")["slots"]}
    assert found == {"blue": None, "green": "tools-2.1.0"}


def test_the_page_works_over_tls(browser, programs):
    console = Console(programs, certificate(programs.folder / "tls"))
    page, said = opened(browser, console)
    page.wait_for_function("() => state.slots.blue.calls.length >= 2")
    assert page.inner_text("#connection") == "connected" and said == []


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


def grave_of(page) -> list:
    """What a checker of accessibility finds grave."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found if one["impact"] in ("serious", "critical")]


def test_the_page_shows_a_fleet_as_text(browser, console):
    """A guard of a fleet is the fleet tests' matter: here the page gets what such a guard would say, in the form that is described."""
    hostile = "<img src=x onerror=alert(1)>"
    member = {"version": "0.1.0", "configuration": "plan=1a slots=2b", "generation": 12, "silent_ms": 90, "ejected": None, "clock_off_ms": 2}
    slots = [{"slot": "blue", "health": "healthy"}, {"slot": "green", "health": "unhealthy"}]
    members = [{**member, "member": "guard-1", "slots": slots}, {**member, "member": "guard-2", "slots": slots, "version": hostile, "ejected": hostile}]
    fleet = {"name": "prod", "member": "guard-1", "store_silent_ms": 90, "store_away": True, "store_problem": hostile, "generation": 12}
    fleet |= {"leader": "guard-2", "live": 2, "known": 3, "candidate": "ejected", "holds": [hostile], "members": members}
    with urllib.request.urlopen(f"{console.url}/api/v1/openapi.json", timeout=10) as response:
        components = json.load(response)["components"]
    Draft202012Validator({"$ref": "#/components/schemas/Fleet", "components": components}).validate(fleet)

    page, said = opened(browser, console, width=390)
    assert page.is_hidden("#fleet-part") and console.read("fleet") == {"fleet": None}
    page.evaluate("(fleet) => { const take = HANDLERS.state; HANDLERS.state = (state) => take({...state, fleet}); }", fleet)
    page.wait_for_selector("#fleet-part:not([hidden])")
    verdict = page.inner_text("#fleet-verdict")
    assert verdict.startswith(f"guard-2 leads, 2 of 3 members live, generation 12. The store is away: {hostile}."), verdict
    assert "ejected its candidate" in verdict and f"Holds: {hostile}." in verdict
    rows = page.inner_text("#fleet").splitlines()
    assert "guard-1 (this guard)" in rows[1] and hostile in rows[2] and "green unhealthy" in rows[2], rows
    assert page.query_selector("#fleet-part img") is None
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert grave_of(page) == []
    assert said == []


@pytest.mark.parametrize("width, scheme", [(390, "dark"), (1200, "light")])
def test_the_page_is_accessible_and_never_scrolls_sideways(browser, console, width, scheme):
    page, said = opened(browser, console, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert grave_of(page) == []
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
    page.wait_for_function("() => state.live && !state.isFirst")
    # Every state is of a younger process than the one before: only the first one of a stream counts.
    page.evaluate("""() => {
        Object.defineProperty(state, "uptime", { get: () => 1e6, set: () => {} });
        const real = beginSeries;
        Object.assign(window, { begun: 0, live: state.live, beginSeries: () => { window.begun += 1; real(); } });
    }""")
    page.wait_for_function("() => state.live !== window.live")
    assert page.evaluate("window.begun") == 0
    console.guard.upgrade()
    page.wait_for_function("() => window.begun > 0", timeout=30_000)
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
