"""The benchmarks still run and count right; at this size their times say nothing."""
import pytest

from tests.bench import bench, copier, producer
from tests.support.kafka import Broker

SCALE = 0.01


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("kafka")) as started:
        yield started


@pytest.mark.parametrize("letter", bench.BENCHES)
def test_a_benchmark_counts_right_and_prints_its_line(broker, tmp_path, capsys, letter):
    rows = bench.run(broker, tmp_path, [letter], SCALE)
    line, = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{letter}  ") and [row[0] for row in rows] == [letter]


@pytest.mark.parametrize("letter", copier.BENCHES)
def test_a_benchmark_of_the_copier_counts_right_and_prints_its_lines(broker, tmp_path, capsys, letter):
    rows = copier.run(broker, tmp_path, [letter], SCALE)
    lines = capsys.readouterr().out.splitlines()
    assert lines and len(rows) == len(lines)
    assert all(line.startswith(f"{letter}  ") for line in lines)


def test_the_benchmark_of_the_producer_counts_right_and_prints_its_lines(broker, tmp_path, capsys):
    rows = producer.run(broker, tmp_path, SCALE)
    assert len(rows) == len(capsys.readouterr().out.splitlines()) == 2 * len(producer.CONCURRENCIES) + 1
