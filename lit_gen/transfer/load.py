"""Parameter transfer: plans what becomes of each tensor of a model, and copies what a source has of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_gen.errors import UserError
from lit_gen.selection import matches_any
from lit_gen.spectral import refresh_spectral_norm
from lit_gen.transfer.lineage import describe
from lit_gen.transfer.matching import (
    Request,
    Target,
    check_family,
    check_patterns,
    is_wanted,
    model_tensors,
    of_the_run,
    source_names,
)
from lit_gen.transfer.plan import ADAPTED, AVERAGED, COPIED, KEPT, REINITIALISED, UNUSED, Plan, Row, by, columns
from lit_gen.transfer.policies import POLICIES, Slot, is_class_table
from lit_gen.transfer.source import Source

# The singular vectors of a spectral norm are computed from the weight that they stand beside.
SINGULAR_VECTOR = re.compile(r"^(.*\.)?parametrizations\.\w+\.\d+\._[uv]$")
POWER_ITERATION = "power iteration"

Offences = list[tuple[str, str]]  # name and complaint of each tensor that does not fit


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
    check_patterns(targets, offered, request, asker)
    wanted = [target for target in targets if is_wanted(target, model, request)]
    check_family(wanted, offered, source, model, asker)

    rows: list[Row] = []
    values: dict[str, Tensor] = {}
    offences: Offences = []
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

    declared = {target.name for target in targets if target not in wanted}
    for name, found in offered.items():
        rows.append(_unused(name, found, source))
        if not (name in declared or _left_on_purpose(name, request) or of_the_run(name, model)):
            offences.append((name, f"not in the model; the checkpoint has {by(rows[-1].source_shape)}"))
    average = AVERAGED if request.prefer_ema else None
    rows += [_unused(found, found, source, average) for found in spare]
    if offences:
        raise UserError(_refusal(offences, source, model, asker))
    return Plan(describe(source), rows, values, _notes(source, request, targets, rows))


def _unused(name: str, found: str, source: Source, reason: str | None = None) -> Row:
    tensor = source.tensors[found]
    return Row(name, UNUSED, None, list(tensor.shape), found, reason, size=tensor.numel())


def _left_on_purpose(name: str, request: Request) -> bool:
    """Whether a tensor of the source is excluded, or not among what is included."""
    outside = request.include is not None and not matches_any(name, request.include)
    return outside or matches_any(name, request.exclude)


@torch.no_grad()
def apply_plan(plan: Plan, model: nn.Module) -> None:
    """Copies every value of the plan into the model, in place; singular vectors of replaced weights are renewed.

    Raises:
        UserError: A value is not finite; nothing is copied.
    """
    state = model.state_dict(keep_vars=True)
    broken = [key for key, value in plan.values.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UserError(
            f"LoadWeights: {plan.source['path']} holds numbers that are not finite: {', '.join(broken[:3])} "
            f"({len(broken)} tensors). Nothing was loaded.\nTake an earlier checkpoint, or `exclude` these modules."
        )
    for key, value in plan.values.items():
        state[key].copy_(value)
    for row in plan.rows:
        if row.policy == POWER_ITERATION:
            refresh_spectral_norm(model.get_submodule(row.name.partition(".parametrizations.")[0]))


def _match(
    target: Target, source: Source, row: Row, request: Request, offences: Offences, before: list[Row]
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
    policy = next((name for pattern, name in request.on_mismatch.items() if target.among([pattern])), "error")
    attribute = "original" if target.key.endswith(".original") else target.key.rpartition(".")[2]
    slot = Slot(target.layer, attribute, source.class_names, request.class_names)
    if old.shape == target.tensor.shape and not (policy.startswith("grow") and _renumbered(slot, row.shape)):
        row.status = COPIED
        return old
    shapes = f"checkpoint {by(row.source_shape)}   model {by(row.shape)}"
    if policy == "error":
        offences.append((target.key, shapes))
        return None
    if policy == "reinit":
        row.status = REINITIALISED
        return None
    row.status, row.policy = ADAPTED, policy
    if target.tensor.is_meta:
        old = torch.empty_like(old, device="meta")
    try:
        value = POLICIES[policy](old, target.tensor, slot)
        if value.shape != target.tensor.shape:
            raise ValueError(f"{policy} makes {by(list(value.shape))} of it")
    except ValueError as error:
        offences.append((target.key, f"{shapes}   {error}"))
        return None
    return value


def _renumbered(slot: Slot, shape: Sequence[int]) -> bool:
    """Whether rows of as many classes as before belong to other names than they did."""
    old, new = list(slot.old_classes), list(slot.new_classes)
    return bool(old and new) and old != new and is_class_table(slot, shape, len(old))


def _notes(source: Source, request: Request, targets: Sequence[Target], rows: Sequence[Row]) -> list[str]:
    """What a plan does that a person might not expect."""
    copied = {row.name for row in rows if row.status == COPIED}
    slots = [(t, Slot(t.layer, t.key.rpartition(".")[2], source.class_names, request.class_names)) for t in targets]
    moved = [t.key for t, slot in slots if t.key in copied and _renumbered(slot, t.tensor.shape)]
    if not moved:
        return []
    return [
        f"Classes go by number: the source's are {', '.join(source.class_names)}, the data's "
        f"{', '.join(request.class_names)}, and {moved[0]} is copied row by row. For rows by name type on_mismatch: "
        "grow."
    ]


def _is_derived(row: Row, before: Sequence[Row]) -> bool:
    """Whether a singular vector has to be computed anew: its weight does not come over as it was, or it is missing."""
    stem = row.name.partition(".parametrizations.")[0]
    weight = next(r for r in before if r.name.startswith(f"{stem}.parametrizations.") and r.name.endswith(".original"))
    return weight.status in (ADAPTED, REINITIALISED) or (weight.status == COPIED and row.source_name is None)


def _merge(source: Source) -> str:
    return f"Type python -m lit_gen merge {source.spec} --out merged.ckpt, and take that as the source."


def _refusal(offences: Offences, source: Source, model: nn.Module, asker: str) -> str:
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
