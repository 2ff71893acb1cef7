"""A real authorization server (oidc-provider), which the test tells who signs in, what is consented to and which keys there are."""

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request

from harness.clients import in_node_env
from harness.tls import Certificate
from mcp_testkit.paths import node
from mcp_testkit.programs import Program, Programs, free_port

#: A client that is known by its own metadata, at a URL of its own (MCP 2026-07-28 prefers this to registration).
DOCUMENT = "https://client.test/e2e.json"
DOCUMENTS = {
    DOCUMENT: {
        "client_id": DOCUMENT,
        "client_name": "e2e",
        "redirect_uris": ["http://127.0.0.1:9/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    }
}
#: Clients with a secret, which get tokens without a user (RFC 6749, 4.4).
ROBOTS = [f"robot-{number}" for number in range(1, 21)]
SECRET = "secret-of-the-robots"


class AuthorizationServer:
    def __init__(
        self,
        programs: Programs,
        resources: list[str],
        *,
        name: str = "issuer",
        certificate: Certificate | None = None,
        port: int | None = None,
        claims: dict | None = None,
        takes_documents: bool = False,
        **state,
    ):
        """It gives tokens for `resources` only. `claims` are in every token; `state` is what `tell` takes.

        With `takes_documents` a client may be known by `DOCUMENT`.
        """
        port = port or free_port()
        self.issuer = f"https://localhost:{port}" if certificate else f"http://127.0.0.1:{port}"
        self._address = f"127.0.0.1:{port}"
        self._programs, self._name = programs, name
        self._control = f"http://127.0.0.1:{free_port()}/"
        self._trusts = ssl.create_default_context(cafile=certificate.authority) if certificate else None
        self._settings = programs.folder / f"{name}.json"
        self._settings.write_text(
            json.dumps(
                {
                    "issuer": self.issuer,
                    "port": port,
                    "control": int(self._control.rstrip("/").rpartition(":")[2]),
                    "keys": str(programs.folder / f"{name}.keys"),
                    "tls": certificate and {"certificate": str(certificate.chain), "key": str(certificate.key)},
                    "resources": resources,
                    "robots": ROBOTS,
                    "secret": SECRET,
                    "documents": DOCUMENTS if takes_documents else None,
                    "claims": claims or {},
                    "state": state,
                }
            )
        )
        self.program: Program = self.start()

    def start(self) -> Program:
        """Starts it, also again: with the same keys, without memory of clients and sessions."""
        argv = [node(), str(in_node_env("authorization_server.mjs")), str(self._settings)]
        self.program = self._programs.start(self._name, argv).wait_for(self._address)
        return self.program

    def tell(self, **state) -> None:
        """account, consents, seconds, signing, published, jwks_delay: see the server."""
        self._ask_control(state)

    def requested(self, part: str) -> int:
        """How many requests it got whose line has this in it."""
        return sum(part in line for line in self._ask_control(None)["requests"])

    def token(self, resource: str, scope: str = "mcp:read", client: str = ROBOTS[0]) -> str:
        """An access token of the client's own."""
        form = {"grant_type": "client_credentials", "scope": scope, "resource": resource}
        request = urllib.request.Request(self.issuer + "/token", urllib.parse.urlencode(form).encode())
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{client}:{SECRET}".encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._trusts) as response:
                return json.load(response)["access_token"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.code} {error.read().decode()}\n{self.program.log()}") from error

    def _ask_control(self, state: dict | None) -> dict:
        data = None if state is None else json.dumps(state).encode()
        with urllib.request.urlopen(urllib.request.Request(self._control, data), timeout=20) as response:
            return json.load(response)


def claims_of(token: str) -> dict:
    """The claims of a JWT, unverified."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def header_of(token: str) -> dict:
    """The header of a JWT, unverified."""
    part = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
