"""deploy/kubernetes: against the schemas, and what they do not know. No cluster runs it here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="tests/requirements.txt has it")
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="tests/requirements.txt has it")

from runner import endings  # noqa: E402

FOLDER = Path(__file__).resolve().parents[2] / "deploy/kubernetes"
PAGE = (Path(__file__).resolve().parents[2] / "docs/kubernetes.md").read_text()
OLDEST = re.search(r"need Kubernetes ([\d.]+) or later", PAGE)[1]
MANIFESTS = sorted(file for file in FOLDER.glob("*/*.yaml") if file.name != "kustomization.yaml")
OVERLAYS = sorted(FOLDER.glob("*/kustomization.yaml"))


def documents(file: Path) -> list[dict]:
    return list(yaml.safe_load_all(file.read_text()))


def job(name: str) -> dict:
    return documents(FOLDER / name / "job.yaml")[0]


def pod(name: str) -> dict:
    return job(name)["spec"]["template"]["spec"]


def container(name: str) -> dict:
    return pod(name)["containers"][0]


def environment(name: str) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container(name)["env"]}


def exit_codes(name: str) -> dict[int, str]:
    """What the pod failure policy does for each exit code."""
    rules = job(name)["spec"]["podFailurePolicy"]["rules"]
    return {code: rule["action"] for rule in rules if "onExitCodes" in rule for code in rule["onExitCodes"]["values"]}


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_schema(file, version):
    for document in documents(file):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_is_strict():
    wrong = job("shards")
    wrong["spec"]["completionmode"] = "Indexed"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("file", OVERLAYS, ids=lambda file: file.parent.name)
def test_kustomization(file):
    (overlay,) = documents(file)
    assert overlay["kind"] == "Kustomization"
    assert sorted(overlay["resources"]) == sorted(other.name for other in MANIFESTS if other.parent == file.parent)
    (image,) = overlay["images"]
    assert image["name"] == container(file.parent.name)["image"]
    assert image["digest"] == "sha256:" + 64 * "0", "no registry has it: who forgets to write his own sees so"
    assert "newTag" not in image, "a tag means another image tomorrow"
    assert overlay["namespace"] == documents(FOLDER / "shards/namespace.yaml")[0]["metadata"]["name"]


def test_an_indexed_job_with_a_count_that_holds():
    spec = job("shards")["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] <= spec["completions"] == int(environment("shards")["SHARD_COUNT"])
    (index,) = [variable for variable in container("shards")["env"] if variable["name"] == "SHARD_INDEX"]
    annotation = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert index["valueFrom"] == {"fieldRef": {"fieldPath": annotation}}, "which the Job controller sets, from 0"
    for name in ("shards", "gather"):
        (run,) = [variable for variable in container(name)["env"] if variable["name"] == "RUN_ID"]
        label = "metadata.labels['batch.kubernetes.io/controller-uid']"
        assert run["valueFrom"] == {"fieldRef": {"fieldPath": label}}, "which the Job controller sets, too"
    assert spec["backoffLimitPerIndex"] > 0
    assert "backoffLimit" not in spec, "it would count the failures of all shards together"
    assert container("gather")["args"] == ["--gather"]
    assert environment("gather")["SHARD_COUNT"] == environment("shards")["SHARD_COUNT"]


@pytest.mark.parametrize("name", ["shards", "gather"])
def test_what_makes_no_sense_to_try_again(name):
    actions = exit_codes(name)
    hopeless = {endings.USAGE, endings.NO_INPUT, endings.NO_API, endings.NO_OUTPUT}
    assert {code for code, action in actions.items() if action == "FailJob"} >= hopeless
    assert not {endings.DONE, endings.IN_USE, endings.OUT_OF_MEMORY, 137, 143} & set(actions), (
        "these are worth another try"
    )
    assert {endings.SOME_FAILED, endings.INTERNAL} <= set(actions)
    allowed = {"shards": {"Ignore", "FailJob", "FailIndex", "Count"}, "gather": {"Ignore", "FailJob", "Count"}}
    rules = job(name)["spec"]["podFailurePolicy"]["rules"]
    assert {rule["action"] for rule in rules} <= allowed[name]
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert rules[0] == disrupted, "a drained node stops its pods, whatever code they then exit with"
    for rule in rules:
        assert ("onExitCodes" in rule) != ("onPodConditions" in rule)
        if "onExitCodes" in rule:
            assert rule["onExitCodes"]["containerName"] == container(name)["name"]
            assert rule["onExitCodes"]["operator"] == "In"
            values = rule["onExitCodes"]["values"]
            assert values == sorted(set(values) - {0}), "the API refuses others"
    assert pod(name)["restartPolicy"] == "Never", "a pod failure policy needs it"


@pytest.mark.parametrize("name", ["shards", "gather"])
def test_pod_security_restricted(name):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    labels = documents(FOLDER / "shards/namespace.yaml")[0]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    security = pod(name)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container(name)["securityContext"]
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(name)["automountServiceAccountToken"] is False
    assert {kind for volume in pod(name)["volumes"] for kind in volume if kind != "name"} <= {
        "persistentVolumeClaim",
        "emptyDir",
    }


def test_no_pod_of_the_namespace_has_a_network():
    (policy,) = documents(FOLDER / "shards/network.yaml")
    assert policy["kind"] == "NetworkPolicy"
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}, "any rule would allow something"


@pytest.mark.parametrize("name", ["shards", "gather"])
def test_jobs_end_and_go(name):
    spec = job(name)["spec"]
    assert 0 < spec["activeDeadlineSeconds"] <= 604800
    assert spec["ttlSecondsAfterFinished"] >= 86400, "somebody may want to read the logs"


@pytest.mark.parametrize("name", ["shards", "gather"])
def test_volumes_resources_and_liveness(name):
    claims = {claim["metadata"]["name"] for claim in documents(FOLDER / "shards/volumes.yaml")}
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in container(name)["volumeMounts"]}
    assert set(mounts) == {"/data", "/output", "/tmp"}
    assert mounts["/data"]["readOnly"] is True
    assert "emptyDir" in volumes[mounts["/tmp"]["name"]]
    assert {
        volumes[mounts[path]["name"]]["persistentVolumeClaim"]["claimName"] for path in ("/data", "/output")
    } == claims
    resources = container(name)["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"], "more than was asked for may not be there"
    assert all(re.fullmatch(r"\d+(Mi|Gi)?", value) for part in resources.values() for value in part.values())
    probe = container(name)["livenessProbe"]
    assert probe["exec"]["command"] == ["python", "/app/healthcheck.py"]
    assert 0 < probe["timeoutSeconds"] < probe["periodSeconds"]


@pytest.mark.parametrize("ends", ["SuccessCriteriaMet Complete", "FailureTarget Failed"])
def test_the_commands_of_the_page_gather_when_the_shards_have_ended_well_or_not(ends, tmp_path):
    """`kubectl wait --for=condition=complete` would wait on for a Job that has failed."""
    (block,) = re.findall(r"^   ```sh\n(   ended.*?)^   ```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "kubectl").write_text(f'#!/bin/sh\ncase "$*" in *get*) echo "{ends}" ;; *) echo "$*" ;; esac\n')
    (tmp_path / "kubectl").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", block], env=environment, capture_output=True, text=True, timeout=5, check=True)
    last = ends.split()[1]
    applied = [f"apply -k deploy/kubernetes/{name}" for name in ("shards", "gather")]
    assert done.stdout.splitlines() == [applied[0], last, applied[1], last]
