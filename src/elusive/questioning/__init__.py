"""Questions from documents: a corpus comes in, closed-book questions with answers that stand in it go out.

A language model writes them, or a rule that needs none (cloze statements). Each is checked, and they are split into
questions that give cues and questions that are asked. Writes a corpus folder, with every request, answer and rejection.
"""
