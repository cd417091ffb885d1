"""An embedding classifier as a DSPy module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dspy

from stillroom.signatures import Shape, inputs_text

if TYPE_CHECKING:
    from stillroom.evals import EmbeddingClassifier

__all__ = ["HeadModule"]


class HeadModule(dspy.Module):
    """Answer a categorical task with a classifier; takes the same inputs as the teacher's module."""

    def __init__(self, head: EmbeddingClassifier, shape: Shape) -> None:
        super().__init__()
        self.head, self.shape = head, shape

    def forward(self, **inputs: Any) -> dspy.Prediction:
        """The predicted label as a prediction with the task's output."""
        text = inputs_text({each.name: inputs[each.name] for each in self.shape.inputs})
        return dspy.Prediction(**{self.shape.outputs[0].name: str(self.head.predict([text])[0])})
