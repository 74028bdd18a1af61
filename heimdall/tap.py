"""Read the options of ``twistd heimdall``, and make the service: the only place that touches the reactor."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

from twisted.python.usage import Options as TwistedOptions
from twisted.python.usage import UsageError

if TYPE_CHECKING:
    from twisted.application.service import IService

    from heimdall.accept.sockets import Bound
    from heimdall.config.load import Loaded

# Nothing of the server is imported up here: the help of twistd loads this module, and a start must be quick.


DESCRIPTORS = 65536
"""File descriptors we ask for; what the host allows may be less."""


class Options(TwistedOptions):
    """The options of ``twistd heimdall``.

    After parsing, ``loaded`` holds the configuration that they, the environment and the file make together, and
    ``given`` the sockets that systemd has opened for us. What is wrong ends the process with a line for each fault.

    :cvar environ: the environment to read.
    """

    environ: Mapping[str, str] = os.environ
    loaded: Loaded
    given: Sequence[Bound] = ()

    synopsis = "[options]"
    longdesc = (
        "Heimdall is a caching DNS server whose nodes share their answers through Redis. An option beats the "
        "environment, which beats the file, which beats the default. The environment has a variable for each key: "
        "HEIMDALL_CACHE_MEMORY is memory in section [cache]."
    )
    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", None, "Read this TOML file (or that of HEIMDALL_CONFIG)."],
        ["workers", "w", None, "Serve with so many processes. [default: 1]"],
        ["redis", None, None, "Share answers through the Redis at this URL: redis://, rediss:// or unix://. "
         "A password is better kept in a file: redis.password_file. Or keep answers in a Redis that this node runs "
         "for itself: embedded; embedded:/FOLDER keeps them over a restart."],
        ["http", None, None, "Serve metrics, probes and the API on HOST:PORT. [default: 127.0.0.1:9053]"],
        ["node", None, None, "The name of this node in the cluster. [default: the host name]"],
    ]  # fmt: skip
    optFlags: ClassVar[list[list[str | None]]] = [
        ["no-redis", None, "Do not use Redis."],
        ["no-http", None, "Do not serve HTTP."],
        ["check", None, "Say what is wrong with the configuration, or show it and where each value is from; and exit."],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["listen"] = []
        self["upstream"] = []

    def opt_listen(self, address: str) -> None:
        """Serve DNS on HOST:PORT, UDP and TCP, an IPv6 address in brackets. May be given again.

        [default: 127.0.0.1:1053 and [::1]:1053]
        """
        self["listen"].append(address)

    def opt_upstream(self, server: str) -> None:
        """Ask the DNS server HOST[:PORT], or tcp://HOST[:PORT]. May be given again.

        [default: the servers of resolv.conf]
        """
        self["upstream"].append(server)

    def opt_version(self) -> None:
        """Display the versions of Heimdall and Twisted and exit."""
        from heimdall import __version__

        print("Heimdall version:", __version__)
        super().opt_version()  # type: ignore[no-untyped-call]

    def parseArgs(self, *arguments: str) -> None:
        """Refuse arguments that belong to no option."""
        if arguments:
            raise UsageError(f"heimdall takes options only, not {arguments[0]!r}")

    def postOptions(self) -> None:
        """Load the configuration; with --check, show it and exit.

        :raises SystemExit: the configuration is wrong. This, and no UsageError, since twistd would print all of its
            own help before the one text that matters.
        """
        from heimdall.config.faults import Misconfigured

        self.given = _given(self.environ)
        try:
            self.loaded = self.load()
        except Misconfigured as error:
            raise SystemExit(str(error)) from None
        self._check_user()
        if self["check"]:
            print(self._checked(), end="")
            raise SystemExit(0)

    def _check_user(self) -> None:
        """Refuse an embedded Redis to a node that becomes another user: its folder is taken before that.

        :raises SystemExit: it is to have one.
        """
        from heimdall.config.url import folder

        redis, twistd = self.loaded.settings.redis, cast(Mapping[str, Any], self.parent or {})
        user = twistd.get("uid")
        if redis.enabled and folder(redis.url) is not None and user not in (None, os.geteuid()):
            raise SystemExit(
                "redis.url: a node that is started as root, to become another user (twistd --uid), cannot have an "
                "embedded Redis: start it as that user"
            )

    def _checked(self) -> str:
        """Return the configuration as TOML, once all of it that a start uses was built.

        :raises SystemExit: a start would end there.
        """
        from attrs import evolve
        from twisted.internet import reactor

        from heimdall.config.show import toml
        from heimdall.dry_run import Unusable, build_now, unbound

        try:
            loaded = build_now(self.loaded, reactor, self.environ)
        except Unusable as error:
            raise SystemExit(str(error)) from None
        return toml(evolve(loaded, warnings=(*loaded.warnings, *unbound(loaded, bool(self.given)))))

    def load(self) -> Loaded:
        """Load the configuration that there is now.

        :raises Misconfigured: it is wrong.
        """
        from heimdall.dry_run import load_all

        return load_all(self, self.environ, [one.text for one in self.given])


def makeService(options: Options) -> IService:
    """Return the server, with its sockets bound.

    They are bound here, before twistd becomes a daemon and gives its privileges up: then a port below 1024 can be
    had, and a failure is still seen by who started us.

    :raises SystemExit: an address cannot be served on, or the configuration proved wrong after all.
    """
    import signal

    from twisted.internet import reactor
    from twisted.logger import Logger

    from heimdall import signals

    # Before anything that takes a while: from now on no signal that is sent to servers ends this one.
    early: list[int] = []
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda number, _: early.append(number))
    signals.ignore()
    # The timers of Twisted's reactors run on the wall clock: set back by an hour, it would freeze every one of them
    # for that hour. This must happen before the first timer is set.
    clock: Any = reactor
    clock.seconds = time.monotonic
    _end_well(clock)
    _allow_descriptors()

    from heimdall.accept.sockets import CannotListen, bind_sets, bind_stream

    loaded = options.loaded
    settings = loaded.settings
    log = Logger()
    for warning in loaded.warnings:
        log.warn("{warning}", warning=warning)
    try:
        workers = settings.accept.workers
        if options.given:  # by one who knows nothing of workers: all of them read these
            sets: Sequence[Sequence[Bound]] = [options.given] * workers
        else:
            sets = bind_sets(settings.accept.listen, loaded.asked("accept.listen"), workers)
        http = bind_stream(settings.watch.http) if settings.watch.enabled else None
    except CannotListen as error:
        raise SystemExit(str(error)) from None

    from heimdall.collector import rest, spare

    # The sockets are open: queries that come while the server is being loaded and built wait in them.
    rest()
    try:
        if workers > 1:
            from heimdall.workers import crew

            service = crew.build(settings, reactor, sets, http, options.environ, options.load)
        else:
            from heimdall import node

            service = node.build(settings, reactor, sets[0], http, options.environ, options.load)
    except Exception as error:  # what is wrong with the user's own code or files shows only now
        from heimdall.dry_run import reason

        raise SystemExit(reason(error)) from None
    finally:
        spare()
    service.given_up = partial(_give_up, clock)
    for number, act in ((signal.SIGHUP, service.reload), (signal.SIGUSR1, service.report)):
        signal.signal(number, partial(_heed, clock, act))
        if number in early:
            clock.callFromThread(act)
    if settings.watch.log == "json":
        from heimdall.watch.logs import JSONLogged

        logged = JSONLogged(options.parent or {})
        service.setServiceParent(logged)  # type: ignore[no-untyped-call]
        return logged
    return service


def _given(environ: Mapping[str, str]) -> Sequence[Bound]:
    """Return the sockets that systemd has opened for us, if any.

    :raises SystemExit: they are not what we can serve on.
    """
    if "LISTEN_FDS" not in environ:
        return ()
    from heimdall.accept.given import given
    from heimdall.accept.sockets import CannotListen

    try:
        return given(environ)
    except CannotListen as error:
        raise SystemExit(str(error)) from None


def _allow_descriptors() -> None:
    """Raise the limit of file descriptors: the usual 1024 are fewer than our connections and ports."""
    import resource
    from contextlib import suppress

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, DESCRIPTORS)), hard))


def _end_well(reactor: Any) -> None:
    """Let SIGTERM end the process with status 0.

    That is how we are meant to be stopped; twistd would have the signal kill it at last, which whoever started us
    may take for a failure.
    """
    import signal
    from contextlib import suppress

    from twisted.internet.error import ReactorNotRunning
    from twisted.logger import Logger

    def stop() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    def ended(*_: object) -> None:
        Logger("heimdall.tap").info("SIGTERM: ending")
        reactor.callFromThread(stop)

    # The reactor sets its own handlers when it starts, so ours must come after that.
    reactor.callWhenRunning(signal.signal, signal.SIGTERM, ended)


def _give_up(reactor: Any) -> None:
    """End with status 1, since the node cannot serve. What runs us would tell a success."""
    import atexit
    import sys

    def end() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    atexit.register(end)
    reactor.callWhenRunning(reactor.stop)


def _heed(reactor: Any, act: Callable[[], None], *_: object) -> None:
    """Do in the reactor's turn what a signal asks for."""
    reactor.callFromThread(act)
