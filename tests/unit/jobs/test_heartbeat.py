"""Which gateways are dead: by their lock on the same data folder, by their silence elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select

from fluxvision.jobs.heartbeat import DEAD_SECONDS, GatewayHeartbeat
from fluxvision.storage.data_dir import open_data_dir
from fluxvision.storage.tables import EXECUTORS

NOW = 1_000_000.0


@pytest.fixture
def gateway():
    """Return gateways on demand: `gateway(folder)` has an executor and a data folder, which is its process's lock."""
    opened = []

    def make(folder):
        opened.append(open_data_dir(str(folder)))
        return GatewayHeartbeat(opened[-1]), opened[-1]

    yield make
    for data_dir in opened:
        if data_dir.run.exists():
            data_dir.close()


def known(database):
    """Return the gateways that are noted."""
    with database.begin() as connection:
        return set(connection.execute(select(EXECUTORS.c.id)).scalars())


async def test_the_lock_tells_of_a_neighbour(database, gateway, tmp_path):
    """A gateway on the same data folder is alive however long it was silent, and dead at once when its lock is free."""
    one, _ = gateway(tmp_path / "data")
    two, data_dir = gateway(tmp_path / "data")
    assert await database.run(lambda connection: two.beat(connection, NOW)) == []
    assert await database.run(lambda connection: one.beat(connection, NOW + 10 * DEAD_SECONDS)) == []
    data_dir.close()
    assert await database.run(lambda connection: one.beat(connection, NOW + 1)) == [two.id]


async def test_silence_tells_of_others(database, gateway, tmp_path):
    """A gateway with another data folder is dead when it was silent for long, or has said that it ends."""
    one, _ = gateway(tmp_path / "one")
    two, _ = gateway(tmp_path / "two")
    await database.run(lambda connection: two.beat(connection, NOW))
    assert await database.run(lambda connection: one.beat(connection, NOW + DEAD_SECONDS)) == []
    assert await database.run(lambda connection: one.beat(connection, NOW + DEAD_SECONDS + 1)) == [two.id]
    await database.run(lambda connection: two.beat(connection, NOW + DEAD_SECONDS))
    assert await database.run(lambda connection: one.beat(connection, NOW + DEAD_SECONDS + 1)) == []
    await database.run(two.leave)
    assert await database.run(lambda connection: one.beat(connection, NOW)) == [two.id]


async def test_containers_with_one_path_are_told_apart(database, gateway, tmp_path):
    """Gateways with the same host name and path, but different data folders, do not take each other for dead."""
    one, _ = gateway(tmp_path / "one")
    _, data_dir = gateway(tmp_path / "two")
    two = GatewayHeartbeat(replace(data_dir, root=tmp_path / "one"))
    await database.run(lambda connection: two.beat(connection, NOW))
    assert await database.run(lambda connection: one.beat(connection, NOW)) == []


async def test_a_dead_gateway_is_named_until_it_is_removed(database, gateway, tmp_path):
    """A dead gateway is told at each heartbeat until its note is removed; to remove it twice is no error."""
    one, _ = gateway(tmp_path / "one")
    two, _ = gateway(tmp_path / "two")
    await database.run(lambda connection: two.beat(connection, NOW - 10 * DEAD_SECONDS))
    for _ in range(2):
        assert await database.run(lambda connection: one.beat(connection, NOW)) == [two.id]
    for _ in range(2):
        await database.run(lambda connection: one.remove(connection, [two.id]))
    assert await database.run(lambda connection: one.beat(connection, NOW)) == []
    assert known(database) == {one.id}
