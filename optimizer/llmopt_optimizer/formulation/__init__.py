"""Programs of the core, formulated from a scenario: pools and systems as its variants and expressions."""
