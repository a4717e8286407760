"""Widgets whose state is the URL: a shared link reopens the view, and Back goes back."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

PREFIX = "url_"


def _remember() -> None:
    # In a callback this adds to the browser's history; `bind="query-params"` would replace it.
    # All controls of the page go in, so that the link holds the whole view.
    st.query_params.update(
        {
            str(key).removeprefix(PREFIX): str(value)
            for key, value in st.session_state.items()
            if str(key).startswith(PREFIX) and value is not None
        }
    )


def _bound(
    widget: Callable[..., Any],
    label: str,
    parameter: str,
    options: Sequence[str],
    default: str,
    **options_of_widget: Any,
) -> str:
    asked = st.query_params.get(parameter, default)
    if asked not in options:
        st.warning(f"{parameter}={asked} is not in this store; showing {default} instead.")
        asked = default
    key = PREFIX + parameter
    st.session_state[key] = asked
    chosen: str = widget(
        label,
        options,
        key=key,
        on_change=_remember,
        **options_of_widget,
    )
    return chosen or asked


def select(
    label: str,
    parameter: str,
    options: Sequence[str],
    default: str,
    names: Callable[[str], str] = str,
) -> str:
    """Choose one of many from a list."""
    return _bound(st.selectbox, label, parameter, options, default, format_func=names, width=210)


def segments(
    label: str,
    parameter: str,
    options: Sequence[str],
    default: str,
    names: Callable[[str], str] = str,
) -> str:
    """Choose one of a few, all in sight."""
    return _bound(
        st.segmented_control, label, parameter, options, default, format_func=names, required=True
    )


def slider(
    label: str,
    parameter: str,
    options: Sequence[str],
    default: str,
    names: Callable[[str], str] = str,
) -> str:
    """Choose one of an ordered few."""
    if len(options) == 1:
        return select(label, parameter, options, default, names)
    return _bound(
        st.select_slider, label, parameter, options, default, format_func=names, width=260
    )
