"""mcp-guard doctor: finds nothing wrong where nothing is, and names what is wrong with what to do."""

import json
import shutil
import socket
import subprocess

import pytest

from harness.apache import SHIPPED, Apache, pointed_at
from harness.backends import fastmcp1, mcp_tools
from harness.curl import call
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.paths import GUARD, ROOT
from mcp_testkit.programs import free_port
from mcp_testkit.tools import guarded_tools


def doctor(config, *arguments: str, token: str = TOKEN, path: str = "") -> tuple[int, dict[str, list[dict]]]:
    """The exit code, and the findings by what they are about."""
    argv = [str(GUARD), "doctor", "--json", "--config", str(config), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env={"MCP_BEARER_TOKEN": token, "PATH": f"{path}:/usr/bin:/bin"})
    assert token not in done.stdout + done.stderr or not token
    by_subject: dict[str, list[dict]] = {}
    for finding in json.loads(done.stdout)["findings"]:
        by_subject.setdefault(finding["what"], []).append(finding)
    return done.returncode, by_subject


def bad(findings: dict) -> list[dict]:
    return [each for several in findings.values() for each in several if each["state"] == "bad"]


def apache_file(folder, guard):
    text = (ROOT / "conf/apache/mcp-guard.conf").read_text().replace("http://127.0.0.1:8001", guard.url)
    path = folder / "apache.conf"
    path.write_text(text)
    return path


def test_a_running_guard_is_well(programs):
    _, guard = guarded_tools(programs)
    units = programs.folder / "units"
    shutil.copytree(ROOT / "conf/systemd", units)
    code, findings = doctor(guard.config, "--apache", str(apache_file(programs.folder, guard)), "--units", str(units))
    assert (code, bad(findings)) == (0, []), bad(findings)
    assert "held by our own guard" in findings["listen"][0]["found"] and "held by our own guard" in findings["metrics"][0]["found"]
    assert "initialize and 2026-07-28" in findings["slot blue"][0]["found"]
    assert findings["tokens"][0]["found"] == "1 clients"
    assert findings["apache"][0]["state"] == "ok" and {unit["state"] for unit in findings["unit"]} == {"ok"}


def test_each_fault_is_named_with_what_to_do(programs):
    backend, guard = guarded_tools(programs)
    guard.program.stop()
    backend.program.stop()
    apache = apache_file(programs.folder, guard)
    apache.write_text(apache.read_text().replace('ProxyPass "${MCP_PATH}" ', '# ProxyPass "${MCP_PATH}" ').replace("timeout=60", "timeout=20"))
    guard.config.chmod(0o666)
    (programs.folder / "guard.state").chmod(0o777)
    with socket.socket() as squatter:
        host, port = guard.address.split(":")
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind((host, int(port)))
        squatter.listen()
        code, findings = doctor(guard.config, "--apache", str(apache), token="")
    assert code == 1
    faults = {each["what"]: each for each in bad(findings)}
    assert "held by another program" in faults["listen"]["found"]
    assert "cannot connect" in faults["slot blue"]["found"]
    assert "may be changed by everybody" in faults["configuration"]["found"]
    assert "others may change" in faults["state"]["found"]
    apache_faults = " ".join(each["found"] for each in findings["apache"])
    assert "the slash-less form goes elsewhere" in apache_faults and "timeout=20 ends before" in apache_faults
    assert "no token is configured" in " ".join(each["found"] for each in findings["configuration"])
    assert all(each["todo"] for each in bad(findings)), "every fault has a remedy"


def test_a_one_way_door_is_pointed_out(programs):
    """Stable speaks initialize only, the candidate is newer: clients that negotiated could not be rolled back."""
    old, new = fastmcp1(programs), mcp_tools(programs)
    candidate = f'[slots.green]\naddress = "{new.address}"\npath = "{new.path}"\n'
    guard = Guard(programs, old.address, old.path, more=candidate)
    code, findings = doctor(guard.config)
    assert code == 0 and "could not be rolled back" in findings["eras"][0]["found"], findings
    assert "initialize only" in findings["slot blue"][0]["found"]


def test_what_a_route_leads_to_is_looked_at(programs):
    backend = mcp_tools(programs)
    routes = "".join(
        f'[[route]]\nname = "{name}"\nprefix = "/{name}"\naddress = "{address}"\nauth = "none"\n'
        for name, address in (("there", backend.address), ("away", f"127.0.0.1:{free_port()}"))
    )
    guard = Guard(programs, backend.address, backend.path, more=routes)
    code, findings = doctor(guard.config)
    assert code == 1 and [fault["what"] for fault in bad(findings)] == ["route away"], findings
    assert "cannot connect" in findings["route away"][0]["found"] and findings["route there"][0]["state"] == "ok"


SYSTEMCTL = """#!/bin/sh
[ "$1 $2" = "show mcp-guard.socket" ] && printf 'ActiveState=active\\nListen=%s (Stream)\\n' {address}
exit 0
"""


def test_an_address_that_systemd_holds_for_the_guard_is_no_fault(programs):
    _, guard = guarded_tools(programs)
    guard.program.stop()
    folder = programs.folder / "bin"
    folder.mkdir()
    script = folder / "systemctl"
    with socket.socket() as systemd:
        systemd.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        systemd.bind(("127.0.0.1", int(guard.address.split(":")[1])))
        systemd.listen()
        for address, state in ((guard.address, "ok"), ("127.0.0.1:1", "bad")):
            script.write_text(SYSTEMCTL.format(address=address))
            script.chmod(0o755)
            _, findings = doctor(guard.config, path=str(folder))
            assert findings["listen"][0]["state"] == state, findings["listen"]
        assert "mcp-guard.socket" not in findings["listen"][0]["found"]


def test_a_configuration_that_cannot_be_read_is_exit_2(tmp_path):
    code, findings = doctor(tmp_path / "none.toml")
    assert code == 2 and "cannot read" in findings["configuration"][0]["found"]


def test_every_problem_of_a_bad_configuration_is_a_finding(tmp_path):
    config = tmp_path / "guard.toml"
    config.write_text(f'[listen]\naddress = "127.0.0.1:{free_port()}"\nadres = 1\n[limits]\nin_flight = 0\n')
    code, findings = doctor(config)
    assert code == 1 and len([each for each in findings["configuration"] if each["state"] == "bad"]) >= 2, findings


SET = '<Proxy "http://{guard}">\nProxySet retry=0 timeout=60\n</Proxy>\n'
OTHER = "http://127.0.0.1:{other}"
# What a site's configuration does with the path of a client, and whether the shipped lines are in it.
APACHE = {
    "another app takes everything first": ('ProxyPass "/" "' + OTHER + '/"\n{shipped}', "/swf-monitor/mcp"),
    "another app takes the rest": ('{shipped}\nProxyPass "/" "' + OTHER + '/"', "/swf-monitor/mcp"),
    "a path that is no prefix": (SET + "ProxyPass /mpc http://{guard}/mpc", "/mpc"),
    "another worker's parameters": ("ProxyPass /app " + OTHER + "/app timeout=30 retry=60\n{shipped}", "/swf-monitor/mcp"),
    "host kept outside the path": ("ProxyPreserveHost On\n{shipped}", "/swf-monitor/mcp"),
    "another name for the path": (SET + "ProxyPass /api/mcp http://{guard}/mcp", "/api/mcp"),
    "one line without a slash": (SET + "ProxyPass /mcp http://{guard}/mcp", "/mcp"),
    "one line with a slash": (SET + "ProxyPass /mcp/ http://{guard}/mcp/", "/mcp"),
    "a pattern": (SET + 'ProxyPassMatch "^(/mcp/?)$" "http://{guard}$1"', "/mcp"),
    "a rewrite": (SET + 'RewriteEngine On\nRewriteRule "^(/mcp/?)$" "http://{guard}$1" [P,L]', "/mcp"),
    "a name of this machine": (SET + "ProxyPass /mcp http://localhost:{port}/mcp", "/mcp"),
    "an exclusion first": ('ProxyPass "/swf-monitor/mcp" "!"\n{shipped}', "/swf-monitor/mcp"),
    "another app's location": ('{shipped}\n<Location "/swf-monitor">\nProxyPass "' + OTHER + '"\n</Location>', "/swf-monitor/mcp"),
    "a longer path behind a shorter one": ('ProxyPass "/swf-monitor" "' + OTHER + '"\n{shipped}', "/swf-monitor/mcp"),
    "a pattern for both forms of one path": (SET + 'ProxyPassMatch "^/x/?$" "http://{guard}/mcp"', "/x"),
    "a pattern that is no prefix": (SET + 'ProxyPassMatch "^(/mpc/?)$" "http://{guard}$1"', "/mpc"),
    "a rewrite to no prefix": (SET + 'RewriteEngine On\nRewriteRule "^/mcp(/?)$" "http://{guard}/mpc$1" [P,L]', "/mcp"),
    "a location by pattern": (SET + '<LocationMatch "^(/mcp/?)$">\nProxyPass "http://{guard}$1"\n</LocationMatch>', "/mcp"),
    "a location": (SET + "<Location /mcp>\nProxyPass http://{guard}/mcp\n</Location>", "/mcp"),
}


@pytest.mark.parametrize("name", APACHE)
def test_apache_is_judged_as_it_behaves(programs, name):
    """What doctor reads in the files, and what one request through Apache shows it, is what a real Apache does with calls."""
    _, guard = guarded_tools(programs)
    text, path = APACHE[name]
    shipped = pointed_at(SHIPPED.read_text(), guard.address)
    text = text.format(guard=guard.address, port=guard.address.split(":")[1], other=free_port(), shipped=shipped)
    apache = Apache(programs, guard.address, conf=text)
    responses = [call(apache.url + form, "tools/list") for form in (path, path + "/")]
    arrives = all(response.status == 200 and b"swf_list_agents" in response.body for response in responses)
    # The vhost includes the file, as the header of the shipped one says.
    code, findings = doctor(guard.config, "--apache", str(programs.folder / "apache.conf"))
    read = [each for each in findings["apache"] if each["state"] == "bad"]
    assert (not read) == arrives, (responses, findings["apache"])
    code, findings = doctor(guard.config, "--apache", str(programs.folder / "apache.conf"), "--apache-url", apache.url + path)
    asked = [each for each in findings["apache"] if each["state"] == "bad"]
    assert (not asked) == arrives and code == (0 if arrives else 1), (responses, findings["apache"])
    # The request alone: nothing was read, so a path that is no prefix is either seen to be mapped or not settled.
    none = programs.folder / "none.conf"
    none.write_text("# nothing\n")
    _, findings = doctor(guard.config, "--apache", str(none), "--apache-url", apache.url + path)
    alone = [each["state"] for each in findings["apache"] if "through Apache" in each["found"]]
    assert "bad" not in alone if arrives else (alone != ["ok", "ok"] or name == "a rewrite to no prefix"), findings["apache"]
    assert alone == ["ok", "ok"] or name != "another name for the path", findings["apache"]


def test_a_request_that_arrives_says_nothing_of_a_timeout(programs):
    _, guard = guarded_tools(programs)
    shipped = pointed_at(SHIPPED.read_text(), guard.address).replace("timeout=60", "timeout=20")
    apache = Apache(programs, guard.address, conf=shipped)
    code, findings = doctor(guard.config, "--apache", str(programs.folder / "apache.conf"), "--apache-url", apache.url + "/swf-monitor/mcp")
    assert code == 1 and [each["found"] for each in findings["apache"] if each["state"] == "bad"][0].startswith("timeout=20"), findings
