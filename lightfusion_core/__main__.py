"""`python -m lightfusion_core` is `lightfusion`."""

import sys

from .cli import main

sys.exit(main())
