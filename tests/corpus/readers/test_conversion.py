"""Documents become Markdown: headings, tables and code stay, what stands around a text goes, bad files are refused."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from elusive.config.corpus import CorpusSettings
from elusive.corpus.input_files import ReadLimits
from elusive.corpus.readers import read_corpus
from elusive.corpus.readers.conversion import pandoc
from elusive.corpus.readers.conversion.archives import check_archive
from elusive.corpus.readers.conversion.sources import without_requests
from elusive.errors import ElusiveError

pytest.importorskip("pypandoc")
pytest.importorskip("pypdfium2")

PAGE = """<!DOCTYPE html><html><head><title>Cups - Site</title><style>p {}</style></head><body>
<header><a href="/">Home</a></header><nav><ul><li><a href="a.html">Next</a></li></ul></nav>
<div class="sphinxsidebar"><h3>Contents</h3></div>
<div role="main"><h1>Cups<a class="headerlink" href="#cups">¶</a></h1>
<p>A cup holds <b>0.2</b> litres [1] and costs <a href="b.html">3 coins</a>. It was first
sold in the year 1815, by Ada.</p>
<h2>Sizes</h2><table><tr><th>size</th><th>litres</th></tr><tr><td>small</td><td>0.1</td></tr></table>
<pre><code class="language-sh">cup --size   small
# twice</code></pre><dl><dt>-v</dt><dd>Says more.</dd></dl></div>
<footer>© 2020 All rights reserved. Page 7</footer><script>track()</script><!-- Licensed --></body></html>"""

CUPS = """# Cups

A cup holds 0.2 litres [1] and costs 3 coins. It was first sold in the year 1815, by Ada.

## Sizes

| size | litres |
| --- | --- |
| small | 0.1 |

```sh
cup --size   small
# twice
```

- -v
  Says more."""

RST = """.. Licensed to all.

Cups
====

.. index:: cup

A cup holds :math:`x` litres, see :pep:`8` and :class:`~a.Cup`.

.. code-block:: sh

   cup --size small

.. warning:: Hot.

.. deprecated:: 1.2 Use mugs.
"""

MAN = r""".\" Licensed to all.
.TH CUP 1
.SH NAME
cup \- holds \fItea\fP
.SH OPTIONS
.TP
.B \-v
Says more.
.so man1/mug.1
.TS
allbox tab(:);
l | l.
size:litres
_
small:0.1
.TE
"""

NOTEBOOK = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"kernelspec": {"language": "python", "name": "python3", "display_name": "x"}},
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Cups\n", "\n", "A cup of tea."]},
        {"cell_type": "code", "id": "b", "metadata": {}, "source": "cup(1)", "outputs": [], "execution_count": 1},
    ],
}


def pdf(*lines: tuple[int, str], pages: int = 1) -> bytes:
    """A PDF whose pages hold lines of a size each."""
    shown = "".join(f"BT /F1 {size} Tf 72 {750 - 30 * n} Td ({text}) Tj ET\n" for n, (size, text) in enumerate(lines))
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(pages))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number in range(pages):
        resources = f"/Resources << /Font << /F1 3 0 R >> >> /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R"
        content = shown.replace("PAGE", str(number + 1))
        objects.append(f"<< /Type /Page /Parent 2 0 R {resources} >>")
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}endstream")
    body, places = "%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{one}\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    tail = f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{tail}".encode()


def read(path: Path, content: str | bytes, **settings: object) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    [document] = read_corpus(path, **settings).documents  # type: ignore[arg-type]
    return document.text


def refusal(path: Path, content: str | bytes, **settings: object) -> str:
    with pytest.raises(ElusiveError) as caught:
        read(path, content, **settings)
    return str(caught.value)


def archive(parts: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in parts.items():
            written.writestr(name, content)
    return stream.getvalue()


WORD = {
    "[Content_Types].xml": b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    b'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    b'<Default Extension="xml" ContentType="application/vnd.openxmlformats-officedocument.'
    b'wordprocessingml.document.main+xml"/>'
    b"</Types>",
    "_rels/.rels": b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship '
    b'Id="a" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
    b'Target="word/document.xml"/></Relationships>',
    "word/document.xml": b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
    b"<w:p><w:r><w:t>A cup of tea.</w:t></w:r></w:p></w:body></w:document>",
}


class TestForms:
    def test_html(self, tmp_path: Path) -> None:
        assert read(tmp_path / "a.html", PAGE) == CUPS
        assert read(tmp_path / "a.txt", PAGE) == CUPS
        assert read(tmp_path / "a", PAGE.replace("</p>", "</p>é", 1).encode("utf-16"), format="html").count("é") == 1
        latin = (
            PAGE.replace("<style>", '<meta charset="iso-8859-1"><style>')
            .replace("Ada", "Zoë")
            .encode("cp1252", "ignore")
        )
        assert "Zoë" in read(tmp_path / "b.htm", latin)

    def test_rst(self, tmp_path: Path) -> None:
        text = read(tmp_path / "a.rst", RST)
        assert text.startswith("# Cups\n\nA cup holds ")
        assert "see PEP 8 and `Cup`." in text
        assert "```sh\ncup --size small\n```" in text
        assert "Hot." in text
        assert "Use mugs." in text
        assert not {"Licensed", ".. ", "::", "index"} & set(text.split())
        assert read(tmp_path / "a.rst.txt", RST) == text

    def test_man(self, tmp_path: Path) -> None:
        expected = (
            "# CUP(1)\n\n## NAME\n\ncup - holds tea\n\n## OPTIONS\n\n- -v\n  Says more.\n\n"
            "| size | litres |\n| --- | --- |\n| small | 0.1 |"
        )
        assert read(tmp_path / "cup.1", MAN) == expected
        assert read(tmp_path / "cup", MAN) == expected
        mdoc = ".Dd $Mdocdate$\n.Dt CUP 1\n.Os\n.Sh NAME\n.Nm cup\n.Nd holds tea\n.Sh OPTIONS\nNone.\n"
        assert "## OPTIONS\n\nNone." in read(tmp_path / "mug.1", mdoc)

    def test_asciidoc(self, tmp_path: Path) -> None:
        text = "= Cups\n:toc:\n\n== Sizes\n\ninclude::more.adoc[]\n\nSmall.\n\n----\ncup 1\n----\n"
        assert read(tmp_path / "a.adoc", text) == "# Cups\n\n## Sizes\n\nSmall.\n\n```\ncup 1\n```"

    def test_notebook(self, tmp_path: Path) -> None:
        assert read(tmp_path / "a.ipynb", json.dumps(NOTEBOOK)) == "# Cups\n\nA cup of tea.\n\n```python\ncup(1)\n```"

    def test_office_documents(self, tmp_path: Path) -> None:
        assert read(tmp_path / "a.docx", archive(WORD)) == "A cup of tea."
        assert read(tmp_path / "without_suffix", archive(WORD)) == "A cup of tea."

    def test_pdf(self, tmp_path: Path) -> None:
        lines = (8, "Manual of cups"), (20, "Cups"), (11, "A cup holds 0.2 litres."), (8, "PAGE")
        text = read(tmp_path / "a.pdf", pdf(*lines, pages=4), chunk_tokens=0)
        assert text == "\n\n".join(["# Cups\n\nA cup holds 0.2 litres."] * 4)


class TestRefused:
    def test_a_damaged_file_among_others_is_a_bad_row(self, tmp_path: Path) -> None:
        (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7\n%\xe2")
        (tmp_path / "b.docx").write_bytes(archive({"word/document.xml": b"<w:document"}))
        (tmp_path / "c.html").write_text(PAGE)
        (tmp_path / "d.png").write_bytes(b"\x89PNG")
        corpus = read_corpus(tmp_path, skip_bad=True)
        assert [document.text for document in corpus.documents] == [CUPS]
        assert "a damaged PDF" in corpus.quarantined[0].reason
        assert "pandoc cannot read it" in corpus.quarantined[1].reason
        assert corpus.notes == ("converted to Markdown: 1 file (1 HTML)",)

    def test_a_pdf_without_text(self, tmp_path: Path) -> None:
        assert "recognise its text first (OCR)" in refusal(tmp_path / "a.pdf", pdf())

    def test_a_missing_converter_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pypandoc", None)
        monkeypatch.setattr(pandoc.shutil, "which", lambda name: None)
        pandoc.pandoc_path.cache_clear()
        try:
            assert "pip install 'elusive[documents]'" in refusal(tmp_path / "a.rst", RST)
        finally:
            pandoc.pandoc_path.cache_clear()

    def test_a_conversion_that_takes_too_long(self, tmp_path: Path) -> None:
        message = refusal(tmp_path / "a.rst", RST * 2000, convert_seconds=0.01)
        assert "not converted within 0.01 s (corpus.convert_seconds)" in message

    def test_an_archive_that_grows_too_far(self, tmp_path: Path) -> None:
        content = archive({"word/document.xml": bytes(10_000_000)})
        assert "that grows to 10,000,000" in refusal(tmp_path / "a.docx", content, max_read_bytes=1_000_000)

    def test_entities(self) -> None:
        bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
        with pytest.raises(ElusiveError, match="defines entities"):
            check_archive(archive({"word/document.xml": bomb}), ReadLimits())

    def test_files_of_the_machine_are_not_read(self, tmp_path: Path) -> None:
        (tmp_path / "hidden").write_text("the secret")
        sources = tmp_path / "in"
        sources.mkdir()
        (sources / "a.rst").write_text(f"A\n=\n\n.. include:: {tmp_path}/hidden\n\nend\n")
        (sources / "a.tex").write_text(f"\\begin{{document}}\\input{{{tmp_path}/hidden}} end\\end{{document}}")
        (sources / "a.adoc").write_text(f"= A\n\ninclude::{tmp_path}/hidden[]\n\nend\n")
        (sources / "b.txt").write_text("end")
        corpus = read_corpus(sources, skip_bad=True)
        assert "secret" not in " ".join(document.text for document in corpus.documents)
        assert [document.text for document in corpus.documents][-1] == "end"


def test_tables_of_manual_pages() -> None:
    table = ".TS H\ncenter tab(|);\nlb | lb\nl l.\na|b\n_\nT{\n.B one\ntwo\nT}|c\n.TE\n"
    assert without_requests(table) == ".TS\ntab(|);\nl l.\na|b\none two |c\n.TE\n"


def test_settings_are_checked() -> None:
    with pytest.raises(ElusiveError, match=r"corpus\.encoding: expected an encoding of text"):
        CorpusSettings(encoding="hex")
    with pytest.raises(ElusiveError, match=r"corpus\.convert_seconds: expected above 0"):
        CorpusSettings(convert_seconds=0)
