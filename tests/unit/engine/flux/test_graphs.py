"""Recorded passes read new inputs from where the old ones lay, one recording for each shape."""

import pytest
import torch

from fluxvision.engine.flux.graphs import KEPT, Graphs


class Recorder:
    """Does what CUDA's recorder does: replaying runs the same operations on the same memory."""

    def __init__(self):
        """Count from nought."""
        self.recorded = self.replayed = 0

    def __call__(self, run):
        """Run once, and return what runs again."""
        self.recorded += 1
        made = run()

        def replay():
            self.replayed += 1
            made.copy_(run())

        return replay, made


def summed(inputs):
    more = inputs["more"]
    return inputs["x"] * 2 + (0 if more is None else more)


@pytest.fixture
def recorder():
    return Recorder()


def test_a_shape_is_recorded_once_and_each_answer_is_its_own(recorder):
    """Later inputs are copied to where the recording reads, and earlier answers stay what they were."""
    graphs = Graphs(summed, recorder)
    answers = [graphs({"x": torch.full((2, 3), float(value)), "more": None}) for value in (1, 2, 3)]
    assert [answer[0, 0].item() for answer in answers] == [2, 4, 6]
    assert (recorder.recorded, recorder.replayed) == (1, 3)


def test_inputs_that_share_memory_are_taken(recorder):
    """A prompt that was expanded over the batch is one row seen several times."""
    graphs = Graphs(summed, recorder)
    for value in (1.0, 5.0):
        made = graphs({"x": torch.full((1, 3), value).expand(4, -1), "more": torch.ones(4, 3)})
        assert torch.equal(made, torch.full((4, 3), 2 * value + 1))
    assert recorder.recorded == 1


def test_other_shapes_formats_and_missing_inputs_are_other_recordings(recorder):
    """Nothing is replayed for what it was not recorded with."""
    graphs = Graphs(summed, recorder)
    for x, more in (
        (torch.ones(2, 3), None),
        (torch.ones(1, 3), None),
        (torch.ones(2, 3, dtype=torch.float64), None),
        (torch.ones(2, 3), torch.ones(2, 3)),
    ):
        torch.testing.assert_close(graphs({"x": x, "more": more}), summed({"x": x, "more": more}))
    assert recorder.recorded == 4


def test_few_recordings_are_kept_and_all_can_be_forgotten(recorder):
    """Each has memory of its own: the one that was not used for longest goes first."""
    graphs = Graphs(summed, recorder)
    for side in (*range(1, KEPT + 1), 1, KEPT + 1, 1):
        graphs({"x": torch.ones(side), "more": None})
    assert recorder.recorded == KEPT + 1
    graphs({"x": torch.ones(2), "more": None})
    assert recorder.recorded == KEPT + 2, "the second was forgotten"
    graphs.clear()
    graphs({"x": torch.ones(2), "more": None})
    assert recorder.recorded == KEPT + 3
