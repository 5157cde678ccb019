"""Tests against death: the real daemon and client, killed, starved, lied to and raced, round after round.

`python -m bench.soak` runs them; `tests/e2e/test_death.py` runs a few rounds of each. Needs Linux.
"""
