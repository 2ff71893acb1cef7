"""The keys of the authorization server: rotated under load, removed, and out of reach. And what follows the subject: the traffic split."""

import itertools
import random

import pytest

from harness.authorization_server import ROBOTS, header_of
from harness.load import Load
from harness.oauth_site import PATH, TOOL, Site, challenge
from harness.operator import HELD_PLAN, Operator
from mcp_testkit.guard import TOKEN
from mcp_testkit.programs import wait_until
from mcp_testkit.tools import mcp_tools

#: An issuer is asked again because of an unknown key at most this often (SPEC: 30 s), and at the latest after `refresh`.
FETCH_SECONDS = 45
REFRESH = 'client_claim = "sub"\nrefresh = "30s"'


@pytest.fixture
def site(programs):
    return Site(programs, options=REFRESH)


def fetched_again(site: Site) -> None:
    """Waits until the guard has asked the issuer for its keys once more."""
    before = site.issuer.requested("/jwks")
    wait_until("the guard to ask for the keys again", lambda: site.issuer.requested("/jwks") > before, FETCH_SECONDS)


def test_a_key_that_is_published_before_it_signs_costs_no_call(site):
    tokens = [site.token()]
    with Load(site.guard.address, TOOL, rate=100, connections=4, path=PATH, token=lambda: random.choice(tokens)) as load:
        site.issuer.tell(published=["es-1", "es-2", "rs-1", "rs-2"])
        fetched_again(site)
        for key in ["es-2", "rs-2", "rs-1"]:
            site.issuer.tell(signing=key)
            tokens.append(site.issuer.token(site.resource, client=random.choice(ROBOTS)))
            before = load.outcome.succeeded
            wait_until("calls with the new key", lambda: load.outcome.succeeded > before + 50)
    assert load.outcome.failures == [] and load.outcome.succeeded > 200, load.outcome
    assert [header_of(token)["kid"] for token in tokens] == ["es-1", "es-2", "rs-2", "rs-1"]


def test_a_key_that_signs_before_it_was_fetched_is_503_until_it_is(programs):
    """A key is looked for at most every 30 seconds, and no call waits for it. Nor does a client begin anew, as it would after a 401."""
    site = Site(programs)
    known = site.token()
    asked = site.issuer.requested("/jwks")
    site.issuer.tell(signing="es-2", published=["es-1", "es-2"], jwks_delay=300)
    new = site.issuer.token(site.resource)
    statuses = []

    def passes() -> bool:
        response = site.ping(new)
        if response.status == 503:
            assert 0 < int(response.headers["retry-after"]) <= 30, response
        statuses.append(response.status)
        return response.status == 200

    wait_until("the new key", passes, FETCH_SECONDS)
    assert [status for status, _ in itertools.groupby(statuses)] == [503, 200], statuses
    assert site.issuer.requested("/jwks") == asked + 1, "whoever asks, there is one fetch"
    assert site.ping(known).status == 200
    site.logged(status=503, denial="jwt_keys_unavailable")


def test_a_key_that_is_removed_takes_its_tokens_with_it(programs):
    # Without leeway a token that is older than the set of keys is one of a key that is gone, not of a key to come.
    site = Site(programs, options=REFRESH + '\nleeway = "0s"')
    tokens = {key: None for key in ["es-1", "rs-1"]}
    for key in tokens:
        site.issuer.tell(signing=key)
        tokens[key] = site.token()
        assert site.ping(tokens[key]).status == 200
    site.issuer.tell(published=["rs-1"])
    # A token that was verified before is remembered, but not beyond its key.
    wait_until("the revoked key is refused", lambda: site.ping(tokens["es-1"]).status != 200, FETCH_SECONDS)
    refused = site.ping(tokens["es-1"])
    assert refused.status == 401 and challenge(refused)["error"] == "invalid_token", refused
    assert site.ping(tokens["rs-1"]).status == 200


def test_calls_go_on_while_the_authorization_server_is_away(site):
    seen, unseen = site.token(), site.issuer.token(site.resource, client="robot-2")
    site.issuer.program.stop()
    for token in [seen, unseen, TOKEN]:
        assert site.ping(token).status == 200, "the keys are known"
    site.guard.command("reload")
    for token in [seen, unseen]:
        assert site.ping(token).status == 200, "a reload forgets no key"


def test_a_guard_that_is_restarted_while_its_authorization_server_is_away_has_the_keys(site):
    token = site.token()
    site.issuer.program.stop()
    site.guard.program.stop()
    site.guard.start()
    assert site.ping(token).status == 200


def test_a_guard_that_starts_before_its_authorization_server_serves_when_that_is_there(site):
    token = site.token()
    site.issuer.program.stop()
    site.guard.program.stop()
    for kept in site.guard.config.with_name("guard.state").glob("issuer-*.keys"):
        kept.unlink()
    site.guard.start()
    assert site.ping(TOKEN).status == 200
    refused = site.ping(token)
    assert refused.status == 503 and int(refused.headers["retry-after"]) > 0, refused
    assert site.ping(None).status == 401
    reachable = f'mcp_guard_issuer_reachable{{issuer="{site.issuer.issuer}"}}'
    assert f"{reachable} 0" in site.metrics()
    site.issuer.start()
    wait_until("the keys to be fetched", lambda: site.ping(token).status == 200, FETCH_SECONDS)
    assert f"{reachable} 1" in site.metrics()


def test_an_issuer_without_a_trusted_certificate_gives_no_keys(programs):
    site = Site(programs, front="apache", trusted=False)
    token = site.issuer.token(site.resource)
    wait_until("the failed fetch in the log", lambda: site.issuer.issuer in site.guard.program.log())
    refused = site.ping(token)
    assert (refused.status, site.issuer.requested("/")) == (503, 1), "only the token was requested, by the test"
    assert site.ping(TOKEN).status == 200


def test_an_upgrade_of_the_guard_costs_no_call_with_a_token(site):
    """The new process has the keys before it takes calls."""
    token = site.token()
    with Load(site.guard.address, TOOL, rate=200, connections=4, path=PATH, token=lambda: token) as load:
        wait_until("calls", lambda: load.outcome.succeeded > 50)
        for _ in range(3):
            site.guard.upgrade()
            before = load.outcome.succeeded
            wait_until("calls after the upgrade", lambda: load.outcome.succeeded > before + 50)
    assert load.outcome.failures == [], load.outcome


GREEN = """
[slots.green]
address = "{green}"
path = "/mcp"
[rollout]
plan = "plan.toml"
[health]
interval = "500ms"
timeout = "500ms"
"""


def test_subjects_of_one_grant_are_split_between_the_slots_and_stay(programs):
    (programs.folder / "plan.toml").write_text(HELD_PLAN)
    site = Site(programs, more=GREEN.format(green=mcp_tools(programs, "candidate").address))
    tokens = {robot: site.token(client=robot) for robot in ROBOTS}
    operator = Operator(site.guard)
    operator.both_healthy()
    operator.does("rollout start")
    for _ in range(5):
        for token in tokens.values():
            assert "result" in site.call(token).json()

    def slots_of() -> dict[str, list[str]]:
        calls = [line for line in site.guard.lines() if line.get("tool") == TOOL and line.get("client") == "writers"]
        return {robot: [line["slot"] for line in calls if line["subject"] == robot] for robot in ROBOTS}

    wait_until("all calls in the log", lambda: all(len(slots) == 5 for slots in slots_of().values()))
    slots = slots_of()
    assert all(len(set(of_one)) == 1 for of_one in slots.values()), f"a subject moved between the slots: {slots}"
    assert {of_one[0] for of_one in slots.values()} == {"blue", "green"}, slots
