"""A language model's answers: prompts come in, answers go out and are kept, from a server or from a model here."""
