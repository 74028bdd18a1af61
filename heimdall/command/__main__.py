"""Run the command without installing it: ``python -m heimdall.command``."""

import sys

from heimdall.command.main import main

if __name__ == "__main__":
    sys.exit(main())
