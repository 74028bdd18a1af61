"""Make the pictures of the page for the README, of three nodes under load: ``python -m tests.browser.picture``.

It takes five minutes; pngquant and optipng, where they are there, make the files small, and Inter and JetBrains Mono,
where they are there, make them pretty.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from itertools import accumulate
from pathlib import Path

from tests.browser.chromium import Page, browser
from tests.cluster import Cluster
from tests.load import Ask
from tests.slowup import AAAA, A, SlowUpstream

FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "pictures"

SECONDS = 300.0
RATE = 350

HOSTS = (
    "www", "api", "cdn", "static", "login", "mail", "imap", "smtp", "img", "events", "metrics", "push", "assets",
    "docs", "shop", "search", "auth", "media", "status", "download",
)  # fmt: skip
DOMAINS = ("example.com", "example.net", "example.org", "corp.example", "news.example", "games.example", "bank.example")
ADS = tuple(f"{name}.ads.example" for name in ("track", "pixel", "beacon"))


def plan(seconds: float) -> list[Ask]:
    """Return the questions: most for few names, as it is, and some for one node only."""
    chance = random.Random(5)
    names = [f"{host}.{domain}" for domain in DOMAINS for host in HOSTS] + [f"h{n}.example.net" for n in range(3000)]
    chance.shuffle(names)
    names[:3] = ["www.example.com", "api.corp.example", "cdn.example.net"]
    weights = list(accumulate(1 / (rank + 3) ** 1.02 for rank in range(len(names))))
    asks, at = [], 0.0
    while at < seconds:
        at += chance.expovariate(RATE * (0.75 + 0.25 * (1 + at % 50 / 50) * (1.25 if 60 < at < 85 else 1)))
        (name,) = chance.choices(names, cum_weights=weights)
        node = chance.choices((0, 1, 2), (5, 4, 3))[0]
        if chance.random() < 0.02:
            name = chance.choice(ADS)
        elif chance.random() < 0.03:
            name, node = f"printer{chance.randrange(3)}.office.example", 1
        asks.append(Ask(at, node, name, qtype=AAAA if chance.random() < 0.3 else A))
    return asks


def take(page: Page, name: str) -> None:
    """Write what the page shows into a file, as small as it goes."""
    file = FOLDER / f"{name}.png"
    page.driver.save_screenshot(str(file))
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--strip", "--speed=1", "--output", file, "96", file], check=True)
    if shutil.which("optipng"):
        subprocess.run(["optipng", "-quiet", "-strip", "all", file], check=True)
    print(f"{file}: {file.stat().st_size // 1000} kB")


def main() -> None:
    """Take them."""
    FOLDER.mkdir(exist_ok=True)
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    other = SlowUpstream(0.031, ttl=60)
    environ = {"HEIMDALL_ADMIT_BLOCK": ",".join(ADS)}
    arguments = [f"--upstream={other.text}"]
    with Cluster(3, delay=0.014, ttl=60, arguments=arguments, environs=[environ]) as cluster, browser() as page:
        load = cluster.start(plan(seconds))
        page.size(1280, 1124, 1.5)
        page.open(f"http://127.0.0.1:{cluster.nodes[0].http}/")
        time.sleep(seconds - 5)
        page.wait(lambda: page.rows("#hot"))
        for scheme in ("light", "dark"):
            page.prefer(color_scheme=scheme)
            page.run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            take(page, "page" if scheme == "light" else f"page-{scheme}")
        load.end(now=True)
    other.stop()


if __name__ == "__main__":
    main()
