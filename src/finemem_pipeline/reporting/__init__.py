"""What a person reads after a run: the table on the terminal, the HTML report with its pictures."""

from finemem_pipeline.reporting.report import write_report
from finemem_pipeline.reporting.sample import sample_stream
from finemem_pipeline.reporting.table import headline, markdown_table, print_table, text_table

__all__ = ["headline", "markdown_table", "print_table", "sample_stream", "text_table", "write_report"]
