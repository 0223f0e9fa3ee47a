"""The model card: what a person should know of a model before using it."""

from __future__ import annotations

from typing import Any

import yaml


def model_card(model: Any, sample: str) -> str:
    """README.md of a bundle: task, metrics, data with its fingerprint, settings, a sample and how to use it."""
    tags = {"library_name": "ostinato", "pipeline_tag": model.pipeline_tag, "tags": [model.task]}
    header = yaml.safe_dump(tags)
    metrics = "\n".join(f"| {name.replace('_', ' ')} | {_number(value)} |" for name, value in model.metrics.items())
    sizes = {name: value for name, value in model.data.items() if not isinstance(value, dict)}
    rows = [f"| {name.replace('_', ' ')} | {_number(value)} |" for name, value in sizes.items()]
    for part in ("train", "validation"):
        if about := model.data.get(part):
            files = ", ".join(f"`{name}`" for name in about["files"][:5]) + (" …" if len(about["files"]) > 5 else "")
            rows.append(f"| {part} files | {files} |")
            rows.append(f"| SHA-256 of {part} text | `{about['sha256']}` |")
    sample = sample.strip().replace("```", "'''")
    shown = f"## Sample\n\n```text\n{sample}\n```\n\n" if sample else ""
    return f"""---
{header}---

# An ostinato {model.task}

{model.size()}.

| metric | value |
|---|---|
{metrics}

## Data

| | |
|---|---|
{chr(10).join(rows)}

{shown}## Use

```python
import ostinato

model = ostinato.load("path/to/this/folder")
```

## Settings

```yaml
{yaml.safe_dump(model.settings.plain(), sort_keys=False, allow_unicode=True).strip()}
```

The folder holds JSON, safetensors and text; nothing in it is executed. A model repeats what its data say, wrong or
right.
"""


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
