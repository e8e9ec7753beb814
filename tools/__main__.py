"""`python -m tst_tools`, for launchers that take a module: `composer -n 2 -m tst_tools train run.yaml`."""

import sys

from .cli import main

sys.exit(main())
