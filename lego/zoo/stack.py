"""The stack of blocks under every model of the zoo: embed, run the blocks, normalise."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput
from transformers.utils.output_capturing import capture_outputs

from lego.zoo.block import Attention, Block, IntoStream, Sentence
from lego.zoo.configuration import LegoConfig, require
from lego.zoo.conv import TokenConv
from lego.zoo.heads import HardHeads, association_map
from lego.zoo.positions import RelativeBias, sinusoidal


class LegoPreTrainedModel(PreTrainedModel):
    """Initial weights, and what transformers has to know of every model of the zoo.

    Hidden states and attentions have one entry for each block run, tied or not.
    """

    config_class = LegoConfig
    base_model_prefix = "model"
    # The loss is a mean over this batch's labels: Trainer must not divide by its own count.
    accepts_loss_kwargs = False
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_record_outputs = {"hidden_states": Block, "attentions": Attention}  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Matrices: standard deviation 1/sqrt(inputs); biases 0; the rest as its config says.

        What is added to a pre-norm stream is scaled down by sqrt(additions), as in GPT-2; a tied
        model on z2-n6 then left the second variable of the chain sooner (one seed).
        Called only for modules that have parameters of their own. transformers' own ``init`` is
        used because it passes over what a checkpoint has already filled.
        """
        config = self.config
        if isinstance(module, nn.Linear):
            added = isinstance(module, IntoStream) and config.norm_position != "post"
            additions = 2 * config.num_hidden_layers if added else 1
            spread = config.initializer_range or module.in_features**-0.5
            init.normal_(module.weight, std=spread * additions**-0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=config.initializer_range or config.embedding_std)
        elif isinstance(module, TokenConv):
            if module.fixed is None:
                init.copy_(module.weight, module.initial())
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, HardHeads):
            init.copy_(module.window, module.initial())
        elif isinstance(module, RelativeBias):
            init.copy_(module.weight, module.initial())
        elif isinstance(module, Stack) and config.position_embeddings == "learned":
            init.normal_(module.embed_positions, std=config.position_std)


class Stack(LegoPreTrainedModel):
    """Token ids to hidden states. ``config.is_causal`` forbids looking ahead."""

    def __init__(self, config: LegoConfig) -> None:
        super().__init__(config)
        width = config.embedding_size or config.hidden_size
        post = config.norm_position == "post"
        self.embed_tokens = nn.Embedding(config.vocab_size, width)
        if config.position_embeddings == "learned":
            self.embed_positions = nn.Parameter(torch.empty(config.max_position_embeddings, width))
        self.embed_norm = nn.LayerNorm(width, eps=config.norm_eps) if post else nn.Identity()
        self.widen: nn.Module = nn.Identity()
        if config.embedding_size is not None:
            self.widen = nn.Linear(width, config.hidden_size)
        self.layers = nn.ModuleList(
            Block(config, config.kinds_of(block)) for block in range(config.distinct_layers)
        )
        # The blocks of others normalise what they give.
        pre = config.norm_position == "pre"
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps) if pre else nn.Identity()
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        iterations: int | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> BaseModelOutput:
        """input_ids (batch, tokens) int64; attention_mask (batch, tokens), 0 at padding.

        Padding changes nothing for the other tokens; leave the mask out where there is none, it
        is faster. ``iterations``: how often a tied or looped model runs its blocks, 1 or more, if
        not as often as its config says; ValueError for other models. The two flags are for
        ``capture_outputs``, which reads them on the way in.
        """
        layers = self.depth(iterations)
        embedded = self.embed(input_ids, attention_mask)
        sentences = self._sentences(input_ids, attention_mask)
        hidden = embedded
        for i in range(layers):
            if i > 0 and self.config.input_injection:
                hidden = hidden + embedded
            which = self.config.block_of(i, layers)
            hidden = self.layers[which](hidden, sentences[which])
        return BaseModelOutput(last_hidden_state=self.norm(hidden))

    def depth(self, iterations: int | None = None) -> int:
        """How many blocks run, with the config's number of iterations or another."""
        config = self.config
        if iterations is None:
            return config.num_hidden_layers
        loops = config.tied_layers or config.cyclic
        require(loops, "iterations", iterations, "None, as the layers are neither tied nor looped")
        require(iterations >= 1, "iterations", iterations, "1 or more")
        return iterations * len(self.layers)

    def embed(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """(batch, tokens, channels): what the first block takes. A sentence begins at position 0,
        after any padding."""
        embedded, config, tokens = self.embed_tokens(input_ids), self.config, input_ids.shape[1]
        if config.position_embeddings != "none":
            if config.position_embeddings == "learned":
                most = config.max_position_embeddings
                require(tokens <= most, "tokens of input_ids", tokens, f"up to {most}")
                table: torch.Tensor = self.embed_positions
            else:
                table = sinusoidal(tokens, embedded.shape[-1], embedded)
            if attention_mask is None:
                embedded = embedded + table[:tokens]
            else:
                places = (attention_mask.long().cumsum(1) - 1).clamp(min=0)
                embedded = embedded + F.embedding(places, table)
        return self.widen(self.embed_norm(embedded))

    def _sentences(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> list[Sentence]:
        """For each distinct block what it has to know of the tokens."""
        tokens, causal = input_ids.shape[1], self.config.is_causal
        allowed, token_mask, seen = None, None, None
        if causal:
            allowed = torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=input_ids.device)
            allowed = allowed.tril()
        if attention_mask is not None:
            seen = attention_mask.bool()
            keys = rearrange(seen, "b k -> b 1 1 k")
            allowed = keys if allowed is None else allowed & keys
            token_mask = rearrange(attention_mask, "b t -> b t 1").to(self.dtype)
        blocks = [cast(Block, block) for block in self.layers]
        association = None
        if any("association" in self.config.kinds_of(i) for i in range(len(blocks))):
            association = association_map(input_ids, seen, causal)
        return [
            Sentence(block.attention.mask(tokens, allowed), token_mask, association)
            for block in blocks
        ]
