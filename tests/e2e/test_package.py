"""The Debian package in a clean root: install, use, upgrade over itself, remove, purge."""

import hashlib
import os
import re
import stat
import subprocess

import pytest

from conftest import unable
from harness.cleanroot import CleanRoot
from harness.curl import curl
from harness.package import build
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import ROOT, system
from mcp_testkit.programs import accepts, free_port, wait_until


@pytest.fixture
def root(tmp_path) -> CleanRoot:
    if os.geteuid() != 0:
        unable("only root can install a package into another root")
    return CleanRoot(tmp_path / "root")


def test_lintian_finds_nothing(package):
    user = ["--allow-root"] if os.geteuid() == 0 else []
    done = subprocess.run([system("lintian"), *user, "--fail-on=error,warning", str(package)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


def test_what_is_in_the_package(package):
    listed = subprocess.run(["dpkg-deb", "--contents", str(package)], capture_output=True, text=True, check=True).stdout
    entries = {line.split()[-1].removeprefix("."): line.split()[:2] for line in listed.splitlines() if "->" not in line}
    assert {owner for _, owner in entries.values()} == {"root/root"}
    writable = [path for path, (mode, _) in entries.items() if mode[5] == "w" or mode[8] == "w" or "s" in mode]
    assert not writable, f"writable by others, or with another's rights: {writable}"
    for unit in (ROOT / "conf" / "systemd").iterdir():
        if not unit.name.endswith(".conf"):
            assert f"/lib/systemd/system/{unit.name}" in entries
    for command in ("mcp-guard", "mcp-guard-run", "mcp-guard-upgrade", "mcp-guard-rollout-start", "mcp-tools", "mcp-tools-serve"):
        assert f"/usr/share/man/man1/{command}.1.gz" in entries
    for program in ("mcp-guard", "mcp-tools"):
        assert f"/usr/share/bash-completion/completions/{program}" in entries
    conffiles = subprocess.run(["dpkg-deb", "--info", str(package), "conffiles"], capture_output=True, text=True, check=True).stdout
    assert set(conffiles.split()) == {path for path in entries if path.startswith("/etc/") and not path.endswith("/")}


def test_the_same_sources_give_the_same_package(package, packed_programs, tmp_path):
    # Compared by their sums: pytest would look for minutes for where 70 MB differ.
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (build(packed_programs, tmp_path), package)]
    assert sums[0] == sums[1]


def test_the_manual_is_well_formed(package, tmp_path):
    subprocess.run(["dpkg-deb", "--extract", str(package), str(tmp_path)], check=True)
    for page in sorted((tmp_path / "usr/share/man/man1").iterdir()):
        text = subprocess.run(["zcat", str(page)], capture_output=True, text=True, check=True).stdout
        assert re.search(r"^\.TH ", text, re.M) and re.search(r'^\.SH "?NAME', text, re.M), page.name
    shell = subprocess.run(["bash", "-n", str(tmp_path / "usr/share/bash-completion/completions/mcp-guard")], capture_output=True, text=True)
    assert shell.returncode == 0, shell.stderr


def test_install_use_reinstall_remove_purge(package, root, programs):
    done = root.dpkg("--install", str(package))
    assert done.returncode == 0, done.stdout + done.stderr
    guard_user, tools_user = root.ids("mcp-guard"), root.ids("mcp-tools")
    assert tools_user[1] in root.groups("mcp-guard") and guard_user[1] not in root.groups("mcp-tools")
    check = root.run("/usr/bin/mcp-guard", "check", "--config", "/etc/mcp-guard/guard.toml")
    assert check.returncode == 0, check.stdout + check.stderr
    assert root.run("/usr/bin/mcp-tools", "list").returncode == 0

    # What systemd does for the units: the folders, the users, the environment.
    config = root.path / "etc/mcp-guard/guard.toml"
    ports = {"127.0.0.1:8001": f"127.0.0.1:{free_port()}", "127.0.0.1:9464": f"127.0.0.1:{free_port()}"}
    shipped = config.read_text()
    for old, new in ports.items():
        assert old in config.read_text()
        config.write_text(config.read_text().replace(f'"{old}"', f'"{new}"'))
    for folder, user, mode in [
        ("run/mcp-tools", "mcp-tools", 0o750),
        ("run/mcp-guard", "mcp-guard", 0o750),
        ("var/lib/mcp-guard", "mcp-guard", 0o700),
    ]:
        (root.path / folder).mkdir(exist_ok=True)
        os.chown(root.path / folder, *map(int, root.ids(user)))
        (root.path / folder).chmod(mode)
    socket = "/run/mcp-tools/blue.sock"
    tools = programs.start("tools", root.argv("/usr/bin/mcp-tools", "serve", "--socket", socket, user="mcp-tools"))
    outside = root.path / socket[1:]
    wait_until("the tool server's socket", lambda: outside.exists() or tools.process.poll() is not None)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o660
    run = ["/usr/bin/mcp-guard", "run", "--config", "/etc/mcp-guard/guard.toml"]
    guard = programs.start("guard", root.argv(*run, user="mcp-guard"), {"MCP_BEARER_TOKEN": TOKEN})
    address, metrics = ports.values()
    guard.wait_for(address)
    body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"swf_list_available_tools","arguments":{}}}'
    response = curl(f"http://{address}/swf-monitor/mcp/", data=body, token=TOKEN)
    assert response.status == 200 and b"swf_" in response.body and not response.json()["result"]["isError"], response
    assert b"mcp_guard_requests_total" in curl(f"http://{metrics}/metrics").body

    # A new version comes: the files are replaced under the running guard, and it hands over. The changed configuration stays.
    done = root.dpkg("--install", str(package))
    assert done.returncode == 0, done.stdout + done.stderr
    assert config.read_text() != shipped
    guard.has_successors = True
    done = root.run("/usr/bin/mcp-guard", "upgrade", "--config", "/etc/mcp-guard/guard.toml", user="mcp-guard")
    assert done.returncode == 0, done.stderr + guard.log()
    response = curl(f"http://{address}/swf-monitor/mcp/", data=body, token=TOKEN)
    assert response.status == 200, response
    guard.stop()
    tools.stop()
    assert not accepts(address)

    (root.path / "etc/mcp-guard/env").write_text("MCP_BEARER_TOKEN=secret\n")
    done = root.dpkg("--remove", "mcp-guard")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (root.path / "usr/bin/mcp-guard").exists() and config.exists(), "configuration survives a removal"
    assert (root.path / "var/lib/mcp-guard").exists()
    done = root.dpkg("--purge", "mcp-guard")
    assert done.returncode == 0, done.stdout + done.stderr
    left = [str(path.relative_to(root.path)) for path in root.path.rglob("*mcp-*") if not str(path).endswith(("run/mcp-guard", "run/mcp-tools"))]
    left = [path for path in left if not path.startswith(("run/", "var/lib/dpkg/"))]
    assert not left, f"left after the purge: {left}"
    assert root.ids("mcp-guard") == guard_user, "the users stay"
