"""What a run can be repeated with, and how long it lasts; pytest shows both when a test fails."""

import os
import random
from datetime import timedelta

SEED = os.environ.get("COORDINATOR_TEST_SEED") or str(random.SystemRandom().randrange(10**9))
"""The dice of this run; give it again to repeat the run as far as time lets it."""
SOAK = timedelta(minutes=float(os.environ.get("COORDINATOR_TEST_SOAK_MINUTES", "0")))
"""How long `make soak` lasts; nothing in the short runs."""
