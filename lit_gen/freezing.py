"""Which parts of a model are frozen: the named ways to choose them, and the one way to hold them still."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from lit_gen.errors import UserError, nearest
from lit_gen.sampling import is_average
from lit_gen.selection import matches, matches_any, names_of

# The networks that make images, and those that judge them, as the models call them.
MAKERS = ("generator", "generator_*", "decoder")
JUDGES = ("discriminator", "discriminator_*")
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


def hold(modules: Mapping[str, nn.Module], parameters: Mapping[str, nn.Parameter], frozen: Collection[str]) -> None:
    """Freezes those of the parts that `frozen` names and lets the others learn; doing it twice changes nothing.

    Eval mode keeps batch statistics and spectral-norm vectors as they are, which `requires_grad` does not. It is set on
    each module alone: what lies below a frozen module may be free.
    """
    for name, module in modules.items():
        module.training = name not in frozen
    for name, parameter in parameters.items():
        parameter.requires_grad_(name not in frozen)
        if name in frozen:
            parameter.grad = None  # an optimizer would still follow it


def learning(model: nn.Module, names: Collection[str]) -> set[str]:
    """Those of the named parts that learn as they were built; what was made frozen is never let loose."""
    modules = {name for name, module in model.named_modules() if module.training}
    parameters = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name for name in (modules | parameters) & set(names) if not is_average(name)}


def networks_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The sub-modules of a model and their names, without the moving averages, which follow by themselves."""
    return ((name, network) for name, network in model.named_children() if not is_average(name))


def parts_below(model: nn.Module, parents: Collection[str]) -> set[str]:
    """The dotted names of modules, parameters and buffers called `parents`, and of everything below them."""
    starts = tuple(f"{parent}." for parent in parents)
    return {name for name in names_of(model) if name in parents or name.startswith(starts)}


def first_blocks(model: nn.Module, preset: str, n: int) -> set[str]:
    """`freezeD` and `freezeG`: the first n blocks of each discriminator, or generator (Mo et al. 2020, section 3).

    A discriminator's first blocks are nearest the image, those of a generator or decoder nearest z. What stands before
    the blocks, such as an embedding of the label, is frozen with them.

    Raises:
        UserError: There is no such network, or it has fewer blocks.
    """
    roles = {"freezeD": ("discriminator", JUDGES), "freezeG": ("generator", MAKERS)}
    if preset not in roles:
        raise UserError(
            f"FreezeModules: there is no preset {preset} with a number; freezeD and freezeG have one."
            f"{nearest(preset, roles)} Type preset: {{freezeD: 3}}, say."
        )
    role, patterns = roles[preset]
    chosen = set()
    for name, network in _with_blocks(model, role, patterns, preset):
        if not 1 <= n <= len(network.blocks):
            raise UserError(
                f"FreezeModules: found {preset}: {n}, expected 1 to {len(network.blocks)}, the number of {name}.blocks."
                f"\nType preset: {{{preset}: {min(max(n, 1), len(network.blocks))}}}."
            )
        children = [child for child, _ in network.named_children()]
        before = children[: children.index("blocks")]
        chosen |= {f"{name}.{child}" for child in before} | {f"{name}.blocks.{i}" for i in range(n)}
    return parts_below(model, chosen)


def all_but_head(model: nn.Module) -> set[str]:
    """Every network that has a head, without its head.

    Raises:
        UserError: No network has one.
    """
    found = [name for name, network in networks_of(model) if isinstance(getattr(network, "head", None), nn.Module)]
    if not found:
        raise UserError(f"FreezeModules: all-but-head: no network of {type(model).__name__} has a head.")
    return parts_below(model, found) - parts_below(model, [f"{name}.head" for name in found])


def all_but_adapters(model: nn.Module) -> set[str]:
    """Every network that has adapters (modules whose class says `adapter = True`), without them.

    Raises:
        UserError: No network has any.
    """
    adapters = [name for name, module in model.named_modules() if getattr(module, "adapter", False) is True]
    found = [name for name, _ in networks_of(model) if any(matches(adapter, name) for adapter in adapters)]
    if not found:
        raise UserError(
            f"FreezeModules: all-but-adapters: no network of {type(model).__name__} has an adapter.\nGive one as "
            "--model.generator, or type preset: all-but-head."
        )
    return parts_below(model, found) - parts_below(model, adapters)


def batch_statistics_only(model: nn.Module) -> set[str]:
    """Every generator without the scales, shifts and statistics of its normalisations (Noguchi & Harada 2019, eq. 1).

    Raises:
        UserError: There is no generator, or one without a scale or shift.
    """
    found = [(name, network) for name, network in networks_of(model) if matches_any(name, MAKERS)]
    if not found:
        raise _no_network(model, "generator", "batch-statistics-only")
    frozen = set()
    for name, network in found:
        norms = [f"{name}.{inner}" for inner, module in network.named_modules() if is_norm(module)]
        kept = parts_below(model, norms)
        if not any(parameter in kept for parameter, _ in model.named_parameters()):
            raise UserError(
                f"FreezeModules: batch-statistics-only: {name}, a {type(network).__name__}, has no normalisation with "
                "a scale or shift, so that nothing of it would learn.\nType preset: all-but-head, say."
            )
        frozen |= parts_below(model, [name]) - kept
    return frozen


PRESETS = {
    "batch-statistics-only": batch_statistics_only,
    "all-but-head": all_but_head,
    "all-but-adapters": all_but_adapters,
}


def preset_parts(model: nn.Module, preset: str | Mapping[str, int]) -> set[str]:
    """The dotted names of all that a preset freezes.

    Raises:
        UserError: There is no such preset, or it does not suit the model.
    """
    if not isinstance(preset, str):
        return set().union(*(first_blocks(model, name, n) for name, n in preset.items()))
    if preset not in PRESETS:
        raise UserError(
            f"FreezeModules: there is no preset {preset!r}, expected {', '.join(PRESETS)}, or {{freezeD: 3}} and "
            f"{{freezeG: 2}} with a number of blocks.{nearest(preset, PRESETS)}"
        )
    return PRESETS[preset](model)


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises: torch's own, or one whose class says `normalizes = True`."""
    return isinstance(module, NORMS) or getattr(module, "normalizes", False) is True


def _with_blocks(model: nn.Module, role: str, patterns: Collection[str], preset: str) -> list[tuple[str, nn.Module]]:
    found = [(name, network) for name, network in networks_of(model) if matches_any(name, patterns)]
    found = [(name, network) for name, network in found if hasattr(network, "blocks")]
    if not found:
        raise _no_network(model, role, preset)
    return found


def _no_network(model: nn.Module, role: str, preset: str) -> UserError:
    names = ", ".join(name for name, _ in networks_of(model))
    return UserError(
        f"FreezeModules: {preset}: {type(model).__name__} has no {role}, it has {names}.\nName what to freeze with "
        "modules, or type preset: all-but-head."
    )
