"""The picture: one panel of bars a figure, medians with least and most, as an SVG."""

from html import escape

WIDTH, MARGIN, GAP, COLUMNS = 1380, 24, 28, 3
LABEL, VALUE, BAR, STEP, HEAD = 124, 66, 13, 19, 44
# A bar longer than this many of bare veth is broken off, so that one slow path does not press the others together.
LONGEST = 5
COLOURS = {"peer": "#8a94a3", "floor": "#b08a2e", "userspace": "#3c78b4", "ebpf": "#2e8b57"}


def kind(path):
    plane = path.partition("-")[0]
    return plane if plane in COLOURS else "floor" if path in ("veth", "veth-long", "veth6", "tcx") else "peer"


def text(x, y, said, size=12, anchor="start", weight="normal", fill="#1c2430"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{fill}">{escape(said)}</text>'
    )


def panel(results, measure, figure, x, y, width):
    unit = f" ({figure.unit})" if figure.unit else ""
    better = "more is better" if figure.more else "less is better"
    drawn = [text(x, y + 14, figure.about + unit, 13, weight="bold"), text(x, y + 29, better, 10, fill="#667080")]
    found = {path: results.summary(path, measure.name, figure.key) for path in results.paths}
    # By the medians: one slow run shall not press all bars together.
    reach = max((summary[0] for summary in found.values() if summary), default=0) * 1.15 or 1
    if found.get("veth") and found["veth"][0]:
        reach = min(reach, LONGEST * found["veth"][0])
    left, room = x + LABEL, width - LABEL - VALUE

    def at(value):
        return left + room * min(value / reach, 1)

    y += HEAD
    if found.get("veth"):
        line = at(found["veth"][0])
        drawn.append(
            f'<line x1="{line:.1f}" x2="{line:.1f}" y1="{y - 4}" y2="{y + STEP * len(found) - 2}" '
            'stroke="#b08a2e" stroke-dasharray="3 3"/>'
        )
    for path, summary in found.items():
        middle = y + BAR / 2
        drawn.append(text(x + LABEL - 8, middle + 4, path, 11, "end"))
        if summary:
            median, least, most = summary
            drawn.append(
                f'<rect x="{left}" y="{y}" width="{max(at(median) - left, 1):.1f}" height="{BAR}" rx="2" '
                f'fill="{COLOURS[kind(path)]}"/>'
            )
            if median <= reach:
                drawn.append(
                    f'<line x1="{at(least):.1f}" x2="{at(most):.1f}" y1="{middle}" y2="{middle}" stroke="#1c2430"/>'
                )
                for end in (least, most):
                    drawn.append(
                        f'<line x1="{at(end):.1f}" x2="{at(end):.1f}" y1="{middle - 3}" y2="{middle + 3}" '
                        'stroke="#1c2430"/>'
                    )
            else:
                drawn.append(text(left + room - 16, middle + 4, "≫", 13, weight="bold", fill="#ffffff"))
            drawn.append(text(x + width, middle + 4, f"{median:,.{figure.decimals}f}", 11, "end"))
        else:
            drawn.append(text(left + 4, middle + 4, "not measured", 10, fill="#667080"))
        y += STEP
    return drawn


def svg(results, title, subtitle):
    """The whole picture: COLUMNS panels a row."""
    panels = list(results.figures())
    width = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    height = HEAD + STEP * len(results.paths) + GAP
    top = 76
    rows = -(-len(panels) // COLUMNS)
    whole = top + rows * height + MARGIN
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {whole}" width="{WIDTH}" height="{whole}" '
        'font-family="system-ui, sans-serif">',
        f'<rect width="{WIDTH}" height="{whole}" fill="#ffffff"/>',
        text(MARGIN, 34, title, 18, weight="bold"),
        text(MARGIN, 54, subtitle, 12, fill="#667080"),
    ]
    for n, (measure, figure) in enumerate(panels):
        x = MARGIN + (n % COLUMNS) * (width + GAP)
        drawn += panel(results, measure, figure, x, top + (n // COLUMNS) * height, width)
    return "\n".join([*drawn, "</svg>", ""])
