"""Help: what each number means, the limits, a glossary, and how to take a good picture."""

from __future__ import annotations

import streamlit as st

from lesion_core.errors import LesionError
from lesion_core.service import Label
from lesion_ui import shell
from lesion_ui.shell import visit
from lesion_ui.texts import Texts
from lesion_ui.wording import markdown_text

SECTIONS = ("picture", "numbers", "heat", "similar", "several", "limits", "privacy", "keys")


def page() -> None:
    """Lay out the page."""
    here = visit()
    texts = here.texts
    with shell.told(texts):
        st.title(texts("help.title"), anchor=False)
        for section in SECTIONS:
            with st.expander(texts(f"help.{section}_title"), expanded=section == "picture"):
                st.markdown(texts(f"help.{section}"))
        with st.expander(texts("help.glossary_title")):
            st.markdown(texts("help.glossary"))
        if here.may("models"):
            _show_label(texts)


def _show_label(texts: Texts) -> None:
    """What the service says of the version that answers now; the page is of use without it."""
    try:
        label = visit().client.label()
    except LesionError:
        st.caption(texts("help.no_label"))
        return
    with st.expander(texts("help.label_title")):
        _list(texts("help.intended"), label.intended_use)
        _list(texts("help.not_for"), label.not_for)
        st.markdown(markdown_text(_facts(label, texts)))


def _facts(label: Label, texts: Texts) -> str:
    return texts(
        "help.facts",
        model=label.model,
        version=label.model_version,
        backbone=label.backbone,
        dataset=label.trained_on,
        training=texts.number(label.training_images),
        validation=texts.number(label.validation_images),
        product=label.product,
        product_version=label.product_version,
    )


def _list(title: str, sentences: tuple[str, ...]) -> None:
    st.markdown(f"**{title}**\n\n" + "\n".join(f"- {markdown_text(one)}" for one in sentences))


if __name__ == "__main__":
    page()
