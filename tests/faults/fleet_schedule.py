"""What happens to a fleet under fire, and what is pushed to it meanwhile: pure functions of the seed."""
import hashlib
import random
from collections import namedtuple

ROLES = ("producer", "resolver", "copier-0", "copier-1", "copier-2", "copier-3")
STOPPED_SECONDS = 11     # beyond the session time-out
STORE_SECONDS = 4
ROUND_SECONDS = 120

Fault = namedtuple("Fault", "at what whom")
Push = namedtuple("Push", "number how ref tag commit before build")


def faults(seed, seconds):
    """Everything is killed, stopped beyond its session and told to end, in an order of the seed, one after the other; and
    again, in another order, while there is time."""
    dice = random.Random(f"faults {seed}")
    chosen = []
    for _ in range(max(1, seconds // ROUND_SECONDS)):
        one_round = [(what, whom) for whom in ROLES for what in ("kill", "stop", "end")]
        one_round += [("restart", "broker")] * 2 + [("pause", "store")] * 2
        dice.shuffle(one_round)
        chosen += one_round
    gap = seconds / (len(chosen) + 1)
    return [Fault(round(gap * (n + dice.uniform(0.6, 1.4)), 1), what, whom) for n, (what, whom) in enumerate(chosen)]


def restarts(seconds):
    """A rolling restart: each role is told to end and started anew, one after the other, twice."""
    gap = seconds / (2 * len(ROLES) + 1)
    return [Fault(round(gap * (n + 1), 1), "end", whom) for n, whom in enumerate(2 * ROLES)]


def commit_of(seed, number):
    return hashlib.sha1(f"{seed} {number}".encode()).hexdigest()


def pushes(seed, count):
    """One line of commits; each has a build of its own and reaches the accounts by the branch, or by a tag of its own."""
    dice = random.Random(f"pushes {seed}")
    made, head = [], None
    for number in range(count):
        how = dice.choice(("emit", "emit", "hook then emit", "tag"))
        commit = commit_of(seed, number)
        tag = dice.choice(("blue", "green")) if how == "tag" else "branch/main"
        ref = f"refs/tags/v-1.{number}-{tag}" if how == "tag" else "refs/heads/main"
        made.append(Push(number, how, ref, tag, commit, head if how != "tag" else None, f"build-{seed}-{number}"))
        head = head if how == "tag" else commit
    return made


def repetitions(seed, made):
    """Number of a push -> an earlier one whose hook a host sends once more after it."""
    dice = random.Random(f"repetitions {seed}")
    repeated = {}
    for push in made:
        earlier = [one for one in made[max(0, push.number - 10):push.number + 1] if one.how != "emit"]
        if earlier and dice.random() < 0.3:
            repeated[push.number] = dice.choice(earlier)
    return repeated


def accounts_of(tag, accounts):
    """What the map says: a tag of half the accounts beside two of all."""
    return accounts[::2] if tag == "green" else accounts


def newest(made, accounts):
    """Account -> the last push that is for it."""
    return {account: push for push in made for account in accounts_of(push.tag, accounts)}


FRONT = ("app.js", "about.html", "index.html")


def files(build):
    """Target (bucket's kind, key) -> content; no two builds share any."""
    made = {("frontend", name): f"{name} of {build}\n".encode() for name in FRONT}
    made[("source-artifact", "codebuild/artifacts")] = f"archive of {build}\n".encode()
    return made
