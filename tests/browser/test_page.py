"""The page of an operator in a real Chromium: two nodes, a real Redis and a real NSD behind it."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from urllib.parse import urlsplit

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from twisted.trial.unittest import SynchronousTestCase

from tests.browser.chromium import DESK, PHONE, SKIP, Page, browser
from tests.browser.contrast import faint, nameless
from tests.nsd import SKIP as NO_NSD
from tests.nsd import Nsd
from tests.redisserver import RedisServer
from tests.running import QUICK, Running

HOSTILE = r"<img\032src=x\032onerror=hit\040\041>"

LINES = rf"""
{HOSTILE} A 192.0.2.66
note TXT "<img src=x onerror=hit()><script>hit()</script>"
"""

TOKEN = "correct-horse-battery"

NUMBERS = {
    "number(null)": "–",
    "number(0)": "0",
    "number(0.04)": "0",
    "number(4.25)": "4.3",
    "number(1240.4)": "1,240",
    "number(1234567)": "1.2 M",
    "number(12e9)": "12 G",
    "size(512)": "512 B",
    "size(1500)": "1.5 kB",
    "size(999600)": "1 MB",
    "span(0)": "0 s",
    "span(0.00025)": "0.25 ms",
    "span(0.0123)": "12 ms",
    "span(0.9999)": "1 s",
    "span(-2.5)": "-2.5 s",
    "span(89)": "89 s",
    "span(90)": "1.5 min",
    "span(5400)": "1.5 h",
    "span(86400 * 12)": "12 d",
    "share(0, 0)": "–",
    "share(0, 7)": "0 %",
    "share(7, 7)": "100 %",
    "share(9999, 10000)": "99.9 %",
    "share(1, 10000)": "<0.1 %",
    "count(1, 'node')": "1 node",
    "count(3, 'node')": "3 nodes",
}

ROBBED = "window.hits = 0; window.hit = () => { window.hits += 1; };"


class Browsing(SynchronousTestCase):
    """What an operator sees and does."""

    skip = SKIP or NO_NSD

    def setUp(self) -> None:
        """Open a browser."""
        context = browser()
        self.page: Page = context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)

    def nsd(self) -> Nsd:
        """An upstream."""
        nsd = Nsd(50, zone="corp.example", lines=LINES)
        self.addCleanup(nsd.stop)
        return nsd.start()

    def redis(self) -> RedisServer:
        """A Redis of our own."""
        redis = RedisServer()
        self.addCleanup(redis.stop)
        return redis.start()

    def node(self, *arguments: str, **environ: str) -> Running:
        """A node."""
        more = {f"HEIMDALL_{name.upper()}": value for name, value in environ.items()}
        node = Running(*arguments, environ=QUICK | more)
        self.addCleanup(node.clean)
        return node

    def open(self, node: Running) -> None:
        """Open the page of a node, and wait until it shows something."""
        self.url = f"http://127.0.0.1:{node.http}/"
        self.page.open(self.url)
        self.page.wait(lambda: self.page.rows("#members"))

    @staticmethod
    def looked(node: Running) -> float:
        """Return how often a node was asked for a page, this time left out."""
        return node.metric("heimdall_watch_requests_total")

    def assertClean(self) -> None:
        """Nothing was asked of anybody but the node, and the browser has nothing to complain of."""
        asked = {urlsplit(url).netloc for url in self.page.requests() if not url.startswith(("data:", "about:"))}
        self.assertEqual(asked, {urlsplit(self.url).netloc})
        self.assertEqual(self.page.errors(), [])

    def test_cluster(self) -> None:
        """All nodes are told of as they are now; a name is looked up and flushed; no name is ever more than text."""
        page, nsd, redis = self.page, self.nsd(), self.redis()
        nodes = [self.node(f"--upstream={nsd.text}", f"--redis={redis.url}", f"--node=node{n}") for n in range(2)]
        hostile = f"{HOSTILE}.corp.example"
        self.open(nodes[0])
        page.run(ROBBED)
        page.wait(lambda: len(page.rows("#members")) == 2)
        for node in nodes:
            for name in (hostile, *(f"n{number}.corp.example" for number in range(8))):
                node.ask(name)
            page.wait(lambda: nodes[0].metric("heimdall_cache_redis_writes_total", result="stored") == 9)
        nodes[1].ask("www.corp.example")

        # Live, and right: 19 answers, 10 of them from upstream, the same 9 from Redis.
        page.wait(lambda: page.text("#queries-sub") == "19 in the last minute")
        page.wait(lambda: "47.4 %" in page.text("#cached"))
        self.assertEqual([row[0].split("\n")[0] for row in page.rows("#members")], ["node0 this node", "node1"])
        page.wait(lambda: [row[1] for row in page.rows("#members")] == ["healthy", "healthy"])
        self.assertIn("answers a second now", str(page.find("#answers svg").get_attribute("aria-label")))
        self.assertIn("half took up to", str(page.find("#latency svg").get_attribute("aria-label")))
        servers = {row[0].split("\n")[0]: row[1] for row in page.rows("#servers")}
        self.assertEqual(servers[nsd.text], "up")
        self.assertEqual((len(servers), page.text("#redis"), page.text("#upstreams")), (2, "up", "1 of 1"))

        # What was, where the pointer is.
        page.wait(lambda: page.text("#answers-when") == "now")
        ActionChains(page.driver).move_to_element(page.find("#answers")).perform()
        page.wait(lambda: "ago: " in page.text("#answers-when"))
        ActionChains(page.driver).move_to_element(page.find("h1")).perform()
        page.wait(lambda: page.text("#answers-when") == "now")

        # Looked up, by the keyboard alone.
        page.run("document.activeElement.blur()")
        page.type(Keys.TAB, Keys.ENTER, hostile, Keys.TAB, "A", Keys.ENTER)
        page.wait(lambda: len(page.rows("#held")) == 3)
        self.assertEqual([row[0] for row in page.rows("#held")], ["Redis", "node0", "node1"])
        self.assertEqual({row[2] for row in page.rows("#held")}, {"fresh"})
        self.assertIn("192.0.2.66", page.text("#records"))
        self.assertIn("<img", page.text("#look-told"))

        # Flushed, once that was confirmed.
        for key in (Keys.TAB, Keys.TAB, Keys.ENTER):
            page.type(key)
        self.assertEqual((page.focused, page.text("#dialog-name")), ("cancel", hostile))
        page.type(Keys.ESCAPE)
        self.assertEqual((page.focused, page.seen("#dialog")), ("flush", False))
        page.type(Keys.ENTER)
        page.type(Keys.TAB, Keys.ENTER)
        page.wait(lambda: "Flushed" in page.text("#look-told"))
        page.wait(lambda: "Nobody holds" in page.text("#look-told"))
        self.assertIn("on 2 nodes: node0, node1.", page.text("#look-told"))
        self.assertFalse(page.seen("#dialog"))

        # What the upstream says, and what the node says of nonsense.
        nodes[0].ask("note.corp.example", "TXT")
        for name, said in (("note.corp.example", "onerror"), (f"{'x' * 64}<img src=x onerror=hit()>", "label")):
            page.run(
                "document.querySelector('#name').value = arguments[0]; document.querySelector('#type').value = ''", name
            )
            page.find("#form .main").click()
            page.wait(lambda said=said: said in page.text("#records") + page.text("#look-told"))  # type: ignore[misc]

        # What is hot, and what one node alone is asked.
        page.wait(lambda: any("<img" in row[0] for row in page.rows("#hot")))
        page.wait(lambda: ["www.corp.example", "A", "node1", "1"] in page.rows("#single"))
        page.run("document.querySelector('#single button').click()")
        page.wait(lambda: "is held in" in page.text("#look-told"))
        self.assertEqual(page.run("return [window.hits, document.images.length, document.scripts.length]"), [0, 1, 1])
        errors = page.errors()
        self.assertEqual(len(errors), 1, errors)  # the nonsense was refused
        self.assertIn("400", errors[0])
        self.assertClean()
        self.assertEqual([line for node in nodes for line in node.trouble()], [])

    def test_looks(self) -> None:
        """In light and dark, on a desk and on a phone, nothing is too faint, too wide or without a name."""
        page = self.page
        node = self.node(
            "--upstream=127.0.0.1:1",
            "--no-redis",
            peers_node="node-with-a-long-name-7d9f8b6c5-x2x4z",
            admit_block="b.example",
        )
        for _ in range(5):
            node.ask("b.example")
            node.ask("nobody-answers.example")
        self.open(node)
        page.wait(lambda: page.run("return document.querySelectorAll('rect.bars').length"))
        page.run("document.querySelector('#name').value = arguments[0]", ".".join(["x" * 60] * 4))
        page.find("#form .main").click()
        page.wait(lambda: page.rows("#held"))
        self.assertIn("nothing is shared", page.text("#redis-sub"))
        page.wait(lambda: "not in use" in page.text("#hot-sub"))
        page.wait(lambda: "nobody-answers.example" in page.text("#hot"))
        self.assertIn("This node alone", page.text("#single-none"))
        for scheme in ("light", "dark"):
            page.prefer(color_scheme=scheme, reduced_motion="reduce")
            for size in (DESK, PHONE, (320, 640)):
                page.size(*size)
                wide = page.run(
                    "return [...document.querySelectorAll('body, body *')].filter(e => !e.closest('svg, .skip') &&"
                    " !(innerWidth < 390 && e.closest('.scroll')) && e.getBoundingClientRect().right > innerWidth + 1)"
                    ".map(e => e.outerHTML.slice(0, 100))"
                )
                self.assertEqual(wide, [], (scheme, size))
                page.find("#flush").click()
                for _ in range(2):
                    looked, wrong = faint(page)
                    self.assertEqual(wrong, [], (scheme, size))
                    self.assertGreater(looked, 60)
                    page.run("document.querySelector('#dialog').close()")
        self.assertNotEqual(page.run("return getComputedStyle(document.body).backgroundColor"), "rgb(244, 246, 248)")
        self.assertEqual(nameless(page), [])
        self.assertEqual(page.run("return document.getAnimations().length"), 0)
        page.prefer(reduced_motion="no-preference")
        self.assertEqual(page.run("return document.getAnimations().length"), 1)
        self.assertClean()

    def test_numbers(self) -> None:
        """Numbers are shown as people read them."""
        node = self.node("--upstream=127.0.0.1:1", "--no-redis")
        self.open(node)
        for call, shown in NUMBERS.items():
            script = f"const done = arguments[0]; import('/browser/units.js').then((units) => done(units.{call}))"
            self.assertEqual(self.page.driver.execute_async_script(script), shown, call)

    def test_away(self) -> None:
        """When the node or Redis is gone the page says so; when it is back so is the page, by itself."""
        page, redis = self.page, self.redis()
        node = self.node("--upstream=127.0.0.1:1", f"--redis={redis.url}", "--node=solo")
        self.open(node)
        page.wait(lambda: not page.seen("#trouble"))
        node.end(signal.SIGKILL)
        page.wait(lambda: page.seen("#trouble"))
        self.assertIn("solo cannot be asked: it does not answer.", page.text("#trouble"))
        self.assertEqual(page.find("#trouble").get_attribute("role"), "alert")
        page.wait(lambda: re.fullmatch(r"asks again in \d+ s", page.text("#state")))
        self.assertTrue(page.rows("#members"))
        node.again()
        page.wait(lambda: page.text("#state") == "live")
        page.wait(lambda: page.text("#redis") == "up")
        redis.kill()
        page.wait(lambda: "Redis is away" in page.text("#trouble"))
        self.assertEqual((page.text("#redis"), page.text("#nodes-sub")), ("away", "1 degraded"))
        redis.restart()
        page.wait(lambda: page.text("#redis") == "up")
        page.wait(lambda: not page.seen("#trouble"))

        # Nobody looks: nobody asks.
        page.run("Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true })")
        page.run("window.away = true; document.dispatchEvent(new Event('visibilitychange'))")
        page.wait(lambda: self.looked(node) + 1 == self.looked(node))  # what was asked before has its answer
        page.requests()
        before = self.looked(node)
        page.run("return new Promise((done) => setTimeout(done, 3000))")
        self.assertLessEqual(self.looked(node) - before, 1)  # the look itself
        page.run("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
        page.wait(lambda: any("overview" in url for url in page.requests()))

    def test_token(self) -> None:
        """Who comes from elsewhere sees names, and flushes, with the token only, which the page does not keep."""
        page = self.page
        file = Path(self.mktemp())
        file.write_text(TOKEN)
        node = self.node(
            "--upstream=127.0.0.1:1", "--no-redis", watch_token_file=str(file.resolve()), admit_block="b.example"
        )
        self.open(node)
        # As a proxy does for a client of another machine.
        page.driver.execute_cdp_cmd("Network.enable", {})
        page.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": {"X-Forwarded-For": "192.0.2.1"}})
        self.assertFalse(page.seen("#access"))
        page.find("#name").send_keys("b.example", Keys.ENTER)
        page.wait(lambda: page.focused == "access")
        self.assertIn("The node refuses: who asks from another machine", page.text("#look-told"))
        page.wait(lambda: "takes the token" in page.text("#hot-none"))
        page.find("#flush").click()
        self.assertFalse(page.seen("#token"))
        page.find("#yes").click()
        page.wait(lambda: page.focused == "token")
        self.assertIn("token", page.text("#dialog-told"))
        page.type("wrong-wrong-wrong-wrong", Keys.ENTER)
        page.wait(lambda: "this is not the token" in page.text("#dialog-told"))
        page.type(TOKEN, Keys.ENTER)
        page.wait(lambda: "Flushed b.example on 1 node" in page.text("#look-told"))
        # It is kept for the next time, and gone with the page.
        page.find("#flush").click()
        page.find("#subtree").click()
        page.find("#yes").click()
        page.wait(lambda: "every name below" in page.text("#look-told"))
        kept = "return [localStorage.length, sessionStorage.length, document.cookie, location.href.includes('token')]"
        self.assertEqual(page.run(kept), [0, 0, "", False])
        self.assertEqual(node.metric("heimdall_watch_refused_total", why="token"), 1)
        # One that is shown to look names up is as good.
        page.driver.refresh()
        page.wait(lambda: page.text("#node"))
        page.find("#name").send_keys("b.example", Keys.ENTER)
        page.wait(lambda: page.focused == "access")
        page.type(TOKEN, Keys.ENTER)
        page.wait(lambda: "Nobody holds b.example" in page.text("#look-told"))
        self.assertFalse(page.seen("#access"))
        page.wait(lambda: "takes the token" not in page.text("#hot-none"))
