"""What a run must have come to, judged from what was read afterwards."""
from collections import Counter, defaultdict
from dataclasses import dataclass

EXAMPLES = 5  # of each kind of violation


@dataclass(frozen=True)
class Output:
    """A message of the output topic, as read with read_committed."""
    partition: int
    offset: int
    key: str
    value: str


@dataclass(frozen=True)
class Attempt:
    """A line of a worker's trace: a task was taken."""
    number: int  # in that process, from 1
    pid: int
    at_ns: int
    order: str


class Judgement:
    """Counts by name, and texts for whoever has to find the cause."""

    def __init__(self):
        self.counts = Counter()
        self.violations = defaultdict(list)

    def blame(self, name, text):
        self.counts[name] += 1
        if self.counts[name] <= EXAMPLES:
            self.violations[name].append(text)


def parse_trace(text):
    attempts = []
    for line in text.splitlines():
        number, pid, at_ns, order = line.split(" ", 3)
        attempts.append(Attempt(int(number), int(pid), int(at_ns), order))
    return attempts


def split_output(value):
    """The order, and what the worker wrote behind it."""
    words = value.split(" ")
    return " ".join(words[:5]), " ".join(words[5:])


def _judge_sets(judgement, tasks, outputs):
    """Every task has exactly one set of outputs, complete."""
    seen = defaultdict(list)
    for output in outputs:
        order, rest = split_output(output.value)
        seen[order].append((rest, output))
    by_order = {task.order: task for task in tasks}
    for task in tasks:
        found = Counter(rest for rest, _ in seen[task.order])
        missing = [rest for rest in task.expected if rest not in found]
        if missing:
            judgement.blame("lost", f"{task.order}: {len(missing)} of {len(task.expected)} outputs are missing")
        extra = found - Counter(task.expected)
        judgement.counts["duplicates"] += sum(extra.values())
        strayed = [output for _, output in seen[task.order] if output.key != task.key]
        if extra or strayed:
            places = [f"{output.partition}/{output.offset}" for rest, output in seen[task.order] if rest in extra]
            judgement.blame("doubled", f"{task.order}: {sum(extra.values())} outputs too many, at {places[:6]}; "
                                       f"{len(strayed)} under a wrong key")
    for order in seen.keys() - by_order.keys():
        judgement.blame("doubled", f"outputs of {order!r}, which nobody asked for")


def _judge_order(judgement, tasks, outputs):
    """The outputs of one key lie in one partition, in the order in which its tasks were fed, each set from 1 upwards."""
    by_order = {task.order: task for task in tasks}
    partition_of, last_of = {}, {}
    for output in sorted(outputs, key=lambda one: (one.partition, one.offset)):
        order, rest = split_output(output.value)
        if order not in by_order:
            continue
        place = (by_order[order].number, int(rest) if rest.isdigit() else 0)
        if partition_of.setdefault(output.key, output.partition) != output.partition:
            judgement.blame("disordered", f"{output.key} is in two partitions")
        elif place < last_of.get(output.key, place):
            judgement.blame("disordered", f"{output.key} at {output.partition}/{output.offset}: "
                                          f"(task, number) {place} after {last_of[output.key]}")
        last_of[output.key] = place


def _judge_attempts(judgement, tasks, attempts, visible_at):
    """Nothing runs again once its outputs were seen. That means nothing without traces and sightings, so those must be
    there for every task."""
    by_order = defaultdict(list)
    for attempt in attempts:
        by_order[attempt.order].append(attempt)
    judgement.counts["attempts"] = len(attempts)
    for task in tasks:
        made = by_order[task.order]
        if sum(attempt.number == 1 for attempt in made) > 1:
            judgement.counts["redone"] += 1
        if task.retries + 1 not in [attempt.number for attempt in made]:
            judgement.blame("untraced", f"{task.order}: no trace of the attempt that ended it")
        if task.order not in visible_at:
            judgement.blame("unseen", f"{task.order}: the observer has not seen it complete")
            continue
        for attempt in made:
            if attempt.at_ns > visible_at[task.order]:
                judgement.blame("redone_visible", f"{task.order}: attempt {attempt.number} of process {attempt.pid} began "
                                f"{(attempt.at_ns - visible_at[task.order]) / 1e6:.0f} ms after its outputs were seen")
                break
    for order in by_order.keys() - {task.order for task in tasks}:
        judgement.blame("untraced", f"{order!r} was worked on, and nobody asked for it")


def longest_gap_s(began_ns, visible_at):
    """The longest time in which nothing became visible. Tasks are fed all the while, so there was always something."""
    moments = [began_ns, *sorted(visible_at.values())]
    return max((after - before for before, after in zip(moments, moments[1:])), default=0) / 1e9


def judge(tasks, outputs, attempts, visible_at):
    judgement = Judgement()
    _judge_sets(judgement, tasks, outputs)
    _judge_order(judgement, tasks, outputs)
    _judge_attempts(judgement, tasks, attempts, visible_at)
    return judgement
