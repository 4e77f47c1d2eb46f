"""What must be true when a fleet has come through, each as a function of plain facts that returns what is wrong, one line each."""
import hashlib
import re
from collections import Counter

from tests.faults.fleet_schedule import accounts_of, files, newest

GOOD = ("succeeded", "unchanged")
KINDS = ("frontend", "source-artifact")
TRIGGER = ("source-artifact", "codebuild/artifacts")


def etag(content):
    return hashlib.md5(content).hexdigest()


def accepted_of(push, deployments):
    return [one for one in deployments if one["outcome"] == "accepted" and (one["ref"], one["commit"]) == (push.ref, push.commit)]


def missing(pushes, deployments, results):
    """A push that is no deployment, a deployment without the result of one of its accounts."""
    wrong = [f"push {push.number} ({push.how}, {push.ref}) was never accepted" for push in pushes
             if not accepted_of(push, deployments)]
    return wrong + [f"no result: {one['deployment']}/{account}" for one in deployments if one["outcome"] == "accepted"
                    for account in one["accounts"] if (one["deployment"], account) not in results]


def doubled(pushes, deployments, results):
    """A push that is two deployments, an account with two results of one, a result that nobody has asked for."""
    wrong = []
    for push in pushes:
        count = len(accepted_of(push, deployments))
        wrong += [f"push {push.number} ({push.how}, {push.ref}) was accepted {count} times"] if count > 1 else []
    asked = {(one["deployment"], account) for one in deployments if one["outcome"] == "accepted" for account in one["accounts"]}
    for job, found in results.items():
        if len(found) > 1:
            wrong.append(f"{len(found)} results: {'/'.join(job)}: {[one['outcome'] for one in found]}")
        if job not in asked:
            wrong.append(f"a result without a deployment: {'/'.join(job)}")
    return wrong


def failed(results):
    """A result that only a real fault of an account would explain."""
    return [f"{'/'.join(job)}: {one['outcome']}: {one.get('reason')}" for job, found in results.items() for one in found
            if one["outcome"] not in (*GOOD, "superseded")]


def stale(pushes, accounts, deployments, results, buckets):
    """An account whose newest deployment did not get there, or whose trigger is not that of its newest build."""
    wrong = []
    for account, push in newest(pushes, accounts).items():
        for one in accepted_of(push, deployments)[:1]:
            outcomes = [result["outcome"] for result in results.get((one["deployment"], account), [])]
            if not outcomes or not set(outcomes) <= set(GOOD):
                wrong.append(f"{account}: push {push.number} is its newest, but ended as {outcomes}")
        found = buckets.get((account, TRIGGER[0]), {}).get(TRIGGER[1])
        if found != files(push.build)[TRIGGER]:
            wrong.append(f"{account}: the trigger is {found!r}, newest is {push.build}")
    return wrong


def torn(pushes, accounts, buckets):
    """A bucket that holds anything else than the newest build, byte for byte."""
    wrong = []
    for account, push in newest(pushes, accounts).items():
        for kind in KINDS:
            expected = {key: content for (of, key), content in files(push.build).items() if of == kind}
            found = buckets.get((account, kind), {})
            wrong += [f"{kind}-{account}/{key}: {found.get(key)!r}, newest is {push.build}"
                      for key in sorted(expected.keys() | found.keys()) if found.get(key) != expected.get(key)]
    return wrong


def misread_map(pushes, accounts, deployments):
    """A deployment that was for other accounts than its tag's."""
    return [f"{one['deployment']} was for {len(one['accounts'])} accounts" for push in pushes
            for one in accepted_of(push, deployments) if sorted(one["accounts"]) != sorted(accounts_of(push.tag, accounts))]


LINE = re.compile(r"\S+ (?P<bucket>\S+) \[[^]]*\] \S+ \S+ \S+ (?P<operation>\S+) (?P<key>\S+) \S+ (?P<status>\d+) (?P<error>\S+) ")
WRITES = ("s3_CopyObject", "s3_PutObject", "s3_CompleteMultipartUpload")


def writes(lines):
    """(bucket, key) of every write into a tenant's bucket that the store says it has done, in its order."""
    found = []
    for line in lines:
        match = LINE.match(line)
        if match and match["operation"] in WRITES and match["status"] == "200" and match["bucket"].startswith(KINDS):
            found.append((match["bucket"], match["key"]))
    return found


def unmatched(written, versions):
    """Objects of which the store's log and the store's versions do not tell the same number of writes. versions:
    (bucket, key) -> ETags, oldest first."""
    counts = Counter(written)
    return [f"{'/'.join(one)}: {counts[one]} writes in the log, {len(versions.get(one, []))} versions"
            for one in sorted(counts.keys() | versions.keys()) if counts[one] != len(versions.get(one, []))]


def early_triggers(written, versions, builds):
    """Triggers that were written while something else of their account was not of the same build. The log tells the order,
    the versions tell what was written."""
    of_etag = {(*target, etag(content)): build for build in builds for target, content in files(build).items()}
    content, position, wrong = {}, Counter(), []
    for bucket, key in written:
        kind, account = bucket.rsplit("-", 1)
        tags = versions.get((bucket, key), [])
        number = position[(bucket, key)]
        position[(bucket, key)] += 1
        build = of_etag.get((kind, key, tags[number])) if number < len(tags) else None
        content[(account, kind, key)] = build
        if (kind, key) != TRIGGER:
            continue
        beside = {name: content.get((account, *name)) for name in files("any") if name != TRIGGER}
        if build is None or set(beside.values()) != {build}:
            wrong.append(f"{account}: trigger {number} of {build} beside {beside}")
    return wrong
