"""The whole fleet under fire, short: one seeded run of the soak with whatever binary the tests are for."""
import subprocess
import sys

import pytest

from tests.support.kafka import ROOT

SEED = 11


def soak(folder, *more):
    command = [sys.executable, "-m", "tests.faults.fleet_soak", "--seed", str(SEED), "--accounts", "20", "--folder", str(folder), *more]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=650)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout.splitlines()[-1]


@pytest.mark.timeout(700)
def test_a_rolling_restart_of_the_whole_fleet_under_load_loses_and_doubles_nothing(tmp_path):
    last = soak(tmp_path / "soak", "--rolling", "--seconds", "36", "--pushes", "16")
    assert last.startswith(f"soak-fleet: seed={SEED} pushes=16 accounts=20 faults=12 ")
    assert " missing=0 doubled=0 " in last and last.endswith(" crashes=0")


@pytest.mark.timeout(700)
def test_everything_killed_in_turn_every_account_ends_with_one_result_and_the_newest_build(tmp_path):
    last = soak(tmp_path / "soak", "--seconds", "50", "--pushes", "20")
    assert last.startswith(f"soak-fleet: seed={SEED} pushes=20 accounts=20 ")
