"""nginx and Caddy of the machine's user on free ports, with the shipped configuration inside a site."""

import re
from collections.abc import Callable

from mcp_testkit.paths import ROOT, system
from mcp_testkit.programs import Programs, free_port

NGINX = """
pid "{folder}/nginx.pid";
error_log stderr warn;
daemon off;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off;
    gzip on;
    gzip_types application/json text/event-stream;
    {temporary}
    server {{
        listen 127.0.0.1:{port};
        error_page 401 403 404 413 /error.html;
        location / {{ return 200 "the site"; }}
        include "{shipped}";
    }}
}}
"""
CADDY = """
{{
    admin off
    auto_https off
}}
import {shipped}
http://127.0.0.1:{port} {{
    import mcp-guard
    handle {{
        respond "the site"
    }}
}}
"""


def pointed_at(name: str, guard_address: str) -> str:
    """The shipped file with nothing but the guard's address replaced."""
    text, count = re.subn(r"127\.0\.0\.1:8001", guard_address, (ROOT / "conf" / name).read_text())
    assert count == 1, f"conf/{name} names the guard's address {count} times"
    return text


def nginx(programs: Programs, guard_address: str) -> str:
    port, folder = free_port(), programs.folder
    shipped, config = folder / "shipped.conf", folder / "nginx.conf"
    shipped.write_text(pointed_at("nginx/mcp-guard.conf", guard_address))
    kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    temporary = "\n".join(f'{kind}_temp_path "{folder}/{kind}";' for kind in kinds)
    config.write_text(NGINX.format(folder=folder, port=port, shipped=shipped, temporary=temporary))
    programs.start("nginx", [system("nginx"), "-p", str(folder), "-c", str(config)]).wait_for(f"127.0.0.1:{port}")
    return f"http://127.0.0.1:{port}"


def caddy(programs: Programs, guard_address: str) -> str:
    port, folder = free_port(), programs.folder
    shipped, config = folder / "mcp-guard.caddy", folder / "Caddyfile"
    shipped.write_text(pointed_at("caddy/mcp-guard.caddy", guard_address))
    config.write_text(CADDY.format(port=port, shipped=shipped))
    env = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    argv = [system("caddy"), "run", "--adapter", "caddyfile", "--config", str(config)]
    programs.start("caddy", argv, env).wait_for(f"127.0.0.1:{port}")
    return f"http://127.0.0.1:{port}"


PROXIES: dict[str, Callable[[Programs, str], str]] = {"nginx": nginx, "caddy": caddy}
