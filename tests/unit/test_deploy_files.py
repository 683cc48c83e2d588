"""The files for Compose and Kubernetes fit their schemas and each other; the Dockerfile is clean.

Nothing is run here: tests/slow/test_container.py builds and runs the image.
"""

import re
import subprocess
import sys
import tomllib
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose
from compose_spec.models import ComposeSpecification

from coordinator import __version__
from coordinator.config.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = ROOT / "deploy" / "compose.yaml"
KUBERNETES = ROOT / "deploy" / "kubernetes.yaml"

OLDEST_KUBERNETES, NEWEST_KUBERNETES = "1.27", "1.37"
USER = 10001
DRAIN_GRACE: timedelta = Settings.model_fields["drain_grace"].default

Document = dict[str, Any]


@pytest.fixture
def compose() -> Document:
    """The Compose file, its anchors resolved."""
    document = yaml.safe_load(COMPOSE.read_text())
    return {key: value for key, value in document.items() if not key.startswith("x-")}


@pytest.fixture
def kubernetes() -> dict[str, Document]:
    """The Kubernetes documents by their kinds, each of which is there once."""
    documents = list(yaml.safe_load_all(KUBERNETES.read_text()))
    by_kind = {document["kind"]: document for document in documents}
    assert len(by_kind) == len(documents)
    return by_kind


@pytest.fixture
def pod(kubernetes: dict[str, Document]) -> Document:
    """The specification of the daemon's pods."""
    found: Document = kubernetes["Deployment"]["spec"]["template"]["spec"]
    return found


# --- the Dockerfile ---------------------------------------------------------------------------


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")

    said = subprocess.run([hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True)

    assert (said.returncode, said.stdout) == (0, "")


def test_the_base_is_one_release_of_python_on_one_release_of_debian() -> None:
    bases = re.findall(r"^ARG PYTHON=(.+)$", DOCKERFILE.read_text(), re.MULTILINE)

    assert len(bases) == 1
    assert re.fullmatch(
        r"docker\.io/library/python:3\.\d+\.\d+-slim-[a-z]+(@sha256:[0-9a-f]{64})?", bases[0]
    )


def test_what_the_image_is_made_of_reaches_the_build_and_nothing_else() -> None:
    rules = (ROOT / ".dockerignore").read_text().split()

    assert rules[0] == "*"
    named = {rule.removeprefix("!").rstrip("/") for rule in rules if rule.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    assert named == {name for line in copied for name in line.split()}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]
    parts = {*wheel["wheel"]["force-include"], *wheel["wheel"]["shared-data"]}
    assert not [part for part in parts if not {part, part.partition("/")[0]} & named]


# --- Compose ----------------------------------------------------------------------------------


def test_the_compose_file_fits_the_specification(compose: Document) -> None:
    check_compose(compose)


def test_a_word_that_compose_does_not_know_is_found(compose: Document) -> None:
    compose["services"]["coordinator"]["stop_grace"] = "30s"

    with pytest.raises(ValueError, match="stop_grace"):
        check_compose(compose)


def test_a_secret_that_compose_is_not_given_is_found(compose: Document) -> None:
    del compose["secrets"]["dsn"]

    with pytest.raises(ValueError, match="dsn"):
        check_compose(compose)


def test_compose_begins_with_the_database_and_migrates_once(compose: Document) -> None:
    services = compose["services"]

    assert services["postgres"]["image"].startswith("postgres:15.")
    assert services["migrate"]["command"] == ["migrate"]
    assert services["migrate"]["restart"] == "no"
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["coordinator"]["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "migrate": {"condition": "service_completed_successfully"},
    }


def test_compose_runs_everything_locked_down_and_keeps_secrets_in_files(compose: Document) -> None:
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "ports" not in service
        given = service["environment"]
        assert not [name for name in given if re.search("DSN$|PASSWORD$|URL$", name)]
        in_files = {Path(value).name for name, value in given.items() if name.endswith("_FILE")}
        assert in_files == set(service["secrets"])
    assert all(set(secret) == {"file"} for secret in compose["secrets"].values())


def test_compose_waits_longer_than_the_daemon_drains(compose: Document) -> None:
    given = compose["services"]["coordinator"]["stop_grace_period"]

    assert timedelta(seconds=int(given.removesuffix("s"))) > DRAIN_GRACE


def check_compose(document: Document) -> None:
    """Raise ValueError where the Compose specification does not allow it."""
    ComposeSpecification.model_validate(document, extra="forbid")
    PyCompose.from_yaml(yaml.safe_dump(document)).validate()


# --- Kubernetes -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, NEWEST_KUBERNETES])
def test_the_kubernetes_file_fits_the_schemas(
    kubernetes: dict[str, Document], version: str
) -> None:
    for document in kubernetes.values():
        kubernetes_validate.validate(document, version, strict=True)


def test_a_word_that_kubernetes_does_not_know_is_found(kubernetes: dict[str, Document]) -> None:
    wrong = deepcopy(kubernetes["Deployment"])
    wrong["spec"]["template"]["spec"]["containers"][0]["startUpProbe"] = {}

    with pytest.raises(kubernetes_validate.ValidationError, match="startUpProbe"):
        kubernetes_validate.validate(wrong, NEWEST_KUBERNETES, strict=True)


def test_two_daemons_run_and_one_may_be_disturbed(kubernetes: dict[str, Document]) -> None:
    deployment, budget = kubernetes["Deployment"], kubernetes["PodDisruptionBudget"]

    assert deployment["spec"]["replicas"] == 2
    assert budget["spec"]["minAvailable"] == 1


def test_each_selector_finds_the_pods(kubernetes: dict[str, Document]) -> None:
    labels = kubernetes["Deployment"]["spec"]["template"]["metadata"]["labels"]
    spread = kubernetes["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]

    assert kubernetes["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert kubernetes["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert kubernetes["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert [one["labelSelector"]["matchLabels"] for one in spread] == [labels]


def test_all_is_in_the_namespace_that_demands_restricted_pods(
    kubernetes: dict[str, Document],
) -> None:
    namespace = kubernetes.pop("Namespace")["metadata"]

    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {one["metadata"]["namespace"] for one in kubernetes.values()} == {namespace["name"]}


def test_the_pods_meet_the_restricted_standard(pod: Document) -> None:
    whole = pod["securityContext"]
    assert whole["runAsNonRoot"] is True
    assert (whole["runAsUser"], whole["runAsGroup"], whole["fsGroup"]) == (USER, USER, USER)
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {"secret"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert pod["automountServiceAccountToken"] is False


def test_the_schema_is_there_before_the_daemon(pod: Document) -> None:
    (migrate,), (daemon,) = pod["initContainers"], pod["containers"]

    assert migrate["args"] == ["migrate"]
    assert migrate["image"] == daemon["image"] == f"coordinator:{__version__}"
    assert "args" not in daemon


def test_the_dsn_comes_from_a_secret_file_that_the_user_may_read(pod: Document) -> None:
    (volume,) = pod["volumes"]
    assert volume["secret"]["defaultMode"] == 0o440
    for container in (*pod["initContainers"], *pod["containers"]):
        (mount,) = container["volumeMounts"]
        variables = {variable["name"]: variable["value"] for variable in container["env"]}
        assert mount["name"] == volume["name"]
        assert variables["COORDINATOR_DSN_FILE"] == f"{mount['mountPath']}/dsn"


def test_each_probe_asks_the_socket_that_is_open(pod: Document) -> None:
    (daemon,) = pod["containers"]
    (port,) = daemon["ports"]
    variables = {variable["name"]: variable["value"] for variable in daemon["env"]}

    asked = {name: daemon[name]["httpGet"] for name in daemon if name.endswith("Probe")}
    assert asked == {
        "startupProbe": {"path": "/startupz", "port": port["name"]},
        "livenessProbe": {"path": "/livez", "port": port["name"]},
        "readinessProbe": {"path": "/readyz", "port": port["name"]},
    }
    assert variables["COORDINATOR_HEALTH_TCP"] == f"0.0.0.0:{port['containerPort']}"


def test_kubernetes_waits_longer_than_the_daemon_drains(pod: Document) -> None:
    assert timedelta(seconds=pod["terminationGracePeriodSeconds"]) > DRAIN_GRACE
