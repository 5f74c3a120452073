"""The look for NaN and infinity sees them in every dtype, and passes every number that is one."""

from __future__ import annotations

import pytest
import torch

from lightfusion_core.checkpoints.values import is_finite

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 1 << 20, (1 << 20) + 4])
def test_one_bad_number_is_seen(dtype: torch.dtype, bad: float, place: int) -> None:
    tensor = torch.ones((1 << 20) + 5, dtype=dtype)
    assert is_finite(tensor)
    tensor[place] = bad
    assert not is_finite(tensor)


@pytest.mark.parametrize("dtype", FLOATS)
def test_numbers_whose_sum_overflows_are_finite(dtype: torch.dtype) -> None:
    assert is_finite(torch.full((4096,), torch.finfo(dtype).max, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_every_number_of_eight_bits(dtype: torch.dtype) -> None:
    every = torch.arange(256, dtype=torch.uint8).view(dtype)
    fine = every.float().isfinite()
    assert [is_finite(every[i : i + 1]) for i in range(256)] == fine.tolist()
    assert is_finite(every[fine])


def test_an_empty_tensor_is_finite() -> None:
    assert is_finite(torch.zeros(0, 3))
    assert is_finite(torch.zeros(0).to(torch.float8_e4m3fn))
