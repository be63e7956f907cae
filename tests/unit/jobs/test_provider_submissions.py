"""What providers accepted for a job, in the database."""

from __future__ import annotations

import pytest

from fluxvision.core.errors import Unavailable, UpstreamUnreachable
from fluxvision.jobs.provider_submissions import StoredSubmissions

ANSWER = {"request_id": "r", "status_url": "https://s/"}


@pytest.fixture
def store(database):
    """The submissions of one job."""
    return StoredSubmissions(database, "req_1", lambda: 100.0)


async def test_an_answer_is_found_again(database, store):
    """What a provider answered is found by the key of its call, also by another process."""
    assert await store.find("key") is None
    await store.announce("key", "fal")
    await store.save("key", ANSWER)
    assert await StoredSubmissions(database, "req_1", lambda: 200.0).find("key") == ANSWER


async def test_a_missing_answer_is_an_unknown_bill(store):
    """A call whose answer is not known raises an error whose bill is unknown, and names no id."""
    await store.announce("key", "fal")
    with pytest.raises(UpstreamUnreachable) as error:
        await store.find("key")
    assert error.value.billed is None


async def test_one_call_is_announced_once(store):
    """A call that was announced already, by another process, is not made."""
    await store.announce("key", "fal")
    with pytest.raises(Unavailable):
        await store.announce("key", "fal")


async def test_a_forgotten_call_is_made_again(store):
    """A call that ended without a charge is as if it had not been made; another one stays."""
    for key in ("one", "two"):
        await store.announce(key, "fal")
        await store.save(key, ANSWER)
    await store.forget("one")
    assert (await store.find("one"), await store.find("two")) == (None, ANSWER)
    await store.announce("one", "fal")


async def test_providers_are_those_of_the_job(database, store):
    """The providers are each named once, and other jobs' are not."""
    for key, provider in (("one", "fal"), ("two", "fal"), ("three", "together")):
        await store.announce(key, provider)
    await StoredSubmissions(database, "req_2", lambda: 100.0).announce("four", "other")
    assert sorted(await store.providers()) == ["fal", "together"]
    await store.forget_all()
    assert await store.providers() == []
    assert await StoredSubmissions(database, "req_2", lambda: 100.0).providers() == ["other"]


async def test_old_calls_are_forgotten(store):
    """Calls from before a moment are forgotten, whatever their job."""
    await store.announce("key", "fal")
    await store.forget_before(100.0)
    assert await store.providers() == ["fal"]
    await store.forget_before(100.5)
    assert await store.providers() == []
