"""finemem_pipeline: train and measure memory managers with fine-grained rewards.

The packages below are ordered; each imports only what lies below it (docs/architecture.md).
"""

__version__ = "0.1.0"
