"""A server that answers as the chosen deployment would: OpenAI's interface, the simulator's clock, no model.

Texts are made up; what is real is when their tokens come. Needs the extra `serve` (starlette, uvicorn).
"""
