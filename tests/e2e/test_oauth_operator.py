"""What the operator is told of tokens and issuers: `token inspect` and `doctor`, with a real authorization server."""

import json
import subprocess

import pytest

from harness.oauth_site import Site
from mcp_testkit.guard import TOKEN, WRONG_TOKEN
from mcp_testkit.paths import GUARD


@pytest.fixture(scope="module")
def site(module_programs):
    return Site(module_programs)


def run(site: Site, *words: str, given: str = "") -> tuple[int, dict]:
    """The exit code and the JSON of a command. It never prints the token that it is given."""
    argv = [str(GUARD), *words, "--json", "--config", str(site.guard.config)]
    env = {"MCP_BEARER_TOKEN": TOKEN, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=60, env=env)
    for part in filter(None, given.strip().split(".")):
        assert part not in done.stdout + done.stderr, "a part of the token was printed"
    return done.returncode, json.loads(done.stdout or "{}")


def inspect(site: Site, token: str) -> tuple[int, dict]:
    return run(site, "token", "inspect", given=token + "\n")


def test_token_inspect_says_which_client_a_token_is(site):
    code, said = inspect(site, site.token(client="robot-3"))
    assert code == 0 and (said["client"], said["subject"]) == ("writers", "robot-3"), said
    code, said = inspect(site, "Bearer " + site.token("mcp:read"))
    assert code == 0 and said["client"] == "readers", said
    code, said = inspect(site, TOKEN)
    assert code == 0 and said["client"] == "default", said


def test_token_inspect_says_why_a_token_is_refused(site):
    code, said = inspect(site, site.issuer.token(site.elsewhere))
    assert code == 1 and said["refused"] == "jwt_invalid (401): aud is another resource", said
    assert site.elsewhere in said["aud"], said
    code, said = inspect(site, site.token("mcp:other"))
    assert code == 1 and said["refused"].startswith("insufficient_scope (403)"), said
    code, said = inspect(site, WRONG_TOKEN)
    assert code == 1 and said["refused"].startswith("token_invalid"), said


def test_doctor_asks_the_issuers(programs):
    site = Site(programs)
    token = site.token()

    def states() -> dict[str, str]:
        return {each["what"]: each["state"] for each in run(site, "doctor")[1]["findings"]}

    url = site.issuer.issuer
    found = states()
    assert (found[f"issuer {url}"], found[f"clock of {url}"], found["resource"]) == ("ok", "ok", "ok"), found
    site.issuer.program.stop()
    found = states()
    assert found[f"issuer {url}"] == "bad", found
    # The guard serves with the keys it has; the command has none, and cannot tell.
    assert site.ping(token).status == 200
    assert inspect(site, token)[0] == 2
