"""What models and data sets there are, and what their descriptors (model.yml, dataset.yml) say, as checked values.

Other packages read YAML files of their own with the same strictness, by `strict_yaml` and `schema`.
"""

from omz_model_tools.descriptor import schema, strict_yaml
from omz_model_tools.descriptor.catalogue import packaged_dataset

__all__ = ["packaged_dataset", "schema", "strict_yaml"]
