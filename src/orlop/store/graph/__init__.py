"""Who needs what in a store: one graph, and one answer for everybody who removes, counts or checks.

Theory of operation. The graph is made from the rows of one moment, each kind of them read once, over the seam of the
rows; it knows nothing of a database. From the roots it goes down:

- a name, a pin or an image made from it keeps an image; a name keeps the manifest or index that it means (a *top*);
- an image keeps its chain, a chain the one below it and its content, a content its stored forms;
- an image keeps the manifests and indexes that came with it; an index its children; a document the blobs that it names;
- a subject keeps what refers to it, the other way round than the edge;
- a lease keeps what it names, or everything;
- an index that stays keeps the images below it, even those without a name of their own.

`garbage` returns what nothing needs, for ``gc`` and ``fsck``; `needs` weighs everything, for ``df``; `remains` follows
step by step what would be left, for ``prune``. All of them stand on `documents.Documents` and `stacks.Stacks`.

What a graph says is a reason to remove, never a permission: a removal names what is to go, and the rows are asked again
inside the write, before it commits. The removal of a single name or image does not build a graph: its rows delete what
they led to and nothing else reaches, at the cost of what is near. A property test compares the two.
"""
