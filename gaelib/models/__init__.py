"""One file per special case of the objective, in the document's order."""
