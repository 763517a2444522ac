"""Tokens that are no part of a text; apart from loading, so that processes without models need no torch."""

from transformers import PreTrainedTokenizerFast


def special_token_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Ids that are no part of a text: bos, eos, pad and the like, but not unk, which stands for a word of the text."""
    controls = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    return [i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id or i in controls]
