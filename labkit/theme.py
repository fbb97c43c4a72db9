"""The lab's one look of charts, and charts as parts of pages; by itself, since it is all that drawing a page needs."""

from __future__ import annotations

import plotly.graph_objects as go
import plotly.io

NEUTRAL = "#7a7f87"
# Titles on the left: on the right are plotly's own buttons.
_TEMPLATE = {**plotly.io.templates["none"].to_plotly_json(), "layout": {"title": {"x": 0.02, "xanchor": "left"}}}
_CONFIG = {"displayModeBar": False, "responsive": True}


def as_html(figure: go.Figure) -> str:
    """A figure as a part of a page that has plotly.js, as wide as there is room."""
    return str(plotly.io.to_html(figure, full_html=False, include_plotlyjs=False, config=_CONFIG))


def themed(figure: go.Figure) -> go.Figure:
    """The lab's one look: transparent, so that it reads on light and on dark pages, with grey text and grid."""
    grid = {"gridcolor": "rgba(122,127,135,0.25)", "zerolinecolor": "rgba(122,127,135,0.4)"}
    return figure.update_layout(
        template=_TEMPLATE,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": NEUTRAL, "family": "system-ui, sans-serif"},
        margin={"l": 40, "r": 20, "t": 60, "b": 40},
        xaxis=grid,
        yaxis={**grid, "ticklabelstandoff": 6},
    )
