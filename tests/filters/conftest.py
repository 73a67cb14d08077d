"""The filters' tests share two modules, filter_rows and filter_faults, that stand beside them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
