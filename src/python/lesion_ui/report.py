"""The report of one answer as PDF: what the page says, with the notice on every page, versions and request id.

Written with reportlab; its own Vera fonts are embedded. A letter that they lack is shown as a question mark.
"""

# Lengths in points, 1/72 inch

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from xml.sax.saxutils import escape

import attrs
from PIL import Image as Picture
from reportlab.graphics.shapes import Circle, Drawing, Polygon, Rect
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from lesion_core.service import Feedback, Record
from lesion_core.taxonomy import Malignancy
from lesion_ui import palette
from lesion_ui.texts import Texts
from lesion_ui.view import AnswerView, Bar, answer_view
from lesion_ui.wording import time_text

FONT, BOLD = "Vera", "VeraBd"
MARGIN = 18 * mm
IMAGE_SIDE = 52 * mm
BAR_WIDTH = 60 * mm


_Make = Callable[..., Paragraph]


@attrs.frozen
class _Styles:
    title: ParagraphStyle
    heading: ParagraphStyle
    body: ParagraphStyle
    small: ParagraphStyle
    box: ParagraphStyle


def report_pdf(record: Record, texts: Texts, *, image: Picture.Image | None = None) -> bytes:
    """One record as a PDF of one or two A4 pages; equal input gives equal bytes.

    Args:
        record: as the gateway keeps it.
        texts: in the language of the report.
        image: the lesion, where it is still at hand; nobody keeps it.
    """
    letters = _fonts()
    styles = _styles()
    answer = answer_view(record.prediction, texts)

    def text(words: str, style: ParagraphStyle | None = None) -> Paragraph:
        plain = "".join(letter if ord(letter) in letters or letter.isspace() else "?" for letter in words)
        return Paragraph(escape(plain), style or styles.body)

    story: list[Flowable] = [
        text(texts("report.title"), styles.title),
        text(texts("report.lead", request_id=record.request_id, at=time_text(record.at))),
    ]
    if record.subject:
        story.append(text(texts("report.subject", subject=record.subject)))
    for alert in (answer.quality_alert, answer.alert):
        if alert is not None:
            story.append(text(alert, styles.box))
    story.append(_headline(answer, texts, text, styles, image))
    story += [
        text(texts("answer.set_title"), styles.heading),
        text(answer.conformal),
        text(texts("answer.chart_title"), styles.heading),
        _bars(answer.bars, text),
        text(answer.risk.title, styles.heading),
        text(answer.risk.sentence),
        text(texts("report.quality"), styles.heading),
    ]
    story += [text(f"{note.sentence} {note.numbers}") for note in answer.quality] or [text(texts("answer.photo_ok"))]
    story += _feedback(record.feedback, answer.bars, texts, text, styles)
    story.append(KeepTogether(_facts(record, answer, texts, text, styles)))
    stream = io.BytesIO()
    document = SimpleDocTemplate(
        stream,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=19 * mm,
        bottomMargin=15 * mm,
        title=texts("report.title"),
        author="Lesion",
        subject=texts("word.notice"),
        lang=texts.language,
        invariant=True,
    )

    def around(canvas: Canvas, page: SimpleDocTemplate) -> None:
        _around(canvas, page.page, record.request_id, texts)

    document.build(story, onFirstPage=around, onLaterPages=around)
    return stream.getvalue()


def _around(canvas: Canvas, page: int, request_id: str, texts: Texts) -> None:
    """The notice on top and the request below, on every page."""
    width, height = A4
    canvas.saveState()
    canvas.setFillColor(colors.HexColor(palette.NOTICE_BACKGROUND))
    canvas.rect(0, height - 12 * mm, width, 12 * mm, stroke=0, fill=1)
    canvas.setFillColor(colors.HexColor(palette.NOTICE_TEXT))
    canvas.setFont(BOLD, 9.5)
    canvas.drawCentredString(width / 2, height - 7.5 * mm, texts("word.notice"))
    canvas.setFillColor(colors.HexColor(palette.LIGHT.text))
    canvas.setFont(FONT, 7.5)
    canvas.drawString(MARGIN, 9 * mm, request_id)
    canvas.drawRightString(width - MARGIN, 9 * mm, texts("report.page", page=page))
    canvas.restoreState()


def _headline(answer: AnswerView, texts: Texts, text: _Make, styles: _Styles, image: Picture.Image | None) -> Flowable:
    words = [
        text(answer.headline.kicker, styles.small),
        text(answer.headline.name, styles.title),
        text(_without_symbols(answer.headline.probability_text)),
        text(answer.headline.plain),
    ]
    if answer.headline.codes:
        words.append(text(texts("answer.codes", codes=answer.headline.codes), styles.small))
    if image is None:
        words.append(text(texts("report.no_image"), styles.small))
        return KeepTogether(words)
    stream = io.BytesIO()
    small = image.convert("RGB")
    small.thumbnail((700, 700))
    small.save(stream, "JPEG", quality=88)
    scale = IMAGE_SIDE / max(small.size)
    picture = Image(stream, width=small.width * scale, height=small.height * scale)
    table = Table([[picture, words]], colWidths=[IMAGE_SIDE + 5 * mm, None])
    table.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (0, 0), 0)]))
    return table


def _bars(bars: Sequence[Bar], text: _Make) -> Table:
    """Symbol, name, group, bar and number of each class: the page's chart and table in one."""
    rows = [
        [_symbol(bar), text(f"{bar.name} ({bar.code})"), text(bar.grouping), _bar(bar), text(bar.text)] for bar in bars
    ]
    table = Table(rows, colWidths=[6 * mm, 58 * mm, 27 * mm, BAR_WIDTH + 4 * mm, 18 * mm], rowHeights=5.6 * mm)
    line = colors.HexColor("#D5DEE2")
    table.setStyle(
        TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("LINEBELOW", (0, 0), (-1, -1), 0.3, line),
                ("TOPPADDING", (0, 0), (-1, -1), 0),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
            ]
        )
    )
    return table


def _colour(bar: Bar) -> colors.Color:
    return colors.HexColor(palette.NONE if bar.is_none_of_the_above else palette.MALIGNANCY[bar.malignancy])


def _symbol(bar: Bar) -> Drawing:
    """The fonts lack the page's symbols, so they are drawn."""
    drawing = Drawing(9, 9)
    fill = _colour(bar)
    if bar.is_none_of_the_above:
        drawing.add(Circle(4.5, 4.5, 3.2, fillColor=None, strokeColor=fill))
    elif bar.malignancy is Malignancy.MALIGNANT:
        drawing.add(Polygon([0.5, 1, 8.5, 1, 4.5, 8.5], fillColor=fill, strokeColor=None))
    elif bar.malignancy is Malignancy.INDETERMINATE:
        drawing.add(Polygon([4.5, 0.5, 8.5, 4.5, 4.5, 8.5, 0.5, 4.5], fillColor=fill, strokeColor=None))
    else:
        drawing.add(Circle(4.5, 4.5, 3.5, fillColor=fill, strokeColor=None))
    return drawing


def _bar(bar: Bar) -> Drawing:
    drawing = Drawing(BAR_WIDTH, 9)
    drawing.add(Rect(0, 1, BAR_WIDTH, 7, fillColor=colors.HexColor("#E8EDEF"), strokeColor=None))
    drawing.add(Rect(0, 1, BAR_WIDTH * bar.probability, 7, fillColor=_colour(bar), strokeColor=None))
    return drawing


def _feedback(
    feedback: Sequence[Feedback], bars: Sequence[Bar], texts: Texts, text: _Make, styles: _Styles
) -> list[Flowable]:
    rows: list[Flowable] = [text(texts("report.feedback"), styles.heading)]
    names = {bar.code: bar.name for bar in bars}
    for one in feedback:
        rows.append(text(feedback_text(one, names, texts)))
    if not feedback:
        rows.append(text(texts("record.no_feedback")))
    return rows


def feedback_text(one: Feedback, names: dict[str, str], texts: Texts) -> str:
    """One judgement as a sentence, without markup."""
    said = texts(f"verdict.{one.verdict}") if texts.find(f"verdict.{one.verdict}") else one.verdict
    parts = [f"{time_text(one.at)}: {said}"]
    if one.diagnosis:
        parts.append(names.get(one.diagnosis, one.diagnosis))
    if one.verdict != "comment":
        parts.append(texts.find(f"source.{one.source}") or one.source)
    if one.comment:
        parts.append(f"“{one.comment}”")
    return " – ".join(parts)


def _facts(record: Record, answer: AnswerView, texts: Texts, text: _Make, styles: _Styles) -> list[Flowable]:
    sha = record.image_sha256 or texts("word.none")
    return [
        text(texts("report.facts"), styles.heading),
        text(answer.model, styles.small),
        text(texts("report.digest", digest=answer.digest), styles.small),
        text(texts("report.image", sha256=sha), styles.small),
        text(texts("report.position", position=record.position, digest=record.digest), styles.small),
        Spacer(0, 2 * mm),
        text(texts("report.disclaimer"), styles.small),
    ]


def _without_symbols(words: str) -> str:
    return words.translate({ord(symbol): None for symbol in "▲◆●○"}).replace("  ", " ")


@lru_cache(maxsize=1)
def _fonts() -> frozenset[int]:
    """Embed the fonts; returns the letters that both have."""
    for name in (FONT, BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    return frozenset.intersection(*(frozenset(pdfmetrics.getFont(name).face.charToGlyph) for name in (FONT, BOLD)))


def _styles() -> _Styles:
    ink = colors.HexColor(palette.LIGHT.text)
    body = ParagraphStyle("body", fontName=FONT, fontSize=9, leading=12.5, textColor=ink, spaceAfter=2)
    return _Styles(
        title=ParagraphStyle("title", parent=body, fontName=BOLD, fontSize=16, leading=21),
        heading=ParagraphStyle("heading", parent=body, fontName=BOLD, fontSize=10, spaceBefore=7),
        body=body,
        small=ParagraphStyle("small", parent=body, fontSize=7.5, leading=10),
        box=ParagraphStyle(
            "box",
            parent=body,
            fontName=BOLD,
            borderColor=colors.HexColor(palette.ALARM),
            borderWidth=1,
            borderPadding=4,
            spaceBefore=6,
            spaceAfter=8,
        ),
    )
