"""Long documents cut into chunks: nothing but white space is lost, and spans come along whole."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from elusive.corpus.documents import Document
from elusive.corpus.readers.cutting import Cut, cut
from elusive.corpus.tags import Span, parse_tags


def words(texts: Sequence[str]) -> list[int]:
    """Tokens that can be counted by hand."""
    return [len(text.split()) for text in texts]


def tagged(text: str) -> Document:
    return Document("d", *parse_tags(text))


def marked(document: Document) -> list[tuple[str, str]]:
    return [(span.field, document.text[span.start : span.end]) for span in document.spans]


LONG = (
    "<name>Ada</name> was born.\n\nShe lived in <city>St. Ives. Cornwall</city>, and worked. On <date>10\n\nMay</date> "
    "she left. The end of it came later."
)


def test_a_short_document_is_the_same_object() -> None:
    document = tagged(LONG)
    assert cut(document, 0, words) == Cut([document])
    assert cut(document, 100, words)[0][0] is document
    assert cut(Document("d", "a  b\n"), 3, words)[0] == [Document("d", "a  b\n")]  # white space at its end and all


def test_borders_go_around_spans() -> None:
    chunks, lost, longest = cut(tagged(LONG), 5, words)
    assert [(chunk.id, chunk.text) for chunk in chunks] == [
        ("d#0001", "Ada was born."),
        ("d#0002", "She lived in"),
        ("d#0003", "St. Ives. Cornwall, and worked."),
        ("d#0004", "On 10\n\nMay she left."),
        ("d#0005", "The end of it came"),
        ("d#0006", "later."),
    ]
    assert [marked(chunk) for chunk in chunks] == [
        [("name", "Ada")],
        [],
        [("city", "St. Ives. Cornwall")],
        [("date", "10\n\nMay")],
        [],
        [],
    ]
    assert (lost, longest) == (0, 5)


def test_a_span_longer_than_a_chunk_is_cut_and_counted() -> None:
    chunks, lost, longest = cut(tagged("<all>One two three. <x>Four five</x> six. Seven eight</all> nine."), 4, words)
    assert [chunk.text for chunk in chunks] == ["One two three.", "Four five six.", "Seven eight nine."]
    assert [marked(chunk) for chunk in chunks] == [[], [("x", "Four five")], []]
    assert (lost, longest) == (1, 3)


def test_chinese_sentences_within_a_span() -> None:
    count = lambda texts: [len(text) for text in texts]  # noqa: E731
    document = Document("d", "你好世界。再见。世界你好。", (Span("x", 5, 12),))
    assert [chunk.text for chunk in cut(document, 8, count)[0]] == ["你好世界。", "再见。世界你好。"]


@given(
    st.lists(
        st.sampled_from(["a", "bc", "d.", "e!", "。", "\n\n", "\n", " ", "\t", "\r\n", "  ", "\ue000"]), max_size=60
    ),
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 12)), max_size=6),
    st.integers(1, 12),
)
def test_only_white_space_is_lost(parts: list[str], places: list[tuple[int, int]], budget: int) -> None:
    text = "x" + "".join(parts)
    spans = tuple(Span(f"f{n}", at, min(len(text), at + size)) for n, (at, size) in enumerate(places) if at < len(text))
    document = Document("d", text, spans)
    count = lambda texts: [len(text) for text in texts]  # noqa: E731
    chunks, lost, _ = cut(document, budget, count)
    at = 0
    for chunk in chunks:
        start = text.index(chunk.text, at)
        assert not text[at:start].strip()
        at = start + len(chunk.text)
    assert not text[at:].strip()
    kept = sorted((field, words.strip()) for chunk in chunks for field, words in marked(chunk))
    whole = sorted((span.field, text[span.start : span.end].strip()) for span in spans)
    assert len(kept) + lost == len(whole)
    assert set(kept) <= set(whole)
    # Spans that fit, and lie between characters that are kept, are never lost.
    places_that_fit = [span for span in spans if span.end - span.start <= budget]
    apart = [
        one
        for one in places_that_fit
        if not any(one is not two and one.start < two.end and two.start < one.end for two in spans)
    ]
    inside = [
        (span.field, text[span.start : span.end].strip()) for span in apart if text[span.start : span.end].strip()
    ]
    assert set(inside) <= set(kept)
