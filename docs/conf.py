"""Sphinx configuration."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "htx_async"
author = "The htx_async developers"
copyright = "2026, the htx_async developers"  # noqa: A001 - Sphinx's name for it
release = metadata.version("htx-async")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "llms",
    "tables",
]
exclude_patterns = ["_build", "recipes"]
html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"htx_async {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
default_role = "code"
python_maximum_signature_line_length = 88
nitpick_ignore_regex = [
    # Types that the reference does not describe: those of other packages, and internal ones.
    (r"py:.*", r"(httpx|asyncio|attrs|decimal|datetime|collections|contextlib)\..*"),
    (r"py:.*", r"htx_async\.(auth|client|errors|models|options|resources|sandbox)\..*"),
    (r"py:.*", r"htx_async\.(stream|transports)\..*"),
    (r"py:class", r"(Decimal|Mapping|T|Unpack|Provider|Listener|Delivery|ErrorDetails)"),
    (r"py:class", r"(AsyncTransport|ParamValue|TracerProvider|MeterProvider)"),
]
