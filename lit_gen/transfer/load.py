"""Parameter transfer: matches the tensors of a source with those of a model, and copies them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lit_gen.errors import UserError, nearest
from lit_gen.selection import matches_any, unmatched
from lit_gen.spectral import refresh_spectral_norm
from lit_gen.transfer.lineage import describe
from lit_gen.transfer.naming import canonical_names
from lit_gen.transfer.plan import ADAPTED, COPIED, KEPT, REINITIALISED, UNUSED, Plan, Row, by, columns
from lit_gen.transfer.policies import POLICIES, Slot
from lit_gen.transfer.source import Source

# The singular vectors of a spectral norm are computed from the weight that they stand beside.
SINGULAR_VECTOR = re.compile(r"^(.*\.)?parametrizations\.\w+\.\d+\._[uv]$")
POWER_ITERATION = "power iteration"


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


def make_plan(model: nn.Module, source: Source, request: Request, asker: str = "LoadWeights") -> Plan:
    """What loading `source` into `model` does to each tensor; nothing is written yet.

    Args:
        model: The model as it was built; on the meta device where the plan is only going to be looked at.
        source: Where the weights come from.
        request: What is wanted.
        asker: Whose options these are, for messages.

    Raises:
        UserError: A pattern matches nothing, or a tensor is neither matched nor declared; the message lists them all.
    """
    if source.adapters_alone:
        raise UserError(f"{asker}: {source.spec} holds adapters alone. {_merge(source)}")
    targets = [target for target in model_tensors(model) if not target.key.split(".")[0].endswith("_ema")]
    offered, spare = source_names(source, request, asker)
    _check_patterns(targets, offered, request, asker)
    wanted = [t for t in targets if _wanted(t, model, request)]
    _check_family(wanted, offered, source, model, asker)

    rows: list[Row] = []
    values: dict[str, Tensor] = {}
    offences: list[tuple[str, str]] = []
    for target in targets:
        row = Row(target.key, KEPT, list(target.tensor.shape), size=target.tensor.numel())
        rows.append(row)
        if target not in wanted:
            continue
        found = offered.pop(target.name, None)
        if found is not None:
            row.source_name, row.source_shape = found, list(source.tensors[found].shape)
        value = _match(target, source, row, request, offences, rows)
        if value is not None:
            values[target.key] = value
    refused = {t.name for t in targets if t not in wanted}
    parts = {target.name.split(".")[0] for target in wanted}
    for name, found in [*offered.items(), *((found, found) for found in spare)]:
        tensor = source.tensors[found]
        average = "its average is taken" if found in spare and request.prefer_ema else None
        rows.append(Row(name, UNUSED, None, list(tensor.shape), found, average, size=tensor.numel()))
        declared = found in spare or name in refused or matches_any(name, request.exclude) or (
            request.include is not None and not matches_any(name, request.include)
        ) or _of_the_run(name, model)  # fmt: skip
        if not declared and (name.split(".")[0] in parts or request.include is None):
            offences.append((name, f"not in the model; the checkpoint has {by(row_shape(tensor))}"))
    if offences:
        raise UserError(_refusal(offences, source, model, asker))
    return Plan(describe(source), rows, values)


def row_shape(tensor: Tensor) -> list[int]:
    """The shape as a plain list."""
    return list(tensor.shape)


@torch.no_grad()
def apply_plan(plan: Plan, model: nn.Module) -> None:
    """Copies every value of the plan into the model, in place; singular vectors of replaced weights are renewed."""
    state = model.state_dict(keep_vars=True)
    for key, value in plan.values.items():
        state[key].copy_(value)
    for row in plan.rows:
        if row.policy == POWER_ITERATION:
            refresh_spectral_norm(model.get_submodule(row.name.partition(".parametrizations.")[0]))


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


def _wanted(target: Target, model: nn.Module, request: Request) -> bool:
    included = request.include is None or target.among(request.include)
    return included and not target.among(request.exclude) and not _of_the_run(target.name, model)


def _of_the_run(name: str, model: nn.Module) -> bool:
    """What a run fitted to its own data, such as a mixture of posteriors, means nothing in another."""
    part = getattr(model, name.split(".")[0], None)
    return not getattr(part, "transferable", True)


def _match(
    target: Target, source: Source, row: Row, request: Request, offences: list[tuple[str, str]], before: list[Row]
) -> Tensor | None:
    """Fills in the row of a wanted tensor and returns the value that it gets; None where it keeps its own."""
    if SINGULAR_VECTOR.match(target.key) and _is_derived(row, before):
        row.status, row.policy = ADAPTED, POWER_ITERATION
        return None
    if row.source_name is None:
        if not (target.among(request.as_built) or target.adapter):
            offences.append((target.key, "not in the checkpoint"))
        return None
    old = source.tensors[row.source_name]
    if old.shape == target.tensor.shape:
        row.status = COPIED
        return old
    policy = next((name for pattern, name in request.on_mismatch.items() if target.among([pattern])), "error")
    shapes = f"checkpoint {by(row.source_shape)}   model {by(row.shape)}"
    if policy == "error":
        offences.append((target.key, shapes))
        return None
    if policy == "reinit":
        row.status = REINITIALISED
        return None
    row.status, row.policy = ADAPTED, policy
    attribute = "original" if target.key.endswith(".original") else target.key.rpartition(".")[2]
    slot = Slot(target.layer, attribute, source.class_names, request.class_names)
    if target.tensor.is_meta:
        old = torch.empty_like(old, device="meta")
    try:
        value = POLICIES[policy](old, target.tensor, slot)
        if value.shape != target.tensor.shape:
            raise ValueError(f"{policy} makes {by(row_shape(value))} of it")
    except ValueError as error:
        offences.append((target.key, f"{shapes}   {error}"))
        return None
    return value


def _is_derived(row: Row, before: Sequence[Row]) -> bool:
    """Whether a singular vector has to be computed anew: its weight does not come over as it was, or it is missing."""
    stem = row.name.partition(".parametrizations.")[0]
    weight = next(r for r in before if r.name.startswith(f"{stem}.parametrizations.") and r.name.endswith(".original"))
    return weight.status in (ADAPTED, REINITIALISED) or (weight.status == COPIED and row.source_name is None)


def _check_patterns(targets: Sequence[Target], offered: Mapping[str, str], request: Request, asker: str) -> None:
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


def _check_family(
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
        'rename: {"^encoder": discriminator}.'
    )


def _merge(source: Source) -> str:
    return f"Type python -m lit_gen merge --ckpt_path {source.spec} --out merged.ckpt, and take that as the source."


def _refusal(offences: Sequence[tuple[str, str]], source: Source, model: nn.Module, asker: str) -> str:
    lines = columns(offences).splitlines()
    low_rank = any(name.endswith((".0.up", ".0.down")) for name, _ in offences)
    return "\n".join(
        [
            f"{asker}: {source.spec} does not fit {type(model).__name__}",
            *(f"  {line}" for line in lines),
            "Add these modules to `exclude` (or `as_built`, where only the model has them), choose a policy with "
            "`on_mismatch`,\nor use the source's network arguments "
            f"(python -m lit_gen inspect {source.spec}). Nothing was loaded.",
            *([f"The source has low-rank adapters. {_merge(source)}"] if low_rank else []),
        ]
    )
