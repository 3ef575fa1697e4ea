"""Compiled or in blocks: the same numbers either way, and blocks, with a word, where nothing can be compiled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_helm.layers import fused_sums as fused
from pyro_helm.layers.characteristic_function import product_of_turns
from pyro_helm.layers.products import product_of_complements

pytestmark = pytest.mark.usefixtures("compiling")

Inputs = list[Tensor]


def inputs(dtype: torch.dtype, *leading: int, data: int = 300) -> tuple[Tensor, Tensor]:
    """Above one block; with factors of 0, and q of 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    q = torch.rand(*leading, data, 30, generator=generator, dtype=dtype)
    r = torch.rand(*leading, 30, 50, generator=generator, dtype=dtype)
    assert q[..., :1].numel() * 30 * 50 > fused.BLOCK
    q[..., 3, :2], r[..., 0, :], q[..., 4, 5] = 1.0, 1.0, 0.0
    return q.requires_grad_(), r.requires_grad_()


def of_complements(q: Tensor, r: Tensor) -> Tensor:
    product = product_of_complements(q, r)
    return torch.stack([product.log.clamp(min=-1e3), product.value])


def of_turns(q: Tensor, r: Tensor) -> Tensor:
    return torch.stack(product_of_turns(2 * q - 1, torch.cos(3 * r), torch.sin(3 * r)))


def value_and_slopes(product: Callable[[Tensor, Tensor], Tensor], q: Tensor, r: Tensor) -> list[Tensor]:
    value = product(q, r)
    weight = torch.rand(value.shape, generator=torch.Generator().manual_seed(1), dtype=value.dtype)
    # the logarithm's gradient is infinite where a factor is 0
    counted = torch.where(value > -1e3, value, 0.0)
    return [value.detach(), *torch.autograd.grad((weight * counted).sum(), (q, r))]


def in_blocks(product: Callable[[Tensor, Tensor], Tensor], q: Tensor, r: Tensor) -> list[Tensor]:
    with torch._dynamo.config.patch(disable=True):
        return value_and_slopes(product, q, r)


needs_compiler = pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler here")


@needs_compiler
@pytest.mark.parametrize(
    ("product", "dtype"),
    [(of_complements, torch.float64), (of_turns, torch.float32)],
    ids=["complements, float64", "turns, float32"],
)
def test_fused_is_the_same_as_in_blocks(product: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    q, r = inputs(dtype)
    compiled, blocks = value_and_slopes(product, q, r), in_blocks(product, q, r)
    assert not fused._WITHOUT_COMPILER
    for one, other in zip(compiled, blocks, strict=True):
        assert torch.allclose(one, other, rtol=100 * torch.finfo(dtype).eps, atol=1e-3 * torch.finfo(dtype).eps ** 0.5)


@needs_compiler
def test_other_sizes_need_no_further_compilation() -> None:
    q, r = inputs(torch.float64)
    value_and_slopes(of_complements, q, r)
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for rows in (q[:200], q.detach(), q.expand(2, 300, 30)):
        columns = r[:, :47]
        assert torch.allclose(of_complements(rows, columns), plain_in_blocks(rows, columns), rtol=1e-12, atol=1e-14)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled


def plain_in_blocks(q: Tensor, r: Tensor) -> Tensor:
    with torch._dynamo.config.patch(disable=True):
        return of_complements(q, r)


@pytest.fixture
def uncompilable(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As on a machine without a compiler; the list has one entry per attempt."""
    attempts = []

    def raising(*tensors: Tensor) -> Any:
        attempts.append(1)
        raise torch._dynamo.exc.TorchDynamoException("\nno compiler here\nand more")

    monkeypatch.setattr(fused, "_compiled", lambda expression: raising)
    monkeypatch.setattr(fused, "_WITHOUT_COMPILER", set())
    return attempts


def test_without_a_compiler_it_says_so_once_and_runs_in_blocks(uncompilable: list[int]) -> None:
    q, r = inputs(torch.float64)
    with pytest.warns(RuntimeWarning, match=r"torch.compile failed on cpu, .* in blocks, .*: no compiler here$"):
        first = value_and_slopes(of_complements, q, r)
    assert len(uncompilable) == 2  # its value and its gradient
    again = value_and_slopes(of_complements, q, r)
    for one, other, blocks in zip(first, again, in_blocks(of_complements, q, r), strict=True):
        assert torch.equal(one, blocks)
        assert torch.equal(other, blocks)
    assert len(uncompilable) == 2


@pytest.mark.parametrize("product", [product_of_complements, lambda q, r: product_of_turns(q, r.cos(), r.sin())])
def test_the_warning_points_at_the_caller(product: Callable[[Tensor, Tensor], Any], uncompilable: list[int]) -> None:
    q, r = inputs(torch.float64)
    with pytest.warns(RuntimeWarning, match="torch.compile failed") as caught:
        product(q, r)
    assert len(uncompilable) == 1
    assert [Path(warning.filename).name for warning in caught] == [Path(__file__).name]


def test_one_expression_that_can_not_be_compiled_leaves_the_others_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def fine(rows: Tensor, columns: Tensor) -> tuple[Tensor]:
        return (rows @ columns,)

    def broken(rows: Tensor, columns: Tensor) -> tuple[Tensor]:
        return (rows @ columns,)

    attempts = []

    def compiled(expression: fused.Expression) -> fused.Expression:
        def run(*tensors: Tensor) -> tuple[Tensor, ...]:
            attempts.append(expression)
            if expression is broken:
                raise torch._dynamo.exc.TorchDynamoException("no such instruction")
            return expression(*tensors)

        return run

    monkeypatch.setattr(fused, "_compiled", compiled)
    monkeypatch.setattr(fused, "_WITHOUT_COMPILER", set())
    q, r = (t.detach()[None] for t in inputs(torch.float64))
    with pytest.warns(RuntimeWarning, match="no such instruction"):
        fused.over_rows(broken, q, (r,))
    for _ in range(2):
        fused.over_rows(fine, q, (r,))
        fused.over_rows(broken, q, (r,))
    assert attempts == [broken, fine, fine]


@needs_compiler
def test_too_many_programs_are_no_more_than_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's own answer would be the large tensor."""
    monkeypatch.setattr(fused, "_WITHOUT_COMPILER", set())
    q, r = (t.detach()[None] for t in inputs(torch.float64))

    def total(rows: Tensor, columns: Tensor) -> tuple[Tensor]:
        return ((rows[..., None] * columns[:, None]).sum(-2),)

    with (
        torch._dynamo.config.patch(recompile_limit=0),
        pytest.warns(RuntimeWarning, match="torch.compile failed on cpu"),
    ):
        (product,) = fused.over_rows(total, q, (r,))
    assert torch.allclose(product, q @ r, rtol=1e-12)


def test_blocks_without_a_word_where_compilation_is_switched_off(uncompilable: list[int]) -> None:
    q, r = inputs(torch.float64)
    in_blocks(of_complements, q, r)
    assert not uncompilable


def test_small_problems_are_not_worth_a_compilation(uncompilable: list[int]) -> None:
    q, r = torch.rand(10, 5), torch.rand(5, 4)
    product_of_complements(q, r)
    product_of_turns(q, r.cos(), r.sin())
    assert not uncompilable


@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize("block", [1, 37, 1000])
def test_the_size_of_a_block_changes_nothing(
    leading: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, r = inputs(torch.float64, *leading)
    rows = q.detach()[..., :11, :].clone().requires_grad_()
    expected = in_blocks(of_complements, rows, r)
    monkeypatch.setattr(fused, "BLOCK", block)
    for one, other in zip(in_blocks(of_complements, rows, r), expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-13)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, which tells the peak of memory")
def test_what_is_fused_never_makes_the_large_tensor() -> None:
    """Data x causes x units would be 100 MiB; even a quarter of it, one entry per group of factors, must not show."""
    small, (data, causes, units) = (40, 64, 160), (256, 128, 800)

    def step(data: int, causes: int, units: int) -> None:
        q, r = torch.rand(data, causes).requires_grad_(), torch.rand(causes, units).requires_grad_()
        product_of_complements(q, r).log.sum().backward()

    def kibibytes(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    step(*small)  # compiles
    before = kibibytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    step(data, causes, units)
    assert kibibytes("VmHWM") - before < 15 * 1024
