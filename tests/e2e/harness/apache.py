"""Apache 2.4 of the machine's user on a free port, with the shipped configuration inside a virtual host."""

import os
import re
from pathlib import Path

from harness.tls import Certificate
from mcp_testkit.paths import ROOT, system
from mcp_testkit.programs import Program, Programs, free_port

SHIPPED = ROOT / "conf" / "apache" / "mcp-guard.conf"
MODULES = Path("/usr/lib/apache2/modules")
NEEDED = "mpm_event authn_core authz_core headers env proxy proxy_http rewrite deflate filter reqtimeout unique_id".split()

# What a Debian site has around the shipped file: compression on, a page of its own, an HTML error page.
VHOST = """
ServerRoot "{folder}"
PidFile "{folder}/apache.pid"
DefaultRuntimeDir "{folder}"
Mutex file:{folder}
{modules}
{user}
ServerName mcp.test
Listen 127.0.0.1:{port}
{tls_module}
ErrorLog "{folder}/apache-error.log"
LogLevel warn
ThreadsPerChild 16
StartServers 1
<VirtualHost 127.0.0.1:{port}>
    DocumentRoot "{folder}/site"
    <Directory "{folder}/site">
        Require all granted
    </Directory>
    {tls}
    SetOutputFilter DEFLATE
    ErrorDocument 404 "<html>the site's own page</html>"
    Include "{shipped}"
</VirtualHost>
"""


class Apache:
    def __init__(self, programs: Programs, guard_address: str, conf: str | None = None, *, certificate: Certificate | None = None, port: int | None = None):
        """With a certificate it serves HTTPS, as `localhost`."""
        self.port = port or free_port()
        self.url = f"https://localhost:{self.port}" if certificate else f"http://127.0.0.1:{self.port}"
        folder = programs.folder
        (folder / "site").mkdir(exist_ok=True)
        (folder / "site" / "index.html").write_text("the site")
        shipped = folder / "mcp-guard.conf"
        shipped.write_text(conf or pointed_at(SHIPPED.read_text(), guard_address))
        config = folder / "apache.conf"
        modules = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in NEEDED)
        config.write_text(
            VHOST.format(
                folder=folder,
                port=self.port,
                modules=modules,
                tls_module=f"LoadModule ssl_module {MODULES}/mod_ssl.so" if certificate else "",
                tls=f'SSLEngine on\n    SSLCertificateFile "{certificate.chain}"\n    SSLCertificateKeyFile "{certificate.key}"' if certificate else "",
                user="User www-data\nGroup www-data" if os.geteuid() == 0 else "",
                shipped=shipped,
            )
        )
        self.program: Program = programs.start("apache", [system("apache2"), "-f", str(config), "-DFOREGROUND"])
        self.program.wait_for(f"127.0.0.1:{self.port}")


def pointed_at(shipped: str, guard_address: str) -> str:
    """The shipped file with nothing but the guard's address replaced."""
    text, count = re.subn(r"(?m)^Define MCP_GUARD_URL .*$", f"Define MCP_GUARD_URL http://{guard_address}", shipped)
    assert count == 1, f"{SHIPPED} no longer defines MCP_GUARD_URL on one line"
    return text
