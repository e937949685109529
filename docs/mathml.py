"""Formulas of the pages as MathML, which browsers draw by themselves: no script, no font."""

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    """Replace the formulas that `pymdownx.arithmatex` has marked, inline and displayed."""

    def mathml(match: re.Match[str]) -> str:
        tag, formula = match.groups()
        display = "block" if tag == "div" else "inline"
        return convert(unescape(formula).strip()[2:-2], display=display)

    return _FORMULA.sub(mathml, html)
