"""Pictures of autograd graphs, after torchviz and TorchOpt's version of it.

Needs the package ``graphviz`` (``pip install 'metaphys[visual]'``), and to render a picture the
programs of Graphviz itself.
"""

from metaphys.visual._graph import make_dot, resize_graph

__all__ = ["make_dot", "resize_graph"]
