"""Charts as SVG for an HTML page: small, self-contained, in the page's own text colour on its own background."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lit_gen.metrics.base import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by people who see red and green alike, and on light and dark ground (Wong 2011, Nature Methods 8, 441).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
MUTED = "#8a8a8a"
INK = "#123456"  # stands for the page's text colour, which an SVG on a page can take over and matplotlib cannot name
MOST_POINTS = 1000  # of a set in a picture of points
METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
NAMESPACES = re.compile(r' xmlns(:xlink)?="[^"]*"')


class Point(NamedTuple):
    """One value of a curve; NaN as the ends of an interval stands for none.

    Attributes:
        images: Images seen.
        value: Of the metric.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    images: int
    value: float
    low: float = float("nan")
    high: float = float("nan")


def colour(place: int) -> str:
    """The colour of the run at this place, the same in every chart of a page."""
    return COLOURS[place % len(COLOURS)]


def curves(runs: Sequence[Sequence[Point]], name: str) -> str:
    """A metric over the images seen, a line with a band for its interval for each run, in the colours of their order.

    Args:
        runs: The points of each run; none for a run that does not have the metric.
        name: Of the metric, as the axis says it.
    """
    figure, axes = _figure(5.2, 2.6)
    for place, points in enumerate(runs):
        images, values, low, high = zip(*sorted(points), strict=True) if points else ((), (), (), ())
        marker = "o" if len(points) < 2 else None
        axes.plot(images, values, color=colour(place), linewidth=1.6, marker=marker, markersize=4)
        axes.fill_between(images, low, high, color=colour(place), alpha=0.2, linewidth=0)
    axes.set_xlabel("images seen")
    axes.set_ylabel(name, parse_math=False)
    axes.xaxis.set_major_formatter(lambda images, _: f"{images:,.0f}")
    return _svg(figure)


def bundles(arms: Mapping[str, Sequence[Sequence[tuple[float, float]]]], x: str, y: str = "KID") -> str:
    """The curves of several arms: thin for each seed, thick for the median over them; y is on a logarithmic scale.

    The k-th point of the median is that of the seeds' k-th points, up to the end of the shortest.

    Args:
        arms: Under each name a curve for each seed, of points (x, y) of which those with y > 0 are drawn.
        x: What the one axis says.
        y: What the other says.
    """
    figure, axes = _figure(8.4, 4.2)
    for place, (name, seeds) in enumerate(arms.items()):
        style = ("-", "--", ":")[place // len(COLOURS) % 3]
        middle = [(median(p[0] for p in points), median(p[1] for p in points)) for points in zip(*seeds, strict=False)]
        for curve, width, alpha in (*((seed, 0.5, 0.5) for seed in seeds), (middle, 1.8, 1.0)):
            shown = [point for point in curve if point[1] > 0]
            label = name if curve is middle else None
            axes.plot(*zip(*shown, strict=True), style, color=colour(place), linewidth=width, alpha=alpha, label=label)
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False, labelcolor=INK)
    return _svg(figure)


def forest(rows: Mapping[str, Estimate], colours: Mapping[str, str]) -> str:
    """One number of several sets of images below each other, each a dot on its 95 % interval.

    Args:
        rows: What each is of, with the number.
        colours: Of some of them; the others stay in the background.
    """
    figure, axes = _figure(5.2, 0.55 + 0.24 * len(rows))
    for height, (label, estimate) in enumerate(rows.items()):
        shade = colours.get(label, MUTED)
        axes.plot([estimate.low, estimate.high], [height, height], color=shade, linewidth=2, solid_capstyle="butt")
        axes.plot(estimate.value, height, color=shade, marker="o", markersize=5)
    axes.set_yticks(range(len(rows)), list(rows), parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    return _svg(figure)


def manifolds(real: Tensor, fake: Tensor, inside: Tensor, covered: Tensor) -> str:
    """Precision and recall as points (Kynkaanniemi et al. 2019, arXiv:1904.06991, figure 1), in two dimensions.

    Both sets are laid on the plane in which they spread most (PCA of both together), so neighbours in the picture need
    not be neighbours in feature space: the colours say what was found there.

    Args:
        real: Features of real images, (N, F).
        fake: Features of generated images, (M, F).
        inside: Whether each generated image lies in the manifold of the real ones, (M,) bool.
        covered: Whether each real image has a generated one nearby, (N,) bool.
    """
    real, covered = _thinned(real, covered)
    fake, inside = _thinned(fake, inside)
    plane = principal_plane(torch.cat([real, fake]))
    figure, panels = _figures(2)
    sets = (
        ("real images", plane[: len(real)], covered, ("covered", "missed")),
        ("generated images", plane[len(real) :], inside, ("inside", "outside")),
    )
    for panel, (title, points, good, words) in zip(panels, sets, strict=True):
        panel.scatter(*plane.T.tolist(), s=3, color=MUTED, alpha=0.2, linewidths=0)
        for chosen, word, shade in ((good, words[0], COLOURS[0]), (~good, words[1], COLOURS[4])):
            label = f"{word}: {int(chosen.sum())} of {len(chosen)}"
            panel.scatter(*points[chosen].T.tolist(), s=7, color=shade, label=label, linewidths=0)
        panel.set_title(title, fontsize=9, color=INK)
        panel.set_xticks([])
        panel.set_yticks([])
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=8, frameon=False, labelcolor=INK)
    return _svg(figure)


def principal_plane(features: Tensor) -> Tensor:
    """Coordinates (N, 2) of features (N, F) along their first two principal components, in float64."""
    centred = features.double() - features.double().mean(0)
    if len(centred) < centred.shape[1]:  # the smaller of the two products has the same spectrum
        variance, found = torch.linalg.eigh(centred @ centred.T)
        plane = found[:, [-1, -2]] * variance[[-1, -2]].clamp(min=0).sqrt()
    else:
        plane = centred @ torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -2:].flip(1)
    ends = plane.gather(0, plane.abs().argmax(0, keepdim=True))
    return torch.where(ends < 0, -plane, plane)  # the sign of an eigenvector is nobody's choice


def _thinned(features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """At most as many rows as a picture shows, spread over the set."""
    rows = torch.linspace(0, len(features) - 1, min(len(features), MOST_POINTS)).round().long()
    return features[rows], mask[rows].bool().cpu()


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of its own, in inches, which no global state of matplotlib knows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, _styled(figure.add_subplot())


def _figures(n: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * n, 3.6), layout="constrained")
    return figure, [_styled(figure.add_subplot(1, n, place + 1)) for place in range(n)]


def _styled(axes: Axes) -> Axes:
    axes.set_facecolor("none")
    axes.tick_params(colors=INK, labelsize=8)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    for side, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(side in ("left", "bottom"))
    return axes


def _svg(figure: Figure) -> str:
    """The figure as an element of a page: the same bytes for the same data, and no address of any other place."""
    import matplotlib

    text = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lit_gen", "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = NAMESPACES.sub("", METADATA.sub("", svg[svg.index("<svg") :]))
    return svg.replace(INK, "currentColor").replace("xlink:href", "href")
