"""The findings as a document: figures and sentences from the rows of a store, nothing by hand."""
