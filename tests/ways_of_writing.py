"""Ways in which a program may pass a draw on: each takes a tensor of zeros and ones and returns an equal one.

None lets a gradient through that a discrete draw would have. A new way is one function, or a class where it keeps
something, and one name in WAYS.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Way = Callable[[Tensor], Tensor]


# --- by arithmetic and look-up ------------------------------------------------------------------------------------


def as_it_is(h: Tensor) -> Tensor:
    return h


def by_where(h: Tensor) -> Tensor:
    return torch.where(h == 1, 1.0, 0.0).to(h)


def by_comparison(h: Tensor) -> Tensor:
    return (h > 0.5).to(h)


def by_embedding(h: Tensor) -> Tensor:
    looked_up: Tensor = nn.functional.embedding(h.long(), torch.tensor([[0.0], [1.0]]).to(h))
    return looked_up.squeeze(-1)


def by_index(h: Tensor) -> Tensor:
    return torch.tensor([0.0, 1.0]).to(h)[h.long()]


def by_gather(h: Tensor) -> Tensor:
    return torch.tensor([0.0, 1.0]).to(h).expand(*h.shape[:-1], 2).gather(-1, h.long())


def by_one_hot(h: Tensor) -> Tensor:
    return nn.functional.one_hot(h.long(), 2).argmax(-1).to(h)


def by_unique(h: Tensor) -> Tensor:
    values, index = h.unique(return_inverse=True)
    found: Tensor = values[index]
    return found


def by_sampling(h: Tensor) -> Tensor:
    return torch.bernoulli(h)


def by_complex_number(h: Tensor) -> Tensor:
    return torch.complex(blank(h), h).imag


def by_bits(h: Tensor) -> Tensor:
    return h.view(torch.int64).clone().view(h.dtype)


def by_bytes(h: Tensor) -> Tensor:
    return h.byte().to(h)


def by_vmap(h: Tensor) -> Tensor:
    doubled: Tensor = torch.func.vmap(lambda row: 2 * row)(h)
    return doubled / 2


# --- written into another tensor ----------------------------------------------------------------------------------


def blank(h: Tensor, size: int = 1) -> Tensor:
    """A tensor that knows nothing of h."""
    return torch.zeros(*h.shape[:-1], size, dtype=h.dtype)


def into_a_slice(h: Tensor) -> Tensor:
    buffer = blank(h, 2)
    buffer[..., :1] = h
    return buffer[..., :1]


def into_a_whole(h: Tensor) -> Tensor:
    buffer = blank(h)
    buffer[...] = h
    return buffer


def by_copy_(h: Tensor) -> Tensor:
    buffer = blank(h)
    buffer.copy_(h)
    return buffer


def by_add_(h: Tensor) -> Tensor:
    buffer = blank(h)
    buffer.add_(h)
    return buffer


def by_mul_(h: Tensor) -> Tensor:
    buffer = blank(h).add_(1)
    buffer.mul_(h)
    return buffer


def by_addcmul_(h: Tensor) -> Tensor:
    buffer = blank(h)
    buffer.addcmul_(h, h)
    return buffer


def by_scatter_(h: Tensor) -> Tensor:
    buffer = blank(h, 2)
    buffer.scatter_(-1, h.long(), 1.0)
    return buffer[..., 1:]


def by_scatter_add_(h: Tensor) -> Tensor:
    buffer = blank(h, 2)
    buffer.scatter_add_(-1, torch.ones_like(h).long(), h)
    return buffer[..., 1:]


def by_index_copy_(h: Tensor) -> Tensor:
    buffer = blank(h)
    buffer.index_copy_(-1, torch.tensor([0]), h)
    return buffer


def by_index_put_(h: Tensor) -> Tensor:
    return blank(h).index_put_((h == 1,), torch.ones(()).to(h))


def by_masked_fill_(h: Tensor) -> Tensor:
    buffer = blank(h)
    buffer.masked_fill_(h == 1, 1.0)
    return buffer


def by_masked_scatter_(h: Tensor) -> Tensor:
    return blank(h).masked_scatter_(h == 1, torch.ones_like(h))


def by_nonzero(h: Tensor) -> Tensor:
    buffer = blank(h)
    buffer[h.nonzero(as_tuple=True)] = 1
    return buffer


def by_out(h: Tensor) -> Tensor:
    buffer = blank(h)
    torch.mul(h, 1, out=buffer)
    return buffer


def by_cat_out(h: Tensor) -> Tensor:
    buffer = blank(h, 2)
    torch.cat([h, h], -1, out=buffer)
    return buffer[..., 1:]


def by_storage(h: Tensor) -> Tensor:
    h = h.contiguous()
    buffer = torch.empty(0, dtype=h.dtype)
    buffer.set_(h.untyped_storage(), h.storage_offset(), h.shape, h.stride())
    return buffer


def by_data(h: Tensor) -> Tensor:
    buffer = blank(h)
    buffer.data = h.data
    return buffer


# --- out of torch and back ----------------------------------------------------------------------------------------


def by_numpy(h: Tensor) -> Tensor:
    return torch.from_numpy(h.numpy() * 1)


def into_numpy(h: Tensor) -> Tensor:
    array = np.zeros(h.shape)
    array[...] = h
    return torch.from_numpy(array)


def through_numpy(h: Tensor) -> Tensor:
    buffer = blank(h)
    buffer.numpy()[...] = h.numpy()
    return buffer


def by_tolist(h: Tensor) -> Tensor:
    return torch.tensor(h.tolist(), dtype=h.dtype)


def by_item(h: Tensor) -> Tensor:
    return torch.tensor([value.item() for value in h.flatten()], dtype=h.dtype).reshape(h.shape)


def by_python_if(h: Tensor) -> Tensor:
    chosen = []
    for value in h.flatten():
        if value:
            chosen.append(1.0)
        else:
            chosen.append(0.0)
    return torch.tensor(chosen, dtype=h.dtype).reshape(h.shape)


def by_set(h: Tensor) -> Tensor:
    on = {place for place, value in enumerate(h.flatten().tolist()) if value}
    return torch.tensor([float(place in on) for place in range(h.numel())], dtype=h.dtype).reshape(h.shape)


def by_string(h: Tensor) -> Tensor:
    text = "".join(str(int(value)) for value in h.flatten().tolist())
    return torch.tensor([float(letter) for letter in text], dtype=h.dtype).reshape(h.shape)


def by_pickle(h: Tensor) -> Tensor:
    copied: Tensor = pickle.loads(pickle.dumps(h))
    return copied


def by_file(h: Tensor) -> Tensor:
    file = io.BytesIO()
    torch.save(h.clone(), file)
    file.seek(0)
    loaded: Tensor = torch.load(file)
    return loaded


def by_deepcopy(h: Tensor) -> Tensor:
    return copy.deepcopy(h)


# --- by Python's own means ----------------------------------------------------------------------------------------


def in_a_list(h: Tensor) -> Tensor:
    cells = [blank(h)]
    cells.append(h)
    return cells[-1]


def in_a_dict(h: Tensor) -> Tensor:
    state: dict[str, Tensor] = {}
    state["h"] = h
    return state["h"]


def in_an_attribute(h: Tensor) -> Tensor:
    state = SimpleNamespace()
    state.h = h
    kept: Tensor = state.h
    return kept


def in_nested_functions(h: Tensor) -> Tensor:
    kept = blank(h)

    def outer() -> None:
        def inner() -> None:
            nonlocal kept
            kept = h * 1

        inner()

    outer()
    return kept


def by_a_generator(h: Tensor) -> Tensor:
    def rows() -> Iterator[Tensor]:
        yield from h

    return torch.stack(list(rows()))


def by_an_exception(h: Tensor) -> Tensor:
    try:
        raise KeyError(h)
    except KeyError as error:
        kept: Tensor = error.args[0]
        return kept


CARRIED: ContextVar[Tensor] = ContextVar("CARRIED")


def in_a_context_variable(h: Tensor) -> Tensor:
    CARRIED.set(h * 1)
    return CARRIED.get()


def in_a_thread(h: Tensor) -> Tensor:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: h * 1).result()


class InACache:
    """Keeps what it has computed, from call to call."""

    def __init__(self) -> None:
        self.known: dict[tuple[Any, ...], Tensor] = {}

    def __call__(self, h: Tensor) -> Tensor:
        return self.known.setdefault((h.shape, h.numpy().tobytes()), h.clone())


class InABufferThatIsKept:
    """Writes every draw into the same tensor, of which it returns a copy."""

    def __init__(self) -> None:
        self.buffer = torch.zeros(())

    def __call__(self, h: Tensor) -> Tensor:
        if self.buffer.shape != h.shape:
            self.buffer = blank(h)
        return self.buffer.copy_(h).clone()


class InAModule(nn.Module):
    """Keeps the draw as a buffer and reads it in another method."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(()), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        self.kept = h
        return self.read()

    def read(self) -> Tensor:
        kept: Tensor = self.kept
        return kept


# --- by parts of torch that run a function ------------------------------------------------------------------------


class Doubled(torch.autograd.Function):
    """A custom function."""

    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        return 2 * h

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return 2 * gradients[0]


def by_a_custom_function(h: Tensor) -> Tensor:
    doubled: Tensor = Doubled.apply(h)  # type: ignore[no-untyped-call]
    return doubled / 2


def by_a_checkpoint(h: Tensor) -> Tensor:
    passed: Tensor = checkpoint(into_a_slice, h, use_reentrant=False)
    return passed


class Compiled(nn.Module):
    """A compiled submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.compile(into_a_slice, backend="eager", dynamic=True)

    def forward(self, h: Tensor) -> Tensor:
        with torch._dynamo.config.patch(disable=False):
            passed: Tensor = self.inner(h)
        return passed


WAYS: dict[str, Callable[[], Way]] = {
    way.__name__: (lambda way=way: way)
    for way in (
        *(as_it_is, by_where, by_comparison, by_embedding, by_index, by_gather, by_one_hot, by_unique, by_sampling),
        *(by_complex_number, by_bits, by_bytes, by_vmap, into_a_slice, into_a_whole, by_copy_, by_add_, by_mul_),
        *(by_addcmul_, by_scatter_, by_scatter_add_, by_index_copy_, by_index_put_, by_masked_fill_),
        *(by_masked_scatter_, by_nonzero, by_out, by_cat_out, by_storage, by_data, by_numpy, into_numpy),
        *(through_numpy, by_tolist, by_item, by_python_if, by_set, by_string, by_pickle, by_file, by_deepcopy),
        *(in_a_list, in_a_dict, in_an_attribute, in_nested_functions, by_a_generator, by_an_exception),
        *(in_a_context_variable, in_a_thread, by_a_custom_function, by_a_checkpoint),
    )
} | {"in_a_cache": InACache, "in_a_buffer_that_is_kept": InABufferThatIsKept, "in_a_module": InAModule}
WAYS["compiled"] = Compiled
