"""HTML pages in one file, with all pictures, styles and scripts embedded."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

_STYLE = 'page.css'


def page(
    template: str,
    scripts: Sequence[str] = ('page.js', 'zoom.js'),
    own: bool = False,
    **content: Any,
) -> str:
    """Lay a page out.

    Content is always text: the template engine escapes it, and the page's content security policy
    allows only its own scripts, and no requests.

    Args:
        template: a file of this folder.
        scripts: files of this folder.
        own: whether the page may send requests to its own server.
        content: variables of the template.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Our own files, the only parts that are not escaped.
    style, script = Markup(_file(_STYLE)), Markup(''.join(map(_file, scripts)))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    asked = "connect-src 'self'; " if own else ''
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; {asked}"
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template(template).render(
        policy=policy, style=style, script=script, **content
    )


def _file(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding='utf-8')
