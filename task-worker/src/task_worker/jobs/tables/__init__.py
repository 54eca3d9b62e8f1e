"""The analysis of an uploaded table: decoding, records, columns, figures, report, each in a module of its own."""
