"""Tests of the choice of a source by name."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from heimdall.fetch.route import Route
from heimdall.interfaces import ISource
from heimdall.message.answer import Answer
from heimdall.message.answer import make as answer
from heimdall.message.query import Query, make
from heimdall.message.trace import Trace
from heimdall.message.wire import from_text


@implementer(ISource)
class Named:
    """A source whose answers tell who it is."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ask(self, query: Query) -> Deferred[Answer]:
        return succeed(answer(query, 0, self.name))


class Routes(SynchronousTestCase):
    """Which source is asked."""

    def asked(self, route: Route, text: str) -> str:
        return self.successResultOf(route.ask(make(from_text(text), 1))).origin

    def test_longest(self) -> None:
        """The longest suffix wins, at the name itself and at every name below it, in any spelling."""
        routes = {from_text("cluster.local"): Named("cluster"), from_text("svc.Cluster.local"): Named("services")}
        route = Route(Named("default"), routes)
        self.assertTrue(verifyObject(ISource, route))
        self.assertEqual(self.asked(route, "cluster.local"), "cluster")
        self.assertEqual(self.asked(route, "a.b.CLUSTER.local"), "cluster")
        self.assertEqual(self.asked(route, "db.svc.cluster.local"), "services")
        self.assertEqual(route._taken.counts, {("route",): 3})

    def test_traced(self) -> None:
        """An operator who follows a question is told which route it takes."""
        query = make(from_text("a.cluster.local"), 1)
        query.trace = Trace(Clock().seconds)
        self.successResultOf(Route(Named("default"), {from_text("cluster.local"): Named("cluster")}).ask(query))
        self.assertEqual([note["suffix"] for note in query.trace.notes], ["cluster.local"])

    def test_labels(self) -> None:
        """A suffix is whole labels: notcluster.local is another name."""
        route = Route(Named("default"), {from_text("cluster.local"): Named("cluster")})
        self.assertEqual(self.asked(route, "notcluster.local"), "default")
        self.assertEqual(self.asked(route, "local"), "default")

    def test_root(self) -> None:
        """A route for the root takes all that no other takes; without routes the default is asked."""
        route = Route(Named("default"), {b"\0": Named("root")})
        self.assertEqual(self.asked(route, "www.example"), "root")
        self.assertEqual(self.asked(Route(Named("default")), "www.example"), "default")
