"""Options beat the environment, which beats the file, which beats the defaults; all faults are told at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from heimdall.config.faults import LONGEST, Misconfigured
from heimdall.config.keys import KEYS
from heimdall.config.load import Loaded, load
from heimdall.config.machine import Machine, is_ours, read_text, readable
from heimdall.config.settings import Settings
from tests.config.stage import FILE, from_file, machine

RESOLV = "/etc/resolv.conf"


def faults(
    toml: str = "",
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    on: Machine | None = None,
) -> tuple[str, ...]:
    """Return what is wrong with a configuration; nothing when it is sound."""
    try:
        load({"config": FILE, **(options or {})}, environ or {}, on or machine({FILE: toml}))
    except Misconfigured as error:
        return error.lines
    return ()


class OrderTests(SynchronousTestCase):
    """Which value counts, and where it came from."""

    def test_nothing_set(self) -> None:
        """Without any configuration the defaults count, and every origin says so."""
        loaded = load({}, {}, machine())
        self.assertEqual(loaded.settings, Settings())
        self.assertEqual(set(loaded.origins.values()), {"default"})
        self.assertEqual(list(loaded.origins), list(KEYS))
        self.assertFalse(loaded.asked("accept.listen"))

    def test_each_beats_the_next(self) -> None:
        """The same key set in all places: option, then environment, then file, then default."""
        on = machine({FILE: '[peers]\nnode = "from-file"'})
        options = {"config": FILE, "node": "from-option"}
        environ = {"HEIMDALL_PEERS_NODE": "from-environment"}
        for given_options, given_environ, node, origin in (
            (options, environ, "from-option", "option --node"),
            ({"config": FILE}, environ, "from-environment", "environment HEIMDALL_PEERS_NODE"),
            ({"config": FILE}, {}, "from-file", f"file {FILE}"),
            ({}, {}, "", "default"),
        ):
            loaded = load(given_options, given_environ, on)
            self.assertEqual((loaded.settings.peers.node, loaded.origins["peers.node"]), (node, origin))
            self.assertEqual(loaded.asked("peers.node"), origin != "default")

    def test_lists_are_replaced(self) -> None:
        """A list is replaced as a whole by the one that beats it."""
        on = machine({FILE: '[fetch]\nupstreams = ["192.0.2.1", "192.0.2.2"]'})
        loaded = load({"config": FILE}, {"HEIMDALL_FETCH_UPSTREAMS": "192.0.2.3,192.0.2.4"}, on)
        self.assertEqual(loaded.settings.fetch.upstreams, ("192.0.2.3:53", "192.0.2.4:53"))
        loaded = load({"config": FILE, "upstream": ["192.0.2.5"]}, {"HEIMDALL_FETCH_UPSTREAMS": "192.0.2.3"}, on)
        self.assertEqual(loaded.settings.fetch.upstreams, ("192.0.2.5:53",))

    def test_file_from_environment(self) -> None:
        """HEIMDALL_CONFIG names the file when no option does."""
        on = machine({FILE: '[peers]\nnode = "a"', "/other.toml": '[peers]\nnode = "b"'})
        environ = {"HEIMDALL_CONFIG": "/other.toml"}
        self.assertEqual(load({}, environ, on).origins["peers.node"], "file /other.toml")
        self.assertEqual(load({"config": FILE}, environ, on).origins["peers.node"], f"file {FILE}")

    def test_every_variable(self) -> None:
        """Every key has a variable that sets it."""
        for key in KEYS.values():
            error = self.assertRaises(Misconfigured, load, {}, {key.variable: "\x07"}, machine())
            self.assertTrue(error.lines[0].startswith(f"environment {key.variable}: "), error.lines)

    def test_empty_variable(self) -> None:
        """An empty variable sets nothing."""
        self.assertEqual(load({}, {key.variable: "" for key in KEYS.values()}, machine()).settings, Settings())

    def test_switches(self) -> None:
        """--no-redis and --no-http switch off, --redis and --http switch on again what the file had off."""
        loaded = load({"no-redis": 1, "no-http": 1}, {}, machine())
        self.assertEqual((loaded.settings.redis.enabled, loaded.settings.watch.enabled), (False, False))
        self.assertEqual(loaded.origins["watch.enabled"], "option --no-http")
        on = machine({FILE: "[redis]\nenabled = false\n[watch]\nenabled = false"})
        loaded = load({"config": FILE, "redis": "redis://h", "http": "127.0.0.1:80"}, {}, on)
        self.assertEqual((loaded.settings.redis.enabled, loaded.settings.watch.enabled), (True, True))
        self.assertIn("only one of them", faults(options={"redis": "redis://h", "no-redis": 1})[0])


class RedisTests(SynchronousTestCase):
    """Redis is found without being configured."""

    def found(self, environ: Mapping[str, str], toml: str = "") -> tuple[str, str]:
        """Return the URL that is found, and where it came from."""
        loaded = load({"config": FILE}, environ, machine({FILE: toml}))
        return loaded.settings.redis.url, loaded.origins["redis.url"]

    def test_order(self) -> None:
        """HEIMDALL_REDIS_URL, then REDIS_URL, then the Service in Kubernetes, then the default name."""
        environ = {
            "HEIMDALL_REDIS_URL": "redis://one",
            "REDIS_URL": "redis://two",
            "HEIMDALL_REDIS_SERVICE_HOST": "10.96.7.7",
            "HEIMDALL_REDIS_SERVICE_PORT": "6380",
        }
        for name, url in {
            "HEIMDALL_REDIS_URL": "redis://one",
            "REDIS_URL": "redis://two",
            "HEIMDALL_REDIS_SERVICE_HOST": "redis://10.96.7.7:6380",
        }.items():
            self.assertEqual(self.found(environ), (url, f"environment {name}"))
            del environ[name]
        self.assertEqual(self.found(environ), ("redis://heimdall-redis:6379", "default"))

    def test_service(self) -> None:
        """The Service's port is 6379 where none is told, and its address may be an IPv6 one."""
        self.assertEqual(self.found({"HEIMDALL_REDIS_SERVICE_HOST": "10.96.7.7"})[0], "redis://10.96.7.7:6379")
        self.assertEqual(self.found({"HEIMDALL_REDIS_SERVICE_HOST": "fd00::7"})[0], "redis://[fd00::7]:6379")

    def test_file_beats_service(self) -> None:
        """What Kubernetes puts into every pod does not beat what somebody wrote into the file; REDIS_URL does."""
        toml = '[redis]\nurl = "redis://file"'
        environ = {"HEIMDALL_REDIS_SERVICE_HOST": "10.96.7.7"}
        self.assertEqual(self.found(environ, toml)[0], "redis://file")
        self.assertEqual(self.found({**environ, "REDIS_URL": "redis://two"}, toml)[0], "redis://two")


class UpstreamTests(SynchronousTestCase):
    """The upstreams of resolv.conf, and never ourselves."""

    def adopted(self, conf: str | None, own: tuple[str, ...] = (), **options: object) -> Loaded:
        """Load with this resolv.conf on a machine with these addresses of its own."""
        return load(options, {}, machine({} if conf is None else {RESOLV: conf}, own))

    def test_not_utf8(self) -> None:
        """A resolv.conf whose comment is in another character set gives its servers all the same."""
        loaded = load({}, {}, machine({RESOLV: b"nameserver 192.0.2.1 # caf\xe9\n"}))
        self.assertEqual(loaded.settings.fetch.upstreams, ("192.0.2.1:53",))

    def test_resolv_conf(self) -> None:
        """With no upstreams set, those of resolv.conf are asked, and their AD bit is trusted if it says so."""
        loaded = self.adopted("nameserver 192.0.2.1\nnameserver fd00::1\noptions trust-ad")
        self.assertEqual(loaded.settings.fetch.upstreams, ("192.0.2.1:53", "[fd00::1]:53"))
        self.assertTrue(loaded.settings.fetch.trust_ad)
        self.assertEqual(loaded.origins["fetch.upstreams"], f"file {RESOLV}")
        self.assertEqual(loaded.origins["fetch.trust_ad"], f"file {RESOLV}")
        self.assertEqual(loaded.warnings, ())

    def test_trust_is_not_taken_over(self) -> None:
        """The trust that resolv.conf tells of is for its own servers only, and a setting goes before it."""
        conf = "nameserver 192.0.2.1\noptions trust-ad"
        self.assertFalse(self.adopted(conf, upstream=["192.0.2.9"]).settings.fetch.trust_ad)
        self.assertFalse(load({}, {"HEIMDALL_FETCH_TRUST_AD": "no"}, machine({RESOLV: conf})).settings.fetch.trust_ad)

    def test_ourselves_left_out(self) -> None:
        """Our own address in resolv.conf is left out; the same address at another port is not ours."""
        conf = "nameserver 127.0.0.1\nnameserver 192.0.2.1"
        upstreams = self.adopted(conf, listen=["127.0.0.1:53"]).settings.fetch.upstreams
        self.assertEqual(upstreams, ("192.0.2.1:53",))
        upstreams = self.adopted(conf, listen=["127.0.0.1:1053"]).settings.fetch.upstreams
        self.assertEqual(upstreams, ("127.0.0.1:53", "192.0.2.1:53"))

    def test_wildcard(self) -> None:
        """Listening on all addresses of a family, each address of this machine is ourselves, but no other."""
        conf = "nameserver 127.0.0.53\nnameserver 10.0.0.5\nnameserver 192.0.2.1\nnameserver fd00::5"
        own = ("127.0.0.53", "10.0.0.5", "fd00::5")
        upstreams = self.adopted(conf, own, listen=["0.0.0.0:53"]).settings.fetch.upstreams
        self.assertEqual(upstreams, ("192.0.2.1:53", "[fd00::5]:53"))
        upstreams = self.adopted(conf, own, listen=["0.0.0.0:53", "[::]:53"]).settings.fetch.upstreams
        self.assertEqual(upstreams, ("192.0.2.1:53",))

    def test_none_left(self) -> None:
        """With no upstream at all the server starts, and one warning says what follows."""
        for conf, why in (
            ("nameserver 127.0.0.1", "names only ourselves"),
            ("search example.com", "names none"),
            (None, "cannot be read"),
        ):
            loaded = self.adopted(conf, listen=["127.0.0.1:53"])
            self.assertEqual(loaded.settings.fetch.upstreams, ())
            (warning,) = loaded.warnings
            self.assertIn(why, warning)
            self.assertIn("SERVFAIL", warning)

    def test_no_other_file(self) -> None:
        """A resolv.conf that somebody asked for must be there, if it is needed."""
        toml = '[fetch]\nresolv_conf = "/nowhere"'
        self.assertIn('fetch.resolv_conf = "/nowhere": expected a file that can be read', faults(toml)[0])
        self.assertEqual(faults(toml + '\nupstreams = ["192.0.2.1"]'), ())

    def test_ourselves_asked_for(self) -> None:
        """To name ourselves as upstream is an error, in a route as well."""
        own = machine(own=["10.0.0.5"])
        options = {"listen": ["127.0.0.1:53", "0.0.0.0:5353"], "config": None}
        for server in ("127.0.0.1", "tcp://127.0.0.1", "10.0.0.5:5353"):
            (line,) = faults(options={**options, "upstream": [server]}, on=own)
            self.assertIn("option --upstream: fetch.upstreams = ", line)
            self.assertIn("other than ourselves", line)
        self.assertEqual(faults(options={**options, "upstream": ["10.0.0.6:5353", "[::1]:5353"]}, on=own), ())
        toml = '[accept]\nlisten = ["127.0.0.1:53"]\n[fetch.routes]\na = ["127.0.0.1"]\nb = ["import:x.y"]'
        (line,) = faults(toml, on=machine({FILE: toml}, code=["x.y"]))
        self.assertIn("fetch.routes = ", line)


class FaultTests(SynchronousTestCase):
    """A wrong configuration is told in full, a line a fault, with no secret in it."""

    def test_all_at_once(self) -> None:
        """Faults of file, environment and options are told together."""
        lines = faults(
            '[cache]\nmemory = "50XB"\nmemroy = 1\n[acept]\n[accept]\nudp_size = 100',
            {"HEIMDALL_WATCH_LOG": "xml"},
            {"listen": ["localhost:53"], "upstream": ["dns.example"]},
        )
        self.assertEqual(len(lines), 7)
        for line, (start, end) in zip(
            lines,
            (
                (f"file {FILE}: no such key cache.memroy; did you mean cache.memory?", ""),
                (f"file {FILE}: no such section or key acept; did you mean [accept]?", ""),
                (f'file {FILE}: cache.memory = "50XB": expected a number of bytes', '"64MiB"'),
                (f"file {FILE}: accept.udp_size = 100: expected a whole number from 512 to 1232", ""),
                ('environment HEIMDALL_WATCH_LOG: watch.log = "xml": expected one of text, json', ""),
                ('option --listen: accept.listen = "localhost:53": expected HOST:PORT', "not an IP address)"),
                ('option --upstream: fetch.upstreams = "dns.example": expected an IP address', "looks names up)"),
            ),
            strict=True,
        ):
            self.assertTrue(line.startswith(start), line)
            self.assertTrue(line.endswith(end), line)

    def test_unknown(self) -> None:
        """An unknown key is told with the one that was probably meant, also when that is in another section."""
        for toml, end in {
            '[accept]\nupstreams = ["192.0.2.1"]': "no such key accept.upstreams; did you mean fetch.upstreams?",
            "listen = []": "no such section or key listen; did you mean accept.listen?",
            "[peers]\nxyzzy = 1": "no such key peers.xyzzy",
            "[xyzzy]": "no such section or key xyzzy",
            "redis = true": "redis is a section: write [redis], and its keys below",
            '["a\\nb"]': "no such section or key a?b",
        }.items():
            self.assertEqual(faults(toml), (f"file {FILE}: {end}",))

    def test_file(self) -> None:
        """A file that is missing, or no TOML, or no text, is told as what it is."""
        (line,) = faults(options={"config": "/nowhere.toml"})
        self.assertEqual(line, "option --config: /nowhere.toml cannot be read: No such file or directory")
        (line,) = faults("[cache\n")
        self.assertTrue(line.startswith(f"file {FILE}: not TOML: ") and "line 1" in line, line)
        self.assertIn("not TOML", faults("a=" + "[" * 100_000)[0])
        twice = "section [redis] stands there twice, which TOML does not take: put its keys below the first one"
        self.assertEqual(faults("[redis]\n[fetch]\n[redis]\nenabled = false\n"), (f"file {FILE}: {twice}",))
        binary = self.mktemp()
        with open(binary, "wb") as out:
            out.write(b"\xff\xfe")
        (line,) = faults(options={"config": binary}, on=Machine())
        self.assertIn("is not text in UTF-8", line)

    def test_secrets(self) -> None:
        """No fault shows a URL of Redis, and none a value of an unknown key."""
        lines = faults(
            '[redis]\nurl = "redis://:s3cret@h:x"\npassword = "s3cret"',
            {"REDIS_URL": "s3cret", "HEIMDALL_REDIS_SERVICE_HOST": "s3cret/"},
            {"redis": "redis://:s3/cret@h"},
        )
        self.assertEqual(len(lines), 5)
        self.assertNotIn("cret", "".join(lines))

    def test_shown_short(self) -> None:
        """A value is shown short, and without characters that act on a terminal."""
        (line,) = faults(f'[peers]\nnode = "\\u001b[2J{"x" * 1000}"')
        self.assertTrue(line.isprintable())
        self.assertLess(len(line), LONGEST + 150)

    def test_agreement(self) -> None:
        """Settings that do not go together are told, naming both."""
        for toml, text in {
            "[peers]\nheartbeat = 10": "peers.heartbeat = 10.0: expected less than peers.expiry, 10",
            "[peers]\nexpiry = 5": "peers.heartbeat = 5.0: expected less than peers.expiry, 5",
            "[cache]\nttl_floor = 60\nttl_ceiling = 30": "cache.ttl_floor = 60: expected at most cache.ttl_ceiling, 30",
            "[redis]\nread_budget = 5": "redis.read_budget = 5.0: expected less than fetch.deadline, 4.5",
            '[redis]\nprefix = ""': 'redis.prefix = "": expected at least one character',
            "[admit]\nrate = 0.1": "admit.burst = 0.0: expected at least 1",
            "[admit]\nrate = 9\nburst = 0.5": "admit.burst = 0.5: expected at least 1",
            "[accept]\nlisten = []": "accept.listen = []: expected at least one address",
            '[accept]\nlisten = ["[::1]:53", "[0::1]:53"]': 'accept.listen = "[::1]:53": expected each address once',
            '[accept]\nlisten = ["127.0.0.1:9053"]': 'watch.http = "127.0.0.1:9053": expected another address',
            '[accept]\nlisten = ["0.0.0.0:9053"]': "than 0.0.0.0:9053, which accept.listen has",
            '[watch]\nhttp = "0.0.0.0:1053"': "than 127.0.0.1:1053, which accept.listen has",
            '[admit]\nhosts = ["hosts"]': 'admit.hosts = "/etc/hosts": expected a file that can be read',
            '[admit]\nblock_files = ["/no"]': 'admit.block_files = "/no": expected a file that can be read',
            '[admit]\nblock_files = [""]': 'admit.block_files = "": expected a file that can be read',
            '[redis]\nca_file = "ca.pem"': 'redis.ca_file = "/etc/ca.pem": expected a file that can be read',
            '[admit]\ngates = ["a.b"]': "expected the dotted name of something that can be imported (No module named",
            '[fetch.routes]\nx = ["import:a.b"]': 'fetch.routes = "import:a.b": expected the dotted name',
            '[admit]\nrecords = ["a 60 BROKEN x"]': "(unknown type BROKEN)",
        }.items():
            (line,) = faults(toml)
            self.assertTrue(line.startswith(f"file {FILE}: "), line)
            self.assertIn(text, line)

    def test_two_passwords(self) -> None:
        """A password in the URL and one in a file: only one can be meant."""
        toml = '[redis]\npassword_file = "pw"\nurl = "redis://:s3cret@h"'
        (line,) = faults(on=machine({FILE: toml, "/etc/pw": "s3cret"}))
        self.assertIn("no file, as redis.url holds a password", line)
        toml = toml.replace(":s3cret@", "user@")
        self.assertEqual(faults(on=machine({FILE: toml, "/etc/pw": "s3cret"})), ())

    def test_ways_to_redis(self) -> None:
        """What is said of the way to Redis goes with its URL."""
        sentinel, cluster = 'url = "redis+sentinel://h/m"\n', 'url = "redis+cluster://h"\n'
        embedded = 'url = "embedded:/var/lib/redis"\n'
        files = {"/etc/c": "", "/etc/k": ""}
        for toml, expected in {
            'url = "rediss://h"\nkey_file = "k"': "a redis.cert_file beside it",
            'cert_file = "c"': "a redis.url with rediss",
            'url = "rediss://h"\ncert_file = "none"': "a file that can be read",
            'sentinel_user = "u"\nsentinel_password_file = "k"\n': "a redis.url with +sentinel",
            sentinel + 'sentinel_user = "u"': "a redis.sentinel_password_file beside it",
            cluster + 'replica_url = "redis://r"': "none, as redis.url is a cluster",
            'replica_url = "redis+cluster://r"': "(hidden): expected",
            'role = "writer"': "one of full, reader",
            'resolver = ["tcp://192.0.2.1"]': "an IP address with or without a port",
            'resolver = ["192.0.2.1", "127.0.0.1:1053"]': "a server other than ourselves",
            'url = "embedded:here"': "absolute path of a folder",
            'regions = ["embedded:"]': "(hidden): expected",
            embedded + "memory = 1_000_000": "at least 4000000",
            embedded + 'password_file = "k"': "none, as redis.url is embedded",
            embedded + 'replica_url = "redis://r"': "none, as redis.url is embedded",
            embedded + 'role = "reader"': "full, as nobody else writes to it",
        }.items():
            self.assertIn(expected, " ".join(faults(on=machine({FILE: "[redis]\n" + toml, **files}))), toml)
        for toml in (
            'url = "rediss://h"\ncert_file = "c"\nkey_file = "k"',
            'replica_url = "rediss://h"\ncert_file = "c"',
            sentinel + 'sentinel_user = "u"\nsentinel_password_file = "k"',
            'replica_url = ""\nrole = "reader"\nresolver = ["192.0.2.1", "[2001:db8::1]:5353"]',
            embedded + 'memory = "64MB"\nregions = ["redis://elsewhere"]\nsecret = "0123456789abcdef"',
            "memory = 1",
        ):
            self.assertEqual(faults(on=machine({FILE: "[redis]\n" + toml, **files})), (), toml)
        self.assertEqual(from_file('[redis]\nresolver = ["192.0.2.1"]').settings.redis.resolver, ("192.0.2.1:53",))

    def test_asking_ourselves(self) -> None:
        """A host of Redis that this machine would look up at ourselves is warned of, with what to do about it."""
        ours = {RESOLV: "nameserver 127.0.0.1\n"}
        listen = '[accept]\nlisten = ["127.0.0.1:53"]\n[fetch]\nupstreams = ["192.0.2.1"]\n[redis]\n'
        for toml, files, warned in (
            ('url = "redis://cache"', ours, True),
            ('url = "redis+sentinel://10.0.0.1,cache/main"', ours, True),
            ('url = "redis://10.0.0.1"\nreplica_url = "redis://cache"', ours, True),
            ('url = "redis://cache"\nresolver = ["192.0.2.1"]', ours, False),
            ('url = "redis://cache"\nenabled = false', ours, False),
            ('url = "redis://10.0.0.1"', ours, False),
            ('url = "redis://localhost"', ours, False),
            ('url = "unix:///run/redis.sock"', ours, False),
            ('url = "embedded:/var/lib/redis"', ours, False),
            ("", ours, False),
            ('url = "redis://cache"', {RESOLV: "nameserver 192.0.2.1\n"}, False),
            ('url = "redis://cache"', {}, False),
        ):
            found = load({"config": FILE}, {}, machine({FILE: listen + toml, **files})).warnings
            self.assertEqual(any("set redis.resolver" in warning for warning in found), warned, (toml, files))

    def test_seal(self) -> None:
        """The secret of the shared cache is told once, long enough, in a file that can be used; it is never shown."""
        files = {"/etc/new": "n" * 16, "/etc/old": "o" * 16}
        for toml, text in {
            'secret = "0123456789"': "redis.secret = (hidden): expected at least 16 bytes",
            'secret = "0123456789abcdef"\nsecret_file = "new"': "no file, as redis.secret is set",
            'former_secret_file = "old"': 'former_secret_file = "/etc/old": expected a redis.secret_file beside it',
            'secret_file = "/no"': 'redis.secret_file = "/no": expected a file that can be read',
        }.items():
            (line,) = faults(on=machine({FILE: "[redis]\n" + toml, **files}))
            self.assertIn(text, line)
            self.assertNotIn("0123", line)
        toml = '[redis]\nsecret_file = "new"\nformer_secret_file = "old"'
        self.assertEqual(faults(on=machine({FILE: toml, **files})), ())
        self.assertEqual(faults(on=machine({FILE: '[redis]\nsecret = "0123456789abcdef"\n'})), ())
        self.assertEqual(faults('[redis]\nformer_secret_file = "no"\nenabled = false'), ())

    def test_unfit_token_file(self) -> None:
        """A file that holds no token that could be shown is refused, unless nobody serves HTTP."""

        def refuse(file: str) -> object:
            raise ValueError(f"{file} is short")

        toml = '[watch]\ntoken_file = "token"\n'
        stage = evolve(machine({FILE: toml, "/etc/token": ""}), read_token=refuse)
        (line,) = faults(on=stage)
        self.assertIn('watch.token_file = "/etc/token": expected a file that holds a token (/etc/token is short)', line)
        stage = evolve(machine({FILE: f"{toml}enabled = false\n", "/etc/token": ""}), read_token=refuse)
        self.assertEqual(faults(on=stage), ())

    def test_unfit_secret_file(self) -> None:
        """What is wrong with the secret in a file is told, for the file it is in."""

        def refuse(file: str) -> object:
            raise ValueError(f"{file} is short")

        toml = '[redis]\nsecret_file = "new"\nformer_secret_file = "old"'
        lines = faults(on=evolve(machine({FILE: toml, "/etc/new": "", "/etc/old": ""}), read_secret=refuse))
        self.assertIn(
            'redis.secret_file = "/etc/new": expected a file that holds a secret (/etc/new is short)', lines[0]
        )
        self.assertIn("redis.former_secret_file", lines[1])

    def test_no_redis_no_quarrel(self) -> None:
        """What is wrong with Redis alone does not matter when Redis is off, nor HTTP's address when that is off."""
        toml = '[redis]\nca_file = "no"\nread_budget = 9\n[accept]\nlisten = ["127.0.0.1:9053", "127.0.0.1:0"]'
        self.assertEqual(faults(toml, options={"no-redis": 1, "no-http": 1}), ())

    def test_no_follow_ups(self) -> None:
        """A value that cannot be read causes no second fault about what it does not agree with."""
        self.assertEqual(len(faults('[peers]\nexpiry = "soon"\nheartbeat = 60')), 1)

    def test_paths(self) -> None:
        """A path in the file counts from the file's folder, one in the environment from where we are."""
        loaded = from_file('[admit]\nblock_files = ["lists/../a.txt", "/b.txt"]', **{"/etc/a.txt": "", "/b.txt": ""})
        self.assertEqual(loaded.settings.admit.block_files, ("/etc/a.txt", "/b.txt"))
        here = os.path.abspath("pw")
        loaded = load({}, {"HEIMDALL_REDIS_PASSWORD_FILE": "pw"}, machine({here: ""}))
        self.assertEqual(loaded.settings.redis.password_file, here)

    @given(
        st.dictionaries(st.sampled_from([*(key.variable for key in KEYS.values()), "REDIS_URL"]), st.text(max_size=9))
    )
    def test_any_environment(self, environ: dict[str, str]) -> None:
        """Whatever stands in the environment, the configuration loads or is refused in printable lines."""
        try:
            load({}, environ, machine())
        except Misconfigured as error:
            self.assertTrue(error.lines)
            for line in error.lines:
                self.assertTrue(line.isprintable(), line)


class MachineTests(SynchronousTestCase):
    """What is asked of the real machine."""

    def test_own_addresses(self) -> None:
        """Loopback is ours; addresses set aside for documentation are not, nor is what is no address."""
        self.assertTrue(is_ours("127.0.0.1"))
        self.assertTrue(is_ours("127.0.0.53"))
        self.assertFalse(is_ours("192.0.2.1"))
        self.assertFalse(is_ours("2001:db8::1"))
        self.assertFalse(is_ours("fe80::1%nowhere"))

    def test_files(self) -> None:
        """A file can be read; a folder, or nothing, cannot."""
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as out:
            out.write("ä")
        self.assertEqual(read_text(path), "ä")
        self.assertTrue(readable(path))
        self.assertFalse(readable(os.path.dirname(path)))
        self.assertFalse(readable(path + ".not"))

    def test_code(self) -> None:
        """A gate is found by its dotted name, and any record passes where nobody can read records."""
        gates = {"HEIMDALL_ADMIT_GATES": "heimdall.config.load.load", "HEIMDALL_ADMIT_RECORDS": "a A 192.0.2.1"}
        self.assertEqual(load({}, gates, Machine()).settings.admit.gates, ("heimdall.config.load.load",))
        self.assertRaises(Misconfigured, load, {}, {"HEIMDALL_ADMIT_GATES": "heimdall.nothing.here"}, Machine())

    def test_code_elsewhere(self) -> None:
        """Where a module is not found, the fault names it, and where it has to be."""
        gates = {"HEIMDALL_ADMIT_GATES": "nosuchmodule.Gate"}
        error = self.assertRaises(Misconfigured, load, {}, gates, Machine())
        self.assertIn("no module nosuchmodule is found; its folder has to be in PYTHONPATH", str(error))
