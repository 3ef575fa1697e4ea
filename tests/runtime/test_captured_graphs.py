"""capture: the graph does what the function did, on what it now finds in place of constants."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_helm.runtime.captured_graphs import capture, compiled, drawn_aside


def test_a_graph_reads_tensors_anew_and_other_things_never() -> None:
    weight, factor = torch.ones(3), [2.0]
    graph = capture(lambda x: (factor[0] * weight * x,), torch.zeros(3))
    weight.fill_(5.0)
    factor[0] = 100.0
    assert graph(torch.ones(3))[0].tolist() == [10.0] * 3


def test_gradients_are_part_of_the_graph() -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    graph = capture(lambda x: torch.autograd.grad((x * weight**2).sum(), [weight]), torch.ones(2))
    with torch.no_grad():
        weight[0] = 4.0
        assert graph(torch.tensor([1.0, 10.0]))[0].tolist() == [8.0, 40.0]


def program(x: Tensor) -> tuple[Tensor]:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Categorical(logits=torch.stack([x, -x, 0 * x], -1)))
        return (pyro.sample("y", dist.Bernoulli(logits=x + z)),)


@pytest.mark.parametrize("fuse", [False, True], ids=["captured", "compiled"])
def test_a_graph_draws_the_same_random_numbers(fuse: bool) -> None:
    example = torch.zeros(50)
    with pyro.validation_enabled(False):
        graph = capture(program, example)
        run = compiled(graph, example) if fuse else graph
        x = torch.linspace(-1, 1, 50)
        for seed in range(3):
            torch.manual_seed(seed)
            drawn = run(x)[0]
            torch.manual_seed(seed)
            assert torch.equal(drawn, program(x)[0])


@pytest.mark.parametrize("fuse", [False, True], ids=["captured", "compiled"])
def test_draws_from_which_nothing_is_computed_are_drawn_all_the_same(fuse: bool) -> None:
    def function(x: Tensor) -> tuple[Tensor]:
        _ = torch.bernoulli(torch.sigmoid(x)) + torch.rand(3) + torch.empty(2, 1).exponential_().log()
        return (x + torch.rand(3),)

    graph = capture(function, torch.zeros(3))
    run = compiled(graph, torch.zeros(3)) if fuse else graph
    for _ in range(2):
        torch.manual_seed(0)
        found = run(torch.ones(3))[0], torch.rand(1)
        torch.manual_seed(0)
        expected = function(torch.ones(3))[0], torch.rand(1)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


def test_draws_aside_are_left_out() -> None:
    def function(x: Tensor) -> tuple[Tensor]:
        with drawn_aside(0, x.device):
            _ = torch.bernoulli(torch.sigmoid(x)) + torch.rand(3) + torch.empty(2, 1).exponential_().log()
        return (x + torch.rand(3),)

    graph = capture(function, torch.zeros(3))
    torch.manual_seed(0)
    found = graph(torch.ones(3))[0]
    torch.manual_seed(0)
    assert torch.equal(found, 1 + torch.rand(3))


@pytest.mark.parametrize("draw", [torch.rand_like, lambda x: torch.empty_like(x).exponential_()])
def test_what_is_computed_from_draws_aside_is_refused(draw: Callable[[Tensor], Tensor]) -> None:
    def function(x: Tensor) -> tuple[Tensor]:
        with drawn_aside(0, x.device):
            noise = draw(x)
        return (x + noise,)

    with pytest.raises(ValueError, match="computed from random numbers that were drawn aside"):
        capture(function, torch.zeros(3))


def test_draws_aside_into_what_is_used_are_refused() -> None:
    def function(x: Tensor) -> tuple[Tensor]:
        noise = torch.zeros(3)
        with drawn_aside(0, x.device):
            noise.uniform_()
        return (x + noise,)

    with pytest.raises(ValueError, match="computed from random numbers that were drawn aside"):
        capture(function, torch.zeros(3))


def test_what_does_nothing_is_left_out() -> None:
    graph = capture(lambda x: ((2 * x).detach().expand(3).view(3) + 1,), torch.zeros(3))
    operations = [node for node in graph.graph.nodes if node.op == "call_function"]
    assert len(operations) == 2
    assert graph(torch.ones(3))[0].tolist() == [3.0] * 3


def test_a_draw_in_place_is_seen_through_another_view() -> None:
    def function(x: Tensor) -> tuple[Tensor]:
        noise = torch.zeros(2, 3)
        noise[0].uniform_()
        return (x + noise,)

    drawn = capture(function, torch.zeros(2, 3))(torch.zeros(2, 3))[0]
    assert (drawn[0] > 0).all()
    assert (drawn[1] == 0).all()


def test_draws_are_never_taken_for_one_another() -> None:
    graph = capture(lambda x: (x + torch.rand(3) - torch.rand(3),), torch.zeros(3))
    assert (graph(torch.zeros(3))[0] != 0).all()


def test_what_changes_in_place_is_read_anew() -> None:
    def function(x: Tensor) -> tuple[Tensor]:
        y = x.clone()
        before = y * 3
        y.add_(1)
        return (before + y * 3,)

    assert capture(function, torch.zeros(2))(torch.ones(2))[0].tolist() == [9.0, 9.0]


def test_a_function_that_looks_at_values_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tensor operations can't be recorded: .*value out of a tracing tensor"):
        capture(lambda x: x * 2 if float(x.sum()) > 0 else x, torch.ones(3))


def test_without_a_compiler_the_graph_stays_as_it_is() -> None:
    from torch._inductor import config

    graph = capture(lambda x: (torch.tanh(x) * 7 + x.exp(),), torch.zeros(5))  # nothing that an earlier test compiled
    no_compiler = config.patch({"force_disable_caches": True, "cpp.cxx": ("/no/such/compiler",)})
    with no_compiler, pytest.warns(RuntimeWarning, match="compiler failed, so steps are captured but not compiled: "):
        run = compiled(graph, torch.zeros(5))
    assert run is graph
