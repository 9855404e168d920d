"""Why this answer: what binds, what each demand costs, what moves what, and who came next."""

from llmopt_optimizer.explanation.explain import explained
from llmopt_optimizer.explanation.findings import Explanation

__all__ = ["Explanation", "explained"]
