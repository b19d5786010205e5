"""Write an evaluation as one HTML page that needs nothing else: no network, no script.

Shows accuracy by group, category and product, the distances with the thresholds drawn in, what
coverage costs in risk, how the unknown are told, and the worst confusions with their pictures.
Called by `shelfgate models evaluate --report`.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np

from models.catalogue import Catalogue
from models.charts import bar, curve, histogram
from models.evaluate import Answer, Evaluation, answers_by_group, risk_coverage, thinned
from models.pictures import PictureError, read_picture

CONFUSIONS = 24
_THUMB = 160
_STYLE = Path(__file__).with_name("report.css")


def evaluation_page(
    evaluation: Evaluation,
    catalogue: Catalogue,
    pictures: Mapping[str, Sequence[Path]],
    title: str,
) -> str:
    """Return the page.

    pictures: of products, to be shown beside what was taken for them; the queries are used too.
    """
    answers = evaluation.answers
    parts = [
        _cards(evaluation),
        '<div class="grid2">',
        _section("What coverage costs in risk", _risk(answers)),
        _section("Telling the unknown", _roc(answers, evaluation)),
        *_distances(evaluation),
        "</div>",
        *_groups(evaluation),
        _wide("By category", _by(answers, lambda a: catalogue[a.sku].category or "-")),
        _wide("Worst confusions", _confusions(answers, catalogue, pictures)),
        _wide("By product", _by(answers, lambda a: catalogue[a.sku].name)),
    ]
    counts = evaluation.figures["counts"]
    told = (
        f"{counts['queries']} pictures of {len({a.sku for a in answers})} products asked of a "
        f"table of {counts['products']}; {counts['unknown']} pictures of what is not in it."
        f"{_cost(evaluation)}"
    )
    return page(title, told, "".join(parts))


def page(title: str, told: str, body: str) -> str:
    """Return a whole page in the reports' style."""
    style = _STYLE.read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p class="sub">{escape(told)}</p>{body}</main></body></html>\n'
    )


def thumbnail(path: Path) -> str:
    """Return an img element that carries a small copy of a picture; a gap where there is none."""
    try:
        picture = read_picture(path)
    except PictureError:
        return '<span class="gone"></span>'
    scale = _THUMB / max(picture.shape[:2])
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    data = base64.b64encode(coded).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(path.name)}">'


def _cards(evaluation: Evaluation) -> str:
    figures = evaluation.figures
    unknown = figures["unknown" if evaluation.strangers else "left_out"]
    shown = {
        "top-1, trained": figures["accuracy"]["trained"],
        "top-1, untrained": figures["accuracy"]["untrained"],
        "right of what is decided": figures["selective"]["accuracy"],
        "decided without review": figures["selective"]["coverage"],
        "settled at the centroids": figures["immediate"],
        "tracks of 5, trained": figures["tracks"]["trained"],
        "tracks of 5, untrained": figures["tracks"]["untrained"],
        "unknown wrongly accepted": unknown["false_accepts"],
        "AUROC of the unknown": unknown["auroc"],
    }
    cards = (
        f'<div class="card"><b>{_share(value)}</b><span>{name}</span></div>'
        for name, value in shown.items()
    )
    return f'<div class="cards">{"".join(cards)}</div>'


def _cost(evaluation: Evaluation) -> str:
    cost = evaluation.figures["search"]
    if cost is None:
        return ""
    return (
        f" To decide takes {cost['decision_ms']:.2f} ms; to compare with every anchor of every "
        f"product {cost['all_anchors_ms']:.2f} ms, and names the same for "
        f"{cost['same_product']:.1%}."
    )


def _risk(answers: Sequence[Answer]) -> str:
    points = thinned(risk_coverage(answers), 240)
    decided = [answer for answer in answers if answer.decided]
    wrong = sum(answer.ruling.sku != answer.sku for answer in decided)
    mark = (len(decided) / len(answers), wrong / len(decided), "the gate") if decided else None
    high = max([risk for _, risk in points] + [0.02]) * 1.1
    drawn = curve(points, ("coverage", "wrong of those"), y=(0.0, high), mark=mark)
    reached = [
        f"{limit:.0%} wrong at a coverage of "
        f"{max([c for c, risk in points if risk <= limit], default=0.0):.1%}"
        for limit in (0.01, 0.03, 0.05)
    ]
    return f'{drawn}<p class="legend">By lead over strangeness: {"; ".join(reached)}.</p>'


def _roc(answers: Sequence[Answer], evaluation: Evaluation) -> str:
    strangers = evaluation.strangers or evaluation.left_out
    if not answers or not strangers:
        return "<p>Nothing was asked.</p>"
    known = np.sort([answer.ruling.strangeness for answer in answers])
    unknown = np.sort([answer.ruling.strangeness for answer in strangers])
    bars = np.unique(np.concatenate([known, unknown]))
    taken = np.searchsorted(known, bars, side="right") / len(known)
    strange = np.searchsorted(unknown, bars, side="right") / len(unknown)
    points = [(0.0, 0.0), *zip(strange.tolist(), taken.tolist(), strict=True)]
    mark = (
        sum(answer.decided for answer in strangers) / len(strangers),
        sum(answer.decided for answer in answers) / len(answers),
        "the gate, lead included",
    )
    labels = ("unknown items accepted", "known items accepted")
    drawn = curve(thinned(points, 240), labels, y=(0.0, 1.0), mark=mark, rising=True)
    kind = "unknown" if evaluation.strangers else "left_out"
    area = evaluation.figures[kind]["auroc"]
    made = "" if evaluation.strangers else " Unknown are the queries, their own product left out."
    return f'{drawn}<p class="legend">AUROC {area:.3f}.{made}</p>'


def _distances(evaluation: Evaluation) -> list[str]:
    """Return a histogram for each group: of what it answered, by its yardstick and thresholds."""
    tables = evaluation.groups.tables
    title = "Distances, as the gate tells them"
    found = []
    for name, table in tables.items():
        limits = table.thresholds
        answers, strangers = (
            [a for a in asked if len(tables) == 1 or a.ruling.group == name]
            for asked in (evaluation.answers, evaluation.strangers or evaluation.left_out)
        )
        kinds = {
            "nearest is the product": [a.ruling.strangeness for a in answers if a.first_right],
            "nearest is another": [a.ruling.strangeness for a in answers if not a.first_right],
            "unknown": [a.ruling.strangeness for a in strangers],
        }
        drawn = histogram(kinds, {"TL": limits.tl, "TH": limits.th}, "strangeness of the nearest")
        found.append(_section(title if len(tables) == 1 else f"{title}: {name}", drawn))
    return found


def _groups(evaluation: Evaluation) -> list[str]:
    """Return how each group's own products fare, and the router; nothing where there is one."""
    by_group = answers_by_group(evaluation)
    if len(by_group) == 1:
        return []
    home_of = evaluation.groups.home_of
    answers = [answer for own in by_group.values() for answer in own]
    routing, told = evaluation.figures["router"], "No router: every group is asked."
    if routing is not None:
        told = (
            f"The router names the right group for {routing['accuracy']:.1%}; it is sure of "
            f"{routing['sure']:.1%}, and wrong in {routing['wrong_when_sure']:.1%} of those."
        )
    table = _by(answers, lambda answer: home_of[answer.sku])
    return [_wide("By group", f'{table}<p class="legend">{told}</p>')]


def _by(answers: Sequence[Answer], key: Callable[[Answer], str]) -> str:
    kinds: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        kinds[key(answer)].append(answer)
    rows = []
    for name, found in kinds.items():
        decided = [answer for answer in found if answer.decided]
        wrong = sum(answer.ruling.sku != answer.sku for answer in decided)
        top = sum(answer.first_right for answer in found) / len(found)
        rows.append((top, name, len(found), len(decided) / len(found), wrong))
    lines = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{count}</td><td>{bar(top)}</td>'
        f'<td>{bar(coverage)}</td><td class="n">{wrong or ""}</td></tr>'
        for top, name, count, coverage, wrong in sorted(rows)
    )
    head = '<th class="n">pictures</th><th>top-1</th><th>decided</th><th class="n">wrong</th>'
    return f"<table><tr><th>name</th>{head}</tr>{lines}</table>"


def _confusions(
    answers: Sequence[Answer], catalogue: Catalogue, pictures: Mapping[str, Sequence[Path]]
) -> str:
    pairs: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.ruling.nearest and not answer.first_right:
            pairs[answer.sku, answer.ruling.nearest[0].sku].append(answer)
    samples: dict[str, Path] = {a.sku: a.path for a in answers if a.path is not None}
    samples.update({sku: paths[0] for sku, paths in pictures.items() if paths})
    asked = Counter(answer.sku for answer in answers)
    # What was decided wrongly is worse than what went to review.
    order = sorted(
        pairs.items(), key=lambda item: (-sum(a.decided for a in item[1]), -len(item[1]))
    )
    lines = []
    for (sku, taken), found in order[:CONFUSIONS]:
        worst = max(found, key=lambda a: (a.decided, a.confidence))
        shown = thumbnail(worst.path) if worst.path else '<span class="gone"></span>'
        other = thumbnail(samples[taken]) if taken in samples else '<span class="gone"></span>'
        decided = sum(answer.decided for answer in found)
        name = catalogue[taken].name if taken in catalogue else taken
        lines.append(
            f'<div class="pair">{shown}{other}<div><strong>{escape(catalogue[sku].name)}</strong>'
            f" taken for <strong>{escape(name)}</strong><br><small>{len(found)} of "
            f"{asked[sku]} pictures, {decided} of them decided without review; the one shown at "
            f"{worst.ruling.distance:.3f}</small></div></div>"
        )
    return "".join(lines) or "<p>None.</p>"


def _section(title: str, inside: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{inside}</section>"


def _wide(title: str, inside: str) -> str:
    return f'<section class="wide"><h2>{escape(title)}</h2>{inside}</section>'


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
