"""How many examples Hypothesis draws: a few in ``make test``, all in ``make proofs``."""

import os


def examples(most: int) -> int:
    """Return *most* where ``MUX_TEST_PROOFS`` is set, and a fifth of it, but at least ten, otherwise."""
    return most if os.environ.get("MUX_TEST_PROOFS") else min(most, max(10, most // 5))
