"""How well a model answers: weights and questions come in, exact match and F1 go out.

Writes predictions.jsonl and metrics.json.
"""
