"""From token ids to text and back: a vocabulary of words, its tokenizer, and a fast renderer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numba import njit
from tokenizers import Tokenizer, models, pre_tokenizers, processors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, CLS, SEP, UNK, MASK = SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")


@dataclass(frozen=True)
class Vocabulary:
    """Words whose id is their place; the five special tokens of BERT come first, [PAD] is 0.

    In text, words stand between single spaces and special tokens do not appear, so that text and
    ids determine each other.
    """

    plain: tuple[str, ...]

    @cached_property
    def words(self) -> tuple[str, ...]:
        return SPECIALS + self.plain

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def tokenizer(self, max_length: int) -> PreTrainedTokenizerFast:
        """Text -> [CLS] words [SEP]; decoding without special tokens gives the text back."""
        # Here, since it brings torch along, which samplers and shard writers do without.
        from transformers import PreTrainedTokenizerFast

        core = Tokenizer(models.WordLevel(self.ids, unk_token=UNK))
        core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        core.post_processor = processors.TemplateProcessing(
            single=f"{CLS} $A {SEP}", special_tokens=[(CLS, self.ids[CLS]), (SEP, self.ids[SEP])]
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            model_max_length=max_length,
            pad_token=PAD,
            cls_token=CLS,
            sep_token=SEP,
            unk_token=UNK,
            mask_token=MASK,
            bos_token=CLS,
            eos_token=SEP,
            clean_up_tokenization_spaces=False,
        )

    def render(self, ids: np.ndarray) -> pa.StringArray:
        """The text of token ids (rows, length)."""
        return join(ids, ("",) * len(SPECIALS) + self.plain, " ")


def join(ids: np.ndarray, words: Sequence[str], gap: str) -> pa.StringArray:
    """The words of each row of ids (rows, length) put on end, about 200 MB/s on one core.

    ``gap``, at most one ASCII character, stands between words; empty words are passed over.
    """
    spelled = [word.encode() for word in words]
    begins = np.cumsum([0, *map(len, spelled)])
    letters = np.frombuffer(b"".join(spelled), np.uint8)
    data, offsets = _spell(ids, letters, begins, ord(gap) if gap else -1)
    return pa.Array.from_buffers(
        pa.string(), len(ids), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


@njit(cache=True)
def _spell(
    ids: np.ndarray, letters: np.ndarray, begins: np.ndarray, gap: int
) -> tuple[np.ndarray, np.ndarray]:
    rows, length = ids.shape
    between = 1 if gap >= 0 else 0
    offsets = np.zeros(rows + 1, np.int32)
    for row in range(rows):
        size = 0
        for j in range(length):
            spelled = begins[ids[row, j] + 1] - begins[ids[row, j]]
            size += spelled + between if spelled else 0
        offsets[row + 1] = offsets[row] + max(size - between, 0)
    data = np.empty(offsets[rows], np.uint8)
    for row in range(rows):
        at = offsets[row]
        for j in range(length):
            begin, end = begins[ids[row, j]], begins[ids[row, j] + 1]
            if end == begin:
                continue
            if between and at > offsets[row]:
                data[at] = gap
                at += 1
            for k in range(begin, end):
                data[at] = letters[k]
                at += 1
    return data, offsets
