"""Rules and dashboard for Prometheus and Grafana ask for what a running gateway exports, and for nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lesion_serve.deployment import with_challenger
from lesion_serve.engine.engine import BusyError, WorkerDiedError
from support.gateways import GatewayUnderTest, deployed

PROMETHEUS = Path("deploy/prometheus")
DASHBOARD = Path("deploy/grafana/dashboard.json")
# Prometheus' own: of every target, and labels that it adds.
OWN_METRICS, OWN_LABELS = {"up": set[str]()}, {"job", "instance"}
WORDS = {"by", "ignoring", "group_left", "and", "on", "without", "or", "unless"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every metric of a gateway that has answered, refused, fallen back and asked a challenger, with its labels."""
    gateway = GatewayUnderTest(tmp_path_factory.mktemp("gateway"))
    assert gateway.deployment is not None
    gateway.deployment = with_challenger(gateway.deployment, deployed("2"), share_percent=0, shadow=True)
    gateway.engine.errors = [None, None, WorkerDiedError("gone"), None, None, BusyError("full")]
    statuses = [gateway.ask().status_code for _ in range(3)]
    assert statuses == [200, 200, 503]
    found = dict[str, set[str]]()
    for family in text_string_to_metric_families(gateway.send("GET", "/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def rules() -> str:
    return (PROMETHEUS / "rules.yml").read_text()


def queries_of_rules() -> list[str]:
    return re.findall(r"^ +expr: (.+)$", rules(), re.MULTILINE)


def queries_of_dashboard() -> list[str]:
    """As Grafana sends them."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"].replace("$__rate_interval", "5m") for panel in panels for target in panel["targets"]]


def selectors(query: str) -> Iterator[tuple[str, set[str]]]:
    """The metrics that a query names, each with the labels that it selects by or is grouped by."""
    query = re.sub(r'"[^"]*"', '""', query)
    grouped = {label for labels in re.findall(r"\b(?:by|ignoring) \(([^)]*)\)", query) for label in labels.split(", ")}
    bare = re.sub(r"\b(?:by|ignoring) \([^)]*\)|\[[^\]]*\]", " ", query)
    for name, matchers in re.findall(r"\b([a-z_][a-z0-9_:]*)\b(?!\s*\()(?:\{([^}]*)\})?", bare):
        if name not in WORDS:
            selected = {one.partition("=")[0].strip("!~ ") for one in matchers.split(",") if one}
            yield name, selected | grouped


def test_the_files_are_read_whole() -> None:
    """Each rule and each panel has a query; otherwise the tests below would check less than they say."""
    assert len(queries_of_rules()) == len(re.findall(r"^ +- (?:alert|record): ", rules(), re.MULTILINE)) > 10
    assert len(queries_of_dashboard()) > 10


def test_selectors_are_found() -> None:
    """By name, with what selects and what groups; functions and words of the language are neither."""
    query = 'sum by (le, x) (rate(lesion_a_bucket{code="b", c!="by (d)"}[5m])) / lesion:e:ratio1h > 0.5 and up == 0'

    assert list(selectors(query)) == [
        ("lesion_a_bucket", {"code", "c", "le", "x"}),
        ("lesion:e:ratio1h", {"le", "x"}),
        ("up", {"le", "x"}),
    ]


@pytest.mark.parametrize("query", [*queries_of_rules(), *queries_of_dashboard()])
def test_every_query_names_what_a_gateway_exports(query: str, exported: dict[str, set[str]]) -> None:
    """Or what a rule records; with labels that are there. A mistake would be a rule that never fires."""
    recorded = set(re.findall(r"^ +- record: (\S+)$", rules(), re.MULTILINE))
    named = [(name, labels) for name, labels in selectors(query) if name not in recorded]
    known = exported | OWN_METRICS

    assert recorded | {name for name, _ in named}
    for name, labels in named:
        assert name in known
        assert labels <= known[name] | OWN_LABELS, name


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool here: it comes with Debian's package prometheus")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def test_promtool_accepts_rules_and_settings() -> None:
    """As Prometheus would read them."""
    for arguments in (("rules", PROMETHEUS / "rules.yml"), ("config", "--syntax-only", PROMETHEUS / "prometheus.yml")):
        done = promtool("check", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should() -> None:
    """And not before: promtool plays the time series of rules.test.yml to them."""
    done = promtool("test", "rules", PROMETHEUS / "rules.test.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_queries_of_the_dashboard_are_queries(tmp_path: Path) -> None:
    """Each is given to promtool as a rule. JSON is YAML."""
    rules = [{"record": f"panel:{place}", "expr": query} for place, query in enumerate(queries_of_dashboard())]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    done = promtool("check", "rules", file)

    assert done.returncode == 0, done.stdout + done.stderr
