"""The generative half of a Helmholtz machine: a layered sigmoid, noisy-or or odds belief network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyro
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor

from pyro_helm.layers import Categorical, Imaging, LogProbs, imaging_model, local_parameters, name_of
from pyro_helm.layers.categorical import group_sizes
from pyro_helm.layers.initial_leaks import begin_leaks, per_layer
from pyro_helm.layers.missing import has_missing, without_missing
from pyro_helm.programs.labels import checked_condition, label_apart, side_by_side
from pyro_helm.programs.layered import (
    Observations,
    checked_observations,
    checked_sizes,
    layer_plates,
    seeded_generator,
    shown_sizes,
    site_names,
)
from pyro_helm.runtime.arguments import flag, is_whole, number
from pyro_helm.runtime.device import placement

ImagingModel = str | type[Imaging]
"""An imaging model by its name in :data:`~pyro_helm.layers.IMAGING`, or as a class."""

Groups = int | Sequence[int]
"""Units in each group of a categorical layer."""


class BeliefNetwork(PyroModule):  # type: ignore[misc]
    r"""Layered belief network, ``p(x, h) = p(hL) p(hL-1 | hL) ... p(x | h1)``.

    A Pyro model with one sample site per layer, ``hL`` first and ``x`` last. Units are independent given the layer
    above; how causes make probabilities is each layer's imaging model. Hidden units are binary or groups of which one
    is on, visible ones are what their imaging model says.

    Args:
        sizes: units per layer, bottom to top: ``(32, 24, 2)`` is 32 visible units, 24, then 2 on top.
        imaging: ``"sigmoid"``, ``"noisy_or"`` or ``"odds"``, one for all or one per layer, bottom to top. A subclass of
            :class:`~pyro_helm.layers.Imaging` may stand for a name.
        visible: imaging of the visible layer if it is another: ``"gaussian"`` for real numbers, ``"poisson"`` for
            counts, ``"categorical"`` for groups of units of which one is on, any of the above, or a class.
        groups: units in each group of a categorical layer, which add up to the layer's; a number if all are equal. By
            site where hidden layers are categorical: ``{"x": (2, 3), "h1": 4}``.
        lateral: whether the units of a layer drive each other, one for all or one per layer: those of a block are
            driven by all units of earlier blocks too.
        blocks: how many blocks a layer with lateral connections has, one for all or one per layer; None for one per
            unit, which is fully autoregressive.
        skip: whether layers are also driven by those further above: True for all, or by site, ``{"x": ["h2", "h3"]}``.
        condition: number of labels that the network is conditioned on, ``p(x, h | label)``: the observation ``label``
            drives every layer, as one more cause for each of its values; None for none.
        restarts: independent machines in one batch; R of them train as R separate machines would.
        fixed_leak: leak that is not learned, one for all or one per layer: a logit, a probability or odds, as the
            layer's imaging model has it; None for none.
        learned_leak: whether each layer has a learned leak (for a sigmoid, its bias).
        initial_leak: where the learned leaks begin, one for all or one per layer, in the units of ``fixed_leak``; None
            for near 1/2, or odds of exp(-2). ``(None, -3)`` begins with few hidden units on.
        seed: seed of the initial values, which differ per restart; None takes torch's global generator.

    Raises:
        ValueError: for sizes, restarts, imaging models, groups, blocks or leaks out of range, or of another number than
            the layers; for hidden layers that are neither binary nor categorical, or sites to skip to that are not
            further above.

    References:
        Dayan et al. 1995, `The Helmholtz machine <https://doi.org/10.1162/neco.1995.7.5.889>`__, section 2, 3.3 to 3.5
        and appendix A. Gregor et al. 2014, `Deep autoregressive networks <https://arxiv.org/abs/1310.8499>`__.

    >>> model = BeliefNetwork((32, 24, 2), imaging="odds", restarts=8, seed=0)
    >>> model().shape  # a dream: [restarts, data, units]
    torch.Size([8, 1, 32])
    >>> survey = BeliefNetwork((5, 4), visible="categorical", groups=(2, 3), seed=0)
    >>> survey(num_data=100).sum(-1).unique()  # two questions, one answer each
    tensor([2.])
    """

    structure: ClassVar[Literal["generative", "recognition"]] = "generative"
    extra_repr = shown_sizes

    def __init__(
        self,
        sizes: Sequence[int],
        imaging: ImagingModel | Sequence[ImagingModel] = "sigmoid",
        *,
        visible: ImagingModel | None = None,
        groups: Groups | Mapping[str, Groups] | None = None,
        lateral: bool | Sequence[bool] = False,
        blocks: int | Sequence[int | None] | None = None,
        skip: bool | Mapping[str, Sequence[str]] = False,
        condition: int | None = None,
        restarts: int = 1,
        fixed_leak: float | Sequence[float | None] | None = None,
        learned_leak: bool | Sequence[bool] = True,
        initial_leak: float | Sequence[float | None] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.sizes, self.restarts = sizes, restarts = checked_sizes(sizes, restarts)
        kinds = [imaging_model(which) for which in per_layer("imaging", imaging, len(sizes))]
        if visible is not None:
            kinds[0] = imaging_model(visible)
        self.imaging: tuple[str, ...] = tuple(map(name_of, kinds))
        self.groups = _checked_groups(kinds, groups, sizes)
        self.fixed_leak: tuple[float | None, ...] = per_layer("fixed_leak", fixed_leak, len(sizes))
        self.learned_leak: tuple[bool, ...] = per_layer("learned_leak", learned_leak, len(sizes))
        for leak in self.fixed_leak:
            if leak is not None:
                number("fixed_leak", leak)
        for learned in self.learned_leak:
            flag("learned_leak", learned)
        self.lateral = tuple(flag("lateral", one) for one in per_layer("lateral", lateral, len(sizes)))
        self.blocks = _checked_blocks(blocks, self.lateral, sizes)
        self.parents = _parents(skip, sizes)
        widths = dict(zip(site_names(sizes), sizes, strict=True))
        self.condition = checked_condition(condition)
        num_causes = [sum(widths[p] for p in parents) + (self.condition or 0) for parents in self.parents.values()]
        generator = seeded_generator(seed, stream=0)
        self.generative = PyroModule[torch.nn.ModuleList](
            kind(
                causes,
                num_units,
                restarts=restarts,
                fixed_leak=fixed,
                learned_leak=learned,
                generator=generator,
                **({"groups": self.groups[name]} if kind is Categorical else {}),
            )
            for name, kind, causes, num_units, fixed, learned in zip(
                site_names(sizes), kinds, num_causes, sizes, self.fixed_leak, self.learned_leak, strict=True
            )
        )
        for layer, number_of_blocks in zip(self.generative, self.blocks, strict=True):
            if number_of_blocks:
                layer.connect(number_of_blocks, generator=generator)
        begin_leaks(self.generative, initial_leak)

    def forward(self, observations: Observations | None = None, *, num_data: int = 1) -> Tensor:
        """Run the program, top layer first, and return the visible layer, with 0 where it is missing.

        It is ``[..., restarts, data, units]``, or ``[..., data, units]`` for a single restart.

        Args:
            observations: values ``[..., data, units]`` of any of the sites; the others are sampled. Units of ``x`` that
                are NaN are missing: their factors are left out.
                A network with a condition needs ``label`` too, ``[data]``.
            num_data: data to dream where nothing is observed.

        Raises:
            ValueError: for an unknown site or a wrong width, or a label that is missing or out of range.

        """
        dtype = placement(self)["dtype"]
        observations, label = self._label_apart(observations, dtype)
        observed = checked_observations(observations, self.sizes, dtype)
        for value in (*([] if label is None else [label]), *observed.values()):
            num_data = value.shape[-2]
        with local_parameters():
            conditionals = [layer.conditional() for layer in self.generative]
            labelled = self._labelled(label)
        units: dict[str, Tensor] = {}
        with layer_plates(self.restarts, num_data):
            known_to_all = [drawn for drawn in [labelled()] if drawn is not None]
            for name, conditional in zip(reversed(site_names(self.sizes)), reversed(conditionals), strict=True):
                layer = conditional(side_by_side([*(units[p] for p in self.parents[name]), *known_to_all]))
                known = observed.get(name)
                if known is not None and name == "x" and has_missing(known):
                    layer, known = without_missing(layer, known)
                units[name] = pyro.sample(name, layer, obs=known)
        return units["x"]

    def _label_apart(self, observations: Any, dtype: torch.dtype) -> tuple[Observations | None, Tensor | None]:
        return label_apart(observations, self.condition, dtype)

    def _labelled(self, label: Tensor | None) -> Callable[[], Tensor | None]:
        """Read the parameters now; give the function that draws what drives all layers, in the plates."""
        return lambda: label

    @property
    def has_binary_causes(self) -> bool:
        """Whether all hidden layers are binary."""
        return all(layer.is_binary for layer in self.generative[1:])

    @property
    def is_chain(self) -> bool:
        """Whether each layer depends on the next above alone."""
        return self.condition is None and all(len(parents) < 2 for parents in self.parents.values())

    def check_takes_means(self) -> None:
        """Refuse a network through which means can't be passed in the place of states.

        Raises:
            TypeError: for layers that are not binary, or depend on more than the next above.

        """
        for name, layer, imaging in zip(site_names(self.sizes), self.generative, self.imaging, strict=True):
            found = None if layer.is_binary else f"is {imaging}"
            found = "has lateral connections" if layer.blocks else found
            found = "has skip connections" if len(self.parents[name]) > 1 else found
            found = "is conditioned on a label" if self.condition else found
            if found:
                raise TypeError(
                    "MeanField and other rules for means need binary layers that depend only on the next layer above; "
                    f"site {name!r} {found}; use a scheme that samples, or ExactEM"
                )

    @pyro_method  # type: ignore[untyped-decorator]
    def layer_log_probs(
        self, log_probs: Callable[[Imaging, Tensor], LogProbs], means: Sequence[Tensor]
    ) -> list[LogProbs]:
        """Log-probabilities of every layer's units where the layers above are uncertain, bottom to top, in nats.

        Args:
            log_probs: called with an imaging layer and the probabilities of its causes; a top layer has none, and its
                log-probabilities are certain.
            means: probabilities of the hidden layers' units, bottom to top, each ``[..., data, units]``.

        Raises:
            TypeError: for layers that are not binary, or depend on more than the next above.

        """
        self.check_takes_means()
        *layers, top = self.generative
        with local_parameters():
            return [*(log_probs(layer, q) for layer, q in zip(layers, means, strict=True)), top.log_probs()]

    @property
    def config(self) -> dict[str, object]:
        """Arguments that rebuild this network, but for the values of its parameters."""
        skipped = {name: list(above[1:]) for name, above in self.parents.items()}
        return {
            "sizes": self.sizes,
            "imaging": self.imaging,
            "restarts": self.restarts,
            "fixed_leak": self.fixed_leak,
            "learned_leak": self.learned_leak,
            **({"groups": self.groups} if self.groups else {}),
            **({"lateral": self.lateral, "blocks": self.blocks} if any(self.lateral) else {}),
            **({"skip": skipped} if any(skipped.values()) else {}),
            **({} if self.condition is None else {"condition": self.condition}),
        }


def _parents(skip: bool | Mapping[str, Sequence[str]], sizes: Sequence[int]) -> dict[str, tuple[str, ...]]:
    """The layers that drive each, bottom to top, the next above first."""
    names = site_names(sizes)
    above = {name: names[level + 1 :] for level, name in enumerate(names)}
    if isinstance(skip, Mapping):
        for name, wanted in skip.items():
            further = above.get(name, [])[1:]
            if isinstance(wanted, str) or name not in above or not set(wanted) <= set(further):
                raise ValueError(
                    f"skip must say by site which layers further above drive it, got {name!r}: {wanted!r}; the sites "
                    f"are {', '.join(names)}, and those further above {name!r} are {', '.join(further) or 'none'}"
                )
        return {
            name: (*others[:1], *(other for other in others[1:] if other in skip.get(name, ())))
            for name, others in above.items()
        }
    return {name: tuple(others if flag("skip", skip) else others[:1]) for name, others in above.items()}


def _checked_blocks(blocks: Any, lateral: Sequence[bool], sizes: Sequence[int]) -> tuple[int | None, ...]:
    """Blocks of each layer with lateral connections, as many as units at most; None for a layer without."""
    found: list[int | None] = []
    for count, has_lateral, size in zip(per_layer("blocks", blocks, len(sizes)), lateral, sizes, strict=True):
        if count is not None and (not is_whole(count) or count < 2):
            raise ValueError(f"blocks must be two or more in a layer, or None for one per unit; got {count!r}")
        found.append(min(size, count or size) if has_lateral else None)
    if blocks is not None and not any(lateral):
        raise ValueError(f"blocks need lateral connections, lateral=True; got blocks={blocks!r} and lateral=False")
    return tuple(found)


def _checked_groups(
    kinds: Sequence[type[Imaging]], groups: Groups | Mapping[str, Groups] | None, sizes: Sequence[int]
) -> dict[str, tuple[int, ...]]:
    """Groups of each categorical layer, by site; refuse hidden layers that are neither that nor binary."""
    names = site_names(sizes)
    for name, kind in zip(names[1:], kinds[1:], strict=True):
        if not kind.is_binary and kind is not Categorical:
            raise ValueError(
                "a hidden layer must be sigmoid, noisy_or, odds or categorical, but the imaging of "
                f'{name!r} is {name_of(kind)}; give it as visible="{name_of(kind)}"'
            )
    categorical = [name for name, kind in zip(names, kinds, strict=True) if kind is Categorical]
    by_site = groups if isinstance(groups, Mapping) else {} if groups is None else dict.fromkeys(categorical, groups)
    if lacking := [name for name in categorical if name not in by_site]:
        raise ValueError(f"the categorical layer {lacking[0]!r} needs groups=, the sizes of its groups; got {groups!r}")
    if other := [name for name in by_site if name not in categorical] or ["x"] * (groups is not None and not by_site):
        raise ValueError(f"groups are for categorical layers, but {other[0]!r} is not categorical; got {groups!r}")
    return {name: group_sizes(by_site[name], sizes[names.index(name)]) for name in categorical}
