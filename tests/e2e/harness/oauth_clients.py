"""SDK clients with the SDKs' own OAuth client providers, in processes of their own, which begin without a token."""

import json
import os
import selectors
import subprocess
from pathlib import Path

from harness.clients import Client, in_node_env
from mcp_testkit.paths import E2E, node, python

PATIENCE = 40


class OauthClient:
    """Connected once `said` has no error. Every report has the client's token, its scopes, and how often a user had to sign in."""

    def __init__(self, client: Client, url: str, authority: Path | None = None, *more: str, credentials: str = ""):
        """With `credentials` (id, secret, issuer) it is a program without a user; it never signs in."""
        if client.name.startswith("sdk"):
            mode = client.name if client.name == "sdk1" else client.era
            argv = [python(client.name), str(E2E / "clients" / "oauth.py"), url, mode]
        else:
            mode = client.name if client.name == "ts1" else client.era
            argv = [node(), str(in_node_env("oauth.mjs")), url, mode]
        argv += more
        trusts = {"SSL_CERT_FILE": str(authority), "NODE_EXTRA_CA_CERTS": str(authority)} if authority else {}
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        self.process = subprocess.Popen(argv, env={**os.environ, **trusts, "OAUTH_CREDENTIALS": credentials}, text=True, bufsize=1, **pipes)
        self.said = self._report()

    def __enter__(self) -> "OauthClient":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def call(self, tool: str) -> dict:
        self.process.stdin.write(tool + "\n")
        self.process.stdin.flush()
        self.said = self._report()
        return self.said

    def _report(self) -> dict:
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            line = self.process.stdout.readline() if waiting.select(PATIENCE) else ""
        if not line:
            self.process.kill()
            raise AssertionError(f"the client said nothing:\n{self.process.communicate(timeout=PATIENCE)}")
        return json.loads(line)
