"""How a policy learns: imitation of the scripted teacher, then step-level GRPO.

torch, transformers, peft and trl are imported in the modules of this room, and this room is imported when a
training node runs, not before. `runs` and `schedule` need none of them.
"""

from __future__ import annotations


def quieten() -> None:
    """Silences the bars and notices of the libraries: what a run does is told by its own progress bar and log."""
    import os
    import warnings

    import torch
    import transformers

    import datasets

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed tells that it has found nothing better
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    warnings.filterwarnings("ignore", message="You are importing from 'rollout_func'|.*rollout_func.*experimental")
