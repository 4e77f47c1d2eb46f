"""What a fleet tells of itself: numbers, rules that watch them, a dashboard that shows them, traces and logs that fit."""
import hashlib
import hmac
import json
import os
import re
import subprocess

import pytest
import requests
import yaml

from tests.support.fleet import Fleet, wait_for
from tests.support.kafka import ROOT

PROMTOOL = ROOT / "build" / "tools" / "bin" / "promtool"
RULES = ROOT / "config" / "prometheus" / "tagfleet.yml"
DASHBOARD = json.loads((ROOT / "config" / "grafana" / "tagfleet.json").read_text())
COMMIT = "4f2d6a1c9be07835d1a2f06c7e5b9348ac10de77"
TRACE = "0af7651916cd43dd8448eb211c80319c"
SECRET = "a secret of the hook"
# The names of labels; none of them has a value for each account, ref, object or message.
LABELS = {"role", "result", "reason", "state", "status", "phase", "partition", "op", "code", "class", "outcome", "hook", "repository",
          "api", "le"}


def promtool(*arguments, **more):
    done = subprocess.run([PROMTOOL, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, **more)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def told(broker, versitygw, tmp_path_factory):
    """A fleet that has done one of each: a build, a promotion by a signed webhook, a tag that nobody has, garbage."""
    folder = tmp_path_factory.mktemp("told")
    accounts = ["222299990001", "222299990002"]
    (folder / "secret").write_text(SECRET + "\n")
    config = f"""
        log: {{ format = "json"; }};
        producer: {{ listen = "127.0.0.1:0"; spool = "{folder}/spool"; hooks = (
          {{ name = "acme"; provider = "generic"; secret_file = "{folder}/secret"; }} ); }};"""
    (folder / "spool").mkdir()
    versitygw.add_accounts(accounts)
    fleet = Fleet(broker, versitygw, folder / "fleet", config)
    fleet.__enter__()
    try:
        roles = {name: fleet.start(name, wait_ready=False) for name in ("producer", "resolver", "copier", "notifier")}
        for role in roles.values():
            wait_for(lambda: role.ask("/readyz")[0] == 200, 40, f"the {role.name}'s readiness")
        fleet.accounts, fleet.by_name = accounts, roles
        fleet.must("map", "set", "qa", ",".join(accounts))
        fleet.upload_build("build-1")
        fleet.must("emit", "--repository", "acme/app", "--ref", "refs/heads/trunk", "--commit", COMMIT, "--build", "build-1")
        port = next(json.loads(line)["port"] for line in roles["producer"].log().splitlines() if '"ready"' in line)
        fleet.hook = f"http://127.0.0.1:{port}/hooks/acme"
        deliver(fleet, "refs/tags/v-1.0.0-qa", f"00-{TRACE}-b7ad6b7169203331-01")
        deliver(fleet, "refs/tags/v-1.0.0-nobody", None)
        deliver(fleet, "refs/tags/v-1.0.0-qa", None)  # again
        assert fleet.wait(COMMIT, "refs/tags/v-1.0.0-qa")[1] == 0
        assert fleet.wait(COMMIT, "refs/tags/v-1.0.0-nobody")[1] == 3
        fleet.produce_garbage("events", "acme/app", b'{"no":"event"}')
        wait_for(lambda: fleet.records("dead"), 30, "the dead letter")
        wait_for(lambda: not any(role.metric("consumer_lag") for role in list(roles.values())[1:]), 30, "the end of all work")
        yield fleet
        assert not fleet.message_complaints() + fleet.log_complaints()
    finally:
        fleet.__exit__()


def deliver(fleet, ref, traceparent):
    body = json.dumps({"repository": "acme/app", "ref": ref, "commit": COMMIT}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    answer = requests.post(fleet.hook, data=body, timeout=10, headers={
        "Content-Type": "application/json", "X-Tagfleet-Signature": f"sha256={signature}",
        **({"traceparent": traceparent} if traceparent else {})})
    assert answer.status_code == 202, answer.text


def names(text):
    """The names that a page of metrics defines, with those of a histogram's parts."""
    found = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        found |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return found


def expressions():
    """Of rules and dashboard, with where they stand."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    found = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules]
    found += [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return found + [(note["name"], note["expr"]) for note in DASHBOARD["annotations"]["list"]], {rule.get("record") for rule in rules}


# --- numbers ---

def test_the_numbers_say_what_has_happened(told):
    producer, resolver, copier, notifier = told.by_name.values()
    assert producer.metric("deliveries_total", hook="acme", outcome="stored") == 3
    assert producer.metric("delivery_seconds_count") == 3
    assert resolver.metric("deployments_total", outcome="accepted") == 1
    assert resolver.metric("deployments_total", outcome="dropped") == 2  # trunk, which is not in the map either
    assert resolver.metric("jobs_created_total") == 2
    assert resolver.metric("duplicate_events_total") == 1
    assert resolver.metric("dead_letters_total", reason="unreadable") == 1 and resolver.metric("jobs_total", result="dead") == 1
    assert copier.metric("results_total", outcome="succeeded") == 2 and copier.metric("results_total") == 2
    assert copier.metric("jobs_total", role="copier", result="ok") == 2
    assert copier.metric("job_duration_seconds_count") == copier.metric("job_queue_seconds_count") == 2
    assert copier.metric("tag_to_done_seconds_count") == 2
    assert copier.metric("objects_total", state="copied") == 2 * 3
    assert copier.metric("copy_bytes_total") == sum(len(body) for account in told.accounts for kind in ("frontend", "source-artifact")
                                                   for body in told.store.objects(f"{kind}-{account}", account).values())
    assert copier.metric("s3_requests_total", op="CopyObject", code="200") == 2 * 3
    assert copier.metric("s3_request_seconds_count", op="CopyObject") == 2 * 3
    assert copier.metric("wanted_copiers") == 0 and "\ntagfleet_wanted_copiers 0\n" in copier.ask("/metrics")[1]
    assert not any(role.metric("slow_jobs_total") for role in (resolver, copier, notifier))
    assert copier.metric("slots", state="used") == 0 and copier.metric("slots", state="free") == 256
    assert notifier.metric("jobs_total", result="ok") > 0
    assert producer.metric("kafka_request_seconds_count", api="Produce") >= 2
    assert all(role.metric("kafka_request_seconds_count", api="EndTxn") > 0 for role in (resolver, copier, notifier))
    for role in (resolver, copier, notifier):  # which may commit at any time, if only where the end of a partition is
        page = role.ask("/metrics")[1]
        assert role.metric("commit_seconds_count", page) == role.metric("commits_total", page) > 0
    assert copier.metric("kafka_request_seconds_count", api="Heartbeat") > 0
    for role in told.by_name.values():
        assert role.metric("ready", role=role.name) == 1
        text = role.ask("/metrics")[1]
        assert float(re.search(r"^process_resident_memory_bytes (\S+)$", text, re.M).group(1)) > 1e6
        began = float(re.search(r"^process_start_time_seconds (\S+)$", text, re.M).group(1))
        assert abs(began - os.stat(role.log_path.parent).st_ctime) < 60, "beside the time when its folder was made"
        assert float(re.search(r"^process_cpu_seconds_total (\S+)$", text, re.M).group(1)) > 0


def test_prometheus_reads_every_page_and_no_label_has_a_value_for_each_account_or_message(told):
    assert PROMTOOL.exists(), "tests/support/install.sh prometheus"
    for role in told.by_name.values():
        text = role.ask("/metrics")[1]
        promtool("check", "metrics", input=text)
        labels = set(re.findall(r'[{,]([a-z_]+)="', text))
        assert labels <= LABELS, labels - LABELS
        for word in (*told.accounts, COMMIT, "index.html", "v-1.0.0", "build-1", TRACE):
            assert word not in text, f"{role.name} tells of {word}"


# --- what watches and shows them ---

def test_each_alert_fires_where_it_should_and_not_where_it_comes_near():
    assert PROMTOOL.exists(), "tests/support/install.sh prometheus"
    assert "SUCCESS" in promtool("check", "rules", str(RULES))
    assert "SUCCESS" in promtool("test", "rules", str(ROOT / "tests" / "integration" / "alerts_test.yml"))
    cases = yaml.safe_load((ROOT / "tests" / "integration" / "alerts_test.yml").read_text())["tests"]
    fired = {case["alert_rule_test"][0]["alertname"]: bool(case["alert_rule_test"][0]["exp_alerts"]) for case in cases
             if case["name"].endswith(" fires")}
    near = {case["alert_rule_test"][0]["alertname"]: not case["alert_rule_test"][0]["exp_alerts"] for case in cases
            if case["name"].endswith(" does not")}
    alerts = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule}
    assert fired == near == {alert: True for alert in alerts}


def test_rules_and_dashboard_name_only_what_the_roles_tell(told, tmp_path):
    assert PROMTOOL.exists(), "tests/support/install.sh prometheus"
    known = set().union(*(names(role.ask("/metrics")[1]) for role in told.by_name.values())) | {"up"}
    found, records = expressions()
    assert len(found) > 50
    for title, expression in found:
        used = set(re.findall(r"\b(?:tagfleet|process)_[a-z0-9_]+|\btagfleet:[a-z0-9_:]+", expression)) - records
        assert used <= known, f"{title}: nobody tells {used - known}"
    rules = [{"record": f"panel{n}", "expr": expression.replace("$__rate_interval", "5m")} for n, (_, expression) in enumerate(found)]
    path = tmp_path / "dashboard.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(path))


# --- traces and logs ---

def test_one_trace_goes_from_the_webhook_to_the_last_result(told):
    messages = [value for topic in ("events", "jobs", "results") for _, value, _ in told.records(topic) if value is not None]
    of_trace = [value for value in messages if value.get("traceparent", "").startswith(f"00-{TRACE}-")]
    assert sorted(value["type"] for value in of_trace) == [
        "tagfleet.deployment.v1", "tagfleet.event.v1", "tagfleet.job.v1", "tagfleet.job.v1", "tagfleet.result.v1", "tagfleet.result.v1"]
    # Both jobs were made by one step; all others are steps of their own.
    assert len({value["traceparent"] for value in of_trace}) == 4
    others = {value["traceparent"].split("-")[1] for value in messages if "traceparent" in value} - {TRACE}
    assert len(others) >= 2
    headers = [dict(record.headers()) for _, value, record in told.records("results") if value in of_trace]
    assert len(headers) == 3 and all(one["traceparent"].decode().startswith(f"00-{TRACE}-") for one in headers)
    for role in ("producer", "resolver", "copier"):
        assert f'"trace":"{TRACE}"' in told.by_name[role].log(), role


def test_a_build_hands_its_trace_on(told):
    other = "4bf92f3577b34da6a3ce929d0e0e4736"
    commit = COMMIT[::-1]
    told.must("emit", "--repository", "acme/app", "--ref", "refs/heads/trunk", "--commit", commit, "--build", "build-9",
              env={"TRACEPARENT": f"00-{other}-00f067aa0ba902b7-01"})
    told.wait(commit, "refs/heads/trunk")
    traces = [value["traceparent"].split("-")[1] for topic in ("events", "results") for _, value, _ in told.records(topic)
              if commit in json.dumps(value)]
    assert traces == [other, other]


def test_every_line_of_a_log_is_an_object_and_a_job_is_found_by_its_ids(told):
    lines = {role.name: [json.loads(line) for line in role.log().splitlines()] for role in told.by_name.values()}
    for name, found in lines.items():
        assert found and all({"time", "level", "role", "msg"} <= set(line) and line["role"] == name for line in found)
    deployment = next(one["deployment"] for one in told.deployments() if one["outcome"] == "accepted")
    ends = [line for line in lines["copier"] if line["msg"] == "succeeded"]
    assert {line["job"] for line in ends} == {f"{deployment}/{account}" for account in told.accounts}
    assert all(line["deployment"] == deployment and line["trace"] == TRACE for line in ends)
    assert [line["trace"] for line in lines["resolver"] if line.get("deployment") == deployment] == [TRACE]
