"""What was measured: by path and measure a list of runs, each a dictionary of figures, or nothing where it failed."""

import statistics

from measures import MEASURES
from wanted import wants


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

    def ratio(self, path, against, measure, key):
        """A figure against another path's: each run's ratio, and the median of these.

        A machine's speed changes from run to run, but less within one.
        """
        ours, theirs = self.values(path, measure, key), self.values(against, measure, key)
        ratios = [ours[run] / theirs[run] for run in ours if theirs.get(run)]
        return statistics.median(ratios) if ratios else None

    def figures(self):
        """(measure, figure) of all that was measured, in order."""
        for measure in MEASURES:
            if any(name == measure.name for _, name in self.runs):
                for figure in measure.figures:
                    yield measure, figure

    def verdicts(self):
        """(path, want, ratio) of what is wanted, where it could be measured."""
        for path in self.paths:
            for want in wants(path):
                ratio = self.ratio(path, want.against, want.measure, want.figure)
                if ratio is not None:
                    yield path, want, ratio

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
                    "ratio": ratio,
                    "met": want.met(ratio),
                }
                for path, want, ratio in self.verdicts()
            ],
            "failures": self.failures,
        }
