"""Closed classes of English words, for rules that look at how a sentence begins and what can be a clue."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTION_WORDS = _words(
    """a about above after again against all also although among an and another any are as at be because been before
    being below between both but by can could did do does down during each either else every few for from had has have
    he her here hers herself him himself his how however i if in into is it its itself just many may me might mine more
    most much must my neither no nor not of off on once one only or other our ours out over own per rather same shall
    she should since so some such than that the their theirs them themselves then there therefore these they this those
    though through thus to too toward under until up upon us very was we were what when where whether which while who
    whom whose why will with within without would yet you your yours"""
)
"""Words that name nothing: pronouns, articles, prepositions, conjunctions, auxiliaries."""

JOINING_WORDS = frozenset({"and", "de", "del", "der", "for", "la", "of", "the", "van", "von"})
"""Words within a name, as in "University of Naples"."""

SUBJECT_PRONOUNS = frozenset({"he", "she", "it", "they"})
POSSESSIVES = frozenset({"his", "her", "its", "their"})

PERSONS = frozenset({"he", "she", "him", "her", "his", "hers", "himself", "herself"})
"""Pronouns of a person, who was named before unless the sentence begins with a name."""

THINGS_SAID = _words("it its they them their theirs this these that those such both")
"""Words that point back where they stand before anything else that a sentence names."""

OPENING_PRONOUNS = SUBJECT_PRONOUNS | POSSESSIVES | THINGS_SAID | {"another", "here", "neither", "others", "there"}
"""Words at the start of a sentence that point back to what was said before."""

CONNECTIVES = _words(
    """
    accordingly additionally after afterwards also alternatively and because besides but consequently conversely
    eventually finally first firstly following furthermore hence hereafter however if indeed instead last lastly later
    likewise meanwhile moreover nevertheless next nonetheless nor now once or otherwise rather second secondly similarly
    since so soon still subsequently then thereafter thereby therefore third thirdly though thus until when whereas
    while yet
    """
)
"""Words at the start of a sentence that make its order a part of its meaning."""

CONNECTING_PAIRS = _words(
    """
    as_a as_such as_with at_that at_this at_the by_contrast by_that by_this due_to for_example for_instance for_that
    for_this in_addition in_conclusion in_contrast in_fact in_other in_particular in_short in_such in_that in_these
    in_this in_turn of_these of_this of_those on_that on_the on_this the_former the_last the_latter the_other
    the_others the_same the_second the_third to_this with_this
    """
)
"""The same of two words, joined: "For example", "In addition", "The latter"."""
