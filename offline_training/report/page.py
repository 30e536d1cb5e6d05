"""The page: one file of HTML with all pictures, style and script in it, that asks for nothing."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from typing import Any

import jinja2
from markupsafe import Markup

_TEMPLATE, _STYLE, _SCRIPT = 'page.html.j2', 'page.css', 'page.js'


def page(**content: Any) -> str:
    """Lay a page out: `title`, `written`, `tiles` and `sections` of `page.html.j2`.

    Whatever the content says is text: the template engine escapes it, and the page's policy lets
    no script run but its own, and nothing be fetched or sent.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Our own files, the only parts that are not escaped.
    style, script = Markup(_file(_STYLE)), Markup(_file(_SCRIPT))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    template = environment.get_template(_TEMPLATE)
    return template.render(policy=policy, style=style, script=script, **content)


def _file(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding='utf-8')
