"""Turn the tallies of every part into the text that Prometheus reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from twisted.logger import Logger

from heimdall import __version__
from heimdall.tally import SECONDS, Count, Gauge, Tally, Times
from heimdall.watch.processes import Processes

_JOIN: Mapping[str, Callable[[Iterable[float]], float]] = {"sum": sum, "max": max, "min": min}
_BOUNDS = [floatToGoString(bound) for bound in (*SECONDS, float("inf"))]


class Metrics(Collector):
    """What all parts have counted, and what the process itself uses, as text.

    Tallies of one name are one metric: two parts of a kind, or two processes, are added up; of a gauge that says so
    the greatest or the least counts. One tally listed twice counts once.

    :param groups: of tallies, gone through anew at every scrape, so they may grow.
    :param processes: returns the numbers of those that belong to this one.
    """

    log = Logger()

    def __init__(self, *groups: Iterable[Tally], processes: Callable[[], Iterable[int]] = tuple) -> None:
        self.errors = Count("heimdall_watch_scrape_errors_total", "Tallies that could not be read at a scrape.")
        build = Gauge(
            "heimdall_watch_build_info", "The version that runs.", lambda: {__version__: 1}, "version", across="max"
        )
        self.tallies: list[Tally] = [build, self.errors]
        # Our own are read last: they count what went wrong with the others.
        self._groups = (*groups, self.tallies)
        self._broken: set[str] = set()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._registry.register(Processes(processes))
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """Return the content type and the text of this moment.

        :param accept: the Accept header of the request; OpenMetrics is written where it is named there, else
            the classic text format.
        """
        if openmetrics_wanted(accept):
            return openmetrics.CONTENT_TYPE_LATEST, openmetrics.generate_latest(self._registry, version="1.0.0")
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once; one that cannot be read is left out, counted, and logged when that starts."""
        same: dict[str, list[Tally]] = {}
        for tally in chain(*self._groups):
            if tally not in same.setdefault(tally.name, []):
                same[tally.name].append(tally)
        for name, tallies in same.items():
            try:
                metric = _metric(tallies)
            except Exception:
                # A gauge reads other people's code: whatever that raises costs its own line, not the scrape.
                self.errors.add()
                if name not in self._broken:
                    self._broken.add(name)
                    self.log.failure("the metric {name} cannot be read", name=name)
            else:
                if name in self._broken:
                    self._broken.remove(name)
                    self.log.info("the metric {name} can be read again", name=name)
                yield metric


def openmetrics_wanted(accept: str) -> bool:
    """Return whether an Accept header names OpenMetrics."""
    return any(part.split(";")[0].strip() == "application/openmetrics-text" for part in accept.split(","))


def _metric(tallies: Sequence[Tally]) -> Metric:
    """Return one metric made of all tallies that share its name.

    :raises TypeError: they are not of one kind, or their labels differ.
    """
    first = tallies[0]
    if any(type(tally) is not type(first) or _labels(tally) != _labels(first) for tally in tallies):
        raise TypeError(f"{first.name} is counted in two different ways")
    if isinstance(first, Times):
        return _histogram([tally for tally in tallies if isinstance(tally, Times)])
    kind = CounterMetricFamily if isinstance(first, Count) else GaugeMetricFamily
    metric = kind(first.name, first.text, labels=_labels(first))
    join = _JOIN[first.across] if isinstance(first, Gauge) else sum
    found: dict[tuple[str, ...], list[float]] = {}
    for numbers in (_read(tally) for tally in tallies if not isinstance(tally, Times)):
        for values, number in numbers.items():
            found.setdefault(values, []).append(number)
    for values, several in found.items():
        metric.add_metric(values, join(several))
    return metric


def _histogram(times: Sequence[Times]) -> HistogramMetricFamily:
    first = times[0]
    totals = accumulate(map(sum, zip(*(each.buckets for each in times), strict=True)))
    metric = HistogramMetricFamily(first.name, first.text, labels=())
    metric.add_metric((), list(zip(_BOUNDS, totals, strict=True)), sum(each.sum for each in times))
    return metric


def _labels(tally: Tally) -> tuple[str, ...]:
    if isinstance(tally, Count):
        return tally.labels
    return (tally.label,) if isinstance(tally, Gauge) and tally.label else ()


def _read(tally: Count | Gauge) -> Mapping[tuple[str, ...], float]:
    if isinstance(tally, Count):
        return tally.counts
    numbers = tally.read()
    if isinstance(numbers, Mapping):
        return {(value,): float(number) for value, number in numbers.items()}
    return {(): float(numbers)}
