"""What was learned, and what it cost, in two sentences."""

from collections.abc import Mapping

from elusive.experiments.trials import UNTRAINED
from elusive.questioning.summary import QuestionsMade
from elusive.reporting.best import best_arm
from elusive.reporting.formatting import difference_text, duration, score
from elusive.reporting.results import ArmDifference, KnownScores, Results


def gain_in_words(results: Results, made: QuestionsMade, documents: str) -> str:
    """What a run gained and what it cost.

    Args:
        results: of the run.
        made: the questions.
        documents: where they came from.
    """
    best = best_arm(results)
    if best is None:
        return f"Nothing was learned of {documents}: no trained arm answered the questions."
    before = results.arms[UNTRAINED].em
    asked = f"{made.asked:,} {'held-out questions' if made.verified else 'held-out questions that no model checked'}"
    ahead = next((one for one in results.pairs if _is_gain(one, best.name)), None)
    change = f" ({difference_text(ahead)})" if ahead else ""
    doubt = "" if ahead and ahead.leaves_zero_out else ", which may be chance"
    model = getattr(results.models, results.models.trained)
    gained = (
        f"{model} answers {score(best.em)} of {asked} about {documents} after training "
        f"({best.name}), {score(before.value if before else None)} before{change}{doubt}."
    )
    return " ".join([gained, *_forgotten(results.known, best.name), _cost(results, made, best.name)])


def _is_gain(one: ArmDifference, arm: str) -> bool:
    return one.field == "all" and (one.a, one.b) == (arm, UNTRAINED)


def _forgotten(known: Mapping[str, KnownScores], arm: str) -> list[str]:
    if arm not in known or UNTRAINED not in known:
        return []
    lost, before = known[arm].lost, known[UNTRAINED]
    change = f" ({difference_text(lost)})" if lost else ""
    return [
        f"Of {before.questions:,} questions about what it knew before, it answers {score(known[arm].em.value)}, "
        f"{score(before.em.value)} before{change}."
    ]


def _cost(results: Results, made: QuestionsMade, arm: str) -> str:
    tokens = made.usage.prompt_tokens + made.usage.output_tokens
    writing = f"{duration(made.seconds)} to write questions" + (f" ({tokens:,} tokens)" if tokens else "")
    steps = results.arms[arm].steps
    stages = [f"{duration(seconds)} to {stage}" for stage, seconds in results.made.seconds.items() if seconds]
    return f"It took {', '.join([writing, *stages])}" + (f"; {steps:,.0f} steps." if steps else ".")
