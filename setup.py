"""Compile the path of a query, where HEIMDALL_COMPILE=1 asks for it; all else about the package stands in setup.cfg."""

import os
import sys
from configparser import ConfigParser

from setuptools import setup

PATH = """
    tally asking waits gso
    message/wire message/spots message/query message/reply message/answer message/response message/passed
    accept/reader accept/slots accept/segments accept/batch accept/rush accept/outbox accept/repeats accept/alike
    accept/front accept/passing
    admit/acl admit/limit admit/special admit/existing
    cache/bounds cache/once cache/waiting cache/memory cache/table cache/eviction
    cache/redis cache/look cache/reading cache/flight cache/worth cache/entry cache/seal
    cache/writer cache/flush cache/lease cache/learnt cache/frequent cache/shelf
    fetch/route fetch/upstream fetch/health fetch/server fetch/edns_support fetch/udp fetch/port fetch/poll fetch/inbox
    fetch/dice fetch/judgement fetch/aliases message/rdata
"""

extensions = []
needed = []
if os.environ.get("HEIMDALL_COMPILE") == "1":
    # The compiler reads the types of what we build on, so it needs all of that.
    settings = ConfigParser()
    settings.read("setup.cfg")
    needed = ["mypy", "mypy-zope", *settings["options"]["install_requires"].split("\n")]
    if "egg_info" not in sys.argv:  # else pip only wants to know what is needed (PEP 517)
        from mypyc.build import mypycify

        extensions = mypycify([f"heimdall/{module}.py" for module in PATH.split()], group_name="heimdall")

setup(ext_modules=extensions, setup_requires=needed)
