"""Faults of store and disk: healed, and said so, or a clear error on both ranks; never a wrong token."""

import faulty_store
import pytest
from fault_scenarios import SCENARIOS, SHARD, Site
from handmade_shards import write_shards
from reading_ranks import Job, read_on_two_ranks


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


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_rank_that_needs_no_row_of_the_missing_shard_says_too_what_ends_the_run(tmp_path, num_workers):
    shards = write_shards(tmp_path / "shards", (40, 1, 39))
    (shards / "shard.00001.mds").unlink()
    places = {"remote": str(shards), "local": str(tmp_path / "cache")}
    job = Job({**places, "bag_size": 2, "superposition_batches": 0}, num_workers=num_workers)
    readings = read_on_two_ranks(job)
    assert sum("Connection closed by peer" in str(reading.error) for reading in readings) == 1
    for reading in readings:
        said = f"{reading.error}\n{reading.logged}"
        assert f"shard.00001.mds of {shards} could not be fetched" in said
        assert "It is not there: put it back" in said
