"""Text prediction with GPT-2 on OpenVINO, on nothing but numpy, openvino and tokenizers.

The names below are imported when they are first used, so that --help and Ctrl-C need not wait for OpenVINO.
"""

from gpt2_text_prediction.lazy_names import lazy_names

TYPE_CHECKING = False  # as typing's, which would have to be imported
if TYPE_CHECKING:
    from gpt2_text_prediction.engine.scheduler import Busy
    from gpt2_text_prediction.generation.beam_search import Beams
    from gpt2_text_prediction.generation.sampling import Sampling
    from gpt2_text_prediction.generator import TextGenerator
    from gpt2_text_prediction.problem import Problem
    from gpt2_text_prediction.results import NextToken, Result, Score
    from gpt2_text_prediction.stream import Stream
    from gpt2_text_prediction.text.stopping import TextRules

__all__ = [
    "Beams",
    "Busy",
    "NextToken",
    "Problem",
    "Result",
    "Sampling",
    "Score",
    "Stream",
    "TextGenerator",
    "TextRules",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Beams": "generation.beam_search",
        "Busy": "engine.scheduler",
        "NextToken": "results",
        "Problem": "problem",
        "Result": "results",
        "Sampling": "generation.sampling",
        "Score": "results",
        "Stream": "stream",
        "TextGenerator": "generator",
        "TextRules": "text.stopping",
    },
)
