"""How quiet the machine was: what other programs used, what the hypervisor took, and the load. Must not know what is measured.

Others are the busy time of all cores less that of this process and its descendants. A run counts as quiet while others used
less than OTHERS_MOST percent of a core and the hypervisor took less than STEAL_MOST percent of the machine's time.
"""

import os
import time
from pathlib import Path

OTHERS_MOST, STEAL_MOST = 2.0, 1.0
TICKS = os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def own_seconds() -> float:
    """CPU time of this process, of its ended descendants and of the living ones."""
    spent = sum(os.times()[:4])
    for pid in descendants(os.getpid()):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue  # It has ended since, and its parent counts it.
        spent += sum(map(int, fields[11:15])) / TICKS
    return spent


def machine_seconds() -> tuple[float, float]:
    """Busy and stolen time of all cores."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
    return (user + nice + system + irq + softirq) / TICKS, steal / TICKS


class Watch:
    """Reads the counters when it is made and when a round has ended."""

    def __init__(self):
        self.load = os.getloadavg()[0]
        self.begun = (time.monotonic(), own_seconds(), *machine_seconds())

    def end(self) -> dict[str, float]:
        now = (time.monotonic(), own_seconds(), *machine_seconds())
        seconds, own, busy, steal = (after - before for after, before in zip(now, self.begun))
        return {"seconds": seconds, "others": busy - own, "steal": steal, "load": self.load}


def percent(seen: list[dict], key: str) -> float:
    """Percent of one core, over all rounds. The two clocks differ a little: a round below zero does not hide another one."""
    seconds = sum(one["seconds"] for one in seen)
    return 100 * sum(max(0.0, one[key]) for one in seen) / seconds if seconds else 0.0


def steal_percent(seen: list[dict]) -> float:
    """Percent of the time of all cores."""
    return percent(seen, "steal") / (os.cpu_count() or 1)


def verdict(seen: list[dict]) -> str:
    """One line about all rounds of a run."""
    if not seen:
        return "Nothing was measured."
    others, steal, loads = percent(seen, "others"), steal_percent(seen), sorted(one["load"] for one in seen)
    worst = max(percent([one], "others") for one in seen)
    quiet = others < OTHERS_MOST and steal < STEAL_MOST
    return (
        f"{'This run counts as quiet' if quiet else 'This run does NOT count as quiet'}: other programs used {others:.1f} % of a core "
        f"(below {OTHERS_MOST:g} wanted; {worst:.1f} % in the worst round), the hypervisor took {steal:.2f} % of the time (below {STEAL_MOST:g} wanted); load before "
        f"a round, the run's own included, {loads[0]:.1f} to {loads[-1]:.1f}."
    )
