"""The whole fleet under fire, short: one seeded run of the soak with whatever binary the tests are for."""
import subprocess
import sys

import pytest

from tests.support.kafka import ROOT

SEED = 11


@pytest.mark.timeout(700)
def test_everything_killed_in_turn_every_account_ends_with_one_result_and_the_newest_build(tmp_path):
    command = [sys.executable, "-m", "tests.faults.fleet_soak", "--seed", str(SEED), "--seconds", "50", "--pushes", "20", "--accounts", "20",
               "--folder", str(tmp_path / "soak")]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=650)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]
    assert done.stdout.splitlines()[-1].startswith(f"soak-fleet: seed={SEED} pushes=20 accounts=20 ")
