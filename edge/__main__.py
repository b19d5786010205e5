"""`python -m edge`: the command, for what starts Python modules, such as torchrun."""

from edge.cli import main

main()
