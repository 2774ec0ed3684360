"""A vLLM server as an engine, through TRL's client: it sends prompts and, before each rollout, the weights.

Which log-probabilities come back is the server's setting. `raw_logprobs` are those before temperature and
everything else, `processed_logprobs` those after all of it; the design's lie between the two. So one of the
modes gives them for some settings, and for the others neither does: those are refused.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tempering.errors import ConfigError
from tempering.generation.engines.assemble import assemble, seeds
from tempering.generation.engines.config import VLLMEngine
from tempering.generation.engines.wrapping import bare, named_weights
from tempering.generation.rollout import Rollout
from tempering.generation.sampling import Sampling

if TYPE_CHECKING:
    from trl.generation.vllm_client import VLLMClient

START = (
    'VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --weight-transfer-config \'{"backend": "nccl"}\' '
    "--logprobs-mode "
)
CONCURRENCY = 64  # as many as the client keeps connections


class VLLMSampler:
    """Has a server complete prompts, one request per row, so that each has its own seed.

    Args:
        model: the policy whose weights are sent.
        accelerator: needed where accelerate shards the model: every process then takes part in `update`.
        sampling: checked at once, if it is known.
    """

    exact = False

    def __init__(
        self,
        config: VLLMEngine,
        model: Any,
        eos_ids: list[int],
        pad_id: int,
        accelerator: Any = None,
        sampling: Sampling | None = None,
    ) -> None:
        self.model, self.eos_ids, self.pad_id, self.accelerator = model, eos_ids, pad_id, accelerator
        _check_servable(model, accelerator)
        if sampling is not None:
            logprobs_modes(sampling)
        self.client = _connect(config)
        self.mode = _mode_of(self.client)
        self._metadata: list[tuple[str, str, list[int]]] | None = None
        if sampling is not None:
            self._check_mode(sampling)

    def update(self, model: Any) -> None:
        """Send all weights, adapters merged in; processes wait until the server has them."""
        self.model = model
        if self._metadata is None:
            self._metadata = [
                (name, str(weight.dtype).removeprefix("torch."), list(weight.shape))
                for name, weight in named_weights(model, self.accelerator)
            ]
        weights = named_weights(model, self.accelerator)
        if _rank() == 0:
            self._join_server()
            self.client.update_named_params(self._metadata, weights)
            self.client.reset_prefix_cache()  # it holds keys and values of the old weights
        else:
            for _ in weights:
                pass
        if torch.distributed.is_initialized():
            torch.distributed.barrier()

    def generate(self, prompts: list[list[int]], sampling: Sampling, uniform: Tensor | None) -> Rollout:
        """Complete each prompt once; each row's seed comes from its first number."""
        self._check_mode(sampling)
        with ThreadPoolExecutor(min(CONCURRENCY, len(prompts))) as pool:
            answers = list(
                pool.map(
                    lambda prompt, seed: self._complete(prompt, seed, sampling),
                    prompts,
                    seeds(uniform, len(prompts)),
                )
            )
        tokens, logprobs = [answer[0] for answer in answers], [answer[1] for answer in answers]
        device = bare(self.model, self.accelerator).device
        return assemble(prompts, tokens, logprobs, self.eos_ids, self.pad_id, device)

    def _complete(self, prompt: list[int], seed: int, sampling: Sampling) -> tuple[list[int], list[float]]:
        """Tokens of one completion and their log-probabilities."""
        answer = self.client.generate(
            [prompt],
            repetition_penalty=sampling.repetition_penalty,
            temperature=sampling.temperature,
            top_p=1.0 if sampling.top_p is None else sampling.top_p,
            top_k=sampling.top_k or 0,
            min_p=sampling.min_p or 0.0,
            max_tokens=sampling.max_new_tokens,
            logprobs=0,  # the sampled token's alone
            generation_kwargs={
                "seed": seed,
                "min_tokens": sampling.min_new_tokens,
                "stop_token_ids": self.eos_ids,
                "ignore_eos": True,  # the server's own EOS may differ: ours are the stop tokens
            },
        )
        tokens: list[int] = answer["completion_ids"][0]
        columns = zip(answer["logprobs"][0], answer["logprob_token_ids"][0], tokens, strict=True)
        values = [dict(zip(ids, logs, strict=True))[token] for logs, ids, token in columns]
        return tokens, [float("nan") if value is None else value for value in values]

    def _check_mode(self, sampling: Sampling) -> None:
        modes = logprobs_modes(sampling)
        if self.mode is not None and self.mode not in modes:
            raise ConfigError(
                f"the vLLM server at {self.client.base_url} reports --logprobs-mode {self.mode}",
                expected=f"{' or '.join(modes)}: log-probabilities after temperature, before all else",
                fix=f"start it with: {START}{modes[0]}",
            )

    def _join_server(self) -> None:
        """Open the channel for weights, once."""
        if self.client.communicator is not None:
            return
        device = bare(self.model, self.accelerator).device
        try:
            self.client.init_communicator(device=device)
        except (RuntimeError, NotImplementedError) as error:
            raise ConfigError(
                f"weights cannot be sent to the vLLM server: {error}",
                expected="a policy on a CUDA device, and a server that takes weights",
                fix=f"start it with: {START}processed_logprobs; or set engine.kind: decoder",
            ) from error


def logprobs_modes(sampling: Sampling) -> tuple[str, ...]:
    """The server's modes that give log-probabilities after temperature and before everything else.

    Raises:
        ConfigError: neither does.
    """
    changes = {
        "top_k": bool(sampling.top_k),
        "top_p": sampling.top_p is not None and sampling.top_p < 1,
        "min_p": bool(sampling.min_p),
        "repetition_penalty": sampling.repetition_penalty != 1,
        "min_new_tokens": sampling.min_new_tokens > 0,
    }
    if sampling.temperature == 0:  # the server's filters do nothing then
        changes |= {"top_k": False, "top_p": False, "min_p": False}
    filters = [name for name, is_set in changes.items() if is_set]
    # Processed is right where nothing but temperature acts, raw where temperature does not.
    modes = (("processed_logprobs",) if not filters else ()) + (
        ("raw_logprobs",) if sampling.temperature in (0, 1) else ()
    )
    if not modes:
        raise ConfigError(
            f"engine.kind: vllm with temperature {sampling.temperature:g} and {', '.join(filters)}: "
            "vLLM gives log-probabilities before both or after both",
            expected="those after temperature and before the others, as training needs them",
            fix=f"set temperature: 1, or leave out {', '.join(filters)}, or set engine.kind: decoder",
        )
    return modes


def _check_servable(model: Any, accelerator: Any) -> None:
    if hasattr(model, "new_cache"):
        raise ConfigError(
            f"vLLM does not support models of type {model.config.model_type}",
            expected="a family of transformers with engine.kind: vllm",
            fix="set engine.kind: decoder",
        )
    plugin = None if accelerator is None else getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is not None and plugin.fsdp_version == 1:
        raise ConfigError(
            "FSDP version 1 flattens weights, which then cannot be sent one by one",
            expected="FSDP version 2 with engine.kind: vllm",
            fix="set fsdp_version: 2 in accelerate's configuration",
        )


def _connect(config: VLLMEngine) -> "VLLMClient":
    """A client of the server, which must be up within `config.timeout` seconds."""
    from trl.generation.vllm_client import VLLMClient

    try:
        return VLLMClient(
            base_url=config.base_url, group_port=config.group_port, connection_timeout=config.timeout
        )
    except ImportError as error:
        raise ConfigError(
            f"engine.kind: vllm needs a package: {error}",
            expected="vllm installed here too: weights are sent with it",
            fix="pip install 'tempering[vllm]', or set engine.kind: decoder",
        ) from error
    except OSError as error:  # requests' ConnectionError among them
        raise ConfigError(
            f"no vLLM server at {config.base_url} within {config.timeout:g} s",
            expected="one that serves the policy's model",
            fix=f"start it with: {START}processed_logprobs; its address goes into engine.base_url",
        ) from error


def _mode_of(client: "VLLMClient") -> str | None:
    """The server's --logprobs-mode; None where it does not say."""
    try:
        info = client.get_server_info()
    except RuntimeError as error:
        raise ConfigError(
            f"the vLLM server at {client.base_url} does not take weights",
            expected="its development endpoints to be on",
            fix=f"start it with: {START}processed_logprobs",
        ) from error
    mode = (info.get("model_config") or {}).get("logprobs_mode")
    return None if mode is None else str(mode)


def _rank() -> int:
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
