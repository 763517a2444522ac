"""Copies of the documents with tokens dropped by an arm: documents and rankings come in, training texts go out.

Writes train.jsonl, train.parquet and ranking.parquet.
"""
