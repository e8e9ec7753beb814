"""Faults of store and disk: healed, and said so, or a clear error on both ranks; never a wrong token."""

import faulty_store
import pytest
from fault_scenarios import SCENARIOS, SHARD, Site


@pytest.fixture(scope="module")
def site(seaweedfs_server, tmp_path_factory):
    with faulty_store.before(seaweedfs_server.endpoint) as proxy:
        yield Site(tmp_path_factory.mktemp("faults"), seaweedfs_server, proxy)


@pytest.fixture(scope="module")
def undisturbed(site):
    readings = site.undisturbed()
    assert [reading.error for reading in readings] == [None, None]
    rows = [row for reading in readings for batch in reading.batches for row in batch]
    assert sorted(rows) == site.rows
    return readings


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(one, id=one.name, marks=() if one.quick else pytest.mark.slow) for one in SCENARIOS],
)
def test_a_fault_is_healed_or_named_on_every_rank_and_the_next_run_is_right(site, undisturbed, scenario):
    check(site, undisturbed, scenario, num_workers=0)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one.quick], ids=lambda one: one.name)
def test_so_it_is_with_worker_processes(site, undisturbed, scenario):
    check(site, undisturbed, scenario, num_workers=1)


def check(site, undisturbed, scenario, num_workers):
    outcome = site.run(scenario, num_workers=num_workers)
    assert outcome.seconds < 60
    for reading, whole in zip(outcome.first, undisturbed, strict=True):
        assert reading.batches == whole.batches[: len(reading.batches)]
        if scenario.heals:
            assert reading.error is None
            assert len(reading.batches) == len(whole.batches)
        else:
            assert reading.error is not None
            said = f"{reading.error}\n{reading.logged}"
            assert scenario.says in said
            assert f"of {site.remote} could not be fetched" in said
            assert "Then start the run again" in said
            assert SHARD in said or SHARD not in str(scenario.faults)
    if scenario.heals:
        assert any(scenario.says in reading.logged for reading in outcome.first)
    for reading, whole in zip(outcome.second, undisturbed, strict=True):
        assert reading.error is None
        assert reading.batches == whole.batches
