"""Models: versions with their scores, reliability, subgroups, confusion, card and history; promote and roll back."""

from __future__ import annotations

import re
from collections.abc import Mapping

import streamlit as st

from lesion_core.service import Version, Versions
from lesion_ui import shell
from lesion_ui.charts import CONFIG
from lesion_ui.evaluation_view import EvaluationView, evaluation_view
from lesion_ui.refusals import ServiceError
from lesion_ui.report_charts import confusion_chart, reliability_chart
from lesion_ui.session import Visit
from lesion_ui.shell import visit
from lesion_ui.show import show_table
from lesion_ui.texts import Texts
from lesion_ui.wording import markdown_text, time_text

TABS = ("metrics", "reliability", "subgroups", "confusion", "card", "history")


def page() -> None:
    """Lay out the page."""
    here = visit()
    texts = here.texts
    with shell.told(texts):
        st.title(texts("models.title"), anchor=False)
        found = here.client.versions()
        if (changed := st.session_state.pop("champion_changed", None)) is not None:
            st.success(texts("models.changed", version=markdown_text(changed)), icon=":material/check:")
            st.session_state.update(deploy_why="", deploy_sure=False)  # the next change has a reason of its own
        if not found.versions:
            st.info(texts("models.none"))
            _show_history(found, texts)
            return
        if not any(one.place == "champion" for one in found.versions):
            st.error(texts("models.no_champion"))
        versions = {one.version: one for one in found.versions}
        chosen = st.selectbox(
            texts("models.version"),
            list(versions),
            format_func=lambda one: _option(versions[one], texts),
            key="version",
        )
        version = versions[chosen]
        _show_facts(version, texts)
        _show_tabs(version, found, here)


def _option(version: Version, texts: Texts) -> str:
    return texts("models.option", version=version.version, place=_place(version, texts))


def _place(version: Version, texts: Texts) -> str:
    return texts.find(f"models.place_{version.place}") or version.place


def _show_facts(version: Version, texts: Texts) -> None:
    facts = texts(
        "models.facts",
        name=version.name,
        version=version.version,
        backbone=version.backbone,
        dataset=version.trained_on,
        created=time_text(version.created_at),
        digest=version.bundle_digest[:12],
    )
    st.caption(markdown_text(facts))
    share = texts.percent(version.share_percent / 100)
    st.markdown(texts("models.traffic", share=share, ready=version.ready_workers, workers=version.workers))
    if version.is_shadow:
        st.info(texts("models.shadow"))
    if version.finding is not None:
        st.warning(texts("models.finding", finding=markdown_text(version.finding)), icon=":material/warning:")


def _show_tabs(version: Version, found: Versions, here: Visit) -> None:
    texts = here.texts
    may_deploy = here.may("deploy")
    names = [*TABS, "deploy"] if may_deploy else list(TABS)
    tabs = dict(zip(names, st.tabs([texts(f"models.tab_{name}") for name in names]), strict=True))
    view = _evaluation(version, here)
    with tabs["metrics"]:
        _show_metrics(version, view, texts)
    for name, draw in (("reliability", _reliability), ("subgroups", _subgroups), ("confusion", _confusion)):
        with tabs[name]:
            if view is None:
                st.info(texts("models.no_evaluation"))
            else:
                if view.measured_on is not None:
                    st.caption(markdown_text(view.measured_on))
                draw(view, texts)
    with tabs["card"]:
        try:
            st.markdown(_without_pictures(here.client.card(version.version)))
        except ServiceError as error:
            if error.code != "not_found":
                raise
            st.info(texts("models.no_card"))
    with tabs["history"]:
        _show_history(found, texts)
    if may_deploy:
        with tabs["deploy"]:
            _show_deploy(found, here)


def _evaluation(version: Version, here: Visit) -> EvaluationView | None:
    if not version.has_evaluation:
        return None
    try:
        return evaluation_view(here.client.evaluation(version.version), here.texts)
    except ServiceError as error:
        if error.code != "not_found":
            raise
        return None


def _show_metrics(version: Version, view: EvaluationView | None, texts: Texts) -> None:
    st.markdown(texts("models.metrics_note"))
    names = {} if view is None else dict(zip(view.codes, view.names, strict=True))
    rows = [
        {texts("models.metric"): _metric(name, names, texts), texts("models.measured"): texts.interval(one)}
        for name, one in version.metrics.items()
    ]
    show_table(rows)
    if view is not None and view.classes:
        st.markdown(f"##### {texts('models.classes')}")
        st.dataframe(list(view.classes), hide_index=True, alt=texts("models.classes"))


def _metric(name: str, names: Mapping[str, str], texts: Texts) -> str:
    part, _, measure = name.partition("_")
    if part not in ("val", "test"):  # another release's way to name it
        return name.replace("_", " ")
    code = measure.removeprefix("sensitivity_")
    if code != measure:
        words = texts("metric.sensitivity", name=f"{names[code]} ({code})" if code in names else code)
    else:
        words = texts.find(f"metric.{measure}") or measure.replace("_", " ")
    return texts(f"metric.{part}", name=words)


def _reliability(view: EvaluationView, texts: Texts) -> None:
    if not view.bins:
        st.info(texts("models.part_missing"))
        return
    points = [
        texts(
            "models.point",
            predicted=texts.percent(one.predicted),
            observed=texts.percent(one.observed),
            count=texts.number(one.count),
        )
        for one in view.bins
    ]
    with st.container(key="chart-reliability"):
        st.markdown(f"##### {texts('models.reliability')}")
        alt = texts("models.reliability_text", numbers=", ".join(points))
        st.plotly_chart(reliability_chart(view.bins, texts), config=CONFIG, alt=alt)
        st.markdown(f":small[┄ {texts('models.perfect')} · ECE {texts.interval(view.ece)}]")
    with st.expander(texts("answer.table_title")):
        rows = [
            {
                texts("models.range"): f"{texts.percent(one.lower)} – {texts.percent(one.upper)}",
                texts("models.predicted"): texts.percent(one.predicted),
                texts("models.observed"): texts.percent(one.observed),
                texts("models.images"): texts.number(one.count),
            }
            for one in view.bins
        ]
        show_table(rows)


def _subgroups(view: EvaluationView, texts: Texts) -> None:
    if not view.subgroups:
        st.info(texts("models.part_missing"))
        return
    st.markdown(texts("models.subgroup_note"))
    st.dataframe(list(view.subgroups), hide_index=True, alt=texts("models.tab_subgroups"))


def _confusion(view: EvaluationView, texts: Texts) -> None:
    if not view.confusion:
        st.info(texts("models.part_missing"))
        return
    numbers = [
        texts("models.right_of", name=name, right=texts.number(row[n]), all=texts.number(sum(row)))
        for n, (name, row) in enumerate(zip(view.names, view.confusion, strict=True))
    ]
    with st.container(key="confusion"):
        st.markdown(f"##### {texts('models.confusion')}")
        alt = texts("models.confusion_text", numbers=", ".join(numbers))
        st.plotly_chart(confusion_chart(view.names, view.confusion, texts), config=CONFIG, alt=alt)
    headings = [f"{name} ({code})" for name, code in zip(view.names, view.codes, strict=True)]
    with st.expander(texts("answer.table_title")):
        rows = [
            {texts("models.true_class"): name} | dict(zip(headings, map(texts.number, row), strict=True))
            for name, row in zip(view.names, view.confusion, strict=True)
        ]
        show_table(rows)


def _show_history(found: Versions, texts: Texts) -> None:
    st.markdown(f"##### {texts('models.history')}")
    if not found.history:
        st.caption(texts("models.no_history"))
        return
    rows = [
        {
            texts("models.when"): time_text(one.at),
            texts("models.who"): one.by,
            texts("models.action"): one.action,
            texts("models.before"): one.before or "–",
            texts("models.after"): one.after or "–",
            texts("models.why"): one.why,
        }
        for one in found.history
    ]
    show_table(rows)


def _show_deploy(found: Versions, here: Visit) -> None:
    """Change the champion, with a reason; the gateway keeps who, when and why."""
    texts = here.texts
    choices = {
        ("rollback" if one.place == "previous" else "promote", one.version): one
        for one in found.versions
        if one.place != "champion"
    }
    if not choices:
        st.info(texts("models.nothing_to_change"))
        return
    st.warning(texts("models.deploy_note"))
    with st.form("deploy_form", border=True):
        action, version = st.radio(
            texts("models.choose"),
            list(choices),
            format_func=lambda one: texts(f"models.{one[0]}", version=one[1]),
            key="deploy_choice",
        )
        why = st.text_area(texts("models.reason"), max_chars=500, key="deploy_why")
        is_sure = st.checkbox(texts("models.confirm"), key="deploy_sure")
        sent = st.form_submit_button(texts("models.change"), type="primary")
    if not sent:
        return
    if not why.strip() or not is_sure:
        st.error(texts("models.reason_needed"))
        return
    client, why = here.client, why.strip()
    with st.spinner(texts("models.changing")):
        after = client.roll_back(why=why) if action == "rollback" else client.promote(version, why=why)
    champion = next((one.version for one in after.versions if one.place == "champion"), version)
    st.session_state["champion_changed"] = champion
    st.rerun()


def _without_pictures(card: str) -> str:
    """The card as it is, but for pictures and HTML: a page asks nobody but the app."""
    return re.sub(r"!\[([^\]]*)\]\([^)]*\)", r"\1", card).replace("![", "[").replace("<", "&lt;")


if __name__ == "__main__":
    page()
