"""What came in, and whether a set of streams is fit to be used. Great Expectations loads when sets are validated."""

from finemem_pipeline.validation.describe import describe_inputs
from finemem_pipeline.validation.expectations import read_suites, validate_sets

__all__ = ["describe_inputs", "read_suites", "validate_sets"]
