"""One flight per question in the cluster, around a real Redis."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from tests.cache.cluster import Nodes, One, Upstream
from tests.rediscase import until


class Flying(Nodes):
    """Three nodes that are asked for one cold name."""

    def asks(self, nodes: list[One]) -> Deferred[list[list[str]]]:
        """Ask each node; fires with who knew."""
        return gatherResults([Deferred.fromCoroutine(node.ask("a.example")) for node in nodes])

    async def test_slow_upstream(self) -> None:
        """An upstream that takes more than a second is asked once: a leader that is alive is waited for."""
        upstream = Upstream(delay=1.2)
        nodes = await self.nodes(self.server(), upstream, 3)
        origins = await self.asks(nodes)
        self.assertEqual(sorted(origins), [["redis"], ["redis"], ["upstream"]])
        self.assertEqual(len(upstream.asked), 1)

    async def test_leader_is_cut_off(self) -> None:
        """When a leader renews its lease no more one of the others asks in its place, and only one."""
        upstream = Upstream(delay=1.2)
        leader, *others = await self.nodes(self.server(), upstream, 3)
        self.asks([leader])
        await until(lambda: upstream.asked)
        waiting = self.asks(others)
        await until(lambda: all(node.count("heimdall_cache_redis_lookups_total", "followed") for node in others))
        await leader.sharing.link.close()
        await until(lambda: len(upstream.asked) == 2)
        self.assertEqual(sorted(await waiting), [["redis"], ["upstream"]])
        self.assertEqual(len(upstream.asked), 2)
