"""mcp-guard parity on servers that others wrote: equal ones pass, every seeded difference is found and named.

The servers of tests/parity offer the same tools: django-mcp-server 0.5.7, FastMCP 1.30, MCPServer 2.3 and mcp-tools.
"""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from itertools import permutations

import pytest
import seeds

from mcp_testkit.guard import TOKEN, WRONG_TOKEN, Guard
from mcp_testkit.paths import GUARD, ROOT, TOOLS, python
from mcp_testkit.programs import Programs, free_port
from mcp_testkit.tools import INSTRUCTIONS, instructions_file

PARITY = ROOT / "tests" / "parity"

PYTHON_SERVERS = {
    "old-site": ("django", "old_site.py", "/swf-monitor/mcp/", ["--strict"]),
    "fastmcp1": ("sdk1", "fastmcp1.py", "/swf-monitor/mcp/", []),
    "fastmcp1-sse": ("sdk1", "fastmcp1.py", "/swf-monitor/mcp/", ["--sse", "--stateful"]),
    "mcpserver2": ("sdk2", "mcpserver2.py", "/mcp", []),
    "mcpserver2-sse": ("sdk2", "mcpserver2.py", "/mcp", ["--sse"]),
}
MODERN = {"mcpserver2", "mcpserver2-sse", "mcp-tools"}
# A busy machine is no finding where speed is not the question.
UNTIMED = ["--max-slowdown", "1000", "--samples", "1"]
SERVERS = [*PYTHON_SERVERS, "mcp-tools"]


@dataclass
class Server:
    address: str  # host:port or unix:/socket
    path: str

    @property
    def url(self) -> str:
        return f"{self.address}:{self.path}" if self.address.startswith("unix:") else f"http://{self.address}{self.path}"


def start(programs: Programs, name: str) -> Server:
    if name == "mcp-tools":
        socket = programs.folder / "tools.sock"
        argv = [str(TOOLS), "serve", "--socket", str(socket), "--instructions", str(instructions_file(programs.folder))]
        argv += ["--catalog", str(ROOT / "conf/tools/base.toml"), "--catalog", str(PARITY / "tools.toml")]
        server = Server(f"unix:{socket}", "/mcp")
    else:
        interpreter, script, path, flags = PYTHON_SERVERS[name]
        port = free_port()
        argv = [python(interpreter), str(PARITY / script), str(port), str(instructions_file(programs.folder)), *flags]
        server = Server(f"127.0.0.1:{port}", path)
    programs.start(name, argv).wait_for(server.address)
    return server


@pytest.fixture(scope="module")
def servers(module_programs):
    """`servers(name)` is that server, started once in this module."""
    made: dict[str, Server] = {}

    def server(name: str) -> Server:
        if name not in made:
            made[name] = start(module_programs, name)
        return made[name]

    return server


@pytest.fixture(scope="module")
def seeded(servers, module_programs):
    """`seeded(name, seed)` is that server behind the proxy that puts this difference in."""
    made: dict[str, str] = {}

    def url(name: str, seed: str) -> str:
        if name not in made:
            port = free_port()
            server = servers(name)
            argv = [sys.executable, str(PARITY / "seeder.py"), str(port), server.address, server.path]
            made[name] = f"127.0.0.1:{port}"
            module_programs.start(f"seeder-{name}", argv).wait_for(made[name])
        return f"http://{made[name]}/{seed}/mcp"

    return url


def parity(live: str, candidate: str, *more: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    argv = [str(GUARD), "parity", "--live-url", live, "--candidate-url", candidate, *more]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, env=env or {})


def judged(tmp_path, live: str, candidate: str, *more: str, **how) -> tuple[int, dict]:
    """The exit code and the report of a comparison with everything that can be expected."""
    instructions = tmp_path / "instructions.txt"
    instructions.write_text(INSTRUCTIONS)
    argv = ["--json", "--expected-name", "swf-testbed", "--instructions-file", str(instructions)]
    argv += ["--calls", str(PARITY / "calls.jsonl"), "--expected-counts", str(PARITY / "counts.toml"), *more]
    done = parity(live, candidate, *argv, **how)
    assert done.returncode in (0, 1), f"exit {done.returncode}: {done.stderr}"
    return done.returncode, json.loads(done.stdout)


def findings(report: dict) -> list[tuple[str, str, str]]:
    return [(check["id"], " ".join(str(finding[key]) for key in ("subject", "path", "change", "live", "candidate")), finding["verdict"])
            for check in report["checks"] for finding in check["findings"]]


def shown(report: dict) -> str:
    return "\n".join(f"{verdict:<10} {check}: {words}" for check, words, verdict in findings(report))


def follows(server: str, other: str) -> bool:
    """Whether `other` speaks every era that `server` speaks."""
    return server not in MODERN or other in MODERN


@pytest.mark.parametrize(("live", "candidate"), [pair for pair in permutations(SERVERS, 2) if follows(*pair)])
def test_servers_with_the_same_tools_pass(servers, tmp_path, live, candidate):
    code, report = judged(tmp_path, servers(live).url, servers(candidate).url, *UNTIMED)
    assert code == 0, shown(report)
    found = [each for each in findings(report) if each[2] != "note"]
    assert not found, f"equal servers, and yet: {found}"
    skipped = {check["id"] for check in report["checks"] if check["status"] == "skip"}
    assert skipped == {"auth-matrix"}, "every other check must have been made"


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_equals_itself_without_a_note(servers, tmp_path, name):
    code, report = judged(tmp_path, servers(name).url, servers(name).url, *UNTIMED)
    assert (code, findings(report)) == (0, []), shown(report)


@pytest.mark.parametrize("name", ["fastmcp1", "mcpserver2", "mcp-tools"])
@pytest.mark.parametrize("seed", seeds.EXPECTED)
def test_a_seeded_difference_is_found_and_named_and_nothing_else(servers, seeded, tmp_path, seed, name):
    if seed in seeds.MODERN_ONLY and name not in MODERN:
        pytest.skip("this server does not speak the era that is lost")
    door = ["--candidate-token-env", "CANDIDATE"] if seed.startswith("door-") else []
    timed = [] if seed == "ten-times-slower" else UNTIMED
    # The one that hangs does so for 1.6 s.
    patience = ["--timeout", "1"] if seed == "call-hangs" else []
    code, report = judged(tmp_path, seeded(name, "none"), seeded(name, seed), *door, *timed, *patience, env={"CANDIDATE": "good"})
    expected = seeds.EXPECTED[seed]
    found = findings(report)
    for check, words, verdict in expected:
        assert any(each[0] == check and words in each[1] and each[2] == verdict for each in found), (
            f"{seed}: no {verdict} `{words}` in {check}:\n{shown(report)}")
    assert code == (1 if any(verdict == "break" for *_, verdict in expected) else 0), shown(report)
    surplus = {each[0] for each in found if each[2] == "break"} - {check for check, _, verdict in expected if verdict == "break"}
    assert not surplus, f"{seed}: breaks found where there are none, in {surplus}:\n{shown(report)}"


def test_at_least_thirty_differences_are_seeded():
    assert len([seed for seed, expected in seeds.EXPECTED.items() if expected]) >= 30


def test_an_unstable_field_of_the_live_server_is_no_difference(seeded, tmp_path):
    code, report = judged(tmp_path, seeded("fastmcp1", "field-unstable"), seeded("fastmcp1", "none"), *UNTIMED)
    assert code == 0, shown(report)
    assert any("unstable on the live server" in words for _, words, _ in findings(report))


def test_a_reviewed_difference_passes_until_it_changes(seeded, tmp_path):
    accept = tmp_path / "accept.toml"
    entry = '[[accept]]\ncheck = "schemas"\nsubject = "swf_list_logs"\npath = "limit"\nchange = "default changed"\n'
    accept.write_text(entry + 'candidate = "10"\nreason = "agreed with the bots\' owner"\n')
    live, candidate = seeded("fastmcp1", "none"), seeded("fastmcp1", "default-changed")
    more = ["--accept", str(accept), *UNTIMED]
    code, report = judged(tmp_path, live, candidate, *more)
    assert code == 0 and "accepted" in {verdict for *_, verdict in findings(report)}, shown(report)
    accept.write_text(entry + 'candidate = "20"\nreason = "another value"\n')
    assert judged(tmp_path, live, candidate, *more)[0] == 1
    accept.write_text(entry + 'reason = " "\n')
    done = parity(live, candidate, "--accept", str(accept))
    assert done.returncode == 2 and "needs a reason" in done.stderr


def test_what_cannot_be_compared_is_exit_2_and_says_why(servers, tmp_path):
    live = servers("fastmcp1").url
    broken = tmp_path / "calls.jsonl"
    broken.write_text('{"tool": "x"}\n{"tol": "y"}\n')
    cases = {
        "the live server does not answer": (f"http://127.0.0.1:{free_port()}/", live),
        "MISSING is not set": (live, live, "--live-token-env", "MISSING"),
        "line 2: unknown field `tol`": (live, live, "--calls", str(broken)),
        "cannot read": (live, live, "--instructions-file", str(tmp_path / "none")),
    }
    for words, arguments in cases.items():
        done = parity(*arguments)
        assert done.returncode == 2 and words in done.stderr, f"{words}: exit {done.returncode}, {done.stderr}"


def test_a_dead_candidate_is_a_finding(servers):
    done = parity(servers("fastmcp1").url, f"http://127.0.0.1:{free_port()}/mcp")
    assert done.returncode == 1 and "the candidate fails to answer" in done.stdout, done.stdout


def test_junit_names_the_checks(seeded):
    done = parity(seeded("fastmcp1", "none"), seeded("fastmcp1", "tool-missing"), "--junit", "--samples", "0")
    suite = ElementTree.fromstring(done.stdout)
    failed = {case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None}
    assert done.returncode == 1 and failed == {"1 tool-names (legacy)", "7 self-description (legacy)"}, done.stdout


def test_a_token_is_never_shown(seeded):
    token = "swf_secret-that-nobody-may-see"
    for form in ([], ["--json"], ["--junit"]):
        arguments = [seeded("fastmcp1", "none"), seeded("fastmcp1", "door-good"), "--candidate-token-env", "CANDIDATE", *form]
        done = parity(*arguments, env={"CANDIDATE": token})
        assert done.returncode == 1 and token not in done.stdout + done.stderr


def test_the_real_guard_passes_every_check(servers, module_programs, tmp_path):
    tools = servers("mcp-tools")
    guard = Guard(module_programs, tools.address, tools.path)
    tokenless = Guard(module_programs, tools.address, tools.path, token=None, name="tokenless")
    door = ["--candidate-token-env", "CANDIDATE", "--unconfigured-url", tokenless.url + "/mcp"]
    for path in ("/mcp", "/swf-monitor/mcp/", "/"):
        code, report = judged(tmp_path, tools.url, guard.url + path, *door, *UNTIMED, env={"CANDIDATE": TOKEN})
        assert code == 0 and findings(report) == [], shown(report)
        assert not [check for check in report["checks"] if check["status"] == "skip"], "every check must have been made"
        matrix = next(check for check in report["checks"] if check["id"] == "auth-matrix")
        assert matrix["summary"] == "no token 401, wrong token 403, GET 405, /health 200, unconfigured 503"


def test_a_wrong_token_for_the_candidate_is_a_finding_not_a_crash(servers, module_programs):
    tools = servers("mcp-tools")
    guard = Guard(module_programs, tools.address, tools.path, name="guard2")
    done = parity(tools.url, guard.url + "/mcp", "--candidate-token-env", "CANDIDATE", env={"CANDIDATE": WRONG_TOKEN})
    assert done.returncode == 1 and "HTTP 403" in done.stdout and WRONG_TOKEN not in done.stdout, done.stdout
