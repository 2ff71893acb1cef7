"""A protected resource as it is deployed: Apache with TLS, the guard with `[auth.oauth]`, mcp-tools, and an authorization server."""

import json
import urllib.request
from pathlib import Path

from harness.apache import Apache
from harness.authorization_server import AuthorizationServer
from harness.curl import Response, curl
from harness.tls import certificate
from mcp_testkit.guard import Guard
from mcp_testkit.programs import Programs, free_port, wait_until
from mcp_testkit.tools import mcp_tools

PATH = "/swf-monitor/mcp"
TOOL = "get_server_instructions"
PING = '{"jsonrpc":"2.0","id":1,"method":"ping"}'

#: Writers may call everything, readers one tool. Nobody who tests has `mcp:other` with `mcp:write`: it makes the scope known to clients.
GRANTS = """
[[auth.oauth.grant]]
name = "others"
scopes = ["mcp:other", "mcp:write"]
claims = { department = "none" }
[[auth.oauth.grant]]
name = "writers"
scopes = ["mcp:read", "mcp:write"]
[[auth.oauth.grant]]
name = "readers"
scopes = ["mcp:read"]
tools = ["get_server_instructions"]
"""

OAUTH = """
[auth.oauth]
resource = "{resource}"
issuers = [{issuers}]
{options}
{grants}
"""


def oauth(resource: str, issuers: list[str], *, options: str = "", grants: str = GRANTS) -> str:
    """The tables of the configuration."""
    return OAUTH.format(resource=resource, issuers=", ".join(f'"{issuer}"' for issuer in issuers), options=options, grants=grants)


#: The guard's own TLS.
LISTEN_TLS = """
[listen.tls]
certificate = "{certificate.chain}"
key = "{certificate.key}"
"""


class Site:
    """`front` is what clients reach: the guard itself in `clear`, the guard with its own `tls`, or `apache` with TLS before it.

    With TLS the authorization server has it, too.
    """

    def __init__(
        self,
        programs: Programs,
        *,
        front: str = "clear",
        trusted: bool = True,
        options: str = 'client_claim = "sub"',
        grants: str = GRANTS,
        more: str = "",
        **issuer,
    ):
        """`options` go into `[auth.oauth]`, `more` to the end of the configuration; `issuer` is what AuthorizationServer takes.

        What is not `trusted` has a certificate of an authority that the guard does not know.
        """
        made = certificate(programs.folder / "certificate") if front != "clear" else None
        self.authority: Path | None = made and made.authority
        port = free_port()
        origin = f"https://localhost:{port}" if made else f"http://127.0.0.1:{port}"
        self.origin, self.resource = origin, origin + PATH
        self.elsewhere = "https://elsewhere.test/mcp"  # Another resource of the same authorization server.
        self.issuer = AuthorizationServer(programs, [self.resource, self.elsewhere], certificate=made, **issuer)
        self.backend = mcp_tools(programs)
        self.guard = Guard(
            programs,
            self.backend.address,
            self.backend.path,
            more=oauth(self.resource, [self.issuer.issuer], options=options, grants=grants)
            + (LISTEN_TLS.format(certificate=made) if front == "tls" else "")
            + more,
            address=None if front == "apache" else f"127.0.0.1:{port}",
            env={"SSL_CERT_FILE": str(self.authority)} if made and trusted else {},
        )
        if front == "apache":
            self.apache = Apache(programs, self.guard.address, certificate=made, port=port)

    def curl(self, path: str = PATH, *options: str, **request) -> Response:
        trusts = ("--cacert", str(self.authority)) if self.authority else ()
        return curl(self.origin + path, *trusts, *options, **request)

    def ping(self, token: str | None) -> Response:
        return self.curl(data=PING, token=token)

    def call(self, token: str, tool: str = TOOL) -> Response:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
        return self.curl(data=json.dumps(message), token=token)

    def token(self, scope: str = "mcp:read mcp:write", **options) -> str:
        """A token of a client with a secret, once the guard can verify tokens of its key."""
        token = self.issuer.token(self.resource, scope, **options)
        wait_until("the guard has the issuer's keys", lambda: self.ping(token).status != 503)
        return token

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{self.guard.metrics}/metrics", timeout=20) as response:
            return response.read().decode()

    def logged(self, **fields) -> dict:
        """The first line of the guard's log with these values, once it is there."""

        def find() -> dict | None:
            return next((line for line in self.guard.lines() if fields.items() <= line.items()), None)

        return wait_until(f"a line of the log with {fields}", find)


def challenge(response: Response) -> dict[str, str]:
    """The parameters of `WWW-Authenticate: Bearer`."""
    value = response.headers.get("www-authenticate", "")
    assert value.startswith("Bearer "), response
    parts = [part.partition("=") for part in value.removeprefix("Bearer ").split(", ")]
    return {name: text.strip('"') for name, _, text in parts}
