"""The faults of a run, from its seed: what happens when, to whom, and for how long. The same seed is the same schedule."""
import json
import random
from dataclasses import asdict, dataclass, field

SLOTS = 4          # places for workers; 1 to 4 of them are filled
FIRST_SLOTS = 3    # filled at the start
WORKER, NETWORK, BROKER = "worker", "network", "broker"

# What each kind touches. One thing is touched by one fault at a time; a worker and its network may be hit together.
KINDS = {
    "kill": WORKER,        # kill -9
    "pause": WORKER,       # SIGSTOP beyond the session time-out, then SIGCONT
    "terminate": WORKER,   # SIGTERM
    "stall": WORKER,       # its clock of progress stands still while its background threads go on
    "remove": WORKER,      # SIGTERM, and nobody takes its place
    "add": WORKER,
    "cut": NETWORK,        # connections are closed and refused
    "black_hole": NETWORK, # connections stay open and nothing passes
    "slow": NETWORK,
    "reset": NETWORK,      # connections are reset
    "kill_broker": BROKER, # kill -9, and started again
}
# One round of them, in an order of its own each time.
DECK = ["kill", "kill", "pause", "terminate", "stall", "remove", "add", "cut", "black_hole", "slow", "reset", "kill_broker"]
# A group needs its session time-out, 10 s, to get over one that has vanished; faults that come too fast would meet no work.
GAP_SECONDS = (1.5, 5)
# How long a touched thing is left alone after a fault has ended: a worker has to come back, a broker to catch up.
REST_SECONDS = {WORKER: 6, NETWORK: 4, BROKER: 20}


@dataclass(frozen=True)
class Fault:
    at: float
    kind: str
    target: int  # slot of the worker, or number of the broker
    arguments: dict = field(default_factory=dict)

    @property
    def touches(self):
        return KINDS[self.kind]

    @property
    def ends(self):
        return self.at + self.arguments.get("seconds", 0)


def _arguments(chance, kind):
    seconds = {"pause": (11, 16), "stall": (12, 12), "cut": (1, 14), "black_hole": (2, 14), "slow": (4, 12),
               "reset": (0.5, 3), "kill_broker": (0, 4)}
    made = {}
    if kind in seconds:
        made["seconds"] = round(chance.uniform(*seconds[kind]), 2)
    if kind == "slow":
        made["latency_ms"] = chance.choice((20, 100, 400, 1500))
        made["jitter_ms"] = made["latency_ms"] // 2
    return made


def _targets(kind, filled, brokers):
    if kind == "kill_broker":
        return list(range(1, brokers + 1))
    if kind == "add":
        return [slot for slot in range(SLOTS) if slot not in filled]
    if kind == "remove" and len(filled) == 1:
        return []
    return sorted(filled)


def plan(seed, seconds, brokers):
    chance = random.Random(f"schedule {seed}")
    filled, free_at, deck, faults = set(range(FIRST_SLOTS)), {}, [], []
    at = 2.0
    while at < seconds:
        deck = deck or chance.sample(DECK, len(DECK))
        # The first card that can be played now; the others keep their place.
        for kind in list(deck):
            touches = KINDS[kind]
            # Brokers go one at a time, so they share one rest.
            place = {BROKER: lambda _: BROKER}.get(touches, lambda target: (touches, target))
            targets = [one for one in _targets(kind, filled, brokers) if free_at.get(place(one), 0) <= at]
            if targets:
                break
        else:
            at += 0.5
            continue
        deck.remove(kind)
        fault = Fault(round(at, 2), kind, chance.choice(targets), _arguments(chance, kind))
        free_at[place(fault.target)] = fault.ends + REST_SECONDS[touches]
        filled -= {fault.target} if kind == "remove" else set()
        filled |= {fault.target} if kind == "add" else set()
        faults.append(fault)
        at += chance.uniform(*GAP_SECONDS)
    return faults


def to_json(faults):
    return json.dumps([asdict(fault) for fault in faults], indent=1)


def from_json(text):
    return [Fault(**one) for one in json.loads(text)]
