"""Questions about one chunk, for the Chunk-level Step Reward: written, then kept only if the chunk alone answers them.

`write_questions` is the sentence a pipeline says. `ClozeWriter` needs no model, `PromptedWriter` asks any Generator.
"""

from finemem_pipeline.questions.cloze import ClozeWriter
from finemem_pipeline.questions.drafts import Draft, Drafts, Writer
from finemem_pipeline.questions.prompted import PromptedWriter
from finemem_pipeline.questions.writing import write_questions

__all__ = ["ClozeWriter", "Draft", "Drafts", "PromptedWriter", "Writer", "write_questions"]
