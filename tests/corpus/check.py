#!/usr/bin/env python3
"""Starts the guard, lets run.py judge every case of the corpus, and demands 0 FAIL and no WARN without a reason.

Standard library only. Arguments go to run.py: --only REGEX, --cat NAME, -v.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "kit"))

from mcp_testkit.guard import Guard  # noqa: E402
from mcp_testkit.programs import Programs  # noqa: E402

TOKEN = "s3cr3t-Tok3n-AbCdEf0123456789"
EXPLANATIONS = HERE.parents[1] / "docs" / "threat-model.md"
ROUTES = HERE.parents[1] / "docs" / "routes.md"
PATH = "/swf-monitor/mcp/"
# What the corpus demands of the configuration; and no health check, which the recorder would count as a request.
SLOT = 'set_headers = { "X-Guard-Auth" = "ok" }\nquery = true'
MORE = """
[origin]
hosts = ["mcp.test"]
[paths]
prefixes = ["/swf-monitor/mcp"]
[timeouts]
hold = "1ms"
waiting = "1ms"
[health]
interval = "1h"
"""
# A backend that resets before it answers: judged by the real status, as all calls are (docs/requests.md says why).
RESETS = {"up-14b"}
REAL_STATUS = '[errors]\nmode = "http"\n'
# The same requests on a route at the same path, with the endpoint elsewhere: what is judged is HTTP, not MCP.
ROUTE = """
[[route]]
name = "corpus"
prefix = "/swf-monitor/mcp"
exact = true
methods = ["POST"]
auth = "bearer"
slot = "blue"
"""
# Tokens of an issuer, whose keys are in a file: its private key was not kept.
OAUTH = MORE + f"""
[auth]
header = ["authorization", "x-api-key"]
[auth.oauth]
resource = "https://mcp.test/swf-monitor/mcp"
issuers = [{{ url = "https://login.example.org", jwks = "{HERE / "oauth-keys.json"}" }}]
[[auth.oauth.grant]]
name = "users"
scopes = ["mcp"]
"""
# A short answer that is cut is translated as a reset is, so it is judged by the real status, too.
CUT = {"up-09a", "own-up-06", "own-up-07", "own-up-08", "own-up-09", "own-up-10", "own-up-11"}
# A route's backend sees the path as the client wrote it; the endpoint's always sees its slot's own.
AT_THE_ENDPOINT_ONLY = {"pa-04"}
ON_A_ROUTE = MORE.replace('prefixes = ["/swf-monitor/mcp"]', 'prefixes = ["/elsewhere"]') + ROUTE


def explained() -> dict[str, str]:
    """The cases in the table of the threat model, and their reasons."""
    rows = re.findall(r"(?m)^\| `([a-z]+-\d+[a-z]?)` \|(.+)\|$", EXPLANATIONS.read_text())
    return {case: reason.strip() for case, reason in rows}


def repaired() -> set[str]:
    """The cases whose response Pingora repairs on a route: those that the table of docs/routes.md names."""
    return set(re.findall(r"(?m)^\|.+\| `([a-z-]+-\d+[a-z]?)` \|$", ROUTES.read_text()))


def on_a_route(lines: list[str]) -> list[str]:
    """The cases as a route must handle them. A repaired response reaches the client whole: if it is refused, the table is stale."""
    cases = [json.loads(line) for line in lines]
    cases = [case for case in cases if case["id"] not in AT_THE_ENDPOINT_ONLY]
    return [json.dumps(case | {"ok": ["clean"]} if case["id"] in repaired() else case) + "\n" for case in cases]


def judge(name: str, lines: list[str], more: str, options: list[str]) -> list[dict]:
    """Runs these cases against a fresh guard; the result is run.py's list of verdicts."""
    folder = Path(tempfile.mkdtemp(prefix="mcp-corpus-"))
    programs = Programs(folder)
    recorder = f"unix:{folder}/recorder.sock"
    corpus = folder / "cases.jsonl"
    corpus.write_text("".join(lines))
    try:
        guard = Guard(programs, recorder, PATH, token=TOKEN, slot=SLOT, more=more)
        argv = [sys.executable, str(HERE / "run.py"), "--target", guard.address, "--backend", recorder, "--name", name, "--warn-ok"]
        argv += ["--corpus", str(corpus), "--token", TOKEN, "--json", str(folder / "verdicts.json"), *options]
        code = subprocess.run(argv, timeout=900).returncode
        if code == 2:
            print(programs.logs())
            sys.exit(2)
        return json.loads((folder / "verdicts.json").read_text())["cases"]
    finally:
        programs.stop_all()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    options = sys.argv[1:]
    http = (HERE / "http.jsonl").read_text().splitlines(keepends=True)
    resets = [line for line in http if json.loads(line)["id"] in RESETS | CUT]
    requests = [line for line in http if line not in resets]
    calls = (HERE / "mcp.jsonl").read_text().splitlines(keepends=True)
    cases = judge("requests", requests, MORE, options)
    cases += judge("calls", calls, MORE + REAL_STATUS, options)
    cases += judge("resets", resets, MORE + REAL_STATUS, options)
    tokens = (HERE / "oauth.jsonl").read_text().splitlines(keepends=True)
    cases += judge("tokens of an issuer", tokens, OAUTH, options)
    for case in judge("requests on a route", on_a_route(http), ON_A_ROUTE, options):
        cases.append({**case, "title": f"on a route: {case['title']}"})
    reasons = explained()
    problems = []
    for case in cases:
        if case["verdict"] == "FAIL":
            problems.append(f"{case['id']} ({case['title']}): {'; '.join(case['fails'])}")
        elif case["verdict"] == "WARN" and case["id"] not in reasons:
            problems.append(f"{case['id']} ({case['title']}): a WARN without a reason in docs/threat-model.md: {'; '.join(case['warns'])}")
    if not options:  # Only a whole run knows that a row is stale.
        quiet = reasons.keys() - {case["id"] for case in cases if case["verdict"] == "WARN"}
        problems += [f"{case}: docs/threat-model.md explains a WARN that does not happen" for case in sorted(quiet)]
    for problem in problems:
        print(problem.encode("ascii", "backslashreplace").decode())
    if problems:
        print("rerun one case: scripts/corpus --only '^ID$' -v")
    print(f"{max(0, len(cases) - len(problems))} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
