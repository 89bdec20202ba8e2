"""One file per special case of the objective, in the document's order.

What a file lists in its ``__all__`` is public: `gaelib` exports it.
"""
