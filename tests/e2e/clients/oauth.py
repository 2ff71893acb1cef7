"""A Python SDK client with the SDK's own OAuth client provider and no token.

Usage: oauth.py URL sdk1|legacy|auto|modern [DOCUMENT]. DOCUMENT is the URL of the client's own metadata, if it has one.
A client without a user has its id, its secret and the issuer that may see it in OAUTH_CREDENTIALS.
Prints one JSON object once it is connected, and one for each line of its input, which names a tool to call: what came of it, the access
token, its scopes, the client's id, and how often a user had to sign in.
"""

import asyncio
import contextlib
import json
import os
import sys
from urllib.parse import parse_qs, urljoin, urlsplit

try:
    import httpx2 as httpx
except ImportError:
    import httpx
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.shared.auth import OAuthClientMetadata

CALLBACK = "http://127.0.0.1:9/callback"
PATIENCE = 20
MODES = {"legacy": "legacy", "auto": "auto", "modern": "2026-07-28"}


class Memory:
    """The storage of tokens and of the registration, for as long as the process lives."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


class Browser:
    """Follows redirects with cookies; the authorization server asks nothing."""

    visits = 0

    async def open(self, url: str) -> None:
        self.visits += 1
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            while not url.startswith(CALLBACK):
                response = await http.get(url)
                assert response.is_redirect, f"{response.status_code} of {url}: {response.text[:500]}"
                url = urljoin(url, response.headers["location"])
        self.came_back = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}

    async def result(self):
        assert "code" in self.came_back, f"the user was refused: {self.came_back}"
        with contextlib.suppress(ImportError):
            from mcp.client.auth import AuthorizationCodeResult

            fields = ("code", "state", "iss")
            return AuthorizationCodeResult(**{name: self.came_back.get(name) for name in fields})
        return self.came_back["code"], self.came_back.get("state")


@contextlib.asynccontextmanager
async def connected(url: str, mode: str, provider: OAuthClientProvider):
    """A session of either SDK, and the version it negotiated."""
    if mode == "sdk1":
        from mcp import ClientSession
        from mcp.client.streamable_http import streamablehttp_client

        async with streamablehttp_client(url, auth=provider) as (read, write, _):
            async with ClientSession(read, write) as session:
                yield session, (await session.initialize()).protocolVersion
    else:
        from mcp import Client
        from mcp.client.streamable_http import streamable_http_client

        async with httpx.AsyncClient(auth=provider, timeout=PATIENCE) as http:
            async with Client(streamable_http_client(url, http_client=http), mode=MODES[mode]) as client:
                yield client, client.protocol_version


def told(error: BaseException) -> str:
    """A task group wraps what happened; the innermost cause is the story."""
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def main(url: str, mode: str, document: str | None = None) -> None:
    memory, browser = Memory(), Browser()

    def report(**said) -> None:
        if memory.tokens:
            said |= {"token": memory.tokens.access_token, "scope": memory.tokens.scope}
        print(json.dumps({"visits": browser.visits, "id": memory.client and memory.client.client_id, **said}), flush=True)

    metadata = OAuthClientMetadata(client_name="e2e", redirect_uris=[CALLBACK], token_endpoint_auth_method="none")
    own = os.environ.get("OAUTH_CREDENTIALS")
    if own:
        id, secret, issuer = own.split()
        provider = ClientCredentialsOAuthProvider(url, memory, id, secret, issuer=issuer)
    else:
        provider = OAuthClientProvider(url, metadata, memory, browser.open, browser.result, client_metadata_url=document)
    async def serve() -> None:
        async with connected(url, mode, provider) as (session, version):
            report(version=version)
            while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
                try:
                    result = await asyncio.wait_for(session.call_tool(line, {}), PATIENCE)
                    report(text=[block.text for block in result.content])
                except Exception as error:
                    report(error=told(error))

    try:
        await serve()
    except BaseException as error:
        # The provider looks at the first response to a request only. Where scopes do not suffice after the sign-in, a user connects again.
        if not memory.tokens:
            report(error=told(error))
            return
        try:
            await serve()
        except BaseException as error:
            report(error=told(error))


asyncio.run(main(*sys.argv[1:]))
