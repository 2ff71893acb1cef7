"""Contract, section 22: five guards with one store make one decision, and hold one limit, whatever happens to a guard or to the store.

Every drill has calls at every guard all the time, and counts each that fails.
"""

import datetime
import hashlib
import statistics
import time

import pytest

from harness.curl import metric
from harness.demand import Demand
from harness.fleet import HELD, TOOL, Crowd, Fleet, Member
from harness.store import PRIMARY, Link, Sentinels, Store
from mcp_testkit.programs import wait_until

SHORT = HELD[: HELD.index("[[step]]")] + "".join(
    f'[[step]]\nstage = "{stage}"\n{weight}hold = "1500ms"\nmin_samples = 20\n'
    for stage, weight in [("canary", "weight = 30\n"), ("progressive", "weight = 60\n"), ("candidate_only", ""), ("bake", "")]
)
STEPS = ["started", "advanced", "advanced", "advanced", "completed"]

#: The client whose rate is shared.
METERED, RATE, BURST = "metered-Tok3n-0123456789abcdefghij", 50, 25
TOKENS = f'[clients.metered]\nsha256 = "{hashlib.sha256(METERED.encode()).hexdigest()}"\nrate = "{RATE}/s"\nburst = {BURST}\n'


@pytest.fixture(scope="module")
def store(module_programs) -> Store:
    return Store(module_programs)


@pytest.fixture(scope="module")
def link(store) -> Link:
    """The way of the last guard to the store."""
    made = Link(store.port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def five(module_programs, store, link) -> Fleet:
    urls = {"guard-5": link.url}
    return Fleet(module_programs, 5, lambda name: f'store = "{urls.get(name, store.url)}"', tokens=TOKENS)


@pytest.fixture
def fleet(five) -> Fleet:
    """Five guards that agree: blue is stable, and there is no rollout."""
    yield five
    for member in five:
        member.candidate.becomes("good")
    five.agree()
    leader = five.leader()
    if leader.operator.status()["run"]:
        leader.operator.does("rollout rollback")
        five.is_over()
    if leader.where()["stable"] != "blue":
        leader.operator.does("slots switch blue")
        five.wait_for("blue is stable everywhere", lambda member: member.where()["stable"] == "blue")


def kinds(member: Member, count: int) -> list[str]:
    return [one["kind"] for one in member.operator.history()[-count:]]


def is_complete(member: Member, stable: str) -> bool:
    status = member.operator.status()
    return status["run"] is None and status["position"]["stable"] == stable


def now() -> float:
    """Milliseconds since the epoch, the clock of the candidates' records."""
    return time.time() * 1000


def triggered(failing: Member, leader: Member, since: float) -> float:
    """When, after that time, a trigger fired: at the guard whose candidate fails, or at the one that leads. In milliseconds since the epoch."""
    lines = [line for line in failing.guard.lines() if "the candidate gets no calls from this guard" in line.get("message", "")]
    ejected = [datetime.datetime.fromisoformat(line["time"]).timestamp() * 1000 for line in lines]
    return min(at for at in [*ejected, leader.operator.history()[-1]["at"]] if at >= since)


def test_a_rollout_goes_forward_over_five_guards_and_back_by_an_order_at_any_of_them(fleet):
    fleet.plan(SHORT)
    with Crowd(fleet.members, sdks={"sdk1": 0, "sdk2-legacy": 1, "sdk2-auto": 4}) as crowd:
        fleet.begins(at=fleet.follower())
        fleet.wait_for("green is stable everywhere", lambda member: is_complete(member, "green"), seconds=40)
        for member in fleet:
            assert kinds(member, 5) == STEPS, member.name
        # Back the way it came: blue is the candidate now.
        fleet.plan(HELD)
        follower = fleet.follower()
        follower.operator.does("rollout start")
        fleet.wait_for("blue gets calls everywhere", lambda member: member.where()["stage"] == "canary")
        fleet.follower().operator.does("rollout rollback")
        fleet.is_over()
        for member in fleet:
            last = member.operator.history()[-1]
            assert (last["kind"], last["cause"]["by"]) == ("rolled_back", "operator"), member.name
            assert member.where() == follower.where(), member.name
        crowd.unharmed()


def test_all_guards_leave_a_candidate_that_fails_on_one_of_them(fleet):
    fleet.plan(HELD)
    took, after = [], []
    with Crowd(fleet.members, rate=40) as crowd:
        for turn in range(5):
            failing, others = fleet[turn], [member for member in fleet if member is not fleet[turn]]
            fleet.begins(at=fleet[(turn + 1) % 5])
            seen, begun = len(crowd.failures(failing.name)), now()
            with failing.candidate.failing():
                fleet.is_over()
                time.sleep(0.3)
            first = min(latest for _, latest in failing.candidate.times() if latest >= begun)
            last = max(earliest for member in fleet for earliest, _ in member.candidate.times())
            took.append(last - first)
            after.append(round(last - triggered(failing, fleet.leader(), begun)))
            answers = sum(latest >= begun for _, latest in failing.candidate.times())
            assert 0 < len(crowd.failures(failing.name)) - seen <= answers, "only calls of its candidate failed"
            for member in others:
                assert not crowd.failures(member.name) or member in fleet[:turn], member.name
            assert fleet.leader().operator.history()[-1]["cause"]["by"] == "trigger"
        print(f"\nfrom the first failing response to the last call of a candidate: {sorted(took)} ms, median {statistics.median(took)}")
        print(f"from the trigger to the last call of a candidate: {sorted(after)} ms, median {statistics.median(after)}")
    assert max(took) <= 1000, took
    assert statistics.median(after) <= 250, after


def test_another_guard_goes_on_with_the_rollout_when_the_leader_is_killed(fleet):
    fleet.plan(SHORT)
    leader = fleet.leader()
    others = [member for member in fleet if member is not leader]
    with Crowd(others) as crowd, Crowd([leader]):
        fleet.begins(at=others[0])
        fleet.wait_for("the second step", lambda member: member.where()["step"] == 2)
        leader.kill()
        killed = time.monotonic()
        # When it was asked last and there was none: how long the answer takes says nothing.
        without = [killed]

        def is_another() -> bool:
            asked = time.monotonic()
            found = others[0].sees()["leader"] not in (None, leader.name)
            without.append(without[-1] if found else asked)
            return found

        wait_until("another one leads", is_another)
        took = without[-1] - killed
        fleet.wait_for("green is stable on those that live", lambda member: is_complete(member, "green"), among=others, seconds=40)
        for member in others:
            assert kinds(member, 5) == STEPS, member.name
            numbers = [one["seq"] for one in member.operator.history()[-5:]]
            assert numbers == list(range(numbers[0], numbers[0] + 5)), "no step is lost or repeated"
        crowd.unharmed()
    leader.start()
    fleet.agree()
    assert is_complete(leader, "green") and kinds(leader, 5) == STEPS, "it has caught up"
    print(f"\nanother leader {took:.1f} s after the death of one")
    assert took <= 5


def test_nothing_moves_forward_without_the_store_and_a_failing_candidate_is_left_where_it_fails(fleet, store):
    fleet.plan(SHORT)
    failing = fleet[2]
    with Crowd(fleet.members, sdks={"sdk1": 0, "sdk2-auto": 3}) as crowd:
        fleet.begins(at=fleet[1])
        with store.paused():
            fleet.wait_for("the store is away for every guard", lambda member: member.sees()["store_away"])
            before = [member.where() for member in fleet]
            time.sleep(3)
            assert [member.where() for member in fleet] == before, "the hold of the step is over, and nothing moves"
            for member in fleet:
                assert not crowd.failures(member.name), "no call fails without the store"
            left_by(failing, fleet)
        fleet.is_over()
        fleet.agree()
        assert fleet.leader().operator.history()[-1]["kind"] == "rolled_back"
        crowd.unharmed(but=failing.name)


def left_by(failing: Member, fleet: Fleet) -> None:
    """Its candidate fails: this guard alone sends it no more calls."""
    with failing.candidate.failing():
        wait_until("it sees why", lambda: failing.sees()["candidate"] == "ejected", 5)
        wait_until("its calls under way are over", lambda: metric(failing.guard.metrics, 'mcp_guard_in_flight{slot="green"}') == 0)
        counts = [member.candidate.count() for member in fleet]
        time.sleep(1)
        for member, count in zip(fleet, counts):
            if member is failing:
                assert member.candidate.count() == count, "it sends its candidate calls"
            else:
                wait_until(f"{member.name} sends its candidate calls", lambda: member.candidate.count() > count)


def test_a_store_that_starts_again_without_data_gets_the_state_back(fleet, store):
    fleet.plan(HELD)
    with Crowd(fleet.members) as crowd:
        fleet.begins(at=fleet[0])
        before, generation = fleet[0].where(), fleet[0].sees()["generation"]
        store.restart_empty()
        emptied = time.monotonic()
        wait_until("a guard has brought the state back", lambda: store.says("--scan", "--pattern", "{mcp-fleet:*") != "")
        fleet.agree()
        took = time.monotonic() - emptied
        for member in fleet:
            assert member.where() == before and member.sees()["generation"] >= generation, member.name
        fleet.follower().operator.does("rollout rollback")
        fleet.is_over()
        crowd.unharmed()
    print(f"\nall agree again {took:.1f} s after the store's restart")


def test_the_rollout_lives_through_a_failover_of_the_store(programs):
    sentinels = Sentinels(programs)
    urls = ", ".join(f'"{url}"' for url in sentinels.urls)
    fleet = Fleet(programs, 3, lambda _: f'store = [{urls}]\nsentinel = "{PRIMARY}"')
    with Crowd(fleet.members) as crowd:
        fleet.begins(at=fleet[0])
        before = fleet[0].where()
        sentinels.primary.kill()
        killed = time.monotonic()
        wait_until("the replica is the primary", lambda: sentinels.leads() == sentinels.replica.port)
        fleet.wait_for("every guard has the store again", lambda member: not member.sees()["store_away"])
        fleet.agree()
        took = time.monotonic() - killed
        assert [member.where() for member in fleet] == [before] * 3
        fleet.follower().operator.does("rollout rollback")
        fleet.is_over()
        crowd.unharmed()
    print(f"\nall agree again {took:.1f} s after the death of the primary")


def test_a_guard_that_is_cut_off_leaves_its_failing_candidate_by_itself_and_catches_up(fleet, link):
    fleet.plan(HELD)
    alone, others = fleet[4], fleet[:4]
    with Crowd(fleet.members) as crowd:
        fleet.begins(at=fleet[0])
        with link.cut():
            wait_until("it sees that the store is away", lambda: alone.sees()["store_away"])
            left_by(alone, fleet)
            assert all(member.operator.status()["run"] for member in others), "the others do not know"
        fleet.is_over()
        fleet.agree()
        assert alone.where() == fleet[0].where()
        # What was decided without it holds for it before it sends its candidate another call.
        fleet.begins(at=fleet[0])
        with link.cut():
            wait_until("it sees that the store is away", lambda: alone.sees()["store_away"])
            fleet[0].operator.does("rollout rollback")
            fleet.wait_for("the others have gone back", lambda member: member.operator.status()["run"] is None, among=others)
        fleet.is_over()
        fleet.agree()
        crowd.unharmed(but=alone.name)


def test_a_rollout_does_not_start_while_a_member_has_another_configuration(fleet):
    fleet.plan(HELD)
    odd = fleet.follower()
    (odd.guard.config.parent / "odd.toml").write_text(SHORT)
    odd.guard.config.write_text(odd.text.replace("plan.toml", "odd.toml"))
    odd.operator.does("reload")
    digests = lambda: {one["configuration"] for one in fleet[0].sees()["members"]}  # noqa: E731
    wait_until("the others see it", lambda: len(digests()) == 2)
    refused = fleet.leader().operator.types("rollout start")
    assert refused.returncode == 1 and odd.name in refused.stderr and "plan" in refused.stderr, refused
    shown = fleet[0].operator.does("fleet status")
    assert odd.name in shown and "plan" in shown, shown
    assert all(member.operator.status()["run"] is None for member in fleet)

    odd.guard.config.write_text(odd.text)
    odd.operator.does("reload")
    wait_until("the others see it", lambda: len(digests()) == 1)
    with Crowd(fleet.members) as crowd:
        fleet.begins(at=odd)
        fleet.follower().operator.does("rollout rollback")
        fleet.is_over()
        crowd.unharmed()


def test_one_rate_holds_over_all_guards(fleet, store):
    """At most the limit and 5 %, once the burst, and a call for each guard but one; at least 95 % where there are enough calls."""
    seconds, shown = 5, []

    def at_most(admitted: int, seconds: float) -> None:
        assert admitted <= RATE * seconds * 1.05 + BURST + len(fleet.members) - 1, shown

    def measure(what: str, *rates: float, settle: float) -> None:
        demand.at(*rates)
        time.sleep(settle)
        counted, took = demand.during(seconds)
        admitted = counted.total()
        shown.append(f"{what}: {admitted / took:.1f}/s")
        at_most(admitted, took)
        assert admitted >= RATE * took * 0.95, shown

    with Demand([member.guard for member in fleet], METERED, TOOL) as demand:
        begun = time.monotonic()
        measure("one guard", 110, settle=2)
        measure("five guards", *[25] * 5, settle=2)
        # The part of a guard that has no calls any more is given to others after five seconds.
        measure("another guard", 0, 0, 110, settle=6)
        at_most(len(demand.admitted), time.monotonic() - begun)
        with store.paused():
            demand.at(*[25] * 5)
            time.sleep(5)
            alone, took = demand.during(seconds)
            shown.append(f"without the store, each: {sorted(count / took for count in alone.values())}")
            part = RATE / len(fleet.members)
            for number, member in enumerate(fleet):
                assert 0.9 * part * took <= alone[number] <= part * took * 1.05 + BURST, (member.name, shown)
        demand.at()
        fleet.agree()
        measure("five guards again", *[25] * 5, settle=3)
    print("", *shown, sep="\n  ")
    assert not demand.failures and demand.refused > 0, demand.failures[:5]


def test_a_member_is_seen_upgraded_and_leaves_without_a_failed_call(fleet):
    upgraded, leaver = fleet.follower(), fleet[3]
    shown = fleet[0].operator.does("fleet status")
    for member in fleet:
        assert member.name in shown, shown
    checked = fleet[0].operator.types("doctor")
    lines = [line for line in (checked.stdout + checked.stderr).splitlines() if "fleet" in line]
    assert lines and not any("FAIL" in line or "✗" in line for line in lines), checked
    with Crowd(fleet.members, sdks={"sdk1": fleet.members.index(upgraded)}) as crowd:
        upgraded.guard.upgrade()
        fleet.agree()
        assert "left" in leaver.operator.does("fleet leave")
        rest = [member for member in fleet if member is not leaver]
        fleet.wait_for("the others count four", lambda member: member.sees()["live"] == member.sees()["known"] == 4, among=rest)
        assert leaver.operator.types("fleet status").returncode == 1, "it is in no fleet"
        leaver.guard.upgrade()  # The new process takes its place again.
        fleet.agree()
        crowd.unharmed()

