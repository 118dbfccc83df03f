"""What models and data sets there are, and what their descriptors (model.yml, dataset.yml) say, as checked values.

Other packages read YAML files of their own by `strict_yaml` and `schema`, and find a data set's files and checksums by
`packaged_dataset`.
"""

from omz_model_tools.descriptor import schema, strict_yaml
from omz_model_tools.descriptor.catalogue import packaged_dataset

__all__ = ["packaged_dataset", "schema", "strict_yaml"]
