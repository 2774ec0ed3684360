"""Our own model families, `lstm` and `kgram`, registered with transformers' Auto classes by `model_type`.

Once this is imported, `AutoModelForCausalLM.from_pretrained` loads their folders without remote code.
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from tempering.models.families.config import KGramModelConfig, LSTMModelConfig
from tempering.models.families.kgram import KGramForCausalLM, KGramForSequenceClassification, KGramModel
from tempering.models.families.lstm import LSTMForCausalLM, LSTMForSequenceClassification, LSTMModel

FAMILIES = (
    (LSTMModelConfig, LSTMModel, LSTMForCausalLM, LSTMForSequenceClassification),
    (KGramModelConfig, KGramModel, KGramForCausalLM, KGramForSequenceClassification),
)
"""Config, backbone, language model, classifier: a new family is one line here."""

for _config, _model, _causal_lm, _classifier in FAMILIES:
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
    AutoModelForCausalLM.register(_config, _causal_lm, exist_ok=True)
    AutoModelForSequenceClassification.register(_config, _classifier, exist_ok=True)
