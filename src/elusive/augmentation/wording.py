"""The settings of copies in words, as every table of results names them."""

from elusive.config.augmentation import AugmentSettings


def dropout_words(settings: AugmentSettings) -> str:
    """Alpha, beta, and all that decides which tokens may be dropped.

    Example:
        >>> dropout_words(AugmentSettings())
        'alpha 0.6, beta 0.05, unseen tokens kept'
        >>> dropout_words(AugmentSettings(unseen_tokens="last", unit="word", protected_spans=("answers", "heads")))
        'alpha 0.6, beta 0.05, unseen tokens ranked last, whole words, never dropped: spans of answers, heads'
        >>> dropout_words(AugmentSettings(contrast_signal="ratio", cue_fusion="zscore"))
        'alpha 0.6, beta 0.05, unseen tokens kept, contrast by ratio, cues fused by zscore'
    """
    words = [f"alpha {settings.alpha:g}", f"beta {settings.beta:g}"]
    words += ["ranks relative to the document's length"] if settings.rank_scale == "relative" else []
    words += [{"keep": "unseen tokens kept", "last": "unseen tokens ranked last"}[settings.unseen_tokens]]
    words += [] if settings.unit == "token" else [f"whole {settings.unit}s"]
    words += ["dropped characters overwritten with spaces"] if settings.blank else []
    words += [f"contrast by {settings.contrast_signal}"] if settings.contrast_signal != "difference" else []
    words += [f"cues fused by {settings.cue_fusion}"] if settings.cue_fusion != "mean" else []
    protected = [f"spans of {', '.join(settings.protected_spans)}"] if settings.protected_spans else []
    patterns = [name for name in settings.protected_patterns if name not in AugmentSettings.protected_patterns]
    protected += [", ".join(patterns)] if patterns else []
    words += [f"never dropped: {'; '.join(protected)}"] if protected else []
    return ", ".join(words)


def clue_words(settings: AugmentSettings) -> str:
    """All that decides which clues are found.

    Example:
        >>> clue_words(AugmentSettings())
        'clues by ratio, of 5 words, no answers, reach 3, margin 0.5'
    """
    answers = "answers allowed" if settings.clue_answers else "no answers"
    found = f"clues by {settings.clue_signal}, of {settings.clue_words} words, {answers}, reach {settings.clue_reach:g}"
    return f"{found}, margin {settings.clue_margin:g}"


def insertion_words(settings: AugmentSettings) -> str:
    """All that decides which clues are found, and how they are written into sentences.

    Example:
        >>> insertion_words(AugmentSettings(insert_forms=("prefix",)))
        'clues by ratio, of 5 words, no answers, reach 3, margin 0.5, written with chance 0.8 as prefix'
    """
    forms = ", ".join(settings.insert_forms)
    return f"{clue_words(settings)}, written with chance {settings.insert_share:g} as {forms}"


def clues_in_words(clues: int, right: float | None) -> str:
    """How many clues were found, and which share of them is right.

    Args:
        clues: how many.
        right: share that is the marked head entity; None where none is marked.

    Example:
        >>> clues_in_words(1200, 0.985), clues_in_words(3, None)
        ('1,200 clues, 98.5% of them the head entity', '3 clues')
    """
    return f"{clues:,} clues" + ("" if right is None else f", {right:.1%} of them the head entity")
