"""The engine layer: what SGLang, vLLM and TensorRT-LLM add to the time and memory of their kernels."""

from llmopt_calibration.engine.layer import (
    CONSTANTS,
    EngineConstant,
    EngineLayer,
    EngineSettings,
    engine_layer,
)

__all__ = [
    "CONSTANTS",
    "EngineConstant",
    "EngineLayer",
    "EngineSettings",
    "engine_layer",
]
