"""The room for uploads in memory."""

from __future__ import annotations

from fluxvision.http.limits import BodyMemory, release_nothing


def test_a_request_has_its_share_and_no_more():
    """A piece that does not fit reserves nothing; a smaller one still may."""
    with BodyMemory(each=10, most=100).share() as take:
        assert [take(6), take(5), take(4), take(1)] == [True, False, True, False]


def test_all_requests_share_the_room_and_give_it_back():
    """What one has another one lacks, until the first ends, whatever ended it."""
    memory = BodyMemory(each=10, most=15)
    with memory.share() as first:
        assert first(10)
        with memory.share() as second:
            assert not second(6)
            assert second(5)
    with memory.share() as third, memory.share() as fourth:
        assert third(10)
        assert fourth(5)


def test_no_room_at_all():
    """Without a memory nothing is kept."""
    assert not release_nothing(1)
