"""Kill anything: every task ends exactly once, in order, whatever breaks meanwhile. Longer runs: make soak."""
import pytest

from tests.faults.bounce import bounce

SECONDS = 60


@pytest.mark.parametrize("seed, brokers, kafka", [(11, 1, "4.3.1"), (12, 3, "3.9.2")])
def test_every_task_ends_once_while_everything_breaks(seed, brokers, kafka):
    run = bounce(seed, SECONDS, brokers, kafka)
    assert run.is_clean, f"{run.line}\neverything about it is in {run.folder}"
