"""Markup is told from prose by what stands in a text, whatever the name of its file says."""

import pytest

from elusive.corpus.readers.markup import markup_of, refused_markup

MARKUP = {
    "html": "<p>One</p>\n<ul><li>two</li><li>three</li></ul>\n<p>four <a href='x'>five</a></p>",
    "rst": "Title\n=====\n\n.. note::\n\n   Read :doc:`this`.\n",
    "man": '.\\" A comment.\n.TH LS 1\n.SH NAME\nls \\- list\n.PP\n.B ls\n',
    "asciidoc": "= Title\n:toc:\n\n== One\n\ntext\n\n[source,c]\n----\nint x;\n----\n",
    "org": "#+TITLE: Notes\n\n* One\ntext\n",
    "latex": "\\documentclass{article}\n\\begin{document}\nx\n\\end{document}\n",
    "mediawiki": "== One ==\n[[Link]] and [[Other|text]].\n",
    "pod": "=head1 NAME\n\nls - list\n",
    "docbook": '<?xml version="1.0"?>\n<book xmlns="http://docbook.org/ns/docbook"><title>x</title></book>',
}

PROSE = (
    "Ada was born in London.\n\nShe wrote: see (1). A < b > c.\n",
    "# Head\n\nText with `code`, **bold** and <b>one</b> tag.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "Head\n====\n\n- one\n- two\n\n```rst\n.. note:: in a fence\n```\n",
    "* one\n* two\n\n== not a title, 5 == 5\n",
    "Dear A.,\n.\n.. and so on: no directive\n",
    "[1] A reference. [2] Another.\nKey:: value\n",
    "",
)


@pytest.mark.parametrize("form", MARKUP)
def test_each_form(form: str) -> None:
    assert markup_of(MARKUP[form]) == form
    assert markup_of("\n" + MARKUP[form].replace("title", "name")) == form


@pytest.mark.parametrize("text", PROSE)
def test_prose_and_markdown(text: str) -> None:
    assert markup_of(text, markdown=True) is None
    assert markup_of(text) is None


def test_html_within_markdown() -> None:
    text = (
        "# Head\n\n"
        + "Some words of prose. " * 20
        + "\n\n"
        + "<p align='center'><a href='x'><img src='y'></a></p>\n" * 3
    )
    assert markup_of(text, markdown=True) is None
    assert markup_of("<!DOCTYPE html>\n<p>x", markdown=True) == "html"


def test_markup_that_is_not_read() -> None:
    assert "makeinfo --html" in refused_markup("\\input texinfo\n@node Top\n")
    assert "Info file" in refused_markup("This is a.info\n\x1f\nFile: a.info,  Node: Top\n")
    assert "XML of a form" in refused_markup("<?xml version='1.0'?><rows/>")
    assert refused_markup("Prose.") == ""


def test_time_grows_with_the_length() -> None:
    for text in (
        "== " * 40_000,
        "`" * 100_000,
        ".. " * 40_000,
        "[[" * 50_000,
        "<" * 100_000,
        "a::\n" * 30_000,
        "\n" * 100_000,
    ):
        markup_of(text)
