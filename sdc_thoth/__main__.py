"""``python -m sdc_thoth``."""

import sys

from sdc_thoth.cli import main

sys.exit(main())
