"""Runs inside a booted machine, with its own Python: kills release commands anywhere, and finishes or undoes what is left.

Usage: killed_operations.py KILLS SEED TOKEN [FILL]

With FILL, a file on the disk of the releases, the disk is full from then on instead, until the command has ended.

An operation is killed when its journal has a number of lines, which is a boundary of two steps, and a moment later, which is inside
a step; `resume` and `undo` are killed as well. After each kill the service must respond, the interruption must be told, and one
command must end it: the slot has its new release and the traffic, or everything is as before. Prints one JSON object.
"""

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

ROOT = "/var/lib/mcp-releases"
JOURNAL = f"{ROOT}/operation.jsonl"
KINDS = ["deploy", "deploy", "deploy-that-fails", "switch-back", "rollback", "restore", "standard"]
LINES = {"deploy": 25, "deploy-that-fails": 27, "switch-back": 6, "rollback": 19, "restore": 23, "standard": 24}
SECONDS = 120
kills, chance, token = int(sys.argv[1]), random.Random(int(sys.argv[2])), sys.argv[3]
fill = sys.argv[4] if len(sys.argv) > 4 else None


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS)


def release(*words):
    return run("mcp-guard", "release", *words)


def asked(*words):
    done = run("mcp-guard", *words)
    assert done.returncode == 0, f"{words}: {done}"
    return json.loads(done.stdout)


def status():
    return asked("rollout", "status", "--json")["status"]


def state():
    found = {"serving": status()["position"]["stable"]}
    for slot in ("blue", "green"):
        unit = f"mcp-tools@{slot}"
        link = f"{ROOT}/slots/{slot}/current"
        found[slot] = {
            "release": os.path.basename(os.readlink(link)),
            "active": run("systemctl", "--quiet", "is-active", unit).returncode == 0,
            "enabled": run("systemctl", "is-enabled", unit).stdout.strip(),
        }
    return found


def serves():
    body = '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}'
    headers = ["-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream"]
    done = run("curl", "-sS", "-m", "15", "-w", "%{http_code}", "-o", "/dev/null", *headers, "--data-binary", body, "http://127.0.0.1:8001/mcp")
    assert done.stdout == "200", f"the service does not respond: {done}"


def lines():
    """Whole lines of the journal, and the last of them."""
    try:
        with open(JOURNAL, "rb") as journal:
            whole = journal.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return 0, None
    return len(whole), whole[-1] if whole else None


def killed(words, line, late):
    """Starts a command and kills it when the journal has `line` lines and `late` seconds have passed; whether the kill came in time."""
    process = subprocess.Popen(["mcp-guard", "release", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and lines()[0] < line and time.monotonic() < deadline:
        time.sleep(0.0005)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(late)
    if fill:
        fill_disk()
        said, _ = process.communicate(timeout=SECONDS)
        serves()
        told = asked("release", "list", "--json")["interrupted"]
        os.remove(fill)
        assert bool(told) == bool(lines()[0]), f"{told} is told as interrupted: {said}"
        # Another failure than that of the disk came first, or the disk was full too late.
        return process.returncode != 0 and ("No space left on device" in said or "MiB free" in said), said
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate(timeout=SECONDS)
    return process.returncode == -signal.SIGKILL, said


def fill_disk():
    with open(fill, "wb", buffering=0) as file, contextlib.suppress(OSError):
        space = os.statvfs(fill)
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize)
        while True:
            file.write(bytes(4096))


def failure(line):
    """The step that a line of the journal tells as failed, and why."""
    if not line.endswith("\n"):
        return None  # Cut by a full disk.
    step = json.loads(line).get("step")
    return step and isinstance(step["event"], dict) and "failed" in step["event"] and f"{step['step']}: {step['event']['failed']['why'].splitlines()[0]}"


def command_of(kind, before):
    """The words of the command, after what it needs has been made."""
    other = "green" if before["serving"] == "blue" else "blue"
    if kind == "deploy":
        return ["deploy", chance.choice(["a", "b"])]
    if kind == "deploy-that-fails":
        return ["deploy", "other"]
    if kind == "restore":
        backups = asked("release", "backups", "--json")["backups"]
        return ["restore", chance.choice([each["name"] for each in backups if "name" in each])] if backups else ["deploy", "a"]
    done = [each["kind"] for each in asked("incident", "list", "--json") if each["outcome"] == "done"]
    if not done or done[0] in ("switch-back", "rollback", "standard-rollback"):
        # There is no rollback of a rollback.
        prepared = release("deploy", chance.choice(["a", "b"]))
        assert prepared.returncode == 0, prepared
        other = "green" if other == "blue" else "blue"
    if kind == "rollback":
        run("systemctl", "stop", f"mcp-tools@{other}")
    return ["rollback", "--standard"] if kind == "standard" else ["rollback"]


def ended(word, may_kill):
    """Lets `resume` or `undo` end the operation, perhaps in several tries; the last one is not killed."""
    again = 0
    while may_kill and not fill and lines()[0] and chance.random() < 0.3 and again < 3:
        hit, _ = killed([word], lines()[0] + chance.choice([0, 1, 2, 3]), chance.choice([0, chance.random() * 0.5]))
        again += hit
        serves()
    return (release(word) if lines()[0] else None), again


def one(kind):
    """One operation that is killed; what happened, or none where the kill came too late or nothing began."""
    words = command_of(kind, state())
    before = state()
    late = chance.choice([0, chance.random() * 0.02, chance.random() * 0.3])
    line = chance.randrange(LINES[kind])
    hit, said = killed(words, line, late if line else chance.random() * 0.3)
    serves()
    count, last = lines()
    interrupted = asked("release", "list", "--json")["interrupted"]
    assert bool(interrupted) == bool(count), f"{interrupted} is told as interrupted, and the journal has {count} lines"
    if not count:
        # Refused before anything was begun, ended by itself, or killed before or after.
        assert not fill or not hit or state() == before, said
        return ("before the journal or after it", 1) if hit else None
    if not hit:
        # A failure that could not be undone would also leave a journal.
        raise AssertionError(f"{words} left {interrupted}: {said}")
    where = json.loads(last)
    failures.update(text for text in map(failure, open(JOURNAL)) if text)
    operation = json.loads(open(JOURNAL).readline())["operation"]["operation"]
    refused = release("deploy", "a")
    assert refused.returncode == 1 and "was interrupted" in refused.stderr, refused
    word = chance.choice(["resume", "undo"])
    done, again = ended(word, True)
    assert lines()[0] == 0, f"{word} did not end it: {done}"
    record = asked("incident", "show", operation["id"], "--json")
    after, slot = state(), operation["slot"]
    what = f"{words} killed after {where}, then {word} ({again} kills): {done}\nbefore {before}\nafter {after}"
    if done is not None:
        assert (done.returncode == 0) == (record["outcome"] == "done" or word == "undo"), what
    assert record["outcome"] == "done" or (record.get("cause") or word == "undo"), what
    if record["outcome"] == "done":
        assert after["serving"] == slot and after[slot]["release"] == (operation["release"] or operation["former"]), what
        assert after[slot]["active"], what
    else:
        assert after == before, what
    serves()
    step = where["step"]["step"] if "step" in where else "begin"
    event = where["step"]["event"] if "step" in where else "begun"
    return f"{step} {event if isinstance(event, str) else next(iter(event))}", 1 + again


made, told, deadline = 0, collections.Counter(), time.monotonic() + kills * 20
kinds, failures = collections.Counter(), collections.Counter()
while made < kills:
    assert time.monotonic() < deadline, f"only {made} kills in time"
    chosen = chance.choice(KINDS)
    result = one(chosen)
    if result:
        made += max(1, result[1])
        told[result[0]] += 1
        kinds[chosen] += 1
print(json.dumps({"kills": made, "kinds": kinds, "places": told, "failures": failures}))
