"""From no token to `tools/call` without a hand: the SDKs' own OAuth clients, a real authorization server, Apache with TLS, and the guard.

MCP 2025-11-25, Authorization: "MCP servers MUST implement OAuth 2.0 Protected Resource Metadata (RFC 9728). MCP clients MUST use OAuth 2.0
Protected Resource Metadata for authorization server discovery."
"""

import time

import pytest

from harness.apache import Apache
from harness.authorization_server import DOCUMENT, SECRET, AuthorizationServer, claims_of
from harness.clients import CLIENTS
from harness.curl import curl
from harness.oauth_clients import OauthClient
from harness.oauth_site import PATH, TOOL, Site, challenge, oauth
from harness.proxies import PROXIES
from mcp_testkit.guard import TOKEN, Guard
from mcp_testkit.programs import wait_until
from mcp_testkit.tools import INSTRUCTIONS

WELL_KNOWN = "/.well-known/oauth-protected-resource"
BY_ID = {client.id: client for client in CLIENTS}
#: They hold a refresh token when they are told that the scopes do not suffice, and refresh, which gives them the same scopes again.
NO_STEP_UP = ["ts1-legacy"]


@pytest.fixture(scope="module")
def site(module_programs):
    return Site(module_programs, front="apache", options='client_claim = "sub"\nleeway = "0s"')


def signed_in(site: Site, client: str) -> OauthClient:
    # One half of the clients takes the address with a slash, the other without.
    return OauthClient(BY_ID[client], site.resource + ("/" if client.startswith("ts") else ""), site.authority)


@pytest.mark.parametrize("client", BY_ID)
def test_a_client_without_a_token_comes_to_a_call_through_apache(site, client):
    site.issuer.tell(account=f"user of {client}", seconds=3600, consents=[["mcp:read", "mcp:write"]])
    with signed_in(site, client) as running:
        said = running.call(TOOL)
    assert said.get("text") == [INSTRUCTIONS] and said["visits"] == 1, said
    claims = claims_of(said["token"])
    assert (claims["iss"], claims["aud"]) == (site.issuer.issuer, site.resource)
    # It is a client that registered itself, and the user is the subject.
    assert claims["client_id"] == said["id"] and said["id"], claims
    line = site.logged(client="writers", subject=f"user of {client}", method="tools/call")
    assert (line["status"], line["outcome"]) == (200, "ok"), line


@pytest.mark.parametrize(
    ("client", "front"), [("sdk1-legacy", "clear"), ("sdk2-auto", "tls"), ("ts1-legacy", "tls"), ("ts2-auto", "clear")]
)
def test_a_client_without_a_token_comes_to_a_call_at_the_guard_itself(programs, client, front):
    site = Site(programs, front=front, account="bob")
    with OauthClient(BY_ID[client], site.resource, site.authority) as running:
        said = running.call(TOOL)
    assert said.get("text") == [INSTRUCTIONS] and said["visits"] == 1, said
    site.logged(client="writers", subject="bob", method="tools/call")
    for part in ["code_challenge_method=S256", "resource="]:
        assert site.issuer.requested(part) == 1, f"the authorization request lacks {part}"
    assert site.issuer.requested("POST /reg") == 1


@pytest.mark.parametrize("client", ["sdk1-legacy", "sdk2-modern", "ts1-legacy", "ts2-modern"])
def test_a_client_that_is_known_by_its_own_document_does_not_register(programs, client):
    site = Site(programs, options="", takes_documents=True)
    with OauthClient(BY_ID[client], site.resource, None, DOCUMENT) as running:
        said = running.call(TOOL)
    assert said.get("text") == [INSTRUCTIONS] and said["id"] == DOCUMENT, said
    assert site.issuer.requested("POST /reg") == 0
    # Unless the configuration says otherwise, the program is the subject.
    site.logged(client="writers", subject=DOCUMENT, method="tools/call")


@pytest.mark.parametrize("client", ["sdk1-legacy", "sdk2-auto", "ts1-legacy", "ts2-auto"])
def test_a_bot_gets_tokens_with_its_own_secret(programs, client):
    """RFC 6749, 4.4: no user, no registration; what a bot with a unit does instead of a static token."""
    site = Site(programs, options='client_claim = "sub"\nleeway = "0s"', seconds=3)
    with OauthClient(BY_ID[client], site.resource, credentials=f"robot-5 {SECRET} {site.issuer.issuer}") as running:
        assert "error" not in running.said, running.said
        said = running.call(TOOL)
        assert said.get("text") == [INSTRUCTIONS] and said["visits"] == 0, said
        claims = claims_of(said["token"])
        assert claims["client_id"] == "robot-5"
        wait_until("the token to be over", lambda: time.time() > claims["exp"] + 1)
        renewed = running.call(TOOL)
    assert renewed.get("text") == [INSTRUCTIONS] and renewed["token"] != said["token"], renewed
    site.logged(client="writers", subject="robot-5", method="tools/call")
    with OauthClient(BY_ID[client], site.resource, credentials=f"robot-5 not-its-secret {site.issuer.issuer}") as running:
        assert "error" in running.said or "error" in running.call(TOOL), running.said


def test_the_metadata_is_at_both_places_and_the_challenge_names_one(site):
    metadata = {
        "resource": site.resource,
        "authorization_servers": [site.issuer.issuer],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["mcp:other", "mcp:read", "mcp:write"],
    }
    for path in [WELL_KNOWN, WELL_KNOWN + PATH]:
        got = site.curl(path)
        assert (got.status, got.headers["content-type"], got.json()) == (200, "application/json", metadata), got
    refused = site.ping(None)
    assert refused.status == 401 and challenge(refused) == {"realm": "mcp", "resource_metadata": site.origin + WELL_KNOWN + PATH}, refused
    # The guard is no authorization server, and says so.
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration" + PATH]:
        assert site.curl(path).status == 404


@pytest.mark.parametrize("proxy", ["apache", *PROXIES])
def test_the_shipped_proxies_pass_metadata_and_challenge(programs, stacks, proxy):
    backend = stacks("mcp-tools").backend
    more = oauth("https://mcp.example.org" + PATH, ["http://127.0.0.1:9"])
    guard = Guard(programs, backend.address, backend.path, more=more)
    url = Apache(programs, guard.address).url if proxy == "apache" else PROXIES[proxy](programs, guard.address)
    for path in [WELL_KNOWN, WELL_KNOWN + PATH, WELL_KNOWN + PATH + "/"]:
        got = curl(url + path)
        assert got.status == 200 and got.json()["resource"] == "https://mcp.example.org" + PATH, got
    got = curl(url + PATH, data="{}")
    assert challenge(got)["resource_metadata"] == "https://mcp.example.org" + WELL_KNOWN + PATH, got
    assert curl(url + PATH, data='{"jsonrpc":"2.0","id":1,"method":"ping"}', token=TOKEN).status == 200


@pytest.mark.parametrize("client", BY_ID)
def test_a_client_with_too_few_scopes_asks_for_more(site, client):
    """MCP, Authorization, Step-Up Authorization Flow."""
    site.issuer.tell(account=f"cautious {client}", seconds=3600, consents=[["mcp:other"], ["mcp:read", "mcp:write"]])
    with signed_in(site, client) as running:
        # The Python client looks at the first response to a request only: what follows a sign-in is told to its caller.
        said = running.call(TOOL) if "error" not in running.said else running.said
        if "error" in said and client not in NO_STEP_UP:
            said = running.call(TOOL)
    if client in NO_STEP_UP:
        assert "403" in said["error"] and said["visits"] == 1, said
    else:
        assert said.get("text") == [INSTRUCTIONS] and said["visits"] == 2 and "mcp:read" in said["scope"], said


def test_too_few_scopes_are_403_and_the_challenge_names_what_is_needed(site):
    got = site.ping(site.token("mcp:other"))
    expected = {"realm": "mcp", "error": "insufficient_scope", "scope": "mcp:read", "resource_metadata": site.origin + WELL_KNOWN + PATH}
    assert got.status == 403 and challenge(got) == expected, got
    site.logged(status=403, denial="insufficient_scope")


@pytest.mark.parametrize("client", BY_ID)
def test_a_client_refreshes_its_token_and_goes_on(site, client):
    site.issuer.tell(account=f"patient {client}", seconds=6, consents=[["mcp:read", "mcp:write"]])
    with signed_in(site, client) as running:
        first = running.call(TOOL)
        assert first.get("text") == [INSTRUCTIONS], first
        # The guard itself says when it is over, and one second more is what a client rounds.
        wait_until("the token to be over", lambda: time.time() > claims_of(first["token"])["exp"] + 1)
        refused = site.ping(first["token"])
        assert refused.status == 401 and challenge(refused)["error"] == "invalid_token", refused
        second = running.call(TOOL)
    assert second.get("text") == [INSTRUCTIONS] and second["token"] != first["token"], second
    assert second["visits"] == 1, f"the user had to sign in again: {second}"


def test_static_tokens_work_beside_those_of_the_issuer(site):
    for token in [TOKEN, site.token(), TOKEN]:
        assert site.ping(token).status == 200
    site.logged(client="default", method="ping")
    # With an authorization server, an unknown token is one to be replaced, whatever it looks like.
    for token in ["no-such-t0ken-0123456789abcdefgh", "a.b.c"]:
        refused = site.ping(token)
        assert refused.status == 401 and challenge(refused)["error"] == "invalid_token", refused


def test_tokens_of_another_resource_or_issuer_are_refused(site, programs):
    site.token()
    foreign = AuthorizationServer(programs, [site.resource], name="foreign")
    for token in [site.issuer.token(site.elsewhere), foreign.token(site.resource)]:
        refused = site.ping(token)
        assert refused.status == 401 and challenge(refused)["error"] == "invalid_token", refused
    details = [site.logged(status=401, denial="jwt_invalid", detail=detail) for detail in ["aud is another resource", "iss is not a configured issuer"]]
    assert all("subject" not in line and "client" not in line for line in details), details
    assert foreign.requested("jwks") == 0, "nothing that a token names is fetched"


def test_a_grant_has_its_own_tools(site):
    reader, writer = site.token("mcp:read"), site.token("mcp:read mcp:write")
    for token, tools in [(reader, 1), (writer, 54)]:
        got = site.curl(data='{"jsonrpc":"2.0","id":1,"method":"tools/list"}', token=token)
        assert len(got.json()["result"]["tools"]) == tools, got
        assert "result" in site.call(token).json()
    assert "Unknown tool" in site.call(reader, "swf_list_available_tools").json()["error"]["message"]
    assert "result" in site.call(writer, "swf_list_available_tools").json()


def test_the_log_has_the_subject_and_metrics_have_the_grant_only(site):
    assert site.ping(site.token("mcp:read", client="robot-7")).status == 200
    site.logged(client="readers", subject="robot-7", method="ping")
    metrics = site.metrics()
    assert 'client="readers"' in metrics
    assert "robot-7" not in metrics and "user of" not in metrics
    assert "eyJ" not in site.guard.program.log() + metrics, "a token was written down"


def test_the_rate_of_a_grant_is_for_each_subject(programs):
    grants = """
[[auth.oauth.grant]]
name = "limited"
scopes = ["mcp:read"]
rate = "1/m"
burst = 3
"""
    site = Site(programs, grants=grants)
    first, second = site.token(client="robot-1"), site.issuer.token(site.resource, client="robot-2")
    passed = ["result" in site.call(first).json() for _ in range(6)]
    assert passed[0] and not passed[-1], passed
    assert "result" in site.call(second).json(), "another subject of the grant has its own share"
    site.logged(client="limited", subject="robot-1", denial="rate_limited")


def test_oauth_is_switched_on_and_off_by_a_reload(programs, stacks):
    backend = stacks("mcp-tools").backend
    guard = Guard(programs, backend.address, backend.path)
    plain = guard.config.read_text()
    resource = guard.url + PATH
    issuer = AuthorizationServer(programs, [resource])
    token = issuer.token(resource)

    def ping(token: str):
        return curl(resource, data='{"jsonrpc":"2.0","id":1,"method":"ping"}', token=token)

    assert ping(token).status == 403
    guard.config.write_text(plain + oauth(resource, [issuer.issuer]))
    assert guard.command("reload").returncode == 0
    wait_until("the issuer's keys", lambda: ping(token).status == 200)
    assert ping(TOKEN).status == 200
    guard.config.write_text(plain)
    assert guard.command("reload").returncode == 0
    refused = ping(token)
    assert (refused.status, refused.body) == (403, b'{"error": "Invalid token"}'), refused
    assert curl(guard.url + WELL_KNOWN).status == 404 and ping(TOKEN).status == 200
