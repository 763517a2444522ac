"""LoRA adapters on every linear layer but the embedding and the output head, and which of them that was.

A mixture of experts keeps most of its linear layers in other forms: the weights of all experts in one parameter of
three axes, a router's in a module of its own. peft's "all-linear" does not see them, or sees them and leaves dense
layers of the same names out; here each gets its adapter.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from elusive.config.training import TrainSettings
from elusive.models.loading import innermost, without_future_warnings


@dataclass(frozen=True)
class LinearWeights:
    """The weights of a model's linear layers by name, each with its number of entries.

    Attributes:
        layers: of modules that are linear layers.
        parameters: of other modules: those of experts, (experts, rows, columns), and of routers, (experts, columns).
    """

    layers: dict[str, int]
    parameters: dict[str, int]

    @classmethod
    def of(cls, model: PreTrainedModel) -> "LinearWeights":
        """Those of a model without adapters, but the output head's."""
        head, layers, parameters = model.get_output_embeddings(), {}, {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear | Conv1D):
                if module is not head:
                    (layers if _is_plain(module) else parameters)[f"{name}.weight"] = _entries(module)
            elif not isinstance(module, torch.nn.Embedding | torch.nn.modules.conv._ConvNd):
                own = module.named_parameters(recurse=False)
                parameters |= {f"{name}.{key}": weight.numel() for key, weight in own if _is_linear(key, weight)}
        return cls(layers, parameters)

    @property
    def entries(self) -> dict[str, int]:
        """All of them."""
        return self.layers | self.parameters


@dataclass(frozen=True)
class Adapters:
    """What stands on what.

    Attributes:
        on: weights of linear layers that have an adapter, and their entries.
        without: those that have none.
        trained: entries of the adapters.
    """

    on: dict[str, int]
    without: dict[str, int]
    trained: int

    @property
    def in_words(self) -> str:
        """One line, e.g. for the terminal."""
        experts = sum(1 for name in self.on if "experts" in name.split("."))
        return (
            f"LoRA: adapters of {self.trained:,} weights on {len(self.on)} of {len(self.on) + len(self.without)} "
            f"linear layers with {sum(self.on.values()):,} weights"
            + (f", {experts} of them those of all experts together" if experts else "")
            + "; embedding and output head have none."
        )

    @property
    def warning(self) -> str:
        """What is left out; empty: nothing is."""
        if not self.without:
            return ""
        names = sorted(self.without)
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        return (
            f"Without an adapter: {len(names)} linear layers with {sum(self.without.values()):,} weights, which stay "
            f"as they are ({', '.join(names[:4])}{more}). peft has no adapters for their form."
        )


@without_future_warnings()
def with_adapters(model: PreTrainedModel, settings: TrainSettings) -> Any:
    """The model with LoRA adapters on every linear layer but embedding and output head, experts and routers included.

    Where experts hold two layers in one weight (gate and up), its adapter has twice the rank.

    Reference:
        Gao et al. 2025, "Results"; Hu et al. 2022.
    """
    from peft import LoraConfig, get_peft_model

    targets = lora_targets(model, settings)
    model = _prepared(model, settings)
    transformers.set_seed(settings.seed)
    config: dict[str, Any] = {"r": settings.lora_rank, "lora_alpha": settings.lora_alpha, "lora_dropout": 0.0}
    return get_peft_model(model, LoraConfig(**config, task_type="CAUSAL_LM", **targets))


def continued_adapters(model: Any, settings: TrainSettings) -> Any:
    """A peft model as it was loaded, with its LoRA adapters to be trained further."""
    _prepared(model.get_base_model(), settings)
    for config in model.peft_config.values():
        config.inference_mode = False
    model.set_adapter(model.active_adapter)  # which lets gradients through
    transformers.set_seed(settings.seed)  # of the adapters' own dropout, where they have some
    return model


def _prepared(model: Any, settings: TrainSettings) -> Any:
    """The model itself, ready for adapters on it to be trained where its weights are in 8 or 4 bit."""
    from peft import prepare_model_for_kbit_training

    if not getattr(model, "is_quantized", False):
        return model
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=settings.gradient_checkpointing)


def lora_targets(model: PreTrainedModel, settings: TrainSettings) -> dict[str, Any]:
    """The arguments of peft's LoraConfig that say what is adapted, and with which rank where it is another.

    Args:
        model: without adapters; its weights are not read, so it may be on the meta device.
        settings: the rank and alpha.
    """
    weights = LinearWeights.of(model)
    if not weights.parameters:
        return {"target_modules": "all-linear"}  # peft leaves the output head out
    modules, parameters = _targets(model, weights)
    joined = sorted(key.replace(".", r"\.") for key in parameters if key.endswith(".gate_up_proj"))
    return {
        "target_modules": sorted(modules),
        "target_parameters": sorted(parameters),
        "rank_pattern": dict.fromkeys(joined, 2 * settings.lora_rank),
        "alpha_pattern": dict.fromkeys(joined, 2 * settings.lora_alpha),
    }


def adapters_of(model: Any, weights: LinearWeights) -> Adapters:
    """What has an adapter in a peft model, as it is found there.

    Args:
        model: the peft model.
        weights: of its base model, before the adapters.
    """
    from peft.tuners.lora.layer import LoraLayer, ParamWrapper

    adapted = set()
    for name, module in innermost(model).named_modules():
        if isinstance(module, LoraLayer):
            weight = module.parameter_name if isinstance(module, ParamWrapper) else "weight"
            adapted.add(f"{name.replace('.base_layer', '')}.{weight}")
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    on = {name: count for name, count in weights.entries.items() if name in adapted}
    without = {name: count for name, count in weights.entries.items() if name not in adapted}
    return Adapters(on, without, trained)


def _targets(model: PreTrainedModel, weights: LinearWeights) -> tuple[set[str], set[str]]:
    """Modules and parameters to adapt; a linear layer that peft would take for an expert goes by its parameter."""
    modules = {name.removesuffix(".weight") for name in weights.layers}
    kept = _kept_by_peft(modules, model)
    parameters = {name for name in weights.parameters if model.get_parameter(name).is_floating_point()}
    # Weights in 8 or 4 bit have another shape than their layer, so no adapter fits them as parameters.
    by_parameter = {f"{name}.weight" for name in modules - kept}
    return kept, parameters | {name for name in by_parameter if model.get_parameter(name).is_floating_point()}


def _kept_by_peft(modules: Collection[str], model: PreTrainedModel) -> set[str]:
    """Those that peft does not take for experts of a former version of transformers, which had the same names."""
    from peft import LoraConfig

    try:
        from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
    except ImportError:  # peft before 0.19
        return set(modules)
    config = LoraConfig(target_modules=list(modules))
    convert_peft_config_for_transformers(config, model, conversions=None)
    return set(modules) & set(config.target_modules or ())


def _is_linear(name: str, weight: torch.nn.Parameter) -> bool:
    if "bias" in name or "embed" in name:
        return False
    experts = weight.dim() == 3 and min(weight.shape[1:]) > 1
    router = weight.dim() == 2 and name == "weight"
    return experts or router


@torch.no_grad()
def _is_plain(layer: Any) -> bool:
    """Whether a linear layer gives its product alone; the routers of some models are such layers and choose as well."""
    if not type(layer).__module__.startswith("transformers.models."):
        return True
    found = layer(torch.zeros(1, layer.weight.shape[1], device=layer.weight.device, dtype=layer.weight.dtype))
    return isinstance(found, torch.Tensor)


def _entries(layer: Any) -> int:
    """Of a linear layer's weight, which in 4 bit holds two in each of its entries."""
    if isinstance(layer, Conv1D):
        return layer.weight.numel()
    return layer.in_features * layer.out_features
