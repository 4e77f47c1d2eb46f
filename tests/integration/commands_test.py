"""The commands as people and scripts use them: output, formats and exit codes."""
import json
import socket
import subprocess

import pytest

from tests.support.fleet import BINARY, wait_for
from tests.support.kafka import ROOT, free_ports

COMMIT = "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4"
BY_COMMIT = ('resolver: { copies = ( { source = "{commit}/app.zip"; bucket = "b-{account}"; key = "app.zip"; trigger = true; } ); };')


def offline(*words, input=None, env=None):
    return subprocess.run([BINARY, *words], input=input, text=True, timeout=30, env=env or {}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)


@pytest.fixture
def fleet(broker, make_fleet):
    return make_fleet(broker, config=BY_COMMIT)


# --- topics ---

def test_topics_are_created_once_and_checked(fleet):
    again = fleet.run("topics", "create")
    assert again.returncode == 0 and again.stdout.count(" exists\n") == 9
    checked = fleet.run("topics", "check")
    assert checked.returncode == 0, checked.stdout
    assert fleet.broker.partitions(fleet.prefix + "jobs") == 6
    assert [fleet.broker.partitions(fleet.prefix + name) for name in ("events", "results", "map", "refs", "dead")] == [12, 12, 1, 1, 1]


def test_topics_check_names_what_differs(fleet):
    fleet.broker.set_topic_config(fleet.prefix + "map", "cleanup.policy", "delete")
    fleet.broker.delete_topic(fleet.prefix + "dead")
    wait_for(lambda: fleet.broker.partitions(fleet.prefix + "dead") == 0, 20, "the topic gone")
    checked = fleet.run("topics", "check")
    assert checked.returncode == 1
    assert f"{fleet.prefix}map: cleanup.policy is delete, wanted compact" in checked.stdout
    assert f"{fleet.prefix}dead: does not exist" in checked.stdout
    fleet.run("topics", "create")
    wait_for(lambda: fleet.broker.partitions(fleet.prefix + "dead") == 1, 20, "the topic back")


def test_without_topics_a_command_says_how_to_make_them(fleet):
    done = fleet.run("map", "list", "--set", "kafka.prefix=none.")
    assert done.returncode == 111 and "tagfleet topics create" in done.stderr


# --- map ---

def test_the_map_is_set_added_to_removed_from_and_deleted(fleet):
    assert fleet.run("map", "set", "qa", " 222222222222, 333333333333,222222222222 ", "--reason", "why not").returncode == 0
    assert fleet.run("map", "add", "qa", "444444444444", "333333333333").returncode == 0
    assert fleet.run("map", "remove", "qa", "222222222222").returncode == 0
    lines, code = fleet.lines("map", "show", "qa")
    assert code == 0 and lines[0]["accounts"] == ["333333333333", "444444444444"] and lines[0]["version"] == 3
    assert fleet.run("map", "show", "prod").returncode == 1
    assert fleet.run("map", "delete", "qa").returncode == 0
    assert fleet.run("map", "delete", "qa").returncode == 1
    assert fleet.lines("map", "list") == ([], 0)


def test_an_account_id_is_exactly_twelve_digits(fleet):
    for wrong in ("22222222222", "2222222222222", "22222222222a", "222222222222;333333333333"):
        refused = fleet.run("map", "set", "qa", wrong)
        assert refused.returncode == 1 and "exactly 12 digits" in refused.stderr
    assert fleet.lines("map", "list") == ([], 0)


def test_a_map_file_is_applied_with_its_difference_and_comes_out_the_same(fleet, tmp_path):
    file = tmp_path / "map.json"
    content = {"branch/main": ["111111111111"], "qa": ["222222222222", "033333333333"]}
    file.write_text(json.dumps(content))
    dry = fleet.run("map", "apply", "-f", str(file), "--dry-run")
    assert dry.returncode == 0 and "+ qa 033333333333" in dry.stdout and fleet.lines("map", "list")[0] == []
    assert fleet.run("map", "apply", "-f", str(file)).returncode == 0
    exported = fleet.run("map", "export")
    assert json.loads(exported.stdout) == content
    assert "nothing to change" in fleet.run("map", "apply", "-f", str(file)).stdout
    file.write_text(json.dumps({"qa": ["222222222222"]}))
    assert "- qa 033333333333" in fleet.run("map", "apply", "-f", str(file)).stdout
    assert len(fleet.lines("map", "list")[0]) == 2
    assert fleet.run("map", "apply", "-f", str(file), "--prune").returncode == 0
    assert json.loads(fleet.run("map", "export").stdout) == {"qa": ["222222222222"]}


@pytest.mark.parametrize("content, reason", [
    ('{"qa": [222222222222]}', "leading zeros"), ('{"qa": ["222"]}', "exactly 12 digits"), ('{"qa": "222222222222"}', "list"),
    ("[]", "object"), ('{"qa": []', "not JSON"), ('{"qa": [], "qa": []}', "twice"), ('{"a b": []}', "white space")])
def test_a_bad_map_file_changes_nothing_and_is_explained(fleet, tmp_path, content, reason):
    file = tmp_path / "map.json"
    file.write_text(content)
    refused = fleet.run("map", "apply", "-f", str(file))
    assert refused.returncode == 1 and reason in refused.stderr and str(file) in refused.stderr


# --- plan ---

MAP = '{"branch/main": ["111111111111"], "qa": ["222222222222"], "us-east": ["333333333333", "444444444444"]}'


@pytest.mark.parametrize("ref, code, outcome", [
    ("refs/heads/main", 0, "deploys"), ("branch/main", 0, "deploys"), ("refs/tags/v-1.1.1-qa", 0, "deploys"),
    ("tag/v-1.1.1-us-east", 0, "deploys"), ("refs/heads/other", 3, "dropped"), ("refs/tags/v-1.1.1-nowhere", 3, "dropped"),
    ("refs/tags/prod", 4, "rejected"), ("tag/v1.1.1-qa", 4, "rejected"), ("tag/vendor-x-qa", 4, "rejected"), ("main", 4, "rejected")])
def test_plan_tells_offline_what_a_map_file_would_do(tmp_path, ref, code, outcome):
    file = tmp_path / "map.json"
    file.write_text(MAP)
    done = offline("plan", ref, "--map", str(file), "--format", "json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == code and {line["outcome"] for line in lines} == {outcome}
    if outcome == "deploys":
        assert len(lines) == len(json.loads(MAP)[lines[0]["tag"]])
        assert [copy["trigger"] for copy in lines[0]["copies"]] == [False, True]
        assert lines[0]["copies"][1]["target"] == f"s3://source-artifact-{lines[0]['account']}/codebuild/artifacts"
        assert lines[0]["role"] == f"arn:aws:iam::{lines[0]['account']}:role/cicd-lambda-copyartifact-role"
    else:
        assert lines[0]["ref"].endswith(ref.split("/", 1)[-1]) and len(lines[0]["reason"]) > 10


def test_plan_agrees_with_what_is_then_deployed(fleet):
    fleet.must("map", "set", "qa", "222222222222,333333333333")
    planned, code = fleet.lines("plan", "refs/tags/v-1-qa", "--repository", "acme/app", "--commit", COMMIT)
    assert code == 0
    fleet.start("resolver")
    fleet.must("emit", "--repository", "acme/app", "--ref", "refs/tags/v-1-qa", "--commit", COMMIT)
    wait_for(lambda: len(fleet.records("jobs")) == 2, 30, "the jobs")
    jobs = {key: value["data"] for key, value, _ in fleet.records("jobs")}
    for line in planned:
        job = jobs[line["account"]]
        assert line["role"] == job["role"] and line["version"] == job["version"]
        assert [copy["source"] for copy in line["copies"]] == [f"s3://{c['source_bucket']}/{c['source_key']}" for c in job["copies"]]


# --- wait and status ---

def test_wait_ends_with_the_code_that_fits(fleet):
    fleet.must("map", "set", "qa", "222222222222")
    fleet.start("resolver")
    def emit(ref):
        assert fleet.run("emit", "--repository", "acme/app", "--ref", ref, "--commit", COMMIT).returncode == 0
    emit("refs/tags/v-1-nobody")
    emit("refs/tags/other")
    emit("refs/tags/v-1-qa")
    dropped, code = fleet.wait(COMMIT, ref="refs/tags/v-1-nobody")
    assert code == 3 and dropped[-1]["outcome"] == "dropped" and "nobody" in dropped[-1]["reason"]
    rejected, code = fleet.wait(COMMIT, ref="tag/other")
    assert code == 4 and rejected[-1]["outcome"] == "rejected"
    assert fleet.wait(COMMIT, ref="refs/tags/v-1-qa", timeout="2s")[1] == 124
    assert fleet.wait("f" * 40, timeout="1s")[1] == 124
    listed, code = fleet.lines("status")
    assert code == 0 and {line["outcome"] for line in listed} == {"dropped", "rejected", "running"}
    running = next(line for line in listed if line["outcome"] == "running")
    assert running["accounts"] == 1 and running["succeeded"] == 0
    one, code = fleet.lines("status", running["deployment"])
    assert code == 0 and one[-1]["deployment"] == running["deployment"]
    assert fleet.run("status", "d-0000000000000000").returncode == 1
    assert fleet.lines("wait", running["deployment"], "--timeout", "1s")[1] == 124


def test_a_job_that_a_newer_one_replaces_is_superseded_without_being_run(fleet):
    """Two commits while no copier is there: the first of them never touches a bucket."""
    fleet.must("map", "set", "branch/main", "222222222222")
    fleet.start("resolver")
    for n, before in (("1", None), ("2", "1" * 40)):
        words = ["--before", before] if before else []
        fleet.must("emit", "--repository", "acme/app", "--ref", "refs/heads/main", "--commit", n * 40, *words)
    wait_for(lambda: len(fleet.records("jobs")) == 2, 30, "two jobs")
    fleet.start("copier", "--set", "copier.retry_for=1s", "--set", "aws.endpoint_url_sts=http://127.0.0.1:9",
                env={"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"})
    first, code = fleet.wait("1" * 40)
    assert code == 5 and first[0]["outcome"] == "superseded" and first[0]["attempts"] == 0
    second, code = fleet.wait("2" * 40)
    assert code == 1 and second[0]["outcome"] == "failed" and "222222222222" in second[0]["reason"]


# --- the command line and the configuration ---

@pytest.mark.parametrize("words", [
    ["nonsense"], ["map"], ["map", "nonsense"], ["map", "set", "qa"], ["plan"], ["wait"], ["wait", "x"], ["emit", "extra"],
    ["status", "--nonsense"], ["status", "--format", "xml"], ["wait", "d-0000000000000000", "--timeout", "10"], []])
def test_a_usage_error_exits_2_and_says_what_is_wrong(words):
    done = offline(*words)
    assert done.returncode == 2 and done.stdout == "" and "tagfleet" in done.stderr


def test_every_command_has_help():
    listed = offline("--help").stdout
    names = [line[2:18].strip() for line in listed.splitlines() if line.startswith("  ")]
    assert len(names) >= 20
    for name in names:
        done = offline(*name.split(), "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"usage: tagfleet {name}") and "--config" in done.stdout


def test_config_check_reports_every_mistake_with_its_line(tmp_path):
    file = tmp_path / "tagfleet.cfg"
    file.write_text('kafka: { brokers = 5;\n prefx = "a"; };\nresolver: { drain = "5";\n role = "{who}"; };\n'
                    'copier: { copies_at_once = 100000; };\nproducer: { hooks = ( { name = "a"; } ); };\n')
    done = offline("config", "check", "--config", str(file))
    assert done.returncode == 100
    for line in ("2: kafka.prefx", "3: resolver.drain", "5: copier.copies_at_once", "6: producer.hooks"):
        assert f"{file}:{line}" in done.stderr, done.stderr
    assert "did you mean kafka.prefix?" in done.stderr and "500ms, 30s or 10m" in done.stderr
    file.write_text("kafka: { brokers = ")
    broken = offline("config", "check", "--config", str(file))
    assert broken.returncode == 100 and f"{file}:1: syntax error" in broken.stderr
    assert offline("config", "check", "--config", str(tmp_path / "none")).returncode == 100
    assert offline("config", "check", "--config", str(ROOT / "config" / "tagfleet.cfg")).returncode == 0


def test_a_role_with_a_mistake_in_its_config_exits_100_before_anything_is_touched(tmp_path):
    for role in ("producer", "resolver", "copier"):
        done = offline(role, "--set", "kafka.brokers=127.0.0.1:9", "--set", "copier.copies_at_once=0")
        assert done.returncode == 100 and "copier.copies_at_once" in done.stderr
    without = offline("resolver", "--set", "kafka.brokers=127.0.0.1:9")
    assert without.returncode == 100 and "aws.main_account is not set" in without.stderr


def test_the_environment_stands_over_the_file_and_set_over_both(tmp_path):
    file = tmp_path / "tagfleet.cfg"
    file.write_text('aws: { main_account = "111111111111"; };')
    map_file = tmp_path / "map.json"
    map_file.write_text(MAP)
    def bucket(*words, env=None):
        done = offline("plan", "branch/main", "--map", str(map_file), "--config", str(file), "--format", "json", *words, env=env)
        return json.loads(done.stdout)["copies"][0]["source"].split("/")[2]
    assert bucket() == "cicd-source-artifact-111111111111"
    assert bucket(env={"TAGFLEET_AWS_MAIN_ACCOUNT": "555555555555"}) == "cicd-source-artifact-555555555555"
    both = bucket("--set", "aws.main_account=666666666666", env={"TAGFLEET_AWS_MAIN_ACCOUNT": "555555555555"})
    assert both == "cicd-source-artifact-666666666666"


def test_a_role_with_a_property_that_librdkafka_does_not_know_ends_for_good_and_says_which(broker, make_fleet):
    fleet = make_fleet(broker)
    done = fleet.run("resolver", "--set", "kafka.properties=no_such_property=1", timeout=30)
    assert done.returncode == 100 and "no_such_property" in done.stderr, done.stderr


# --- health ---

def test_health_asks_the_role_that_runs_here(fleet):
    address = {"TAGFLEET_COPIER_ADMIN": f"127.0.0.1:{free_ports(1)[0]}"}

    def health(*flags):
        return fleet.run("health", "copier", *flags, env=address)

    nobody = health()
    assert nobody.returncode == 1 and "no answer from http://127.0.0.1:" in nobody.stderr
    copier = fleet.start("copier", env=address)
    assert (health().returncode, health().stdout) == (0, "ok\n")
    assert (health("--ready").returncode, health("--ready").stdout) == (0, "ready\n")
    copier.pause()
    assert health().returncode == 1


def test_a_role_without_a_broker_is_not_ready(fleet):
    alone = {"TAGFLEET_COPIER_ADMIN": f"127.0.0.1:{free_ports(1)[0]}", "TAGFLEET_KAFKA_BROKERS": f"127.0.0.1:{free_ports(1)[0]}"}
    fleet.start("copier", env=alone, wait_ready=False)
    not_ready = wait_for(lambda: (lambda done: done.stdout and done)(fleet.run("health", "copier", "--ready", env=alone)), 40, "an answer")
    assert (not_ready.returncode, not_ready.stdout) == (1, "not ready: not a member of its group yet\n")


def test_health_says_which_option_gives_a_role_an_address():
    for address in ("127.0.0.1:0", ""):
        refused = offline("health", "resolver", "--set", f"resolver.admin={address}")
        assert refused.returncode == 100 and "resolver.admin: " in refused.stderr
    unknown = offline("health", "broker")
    assert unknown.returncode == 2 and "producer, resolver, copier, notifier" in unknown.stderr


# --- a whole fleet in one command ---

LOCAL = ("local", "--set", "aws.main_account=111111111111")


def test_local_tells_every_mistake_before_anything_is_started():
    done = offline("local", "--set", "kafka.security=tls", "--set", "resolver.tag_rule=guess")
    assert (done.returncode, done.stdout) == (100, "")
    assert "the one inside speaks plaintext" in done.stderr and "resolver.tag_rule" in done.stderr
    assert "aws.main_account is not set" in done.stderr


def test_local_hands_its_options_to_the_roles_and_ends_with_the_code_of_one_that_cannot_start():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        done = offline(*LOCAL, "--set", f"producer.listen={address}")
    assert done.returncode == 111 and done.stdout.startswith("broker 127.0.0.1:")
    assert f"cannot listen on {address}" in done.stderr and "the producer has ended with status 111" in done.stderr
