"""What Snakemake says on the terminal, made readable: its errors hold a job's whole command line, a page of JSON.

A job has told its own error in one sentence; of Snakemake's only the rule's name and the exit status are kept. An error
of the user's that an input function raises keeps its sentence and loses its stack.
"""

from __future__ import annotations

import logging
import re

COMMAND = re.compile(r"workflow_scripts\.(\w+).*returned non-zero exit status (\d+)", re.DOTALL)
SENTENCE = re.compile(r"UserError: (.+)")


class OneSentence(logging.Filter):
    """Rewrites the two kinds of error that run to pages; everything else passes as it is."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if found := SENTENCE.search(text):
            record.msg, record.args = f"error: {found[1]}", ()
        elif found := COMMAND.search(text):
            record.msg, record.args = f"rule {found[1]} failed with status {found[2]}; it said why above", ()
        return True


def tidy() -> None:
    """Install the filter, once a process."""
    logger = logging.getLogger("snakemake.logging")
    if not any(isinstance(known, OneSentence) for known in logger.filters):
        logger.addFilter(OneSentence())
