"""The shipped units on a booted systemd: start and stop, sockets, watchdog, a Unix socket for a real Apache, the journal."""

import pytest

from harness.installed import LIST, Installed
from mcp_testkit.guard import TOKEN
from mcp_testkit.paths import ROOT
from mcp_testkit.programs import wait_until

GUARD = "/etc/mcp-guard/guard.toml"


@pytest.fixture(scope="module")
def installed(machine, package) -> Installed:
    there = Installed(machine, package)
    machine.write("/etc/mcp-guard/env", f"MCP_BEARER_TOKEN={TOKEN}\n", mode=0o600)
    there.shipped = machine.do("cat", GUARD)
    there.start()
    return there


@pytest.fixture(autouse=True)
def as_shipped(installed):
    yield
    installed.machine.write(GUARD, installed.shipped)
    installed.machine.do("systemctl", "restart", "mcp-tools@blue", "mcp-guard")
    installed.serves(TOKEN)


def slow_backend(installed: Installed, seconds: float) -> None:
    """A guard in front of a backend that delays each response."""
    machine = installed.machine
    program = (
        "import socketserver, time\n"
        "class Late(socketserver.StreamRequestHandler):\n"
        "    def handle(self):\n"
        "        self.request.recv(65536)\n"
        f"        time.sleep({seconds})\n"
        '        body = b\'{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}\'\n'
        '        self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))\n'
        "socketserver.ThreadingTCPServer.allow_reuse_address = True\n"
        'socketserver.ThreadingTCPServer(("127.0.0.1", 8009), Late).serve_forever()\n'
    )
    machine.write("/var/tmp/late.py", program)
    machine.run("systemctl", "stop", "late")
    machine.do("systemd-run", "--unit=late", "--collect", "python3", "/var/tmp/late.py")
    machine.write(GUARD, installed.shipped.replace('"unix:/run/mcp-tools/blue.sock"', '"127.0.0.1:8009"'))
    machine.do("systemctl", "restart", "mcp-guard")


UPGRADE = "mcp-guard upgrade"


# In the last three the stop comes while the new process starts, while it takes over, or after that.
@pytest.mark.parametrize(
    "before, meanwhile",
    [("true", "true"), (UPGRADE, "true"), ("true", UPGRADE), ("true", f"{UPGRADE} &"), ("true", f"{UPGRADE} & sleep 0.1"), ("true", f"{UPGRADE} & sleep 0.25")],
    ids=["started", "upgraded", "old-process", "upgrade-0", "upgrade-100", "upgrade-250"],
)
def test_a_stop_lets_a_call_under_way_finish(installed, before, meanwhile):
    machine = installed.machine
    slow_backend(installed, 4)
    machine.do("sh", "-c", before)
    assert int(machine.do("ps", "-o", "ppid=", "-p", machine.show("mcp-guard", "MainPID"))) == 1
    call = machine.start("curl", "-sS", "-m", "15", "-w", "%{http_code}", "-H", f"Authorization: Bearer {TOKEN}", "-H", "Content-Type: application/json",
                         "-H", "Accept: application/json", "--data-binary", LIST, "http://127.0.0.1:8001/mcp")
    wait_until("the call to be under way", lambda: '"in_flight": 1' in machine.do("mcp-guard", "status", "--json"))
    machine.do("sh", "-c", f"{meanwhile}\nsystemctl stop mcp-guard")
    out, _ = call.communicate(timeout=30)
    assert out.decode().endswith("200"), out.decode() + machine.journal("mcp-guard")
    assert "Killing" not in machine.journal("mcp-guard", lines=5), machine.journal("mcp-guard", lines=40)
    assert machine.run("pgrep", "-x", "mcp-guard").returncode == 1, "no process of the unit is left"


def test_a_unit_that_could_not_start_for_long_recovers_by_itself(installed):
    machine = installed.machine
    machine.write(GUARD, installed.shipped + "\n[nonsense]\n")
    machine.do("systemctl", "kill", "--signal=KILL", "mcp-guard")
    wait_until("more failed starts than systemd's own limit", lambda: int(machine.show("mcp-guard", "NRestarts")) > 6, 40)
    machine.write(GUARD, installed.shipped)
    machine.wait_active("mcp-guard")
    installed.serves(TOKEN)


def test_a_killed_guard_and_a_killed_tool_server_come_back(installed):
    machine = installed.machine
    for unit in ("mcp-guard", "mcp-tools@blue"):
        before = machine.show(unit, "MainPID")
        machine.do("systemctl", "kill", "--signal=KILL", unit)
        wait_until(f"{unit} to be restarted", lambda: machine.show(unit, "MainPID") not in (before, "0"))
        installed.serves(TOKEN)


def test_a_guard_that_hangs_is_restarted_by_the_watchdog(installed):
    machine = installed.machine
    machine.write("/run/systemd/system/mcp-guard.service.d/soon.conf", "[Service]\nWatchdogSec=2s\n")
    machine.do("systemctl", "daemon-reload")
    try:
        machine.do("systemctl", "restart", "mcp-guard")
        before = machine.show("mcp-guard", "MainPID")
        machine.do("kill", "-STOP", before)
        wait_until("the watchdog", lambda: machine.show("mcp-guard", "MainPID") not in (before, "0"), 30)
        installed.serves(TOKEN)
    finally:
        machine.do("rm", "-r", "/run/systemd/system/mcp-guard.service.d")
        machine.do("systemctl", "daemon-reload")


def test_the_drop_in_with_other_limits_is_in_force_in_both_units(installed):
    machine = installed.machine
    expected = {
        "CPUQuotaPerSecUSec": "2s",
        "MemoryMax": str(2 * 1024**3),
        "LimitNOFILE": "65536",
        "Restart": "on-failure",
        "RestartUSec": "10s",
        "StartLimitBurst": "5",
        "StartLimitIntervalUSec": "5min",
    }
    folders = [f"/run/systemd/system/{unit}.service.d" for unit in ("mcp-guard", "mcp-tools@")]
    for folder in folders:
        machine.write(f"{folder}/strict-limits.conf", (ROOT / "conf/systemd/strict-limits.conf").read_text())
    try:
        machine.do("systemctl", "daemon-reload")
        machine.do("systemctl", "restart", "mcp-tools@blue", "mcp-guard")
        installed.serves(TOKEN)
        for unit in ("mcp-guard", "mcp-tools@blue"):
            assert {name: machine.show(unit, name) for name in expected} == expected
        assert "Unknown key" not in machine.journal("init.scope", lines=200)
    finally:
        machine.do("rm", "-r", *folders)
        machine.do("systemctl", "daemon-reload")


def test_socket_activation_is_turned_on_while_the_guard_runs(installed):
    machine = installed.machine
    commands = [line.lstrip("# ") for line in machine.do("cat", "/lib/systemd/system/mcp-guard.socket").splitlines() if "systemctl enable" in line]
    try:
        machine.do("sh", "-c", commands[0])
        assert machine.is_active("mcp-guard.socket") and installed.status(TOKEN) == 200
        calls, failed = installed.under_load(TOKEN, lambda: machine.do("systemctl", "restart", "mcp-guard"))
        assert calls > 5 and not failed, failed
        machine.do("mcp-guard", "upgrade")
        assert installed.status(TOKEN) == 200
        machine.do("systemctl", "enable", "mcp-tools@blue.socket")
        machine.do("systemctl", "restart", "mcp-tools@blue")
        calls, failed = installed.under_load(TOKEN, lambda: machine.do("systemctl", "restart", "mcp-tools@blue"))
        assert calls > 5 and not failed, failed
    finally:
        machine.do("systemctl", "disable", "--now", "--quiet", "mcp-guard.socket", "mcp-tools@blue.socket")


def test_a_real_apache_opens_the_guards_unix_socket(installed):
    machine = installed.machine
    machine.write(GUARD, installed.shipped.replace('address = "127.0.0.1:8001" ', 'address = "unix:/run/mcp-guard/guard.sock" ').replace('mode = "0660"', 'mode = "0666"'))
    machine.do("systemctl", "restart", "mcp-guard")
    shipped = machine.do("cat", "/usr/share/doc/mcp-guard/examples/apache/mcp-guard.conf")
    define = "Define MCP_GUARD_URL "
    assert f"{define}http://127.0.0.1:8001\n" in shipped
    socket = shipped.replace(f"{define}http://127.0.0.1:8001", f'{define}"unix:/run/mcp-guard/guard.sock|http://127.0.0.1:8001"')
    machine.write("/etc/apache2/conf-available/mcp-guard.conf", socket)
    machine.write("/etc/apache2/sites-available/000-default.conf", "<VirtualHost *:80>\nInclude /etc/apache2/conf-available/mcp-guard.conf\n</VirtualHost>\n")
    machine.do("a2enmod", "--quiet", "proxy", "proxy_http", "headers", "unique_id")
    machine.do("systemctl", "restart", "apache2")
    url = "http://127.0.0.1/swf-monitor/mcp"
    try:
        wait_until("Apache's workers to run as www-data", lambda: "www-data" in machine.do("ps", "-C", "apache2", "-o", "user="))
        responses = [installed.post(token, LIST, url=url + slash).status for slash in ("", "/") for token in (TOKEN, "swf_wrong")]
        assert responses == [200, 403, 200, 403], machine.do("tail", "/var/log/apache2/error.log")
        machine.do("mcp-guard", "upgrade")
        assert installed.post(TOKEN, LIST, url=url).status == 200
        assert machine.run("curl", "-s", "--unix-socket", "/run/mcp-guard/admin.sock", "http://x/", user="www-data").returncode != 0
    finally:
        machine.do("systemctl", "stop", "apache2")


def test_errors_have_their_priority_in_the_journal(installed):
    machine = installed.machine
    before = machine.cursor()
    machine.write(GUARD, installed.shipped + "\n[nonsense]\n")
    machine.run("systemctl", "reload", "mcp-guard")
    machine.wait_journal(before, "not reloaded: 1 problem")
    errors = machine.since(before, "-u", "mcp-guard", "-p", "err")
    assert "no such key" in errors and "not reloaded: 1 problem" in errors
    assert "<3>" not in machine.since(before), "the number is systemd's, not the reader's"
    assert installed.status(TOKEN) == 200
    machine.wait_journal(before, '"status":200')
    assert TOKEN not in machine.since(before)
    request = machine.since(before, "-u", "mcp-guard", "-p", "info")
    assert '"status":200' in request and '"status":200' not in machine.since(before, "-u", "mcp-guard", "-p", "notice")


def test_check_and_doctor_say_what_the_unit_keeps_out_of_reach(installed):
    machine = installed.machine
    database = '\n[[dependency]]\nname = "database"\ntcp = { address = "192.0.2.7:5432" }\ninterval = "1h"\ntimeout = "100ms"\n'
    machine.write("/etc/mcp-guard/plan.toml", '[[notify]]\nkind = "generic"\nurl = "https://hooks.example.org/secret"\n')
    oauth = '\n[auth.oauth]\nresource = "https://host.example/mcp"\nissuers = ["https://login.example.org"]\n[[auth.oauth.grant]]\nname = "users"\nscopes = ["mcp"]\n'
    green = '\n[slots.green]\naddress = "tools.example.org:8001"\n'
    machine.write(GUARD, installed.shipped.replace('# plan = "plan.toml"', 'plan = "plan.toml"') + database + oauth + green)
    try:
        for command in ("check", "doctor"):
            said = machine.run("mcp-guard", command).stdout
            assert "mcp-guard.service keeps the guard from hooks.example.org (IPAddressAllow=)" in said and "/secret" not in said, said
            for kept in ["192.0.2.7", "login.example.org", "tools.example.org"]:
                assert f"mcp-guard.service keeps the guard from {kept} (IPAddressAllow=)" in said, said
        machine.write("/etc/systemd/system/mcp-guard.service.d/notify.conf", "[Service]\nIPAddressAllow=192.0.2.0/24\n")
        assert "keeps the guard from" not in machine.run("mcp-guard", "check").stdout
        machine.write("/etc/systemd/system/mcp-guard.service.d/notify.conf", "[Service]\nRestrictAddressFamilies=\nRestrictAddressFamilies=AF_UNIX\n")
        assert "keeps the guard from 192.0.2.7 (RestrictAddressFamilies=)" in machine.run("mcp-guard", "check").stdout
    finally:
        machine.run("rm", "-r", "/etc/systemd/system/mcp-guard.service.d")


def test_the_watchdog_timer_probes_the_guard(installed):
    machine = installed.machine
    machine.do("systemctl", "enable", "--now", "--quiet", "mcp-watchdog.timer")
    try:
        before = machine.cursor()
        machine.do("systemctl", "start", "mcp-watchdog.service")
        assert machine.show("mcp-watchdog.service", "Result") == "success"
        assert machine.show("mcp-watchdog.timer", "NextElapseUSecMonotonic") != "infinity"
        machine.do("systemctl", "stop", "mcp-guard")
        assert machine.run("systemctl", "start", "mcp-watchdog.service").returncode != 0
        assert "mcp-watchdog" in machine.since(before, "-o", "short")
    finally:
        machine.do("systemctl", "disable", "--now", "--quiet", "mcp-watchdog.timer")
        machine.run("systemctl", "reset-failed", "mcp-watchdog.service")
