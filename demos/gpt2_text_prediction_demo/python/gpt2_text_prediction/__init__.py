"""Text prediction with GPT-2 on OpenVINO, on nothing but numpy, openvino and tokenizers.

    from gpt2_text_prediction import TextGenerator

    with TextGenerator("gpt-2") as gpt2:  # ./public/gpt-2/FP16/gpt-2.xml, which omz_converter writes
        for result in gpt2.generate(["The poem was", "Once"], max_new_tokens=40, top_k=20, num_return_sequences=3):
            print(result.text, result.finish_reason)
        for piece in gpt2.stream("The poem was", seed=7):
            print(piece, end="")

The names below are imported when they are first used, so that --help and Ctrl-C need not wait for OpenVINO.
"""

from gpt2_text_prediction.lazy_names import lazy_names

TYPE_CHECKING = False  # as typing's, which would have to be imported
if TYPE_CHECKING:
    from gpt2_text_prediction.classification.classifier import Classifier
    from gpt2_text_prediction.classification.results import Classification, LabelScore
    from gpt2_text_prediction.engine.scheduler import Busy
    from gpt2_text_prediction.generation.beam_search import Beams
    from gpt2_text_prediction.generation.sampling import Sampling
    from gpt2_text_prediction.generator import TextGenerator
    from gpt2_text_prediction.problem import Problem
    from gpt2_text_prediction.results import NextToken, PerfMetrics, Progress, Result, Score, Stats, TokenEvent
    from gpt2_text_prediction.stream import Stream
    from gpt2_text_prediction.text.stopping import TextRules
    from gpt2_text_prediction.version import VERSION as __version__

__all__ = [
    "Beams",
    "Busy",
    "Classification",
    "Classifier",
    "LabelScore",
    "NextToken",
    "PerfMetrics",
    "Problem",
    "Progress",
    "Result",
    "Sampling",
    "Score",
    "Stats",
    "Stream",
    "TextGenerator",
    "TextRules",
    "TokenEvent",
    "__version__",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Beams": "generation.beam_search",
        "Busy": "engine.scheduler",
        "Classification": "classification.results",
        "Classifier": "classification.classifier",
        "LabelScore": "classification.results",
        "NextToken": "results",
        "PerfMetrics": "results",
        "Problem": "problem",
        "Progress": "results",
        "Result": "results",
        "Sampling": "generation.sampling",
        "Score": "results",
        "Stats": "results",
        "Stream": "stream",
        "TextGenerator": "generator",
        "TextRules": "text.stopping",
        "TokenEvent": "results",
        "__version__": "version:VERSION",
    },
)


def __dir__() -> list[str]:
    """Return the public names, which completion shows."""
    return __all__
