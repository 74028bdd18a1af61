"""Each alert goes off when it should, rests when it should, and has its runbook."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml
from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.grafana.rules import ALERTS, alerts, metrics, pages, tool, used
from tests.deploy.helm.chart import CHART, render, rendered
from tests.house.tree import ROOT

STEP = 30
"""Seconds between two scrapes."""

LENGTH = 60
"""Scrapes: half an hour."""

TARGET = 'instance="a",job="heimdall"'


def flat(value: float, scrapes: int = LENGTH) -> str:
    """Return a series that stays as it is."""
    return f"{value}+0x{scrapes}"


def rising(a_second: float) -> str:
    """Return a counter."""
    return f"0+{a_second * STEP:g}x{LENGTH}"


def answers(origin: str, rcode: str, a_second: float) -> tuple[str, str]:
    """Return the counter of answers of a kind."""
    return f'heimdall_accept_answers_total{{{TARGET},origin="{origin}",rcode="{rcode}"}}', rising(a_second)


def metric(name: str, values: str, more: str = "", target: str = TARGET) -> tuple[str, str]:
    """Return a series of ours."""
    return f"heimdall_{name}{{{target}{',' if more else ''}{more}}}", values


@frozen
class Case:
    """What makes an alert go off.

    :ivar series: beside those of a healthy cluster, or in their place.
    :ivar labels: what it is about, as :data:`LABELS` has it; ``other`` are more labels.
    :ivar rests: a moment when it does not go off yet; empty where it goes off at once.
    """

    alert: str
    summary: str
    series: tuple[tuple[str, str], ...]
    labels: tuple[str, ...] = ("instance", "job")
    rests: str = "30s"
    other: tuple[tuple[str, str], ...] = ()


HEALTHY: tuple[tuple[str, str], ...] = (
    (f"up{{{TARGET}}}", flat(1)),
    metric("watch_ready_up", flat(1)),
    answers("memory", "noerror", 90),
    answers("redis", "noerror", 5),
    answers("upstream", "noerror", 4),
    answers("upstream", "servfail", 0.5),
    answers("stale", "noerror", 0.5),
    metric("accept_queries_total", rising(100), 'transport="udp"'),
    metric("accept_query_seconds_bucket", rising(90), 'le="0.0005"'),
    metric("accept_query_seconds_bucket", rising(99.5), 'le="0.25"'),
    metric("accept_query_seconds_bucket", rising(100), 'le="+Inf"'),
    metric("bugs_met_total", flat(3)),
    metric("watch_scrape_errors_total", flat(0)),
    metric("workers_ended_total", flat(1)),
    metric("fetch_upstream_up", flat(1), 'server="192.0.2.1:53"'),
    metric("fetch_upstream_up", flat(1), 'server="192.0.2.2:53"'),
    metric("fetch_mismatched_total", rising(0.1), 'what="id"'),
    metric("redislink_connection_up", flat(1)),
    metric("redislink_ear_up", flat(1)),
    metric("redislink_missing_rights", flat(0)),
    metric("redislink_refusal_up", flat(0), 'reason="oom"'),
    metric("redislink_refusal_up", flat(1), 'reason="noperm"'),
    metric("cache_redis_rubbish_total", flat(7), 'reason="forged"'),
    metric("cache_redis_rubbish_total", flat(40), 'reason="damaged"'),
    metric("cache_redis_write_errors_total", rising(0.01), 'reason="late"'),
    metric("peers_listed_nodes", flat(1)),
    metric("peers_heartbeats_total", rising(0.2), 'result="ok"'),
    metric("peers_heartbeats_total", rising(0.001), 'result="failed"'),
    metric("cache_flush_errors_total", flat(2), 'what="future"'),
    metric("cache_memory_evicted_total", rising(1)),
    metric("cache_memory_entries", flat(50_000)),
    metric("cache_once_asked_total", flat(0), 'result="overload"'),
    metric("admit_limited_total", rising(0.2)),
    metric("admit_refused_total", rising(0.2)),
)
"""A node that does well, with a little of what always happens."""

CASES = (
    Case("HeimdallAllDown", "No node of Heimdall can be reached", ((f"up{{{TARGET}}}", flat(0)),), ()),
    Case("HeimdallNodeDown", "a cannot be reached", ((f"up{{{TARGET}}}", flat(0)),)),
    Case("HeimdallNodeNotReady", "a runs but is not ready", (metric("watch_ready_up", flat(0)),)),
    Case("HeimdallFailures", "9.091% of all answers are SERVFAIL", (answers("upstream", "servfail", 9.95),), ("job",)),
    Case(
        "HeimdallSlow",
        "One answer in a hundred takes longer than 1s",
        (
            metric("accept_query_seconds_bucket", rising(98), 'le="0.25"'),
            metric("accept_query_seconds_bucket", rising(100), 'le="1.75"'),
        ),
        ("job",),
        rests="9m",
    ),
    Case(
        "HeimdallHitShareFell",
        "Only 0% of all answers come from a cache, less than half of the usual",
        (
            (answers("memory", "noerror", 0)[0], f"0+2700x14 {2700 * 14}+0x{LENGTH - 15}"),
            (answers("redis", "noerror", 0)[0], f"0+150x14 {150 * 14}+0x{LENGTH - 15}"),
        ),
        ("job",),
        rests="15m",
    ),
    Case("HeimdallStale", "1.485% of all answers are stale", (answers("stale", "noerror", 1.5),), ("job",)),
    Case(
        "HeimdallFaults",
        "a met a bug of its own",
        (metric("bugs_met_total", f"3+0x{LENGTH - 5} 4+0x4"),),
        rests="10m",
    ),
    Case(
        "HeimdallWorkerEnded",
        "A worker of a ended though nobody told it to",
        (metric("workers_ended_total", f"1+0x{LENGTH - 5} 2+0x4"),),
        rests="10m",
    ),
    Case(
        "HeimdallNoUpstream",
        "No upstream answers a",
        tuple(metric("fetch_upstream_up", flat(0), f'server="192.0.2.{number}:53"') for number in (1, 2)),
    ),
    Case(
        "HeimdallUpstreamDown",
        "The upstream 192.0.2.2:53 does not answer some node",
        (metric("fetch_upstream_up", flat(0), 'server="192.0.2.2:53"'),),
        ("job",),
        other=(("server", "192.0.2.2:53"),),
        rests="4m",
    ),
    Case(
        "HeimdallMismatches",
        "a gets 200 replies a second that it never asked for",
        (metric("fetch_mismatched_total", rising(200), 'what="id"'),),
    ),
    Case("HeimdallRedisDown", "a does without Redis", (metric("redislink_connection_up", flat(0)),)),
    Case(
        "HeimdallDeaf",
        "a uses Redis but hears no messages: flushes reach it late",
        (metric("redislink_ear_up", flat(0)),),
    ),
    Case(
        "HeimdallRedisRights",
        "a lacks 1 of the rights that it needs in Redis",
        (metric("redislink_missing_rights", flat(1)),),
        rests="4m",
    ),
    Case(
        "HeimdallForgedAnswers",
        "a found answers in Redis with a wrong seal",
        (metric("cache_redis_rubbish_total", f"_x{LENGTH - 5} 1+0x4", 'reason="forged"'),),
        other=(("reason", "forged"),),
        rests="10m",
    ),
    Case(
        "HeimdallRubbishInRedis",
        "50 values in Redis were no answers, in ten minutes",
        (metric("cache_redis_rubbish_total", f"0+2.5x{LENGTH}", 'reason="damaged"'),),
        ("job",),
    ),
    Case(
        "HeimdallRedisRefusesWrites",
        "Redis does not take what a has learnt",
        (metric("cache_redis_write_errors_total", rising(5), 'reason="full"'),),
        rests="4m",
    ),
    Case(
        "HeimdallRedisRefusesWrites",
        "Redis does not take what a has learnt",
        (metric("redislink_refusal_up", flat(1), 'reason="misconf"'),),
        rests="4m",
    ),
    Case(
        "HeimdallMembersMissing",
        "Some node sees only 1 nodes in the list",
        (
            metric("peers_heartbeats_total", rising(0.2), 'result="ok"', 'instance="b",job="heimdall"'),
            metric("peers_listed_nodes", flat(2), "", 'instance="b",job="heimdall"'),
        ),
        ("job",),
        rests="4m",
    ),
    Case(
        "HeimdallHeartbeatsFail",
        "a cannot be written into the list of nodes",
        (metric("peers_heartbeats_total", rising(0.2), 'result="failed"'),),
        other=(("result", "failed"),),
        rests="4m",
    ),
    Case(
        "HeimdallClock",
        "a was told of a flush that is more than an hour in the future",
        (metric("cache_flush_errors_total", f"2+0x{LENGTH - 5} 3+0x4", 'what="future"'),),
        other=(("what", "future"),),
        rests="10m",
    ),
    Case(
        "HeimdallEvictions",
        "The memory of a is too small for what it is asked",
        (metric("cache_memory_evicted_total", rising(60)),),
        rests="19m",
    ),
    Case(
        "HeimdallOverload",
        "a refuses queries: too many wait for upstreams",
        (metric("cache_once_asked_total", rising(1), 'result="overload"'),),
        other=(("result", "overload"),),
    ),
    Case(
        "HeimdallRateLimited",
        "5% of all queries are over the limit of their client",
        (metric("admit_limited_total", rising(5)),),
        ("job",),
        rests="9m",
    ),
    Case(
        "HeimdallClientsRefused",
        "3 queries a second are of networks that may not ask",
        (metric("admit_refused_total", rising(3)),),
        ("job",),
        rests="9m",
    ),
)

LABELS = {"instance": "a", "job": "heimdall"}


def written(series: dict[str, str], checks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a test as promtool reads it."""
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    return {"interval": f"{STEP}s", "input_series": inputs, "alert_rule_test": checks}


def check(at: str, rule: dict[str, Any], *expected: dict[str, Any]) -> dict[str, Any]:
    """Return one look at an alert."""
    return {"eval_time": at, "alertname": rule["alert"], "exp_alerts": list(expected)}


class Alerts(SynchronousTestCase):
    """deploy/grafana/alerts.yml"""

    def checked(self, what: str, file: Path) -> None:
        """Have promtool check a file."""
        command = [tool("promtool"), "check", what, str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def promtool(self, *tests: dict[str, Any]) -> None:
        """Have promtool play tests of the rules."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "tests.yml"
            whole = {"rule_files": [str(ALERTS)], "evaluation_interval": f"{STEP}s", "tests": list(tests)}
            file.write_text(yaml.safe_dump(whole), encoding="utf-8")
            done = subprocess.run(
                [tool("promtool"), "test", "rules", str(file)], capture_output=True, text=True, check=False
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_rules(self) -> None:
        """Promtool takes the rules."""
        self.checked("rules", ALERTS)

    def test_page(self) -> None:
        """The page of metrics shows a configuration that Prometheus takes, with these rules and the job they want."""
        page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
        [block] = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
        self.assertIn("job_name: heimdall\n", block)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "prometheus.yml"
            file.write_text(block.replace("/etc/prometheus/alerts.yml", str(ALERTS)), encoding="utf-8")
            self.checked("config", file)

    def test_rest(self) -> None:
        """In a cluster that does well no alert goes off, at any time."""
        moments = ("1m", "5m", "16m", "29m")
        self.promtool(written(dict(HEALTHY), [check(at, rule) for rule in alerts() for at in moments]))

    def test_go_off(self) -> None:
        """Each alert goes off over what it is about, not before its time, and says what it should."""
        rules = {rule["alert"]: rule for rule in alerts()}
        self.assertEqual({case.alert for case in CASES}, set(rules))
        tests = []
        for case in CASES:
            rule = rules[case.alert]
            expected = {
                "exp_labels": {name: LABELS[name] for name in case.labels} | dict(case.other) | rule["labels"],
                "exp_annotations": rule["annotations"] | {"summary": case.summary},
            }
            looks = [check("29m", rule, expected), check(case.rests, rule)]
            tests.append(written({**dict(HEALTHY), **dict(case.series)}, looks))
        self.promtool(*tests)

    def test_metrics(self) -> None:
        """Alerts ask for metrics that there are, by labels that they have."""
        known = metrics()
        for rule in alerts():
            for name, labels in used(rule["expr"]):
                self.assertIn(name, known, rule["alert"])
                self.assertLessEqual(labels, known[name] | {"job", "instance"}, rule["alert"])

    def test_runbooks(self) -> None:
        """Each alert has its page: what it means, how bad it is, what to look at, what to do. No page is left over."""
        found = pages()
        self.assertEqual(sorted(found), sorted(rule["alert"] for rule in alerts()))
        for rule in alerts():
            self.assertEqual(ROOT / rule["annotations"]["runbook"], found[rule["alert"]])
            page = found[rule["alert"]].read_text(encoding="utf-8")
            self.assertTrue(page.startswith(f"# {rule['alert']}\n"), page[:40])
            heads = re.findall(r"^## (.*)$", page, re.M)
            self.assertEqual(heads, ["What it means", "How bad it is", "Look at", "Do"], rule["alert"])
            self.assertIn(f"| [{rule['alert']}]({rule['alert']}.md) | {rule['labels']['severity']} |", _index())

    def test_in_the_chart(self) -> None:
        """The chart brings these very alerts, with links to where the runbooks are said to be, else with none."""
        self.assertEqual(ALERTS.resolve(), CHART / "files" / "alerts.yml")
        [rule] = rendered("monitoring").all("PrometheusRule")
        brought = [one for group in rule["spec"]["groups"] for one in group["rules"]]
        for one in brought:
            url = one["annotations"].pop("runbook_url")
            self.assertTrue(url.startswith("https://docs.example/runbooks/Heimdall"), url)
            one["annotations"]["runbook"] = url.replace("https://docs.example", "docs")
        self.assertEqual(brought, alerts())
        [plain] = render(CHART / "ci" / "default.yaml", monitoring={"alerts": {"enabled": True}}).all("PrometheusRule")
        self.assertNotIn("runbook_url", str(plain))

    def test_left_out(self) -> None:
        """An alert that the values name is left out of the chart, and no other."""
        monitoring = {"alerts": {"enabled": True, "without": ["HeimdallClientsRefused"]}}
        whole = render(CHART / "ci" / "default.yaml", monitoring=monitoring)
        [rule] = whole.all("PrometheusRule")
        brought = {one["alert"] for group in rule["spec"]["groups"] for one in group["rules"]}
        self.assertEqual({one["alert"] for one in alerts()} - brought, {"HeimdallClientsRefused"})


def _index() -> str:
    return (ROOT / "docs" / "runbooks" / "README.md").read_text(encoding="utf-8")
