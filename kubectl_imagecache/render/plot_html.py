"""One self-contained page on pulls: what stands out, plots, sortable tables, coverage; light and dark, no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from kubectl_imagecache import __version__
from kubectl_imagecache.core.pull_report import PullReport
from kubectl_imagecache.core.pull_stats import By, groups
from kubectl_imagecache.core.report import StatusReport
from kubectl_imagecache.render.plot import picture
from kubectl_imagecache.render.plot_svg import DARK_INKS, INKS, clean, svg
from kubectl_imagecache.render.pull_words import sentence
from kubectl_imagecache.render.pulls import TITLES, group_table, image_namer
from kubectl_imagecache.render.status import status_view
from kubectl_imagecache.render.table import Cell, Column, Table
from kubectl_imagecache.render.text import count, neutral

MOST_ROWS = 500
"""Rows of one table; the page says how many are left out."""
_EXPLAINED = (
    ("registry", "Pulled layer by layer and unpacked on the node."),
    ("image streaming", "GKE mounts the image and fetches what is read; the rest follows behind."),
    ("cache disk", "The layers are on a disk that the node came with: nothing is fetched."),
    ("node's own store", "The node had the image from an earlier pull."),
)


def page_of(report: PullReport, whole: bool) -> str:
    """REPORT as an HTML document; not WHOLE: the plot alone."""
    title = f"Image pulls: {_cluster(report)}"
    body = "\n".join(_whole(report) if whole else [_figure(report, By.METHOD)])
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{clean(title)}</title>\n<style>{_style()}</style>\n</head>\n<body>\n"
        f"<h1>{clean(title)}</h1>\n{_lead(report)}\n{body}\n{_foot()}\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _cluster(report: PullReport) -> str:
    origin = report.origin
    return neutral(origin.cluster.rpartition("/")[2] or origin.context or origin.source)


def _lead(report: PullReport) -> str:
    origin = report.origin
    timed = sum(one.pull.seconds is not None for one in report.pulls)
    nodes = len({one.pull.node for one in report.pulls if one.pull.seconds is not None})
    what = f"{count(timed, 'pull')} on {count(nodes, 'node')}, read {origin.observed_at:%Y-%m-%d %H:%M} UTC"
    where = f"{neutral(origin.cluster)} ({neutral(origin.source)})" if origin.cluster else neutral(origin.source)
    return f'<p class="quiet">{clean(what)} from {clean(where)}.</p>'


def _whole(report: PullReport) -> Iterator[str]:
    name = image_namer(report)
    if report.findings:
        items = "".join(f"<li>{clean(sentence(one, name))}</li>" for one in report.findings)
        yield f"<h2>What stands out</h2>\n<ul>{items}</ul>"
    yield _figure(report, By.METHOD)
    if len({one.pool for one in report.pulls}) > 1:
        yield _figure(report, By.POOL)
    for by in (By.METHOD, By.POOL, By.IMAGE, By.NODE):
        found = groups(report.pulls, report.troubles, report.starts, by)
        yield _table(f"By {TITLES[by].lower()}", group_table(found, by, name))
    if report.status is not None:
        yield _coverage(report.status)
    if report.gaps:
        items = "".join(
            f"<li>{clean(neutral(f'{gap.what}: {gap.why}' + (f' ({gap.hint})' if gap.hint else '')))}</li>"
            for gap in report.gaps
        )
        yield f"<h2>What could not be read</h2>\n<ul>{items}</ul>"
    terms = "".join(f"<dt>{clean(term)}</dt><dd>{clean(text)}</dd>" for term, text in _EXPLAINED)
    yield f"<h2>The ways to pull</h2>\n<dl>{terms}</dl>"


def _figure(report: PullReport, by: By) -> str:
    drawn = picture(report, by)
    return f'<figure aria-label="{clean(drawn.title)}">\n{svg(drawn, themed=True)}</figure>'


def _coverage(status: StatusReport) -> str:
    return _table("Cache disks by pool", status_view(status).table)


def _table(title: str, table: Table) -> str:
    head = "".join(_head(column) for column in table.columns)
    rows = "\n".join(
        "<tr>" + "".join(_cell(*pair) for pair in zip(table.columns, row, strict=True)) + "</tr>"
        for row in table.rows[:MOST_ROWS]
    )
    left = len(table.rows) - MOST_ROWS
    more = f'<p class="quiet">{left:,} more rows are left out.</p>' if left > 0 else ""
    empty = "" if table.rows else '<p class="quiet">Nothing.</p>'
    return (
        f'<h2>{clean(title)}</h2>\n<div class="scroll"><table class="sortable">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{rows}\n</tbody></table></div>{more}{empty}"
    )


def _head(column: Column) -> str:
    side = ' class="right"' if column.right else ""
    return f'<th scope="col"{side}><button type="button">{clean(column.title)}</button></th>'


def _cell(column: Column, cell: Cell) -> str:
    key = "" if cell.value is None else str(cell.value)
    side = ' class="right"' if column.right else ""
    full = f' title="{clean(neutral(key))}"' if isinstance(cell.value, str) and key != cell.text else ""
    return f'<td data-key="{clean(neutral(key))}"{side}{full}>{clean(cell.text + cell.tail)}</td>'


def _foot() -> str:
    words = (
        "P50, P90, MAX: seconds from the kubelet's asking until the image is there, without the wait in its queue. "
        "FIRST, LATER: medians of the first pull of an image on any node of its pool, and of those on further nodes. "
        "RATE: the image's whole size by the time. PROVISION, PULL, START: medians of the pods' way to Ready."
    )
    return f'<footer class="quiet"><p>{clean(words)}</p><p>kubectl-imagecache {clean(__version__)}</p></footer>'


def _style() -> str:
    def inks(of: dict[str, str]) -> str:
        return "".join(f"--{name}:{value};" for name, value in of.items())

    return (
        f":root{{--ground:#ffffff;--link:#0b57d0;{inks(INKS)}}}"
        f"@media (prefers-color-scheme: dark){{:root{{--ground:#161616;--link:#8ab4f8;{inks(DARK_INKS)}}}}}"
        f"@media print{{:root{{--ground:#ffffff;{inks(INKS)}}}}}" + _RULES
    )


_RULES = """
body{margin:2rem auto;max-width:84rem;padding:0 1rem;background:var(--ground);color:var(--text);
font:15px/1.5 system-ui,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
h1{font-size:1.6rem;margin:0 0 .2rem}
h2{font-size:1.15rem;margin:2rem 0 .5rem}
.quiet{color:var(--quiet)}
figure{margin:1.5rem 0;overflow-x:auto}
svg{max-width:100%;height:auto}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .3rem;border-bottom:1px solid var(--grid);text-align:left;vertical-align:top;white-space:nowrap}
td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:9rem}
td:last-child{white-space:normal;min-width:9rem}
.right{text-align:right}
th button{all:unset;cursor:pointer;font-weight:600;font-size:.76rem;color:var(--quiet)}
th button:focus-visible{outline:2px solid var(--link);outline-offset:2px}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
dt{font-weight:600}dd{margin:0 0 .4rem}
footer{margin-top:3rem;font-size:.85rem}
@media print{body{margin:0;max-width:none}th button{color:var(--text)}}
"""
_SCRIPT = """
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.key;
    const compare = (a, b) => {
      const x = key(a), y = key(b);
      if (x === "" || y === "") return x === y ? 0 : x === "" ? 1 : -1;
      const numbers = !isNaN(x) && !isNaN(y);
      const order = numbers ? x - y : x.localeCompare(y);
      return up ? order : -order;
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  }));
}
"""
