"""What docker/kubernetes and config/systemd say, held against the schemas of those who read it and against the program."""
import re
import shutil
import subprocess

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.support.fleet import BINARY
from tests.support.kafka import ROOT, TOOLS

FOLDER, KEDA, GUARDED_KEDA = (ROOT / "docker" / "kubernetes" / name for name in ("base", "keda", "keda-guarded"))
KUBERNETES_VERSION = "1.33"
ROLES = ("producer", "resolver", "copier", "notifier")


def documents(folder):
    return [(path.name, document) for path in sorted(folder.glob("*.yaml")) if path.name != "kustomization.yaml"
            for document in yaml.safe_load_all(path.read_text())]


def of_kind(kind):
    return {document["metadata"]["name"]: document["spec"] for _, document in documents(FOLDER) if document["kind"] == kind}


def strict(schema):
    """Refuses fields that the schema does not name, as an API server with strict validation does."""
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for part in schema.values():
            strict(part)
    elif isinstance(schema, list):
        for part in schema:
            strict(part)
    return schema


def keda_schema(kind):
    crd = yaml.safe_load((TOOLS / "keda" / f"keda.sh_{kind.lower()}s.yaml").read_text())
    schema = strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


@pytest.mark.parametrize("name, document", documents(FOLDER))
def test_a_manifest_is_what_kubernetes_takes(name, document):
    kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


def test_the_check_sees_unknown_fields_and_wrong_types():
    _, good = next(one for one in documents(FOLDER) if one[1]["kind"] == "Deployment")
    for spec in ({**good["spec"], "replicas": "2"}, {**good["spec"], "replica": 2}):
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**good, "spec": spec}, KUBERNETES_VERSION, strict=True)
    _, good = documents(KEDA)[0]
    for spec in ({**good["spec"], "maxReplicaCount": "2"}, {**good["spec"], "maxReplicas": 2}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, "spec": spec}, keda_schema("ScaledObject"))


@pytest.mark.parametrize("name, document", documents(KEDA))
def test_a_scaling_is_what_keda_takes(name, document):
    jsonschema.validate(document, keda_schema("ScaledObject"))
    role = document["spec"]["scaleTargetRef"]["name"]
    assert role in of_kind("Deployment")
    metadata = document["spec"]["triggers"][0]["metadata"]
    known = re.findall(r'keda:"name=(\w+)', (TOOLS / "keda" / "kafka_scaler.go").read_text())
    assert set(metadata) <= set(known)
    assert metadata["consumerGroup"] == f"tagfleet.{role}"
    brokers = re.search(r'brokers = "(.*?)"', (FOLDER / "tagfleet.cfg").read_text()).group(1)
    assert metadata["bootstrapServers"] == brokers


def test_no_more_copiers_than_partitions():
    most = {document["metadata"]["name"]: document["spec"]["maxReplicaCount"] for _, document in documents(KEDA)}
    told = subprocess.run([BINARY, "topics", "create", "--help"], text=True, stdout=subprocess.PIPE).stdout
    assert f"at once [{most['copier']}]" in told


def test_kustomizations_list_exactly_the_files_that_are_there():
    for folder, above in ((FOLDER, []), (KEDA, ["../base"]), (GUARDED_KEDA, ["../keda"])):
        listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
        there = [path.name for path in folder.glob("*.yaml") if path.name != "kustomization.yaml"]
        assert sorted(listed) == sorted(above + there)


def applied(folder):
    built = subprocess.run([TOOLS / "bin" / "kustomize", "build", folder], text=True, check=True, stdout=subprocess.PIPE).stdout
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(built)}


@pytest.mark.parametrize("folder", [FOLDER, KEDA, GUARDED_KEDA], ids=lambda folder: folder.name)
def test_what_is_applied_in_the_end_is_whole(folder):
    found = applied(folder)
    for (kind, _), one in found.items():
        assert kind == "Namespace" or one["metadata"]["namespace"] == "tagfleet"
        if one["apiVersion"].startswith("keda.sh/"):
            jsonschema.validate(one, keda_schema(kind))
        else:
            kubernetes_validate.validate(one, KUBERNETES_VERSION, strict=True)
    config, = [name for kind, name in found if kind == "ConfigMap"]
    for role in ROLES:
        spec = found["Deployment", role]["spec"]
        assert spec["template"]["spec"]["volumes"][0]["configMap"]["name"] == config
        assert ("replicas" in spec) == (("ScaledObject", role) not in found)


def test_keda_logs_in_as_the_fleet_does():
    found, scaler = applied(GUARDED_KEDA), (TOOLS / "keda" / "kafka_scaler.go").read_text()
    login, = [one["spec"] for (kind, _), one in found.items() if kind == "TriggerAuthentication"]
    parameters = {one["parameter"]: (one["name"], one["key"]) for one in login["secretTargetRef"]}
    for name in parameters:
        assert re.search(rf'keda:"name={name},order=[^"]*authParams', scaler), name
    mechanism = re.search(r'sasl_mechanism = "(.*?)"', (FOLDER / "tagfleet.cfg").read_text())[1]
    for kind, name in found:
        if kind == "ScaledObject":
            trigger, = found[kind, name]["spec"]["triggers"]
            assert ("TriggerAuthentication", trigger["authenticationRef"]["name"]) in found
            assert trigger["metadata"]["sasl"] == mechanism.lower().replace("-sha-", "_sha")
            for option in ("sasl", "tls"):
                allowed = re.search(rf'keda:"name={option},order=triggerMetadata[^"]*enum=([\w;]+)', scaler)[1].split(";")
                assert trigger["metadata"][option] in allowed


def test_roles_are_asked_at_ports_that_they_have_and_have_time_to_drain():
    deployments = of_kind("Deployment")
    assert sorted(deployments) == sorted(ROLES)
    for role, spec in deployments.items():
        pod = spec["template"]["spec"]
        container, = pod["containers"]
        assert container["args"] == [role]
        assert {"name": "admin", "containerPort": 9090} in container["ports"]
        # A drain of 5 s by default, and the last commit.
        assert pod["terminationGracePeriodSeconds"] >= 20
        # /healthz asks for people, not for a restart.
        assert container["livenessProbe"]["httpGet"]["path"] == "/metrics"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for name, spec in of_kind("PodDisruptionBudget").items():
        assert spec["selector"] == deployments[name]["selector"] and deployments[name]["replicas"] > spec["maxUnavailable"]


def test_accounts_and_ports_that_are_named_exist():
    accounts = {document["metadata"]["name"] for _, document in documents(FOLDER) if document["kind"] == "ServiceAccount"}
    pods = [spec["template"]["spec"] for kind in ("Deployment", "Job") for spec in of_kind(kind).values()]
    assert {pod["serviceAccountName"] for pod in pods} == accounts
    service, = of_kind("Service").values()
    ports = of_kind("Deployment")["producer"]["template"]["spec"]["containers"][0]["ports"]
    assert service["ports"][0]["targetPort"] in [port["name"] for port in ports]


@pytest.mark.parametrize("kafka", ["open", "guarded"])
def test_the_configuration_has_no_mistakes_but_secrets_that_are_elsewhere(kafka, tmp_path):
    config = (FOLDER / "tagfleet.cfg").read_text()
    chosen = tmp_path / "tagfleet.cfg"
    chosen.write_text(re.sub(r"^  # (\w+ = .*;)$", r"  \1", config, flags=re.M) if kafka == "guarded" else config)
    assert ("\n  sasl_user" in chosen.read_text()) == (kafka == "guarded")
    checked = subprocess.run([BINARY, "config", "check", "--config", chosen], text=True, env={}, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
    assert [line for line in checked.stderr.splitlines() if "/run/secrets/" not in line] == []


# --- systemd ---

UNITS = sorted((ROOT / "config" / "systemd").iterdir())


def test_units_are_what_systemd_takes_and_leave_little_open(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze here")
    paths = []
    for unit in UNITS:
        paths.append(tmp_path / unit.name.replace("@.", "@1."))
        paths[-1].write_text(unit.read_text().replace("/usr/local/bin/tagfleet", BINARY))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    complaints = [line for line in verified.stdout.splitlines() if "tagfleet-" in line]
    assert (verified.returncode, complaints) == (0, []), verified.stdout
    for path in paths:
        exposure = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", path], text=True, stdout=subprocess.PIPE)
        assert exposure.returncode == 0, exposure.stdout[-200:]


def test_units_know_the_exit_codes_and_the_drain():
    assert [unit.name for unit in UNITS] == ["tagfleet-copier@.service", "tagfleet-notifier.service", "tagfleet-producer.service",
                                             "tagfleet-resolver.service"]
    for unit in UNITS:
        lines = unit.read_text().splitlines()
        role = re.search(r"tagfleet-(\w+)", unit.name).group(1)
        assert any(line.startswith(f"ExecStart=/usr/local/bin/tagfleet {role} ") for line in lines)
        assert {"Restart=always", "RestartPreventExitStatus=100", "KillSignal=SIGTERM"} <= set(lines)
        assert int(next(line for line in lines if line.startswith("TimeoutStopSec=")).partition("=")[2]) >= 20
