"""The facade: `import llmopt`, `python -m llmopt`."""
