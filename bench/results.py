"""What was measured: by path and measure a list of runs, each a dictionary of figures, or nothing where it failed."""

import statistics

from measures import MEASURES
from wanted import beside, wants


class Results:
    def __init__(self, paths):
        # Descriptions by name, in the order of the tables.
        self.paths = paths
        self.runs = {}
        self.failures = []

    def add(self, path, measure, run, figures):
        runs = self.runs.setdefault((path, measure), {})
        runs[run] = figures

    def values(self, path, measure, key):
        """A figure by run."""
        runs = self.runs.get((path, measure), {})
        return {run: figures[key] for run, figures in runs.items() if figures and figures.get(key) is not None}

    def summary(self, path, measure, key):
        """(median, least, most), or nothing."""
        values = list(self.values(path, measure, key).values())
        return (statistics.median(values), min(values), max(values)) if values else None

    def ratios(self, path, against, measure, key):
        """A figure against another path's: (median, least, most) of each run's ratio, or nothing.

        A machine's speed changes from run to run, but less within one. Against no path it is the figure itself.
        """
        if against is None:
            return self.summary(path, measure, key)
        ours, theirs = self.values(path, measure, key), self.values(beside(path, against), measure, key)
        ratios = [ours[run] / theirs[run] for run in ours if theirs.get(run)]
        return (statistics.median(ratios), min(ratios), max(ratios)) if ratios else None

    def ratio(self, path, against, measure, key):
        """The median alone."""
        ratios = self.ratios(path, against, measure, key)
        return ratios and ratios[0]

    def figures(self):
        """(measure, figure) of all that was measured, in order."""
        for measure in MEASURES:
            if any(name == measure.name for _, name in self.runs):
                for figure in measure.figures:
                    yield measure, figure

    def verdicts(self):
        """(path, want, (median, least, most) of the ratios) of what is wanted, where it could be measured."""
        for path in self.paths:
            for want in wants(path):
                ratios = self.ratios(path, want.against, want.measure, want.figure)
                if ratios:
                    yield path, want, ratios

    def json(self):
        return {
            "paths": self.paths,
            "runs": [
                {"path": path, "measure": measure, "run": run, "figures": figures}
                for (path, measure), runs in self.runs.items()
                for run, figures in sorted(runs.items())
            ],
            "summary": [
                {
                    "path": path,
                    "measure": measure.name,
                    "figure": figure.key,
                    "unit": figure.unit,
                    **dict(zip(("median", "least", "most"), found)),
                    "of_veth": self.ratio(path, "veth", measure.name, figure.key),
                    "of_router": self.ratio(path, "router", measure.name, figure.key),
                }
                for measure, figure in self.figures()
                for path in self.paths
                if (found := self.summary(path, measure.name, figure.key))
            ],
            "wanted": [
                {
                    "path": path,
                    "measure": want.measure,
                    "figure": want.figure,
                    "against": want.against,
                    "least" if want.least else "most": want.ratio,
                    "ratio": ratios[0],
                    "ratio_least": ratios[1],
                    "ratio_most": ratios[2],
                    "met": want.met(ratios[0]),
                }
                for path, want, ratios in self.verdicts()
            ],
            "failures": self.failures,
        }
