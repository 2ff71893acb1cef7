"""The states of the console's page as pictures. `scripts/screenshots` puts them into the documents."""

import os
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

from harness.console import Console, at_stage, opened
from harness.load import Load
from mcp_testkit.paths import ENVS, ROOT, system
from mcp_testkit.programs import wait_until

IS_FOR_DOCUMENTS = bool(os.environ.get("MCP_SCREENSHOTS"))
FOLDER = ROOT / "docs/images" if IS_FOR_DOCUMENTS else ENVS / "screenshots"
#: Plots need some time to show anything.
SECONDS = 150 if IS_FOR_DOCUMENTS else 4
BYTES_MAX = 80 << 10


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=system("chromium"), args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def photograph(target: Page | Locator, name: str) -> None:
    """What is in the window, or an element, in so few colours that the file is small and the text still readable."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path: Path = FOLDER / f"console-{name}.png"
    target.screenshot(path=path)
    with Image.open(path) as picture:
        assert len(picture.convert("L").getcolors()) > 16, "the page is empty"
        picture.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    assert path.stat().st_size < BYTES_MAX, f"{path}: {path.stat().st_size} bytes"


def test_every_state_of_the_page_is_photographed(browser, programs):
    console = Console(programs)
    page = browser.new_page(viewport={"width": 1200, "height": 640})
    page.goto(console.url)
    page.wait_for_selector("#token")
    photograph(page, "enter")

    page, _ = opened(browser, console)
    narrow, _ = opened(browser, console, width=390, scheme="dark")
    dark, _ = opened(browser, console, scheme="dark")
    busy = Load(console.guard.address, "swf_list_agents", rate=80, connections=4, path="/mcp")
    quiet = Load(console.guard.address, "swf_list_available_tools", rate=9, connections=1, path="/mcp")
    with busy, quiet:
        console.counted(SECONDS)
        page.wait_for_function("() => document.getElementById('tools').innerText.includes('swf_list_available_tools')")
        photograph(page, "steady")
        console.order("rollout/start", reason="new release, ticket 4711")
        for one in (page, narrow, dark):
            at_stage(one, "canary")
        console.counted(SECONDS + SECONDS // 2)
        page.wait_for_function("() => document.getElementById('triggers').innerText.includes('error_rate')")
        for one, name in ((page, "canary"), (narrow, "narrow"), (dark, "dark")):
            photograph(one, name)
        page.click("#order-rollback")
        page.fill("#reason", "ticket 4711: see the errors")
        photograph(page, "rollback")
        page.click("#cancel")
        # A candidate that is gone ends its rollout by itself.
        console.green.program.process.kill()
        at_stage(page, "stable")
        page.wait_for_function("() => document.getElementById('history').innerText.includes('rolled_back')")
        photograph(page, "rolled-back")
        page.locator("#tools button", has_text="swf_list_agents").click()
        page.wait_for_function("() => / [1-9][0-9]* calls /.test(document.getElementById('rate-tool').getAttribute('aria-label'))")
        photograph(page.locator("#tool-plot"), "tool")
        if IS_FOR_DOCUMENTS:
            wait_until("the record's picture, drawn again", lambda: (found := console.records()) and is_old(found[-1]), 40)
            (FOLDER / "rollout.svg").write_bytes(console.records()[-1].read_bytes())
    console.guard.program.process.kill()
    page.wait_for_function("() => document.getElementById('connection').textContent.startsWith('away')", timeout=30_000)
    page.evaluate("window.scrollTo(0, 0)")
    photograph(page, "away")


def is_old(path: Path) -> bool:
    return path.stat().st_mtime - path.with_suffix(".json").stat().st_mtime > 10
