"""
Sphinx extension that writes llms.txt and llms-full.txt (https://llmstxt.org) beside the HTML.

Pages are copied as Markdown, with included programs. The reference is rendered as text from the
docstrings. The package sphinx-llms-txt does not resolve MyST's includes and autodoc's directives,
and sphinx-llm runs Sphinx a second time with another builder.
"""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.text import TextBuilder
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.docutils import new_document
from sphinx.writers.text import TextWriter

import htx_async

INCLUDED = re.compile(r"```\{literalinclude\} (\S+)\n:language: (\w+)\n```")
DRAWING = re.compile(r"```\{raw\} html\n:file: (\S+)\n```")
COMMENT = re.compile(r"(?m)^(% |:{3,}|:class-).*\n")
TARGETS = re.compile(r"```\{(?:toctree\}|index\}[^\n]*)\n.*?```\n*", re.DOTALL)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register `write` to run after the build."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}


def write(app: Sphinx, failed: Exception | None) -> None:
    """Write both files after a successful HTML build."""
    if failed or app.builder.format != "html":
        return
    env, folder = app.env, Path(app.outdir)
    names = in_order(env, app.config.root_doc)
    text = "\n\n".join(page(app, name) for name in names)
    if missing := [public for public in htx_async.__all__ if public not in text]:
        msg = f"llms-full.txt does not mention {', '.join(missing)}: add them to docs/reference"
        raise ExtensionError(msg)
    (folder / "llms-full.txt").write_text(text, encoding="utf-8")
    (folder / "llms.txt").write_text(index(env, names), encoding="utf-8")


def in_order(env: BuildEnvironment, name: str) -> list[str]:
    """Return the names of all pages below *name*, in the order of the table of contents."""
    inner = [page for child in env.toctree_includes.get(name, ()) for page in in_order(env, child)]
    return [name, *inner]


def index(env: BuildEnvironment, names: list[str]) -> str:
    """Return the text of llms.txt: title, summary, and a link with a summary for each page."""
    root, *others = names
    lines = [f"# {title(env, root)}", "", f"> {summary(env, root)}"]
    heading = ""
    for name in others:
        part = caption(env, root, name)
        lines += ["", f"## {part}", ""] if part != heading else []
        heading = part
        lines.append(f"- [{title(env, name)}]({name}.html): {summary(env, name)}")
    lines += ["", "## Full text", "", "- [All pages](llms-full.txt): all pages in one file"]
    return "\n".join(lines) + "\n"


def caption(env: BuildEnvironment, root: str, name: str) -> str:
    """Return the caption of the table of contents that a page is in."""
    trees = env.tocs[root].findall(addnodes.toctree)
    return next((str(tree["caption"]) for tree in trees if name in tree["includefiles"]), "")


def title(env: BuildEnvironment, name: str) -> str:
    """Return the title of a page."""
    return env.titles[name].astext()


def summary(env: BuildEnvironment, name: str) -> str:
    """Return the first sentence of a page."""
    tree = env.get_doctree(name)
    paragraph = next(tree.findall(nodes.paragraph)).astext().replace("\n", " ")
    return re.split(r"(?<=[.?])\s", paragraph)[0]


def page(app: Sphinx, name: str) -> str:
    """Return a page as Markdown, or as text if it contains autodoc directives."""
    source = app.env.doc2path(name)
    text = Path(source).read_text(encoding="utf-8")
    if "{eval-rst}" in text:
        return as_text(app, name)
    folder = Path(source).parent

    def program(match: re.Match[str]) -> str:
        return f"```{match[2]}\n{(folder / match[1]).read_text(encoding='utf-8')}```"

    def description(match: re.Match[str]) -> str:
        drawing = (folder / match[1]).read_text(encoding="utf-8")
        element = re.search(r"<desc[^>]*>(.*?)</desc>", drawing, re.DOTALL)
        return f"Drawing: {element[1]}" if element else ""

    text = DRAWING.sub(description, INCLUDED.sub(program, text))
    return TARGETS.sub("", COMMENT.sub("", text)).strip() + "\n"


def as_text(app: Sphinx, name: str) -> str:
    """Return a page as rendered by Sphinx's text builder."""
    builder = TextBuilder(app, app.env)
    builder.init()
    tree = app.env.get_and_resolve_doctree(name, builder)
    tree.settings = new_document("").settings
    writer = TextWriter(builder)
    writer.document = tree
    writer.translate()
    assert isinstance(writer.output, str)
    return writer.output
