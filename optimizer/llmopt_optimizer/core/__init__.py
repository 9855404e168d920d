"""The mathematical core: exact, certified programs over discrete choices; no word of language models."""
