"""Labels for texts: a model of labels, batches of its texts by their lengths, and Classifier around them."""

from gpt2_text_prediction.lazy_names import lazy_names

TYPE_CHECKING = False  # as typing's, which would have to be imported
if TYPE_CHECKING:
    from gpt2_text_prediction.classification.classifier import Classifier
    from gpt2_text_prediction.classification.model import LabelModel, read_label_model

__all__ = ["Classifier", "LabelModel", "read_label_model"]

__getattr__ = lazy_names(
    __name__,
    {
        "Classifier": "classifier",
        "LabelModel": "model",
        "read_label_model": "model",
    },
)
