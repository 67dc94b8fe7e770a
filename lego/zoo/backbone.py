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

from lego.zoo.block import Attention, Block, IntoStream, QueryKeyValue, RelativeBias
from lego.zoo.configuration import LegoConfig
from lego.zoo.conv import TokenConv

# An associative query and key start this much longer, which sharpens the first lookups: of 1, 1.5,
# 2 and 3, on one seed of z2-n6, 2 had the third variable of the chain soonest.
ASSOCIATION_GAIN = 2.0


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

        What is added to the stream is scaled down by sqrt(additions), as in GPT-2; a tied model
        on z2-n6 then left the second variable of the chain sooner (one seed).
        Called only for modules that have parameters of their own. transformers' own ``init`` is
        used because it passes over what a checkpoint has already filled.
        """
        config = self.config
        if isinstance(module, nn.Linear):
            additions = 2 * config.num_hidden_layers if isinstance(module, IntoStream) else 1
            init.normal_(module.weight, std=(additions * module.in_features) ** -0.5)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=config.embedding_std)
        elif isinstance(module, TokenConv):
            init.normal_(module.weight, std=config.conv_noise)
        elif isinstance(module, RelativeBias):
            init.copy_(module.weight, module.initial())
        elif isinstance(module, LegoModel) and config.position_embeddings:
            init.normal_(module.embed_positions, std=config.position_std)
        if isinstance(module, QueryKeyValue) and config.associative_init:
            query, _, value = module.weight.chunk(3)
            query = ASSOCIATION_GAIN * query
            init.copy_(module.weight, torch.cat([query, query, value]))


class LegoModel(LegoPreTrainedModel):
    """Token ids to hidden states. ``config.is_causal`` forbids looking ahead."""

    def __init__(self, config: LegoConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.position_embeddings:
            shape = (config.max_position_embeddings, config.hidden_size)
            self.embed_positions = nn.Parameter(torch.empty(shape))
        distinct = 1 if config.tied_layers else config.num_hidden_layers
        self.layers = nn.ModuleList(Block(config) for _ in range(distinct))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.norm_eps)
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> BaseModelOutput:
        """input_ids (batch, tokens) int64; attention_mask (batch, tokens), 0 at padding.

        Padding changes nothing for the other tokens; leave the mask out where there is none, it
        is faster. The two flags are for ``capture_outputs``, which reads them on the way in.
        """
        tokens = input_ids.shape[1]
        embedded = self.embed_tokens(input_ids)
        if self.config.position_embeddings:
            embedded = embedded + self._positions(input_ids, attention_mask)
        allowed, token_mask = None, None
        if self.config.is_causal:
            allowed = torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=embedded.device)
            allowed = allowed.tril()
        if attention_mask is not None:
            seen = rearrange(attention_mask.bool(), "b k -> b 1 1 k")
            allowed = seen if allowed is None else allowed & seen
            token_mask = rearrange(attention_mask, "b t -> b t 1").to(embedded.dtype)
        # Once a block, not once a run of it: a tied model has one mask.
        masks = [cast(Block, block).attention.mask(tokens, allowed) for block in self.layers]

        hidden = embedded
        for i in range(self.config.num_hidden_layers):
            if i > 0 and self.config.input_injection:
                hidden = hidden + embedded
            which = i % len(self.layers)  # 0 throughout when tied
            hidden = self.layers[which](hidden, masks[which], token_mask)
        return BaseModelOutput(last_hidden_state=self.norm(hidden))

    def _positions(self, input_ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(1 or batch, tokens, channels): a sentence begins at 0, after any padding."""
        tokens, most = input_ids.shape[1], self.config.max_position_embeddings
        if tokens > most:
            raise ValueError(f"input_ids has {tokens} tokens: allowed up to {most}")
        if mask is None:
            return self.embed_positions[None, :tokens]
        return F.embedding((mask.long().cumsum(1) - 1).clamp(min=0), self.embed_positions)
