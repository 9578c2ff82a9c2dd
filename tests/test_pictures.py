"""What a person looks at: who stands where in a grid, and which images of a data set are shown."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset

from lit_gen.pictures import Made, held_out, image_grid, in_order, rows_of, spread


def flat(*greys: float) -> torch.Tensor:
    """Images of 4x4 pixels, each of one grey."""
    return torch.stack([torch.full((3, 4, 4), grey) for grey in greys])


def greys(grid: torch.Tensor, rows: int, columns: int) -> list[list[float]]:
    """The grey of each cell of a grid without wider gaps."""
    assert grid.shape == (3, 6 * rows + 2, 6 * columns + 2)
    return [[round(grid[0, 6 * i + 4, 6 * j + 4].item() * 2 - 1, 3) for j in range(columns)] for i in range(rows)]


def test_odd_numbers_leave_the_last_cells_grey() -> None:
    grid = image_grid([Made(flat(-1, 0, 1))])
    assert greys(grid, 2, 2) == [[-1, 0], [1, 0]]
    assert grid[:, :2].unique().item() == 0.5  # the gap


def test_batches_are_one_picture_of_at_most_so_many_cells() -> None:
    taken = []

    def batches():
        for grey in (-1.0, -0.5, 0.5, 1.0):
            taken.append(grey)
            yield Made(flat(grey, grey))

    assert greys(image_grid(batches(), cells=4), 2, 2) == [[-1, -1], [-0.5, -0.5]]
    assert taken == [-1.0, -0.5]  # nothing is made that nobody sees


def test_a_period_is_one_row_for_each_class() -> None:
    grid = image_grid([Made(flat(-1, 0, 1, -0.9), period=3), Made(flat(0.1, 0.9, -0.8), period=3)])
    assert greys(grid, 3, 2) == [[-1, -0.9], [0, 0.1], [1, 0.9]]  # the seventh would not fill its row


def test_few_classes_do_not_make_endless_rows() -> None:
    grid = image_grid([Made(flat(*[-1, 1] * 8), period=2)], cells=16)
    assert greys(grid, 2, 4) == [[-1] * 4, [1] * 4]


def test_more_classes_than_cells_still_have_a_row_each() -> None:
    grid = image_grid([Made(flat(-1, 0, 1), period=3)], cells=2)
    assert greys(grid, 3, 1) == [[-1], [0], [1]]


def test_fewer_images_than_classes_are_shown_all_the_same() -> None:
    assert greys(image_grid([Made(flat(-1, 1), period=10)]), 1, 2) == [[-1, 1]]


def test_panels_stay_together_in_a_row() -> None:
    panels = torch.stack([flat(-1, 0, 1), flat(-0.5, 0.1, 0.5)])
    assert greys(image_grid([Made(panels[:, 1], panels)]), 2, 3) == [[-1, 0, 1], [-0.5, 0.1, 0.5]]


def test_neighbouring_panels_have_a_gap_between_them() -> None:
    panels = torch.stack([flat(-1, -1)] * 4)
    grid = image_grid([Made(panels[:, 0], panels)])
    assert grid.shape == (3, 2 * 6 + 2, 4 * 6 + 2 + 4)
    dark = (grid[0, 4] == 0).int()
    gaps = [int(gap) for gap in torch.where(dark.diff() == 1)[0].diff()]
    assert gaps == [6, 6 + 4, 6]  # from one image to the next


def test_spread_takes_every_so_many_rows_of_a_sorted_set() -> None:
    data = TensorDataset(torch.arange(10), torch.arange(10) * 2)
    parts = list(spread(data, 5, batch_size=2))
    assert [len(part[0]) for part in parts] == [2, 2, 1]
    rows = torch.cat([part[0] for part in parts])
    assert sorted(rows.tolist()) == [0, 2, 4, 6, 8]
    assert torch.equal(torch.cat([part[1] for part in parts]), rows * 2)


@pytest.mark.parametrize("n", [1, 2, 3, 64, 100, 499, 500, 800])
def test_every_beginning_of_spread_covers_the_set(n: int) -> None:
    size = 500
    (rows,) = next(spread(TensorDataset(torch.arange(size)), n, batch_size=1000))
    assert len(set(rows.tolist())) == min(n, size)
    shown = min(21, len(rows))
    first = torch.sort(rows[:shown]).values
    gaps = torch.diff(torch.cat([first, first[:1] + size]))
    assert gaps.max() <= 3.5 * size / shown


def test_in_order_is_in_order() -> None:
    data = TensorDataset(torch.arange(10))
    assert [part[0].tolist() for part in in_order(data, [0, 1, 2], batch_size=2)] == [[0, 1], [2]]


def test_rows_of_prefers_the_data_sets_own_batches() -> None:
    class Whole:
        def __getitems__(self, rows):
            return ("batch", rows)

    assert rows_of(Whole(), [3, 1]) == ("batch", [3, 1])


@pytest.mark.parametrize(("splits", "found"), [(("test_set", "val_set"), [1]), (("test_set",), None)])
def test_held_out_is_the_first_split_with_images(splits, found) -> None:
    class Data:
        test_set = []
        val_set = [1]

    assert held_out(Data(), *splits) == found
    assert held_out(None, *splits) is None
