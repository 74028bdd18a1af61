"""What the processes of a node use together: CPU, memory, open files; in the words of prometheus-client."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

_CPU = "process_cpu_seconds"
_ADDED = (_CPU, "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds")


class Processes(Collector):
    """Adds up what this process and others use.

    :param others: returns their numbers; they are children of this process.
    """

    def __init__(self, others: Callable[[], Iterable[int]]) -> None:
        self._others = others

    def collect(self) -> Iterator[Metric]:
        """Yield each metric; what children used that have ended is kept."""
        sums = _used(None)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        for pid in self._others():
            for name, metric in _used(pid).items():
                if name in _ADDED and name in sums:
                    _add(sums[name], metric.samples[0].value)
        if _CPU in sums:
            _add(sums[_CPU], ended.ru_utime + ended.ru_stime)
        yield from sums.values()


def resident(others: Iterable[int]) -> int:
    """Return the bytes of memory that this process and others have in use; 0 where the system does not say."""
    found = (_used(pid).get("process_resident_memory_bytes") for pid in (None, *others))
    return int(sum(metric.samples[0].value for metric in found if metric is not None))


def _used(pid: int | None) -> dict[str, Metric]:
    """Return what one process uses; nothing when it is gone, or the system does not say."""
    metrics = ProcessCollector(pid=lambda: "self" if pid is None else pid, registry=None).collect()
    return {metric.name: metric for metric in metrics}


def _add(metric: Metric, value: float) -> None:
    sample = metric.samples[0]
    metric.samples[0] = sample._replace(value=sample.value + value)
