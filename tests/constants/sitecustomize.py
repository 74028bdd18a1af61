"""Sets constants in a process that a test starts, before anything else: see :func:`tests.running.constants`.

What a test in its own process does with ``patch``; for what no operator has to set, as how long a busy machine may
take. Python imports this module by its name at each start (site).
"""

import json
import os
from functools import partial
from importlib import import_module

for _name, _value in json.loads(os.environ.get("TESTS_CONSTANTS", "{}")).items():
    _where, _, _what = _name.rpartition(".")
    _module = import_module(_where)
    # What is called is called with these arguments, where it is not given others.
    setattr(_module, _what, partial(getattr(_module, _what), **_value) if isinstance(_value, dict) else _value)
