"""The tables on the terminal."""

import sys

from measures import figure as figure_of
from wanted import beside, between_hosts


class Colour:
    """Escapes, where a terminal reads."""

    def __init__(self, stream):
        self.on = stream.isatty()

    def __call__(self, code, text):
        return f"\x1b[{code}m{text}\x1b[0m" if self.on else text


def number(value, decimals):
    return f"{value:,.{decimals}f}"


def ratio(value):
    return "" if value is None else f"{value:.2f}"


def tables(results, stream=sys.stdout):
    """A table for each figure: medians, extremes, ratios."""
    colour = Colour(stream)
    wide = max(len(name) for name in results.paths)
    for measure, figure in results.figures():
        unit = f", {figure.unit}" if figure.unit else ""
        better = "more is better" if figure.more else "less is better"
        print(f"\n{colour('1', figure.about + unit)}  ({better})", file=stream)
        head = f"  {'path':<{wide}}{'median':>12}{'least':>12}{'most':>12}{'of veth':>9}{'of router':>11}{'of vxlan':>10}"
        print(colour("2", head), file=stream)
        for path in results.paths:
            found = results.summary(path, measure.name, figure.key)
            if not found:
                print(f"  {path:<{wide}}{'–':>12}", file=stream)
                continue
            cells = "".join(f"{number(value, figure.decimals):>12}" for value in found)
            of_veth = ratio(results.ratio(path, "veth", measure.name, figure.key))
            of_router = ratio(results.ratio(path, "router", measure.name, figure.key))
            of_vxlan = ratio(results.ratio(path, "vxlan", measure.name, figure.key)) if between_hosts(path) else ""
            print(f"  {path:<{wide}}{cells}{of_veth:>9}{of_router:>11}{of_vxlan:>10}".rstrip(), file=stream)


def wanted(results, stream=sys.stdout):
    """What is wanted beside what was seen; how many were missed."""
    colour = Colour(stream)
    verdicts = list(results.verdicts())
    if not verdicts:
        return 0
    print(f"\n{colour('1', 'Wanted')}", file=stream)
    missed = 0
    path_before = None
    for path, want, seen in verdicts:
        if path != path_before:
            print(f"  {path}: {results.paths[path]}", file=stream)
            path_before = path
        median, least, most = seen
        met = want.met(median)
        missed += not met
        mark = colour("32", "met   ") if met else colour("31", "missed")
        sign = "≥" if want.least else "≤"
        about = figure_of(want.measure, want.figure).about
        other = f"of {beside(path, want.against)}" if want.against else ""
        spread = f"{least:.2f} to {most:.2f}"
        print(f"    {mark}  {median:5.2f} {spread:>14}  {sign} {want.ratio:5.3f} {other:<16} {about}", file=stream)
    print(f"  {len(verdicts) - missed} of {len(verdicts)} met", file=stream)
    return missed
