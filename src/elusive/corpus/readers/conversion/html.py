"""HTML without what stands around the text: navigation, headers, footers, forms, scripts, lists of links."""

import re
from collections.abc import Iterator
from typing import Any

from elusive.errors import ElusiveError

_NEVER_TEXT = (
    *("script", "style", "noscript", "template", "svg", "canvas", "iframe", "object", "embed", "audio", "video"),
    *("form", "button", "input", "select", "textarea", "nav", "footer", "aside", "dialog", "menu"),
)

_ROLES = {"navigation", "banner", "contentinfo", "search", "complementary", "menu", "menubar", "dialog", "alert"}

# Words of a class or an id, as Sphinx, DocBook, Texinfo, AsciiDoc, MkDocs, Doxygen, MediaWiki and blogs write them.
_AROUND = re.compile(
    r"(?i)(?:^|[\s_-])(?:nav(?:bar|header|footer|igation|panel|list|row|-?path)?|doc-?nav|side-?bar|sphinxsidebar\w*|related|"
    r"toc\w*|table-of-contents|shortcontents|contents_element|bread-?crumbs?|footer\w*|site-?header|page-?header|banner|cookies?|"
    r"consent|skip-?(?:link|nav|to-content)|head-?er-?link|anchor-?link|legal-?notice|copyright|licen[cs]e|pager|pagination|"
    r"share|social|subscribe|newsletter|promo|advert\w*|ads?|comments?-list|edit-?section|mw-editsection|"
    r"catlinks|print-?footer|line-?nos?|noprint|hidden|sr-only|visually-hidden)(?:$|[\s_-])"
)

_BLOCKS = ("p", "div", "ul", "ol", "dl", "table", "center", "section", "header", "span", "address")

_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")

_LINK_SHARE = 0.75
"""A block at the start or the end of a page that is links to this share is navigation."""

_FEW_CHARACTERS = 600

_MAIN_SHARE = 0.3
"""An element that says it is the main one is taken alone, if it holds this share of the text."""


def without_boilerplate(text: str) -> str:
    """The main part of a page as HTML.

    Args:
        text: a page, or a piece of one.

    Raises:
        ElusiveError: with what to install, if lxml is missing; with the reason, if nothing can be read.
    """
    try:
        import lxml.etree
        import lxml.html
    except ImportError:
        raise ElusiveError(
            "HTML needs the package lxml, which is not installed. Install it: pip install 'elusive[documents]'"
        ) from None
    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        tree = lxml.html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except (lxml.etree.LxmlError, ValueError, AssertionError) as error:
        raise ElusiveError(f"HTML that cannot be read ({error}): check the file") from None
    if any("depth" in entry.message.lower() and entry.level > 1 for entry in parser.error_log):
        raise ElusiveError("HTML that is nested too deeply: check the file")
    body = tree.find("body")
    body = tree if body is None else body
    _remove(list(body.iter(*_NEVER_TEXT)))
    body = _main_part(body)
    _remove([element for element in body.iter() if element is not body and _is_around(element)])
    _remove_links_around(body)
    title = "" if body.find(".//h1") is not None else (tree.findtext(".//title") or "").strip()
    return _page(title, lxml.html.tostring(body, encoding="unicode", with_tail=False))


def _page(title: str, body: str) -> str:
    escaped = title.replace("&", "&amp;").replace("<", "&lt;")
    return f"<html><head><title>{escaped}</title></head>{body}</html>"


def _remove(elements: list[Any]) -> None:
    for element in elements:
        if element.getparent() is not None:
            element.drop_tree()


def _main_part(body: Any) -> Any:
    """The one element that is called the main one, or the page."""
    everything = _length(body)
    for path in (".//main", ".//*[@role='main']", ".//article", ".//*[@id='mw-content-text']", ".//*[@id='content']"):
        found = body.findall(path)
        if len(found) == 1 and _length(found[0]) >= _MAIN_SHARE * everything:
            return found[0]
    return body


def _length(element: Any) -> int:
    return sum(len(text.strip()) for text in element.itertext())


def _is_around(element: Any) -> bool:
    if not isinstance(element.tag, str) or element.tag in ("body", "pre", "code"):
        return False
    if element.get("role", "") in _ROLES or element.get("aria-hidden") == "true" or "hidden" in element.attrib:
        return True
    if "display:none" in element.get("style", "").replace(" ", ""):
        return True
    if element.tag == "header":
        return _has_none(element, _HEADINGS)
    names = f"{element.get('class', '')} {element.get('id', '')}"
    # A whole page may stand in an element of such a name ("has-sidebar"), and a section on licences has a heading.
    return bool(_AROUND.search(names)) and element.tag not in _HEADINGS and _has_none(element, ("h1", "pre"))


def _has_none(element: Any, tags: tuple[str, ...]) -> bool:
    return next(element.iter(*tags), None) is None


def _remove_links_around(body: Any) -> None:
    """Remove what is links alone: at both ends of the page, and lists of contents everywhere."""
    for elements in (_from_start(body), _from_end(body)):
        for element in elements:
            if not _is_links(element):
                break
            _remove([element])
    _remove([element for element in body.iter("ul", "ol", "dl") if _is_contents(element)])


def _from_start(body: Any) -> Iterator[Any]:
    yield from _leaves(body, reverse=False)


def _from_end(body: Any) -> Iterator[Any]:
    yield from _leaves(body, reverse=True)


def _leaves(body: Any, *, reverse: bool) -> Iterator[Any]:
    """Blocks from one end of a page: of an element that holds blocks, these."""
    ahead = [body]
    while ahead:
        element = ahead.pop()
        children = [child for child in element if isinstance(child.tag, str)]
        inner = [child for child in children if child.tag in ("div", "section", "header", "article", "main")]
        if element is body or (inner and not (element.text or "").strip() and not _is_links(element)):
            ahead.extend(children if reverse else children[::-1])
        elif element.tag != "hr" and (_length(element) or element.tag in _BLOCKS):
            yield element


def _is_links(element: Any) -> bool:
    """Whether links make up a short block; a rule or an empty block is none either."""
    if element.tag not in _BLOCKS and element.tag != "a":
        return False
    length = _length(element)
    linked = sum(map(_length, element.iter("a")))
    return length == 0 or (length < _FEW_CHARACTERS and linked >= _LINK_SHARE * length)


def _is_contents(element: Any) -> bool:
    """Whether a list is links to other places of the same work, and nothing else."""
    links = [link for link in element.iter("a") if link.get("href")]
    if len(links) < 4 or any(re.match(r"[a-zA-Z][\w+.-]*:", link.get("href")) for link in links):
        return False
    return sum(map(_length, links)) >= 0.95 * _length(element)
