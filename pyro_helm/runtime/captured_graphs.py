"""Functions of tensors captured as a graph of operations, which runs without the Python that made it.

What :func:`jax.jit` does for a function, on Pyro programs: the function runs once, and the tensor operations under its
handlers, autograd included, are recorded. The graph draws random numbers as the function does, so that it gives the
same numbers; only draws aside (:func:`drawn_aside`) are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from pyro_helm.runtime.seeding import forked_rng

Graph: TypeAlias = Callable[..., Any]
"""A captured function, compiled or not; to be called, not to be differentiated."""


_CAPTURING = ContextVar("_CAPTURING", default=False)
_ASIDE = "drawn aside"


def is_capturing() -> bool:
    """Whether tensor operations are being recorded, so that values of tensors can't be looked at."""
    return _CAPTURING.get()


def capture(function: Callable[..., Any], *example: Tensor | None) -> GraphModule:
    """Record the tensor operations of a function while it runs on an example.

    Args:
        function: of tensors; those that it finds elsewhere, parameters say, are read anew whenever the graph runs, and
            may be changed in place by either. Everything else it finds, and the path it takes, stays as it is now.
        example: arguments, whose shapes and types are those that the graph takes.

    Raises:
        ValueError: for a function that looks at the values of tensors, or runs what is compiled already.

    >>> weight = torch.ones(2)
    >>> double = capture(lambda x: 2 * weight * x, torch.zeros(2))
    >>> weight[1] = 5
    >>> double(torch.ones(2))
    tensor([ 2., 10.])
    """
    from torch._guards import TracingContext, tracing  # late, as below: it takes a second, and few need it
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx

    token = _CAPTURING.set(True)
    try:
        # what describes the results, made once: else anew for each of them, which takes as long as all the rest. These
        # names are torch's own, tried with the version that constraints.txt pins
        with tracing(TracingContext(FakeTensorMode())):
            graph = make_fx(function, tracing_mode="real")(*example)
    except RuntimeError as error:
        # torch goes on with advice on a setting of its own
        reason = str(error).split(" - erroring out")[0].partition("\n")[0] or type(error).__name__
        raise ValueError(f"its tensor operations can't be recorded: {reason}") from error
    finally:
        _CAPTURING.reset(token)
    _leave_out_what_does_nothing(graph)
    return graph


@contextmanager
def drawn_aside(seed: int, device: torch.device) -> Iterator[None]:
    """:func:`forked_rng` for draws that decide nothing, such as those that show what a program is made of.

    A graph leaves them out; one that computes something from them is refused.
    """
    before = len(_nodes())
    with forked_rng(seed, device):
        yield
    for node in _nodes()[before:]:
        node.meta[_ASIDE] = True


def _nodes() -> list[Node]:
    """Of the graph that is being recorded, if one is."""
    if not is_capturing():
        return []
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    mode = get_proxy_mode()
    return [] if mode is None else list(mode.tracer.graph.nodes)


def reason_of(error: Exception) -> str:
    """First line of a compiler's error that says something."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.endswith("raised:")]
    return lines[0] if lines else type(error).__name__


def _leave_out_what_does_nothing(graph: GraphModule) -> None:
    """Draws aside, and views of the same shape."""
    graph.graph.eliminate_dead_code()
    for node in reversed(graph.graph.nodes):
        # an optimiser's notes to a profiler cost more than its work
        if _is_drawn_aside(node) or "profiler" in str(node.target):
            graph.graph.erase_node(node)
    for node in graph.graph.nodes:
        if _is_its_first_argument(node):
            node.replace_all_uses_with(cast(Node, node.args[0]))
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _is_drawn_aside(node: Node) -> bool:
    """Whether it is a draw aside; ValueError if something is computed from it."""
    if _ASIDE not in node.meta or torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    # what is filled in place must have been made aside too, for that alone
    is_in_place = cast(torch._ops.OpOverload, node.target)._schema.is_mutable
    filled = node.args[0] if is_in_place else None
    if node.users or (isinstance(filled, Node) and (_ASIDE not in filled.meta or len(filled.users) > 1)):
        raise ValueError("something is computed from random numbers that were drawn aside")
    return True


def _is_its_first_argument(node: Node) -> bool:
    aten = torch.ops.aten
    if node.target in (aten.expand.default, aten.view.default):
        before, after = (cast(Node, known).meta.get("val") for known in (node.args[0], node))
        return before is not None and after is not None and before.shape == after.shape
    return node.target is aten.detach.default


def compiled(graph: GraphModule, *example: Tensor) -> Graph:
    """The graph of a function from tensors to a tuple of tensors, fused by torch's compiler into few loops.

    Its numbers are the graph's within rounding; it draws the same random numbers, on a GPU maybe in other order. Where
    the compilation fails, for want of a C++ compiler say, the result is the graph itself, and a RuntimeWarning tells.

    Args:
        graph: captured, and not yet compiled.
        example: its arguments.

    """
    from torch._inductor import compile  # late: it takes seconds, and few need it

    try:
        with warnings.catch_warnings(), forked_rng(0, example[0].device), torch.no_grad():
            # the compiler's own affairs, and advice on the precision, which is the caller's to choose
            for category in (DeprecationWarning, FutureWarning, UserWarning):
                warnings.simplefilter("ignore", category)
            # launched from C++, which is not needed where a GPU's launches are made one, and takes a minute to compile
            options = {"fallback_random": True, "cpp_wrapper": example[0].device.type == "cpu"}
            # not torch.compile, which would look at every parameter before each call, to see that it is the same
            fused: Graph = compile(graph, list(example), options)
            fused(*example)
    except RuntimeError as error:
        warnings.warn(
            f"torch's compiler failed, so steps are captured but not compiled: {reason_of(error)}",
            RuntimeWarning,
            stacklevel=2,
        )
        return graph
    return fused


def reads_the_cpu(graph: GraphModule) -> bool:
    """Whether it reads tensors on the CPU that it finds elsewhere, or draws there."""
    for node in graph.graph.nodes:
        draws = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        value = getattr(graph, node.target) if node.op == "get_attr" else node.meta.get("val") if draws else None
        if isinstance(value, Tensor) and value.device.type == "cpu":
            return True
    return False


def waits_for_values(function: Graph, *arguments: Tensor) -> tuple[Any, bool]:
    """What a function returns, and whether the CPU has waited for a value of the GPU on the way."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            returned = function(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return returned, any("synchronizing CUDA operation" in str(warning.message) for warning in found)


def launched_at_once(function: Graph, *example: Tensor) -> Graph:
    """What a function does on a GPU, launched as one (a CUDA graph), so that no launch waits for Python.

    Tensors that it finds elsewhere on the GPU are read anew whenever it runs, and must stay where they are; what it
    reads on the CPU stays as it is now. What it returns is overwritten by the next call.

    Args:
        function: of tensors; it has run before, and waits for no value (:func:`waits_for_values`).
        example: arguments on the GPU.

    """
    inputs = [argument.clone() for argument in example]
    device = inputs[0].device
    launches = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.no_grad(), torch.cuda.graph(launches, stream=torch.cuda.Stream(device)):
        outputs = function(*inputs)

    def launch(*arguments: Tensor) -> Any:
        for ours, theirs in zip(inputs, arguments, strict=True):
            ours.copy_(theirs)
        launches.replay()
        return outputs

    return launch
