"""Any source becomes a corpus: files, datasets or fictional people come in, documents with spans and questions go out.

Writes documents.jsonl, questions.jsonl and quarantine.jsonl, in which each bad row stands with the reason.
"""
