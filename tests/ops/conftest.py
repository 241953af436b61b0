"""What the tests of ops share: how tensors are compared, traced and differentiated numerically."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
