"""Fictional people: a seed or a language model comes in, biographies with spans and questions about them go out."""
