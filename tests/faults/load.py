"""The tasks of a run, from its seed: orders for the test worker (tests/support/tools/trial_worker.c)."""
import random
from dataclasses import dataclass

KEYS = 500
REASON = "it asks for it"


@dataclass(frozen=True)
class Task:
    number: int  # in the order in which the tasks are fed; so it is also the order within a key
    key: str
    duration_ms: int
    retries: int
    outputs: int
    verb: str

    @property
    def order(self):
        return f"{self.duration_ms} {self.retries} {self.outputs} {self.verb} t{self.number}"

    @property
    def expected(self):
        """What follows the order in each of its outputs."""
        if self.verb == "reject":
            return [f"rejected: {REASON}"]
        return [str(number) for number in range(1, self.outputs + 1)]


def tasks(seed, count):
    chance = random.Random(f"load {seed}")
    made = []
    for number in range(count):
        is_long, is_burst = chance.random() < 0.005, chance.random() < 0.01
        made.append(Task(
            number=number,
            key=f"key-{chance.randrange(KEYS)}",
            duration_ms=chance.randint(1000, 4000) if is_long else chance.randint(0, 200),
            retries=chance.choices((0, 1, 2), (80, 15, 5))[0],
            outputs=chance.randint(200, 600) if is_burst else chance.randint(1, 20),
            verb="reject" if chance.random() < 0.03 else "work"))
    return made
