"""Run the command without installing it: ``python -m heimdall.command``."""

import sys

from heimdall.command.main import main

sys.exit(main())
