"""Named models, accelerators and links, read from the data files beside this module.

A name is looked up without regard to case, also by its aliases (`meta-llama/Llama-3.3-70B-Instruct`). An
unknown name is a `ProblemError` that says what it may have been meant to be. Every number's source is in
its data file.
"""

from llmopt_problems.catalog.hardware import accelerator, accelerator_names, link, link_names
from llmopt_problems.catalog.models import model, model_names, model_repository, model_source
from llmopt_problems.models.config import model_from_config

__all__ = [
    "accelerator",
    "accelerator_names",
    "link",
    "link_names",
    "model",
    "model_from_config",
    "model_names",
    "model_repository",
    "model_source",
]
