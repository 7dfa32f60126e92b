"""Sources: where a text comes from, read as strict UTF-8 in constant memory."""
