"""Compile the path of a query, where HEIMDALL_COMPILE=1 asks for it; all else about the package stands in setup.cfg."""

import os

from setuptools import setup

PATH = """
    tally asking
    message/wire message/spots message/query message/reply message/answer message/response
    accept/reader accept/slots accept/batch accept/rush accept/outbox accept/repeats accept/alike
    accept/front accept/passing
    admit/acl admit/limit admit/special
    cache/bounds cache/once cache/waiting cache/memory cache/table cache/eviction
    cache/redis cache/look cache/reading cache/flight cache/worth cache/entry cache/seal
    cache/writer cache/flush cache/lease cache/frequent cache/shelf
    fetch/route fetch/upstream fetch/attempt fetch/health fetch/server fetch/udp fetch/port fetch/poll
    fetch/wheel fetch/dice fetch/reply
"""

extensions = []
if os.environ.get("HEIMDALL_COMPILE") == "1":
    from mypyc.build import mypycify

    extensions = mypycify([f"heimdall/{module}.py" for module in PATH.split()], group_name="heimdall")

setup(ext_modules=extensions)
