"""`python -m stillroom.cli` is `stillroom`."""

from __future__ import annotations

import sys

from . import main

sys.exit(main())
