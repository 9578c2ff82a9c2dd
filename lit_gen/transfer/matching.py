"""What a user asks of a transfer, and the names on both sides that it is asked of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from lit_gen.errors import UserError, nearest
from lit_gen.sampling import is_augmentation
from lit_gen.selection import matches_any, unmatched
from lit_gen.transfer.naming import canonical_names
from lit_gen.transfer.policies import POLICIES
from lit_gen.transfer.source import Source


@dataclass(frozen=True)
class Request:
    """What a user asks of a transfer; every pattern is a glob over dotted names, see `lit_gen.selection`.

    Attributes:
        include: What of the model is to be loaded; None for all of it.
        exclude: What of that is not, and what of the source is left unused on purpose.
        rename: Regular expressions over the source's names and their replacements, applied in order.
        on_mismatch: A policy for each pattern of tensors whose shapes differ; the first pattern that matches counts.
        as_built: What the source has not and the model keeps as it was built.
        prefer_ema: The source's moving average stands in for the network that it averages.
        class_names: Of the data that the model is going to learn from.
    """

    include: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    on_mismatch: Mapping[str, str] = field(default_factory=dict)
    as_built: Sequence[str] = ()
    prefer_ema: bool = True
    class_names: Sequence[str] = ()


@dataclass(frozen=True)
class Target:
    """A tensor of the model: its key in the state dict, its name without wrappers, and the module that holds it.

    Those of an adapter begin as the identity: no source has them, and whoever names an adapter in YAML has declared so.
    """

    key: str
    name: str
    tensor: Tensor
    layer: nn.Module
    adapter: bool

    def among(self, patterns: Iterable[str]) -> bool:
        """Whether a pattern matches either of its names."""
        patterns = list(patterns)
        return matches_any(self.key, patterns) or matches_any(self.name, patterns)


def model_tensors(model: nn.Module) -> list[Target]:
    """Every tensor of a model's state dict with the module that it belongs to."""
    state = model.state_dict(keep_vars=True)
    names = canonical_names(state)
    adapters = tuple(f"{name}." for name, module in model.named_modules() if getattr(module, "adapter", False))
    found = []
    for key, tensor in state.items():
        owner = key.partition(".parametrizations.")[0] if ".parametrizations." in key else key.rpartition(".")[0]
        found.append(Target(key, names[key], tensor, model.get_submodule(owner), key.startswith(adapters)))
    return found


def source_names(source: Source, request: Request, asker: str) -> tuple[dict[str, str], list[str]]:
    """The source's tensors as they are offered to the model, by name, and those that stand aside for an average.

    Raises:
        UserError: A pattern of `rename` is no regular expression, or matches nothing, or two names become one.
    """
    averaged = {name.split(".")[0] for name in source.tensors if name.split(".")[0].endswith("_ema")}
    aside = {name.removesuffix("_ema") for name in averaged} if request.prefer_ema else averaged
    spare = [name for name in source.tensors if name.split(".")[0] in aside]
    kept = [name for name in source.tensors if name.split(".")[0] not in aside]
    names = canonical_names(kept)
    for name in kept:
        first, dot, rest = names[name].partition(".")
        names[name] = first.removesuffix("_ema") + dot + rest
    for pattern, replacement in request.rename.items():
        try:
            new = {found: re.sub(pattern, replacement, name) for found, name in names.items()}
        except (re.error, IndexError) as error:
            raise UserError(
                f"{asker}: rename {pattern!r} -> {replacement!r} is no regular expression: {error}"
            ) from error
        if new == names:
            raise UserError(
                f"{asker}: rename {pattern!r} changes none of the source's names, such as {next(iter(names.values()))}."
                f"\nType python -m lit_gen inspect {source.spec} for all of them."
            )
        names = new
    offered: dict[str, str] = {}
    for found, name in names.items():
        if name in offered:
            raise UserError(f"{asker}: {offered[name]} and {found} of the source both become {name}. Mend `rename`.")
        offered[name] = found
    return offered, spare


def is_wanted(target: Target, model: nn.Module, request: Request) -> bool:
    included = request.include is None or target.among(request.include)
    return included and not target.among(request.exclude) and not of_the_run(target.name, model)


def of_the_run(name: str, model: nn.Module) -> bool:
    """What a run fitted to its own data, such as a mixture of posteriors, means nothing in another."""
    part = getattr(model, name.split(".")[0], None)
    return is_augmentation(name) or not getattr(part, "transferable", True)


def check_patterns(targets: Sequence[Target], offered: Mapping[str, str], request: Request, asker: str) -> None:
    names = [*(t.key for t in targets), *(t.name for t in targets), *offered]
    for option in ("include", "exclude", "on_mismatch", "as_built"):
        for pattern in getattr(request, option) or ():
            if not any(matches_any(name, [pattern]) for name in names):
                raise UserError(unmatched(pattern, names, f"{asker}: {option}"))
    policies = [*POLICIES, "reinit", "error"]
    for policy in request.on_mismatch.values():
        if policy not in policies:
            raise UserError(
                f"{asker}: on_mismatch has no policy {policy!r}, expected one of {', '.join(policies)}."
                f"{nearest(policy, policies)}"
            )


def check_family(
    wanted: Sequence[Target], offered: Mapping[str, str], source: Source, model: nn.Module, asker: str
) -> None:
    """One line instead of hundreds where the source is of another kind altogether."""
    if not wanted:
        raise UserError(f"{asker}: include and exclude leave nothing of the {type(model).__name__} to load.")
    if any(target.name in offered for target in wanted):
        return
    theirs = ", ".join(sorted({name.split(".")[0] for name in offered}))
    ours = ", ".join(sorted({target.name.split(".")[0] for target in wanted}))
    raise UserError(
        f"{asker}: {source.spec} is {source.family if source.recipe else 'a file'} with {theirs}; none of its names is "
        f"wanted by this {type(model).__name__} ({ours}), which expects {wanted[0].name}, say, where the source has "
        f"{next(iter(offered))}.\nType a source of the same family, or map its names with `rename`: "
        f"rename: {_proposal(wanted, offered)}."
    )


def _proposal(wanted: Sequence[Target], offered: Mapping[str, str]) -> str:
    """The renaming by which the names would fit, where it is a prefix too much or too little."""
    for target in wanted:
        for name in offered:
            if name.endswith(f".{target.name}"):
                return f'{{"^{re.escape(name.removesuffix(target.name))}": ""}}'
            if target.name.endswith(f".{name}"):
                return f'{{"^": {target.name.removesuffix(name)}}}'
    return '{"^encoder": discriminator}, say'
