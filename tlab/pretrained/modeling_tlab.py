"""A model of the Transformer Intuition Lab for Transformers, where none of its own classes computes the same.

AutoModelForCausalLM runs this file, and torch_model.py beside it, when it is told to:

    AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

Texts of a batch have one length: there is no padding. Generation keeps no keys and values, and reads the last
`context_length` tokens anew for each token.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from .torch_model import LanguageModel


class TlabConfig(PretrainedConfig):
    """The config of the lab, and what `torch_model.LanguageModel` reads besides."""

    model_type = "tlab"
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "hidden_dim",
        "num_hidden_layers": "num_layers",
        "num_attention_heads": "num_heads",
        "max_position_embeddings": "context_length",
    }


class TlabForCausalLM(PreTrainedModel, GenerationMixin):
    """The module, with the calls that Transformers knows."""

    config_class = TlabConfig

    def __init__(self, config: TlabConfig) -> None:
        super().__init__(config)
        self.model = LanguageModel(config.to_dict())
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutput:
        """(B, T) ids -> logits (B, T, V), and with labels (B, T) the mean loss in nats per token."""
        if attention_mask is not None and not attention_mask.bool().all():
            raise ValueError("this model knows no padding: give texts of one length, or one text at a time")
        logits = self.model(input_ids)
        loss = None if labels is None else F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input_ids: torch.Tensor, **kwargs: Any
    ) -> dict[str, torch.Tensor]:
        """The end of the text, as long as the model reads."""
        return {"input_ids": input_ids[:, -self.config.context_length :]}

    def get_input_embeddings(self) -> torch.nn.Module:
        """The token embedding."""
        return self.model.embedding
