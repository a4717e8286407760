"""Files of a figure: picture, data, provenance. Specifications and frames in, bytes out."""

import io
import json
import re
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

# What a Vega-Lite view can't hold when it becomes one of several.
OUTERMOST = ("$schema", "autosize", "background", "config", "datasets", "padding", "params")
CHANNELS = ("color", "fill", "opacity", "shape", "size", "stroke", "strokeDash")
INK = "#1c2530"
FONT = "sans-serif"
CAPTION_LINE = 13
CAPTION_CHARACTERS = 90
# A chart that stretches over its page has no width of its own.
WIDTH = 560
DOTS_A_POINT = 2
LIBRARIES = ("featdyn", "altair", "vl-convert-python", "polars", "duckdb", "streamlit")


@dataclass(frozen=True)
class Provenance:
    """Where the data of a figure come from, as far as its page knows.

    ``queries``: names of the functions of ``store.queries`` whose answers it draws; none: computed
    live, not in the store. ``basis``: what the numbers rest on, in words: set, n, normalisation,
    null, and which variance a band shows.
    """

    study: str
    run_ids: tuple[str, ...]
    queries: tuple[str, ...]
    basis: str


def versions() -> dict[str, str]:
    """Return the versions of what drew the figure; featdyn is missing where it isn't installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def slug(name: str) -> str:
    """Turn a name into one for a file: ``accuracy matrix, seed 0`` to ``accuracy-matrix-seed-0``.

    Letters that are not ASCII are left out; a hash then keeps different names apart.

    >>> slug("A(s,t) of seed 0")
    'a-s-t-of-seed-0'
    >>> slug("истинные метки, seed 0")
    'seed-0-8fa1d0'
    """
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "figure"
    if all(letter.isascii() for letter in name if letter.isalnum()):
        return words
    return f"{words}-{sha256(name.encode()).hexdigest()[:6]}"


def _lines(text: str) -> list[str]:
    return [line for part in text.split("\n") for line in textwrap.wrap(part, CAPTION_CHARACTERS)]


def captioned(spec: dict[str, Any], heading: str, caption: str) -> dict[str, Any]:
    """Put a heading and a caption around a Vega-Lite specification that leaves its page.

    The colours are those of a white page.
    """
    inner = {key: value for key, value in spec.items() if key not in OUTERMOST}
    outer = {key: spec[key] for key in OUTERMOST if key in spec and key != "autosize"}
    drawn = inner.get("layer") or inner.get("mark")
    if drawn and inner.get("width", "container") == "container":
        inner["width"] = WIDTH
    lines = _lines(caption)
    text = {
        "data": {"values": [{}]},
        "mark": {
            "type": "text",
            "text": lines,
            "align": "left",
            "baseline": "top",
            "fontSize": 10,
            "lineHeight": CAPTION_LINE,
            "color": INK,
        },
        "encoding": {"x": {"value": 0}, "y": {"value": 0}},
        "width": 10,
        "height": CAPTION_LINE * len(lines),
        "view": {"stroke": None, "fill": None},
    }
    config = {"font": FONT, **outer.pop("config", {})}
    # Else Vega-Lite shares the picture's scales with the caption and puts its legend below that.
    alone = dict.fromkeys(CHANNELS, "independent")
    return outer | {
        "background": "white",
        "config": config,
        "title": {"text": heading, "anchor": "start", "fontSize": 14, "offset": 12},
        "vconcat": [inner, text],
        "resolve": {"scale": alone, "legend": alone},
        "spacing": 14,
    }


def csv(frame: pl.DataFrame) -> bytes:
    """Write a frame as CSV; lists become JSON."""
    nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
    plain = frame.with_columns(
        pl.Series(name, [json.dumps(value) for value in frame[name].to_list()], dtype=pl.String)
        for name in nested
    )
    return plain.write_csv().encode()


def parquet(frame: pl.DataFrame, record: dict[str, Any]) -> bytes:
    """Write a frame as Parquet; its provenance is in the file's metadata, key ``featdyn``."""
    content = pa.BufferOutputStream()
    table = frame.to_arrow().replace_schema_metadata({"featdyn": json.dumps(record)})
    pq.write_table(table, content)
    written: bytes = content.getvalue().to_pybytes()
    return written


@dataclass(frozen=True)
class Files:
    """The files of one figure, each made when it is asked for.

    ``name``: that of the files; ``spec``: Vega-Lite; ``heading``, ``caption``: stand above and
    below the picture; ``record``: the provenance as JSON.
    """

    name: str
    heading: str
    spec: dict[str, Any]
    frame: pl.DataFrame
    caption: str
    record: dict[str, Any]

    @cached_property
    def whole(self) -> dict[str, Any]:
        """The specification with heading and caption."""
        return captioned(self.spec, self.heading, self.caption)

    def svg(self) -> bytes:
        """Draw the figure as SVG."""
        # Imported late: it starts a JavaScript engine, which no page needs before a download.
        import vl_convert

        return str(vl_convert.vegalite_to_svg(self.whole)).encode()

    def png(self) -> bytes:
        """Draw the figure as PNG, two pixels a point."""
        import vl_convert

        return bytes(vl_convert.vegalite_to_png(self.whole, scale=DOTS_A_POINT))

    def csv(self) -> bytes:
        """Write its data as CSV."""
        return csv(self.frame)

    def parquet(self) -> bytes:
        """Write its data as Parquet."""
        return parquet(self.frame, self.record)

    def provenance(self) -> bytes:
        """Write its provenance as JSON."""
        return json.dumps(self.record, indent=1).encode()

    def zip(self) -> bytes:
        """Put picture, data and provenance into one file."""
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for ending, make in self.makers.items():
                if ending != "zip":
                    archive.writestr(f"{self.name}.{ending}", make())
            archive.writestr("provenance.json", self.provenance())
        return content.getvalue()

    @property
    def makers(self) -> dict[str, Callable[[], bytes]]:
        """What makes each file, by its ending."""
        return {
            "svg": self.svg,
            "png": self.png,
            "csv": self.csv,
            "parquet": self.parquet,
            "zip": self.zip,
        }
