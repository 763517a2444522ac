"""The paper's tables and figures: its numbers, its recipes, and what they give here."""
