"""The steps of `make test` as a graph in three lanes, so that no core waits while there is work.

    scripts/test                all steps
    scripts/test e2e lints      these, and the steps that they need

A lane runs its steps one after the other, and a step waits for the steps that it needs. A failing step stops no other one, unless
that one needs it. Compilers run at low priority beside tests, so that no test is late because of them. The log of a step is in
target/test/NAME.log and is printed when the step ends. The summary shows the wall and CPU seconds of each step, and the wall
seconds of the last run on this machine. Exit codes: 0 all passed, 1 a step failed, 64 a step with that name does not exist.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / "target" / "test"
COSTS = LOGS / "costs.json"
#: The programs for the end-to-end tests: Cargo may replace the ones in target/debug while a test runs.
PROGRAMS = LOGS / "bin"
WORKERS = max(2, min(4, os.cpu_count() or 2))
LOW = "nice -n 15 "


@dataclass
class Step:
    name: str
    lane: str
    command: str
    needs: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)  # Steps to wait for, whatever their outcome.
    installs: list[str] = field(default_factory=list)  # Programs of target/debug to be kept in PROGRAMS.
    verdict: str = ""  # ok, FAILED, or skipped because a needed step failed
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"


STEPS = [
    Step("format", "cargo", "cargo fmt --all --check && scripts/picture --check"),
    Step("build", "cargo", "cargo build --quiet --workspace --bins --example serde_decoder", installs=["mcp-guard", "mcp-tools"]),
    # Downloads while the compiler works.
    Step("setup", "e2e", "scripts/setup test"),
    Step("container", "e2e", "scripts/setup container", ["setup"]),
    Step("e2e", "e2e", f"scripts/e2e -n {WORKERS}", ["build", "setup"]),
    Step("corpus", "e2e", "scripts/corpus", ["build"]),
    Step("tests", "cargo", f"{LOW}cargo test --quiet --workspace --no-run && {LOW}cargo test --quiet --workspace --bench '*' --no-run", ["build"]),
    # Every test target but `attack`, which has a step of its own: names that do not begin with `at`.
    Step("unit", "cargo", "cargo test --quiet --workspace --no-fail-fast --lib --bins --test '[!a]*' --test 'a[!t]*'", ["tests"]),
    Step("attack", "cargo", "scripts/attack", ["build", "setup"]),
    Step("models", "cargo", "cargo run --quiet --example concurrency"),
    Step("benches", "cargo", "cargo test --quiet --workspace --bench '*'"),
    Step("licences", "spare", "scripts/deny", ["setup"]),
    Step("profile", "spare", LOW + "cargo build --quiet --profile fast --bin mcp-guard", ["build"]),
    Step("lints", "spare", LOW + "cargo clippy --quiet --workspace --all-targets -- -D warnings", ["tests"]),
    # The guard without its optional rooms: the core must not need them.
    Step("core", "spare", LOW + "cargo clippy --quiet --no-default-features --lib --bins -- -D warnings", after=["lints"]),
    # Last, on a quiet machine: how often a process waits depends on what runs beside it.
    Step("instructions", "spare", "scripts/instructions", ["setup", "profile"], after=["e2e", "corpus", "attack", "benches"]),
]


def chosen(names: list[str]) -> list[Step]:
    """The named steps and all that they need, in the order of STEPS; all steps if none is named."""
    by_name = {step.name: step for step in STEPS}
    wanted: set[str] = set()

    def want(name: str) -> None:
        if name not in by_name:
            print(f"there is no step {name!r}; the steps are {', '.join(by_name)}", file=sys.stderr)
            sys.exit(64)
        wanted.add(name)
        for needed in by_name[name].needs:
            want(needed)

    for name in names or by_name:
        want(name)
    return [step for step in STEPS if step.name in wanted]


def run(step: Step, env: dict[str, str]) -> None:
    begun = time.monotonic()
    with step.log.open("wb") as log:
        process = subprocess.Popen(["bash", "-c", step.command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode == 0:
        for program in step.installs:
            # Moved into place: a program that still runs may not be written.
            shutil.copy2(ROOT / "target" / "debug" / program, PROGRAMS / f"{program}.new")
            (PROGRAMS / f"{program}.new").replace(PROGRAMS / program)
    step.verdict = "ok" if process.returncode == 0 else "FAILED"
    step.seconds, step.cpu_seconds = time.monotonic() - begun, usage.ru_utime + usage.ru_stime


def run_lane(steps: list[Step], by_name: dict[str, Step], env: dict[str, str], printing: threading.Lock) -> None:
    for step in steps:
        needed = [by_name[name] for name in step.needs]
        for other in needed + [by_name[name] for name in step.after if name in by_name]:
            other.ended.wait()
        if failed := [other.name for other in needed if other.verdict != "ok"]:
            step.verdict = "skipped"
            step.log.write_text(f"not run: {', '.join(failed)} failed\n")
        else:
            with printing:
                print(f"---- {step.name} begins: {step.command}", flush=True)
            try:
                run(step, env)
            except OSError as error:
                # The other lanes wait for this step.
                step.verdict = "FAILED"
                with step.log.open("a") as log:
                    log.write(f"{error}\n")
        with printing:
            print(f"\n==== {step.name}: {step.verdict} after {step.seconds:.0f} s: {step.command}\n{step.log.read_text(errors='replace')}", flush=True)
        step.ended.set()


def summary(steps: list[Step], seconds: float) -> str:
    last = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    lines = ["", "==== summary", "step         verdict   wall s   CPU s   last wall s"]
    for step in steps:
        rerun = "" if step.verdict == "ok" else f"   log: {step.log.relative_to(ROOT)}   rerun: {step.command}"
        lines.append(f"{step.name:12} {step.verdict:8} {step.seconds:7.0f} {step.cpu_seconds:7.0f} {last.get(step.name, '-'):>13}{rerun}")
    lines.append(f"{'all':12} {'':8} {seconds:7.0f} {sum(step.cpu_seconds for step in steps):7.0f} {last.get('all', '-'):>13}")
    passed = sum(step.verdict == "ok" for step in steps)
    lines.append(f"{passed} passed, {len(steps) - passed} failed")
    costs = {step.name: round(step.seconds) for step in steps if step.verdict == "ok"} | {"all": round(seconds)}
    COSTS.write_text(json.dumps(last | costs, indent=1))
    return "\n".join(lines)


def main() -> int:
    begun = time.monotonic()
    steps = chosen(sys.argv[1:])
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    # A build from nothing gains nothing from incremental files, and links faster without line tables.
    ci = {"CARGO_INCREMENTAL": "0", "CARGO_PROFILE_DEV_DEBUG": "0"} if os.environ.get("CI") == "true" else {}
    env = {**ci, **os.environ, "MCP_E2E_BIN": str(PROGRAMS)}
    by_name, printing = {step.name: step for step in steps}, threading.Lock()
    lanes = [[step for step in steps if step.lane == lane] for lane in dict.fromkeys(step.lane for step in steps)]
    threads = [threading.Thread(target=run_lane, args=(lane, by_name, env, printing)) for lane in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(summary(steps, time.monotonic() - begun), flush=True)
    return 0 if all(step.verdict == "ok" for step in steps) else 1


if __name__ == "__main__":
    sys.exit(main())
